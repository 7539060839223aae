// Package ssotest is an identity provider for tests: it does the real authorization code flow with PKCE and signs its tokens
// with a key of its own, but asks nobody who they are.
package ssotest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// The client that the provider knows.
const (
	ClientID     = "slipstream"
	ClientSecret = "client secret"
)

// Provider is an identity provider: it shows no page, everybody who comes is the person that claims say.
type Provider struct {
	*testing.T
	URL      string // the issuer
	callback string
	server   *httptest.Server
	key      jose.SigningKey
	public   jose.JSONWebKey
	Now      time.Time
	Claims   map[string]any                // what it says of the person, over what is right
	Info     map[string]any                // what its userinfo endpoint says
	issued   map[string]url.Values         // what each code was asked for with
	Spoil    func(token map[string]string) // changes the answer of the token endpoint
	Names    bool                          // its answers name the issuer, RFC 9207
}

// New starts a provider that knows one client, whose redirect address is callback.
func New(t *testing.T, callback string) *Provider {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p := &Provider{callback: callback, T: t, Now: time.Now(), Claims: map[string]any{}, issued: map[string]url.Values{},
		key:    jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: private, KeyID: "k1"}},
		public: jose.JSONWebKey{Key: private.Public(), KeyID: "k1", Algorithm: "RS256", Use: "sig"}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		p.answer(w, map[string]any{"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token",
			"jwks_uri": p.URL + "/keys", "userinfo_endpoint": p.URL + "/userinfo", "id_token_signing_alg_values_supported": []string{"RS256"},
			"authorization_response_iss_parameter_supported": p.Names})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		p.answer(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{p.public}})
	})
	mux.HandleFunc("GET /userinfo", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer access" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		p.answer(w, p.Info)
	})
	mux.HandleFunc("GET /authorize", p.authorize)
	mux.HandleFunc("POST /token", p.token)
	p.server = httptest.NewServer(mux)
	p.URL = p.server.URL
	t.Cleanup(p.server.Close)
	return p
}

// Away makes the provider answer nothing it knows; back ends that.
func (p *Provider) Away() (back func()) {
	handler := p.server.Config.Handler
	p.server.Config.Handler = http.NotFoundHandler()
	return func() { p.server.Config.Handler = handler }
}

func (p *Provider) answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		p.Error(err)
	}
}

func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("response_type") != "code" || q.Get("client_id") != ClientID || q.Get("redirect_uri") != p.callback || q.Get("code_challenge_method") != "S256" ||
		!strings.Contains(q.Get("scope"), "openid") || len(q.Get("state")) < 20 || len(q.Get("nonce")) < 20 {
		p.Errorf("asked with %v", q)
	}
	code := rand.Text()
	p.issued[code] = q
	back := url.Values{"code": {code}, "state": {q.Get("state")}}
	if p.Names {
		back.Set("iss", p.URL)
	}
	http.Redirect(w, r, p.callback+"?"+back.Encode(), http.StatusFound)
}

// token gives an ID token for a code, once, to who has the verifier of its challenge.
func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	id, password, _ := r.BasicAuth()
	q, known := p.issued[r.FormValue("code")]
	delete(p.issued, r.FormValue("code"))
	challenge := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	if !known || id != ClientID || password != url.QueryEscape(ClientSecret) || r.FormValue("redirect_uri") != p.callback || base64.RawURLEncoding.EncodeToString(challenge[:]) != q.Get("code_challenge") {
		w.WriteHeader(http.StatusBadRequest)
		p.answer(w, map[string]string{"error": "invalid_grant"})
		return
	}
	claims := map[string]any{"iss": p.URL, "sub": "u1", "aud": ClientID, "exp": p.Now.Add(time.Minute).Unix(), "iat": p.Now.Unix(), "nonce": q.Get("nonce"),
		"email": "ann@example.org", "email_verified": true, "name": "Ann", "groups": []string{"staff", "dev"}}
	for k, v := range p.Claims {
		if v == nil {
			delete(claims, k)
			continue
		}
		claims[k] = v
	}
	out := map[string]string{"access_token": "access", "token_type": "Bearer", "id_token": p.Sign(claims)}
	if p.Spoil != nil {
		p.Spoil(out)
	}
	p.answer(w, out)
}

// Sign gives the claims as a token that the provider signed.
func (p *Provider) Sign(claims map[string]any) string {
	signer, err := jose.NewSigner(p.key, nil)
	if err != nil {
		p.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		p.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		p.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		p.Fatal(err)
	}
	return text
}
