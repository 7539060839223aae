package api_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/auth"
)

const password = "vier Worte ohne Sinn"

// signedIn is a page of a member who took their invitation up.
func (w *world) signedIn(n api.NewMember) *page {
	w.Helper()
	m, err := w.client("owner").CreateMember(w.ctx, n)
	w.must(err)
	p := &page{world: w}
	p.want(200, "POST", "/v1/session/accept", `{"code":"`+m.Invitation.Code+`","password":"`+password+`"}`, `"member":"`+n.Name+`"`)
	return p
}

func decoded[T any](w *world, text string) T {
	w.Helper()
	var v T
	w.must(json.Unmarshal([]byte(text), &v))
	return v
}

func TestAMemberIsInvitedSignsInAndActsByTheirName(t *testing.T) {
	w := newWorld(t)
	for _, app := range []string{"shop", "cart"} {
		_, err := w.client("owner").CreateApp(w.ctx, api.NewApp{Name: app})
		w.must(err)
	}
	m, err := w.client("owner").CreateMember(w.ctx, api.NewMember{Name: "ann", Email: "ann@example.org", Role: "operator", Apps: []string{"shop"}})
	w.must(err)
	if m.Invitation.Path != "/console/#invitation="+m.Invitation.Code || m.Password || len(m.Invitation.Code) != 64 {
		t.Errorf("%+v", m)
	}
	p := &page{world: w}
	code := `{"code":"` + m.Invitation.Code + `"}`
	p.want(200, "POST", "/v1/session/invitation", code, `"name":"ann"`, `"secondFactor":"optional"`, `"url":"otpauth:`)
	p.want(422, "POST", "/v1/session/accept", `{"code":"`+m.Invitation.Code+`","password":"short"}`, "at least 10 characters")
	p.want(200, "POST", "/v1/session/accept", `{"code":"`+m.Invitation.Code+`","password":"`+password+`"}`, `"member":"ann"`, `"apps":["shop"]`)
	p.want(401, "POST", "/v1/session/invitation", code, "slipstream member link")
	p.want(200, "GET", "/v1/admin/apps", "", `"name":"shop"`)
	if _, answer := p.ask("GET", "/v1/admin/apps", ""); strings.Contains(answer, "cart") {
		t.Errorf("sees another app: %s", answer)
	}
	p.want(403, "GET", "/v1/admin/apps/cart", "")
	p.want(403, "GET", "/v1/admin/members", "", "ann, with role operator for app shop may not")
	p.want(200, "GET", "/v1/admin/audit", "", `"entries"`)

	other := &page{world: w}
	wrong := other.want(401, "POST", "/v1/session", `{"member":"ann","password":"wrong password"}`)
	unknown := other.want(401, "POST", "/v1/session", `{"member":"eve","password":"wrong password"}`)
	if wrong != unknown {
		t.Errorf("the answers differ:\n%s\n%s", wrong, unknown)
	}
	other.want(200, "POST", "/v1/session", `{"member":"Ann@example.org","password":"`+password+`"}`, `"via":"password"`)
	other.want(200, "GET", "/v1/session/account", "", `"name":"ann"`, `"current":true`, `"secondFactor":false`)
	other.want(204, "DELETE", "/v1/session/all", "")
	p.want(401, "GET", "/v1/session", "")
	other.want(401, "GET", "/v1/session", "")
}

func TestASecondFactorAndPersonalTokens(t *testing.T) {
	w := newWorld(t)
	p := w.signedIn(api.NewMember{Name: "ann", Role: "publisher"})
	setup := decoded[api.FactorSetup](w, p.want(200, "POST", "/v1/session/second-factor/new", "", `"secret"`))
	code := func(d time.Duration) string {
		s, err := totp.GenerateCode(setup.Secret, time.Now().Add(d))
		w.must(err)
		return s
	}
	p.want(422, "POST", "/v1/session/second-factor", `{"password":"`+password+`","secret":"`+setup.Secret+`","first":"000000"}`, "clock")
	codes := decoded[api.Recovery](w, p.want(200, "POST", "/v1/session/second-factor", `{"password":"`+password+`","secret":"`+setup.Secret+`","first":"`+code(-30*time.Second)+`"}`))
	other := &page{world: w}
	other.want(401, "POST", "/v1/session", `{"member":"ann","password":"`+password+`"}`, `"code":"second_factor_needed"`)
	other.want(401, "POST", "/v1/session", `{"member":"ann","password":"`+password+`","otp":"000000"}`, `"code":"unauthorized"`)
	other.want(200, "POST", "/v1/session", `{"member":"ann","password":"`+password+`","otp":"`+code(30*time.Second)+`"}`)
	p.want(200, "POST", "/v1/session", `{"member":"ann","password":"`+password+`","otp":"`+codes.Recovery[0]+`"}`)
	p.want(200, "GET", "/v1/session/account", "", `"recovery":9`)

	p.want(403, "POST", "/v1/session/tokens", `{"name":"ann-ci","role":"owner","password":"`+password+`","otp":"`+codes.Recovery[1]+`"}`, "more than your own")
	token := decoded[api.Token](w, p.want(200, "POST", "/v1/session/tokens", `{"name":"ann-ci","role":"operator","password":"`+password+`","otp":"`+codes.Recovery[1]+`"}`, `"member":"ann"`))
	w.secrets["ann-ci"] = token.Secret
	me, err := w.client("ann-ci").WhoAmI(w.ctx)
	w.must(err)
	if me.Member != "ann" || me.Role != auth.Operator {
		t.Errorf("%+v", me)
	}
	owners := decoded[api.TokenList](w, (&page{world: w}).as("owner").want(200, "GET", "/v1/admin/tokens", ""))
	for _, k := range owners.Tokens {
		if k.Member == "" {
			p.want(403, "DELETE", "/v1/session/tokens/"+k.ID, "")
			break
		}
	}
	w.must(w.client("owner").SignMemberOut(w.ctx, "ann"))
	if _, err := w.client("ann-ci").WhoAmI(w.ctx); err != nil {
		t.Errorf("her program is no browser: %v", err)
	}
	w.must(w.client("owner").RemoveMember(w.ctx, "ann"))
	if _, err := w.client("ann-ci").WhoAmI(w.ctx); err == nil {
		t.Error("the token of a member who is gone works")
	}
}

// as signs the page in with a token.
func (p *page) as(name string) *page {
	p.Helper()
	p.want(200, "POST", "/v1/session", `{"token":"`+p.secrets[name]+`"}`)
	return p
}

func TestABrowserThatATokenSignedInHasNoAccount(t *testing.T) {
	w := newWorld(t)
	p := (&page{world: w}).as("owner")
	for _, path := range []string{"password", "second-factor/new", "recovery", "tokens"} {
		body := map[string]string{"password": `{"new":"` + password + `"}`, "tokens": `{"name":"x","role":"viewer"}`, "recovery": "{}"}[path]
		p.want(403, "POST", "/v1/session/"+path, body, "your name and password")
	}
	p.want(403, "GET", "/v1/session/account", "")
}

func TestOnlyOwnersManageMembers(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"publisher", "operator", "viewer"} {
		c := w.client(name)
		_, err1 := c.Members(w.ctx)
		_, err2 := c.CreateMember(w.ctx, api.NewMember{Name: "eve", Role: "owner"})
		if err1 == nil || err2 == nil {
			t.Errorf("%s manages members", name)
		}
	}
	owner := w.signedIn(api.NewMember{Name: "ann", Role: "owner"})
	owner.want(200, "POST", "/v1/admin/members", `{"name":"bob","role":"viewer"}`, `"invitation"`)
	owner.want(200, "GET", "/v1/admin/members", "", `"name":"bob"`)
	owner.want(200, "GET", "/v1/admin/audit?action=member.create", "", `"actor":"ann"`)
	owner.want(409, "DELETE", "/v1/admin/members/ann", "", "the last owner")
	owner.want(200, "PATCH", "/v1/admin/members/bob", `{"disabled":true}`, `"disabled":true`)
	owner.want(404, "PATCH", "/v1/admin/members/eve", `{"disabled":true}`)
	owner.want(204, "DELETE", "/v1/admin/members/bob", "")
}

func TestGuessingAtPasswordsIsRefusedEvenWhenItIsRight(t *testing.T) {
	w := newWorld(t)
	w.signedIn(api.NewMember{Name: "ann", Role: "viewer"})
	w.signedIn(api.NewMember{Name: "bob", Role: "viewer"})
	p := &page{world: w}
	for i := range 10 {
		p.want(401, "POST", "/v1/session", `{"member":"ann","password":"wrong password"}`)
		if i == 8 {
			p.want(200, "POST", "/v1/session", `{"member":"bob","password":"`+password+`"}`) // buys no more guesses
		}
	}
	p.want(429, "POST", "/v1/session", `{"member":"ann","password":"`+password+`"}`)
	p.header = map[string][]string{"Test-Sender": {"192.0.2.77"}}
	p.want(200, "POST", "/v1/session", `{"member":"ann","password":"`+password+`"}`)
}
