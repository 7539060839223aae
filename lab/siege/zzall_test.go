package siege

import (
	"os"
	"slices"
	"strings"
	"testing"
)

func TestAllMutants(t *testing.T) {
	want := strings.Split(os.Getenv("MUTANTS"), "|")
	cases := slices.DeleteFunc(Cases(), func(c Case) bool { return c.Slow })
	h := Hunt{Source: "../..", Dir: t.TempDir()}
	stock := NewStock()
	for _, m := range Mutants() {
		if os.Getenv("MUTANTS") != "" && !slices.ContainsFunc(want, func(w string) bool { return strings.Contains(m.Name, w) }) {
			continue
		}
		f, err := h.hunt(t.Context(), stock, m, cases)
		t.Log(m.Name, "->", f, err)
		if f == "" {
			t.Errorf("SURVIVED %s", m.Name)
		}
	}
}
