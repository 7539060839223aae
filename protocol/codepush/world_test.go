package codepush

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/protocol/protocoltest"
	"github.com/slipstream-ota/slipstream/rollout"
)

// world is a server with the protocol on and everything settled after each step.
type world struct {
	*protocoltest.World
	book   *Book
	server *Server
	// later is how far the adapter's clock is ahead of the world's.
	later time.Duration
}

func (w *world) clock() time.Time { return w.Now.Add(w.later) }

const prodKey = "PRODKEY-0123456789"

func newWorld(t testing.TB, options string) *world {
	t.Helper()
	w := &world{World: protocoltest.New(t, Protocol{})}
	w.server, w.book = newServer(w.World, protocoltest.BaseURL, w.clock)
	if options == "" {
		options = `{"deployments":{"production":"` + prodKey + `"}}`
	}
	w.Enable(options)
	w.refresh()
	return w
}

func (w *world) refresh() {
	w.Helper()
	w.Settle()
	if err := w.book.Refresh(w.Context()); err != nil {
		w.Fatal(err)
	}
}

func offer(share int) *rollout.Offer {
	none := 0
	return &rollout.Offer{Channel: "production", To: share, Control: &none}
}

func (w *world) release(version string, files map[string]string) slipstream.Digest {
	w.Helper()
	d := w.Publish(protocoltest.Release{Version: version, Files: files, Offer: offer(slipstream.FullShare)})
	w.refresh()
	return d
}

func (w *world) check(query string) updateInfo {
	w.Helper()
	rec := httptest.NewRecorder()
	w.server.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, current+"update_check?deployment_key="+prodKey+"&app_version=1.0.0&"+query, nil))
	var out struct {
		Info updateInfo `json:"update_info"`
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &out); err != nil || rec.Code != http.StatusOK {
		w.Fatalf("check: %d %s", rec.Code, rec.Body)
	}
	return out.Info
}

func (w *world) download(u updateInfo) []byte {
	w.Helper()
	rec := httptest.NewRecorder()
	w.server.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, u.DownloadURL, nil))
	if rec.Code != http.StatusOK || int64(rec.Body.Len()) != u.PackageSize {
		w.Fatalf("download: %d, %d bytes of %d", rec.Code, rec.Body.Len(), u.PackageSize)
	}
	return rec.Body.Bytes()
}

func hashOfTexts(files map[string]string) slipstream.Digest {
	sums := map[string]slipstream.Digest{}
	for path, text := range files {
		sums[path] = sumOf(text)
	}
	return PackageHash(sums)
}

func (w *world) post(path, body string) int {
	w.Helper()
	rec := httptest.NewRecorder()
	w.server.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, path, strings.NewReader(body)))
	return rec.Code
}

func (w *world) counts() map[string]int64 {
	w.Helper()
	list, err := w.Store.Reports().Counts(w.Context(), "shop")
	if err != nil {
		w.Fatal(err)
	}
	out := map[string]int64{}
	for _, c := range list {
		if c.Release != "" {
			out[string(c.Kind)] += c.Devices
		}
	}
	return out
}

func releaseFor(version, runtime string, files map[string]string) protocoltest.Release {
	return protocoltest.Release{Version: version, Files: files, Offer: offer(slipstream.FullShare), Runtime: slipstream.Runtime{Range: runtime}}
}
