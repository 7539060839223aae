// Package api is the management surface: the HTTP API under /v1/admin with its OpenAPI document, and the Go client that
// the command uses. Handlers translate; what they ask for is done by packages rollout, auth and publish.
package api

import (
	"context"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/slipstream-ota/slipstream/alert"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/auth/sso"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/internal/httpx"
	"github.com/slipstream-ota/slipstream/protocol"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/store"
)

// Base is where the management API lives.
const Base = "/v1/admin"

// Limits of requests.
const (
	maxBody     = 8 << 20 // of JSON: a manifest of 4 MB in base64 is the largest
	bodyTimeout = 30 * time.Second
)

// Config is what a Server is made of.
type Config struct {
	Store   store.Store
	Blobs   blob.Store
	Rollout *rollout.Service
	Tokens  *auth.Tokens
	// Sessions are the browsers that are signed in; nil makes them of Store and Clock.
	Sessions *auth.Sessions
	// Members are the people who sign in by name; nil makes a server that knows only tokens.
	Members *auth.Members
	// SSO is the identity provider that members may sign in by; nil is none. Admission says who becomes a member by it.
	SSO       *sso.Provider
	Admission auth.Admission
	// Origin is the one under which browsers reach the server, such as https://updates.example.org; "" when it is not known.
	// With https, cookies go over nothing else.
	Origin  string
	Limiter *auth.Limiter
	Jobs    interface{ Wake() } // told of new releases; may be nil
	// Settle lets devices see what was changed before the change is answered; nil leaves them to see it soon.
	Settle func(context.Context) error
	Spool  *Spool // of large uploads; nil refuses them in parts
	Clock  func() time.Time
	// Alerts are the alerts and who is told of them; nil knows nobody to tell.
	Alerts *alert.Service
	// Protocols are the foreign protocols that can be switched on.
	Protocols []protocol.Protocol
	Log       *slog.Logger
	Version   string // of the program
	// Node is what the server says of itself.
	Node Node
	// StallTimeout gives up an upload that stands still; default 1 minute.
	StallTimeout time.Duration
	// LoginTimeout bounds the look at a request's token; default 10 s.
	LoginTimeout time.Duration
	// Sender names the address that failed logins count for; nil takes the connection's.
	Sender func(*http.Request) string
}

// Server answers the management API.
type Server struct {
	cfg   Config
	login auth.Login
	mux   *http.ServeMux
	huma  huma.API
}

// New makes a Server.
func New(cfg Config) *Server {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Limiter == nil {
		cfg.Limiter = auth.NewLimiter(cfg.Clock)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Alerts == nil {
		cfg.Alerts = alert.New(alert.Config{Store: cfg.Store, Clock: cfg.Clock})
	}
	if cfg.StallTimeout <= 0 {
		cfg.StallTimeout = httpx.StallTimeout
	}
	if cfg.LoginTimeout <= 0 {
		cfg.LoginTimeout = loginTimeout
	}
	if cfg.Sessions == nil {
		cfg.Sessions = auth.NewSessions(auth.Config{Store: cfg.Store, Clock: cfg.Clock})
	}
	s := &Server{cfg: cfg, mux: http.NewServeMux(), login: auth.Login{Tokens: cfg.Tokens, Limiter: cfg.Limiter, Sender: cfg.Sender,
		Sessions: cfg.Sessions, Members: cfg.Members, Cookie: auth.Cookie{Secure: strings.HasPrefix(cfg.Origin, "https://")}, Origin: cfg.Origin}}
	c := huma.DefaultConfig("Slipstream management API", first(cfg.Version, "dev"))
	c.OpenAPIPath, c.DocsPath, c.SchemasPath, c.CreateHooks = "/v1/openapi", "", "", nil
	c.Info.Description = "Everything that the slipstream command does goes through this API. Errors are RFC 9457 problem documents with a stable code."
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"},
		"session": {Type: "apiKey", In: "cookie", Name: "slipstream", Description: "A browser that is signed in, see POST /v1/session; the name has the prefix __Host- over https, else the port as its suffix"}}
	c.Transformers = append(c.Transformers, ownProblems, s.settled)
	s.huma = humago.New(s.mux, c)
	s.routeApps()
	s.routeProtocols()
	s.routeAlerts()
	s.routeReleases()
	s.routeChannels()
	s.routeCompare()
	s.routeAdmin()
	s.routeAbout()
	s.routeFleet()
	s.routeBlobs()
	s.routeSession()
	if cfg.Members != nil {
		s.routeAccount()
		s.routeMembers()
		if cfg.SSO != nil {
			s.routeSSO()
		}
	}
	s.describeProblems()
	s.mux.HandleFunc("/", s.nothingHere)
	return s
}

// settled waits until devices are told of what the request changed. What failed is only late: devices see it soon.
func (s *Server) settled(c huma.Context, status string, v any) (any, error) {
	if c.Method() != http.MethodGet && strings.HasPrefix(status, "2") {
		httpx.Settle(c.Context(), s.cfg.Settle, s.cfg.Log)
	}
	return v, nil
}

// Handler answers everything under Base, and the OpenAPI document.
func (s *Server) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !httpx.CleanPath(r.URL.Path) {
			httpx.NotFound(w, r)
			return
		}
		if strings.HasPrefix(r.URL.Path, Base+"/") {
			// What one may see is nothing for a cache, which would hand it to others: it does not know cookies.
			w.Header().Set("Cache-Control", "no-store")
			w.Header().Set("X-Content-Type-Options", "nosniff")
		}
		s.mux.ServeHTTP(w, r)
	})
}

// OpenAPI is the document that describes the API, as JSON.
func (s *Server) OpenAPI() ([]byte, error) { return s.huma.OpenAPI().MarshalJSON() }

// describeProblems replaces huma's model of errors in the document by ours.
func (s *Server) describeProblems() {
	schemas := s.huma.OpenAPI().Components.Schemas
	problem := schemas.Schema(reflect.TypeFor[Problem](), true, "Problem")
	for _, item := range s.huma.OpenAPI().Paths {
		for _, op := range []*huma.Operation{item.Get, item.Put, item.Post, item.Delete, item.Patch, item.Head} {
			if op == nil {
				continue
			}
			for _, res := range op.Responses {
				if media := res.Content["application/problem+json"]; media != nil {
					media.Schema = problem
				}
			}
		}
	}
	delete(schemas.Map(), "ErrorModel")
	delete(schemas.Map(), "ErrorDetail")
}

// nothingHere answers what no route takes: 405 where another method would do, else 404.
func (s *Server) nothingHere(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := s.mux.Handler(other); pattern != "/" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) > 0 {
		httpx.MethodNotAllowed(w, r, allowed...)
		return
	}
	httpx.NotFound(w, r)
}

type (
	principalKey struct{}
	unhurriedKey struct{}
)

// by is who sends the request that ctx belongs to.
func by(ctx context.Context) auth.Principal {
	p, _ := ctx.Value(principalKey{}).(auth.Principal)
	return p
}

// route adds an operation. need is what the token's role must allow, for the app of the path when there is one.
func route[I, O any](s *Server, method, path, summary string, need auth.Action, fn func(context.Context, *I) (*O, error)) {
	op := huma.Operation{
		OperationID: operationID(method, path), Method: method, Path: Base + path, Summary: summary,
		MaxBodyBytes: maxBody, BodyReadTimeout: bodyTimeout,
		Tags:     []string{strings.SplitN(strings.TrimPrefix(path, "/"), "/", 2)[0]},
		Security: []map[string][]string{{"token": {}}, {"session": {}}},
		Errors:   []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusServiceUnavailable},
		Metadata: map[string]any{"needs": string(need)},
		Middlewares: huma.Middlewares{func(ctx huma.Context, next func(huma.Context)) {
			r, w := humago.Unwrap(ctx)
			p, err := s.authorize(r, need, ctx.Param("app"))
			if err != nil {
				httpx.LeaveBody(w, r)
				s.fail(w, r, err)
				return
			}
			next(huma.WithValue(huma.WithValue(ctx, principalKey{}, p), unhurriedKey{}, func() { httpx.Unhurried(w, r) }))
		}},
	}
	huma.Register(s.huma, op, func(ctx context.Context, in *I) (*O, error) {
		if unhurried, ok := ctx.Value(unhurriedKey{}).(func()); ok {
			unhurried() // the body is read: what is asked for may take its time
		}
		out, err := fn(ctx, in)
		if err != nil {
			s.log(ctx, method, path, err)
			return nil, problemOf(err)
		}
		return out, nil
	})
}

// operationID is a stable name from method and path: "patch-apps-channels-rollouts".
func operationID(method, path string) string {
	id := strings.ToLower(method)
	for part := range strings.SplitSeq(path, "/") {
		if part != "" && !strings.HasPrefix(part, "{") {
			id += "-" + part
		}
	}
	if strings.HasSuffix(path, "}") {
		id += "-one"
	}
	return id
}

// authorize tells who sends r, or why the request must not go on.
func (s *Server) authorize(r *http.Request, need auth.Action, app string) (auth.Principal, error) {
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.LoginTimeout)
	defer cancel()
	who, err := s.login.Who(ctx, r)
	if err != nil {
		return who, err
	}
	// Operations without an app in their path look at the token's scope themselves.
	allowed := who.Role.May(need)
	if app != "" {
		allowed = who.May(need, app)
	}
	if !allowed {
		return who, forbidden(who, need)
	}
	return who, nil
}

func forbidden(who auth.Principal, need auth.Action) error {
	detail := "a token with role " + string(who.Role)
	if who.Session != "" {
		detail = first(who.Name, "this member") + ", with role " + string(who.Role)
	}
	if !who.Apps.All() {
		detail += " for app " + who.Apps.String()
	}
	if who.Session != "" && who.Role == "" {
		p := newProblem(http.StatusForbidden, CodeSecondFactor, "this server wants a second factor of everybody")
		p.Hint = "set one up in your account first"
		return p
	}
	p := newProblem(http.StatusForbidden, CodeForbidden, detail+" may not do this")
	if !who.Apps.All() && who.Role.May(need) {
		p.Hint = "that token is for app " + who.Apps.String() + " alone: take one of the app that this is about, or one for all apps"
		return p
	}
	p.Hint = "the right to " + string(need) + " comes with role " + auth.Least(need) + "; an owner makes such a token by `slipstream token create NAME --role " + auth.Least(need) + "`"
	return p
}

// fail answers a request with err and logs what is the server's own fault.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	s.log(r.Context(), r.Method, r.URL.Path, err)
	writeProblem(w, r, err)
}

func (s *Server) log(ctx context.Context, method, path string, err error) {
	if p := problemOf(err); p.Status < http.StatusInternalServerError || ctx.Err() != nil {
		return
	}
	s.cfg.Log.LogAttrs(ctx, slog.LevelError, "request failed", slog.String("method", method), slog.String("path", path), slog.Any("error", err))
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
