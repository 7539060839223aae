package protocol

import (
	"context"
	"time"

	"github.com/slipstream-ota/slipstream/store"
)

// Follow calls refresh at once, whenever the store changed, and at least every minute, until ctx ends. Changes that come
// within settle of each other are told once. A refresh that fails is told to failed and tried again a second later.
func Follow(ctx context.Context, st store.Store, settle time.Duration, refresh func(ctx context.Context) error, failed func(error)) {
	wake := make(chan struct{}, 1)
	watching, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	defer func() { stop(); <-ended }()
	go func() {
		defer close(ended)
		for watching.Err() == nil {
			err := st.Watch(watching, func() {
				select {
				case wake <- struct{}{}:
				default:
				}
			})
			if err != nil && watching.Err() == nil {
				pause(watching, retryLoad)
			}
		}
	}()
	for ctx.Err() == nil {
		wait := retryRender
		if err := refresh(ctx); err != nil && ctx.Err() == nil {
			failed(err)
			wait = retryLoad
		}
		if settle > 0 {
			pause(ctx, settle)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}
