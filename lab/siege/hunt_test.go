package siege

import "testing"

func TestEveryStepOfVerificationIsWatched(t *testing.T) {
	if testing.Short() {
		t.Skip("builds mutants")
	}
	const some = 4
	out, err := Hunt{Source: "../..", Dir: t.TempDir(), Seed: 1, Some: some}.Run(t.Context())
	for _, note := range out.Notes {
		t.Error(note)
	}
	if err != nil || out.Tried != some {
		t.Error(out.Tried, out.Detail, err)
	}
}
