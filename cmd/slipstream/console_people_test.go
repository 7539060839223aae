//go:build !device

package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/auth/sso/ssotest"
)

// freeAddress is one that nobody listens on, for a server that must know its own beforehand.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestAnOwnerInvitesMembersInTheConsoleAndTheyComeByTheIdentityProvider(t *testing.T) {
	at := freeAddress(t)
	base := "http://" + at
	idp := ssotest.New(t, base+api.SSOCallbackPath)
	secret := filepath.Join(t.TempDir(), "client-secret")
	if err := os.WriteFile(secret, []byte(ssotest.ClientSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tool := testTool(t)
	s := startTestServer(t, tool, serveFlags{data: t.TempDir(), listen: at, baseURL: base,
		signIn: signInFlags{issuer: idp.URL, clientID: ssotest.ClientID, secretFile: secret, name: "Staff"}})
	mustRun(t, tool, "app", "create", "shop")
	c, err := api.NewClient(s.URL(), s.Token(), nil)
	if err != nil {
		t.Fatal(err)
	}
	link, err := c.SessionLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b := openBrowser(t, base)
	b.open("/console/members#signin=" + link.Code)
	b.shows("Members", "No member yet")
	b.press("Invite a member")
	b.enter("dialog input[name=name]", "ann")
	b.enter("dialog input[name=email]", "ann@example.org")
	b.enter("dialog select[name=role]", "operator")
	b.shows("May change and stop rollouts")
	b.press("Invite")
	b.shows("Link for ann", base+"/console/#invitation=")
	b.press("Close")
	b.shows("ann@example.org", "Operator", "invited")

	// Her own page: everything that is done asks before.
	b.eval(`document.querySelector("a[href='/console/members/ann']").click()`)
	b.shows("About", "Not signed in anywhere")
	b.press("Change")
	b.enter("dialog select[name=role]", "publisher")
	b.press("Save")
	b.closed()
	b.shows("Publisher")
	b.press("Disable")
	b.shows("They are signed out at once")
	b.press("Disable")
	b.closed()
	b.shows("disabled")
	b.press("Enable")
	b.shows("They may sign in again")
	b.press("Enable")
	b.closed()
	b.shows("invited")
	b.open("/console/")
	b.click("button[aria-label='Sign out']")

	// She comes by the identity provider.
	b.shows("Sign in with Staff")
	b.click("a.sso")
	b.shows("Overview", "ann", "Publisher")
	if m, err := c.Member(t.Context(), "ann"); err != nil || !m.SSO || len(m.Sessions) != 1 || m.Sessions[0].Via != "sso" {
		t.Errorf("%+v, %v", m, err)
	}
	b.until(`![...document.querySelectorAll("nav a")].some((a) => a.pathname === "/console/members")`) // not for her
	b.open("/console/account")
	b.press("New token")
	b.enter("dialog input[name=name]", "ann-ci")
	b.click("dialog form button[type=submit]")
	b.until(`document.querySelector("dialog .secret")?.innerText.startsWith("slp_")`)
	program, err := api.NewClient(base, b.eval(`document.querySelector("dialog .secret").innerText`), nil)
	if err != nil {
		t.Fatal(err)
	}
	if me, err := program.WhoAmI(t.Context()); err != nil || me.Member != "ann" || me.Role != "publisher" {
		t.Errorf("her program is %+v, %v", me, err)
	}
	b.click("dialog .button.primary")
	b.shows("ann-ci")
	b.click("button[aria-label='Sign out']")
	idp.Claims = map[string]any{"sub": "u2", "email": "eve@example.org"}
	b.click("a.sso")
	b.shows("No member has this identity")
	if at := b.eval("location.href"); strings.Contains(at, "problem") {
		t.Errorf("the problem is kept in the address: %s", at)
	}
	b.quiet()
}
