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
	w.Book = w.book
	w.Enable(options)
	return w
}

func (w *world) release(version string, files map[string]string) slipstream.Digest {
	w.Helper()
	return w.Publish(protocoltest.Release{Version: version, Files: files, Offer: protocoltest.Offer(slipstream.FullShare)})
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

func releaseFor(version, runtime string, files map[string]string) protocoltest.Release {
	return protocoltest.Release{Version: version, Files: files, Offer: protocoltest.Offer(slipstream.FullShare), Runtime: slipstream.Runtime{Range: runtime}}
}
