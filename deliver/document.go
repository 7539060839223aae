package deliver

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream/internal/httpx"
)

// document is small bytes in memory with the headers that describe them, made once.
type document struct {
	body   []byte
	etag   []string
	length []string
}

func newDocument(body []byte) *document {
	sum := sha256.Sum256(body)
	return &document{body: body, etag: []string{`"` + hex.EncodeToString(sum[:]) + `"`}, length: []string{strconv.Itoa(len(body))}}
}

// headers are values shared by all answers. net/http only reads them.
type headers struct {
	json, text, octets                              []string
	state, root, manifest, list, immutable, noStore []string
	noSniff, bytes                                  []string
	varies, dcz, anyone, pageSees                   []string
}

func newHeaders() headers {
	return headers{
		json: []string{"application/json"}, text: []string{"text/plain; charset=utf-8"}, octets: []string{"application/octet-stream"},
		state:     []string{"public, max-age=30, stale-while-revalidate=60, stale-if-error=86400"},
		root:      []string{"public, max-age=31536000, immutable"},
		immutable: []string{"public, max-age=31536000, immutable"},
		// Not immutable: a release may get signatures by another key under the same digest.
		manifest: []string{"public, max-age=300, stale-while-revalidate=600, stale-if-error=86400"},
		list:     []string{"public, max-age=60"},
		noStore:  []string{"no-store"}, noSniff: []string{"nosniff"}, bytes: []string{"bytes"},
		varies: []string{"Accept-Encoding, Available-Dictionary"}, dcz: []string{codingName}, anyone: []string{AnyPage}, pageSees: []string{pageSees},
	}
}

// writeDocument answers GET and HEAD, with 304 for a client that has these bytes already, and gives the status.
func (s *Server) writeDocument(w http.ResponseWriter, r *http.Request, d *document, cacheControl []string) int {
	h := w.Header()
	h["Etag"] = d.etag
	h["Cache-Control"] = cacheControl
	if have := r.Header["If-None-Match"]; len(have) > 0 && matches(have, d.etag[0]) {
		w.WriteHeader(http.StatusNotModified)
		return http.StatusNotModified
	}
	h["Content-Type"] = s.headers.json
	h["Content-Length"] = d.length
	h["X-Content-Type-Options"] = s.headers.noSniff
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return http.StatusOK
	}
	if len(d.body) > largeDocument {
		defer s.limitWriting(w, r, int64(len(d.body)))()
	}
	_, _ = w.Write(d.body) // a client that has gone away is no error of ours
	return http.StatusOK
}

// largeDocument is what may not fit into a connection's buffers, so that a reader who stops would hold the handler.
const largeDocument = 16 << 10

// limitWriting gives up on a client that takes n bytes more slowly than the minimum rate, and lets others take their time. The result takes the limit
// off again: the connection goes on to other requests.
func (s *Server) limitWriting(w http.ResponseWriter, r *http.Request, n int64) func() {
	httpx.Unhurried(w, r)
	c := http.NewResponseController(w)
	limit := downloadGrace + time.Duration(n/s.cfg.MinimumRate)*time.Second
	if c.SetWriteDeadline(time.Now().Add(limit)) != nil {
		return func() {} // not a real connection
	}
	return func() { _ = c.SetWriteDeadline(time.Time{}) } // it was possible a moment ago
}

// limitReading gives up on a body that does not arrive. The limit need not be taken off by handlers that end soon: the
// connection sets its own before the next request.
func (s *Server) limitReading(w http.ResponseWriter) (free func()) {
	c, direct := w.(interface{ SetReadDeadline(time.Time) error }) // net/http's own writer: without a detour
	if !direct {
		c = http.NewResponseController(w)
	}
	if c.SetReadDeadline(time.Now().Add(s.cfg.BodyTimeout)) != nil {
		return func() {} // not a real connection
	}
	return func() { _ = c.SetReadDeadline(time.Time{}) } // it was possible a moment ago
}

// matches compares an If-None-Match header by weak comparison (RFC 9110 section 13.1.2).
func matches(header []string, etag string) bool {
	for _, line := range header {
		if line == etag {
			return true
		}
		for part := range strings.SplitSeq(line, ",") {
			part = strings.TrimPrefix(strings.Trim(part, " \t"), "W/")
			if part == etag || part == "*" {
				return true
			}
		}
	}
	return false
}
