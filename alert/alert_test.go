package alert_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/alert"
	"github.com/slipstream-ota/slipstream/alert/shout"
	"github.com/slipstream-ota/slipstream/alert/webhook"
	"github.com/slipstream-ota/slipstream/internal/seal"
	"github.com/slipstream-ota/slipstream/rollout"
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

func TestWhatIsRecordedIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := w.hooked(alert.TargetSpec{Name: "all"})
	push := w.hooked(alert.TargetSpec{Name: "push", Kinds: []string{alert.KindPublish, alert.KindChange}})
	w.start()
	digest := strings.Repeat("a", 64)
	w.update(func(tx store.Tx) error {
		return errors.Join(w.append(tx, "release.publish", digest, map[string]any{"package": "main", "version": "1.2.0"}),
			w.append(tx, "rollout.start", "r1", map[string]any{"package": "main", "version": "1.2.0", "digest": digest, "share": "10 %", "channel": "production", "epoch": 77}))
	})
	w.record("rollout.halt", "r1", map[string]any{"package": "main", "version": "1.2.0", "channel": "production", "epoch": 78, "evidence": map[string]any{"reason": "it crashes"}})
	w.record("token.create", "t1", map[string]any{"name": "ci", "role": "publisher", "reissued": true}) // a server's start is no news
	w.record("root.add", "2", map[string]any{})
	w.record("rollout.end", "r1", map[string]any{"package": "main", "version": "1.2.0", "channel": "production", "epoch": 79})
	want := []string{
		"release.published: anna offers version 1.2.0 of shop, package main, on production to 10 %",
		"alert.opened: The rollout of version 1.2.0 of shop, package main, on production was halted",
		"alert.noted: anna: a new root of shop (2)",
		"alert.resolved: The rollout of version 1.2.0 of shop, package main, on production was halted",
	}
	w.eventually("all messages", func() bool { return len(all.got()) == 4 && len(push.got()) == 4 })
	got := all.got()
	slices.Sort(got) // messages may overtake each other
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("told\n%s", strings.Join(got, "\n"))
	}
	var changes []string
	var first alert.Body
	push.mu.Lock()
	for _, b := range push.bodies {
		changes = append(changes, b.Type)
		if b.Type == alert.EventPublished {
			first = b
		}
	}
	push.mu.Unlock()
	slices.Sort(changes)
	if s := strings.Join(changes, " "); s != "channel.changed channel.changed channel.changed release.published" {
		t.Errorf("a push service hears %s", s)
	}
	if first.Data.Wake == nil || *first.Data.Wake != (alert.Wake{Epoch: 77, Spread: 120}) || first.Data.App != "shop" || first.Data.Subject != "r1" {
		t.Errorf("what a push service gets: %+v", first.Data)
	}
	if active := w.list(store.AlertQuery{Active: true}); len(active) != 0 {
		t.Errorf("still active: %+v", active)
	}
}

func TestWhatIsRolledBackIsNotTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.hooked(alert.TargetSpec{})
	stop := errors.New("stop")
	err := w.store.Update(w.ctx, func(tx store.Tx) error {
		return errors.Join(w.append(tx, "rollout.halt", "r1", map[string]any{"channel": "production", "epoch": 5}), alert.Raise(w.ctx, tx, halted("r2")), stop)
	})
	if !errors.Is(err, stop) {
		t.Fatal(err)
	}
	if a, m := w.list(store.AlertQuery{}), w.messages(store.DeliveryQuery{}); len(a) != 0 || len(m) != 0 {
		t.Errorf("%d alerts, %d messages", len(a), len(m))
	}
}

func TestRepeatsAreGroupedAndPeopleSettleThem(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.hooked(alert.TargetSpec{})
	w.start()
	for range 5 {
		w.raise(halted("r1"))
	}
	w.eventually("the message", func() bool { return len(r.got()) == 1 })
	w.pass(4 * time.Hour)
	w.raise(halted("r1"))
	w.eventually("the reminder", func() bool { return len(r.got()) == 2 })
	a := w.list(store.AlertQuery{Active: true})[0]
	if a.Count != 6 || a.State != store.AlertOpen {
		t.Errorf("alert %+v", a)
	}
	if _, err := w.service.Acknowledge(w.ctx, "bob", a.ID, "looking", func(store.Alert) error { return slipstream.ErrConflict }); !errors.Is(err, slipstream.ErrConflict) {
		t.Errorf("who may not: %v", err)
	}
	ack, err := w.service.Acknowledge(w.ctx, "bob", a.ID, "looking", anyone)
	w.must(err)
	if ack.State != store.AlertAcknowledged || ack.Actor != "bob" || ack.Note != "looking" {
		t.Errorf("acknowledged: %+v", ack)
	}
	w.pass(40 * time.Hour)
	w.raise(halted("r1")) // somebody looks after it
	_, err = w.service.Resolve(w.ctx, "bob", a.ID, "fixed", anyone)
	w.must(err)
	w.eventually("the end", func() bool { return len(r.got()) == 3 })
	if got := strings.Join(r.got(), "|"); got != "alert.opened: halted r1|alert.repeated: halted r1|alert.resolved: halted r1" {
		t.Errorf("told %s", got)
	}
	for what, call := range map[string]func() error{
		"resolving twice": func() error { _, err := w.service.Resolve(w.ctx, "bob", a.ID, "", anyone); return err },
		"acknowledging what is over": func() error {
			_, err := w.service.Acknowledge(w.ctx, "bob", a.ID, "", anyone)
			return err
		},
	} {
		if err := call(); !errors.Is(err, slipstream.ErrConflict) {
			t.Errorf("%s: %v", what, err)
		}
	}
	w.raise(halted("r1"))
	w.eventually("a new one", func() bool { return len(r.got()) == 4 })
}

func TestTargetsHearWhatTheyWant(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.update(func(tx store.Tx) error {
		return tx.Apps().Create(w.ctx, store.App{Name: "game", Platforms: []string{"any"}, Created: noon})
	})
	for _, spec := range []alert.TargetSpec{
		{Name: "all"}, {Name: "game", App: "game"}, {Name: "shop", App: "shop"}, {Name: "halts", Kinds: []string{alert.KindHalt}}, {Name: "serious", Severity: alert.Critical},
		{Name: "keys", Kinds: []string{alert.KindKeyUse}, Severity: alert.Warning},
	} {
		spec.Type, spec.URL = "webhook", "http://127.0.0.1:1/"
		w.target(spec)
	}
	w.raise(halted("r1"))
	w.raise(alert.Alert{Kind: alert.KindNoData, App: "shop", Severity: alert.Warning, Title: "silence", Key: "n"})
	w.raise(alert.Alert{Kind: alert.KindKeyUse, App: "game", Severity: alert.Warning, Title: "key", Key: "k"})
	heard := map[string][]string{}
	for _, m := range w.messages(store.DeliveryQuery{}) {
		var b alert.Body
		w.must(json.Unmarshal(m.Body, &b))
		heard[b.Data.Title] = append(heard[b.Data.Title], m.Target)
	}
	for title, want := range map[string]string{"halted r1": "all halts serious shop", "silence": "all shop", "key": "all game keys"} {
		slices.Sort(heard[title])
		if got := strings.Join(heard[title], " "); got != want {
			t.Errorf("%s is heard by %s, want %s", title, got, want)
		}
	}
}

func TestFailedMessagesAreRepeatedThenDeadThenRetried(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.hooked(alert.TargetSpec{})
	const lease = 20 * time.Second // four times what an attempt may take
	r.answers = slices.Repeat([]int{http.StatusInternalServerError}, 11)
	w.start()
	w.raise(halted("r1"))
	for attempt := 1; attempt <= 11; attempt++ {
		w.eventually(fmt.Sprintf("attempt %d", attempt), func() bool {
			m := w.messages(store.DeliveryQuery{})[0]
			underWay := m.Due.Sub(w.clock()) == lease
			return m.Attempts == attempt && m.Error != "" && !underWay
		})
		m := w.messages(store.DeliveryQuery{})[0]
		if m.Status != 500 || !strings.Contains(m.Error, "500") || strings.Contains(m.Error, "hush") {
			t.Fatalf("after attempt %d: %+v", attempt, m)
		}
		if dead := m.State == store.DeliveryDead; dead != (attempt == 11) {
			t.Fatalf("after attempt %d: %s", attempt, m.State)
		}
		if attempt < 11 {
			if !m.Due.After(w.clock()) {
				t.Fatalf("attempt %d is followed at once", attempt)
			}
			w.pass(m.Due.Sub(w.clock()))
		}
	}
	n, err := w.service.Retry(w.ctx, "ops")
	w.must(err)
	w.eventually("the message arrives", func() bool { return w.messages(store.DeliveryQuery{})[0].State == store.DeliverySent })
	r.mu.Lock()
	defer r.mu.Unlock()
	if ids := slices.Compact(slices.Clone(r.ids)); n != 1 || len(r.ids) != 12 || len(ids) != 1 {
		t.Errorf("%d retried, %d attempts with ids %v", n, len(r.ids), ids)
	}
}

func TestAReceiverMaySayLaterOrNeverAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	later := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Retry-After", "7200")
		rw.WriteHeader(http.StatusTooManyRequests)
	}))
	defer later.Close()
	gone := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusGone) }))
	defer gone.Close()
	elsewhere := httptest.NewServer(http.RedirectHandler(gone.URL, http.StatusTemporaryRedirect))
	defer elsewhere.Close()
	for name, url := range map[string]string{"later": later.URL, "gone": gone.URL, "elsewhere": elsewhere.URL} {
		w.target(alert.TargetSpec{Name: name, Type: "webhook", Address: alert.Address{URL: url}})
	}
	defer w.start()()
	w.raise(halted("r1"))
	w.eventually("all attempts", func() bool {
		return !slices.ContainsFunc(w.messages(store.DeliveryQuery{}), func(m store.Delivery) bool { return m.Error == "" })
	})
	for _, m := range w.messages(store.DeliveryQuery{}) {
		switch m.Target {
		case "later":
			if m.State != store.DeliveryQueued || m.Due.Sub(noon) < 2*time.Hour {
				t.Errorf("later: %+v", m)
			}
		case "gone":
			if m.State != store.DeliveryDead || m.Status != http.StatusGone {
				t.Errorf("gone: %+v", m)
			}
		case "elsewhere":
			if m.State != store.DeliveryQueued || m.Status != http.StatusTemporaryRedirect {
				t.Errorf("redirected: %+v", m)
			}
		}
	}
}

func TestAServerThatDiesSendsAgainUnderTheSameID(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.hooked(alert.TargetSpec{})
	w.raise(halted("r1"))
	w.update(func(tx store.Tx) error { // another node took the message, and was not heard of again
		_, err := tx.Log().Alerts().Deliveries().Claim(w.ctx, w.clock(), time.Minute, 9, 9)
		return err
	})
	w.start()
	time.Sleep(20 * time.Millisecond)
	if n := len(r.got()); n != 0 {
		t.Fatalf("%d messages while the other node has its lease", n)
	}
	w.pass(2 * time.Minute)
	w.eventually("the message", func() bool { return len(r.got()) == 1 })
}

func TestSecretsStayInTheServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.hooked(alert.TargetSpec{Address: alert.Address{Secret: webhook.Ed25519}})
	if !strings.HasPrefix(r.key, "whpk_") {
		t.Errorf("key %q", r.key)
	}
	w.must(w.store.View(w.ctx, func(tx store.Tx) error {
		g, err := tx.Log().Alerts().Targets().Get(w.ctx, "ops")
		if strings.Contains(g.Address, "hush") || bytes.Contains(g.Sealed, []byte("hush")) || bytes.Contains(g.Sealed, []byte("whsk_")) {
			t.Errorf("target shows its secret: %+v", g)
		}
		log, err2 := tx.Log().Audit().List(w.ctx, store.AuditQuery{Action: "alert.target.add"})
		if len(log) != 1 || bytes.Contains(log[0].Detail, []byte("hush")) {
			t.Errorf("audit log: %+v", log)
		}
		return errors.Join(err, err2)
	}))
	sent, err := w.service.Test(w.ctx, "anna", "ops", anyone)
	w.must(err)
	if sent.Status != http.StatusNoContent || len(r.got()) != 1 || r.got()[0] != "test: Slipstream: this is a test, sent by anna" {
		t.Errorf("test: %+v, %v", sent, r.got())
	}
	if _, _, err := w.service.AddTarget(w.ctx, "anna", alert.TargetSpec{Name: "ops", Type: "webhook", Address: alert.Address{URL: "http://127.0.0.1:1"}}); !errors.Is(err, slipstream.ErrConflict) {
		t.Errorf("the same name again: %v", err)
	}
	w.must(w.service.RemoveTarget(w.ctx, "anna", "ops", anyone))
	if err := w.service.RemoveTarget(w.ctx, "anna", "ops", anyone); !errors.Is(err, slipstream.ErrNotFound) {
		t.Errorf("removed twice: %v", err)
	}
}

func TestBadTargetsAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, spec := range map[string]alert.TargetSpec{
		"an unknown type":         {Type: "pigeon"},
		"an unknown kind":         {Kinds: []string{"gossip"}},
		"an unknown severity":     {Severity: "mild"},
		"a URL of another scheme": {Address: alert.Address{URL: "file:///etc/passwd"}},
		"no URL":                  {Address: alert.Address{URL: "example"}},
		"cloud metadata":          {Address: alert.Address{URL: "http://169.254.169.254/latest/"}},
		"cloud metadata, mapped":  {Address: alert.Address{URL: "http://[::ffff:169.254.169.254]/"}},
		"a weak secret":           {Address: alert.Address{Secret: "whsec_MTIz"}},
		"an unknown app":          {App: "other"},
		"a bad name":              {Name: "Ops Team"},
		"a service of the shell":  {Type: "shoutrrr", Address: alert.Address{URL: "logger://"}},
		"a chat without a token":  {Type: "shoutrrr", Address: alert.Address{URL: "slack://"}},
		"a robot without a token": {Type: "dingtalk", Address: alert.Address{URL: "https://oapi.dingtalk.com/robot/send"}},
	} {
		if spec.Name == "" {
			spec.Name = "x"
		}
		if spec.Type == "" {
			spec.Type = "webhook"
		}
		if spec.URL == "" {
			spec.URL = "https://example.org/hook"
		}
		if _, _, err := w.service.AddTarget(w.ctx, "anna", spec); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestDingTalkRobotsGetTheirOwnSignature(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var said string
	refuse := false
	robot := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		raw, _ := io.ReadAll(req.Body)
		said = string(raw)
		q := req.URL.Query()
		if q.Get("access_token") != "abc" || q.Get("timestamp") != fmt.Sprint(noon.UnixMilli()) || q.Get("sign") != "PTvmN0uCgJcPuePRUEqYgk+u/OcaeQwjXS0H0mmoyo0=" {
			t.Errorf("query %s", q)
		}
		if refuse {
			fmt.Fprint(rw, `{"errcode":310000,"errmsg":"sign not match"}`)
			return
		}
		fmt.Fprint(rw, `{"errcode":0,"errmsg":"ok"}`)
	}))
	defer robot.Close()
	w.target(alert.TargetSpec{Name: "ding", Type: "dingtalk", Address: alert.Address{URL: robot.URL + "/robot/send?access_token=abc", Secret: "SECret"}})
	_, err := w.service.Test(w.ctx, "anna", "ding", anyone)
	w.must(err)
	if !strings.Contains(said, `"msgtype":"text"`) || !strings.Contains(said, "this is a test") {
		t.Errorf("said %s", said)
	}
	refuse = true
	if _, err := w.service.Test(w.ctx, "anna", "ding", anyone); err == nil || !strings.Contains(err.Error(), "sign not match") {
		t.Errorf("a refusal with status 200: %v", err)
	}
}

func TestChatsAreReachedByShoutrrr(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var said string
	status := http.StatusOK
	chat := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		raw, _ := io.ReadAll(req.Body)
		said = string(raw)
		rw.WriteHeader(status)
	}))
	defer chat.Close()
	host := strings.TrimPrefix(chat.URL, "http://")
	w.target(alert.TargetSpec{Name: "chat", Type: "shoutrrr", Address: alert.Address{URL: "generic://" + host + "/room/secrettoken?disabletls=yes&template=json"}})
	_, err := w.service.Test(w.ctx, "anna", "chat", anyone)
	w.must(err)
	if !strings.Contains(said, "this is a test, sent by anna") {
		t.Errorf("said %s", said)
	}
	status = http.StatusForbidden
	if _, err := w.service.Test(w.ctx, "anna", "chat", anyone); err == nil || strings.Contains(err.Error(), "secrettoken") {
		t.Errorf("a refusal: %v", err)
	}
}

func TestEveryNamedChatServiceIsKnown(t *testing.T) {
	t.Parallel()
	s := shout.NewSender(webhook.Guard{})
	for _, url := range []string{
		"slack://xoxb:123456789012-1234567890123-abcdefghijklmnopqrstuvwx@C1234567890", "lark://open.feishu.cn/0b8e7f3a-1111-2222-3333-444455556666", "wecom://693axxx6-7aoc-4bc4-97a0-0ec2sifa5aaa",
		"telegram://123456789:AAbcdefghijklmnopqrstuvwxyz12345678@telegram?chats=@channel", "ntfy://ntfy.invalid/topic", "discord://token@123456789", "generic://hook.invalid/x",
	} {
		if _, shown, _, err := s.Prepare(t.Context(), alert.Address{URL: url}); err != nil || strings.Contains(shown, "1234") {
			t.Errorf("%s: shown as %q, %v (%s)", url, shown, err, slipstream.HintOf(err))
		}
	}
}

// fleet puts counts of devices under a rollout.
type fleet struct {
	store.Store
	mu    sync.Mutex
	tally store.Tally
	runs  int64
	looks int // at the tally
}

func (f *fleet) Reports() store.Reports { return fleetReports{f.Store.Reports(), f} }

type fleetReports struct {
	store.Reports
	f *fleet
}

func (r fleetReports) Trials() store.Trials { return fleetTrials{r.Reports.Trials(), r.f} }
func (r fleetReports) Fleet() store.Fleet   { return fleetRows{r.Reports.Fleet(), r.f} }

type fleetTrials struct {
	store.Trials
	f *fleet
}

func (t fleetTrials) Tally(context.Context, string) (map[string]store.Tally, error) {
	t.f.mu.Lock()
	defer t.f.mu.Unlock()
	t.f.looks++
	return map[string]store.Tally{"treatment": t.f.tally, "control": {Enrolled: 1000, Confirmed: 1}}, nil
}

type fleetRows struct {
	store.Fleet
	f *fleet
}

func (r fleetRows) Running(context.Context, string, string) ([]store.Running, error) {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	return []store.Running{{Devices: r.f.runs}}, nil
}

func TestRulesLookAtTheNumbers(t *testing.T) {
	t.Parallel()
	f := &fleet{}
	w := newWorld(t, func(c *alert.Config) {
		f.Store = c.Store
		c.Store, c.Judge = f, time.Millisecond
	})
	w.must(w.service.SetRules(w.ctx, "anna", alert.Rules{SuccessBelow: 0.95, MinDevices: 20, NoDataAfter: 3600}))
	if r, err := w.service.Rules(w.ctx); err != nil || r.SuccessBelow != 0.95 {
		t.Fatalf("rules %+v, %v", r, err)
	}
	set := func(tally store.Tally, runs int64) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.tally, f.runs = tally, runs
	}
	policy := rollout.Policy{Packages: map[string]*rollout.PackagePolicy{"main": {Rollouts: []rollout.Entry{{Platform: "any", Created: slipstream.At(noon),
		Rollout: slipstream.Rollout{ID: "r1", Version: "1.0.0", To: 5000, Runtime: slipstream.AnyRuntime()}}}}}}
	offer := func(hold string) {
		policy.Packages["main"].Rollouts[0].Hold = hold
		raw, err := json.Marshal(policy)
		w.must(err)
		w.update(func(tx store.Tx) error {
			return tx.Channels().Save(w.ctx, store.Channel{App: "shop", Name: "production", Policy: raw})
		})
	}
	looked := func(what string) { // twice: the first look may have begun before
		f.mu.Lock()
		before := f.looks
		f.mu.Unlock()
		w.eventually(what, func() bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.looks >= before+2
		})
	}
	active := func() (kinds string) {
		for _, a := range w.list(store.AlertQuery{Active: true}) {
			kinds += a.Kind + " "
		}
		return kinds
	}
	set(store.Tally{Enrolled: 19, Confirmed: 9, Failed: 10}, 100)
	offer("")
	w.start()
	looked("a look at 19 devices")
	if got := active(); got != "" {
		t.Errorf("19 devices: %s", got)
	}
	for _, step := range []struct {
		name  string
		tally store.Tally
		after time.Duration
		hold  string
		want  string
	}{
		{"too few confirm", store.Tally{Enrolled: 20, Confirmed: 18, Failed: 2}, 0, "", "success_low "},
		{"enough do again", store.Tally{Enrolled: 40, Confirmed: 39, Failed: 1}, 0, "", ""},
		{"many are silent", store.Tally{Enrolled: 60, Confirmed: 39, Failed: 1}, 61 * time.Minute, "", "no_data "},
		{"one speaks", store.Tally{Enrolled: 60, Confirmed: 40, Failed: 1}, 0, "", ""},
		{"they are silent again", store.Tally{Enrolled: 61, Confirmed: 40, Failed: 1}, 61 * time.Minute, "", "no_data "},
		{"it is paused: silence is what was asked for", store.Tally{Enrolled: 61, Confirmed: 40, Failed: 1}, 0, slipstream.HoldPaused, ""},
		{"nobody takes it", store.Tally{}, 61 * time.Minute, "", "no_data "},
	} {
		set(step.tally, 100)
		offer(step.hold)
		if step.after > 0 {
			looked(step.name)
			w.pass(step.after)
		}
		w.eventually(step.name, func() bool { return active() == step.want })
	}
	policy.Packages["main"].Rollouts = append(policy.Packages["main"].Rollouts[:0], rollout.Entry{})[:0]
	raw, err := json.Marshal(policy)
	w.must(err)
	w.update(func(tx store.Tx) error {
		return tx.Channels().Save(w.ctx, store.Channel{App: "shop", Name: "production", Policy: raw})
	})
	w.eventually("it is offered no more", func() bool { return active() == "" })
	for _, bad := range []alert.Rules{{SuccessBelow: 1.1, MinDevices: 1}, {MinDevices: 0}, {MinDevices: 1, NoDataAfter: 5}} {
		if err := w.service.SetRules(w.ctx, "anna", bad); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}
