package alert_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/alert"
	"github.com/slipstream-ota/slipstream/alert/shout"
	"github.com/slipstream-ota/slipstream/alert/webhook"
	"github.com/slipstream-ota/slipstream/internal/seal"
	"github.com/slipstream-ota/slipstream/store"
	"github.com/slipstream-ota/slipstream/store/sqlite"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// world is a Service over a store in memory, with a clock that is moved by hand.
type world struct {
	*testing.T
	ctx     context.Context
	store   store.Store
	service *alert.Service
	guard   webhook.Guard

	mu  sync.Mutex
	now time.Time
}

func newWorld(t *testing.T, edits ...func(*alert.Config)) *world {
	t.Helper()
	st, err := sqlite.Open(t.Context(), ":memory:", sqlite.Options{Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{T: t, ctx: t.Context(), now: noon}
	w.store = alert.Watch(st, func(store.Channel) int { return 120 })
	sealer, err := seal.New(bytes.Repeat([]byte{3}, 32))
	w.must(err)
	cfg := alert.Config{Store: w.store, Sealer: sealer, Clock: w.clock, Every: 5 * time.Millisecond, Judge: time.Hour, Timeout: 5 * time.Second,
		Senders: map[string]alert.Sender{"webhook": webhook.NewSender(w.guard), "dingtalk": webhook.NewDingTalk(w.guard), "shoutrrr": shout.NewSender(w.guard)}}
	for _, e := range edits {
		e(&cfg)
	}
	w.service = alert.New(cfg)
	w.update(func(tx store.Tx) error {
		return errors.Join(tx.Apps().Create(w.ctx, store.App{Name: "shop", Platforms: []string{"any"}, Created: noon}),
			tx.Channels().Create(w.ctx, store.Channel{App: "shop", Name: "production", Policy: []byte(`{}`), Created: noon}))
	})
	return w
}

// start runs the service until the test ends.
func (w *world) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.service.Run(ctx); err != nil {
			w.Errorf("run: %v", err)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	w.Cleanup(stop)
	return stop
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatalf("%v (hint: %s)", err, slipstream.HintOf(err))
	}
}

func (w *world) update(fn func(tx store.Tx) error) {
	w.Helper()
	w.must(w.store.Update(w.ctx, fn))
}

func (w *world) eventually(what string, ok func() bool) {
	w.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("never happened: %s", what)
		}
	}
}

// record writes one entry into the audit log, as package rollout does.
func (w *world) record(action, target string, detail map[string]any) {
	w.Helper()
	w.update(func(tx store.Tx) error { return w.append(tx, action, target, detail) })
}

func (w *world) append(tx store.Tx, action, target string, detail map[string]any) error {
	raw, err := json.Marshal(detail)
	w.must(err)
	_, err = tx.Log().Audit().Append(w.ctx, store.AuditEntry{At: w.clock(), Actor: "anna", Action: action, App: "shop", Target: target, Detail: raw})
	return err
}

func (w *world) raise(a alert.Alert) {
	w.Helper()
	a.At = w.clock()
	w.update(func(tx store.Tx) error { return alert.Raise(w.ctx, tx, a) })
}

func (w *world) list(q store.AlertQuery) (out []store.Alert) {
	w.Helper()
	w.must(w.store.View(w.ctx, func(tx store.Tx) (err error) {
		out, err = tx.Log().Alerts().List(w.ctx, q)
		return err
	}))
	return out
}

func (w *world) messages(q store.DeliveryQuery) (out []store.Delivery) {
	w.Helper()
	w.must(w.store.View(w.ctx, func(tx store.Tx) (err error) {
		out, err = tx.Log().Alerts().Deliveries().List(w.ctx, q)
		return err
	}))
	return out
}

func (w *world) target(spec alert.TargetSpec) (store.AlertTarget, string) {
	w.Helper()
	t, secret, err := w.service.AddTarget(w.ctx, "anna", spec)
	w.must(err)
	return t, secret
}

func anyone[T any](T) error { return nil }

// receiver is a real HTTP server that checks signatures, forgets no message, and answers as it is told.
type receiver struct {
	*httptest.Server
	key string

	mu      sync.Mutex
	bodies  []alert.Body
	ids     []string
	answers []int // statuses of the next answers; 204 when there are none
	bad     []error
}

func newReceiver(t *testing.T, clock func() time.Time) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		raw, err := io.ReadAll(req.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		var b alert.Body
		err = errors.Join(err, webhook.Verify(r.key, req.Header, raw, clock()), json.Unmarshal(raw, &b))
		if err != nil {
			r.bad = append(r.bad, err)
		}
		r.bodies, r.ids = append(r.bodies, b), append(r.ids, req.Header.Get(webhook.HeaderID))
		status := http.StatusNoContent
		if len(r.answers) > 0 {
			status, r.answers = r.answers[0], r.answers[1:]
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(func() {
		r.Close()
		for _, err := range r.bad {
			t.Errorf("the receiver: %v", err)
		}
	})
	return r
}

// got are the events and titles so far, in order.
func (r *receiver) got() (out []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.bodies {
		out = append(out, b.Type+": "+b.Data.Title)
	}
	return out
}

func (w *world) hooked(spec alert.TargetSpec) *receiver {
	w.Helper()
	r := newReceiver(w.T, w.clock)
	spec.Type, spec.URL = "webhook", r.URL+"/hook?token=hush"
	if spec.Name == "" {
		spec.Name = "ops"
	}
	t, secret := w.target(spec)
	r.key = secret
	if t.Public != "" {
		r.key = t.Public
	}
	return r
}

func halted(rollout string) alert.Alert {
	return alert.Alert{Kind: alert.KindHalt, App: "shop", Channel: "production", Package: "main", Subject: rollout, Severity: alert.Critical,
		Title: "halted " + rollout, Detail: json.RawMessage(`{"e":412}`), Key: alert.RolloutKey(alert.KindHalt, "shop", "production", rollout)}
}
