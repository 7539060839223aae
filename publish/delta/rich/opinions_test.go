package rich

import (
	"math/rand/v2"
	"testing"
)

func TestMachineCodeAsksAndTellsCountersAsGoDoes(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(5, 5))
	c := newCurves()
	const n = maxContexts
	lines, refine := make([]line, 8), newRefine(n)
	for i := range lines {
		for k := range lines[i] {
			lines[i][k] = uint16(r.UintN(13)<<12 | r.UintN(4096))
		}
	}
	wantLines, wantRefine := make([]line, len(lines)), make([]meanings, n)
	for range 20_000 {
		copy(wantLines, lines)
		copy(wantRefine, refine)
		var cells, wantCells [maxInputs]*counter // fewer than contexts, so that some share one
		for k := range n {
			i := r.IntN(len(lines))
			cells[k], wantCells[k] = &lines[i][0], &wantLines[i][0]
		}
		at, bit := r.IntN(16), r.IntN(2)
		var in, wantIn row
		var meant, wantMeant [maxInputs]uint16
		ask(&cells, at, n, &refine[0], &c.stretch, &in, &meant)
		askGo(&wantCells, at, n, &wantRefine[0], &c.stretch, &wantIn, &wantMeant)
		if in != wantIn || meant != wantMeant {
			t.Fatalf("opinions %v at %v, not %v at %v", in, meant, wantIn, wantMeant)
		}
		learn(&cells, at, n, &refine[0], &meant, bit)
		learnGo(&wantCells, at, n, &wantRefine[0], &wantMeant, bit)
		for i := range lines {
			if lines[i] != wantLines[i] {
				t.Fatalf("after a %d counters are %v, not %v", bit, lines[i], wantLines[i])
			}
		}
		for k := range refine {
			if refine[k] != wantRefine[k] {
				t.Fatalf("after a %d the meanings of context %d are others", bit, k)
			}
		}
	}
}
