// Package sso lets people sign in by an identity provider: OpenID Connect with the authorization code flow, PKCE, state and
// nonce (OpenID Connect Core 1.0, RFC 7636, RFC 9207). It finds out who somebody is; package auth decides whether they may in.
package sso

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/auth"
)

const (
	attemptLife    = 10 * time.Minute // from leaving for the provider to coming back
	requestTimeout = 15 * time.Second // of one question to the provider
	purpose        = "sign-in by an identity provider"
	maxCookie      = 3 << 10
	maxClaims      = 200 // groups that are looked at
)

// What went wrong, for the page that says so. Errors of this package wrap one of them.
var (
	ErrExpired  = errors.New("the sign-in took too long or was begun in another browser")
	ErrProvider = errors.New("the identity provider did not answer as it should")
	ErrDenied   = errors.New("the identity provider did not let the person in")
)

// Config is how the server is known to its identity provider.
type Config struct {
	Issuer       string // https://…, as its discovery document says
	ClientID     string
	ClientSecret string // "" for a public client
	Redirect     string // the whole address of the callback, as registered with the provider
	Name         string // for people; default the issuer's host
	GroupsClaim  string // where the provider says groups; default "groups"
	Sealer       auth.Sealer
	Client       *http.Client     // nil makes one with a timeout
	Clock        func() time.Time // nil means time.Now
}

// Provider is the identity provider. It is asked for its keys when the first person signs in: a server starts without it.
type Provider struct {
	cfg   Config
	turn  chan struct{} // who asks for the discovery document, one at a time
	found atomic.Pointer[oidc.Provider]
}

// New checks a Config.
func New(c Config) (*Provider, error) {
	u, err := url.Parse(c.Issuer)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return nil, slipstream.Hint(slipstream.Invalidf("issuer %q is no address of an identity provider", c.Issuer), "give it as the provider's discovery document does, such as https://id.example.org/realms/shop")
	}
	if c.ClientID == "" {
		return nil, slipstream.Hint(slipstream.Invalidf("no client id for the identity provider"), "register this server there, with the redirect address %s", c.Redirect)
	}
	if c.Name == "" {
		c.Name = u.Hostname()
	}
	if c.GroupsClaim == "" {
		c.GroupsClaim = "groups"
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Client == nil {
		c.Client = &http.Client{Timeout: requestTimeout}
	}
	return &Provider{cfg: c, turn: make(chan struct{}, 1)}, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Name is what people call the provider.
func (p *Provider) Name() string { return p.cfg.Name }

// provider asks for the discovery document once it is needed, again after a failure. While a provider does not answer,
// those who wait behind each other give up with ctx: anybody can ask.
func (p *Provider) provider(ctx context.Context) (*oidc.Provider, error) {
	if found := p.found.Load(); found != nil {
		return found, nil
	}
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, slipstream.Hint(fmt.Errorf("%w: %w", ErrProvider, ctx.Err()), "check --oidc-issuer, and that this server reaches it")
	}
	if found := p.found.Load(); found != nil {
		return found, nil
	}
	// The provider keeps its context for later questions, which outlive this request; the client has a timeout of its own.
	found, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), p.cfg.Client), p.cfg.Issuer)
	if err != nil {
		return nil, slipstream.Hint(fmt.Errorf("%w: %w", ErrProvider, err), "check --oidc-issuer, and that this server reaches it")
	}
	p.found.Store(found)
	return found, nil
}

func (p *Provider) client(found *oidc.Provider) *oauth2.Config {
	return &oauth2.Config{ClientID: p.cfg.ClientID, ClientSecret: p.cfg.ClientSecret, Endpoint: found.Endpoint(), RedirectURL: p.cfg.Redirect,
		Scopes: []string{oidc.ScopeOpenID, "email", "profile"}}
}

// attempt is what a browser brings back, sealed: it binds the answer of the provider to the browser that asked.
type attempt struct {
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"`
	Until    int64  `json:"until"` // Unix seconds
}

// Begin gives the address that a browser goes to, and what it must bring back by a cookie.
func (p *Provider) Begin(ctx context.Context) (address, cookie string, life time.Duration, err error) {
	found, err := p.provider(ctx)
	if err != nil {
		return "", "", 0, err
	}
	a := attempt{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Until: p.cfg.Clock().Add(attemptLife).Unix()}
	plain, err := json.Marshal(a)
	if err != nil {
		return "", "", 0, fmt.Errorf("encode attempt: %w", err)
	}
	sealed, err := p.cfg.Sealer.Seal(purpose, plain)
	if err != nil {
		return "", "", 0, fmt.Errorf("seal attempt: %w", err)
	}
	return p.client(found).AuthCodeURL(a.State, oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier)), base64.RawURLEncoding.EncodeToString(sealed), attemptLife, nil
}

// opened gives the attempt of a cookie, unless it is another's, changed or old.
func (p *Provider) opened(cookie string) (a attempt, err error) {
	if cookie == "" || len(cookie) > maxCookie {
		return a, ErrExpired
	}
	sealed, err := base64.RawURLEncoding.DecodeString(cookie)
	if err != nil {
		return a, ErrExpired
	}
	plain, err := p.cfg.Sealer.Open(purpose, sealed)
	if err != nil {
		return a, ErrExpired
	}
	if err := json.Unmarshal(plain, &a); err != nil || a.State == "" || a.Nonce == "" || a.Verifier == "" || p.cfg.Clock().Unix() >= a.Until {
		return attempt{}, ErrExpired
	}
	return a, nil
}

// Finish takes what the provider sent the browser back with, and the cookie of Begin, and tells who it is.
func (p *Provider) Finish(ctx context.Context, cookie string, answer url.Values) (auth.Identity, error) {
	a, err := p.opened(cookie)
	if err != nil {
		return auth.Identity{}, err
	}
	if subtle.ConstantTimeCompare([]byte(answer.Get("state")), []byte(a.State)) != 1 {
		return auth.Identity{}, fmt.Errorf("the answer is not one to this browser's question: %w", ErrExpired)
	}
	found, err := p.provider(ctx)
	if err != nil {
		return auth.Identity{}, err
	}
	if err := p.sameIssuer(found, answer); err != nil {
		return auth.Identity{}, err
	}
	if code := answer.Get("error"); code != "" {
		return auth.Identity{}, fmt.Errorf("%w: %.100q %.300q", ErrDenied, code, answer.Get("error_description"))
	}
	ctx = oidc.ClientContext(ctx, p.cfg.Client)
	token, err := p.client(found).Exchange(ctx, answer.Get("code"), oauth2.VerifierOption(a.Verifier))
	if err != nil {
		return auth.Identity{}, fmt.Errorf("%w: exchange the code: %w", ErrProvider, err)
	}
	return p.identify(ctx, found, token, a.Nonce)
}

// sameIssuer refuses an answer that another provider gave (RFC 9207): it must not get the code, nor this one another's.
func (p *Provider) sameIssuer(found *oidc.Provider, answer url.Values) error {
	var says struct {
		Names bool `json:"authorization_response_iss_parameter_supported"`
	}
	if err := found.Claims(&says); err != nil {
		return fmt.Errorf("%w: %w", ErrProvider, err)
	}
	if iss := answer.Get("iss"); iss != p.cfg.Issuer && (says.Names || answer.Has("iss")) {
		return fmt.Errorf("%w: the answer is of issuer %.200q, not of %s", ErrProvider, iss, p.cfg.Issuer)
	}
	return nil
}

// claims are what the provider says of a person.
type claims struct {
	AuthorizedParty string   `json:"azp"`
	Email           string   `json:"email"`
	Verified        flexible `json:"email_verified"`
	Name            string   `json:"name"`
	rest            map[string]json.RawMessage
}

// flexible is a yes or no that some providers write as text.
type flexible bool

// UnmarshalJSON implements json.Unmarshaler.
func (f *flexible) UnmarshalJSON(b []byte) error {
	*f = string(b) == "true" || string(b) == `"true"`
	return nil
}

func (p *Provider) identify(ctx context.Context, found *oidc.Provider, token *oauth2.Token, nonce string) (out auth.Identity, err error) {
	raw, _ := token.Extra("id_token").(string)
	if raw == "" {
		return out, fmt.Errorf("%w: there is no ID token", ErrProvider)
	}
	id, err := found.VerifierContext(ctx, &oidc.Config{ClientID: p.cfg.ClientID, Now: p.cfg.Clock}).Verify(ctx, raw)
	if err != nil {
		return out, fmt.Errorf("%w: %w", ErrProvider, err)
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(nonce)) != 1 {
		return out, fmt.Errorf("%w: the ID token has another nonce", ErrProvider)
	}
	if id.AccessTokenHash != "" {
		if err := id.VerifyAccessToken(token.AccessToken); err != nil {
			return out, fmt.Errorf("%w: %w", ErrProvider, err)
		}
	}
	var c claims
	if err := errors.Join(id.Claims(&c), id.Claims(&c.rest)); err != nil {
		return out, fmt.Errorf("%w: %w", ErrProvider, err)
	}
	if len(id.Audience) > 1 && c.AuthorizedParty == "" || c.AuthorizedParty != "" && c.AuthorizedParty != p.cfg.ClientID {
		return out, fmt.Errorf("%w: the ID token was made for another client", ErrProvider)
	}
	if id.Subject == "" {
		return out, fmt.Errorf("%w: the ID token names nobody", ErrProvider)
	}
	if c.Email == "" && found.UserInfoEndpoint() != "" {
		if err := p.ask(ctx, found, token, id.Subject, &c); err != nil {
			return out, err
		}
	}
	return auth.Identity{Issuer: id.Issuer, Subject: id.Subject, Email: c.Email, Verified: bool(c.Verified), Name: c.Name, Groups: groups(c.rest[p.cfg.GroupsClaim])}, nil
}

// ask completes what an ID token leaves out.
func (p *Provider) ask(ctx context.Context, found *oidc.Provider, token *oauth2.Token, subject string, c *claims) error {
	info, err := found.UserInfo(ctx, oauth2.StaticTokenSource(token))
	if err != nil {
		return fmt.Errorf("%w: ask who it is: %w", ErrProvider, err)
	}
	if info.Subject != subject {
		return fmt.Errorf("%w: it speaks of somebody else", ErrProvider)
	}
	more := claims{rest: map[string]json.RawMessage{}}
	if err := errors.Join(info.Claims(&more), info.Claims(&more.rest)); err != nil {
		return fmt.Errorf("%w: %w", ErrProvider, err)
	}
	c.Email, c.Verified = more.Email, more.Verified
	if c.Name == "" {
		c.Name = more.Name
	}
	if _, there := c.rest[p.cfg.GroupsClaim]; !there {
		c.rest[p.cfg.GroupsClaim] = more.rest[p.cfg.GroupsClaim]
	}
	return nil
}

// groups reads a list of names, or one.
func groups(raw json.RawMessage) []string {
	var many []string
	if json.Unmarshal(raw, &many) == nil {
		return many[:min(len(many), maxClaims)]
	}
	var one string
	if json.Unmarshal(raw, &one) == nil && one != "" {
		return strings.Fields(one)
	}
	return nil
}
