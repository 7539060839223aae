package api_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/blob/mem"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/store"
)

// idle is a blob store that takes nothing until its caller gives up.
type idle struct{ blob.Store }

func (idle) Put(ctx context.Context, _ slipstream.Digest, _ int64, _ io.Reader) error {
	<-ctx.Done()
	return ctx.Err()
}

// hung is a database that answers nobody.
type hung struct {
	store.Store
	now bool
}

func (h *hung) View(ctx context.Context, fn func(store.Tx) error) error {
	if h.now {
		<-ctx.Done()
		return ctx.Err()
	}
	return h.Store.View(ctx, fn)
}

func TestWhatHangsBelowIsGivenUp(t *testing.T) {
	w := newWorld(t)
	w.shop()
	keys, err := rollout.OpenKeys(w.ctx, w.store, bytes.Repeat([]byte{1}, 32))
	w.must(err)
	db := &hung{Store: w.store}
	server := httptest.NewServer(api.New(api.Config{Store: db, Blobs: idle{mem.New()}, Tokens: auth.New(auth.Config{Store: db}),
		Rollout: rollout.New(rollout.Config{Store: db, Blobs: mem.New(), Keys: keys}), StallTimeout: 20 * time.Millisecond, LoginTimeout: 20 * time.Millisecond}).Handler())
	t.Cleanup(server.Close)
	w.url = server.URL
	blob := bytesBlob([]byte("content"))
	for _, c := range []struct {
		name, method, path, body string
		hangs                    bool
	}{
		{"an upload that the blob store takes nothing of", http.MethodPut, "/v1/admin/apps/shop/blobs/" + string(blob.Digest), "content", false},
		{"a request while the database hangs", http.MethodGet, "/v1/admin/apps", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			db.now = c.hangs
			res, body := w.call(c.method, c.path, w.secrets["owner"], c.body)
			if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" || !strings.Contains(body, `"code":`) {
				t.Errorf("%d, Retry-After %q: %s", res.StatusCode, res.Header.Get("Retry-After"), body)
			}
		})
	}
}
