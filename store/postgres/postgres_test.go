package postgres_test

import (
	"os"
	"testing"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/internal/pgtest"
	"github.com/slipstream-ota/slipstream/store"
	"github.com/slipstream-ota/slipstream/store/postgres"
	"github.com/slipstream-ota/slipstream/store/storetest"
)

var cluster = pgtest.New()

func TestMain(m *testing.M) { os.Exit(cluster.Run(m)) }

func open(t *testing.T, url string, o postgres.Options) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), url, o)
	if err != nil {
		t.Fatalf("%v (hint: %s)", err, slipstream.HintOf(err))
	}
	return s
}

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() store.Store {
		url := cluster.Database(t)
		return func() store.Store { return open(t, url, postgres.Options{Migrate: true}) }
	})
}
