package capgo

import (
	"net/http"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream/protocol"
	"github.com/slipstream-ota/slipstream/protocol/protocoltest"
)

var updateFiles = protocoltest.UpdateFlag()

// newServer is a server over the world, and its book.
func newServer(w *protocoltest.World, base func(*http.Request) string, clock func() time.Time) (*Server, *Book) {
	book := NewBook(w.Store, w.Blobs, clock, nil)
	return New(Config{Book: book, Decider: w.Devices, Reporter: w.Devices, Running: protocol.Runs(w.Store), Bytes: w.Devices.Handler(), Blobs: w.Blobs, BaseURL: base, Clock: clock}), book
}

func serve(w *protocoltest.World) http.Handler {
	s, book := newServer(w, protocoltest.BaseURL, func() time.Time { return w.Now })
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if err := book.Refresh(r.Context()); err != nil {
			w.Error(err)
		}
		s.ServeHTTP(rw, r)
	})
}

func TestGolden(t *testing.T) {
	t.Parallel()
	protocoltest.Golden(t, Protocol{}, serve, nil, *updateFiles, "Content-Type", "Content-Length", "Content-Range", "Content-Encoding", "Allow", "Retry-After", "X-Slipstream-Reason")
}
