package alert

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

// Watch gives a store whose Updates raise the alerts that follow from what they write into the audit log: nothing that
// is recorded can be forgotten to be told, whoever does it. spread is over how many seconds the devices of a channel spread
// a reaction; nil means 0, the devices' own default.
func Watch(inner store.Store, spread func(store.Channel) int) store.Store {
	return &watched{inner, spread}
}

type watched struct {
	store.Store
	spread func(store.Channel) int
}

// Update implements store.Store.
func (w *watched) Update(ctx context.Context, fn func(tx store.Tx) error) error {
	return w.Store.Update(ctx, func(tx store.Tx) error {
		noting := &notingTx{Tx: tx}
		if err := fn(noting); err != nil {
			return err
		}
		return w.tell(ctx, tx, noting.entries)
	})
}

type notingTx struct {
	store.Tx
	entries []store.AuditEntry
}

// Log implements store.Tx.
func (t *notingTx) Log() store.Log { return notingLog{t.Tx.Log(), t} }

type notingLog struct {
	store.Log
	tx *notingTx
}

// Audit implements store.Log.
func (l notingLog) Audit() store.Audit { return notingAudit{l.Log.Audit(), l.tx} }

type notingAudit struct {
	store.Audit
	tx *notingTx
}

// Append implements store.Audit.
func (a notingAudit) Append(ctx context.Context, e store.AuditEntry) (store.AuditEntry, error) {
	e, err := a.Audit.Append(ctx, e)
	if err == nil {
		a.tx.entries = append(a.tx.entries, e)
	}
	return e, err
}

// tell raises and settles what entries, written in one transaction, mean.
func (w *watched) tell(ctx context.Context, tx store.Tx, entries []store.AuditEntry) error {
	for _, n := range notices(entries) {
		var wake *Wake
		if n.epoch > 0 && (n.alert.Kind == KindPublish || n.alert.Kind == KindChange) {
			wake = &Wake{Epoch: n.epoch}
			if w.spread != nil {
				c, err := tx.Channels().Get(ctx, n.alert.App, n.alert.Channel)
				if err != nil {
					return fmt.Errorf("channel of a message: %w", err)
				}
				wake.Spread = w.spread(c)
			}
		}
		if err := w.say(ctx, tx, n, wake); err != nil {
			return err
		}
	}
	return nil
}

func (w *watched) say(ctx context.Context, tx store.Tx, n notice, wake *Wake) error {
	a := n.alert
	switch {
	case n.settles:
		for _, kind := range []string{KindHalt, KindGuardWarning, KindSuccessLow, KindNoData} {
			if err := Settle(ctx, tx, RolloutKey(kind, a.App, a.Channel, a.Subject), n.by, n.note, a.At); err != nil {
				return err
			}
		}
		return nil
	case a.Kind == KindChange:
		row := store.Alert{Kind: a.Kind, Severity: a.Severity, App: a.App, Channel: a.Channel, Package: a.Package, Subject: a.Subject, Title: a.Title, Actor: n.by, Detail: a.Detail}
		_, err := queue(ctx, tx, row, EventChanged, wake, stamp(a.At))
		return err
	case a.Kind == KindPublish:
		row := store.Alert{Key: a.Key, Kind: a.Kind, Severity: a.Severity, App: a.App, Channel: a.Channel, Package: a.Package, Subject: a.Subject, Title: a.Title,
			Detail: a.Detail, State: store.AlertNoted, Last: stamp(a.At), Actor: n.by, Changed: stamp(a.At)}
		row, _, err := tx.Log().Alerts().Raise(ctx, row)
		if err != nil {
			return fmt.Errorf("raise alert: %w", err)
		}
		return notify(ctx, tx, row, EventPublished, wake)
	}
	return Raise(ctx, tx, a)
}

// notice is one consequence of an entry.
type notice struct {
	alert   Alert
	settles bool // all alerts about the rollout alert.Subject
	by      string
	note    string
	epoch   int64
}

// detail is what alerts read of an entry's detail.
type detail struct {
	Channel   string            `json:"channel"`
	Epoch     int64             `json:"epoch"`
	Package   string            `json:"package"`
	Version   string            `json:"version"`
	Digest    slipstream.Digest `json:"digest"`
	Share     any               `json:"share"`
	Reason    string            `json:"reason"`
	Name      string            `json:"name"`
	Role      string            `json:"role"`
	Reissued  bool              `json:"reissued"`
	Rollout   string            `json:"rollout"`
	Withdrawn any               `json:"withdrawn"`
}

// notices says what the entries of one transaction mean. It is a function of its arguments.
func notices(entries []store.AuditEntry) []notice {
	var out []notice
	offered := func(d slipstream.Digest) bool {
		return slices.ContainsFunc(entries, func(e store.AuditEntry) bool { return starts(e.Action) && read(e).Digest == d })
	}
	for _, e := range entries {
		d := read(e)
		base := Alert{App: e.App, Channel: d.Channel, Package: d.Package, Subject: e.Target, Severity: Info, Detail: raw(e), At: e.At,
			Key: e.Action + "/" + e.App + "/" + e.Target}
		add := func(kind, severity, format string, args ...any) {
			a := base
			a.Kind, a.Severity, a.Title = kind, severity, fmt.Sprintf(format, args...)
			out = append(out, notice{alert: a, by: e.Actor, epoch: d.Epoch})
		}
		switch {
		case e.Action == "release.publish" && !offered(slipstream.Digest(e.Target)):
			add(KindPublish, Info, "%s published version %s of %s, package %s", e.Actor, d.Version, e.App, d.Package)
		case starts(e.Action):
			add(KindPublish, Info, "%s offers version %s of %s, package %s, on %s%s", e.Actor, d.Version, e.App, d.Package, d.Channel, share(d.Share))
		case e.Action == "rollout.halt":
			add(KindHalt, Critical, "The rollout of version %s of %s, package %s, on %s was halted", d.Version, e.App, d.Package, d.Channel)
			out[len(out)-1].alert.Key = RolloutKey(KindHalt, e.App, d.Channel, e.Target)
		case e.Action == "release.withdraw" || e.Action == "release.rollback":
			add(KindWithdraw, Warning, "%s %s on %s: %s, package %s%s", e.Actor, map[bool]string{true: "rolled back", false: "withdrew a release"}[e.Action == "release.rollback"],
				d.Channel, strings.TrimSpace(e.App+" "+d.Version), d.Package, because(d.Reason))
		case e.Action == "root.add", e.Action == "app.statekey", e.Action == "release.resign":
			add(KindKeyUse, Warning, "%s: %s of %s (%s)", e.Actor, map[string]string{"root.add": "a new root", "app.statekey": "a new state key", "release.resign": "more signatures of a release"}[e.Action], e.App, e.Target)
		case e.Action == "token.create" && !d.Reissued, e.Action == "token.revoke":
			add(KindKeyUse, Info, "%s: %s %s", e.Actor, map[bool]string{true: "a token was made:", false: "a token was revoked:"}[e.Action == "token.create"], strings.TrimSpace(e.Target+" "+d.Name+" "+d.Role))
		}
		switch e.Action {
		case "rollout.resume", "rollout.finish", "rollout.end":
			out = append(out, notice{alert: base, settles: true, by: e.Actor, note: strings.TrimPrefix(e.Action, "rollout.")})
		}
		if d.Epoch > 0 && d.Channel != "" {
			add(KindChange, Info, "%s: %s on %s of %s", e.Actor, e.Action, d.Channel, e.App)
		}
	}
	return out
}

func starts(action string) bool { return action == "rollout.start" || action == "release.promote" }

func share(v any) string {
	if s, ok := v.(string); ok && s != "" {
		return " to " + s
	}
	return ""
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

func read(e store.AuditEntry) (d detail) {
	_ = json.Unmarshal(e.Detail, &d) // what is missing is not told
	return d
}

func raw(e store.AuditEntry) json.RawMessage {
	if !json.Valid(e.Detail) {
		return nil
	}
	return e.Detail
}
