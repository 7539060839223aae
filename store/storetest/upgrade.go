package storetest

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

// Old is a database at an earlier schema: DB to fill it as the programs of that time did, Open to open it with this
// program, which migrates it or, with migrate false, must refuse.
type Old struct {
	DB   *sql.DB
	Open func(migrate bool) (store.Store, error)
}

// Upgrade checks that data written at every earlier schema is read back through the API after migrating, and that a
// newer schema is refused. latest is this program's schema, database makes one at a version.
func Upgrade(t *testing.T, latest int64, database func(t *testing.T, version int64) Old) {
	for version := int64(1); version <= latest; version++ {
		t.Run(fmt.Sprintf("from schema %d", version), func(t *testing.T) {
			old := database(t, version)
			e := &env{T: t}
			for _, row := range history {
				if row.schema <= version {
					_, err := old.DB.ExecContext(t.Context(), row.insert, row.args...)
					e.must(err)
				}
			}
			if version < latest {
				_, err := old.Open(false)
				if err == nil || !strings.Contains(slipstream.HintOf(err), "slipstream migrate") {
					t.Errorf("without permission to migrate: %v, hint %q", err, slipstream.HintOf(err))
				}
			}
			e.open = func() store.Store {
				s, err := old.Open(true)
				e.must(err)
				return s
			}
			e.s = e.node()
			e.readHistory(version)
			e.writeAfterUpgrade()
		})
	}
	t.Run("a newer schema is refused", func(t *testing.T) {
		old := database(t, latest)
		e := &env{T: t}
		_, err := old.DB.ExecContext(t.Context(), `INSERT INTO slipstream_schema (version_id, is_applied) VALUES ($1, $2)`, latest+1, true)
		e.must(err)
		_, err = old.Open(true)
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("knows only up to %d", latest)) || slipstream.HintOf(err) == "" {
			t.Errorf("error %v, hint %q", err, slipstream.HintOf(err))
		}
	})
}

// history is what the program of each schema wrote, frozen: these lines never change, new schemas add some.
var history = []struct {
	schema int64
	insert string
	args   []any
}{
	{1, `INSERT INTO apps (name, display, platforms, settings, created) VALUES ($1, $2, $3, $4, $5)`,
		[]any{"shop", "The Shop", `["any","ios"]`, []byte(`{"a":1}`), int64(1772366400123456)}},
	{1, `INSERT INTO roots (app, version, envelope) VALUES ($1, $2, $3)`, []any{"shop", int64(1), []byte("root 1")}},
	{1, `INSERT INTO state_keys (app, key_id, public, sealed, created) VALUES ($1, $2, $3, $4, $5)`,
		[]any{"shop", "0123456789abcdef", "pub", []byte{1, 2}, int64(1772366400000000)}},
	{1, `INSERT INTO packages (app, name, highest_seq) VALUES ($1, $2, $3)`, []any{"shop", "main", int64(9)}},
	{1, `INSERT INTO releases (digest, app, package, platform, runtime, version, seq, manifest, envelope, published, notes, embedded)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		[]any{string(digest("r")), "shop", "main", "any", "range:*", "1.0.0", int64(8), []byte(`{"app":"shop","package":"main","platform":"any",` +
			`"runtime":{"range":"*"},"seq":8,"version":"1.0.0","entry":"a.js","created":"2026-03-01T12:00:00Z","files":[{"path":"a.js","size":3,"sha256":"x"}]}`),
			[]byte("envelope"), int64(1772366401000000), "notes", false}},
	{1, `INSERT INTO containers (release, origin, codec, size, sha256) VALUES ($1, $2, $3, $4, $5)`,
		[]any{string(digest("r")), "", "full/1", int64(77), string(digest("c"))}},
	{1, `INSERT INTO channels (app, name, display, policy, created, updated) VALUES ($1, $2, $3, $4, $5, $6)`,
		[]any{"shop", "production", "Production", []byte(`{}`), int64(1772366400000000), int64(1772366400000000)}},
	{1, `UPDATE counters SET value = $1 WHERE name = $2`, []any{int64(41), "rev"}},
	{1, `INSERT INTO states (app, channel, platform, epoch, issued, expires, envelope, private, rev) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		[]any{"shop", "production", "any", int64(1772366400), int64(1772366400000000), int64(1772452800000000), []byte("state"), nil, int64(41)}},
	{1, `INSERT INTO audit (seq, at, actor, action, app, target, detail, prev, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		[]any{int64(1), int64(1772366400000000), "anna", "app.create", "shop", "shop", []byte(`{}`), "", "dc0e3d3cfbb2b59eb01d81fd66e4ba4d5a0ecdbb8b0b5a5f63b1a1d5c7d81e3e"}},
	{1, `INSERT INTO tokens (id, hash, name, role, app, created, expires, last_used) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		[]any{"t1", make([]byte, 32), "ci", "publisher", "", int64(1772366400000000), int64(0), int64(0)}},
	{1, `INSERT INTO settings (name, value) VALUES ($1, $2)`, []any{"k", []byte("v")}},
	{2, `INSERT INTO events (key, app, device, release, kind, received, network, body) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		[]any{[]byte("0123456789abcdef"), "shop", "dev", string(digest("r")), "confirmed", int64(1772366400000000), "net", []byte(`{"id":"event-1","channel":"production"}`)}},
	{2, `INSERT INTO counts (app, channel, package, release, kind, devices) VALUES ($1, $2, $3, $4, $5, $6)`,
		[]any{"shop", "production", "main", string(digest("r")), "confirmed", int64(5)}},
	{3, `INSERT INTO places (id, app, package, channel, platform, runtime, release, last) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		[]any{int64(7), "shop", "main", "production", "android", "3.2.0", string(digest("r")), int64(1772323200000000)}},
	{3, `INSERT INTO devices (key, id, place, first_seen, last_seen) VALUES ($1, $2, $3, $4, $5)`,
		[]any{int64(-5), make([]byte, 32), int64(7), int64(1772366400000000), int64(1772366400000000)}},
	{3, `INSERT INTO trial_rollouts (rollout, app, channel, package, last) VALUES ($1, $2, $3, $4, $5)`,
		[]any{"ro", "shop", "production", "main", int64(1772366400000000)}},
	{3, `INSERT INTO trials (device, rollout, id, arm, network, release, joined, enrolled, ended, ended_at, ending, reason)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		[]any{int64(-9), int64(1), make([]byte, 32), int64(1), "net", make([]byte, 32), int64(1), int64(1772366400000000), int64(2), int64(1772366460000000), int64(2), "crashed"}},
	{3, `INSERT INTO trial_log (rollout, seq, device, joined) VALUES ($1, 1, $2, 1), ($1, 2, $2, 0)`, []any{int64(1), int64(-9)}},
	{3, `UPDATE counters SET value = $1 WHERE name = $2`, []any{int64(2), "trials"}},
	{3, `INSERT INTO trial_tallies (rollout, arm, network, enrolled, confirmed, failed, gone) VALUES ($1, 1, $2, 1, 0, 1, 0)`, []any{int64(1), "net"}},
	{3, `INSERT INTO trial_days (rollout, day, outcomes, failed) VALUES ($1, $2, 1, 1)`, []any{int64(1), int64(1772323200000000)}},
	{3, `INSERT INTO trial_metrics (device, rollout, metric, count, sum, yesno) VALUES ($1, $2, $3, 2, $4, 0)`, []any{int64(-9), int64(1), "fps", 110.0}},
	{3, `INSERT INTO series (count, step, at, n) VALUES ($1, 2, $2, 5)`, []any{int64(1), int64(1772323200000000)}},
	{3, `INSERT INTO reasons (count, stage, reason, devices, last) VALUES ($1, $2, $3, 1, $4)`, []any{int64(1), "start", "crashed", int64(1772366400000000)}},
	{3, `INSERT INTO reasoned (reason, device) VALUES ($1, $2)`, []any{int64(1), int64(-9)}},
	{5, `INSERT INTO alerts (key, kind, severity, app, channel, package, subject, title, detail, state, count, began, latest, notified, actor, note, changed)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)`,
		[]any{"halt/r1", "halt", "critical", "shop", "production", "main", "r1", "stopped", []byte(`{}`), "open", int64(3), int64(1772366400000000),
			int64(1772366401000000), int64(0), "", "", int64(0)}},
	{5, `INSERT INTO alert_targets (name, type, app, kinds, severity, address, public, sealed, disabled, created) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		[]any{"ops", "webhook", "", `["halt"]`, "info", "https://example.org", "", []byte{1}, false, int64(1772366400000000)}},
	{5, `INSERT INTO deliveries (target, alert, event, body, state, attempts, due, status, error, took, created, updated) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		[]any{"ops", int64(1), "alert.opened", []byte(`{"old":1}`), "dead", int64(9), int64(0), int64(500), "failed", int64(12), int64(1772366400000000), int64(1772366400000000)}},
	{8, `INSERT INTO grant_counts (rollout, given, latest) VALUES ($1, $2, $3)`, []any{"ro", int64(1), int64(1772366400000000)}},
	{8, `INSERT INTO grants (rollout, device, app) VALUES ($1, $2, $3)`, []any{"ro", "dev", "shop"}},
	{9, `INSERT INTO members (name, display, email, role, apps, password, otp, otp_step, recovery, subject, created, seen, disabled)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
		[]any{"ann", "Ann", "ann@example.org", "operator", `["shop"]`, "$argon2id$", []byte{1}, int64(58), `["a"]`, "", int64(1772366400000000), int64(0), false}},
	{9, `INSERT INTO sessions (hash, id, token, member, via, agent, created, seen, expires) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		[]any{make([]byte, 32), "s1", nil, "ann", "password", "", int64(1772366400000000), int64(1772366400000000), int64(1772366500000000)}},
	{9, `INSERT INTO tickets (hash, kind, token, member, created, expires) VALUES ($1, $2, $3, $4, $5, $6)`,
		[]any{make([]byte, 32), "sign-in", "t1", nil, int64(1772366400000000), int64(1772366500000000)}},
}

func (e *env) readHistory(version int64) {
	e.Helper()
	var all []string
	keep := func(v any, err error) {
		e.must(err)
		doc, err := json.Marshal(v)
		e.must(err)
		all = append(all, string(doc))
	}
	e.view(func(ctx context.Context, tx store.Tx) error {
		keep(tx.Apps().Get(ctx, "shop"))
		keep(tx.Apps().Roots(ctx, "shop"))
		keep(tx.Apps().StateKeys(ctx, "shop"))
		keep(tx.Releases().HighestSeq(ctx, "shop", "main"))
		keep(tx.Releases().Get(ctx, digest("r")))
		keep(tx.Containers().List(ctx, digest("r")))
		keep(tx.Channels().Get(ctx, "shop", "production"))
		keep(tx.States().Get(ctx, "shop", "production", "any"))
		keep(tx.Log().Audit().List(ctx, store.AuditQuery{}))
		keep(tx.People().Tokens().ByHash(ctx, [32]byte{}))
		keep(tx.Settings().Get(ctx, "k"))
		return nil
	})
	joined := strings.Join(all, "\n")
	for _, want := range []string{
		`"Display":"The Shop","Platforms":["any","ios"]`, `"Created":"2026-03-01T12:00:00.123456Z"`, `"KeyID":"0123456789abcdef"`, "\n9\n",
		`"Digest":"` + string(digest("r")) + `"`, `"path":"a.js"`, `"Notes":"notes"`, `"codec":"full/1","size":77`, `"Name":"production"`,
		`"Epoch":1772366400`, `"Rev":41`, `"Actor":"anna"`, `"Role":"publisher"`,
	} {
		if !strings.Contains(joined, want) {
			e.Errorf("%s is missing in\n%s", want, joined)
		}
	}
	if version >= 5 {
		e.readAlerts()
	}
	if version >= 8 {
		asked := func(device string) store.GrantRequest {
			return store.GrantRequest{App: "shop", Rollout: "ro", Device: device, Cap: 1}
		}
		e.same(e.take(asked("other"), asked("dev")), []bool{false, true}, "places")
	}
	if version >= 9 {
		e.readPeople()
	}
	if version < 2 {
		return
	}
	events := e.events(store.EventQuery{App: "shop", Kind: slipstream.KindConfirmed})
	if len(events) != 1 || events[0].ID != "event-1" || events[0].Device != "dev" || events[0].Release != digest("r") || events[0].Network != "net" {
		e.Errorf("events are %+v", events)
	}
	e.same(e.counts(), "production/main "+short+" confirmed 5", "counts")
	if version >= 3 {
		e.readFleetHistory()
	}
}

func (e *env) readFleetHistory() {
	e.Helper()
	lines := e.outcomes("ro", 0, 0)
	if len(lines) != 2 || !lines[0].Joined || !lines[1].Failed || lines[1].Reason != slipstream.ReasonCrashed || lines[1].Arm != slipstream.ArmControl {
		e.Errorf("log %+v", lines)
	}
	e.same(e.tally("ro"), map[string]store.Tally{slipstream.ArmControl: {Enrolled: 1, Failed: 1, Networks: 1}}, "tally")
	rows := e.devices(store.DeviceQuery{App: "shop"})
	if len(rows) != 1 || rows[0].Release != digest("r") || rows[0].Runtime != "3.2.0" {
		e.Errorf("devices %+v", rows)
	}
	metrics, err := e.s.Reports().Trials().Metrics(e.Context(), "ro")
	e.must(err)
	if len(metrics) != 1 || metrics[0].Mean != 55 {
		e.Errorf("metrics %+v", metrics)
	}
	e.same(e.series(store.SeriesQuery{App: "shop", Step: store.StepDay}), "00:00 confirmed 5", "series")
	reasons, err := e.s.Reports().Fleet().Reasons(e.Context(), store.ReasonQuery{App: "shop"})
	e.must(err)
	if len(reasons) != 1 || reasons[0].Reason != slipstream.ReasonCrashed {
		e.Errorf("reasons %+v", reasons)
	}
}

// readAlerts reads what the first schema with alerts held.
func (e *env) readAlerts() {
	e.Helper()
	e.view(func(ctx context.Context, tx store.Tx) error {
		list, err := tx.Log().Alerts().List(ctx, store.AlertQuery{Active: true})
		e.must(err)
		targets, err := tx.Log().Alerts().Targets().List(ctx)
		e.must(err)
		dead, err := tx.Log().Alerts().Deliveries().List(ctx, store.DeliveryQuery{State: store.DeliveryDead, Target: "ops"})
		e.must(err)
		if len(list) != 1 || list[0].Key != "halt/r1" || list[0].Count != 3 || len(targets) != 1 || targets[0].Kinds[0] != "halt" || len(dead) != 1 || string(dead[0].Body) != `{"old":1}` {
			e.Errorf("alerts %+v, targets %+v, messages %+v", list, targets, dead)
		}
		return nil
	})
}

// readPeople reads what the first schema with members held.
func (e *env) readPeople() {
	e.Helper()
	e.view(func(ctx context.Context, tx store.Tx) error {
		p := tx.People()
		m, err := p.Members().Get(ctx, "ann")
		s, err2 := p.Sessions().ByHash(ctx, [32]byte{})
		k, err3 := p.Tickets().ByHash(ctx, [32]byte{})
		if m.Role != "operator" || len(m.Apps) != 1 || m.OTPStep != 58 || s.Member != "ann" || k.Token != "t1" {
			e.Errorf("member %+v, session %+v, ticket %+v", m, s, k)
		}
		return errors.Join(err, err2, err3)
	})
}

func (e *env) writeAfterUpgrade() {
	e.Helper()
	e.update(func(ctx context.Context, tx store.Tx) error {
		next := release(10, "2.0.0")
		_, err := tx.Log().Audit().Append(ctx, store.AuditEntry{At: at(0), Action: "x"})
		return errors.Join(err, tx.Releases().Put(ctx, next), tx.States().Put(ctx, state("production", "any", 1772366401)))
	})
	e.view(func(ctx context.Context, tx store.Tx) error {
		s, err := tx.States().Get(ctx, "shop", "production", "any")
		e.same(s.Rev, int64(42), "rev of the next state")
		log, err2 := tx.Log().Audit().List(ctx, store.AuditQuery{Limit: 1})
		e.same(log[0].Seq, int64(2), "seq of the next audit entry")
		return errors.Join(err, err2)
	})
	e.same(e.append(event(1, "d", slipstream.KindStarted)), []bool{true}, "fresh")
}
