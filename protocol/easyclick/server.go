package easyclick

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/protocol"
)

const (
	maxQuery     = 8 << 10 // bytes
	maxParameter = 256     // bytes
	maxVersion   = 128     // bytes
	// DefaultDownloadTimeout is what clients wait when nobody says otherwise, in seconds.
	DefaultDownloadTimeout = 60
)

// Config is what a Server is made of.
type Config struct {
	Catalogue func() *protocol.Catalogue
	Decider   protocol.Decider
	// Bytes serves /v1/blobs/{sha256} with ranges and conditions.
	Bytes   http.Handler
	BaseURL func(r *http.Request) string
	// Clock counts unknown apps and files by time; nil is the real one.
	Clock func() time.Time
	Log   *slog.Logger
}

// Server answers EasyClick clients.
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
	s.mux.HandleFunc("/"+Name+"/{app}/{channel}/update", s.update)
	s.mux.HandleFunc("/"+Name+"/{app}/{channel}/files/{digest}/{name}", s.file)
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.refuse(w, r, http.StatusNotFound, "no such path", nil)
	})
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// answer is the documented JSON, in the document's order.
type answer struct {
	DownloadURL     string `json:"download_url"`
	Version         string `json:"version"`
	Dialog          bool   `json:"dialog"`
	Msg             string `json:"msg"`
	Force           bool   `json:"force"`
	MD5             string `json:"md5"`
	DownloadTimeout int    `json:"download_timeout"`
}

func (s *Server) update(w http.ResponseWriter, r *http.Request) {
	if !s.reads(w, r) {
		return
	}
	q, err := parseRequest(r.URL.RawQuery)
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest, "the request", err)
		return
	}
	a, why, err := s.decide(r, q)
	switch {
	case errors.Is(err, slipstream.ErrNotFound):
		s.missing(w, r, "the app or channel", err)
	case err != nil:
		s.refuse(w, r, http.StatusServiceUnavailable, "deciding", err)
	case a == nil:
		s.empty(w, http.StatusOK, string(why))
	default:
		s.offer(w, r, a)
	}
}

// reads refuses what is no GET or HEAD.
func (s *Server) reads(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	s.refuse(w, r, http.StatusMethodNotAllowed, "method "+r.Method, nil)
	return false
}

func (s *Server) offer(w http.ResponseWriter, r *http.Request, a *answer) {
	body, err := json.Marshal(a)
	if err != nil {
		s.refuse(w, r, http.StatusInternalServerError, "the answer", err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // a client that has gone away asks again
}

// decide gives nil and a reason when the client is to keep its script.
func (s *Server) decide(r *http.Request, q request) (*answer, slipstream.Reason, error) {
	app, channel := r.PathValue("app"), r.PathValue("channel")
	a, err := s.cfg.Catalogue().App(app)
	if err != nil {
		return nil, "", err
	}
	o, err := parseOptions(a.Options)
	if err != nil {
		return nil, "", err
	}
	d, err := s.cfg.Decider.Decide(protocol.Question{App: app, Channel: channel, Package: o.Package, Device: q.facts(app),
		Local: a.Running(o.Package, q.platform(), q.version)})
	if err != nil {
		return nil, "", err
	}
	if d.Verdict != slipstream.VerdictUpdate && d.Verdict != slipstream.VerdictRollback {
		return nil, d.Reason, nil
	}
	if d.Target == nil {
		return nil, slipstream.ReasonNotExpressible, nil // back to something that only our own clients would still hold
	}
	item := a.Item(d.Target.Manifest)
	switch {
	case item == nil || item.Rendition == nil:
		return nil, slipstream.ReasonNotExpressible, nil // not rendered yet, or it never can be
	case protocol.Compare(item.Version, q.version) == 0:
		return nil, slipstream.ReasonUpToDate, nil // these clients know releases by version alone
	case q.comparesItself() && protocol.Compare(item.Version, q.version) < 0:
		return nil, slipstream.ReasonNotExpressible, nil
	}
	var made rendition
	if err := json.Unmarshal(item.Rendition.Doc, &made); err != nil {
		return nil, "", err
	}
	out := &answer{Version: item.Version, Dialog: d.Target.Apply.Mode == slipstream.ModePrompt, Msg: d.Target.Apply.Message,
		Force: d.Target.Apply.Mandatory, MD5: made.MD5, DownloadTimeout: d.Target.Apply.Timeout}
	if out.DownloadTimeout <= 0 {
		out.DownloadTimeout = DefaultDownloadTimeout
	}
	out.DownloadURL = s.cfg.BaseURL(r) + "/" + path.Join(Name, url.PathEscape(app), url.PathEscape(channel), "files", string(item.Rendition.SHA256), url.PathEscape(path.Base(made.Path)))
	return out, "", nil
}

// file serves the bytes of a release's file, which are named by their hash; the rest of the path is for people.
func (s *Server) file(w http.ResponseWriter, r *http.Request) {
	if !s.reads(w, r) {
		return
	}
	d := slipstream.Digest(r.PathValue("digest"))
	a, err := s.cfg.Catalogue().App(r.PathValue("app"))
	if err != nil || !d.Valid() || !a.Rendered(d) {
		s.missing(w, r, "file "+d.Short(), err)
		return
	}
	to := r.Clone(r.Context())
	to.URL.Path, to.URL.RawPath, to.URL.RawQuery = "/v1/blobs/"+string(d), "", ""
	to.Header.Del("Available-Dictionary")
	s.cfg.Bytes.ServeHTTP(w, to)
}

// missing refuses a request for what does not exist. Who asks for many of them is slowed down.
func (s *Server) missing(w http.ResponseWriter, r *http.Request, what string, err error) {
	status := http.StatusNotFound
	if s.unknown.Slow(w, r, s.cfg.Clock()) {
		status = http.StatusTooManyRequests
	}
	s.refuse(w, r, status, what, err)
}

// refuse answers with a status and no body, and leaves the cause in the log.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, status int, what string, err error) {
	s.cfg.Log.LogAttrs(r.Context(), slog.LevelInfo, "an easyclick request was refused", slog.Int("status", status),
		slog.String("what", what), slog.Any("error", err))
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	s.empty(w, status, what)
}

func (s *Server) empty(w http.ResponseWriter, status int, why string) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", "0")
	h.Set("X-Slipstream-Reason", strings.Map(printable, why))
	w.WriteHeader(status)
}

func printable(r rune) rune {
	if r < ' ' || r > '~' {
		return -1
	}
	return r
}

// request is what a client tells.
type request struct {
	version string
	values  url.Values
}

func parseRequest(query string) (request, error) {
	if len(query) > maxQuery {
		return request{}, slipstream.Invalidf("a query of %d bytes", len(query))
	}
	// Spaces stand raw in what some hosts append.
	values, err := url.ParseQuery(strings.ReplaceAll(query, " ", "%20"))
	if err != nil {
		return request{}, slipstream.Invalidf("the query: %v", err)
	}
	for name, v := range values {
		if len(name) > maxParameter || slices.ContainsFunc(v, func(s string) bool { return len(s) > maxParameter }) {
			return request{}, slipstream.Invalidf("parameter %.40q is too long", name)
		}
	}
	q := request{version: strings.TrimSpace(values.Get("version")), values: values}
	if q.version == "" || len(q.version) > maxVersion {
		return request{}, slipstream.Invalidf("version is missing or too long")
	}
	return q, nil
}

func (q *request) get(names ...string) string {
	for _, n := range names {
		if v := strings.TrimSpace(q.values.Get(n)); v != "" {
			return v
		}
	}
	return ""
}

// comparesItself reports whether the client takes nothing that is not newer than what it has: the iOS host compares by
// itself, the Android one does what the server says.
func (q *request) comparesItself() bool { return q.platform() == "ios" }

func (q *request) platform() string {
	if q.values.Has("ecid") || q.values.Has("systemVersion") || q.values.Has("serialNo") {
		return "ios"
	}
	return "android"
}

// facts are the parameters as a device's facts. The package that hosts the script is the runtime.
func (q *request) facts(app string) slipstream.DeviceFacts {
	f := slipstream.DeviceFacts{Platform: q.platform(), Runtime: q.get("apkVersion"), OS: q.get("osVersion", "systemVersion"), Model: q.get("model")}
	id := q.get("androidId", "deviceId")
	if f.Platform == "ios" {
		id = q.get("ecid", "serialNo", "deviceId")
	}
	if id != "" {
		f.ID = slipstream.DeviceID(app, id)
	}
	f.Attributes = map[string]json.RawMessage{}
	for name, value := range map[string]string{"brand": q.get("brand"), "custom.ecVersion": q.get("ecVersion"), "custom.pkgName": q.get("pkgName"),
		"custom.apkVersion": q.get("apkVersion"), "custom.deviceName": q.get("deviceName")} {
		if value == "" {
			continue
		}
		if raw, err := json.Marshal(value); err == nil {
			f.Attributes[name] = raw
		}
	}
	return f
}
