package api

import (
	"context"
	"net/http"
	"time"

	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/store"
)

// Ways says how people may sign in.
type Ways struct {
	Password   bool `json:"password" doc:"Members sign in by name and password"`
	RequireOTP bool `json:"requireOTP" doc:"A second factor is wanted of everybody who does"`
	SSO        *SSO `json:"sso,omitempty" doc:"The identity provider, when there is one"`
}

// SSO is an identity provider that people may sign in with.
type SSO struct {
	Name string `json:"name" doc:"For people"`
	Path string `json:"path" doc:"Where the browser goes to sign in"`
}

// FactorSetup is a new second factor for an authenticator app.
type FactorSetup struct {
	Secret string `json:"secret" doc:"Base32, for an app that cannot read the picture"`
	URL    string `json:"url" doc:"otpauth://…"`
	QR     []byte `json:"qr" doc:"The URL as a picture: base64 of a PNG"`
}

// InvitationCode names an invitation.
type InvitationCode struct {
	Code string `json:"code" maxLength:"200"`
}

// Invitation is what an invitation is for.
type Invitation struct {
	Name         string       `json:"name"`
	Display      string       `json:"display,omitempty"`
	Email        string       `json:"email,omitempty"`
	Role         auth.Role    `json:"role"`
	Expires      time.Time    `json:"expires"`
	SecondFactor string       `json:"secondFactor" enum:"optional,required,present" doc:"present: there is one already, and a code of it is needed"`
	Setup        *FactorSetup `json:"setup,omitempty" doc:"A second factor that may be taken over, unless there is one"`
}

// Acceptance is how an invitation is taken up.
type Acceptance struct {
	Code     string `json:"code" maxLength:"200"`
	Password string `json:"password" maxLength:"1024"`
	Secret   string `json:"secret,omitempty" maxLength:"200" doc:"The secret of the setup, when a second factor is wanted"`
	OTP      string `json:"otp,omitempty" maxLength:"64" doc:"A code of it"`
}

// Accepted is the session of who took an invitation up.
type Accepted struct {
	Session
	Recovery []string `json:"recovery,omitempty" doc:"Recovery codes of the new second factor, shown once: each lets in once in its place"`
}

// Account is what members see of themselves.
type Account struct {
	Name         string           `json:"name"`
	Display      string           `json:"display,omitempty"`
	Email        string           `json:"email,omitempty"`
	Role         auth.Role        `json:"role"`
	Apps         []string         `json:"apps" doc:"None means all"`
	Created      time.Time        `json:"created"`
	Password     bool             `json:"password" doc:"There is one"`
	SSO          bool             `json:"sso" doc:"Signed in by the identity provider before"`
	SecondFactor bool             `json:"secondFactor"`
	RequireOTP   bool             `json:"requireOTP" doc:"A second factor cannot be taken away"`
	Recovery     int              `json:"recovery" doc:"Recovery codes that are left"`
	Sessions     []BrowserSession `json:"sessions"`
	Tokens       []Token          `json:"tokens" doc:"Personal API tokens"`
}

// BrowserSession is a browser that is signed in as a member.
type BrowserSession struct {
	ID      string    `json:"id"`
	Via     string    `json:"via"`
	Agent   string    `json:"agent,omitempty" doc:"What the browser says it is"`
	Created time.Time `json:"created"`
	Seen    time.Time `json:"seen" doc:"Last use, give or take ten minutes"`
	Current bool      `json:"current,omitempty" doc:"It is the one that asks"`
}

// Proof shows that it is the member who sits at a browser.
type Proof struct {
	Password string `json:"password,omitempty" maxLength:"1024" doc:"The current one, if there is one"`
	OTP      string `json:"otp,omitempty" maxLength:"64" doc:"A code of the second factor, if there is one"`
}

// NewPassword changes the own password.
type NewPassword struct {
	Proof
	New string `json:"new" maxLength:"1024"`
}

// NewFactor puts a second factor in force.
type NewFactor struct {
	Proof
	Secret string `json:"secret" maxLength:"200" doc:"Of the set-up"`
	First  string `json:"first" maxLength:"64" doc:"A code that the app makes of it"`
}

// NewOwnToken asks for a personal API token.
type NewOwnToken struct {
	Proof
	NewToken
}

// Recovery are new recovery codes.
type Recovery struct {
	Recovery []string `json:"recovery" doc:"Shown once"`
}

func describeSetup(s auth.Setup) *FactorSetup {
	if s.Secret == "" {
		return nil
	}
	return &FactorSetup{Secret: s.Secret, URL: s.URL, QR: s.QR}
}

func (s *Server) routeAccount() {
	open(s, http.MethodGet, "/ways", "How people may sign in", func(context.Context, *struct{}) (*body[Ways], error) {
		ways := Ways{Password: true, RequireOTP: s.cfg.Members.RequireOTP()}
		if s.cfg.SSO != nil {
			ways.SSO = &SSO{Name: s.cfg.SSO.Name(), Path: SSOPath}
		}
		return answer(ways, nil)
	})
	open(s, http.MethodPost, "/invitation", "What an invitation is for", func(ctx context.Context, in *struct{ Body InvitationCode }) (*body[Invitation], error) {
		got, err := s.login.Invited(ctx, browser(ctx), in.Body.Code)
		return answer(s.describeInvited(got), err)
	})
	open(s, http.MethodPost, "/accept", "Take an invitation up: sets the password, and a second factor if one is wanted, and signs in", s.accept)
	mine(s, http.MethodGet, "/account", "The own account", s.account)
	mine(s, http.MethodPost, "/password", "Change the own password; other sessions end", func(ctx context.Context, who auth.Principal, in *struct{ Body NewPassword }) (*struct{}, error) {
		return nil, s.cfg.Members.SetPassword(ctx, who, in.Body.Password, in.Body.OTP, in.Body.New)
	})
	mine(s, http.MethodPost, "/second-factor/new", "Begin a second factor", func(ctx context.Context, who auth.Principal, _ *struct{}) (*body[*FactorSetup], error) {
		setup, err := s.cfg.Members.NewFactor(ctx, who)
		return answer(describeSetup(setup), err)
	})
	mine(s, http.MethodPost, "/second-factor", "Put a second factor in force; answers recovery codes; other sessions end", func(ctx context.Context, who auth.Principal, in *struct{ Body NewFactor }) (*body[Recovery], error) {
		b := in.Body
		codes, err := s.cfg.Members.SetFactor(ctx, who, b.Password, b.OTP, b.Secret, b.First)
		return answer(Recovery{codes}, err)
	})
	mine(s, http.MethodPost, "/second-factor/remove", "Take the own second factor away", func(ctx context.Context, who auth.Principal, in *struct{ Body Proof }) (*struct{}, error) {
		return nil, s.cfg.Members.RemoveFactor(ctx, who, in.Body.Password, in.Body.OTP)
	})
	mine(s, http.MethodPost, "/recovery", "Make new recovery codes", func(ctx context.Context, who auth.Principal, in *struct{ Body Proof }) (*body[Recovery], error) {
		codes, err := s.cfg.Members.RenewRecovery(ctx, who, in.Body.Password, in.Body.OTP)
		return answer(Recovery{codes}, err)
	})
	mine(s, http.MethodDelete, "/all", "Sign out everywhere", func(ctx context.Context, who auth.Principal, _ *struct{}) (*signedOut, error) {
		return &signedOut{s.login.Cookie.Of(browser(ctx), "", time.Time{})}, s.cfg.Members.EndSessions(ctx, who, "")
	})
	mine(s, http.MethodDelete, "/all/{session}", "Sign one other browser out", func(ctx context.Context, who auth.Principal, in *struct {
		Session string `path:"session" maxLength:"64"`
	}) (*struct{}, error) {
		return nil, s.cfg.Members.EndSessions(ctx, who, in.Session)
	})
	mine(s, http.MethodPost, "/tokens", "Make a personal API token, which never does more than its member may", s.createOwnToken)
	mine(s, http.MethodDelete, "/tokens/{token}", "Revoke a personal API token", func(ctx context.Context, who auth.Principal, in *struct {
		Token string `path:"token" maxLength:"64"`
	}) (*struct{}, error) {
		return nil, s.cfg.Tokens.Revoke(ctx, who.Name, in.Token, func(k store.Token) error {
			if k.Member != who.Member {
				return auth.ErrForbidden
			}
			return nil
		})
	})
}

// mine adds an operation for a member who is signed in.
func mine[I, O any](s *Server, method, path, summary string, fn func(context.Context, auth.Principal, *I) (*O, error)) {
	open(s, method, path, summary, func(ctx context.Context, in *I) (*O, error) {
		who, err := s.login.Browser(ctx, browser(ctx))
		if err != nil {
			return nil, err
		}
		return fn(ctx, who.Principal, in)
	})
}

func (s *Server) describeInvited(in auth.Invited) Invitation {
	m := in.Member
	out := Invitation{Name: m.Name, Display: m.Display, Email: m.Email, Role: auth.Role(m.Role), Expires: in.Expires, SecondFactor: "optional", Setup: describeSetup(in.Setup)}
	switch {
	case m.OTP != nil:
		out.SecondFactor = "present"
	case s.cfg.Members.RequireOTP():
		out.SecondFactor = "required"
	}
	return out
}

func (s *Server) accept(ctx context.Context, in *struct{ Body Acceptance }) (*withCookie[Accepted], error) {
	r, b := browser(ctx), in.Body
	secret, who, recovery, err := s.login.Accept(ctx, r, auth.Acceptance{Code: b.Code, Password: b.Password, Secret: b.Secret, OTP: b.OTP})
	if err != nil {
		return nil, err
	}
	return &withCookie[Accepted]{SetCookie: s.login.Cookie.Of(r, secret, who.Ends), Body: Accepted{describeSession(who), recovery}}, nil
}

func describeSessions(list []store.Session, current string) []BrowserSession {
	out := make([]BrowserSession, len(list))
	for i, x := range list {
		out[i] = BrowserSession{ID: x.ID, Via: x.Via, Agent: x.Agent, Created: x.Created, Seen: x.Seen, Current: x.ID == current}
	}
	return out
}

func (s *Server) account(ctx context.Context, who auth.Principal, _ *struct{}) (*body[Account], error) {
	m, sessions, err := s.cfg.Members.Account(ctx, who)
	if err != nil {
		return nil, err
	}
	tokens, err := s.cfg.Tokens.List(ctx)
	out := Account{Name: m.Name, Display: m.Display, Email: m.Email, Role: auth.Role(m.Role), Apps: append([]string{}, m.Apps...), Created: m.Created, Password: m.Password != "",
		SSO: m.Subject != "", SecondFactor: m.OTP != nil, RequireOTP: s.cfg.Members.RequireOTP(), Recovery: len(m.Recovery),
		Sessions: describeSessions(sessions, who.Session), Tokens: []Token{}}
	for _, k := range tokens {
		if k.Member == m.Name {
			out.Tokens = append(out.Tokens, describeToken(k, ""))
		}
	}
	return answer(out, err)
}

func (s *Server) createOwnToken(ctx context.Context, who auth.Principal, in *struct{ Body NewOwnToken }) (*body[Token], error) {
	b := in.Body
	spec := auth.Spec{Name: b.Name, Role: auth.Role(b.Role), App: b.App}
	if b.Expires != nil {
		spec.Expires = *b.Expires
	}
	spec, err := s.cfg.Members.PersonalToken(ctx, who, b.Password, b.OTP, spec)
	if err != nil {
		return nil, err
	}
	k, secret, err := s.cfg.Tokens.Create(ctx, who.Name, spec)
	return answer(describeToken(k, secret), err)
}
