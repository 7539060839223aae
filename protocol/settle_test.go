package protocol_test

import (
	"context"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/protocol"
	"github.com/slipstream-ota/slipstream/protocol/easyclick"
	"github.com/slipstream-ota/slipstream/protocol/protocoltest"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/store"
)

// quiet is a store that tells of no change.
type quiet struct{ store.Store }

func (quiet) Watch(ctx context.Context, _ func()) error {
	<-ctx.Done()
	return ctx.Err()
}

// slow is a blob store that reads after a while, or not at all.
type slow struct {
	blob.Store
	after time.Duration
	fail  error
}

func (s slow) Open(ctx context.Context, d slipstream.Digest) (blob.Object, error) {
	time.Sleep(s.after)
	if s.fail != nil {
		return nil, s.fail
	}
	return s.Store.Open(ctx, d)
}

func published(w *protocoltest.World, version string) slipstream.Digest {
	return w.Publish(protocoltest.Release{Version: version, Files: map[string]string{"main.iec": "script " + version},
		Offer: &rollout.Offer{Channel: "production", To: slipstream.FullShare}})
}

// running runs k until the test ends.
func running(t *testing.T, k *protocol.Keeper) {
	ctx, stop := context.WithCancel(context.Background())
	var runs sync.WaitGroup
	runs.Go(func() {
		if err := k.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { stop(); runs.Wait() })
}

func item(t *testing.T, k *protocol.Keeper, d slipstream.Digest) *protocol.Item {
	t.Helper()
	app, err := k.Catalogue().App("shop")
	if err != nil {
		t.Fatal(err)
	}
	return app.Item(d)
}

func TestWhatWasChangedIsSettledThoughNobodyToldOfIt(t *testing.T) {
	t.Parallel()
	w := protocoltest.New(t, easyclick.Protocol{})
	w.Enable(`{}`)
	k := protocol.NewKeeper(easyclick.Protocol{}, quiet{w.Store}, w.Blobs, nil)
	if err := k.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	d := published(w, "1.0.0")
	if item(t, k, d) != nil {
		t.Fatal("it was told of the change")
	}
	if err := k.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if i := item(t, k, d); i == nil || i.Rendition == nil {
		t.Errorf("after settling: %+v", i)
	}
}

func TestWhatIsBeingRenderedIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := protocoltest.New(t, easyclick.Protocol{})
	d := published(w, "1.0.0")
	k := protocol.NewKeeper(easyclick.Protocol{}, w.Store, slow{Store: w.Blobs, after: 50 * time.Millisecond}, nil)
	k.SetAwait(time.Minute)
	running(t, k)
	enable(t, w)
	if err := k.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if i := item(t, k, d); i == nil || i.Rendition == nil {
		t.Errorf("after settling: %+v", i)
	}
}

func TestWhatCannotBeRenderedIsNotWaitedForLong(t *testing.T) {
	t.Parallel()
	w := protocoltest.New(t, easyclick.Protocol{})
	d := published(w, "1.0.0")
	k := protocol.NewKeeper(easyclick.Protocol{}, w.Store, slow{Store: w.Blobs, fail: io.ErrUnexpectedEOF}, nil)
	k.SetAwait(time.Hour)
	running(t, k)
	enable(t, w)
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	if err := k.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	if i := item(t, k, d); i == nil || i.Rendition != nil {
		t.Errorf("after settling: %+v", i)
	}
}

func enable(t *testing.T, w *protocoltest.World) {
	t.Helper()
	err := w.Store.Update(t.Context(), func(tx store.Tx) error {
		return protocol.Enable(t.Context(), tx, easyclick.Protocol{}, "shop", []byte(`{}`))
	})
	if err != nil {
		t.Fatal(err)
	}
}
