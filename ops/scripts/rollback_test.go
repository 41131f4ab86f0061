package scripts

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// rollbacks is a clone with a stack and its deployments. Its fake Pulumi prints the history, and an update records the
// site's page.
type rollbacks struct {
	*machine
	// project is the program's folder, relative to the top of the clone.
	project string
	// site is the site's folder, relative to the top of the clone; siteDir is the configured value.
	site, siteDir string
	commits       []string
}

// newRollbacks creates a clone without commits, with the program in a folder.
func newRollbacks(t *testing.T, project, site, siteDir string) *rollbacks {
	t.Helper()
	r := &rollbacks{machine: newMachine(t), project: project, site: site, siteDir: siteDir}
	r.dir = t.TempDir()
	config := filepath.Join(t.TempDir(), "gitconfig")
	require.NoError(t, os.WriteFile(config,
		[]byte("[user]\n\tname = t\n\temail = t@localhost\n[protocol \"file\"]\n\tallow = always\n[url "+
			"\"file:///\"]\n\tinsteadOf = /\n[init]\n\tdefaultBranch = main\n"), 0o644))
	r.env = append(r.env, "GIT_CONFIG_GLOBAL="+config, "GIT_CONFIG_NOSYSTEM=1")
	r.program(t, "pulumi", fmt.Sprintf(`case "$1 $2" in
"stack history") cat %[1]s/history;;
"config --json")
  sed -n 's/^  immutable-infra:siteDir: \(.*\)/{"immutable-infra:siteDir": {"value": "\1"}}/p' "${7:?}" |
    grep . || echo '{}';;
"up --yes")
  cd "$(git rev-parse --show-toplevel)" && cat "%[2]s/page" "%[2]s/theme/layout" >>%[1]s/deployed 2>/dev/null || true
  exit ${PULUMI_STATUS:-0};;
*) echo "unexpected: $*" >&2; exit 1;;
esac`, r.bin, site))
	r.git(t, "init", "--quiet")
	for _, script := range []string{"rollback.sh", "checkout.sh"} {
		content, err := os.ReadFile(script)
		require.NoError(t, err)
		r.put(t, filepath.Join(project, "ops", "scripts", script), string(content))
	}
	require.NoError(t, os.Chmod(filepath.Join(r.dir, project, "ops", "scripts", "rollback.sh"), 0o755))
	configuration := "config:\n  immutable-infra:domain: example.org\n"
	if siteDir != "" {
		configuration += "  immutable-infra:siteDir: " + siteDir + "\n"
	}
	r.put(t, filepath.Join(project, "Pulumi.production.yaml"), configuration)
	return r
}

func (r *rollbacks) put(t *testing.T, name, content string) {
	t.Helper()
	path := filepath.Join(r.dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
}

// deploy commits all files and adds the commit to the history.
func (r *rollbacks) deploy(t *testing.T) {
	t.Helper()
	r.git(t, "add", "--all")
	r.git(t, "commit", "--quiet", "--message", fmt.Sprintf("deployment %d", len(r.commits)+1))
	r.commits = append(r.commits, r.git(t, "rev-parse", "HEAD"))
	var updates []string
	for _, commit := range r.commits {
		updates = append([]string{fmt.Sprintf(`{"kind": "update", "result": "succeeded", "environment": {"git.head": %q}}`,
			commit)}, updates...)
	}
	require.NoError(t, os.WriteFile(filepath.Join(r.bin, "history"), []byte("["+strings.Join(updates, ",")+"]"), 0o644))
}

func (r *rollbacks) rollBack(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	return r.run(t, filepath.Join(r.dir, r.project, "ops", "scripts", "rollback.sh"),
		append([]string{"production"}, args...)...)
}

// deployed returns the pages that all updates recorded.
func (r *rollbacks) deployed(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(r.bin, "deployed"))
	if os.IsNotExist(err) {
		return ""
	}
	require.NoError(t, err)
	return string(content)
}

// refused requires that a rollback fails with a message without changing or deploying anything.
func (r *rollbacks) refused(t *testing.T, message string) {
	t.Helper()
	before := r.state(t)
	_, stderr, err := r.rollBack(t)
	require.Error(t, err)
	require.Contains(t, stderr, message)
	require.Equal(t, before, r.state(t), stderr)
	require.Empty(t, r.deployed(t))
}

// state describes the clone according to git and the file system.
func (r *rollbacks) state(t *testing.T) string {
	t.Helper()
	out := r.git(t, "status", "--porcelain", "--ignore-submodules=none") + r.git(t, "submodule", "status", "--recursive")
	content, _ := os.ReadFile(filepath.Join(r.dir, r.site, "page"))
	return out + string(content)
}

func TestRollBackRestoresTheSite(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ project, site, siteDir string }{
		"in a folder of the program":      {".", "site", ""},
		"configured":                      {".", "blog/source", "./blog/source/"},
		"around the program":              {"_infra", ".", ".."},
		"next to the program":             {"ops/infra", "blog", "../../blog"},
		"through a link in the checkout":  {".", "real", "linked"},
		"through a link to a link and up": {"infra", "real", "away/there"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRollbacks(t, test.project, test.site, test.siteDir)
			links := map[string]string{"linked": "real", "infra/away": "../hop", "hop": "./up/..", "there": "real"}
			for link, target := range links {
				if test.site == "real" {
					require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(r.dir, link)), 0o755))
					require.NoError(t, os.Symlink(target, filepath.Join(r.dir, link)))
				}
			}
			r.put(t, "up/keep", "")
			r.put(t, filepath.Join(test.site, "page"), "first\n")
			r.deploy(t)
			r.put(t, filepath.Join(test.site, "page"), "second\n")
			r.deploy(t)
			stdout, stderr, err := r.rollBack(t)
			require.NoError(t, err, stderr)
			require.Equal(t, "first\n", r.deployed(t))
			require.Contains(t, stdout, "Stack production and this checkout are at "+r.commits[0][:12])
		})
	}
}

func TestRollBackRestoresASiteAtAnAbsolutePath(t *testing.T) {
	t.Parallel()
	r := newRollbacks(t, "infra", "blög site", "")
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(r.dir, link))
	for i, dir := range []string{r.dir, link} {
		r.put(t, "infra/Pulumi.production.yaml", "config:\n  immutable-infra:siteDir: "+dir+"/blög site\n")
		r.put(t, "blög site/page", fmt.Sprintf("page %d\n", i))
		r.deploy(t)
	}
	r.put(t, "blög site/page", "page 3\n")
	r.deploy(t)
	for _, commit := range r.commits[:2] {
		_, stderr, err := r.rollBack(t, commit)
		require.NoError(t, err, stderr)
		r.git(t, "restore", "--staged", "--worktree", ":/")
	}
	require.Equal(t, "page 0\npage 1\n", r.deployed(t))
}

func TestRollBackRefusesASiteOutsideTheRepository(t *testing.T) {
	t.Parallel()
	elsewhere := t.TempDir()
	for name, test := range map[string]struct{ siteDir, link, message string }{
		"next to the repository":  {"../blog", "", "siteDir ../blog is not in this repository"},
		"at an absolute path":     {elsewhere, "", "cannot roll the site back: siteDir " + elsewhere + " is not in"},
		"through a link":          {"blog", elsewhere, "siteDir blog is not in this repository"},
		"through a circular link": {"blog", "blog", "is not in this repository"},
		"through a link up":       {"blog", "../blog", "is not in this repository"},
		"in a folder git ignores": {"ignored", "", "does not contain siteDir ignored"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRollbacks(t, ".", "site", test.siteDir)
			r.put(t, ".gitignore", "ignored\n")
			r.put(t, "ignored/page", "ignored\n")
			if test.link != "" {
				require.NoError(t, os.Symlink(test.link, filepath.Join(r.dir, "blog")))
			}
			r.deploy(t)
			r.put(t, "more", "")
			r.deploy(t)
			r.refused(t, test.message)
		})
	}
	r := newRollbacks(t, ".", "site", "")
	require.NoError(t, os.Remove(filepath.Join(r.dir, "Pulumi.production.yaml")))
	r.put(t, "site/page", "first\n")
	r.deploy(t)
	r.put(t, "Pulumi.production.yaml", "config: {}\n")
	r.deploy(t)
	r.refused(t, "has no Pulumi.production.yaml")
}

// withSubmodule returns a clone whose site is a submodule with a nested submodule, deployed twice, and the site's
// repository.
func withSubmodule(t *testing.T) (r *rollbacks, origin *machine) {
	t.Helper()
	r = newRollbacks(t, ".", "site", "")
	repository := func(file, content string) *machine {
		m := &machine{bin: r.bin, env: r.env, dir: t.TempDir()}
		m.git(t, "init", "--quiet")
		require.NoError(t, os.WriteFile(filepath.Join(m.dir, file), []byte(content), 0o644))
		m.git(t, "add", "--all")
		m.git(t, "commit", "--quiet", "--message", "first")
		return m
	}
	theme := repository("layout", "plain\n")
	origin = repository("page", "first\n")
	origin.git(t, "submodule", "--quiet", "add", theme.dir, "theme")
	origin.git(t, "commit", "--quiet", "--message", "theme")
	r.git(t, "submodule", "--quiet", "add", origin.dir, "site")
	r.git(t, "submodule", "--quiet", "update", "--init", "--recursive")
	r.deploy(t)

	require.NoError(t, os.WriteFile(filepath.Join(theme.dir, "layout"), []byte("fancy\n"), 0o644))
	theme.git(t, "commit", "--quiet", "--all", "--message", "second")
	inner := &machine{bin: r.bin, env: r.env, dir: filepath.Join(origin.dir, "theme")}
	inner.git(t, "pull", "--quiet", "origin", "main")
	require.NoError(t, os.WriteFile(filepath.Join(origin.dir, "page"), []byte("second\n"), 0o644))
	origin.git(t, "commit", "--quiet", "--all", "--message", "second")
	r.git(t, "submodule", "--quiet", "update", "--remote", "--recursive", "site")
	r.deploy(t)
	return r, origin
}

func TestRollBackRestoresSubmodules(t *testing.T) {
	t.Parallel()
	r, _ := withSubmodule(t)
	stdout, stderr, err := r.rollBack(t)
	require.NoError(t, err, stderr)
	require.Equal(t, "first\nplain\n", r.deployed(t), "the site's recorded commit, and that of its submodule")
	require.Contains(t, stdout, "git submodule update --init --recursive --checkout")

	r.git(t, "restore", "--staged", "--worktree", ":/")
	r.git(t, "submodule", "--quiet", "update", "--init", "--recursive", "--checkout")
	require.Equal(t, "", r.git(t, "status", "--porcelain", "--ignore-submodules=none"))

	// A clone with empty submodules works, too.
	require.NoError(t, os.Remove(filepath.Join(r.bin, "deployed")))
	clone := t.TempDir()
	r.git(t, "clone", "--quiet", r.dir, clone)
	r.dir = clone
	_, stderr, err = r.rollBack(t)
	require.NoError(t, err, stderr)
	require.Equal(t, "first\nplain\n", r.deployed(t))
}

func TestRollBackRefusesToLoseWorkInASubmodule(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		work    func(t *testing.T, r *rollbacks, site *machine)
		message string
	}{
		"a changed file": {func(t *testing.T, r *rollbacks, _ *machine) {
			r.put(t, "site/page", "draft\n")
		}, "uncommitted changes; commit them"},
		"a changed file in a nested submodule": {func(t *testing.T, r *rollbacks, _ *machine) {
			r.put(t, "site/theme/layout", "draft\n")
		}, "uncommitted changes; commit them"},
		"another commit than the recorded one": {func(t *testing.T, _ *rollbacks, site *machine) {
			site.git(t, "checkout", "--quiet", "HEAD~1")
		}, "uncommitted changes; commit them"},
		"changes that git is told to ignore": {func(t *testing.T, r *rollbacks, _ *machine) {
			r.git(t, "config", "submodule.site.ignore", "all")
			r.put(t, "site/page", "draft\n")
		}, "uncommitted changes; commit them"},
		"an unpushed commit": {func(t *testing.T, r *rollbacks, site *machine) {
			site.git(t, "commit", "--quiet", "--allow-empty", "--message", "third")
			r.git(t, "commit", "--quiet", "--all", "--message", "third")
		}, "the submodule site has commits that are on no remote"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, _ := withSubmodule(t)
			test.work(t, r, &machine{bin: r.bin, env: r.env, dir: filepath.Join(r.dir, "site")})
			r.refused(t, test.message)
		})
	}
}

func TestFailedRollBackRestoresTheCheckout(t *testing.T) {
	t.Parallel()
	r, origin := withSubmodule(t)
	clone := t.TempDir()
	r.git(t, "clone", "--quiet", "--recurse-submodules", "--shallow-submodules", r.dir, clone)
	r.dir = clone
	// The site's repository is unavailable, and the clone lacks its history.
	require.NoError(t, os.Rename(origin.dir, origin.dir+".away"))
	t.Cleanup(func() { require.NoError(t, os.Rename(origin.dir+".away", origin.dir)) })
	r.refused(t, "nothing was deployed, this checkout is unchanged")
}

func TestRollBackRefusesASubmoduleThatWasAFolder(t *testing.T) {
	t.Parallel()
	r, origin := withSubmodule(t)
	for _, args := range [][]string{{"rm", "--quiet", "--cached", "site"}, {"rm", "--quiet", "-f", ".gitmodules"}} {
		r.git(t, args...)
	}
	require.NoError(t, os.RemoveAll(filepath.Join(r.dir, "site")))
	r.put(t, "site/page", "a folder\n")
	r.commits = nil
	r.deploy(t)
	r.git(t, "rm", "--quiet", "-r", "site")
	r.git(t, "submodule", "--quiet", "add", "--force", origin.dir, "site")
	r.git(t, "submodule", "--quiet", "update", "--init", "--recursive")
	r.deploy(t)
	r.refused(t, "site is a submodule now, and was part of this repository")
}

// withLFS returns a clone whose page is in Git LFS, deployed twice, with a git-lfs that has the content or does not
// work. The clone was created without git-lfs.
func withLFS(t *testing.T, works bool) *rollbacks {
	t.Helper()
	r := newRollbacks(t, ".", "site", "")
	store := t.TempDir()
	if works {
		// Like the real program, it looks up the content by the pointer on stdin.
		r.program(t, "git-lfs", fmt.Sprintf(`case $1 in
version) echo git-lfs/3;;
fetch) echo "fetched $3" >&2; [ -z "$OFFLINE" ];;
smudge) cat "%s/$(sed -n 's/^oid sha256://p')";;
clean) cat >"$0.$$"
  if head -n 1 "$0.$$" | grep -q ^version; then cat "$0.$$"; exit; fi
  printf 'version https://git-lfs.github.com/spec/v1\noid sha256:%%s\nsize %%d\n' \
    "$( (sha256sum || shasum -a 256) <"$0.$$" | cut -c 1-64)" "$(wc -c <"$0.$$")";;
*) echo "unexpected: $*" >&2; exit 1;;
esac`, store))
	} else {
		r.program(t, "git-lfs", "echo 'no git-lfs here' >&2; exit 1")
	}
	if works {
		r.git(t, "config", "filter.lfs.clean", "git-lfs clean -- %f")
	}
	for _, content := range []string{"first\n", "second\n"} {
		digest := fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
		require.NoError(t, os.WriteFile(filepath.Join(store, digest), []byte(content), 0o644))
		r.put(t, "site/.gitattributes", "page filter=lfs -text\npicture filter=lfs -text\n")
		r.put(t, "site/page", pointer(digest, len(content)))
		r.put(t, "site/about-lfs", "A pointer:\n"+pointer(digest, len(content)))
		if content == "first\n" {
			r.put(t, "site/picture", pointer(digest, len(content)))
		}
		r.deploy(t)
	}
	return r
}

// pointer returns the text that git stores for a file in LFS.
func pointer(digest string, size int) string {
	return fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", digest, size)
}

func TestRollBackFetchesFilesInLFS(t *testing.T) {
	t.Parallel()
	r := withLFS(t, true)
	_, stderr, err := r.rollBack(t)
	require.NoError(t, err, stderr)
	require.Contains(t, stderr, "fetched "+r.commits[0])
	require.Equal(t, "first\n", r.deployed(t))
	// This file is the same in both commits, and was a pointer in this checkout.
	picture, err := os.ReadFile(filepath.Join(r.dir, "site", "picture"))
	require.NoError(t, err)
	require.Equal(t, "first\n", string(picture))
	r.git(t, "commit", "--quiet", "--message", "back")
	require.Equal(t, "", r.git(t, "status", "--porcelain"), "git still stores pointers")

	withLFS(t, false).refused(t, "install git-lfs, run git lfs install, then: make rollback STACK=production TO=")
	r = withLFS(t, true)
	r.env = append(r.env, "OFFLINE=1")
	r.refused(t, "cannot fetch the files in Git LFS")
}

// Otherwise, an empty folder or a pointer would be deployed.
func TestDeploymentRefusesAnIncompleteCheckout(t *testing.T) {
	t.Parallel()
	deploy := func(t *testing.T, r *rollbacks) (stderr string) {
		t.Helper()
		for _, script := range []string{"deploy.sh", "smoke.sh"} {
			content, err := os.ReadFile(script)
			require.NoError(t, err)
			r.put(t, filepath.Join("ops", "scripts", script), string(content))
			require.NoError(t, os.Chmod(filepath.Join(r.dir, "ops", "scripts", script), 0o755))
		}
		r.program(t, "pulumi", `echo "$*" >&2; exit 3`)
		_, stderr, err := r.run(t, filepath.Join(r.dir, "ops", "scripts", "deploy.sh"), "production")
		require.Error(t, err)
		return stderr
	}
	r, _ := withSubmodule(t)
	promote, err := os.ReadFile("promote.sh")
	require.NoError(t, err)
	r.put(t, "ops/scripts/promote.sh", string(promote))
	require.NoError(t, os.Chmod(filepath.Join(r.dir, "ops", "scripts", "promote.sh"), 0o755))
	r.put(t, "Pulumi.test.yaml", "config: {}\n")
	r.deploy(t)
	// deploy.sh accepts a site at another commit than the recorded one, but promote.sh does not.
	site := &machine{bin: r.bin, env: r.env, dir: filepath.Join(r.dir, "site")}
	site.git(t, "checkout", "--quiet", "HEAD~1")
	r.git(t, "config", "submodule.site.ignore", "all")
	_, stderr, err := r.run(t, filepath.Join(r.dir, "ops", "scripts", "promote.sh"))
	require.Error(t, err)
	require.Contains(t, stderr, "uncommitted changes; commit them",
		"the tested version could not be reproduced")
	stderr = deploy(t, r)
	require.Contains(t, stderr, "up --stack production")

	inner := filepath.Join("site", "theme")
	r.git(t, "-C", "site", "submodule", "--quiet", "deinit", "--all", "--force")
	stderr = deploy(t, r)
	require.Contains(t, stderr,
		"empty submodules; fill them (git submodule update --init --recursive):\n"+inner+"\n")
	require.NotContains(t, stderr, "up --stack")

	r.git(t, "submodule", "--quiet", "update", "--init", "--recursive")
	r.put(t, "site/picture", pointer(strings.Repeat("0", 64), 7))
	site.git(t, "add", "picture")
	stderr = deploy(t, r)
	require.Contains(t, stderr,
		"Git LFS pointers without their content; install git-lfs, then run git lfs pull:\nsite: picture\n")
	require.NotContains(t, stderr, "up --stack")

	// An unpacked archive has no git data to check.
	require.NoError(t, os.RemoveAll(filepath.Join(r.dir, ".git")))
	stderr = deploy(t, r)
	require.Contains(t, stderr, "up --stack production")
}

func TestRollbackSkipsUpdatesThatOnlyCloseSSH(t *testing.T) {
	t.Parallel()
	r := newRollbacks(t, ".", "site", "")
	for _, content := range []string{"first\n", "failed\n", "latest\n"} {
		r.put(t, "site/page", content)
		r.deploy(t)
	}
	update := func(commit int, result, message string) string {
		return fmt.Sprintf(`{"kind": "update", "result": %q, "message": %q, "environment": {"git.head": %q}}`, result,
			message, r.commits[commit])
	}
	const closeSSH = "shut out of SSH"
	require.NoError(t, os.WriteFile(filepath.Join(r.bin, "history"), []byte("["+strings.Join([]string{
		update(2, "succeeded", closeSSH), update(2, "succeeded", "latest"), update(1, "succeeded", closeSSH),
		update(1, "failed", "failed"), update(0, "succeeded", "first"),
	}, ",")+"]"), 0o644))
	stdout, stderr, err := r.rollBack(t)
	require.NoError(t, err, stderr)
	require.Contains(t, stdout, "are at "+r.commits[0][:12])
	require.Equal(t, "first\n", r.deployed(t))
}
