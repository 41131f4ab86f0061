package scripts

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// gnuOnly returns constructs that bash 3.2 or the BSD tools of macOS lack, with an example of each.
func gnuOnly() map[string]*regexp.Regexp {
	// begin matches the text before a command.
	const begin = "(^|[|&;({`!]|\\b(if|then|do|else|while|until|exec|env|sudo)\\s)\\s*"
	command := func(names string) *regexp.Regexp {
		return regexp.MustCompile(begin + "(" + names + `)(\s|$|\))`)
	}
	option := func(program, options string) *regexp.Regexp {
		return regexp.MustCompile(begin + program + `\s([^|;&()]*\s)?(` + options + `)`)
	}
	return map[string]*regexp.Regexp{
		`x=$(realpath "$y")`: command("realpath|readarray|mapfile|coproc"),
		"a | sha256sum":      command("sha256sum|md5sum|tac|nproc|shuf|numfmt|setsid"),
		// curl is not listed: macOS and GitHub's runners have it.
		"if getent hosts a": command("getent|wget|timeout|ip|ss"),
		"find . | sort -z":  option("sort", `-[a-zA-Z]*[zV]|--`),
		"sed -i s/a/b/ c":   option("sed", `-i|-r|--`),
		"date -d yesterday": option("date", `-d|-I|--|\+%N`),
		"readlink -f a":     option("readlink", `-`),
		"stat -c %s a":      option("stat", `-c|--`),
		"find . -printf %p": option("find", `-printf|-regextype|-readable`),
		"grep -P a":         option("grep", `-[a-zA-Z]*P|--(?:perl|only|include)`),
		"wc --bytes": option(
			"(wc|cut|head|tail|cp|mv|ln|mktemp|mkdir|chmod|du|tr|tee|uniq|basename|touch|rm|cat|xargs)", `--[a-z]`),
		"xargs -r a":        option("xargs", `-[rd]\b`),
		"head -n -1":        option("head", `-n -|-c -`),
		"cp -t a b":         option("cp", `-t|-u`),
		"mktemp -p a":       option("mktemp", `-p`),
		"base64 -w 0":       option("base64", `-w`),
		"declare -A a":      regexp.MustCompile(`\b(declare|local|typeset) -[a-z]*[An]`),
		`echo "${a,,}"`:     regexp.MustCompile(`\$\{\w+(,|\^|@[A-Za-z])`),
		"a &>>b":            regexp.MustCompile(`&>>|\|&`),
		"wait -n":           regexp.MustCompile(`\bwait -n|\bread -N|\bprintf '%\(`),
		"grep 'a\\+' b":     regexp.MustCompile(begin + `grep\s+(-[a-zA-Z]*[^E\s]+\s+)?'[^']*\\[+?|]`),
		"${a[-1]}":          regexp.MustCompile(`\[-\d+\]`),
		"shopt -s globstar": regexp.MustCompile(`\bshopt -s (globstar|lastpipe|inherit_errexit)`),
	}
}

// Operators also deploy from macOS.
func TestDeploymentScriptsNeedNoGNUTools(t *testing.T) {
	// These run only on Debian or in tests.
	debianOnly := []string{"unpack.sh", "observatory.sh"}
	scripts, err := filepath.Glob("*.sh")
	require.NoError(t, err)
	checked := 0
	for _, path := range scripts {
		if slices.Contains(debianOnly, path) {
			continue
		}
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		checked++
		for number, line := range strings.Split(string(content), "\n") {
			line, _, _ = strings.Cut(line, " # ")
			if strings.HasPrefix(strings.TrimSpace(line), "#") {
				continue
			}
			for example, construct := range gnuOnly() {
				require.False(t, construct.MatchString(line), "%s:%d has a construct such as `%s`, which macOS lacks: %s", path,
					number+1, example, line)
			}
		}
	}
	require.Greater(t, checked, 5)
	for example, construct := range gnuOnly() {
		require.Regexp(t, construct, example)
	}
}
