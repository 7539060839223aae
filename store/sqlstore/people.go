package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

type logs struct{ *Tx }

// Audit implements store.Log.
func (l logs) Audit() store.Audit { return audit(l) }

type audit struct{ *Tx }

func (a audit) Append(ctx context.Context, e store.AuditEntry) (store.AuditEntry, error) {
	e.Seq, e.Prev = 0, ""
	err := a.one(ctx, `SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1`, nil, &e.Seq, &e.Prev)
	if err != nil && !errors.Is(err, slipstream.ErrNotFound) {
		return e, fmt.Errorf("end of audit log: %w", err)
	}
	e.Seq++
	e.At = instant(micros(e.At))
	e.Hash = store.ChainHash(e)
	_, err = a.write(ctx, `INSERT INTO audit (seq, at, actor, action, app, target, detail, prev, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		e.Seq, micros(e.At), e.Actor, e.Action, e.App, e.Target, bytesOf(e.Detail), e.Prev, e.Hash)
	return e, about(err, "append to audit log")
}

func scanAudit(s scanner) (store.AuditEntry, error) {
	var e store.AuditEntry
	var at int64
	err := s.Scan(&e.Seq, &at, &e.Actor, &e.Action, &e.App, &e.Target, &e.Detail, &e.Prev, &e.Hash)
	e.At, e.Detail = instant(at), orNil(e.Detail)
	return e, err
}

func (a audit) List(ctx context.Context, q store.AuditQuery) ([]store.AuditEntry, error) {
	var w where
	w.addText("app", q.App)
	w.addAny("app", q.Apps)
	w.addText("action", q.Action)
	if q.BeforeSeq != 0 {
		w.add("seq < ?", q.BeforeSeq)
	}
	out, err := list(ctx, a.conn, scanAudit, `SELECT seq, at, actor, action, app, target, detail, prev, hash FROM audit`+
		w.sql()+` ORDER BY seq DESC`+limit(q.Limit), w.args...)
	return out, about(err, "list audit log")
}

type people struct{ *Tx }

// Tokens implements store.People.
func (p people) Tokens() store.Tokens { return tokens(p) }

// Members implements store.People.
func (p people) Members() store.Members { return members(p) }

// Sessions implements store.People.
func (p people) Sessions() store.Sessions { return sessions(p) }

// Tickets implements store.People.
func (p people) Tickets() store.Tickets { return tickets(p) }

type tokens struct{ *Tx }

func (t tokens) Put(ctx context.Context, k store.Token) error {
	taken, err := t.exists(ctx, `SELECT 1 FROM tokens WHERE hash = ? AND id <> ?`, k.Hash[:], k.ID)
	if err != nil {
		return fmt.Errorf("put token: %w", err)
	}
	if taken {
		return fmt.Errorf("secret of token %q is another token's: %w", k.Name, slipstream.ErrConflict)
	}
	if err := t.known(ctx, "", k.Member); err != nil {
		return fmt.Errorf("put token %q: %w", k.Name, err)
	}
	_, err = t.write(ctx, `INSERT INTO tokens (id, hash, name, role, app, member, created, expires, last_used) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET hash = excluded.hash, name = excluded.name, role = excluded.role, app = excluded.app, member = excluded.member,
		created = excluded.created, expires = excluded.expires, last_used = excluded.last_used`,
		k.ID, k.Hash[:], k.Name, k.Role, k.App, orNull(k.Member), micros(k.Created), micros(k.Expires), micros(k.LastUsed.Truncate(time.Hour)))
	return about(err, "put token %q", k.Name)
}

const tokenColumns = `SELECT id, hash, name, role, app, COALESCE(member, ''), created, expires, last_used FROM tokens`

func scanToken(s scanner) (store.Token, error) {
	var k store.Token
	var hash []byte
	var created, expires, used int64
	if err := s.Scan(&k.ID, &hash, &k.Name, &k.Role, &k.App, &k.Member, &created, &expires, &used); err != nil {
		return k, err
	}
	k.Created, k.Expires, k.LastUsed = instant(created), instant(expires), instant(used)
	return k, sum(&k.Hash, hash)
}

// sum copies a hash out of its column.
func sum(to *[32]byte, column []byte) error {
	if len(column) != len(to) {
		return fmt.Errorf("a hash has %d bytes", len(column))
	}
	copy(to[:], column)
	return nil
}

// orNull is the value of a column that refers to another table, NULL when it refers to nothing.
func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// known is slipstream.ErrNotFound when the token or the member, each when not "", is not there.
func (t *Tx) known(ctx context.Context, token, member string) error {
	for what, name := range map[string]string{"tokens WHERE id": token, "members WHERE name": member} {
		if name == "" {
			continue
		}
		found, err := t.exists(ctx, `SELECT 1 FROM `+what+` = ?`, name)
		if err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("%q: %w", name, slipstream.ErrNotFound)
		}
	}
	return nil
}

func (t tokens) Get(ctx context.Context, id string) (store.Token, error) {
	k, err := get(ctx, t.conn, scanToken, tokenColumns+` WHERE id = ?`, id)
	return k, about(err, "token %q", id)
}

func (t tokens) ByHash(ctx context.Context, hash [32]byte) (store.Token, error) {
	k, err := get(ctx, t.conn, scanToken, tokenColumns+` WHERE hash = ?`, hash[:])
	return k, about(err, "token")
}

func (t tokens) List(ctx context.Context) ([]store.Token, error) {
	out, err := list(ctx, t.conn, scanToken, tokenColumns+` ORDER BY created, id`)
	return out, about(err, "list tokens")
}

func (t tokens) Delete(ctx context.Context, id string) error {
	n, err := t.write(ctx, `DELETE FROM tokens WHERE id = ?`, id)
	if err == nil && n == 0 {
		err = slipstream.ErrNotFound
	}
	return about(err, "delete token %q", id)
}

type settings struct{ *Tx }

func (s settings) Get(ctx context.Context, key string) ([]byte, error) {
	var v []byte
	err := s.one(ctx, `SELECT value FROM settings WHERE name = ?`, []any{key}, &v)
	return v, about(err, "setting %q", key)
}

func (s settings) Set(ctx context.Context, key string, value []byte) error {
	_, err := s.write(ctx, `INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value`, key, bytesOf(value))
	return about(err, "set %q", key)
}

func (s settings) List(ctx context.Context, prefix string) ([]store.Setting, error) {
	out, err := list(ctx, s.conn, func(r scanner) (store.Setting, error) {
		var v store.Setting
		err := r.Scan(&v.Key, &v.Value)
		return v, err
	}, `SELECT name, value FROM settings WHERE substr(name, 1, ?) = ? ORDER BY name`, len(prefix), prefix)
	return out, about(err, "settings %q", prefix)
}

func (s settings) Delete(ctx context.Context, key string) error {
	n, err := s.write(ctx, `DELETE FROM settings WHERE name = ?`, key)
	if err == nil && n == 0 {
		err = slipstream.ErrNotFound
	}
	return about(err, "delete %q", key)
}
