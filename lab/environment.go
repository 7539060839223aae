package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func environment() Proof {
	return Proof{
		Name:  "environment",
		Claim: "a full, read-only, slow or lying disk, a wrong clock, a second process, few file handles or a database that is away cost service for a while, never what was acknowledged and never the app",
		Quick: 60 * time.Second, Full: 15 * time.Minute,
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

func runEnvironment(ctx context.Context, env Env) (Result, error) {
	var r Result
	var kinds, skipped []string
	var times []string
	for i, h := range append(deviceHardships(), serverHardships()...) {
		if ctx.Err() != nil {
			return r, context.Cause(ctx)
		}
		t := &trials{env: env, dir: filepath.Join(env.Dir, fmt.Sprintf("case%d", i))}
		if err := os.MkdirAll(t.dir, 0o755); err != nil {
			return r, fmt.Errorf("make scratch folder: %w", err)
		}
		begun := time.Now()
		err := h.try(ctx, t)
		times = append(times, fmt.Sprintf("%s %d in %s", h.name, t.tried, time.Since(begun).Round(time.Millisecond)))
		switch {
		case errors.Is(err, errNotHere):
			skipped = append(skipped, fmt.Sprintf("not tried: %s: %v", h.name, err))
			continue
		case err != nil && ctx.Err() != nil:
			return r, fmt.Errorf("%s: %w", h.name, context.Cause(ctx))
		case err != nil:
			t.expect("the case broke down", err.Error())
		}
		kinds = append(kinds, h.name)
		r.Tried += t.tried
		r.Wrong += len(t.wrong)
		for _, w := range t.wrong {
			r.Notes = append(r.Notes, h.name+": "+w)
		}
	}
	env.Log.Info("environment", "cases", times)
	r.Detail = fmt.Sprintf("trials in %d cases (%s)", len(kinds), strings.Join(kinds, ", "))
	if len(skipped) > 0 {
		r.Detail += fmt.Sprintf("; %d not tried", len(skipped))
	}
	r.Notes = append(r.Notes, skipped...)
	return r, nil
}
