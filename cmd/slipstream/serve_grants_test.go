//go:build !device

package main

import (
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/slipstream-ota/slipstream/store"
	"github.com/slipstream-ota/slipstream/store/sqlite"
)

// Places of a rollout that is on a list are never forgotten: it would give them anew.
func TestRolloutsOnAListKeepTheirPlaces(t *testing.T) {
	t.Parallel()
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "db"), sqlite.Options{Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	beta := store.Channel{App: "shop", Name: "beta", Policy: []byte(`{"packages":{"main":{"rollouts":[{"id":"r1","grant":true,"cap":5},{"id":"r2"}]},"cart":{"rollouts":[{"id":"r3","grant":true,"cap":7}]}}}`)}
	save := func(name, policy string) {
		t.Helper()
		if err := s.Update(t.Context(), func(tx store.Tx) error {
			return tx.Channels().Create(t.Context(), store.Channel{App: "shop", Name: name, Policy: []byte(policy)})
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Update(t.Context(), func(tx store.Tx) error {
		return tx.Apps().Create(t.Context(), store.App{Name: "shop", Platforms: []string{"any"}, Settings: []byte("{}")})
	}); err != nil {
		t.Fatal(err)
	}
	save("beta", string(beta.Policy))
	save("production", "{}")
	if got := capsOf(beta); !maps.Equal(got, map[string]int64{"r1": 5, "r3": 7}) {
		t.Errorf("caps %v", got)
	}
	standing, err := standingRollouts(t.Context(), s)
	slices.Sort(standing)
	if err != nil || !slices.Equal(standing, []string{"r1", "r2", "r3"}) {
		t.Errorf("standing %v, %v", standing, err)
	}
	save("broken", `{"packages":7}`)
	if standing, err := standingRollouts(t.Context(), s); err == nil {
		t.Errorf("a list that cannot be read leaves %v", standing)
	}
}
