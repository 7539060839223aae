package rollout_test

import (
	"context"

	"github.com/slipstream-ota/slipstream/store"
)

// meddler is a store in which something else happens just before every update.
type meddler struct {
	store.Store
	before func()
}

func (m *meddler) Update(ctx context.Context, fn func(store.Tx) error) error {
	m.before()
	return m.Store.Update(ctx, fn)
}
