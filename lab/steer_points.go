package lab

import (
	"context"
	"time"

	"github.com/slipstream-ota/slipstream/halt"
	"github.com/slipstream-ota/slipstream/halt/points"
)

// operatingPoints runs the shipped rule over made-up fleets: what docs/guard.md promises.
func operatingPoints() Proof {
	return Proof{
		Name: "operating points of the guard", Claim: "at most one good release in a hundred is halted although it is looked at all the time, and bad ones are halted after the stated numbers of devices",
		Quick: time.Minute, Full: 45 * time.Minute, Long: 35 * time.Second,
		Run: func(ctx context.Context, env Env) (Result, error) {
			t := &tally{}
			runs, good, halted := 0, 0, 0
			for _, c := range points.Cases(!env.Quick) {
				if ctx.Err() != nil {
					return t.result("stopped"), context.Cause(ctx)
				}
				r, err := c.Run(halt.DefaultRule(), env.Seed)
				t.try(1)
				if err != nil {
					t.wrongf("%v", err)
				}
				runs += r.Runs
				if c.Median == 0 {
					good, halted = good+r.Runs, halted+r.Halted
				}
			}
			return t.result("cases, %d rollouts; of %d good ones %d were halted", runs, good, halted), nil
		},
	}
}
