package ocrunner

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/decide"
	"github.com/slipstream-ota/slipstream/protocol"
)

const (
	maxBody       = 16 << 10 // bytes
	maxVersion    = 128      // bytes
	maxAttributes = 32
)

// Config is what a Server is made of.
type Config struct {
	Catalogue func() *protocol.Catalogue
	Decider   protocol.Decider
	Tokens    *Tokens
	// Bytes serves /v1/blobs/{sha256} with ranges and conditions.
	Bytes http.Handler
	// Increments finds the difference between two blobs, or nil; nil offers none.
	Increments *Increments
	// RootApp and RootChannel are those that the paths at the root of the server are for; "" for none.
	RootApp, RootChannel string
	// Clock counts unknown links by time; nil is the real one.
	Clock func() time.Time
	Log   *slog.Logger
}

// Server answers patch clients.
type Server struct {
	cfg     Config
	mux     *http.ServeMux
	unknown *protocol.Misses
}

// New makes a Server.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, mux: http.NewServeMux(), unknown: protocol.NewMisses()}
	if s.cfg.Clock == nil {
		s.cfg.Clock = time.Now
	}
	if s.cfg.Log == nil {
		s.cfg.Log = slog.New(slog.DiscardHandler)
	}
	for _, prefix := range []string{"/" + Name + "/{app}/{channel}", ""} {
		s.mux.HandleFunc(prefix+"/api/patch/version", s.version)
		s.mux.HandleFunc(prefix+"/api/patch/download/{token}", s.download)
	}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.refuse(w, r, http.StatusNotFound, "Not found", nil)
	})
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// AtRoot reports whether a path is one of the service's at the root of a server that was set up for one app.
func (s *Server) AtRoot(path string) bool {
	return s.cfg.RootApp != "" && strings.HasPrefix(path, "/api/patch/")
}

// place is the app and channel that a request is about, and the prefix of links.
func (s *Server) place(r *http.Request) (app, channel, prefix string) {
	if app = r.PathValue("app"); app != "" {
		channel = r.PathValue("channel")
		return app, channel, "/" + Name + "/" + app + "/" + channel
	}
	return s.cfg.RootApp, s.cfg.RootChannel, ""
}

// request is the body of a version request.
type request struct {
	Version    string                     `json:"version"`
	MD5        string                     `json:"md5"`
	DeviceID   string                     `json:"deviceId"`
	Platform   string                     `json:"platform"`
	Attributes map[string]json.RawMessage `json:"attributes"`
	Accept     []string                   `json:"accept"`
}

// parseRequest reads a body. Values of another kind than the documented count as absent, as they do in the document's
// own server.
func parseRequest(body []byte) (request, error) {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(body, &raw); err != nil {
		return request{}, slipstream.Invalidf("the body: %v", err)
	}
	var q request
	for name, to := range map[string]any{"version": &q.Version, "md5": &q.MD5, "deviceId": &q.DeviceID, "platform": &q.Platform, "attributes": &q.Attributes, "accept": &q.Accept} {
		if v, ok := raw[name]; ok {
			_ = json.Unmarshal(v, to) // absent then
		}
	}
	q.MD5 = strings.ToLower(strings.TrimSpace(q.MD5))
	if len(q.Version) > maxVersion || len(q.DeviceID) > 256 || len(q.Attributes) > maxAttributes || len(q.Accept) > 16 {
		return q, slipstream.Invalidf("a value is too long")
	}
	if q.Platform == "" || slipstream.CheckName("platform", q.Platform) != nil {
		q.Platform = "ios"
	}
	return q, nil
}

// answer is what a device is told. The first three fields are the document's.
type answer struct {
	Update    bool       `json:"update"`
	Version   string     `json:"version,omitempty"`
	URL       string     `json:"url,omitempty"`
	Message   string     `json:"message,omitempty"`
	MD5       string     `json:"md5,omitempty"`
	SHA256    string     `json:"sha256,omitempty"`
	Size      int64      `json:"size,omitempty"`
	Priority  string     `json:"priority,omitempty"`
	Mandatory bool       `json:"mandatory,omitempty"`
	Patch     *increment `json:"patch,omitempty"`
}

type increment struct {
	Format string `json:"format"`
	URL    string `json:"url"`
	Size   int64  `json:"size"`
}

func (s *Server) version(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		s.refuse(w, r, http.StatusMethodNotAllowed, "Method not allowed", nil)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		s.refuse(w, r, http.StatusRequestEntityTooLarge, "Body too large", err)
		return
	}
	q, err := parseRequest(body)
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest, "Invalid request", err)
		return
	}
	a, err := s.decide(r, q)
	var refused *refusal
	switch {
	case errors.As(err, &refused):
		s.refuse(w, r, refused.status, refused.text, nil)
	case errors.Is(err, slipstream.ErrNotFound):
		if s.unknown.Slow(w, r, s.cfg.Clock()) {
			s.refuse(w, r, http.StatusTooManyRequests, "Too many requests", err)
			return
		}
		s.refuse(w, r, http.StatusNotFound, "Not found", err)
	case err != nil:
		w.Header().Set("Retry-After", "5")
		s.refuse(w, r, http.StatusServiceUnavailable, "Temporarily unavailable", err)
	default:
		s.write(w, http.StatusOK, a)
	}
}

// refusal is one of the document's errors.
type refusal struct {
	status int
	text   string
}

func (e *refusal) Error() string { return e.text }

// told is a release's version as clients know it.
func told(version string) string {
	v, _, _ := strings.Cut(version, "+")
	return v
}

const (
	upToDate = "Already up-to-date patch"
	noPatch  = "No patch for this device"
)

func (s *Server) decide(r *http.Request, q request) (*answer, error) {
	app, channel, prefix := s.place(r)
	a, err := s.cfg.Catalogue().App(app)
	if err != nil {
		return nil, err
	}
	o, err := parseOptions(a.Options)
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(q.Version) == "" {
		return nil, &refusal{http.StatusBadRequest, "version required"}
	}
	items := a.Items(o.Package, q.Platform)
	local := decide.Local{Remote: true}
	running := withMD5(items, q.MD5)
	if running != nil {
		local.Running = decide.Held{Digest: running.Digest, Seq: running.Seq, Runtime: running.Runtime}
	}
	facts := slipstream.DeviceFacts{Platform: q.Platform, Runtime: told(q.Version), Attributes: q.Attributes}
	if q.DeviceID != "" {
		facts.ID = slipstream.DeviceID(app, q.DeviceID)
	}
	d, err := s.cfg.Decider.Decide(protocol.Question{App: app, Channel: channel, Package: o.Package, Device: facts, Local: local})
	if err != nil {
		return nil, err
	}
	if d.Verdict == slipstream.VerdictNone && running != nil {
		return &answer{Message: upToDate}, nil
	}
	if d.Target == nil || d.Verdict != slipstream.VerdictUpdate && d.Verdict != slipstream.VerdictRollback {
		return s.nothing(items, q, o.rule(channel))
	}
	item := a.Item(d.Target.Manifest)
	if item == nil || item.Rendition == nil {
		return nil, &refusal{http.StatusInternalServerError, "Patch file not found"}
	}
	if c := protocol.Compare(q.Version, item.Version); c > 0 || c < 0 && o.rule(channel) == RuleEqual {
		return nil, &refusal{http.StatusBadRequest, "Invalid version"}
	}
	return s.offer(item, d.Target, running, q, app+"/"+channel, prefix)
}

// nothing answers a device that is offered nothing: an app that is newer than everything there is, is told so.
func (s *Server) nothing(items []*protocol.Item, q request, rule string) (*answer, error) {
	fits := len(items) == 0
	for _, i := range items {
		c := protocol.Compare(q.Version, i.Version)
		fits = fits || c == 0 || c < 0 && rule == RuleNotNewer
	}
	if !fits {
		return nil, &refusal{http.StatusBadRequest, "Invalid version"}
	}
	return &answer{Message: noPatch}, nil
}

// withMD5 finds the release that a device runs.
func withMD5(items []*protocol.Item, sum string) *protocol.Item {
	if len(sum) != 32 {
		return nil
	}
	for _, i := range items {
		if i.Rendition != nil && i.Rendition.Mark == sum {
			return i
		}
	}
	return nil
}

func (s *Server) offer(item *protocol.Item, target *slipstream.Rollout, running *protocol.Item, q request, scope, prefix string) (*answer, error) {
	token, err := s.cfg.Tokens.issue(scope, item.Rendition.SHA256)
	if err != nil {
		return nil, err
	}
	out := &answer{Update: true, Version: told(item.Version), URL: prefix + "/api/patch/download/" + token, MD5: item.Rendition.Mark,
		SHA256: string(item.Rendition.SHA256), Size: item.Size, Mandatory: target.Apply.Mandatory, Message: target.Apply.Message}
	switch target.Apply.Priority {
	case slipstream.PriorityCritical:
		out.Priority = "block"
	case slipstream.PriorityLow:
		out.Priority = "preload"
	}
	if running == nil || s.cfg.Increments == nil {
		return out, nil
	}
	for _, format := range q.Accept {
		if format != FormatBSDIFF {
			continue
		}
		if sum, size, ok := s.cfg.Increments.Find(running.Rendition.SHA256, item.Rendition.SHA256); ok {
			token, err := s.cfg.Tokens.issue(scope, sum)
			if err != nil {
				return nil, err
			}
			out.Patch = &increment{Format: format, URL: prefix + "/api/patch/download/" + token, Size: size}
		}
	}
	return out, nil
}

func (s *Server) download(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		s.plain(w, r, http.StatusMethodNotAllowed, "Method not allowed", nil)
		return
	}
	app, channel, _ := s.place(r)
	k, err := s.cfg.Tokens.open(r.Context(), app+"/"+channel, r.PathValue("token"))
	if errors.Is(err, errUnknown) {
		w.Header().Set("Retry-After", "1")
		s.plain(w, r, http.StatusServiceUnavailable, "Try again", err)
		return
	}
	if errors.Is(err, errExpired) {
		s.plain(w, r, http.StatusForbidden, "Link expired", err)
		return
	}
	a, cerr := s.cfg.Catalogue().App(app)
	if err != nil || cerr != nil {
		if s.unknown.Slow(w, r, s.cfg.Clock()) {
			s.plain(w, r, http.StatusTooManyRequests, "Too many requests", errors.Join(err, cerr))
			return
		}
		s.plain(w, r, http.StatusNotFound, "Invalid or expired link", errors.Join(err, cerr))
		return
	}
	h := w.Header()
	h.Set("Content-Disposition", `attachment; filename="patch.zip"`)
	h.Set("Content-Type", "application/zip")
	if item := a.WithBlob(k.blob); item != nil {
		h.Set("X-Slipstream-Release", string(item.Digest))
		var made rendition
		if json.Unmarshal(item.Rendition.Doc, &made) == nil && len(made.Manifest) > 0 {
			h.Set("X-Slipstream-Manifest", base64.StdEncoding.EncodeToString(made.Manifest))
		}
	}
	to := r.Clone(r.Context())
	to.URL.Path, to.URL.RawPath, to.URL.RawQuery = "/v1/blobs/"+string(k.blob), "", ""
	to.Header.Del("Available-Dictionary")
	seen := &watched{ResponseWriter: w}
	s.cfg.Bytes.ServeHTTP(seen, to)
	if r.Method == http.MethodGet && seen.complete() {
		s.cfg.Tokens.use(k)
	}
}

// watched sees whether an answer brought the end of the file. A link serves one device once, so nothing in between may
// keep a copy; what does not exist is told in the document's words.
type watched struct {
	http.ResponseWriter
	status  int
	written int64
	gone    bool
}

func (w *watched) WriteHeader(code int) {
	if w.status != 0 {
		return
	}
	w.status = code
	h := w.Header()
	h.Set("Cache-Control", "private, no-store")
	if w.gone = code == http.StatusNotFound; w.gone {
		for _, name := range []string{"Content-Disposition", "Content-Length", "Etag", "X-Slipstream-Manifest", "X-Slipstream-Release"} {
			h.Del(name)
		}
		h.Set("Content-Type", "application/json; charset=utf-8")
		w.ResponseWriter.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w.ResponseWriter, `{"error":"Patch file not found"}`)
		return
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *watched) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.gone {
		return len(b), nil
	}
	n, err := w.ResponseWriter.Write(b)
	w.written += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController through.
func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// complete reports whether the last byte of the file went out.
func (w *watched) complete() bool {
	length, err := strconv.ParseInt(w.Header().Get("Content-Length"), 10, 64)
	if err != nil || w.written != length {
		return false
	}
	switch w.status {
	case http.StatusOK:
		return true
	case http.StatusPartialContent:
		// "bytes 4-9/10": the last position is the length less one
		_, span, _ := strings.Cut(w.Header().Get("Content-Range"), "-")
		last, total, _ := strings.Cut(span, "/")
		at, err1 := strconv.ParseInt(last, 10, 64)
		all, err2 := strconv.ParseInt(total, 10, 64)
		return err1 == nil && err2 == nil && at == all-1
	}
	return false
}

func (s *Server) write(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"error":"Internal error"}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has gone away asks again
}

func (s *Server) refuse(w http.ResponseWriter, r *http.Request, status int, text string, err error) {
	s.log(r, status, text, err)
	s.write(w, status, map[string]string{"error": text})
}

// plain refuses a download, in the document's way: as text.
func (s *Server) plain(w http.ResponseWriter, r *http.Request, status int, text string, err error) {
	s.log(r, status, text, err)
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

func (s *Server) log(r *http.Request, status int, text string, err error) {
	s.cfg.Log.LogAttrs(r.Context(), slog.LevelInfo, "a patch request was refused", slog.Int("status", status), slog.String("what", text), slog.Any("error", err))
}
