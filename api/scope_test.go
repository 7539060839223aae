package api_test

import (
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/store"
)

// What the guard saw of one app's rollout is not shown to who is for another app, by whatever path they ask.
func TestEvidenceIsShownToWhoSeesTheRolloutsApp(t *testing.T) {
	w := newWorld(t)
	w.shop()
	w.publish(1)
	_, err := w.client("owner").CreateApp(w.ctx, api.NewApp{Name: "cart"})
	w.must(err)
	ch, err := w.client("owner").Channel(w.ctx, "shop", "production")
	w.must(err)
	id := ch.Policy.Packages["main"].Rollouts[0].ID
	w.must(w.store.Update(w.ctx, func(tx store.Tx) error {
		return tx.Log().Evidence().Append(w.ctx, store.Evaluation{Rollout: id, N: 1, At: time.Now(), Doc: []byte(`{"waits":"secret"}`)}, []byte(`{}`))
	}))
	w.token("cart", auth.Owner, "cart")
	w.token("shop", auth.Viewer, "shop")
	for _, replay := range []bool{false, true} {
		if list, err := w.client("cart").Evidence(w.ctx, "cart", "production", id, replay); err == nil && len(list.Looks) > 0 {
			t.Errorf("replay %v: who is for another app sees %+v", replay, list.Looks)
		}
	}
	for _, name := range []string{"shop", "viewer"} {
		if list, err := w.client(name).Evidence(w.ctx, "shop", "production", id, false); err != nil || len(list.Looks) != 1 {
			t.Errorf("%s: %+v, %v", name, list, err)
		}
	}
}

// What is answered to one person is kept by no cache.
func TestAnswersAreNothingForCaches(t *testing.T) {
	w := newWorld(t)
	w.shop()
	for _, path := range []string{"/v1/admin/apps", "/v1/admin/apps/shop", "/v1/admin/audit", "/v1/admin/none", "/v1/session"} {
		res, _ := w.call("GET", path, w.secrets["owner"], "")
		if got := res.Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: %d, Cache-Control %q", path, res.StatusCode, got)
		}
	}
}
