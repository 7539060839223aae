package alert

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

// Sealer keeps the addresses and secrets of targets.
type Sealer interface {
	Seal(purpose string, plain []byte) ([]byte, error)
	Open(purpose string, sealed []byte) ([]byte, error)
}

// Address is how a target is reached. It is a secret as a whole: addresses of chats hold tokens.
type Address struct {
	URL    string `json:"url"`
	Secret string `json:"secret,omitempty"` // what messages are signed with
}

// Message is what a Sender sends.
type Message struct {
	ID    string // the same for every attempt
	Event string
	Body  []byte    // JSON
	Title string    // one line
	Text  string    // a few lines for people
	At    time.Time // of this attempt
}

// Sent is how an attempt went. Status is 0 where there is no HTTP answer. RetryAfter is what the receiver asked for. Gone
// says that the receiver wants no more of this message.
type Sent struct {
	Status     int
	RetryAfter time.Duration
	Gone       bool
}

// Sender reaches targets of one type.
type Sender interface {
	// Prepare checks an address and fills in what is missing, such as a fresh secret. shown is for people and holds no
	// secret; public is the key that messages can be checked with, if it is not the secret.
	Prepare(ctx context.Context, a Address) (ready Address, shown, public string, err error)
	Send(ctx context.Context, a Address, m Message) (Sent, error)
}

// Config is what a Service is made of. Store, Sealer and Senders are needed.
type Config struct {
	Store   store.Store
	Sealer  Sealer
	Senders map[string]Sender // by type of target
	Metrics *Metrics
	Clock   func() time.Time
	Log     *slog.Logger
	Every   time.Duration // between looks at the queue, when nothing says that it changed; default 5 s
	Judge   time.Duration // between looks at the numbers; default 1 min
	Timeout time.Duration // of one attempt; default 15 s
	Keep    time.Duration // what is over is kept this long; default 90 days
}

// Service runs the rules, sends the messages and keeps the targets. Its methods may be called from many goroutines; Run
// may run on every node of a database.
type Service struct {
	cfg   Config
	still map[string]still // of Run alone
}

// Limits.
const (
	batch      = 64 // messages under way at once
	perTarget  = 8  // of them to one target
	maxTargets = 100
	maxNote    = 1000
)

// New makes a Service.
func New(cfg Config) *Service {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Every <= 0 {
		cfg.Every = 5 * time.Second
	}
	if cfg.Judge <= 0 {
		cfg.Judge = time.Minute
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 15 * time.Second
	}
	if cfg.Keep <= 0 {
		cfg.Keep = 90 * 24 * time.Hour
	}
	return &Service{cfg: cfg, still: map[string]still{}}
}

// Run sends and judges until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() { s.follow(ctx, changed) })
	look, judge, expire := time.NewTicker(s.cfg.Every), time.NewTicker(s.cfg.Judge), time.NewTicker(time.Hour)
	defer look.Stop()
	defer judge.Stop()
	defer expire.Stop()
	s.try(ctx, "rules could not be looked at", s.judge)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			s.try(ctx, "messages could not be sent", s.deliver)
		case <-look.C:
			s.try(ctx, "messages could not be sent", s.deliver)
		case <-judge.C:
			s.try(ctx, "rules could not be looked at", s.judge)
		case <-expire.C:
			s.try(ctx, "old alerts could not be removed", s.expire)
		}
	}
}

// follow passes the store's changes on. A store that is away is looked at by the ticker.
func (s *Service) follow(ctx context.Context, changed chan<- struct{}) {
	for ctx.Err() == nil {
		_ = s.cfg.Store.Watch(ctx, func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
		select {
		case <-ctx.Done():
		case <-time.After(s.cfg.Every):
		}
	}
}

func (s *Service) try(ctx context.Context, what string, fn func(context.Context) error) {
	if err := fn(ctx); err != nil && ctx.Err() == nil {
		s.cfg.Log.LogAttrs(ctx, slog.LevelError, what, slog.Any("error", err))
	}
}

func (s *Service) expire(ctx context.Context) error {
	return s.cfg.Store.Update(ctx, func(tx store.Tx) error {
		_, err := tx.Log().Alerts().Expire(ctx, s.cfg.Clock().Add(-s.cfg.Keep))
		return err
	})
}

// deliver sends what is due until nothing is.
func (s *Service) deliver(ctx context.Context) error {
	for {
		var counts map[store.DeliveryState]int64
		err := s.cfg.Store.View(ctx, func(tx store.Tx) (err error) {
			counts, err = tx.Log().Alerts().Deliveries().Counts(ctx)
			return err
		})
		if err != nil {
			return fmt.Errorf("look at the queue: %w", err)
		}
		s.cfg.Metrics.setQueue(counts)
		if counts[store.DeliveryQueued] == 0 {
			return nil
		}
		var due []store.Delivery
		targets := map[string]store.AlertTarget{}
		err = s.cfg.Store.Update(ctx, func(tx store.Tx) error {
			list, err := tx.Log().Alerts().Targets().List(ctx)
			if err != nil {
				return err
			}
			for _, t := range list {
				targets[t.Name] = t
			}
			due, err = tx.Log().Alerts().Deliveries().Claim(ctx, s.cfg.Clock(), 4*s.cfg.Timeout, batch, perTarget)
			return err
		})
		if err != nil {
			return fmt.Errorf("claim messages: %w", err)
		}
		if len(due) == 0 {
			return nil
		}
		if err := s.sendAll(ctx, due, targets); err != nil {
			return err
		}
	}
}

// sendAll makes one attempt of each message and keeps how they went.
func (s *Service) sendAll(ctx context.Context, due []store.Delivery, targets map[string]store.AlertTarget) error {
	var sending sync.WaitGroup
	for i := range due {
		sending.Go(func() { s.attempt(ctx, &due[i], targets[due[i].Target]) })
	}
	sending.Wait()
	// What was sent is kept even when the server stops meanwhile.
	keeping, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Timeout)
	defer cancel()
	err := s.cfg.Store.Update(keeping, func(tx store.Tx) error {
		for _, d := range due {
			err := tx.Log().Alerts().Deliveries().Finish(keeping, d)
			if err != nil && !errors.Is(err, slipstream.ErrConflict) && !errors.Is(err, slipstream.ErrNotFound) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("keep how messages went: %w", err)
	}
	return nil
}

// attempt sends d once and writes into it how that went.
func (s *Service) attempt(ctx context.Context, d *store.Delivery, t store.AlertTarget) {
	begun := s.cfg.Clock()
	sent, err := s.send(ctx, t, messageOf(*d, begun))
	now := s.cfg.Clock()
	d.Status, d.Took, d.Updated, d.Error = sent.Status, now.Sub(begun), now, ""
	switch {
	case err == nil:
		d.State, d.Due = store.DeliverySent, time.Time{}
	case ctx.Err() != nil: // the server stops: not the receiver's fault, and soon again
		d.Error, d.Due = "the server stopped", now
	default:
		d.Error = clip(err.Error(), 500)
		wait, again := backoff(d.Attempts)
		if d.Due = now.Add(max(jittered(wait), min(sent.RetryAfter, 24*time.Hour))); !again || sent.Gone {
			d.State, d.Due = store.DeliveryDead, time.Time{}
		}
		s.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "a message was not delivered", slog.String("target", d.Target), slog.Int64("message", d.ID),
			slog.Int("attempt", d.Attempts), slog.Bool("dead", d.State == store.DeliveryDead), slog.String("error", d.Error))
	}
	s.cfg.Metrics.attempted(t.Type, d.State, err == nil)
}

func (s *Service) send(ctx context.Context, t store.AlertTarget, m Message) (Sent, error) {
	sender := s.cfg.Senders[t.Type]
	if sender == nil {
		return Sent{}, fmt.Errorf("this server cannot reach targets of type %q", t.Type)
	}
	a, err := s.open(t)
	if err != nil {
		return Sent{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	return sender.Send(ctx, a, m)
}

// waits are those after a failed attempt; after the last the message is dead. Together they are about 28 hours.
func waits() []time.Duration {
	return []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour, 12 * time.Hour}
}

// backoff is the wait after an attempt, and whether there is another one.
func backoff(attempt int) (time.Duration, bool) {
	w := waits()
	if attempt < 1 || attempt > len(w) {
		return 0, false
	}
	return w[attempt-1], true
}

// jittered is d, up to a fifth more: receivers that were away are not asked for everything at once.
func jittered(d time.Duration) time.Duration { return d + rand.N(d/5+1) }

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}

// messageOf is what one attempt of d says.
func messageOf(d store.Delivery, now time.Time) Message {
	m := Message{ID: fmt.Sprintf("msg_%d_%d", d.Created.UnixMicro(), d.ID), Event: d.Event, Body: d.Body, At: now}
	var b Body
	if err := json.Unmarshal(d.Body, &b); err != nil {
		m.Title = d.Event
		return m
	}
	m.Title = b.Data.Title
	words := map[string]string{EventResolved: "Resolved: ", EventRepeated: "Still: "}[d.Event]
	m.Text = words + b.Data.Title
	if b.Data.Severity == Critical && d.Event != EventResolved {
		m.Text = "CRITICAL: " + m.Text
	}
	var why struct {
		Reason   string `json:"reason"`
		Evidence struct {
			Reason string `json:"reason"`
		} `json:"evidence"`
	}
	if json.Unmarshal(b.Data.Detail, &why) == nil && why.Evidence.Reason != "" {
		m.Text += "\n" + why.Evidence.Reason
	}
	if b.Data.By != "" && d.Event == EventResolved {
		m.Text += "\nby " + b.Data.By
		if b.Data.Note != "" {
			m.Text += ": " + b.Data.Note
		}
	}
	if b.Data.Count > 1 {
		m.Text += fmt.Sprintf("\nseen %d times", b.Data.Count)
	}
	return m
}

// Acknowledge says that somebody looks after an alert: no more messages until it is resolved.
func (s *Service) Acknowledge(ctx context.Context, by string, id int64, note string, allowed func(store.Alert) error) (store.Alert, error) {
	return s.change(ctx, id, note, allowed, func(tx store.Tx, a *store.Alert) error {
		if !a.State.Active() {
			return slipstream.Hint(fmt.Errorf("alert %d is %s: %w", id, a.State, slipstream.ErrConflict), "only alerts that stand can be acknowledged")
		}
		a.State, a.Actor, a.Note, a.Changed = store.AlertAcknowledged, by, note, stamp(s.cfg.Clock())
		return tx.Log().Alerts().Save(ctx, *a)
	})
}

// Resolve says that an alert is over. It is told to the targets.
func (s *Service) Resolve(ctx context.Context, by string, id int64, note string, allowed func(store.Alert) error) (store.Alert, error) {
	return s.change(ctx, id, note, allowed, func(tx store.Tx, a *store.Alert) error {
		if !a.State.Active() {
			return slipstream.Hint(fmt.Errorf("alert %d is %s: %w", id, a.State, slipstream.ErrConflict), "only alerts that stand can be resolved")
		}
		if err := settle(ctx, tx, *a, by, note, stamp(s.cfg.Clock())); err != nil {
			return err
		}
		var err error
		*a, err = tx.Log().Alerts().Get(ctx, id)
		return err
	})
}

func (s *Service) change(ctx context.Context, id int64, note string, allowed func(store.Alert) error, fn func(store.Tx, *store.Alert) error) (store.Alert, error) {
	if len(note) > maxNote {
		return store.Alert{}, slipstream.Invalidf("the note is longer than %d bytes", maxNote)
	}
	var a store.Alert
	err := s.cfg.Store.Update(ctx, func(tx store.Tx) (err error) {
		if a, err = tx.Log().Alerts().Get(ctx, id); err != nil {
			return err
		}
		if err := allowed(a); err != nil {
			return err
		}
		return fn(tx, &a)
	})
	return a, err
}

// Rules gives the rules in force.
func (s *Service) Rules(ctx context.Context) (r Rules, err error) {
	err = s.cfg.Store.View(ctx, func(tx store.Tx) error {
		r, err = readRules(ctx, tx)
		return err
	})
	return r, err
}

// SetRules replaces them.
func (s *Service) SetRules(ctx context.Context, by string, r Rules) error {
	if err := r.Check(); err != nil {
		return err
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode rules: %w", err)
	}
	return s.cfg.Store.Update(ctx, func(tx store.Tx) error {
		if err := tx.Settings().Set(ctx, settingRules, raw); err != nil {
			return err
		}
		return s.audit(ctx, tx, by, "alert.rules", "", "", r)
	})
}

func (s *Service) audit(ctx context.Context, tx store.Tx, by, action, app, target string, detail any) error {
	raw, err := json.Marshal(detail)
	if err != nil {
		return fmt.Errorf("encode audit detail: %w", err)
	}
	_, err = tx.Log().Audit().Append(ctx, store.AuditEntry{At: stamp(s.cfg.Clock()), Actor: by, Action: action, App: app, Target: target, Detail: raw})
	return err
}

// Types gives the types of targets that this server reaches.
func (s *Service) Types() []string {
	out := make([]string, 0, len(s.cfg.Senders))
	for t := range s.cfg.Senders {
		out = append(out, t)
	}
	slices.Sort(out)
	return out
}
