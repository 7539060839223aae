package deliver

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/internal/httpx"
	"github.com/slipstream-ota/slipstream/store"
)

// route is one resource of the device side.
type route struct {
	pattern string
	id      routeID
	methods []string
	serve   func(w http.ResponseWriter, r *http.Request) error
}

func (s *Server) routes() []route {
	get, post := []string{http.MethodGet, http.MethodHead}, []string{http.MethodPost}
	return []route{
		{"/v1/apps/{app}/channels/{channel}/state/{platform}", routeState, get, s.state},
		{"/v1/apps/{app}/roots/{version}", routeRoot, get, s.root},
		{"/v1/manifests/{digest}", routeManifest, get, s.manifest},
		{"/v1/releases/{digest}/containers", routeContainers, get, s.containers},
		{"/v1/containers/{digest}", routeBytes, get, s.bytes},
		{"/v1/blobs/{digest}", routeBytes, get, s.bytes},
		{"/v1/apps/{app}/files/{package}/{digest}/{path...}", routeFiles, get, s.files},
		{"/v1/check", routeCheck, post, s.check},
		{"/v1/reports", routeReports, post, s.reports},
		{"/v1/grants", routeGrants, post, s.grants},
		{"/v1/live", routeLive, []string{http.MethodGet}, s.live},
		{"/healthz", routeHealth, get, s.healthz},
		{"/readyz", routeHealth, get, s.readyz},
		{"/", routeUnknown, nil, nil},
	}
}

// Handler gives the device side of the HTTP interface.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, rt := range s.routes() {
		mux.Handle(rt.pattern, s.handle(rt))
	}
	unknown := s.handle(route{id: routeUnknown})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.pages(w, r) {
			s.observe(r, routeUnknown, http.StatusForbidden, time.Now())
			return
		}
		// The two that a fleet asks all day long go past the mux.
		if snap := s.snapshot.Load(); snap != nil && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			if e, ok := snap.paths[r.URL.Path]; ok {
				start := time.Now()
				code := s.writeDocument(w, r, e.doc, s.headers.state)
				s.observe(r, routeState, code, start)
				return
			}
		}
		if r.Method == http.MethodPost && r.URL.Path == "/v1/check" {
			start, code := time.Now(), http.StatusOK
			if err := s.check(w, r); err != nil {
				rec := &recorder{ResponseWriter: w}
				s.fail(rec, r, routeCheck, err)
				code = rec.code
			}
			s.observe(r, routeCheck, code, start)
			return
		}
		if !httpx.CleanPath(r.URL.Path) {
			unknown(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// handle is what every route shares: methods, problems, counting.
func (s *Server) handle(rt route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		rec := &recorder{ResponseWriter: w, code: http.StatusOK}
		switch {
		case rt.serve == nil:
			httpx.NotFound(rec, r)
		case isPreflight(r):
			s.preflight(rec, rt.methods)
		case !slices.Contains(rt.methods, r.Method):
			httpx.MethodNotAllowed(rec, r, rt.methods...)
		default:
			if err := rt.serve(rec, r); err != nil {
				s.fail(rec, r, rt.id, err)
			}
		}
		s.observe(r, rt.id, rec.code, start)
	}
}

// fail answers with a problem, unless the answer has begun: then the client sees it end early.
func (s *Server) fail(w *recorder, r *http.Request, id routeID, err error) {
	if w.begun {
		return
	}
	httpx.WriteProblem(w, r, err)
	if w.code >= http.StatusInternalServerError && r.Context().Err() == nil {
		s.cfg.Log.Error("a device could not be answered", "route", id.String(), "status", w.code, "error", err)
	}
}

// observe counts and, when asked for, logs. Neither the path's app nor anything of a body is a secret, but a device's
// id is, so bodies are never logged.
func (s *Server) observe(r *http.Request, id routeID, code int, start time.Time) {
	took := time.Since(start)
	s.metrics.observe(id, code, took)
	if s.cfg.Log.Enabled(r.Context(), slog.LevelDebug) {
		s.cfg.Log.Debug("request", "method", r.Method, "path", r.URL.Path, "status", code, "took", took)
	}
}

// recorder remembers the status.
type recorder struct {
	http.ResponseWriter
	code  int
	begun bool
}

func (w *recorder) WriteHeader(code int) {
	if !w.begun {
		w.code, w.begun = code, code >= http.StatusOK
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *recorder) Write(b []byte) (int, error) {
	w.begun = true
	return w.ResponseWriter.Write(b)
}

// ReadFrom keeps the short way from a file to the network open.
func (w *recorder) ReadFrom(r io.Reader) (int64, error) {
	w.begun = true
	return io.Copy(w.ResponseWriter, r)
}

// Unwrap lets http.ResponseController through.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// state is asked only for what is not in the snapshot; Handler answers all others.
func (s *Server) state(_ http.ResponseWriter, r *http.Request) error {
	if _, err := s.current(); err != nil {
		return err
	}
	return fmt.Errorf("app %.64q, channel %.64q, platform %.64q: state %w",
		r.PathValue("app"), r.PathValue("channel"), r.PathValue("platform"), slipstream.ErrNotFound)
}

func (s *Server) root(w http.ResponseWriter, r *http.Request) error {
	snap, err := s.current()
	if err != nil {
		return err
	}
	version, err := strconv.Atoi(r.PathValue("version"))
	app := snap.apps[r.PathValue("app")]
	if err != nil || app == nil || version < 1 || version > len(app.roots) || r.PathValue("version")[0] == '+' || r.PathValue("version")[0] == '0' {
		return fmt.Errorf("root %.20q of app %.64q: %w", r.PathValue("version"), r.PathValue("app"), slipstream.ErrNotFound)
	}
	s.writeDocument(w, r, app.roots[version-1], s.headers.root)
	return nil
}

// live keeps a connection to be told of changes on.
func (s *Server) live(w http.ResponseWriter, r *http.Request) error {
	if s.cfg.Live == nil {
		return fmt.Errorf("live connections: %w", slipstream.ErrNotFound)
	}
	if _, err := s.current(); err != nil {
		return err
	}
	return s.cfg.Live.Serve(w, r, s.sender(r))
}

// digest reads the path's digest. What cannot be a digest cannot be there.
func digest(r *http.Request) (slipstream.Digest, error) {
	d := slipstream.Digest(r.PathValue("digest"))
	if !d.Valid() {
		return "", fmt.Errorf("%.80q is not 64 lower-case hex digits: %w", d, slipstream.ErrNotFound)
	}
	return d, nil
}

func (s *Server) manifest(w http.ResponseWriter, r *http.Request) error {
	d, err := digest(r)
	if err != nil {
		return err
	}
	doc, err := s.cache.get(r.Context(), "manifest "+string(d), func(ctx context.Context) ([]byte, error) {
		release, err := s.release(ctx, d)
		if err != nil {
			return nil, err
		}
		if len(release.Envelope) == 0 {
			return nil, fmt.Errorf("release %s has no signed manifest: %w", d.Short(), slipstream.ErrNotFound)
		}
		return release.Envelope, nil
	})
	if err != nil {
		return err
	}
	s.writeDocument(w, r, doc, s.headers.manifest)
	return nil
}

func (s *Server) release(ctx context.Context, d slipstream.Digest) (*slipstream.Release, error) {
	var release *slipstream.Release
	err := s.cfg.Store.View(ctx, func(tx store.Tx) error {
		var err error
		release, err = tx.Releases().Get(ctx, d)
		return err
	})
	return release, err
}

func (s *Server) containers(w http.ResponseWriter, r *http.Request) error {
	d, err := digest(r)
	if err != nil {
		return err
	}
	doc, err := s.containerList(r.Context(), d)
	if err != nil {
		return err
	}
	if from := slipstream.Digest(r.URL.Query().Get("from")); s.cfg.Wanted != nil && from.Valid() && from != d && !bytes.Contains(doc.body, []byte(from)) {
		if s.cfg.Wanted(r.Context(), d, from) {
			s.cache.drop(containerKey(d))
			if doc, err = s.containerList(r.Context(), d); err != nil {
				return err
			}
		}
	}
	s.writeDocument(w, r, doc, s.headers.list)
	return nil
}

func containerKey(d slipstream.Digest) string { return "containers " + string(d) }

func (s *Server) containerList(ctx context.Context, d slipstream.Digest) (*document, error) {
	return s.cache.get(ctx, containerKey(d), func(ctx context.Context) ([]byte, error) {
		list := []slipstream.Container{}
		err := s.cfg.Store.View(ctx, func(tx store.Tx) error {
			if _, err := tx.Releases().Get(ctx, d); err != nil {
				return err
			}
			known, err := tx.Containers().List(ctx, d)
			list = append(list, known...)
			return err
		})
		if err != nil {
			return nil, err
		}
		return json.Marshal(list)
	})
}
