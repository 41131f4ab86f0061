# What operators and contributors run. Start with `make up`.

LOCALCLOUD := .localcloud/bin/localcloud
MODULES := . agent ops localcloud e2e
SCRIPTS := \
	server/boot/reboot-required server/boot/bootstrap-login server/boot/bootstrap-remove \
	server/files/provision server/files/bounded server/files/drain server/files/nginx/types \
	server/files/metrics/collect server/files/metrics/updates \
	server/files/prometheus/entrypoint server/files/alertmanager/entrypoint \
	server/files/php/entrypoint server/files/php/sendmail \
	localcloud/internal/image/traefik/entrypoint.sh $(wildcard .ci/run ops/scripts/*.sh)

# The documents about the project: not the pages of the sites in it.
DOCUMENTS := '*.md' ':!site/' ':!e2e/sites/'

# The stack that a command works on, and the environment in which Pulumi finds it.
LOOKED_AT := $(or $(STACK),local)
IN_ITS_ENVIRONMENT = set -e; case "$(LOOKED_AT)" in \
	local|local-*) variables=$$($(MAKE) -s --no-print-directory env); eval "$$variables";; esac

# The tests of the web server need these packages unpacked, because Debian starts installed servers;
# and these libraries and extensions.
SERVED_BY := nginx libnginx-mod-http-brotli-filter libnginx-mod-http-headers-more-filter php8.2-fpm
EXTENSIONS := $(addprefix php8.2-,curl gd intl mbstring opcache xml zip)
LIBRARIES := libacl1 libapparmor1 libargon2-1 libbrotli1 libpcre2-8-0 libsodium23 libssl3 libsystemd0 libxml2

# The tools that tests find by the environment; a missing one fails a test, which `go test` alone skips.
WITH_TOOLS := REQUIRE_TOOLS=1 \
	LOCALCLOUD_VERSITYGW="$(CURDIR)/.localcloud/bin/versitygw" LOCALCLOUD_PEBBLE="$(CURDIR)/.localcloud/bin/pebble" \
	PATH="$(CURDIR)/.localcloud/cache/debian/usr/bin:$(CURDIR)/.localcloud/cache/debian/usr/sbin:$$PATH"

# Without C: the same static programs on every machine, and one build of each package.
export CGO_ENABLED := 0

# Each module builds with the versions in its own go.mod, whatever workspace is above this clone.
export GOWORK := off

.PHONY: help
help: ## List the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { gsub(/\$$\$$/, "$$", $$2); printf "  make %-13s %s\n", $$1, $$2 }' \
	  $(MAKEFILE_LIST)

.PHONY: up
up: localcloud ## Start the local cloud and deploy the site to it
	@$(LOCALCLOUD) up

.PHONY: down
down: localcloud ## Destroy the stack local and the local cloud
	@$(LOCALCLOUD) down

.PHONY: env
env: localcloud ## Print the environment for plain pulumi, of the role ROLE if set: eval "$$(make -s env)"
	@$(LOCALCLOUD) env $(if $(ROLE),-role $(ROLE))

.PHONY: status
status: localcloud ## Show what runs, and its memory
	@$(LOCALCLOUD) status

.PHONY: rollback
rollback: ## Roll the stack STACK back to the previous commit, or to the commit TO
	@ops/scripts/need.sh jq
	@ops/scripts/rollback.sh "$(STACK)" $(TO)

.PHONY: deploy
deploy: ## Update the stack STACK (local), probe its site, check that nothing is left to do
	@ops/scripts/need.sh jq >&2
	@$(IN_ITS_ENVIRONMENT); ops/scripts/deploy.sh "$(LOOKED_AT)"

.PHONY: promote
promote: LOOKED_AT = $(or $(TO),production)
promote: ## Deploy to the stack FROM (test) and, if that succeeds, to TO (production)
	@ops/scripts/need.sh jq >&2
	@$(IN_ITS_ENVIRONMENT); ops/scripts/promote.sh "$(or $(FROM),test)" "$(or $(TO),production)"

.PHONY: smoke
smoke: ## Probe the site of the stack STACK (local) from outside
	@ops/scripts/need.sh jq >&2
	@$(IN_ITS_ENVIRONMENT); ops/scripts/smoke.sh "$(LOOKED_AT)"

.PHONY: preview
preview: ## Show in Markdown what an update of the stack STACK (local) would do
	@$(IN_ITS_ENVIRONMENT); ops/scripts/preview.sh "$(LOOKED_AT)"

.PHONY: drift
drift: ## Fail if the stack STACK (local) differs from this checkout
	@$(IN_ITS_ENVIRONMENT); ops/scripts/preview.sh "$(LOOKED_AT)" --expect-no-changes

.PHONY: rebuild
rebuild: ## Let the next update of STACKS (test production) create servers on the newest Debian
	@mkdir -p .localcloud/bin
	@go build -C ops -o ../.localcloud/bin/rebuild ./rebuild
	@.localcloud/bin/rebuild $(or $(STACKS),test production)

.PHONY: bootstrap
bootstrap: LOOKED_AT = $(STACK)
bootstrap: ## Create the state's bucket and the secrets' key of the stack STACK (options: docs/state.md)
	@$(IN_ITS_ENVIRONMENT); go run -C ops ./bootstrap --project "$(CURDIR)" --stack "$(STACK)" \
	  $(if $(REGION),--region "$(REGION)") $(if $(BUCKET),--bucket "$(BUCKET)") $(if $(ENDPOINT),--endpoint "$(ENDPOINT)")

.PHONY: access
access: LOOKED_AT = $(or $(STACK),access)
access: ## Create the roles of GitHub's workflows: docs/github.md
	@$(IN_ITS_ENVIRONMENT); cd ops/access; \
	  pulumi stack select "$(LOOKED_AT)" 2>/dev/null || pulumi stack init "$(LOOKED_AT)" --secrets-provider \
	    "$$(sed -n 's/^secretsprovider: *//p' "Pulumi.$(LOOKED_AT).yaml" | grep . || echo passphrase)"; \
	  if [ -t 0 ]; then pulumi up --stack "$(LOOKED_AT)"; else pulumi up --stack "$(LOOKED_AT)" --yes --non-interactive; fi

.PHONY: test
test: check e2e ## Run the tests, with those end to end that end within half an hour

.PHONY: check
check: lint tools ## Check format, prose, lint and unit tests
	@for module in $(MODULES); do $(WITH_TOOLS) go test -C $$module ./... || exit 1; done

.PHONY: tools
tools: versitygw ## Install, build and unpack the tools of unit tests; CONTRIBUTING.md says how to use them
	@ops/scripts/need.sh jekyll git chromium msmtp socat media-types iproute2 nftables conntrack logrotate $(LIBRARIES) $(EXTENSIONS)
	@ops/scripts/unpack.sh .localcloud/cache/debian prometheus prometheus-alertmanager $(SERVED_BY)
	@go build -C tools -o ../.localcloud/bin/pebble github.com/letsencrypt/pebble/v2/cmd/pebble

.PHONY: golden
golden: ## Write the reviewed files of tests below testdata/ again: review the difference
	UPDATE_GOLDEN=1 go test -count 1 . ./stack
	UPDATE_GOLDEN=1 go test -C ops -count 1 ./access/...

.PHONY: lint
lint: prose ## Check format and lint: Go, shell, workflows, prose
	@ops/scripts/need.sh shellcheck
	@echo "gofmt"; \
	  unformatted=$$(gofmt -l $(MODULES:.=*.go components internal probe publish server sshprobe stack uptime)); \
	  test -z "$$unformatted" || { echo "run gofmt -w on: $$unformatted" >&2; exit 1; }
	@echo "shellcheck"; shellcheck --shell=bash $(SCRIPTS)
	@go build -C tools -o ../.localcloud/bin/actionlint github.com/rhysd/actionlint/cmd/actionlint
	@echo "actionlint"; .localcloud/bin/actionlint .github/workflows/*.yml
	@go build -C tools -o ../.localcloud/bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@for module in $(MODULES); do echo "golangci-lint: $$module"; \
	  (cd $$module && "$(CURDIR)/.localcloud/bin/golangci-lint" run --allow-parallel-runners ./...) || exit 1; done

# vale needs a C compiler for its parsers.
.PHONY: prose
prose: ## Check the spelling and wording of documents and Go comments (.vale.ini, styles/)
	@ops/scripts/need.sh git gcc libc6-dev
	@mkdir -p .localcloud/bin
	@CGO_ENABLED=1 go build -C tools -o ../.localcloud/bin/vale github.com/vale-cli/vale/v3/cmd/vale
	@go build -C tools -o ../.localcloud/bin/misspell github.com/golangci/misspell/cmd/misspell
	@echo "misspell"; git ls-files -z -- $(DOCUMENTS) | xargs -0 .localcloud/bin/misspell -error
	@echo "vale"; git ls-files -z -- $(DOCUMENTS) '*.go' | xargs -0 .localcloud/bin/vale --output=line

.PHONY: e2e
e2e: localcloud ## Run the end-to-end tests; they leave the local cloud down
	@ops/scripts/need.sh chromium rclone openssh-client curl iproute2 jq git libnss3-tools openssl dnsutils \
	  testssl.sh ssh-audit
	E2E=1 go test -C e2e -count 1 -v -timeout 80m .
	LOCALCLOUD_IT=1 LOCALCLOUD_HOME="$(CURDIR)/.localcloud" \
	  go test -C localcloud -count 1 -v -run TestInstancesOnThisMachine ./internal/cloud

.PHONY: bench
bench: up ## Measure replacements and backups, in the project's way and in the original's
	@ops/scripts/need.sh openssh-client
	E2E=bench go test -C e2e -count 1 -v -timeout 3h -run '^TestSwitchover$$' .
	@$(MAKE) bench-backup

.PHONY: bench-backup
bench-backup: versitygw ## Measure backups while a history grows, and their restores
	@ops/scripts/need.sh s3cmd
	E2E=backup LOCALCLOUD_VERSITYGW="$(CURDIR)/.localcloud/bin/versitygw" \
	  go test -C e2e -count 1 -v -timeout 1h -run '^TestBackup$$' .

.PHONY: bench-sync
bench-sync: versitygw ## Measure the upload of a site against rclone, s3cmd and the AWS CLI
	@ops/scripts/need.sh rclone s3cmd awscli
	E2E=sync LOCALCLOUD_VERSITYGW="$(CURDIR)/.localcloud/bin/versitygw" \
	  go test -C e2e -count 1 -v -timeout 30m -run '^TestSyncBench$$' .

.PHONY: bench-requests
bench-requests: up ## Measure requests a second on kept connections: the stack, Traefik alone, nginx alone
	@ops/scripts/need.sh nghttp2-client $(LIBRARIES)
	@ops/scripts/unpack.sh .localcloud/cache/debian $(SERVED_BY)
	E2E=requests PATH="$(CURDIR)/.localcloud/cache/debian/usr/sbin:$$PATH" \
	  go test -C e2e -count 1 -v -timeout 30m -run '^TestRequests$$' .

.PHONY: restore-drill
restore-drill: ## Restore the newest backup of the stack STACK (local) as a test, and query it with Prometheus
	@ops/scripts/unpack.sh .localcloud/cache/debian prometheus >&2
	@mkdir -p .localcloud/bin
	@go build -C agent -o ../.localcloud/bin/agent . && go build -C ops -o ../.localcloud/bin/drill ./drill
	@$(IN_ITS_ENVIRONMENT); \
	  PATH="$(CURDIR)/.localcloud/cache/debian/usr/bin:$$PATH" \
	  .localcloud/bin/drill --stack "$(LOOKED_AT)" --max-age "$(or $(MAX_AGE),15m)" --agent .localcloud/bin/agent

.PHONY: measure-move
measure-move: ## Measure what visitors of the stack STACK (local) get while COMMAND, or you, move its address
	@mkdir -p .localcloud/bin
	@go build -C ops -o ../.localcloud/bin/measure-move ./measuremove
	@$(IN_ITS_ENVIRONMENT); .localcloud/bin/measure-move --stack "$(LOOKED_AT)" $(if $(JSON),--json "$(JSON)") \
	  $(FLAGS) $(if $(COMMAND),-- $(COMMAND))

.PHONY: test-operations
test-operations: localcloud ## Promote, measure a move, interrupt the first start, and start again
	@ops/scripts/need.sh openssh-client curl jq git openssl dnsutils
	E2E=operations go test -C e2e -count 1 -v -timeout 80m -run '^TestTheSite$$' .

.PHONY: test-broken
test-broken: up ## Replace the server by broken ones of every kind, and check that the old one serves
	@ops/scripts/need.sh openssh-client curl
	E2E=broken go test -C e2e -count 1 -v -timeout 150m -run TestBrokenServers .

.PHONY: test-killed
test-killed: up ## Kill Pulumi at SEEDS random moments of a replacement (or that of SEED) and at ten of provisioning
	@ops/scripts/need.sh openssh-client
	E2E=killed go test -C e2e -count 1 -v -timeout 5h -run '^TestKilled' .

.PHONY: test-bake
test-bake: up ## Break servers after they got the VIP, and check that it returns
	@ops/scripts/need.sh openssh-client curl rclone
	E2E=bake go test -C e2e -count 1 -v -timeout 4h -run '^TestBake' .

.PHONY: test-drain
test-drain: up ## Download from a server while another one replaces it
	@ops/scripts/need.sh openssh-client
	E2E=drain go test -C e2e -count 1 -v -timeout 40m -run '^TestDrain$$' .

.PHONY: test-overload
test-overload: up ## Send up to ten times the visitors that a server can answer, and replace it meanwhile
	@ops/scripts/need.sh openssh-client
	E2E=overload go test -C e2e -count 1 -v -timeout 60m -run '^TestOverload$$' .

.PHONY: test-moves
test-moves: up ## Replace the server REPLACEMENTS (60) and 4 x EACH (10) times, with the VIP moving in five ways
	@ops/scripts/need.sh openssh-client
	E2E=moves go test -C e2e -count 1 -v -timeout 6h -run '^TestMoves$$' .

.PHONY: test-history
test-history: up ## Replace the server REPLACEMENTS times, kill one, and compare every sample
	@ops/scripts/need.sh openssh-client
	E2E=history go test -C e2e -count 1 -v -timeout 2h -run TestHistory .

.PHONY: test-sites
test-sites: up ## Deploy sites shaped like real ones, or those in SITES, and visit every page with a browser
	@ops/scripts/need.sh chromium curl jq libnss3-tools openssh-client \
	  ruby-jekyll-paginate ruby-jekyll-feed ruby-jekyll-seo-tag ruby-jekyll-sitemap
	E2E=sites go test -C e2e -count 1 -v -timeout 40m \
	  -run '^(TestRealSitesAreWhole|TestPostIsServedWhenUpEnds|TestSiteDirMoves|TestSites)$$' .

.PHONY: fuzz
fuzz: ## Fuzz every reader of configuration, bucket objects and rules of a site, for FUZZTIME (10m) each
	@git grep -o '^func Fuzz[A-Za-z]*' -- '*_test.go' | while IFS=: read -r file function; do \
	  printf '%s %s\n' "$$(date +%T)" "$$file $${function#func }"; \
	  (cd "$$(dirname "$$file")" && go test -run '^$$' -fuzz "^$${function#func }\$$" \
	    -fuzztime "$(or $(FUZZTIME),10m)" -fuzzminimizetime 10s $(FUZZFLAGS) . </dev/null) || exit 1; \
	done

.PHONY: graph
graph: ## Redraw docs/architecture.md from the program's resources
	@UPDATE_GOLDEN=1 go test -count 1 -run '^TestPictureMatchesTheProgram$$' .

.PHONY: versitygw
versitygw:
	@go build -C tools -o ../.localcloud/bin/versitygw github.com/versity/versitygw/cmd/versitygw

.PHONY: localcloud
localcloud:
	@go build -C localcloud -o ../$(LOCALCLOUD) .
