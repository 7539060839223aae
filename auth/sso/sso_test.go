package sso_test

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/auth/sso"
	"github.com/slipstream-ota/slipstream/auth/sso/ssotest"
	"github.com/slipstream-ota/slipstream/internal/seal"
)

const callback = "https://updates.example.org/v1/session/oidc/callback"

// known is how a server knows the provider.
func known(p *ssotest.Provider) *sso.Provider {
	p.Helper()
	sealer, err := seal.New(make([]byte, 32))
	if err != nil {
		p.Fatal(err)
	}
	c := sso.Config{Issuer: p.URL, ClientID: ssotest.ClientID, ClientSecret: ssotest.ClientSecret, Redirect: callback, Sealer: sealer, Clock: func() time.Time { return p.Now }}
	out, err := sso.New(c)
	if err != nil {
		p.Fatal(err)
	}
	return out
}

// visit goes to the provider as a browser does, and gives what it is sent back with.
func visit(t *testing.T, address string) url.Values {
	t.Helper()
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	back, err := res.Location()
	if err != nil {
		t.Fatal(err)
	}
	return back.Query()
}

// signIn is the whole way; between may change what the browser brings back.
func signIn(t *testing.T, p *sso.Provider, between func(cookie string, answer url.Values) string) (auth.Identity, error) {
	t.Helper()
	address, cookie, _, err := p.Begin(t.Context())
	if err != nil {
		return auth.Identity{}, err
	}
	answer := visit(t, address)
	if between != nil {
		cookie = between(cookie, answer)
	}
	return p.Finish(t.Context(), cookie, answer)
}

func TestTheProviderSaysWhoItIs(t *testing.T) {
	p := ssotest.New(t, callback)
	id, err := signIn(t, known(p), nil)
	if err != nil {
		t.Fatal(err)
	}
	if id.Issuer != p.URL || id.Subject != "u1" || id.Email != "ann@example.org" || !id.Verified || id.Name != "Ann" || len(id.Groups) != 2 {
		t.Errorf("%+v", id)
	}
	p.Claims = map[string]any{"email": nil, "email_verified": nil, "groups": nil}
	p.Info = map[string]any{"sub": "u1", "email": "ann@example.org", "email_verified": "true", "groups": "staff"}
	id, err = signIn(t, known(p), nil)
	if err != nil || id.Email != "ann@example.org" || !id.Verified || len(id.Groups) != 1 {
		t.Errorf("by userinfo: %+v, %v", id, err)
	}
	p.Info["sub"] = "u2"
	if id, err = signIn(t, known(p), nil); !errors.Is(err, sso.ErrProvider) {
		t.Errorf("userinfo of somebody else: %+v, %v", id, err)
	}
	p.Claims = map[string]any{"email_verified": "false"}
	if id, err = signIn(t, known(p), nil); err != nil || id.Verified {
		t.Errorf("an address that is not vouched for: %+v, %v", id, err)
	}
}

func TestAnIDTokenThatIsNotForThisSignInIsRefused(t *testing.T) {
	for name, claims := range map[string]map[string]any{
		"another nonce":                       {"nonce": "another nonce, of another sign-in"},
		"no nonce":                            {"nonce": nil},
		"another audience":                    {"aud": "another client"},
		"several audiences, made for another": {"aud": []string{ssotest.ClientID, "other"}, "azp": "other"},
		"several audiences, made for nobody":  {"aud": []string{ssotest.ClientID, "other"}},
		"another issuer":                      {"iss": "https://evil.example"},
		"expired":                             {"exp": time.Now().Add(-time.Hour).Unix()},
		"no end":                              {"exp": nil},
		"nobody":                              {"sub": ""},
		"another access token":                {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
	} {
		t.Run(name, func(t *testing.T) {
			p := ssotest.New(t, callback)
			p.Claims = claims
			if id, err := signIn(t, known(p), nil); !errors.Is(err, sso.ErrProvider) {
				t.Errorf("%+v, %v", id, err)
			}
		})
	}
	for name, spoil := range map[string]func(p *ssotest.Provider, token map[string]string){
		"signed by another key": func(p *ssotest.Provider, token map[string]string) {
			token["id_token"] = ssotest.New(p.T, callback).Sign(map[string]any{"iss": p.URL, "sub": "u1", "aud": ssotest.ClientID, "exp": p.Now.Add(time.Minute).Unix()})
		},
		"not signed": func(p *ssotest.Provider, token map[string]string) {
			parts := strings.Split(token["id_token"], ".")
			token["id_token"] = base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + parts[1] + "."
		},
		"changed": func(_ *ssotest.Provider, token map[string]string) {
			parts := strings.Split(token["id_token"], ".")
			body, _ := base64.RawURLEncoding.DecodeString(parts[1])
			parts[1] = base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(body), "ann@", "eve@", 1)))
			token["id_token"] = strings.Join(parts, ".")
		},
		"missing": func(_ *ssotest.Provider, token map[string]string) { delete(token, "id_token") },
	} {
		t.Run(name, func(t *testing.T) {
			p := ssotest.New(t, callback)
			p.Spoil = func(token map[string]string) { spoil(p, token) }
			if id, err := signIn(t, known(p), nil); !errors.Is(err, sso.ErrProvider) {
				t.Errorf("%+v, %v", id, err)
			}
		})
	}
}

func TestAnAnswerThatThisBrowserDidNotAskForIsRefused(t *testing.T) {
	p := ssotest.New(t, callback)
	server := known(p)
	_, others, _, err := server.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, between := range map[string]func(cookie string, answer url.Values) string{
		"no cookie":            func(string, url.Values) string { return "" },
		"another's cookie":     func(string, url.Values) string { return others },
		"a changed cookie":     func(c string, _ url.Values) string { return c[:len(c)-4] + "AAAA" },
		"a long cookie":        func(string, url.Values) string { return strings.Repeat("A", 1<<20) },
		"no state":             func(c string, a url.Values) string { a.Del("state"); return c },
		"another state":        func(c string, a url.Values) string { a.Set("state", "another"); return c },
		"after eleven minutes": func(c string, _ url.Values) string { p.Now = p.Now.Add(11 * time.Minute); return c },
	} {
		if id, err := signIn(t, server, between); !errors.Is(err, sso.ErrExpired) {
			t.Errorf("%s: %+v, %v", name, id, err)
		}
	}
	for name, between := range map[string]func(cookie string, answer url.Values) string{
		"a code of nobody": func(c string, a url.Values) string { a.Set("code", "made up"); return c },
		// An attacker's code in the victim's browser: the verifier is not the one of its challenge.
		"a code of another sign-in": func(c string, a url.Values) string {
			address, _, _, err := server.Begin(context.WithoutCancel(t.Context()))
			if err != nil {
				t.Fatal(err)
			}
			a.Set("code", visit(t, address).Get("code"))
			return c
		},
	} {
		if id, err := signIn(t, server, between); !errors.Is(err, sso.ErrProvider) {
			t.Errorf("%s: %+v, %v", name, id, err)
		}
	}
	if _, err := signIn(t, server, func(c string, a url.Values) string { a.Set("error", "access_denied"); return c }); !errors.Is(err, sso.ErrDenied) {
		t.Errorf("the provider said no: %v", err)
	}
}

func TestAnAnswerOfAnotherProviderIsRefused(t *testing.T) {
	honest := ssotest.New(t, callback)
	server := known(honest)
	if _, err := signIn(t, server, func(c string, a url.Values) string { a.Set("iss", "https://evil.example"); return c }); !errors.Is(err, sso.ErrProvider) {
		t.Errorf("it names another issuer: %v", err)
	}
	naming := ssotest.New(t, callback)
	naming.Names = true
	server = known(naming)
	if _, err := signIn(t, server, nil); err != nil {
		t.Errorf("it names itself: %v", err)
	}
	if _, err := signIn(t, server, func(c string, a url.Values) string { a.Del("iss"); return c }); !errors.Is(err, sso.ErrProvider) {
		t.Errorf("it names nobody though it always does: %v", err)
	}
}

func TestAServerStartsWithoutItsProvider(t *testing.T) {
	p := ssotest.New(t, callback)
	server := known(p)
	back := p.Away()
	if _, _, _, err := server.Begin(t.Context()); !errors.Is(err, sso.ErrProvider) {
		t.Errorf("while it is away: %v", err)
	}
	back()
	if _, err := signIn(t, server, nil); err != nil {
		t.Errorf("when it is back: %v", err)
	}
	for name, issuer := range map[string]string{"nothing": "", "no https": "http://id.example.org", "a query": "https://id.example.org?x=1", "no host": "https:///x"} {
		if _, err := sso.New(sso.Config{Issuer: issuer, ClientID: "x"}); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// While a provider does not answer, those who want to sign in do not pile up behind each other: anybody can want to.
func TestWhoWaitsForASilentProviderGivesUp(t *testing.T) {
	asked, over := make(chan struct{}), make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(asked)
		<-over
	}))
	defer silent.Close()
	defer close(over)
	p, err := sso.New(sso.Config{Issuer: silent.URL, ClientID: ssotest.ClientID, Redirect: callback})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _, _, _ = p.Begin(context.Background()) }()
	<-asked
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if _, _, _, err := p.Begin(ctx); !errors.Is(err, sso.ErrProvider) || time.Since(begun) > 5*time.Second {
		t.Errorf("after %s: %v", time.Since(begun), err)
	}
}

func FuzzAnswersOfProviders(f *testing.F) {
	f.Add("cookie", "state=a&code=b")
	f.Add("", "error=access_denied&error_description=%00%ff")
	sealer, err := seal.New(make([]byte, 32))
	if err != nil {
		f.Fatal(err)
	}
	p, err := sso.New(sso.Config{Issuer: "http://127.0.0.1:1", ClientID: "x", Sealer: sealer})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, cookie, query string) {
		q, _ := url.ParseQuery(query)
		if id, err := p.Finish(t.Context(), cookie, q); !errors.Is(err, sso.ErrExpired) {
			t.Errorf("%+v, %v", id, err)
		}
	})
}
