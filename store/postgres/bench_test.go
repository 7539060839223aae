package postgres_test

import (
	"testing"

	"github.com/slipstream-ota/slipstream/store/postgres"
	"github.com/slipstream-ota/slipstream/store/storetest"
)

func BenchmarkAppend(b *testing.B) {
	storetest.BenchmarkAppend(b, open(b, cluster.Database(b), postgres.Options{Migrate: true}))
}

func BenchmarkGrants(b *testing.B) {
	storetest.BenchmarkGrants(b, open(b, cluster.Database(b), postgres.Options{Migrate: true}))
}
