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
		keep(tx.Tokens().ByHash(ctx, [32]byte{}))
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
	if version < 2 {
		return
	}
	events := e.events(store.EventQuery{App: "shop", Kind: slipstream.KindConfirmed})
	if len(events) != 1 || events[0].ID != "event-1" || events[0].Device != "dev" || events[0].Release != digest("r") || events[0].Network != "net" {
		e.Errorf("events are %+v", events)
	}
	e.same(e.counts(), "production/main "+short+" confirmed 5", "counts")
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
