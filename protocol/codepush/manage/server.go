// Package manage is the management side of CodePush: what its command-line tool asks of a server, under /codepush/. It
// keeps nothing of its own. An account is a token of ours and an access key its secret, a collaborator is a token for one
// app, a deployment is a channel with a deployment key among the options of the protocol's switch, and a release is an
// adapter-only one. Roles, limits of failed logins and the audit log are those of our own API.
package manage

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/internal/httpx"
	"github.com/slipstream-ota/slipstream/protocol/codepush"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/store"
)

// Prefix begins the paths of this surface, which the device side shares.
const Prefix = "/" + codepush.Name

const (
	maxBody      = 64 << 10         // bytes of JSON
	loginTimeout = 10 * time.Second // for the look at a request's key
)

// Config is what a Server is made of.
type Config struct {
	Store   store.Store
	Blobs   blob.Store
	Rollout *rollout.Service
	Tokens  *auth.Tokens
	Limiter *auth.Limiter                // nil makes one
	Sender  func(r *http.Request) string // whom failed logins count for; nil takes the connection's address
	BaseURL func(r *http.Request) string
	// Settle lets devices see what was changed before the change is answered; nil leaves them to see it soon.
	Settle func(context.Context) error
	Clock  func() time.Time // nil is the real one
	Log    *slog.Logger
	// MaxUpload and MaxUnpacked bound a release, in bytes; zero takes 200 MiB and 1 GiB.
	MaxUpload, MaxUnpacked int64
	// StallTimeout gives up an upload that stands still; zero takes one minute.
	StallTimeout time.Duration
}

// Server answers the command-line tool.
type Server struct {
	cfg Config
	mux *http.ServeMux
	// uploads bounds what is unpacked at once.
	uploads chan struct{}
}

// New makes a Server.
func New(cfg Config) *Server {
	if cfg.Limiter == nil {
		cfg.Limiter = auth.NewLimiter(cfg.Clock)
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxUpload == 0 {
		cfg.MaxUpload = 200 << 20
	}
	if cfg.MaxUnpacked == 0 {
		cfg.MaxUnpacked = 1 << 30
	}
	if cfg.StallTimeout == 0 {
		cfg.StallTimeout = httpx.StallTimeout
	}
	s := &Server{cfg: cfg, mux: http.NewServeMux(), uploads: make(chan struct{}, 4)}
	s.routes()
	return s
}

// call is one request of somebody who may make it.
type call struct {
	*http.Request
	w    http.ResponseWriter
	ctx  context.Context
	who  auth.Principal
	app  string // of the path: our name for it; it was looked up once, so that what is done is done to what was allowed
	body []byte
}

// answer is a status and what to say: a value is written as JSON, a text as text, nil as nothing.
type answer struct {
	status   int
	body     any
	location string
}

func (s *Server) routes() {
	on := func(pattern string, need auth.Action, do func(c call) (answer, error)) {
		s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			s.serve(w, r, need, func(c call) (_ answer, err error) {
				if c.body, err = io.ReadAll(http.MaxBytesReader(nil, c.Body, maxBody)); err != nil {
					return answer{}, err
				}
				httpx.Unhurried(w, r) // the body is read: what is asked for may take its time
				return do(c)
			})
		})
	}
	s.mux.HandleFunc("POST /apps/{app}/deployments/{deployment}/release", func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, auth.Publish, s.release) })
	on("GET /authenticated", auth.Read, func(call) (answer, error) { return ok(map[string]bool{"authenticated": true}), nil })
	on("GET /account", auth.Read, s.account)
	on("GET /accessKeys", auth.Admit, s.listKeys)
	on("POST /accessKeys", auth.Admit, s.addKey)
	on("GET /accessKeys/{key}", auth.Admit, s.showKey)
	on("PATCH /accessKeys/{key}", auth.Admit, s.patchKey)
	on("DELETE /accessKeys/{key}", auth.Admit, s.removeKey)
	on("DELETE /sessions/{machine}", auth.Read, func(c call) (answer, error) {
		return answer{}, slipstream.Hint(fmt.Errorf("session %q: %w", c.PathValue("machine"), slipstream.ErrNotFound), "there are access keys only: access-key remove")
	})
	on("GET /apps", auth.Read, s.listApps)
	on("POST /apps", auth.Manage, s.addApp)
	on("GET /apps/{app}", auth.Read, s.showApp)
	on("PATCH /apps/{app}", auth.Manage, s.renameApp)
	on("DELETE /apps/{app}", auth.Manage, s.removeApp)
	on("POST /apps/{app}/transfer/{email}", auth.Manage, func(call) (answer, error) {
		return answer{}, slipstream.Hint(fmt.Errorf("apps belong to the server, not to an account: %w", slipstream.ErrConflict), "make a token of role owner for the app: slipstream token create")
	})
	on("GET /apps/{app}/collaborators", auth.Read, s.listCollaborators)
	on("POST /apps/{app}/collaborators/{email}", auth.Admit, s.addCollaborator)
	on("DELETE /apps/{app}/collaborators/{email}", auth.Admit, s.removeCollaborator)
	on("GET /apps/{app}/deployments", auth.Read, s.listDeployments)
	on("POST /apps/{app}/deployments", auth.Manage, s.addDeployment)
	on("GET /apps/{app}/deployments/{deployment}", auth.Read, s.showDeployment)
	on("PATCH /apps/{app}/deployments/{deployment}", auth.Manage, s.patchDeployment)
	on("DELETE /apps/{app}/deployments/{deployment}", auth.Manage, s.removeDeployment)
	on("GET /apps/{app}/deployments/{deployment}/history", auth.Read, s.history)
	on("DELETE /apps/{app}/deployments/{deployment}/history", auth.Manage, s.clearHistory)
	on("GET /apps/{app}/deployments/{deployment}/metrics", auth.Read, s.metrics)
	on("PATCH /apps/{app}/deployments/{deployment}/release", auth.Operate, s.patchRelease)
	on("POST /apps/{app}/deployments/{deployment}/promote/{to}", auth.Publish, s.promote)
	on("POST /apps/{app}/deployments/{deployment}/rollback", auth.Operate, s.rollBack)
	on("POST /apps/{app}/deployments/{deployment}/rollback/{label}", auth.Operate, s.rollBack)
}

// Owns reports whether a path is one of this surface.
func (s *Server) Owns(path string) bool {
	rest, below := strings.CutPrefix(path, Prefix+"/")
	first, _, _ := strings.Cut(rest, "/")
	switch first {
	case "authenticated", "account", "accessKeys", "sessions", "apps":
		return below
	}
	return false
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u := *r.URL
	trim := func(p string) string { return strings.TrimSuffix(strings.TrimPrefix(p, Prefix), "/") }
	u.Path, u.RawPath = trim(u.Path), trim(u.RawPath)
	to := new(http.Request)
	*to = *r
	to.URL = &u
	w.Header().Set("Cache-Control", "no-cache")
	s.mux.ServeHTTP(w, to)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, need auth.Action, do func(c call) (answer, error)) {
	c := call{Request: r, w: w, ctx: r.Context()}
	status, wait, err := s.authorize(&c, need)
	var a answer
	if err == nil {
		a, err = do(c)
	} else {
		httpx.LeaveBody(w, r)
	}
	if wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
	}
	if err != nil {
		if status == 0 {
			status = statusOf(err)
		}
		s.cfg.Log.LogAttrs(r.Context(), slog.LevelInfo, "a CodePush management request was refused", slog.Int("status", status), slog.Any("error", err))
		a = answer{status: status, body: textOf(err, status)}
	} else if r.Method != http.MethodGet {
		httpx.Settle(r.Context(), s.cfg.Settle, s.cfg.Log)
	}
	s.write(w, a)
}

// authorize finds out who asks, and about which app.
func (s *Server) authorize(c *call, need auth.Action) (status int, wait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(c.ctx, loginTimeout)
	defer cancel()
	login := auth.Login{Tokens: s.cfg.Tokens, Limiter: s.cfg.Limiter, Sender: s.cfg.Sender}
	if c.who, err = login.Who(ctx, c.Request); err != nil {
		slowed := new(auth.Slowed)
		switch {
		case errors.As(err, &slowed):
			return http.StatusTooManyRequests, slowed.Wait, err
		case errors.Is(err, auth.ErrUnauthorized):
			return http.StatusUnauthorized, 0, err
		}
		return 0, 0, err
	}
	allowed := c.who.Role.May(need)
	if said := c.PathValue("app"); said != "" {
		c.app, err = s.appName(ctx, said)
		if errors.Is(err, slipstream.ErrNotFound) && c.who.Apps.All() {
			return 0, 0, err
		}
		if err != nil && !errors.Is(err, slipstream.ErrNotFound) {
			return 0, 0, err
		}
		allowed = c.who.May(need, c.app)
	}
	if !allowed {
		return http.StatusForbidden, 0, fmt.Errorf("the access key %q may not %s here", c.who.Name, need)
	}
	return 0, 0, nil
}

func statusOf(err error) int {
	var refused *slipstream.Refusal
	var large *http.MaxBytesError
	var upload tooLarge
	switch {
	case errors.As(err, &large), errors.As(err, &upload):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, slipstream.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, slipstream.ErrConflict):
		return http.StatusConflict
	case errors.Is(err, slipstream.ErrInvalid), errors.Is(err, slipstream.ErrBadName), errors.As(err, &refused):
		return http.StatusBadRequest
	case errors.Is(err, slipstream.ErrUnavailable):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

func textOf(err error, status int) string {
	if status >= http.StatusInternalServerError {
		return http.StatusText(status)
	}
	text := err.Error()
	if hint := slipstream.HintOf(err); hint != "" {
		text += " (" + hint + ")"
	}
	return text
}

func ok(body any) answer { return answer{status: http.StatusOK, body: body} }

func (s *Server) write(w http.ResponseWriter, a answer) {
	h := w.Header()
	var raw []byte
	switch body := a.body.(type) {
	case nil:
	case string:
		h.Set("Content-Type", "text/plain; charset=utf-8")
		h.Set("X-Content-Type-Options", "nosniff")
		raw = []byte(body)
	default:
		var err error
		if raw, err = json.Marshal(body); err != nil {
			a.status, raw = http.StatusInternalServerError, []byte(http.StatusText(http.StatusInternalServerError))
		}
		h.Set("Content-Type", "application/json; charset=utf-8")
	}
	if a.location != "" {
		h.Set("Location", a.location)
	}
	if a.status != http.StatusNoContent {
		h.Set("Content-Length", strconv.Itoa(len(raw)))
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(raw) // whoever has gone away asks again
}

// read parses a JSON body into to. An empty one leaves it as it is.
func (c call) read(to any) error { return parse(c.body, to) }

func parse(raw []byte, to any) error {
	if len(raw) == 0 {
		return nil
	}
	err := json.Unmarshal(raw, to)
	if shape := new(json.UnmarshalTypeError); errors.As(err, &shape) {
		return slipstream.Invalidf("the body is not of the shape that is expected: %s cannot be %s", cmp.Or(shape.Field, "it"), article(shape.Value))
	}
	if err != nil {
		return slipstream.Invalidf("the body is not the JSON that is expected: %v", err)
	}
	return nil
}

// article makes a kind of JSON value a phrase.
func article(kind string) string {
	kind, _, _ = strings.Cut(kind, " ") // "number 5.5" says which
	if kind == "array" || kind == "object" {
		return "an " + kind
	}
	return "a " + kind
}

func (s *Server) audit(ctx context.Context, tx store.Tx, c call, action, app, target string, detail map[string]any) error {
	if detail == nil {
		detail = map[string]any{}
	}
	doc, err := json.Marshal(detail)
	if err != nil {
		return err
	}
	_, err = tx.Log().Audit().Append(ctx, store.AuditEntry{At: s.cfg.Clock().UTC().Truncate(time.Microsecond), Actor: c.who.Name, Action: action, App: app, Target: target, Detail: doc})
	return err
}

func at(parts ...string) string {
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return Prefix + "/" + strings.Join(parts, "/")
}

// scratch makes a file that nobody else sees; done takes it away.
func scratch() (f *os.File, done func(), err error) {
	f, err = os.CreateTemp("", "slipstream-upload-*")
	if err != nil {
		return nil, nil, fmt.Errorf("keep upload: %w", err)
	}
	return f, func() { _ = f.Close(); _ = os.Remove(f.Name()) }, nil // a temporary file
}
