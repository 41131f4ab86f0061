package repository

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// attack is a row of a table in docs/attacks.md.
type attack struct {
	// point is the number in the heading of the row's section.
	point string
	// cells has the attack, the result before, the result now, and the tests.
	cells []string
}

// attacksIn parses the rows of a document's tables of attacks.
func attacksIn(document string) []attack {
	var found []attack
	point, inTable := "", false
	heading := regexp.MustCompile(`^## (\d+)\. `)
	for line := range strings.Lines(document) {
		line = strings.TrimSpace(line)
		if match := heading.FindStringSubmatch(line); match != nil {
			point = match[1]
		}
		switch {
		case line == "| attack | before | now | test |":
			inTable = true
		case !strings.HasPrefix(line, "|"):
			inTable = false
		case inTable && !strings.HasPrefix(line, "|---"):
			cells := strings.Split(strings.Trim(line, "|"), " | ")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			found = append(found, attack{point, cells})
		}
	}
	return found
}

// checkTests checks that the tests in a cell exist. A cell is "`directory`: `Test`, `Test/subtest`; `directory`: ...".
func checkTests(root, cell string) error {
	for group := range strings.SplitSeq(cell, "; `") {
		directory, names, ok := strings.Cut(strings.TrimPrefix(group, "`"), "`: `")
		if !ok {
			return fmt.Errorf("%q names no directory and test", group)
		}
		for name := range strings.SplitSeq(strings.TrimSuffix(names, "`"), "`, `") {
			if err := findTest(filepath.Join(root, directory), name); err != nil {
				return err
			}
		}
	}
	return nil
}

// findTest searches a directory for a test function, and the function's file for the name of the subtest as a literal.
func findTest(directory, name string) error {
	function, subtest, _ := strings.Cut(name, "/")
	files, err := filepath.Glob(filepath.Join(directory, "*_test.go"))
	if err != nil {
		return err
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if !declares(file, function) {
			continue
		}
		if subtest != "" && !strings.Contains(string(text), `"`+subtest+`"`) {
			return fmt.Errorf("%s has no subtest %q in %s", function, subtest, path)
		}
		return nil
	}
	return fmt.Errorf("%s has no test %q", directory, function)
}

// declares reports whether a file declares a test or fuzz function with this name.
func declares(file *ast.File, name string) bool {
	if !regexp.MustCompile(`^(?:Test|Fuzz)[A-Z]`).MatchString(name) {
		return false
	}
	for _, declaration := range file.Decls {
		function, ok := declaration.(*ast.FuncDecl)
		if ok && function.Recv == nil && function.Name.Name == name {
			return true
		}
	}
	return false
}

func TestEachAttackNamesATestThatExists(t *testing.T) {
	document, err := os.ReadFile("../../docs/attacks.md")
	require.NoError(t, err)
	attacks := attacksIn(string(document))
	require.GreaterOrEqual(t, len(attacks), 40)
	points := map[string]int{}
	for _, attack := range attacks {
		require.Len(t, attack.cells, 4, "%q", attack.cells)
		for _, cell := range attack.cells {
			require.NotEmpty(t, cell, "%q", attack.cells)
		}
		require.NoError(t, checkTests("../..", attack.cells[3]), attack.cells[0])
		points[attack.point]++
	}
	for _, point := range []string{"9", "10", "11", "12", "13", "14", "15", "16"} {
		require.NotZero(t, points[point], "point %s", point)
	}
}

func TestAnAttackWithoutItsTestIsFound(t *testing.T) {
	// Assembled at run time, so that this file does not contain the literal.
	missing := strings.Join([]string{"no", "such", "subtest"}, " ")
	for name, c := range map[string]struct{ cell, err string }{
		"a test":    {"`internal/repository`: `TestAnAttackWithoutItsTestIsFound`", ""},
		"a subtest": {"`internal/repository`: `TestAnAttackWithoutItsTestIsFound/a subtest`", ""},
		"a subtest of no name": {"`internal/repository`: `TestAnAttackWithoutItsTestIsFound/" + missing + "`",
			"has no subtest"},
		"another directory's":    {"`server`: `TestAnAttackWithoutItsTestIsFound`", `has no test "TestAnAttack`},
		"a directory of no name": {"`nowhere`: `TestX`", `has no test "TestX"`},
		"no test function":       {"`internal/repository`: `checkTests`", `has no test "checkTests"`},
		"the second of two": {"`internal/repository`: `TestAnAttackWithoutItsTestIsFound`, `TestNothing`",
			`has no test "TestNothing"`},
		"the second directory's": {"`server/manifest`: `FuzzManifest`; `internal/repository`: `TestNothing`",
			`has no test "TestNothing"`},
		"words": {"a test of this", "names no directory and test"},
	} {
		t.Run(name, func(t *testing.T) {
			err := checkTests("../..", c.cell)
			if c.err == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.err)
		})
	}
}
