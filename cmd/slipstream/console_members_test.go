//go:build !device

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/slipstream-ota/slipstream/api"
)

// fill types into a field of the page.
func (b *browser) fill(selector, text string) {
	b.Helper()
	b.until(`!!document.querySelector(` + quoted(selector) + `)`)
	b.eval(`(() => { const i = document.querySelector(` + quoted(selector) + `); i.value = ` + quoted(text) + `; i.dispatchEvent(new Event("input", { bubbles: true })); })()`)
}

func quoted(s string) string { return "`" + s + "`" }

func TestAMemberJoinsByInvitationAndSignsInWithASecondFactor(t *testing.T) {
	tool := testTool(t)
	s := startTestServer(t, tool, serveFlags{data: t.TempDir()})
	mustRun(t, tool, "app", "create", "shop")
	c, err := api.NewClient(s.URL(), s.Token(), nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.CreateMember(t.Context(), api.NewMember{Name: "ann", Display: "Ann Li", Role: "publisher"})
	if err != nil {
		t.Fatal(err)
	}
	b := openBrowser(t, s.URL())

	b.open(m.Invitation.Path)
	b.shows("Welcome", "Ann Li, you are invited as Publisher")
	b.fill("input[name=password]", "short")
	b.click("form button[type=submit]")
	b.shows("invalid")
	b.fill("input[name=password]", "paper boats cross the harbour")
	b.click("input[type=checkbox]")
	b.until(`document.querySelector(".factor img")?.naturalWidth > 100`)
	secret := b.eval(`document.querySelector(".factor code").innerText`)
	code := func(at time.Time) string {
		t.Helper()
		out, err := totp.GenerateCode(secret, at)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	now := time.Now()
	b.fill("input[name=otp]", code(now))
	b.click("form button[type=submit]")
	b.shows("Keep these recovery codes")
	recovery := strings.Fields(b.eval(`document.querySelector(".codes").innerText`))
	b.click(".button.primary")
	b.shows("Overview", "ann", "Publisher")
	if got := b.eval("location.hash"); got != "" {
		t.Errorf("the invitation is kept in the address: %s", got)
	}

	// What her role does not allow is not offered; her account is.
	b.open("/console/account")
	b.shows("Second factor", "recovery codes left", "this one")
	b.click("button[aria-label='Sign out']")
	b.shows("Name or e-mail")
	b.fill("input[name=member]", "ann")
	b.fill("input[name=password]", "paper boats cross the river")
	b.click("form button[type=submit]")
	b.shows("unauthorized")
	b.fill("input[name=password]", "paper boats cross the harbour")
	b.click("form button[type=submit]")
	b.fill("input[name=otp]", recovery[0])
	b.click("form button[type=submit]")
	b.shows("Account", "Personal tokens", "9 recovery codes left")

	// A personal token asks again who it is, and its secret is shown once.
	b.eval(`[...document.querySelectorAll("button")].find((x) => x.innerText === "New token").click()`)
	b.fill("dialog input[name=name]", "laptop")
	b.fill("dialog input[type=password]", "paper boats cross the harbour")
	b.fill("dialog input[autocomplete=one-time-code]", recovery[1])
	b.click("dialog button[type=submit]")
	b.until(`/^slp_/.test(document.querySelector("dialog .secret")?.innerText)`)
	own, err := api.NewClient(s.URL(), b.eval(`document.querySelector("dialog .secret").innerText`), nil)
	if err != nil {
		t.Fatal(err)
	}
	if me, err := own.WhoAmI(t.Context()); err != nil || me.Role != "publisher" {
		t.Errorf("the token is of %+v, %v", me, err)
	}
	b.click("dialog .button.primary")
	b.shows("laptop")
	b.quiet()
}
