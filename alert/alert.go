// Package alert tells people what happens: a halt, a warning of the guard, too few successes, silence, a release, a
// withdrawal, the use of a key.
//
// An alert is raised in the transaction of what it tells of, and the messages about it are queued there too: what is
// committed is told, what is not never was. Most alerts follow from entries of the audit log (see Watch); a few rules look
// at the numbers (see Service). Messages go out at least once: a receiver drops those whose id it knows.
package alert

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

// Kinds of alerts.
const (
	KindHalt         = "halt"          // the guard stopped a rollout
	KindGuardWarning = "guard_warning" // it has no alarm, but something is odd
	KindSuccessLow   = "success_low"   // too few devices confirm a release
	KindNoData       = "no_data"       // devices that took a release are silent, or none takes it
	KindPublish      = "publish"       // a release was published or offered
	KindWithdraw     = "withdraw"      // devices must leave a release
	KindKeyUse       = "key_use"       // roots, state keys, signatures, tokens
	KindChange       = "change"        // any change of a channel: messages for push services, never an alert
)

// Kinds lists them all.
func Kinds() []string {
	return []string{KindHalt, KindGuardWarning, KindSuccessLow, KindNoData, KindPublish, KindWithdraw, KindKeyUse, KindChange}
}

// Severities.
const (
	Info     = "info"
	Warning  = "warning"
	Critical = "critical"
)

// Severities lists them, the least first.
func Severities() []string { return []string{Info, Warning, Critical} }

// severe reports whether a is at least as severe as b; "" is the least.
func severe(a, b string) bool {
	return slices.Index(Severities(), a) >= max(slices.Index(Severities(), b), 0)
}

// Events that messages tell.
const (
	EventOpened    = "alert.opened"
	EventRepeated  = "alert.repeated" // it still stands
	EventResolved  = "alert.resolved"
	EventNoted     = "alert.noted"       // it happened; nothing stands
	EventPublished = "release.published" // the noted event of KindPublish
	EventChanged   = "channel.changed"   // the event of KindChange
	EventTest      = "test"
)

// remindAfter is how long an open alert that happens again is not told again.
const remindAfter = 4 * time.Hour

// Alert is what Raise takes. Key groups: while an alert with it stands, the next one is only counted. Subject is what it
// is about, such as a rollout's id.
type Alert struct {
	Kind, App, Channel, Package, Subject string
	Severity                             string
	Title                                string
	Detail                               json.RawMessage
	Key                                  string
	At                                   time.Time // zero means now
}

// RolloutKey groups the alerts of a kind about one rollout. They are resolved when the rollout goes on or ends.
func RolloutKey(kind, app, channel, rollout string) string {
	return kind + "/" + app + "/" + channel + "/" + rollout
}

// happens reports whether alerts of a kind are over when they are told.
func happens(kind string) bool {
	return kind == KindPublish || kind == KindWithdraw || kind == KindKeyUse
}

// Raise keeps an alert in the caller's transaction, and queues the messages about it.
func Raise(ctx context.Context, tx store.Tx, a Alert) error {
	if a.Kind == "" || !slices.Contains(Kinds(), a.Kind) || a.Kind == KindChange || !slices.Contains(Severities(), a.Severity) {
		return slipstream.Invalidf("alert of kind %q and severity %q", a.Kind, a.Severity)
	}
	row := store.Alert{Key: a.Key, Kind: a.Kind, Severity: a.Severity, App: a.App, Channel: a.Channel, Package: a.Package, Subject: a.Subject,
		Title: a.Title, Detail: a.Detail, State: store.AlertOpen, Last: stamp(a.At)}
	event := EventOpened
	if happens(a.Kind) {
		row.State, row.Notified, row.Changed, event = store.AlertNoted, row.Last, row.Last, EventNoted
	}
	if a.Kind == KindPublish {
		event = EventPublished
	}
	row, repeated, err := tx.Log().Alerts().Raise(ctx, row)
	if err != nil {
		return fmt.Errorf("raise alert: %w", err)
	}
	if repeated {
		if row.State != store.AlertOpen || row.Last.Sub(row.Notified) < remindAfter {
			return nil
		}
		event = EventRepeated
	}
	return notify(ctx, tx, row, event, nil)
}

// Settle resolves the alert with this key, if one stands, and tells it.
func Settle(ctx context.Context, tx store.Tx, key, by, note string, at time.Time) error {
	list, err := tx.Log().Alerts().List(ctx, store.AlertQuery{Key: key, Active: true})
	if err != nil {
		return fmt.Errorf("look for alert: %w", err)
	}
	for _, row := range list {
		if err := settle(ctx, tx, row, by, note, stamp(at)); err != nil {
			return err
		}
	}
	return nil
}

func settle(ctx context.Context, tx store.Tx, row store.Alert, by, note string, at time.Time) error {
	row.State, row.Actor, row.Note, row.Changed = store.AlertResolved, by, note, at
	return notify(ctx, tx, row, EventResolved, nil)
}

func stamp(t time.Time) time.Time {
	if t.IsZero() {
		t = time.Now()
	}
	return t.UTC().Truncate(time.Microsecond)
}

// notify queues a message for every target that wants row, and keeps row's state.
func notify(ctx context.Context, tx store.Tx, row store.Alert, event string, wake *Wake) error {
	at := row.Last
	if event == EventResolved {
		at = row.Changed
	}
	told, err := queue(ctx, tx, row, event, wake, at)
	if err != nil {
		return err
	}
	if told > 0 || row.Notified.IsZero() {
		row.Notified = at
	}
	if err := tx.Log().Alerts().Save(ctx, row); err != nil {
		return fmt.Errorf("keep alert: %w", err)
	}
	return nil
}

// queue writes the messages and says how many there are.
func queue(ctx context.Context, tx store.Tx, row store.Alert, event string, wake *Wake, at time.Time) (int, error) {
	targets, err := tx.Log().Alerts().Targets().List(ctx)
	if err != nil {
		return 0, fmt.Errorf("list targets: %w", err)
	}
	var body []byte
	told := 0
	for _, t := range targets {
		if !wants(t, row) {
			continue
		}
		if body == nil {
			if body, err = bodyOf(row, event, wake, at); err != nil {
				return 0, err
			}
		}
		d := store.Delivery{Target: t.Name, Alert: row.ID, Event: event, Body: body, Created: at}
		if _, err := tx.Log().Alerts().Deliveries().Add(ctx, d); err != nil {
			return 0, fmt.Errorf("queue message: %w", err)
		}
		told++
	}
	return told, nil
}

// wants reports whether a target is to be told of an alert. Without kinds it wants all but changes.
func wants(t store.AlertTarget, a store.Alert) bool {
	if t.Disabled || t.App != "" && t.App != a.App {
		return false
	}
	if len(t.Kinds) == 0 {
		return a.Kind != KindChange && severe(a.Severity, t.Severity)
	}
	return slices.Contains(t.Kinds, a.Kind) && severe(a.Severity, t.Severity)
}

// Body is the JSON of a webhook.
type Body struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      Data      `json:"data"`
}

// Data is what a message tells of an alert. Of a channel.changed there is no alert: ID is 0.
type Data struct {
	ID       int64           `json:"id,omitempty"`
	Kind     string          `json:"kind"`
	Severity string          `json:"severity"`
	State    string          `json:"state,omitempty"`
	Count    int64           `json:"count,omitempty"`
	App      string          `json:"app,omitempty"`
	Channel  string          `json:"channel,omitempty"`
	Package  string          `json:"package,omitempty"`
	Subject  string          `json:"subject,omitempty"`
	Title    string          `json:"title"`
	First    *time.Time      `json:"first,omitempty"`
	Last     *time.Time      `json:"last,omitempty"`
	By       string          `json:"by,omitempty"`
	Note     string          `json:"note,omitempty"`
	Detail   json.RawMessage `json:"detail,omitempty"`
	Wake     *Wake           `json:"wake,omitempty"`
}

// Wake is what a push service hands to the devices of a channel: the client's Wake takes it as it is.
type Wake struct {
	Epoch  int64 `json:"epoch"`
	Spread int   `json:"spread"`
}

func bodyOf(row store.Alert, event string, wake *Wake, at time.Time) ([]byte, error) {
	b := Body{Type: event, Timestamp: at, Data: Data{ID: row.ID, Kind: row.Kind, Severity: row.Severity, State: string(row.State), Count: row.Count,
		App: row.App, Channel: row.Channel, Package: row.Package, Subject: row.Subject, Title: row.Title, By: row.Actor, Note: row.Note, Detail: row.Detail, Wake: wake}}
	if !row.First.IsZero() {
		b.Data.First, b.Data.Last = &row.First, &row.Last
	}
	out, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("encode message: %w", err)
	}
	return out, nil
}
