//go:build !device

package main

import (
	"testing"

	"github.com/slipstream-ota/slipstream/api"
)

// Who signs out is signed out or told that they are not, and what they asked for last is not shown to who comes after them.
func TestTheConsoleLeavesNothingToTheNextPerson(t *testing.T) {
	tool := testTool(t)
	s := startTestServer(t, tool, serveFlags{data: t.TempDir()})
	for _, app := range []string{"shop", "cart"} {
		mustRun(t, tool, "app", "create", app)
	}
	c, err := api.NewClient(s.URL(), s.Token(), nil)
	if err != nil {
		t.Fatal(err)
	}
	limited, err := c.CreateToken(t.Context(), api.NewToken{Name: "limited", Role: "viewer", App: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	b := openBrowser(t, s.URL())
	b.open("/console/")
	b.signIn(s.Token())
	b.shows("Overview", "cart", "shop")

	// The test stands between the page and its server: answers come when it says so.
	b.eval(`(window.real = window.fetch, window.away = true, window.held = [], window.fetch = async (where, how) => {
		if (how?.method === "DELETE" && away) return new Response('{"code":"unavailable","detail":"the database is away"}', {status: 503});
		const answer = await real(where, how);
		if (where.startsWith("/v1/admin/") && window.hold) await new Promise((go) => held.push(go));
		return answer;
	}, "")`)
	b.click("button[aria-label='Sign out']")
	b.shows("the database is away")
	if got := b.eval(`document.querySelectorAll("aside").length`); got != "1" {
		t.Errorf("who could not be signed out is shown as signed out")
	}
	b.eval(`(window.away = false, window.hold = true, window.dispatchEvent(new Event("online")), "")`)
	b.until(`held.length >= 2`)
	b.click("button[aria-label='Sign out']")
	b.shows("Sign in")
	b.eval(`(held.splice(0).forEach((go) => go()), "")`)
	b.signIn(limited.Secret)
	b.until(`document.querySelectorAll("aside").length === 1 && held.length >= 2`)
	if got := b.eval(`document.body.innerText.includes("cart")`); got != "false" {
		t.Errorf("who came after sees what the one before them asked for")
	}
	b.eval(`(window.hold = false, held.splice(0).forEach((go) => go()), "")`)
	b.shows("shop")
	if got := b.eval(`document.body.innerText.includes("cart")`); got != "false" {
		t.Errorf("an app that is not theirs is shown")
	}
	b.quiet()
}
