package ocrunner

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/protocol/protocoltest"
)

// TestALinkIsForOneFileOnce: of one channel of one app, for a minute, on every node and after a restart.
func TestALinkIsForOneFileOnce(t *testing.T) {
	t.Parallel()
	w := protocoltest.New(t, Protocol{})
	clock := func() time.Time { return w.Now }
	key := bytes.Repeat([]byte{5}, 32)
	one, other := NewTokens(key, w.Store, clock, nil), NewTokens(key, w.Store, clock, nil)
	blob, another := slipstream.Digest(strings.Repeat("ab", 32)), slipstream.Digest(strings.Repeat("cd", 32))
	token, err := one.issue("shop/production", blob)
	if err != nil {
		t.Fatal(err)
	}
	k, err := other.open(t.Context(), "shop/production", token)
	if err != nil || k.blob != blob {
		t.Fatalf("on another node: %+v, %v", k, err)
	}
	for _, scope := range []string{"shop/beta", "bank/production", "shop/production/", "", "shop"} {
		if _, err := one.open(t.Context(), scope, token); !errors.Is(err, errInvalid) {
			t.Errorf("for %q: %v", scope, err)
		}
	}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := one.issue("shop/production", another)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := base64.RawURLEncoding.DecodeString(elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	swapped := append(bytes.Clone(raw[:nonceBytes+8]), theirs[nonceBytes+8:]...) // the other's file, with its MAC
	grafted := append(bytes.Clone(raw[:nonceBytes+8]), theirs[nonceBytes+8:tokenBytes-macBytes]...)
	grafted = append(grafted, raw[tokenBytes-macBytes:]...) // the other's file, with our MAC
	forged := [][]byte{swapped, grafted, raw[:len(raw)-1], append(bytes.Clone(raw), 0), nil}
	for i := range raw {
		b := bytes.Clone(raw)
		b[i] ^= 1
		forged = append(forged, b)
	}
	for _, b := range forged {
		if _, err := one.open(t.Context(), "shop/production", base64.RawURLEncoding.EncodeToString(b)); !errors.Is(err, errInvalid) {
			t.Errorf("%x: %v", b, err)
		}
	}
	if _, err := NewTokens(bytes.Repeat([]byte{6}, 32), w.Store, clock, nil).open(t.Context(), "shop/production", token); !errors.Is(err, errInvalid) {
		t.Errorf("by another server: %v", err)
	}

	one.use(k)
	if err := one.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	restarted := NewTokens(key, w.Store, clock, nil)
	for name, tokens := range map[string]*Tokens{"here": one, "on another node": other, "after a restart": restarted} {
		if tokens == other {
			if err := tokens.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := tokens.open(t.Context(), "shop/production", token); !errors.Is(err, errInvalid) {
			t.Errorf("used up, %s: %v", name, err)
		}
	}
	if _, err := restarted.open(t.Context(), "shop/production", elsewhere); err != nil {
		t.Errorf("not used up, after a restart: %v", err)
	}
	w.Now = w.Now.Add(TokenLife)
	if _, err := restarted.open(t.Context(), "shop/production", elsewhere); !errors.Is(err, errExpired) {
		t.Errorf("a minute later: %v", err)
	}
	w.Now = w.Now.Add(time.Minute)
	if err := restarted.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(restarted.used) > 0 {
		t.Errorf("%d links are remembered that are over", len(restarted.used))
	}
}
