package api_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/store"
)

func TestTheServerSaysHowItIs(t *testing.T) {
	w := newWorld(t)
	c := w.shop()
	one := w.publish(1)
	got, err := c.ServerStatus(w.ctx)
	w.must(err)
	if !got.Database.OK || !got.Blobs.OK || got.Version == "" || got.Now.IsZero() {
		t.Errorf("status %+v", got)
	}
	_, err = w.store.Jobs().Add(w.ctx, []store.Job{{Release: one.Digest, Created: time.Now()}})
	w.must(err)
	got, err = c.ServerStatus(w.ctx)
	w.must(err)
	if q := got.Queue; q.Queued != 1 || len(q.Jobs) != 1 || q.Jobs[0].Release != one.Digest || q.Jobs[0].App != "shop" || q.Jobs[0].State != "queued" {
		t.Errorf("queue %+v", q)
	}
	w.must(w.jobs.Settle(w.ctx))
	got, err = c.ServerStatus(w.ctx)
	w.must(err)
	if q := got.Queue; q.Queued+q.Running+q.Again+q.Failed != 0 || len(q.Jobs) != 0 {
		t.Errorf("queue when all is made: %+v", q)
	}
}

func TestWhoSeesOneAppIsNotToldOfAll(t *testing.T) {
	w := newWorld(t)
	w.shop()
	w.token("one", auth.Viewer, "shop")
	if code, said := w.get(api.Base+"/server", "one"); code != http.StatusForbidden {
		t.Errorf("got %d %s", code, said)
	}
}
