package api_test

import (
	"bytes"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/auth/sso"
	"github.com/slipstream-ota/slipstream/auth/sso/ssotest"
	"github.com/slipstream-ota/slipstream/internal/seal"
)

// ssoWorld is a server that people sign in to by an identity provider.
func ssoWorld(t *testing.T, admission auth.Admission) (*world, *ssotest.Provider, *httptest.Server) {
	t.Helper()
	w := newWorld(t)
	var handler http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/console/") {
			_, _ = rw.Write([]byte("the console"))
			return
		}
		handler.ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)
	idp := ssotest.New(t, server.URL+api.SSOCallbackPath)
	sealer, err := seal.New(bytes.Repeat([]byte{1}, 32))
	w.must(err)
	provider, err := sso.New(sso.Config{Issuer: idp.URL, ClientID: ssotest.ClientID, ClientSecret: ssotest.ClientSecret, Redirect: server.URL + api.SSOCallbackPath, Name: "Staff", Sealer: sealer})
	w.must(err)
	handler = api.New(api.Config{Store: w.store, Tokens: w.tokens, Origin: server.URL, SSO: provider, Admission: admission,
		Members: auth.NewMembers(auth.MembersConfig{Config: auth.Config{Store: w.store}, Sealer: sealer})}).Handler()
	return w, idp, server
}

// surf follows a browser to where it ends, and gives the address with its fragment.
func surf(t *testing.T, address string) (*http.Client, *url.URL) {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	var last *url.URL
	client := &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		last = r.URL
		return nil
	}}
	res, err := client.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("%s ended with %s", address, res.Status)
	}
	return client, last
}

func TestABrowserSignsInByTheIdentityProvider(t *testing.T) {
	w, _, server := ssoWorld(t, auth.Admission{})
	_, err := w.client("owner").CreateMember(w.ctx, api.NewMember{Name: "ann", Email: "ann@example.org", Role: "operator"})
	w.must(err)
	client, end := surf(t, server.URL+api.SSOPath)
	if end.Path != "/console/" || end.Fragment != "" {
		t.Fatalf("ends at %s", end)
	}
	res, err := client.Get(server.URL + "/v1/session")
	w.must(err)
	defer res.Body.Close()
	var text bytes.Buffer
	_, err = text.ReadFrom(res.Body)
	w.must(err)
	if !strings.Contains(text.String(), `"member":"ann"`) || !strings.Contains(text.String(), `"via":"sso"`) {
		t.Errorf("signed in as %s", text.String())
	}
	at, err := url.Parse(server.URL)
	w.must(err)
	if names := client.Jar.Cookies(at); len(names) != 1 {
		t.Errorf("cookies left: %v", names)
	}
	ways := record(server.Config.Handler, "GET", "/v1/session/ways", "", nil)
	if !strings.Contains(ways.Body.String(), `"sso":{"name":"Staff","path":"/v1/session/oidc"}`) {
		t.Errorf("ways are %s", ways.Body)
	}
}

func TestTheConsoleIsToldWhyTheIdentityProviderWasNotEnough(t *testing.T) {
	for name, k := range map[string]struct {
		claims map[string]any
		want   string
	}{
		"no member":       {nil, api.CodeSSONoMember},
		"not vouched for": {map[string]any{"email_verified": false}, api.CodeSSOUnverified},
		"a wrong token":   {map[string]any{"nonce": "another"}, api.CodeSSOProvider},
	} {
		t.Run(name, func(t *testing.T) {
			_, idp, server := ssoWorld(t, auth.Admission{Domains: []string{"example.com"}, Role: auth.Viewer})
			idp.Claims = k.claims
			client, end := surf(t, server.URL+api.SSOPath)
			if end.Path != "/console/" || end.Fragment != "problem="+k.want {
				t.Errorf("ends at %s", end)
			}
			at, _ := url.Parse(server.URL)
			if left := client.Jar.Cookies(at); len(left) != 0 {
				t.Errorf("cookies left: %v", left)
			}
		})
	}
	_, idp, server := ssoWorld(t, auth.Admission{})
	if _, end := surf(t, server.URL+api.SSOCallbackPath+"?code=x&state=y"); end.Fragment != "problem="+api.CodeSSOExpired {
		t.Errorf("an answer that nobody asked for ends at %s", end)
	}
	idp.Away()
	if _, end := surf(t, server.URL+api.SSOPath); end.Fragment != "problem="+api.CodeSSOProvider {
		t.Errorf("without the provider it ends at %s", end)
	}
	rec := record(server.Config.Handler, "GET", api.SSOPath, "", http.Header{"Sec-Fetch-Site": {"cross-site"}})
	if rec.Code != http.StatusForbidden {
		t.Errorf("another site begins a sign-in: %d", rec.Code)
	}
}
