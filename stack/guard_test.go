package stack

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// pinnedStack returns the file of a stack with the domain our-site.org whose CAA record has these parameters.
func pinnedStack(parameters string) string {
	return "config:\n  immutable-infra:domain: our-site.org\n  immutable-infra:dnsRecords: [{name: our-site.org, type: " +
		"CAA, values: ['0 issue \"letsencrypt.org" + parameters + "\"']}]\n"
}

// below returns the changes that turn a configuration into one for a subdomain of our-site.org, with records.
func below(records ...string) map[string]string {
	return map[string]string{
		"domain":     "test.our-site.org",
		"zoneId":     "Z00000000000000000001",
		"dnsRecords": "[" + strings.Join(records, ", ") + "]",
	}
}

// misplaced returns configurations that are well-formed, but do not belong in their stack.
func misplaced(t *testing.T) map[string]invalid {
	const testStack = "config:\n  immutable-infra:domain: test.our-site.org\n  immutable-infra:aliases: " +
		"[www.test.our-site.org]\n"
	const localStack = "config:\n  immutable-infra:domain: site.localcloud.test\n  immutable-infra:zoneId: " +
		"Z0LOCALCLOUD00000001\n  immutable-infra:ami: ami-0deb1a13000000000\n"
	local := map[string]string{"Pulumi.local.yaml": localStack}
	pinned := map[string]string{
		"Pulumi.production.yaml": pinnedStack(`; accounturi=https://acme-v02.api.letsencrypt.org/acme/acct/1`),
	}
	testFile := func(text string) map[string]string { return map[string]string{"Pulumi.test.yaml": text} }
	return map[string]invalid{
		"the local cloud's domain in production": {
			stack:  "production",
			change: map[string]string{"domain": "site.localcloud.test"},
			errors: map[string]string{"domain": "in the domain .test"},
		},
		"the local cloud's domain in test": {
			stack:  "test",
			change: map[string]string{"domain": "site.localcloud.test"},
			errors: map[string]string{"domain": "pulumi config set domain YOUR-DOMAIN --stack test"},
		},
		"an alias that only the office resolves": {stack: "production", change: map[string]string{
			"aliases": `["www.our-site.org", "site.corp.internal"]`,
		}, errors: map[string]string{"aliases[1]": ".internal"}},
		"an alias of the home network": {
			stack:  "production",
			change: map[string]string{"aliases": `["site.home.arpa"]`},
			errors: map[string]string{"aliases[0]": ".home.arpa"},
		},
		"an alias of multicast DNS": {
			stack:  "production",
			change: map[string]string{"aliases": `["printer.local"]`},
			errors: map[string]string{"aliases[0]": ".local,"},
		},
		"an invalid alias": {
			stack:  "production",
			change: map[string]string{"aliases": `["our-site.invalid"]`},
			errors: map[string]string{"aliases[0]": ".invalid"},
		},
		"a record of the local cloud": {stack: "production", change: map[string]string{
			"dnsRecords": `[{"name": "*.localcloud.test", "type": "TXT", "values": ["a"]}]`,
		}, errors: map[string]string{"dnsRecords[0].name": ".test"}},
		"an account at the local cloud": {stack: "test", change: map[string]string{
			"acmeEmail": "admin@site.localcloud.test",
		}, errors: map[string]string{"acmeEmail": ".test"}},
		"the local cloud's ACME authority": {stack: "production", change: map[string]string{
			"acmeDirectory": "https://acme.localcloud.test/dir",
		}, errors: map[string]string{"acmeDirectory": "https://acme-v02.api.letsencrypt.org/directory --stack production"}},
		"an ACME authority on this machine": {stack: "production", change: map[string]string{
			"acmeDirectory": "https://localhost:14000/dir",
		}, errors: map[string]string{"acmeDirectory": ".localhost"}},
		"an ACME authority at a loopback address": {stack: "test", change: map[string]string{
			"acmeDirectory": "https://127.0.0.1:14000/dir",
		}, errors: map[string]string{"acmeDirectory": "of this machine only"}},
		"an ACME authority of the rehearsal": {stack: "test", change: map[string]string{
			"acmeDirectory": "https://198.18.0.5/dir",
		}, errors: map[string]string{"acmeDirectory": "of this machine only"}},
		"the double of UptimeRobot": {stack: "production", change: map[string]string{
			"uptimeRobotAPI": "https://uptimerobot.localcloud.test/v3",
		}, errors: map[string]string{"uptimeRobotAPI": "https://api.uptimerobot.com/v3"}},
		"a heartbeat to the local cloud": {
			stack:  "production",
			change: map[string]string{"heartbeatURL": "https://uptimerobot.localcloud.test/heartbeat/m1"},
			errors: map[string]string{"heartbeatURL": "pulumi config set --secret heartbeatURL --stack production"},
		},
		"a web-hook of the local cloud": {
			stack: "production",
			change: map[string]string{
				"uptimeRobotKey":     "u1234567-0123456789abcdef01234567",
				"uptimeRobotWebhook": "https://victorops.localcloud.test/alert/site",
			},
			errors: map[string]string{"uptimeRobotWebhook": "pulumi config set --secret uptimeRobotWebhook --stack production"},
		},
		"the local cloud's roots": {
			stack: "production", files: map[string]string{".localcloud/tls/acme.pem": string(certificate(t))},
			change: map[string]string{"acmeCA": "./.localcloud/tls/acme.pem"},
			errors: map[string]string{"acmeCA": "pulumi config rm acmeCA --stack production"},
		},
		"a site of the local cloud": {
			stack: "test", files: map[string]string{".localcloud/site/index.md": ""},
			change: map[string]string{"siteDir": ".localcloud/site"},
			errors: map[string]string{"siteDir": "pulumi config set siteDir site --stack test"},
		},
		"the local cloud's key": {
			stack: "production", files: map[string]string{".localcloud/ssh/id_ed25519.pub": publicKey(t)},
			change: map[string]string{"admins": `[{"name": "ada", "keys": ["./.localcloud/ssh/id_ed25519.pub"]}]`},
			errors: map[string]string{"admins[0].keys[0]": "belongs to the local cloud"},
		},
		"the local cloud's addresses": {stack: "production", change: map[string]string{
			"sshAllowFrom": `["100.64.7.7/32", "198.19.0.0/24"]`,
		}, errors: map[string]string{"sshAllowFrom[1]": "198.18.0.0/15"}},
		"the local cloud's zone": {
			stack:  "production",
			files:  local,
			change: map[string]string{"zoneId": "Z0LOCALCLOUD00000001"},
			errors: map[string]string{"zoneId": "Pulumi.local.yaml"},
		},
		"the local cloud's image": {
			stack:  "test",
			files:  local,
			change: map[string]string{"ami": "ami-0deb1a13000000000"},
			errors: map[string]string{"ami": "--region eu-central-1 --owners 136693071363"},
		},
		"the image of another rehearsal": {
			stack:  "test",
			files:  map[string]string{"Pulumi.local-test.yaml": localStack},
			change: map[string]string{"ami": "ami-0deb1a13000000000"},
			errors: map[string]string{"ami": "Pulumi.local-test.yaml"},
		},
		"the domain of examples": {
			stack:  "production",
			change: map[string]string{"domain": "example.org"},
			errors: map[string]string{"domain": "documentation placeholder"},
		},
		"a name below that of examples": {
			stack:  "test",
			change: map[string]string{"domain": "blog.example.com"},
			errors: map[string]string{"domain": "documentation placeholder"},
		},
		"an alias of examples": {
			stack:  "production",
			change: map[string]string{"aliases": `["www.example.net"]`},
			errors: map[string]string{"aliases[0]": "documentation placeholder"},
		},
		"a record of examples": {stack: "production", change: map[string]string{
			"dnsRecords": `[{"name": "_dmarc.example.org", "type": "TXT", "values": ["a"]}]`,
		}, errors: map[string]string{"dnsRecords[0].name": "documentation placeholder"}},
		"an e-mail address of examples": {
			stack:  "production",
			change: map[string]string{"acmeEmail": "admin@example.org"},
			errors: map[string]string{"acmeEmail": "write your own address"},
		},
		"an address of examples": {
			stack:  "production",
			change: map[string]string{"sshAllowFrom": `["192.0.2.7/32"]`},
			errors: map[string]string{"sshAllowFrom[0]": "checkip"},
		},
		"a block of examples": {
			stack:  "test",
			change: map[string]string{"sshAllowFrom": `["198.51.100.0/24"]`},
			errors: map[string]string{"sshAllowFrom[0]": "documentation placeholder"},
		},
		"another block of examples": {
			stack:  "test",
			change: map[string]string{"sshAllowFrom": `["203.0.113.128/25"]`},
			errors: map[string]string{"sshAllowFrom[0]": "documentation placeholder"},
		},
		"the zone of examples": {
			stack:  "production",
			change: map[string]string{"zoneId": placeholderZone},
			errors: map[string]string{"zoneId": "aws route53 list-hosted-zones"},
		},
		"the image of examples": {
			stack:  "production",
			change: map[string]string{"ami": placeholderAMI},
			errors: map[string]string{"ami": "debian-13-arm64-*"},
		},
		"the key of examples": {stack: "production", change: map[string]string{
			"admins": `[{"name": "ada", "keys": ["ssh-ed25519 ` + placeholderKey + ` me"]}]`,
		}, errors: map[string]string{"admins[0].keys[0]": "write your own public key"}},
		"the key of examples in a file": {stack: "test", files: map[string]string{
			"me.pub": "ssh-ed25519 " + placeholderKey + " me\n",
		}, change: map[string]string{"admins": `[{"name": "ada", "keys": ["./me.pub"]}]`},
			errors: map[string]string{"admins[0].keys[0]": "write your own public key"}},
		"a staging authority": {stack: "production", change: map[string]string{
			"acmeDirectory": "https://acme-staging-v02.api.letsencrypt.org/directory",
		}, errors: map[string]string{"acmeDirectory": "whose certificates browsers refuse"}},
		"production's ACME account": {stack: "test", files: pinned, change: below(), errors: map[string]string{
			"dnsRecords": "that of our-site.org in Pulumi.production.yaml allows another stack's account only",
		}},
		"production's domain in test": {stack: "test", files: map[string]string{
			"Pulumi.production.yaml": "config:\n  immutable-infra:domain: our-site.org\n",
		}, errors: map[string]string{"domain": "belongs to the stack production (Pulumi.production.yaml)"}},
		"production's alias in test": {stack: "test", files: map[string]string{
			"Pulumi.production.yaml": "config:\n  immutable-infra:domain: site.org\n  immutable-infra:aliases: [our-site.org]\n",
		}, errors: map[string]string{"domain": "Pulumi.production.yaml"}},
		"production's domain as an alias": {
			stack:  "test",
			change: map[string]string{"aliases": `["site.org"]`},
			files:  map[string]string{"Pulumi.production.yaml": "config:\n  immutable-infra:domain: site.org\n"},
			errors: map[string]string{"aliases[0]": "or remove it"},
		},
		"test's name in production": {stack: "production", change: map[string]string{
			"aliases": `["www.our-site.org", "test.our-site.org"]`,
		}, files: testFile(testStack), errors: map[string]string{"aliases[1]": "Pulumi.test.yaml"}},
		"aliases as pulumi config set": {
			stack:  "production",
			change: map[string]string{"aliases": `["b.our-site.org"]`},
			files: testFile("config:\n  immutable-infra:domain: test.our-site.org\n  immutable-infra:aliases: " +
				"'[\"b.our-site.org\"]'\n"),
			errors: map[string]string{"aliases[0]": "Pulumi.test.yaml"},
		},
		"the name of test's monitoring": {
			stack:  "production",
			change: map[string]string{"domain": "monitoring.test.our-site.org"},
			files:  testFile(testStack),
			errors: map[string]string{"domain": "the stack test"},
		},
		"the name of test's status page": {stack: "production", change: map[string]string{
			"aliases": `["status.test.our-site.org"]`,
		}, files: testFile(testStack), errors: map[string]string{"aliases[0]": "the stack test"}},
		"test has that of the status page": {
			stack:  "production",
			files:  testFile("config:\n  immutable-infra:domain: status.our-site.org\n"),
			errors: map[string]string{"domain": `"status.our-site.org", which the domain implies,`},
		},
		"production's records in test": {stack: "test", change: map[string]string{
			"domain":     "test.our-site.org",
			"dnsRecords": `[{"name": "our-site.org", "type": "MX", "values": ["10 mail.our-site.org."]}]`,
		}, files: map[string]string{"Pulumi.production.yaml": "config:\n  immutable-infra:domain: our-site.org\n"},
			errors: map[string]string{"dnsRecords[0].name": "write its records into Pulumi.production.yaml"}},
		"one rehearsal's name in another": {
			stack:  "local-test",
			change: map[string]string{"domain": "site.localcloud.test"},
			files:  local,
			errors: map[string]string{"domain": "the stack local (Pulumi.local.yaml)"},
		},
		"another stack that is no YAML": {
			stack:  "production",
			files:  testFile("config:\n  a: [\n"),
			errors: map[string]string{"Pulumi.test.yaml": "cannot be read (yaml: line"},
		},
		"another stack that is a list": {
			stack:  "local",
			files:  testFile("config: [secret]\n"),
			errors: map[string]string{"Pulumi.test.yaml": "config is not a map with each key once"},
		},
		"another stack with a key twice": {
			stack:  "production",
			files:  testFile("config:\n  a: 1\n  a: 2\n"),
			errors: map[string]string{"Pulumi.test.yaml": "config is not a map with each key once"},
		},
	}
}

func TestValuesOfOtherStacksAndDocumentationAreRejected(t *testing.T) {
	requireRejected(t, misplaced(t))
}

func TestStacksWithOwnValuesAreAccepted(t *testing.T) {
	for name, test := range map[string]invalid{
		"alone": {stack: "production"},
		"with other stacks": {stack: "production", files: map[string]string{
			"Pulumi.test.yaml": "config:\n  immutable-infra:domain: test.our-site.org\n  immutable-infra:zoneId: " +
				"Z00000000000000000001\n",
			"Pulumi.local.yaml":      "config:\n  immutable-infra:domain: site.localcloud.test\n",
			"Pulumi.production.yaml": "config:\n  immutable-infra:domain: our-site.org\n",
			"Pulumi.empty.yaml":      "",
			"Pulumi.new.yaml":        "encryptionsalt: v1:x\n",
			"Pulumi.encrypted.yaml":  "config:\n  immutable-infra:domain:\n    secure: v1:x\n",
			"Pulumi.wrong.yaml": "config:\n  immutable-infra:domain: [our-site.org]\n  immutable-infra:sshPort: x\n  " +
				"immutable-infra:aliases:\n",
			"Pulumi.README.md":        "[",
			"Pulumi.yaml":             "[",
			"Other.production.1.yaml": "[",
		}, change: map[string]string{"zoneId": "Z00000000000000000001"}},
		"below a CAA record of any account": {
			stack:  "test",
			files:  map[string]string{"Pulumi.production.yaml": pinnedStack("; validationmethods=http-01")},
			change: below(),
		},
		"with a CAA record of its own": {stack: "test", files: map[string]string{
			"Pulumi.production.yaml": pinnedStack("; accounturi=https://acme-v02.api.letsencrypt.org/acme/acct/1"),
		},
			change: below(`{"name": "test.our-site.org", "type": "CAA", "values": ["0 issue \"letsencrypt.org\""]}`)},
		"open to the world": {stack: "production", change: map[string]string{"sshAllowFrom": `["0.0.0.0/0"]`}},
		"delegating to test": {stack: "production",
			files:  map[string]string{"Pulumi.test.yaml": "config:\n  immutable-infra:domain: test.our-site.org\n"},
			change: map[string]string{"dnsRecords": `[{"name": "test.our-site.org", "type": "A", "values": ["100.64.7.8"]}]`}},
		"a name like one of examples": {
			stack:  "production",
			change: map[string]string{"domain": "myexample.org", "aliases": `["example.org.uk", "test.dev"]`},
		},
		"staging in test": {
			stack:  "test",
			change: map[string]string{"acmeDirectory": "https://acme-staging-v02.api.letsencrypt.org/directory"},
		},
		"a rehearsal": {stack: "local-production", files: map[string]string{
			"Pulumi.local.yaml": "config:\n  immutable-infra:domain: site.localcloud.test\n  immutable-infra:ami: " +
				"ami-0deb1a13000000000\n",
		},
			change: map[string]string{
				"domain":       "production.localcloud.test",
				"ami":          "ami-0deb1a13000000000",
				"sshAllowFrom": `["198.18.0.1/32", "192.0.2.7/32"]`,
				"acmeEmail":    "a@example.org",
			}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Empty(t, test.problems(t, test.values(t)))
		})
	}
}

// stackOf returns the problems of a stack of the repository, possibly under another name.
func stackOf(t *testing.T, root, file, name string) Problems {
	t.Helper()
	values, err := readFile(filepath.Join(root, file), "immutable-infra")
	require.NoError(t, err)
	return invalid{stack: name}.problems(t, values)
}

func TestPlaceholdersOfTheRepositoryAreRejected(t *testing.T) {
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	inProject(t)
	for stack, keys := range map[string][]string{
		"production": {
			"acmeEmail", "admins[0].keys[0]", "aliases[0]", "ami", "dnsRecords[0].name", "dnsRecords[1].name", "domain",
			"sshAllowFrom[0]", "zoneId",
		},
		"test": {"acmeEmail", "admins[0].keys[0]", "ami", "domain", "sshAllowFrom[0]"},
	} {
		problems := stackOf(t, root, "Pulumi."+stack+".yaml", stack)
		var named []string
		for _, problem := range problems {
			named = append(named, problem.Key)
			require.Contains(t, problem.Reason, "is a documentation placeholder; write ", problem.Key)
		}
		require.Equal(t, keys, named, stack)
	}
}

func TestCopyOfTheLocalStackIsRejectedInProduction(t *testing.T) {
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	inProject(t)
	require.NoError(t, os.MkdirAll(".localcloud/ssh", 0o755))
	require.NoError(t, os.WriteFile(".localcloud/ssh/id_ed25519.pub", []byte(publicKey(t)), 0o644))
	require.NoError(t, os.Mkdir(".localcloud/tls", 0o755))
	require.NoError(t, os.WriteFile(".localcloud/tls/acme.pem", certificate(t), 0o644))
	content, err := os.ReadFile(filepath.Join(root, "Pulumi.local.yaml"))
	require.NoError(t, err)
	require.Empty(t, stackOf(t, root, "Pulumi.local.yaml", "local"))

	require.NoError(t, os.WriteFile("Pulumi.local.yaml", content, 0o644))
	var named []string
	for _, problem := range stackOf(t, root, "Pulumi.local.yaml", "production") {
		named = append(named, problem.Key)
	}
	require.Equal(t,
		[]string{"acmeCA", "acmeDirectory", "acmeEmail", "admins[0].keys[0]", "aliases[0]", "aliases[0]", "ami",
			"dnsRecords[0].name", "dnsRecords[1].name", "domain", "domain", "sshAllowFrom[0]", "uptimeRobotAPI", "zoneId"},
		named,
		"the names are also those of the stack local")
}

func TestTheStacksOfTheRepositoryHaveNoNameInCommon(t *testing.T) {
	files, err := filepath.Glob("../Pulumi.*.yaml")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 3)
	of := map[string]string{}
	for _, file := range files {
		values, err := readFile(file, "immutable-infra")
		require.NoError(t, err)
		for _, name := range names((&validator{}).read(values)) {
			require.Empty(t, of[name], "%s is in %s, too", name, file)
			of[name] = file
		}
	}
}
