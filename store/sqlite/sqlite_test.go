package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
	"github.com/slipstream-ota/slipstream/store/sqlite"
	"github.com/slipstream-ota/slipstream/store/storetest"
)

func open(t *testing.T, path string, o sqlite.Options) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), path, o)
	if err != nil {
		t.Fatalf("%v (hint: %s)", err, slipstream.HintOf(err))
	}
	return s
}

func TestContract(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) func() store.Store {
		path := filepath.Join(t.TempDir(), "a folder ?#%", "slipstream.db")
		return func() store.Store { return open(t, path, sqlite.Options{Migrate: true}) }
	})
}
