// Package watch is the guard at work: it feeds the trial log to the rule of package halt, rollout by rollout, and lets
// package rollout do what follows: hold a release that does harm, take the next step of a plan that has earned it.
//
// Every look is kept with the range of the log that it took in, in the transaction of what was done about it; Replay runs
// it again from the log and must find the same. Any number of nodes may look: for each look one of them wins.
package watch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/halt"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/store"
)

const (
	defaultEvery = 10 * time.Second
	batchLimit   = 5000                // lines of the log in one look
	base         = 28 * 24 * time.Hour // that the channel's own rate is taken over
	delaySample  = 2000                // control devices that the time of silence is taken from
	expireEvery  = time.Hour
)

// Config is what a Watcher is made of. Store and Rollout are needed.
type Config struct {
	Store   store.Store
	Rollout *rollout.Service
	Every   time.Duration // between looks; default 10 s
	Keep    time.Duration // evidence of rollouts that are over; default 180 days
	Clock   func() time.Time
	Log     *slog.Logger
	// Told is called in the transaction of a halt or a step, to raise an alert; nil tells nobody.
	Told func(ctx context.Context, tx store.Tx, h Happening) error
	// Looked is told of every verdict after it was kept; nil tells nobody.
	Looked func(ctx context.Context, h Happening)
}

// Happening is what the guard saw, and did.
type Happening struct {
	App, Channel, Package string
	Rollout               rollout.Entry
	Action                rollout.Action
	Withdrawn             bool
	Before                halt.Level // of the look before, "" at the first
	Verdict               halt.Verdict
}

// Look is what is kept of one evaluation, as the Doc of a store.Evaluation.
type Look struct {
	Rule    halt.Rule         `json:"rule"`
	Verdict halt.Verdict      `json:"verdict"`
	Began   []slipstream.Time `json:"began,omitempty"` // when the plan's stages began, as known at the time
	Action  rollout.Action    `json:"action,omitempty"`
	Halted  bool              `json:"halted,omitempty"`  // it was halted at this look, or by it
	Resumed bool              `json:"resumed,omitempty"` // a person had resumed the halted rollout: the evidence begins anew
	Waits   string            `json:"waits,omitempty"`   // why the plan stays where it is
	Silence time.Duration     `json:"silence,omitempty"` // after which a device counts as silent; 0 while it is not settled
}

// Watcher looks at every live rollout again and again.
type Watcher struct {
	cfg     Config
	expired time.Time
}

// New makes a Watcher. Nothing happens until Run or Round.
func New(cfg Config) *Watcher {
	if cfg.Every <= 0 {
		cfg.Every = defaultEvery
	}
	if cfg.Keep <= 0 {
		cfg.Keep = 180 * 24 * time.Hour
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Watcher{cfg: cfg}
}

// Run looks until ctx ends. A database that is away is waited for.
func (w *Watcher) Run(ctx context.Context) error {
	tick := time.NewTicker(w.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := w.Round(ctx); err != nil && ctx.Err() == nil {
			w.cfg.Log.LogAttrs(ctx, slog.LevelError, "the guard could not look at every rollout", slog.Any("error", err))
		}
	}
}

// subject is a rollout under watch.
type subject struct {
	app, channel, pkg string
	policy            *rollout.Policy
	entry             rollout.Entry
}

// Round looks once at every live rollout. One that fails does not keep the others.
func (w *Watcher) Round(ctx context.Context) error {
	subjects, err := w.subjects(ctx)
	if err != nil {
		return err
	}
	var failed error
	for _, s := range subjects {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		err := w.look(ctx, s)
		if errors.Is(err, slipstream.ErrConflict) {
			continue // another node was faster
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("rollout %s: %w", s.entry.ID, err))
		}
	}
	if now := w.cfg.Clock(); now.Sub(w.expired) > expireEvery || now.Before(w.expired) {
		w.expired = now
		failed = errors.Join(failed, w.cfg.Store.Update(ctx, func(tx store.Tx) error {
			_, err := tx.Log().Evidence().Expire(ctx, now.Add(-w.cfg.Keep))
			return err
		}))
	}
	return failed
}

// subjects are the rollouts that new devices may take, or whose plan waits for something.
func (w *Watcher) subjects(ctx context.Context) (out []subject, err error) {
	err = w.cfg.Store.View(ctx, func(tx store.Tx) error {
		out = nil
		channels, err := tx.Channels().List(ctx, "")
		if err != nil {
			return err
		}
		for _, ch := range channels {
			policy, err := rollout.PolicyOf(ch)
			if err != nil {
				return err
			}
			for pkg, pp := range policy.Packages {
				standing := map[string]bool{}
				for _, e := range pp.Rollouts {
					for _, s := range pp.Standing(e.Platform, true) {
						standing[s.ID] = true
					}
				}
				for _, e := range pp.Rollouts {
					if standing[e.ID] && !pp.WithdrawnOn(e.Manifest, e.Platform) {
						out = append(out, subject{ch.App, ch.Name, pkg, policy, e})
					}
				}
			}
		}
		return nil
	})
	return out, err
}

// history is what is known of a rollout before a look.
type history struct {
	last  store.Evaluation
	state halt.State
	look  Look
}

func (w *Watcher) history(ctx context.Context, id string) (h history, err error) {
	err = w.cfg.Store.View(ctx, func(tx store.Tx) error {
		h = history{}
		last, state, err := tx.Log().Evidence().Last(ctx, id)
		if errors.Is(err, slipstream.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		h.last = last
		return errors.Join(json.Unmarshal(state, &h.state), json.Unmarshal(last.Doc, &h.look))
	})
	return h, err
}

// look takes in what arrived about one rollout, keeps the verdict, and does what follows from it.
func (w *Watcher) look(ctx context.Context, s subject) error {
	h, err := w.history(ctx, s.entry.ID)
	if err != nil {
		return fmt.Errorf("read evidence: %w", err)
	}
	now := w.cfg.Clock()
	next := Look{Rule: h.look.Rule, Silence: h.look.Silence}
	if h.last.N == 0 {
		if next.Rule, err = w.rule(ctx, s, now); err != nil {
			return err
		}
	}
	next.Rule = settle(next.Rule, s.policy.Guard)
	if s.entry.Plan != nil {
		next.Began = s.entry.Plan.Began
	}
	if next.Silence == 0 {
		if next.Silence, err = w.silence(ctx, s, now); err != nil {
			return err
		}
	}
	next.Rule.SilenceAfter = next.Silence
	ev := store.Evaluation{Rollout: s.entry.ID, N: h.last.N + 1, At: now, FromSeq: h.last.ToSeq, ToSeq: h.last.ToSeq, SilentFrom: h.last.SilentTo, SilentTo: h.last.SilentTo}
	if next.Silence > 0 && now.Add(-next.Silence).After(ev.SilentTo) {
		ev.SilentTo = now.Add(-next.Silence).Truncate(time.Microsecond)
	}
	lines, err := w.cfg.Store.Reports().Trials().Outcomes(ctx, s.entry.ID, ev.FromSeq, batchLimit)
	if err != nil {
		return fmt.Errorf("read outcomes: %w", err)
	}
	if len(lines) > 0 {
		ev.ToSeq = lines[len(lines)-1].Seq
	}
	if len(lines) == batchLimit {
		ev.SilentTo = ev.SilentFrom // there is more to hear before anybody is called silent
	}
	silent, err := w.silent(ctx, &ev)
	if err != nil {
		return err
	}
	state := h.state
	// A person who resumed a halted rollout has answered for the evidence so far.
	// Devices may have reported meanwhile: the last look need not be the one that halted.
	halted := h.look.Halted || h.look.Action == rollout.ActionHalt
	if next.Resumed = state.Crossed != nil && s.entry.Hold != slipstream.HoldHalted && halted; next.Resumed {
		state = state.Resume()
	}
	state = next.Rule.Step(state, Batch(state, lines, silent, &ev, next.Began))
	next.Verdict = next.Rule.Verdict(state)
	next.Action, next.Waits = w.decide(s, next, state, now)
	next.Halted = s.entry.Hold == slipstream.HoldHalted || next.Action == rollout.ActionHalt
	if len(lines) == 0 && len(silent) == 0 && next.Action == rollout.ActionNone && !next.Resumed && h.last.N > 0 {
		return nil // nothing new: nothing to keep
	}
	if h.last.N == 0 && len(lines) == 0 && next.Action == rollout.ActionNone {
		return nil // nobody has enrolled
	}
	return w.keep(ctx, s, h, ev, next, state)
}

func (w *Watcher) silent(ctx context.Context, ev *store.Evaluation) ([]store.Outcome, error) {
	if !ev.SilentTo.After(ev.SilentFrom) {
		return nil, nil
	}
	out, err := w.cfg.Store.Reports().Trials().Silent(ctx, ev.Rollout, ev.SilentFrom, ev.SilentTo, ev.ToSeq)
	if err != nil {
		return nil, fmt.Errorf("read silent devices: %w", err)
	}
	return out, nil
}

// decide says what follows from a verdict, and why a plan stays where it is.
func (w *Watcher) decide(s subject, l Look, state halt.State, now time.Time) (rollout.Action, string) {
	if l.Verdict.Level == halt.Alarm && s.entry.Hold != slipstream.HoldHalted && !s.policy.Guard.Off {
		return rollout.ActionHalt, ""
	}
	if s.entry.Plan == nil {
		return rollout.ActionNone, ""
	}
	if why := s.policy.Waits(&s.entry, now); why != "" {
		return rollout.ActionNone, why
	}
	stage, began, running := s.entry.Plan.Stage()
	if !running || s.policy.Guard.Off {
		return rollout.ActionAdvance, "" // the start needs no evidence
	}
	ok, why := l.Rule.Enough(state, halt.Stage{Since: began, Soak: time.Duration(stage.Soak) * time.Second, MinTreated: stage.MinDevices,
		HasControl: s.entry.Control > 0 && s.entry.From+stage.Share < slipstream.FullShare}, now)
	if !ok {
		return rollout.ActionNone, why
	}
	return rollout.ActionAdvance, ""
}

// keep stores a look and does what it asks for, in one transaction.
func (w *Watcher) keep(ctx context.Context, s subject, h history, ev store.Evaluation, l Look, state halt.State) error {
	doc, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode look: %w", err)
	}
	ev.Doc = doc
	kept, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("encode state: %w", err)
	}
	happened := Happening{App: s.app, Channel: s.channel, Package: s.pkg, Rollout: s.entry, Action: l.Action, Before: h.look.Verdict.Level, Verdict: l.Verdict}
	j := rollout.Judgement{App: s.app, Channel: s.channel, Rollout: s.entry.ID, Action: l.Action,
		Evidence: map[string]any{"look": ev.N, "level": l.Verdict.Level, "e": l.Verdict.E, "reason": l.Verdict.Reason,
			"treated": l.Verdict.Treated, "failedTreated": l.Verdict.FailedTreated, "control": l.Verdict.Control, "failedControl": l.Verdict.FailedControl},
		Save: func(ctx context.Context, tx store.Tx) error { return tx.Log().Evidence().Append(ctx, ev, kept) }}
	if w.cfg.Told != nil {
		j.Told = func(ctx context.Context, tx store.Tx, e rollout.Entry, withdrawn bool) error {
			told := happened
			told.Rollout, told.Withdrawn = e, withdrawn
			return w.cfg.Told(ctx, tx, told)
		}
	}
	done, err := w.cfg.Rollout.Steer(ctx, j)
	if err != nil {
		return err
	}
	if done {
		w.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "the guard acted", slog.String("app", s.app), slog.String("channel", s.channel),
			slog.String("rollout", s.entry.ID), slog.String("version", s.entry.Version), slog.String("action", string(l.Action)), slog.String("reason", l.Verdict.Reason))
	}
	if w.cfg.Looked != nil {
		w.cfg.Looked(ctx, happened)
	}
	return nil
}

// rule is the rule for a rollout that nobody has looked at.
func (w *Watcher) rule(ctx context.Context, s subject, now time.Time) (halt.Rule, error) {
	r := halt.DefaultRule()
	outcomes, failed, err := w.cfg.Store.Reports().Trials().BaseRate(ctx, s.app, s.channel, s.pkg, now.Add(-base))
	if err != nil {
		return r, fmt.Errorf("read the channel's own rate: %w", err)
	}
	if outcomes > 0 {
		r.BaseRate = float64(failed) / float64(outcomes)
	}
	// Only in the first stage do devices of both arms meet the shares alike.
	if share, control := s.entry.To-s.entry.From, controlSize(&s.entry); share > 0 && control > 0 {
		r.Shares = []float64{float64(share) / float64(share+control)}
	}
	return r, nil
}

// controlSize is how many positions the control group has.
func controlSize(e *rollout.Entry) int {
	lowest := slipstream.FullShare - e.Control
	return max(0, slipstream.FullShare-max(lowest, e.To)) + max(0, min(e.From, slipstream.FullShare)-lowest)
}

// settle takes the channel's settings over. What a state has begun with stays in the state.
func settle(r halt.Rule, g rollout.Guard) halt.Rule {
	d := halt.DefaultRule()
	r.Alpha, r.AllowedRatio, r.Ceiling, r.NetworkShare, r.MinNetworks, r.MinDevices = d.Alpha, d.AllowedRatio, d.Ceiling, d.NetworkShare, d.MinNetworks, d.MinDevices
	if g.Alpha > 0 {
		r.Alpha = g.Alpha
	}
	if g.AllowedRatio > 0 {
		r.AllowedRatio = g.AllowedRatio
	}
	if g.Ceiling > 0 {
		r.Ceiling = g.Ceiling
	}
	if g.NetworkShare > 0 {
		r.NetworkShare = g.NetworkShare
	}
	if g.MinNetworks > 0 {
		r.MinNetworks = g.MinNetworks
	}
	return r
}

// silence settles once after how long a device of a rollout counts as silent: not before the shortest such time is over,
// from how long the control group takes, never from the treated devices. 0 is "not yet".
func (w *Watcher) silence(ctx context.Context, s subject, now time.Time) (time.Duration, error) {
	since := s.entry.Created.Time
	if s.entry.Plan != nil && len(s.entry.Plan.Began) > 0 {
		since = s.entry.Plan.Began[0].Time
	}
	if now.Sub(since) < halt.MinSilence {
		return 0, nil
	}
	delays, err := w.cfg.Store.Reports().Trials().Delays(ctx, s.entry.ID, slipstream.ArmControl, delaySample)
	if err != nil {
		return 0, fmt.Errorf("read delays: %w", err)
	}
	return halt.SilenceAfter(delays), nil
}
