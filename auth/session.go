package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

// How long sign-ins last.
const (
	SessionLife = 7 * 24 * time.Hour // of a session, however much it is used
	SessionIdle = 12 * time.Hour     // of one that is not used
	LinkLife    = time.Minute        // of a code that signs a browser in

	seenEvery   = 10 * time.Minute // a session's use is noted as often
	maxSessions = 50               // of one token or member; the oldest make room
	maxAgent    = 200              // bytes kept of what a browser says it is
)

// Ways to sign in.
const (
	ViaToken    = "token"
	ViaPassword = "password"
	ViaLink     = "link" // a one-time code
	ViaSSO      = "sso"  // an identity provider
)

const ticketSignIn = "sign-in"

// Sessions are the browsers that are signed in. A session is worth what its token or member is worth at the moment of each
// request, and ends with them. Only hashes of secrets and codes are kept.
type Sessions struct {
	store store.Store
	clock func() time.Time
	rand  io.Reader
	// requireOTP keeps who signs in by a password to their own account until they have a second factor.
	requireOTP bool
}

// NewSessions makes Sessions.
func NewSessions(c Config) *Sessions {
	s := &Sessions{store: c.Store, clock: c.Clock, rand: c.Rand, requireOTP: c.RequireOTP}
	if s.clock == nil {
		s.clock = time.Now
	}
	if s.rand == nil {
		s.rand = rand.Reader
	}
	return s
}

// SignedIn is who a browser is signed in as.
type SignedIn struct {
	Principal
	Via string
	// Lacks is true for a member who may do nothing until there is a second factor.
	Lacks   bool
	Expires time.Time // when the session ends unless it is used before
	Ends    time.Time // when it ends in any case
}

func (s *Sessions) now() time.Time { return s.clock().UTC().Truncate(time.Microsecond) }

// code makes a secret of 32 random bytes, as hex.
func (s *Sessions) code() (string, error) {
	b := make([]byte, secretBytes)
	if _, err := io.ReadFull(s.rand, b); err != nil {
		return "", fmt.Errorf("make secret: %w", err)
	}
	return hex.EncodeToString(b), nil
}

// hashOf is the hash that a secret is kept by; ok is false for what cannot be one.
func hashOf(secret string) (h [32]byte, ok bool) {
	if len(secret) != 2*secretBytes || strings.Trim(secret, "0123456789abcdef") != "" {
		return h, false
	}
	return sha256.Sum256([]byte(secret)), true
}

// Start signs a browser in as who, and gives the secret for its cookie. agent is what the browser says it is.
func (s *Sessions) Start(ctx context.Context, who Principal, via, agent string) (secret string, in SignedIn, err error) {
	err = s.store.Update(ctx, func(tx store.Tx) error {
		secret, in, err = s.start(ctx, tx, who, via, agent)
		return err
	})
	if err != nil {
		return "", SignedIn{}, fmt.Errorf("start session: %w", err)
	}
	return secret, in, nil
}

func (s *Sessions) start(ctx context.Context, tx store.Tx, who Principal, via, agent string) (string, SignedIn, error) {
	secret, err := s.code()
	if err != nil {
		return "", SignedIn{}, err
	}
	now := s.now()
	row := store.Session{Hash: sha256.Sum256([]byte(secret)), Token: who.Token, Via: via, Agent: clip(agent, maxAgent), Created: now, Seen: now, Expires: now.Add(SessionLife)}
	row.ID = "s" + hex.EncodeToString(row.Hash[:6])
	if who.Token == "" {
		row.Member = who.Member
		if who, err = s.principal(ctx, tx, row, now); err != nil {
			return "", SignedIn{}, err
		}
	}
	sessions := tx.People().Sessions()
	if err := sessions.Expire(ctx, now, now.Add(-SessionIdle)); err != nil {
		return "", SignedIn{}, err
	}
	have, err := sessions.List(ctx, row.Token, row.Member)
	if err != nil {
		return "", SignedIn{}, err
	}
	for i := maxSessions - 1; i < len(have); i++ {
		if err := sessions.Delete(ctx, have[i].Hash); err != nil {
			return "", SignedIn{}, err
		}
	}
	if err := sessions.Put(ctx, row); err != nil {
		return "", SignedIn{}, err
	}
	who.Session = row.ID
	return secret, signedIn(who, row), note(ctx, tx, now, who.Name, "session.start", row.ID, map[string]any{"via": via})
}

// note writes an entry of the audit log in the transaction of what it tells.
func note(ctx context.Context, tx store.Tx, at time.Time, actor, action, target string, detail map[string]any) error {
	doc, err := json.Marshal(detail)
	if err != nil {
		return fmt.Errorf("encode audit entry: %w", err)
	}
	_, err = tx.Log().Audit().Append(ctx, store.AuditEntry{At: at, Actor: actor, Action: action, Target: target, Detail: doc})
	return err
}

func clip(text string, most int) string {
	if len(text) > most {
		text = text[:most]
	}
	return strings.ToValidUTF8(text, "")
}

func signedIn(who Principal, row store.Session) SignedIn {
	expires := row.Seen.Add(SessionIdle)
	if row.Expires.Before(expires) {
		expires = row.Expires
	}
	return SignedIn{Principal: who, Via: row.Via, Lacks: who.Role == "", Expires: expires, Ends: row.Expires}
}

// Who is signed in with a cookie's secret. What is no session, or one that is over, is ErrUnauthorized.
func (s *Sessions) Who(ctx context.Context, secret string) (SignedIn, error) {
	hash, ok := hashOf(secret)
	if !ok {
		return SignedIn{}, ErrUnauthorized
	}
	now := s.now()
	var row store.Session
	var who Principal
	err := s.store.View(ctx, func(tx store.Tx) (err error) {
		if row, err = tx.People().Sessions().ByHash(ctx, hash); err != nil {
			return err
		}
		who, err = s.principal(ctx, tx, row, now)
		return err
	})
	if errors.Is(err, slipstream.ErrNotFound) {
		return SignedIn{}, ErrUnauthorized
	}
	if err != nil {
		return SignedIn{}, fmt.Errorf("look session up: %w", err)
	}
	who.Session = row.ID
	if now.Sub(row.Seen) >= seenEvery {
		row.Seen = now
		s.seen(ctx, row)
	}
	return signedIn(who, row), nil
}

// principal is who a session belongs to now.
func (s *Sessions) principal(ctx context.Context, tx store.Tx, row store.Session, now time.Time) (Principal, error) {
	if !now.Before(row.Expires) || now.Sub(row.Seen) >= SessionIdle {
		return Principal{}, denied("the session is over")
	}
	if row.Token != "" {
		k, err := tx.People().Tokens().Get(ctx, row.Token)
		if err != nil {
			return Principal{}, err
		}
		return bearer(ctx, tx, k, now)
	}
	m, err := tx.People().Members().Get(ctx, row.Member)
	if err != nil {
		return Principal{}, err
	}
	if m.Disabled {
		return Principal{}, denied("the member is disabled")
	}
	who, err := PrincipalOf(m)
	if s.lacking(m, row.Via) {
		who.Role = ""
	}
	return who, err
}

// lacking reports whether a member must set a second factor up before anything else.
func (s *Sessions) lacking(m store.Member, via string) bool {
	return s.requireOTP && m.OTP == nil && via == ViaPassword
}

// seen notes that a session is in use. That it could not be noted must not keep anybody out.
func (s *Sessions) seen(ctx context.Context, row store.Session) {
	_ = s.store.Update(ctx, func(tx store.Tx) error {
		current, err := tx.People().Sessions().ByHash(ctx, row.Hash) // one that ended meanwhile stays ended
		if err != nil {
			return err
		}
		current.Seen = row.Seen
		return tx.People().Sessions().Put(ctx, current)
	})
}

// End signs a browser out. A session that is over already is no error.
func (s *Sessions) End(ctx context.Context, secret string) error {
	hash, ok := hashOf(secret)
	if !ok {
		return nil
	}
	err := s.store.Update(ctx, func(tx store.Tx) error {
		row, err := tx.People().Sessions().ByHash(ctx, hash)
		if err != nil {
			return err
		}
		name := row.Member
		if row.Token != "" {
			k, err := tx.People().Tokens().Get(ctx, row.Token)
			if err != nil {
				return err
			}
			name = k.Name
		}
		if err := tx.People().Sessions().Delete(ctx, hash); err != nil {
			return err
		}
		return note(ctx, tx, s.now(), name, "session.end", row.ID, map[string]any{})
	})
	if err != nil && !errors.Is(err, slipstream.ErrNotFound) {
		return fmt.Errorf("end session: %w", err)
	}
	return nil
}

// Link makes a code that signs one browser in as who, once and within LinkLife. Only a token can: a browser that is signed
// in has no need of it.
func (s *Sessions) Link(ctx context.Context, who Principal) (code string, expires time.Time, err error) {
	if who.Session != "" || who.Token == "" {
		return "", expires, slipstream.Invalidf("a sign-in link is made with a token, not by a browser that is signed in")
	}
	if code, err = s.code(); err != nil {
		return "", expires, err
	}
	now := s.now()
	k := store.Ticket{Hash: sha256.Sum256([]byte(code)), Kind: ticketSignIn, Token: who.Token, Created: now, Expires: now.Add(LinkLife)}
	err = s.store.Update(ctx, func(tx store.Tx) error {
		return errors.Join(tx.People().Tickets().Expire(ctx, now), tx.People().Tickets().Put(ctx, k))
	})
	if err != nil {
		return "", expires, fmt.Errorf("make sign-in link: %w", err)
	}
	return code, k.Expires, nil
}

// Redeem signs a browser in with a code of Link, which is used up. A code that is wrong, old or used is ErrUnauthorized.
func (s *Sessions) Redeem(ctx context.Context, code, agent string) (secret string, in SignedIn, err error) {
	hash, ok := hashOf(code)
	if !ok {
		return "", SignedIn{}, ErrUnauthorized
	}
	err = s.store.Update(ctx, func(tx store.Tx) error {
		k, err := tx.People().Tickets().ByHash(ctx, hash)
		if err != nil {
			return err
		}
		now := s.now()
		if k.Kind != ticketSignIn || !now.Before(k.Expires) {
			return ErrUnauthorized
		}
		if err := tx.People().Tickets().Delete(ctx, hash); err != nil {
			return err
		}
		token, err := tx.People().Tokens().Get(ctx, k.Token)
		if err != nil {
			return err
		}
		who, err := bearer(ctx, tx, token, now)
		if err != nil {
			return err
		}
		secret, in, err = s.start(ctx, tx, who, ViaLink, agent)
		return err
	})
	if errors.Is(err, slipstream.ErrNotFound) {
		err = ErrUnauthorized
	}
	if err != nil {
		return "", SignedIn{}, fmt.Errorf("sign in with a code: %w", err)
	}
	return secret, in, nil
}
