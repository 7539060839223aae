package capgo

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/protocol/protocoltest"
)

// deaf stores nothing: what is fuzzed is the reading.
type deaf struct{}

func (deaf) Report(*http.Request, []slipstream.Event) error { return nil }

// FuzzRequests: whatever strangers send is answered in JSON, and no answer to a check that holds an error offers anything.
func FuzzRequests(f *testing.F) {
	w := newWorld(f, "")
	w.release("1.4.0", map[string]string{"index.html": "1"})
	w.server = New(Config{Book: w.book, Decider: w.Devices, Reporter: deaf{}, Bytes: w.Devices.Handler(), Blobs: w.Blobs, BaseURL: protocoltest.BaseURL})
	good, err := json.Marshal(phone(map[string]any{"action": "set", "timestamp": 1, "channel": "beta"}))
	if err != nil {
		f.Fatal(err)
	}
	for _, body := range []string{string(good), "[" + string(good) + "]", `{"platform":{},"version_name":1e400}`, `{"platform":"\ud800"}`, "[", ""} {
		f.Add(http.MethodPost, "updates", body)
		f.Add(http.MethodPost, "stats", body)
		f.Add(http.MethodPut, "channel_self", body)
	}
	f.Fuzz(func(t *testing.T, method, path, body string) {
		if strings.ContainsAny(method, " \t\r\n") || method == "" || strings.ContainsAny(path, " \t\r\n%?#") {
			t.Skip()
		}
		r := httptest.NewRequest(http.MethodPost, "/capgo/shop/", strings.NewReader(body))
		r.Method, r.URL.Path = method, "/capgo/shop/"+path
		rec := httptest.NewRecorder()
		w.server.ServeHTTP(rec, r)
		if rec.Code >= 300 && rec.Code < 400 {
			return // a path that is not clean
		}
		if !json.Valid(rec.Body.Bytes()) && !strings.HasPrefix(path, "files/") {
			t.Errorf("%d %q", rec.Code, rec.Body)
		}
		var a map[string]any
		if path == "updates" && json.Unmarshal(rec.Body.Bytes(), &a) == nil && a["error"] != nil && a["url"] != nil {
			t.Errorf("both: %s", rec.Body)
		}
	})
}
