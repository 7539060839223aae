package rollout_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/rollout"
)

// leaving is a blob store whose caller goes away while it lists.
type leaving struct {
	blob.Store
	leave context.CancelFunc
}

func (l leaving) List(ctx context.Context, _ func(blob.Info) error) error {
	l.leave()
	return ctx.Err()
}

func TestACollectionWhoseCallerGoesAwayGivesItsLeaseBack(t *testing.T) {
	w := newWorld(t)
	keys, err := rollout.OpenKeys(w.ctx, w.store, bytes.Repeat([]byte{1}, 32))
	w.must(err)
	ctx, cancel := context.WithCancel(w.ctx)
	service := rollout.New(rollout.Config{Store: w.store, Blobs: leaving{w.blobs, cancel}, Keys: keys, Clock: func() time.Time { return w.now }})
	if _, err := service.Collect(ctx, "ann", rollout.CollectSpec{Apply: true}); !errors.Is(err, context.Canceled) {
		t.Fatalf("the collection ends with %v", err)
	}
	if _, err := w.service.Collect(w.ctx, "ann", rollout.CollectSpec{Apply: true}); err != nil {
		t.Errorf("the next one, at once: %v", err)
	}
}
