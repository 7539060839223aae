package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/internal/httpx"
)

// SessionBase is where browsers sign in and out.
const SessionBase = "/v1/session"

const maxSignIn = 64 << 10 // bytes of a request about a session

// SignIn is what a browser signs in with: one of the three ways.
type SignIn struct {
	Token string `json:"token,omitempty" maxLength:"200" doc:"An API token"`
	Code  string `json:"code,omitempty" maxLength:"200" doc:"A code of POST /v1/admin/session-links"`
	// Member and Password are the third way.
	Member   string `json:"member,omitempty" maxLength:"254" doc:"Name or e-mail of a member"`
	Password string `json:"password,omitempty" maxLength:"1024"`
	OTP      string `json:"otp,omitempty" maxLength:"64" doc:"A code of the second factor, or a recovery code; asked for by the problem second_factor_needed"`
}

// Session is who a browser is signed in as.
type Session struct {
	Name    string    `json:"name" doc:"In the audit log"`
	Member  string    `json:"member,omitempty" doc:"The member; none for a token that is nobody's own"`
	Role    auth.Role `json:"role"`
	Actions []string  `json:"actions" enum:"read,publish,operate,manage,admit,server" doc:"What the role allows"`
	Apps    []string  `json:"apps" doc:"The apps that it is allowed for; none means all"`
	Lacks   string    `json:"lacks,omitempty" enum:"second_factor" doc:"What must be set up in the account before anything else is allowed"`
	Via     string    `json:"via" enum:"token,password,link,sso" doc:"How the browser signed in"`
	Expires time.Time `json:"expires" doc:"When the session ends unless it is used before"`
	Ends    time.Time `json:"ends" doc:"When it ends in any case"`
}

// SessionLink is a code that signs one browser in.
type SessionLink struct {
	Code    string    `json:"code" doc:"For POST /v1/session, once; /console/#signin=CODE does it"`
	Expires time.Time `json:"expires"`
}

// withCookie is an answer that sets a cookie or takes it away.
type withCookie[T any] struct {
	SetCookie http.Cookie `header:"Set-Cookie"`
	Body      T
}

type signedOut struct {
	SetCookie http.Cookie `header:"Set-Cookie"`
}

type requestKey struct{}

// browser is the request that ctx belongs to, in operations about sessions.
func browser(ctx context.Context) *http.Request {
	r, _ := ctx.Value(requestKey{}).(*http.Request)
	return r
}

func (s *Server) routeSession() {
	open(s, http.MethodPost, "", "Sign a browser in", s.signIn)
	open(s, http.MethodGet, "", "Who the browser is signed in as", func(ctx context.Context, _ *struct{}) (*body[Session], error) {
		in, err := s.login.Browser(ctx, browser(ctx))
		return answer(describeSession(in), err)
	})
	open(s, http.MethodDelete, "", "Sign the browser out", func(ctx context.Context, _ *struct{}) (*signedOut, error) {
		r := browser(ctx)
		return &signedOut{s.login.Cookie.Of(r, "", time.Time{})}, s.cfg.Sessions.End(ctx, s.login.Cookie.Secret(r))
	})
	route(s, http.MethodPost, "/session-links", "Make a code that signs one browser in, once, within a minute", auth.Read, func(ctx context.Context, _ *struct{}) (*body[SessionLink], error) {
		code, expires, err := s.cfg.Sessions.Link(ctx, by(ctx))
		return answer(SessionLink{code, expires}, err)
	})
}

// open adds an operation for browsers that may not be signed in. Pages of other origins cannot ask for it.
func open[I, O any](s *Server, method, path, summary string, fn func(context.Context, *I) (*O, error)) {
	op := huma.Operation{
		OperationID: operationID(method, "/session"+path), Method: method, Path: SessionBase + path, Summary: summary,
		MaxBodyBytes: maxSignIn, BodyReadTimeout: bodyTimeout, Tags: []string{"session"},
		Errors: []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusServiceUnavailable},
		Middlewares: huma.Middlewares{func(ctx huma.Context, next func(huma.Context)) {
			r, w := humago.Unwrap(ctx)
			w.Header().Set("Cache-Control", "no-store")
			if err := auth.FromHere(r, s.cfg.Origin); err != nil {
				httpx.LeaveBody(w, r)
				s.fail(w, r, err)
				return
			}
			next(huma.WithValue(ctx, requestKey{}, r))
		}},
	}
	huma.Register(s.huma, op, func(ctx context.Context, in *I) (*O, error) {
		ctx, cancel := context.WithTimeout(ctx, s.cfg.LoginTimeout)
		defer cancel()
		out, err := fn(ctx, in)
		if err != nil {
			s.log(ctx, method, SessionBase+path, err)
			return nil, problemOf(err)
		}
		return out, nil
	})
}

func (s *Server) signIn(ctx context.Context, in *struct{ Body SignIn }) (*withCookie[Session], error) {
	r := browser(ctx)
	secret, who, err := s.login.SignIn(ctx, r, auth.Credentials{Token: in.Body.Token, Code: in.Body.Code,
		Member: in.Body.Member, Password: in.Body.Password, OTP: in.Body.OTP})
	if err != nil {
		return nil, err
	}
	return &withCookie[Session]{SetCookie: s.login.Cookie.Of(r, secret, who.Ends), Body: describeSession(who)}, nil
}

func describeSession(in auth.SignedIn) Session {
	out := Session{Name: in.Name, Member: in.Member, Role: in.Role, Actions: []string{}, Apps: append([]string{}, in.Apps.Names()...), Via: in.Via, Expires: in.Expires, Ends: in.Ends}
	for _, a := range in.Principal.Actions() {
		out.Actions = append(out.Actions, a.Word())
	}
	if in.Lacks {
		out.Lacks = "second_factor"
	}
	return out
}
