package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/blob/mem"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/store/sqlite"
)

// FuzzBodies feeds the bodies that the management API takes, most of all that of a commit: the answer is a success or a
// problem with a code, and never the server's own fault.
func FuzzBodies(f *testing.F) {
	paths := []string{"/apps/shop/releases", "/apps", "/apps/shop/roots", "/apps/shop/channels", "/apps/shop/channels/production/rollouts",
		"/apps/shop/channels/production/withdraw", "/apps/shop/channels/production/rollback", "/apps/shop/channels/production/floor",
		"/apps/shop/channels/production/promote", "/apps/shop/channels/production/explain", "/apps/shop/blobs/missing", "/tokens"}
	for i, body := range []string{`{"app":"shop","manifest":"eyJwYXlsb2FkVHlwZSI6IiJ9","rollout":{"channel":"production","from":0,"to":10000,"apply":{}}}`,
		`{"name":"cart","platforms":["ios"]}`, `{"envelope":"e30="}`, `{"name":"beta","timing":{"checkAfter":60}}`, `{"release":"1.0.0","to":1000,"when":[{"attr":"os","op":"gte","value":"3"}]}`,
		`{"release":"1.0.0","reason":"bad"}`, `{"to":"1.0.0"}`, `{"seq":3,"runtime":{"range":"^3.0.0"}}`, `{"from":"beta"}`, `{"device":{"id":"` + string(bytes.Repeat([]byte("a"), 64)) + `"}}`,
		`{"digests":["` + string(bytes.Repeat([]byte("a"), 64)) + `"]}`, `{"name":"ci","role":"publisher","expires":"2030-01-01T00:00:00Z"}`} {
		f.Add(uint8(i), []byte(body))
	}
	ctx := context.Background()
	st, err := sqlite.Open(ctx, ":memory:", sqlite.Options{Migrate: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := st.Close(); err != nil {
			f.Error(err)
		}
	})
	keys, err := rollout.OpenKeys(ctx, st, bytes.Repeat([]byte{1}, 32))
	if err != nil {
		f.Fatal(err)
	}
	blobs, tokens := mem.New(), auth.New(auth.Config{Store: st})
	_, secret, err := tokens.Create(ctx, "test", auth.Spec{Name: "owner", Role: auth.Owner})
	if err != nil {
		f.Fatal(err)
	}
	changes := rollout.New(rollout.Config{Store: st, Blobs: blobs, Keys: keys})
	if err := changes.CreateApp(ctx, "test", rollout.AppSpec{Name: "shop"}); err != nil {
		f.Fatal(err)
	}
	handler := api.New(api.Config{Store: st, Blobs: blobs, Tokens: tokens, Rollout: changes}).Handler()
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		r := httptest.NewRequest(http.MethodPost, api.Base+paths[int(which)%len(paths)], bytes.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+secret)
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code < http.StatusMultipleChoices {
			return
		}
		var p api.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Code == "" || p.Status != w.Code {
			t.Fatalf("%s with %q: %d %s", r.URL.Path, body, w.Code, w.Body)
		}
		if w.Code >= http.StatusInternalServerError {
			t.Fatalf("%s with %q is the server's fault: %s", r.URL.Path, body, w.Body)
		}
	})
}
