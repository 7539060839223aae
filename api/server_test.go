package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/auth"
)

func TestRequests(t *testing.T) {
	w := newWorld(t)
	w.shop()
	w.token("shop-owner", auth.Owner, "shop")
	w.must(func() error { _, err := w.client("owner").CreateApp(w.ctx, newApp("cart")); return err }())
	res := w.publish(1)
	const app, channel = "/v1/admin/apps/shop", "/v1/admin/apps/shop/channels/production"
	for _, c := range []struct {
		name           string
		method, path   string
		as, body       string
		status         int
		expect, forbid []string
	}{
		{"no token", "GET", "/v1/admin/apps", "", "", 401, []string{`"code":"unauthorized"`}, []string{"shop"}},
		{"who am I", "GET", "/v1/admin/whoami", "viewer", "", 200, []string{`"role":"viewer"`}, []string{"slp_"}},
		{"list apps", "GET", "/v1/admin/apps", "viewer", "", 200, []string{`"name":"shop"`, `"name":"cart"`, `"rootVersion":1`}, []string{"sealed", "slp_"}},
		{"list apps with a token for one", "GET", "/v1/admin/apps", "shop-owner", "", 200, []string{`"name":"shop"`}, []string{"cart"}},
		{"look at another app with it", "GET", "/v1/admin/apps/cart", "shop-owner", "", 403, []string{`"code":"forbidden"`}, nil},
		{"make an app with it", "POST", "/v1/admin/apps", "shop-owner", `{"name":"evil"}`, 403, []string{`"code":"forbidden"`}, nil},
		{"status of another app with it", "GET", "/v1/admin/status?app=cart", "shop-owner", "", 403, nil, []string{"rootVersion"}},
		{"audit of another app with it", "GET", "/v1/admin/audit?app=cart", "shop-owner", "", 403, nil, []string{"app.create"}},
		{"audit with it", "GET", "/v1/admin/audit", "shop-owner", "", 200, []string{"release.publish"}, []string{"cart"}},
		{"recompute everybody's audit chain with it", "GET", "/v1/admin/audit/verify", "shop-owner", "", 403, nil, []string{"head"}},
		{"a path that is not clean", "GET", "/v1/admin//apps", "owner", "", 404, []string{`"code":"not_found"`}, nil},
		{"a cap below nothing", "POST", channel + "/rollouts", "operator", `{"release":"1.1.0","to":100,"cap":-1}`, 422, []string{"cap"}, nil},
		{"make a token for all apps with it", "POST", "/v1/admin/tokens", "shop-owner", `{"name":"x","role":"owner"}`, 403, nil, []string{"slp_"}},
		{"see tokens of all apps with it", "GET", "/v1/admin/tokens", "shop-owner", "", 200, []string{`"name":"shop-owner"`}, []string{`"name":"publisher"`, "slp_"}},
		{"collect garbage with it", "POST", "/v1/admin/gc", "shop-owner", `{}`, 403, nil, nil},
		{"a viewer changes nothing", "POST", channel + "/withdraw", "viewer", `{"release":"1.1.0"}`, 403, []string{"change rollouts"}, nil},
		{"an operator publishes nothing", "POST", app + "/blobs/missing", "operator", `{"digests":[]}`, 403, nil, nil},
		{"a publisher manages nothing", "POST", app + "/channels", "publisher", `{"name":"beta"}`, 403, nil, nil},
		{"an app that is not there", "GET", "/v1/admin/apps/nope", "owner", "", 404, []string{`"code":"not_found"`, `"hint"`}, nil},
		{"an app that exists", "POST", "/v1/admin/apps", "owner", `{"name":"shop"}`, 409, []string{`"code":"conflict"`}, nil},
		{"an app with a bad name", "POST", "/v1/admin/apps", "owner", `{"name":"Shop!"}`, 422, []string{`"code":"invalid"`}, nil},
		{"an unknown field", "POST", "/v1/admin/apps", "owner", `{"name":"ok","colour":"red"}`, 422, []string{`"code":"invalid"`, "body.colour"}, []string{"$schema"}},
		{"no JSON", "POST", "/v1/admin/apps", "owner", `{"name":`, 400, []string{`"code":"invalid"`}, nil},
		{"a channel with a wild timing", "POST", app + "/channels", "owner", `{"name":"beta","timing":{"checkAfter":1}}`, 422, []string{"checkAfter"}, nil},
		{"make a channel", "POST", app + "/channels", "owner", `{"name":"beta"}`, 200, []string{`"name":"beta"`, `"platform":"ios"`}, nil},
		{"show a channel", "GET", channel, "viewer", "", 200, []string{string(res.Digest), `"by":"publisher"`}, nil},
		{"a release by package and version", "GET", app + "/releases/main@1.1.0", "viewer", "", 200, []string{string(res.Digest), `"envelope"`}, nil},
		{"a release by a prefix", "GET", app + "/releases/" + string(res.Digest[:8]), "viewer", "", 200, []string{string(res.Digest)}, nil},
		{"a release by too short a prefix", "GET", app + "/releases/" + string(res.Digest[:7]), "viewer", "", 404, []string{`"hint"`}, nil},
		{"another app's release", "GET", "/v1/admin/apps/cart/releases/" + string(res.Digest), "viewer", "", 404, nil, []string{"envelope"}},
		{"a share beyond everybody", "POST", channel + "/rollouts", "operator", `{"release":"1.1.0","to":10001}`, 422, []string{"share"}, nil},
		{"an unknown condition", "POST", channel + "/rollouts", "operator", `{"release":"1.1.0","when":[{"attr":"colour","op":"in","value":["red"]}]}`, 422, []string{"colour"}, nil},
		{"two verbs at once", "PATCH", channel + "/rollouts/" + res.Rollout, "operator", `{"to":5000,"hold":"paused"}`, 422, []string{"exactly one"}, nil},
		{"a hold that is the guard's", "PATCH", channel + "/rollouts/" + res.Rollout, "operator", `{"hold":"halted"}`, 422, nil, nil},
		{"pause", "PATCH", channel + "/rollouts/" + res.Rollout, "operator", `{"hold":"paused"}`, 200, []string{`"hold":"paused"`, `"epoch"`}, nil},
		{"resume", "PATCH", channel + "/rollouts/" + res.Rollout, "operator", `{"hold":"none"}`, 200, nil, []string{`"hold"`}},
		{"a rollout that is not there", "PATCH", channel + "/rollouts/r0", "operator", `{"finish":true}`, 404, nil, nil},
		{"roll back where nothing was before", "POST", channel + "/rollback", "operator", `{}`, 404, nil, nil},
		{"a floor that nothing reaches", "POST", channel + "/floor", "operator", `{"seq":5}`, 409, []string{"--force"}, nil},
		{"explain", "POST", channel + "/explain", "viewer", `{"device":{"platform":"ios","runtime":"1.0.0"}}`, 200, []string{`"verdict":"update"`, `"steps"`, "1.1.0"}, nil},
		{"explain for a release of nobody", "POST", channel + "/explain", "viewer", `{"device":{},"running":"9.9.9"}`, 404, nil, nil},
		{"delete what a channel names", "DELETE", app + "/releases/main@1.1.0", "owner", "", 409, []string{"named by a channel"}, nil},
		{"a role that is none", "POST", "/v1/admin/tokens", "owner", `{"name":"x","role":"god"}`, 422, nil, []string{"slp_"}},
		{"make a token", "POST", "/v1/admin/tokens", "owner", `{"name":"x","role":"viewer"}`, 200, []string{`"secret":"slp_`}, nil},
		{"plan a garbage collection", "POST", "/v1/admin/gc", "owner", `{}`, 200, []string{`"applied":false`}, nil},
		{"an unknown path", "GET", "/v1/admin/nothing", "owner", "", 404, []string{`"code":"not_found"`}, nil},
		{"a method that is not there", "PUT", "/v1/admin/apps", "owner", `{}`, 405, []string{`"code":"method_not_allowed"`}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer, body := w.call(c.method, c.path, w.secrets[c.as], c.body)
			if answer.StatusCode != c.status {
				t.Fatalf("status %d, want %d: %s", answer.StatusCode, c.status, body)
			}
			for _, s := range c.expect {
				if !strings.Contains(body, s) {
					t.Errorf("no %q in %s", s, body)
				}
			}
			for _, s := range c.forbid {
				if strings.Contains(body, s) {
					t.Errorf("%q in %s", s, body)
				}
			}
			if c.status >= 400 {
				if ct := answer.Header.Get("Content-Type"); ct != "application/problem+json" {
					t.Errorf("content type %q", ct)
				}
				var p struct {
					Status int
					Code   string
				}
				if err := json.Unmarshal([]byte(body), &p); err != nil || p.Status != c.status || p.Code == "" {
					t.Errorf("problem %s", body)
				}
			}
		})
	}
}

func TestFailedLoginsAreSlowedDown(t *testing.T) {
	w := newWorld(t)
	for i := range 10 {
		if res, _ := w.call("GET", "/v1/admin/whoami", "slp_wrong", ""); res.StatusCode != http.StatusUnauthorized {
			t.Fatalf("attempt %d: %d", i, res.StatusCode)
		}
	}
	res, body := w.call("GET", "/v1/admin/whoami", "slp_wrong", "")
	if res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") == "" {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if res, _ := w.call("GET", "/v1/admin/whoami", w.secrets["owner"], ""); res.StatusCode != http.StatusOK {
		t.Errorf("a valid token from the same address: %d, nobody may lock others out", res.StatusCode)
	}
	if res, _ := w.call("GET", "/v1/admin/whoami", w.secrets["owner"], "", "Test-Sender", "192.0.2.2"); res.StatusCode != http.StatusOK {
		t.Errorf("another address: %d", res.StatusCode)
	}
}

func TestAStoreThatIsAwayIsSaidSo(t *testing.T) {
	w := newWorld(t)
	w.store.away = true
	res, body := w.call("GET", "/v1/admin/apps", w.secrets["owner"], "")
	if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" || !strings.Contains(body, `"code":"unavailable"`) {
		t.Errorf("%d %v %s", res.StatusCode, res.Header, body)
	}
}

func TestBodiesAreBounded(t *testing.T) {
	w := newWorld(t)
	res, body := w.call("POST", "/v1/admin/apps", w.secrets["owner"], `{"name":"`+strings.Repeat("a", 9<<20)+`"}`)
	if res.StatusCode != http.StatusRequestEntityTooLarge || !strings.Contains(body, `"code":"too_large"`) {
		t.Errorf("%d %.200s", res.StatusCode, body)
	}
}

func TestTheOpenAPIDocumentDescribesEveryOperation(t *testing.T) {
	w := newWorld(t)
	res, body := w.call("GET", "/v1/openapi.json", "", "")
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%d", res.StatusCode)
	}
	var doc struct {
		OpenAPI    string
		Paths      map[string]map[string]struct{ OperationID, Summary string }
		Components struct{ Schemas map[string]any }
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("version %q", doc.OpenAPI)
	}
	seen := map[string]string{}
	for path, item := range doc.Paths {
		for method, op := range item {
			where := fmt.Sprintf("%s %s", method, path)
			if op.Summary == "" || op.OperationID == "" || seen[op.OperationID] != "" {
				t.Errorf("%s: summary %q, id %q, as %s", where, op.Summary, op.OperationID, seen[op.OperationID])
			}
			seen[op.OperationID] = where
		}
	}
	if len(seen) < 35 {
		t.Errorf("only %d operations", len(seen))
	}
	if doc.Components.Schemas["ErrorModel"] != nil || doc.Components.Schemas["Problem"] == nil || strings.Contains(body, "ErrorModel") {
		t.Error("errors are not described as they are")
	}
}

// Whoever is refused learns whether the token is for another app or its role too small, and which role would do.
func TestARefusedTokenIsToldWhatWouldDo(t *testing.T) {
	w := newWorld(t)
	w.shop()
	w.token("shopkeeper", auth.Publisher, "shop")
	_, err := w.client("shopkeeper").App(w.ctx, "game")
	if hint := slipstream.HintOf(err); !strings.Contains(hint, "for app shop alone") {
		t.Errorf("another app: %v, hint %q", err, hint)
	}
	_, err = w.client("shopkeeper").CreateChannel(w.ctx, "shop", api.NewChannel{Name: "staging"})
	if hint := slipstream.HintOf(err); !strings.Contains(hint, "role owner") {
		t.Errorf("a channel by a publisher: %v, hint %q", err, hint)
	}
	_, err = w.client("viewer").CreateChannel(w.ctx, "shop", api.NewChannel{Name: "staging"})
	if hint := slipstream.HintOf(err); !strings.Contains(hint, "--role owner") {
		t.Errorf("a channel by a viewer: %v, hint %q", err, hint)
	}
	_, err = w.client("viewer").Missing(w.ctx, "shop", []slipstream.Digest{slipstream.Digest(strings.Repeat("0", 64))})
	if hint := slipstream.HintOf(err); !strings.Contains(hint, "--role publisher") {
		t.Errorf("blobs by a viewer: %v, hint %q", err, hint)
	}
}
