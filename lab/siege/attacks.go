package siege

import (
	"context"
	"slices"

	"github.com/slipstream-ota/slipstream/lab/driver"
)

// Case is one attack or theft by name. Run tries it on a device that was never used before and says what went wrong.
type Case struct {
	Name string
	Slow bool // takes seconds: for full runs
	Run  func(ctx context.Context, stock *Stock, d driver.Driver, dir string) error
}

// Cases are all attacks and thefts.
func Cases() []Case {
	var out []Case
	for _, a := range Attacks() {
		out = append(out, Case{Name: a.Name, Slow: a.slow, Run: a.Run})
	}
	return append(out, thefts()...)
}

// Attacks are all of them, by family.
func Attacks() []Attack {
	return slices.Concat(peace(), forged(), strict(), misdirected(), mislabelled(), unfit(), roots(), rotations(), epochs(), replays(), downgrades(), extraneous(), mirrors(), staged(), nulls(), network(), floods())
}

// peace is the case in which nobody attacks: whatever fails it proves nothing about attacks.
func peace() []Attack {
	return []Attack{{Name: "no attack", Runs: "next", strike: func(s *siege) error { s.origin.offer(s.next); return nil }}}
}
