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

// Prefix begins every token, so that people and secret scanners know one when they see it.
const Prefix = "slp_"

const secretBytes = 32

// Names in the audit log that are not people's to give.
const (
	nameSystem = "system" // the server itself
	nameLocal  = "local"  // who works on the server's machine
)

// ErrUnauthorized says that no valid token came with the request.
var ErrUnauthorized = errors.New("a valid token is needed")

// denied is an ErrUnauthorized that says why in words of its own.
type denied string

func (d denied) Error() string { return string(d) }

// Is makes every denied an ErrUnauthorized.
func (d denied) Is(target error) bool { return target == ErrUnauthorized }

// Config is what Tokens are made of.
type Config struct {
	Store store.Store
	Clock func() time.Time // nil means time.Now
	Rand  io.Reader        // nil means crypto/rand
	// RequireOTP wants a second factor of every member who signs in by a password.
	RequireOTP bool
}

// Tokens makes, knows and revokes bearer tokens. Only their hashes are kept, and a token is found by its hash, so that
// no comparison takes longer for a better guess.
type Tokens struct {
	store store.Store
	clock func() time.Time
	rand  io.Reader
}

// New makes Tokens.
func New(c Config) *Tokens {
	t := &Tokens{store: c.Store, clock: c.Clock, rand: c.Rand}
	if t.clock == nil {
		t.clock = time.Now
	}
	if t.rand == nil {
		t.rand = rand.Reader
	}
	return t
}

// Spec is what people say of a new token.
type Spec struct {
	Name    string
	Role    Role
	App     string    // "" = all apps
	Member  string    // whose personal token it is, "" = nobody's: it never does more than its member may
	Expires time.Time // zero = never
}

// Create makes a token and gives its secret, which is never shown again.
func (t *Tokens) Create(ctx context.Context, by string, s Spec) (store.Token, string, error) {
	return t.create(ctx, by, "t", s)
}

// Reserve makes a token whose secret nobody knows: it keeps a name, role and scope for somebody who gets a secret later.
// Its id begins with prefix.
func (t *Tokens) Reserve(ctx context.Context, by, prefix string, s Spec) (store.Token, error) {
	k, _, err := t.create(ctx, by, prefix, s)
	return k, err
}

// Redeem puts a token with a secret in the place of a reserved one, in one step: the same name, role and scope, whatever
// fails. slipstream.ErrNotFound says that the reserved one is gone.
func (t *Tokens) Redeem(ctx context.Context, by string, reserved store.Token, expires time.Time) (store.Token, string, error) {
	return t.instead(ctx, by, "t", reserved.ID, Spec{Name: reserved.Name, Role: Role(reserved.Role), App: reserved.App, Member: reserved.Member, Expires: expires})
}

// Change gives a token another name or end; a zero time is none.
func (t *Tokens) Change(ctx context.Context, by, id, name string, expires time.Time) (store.Token, error) {
	if err := slipstream.CheckName("token", name); err != nil {
		return store.Token{}, err
	}
	var out store.Token
	err := t.store.Update(ctx, func(tx store.Tx) error {
		all, err := tx.People().Tokens().List(ctx)
		if err != nil {
			return err
		}
		for _, k := range all {
			if k.ID != id {
				continue
			}
			if k.Name == nameLocal || name == nameSystem || name == nameLocal {
				return slipstream.Invalidf("the token name %q is the server's own", nameLocal)
			}
			if k.Name != name {
				if err := free(ctx, tx, name); err != nil {
					return err
				}
			}
			detail, err := json.Marshal(map[string]any{"name": name, "before": k.Name, "expires": expires})
			if err != nil {
				return err
			}
			out = k
			out.Name, out.Expires = name, expires
			if err := tx.People().Tokens().Put(ctx, out); err != nil {
				return err
			}
			_, err = tx.Log().Audit().Append(ctx, store.AuditEntry{At: t.now(), Actor: by, Action: "token.change", App: k.App, Target: id, Detail: detail})
			return err
		}
		return fmt.Errorf("token %s: %w", id, slipstream.ErrNotFound)
	})
	return out, err
}

func (t *Tokens) create(ctx context.Context, by, prefix string, s Spec) (store.Token, string, error) {
	return t.instead(ctx, by, prefix, "", s)
}

// instead makes a token and takes the one with the id former away, "" for none.
func (t *Tokens) instead(ctx context.Context, by, prefix, former string, s Spec) (store.Token, string, error) {
	if _, err := ParseRole(string(s.Role)); err != nil {
		return store.Token{}, "", err
	}
	if err := slipstream.CheckName("token", s.Name); err != nil {
		return store.Token{}, "", err
	}
	if s.Name == nameSystem || s.Name == nameLocal {
		return store.Token{}, "", slipstream.Invalidf("the token name %q is the server's own", s.Name)
	}
	now := t.clock()
	if !s.Expires.IsZero() && !s.Expires.After(now) {
		return store.Token{}, "", slipstream.Invalidf("the token would have expired already")
	}
	id, err := t.random(6)
	if err != nil {
		return store.Token{}, "", err
	}
	return t.put(ctx, by, store.Token{ID: prefix + id, Name: s.Name, Role: string(s.Role), App: s.App, Member: s.Member, Created: now, Expires: s.Expires}, former)
}

// Reissue makes an owner's token with a fixed id and takes the former one of that id away: the token that `serve`
// leaves for the command on its own machine.
func (t *Tokens) Reissue(ctx context.Context, id, name string) (string, error) {
	_, secret, err := t.put(ctx, nameSystem, store.Token{ID: id, Name: name, Role: string(Owner), Created: t.clock()}, id)
	return secret, err
}

func (t *Tokens) put(ctx context.Context, by string, k store.Token, former string) (store.Token, string, error) {
	random, err := t.random(secretBytes)
	if err != nil {
		return store.Token{}, "", err
	}
	secret, again := Prefix+random, former == k.ID
	k.Hash = sha256.Sum256([]byte(secret))
	detail, err := json.Marshal(map[string]any{"name": k.Name, "role": k.Role, "scope": k.App, "member": k.Member, "reissued": again})
	if err != nil {
		return store.Token{}, "", err
	}
	err = t.store.Update(ctx, func(tx store.Tx) error {
		if k.App != "" {
			if _, err := tx.Apps().Get(ctx, k.App); err != nil {
				return err
			}
		}
		if former != "" {
			if err := tx.People().Tokens().Delete(ctx, former); err != nil && !(again && errors.Is(err, slipstream.ErrNotFound)) {
				return err
			}
		}
		if !again {
			if err := free(ctx, tx, k.Name); err != nil {
				return err
			}
		}
		if err := tx.People().Tokens().Put(ctx, k); err != nil {
			return err
		}
		_, err := tx.Log().Audit().Append(ctx, store.AuditEntry{At: t.now(), Actor: by, Action: "token.create", App: k.App, Target: k.ID, Detail: detail})
		return err
	})
	if err != nil {
		return store.Token{}, "", fmt.Errorf("keep token: %w", err)
	}
	return k, secret, nil
}

// free refuses the name of a token or member that exists: the audit log tells people apart by it.
func free(ctx context.Context, tx store.Tx, name string) error {
	if _, err := tx.People().Members().Get(ctx, name); !errors.Is(err, slipstream.ErrNotFound) {
		if err == nil {
			err = slipstream.Hint(fmt.Errorf("member %q exists: %w", name, slipstream.ErrConflict), "choose another name: the audit log tells people apart by it")
		}
		return err
	}
	all, err := tx.People().Tokens().List(ctx)
	if err != nil {
		return err
	}
	for _, k := range all {
		if k.Name == name {
			return slipstream.Hint(fmt.Errorf("token %q exists: %w", name, slipstream.ErrConflict), "choose another name, or revoke that token first")
		}
	}
	return nil
}

func (t *Tokens) now() time.Time { return t.clock().UTC().Truncate(time.Microsecond) }

func (t *Tokens) random(n int) (string, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(t.rand, b); err != nil {
		return "", fmt.Errorf("make token: %w", err)
	}
	return hex.EncodeToString(b), nil
}

// List gives all tokens, without secrets.
func (t *Tokens) List(ctx context.Context) ([]store.Token, error) {
	var out []store.Token
	err := t.store.View(ctx, func(tx store.Tx) (err error) {
		out, err = tx.People().Tokens().List(ctx)
		return err
	})
	return out, err
}

// Revoke takes a token away at once. allowed is asked before, with the token.
func (t *Tokens) Revoke(ctx context.Context, by, id string, allowed func(store.Token) error) error {
	return t.store.Update(ctx, func(tx store.Tx) error {
		all, err := tx.People().Tokens().List(ctx)
		if err != nil {
			return err
		}
		for _, k := range all {
			if k.ID != id {
				continue
			}
			if err := allowed(k); err != nil {
				return err
			}
			if err := tx.People().Tokens().Delete(ctx, id); err != nil {
				return err
			}
			_, err := tx.Log().Audit().Append(ctx, store.AuditEntry{At: t.now(), Actor: by, Action: "token.revoke", App: k.App, Target: id, Detail: []byte(`{}`)})
			return err
		}
		return fmt.Errorf("token %s: %w", id, slipstream.ErrNotFound)
	})
}

// Authenticate tells who sends an Authorization header. What is not a valid token is ErrUnauthorized.
func (t *Tokens) Authenticate(ctx context.Context, header string) (Principal, error) {
	scheme, secret, _ := strings.Cut(header, " ")
	secret = strings.TrimSpace(secret)
	if !strings.EqualFold(scheme, "bearer") || !strings.HasPrefix(secret, Prefix) || len(secret) > 200 {
		return Principal{}, ErrUnauthorized
	}
	hash := sha256.Sum256([]byte(secret))
	now := t.clock()
	var k store.Token
	var who Principal
	err := t.store.View(ctx, func(tx store.Tx) (err error) {
		if k, err = tx.People().Tokens().ByHash(ctx, hash); err != nil {
			return err
		}
		who, err = bearer(ctx, tx, k, now)
		return err
	})
	if errors.Is(err, slipstream.ErrNotFound) {
		return Principal{}, ErrUnauthorized
	}
	if err != nil {
		return Principal{}, fmt.Errorf("look token up: %w", err)
	}
	t.used(ctx, k, now)
	return who, nil
}

// bearer is who comes with the token k: for a personal one never more than its member is now.
func bearer(ctx context.Context, tx store.Tx, k store.Token, now time.Time) (Principal, error) {
	if !k.Expires.IsZero() && !now.Before(k.Expires) {
		return Principal{}, fmt.Errorf("the token expired at %s: %w", k.Expires.UTC().Format(time.RFC3339), ErrUnauthorized)
	}
	role, err := ParseRole(k.Role)
	if err != nil {
		return Principal{}, fmt.Errorf("token %s: %w", k.ID, err)
	}
	who := Principal{Token: k.ID, Member: k.Member, Name: k.Name, Role: role, Apps: ScopeOf(k.App)}
	if k.Member == "" {
		return who, nil
	}
	m, err := tx.People().Members().Get(ctx, k.Member)
	if err != nil {
		return Principal{}, err
	}
	may, err := PrincipalOf(m)
	if err != nil {
		return Principal{}, err
	}
	both, some := who.Apps.and(may.Apps)
	if m.Disabled || !some {
		return Principal{}, fmt.Errorf("member %s may not use this token now: %w", m.Name, ErrUnauthorized)
	}
	who.Role, who.Apps = role.Lesser(may.Role), both
	return who, nil
}

// used notes the hour of a token's last use. That it could not be noted must not keep anybody out.
func (t *Tokens) used(ctx context.Context, k store.Token, now time.Time) {
	hour := now.UTC().Truncate(time.Hour)
	if k.LastUsed.Equal(hour) {
		return
	}
	_ = t.store.Update(ctx, func(tx store.Tx) error {
		current, err := tx.People().Tokens().ByHash(ctx, k.Hash)
		if err != nil {
			return err
		}
		current.LastUsed = hour
		return tx.People().Tokens().Put(ctx, current)
	})
}
