package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

// InvitationLife is how long an invitation can be used.
const InvitationLife = 72 * time.Hour

const (
	ticketInvitation = "invitation"
	purposeOTP       = "second factor of member " // of sealed secrets, with the name
	maxDisplay       = 200                        // bytes
	maxEmail         = 254                        // bytes, RFC 5321
)

// ErrSecondFactor says that name and password are right and that a code of the second factor is needed too.
var ErrSecondFactor = errors.New("a code of the second factor is needed")

// Sealer keeps what only the server may read.
type Sealer interface {
	Seal(purpose string, plain []byte) ([]byte, error)
	Open(purpose string, sealed []byte) ([]byte, error)
}

// MembersConfig is what Members are made of.
type MembersConfig struct {
	Config
	Sealer  Sealer   // of second factors
	Limiter *Limiter // of guesses at second factors
	Issuer  string   // what authenticator apps call this server; default Slipstream
	Cost    Cost     // of a look at a password; zero is what RFC 9106 recommends
}

// Members are the people that sign in by their own name.
type Members struct {
	store      store.Store
	clock      func() time.Time
	rand       io.Reader
	sealer     Sealer
	limiter    *Limiter
	issuer     string
	passwords  *passwords
	requireOTP bool
}

// NewMembers makes Members.
func NewMembers(c MembersConfig) *Members {
	m := &Members{store: c.Store, clock: c.Clock, rand: c.Rand, sealer: c.Sealer, limiter: c.Limiter, issuer: c.Issuer, passwords: newPasswords(c.Cost), requireOTP: c.RequireOTP}
	if m.clock == nil {
		m.clock = time.Now
	}
	if m.rand == nil {
		m.rand = rand.Reader
	}
	if m.limiter == nil {
		m.limiter = NewLimiter(m.clock)
	}
	if m.issuer == "" {
		m.issuer = "Slipstream"
	}
	return m
}

// RequireOTP reports whether members need a second factor beside their password.
func (m *Members) RequireOTP() bool { return m.requireOTP }

func (m *Members) now() time.Time { return m.clock().UTC().Truncate(time.Microsecond) }

// MemberSpec is what people say of a member.
type MemberSpec struct {
	Name, Display, Email string
	Role                 Role
	Apps                 []string // none = all
	Disabled             bool
}

// check puts a spec in order and refuses one that makes no sense.
func (s *MemberSpec) check(ctx context.Context, tx store.Tx) error {
	if err := slipstream.CheckName("member", s.Name); err != nil {
		return err
	}
	if s.Name == nameSystem || s.Name == nameLocal {
		return slipstream.Invalidf("the name %q is the server's own", s.Name)
	}
	if _, err := ParseRole(string(s.Role)); err != nil {
		return err
	}
	if len(s.Display) > maxDisplay || !utf8.ValidString(s.Display) {
		return slipstream.Invalidf("the display name is longer than %d bytes of text", maxDisplay)
	}
	var err error
	if s.Email, err = parseEmail(s.Email); err != nil {
		return err
	}
	s.Apps = ScopeOf(s.Apps...).Names()
	for _, app := range s.Apps {
		if err := slipstream.CheckName("app", app); err != nil {
			return err
		}
		if _, err := tx.Apps().Get(ctx, app); err != nil {
			return slipstream.Hint(err, "make the app first: `slipstream app create %s`", app)
		}
	}
	return nil
}

// lower puts the letters A to Z in lower case and no others: some letters of other alphabets (K for kelvin, the Turkish İ)
// become Latin ones, and so one person's address another's.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r - 'A' + 'a'
		}
		return r
	}, s)
}

// parseEmail gives an address as it is kept, in lower case; "" is none.
func parseEmail(s string) (string, error) {
	if s = lower(strings.TrimSpace(s)); s == "" {
		return "", nil
	}
	a, err := mail.ParseAddress(s)
	if err != nil || a.Address != s || len(s) > maxEmail {
		return "", slipstream.Invalidf("%q is no e-mail address: use the form name@example.org", s)
	}
	return s, nil
}

// within refuses what goes beyond what by may give: a manager of some apps manages members of those alone.
func within(by Principal, apps []string) error {
	if by.Apps.All() {
		return nil
	}
	if len(apps) == 0 || slices.ContainsFunc(apps, func(a string) bool { return !by.Apps.Has(a) }) {
		return fmt.Errorf("members for other apps than %s: %w", by.Apps, ErrForbidden)
	}
	return nil
}

// ErrForbidden says that a principal may not do this.
var ErrForbidden = errors.New("this is not for you to change")

// Invitation is a code with which a member sets a password, once.
type Invitation struct {
	Member  string
	Code    string
	Expires time.Time
}

// Create makes a member and an invitation for them.
func (m *Members) Create(ctx context.Context, by Principal, s MemberSpec) (out store.Member, inv Invitation, err error) {
	err = m.store.Update(ctx, func(tx store.Tx) error {
		if err := errors.Join(s.check(ctx, tx), within(by, s.Apps)); err != nil {
			return err
		}
		if err := free(ctx, tx, s.Name); err != nil {
			return err
		}
		out = store.Member{Name: s.Name, Display: s.Display, Email: s.Email, Role: string(s.Role), Apps: s.Apps, Created: m.now(), Disabled: s.Disabled}
		if err := tx.People().Members().Create(ctx, out); err != nil {
			return err
		}
		if err := note(ctx, tx, m.now(), by.Name, "member.create", s.Name, map[string]any{"role": s.Role, "apps": s.Apps}); err != nil {
			return err
		}
		inv, err = m.invite(ctx, tx, s.Name)
		return err
	})
	return out, inv, about(err, "make member %s", s.Name)
}

func about(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}

// List gives the members that by may see, by name.
func (m *Members) List(ctx context.Context, by Principal) (out []store.Member, err error) {
	err = m.store.View(ctx, func(tx store.Tx) error {
		all, err := tx.People().Members().List(ctx)
		out = slices.DeleteFunc(all, func(x store.Member) bool { return within(by, x.Apps) != nil })
		return err
	})
	return out, err
}

// visible gives one member that by may see: others are not there.
func visible(ctx context.Context, tx store.Tx, by Principal, name string) (store.Member, error) {
	x, err := tx.People().Members().Get(ctx, name)
	if err == nil && within(by, x.Apps) != nil {
		return store.Member{}, fmt.Errorf("member %q: %w", name, slipstream.ErrNotFound)
	}
	return x, err
}

// Get gives a member and the browsers that are signed in as them.
func (m *Members) Get(ctx context.Context, by Principal, name string) (x store.Member, sessions []store.Session, err error) {
	err = m.store.View(ctx, func(tx store.Tx) error {
		if x, err = visible(ctx, tx, by, name); err != nil {
			return err
		}
		sessions, err = m.live(ctx, tx, name)
		return err
	})
	return x, sessions, err
}

// live are the sessions of a member that are not over.
func (m *Members) live(ctx context.Context, tx store.Tx, name string) ([]store.Session, error) {
	all, err := tx.People().Sessions().List(ctx, "", name)
	now := m.now()
	return slices.DeleteFunc(all, func(s store.Session) bool { return !now.Before(s.Expires) || now.Sub(s.Seen) >= SessionIdle }), err
}

// change runs fn on a member that by may change and keeps what it makes of it.
func (m *Members) change(ctx context.Context, by Principal, name, action string, fn func(tx store.Tx, x *store.Member) (detail map[string]any, err error)) (out store.Member, err error) {
	err = m.store.Update(ctx, func(tx store.Tx) error {
		x, err := visible(ctx, tx, by, name)
		if err != nil {
			return err
		}
		before := x
		detail, err := fn(tx, &x)
		if err != nil {
			return err
		}
		if err := keepOwner(ctx, tx, before, x); err != nil {
			return err
		}
		if err := tx.People().Members().Save(ctx, x); err != nil {
			return err
		}
		out = x
		return note(ctx, tx, m.now(), by.Name, action, name, detail)
	})
	return out, err
}

// Change replaces what people say of a member. Who is disabled is signed out.
func (m *Members) Change(ctx context.Context, by Principal, name string, change func(*MemberSpec)) (store.Member, error) {
	out, err := m.change(ctx, by, name, "member.change", func(tx store.Tx, x *store.Member) (map[string]any, error) {
		s := MemberSpec{Name: x.Name, Display: x.Display, Email: x.Email, Role: Role(x.Role), Apps: x.Apps, Disabled: x.Disabled}
		change(&s)
		if err := errors.Join(s.check(ctx, tx), within(by, s.Apps)); err != nil {
			return nil, err
		}
		detail := map[string]any{"role": s.Role, "apps": s.Apps, "disabled": s.Disabled}
		if s.Email != x.Email {
			detail["email"] = "changed"
			x.Subject = "" // the account of the former address is not this person's word for the new one
		}
		x.Display, x.Email, x.Role, x.Apps, x.Disabled = s.Display, s.Email, string(s.Role), s.Apps, s.Disabled
		if x.Disabled {
			return detail, m.signOut(ctx, tx, name, "")
		}
		return detail, nil
	})
	return out, about(err, "change member %s", name)
}

// signOut ends the sessions of a member, all but the one with the id but.
func (m *Members) signOut(ctx context.Context, tx store.Tx, name, but string) error {
	all, err := tx.People().Sessions().List(ctx, "", name)
	for _, s := range all {
		if s.ID != but {
			err = errors.Join(err, tx.People().Sessions().Delete(ctx, s.Hash))
		}
	}
	return err
}

// owns reports whether a member can do everything and can sign in.
func owns(x store.Member) bool {
	return Role(x.Role) == Owner && len(x.Apps) == 0 && !x.Disabled && (x.Password != "" || x.Subject != "")
}

// keepOwner refuses a change after which no member could do everything, when one could before.
func keepOwner(ctx context.Context, tx store.Tx, before, after store.Member) error {
	if !owns(before) || owns(after) {
		return nil
	}
	all, err := tx.People().Members().List(ctx)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(all, func(x store.Member) bool { return x.Name != before.Name && owns(x) }) {
		return nil
	}
	return slipstream.Hint(fmt.Errorf("%s is the last owner: %w", before.Name, slipstream.ErrConflict), "give another member the role owner for all apps first, and let them sign in once")
}

// Remove takes a member away, with their tokens and sessions.
func (m *Members) Remove(ctx context.Context, by Principal, name string) error {
	err := m.store.Update(ctx, func(tx store.Tx) error {
		x, err := visible(ctx, tx, by, name)
		if err != nil {
			return err
		}
		if err := keepOwner(ctx, tx, x, store.Member{}); err != nil {
			return err
		}
		if err := tx.People().Members().Delete(ctx, name); err != nil {
			return err
		}
		return note(ctx, tx, m.now(), by.Name, "member.remove", name, map[string]any{})
	})
	return about(err, "remove member %s", name)
}

// SignOut ends all sessions of a member.
func (m *Members) SignOut(ctx context.Context, by Principal, name string) error {
	_, err := m.change(ctx, by, name, "member.sign_out", func(tx store.Tx, _ *store.Member) (map[string]any, error) {
		return map[string]any{}, m.signOut(ctx, tx, name, "")
	})
	return about(err, "sign %s out", name)
}

// Invite makes a new invitation, the former ones are no longer good. With reset, password, second factor, recovery codes
// and the tie to an identity provider are taken away at once and all sessions end; without, they stay until the invitation
// is used, which asks for the second factor if there is one.
func (m *Members) Invite(ctx context.Context, by Principal, name string, reset bool) (inv Invitation, err error) {
	action := "member.invite"
	if reset {
		action = "member.reset"
	}
	_, err = m.change(ctx, by, name, action, func(tx store.Tx, x *store.Member) (map[string]any, error) {
		if reset {
			x.Password, x.OTP, x.OTPStep, x.Recovery, x.Subject = "", nil, 0, nil, ""
			if err := m.signOut(ctx, tx, name, ""); err != nil {
				return nil, err
			}
		}
		inv, err = m.invite(ctx, tx, name)
		return map[string]any{"until": inv.Expires}, err
	})
	return inv, about(err, "invite member %s", name)
}

func (m *Members) invite(ctx context.Context, tx store.Tx, name string) (Invitation, error) {
	b := make([]byte, secretBytes)
	if _, err := io.ReadFull(m.rand, b); err != nil {
		return Invitation{}, fmt.Errorf("make invitation: %w", err)
	}
	now := m.now()
	inv := Invitation{Member: name, Code: hex.EncodeToString(b), Expires: now.Add(InvitationLife)}
	t := tx.People().Tickets()
	err := errors.Join(t.Expire(ctx, now), t.DeleteOf(ctx, name, ticketInvitation))
	if err == nil {
		err = t.Put(ctx, store.Ticket{Hash: sha256.Sum256([]byte(inv.Code)), Kind: ticketInvitation, Member: name, Created: now, Expires: inv.Expires})
	}
	return inv, err
}
