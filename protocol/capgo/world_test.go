package capgo

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/protocol/protocoltest"
)

// world is a server with the protocol on and everything settled after each step.
type world struct {
	*protocoltest.World
	book   *Book
	server *Server
}

const appID = "com.example.shop"

func newWorld(t testing.TB, options string) *world {
	t.Helper()
	w := &world{World: protocoltest.New(t, Protocol{})}
	w.server, w.book = newServer(w.World, protocoltest.BaseURL, func() time.Time { return w.Now })
	if options == "" {
		options = `{"appId":"` + appID + `","selfAssign":["beta"]}`
	}
	w.Book = w.book
	w.Enable(options)
	return w
}

func (w *world) release(version string, files map[string]string) slipstream.Digest {
	w.Helper()
	return w.Publish(protocoltest.Release{Version: version, Files: files, Offer: protocoltest.Offer(slipstream.FullShare)})
}

// device is the block that a phone sends, with some fields changed.
func phone(change map[string]any) map[string]any {
	d := map[string]any{"platform": "android", "device_id": "d290f1ee-6c54-4b01-90e6-d701748f0851", "app_id": appID, "custom_id": "", "version_build": "1.0.0",
		"version_code": "10", "version_os": "14", "version_name": builtin, "plugin_version": "8.51.14", "is_emulator": false, "is_prod": true, "defaultChannel": ""}
	for k, v := range change {
		d[k] = v
	}
	return d
}

// send asks the server and reads the answer into to.
func (w *world) send(method, path string, body any, to any) int {
	w.Helper()
	text, ok := body.(string)
	if !ok {
		raw, err := json.Marshal(body)
		if err != nil {
			w.Fatal(err)
		}
		text = string(raw)
	}
	rec := httptest.NewRecorder()
	w.server.ServeHTTP(rec, httptest.NewRequest(method, "/capgo/shop/"+path, strings.NewReader(text)))
	if to != nil {
		if err := json.Unmarshal(rec.Body.Bytes(), to); err != nil {
			w.Fatalf("%s %s: %d %s", method, path, rec.Code, rec.Body)
		}
	}
	return rec.Code
}

// answered is any answer of a check.
type answered struct {
	update
	Error, Kind string
}

func (w *world) check(change map[string]any) answered {
	w.Helper()
	var a answered
	if code := w.send(http.MethodPost, "updates", phone(change), &a); code != http.StatusOK {
		w.Fatalf("check: %d %+v", code, a)
	}
	return a
}

func (w *world) download(url string) []byte {
	w.Helper()
	rec := httptest.NewRecorder()
	w.server.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, strings.TrimPrefix(url, protocoltest.Base), nil))
	if rec.Code != http.StatusOK {
		w.Fatalf("download %s: %d", url, rec.Code)
	}
	return rec.Body.Bytes()
}
