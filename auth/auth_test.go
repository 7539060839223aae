package auth_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/store"
	"github.com/slipstream-ota/slipstream/store/sqlite"
)

type clock struct{ now time.Time }

func (c *clock) read() time.Time { return c.now }

func open(t *testing.T) (*sqlite.Store, *auth.Tokens, *clock) {
	t.Helper()
	st, err := sqlite.Open(t.Context(), ":memory:", sqlite.Options{Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	c := &clock{time.Unix(1_700_000_000, 0).UTC()}
	return st, auth.New(auth.Config{Store: st, Clock: c.read}), c
}

func TestRoles(t *testing.T) {
	all := []auth.Action{auth.Read, auth.Publish, auth.Operate, auth.Manage, auth.Admit, auth.Server}
	for role, may := range map[auth.Role]string{
		auth.Owner: "xxxxxx", auth.Publisher: "xxx...", auth.Operator: "x.x...", auth.Viewer: "x.....", "guest": "......",
	} {
		for i, a := range all {
			if got, want := role.May(a), may[i] == 'x'; got != want {
				t.Errorf("%s may %s: %v", role, a, got)
			}
		}
	}
	one := auth.Principal{Role: auth.Owner, Apps: "shop"}
	if !one.May(auth.Manage, "shop") || one.May(auth.Read, "cart") || one.May(auth.Read, "") || one.May(auth.Server, "shop") {
		t.Error("a token for one app is for that app")
	}
}

func TestATokenLetsItsOwnerInUntilItExpiresOrIsRevoked(t *testing.T) {
	_, tokens, c := open(t)
	ctx := t.Context()
	k, secret, err := tokens.Create(ctx, "ann", auth.Spec{Name: "ci", Role: auth.Publisher, Expires: c.now.Add(time.Hour)})
	if err != nil || !strings.HasPrefix(secret, auth.Prefix) || len(secret) != len(auth.Prefix)+64 {
		t.Fatalf("%+v, %q, %v", k, secret, err)
	}
	p, err := tokens.Authenticate(ctx, "Bearer "+secret)
	if err != nil || p != (auth.Principal{Token: k.ID, Name: "ci", Role: auth.Publisher}) {
		t.Errorf("%+v, %v", p, err)
	}
	for name, header := range map[string]string{
		"nothing": "", "no scheme": secret, "another scheme": "Basic " + secret, "another token": "Bearer " + auth.Prefix + strings.Repeat("0", 64),
		"a part of it": "Bearer " + secret[:20], "its id": "Bearer " + k.ID, "a very long one": "Bearer " + auth.Prefix + strings.Repeat("0", 1<<20),
	} {
		if _, err := tokens.Authenticate(ctx, header); !errors.Is(err, auth.ErrUnauthorized) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c.now = c.now.Add(time.Hour)
	if _, err := tokens.Authenticate(ctx, "Bearer "+secret); !errors.Is(err, auth.ErrUnauthorized) {
		t.Errorf("expired: %v", err)
	}
	c.now = c.now.Add(-time.Minute)
	yes := func(store.Token) error { return nil }
	if err := tokens.Revoke(ctx, "ann", "t0", yes); !errors.Is(err, slipstream.ErrNotFound) {
		t.Errorf("revoking another: %v", err)
	}
	if err := tokens.Revoke(ctx, "ann", k.ID, yes); err != nil {
		t.Fatal(err)
	}
	if _, err := tokens.Authenticate(ctx, "Bearer "+secret); !errors.Is(err, auth.ErrUnauthorized) {
		t.Errorf("revoked: %v", err)
	}
}

func TestNobodyTakesAnothersNameInTheAuditLog(t *testing.T) {
	_, tokens, _ := open(t)
	ctx := t.Context()
	first, _, err := tokens.Create(ctx, "ann", auth.Spec{Name: "ci", Role: auth.Owner})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{"system": slipstream.ErrInvalid, "local": slipstream.ErrInvalid, "ci": slipstream.ErrConflict} {
		if _, _, err := tokens.Create(ctx, "ann", auth.Spec{Name: name, Role: auth.Viewer}); !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := tokens.Revoke(ctx, "ann", first.ID, func(store.Token) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if _, _, err := tokens.Create(ctx, "ann", auth.Spec{Name: "ci", Role: auth.Viewer}); err != nil {
		t.Errorf("a name that is free again: %v", err)
	}
}

func TestSecretsAreNotKept(t *testing.T) {
	st, tokens, _ := open(t)
	_, secret, err := tokens.Create(t.Context(), "ann", auth.Spec{Name: "ci", Role: auth.Viewer})
	if err != nil {
		t.Fatal(err)
	}
	err = st.View(t.Context(), func(tx store.Tx) error {
		list, err := tx.People().Tokens().List(t.Context())
		log, lerr := tx.Log().Audit().List(t.Context(), store.AuditQuery{})
		if kept := fmt.Sprintf("%+v %+v", list, log); strings.Contains(kept, secret[len(auth.Prefix):]) {
			t.Error("the secret is in the store")
		}
		return errors.Join(err, lerr)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestReissuingTakesTheFormerTokenAway(t *testing.T) {
	_, tokens, _ := open(t)
	ctx := t.Context()
	first, err := tokens.Reissue(ctx, "local-1", "local")
	if err != nil {
		t.Fatal(err)
	}
	other, err := tokens.Reissue(ctx, "local-2", "local")
	if err != nil {
		t.Fatal(err)
	}
	second, err := tokens.Reissue(ctx, "local-1", "local")
	if err != nil {
		t.Fatal(err)
	}
	for secret, ok := range map[string]bool{first: false, second: true, other: true} {
		if _, err := tokens.Authenticate(ctx, "Bearer "+secret); (err == nil) != ok {
			t.Errorf("%v: %v", ok, err)
		}
	}
}

func TestTokensThatMakeNoSenseAreRefused(t *testing.T) {
	_, tokens, c := open(t)
	for name, s := range map[string]auth.Spec{
		"no such role": {Name: "ci", Role: "god"}, "a bad name": {Name: "C I", Role: auth.Owner},
		"expired at once": {Name: "ci", Role: auth.Owner, Expires: c.now}, "no such app": {Name: "ci", Role: auth.Owner, App: "shop"},
	} {
		if _, _, err := tokens.Create(t.Context(), "ann", s); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestLastUseIsNotedByTheHour(t *testing.T) {
	_, tokens, c := open(t)
	ctx := t.Context()
	_, secret, err := tokens.Create(ctx, "ann", auth.Spec{Name: "ci", Role: auth.Viewer})
	if err != nil {
		t.Fatal(err)
	}
	used := func() time.Time {
		if _, err := tokens.Authenticate(ctx, "bearer "+secret); err != nil {
			t.Fatal(err)
		}
		list, err := tokens.List(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return list[0].LastUsed
	}
	if got := used(); !got.Equal(c.now.Truncate(time.Hour)) {
		t.Errorf("last used %v at %v", got, c.now)
	}
	c.now = c.now.Add(2 * time.Hour)
	if got := used(); !got.Equal(c.now.Truncate(time.Hour)) {
		t.Errorf("last used %v at %v", got, c.now)
	}
}

func TestGuessingIsSlowedDownPerNetwork(t *testing.T) {
	c := &clock{time.Unix(1_700_000_000, 0)}
	l := auth.NewLimiter(c.read)
	for range 9 {
		l.Failed("192.0.2.1:1000")
	}
	if l.Wait("192.0.2.1:1001") != 0 {
		t.Error("waits before the tenth failure")
	}
	l.Failed("192.0.2.1:1002")
	if l.Wait("192.0.2.1:1003") == 0 {
		t.Error("does not wait")
	}
	if l.Wait("192.0.2.2:1") != 0 {
		t.Error("a neighbour waits")
	}
	for i := range 10 {
		l.Failed(fmt.Sprintf("[2001:db8::%x]:1", i))
	}
	if l.Wait("[2001:db8::ffff]:1") == 0 || l.Wait("[2001:db8:0:1::1]:1") != 0 {
		t.Error("an IPv6 customer is a /64")
	}
	c.now = c.now.Add(5 * time.Minute)
	if l.Wait("192.0.2.1:1") != 0 {
		t.Error("waits for ever")
	}
	for range 10 {
		l.Failed("192.0.2.9:1")
	}
	l.Succeeded("192.0.2.9:1")
	if l.Wait("192.0.2.9:1") != 0 {
		t.Error("waits after a success")
	}
}

func TestTheLimiterForgetsRatherThanGrow(t *testing.T) {
	l := auth.NewLimiter((&clock{time.Unix(1_700_000_000, 0)}).read)
	for range 10 {
		l.Failed("192.0.2.1:1")
	}
	for i := range 10000 {
		l.Failed(fmt.Sprintf("10.0.%d.%d:1", i/256, i%256))
	}
	if l.Wait("192.0.2.1:1") != 0 {
		t.Error("the one that failed longest ago is still remembered")
	}
}

// tampered is a store whose audit log reads otherwise than it was written.
type tampered struct {
	store.Store
	change func([]store.AuditEntry) []store.AuditEntry
}

func (s tampered) View(ctx context.Context, fn func(store.Tx) error) error {
	return s.Store.View(ctx, func(tx store.Tx) error { return fn(tamperedTx{tx, s.change}) })
}

type tamperedTx struct {
	store.Tx
	change func([]store.AuditEntry) []store.AuditEntry
}

func (t tamperedTx) Log() store.Log { return tamperedLog{t.Tx.Log(), t.change} }

type tamperedLog struct {
	store.Log
	change func([]store.AuditEntry) []store.AuditEntry
}

func (t tamperedLog) Audit() store.Audit { return tamperedAudit{t.Log.Audit(), t.change} }

type tamperedAudit struct {
	store.Audit
	change func([]store.AuditEntry) []store.AuditEntry
}

func (t tamperedAudit) List(ctx context.Context, q store.AuditQuery) ([]store.AuditEntry, error) {
	all, err := t.Audit.List(ctx, store.AuditQuery{})
	var out []store.AuditEntry
	for _, e := range t.change(all) {
		if (q.BeforeSeq == 0 || e.Seq < q.BeforeSeq) && len(out) < q.Limit {
			out = append(out, e)
		}
	}
	return out, err
}

func TestVerifyAudit(t *testing.T) {
	st, _, c := open(t)
	ctx := t.Context()
	const entries = 1203 // more than two pages
	var head string
	err := st.Update(ctx, func(tx store.Tx) error {
		for i := range entries {
			e, err := tx.Log().Audit().Append(ctx, store.AuditEntry{At: c.now, Actor: "ann", Action: "rollout.pause", App: "shop", Target: fmt.Sprint(i), Detail: []byte(`{}`)})
			if err != nil {
				return err
			}
			if i == 700 {
				head = e.Hash
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	at := func(list []store.AuditEntry, seq int64) int { return int(entries - seq) }
	for _, k := range []struct {
		name   string
		head   string
		broken int64
		ok     bool
		change func([]store.AuditEntry) []store.AuditEntry
	}{
		{"untouched", "", 0, true, func(l []store.AuditEntry) []store.AuditEntry { return l }},
		{"with a head that is there", head, 0, true, func(l []store.AuditEntry) []store.AuditEntry { return l }},
		{"altered", "", 600, false, func(l []store.AuditEntry) []store.AuditEntry { l[at(l, 600)].Actor = "eve"; return l }},
		{"altered and hashed again", "", 600, false, func(l []store.AuditEntry) []store.AuditEntry {
			e := &l[at(l, 600)]
			e.Actor = "eve"
			e.Hash = store.ChainHash(*e)
			return l
		}},
		{"one removed", "", 599, false, func(l []store.AuditEntry) []store.AuditEntry { i := at(l, 600); return append(l[:i], l[i+1:]...) }},
		{"the first removed", "", 2, false, func(l []store.AuditEntry) []store.AuditEntry { return l[:len(l)-1] }},
		{"the end cut off, seen by the head", head, 0, false, func(l []store.AuditEntry) []store.AuditEntry { return l[at(l, 600):] }},
	} {
		t.Run(k.name, func(t *testing.T) {
			r, err := auth.VerifyAudit(ctx, tampered{st, k.change}, k.head)
			if err != nil {
				t.Fatal(err)
			}
			if r.OK() != k.ok || r.Broken != k.broken {
				t.Errorf("%+v", r)
			}
		})
	}
	if r, err := auth.VerifyAudit(ctx, st, ""); err != nil || r.Entries != entries || !r.OK() {
		t.Errorf("%+v, %v", r, err)
	}
}
