package api_test

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/store"
)

// page asks as a page of the server would, with the cookies that it has.
type page struct {
	*world
	jar    []*http.Cookie
	header http.Header
}

// ask gives status and body, and keeps the cookie that is set.
func (p *page) ask(method, path, body string) (int, string) {
	p.Helper()
	req, err := http.NewRequestWithContext(p.ctx, method, p.url+path, strings.NewReader(body))
	p.must(err)
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	req.Header.Set("Content-Type", "application/json")
	for k, v := range p.header {
		req.Header[k] = v
	}
	for _, c := range p.jar {
		req.AddCookie(c)
	}
	res, err := http.DefaultClient.Do(req)
	p.must(err)
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	p.must(err)
	for _, c := range res.Cookies() {
		p.jar = slices.DeleteFunc(p.jar, func(have *http.Cookie) bool { return have.Name == c.Name })
		if c.MaxAge >= 0 {
			p.jar = append(p.jar, c)
		}
	}
	return res.StatusCode, string(answer)
}

func (p *page) want(status int, method, path, body string, parts ...string) string {
	p.Helper()
	got, answer := p.ask(method, path, body)
	if got != status {
		p.Errorf("%s %s: %d %s, want %d", method, path, got, answer, status)
	}
	for _, part := range parts {
		if !strings.Contains(answer, part) {
			p.Errorf("%s %s: %s, want %s", method, path, answer, part)
		}
	}
	return answer
}

func TestABrowserSignsInWithATokenAndOut(t *testing.T) {
	w := newWorld(t)
	p := &page{world: w}
	p.want(401, "GET", "/v1/session", "", `"code":"unauthorized"`)
	p.want(401, "GET", "/v1/admin/whoami", "")
	p.want(401, "POST", "/v1/session", `{"token":"slp_wrong"}`, `"code":"unauthorized"`)
	p.want(422, "POST", "/v1/session", `{"tokens":"x"}`)
	body := p.want(200, "POST", "/v1/session", `{"token":"`+w.secrets["publisher"]+`"}`, `"name":"publisher"`, `"actions":["read","publish","operate"]`, `"apps":[]`, `"via":"token"`)
	if len(p.jar) != 1 || !p.jar[0].HttpOnly || p.jar[0].SameSite != http.SameSiteStrictMode || p.jar[0].Path != "/" || strings.Contains(body, p.jar[0].Value) {
		t.Fatalf("cookie %v, body %s", p.jar, body)
	}
	p.want(200, "GET", "/v1/session", "", `"role":"publisher"`)
	p.want(200, "GET", "/v1/admin/whoami", "", `"name":"publisher"`)
	p.want(403, "GET", "/v1/admin/tokens", "", "publisher, with role publisher may not")
	kept := slices.Clone(p.jar)
	p.want(204, "DELETE", "/v1/session", "")
	if len(p.jar) != 0 {
		t.Errorf("the cookie is still there: %v", p.jar)
	}
	p.jar = kept
	p.want(401, "GET", "/v1/session", "")
	p.want(401, "GET", "/v1/admin/whoami", "")
}

func TestASessionNamesItsTokenInTheAuditLogAndEndsWithIt(t *testing.T) {
	w := newWorld(t)
	p := &page{world: w}
	p.want(200, "POST", "/v1/session", `{"token":"`+w.secrets["owner"]+`"}`)
	p.want(200, "POST", "/v1/admin/apps", `{"name":"shop"}`)
	p.want(200, "GET", "/v1/admin/audit?action=app.create", "", `"actor":"owner"`)
	p.want(200, "GET", "/v1/admin/audit?action=session.start", "", `"actor":"owner"`)
	who, err := w.tokens.Authenticate(w.ctx, "Bearer "+w.secrets["owner"])
	w.must(err)
	w.must(w.tokens.Revoke(w.ctx, "test", who.Token, func(store.Token) error { return nil }))
	p.want(401, "GET", "/v1/session", "")
	p.want(401, "GET", "/v1/admin/apps", "")
}

func TestACookieWorksForTheServersOwnPagesAlone(t *testing.T) {
	w := newWorld(t)
	p := &page{world: w}
	p.want(200, "POST", "/v1/session", `{"token":"`+w.secrets["owner"]+`"}`)
	for _, header := range []http.Header{{"Sec-Fetch-Site": {"cross-site"}}, {"Sec-Fetch-Site": {"same-site"}}, {"Sec-Fetch-Site": nil, "Origin": {"https://evil.example"}}} {
		p.header = header
		p.want(403, "POST", "/v1/admin/apps", `{"name":"shop"}`, `"code":"cross_origin"`)
		p.want(403, "POST", "/v1/session", `{"token":"`+w.secrets["viewer"]+`"}`, `"code":"cross_origin"`)
		p.want(403, "DELETE", "/v1/session", "", `"code":"cross_origin"`)
	}
	p.header = http.Header{"Authorization": {"Bearer " + w.secrets["viewer"]}}
	p.want(200, "GET", "/v1/admin/whoami", "", `"name":"viewer"`) // the cookie is not looked at
	p.header = http.Header{"Authorization": {"Bearer slp_wrong"}}
	p.want(401, "GET", "/v1/admin/whoami", "")
	p.header = nil
	p.want(404, "GET", "/v1/admin/apps/shop", "")
}

func TestGuessingAtSignInIsSlowedDown(t *testing.T) {
	w := newWorld(t)
	p := &page{world: w}
	for range 5 {
		p.want(401, "POST", "/v1/session", `{"token":"slp_wrong"}`)
		p.want(401, "POST", "/v1/session", `{"code":"`+strings.Repeat("0", 64)+`"}`)
	}
	p.want(429, "POST", "/v1/session", `{"token":"slp_wrong"}`, `"code":"too_many_requests"`)
	p.want(429, "POST", "/v1/session", `{"code":"wrong"}`)
	p.want(200, "POST", "/v1/session", `{"token":"`+w.secrets["owner"]+`"}`)
}

func TestASignInLink(t *testing.T) {
	w := newWorld(t)
	link, err := w.client("operator").SessionLink(w.ctx)
	w.must(err)
	p := &page{world: w}
	p.want(200, "POST", "/v1/session", `{"code":"`+link.Code+`"}`, `"role":"operator"`, `"via":"link"`)
	p.want(422, "POST", "/v1/admin/session-links", "", "not by a browser")
	other := &page{world: w}
	other.want(401, "POST", "/v1/session", `{"code":"`+link.Code+`"}`)
	if _, answer := p.ask("GET", "/v1/admin/audit", ""); strings.Contains(answer, link.Code) {
		t.Error("the code is in the audit log")
	}
}

func TestTheCookieOfAServerBehindHTTPS(t *testing.T) {
	w := newWorld(t)
	s := api.New(api.Config{Store: w.store, Tokens: w.tokens, Origin: "https://updates.example.org"})
	rec := record(s.Handler(), "POST", "/v1/session", `{"token":"`+w.secrets["viewer"]+`"}`, http.Header{"Content-Type": {"application/json"}, "Origin": {"https://updates.example.org"}})
	k := rec.Result().Cookies()
	if rec.Code != 200 || len(k) != 1 || k[0].Name != "__Host-slipstream" || !k[0].Secure || k[0].Domain != "" {
		t.Fatalf("%d %s %v", rec.Code, rec.Body, k)
	}
	var session api.Session
	w.must(json.Unmarshal(rec.Body.Bytes(), &session))
	if session.Role != auth.Viewer || session.Expires.After(session.Ends) {
		t.Errorf("%+v", session)
	}
	// A cookie that another host of the domain, or somebody on the line, could have set is not looked at.
	rec = record(s.Handler(), "GET", "/v1/session", "", http.Header{"Cookie": {"slipstream=" + k[0].Value}})
	if rec.Code != 401 {
		t.Errorf("a plain cookie: %d", rec.Code)
	}
}
