package auth_test

import (
	"errors"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/store"
	"github.com/slipstream-ota/slipstream/store/sqlite"
)

// TestAReservedTokenIsRedeemedOrStays: what fails leaves it for the next try, so that nobody gets more than was kept for him.
func TestAReservedTokenIsRedeemedOrStays(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	st, err := sqlite.Open(ctx, ":memory:", sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(st.Update(ctx, func(tx store.Tx) error { return tx.Apps().Create(ctx, store.App{Name: "shop"}) }))
	now := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	tokens := auth.New(auth.Config{Store: st, Clock: func() time.Time { return now }})
	kept, err := tokens.Reserve(ctx, "ann", "c", auth.Spec{Name: "bob", Role: auth.Publisher, App: "shop"})
	must(err)
	if _, _, err := tokens.Redeem(ctx, "ann", kept, now.Add(-time.Hour)); !errors.Is(err, slipstream.ErrInvalid) {
		t.Errorf("a token that has expired already: %v", err)
	}
	list, err := tokens.List(ctx)
	must(err)
	if len(list) != 1 || list[0].ID != kept.ID {
		t.Fatalf("after a failure there are %+v", list)
	}
	k, secret, err := tokens.Redeem(ctx, "ann", kept, now.Add(time.Hour))
	must(err)
	who, err := tokens.Authenticate(ctx, "Bearer "+secret)
	must(err)
	if want := (auth.Principal{Token: k.ID, Name: "bob", Role: auth.Publisher, Apps: "shop"}); who != want || k.ID == kept.ID {
		t.Errorf("redeemed %+v, want %+v", who, want)
	}
	if _, _, err := tokens.Redeem(ctx, "ann", kept, now.Add(time.Hour)); !errors.Is(err, slipstream.ErrNotFound) {
		t.Errorf("redeemed twice: %v", err)
	}
}
