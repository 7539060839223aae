package siege

import (
	"slices"
	"strings"
	"testing"
)

// TestEveryMutantStillFitsTheSource: a step that moved takes its mutant along. That each is found out is the proof mutants.
func TestEveryMutantStillFitsTheSource(t *testing.T) {
	t.Parallel()
	cases := Cases()
	names := map[string]bool{}
	for _, m := range Mutants() {
		if names[m.Name] {
			t.Errorf("two mutants are called %q", m.Name)
		}
		names[m.Name] = true
		if _, err := edited("../..", m.Edits); err != nil {
			t.Errorf("without %q: %v", m.Name, err)
		}
		for _, by := range m.By {
			if !slices.ContainsFunc(cases, func(c Case) bool { return strings.HasPrefix(c.Name, by) }) {
				t.Errorf("without %q: no attack begins with %q", m.Name, by)
			}
		}
	}
}
