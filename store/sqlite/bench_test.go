package sqlite_test

import (
	"testing"

	"github.com/slipstream-ota/slipstream/store/storetest"
)

func BenchmarkAppend(b *testing.B) {
	s, _ := fresh(b)
	storetest.BenchmarkAppend(b, s)
}

func BenchmarkGrants(b *testing.B) {
	s, _ := fresh(b)
	storetest.BenchmarkGrants(b, s)
}
