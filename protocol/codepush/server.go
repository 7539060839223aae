package codepush

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/internal/httpx"
	"github.com/slipstream-ota/slipstream/protocol"
)

// Reporter stores what devices told; package deliver has it.
type Reporter interface {
	Report(r *http.Request, events []slipstream.Event) error
}

// Config is what a Server is made of.
type Config struct {
	Book     *Book
	Decider  protocol.Decider
	Reporter Reporter
	// Running is what a device ran when it was last heard, "" for nothing of ours or an unknown device.
	Running func(ctx context.Context, app, pkg, device string) (slipstream.Digest, error)
	// Bytes serves /v1/blobs/{sha256} with ranges and conditions.
	Bytes   http.Handler
	BaseURL func(r *http.Request) string
	// Clock counts unknown keys by time; nil is the real one.
	Clock func() time.Time
	Log   *slog.Logger
}

// Server answers CodePush clients.
type Server struct {
	cfg     Config
	mux     *http.ServeMux
	unknown *protocol.Misses
}

const (
	legacyCheck  = "/updateCheck"
	legacyReport = "/reportStatus/"
	current      = "/v0.1/public/codepush/"
)

// New makes a Server.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, mux: http.NewServeMux()}
	if s.cfg.Log == nil {
		s.cfg.Log = slog.New(slog.DiscardHandler)
	}
	if s.cfg.Clock == nil {
		s.cfg.Clock = time.Now
	}
	s.unknown = protocol.NewMisses()
	s.mux.HandleFunc(legacyCheck, s.legacy)
	s.mux.HandleFunc(current+"update_check", func(w http.ResponseWriter, r *http.Request) { s.check(w, r, false) })
	for _, prefix := range []string{legacyReport, current + "report_status/"} {
		s.mux.HandleFunc(prefix+"deploy", func(w http.ResponseWriter, r *http.Request) { s.report(w, r, false) })
		s.mux.HandleFunc(prefix+"download", func(w http.ResponseWriter, r *http.Request) { s.report(w, r, true) })
	}
	s.mux.HandleFunc("/files/{digest}", s.file)
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { s.refuse(w, r, http.StatusNotFound, "Not Found", nil) })
	return s
}

func (s *Server) legacy(w http.ResponseWriter, r *http.Request) { s.check(w, r, true) }

// AtRoot reports whether a path is one of the protocol's at the root of the server, where clients expect it.
func (s *Server) AtRoot(path string) bool {
	return path == legacyCheck || strings.HasPrefix(path, legacyReport) || strings.HasPrefix(path, current)
}

// ServeHTTP implements http.Handler. The paths stand at the root and below /codepush.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if rest, below := strings.CutPrefix(r.URL.Path, "/"+Name+"/"); below {
		to := new(http.Request)
		*to = *r
		u := *r.URL
		u.Path, u.RawPath = "/"+rest, ""
		to.URL = &u
		r = to
	}
	s.mux.ServeHTTP(w, r)
}

func (s *Server) check(w http.ResponseWriter, r *http.Request, legacy bool) {
	if !s.allowed(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	q, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest, err.Error(), nil)
		return
	}
	ed := s.cfg.Book.current.Load()
	d := s.deployment(w, r, ed, q.key)
	if d == nil {
		return
	}
	u, why, err := s.answer(r, ed, d, &q)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	body, err := u.encode(legacy)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	if why != "" {
		h.Set("X-Slipstream-Reason", string(why))
	}
	s.write(w, http.StatusOK, body)
}

// deployment finds the one with a key, or answers that there is none. Who asks for many unknown keys is slowed down.
func (s *Server) deployment(w http.ResponseWriter, r *http.Request, ed *edition, key string) *deployment {
	if d := ed.byKey[key]; d != nil {
		return d
	}
	if s.unknown.Slow(w, r, s.cfg.Clock()) {
		s.refuse(w, r, http.StatusTooManyRequests, "Too many requests with unknown deployment keys", nil)
		return nil
	}
	s.refuse(w, r, http.StatusNotFound, "Not Found", nil)
	return nil
}

// file serves a package or a difference, which are named by their hash. It is never coded on the way: clients check its
// length.
func (s *Server) file(w http.ResponseWriter, r *http.Request) {
	if !s.allowed(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	d := slipstream.Digest(r.PathValue("digest"))
	if !d.Valid() || !s.cfg.Book.current.Load().files[d] {
		s.refuse(w, r, http.StatusNotFound, "Not Found", nil)
		return
	}
	to := r.Clone(r.Context())
	to.URL.Path, to.URL.RawPath, to.URL.RawQuery = "/v1/blobs/"+string(d), "", ""
	for _, name := range []string{"Available-Dictionary", "Accept-Encoding"} {
		to.Header.Del(name)
	}
	w.Header().Set("Content-Type", "application/zip")
	s.cfg.Bytes.ServeHTTP(w, to)
}

func (s *Server) allowed(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	for _, m := range methods {
		if r.Method == m {
			return true
		}
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	s.refuse(w, r, http.StatusMethodNotAllowed, "Method Not Allowed", nil)
	return false
}

// fail answers for what is not the client's fault.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := httpx.ProblemOf(err)
	if errors.Is(err, slipstream.ErrNotFound) {
		// The key is known: the channel has no state yet, or no more.
		s.refuse(w, r, http.StatusNotFound, "Not Found", err)
		return
	}
	if p.Status >= http.StatusInternalServerError || p.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(max(p.RetryAfter, 5)))
	}
	s.refuse(w, r, p.Status, http.StatusText(p.Status), err)
}

// refuse answers with text, as these clients show it, and leaves one line in the log.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, status int, text string, err error) {
	s.cfg.Log.LogAttrs(r.Context(), slog.LevelInfo, "a CodePush request was refused", slog.Int("status", status), slog.String("what", text), slog.Any("error", err))
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	s.write(w, status, []byte(text))
}

func (s *Server) write(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Cache-Control", "no-cache")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has gone away asks again
}

// report takes in what a client tells. The answer comes after it is stored.
func (s *Server) report(w http.ResponseWriter, r *http.Request, download bool) {
	if !s.allowed(w, r, http.MethodPost) {
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		var large *http.MaxBytesError
		status := http.StatusBadRequest
		if errors.As(err, &large) {
			status = http.StatusRequestEntityTooLarge
		}
		s.refuse(w, r, status, http.StatusText(status), err)
		return
	}
	t, err := parseReport(body, download)
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest, err.Error(), nil)
		return
	}
	ed := s.cfg.Book.current.Load()
	d := s.deployment(w, r, ed, t.key)
	if d == nil {
		return
	}
	events, err := s.events(r.Context(), ed, d, &t)
	if err == nil && len(events) > 0 {
		err = s.cfg.Reporter.Report(r, events)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	s.write(w, http.StatusOK, []byte("OK"))
}
