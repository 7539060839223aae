package manage_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/protocol/codepush/manage"
)

// TestAChangeIsServedBeforeItIsAnswered: what the tool was told is done, devices get from the next check on, and a failure to
// bring it there is no failure of the change.
func TestAChangeIsServedBeforeItIsAnswered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.lazy.Store(true) // devices get what the book held at its last look
	w.mine()
	if u := w.check("client_unique_id=c"); u.IsAvailable {
		t.Fatalf("before the first release: %+v", u)
	}
	w.ship("Production", `{"appVersion":"1.2.0"}`, "one")
	if u := w.check("client_unique_id=c"); u.Label != "v1" {
		t.Errorf("after a release: %+v", u)
	}
	w.must(200, "PATCH", production+"release", `{"packageInfo":{"isDisabled":true}}`)
	if u := w.check("client_unique_id=c"); u.IsAvailable {
		t.Errorf("after it was disabled: %+v", u)
	}
	w.must(204, "DELETE", "/apps/Mine", "")
	res, err := http.Get(w.web.URL + "/v0.1/public/codepush/update_check?deployment_key=SHIPPED-KEY-0123&app_version=1.2.0")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusNotFound {
		t.Errorf("after its app was removed: %d", res.StatusCode)
	}
}

// TestOnlyChangesAreWaitedFor: a question and a refusal change nothing, and a device side that stands still delays an answer
// by a bounded time.
func TestOnlyChangesAreWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var asked atomic.Int32
	desk := manage.New(manage.Config{Store: w.Store, Blobs: w.Blobs, Rollout: w.Rollout, Tokens: auth.New(auth.Config{Store: w.Store, Clock: func() time.Time { return w.Now }}),
		BaseURL: func(*http.Request) string { return w.web.URL }, Settle: func(ctx context.Context) error {
			asked.Add(1)
			if _, bounded := ctx.Deadline(); !bounded {
				return errors.New("an answer would wait for ever")
			}
			<-ctx.Done()
			return ctx.Err()
		}})
	send := func(method, path, body string, want int) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "/codepush"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+w.key)
		res := httptest.NewRecorder()
		desk.ServeHTTP(res, req)
		if res.Code != want {
			t.Errorf("%s %s: %d, want %d", method, path, res.Code, want)
		}
	}
	send("GET", "/apps", "", 200)
	send("POST", "/apps", `{"name":""}`, 400)
	if n := asked.Load(); n != 0 {
		t.Errorf("%d waits before anything changed", n)
	}
	send("POST", "/apps", `{"name":"Mine","manuallyProvisionDeployments":true}`, 201)
	if n := asked.Load(); n != 1 {
		t.Errorf("%d waits after one change", n)
	}
}
