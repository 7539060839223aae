package httpx

import (
	"errors"
	"io"
	"net/http"
	"path"
	"strings"
	"time"
)

// linger is how long the rest of a body that nobody wants may still come in, so that its sender gets to read the answer.
const linger = time.Second

// LeaveBody prepares an answer to a request whose body is not read: its connection closes afterwards and what is left of
// the body is not waited for. Without it net/http waits for the rest before it answers.
func LeaveBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength == 0 {
		return
	}
	w.Header().Set("Connection", "close")
	// What is not a real connection has no deadline.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(linger))
}

// Unhurried takes the deadline of a request off, for an answer that takes long, if its body has come to its end. It must
// be called once the body is read: net/http takes the deadline for the client's going away, and then cancels the context
// of this request and of all that follow on its connection. A body with more to come keeps its deadline.
func Unhurried(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 && r.Body != nil {
		var more [1]byte
		if _, err := io.ReadFull(r.Body, more[:]); !errors.Is(err, io.EOF) && !errors.Is(err, http.ErrBodyReadAfterClose) {
			return
		}
	}
	// What is not a real connection has no deadline.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
}

// CleanPath reports whether a path is written the one way that is answered. Of others http.ServeMux makes a redirect
// with a page for people.
func CleanPath(p string) bool {
	if p == "" || p[0] != '/' || strings.Contains(p, "//") {
		return false
	}
	if !strings.Contains(p, "/.") {
		return true
	}
	clean := path.Clean(p)
	return clean == strings.TrimSuffix(p, "/")
}

// guard keeps from h what no handler means: unclean paths, and bodies of requests that have none.
func guard(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			LeaveBody(w, r)
		}
		if !CleanPath(r.URL.Path) {
			NotFound(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
}
