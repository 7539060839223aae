package alert_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/alert"
	"github.com/slipstream-ota/slipstream/store"
)

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
