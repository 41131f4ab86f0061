// Package repository tests the repository's own files: documents, workflows, modules and line ends.
package repository

import (
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// listed returns the tracked files that match patterns, relative to the repository's root.
func listed(t *testing.T, patterns ...string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git",
		append([]string{"-C", "../..", "ls-files", "-z", "--"}, patterns...)...).Output()
	require.NoError(t, err)
	var files []string
	for file := range strings.SplitSeq(strings.Trim(string(out), "\x00"), "\x00") {
		if _, err := os.Stat("../../" + file); err == nil && file != "" {
			files = append(files, file)
		}
	}
	require.NotEmpty(t, files, patterns)
	return files
}

// documents returns the project's documents by path, without those of the sites in the repository.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, file := range listed(t, "*.md") {
		if strings.HasPrefix(file, "site/") || strings.HasPrefix(file, "e2e/sites/") {
			continue
		}
		text, err := os.ReadFile("../../" + file)
		require.NoError(t, err)
		texts[file] = string(text)
	}
	require.Contains(t, texts, "README.md")
	require.Contains(t, texts, "docs/runbook.md")
	return texts
}

var (
	fence   = regexp.MustCompile("^ *(```|~~~)")
	heading = regexp.MustCompile(`^#+ +(.*)$`)
	link    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
)

// prose returns the lines of a text, with code blocks replaced by empty lines.
func prose(text string) []string {
	lines, code := strings.Split(text, "\n"), false
	for i, line := range lines {
		isFence := fence.MatchString(line)
		if code || isFence {
			lines[i] = ""
		}
		code = code != isFence
	}
	return lines
}

// anchors returns the fragments that GitHub assigns to the headings of a text.
func anchors(text string) []string {
	var found []string
	for _, line := range prose(text) {
		match := heading.FindStringSubmatch(line)
		if match == nil {
			continue
		}
		slug := strings.ToLower(strings.NewReplacer("`", "", "*", "").Replace(match[1]))
		slug = regexp.MustCompile(`[^\pL\pN _-]`).ReplaceAllString(slug, "")
		found = append(found, strings.ReplaceAll(slug, " ", "-"))
	}
	return found
}

func TestLinksOfDocumentsResolve(t *testing.T) {
	texts, checked := documents(t), 0
	for file, text := range texts {
		for _, match := range link.FindAllStringSubmatch(strings.Join(prose(text), "\n"), -1) {
			target, fragment, _ := strings.Cut(match[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "${") {
				continue
			}
			checked++
			to := file
			if target != "" {
				to = path.Join(path.Dir(file), target)
				require.FileExists(t, "../../"+to, "%s links to %s", file, match[1])
			}
			if fragment != "" {
				require.Contains(t, anchors(texts[to]), fragment, "%s links to %s", file, match[1])
			}
		}
	}
	require.Greater(t, checked, 100)
}

func TestProseWrapsAt100Columns(t *testing.T) {
	for file, text := range documents(t) {
		for number, line := range prose(text) {
			if strings.HasPrefix(strings.TrimSpace(line), "|") || !strings.Contains(strings.TrimSpace(line), " ") {
				continue // A table, or a link that cannot be broken.
			}
			assert.LessOrEqual(t, utf8.RuneCountInString(line), 100, "%s:%d: %s", file, number+1, line)
		}
	}
}

func TestParagraphsHaveAtMostFiveLines(t *testing.T) {
	item := regexp.MustCompile(`^\s*([-*>]|\d+\.) `)
	for file, text := range documents(t) {
		lines := 0
		for number, line := range prose(text) {
			switch trimmed := strings.TrimSpace(line); {
			case trimmed == "", strings.HasPrefix(trimmed, "|"), strings.HasPrefix(trimmed, "#"):
				lines = 0
			case item.MatchString(line):
				lines = -100 // An item of a list may be longer.
			default:
				lines++
			}
			require.LessOrEqual(t, lines, 5, "%s:%d: split the paragraph", file, number+1)
		}
	}
}

func TestReadmeHasAtMost150Lines(t *testing.T) {
	require.LessOrEqual(t, strings.Count(documents(t)["README.md"], "\n"), 150)
}

func TestCommandsInDocumentsExist(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	require.NoError(t, err)
	var targets []string
	for _, match := range regexp.MustCompile(`(?m)^([a-z0-9-]+):`).FindAllStringSubmatch(string(makefile), -1) {
		targets = append(targets, match[1])
	}
	command := regexp.MustCompile("(?:`|\\$ |\\(|&& )make (?:-s )?([a-z][a-z0-9-]*)")
	used := map[string]bool{}
	for file, text := range documents(t) {
		for number, line := range strings.Split(text, "\n") {
			for _, match := range command.FindAllStringSubmatch(line, -1) {
				used[match[1]] = true
				// "make site" is an example of a site's own build.
				require.Contains(t, append(targets, "site"), match[1], "%s:%d: %s", file, number+1, line)
			}
		}
	}
	require.Greater(t, len(used), 15)
}

func TestTestsInDocumentsExist(t *testing.T) {
	var tests []string
	for _, file := range listed(t, "*_test.go") {
		text, err := os.ReadFile("../../" + file)
		require.NoError(t, err)
		for _, match := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(string(text), -1) {
			tests = append(tests, match[1])
		}
	}
	for file, text := range documents(t) {
		for _, name := range regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(text, -1) {
			require.True(t, slices.ContainsFunc(tests, func(test string) bool { return strings.HasPrefix(test, name) }),
				"%s: no test is called %s", file, name)
		}
	}
}

func TestContributingNamesFilesThatExist(t *testing.T) {
	text := documents(t)["CONTRIBUTING.md"]
	named := regexp.MustCompile("`([A-Za-z._-]+(?:/[A-Za-z0-9._*-]+)*/?)`")
	found := 0
	for _, match := range named.FindAllStringSubmatch(text, -1) {
		name := match[1]
		if !strings.ContainsAny(name, "/.") || strings.HasPrefix(name, "immutable") {
			continue
		}
		found++
		if strings.HasPrefix(name, "compose.") {
			name = "server/files/" + name
		}
		listed(t, strings.TrimSuffix(name, "/"))
	}
	require.Greater(t, found, 20)
}

func TestDecisionsAreRecords(t *testing.T) {
	records := strings.Split(documents(t)["docs/decisions.md"], "\n### ")[1:]
	require.Greater(t, len(records), 50)
	for _, record := range records {
		title, _, _ := strings.Cut(record, "\n")
		at := 0
		for _, part := range []string{"**Context.**", "**Options.**", "**Choice.**", "**Cost.**"} {
			next := strings.Index(record[at:], part)
			require.GreaterOrEqual(t, next, 0, "%s has no %s, or has it in the wrong place", title, part)
			at += next
		}
	}
}
