package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

// errWrong is the one answer to a name that nobody has and to a password or code that is wrong.
const errWrong = denied("the name, the password or the code is wrong")

// SignIn proves that somebody is a member, who may be named by e-mail too. code is one of the second factor or a recovery
// code, "" for none. What is wrong is ErrUnauthorized, after the same time whatever it is; when only the code is missing,
// ErrSecondFactor.
func (m *Members) SignIn(ctx context.Context, name, password, code string) (who Principal, err error) {
	var x store.Member
	err = m.store.View(ctx, func(tx store.Tx) (err error) {
		x, err = named(ctx, tx, name)
		return err
	})
	if err != nil && !errors.Is(err, slipstream.ErrNotFound) {
		return who, fmt.Errorf("look member up: %w", err)
	}
	ok, old, err := m.passwords.check(ctx, x.Password, password)
	if err != nil {
		return who, fmt.Errorf("check password: %w", err)
	}
	if !ok || x.Disabled {
		return who, errWrong
	}
	fresh := ""
	if old {
		if fresh, err = m.passwords.hash(ctx, password); err != nil {
			return who, err
		}
	}
	err = m.store.Update(ctx, func(tx store.Tx) error {
		now, err := tx.People().Members().Get(ctx, x.Name)
		if errors.Is(err, slipstream.ErrNotFound) || err == nil && (now.Disabled || now.Password != x.Password) {
			return errWrong // changed while the password was looked at
		}
		if err != nil {
			return err
		}
		if err := m.second(ctx, tx, &now, code); err != nil {
			return err
		}
		now.Seen = m.now()
		if fresh != "" {
			now.Password = fresh
		}
		if who, err = PrincipalOf(now); err != nil {
			return err
		}
		return tx.People().Members().Save(ctx, now)
	})
	return who, m.countGuess(x.Name, code, err)
}

func named(ctx context.Context, tx store.Tx, name string) (store.Member, error) {
	if strings.Contains(name, "@") {
		return tx.People().Members().ByEmail(ctx, lower(strings.TrimSpace(name)))
	}
	return tx.People().Members().Get(ctx, name)
}

// second checks a code of the second factor of x, when it has one, and uses it up.
func (m *Members) second(ctx context.Context, tx store.Tx, x *store.Member, code string) error {
	if x.OTP == nil {
		return nil
	}
	if code == "" {
		return ErrSecondFactor
	}
	if wait := m.limiter.wait(ofMember(x.Name)); wait > 0 {
		return &Slowed{wait}
	}
	secret, err := m.sealer.Open(purposeOTP+x.Name, x.OTP)
	if err != nil {
		return fmt.Errorf("open second factor of %s: %w", x.Name, err)
	}
	if step, ok := stepOf(string(secret), code, m.clock(), x.OTPStep); ok {
		x.OTPStep = step
		return nil
	}
	left, ok := useRecovery(x.Recovery, code)
	if !ok {
		return errWrong
	}
	x.Recovery = left
	return note(ctx, tx, m.now(), x.Name, "member.recovery_used", x.Name, map[string]any{"left": len(left)})
}

// countGuess slows down who guesses at the second factor of a member whose password they know, wherever from.
func (m *Members) countGuess(name, code string, err error) error {
	switch {
	case err == nil && code != "":
		m.limiter.succeeded(ofMember(name))
	case code != "" && errors.Is(err, ErrUnauthorized):
		m.limiter.failed(ofMember(name))
	}
	return err
}

// Invited is what an invitation is for.
type Invited struct {
	Member  store.Member
	Expires time.Time
	Setup   Setup // of a second factor that may be taken over with the invitation; none when there is one already
}

// Invited looks an invitation up without using it. One that is wrong, old or used is ErrUnauthorized.
func (m *Members) Invited(ctx context.Context, code string) (out Invited, err error) {
	err = m.store.View(ctx, func(tx store.Tx) error {
		out, err = m.invited(ctx, tx, code)
		return err
	})
	if err == nil && out.Member.OTP == nil {
		out.Setup, err = newSetup(m.issuer, out.Member.Name)
	}
	return out, err
}

var errInvitation = slipstream.Hint(denied("the invitation is wrong, used or older than three days"), "ask an owner for another: `slipstream member link NAME`")

func (m *Members) invited(ctx context.Context, tx store.Tx, code string) (out Invited, err error) {
	hash, ok := hashOf(code)
	if !ok {
		return out, errInvitation
	}
	k, err := tx.People().Tickets().ByHash(ctx, hash)
	if errors.Is(err, slipstream.ErrNotFound) || err == nil && (k.Kind != ticketInvitation || !m.now().Before(k.Expires)) {
		return out, errInvitation
	}
	if err != nil {
		return out, err
	}
	out.Expires = k.Expires
	out.Member, err = tx.People().Members().Get(ctx, k.Member)
	if err == nil && out.Member.Disabled {
		return out, errInvitation
	}
	return out, err
}

// Acceptance is how somebody takes an invitation up. Secret is that of Invited's Setup when a second factor is wanted, OTP
// the code that the app makes of it, or of the second factor that there is already.
type Acceptance struct {
	Code, Password, Secret, OTP string
}

// Accept sets the password of an invited member, and the second factor if there is one: then it gives recovery codes,
// which are shown once. Other sessions of the member end.
func (m *Members) Accept(ctx context.Context, a Acceptance) (who Principal, recovery []string, err error) {
	var looked Invited
	err = m.store.View(ctx, func(tx store.Tx) error {
		looked, err = m.invited(ctx, tx, a.Code)
		return err
	})
	if err != nil {
		return who, nil, err
	}
	if err := checkPassword(a.Password, looked.Member.Name, looked.Member.Email); err != nil {
		return who, nil, err
	}
	hash, err := m.passwords.hash(ctx, a.Password)
	if err != nil {
		return who, nil, err
	}
	err = m.store.Update(ctx, func(tx store.Tx) error {
		in, err := m.invited(ctx, tx, a.Code)
		if err != nil {
			return err
		}
		x := in.Member
		if recovery, err = m.acceptFactor(ctx, tx, &x, a); err != nil {
			return err
		}
		x.Password, x.Seen = hash, m.now()
		if err := errors.Join(tx.People().Tickets().DeleteOf(ctx, x.Name, ticketInvitation), m.signOut(ctx, tx, x.Name, ""), tx.People().Members().Save(ctx, x)); err != nil {
			return err
		}
		if who, err = PrincipalOf(x); err != nil {
			return err
		}
		return note(ctx, tx, m.now(), x.Name, "member.accept", x.Name, map[string]any{"second_factor": x.OTP != nil})
	})
	return who, recovery, m.countGuess(looked.Member.Name, a.OTP, err)
}

func (m *Members) acceptFactor(ctx context.Context, tx store.Tx, x *store.Member, a Acceptance) (recovery []string, err error) {
	switch {
	case x.OTP != nil:
		return nil, m.second(ctx, tx, x, a.OTP)
	case a.Secret != "":
		return m.install(x, a.Secret, a.OTP)
	case m.requireOTP:
		return nil, fmt.Errorf("this server wants a second factor of everybody: %w", ErrSecondFactor)
	}
	return nil, nil
}

// install puts a second factor in force once its first code proves that an app has it.
func (m *Members) install(x *store.Member, secret, code string) (recovery []string, err error) {
	if err := parseSecret(secret); err != nil {
		return nil, err
	}
	step, ok := stepOf(secret, code, m.clock(), 0)
	if !ok {
		return nil, slipstream.Hint(slipstream.Invalidf("the code is not one that the app makes of this second factor now"), "take the newest code; if it stays wrong, the clock of the phone or of the server is off")
	}
	if x.OTP, err = m.sealer.Seal(purposeOTP+x.Name, []byte(secret)); err != nil {
		return nil, fmt.Errorf("seal second factor: %w", err)
	}
	x.OTPStep = step
	recovery, x.Recovery, err = newRecovery(m.rand)
	return recovery, err
}

// own is the member who acts for themselves in a browser: neither a token, nor a browser that a token signed in.
func own(ctx context.Context, tx store.Tx, who Principal) (store.Member, error) {
	if who.Member == "" || who.Token != "" || who.Session == "" {
		return store.Member{}, slipstream.Hint(fmt.Errorf("only a member who is signed in has an account here: %w", ErrForbidden), "sign in with your name and password")
	}
	return tx.People().Members().Get(ctx, who.Member)
}

// Account is what a member sees of themselves.
func (m *Members) Account(ctx context.Context, who Principal) (x store.Member, sessions []store.Session, err error) {
	err = m.store.View(ctx, func(tx store.Tx) error {
		if x, err = own(ctx, tx, who); err != nil {
			return err
		}
		sessions, err = m.live(ctx, tx, x.Name)
		return err
	})
	return x, sessions, err
}

// mine runs fn on the account of who, once password and code prove that it is they who sit there. fn gives the audit entry.
func (m *Members) mine(ctx context.Context, who Principal, password, code, action string, fn func(tx store.Tx, x *store.Member) error) error {
	var looked store.Member
	err := m.store.View(ctx, func(tx store.Tx) (err error) {
		looked, err = own(ctx, tx, who)
		return err
	})
	if err != nil {
		return err
	}
	if looked.Password == "" { // who came in by an identity provider may have none
		if err := m.fresh(ctx, who); err != nil {
			return err
		}
	} else {
		wait, done := m.limiter.try(ofMember(looked.Name))
		if wait > 0 {
			return &Slowed{wait}
		}
		ok, _, err := m.passwords.check(ctx, looked.Password, password)
		done(err == nil && !ok)
		if err != nil {
			return fmt.Errorf("check password: %w", err)
		}
		if !ok {
			return slipstream.Invalidf("the password is wrong")
		}
	}
	err = m.store.Update(ctx, func(tx store.Tx) error {
		x, err := own(ctx, tx, who)
		if err != nil {
			return err
		}
		if x.Password != looked.Password {
			return fmt.Errorf("the password was changed meanwhile: %w", slipstream.ErrConflict)
		}
		if err := m.second(ctx, tx, &x, code); err != nil {
			return err
		}
		before := x
		if err := fn(tx, &x); err != nil {
			return err
		}
		if err := errors.Join(keepOwner(ctx, tx, before, x), tx.People().Members().Save(ctx, x)); err != nil {
			return err
		}
		return note(ctx, tx, m.now(), x.Name, action, x.Name, map[string]any{})
	})
	if err := m.countGuess(looked.Name, code, err); errors.Is(err, errWrong) {
		return slipstream.Invalidf("the code is wrong")
	}
	return err
}

// freshLife is how long after a sign-in it is known who sits there.
const freshLife = 15 * time.Minute

// fresh refuses a session that did not begin just now: for members without a password that is what shows who they are.
func (m *Members) fresh(ctx context.Context, who Principal) error {
	_, sessions, err := m.Account(ctx, who)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(sessions, func(s store.Session) bool { return s.ID == who.Session && m.now().Sub(s.Created) < freshLife }) {
		return nil
	}
	return slipstream.Hint(fmt.Errorf("the sign-in was too long ago for this: %w", ErrForbidden), "sign out, sign in by the identity provider again, and do it within %d minutes", int(freshLife.Minutes()))
}

// SetPassword changes the own password. Other sessions end.
func (m *Members) SetPassword(ctx context.Context, who Principal, password, code, next string) error {
	x, _, err := m.Account(ctx, who)
	if err != nil {
		return err
	}
	if err := checkPassword(next, x.Name, x.Email); err != nil {
		return err
	}
	hash, err := m.passwords.hash(ctx, next)
	if err != nil {
		return err
	}
	return m.mine(ctx, who, password, code, "member.password", func(tx store.Tx, x *store.Member) error {
		x.Password = hash
		return m.signOut(ctx, tx, x.Name, who.Session)
	})
}

// NewFactor begins a second factor for who. It is in force when SetFactor got its first code.
func (m *Members) NewFactor(ctx context.Context, who Principal) (Setup, error) {
	x, _, err := m.Account(ctx, who)
	if err != nil {
		return Setup{}, err
	}
	return newSetup(m.issuer, x.Name)
}

// SetFactor puts a second factor in force: secret is NewFactor's and first a code that the app makes of it; code is one of
// the factor that it replaces, if there is one. It gives recovery codes, which are shown once. Other sessions end.
func (m *Members) SetFactor(ctx context.Context, who Principal, password, code, secret, first string) (recovery []string, err error) {
	err = m.mine(ctx, who, password, code, "member.second_factor", func(tx store.Tx, x *store.Member) error {
		if recovery, err = m.install(x, secret, first); err != nil {
			return err
		}
		return m.signOut(ctx, tx, x.Name, who.Session)
	})
	return recovery, err
}

// RemoveFactor takes the own second factor away, unless this server wants one of everybody.
func (m *Members) RemoveFactor(ctx context.Context, who Principal, password, code string) error {
	if m.requireOTP {
		return slipstream.Invalidf("this server wants a second factor of everybody: set up another one instead")
	}
	return m.mine(ctx, who, password, code, "member.second_factor_removed", func(_ store.Tx, x *store.Member) error {
		x.OTP, x.OTPStep, x.Recovery = nil, 0, nil
		return nil
	})
}

// RenewRecovery makes new recovery codes, the former ones are no longer good.
func (m *Members) RenewRecovery(ctx context.Context, who Principal, password, code string) (recovery []string, err error) {
	err = m.mine(ctx, who, password, code, "member.recovery_renewed", func(_ store.Tx, x *store.Member) error {
		if x.OTP == nil {
			return slipstream.Invalidf("recovery codes are for a second factor, and there is none: set one up first")
		}
		recovery, x.Recovery, err = newRecovery(m.rand)
		return err
	})
	return recovery, err
}

// EndSessions signs who out everywhere; of several sessions, with an id, of that one alone.
func (m *Members) EndSessions(ctx context.Context, who Principal, id string) error {
	return m.store.Update(ctx, func(tx store.Tx) error {
		x, err := own(ctx, tx, who)
		if err != nil {
			return err
		}
		if id == "" {
			return errors.Join(m.signOut(ctx, tx, x.Name, ""), note(ctx, tx, m.now(), x.Name, "member.sign_out", x.Name, map[string]any{}))
		}
		all, err := tx.People().Sessions().List(ctx, "", x.Name)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(s store.Session) bool { return s.ID == id })
		if i < 0 {
			return fmt.Errorf("session %s: %w", id, slipstream.ErrNotFound)
		}
		return errors.Join(tx.People().Sessions().Delete(ctx, all[i].Hash), note(ctx, tx, m.now(), x.Name, "session.end", id, map[string]any{}))
	})
}

// PersonalToken checks what a member may have a token of their own for, and that it is they who sit there, before Tokens
// makes it.
func (m *Members) PersonalToken(ctx context.Context, who Principal, password, code string, s Spec) (Spec, error) {
	x, _, err := m.Account(ctx, who)
	if err != nil {
		return s, err
	}
	if s.Role.Lesser(who.Role) != s.Role || who.Role == "" {
		return s, fmt.Errorf("a token with role %s, which is more than your own: %w", s.Role, ErrForbidden)
	}
	if s.App != "" && !who.Apps.Has(s.App) {
		return s, fmt.Errorf("a token for app %s, which is not yours: %w", s.App, ErrForbidden)
	}
	s.Member = x.Name
	return s, m.mine(ctx, who, password, code, "member.token", func(store.Tx, *store.Member) error { return nil })
}
