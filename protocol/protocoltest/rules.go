package protocoltest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Rules are what clients of a protocol rely on, and what would fail if a rule were broken: tests or golden files, parted by spaces,
// with their folder before them when it is not the one that is tested. It fails where a rule names something that is not there.
// dirs are the folders with tests, "." among them.
func Rules(t *testing.T, rules map[string]string, dirs ...string) {
	t.Helper()
	tests := map[string]bool{}
	for _, dir := range dirs {
		files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
					tests[strings.TrimPrefix(dir+"/", "./")+fn.Name.Name] = true
				}
			}
		}
	}
	for rule, all := range rules {
		for by := range strings.FieldsSeq(all) {
			if strings.HasSuffix(by, ".txt") {
				if !strings.Contains(by, "/") {
					by = "testdata/" + by
				}
				if _, err := os.Stat(filepath.FromSlash(by)); err != nil {
					t.Errorf("%s: %v", rule, err)
				}
			} else if !tests[by] {
				t.Errorf("%s: there is no %s", rule, by)
			}
		}
	}
}
