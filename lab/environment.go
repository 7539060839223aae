package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

func environment() Proof {
	return Proof{
		Name:  "environment",
		Claim: "a full, read-only, slow or lying disk, a wrong clock, a second process, few file handles or a database that is away cost service for a while, never what was acknowledged and never the app",
		Quick: 90 * time.Second, Full: 30 * time.Minute, Long: 60 * time.Second,
		Run: runEnvironment,
	}
}

// errNotHere says that a case needs something that this machine does not have.
var errNotHere = errors.New("not here")

// hardship is one named case: something that fails around the device or the server.
type hardship struct {
	name string
	try  func(ctx context.Context, t *trials) error
}

// trials counts what was tried in one case. Only one goroutine uses it.
type trials struct {
	env   Env
	dir   string // for scratch files of this case
	tried int
	wrong []string
}

// expect counts one trial and what was wrong with it, "" when nothing was.
func (t *trials) expect(what, problem string) {
	t.tried++
	if problem != "" {
		t.wrong = append(t.wrong, what+": "+problem)
	}
}

// expectf counts one trial that is right when ok.
func (t *trials) expectf(ok bool, what, format string, args ...any) {
	problem := ""
	if !ok {
		problem = fmt.Sprintf(format, args...)
	}
	t.expect(what, problem)
}

// outcome is what came of one case. skipped says why it was not tried, "" when it was.
type outcome struct {
	trials  *trials
	skipped string
	took    time.Duration
}

func runEnvironment(ctx context.Context, env Env) (Result, error) {
	// What happens to a server is mostly waiting: it goes beside what happens to devices.
	blobs, databases := serverHardships()
	group, gctx := errgroup.WithContext(ctx)
	lists := [3][]hardship{deviceHardships(), blobs, databases}
	outcomes := [3][]outcome{}
	for i, list := range lists {
		outcomes[i] = make([]outcome, len(list))
		group.Go(func() error {
			for k, h := range list {
				var err error
				if outcomes[i][k], err = tryOut(gctx, env, h, filepath.Join(env.Dir, fmt.Sprintf("case-%d-%d", i, k))); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := group.Wait()
	var r Result
	var kinds, skipped []string
	for i, list := range lists {
		for k, h := range list {
			o := outcomes[i][k]
			if o.trials == nil {
				continue
			}
			if o.skipped != "" {
				skipped = append(skipped, fmt.Sprintf("not tried: %s: %s", h.name, o.skipped))
				continue
			}
			env.Log.Info("environment", "case", h.name, "trials", o.trials.tried, "wrong", len(o.trials.wrong), "took", o.took)
			kinds = append(kinds, h.name)
			r.Tried, r.Wrong = r.Tried+o.trials.tried, r.Wrong+len(o.trials.wrong)
			for _, w := range o.trials.wrong {
				r.Notes = append(r.Notes, h.name+": "+w)
			}
		}
	}
	r.Detail = fmt.Sprintf("trials in %d cases (%s)", len(kinds), strings.Join(kinds, ", "))
	if len(skipped) > 0 {
		r.Detail += fmt.Sprintf("; %d not tried", len(skipped))
	}
	r.Notes = append(r.Notes, skipped...)
	return r, err
}

func tryOut(ctx context.Context, env Env, h hardship, dir string) (outcome, error) {
	t := &trials{env: env, dir: dir}
	if err := os.MkdirAll(t.dir, 0o755); err != nil {
		return outcome{}, fmt.Errorf("make scratch folder: %w", err)
	}
	begun := time.Now()
	err := h.try(ctx, t)
	o := outcome{trials: t, took: time.Since(begun).Round(time.Millisecond)}
	switch {
	case errors.Is(err, errNotHere):
		o.skipped = err.Error()
	case err != nil && ctx.Err() != nil:
		return o, fmt.Errorf("%s: %w", h.name, context.Cause(ctx))
	case err != nil:
		t.expect("the case broke down", err.Error())
	}
	return o, nil
}
