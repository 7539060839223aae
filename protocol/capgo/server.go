package capgo

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
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
	Blobs   blob.Store
	BaseURL func(r *http.Request) string
	// Clock is the server's; nil is the real one.
	Clock func() time.Time
	Log   *slog.Logger
}

// Server answers Capgo's clients.
type Server struct {
	cfg Config
	mux *http.ServeMux
}

// awayFor is how long the devices of an app that is not here are asked to be quiet, in seconds.
const awayFor = 3600

// New makes a Server.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, mux: http.NewServeMux()}
	if s.cfg.Log == nil {
		s.cfg.Log = slog.New(slog.DiscardHandler)
	}
	if s.cfg.Clock == nil {
		s.cfg.Clock = time.Now
	}
	base := "/" + Name + "/{app}/"
	s.mux.HandleFunc(base+"updates", s.updates)
	s.mux.HandleFunc(base+"updates/manifest_size", s.sizes)
	s.mux.HandleFunc(base+"stats", s.stats)
	s.mux.HandleFunc(base+"channel_self", s.channelSelf)
	s.mux.HandleFunc(base+"files/{name}", s.file)
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.refuse(w, r, http.StatusNotFound, nothing{Error: "not_found", Kind: kindFailed, Message: "There is no such path"}, nil)
	})
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

func (s *Server) updates(w http.ResponseWriter, r *http.Request) {
	a, f := s.request(w, r, maxRequest)
	if f == nil {
		return
	}
	d := parseDevice(f)
	if n := a.refused(&d); n != nil {
		s.refuse(w, r, http.StatusOK, *n, nil)
		return
	}
	out, why, err := s.answer(r, a, &d)
	if errors.Is(err, slipstream.ErrNotFound) {
		// The channel is there and nothing was ever offered on it.
		out, why, err = said(slipstream.ReasonNoRelease, &d, d.version == builtin), slipstream.ReasonNoRelease, nil
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if why != "" {
		w.Header().Set("X-Slipstream-Reason", string(why))
	}
	s.write(w, http.StatusOK, out)
}

// request reads a POST of an object for an app that the protocol is on for. Without one it has answered, and gives no
// fields.
func (s *Server) request(w http.ResponseWriter, r *http.Request, limit int64) (*app, fields) {
	if !s.allowed(w, r, http.MethodPost) {
		return nil, nil
	}
	a := s.app(w, r)
	if a == nil {
		return nil, nil
	}
	body := s.body(w, r, limit)
	if body == nil {
		return nil, nil
	}
	f, err := parseFields(body)
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest, nothing{Error: codeBody, Kind: kindFailed, Message: "The body is no JSON object"}, err)
		return nil, nil
	}
	return a, f
}

// app finds the one that a path names, or answers that it is not here: then its devices ask less often.
func (s *Server) app(w http.ResponseWriter, r *http.Request) *app {
	if a := s.cfg.Book.current.Load().apps[r.PathValue("app")]; a != nil {
		return a
	}
	w.Header().Set("Retry-After", strconv.Itoa(awayFor))
	s.refuse(w, r, http.StatusTooManyRequests, nothing{Error: codeElsewhere, Kind: kindFailed, Message: "This app does not update from here", More: &more{awayFor}}, nil)
	return nil
}

func (s *Server) body(w http.ResponseWriter, r *http.Request, limit int64) []byte {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err == nil {
		return append([]byte{}, body...)
	}
	status := http.StatusBadRequest
	if errors.As(err, new(*http.MaxBytesError)) {
		status = http.StatusRequestEntityTooLarge
	}
	s.refuse(w, r, status, nothing{Error: codeBody, Kind: kindFailed, Message: "The body cannot be read, or is too long"}, err)
	return nil
}

// file serves a bundle or one file of it, which are named by their hash. It is never coded on the way, and never changes: clients append to what
// they have of it.
func (s *Server) file(w http.ResponseWriter, r *http.Request) {
	if !s.allowed(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	a := s.app(w, r)
	if a == nil {
		return
	}
	name, ending, _ := strings.Cut(r.PathValue("name"), ".")
	d := slipstream.Digest(name)
	if p, there := a.coded[d]; there && ending == "br" {
		s.part(w, r, r.PathValue("name"), p)
		return
	}
	kind := "application/zip"
	_, there := a.pieces[d]
	if ending == "" {
		kind = "application/octet-stream"
	} else {
		there = a.zips[d] && ending == "zip"
	}
	if !there {
		s.refuse(w, r, http.StatusNotFound, nothing{Error: "not_found", Kind: kindFailed, Message: "There is no such file"}, nil)
		return
	}
	to := r.Clone(r.Context())
	to.URL.Path, to.URL.RawPath, to.URL.RawQuery = "/v1/blobs/"+string(d), "", ""
	for _, name := range []string{"Available-Dictionary", "Accept-Encoding"} {
		to.Header.Del(name)
	}
	w.Header().Set("Content-Type", kind)
	s.cfg.Bytes.ServeHTTP(w, to)
}

func (s *Server) allowed(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	for _, m := range methods {
		if r.Method == m {
			return true
		}
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	s.refuse(w, r, http.StatusMethodNotAllowed, nothing{Error: codeMethod, Kind: kindFailed, Message: "This path does not take " + r.Method}, nil)
	return false
}

// fail answers for what is not the client's fault.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := httpx.ProblemOf(err)
	n := nothing{Error: codeResponse, Kind: kindFailed, Message: http.StatusText(p.Status)}
	if p.Status == http.StatusTooManyRequests {
		n.Error = codeTooMany
	}
	if p.Status >= http.StatusInternalServerError || p.RetryAfter > 0 {
		after := max(p.RetryAfter, 5)
		w.Header().Set("Retry-After", strconv.Itoa(after))
		n.More = &more{after}
	}
	s.refuse(w, r, p.Status, n, err)
}

// refuse answers without an update, and leaves one line in the log.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, status int, n nothing, err error) {
	s.cfg.Log.LogAttrs(r.Context(), slog.LevelInfo, "a Capgo request was refused", slog.Int("status", status), slog.String("what", n.Error), slog.Any("error", err))
	s.write(w, status, n)
}

func (s *Server) write(w http.ResponseWriter, status int, out any) {
	body, err := json.Marshal(out)
	if err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has gone away asks again
}
