package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/auth/sso"
)

// Where browsers sign in by an identity provider.
const (
	SSOPath         = SessionBase + "/oidc"
	SSOCallbackPath = SSOPath + "/callback"
)

// What the console is told, by #problem=…, when a sign-in by the identity provider fails.
const (
	CodeSSONoMember   = "sso_no_member"
	CodeSSOUnverified = "sso_unverified"
	CodeSSOExpired    = "sso_expired"
	CodeSSODenied     = "sso_denied"
	CodeSSOProvider   = "sso_provider"
)

const consolePath = "/console/"

// routeSSO adds the two pages that a browser visits, which answer by sending it on.
func (s *Server) routeSSO() {
	s.mux.HandleFunc("GET "+SSOPath, func(w http.ResponseWriter, r *http.Request) {
		if err := auth.FromHere(r, s.cfg.Origin); err != nil {
			s.fail(w, r, err)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), s.cfg.LoginTimeout)
		defer cancel()
		address, cookie, life, err := s.cfg.SSO.Begin(ctx)
		if err != nil {
			s.failSSO(w, r, err)
			return
		}
		k := s.login.Cookie.Attempt(r, cookie, life)
		http.SetCookie(w, &k)
		sendOn(w, r, address)
	})
	s.mux.HandleFunc("GET "+SSOCallbackPath, func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), s.cfg.LoginTimeout)
		defer cancel()
		cookie := s.login.Cookie.AttemptOf(r)
		gone := s.login.Cookie.Attempt(r, "", 0)
		http.SetCookie(w, &gone)
		id, err := s.cfg.SSO.Finish(ctx, cookie, r.URL.Query())
		if err != nil {
			s.failSSO(w, r, err)
			return
		}
		secret, in, err := s.login.Identified(ctx, r, id, s.cfg.Admission)
		if err != nil {
			s.failSSO(w, r, err)
			return
		}
		k := s.login.Cookie.Of(r, secret, in.Ends)
		http.SetCookie(w, &k)
		sendOn(w, r, consolePath)
	})
}

func sendOn(w http.ResponseWriter, r *http.Request, to string) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// failSSO shows the console's sign-in page with what went wrong. What exactly is for the log: whoever looks at the page may
// be anybody.
func (s *Server) failSSO(w http.ResponseWriter, r *http.Request, err error) {
	code := CodeSSOProvider
	for _, k := range []struct {
		is   error
		code string
	}{{auth.ErrUnverified, CodeSSOUnverified}, {auth.ErrNoMember, CodeSSONoMember}, {sso.ErrExpired, CodeSSOExpired}, {sso.ErrDenied, CodeSSODenied}} {
		if errors.Is(err, k.is) {
			code = k.code
			break
		}
	}
	s.cfg.Log.LogAttrs(r.Context(), slog.LevelWarn, "sign-in by the identity provider failed", slog.String("code", code), slog.Any("error", err))
	sendOn(w, r, consolePath+"#"+url.Values{"problem": {code}}.Encode())
}
