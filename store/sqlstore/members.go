package sqlstore

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

type members struct{ *Tx }

// unique refuses what another member has.
func (t members) unique(ctx context.Context, m store.Member) error {
	for _, c := range []struct{ column, value string }{{"email", m.Email}, {"subject", m.Subject}} {
		if c.value == "" {
			continue
		}
		taken, err := t.exists(ctx, `SELECT 1 FROM members WHERE `+c.column+` = ? AND name <> ?`, c.value, m.Name)
		if err != nil {
			return err
		}
		if taken {
			return fmt.Errorf("another member has the same %s: %w", c.column, slipstream.ErrConflict)
		}
	}
	return nil
}

// fields are the columns after name and created, in the order of memberColumns.
func fields(m store.Member) ([]any, error) {
	apps, err := json.Marshal(m.Apps)
	if err != nil {
		return nil, fmt.Errorf("encode apps: %w", err)
	}
	recovery, err := json.Marshal(m.Recovery)
	if err != nil {
		return nil, fmt.Errorf("encode recovery codes: %w", err)
	}
	return []any{text(m.Display), text(m.Email), m.Role, string(apps), m.Password, bytesOf(m.OTP), m.OTPStep, string(recovery), text(m.Subject), micros(m.Seen), m.Disabled}, nil
}

func (t members) Create(ctx context.Context, m store.Member) error {
	taken, err := t.exists(ctx, `SELECT 1 FROM members WHERE name = ?`, m.Name)
	if err == nil && taken {
		err = slipstream.ErrConflict
	}
	if err == nil {
		err = t.unique(ctx, m)
	}
	if err != nil {
		return about(err, "member %q", m.Name)
	}
	values, err := fields(m)
	if err != nil {
		return err
	}
	_, err = t.write(ctx, `INSERT INTO members (name, created, display, email, role, apps, password, otp, otp_step, recovery, subject, seen, disabled)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, append([]any{m.Name, micros(m.Created)}, values...)...)
	return about(err, "create member %q", m.Name)
}

const memberColumns = `SELECT name, created, display, email, role, apps, password, otp, otp_step, recovery, subject, seen, disabled FROM members`

func scanMember(s scanner) (store.Member, error) {
	var m store.Member
	var apps, recovery string
	var created, seen int64
	if err := s.Scan(&m.Name, &created, &m.Display, &m.Email, &m.Role, &apps, &m.Password, &m.OTP, &m.OTPStep, &recovery, &m.Subject, &seen, &m.Disabled); err != nil {
		return m, err
	}
	m.OTP, m.Created, m.Seen = orNil(m.OTP), instant(created), instant(seen)
	if err := json.Unmarshal([]byte(apps), &m.Apps); err != nil {
		return m, fmt.Errorf("apps of member %q: %w", m.Name, err)
	}
	if err := json.Unmarshal([]byte(recovery), &m.Recovery); err != nil {
		return m, fmt.Errorf("recovery codes of member %q: %w", m.Name, err)
	}
	return m, nil
}

func (t members) Get(ctx context.Context, name string) (store.Member, error) {
	m, err := get(ctx, t.conn, scanMember, memberColumns+` WHERE name = ?`, name)
	return m, about(err, "member %q", name)
}

func (t members) ByEmail(ctx context.Context, email string) (store.Member, error) {
	m, err := get(ctx, t.conn, scanMember, memberColumns+` WHERE email = ? AND email <> ''`, text(email))
	return m, about(err, "member with e-mail %q", email)
}

func (t members) BySubject(ctx context.Context, subject string) (store.Member, error) {
	m, err := get(ctx, t.conn, scanMember, memberColumns+` WHERE subject = ? AND subject <> ''`, text(subject))
	return m, about(err, "member of account %q", subject)
}

func (t members) List(ctx context.Context) ([]store.Member, error) {
	out, err := list(ctx, t.conn, scanMember, memberColumns+` ORDER BY name`)
	return out, about(err, "list members")
}

func (t members) Save(ctx context.Context, m store.Member) error {
	if err := t.unique(ctx, m); err != nil {
		return about(err, "member %q", m.Name)
	}
	values, err := fields(m)
	if err != nil {
		return err
	}
	n, err := t.write(ctx, `UPDATE members SET display = ?, email = ?, role = ?, apps = ?, password = ?, otp = ?, otp_step = ?, recovery = ?, subject = ?, seen = ?, disabled = ?
		WHERE name = ?`, append(values, m.Name)...)
	if err == nil && n == 0 {
		err = slipstream.ErrNotFound
	}
	return about(err, "save member %q", m.Name)
}

func (t members) Delete(ctx context.Context, name string) error {
	n, err := t.write(ctx, `DELETE FROM members WHERE name = ?`, name)
	if err == nil && n == 0 {
		err = slipstream.ErrNotFound
	}
	return about(err, "delete member %q", name)
}

type sessions struct{ *Tx }

func (t sessions) Put(ctx context.Context, s store.Session) error {
	if err := t.known(ctx, s.Token, s.Member); err != nil {
		return fmt.Errorf("put session: %w", err)
	}
	_, err := t.write(ctx, `INSERT INTO sessions (hash, id, token, member, via, agent, created, seen, expires) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (hash) DO UPDATE SET id = excluded.id, token = excluded.token, member = excluded.member, via = excluded.via, agent = excluded.agent,
		created = excluded.created, seen = excluded.seen, expires = excluded.expires`,
		s.Hash[:], s.ID, orNull(s.Token), orNull(s.Member), s.Via, text(s.Agent), micros(s.Created), micros(s.Seen), micros(s.Expires))
	return about(err, "put session")
}

const sessionColumns = `SELECT hash, id, COALESCE(token, ''), COALESCE(member, ''), via, agent, created, seen, expires FROM sessions`

func scanSession(r scanner) (store.Session, error) {
	var s store.Session
	var hash []byte
	var created, seen, expires int64
	if err := r.Scan(&hash, &s.ID, &s.Token, &s.Member, &s.Via, &s.Agent, &created, &seen, &expires); err != nil {
		return s, err
	}
	s.Created, s.Seen, s.Expires = instant(created), instant(seen), instant(expires)
	return s, sum(&s.Hash, hash)
}

func (t sessions) ByHash(ctx context.Context, hash [32]byte) (store.Session, error) {
	s, err := get(ctx, t.conn, scanSession, sessionColumns+` WHERE hash = ?`, hash[:])
	return s, about(err, "session")
}

func (t sessions) List(ctx context.Context, token, member string) ([]store.Session, error) {
	var w where
	w.addText("token", token)
	w.addText("member", member)
	out, err := list(ctx, t.conn, scanSession, sessionColumns+w.sql()+` ORDER BY created DESC, id`, w.args...)
	return out, about(err, "list sessions")
}

func (t sessions) Delete(ctx context.Context, hash [32]byte) error {
	n, err := t.write(ctx, `DELETE FROM sessions WHERE hash = ?`, hash[:])
	if err == nil && n == 0 {
		err = slipstream.ErrNotFound
	}
	return about(err, "end session")
}

func (t sessions) Expire(ctx context.Context, now, idle time.Time) error {
	_, err := t.write(ctx, `DELETE FROM sessions WHERE expires <= ? OR seen <= ?`, micros(now), micros(idle))
	return about(err, "remove old sessions")
}

type tickets struct{ *Tx }

func (t tickets) Put(ctx context.Context, k store.Ticket) error {
	taken, err := t.exists(ctx, `SELECT 1 FROM tickets WHERE hash = ?`, k.Hash[:])
	if err == nil && taken {
		err = slipstream.ErrConflict
	}
	if err == nil {
		err = t.known(ctx, k.Token, k.Member)
	}
	if err != nil {
		return about(err, "put ticket")
	}
	_, err = t.write(ctx, `INSERT INTO tickets (hash, kind, token, member, created, expires) VALUES (?, ?, ?, ?, ?, ?)`,
		k.Hash[:], k.Kind, orNull(k.Token), orNull(k.Member), micros(k.Created), micros(k.Expires))
	return about(err, "put ticket")
}

func (t tickets) ByHash(ctx context.Context, hash [32]byte) (store.Ticket, error) {
	k, err := get(ctx, t.conn, func(s scanner) (k store.Ticket, err error) {
		var created, expires int64
		k.Hash = hash
		err = s.Scan(&k.Kind, &k.Token, &k.Member, &created, &expires)
		k.Created, k.Expires = instant(created), instant(expires)
		return k, err
	}, `SELECT kind, COALESCE(token, ''), COALESCE(member, ''), created, expires FROM tickets WHERE hash = ?`, hash[:])
	return k, about(err, "ticket")
}

func (t tickets) Delete(ctx context.Context, hash [32]byte) error {
	n, err := t.write(ctx, `DELETE FROM tickets WHERE hash = ?`, hash[:])
	if err == nil && n == 0 {
		err = slipstream.ErrNotFound
	}
	return about(err, "take ticket")
}

func (t tickets) DeleteOf(ctx context.Context, member, kind string) error {
	_, err := t.write(ctx, `DELETE FROM tickets WHERE member = ? AND kind = ?`, member, kind)
	return about(err, "take tickets of %q back", member)
}

func (t tickets) Expire(ctx context.Context, now time.Time) error {
	_, err := t.write(ctx, `DELETE FROM tickets WHERE expires <= ?`, micros(now))
	return about(err, "remove old tickets")
}
