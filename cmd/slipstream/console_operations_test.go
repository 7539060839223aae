//go:build !device

package main

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream/api"
)

// press clicks the button that bears a text, in the open dialog when there is one.
func (b *browser) press(text string) {
	b.Helper()
	find := fmt.Sprintf(`[...(document.querySelector("dialog[open]") ?? document).querySelectorAll("button:not(:disabled)")].find((x) => x.textContent.trim() === %q)`, text)
	b.until("!!" + find)
	b.eval(find + ".click()")
}

// ask presses a button that opens a dialog, and waits for that.
func (b *browser) ask(text string) {
	b.Helper()
	b.press(text)
	b.until(`!!document.querySelector("dialog[open]")`)
}

// enter types into a field and tells the page so.
func (b *browser) enter(selector, text string) {
	b.Helper()
	b.until(fmt.Sprintf("!!document.querySelector(%q)", selector))
	b.eval(fmt.Sprintf(`(() => { const i = document.querySelector(%q); i.value = %q; for (const e of ["input", "change"]) i.dispatchEvent(new Event(e, { bubbles: true })); })()`, selector, text))
}

// closed waits until no dialog is open.
func (b *browser) closed() {
	b.Helper()
	b.until(`!document.querySelector("dialog[open]")`)
}

// operated is a shop with three releases and some hundred simulated devices. The third fails on half of them, and the
// guard looks every second.
func operated(t *testing.T) (*shopper, *browser) {
	t.Helper()
	shop := &shopper{T: t, tool: testTool(t), dir: t.TempDir()}
	s := startTestServer(t, shop.tool, serveFlags{data: shop.dir + "/data", proxies: "127.0.0.1,::1", log: "error", guardEvery: "500ms"})
	b := openBrowser(t, s.URL())
	shop.run("app", "create", "shop", "--display", "Corner Shop")
	shop.publish("1.0.0")
	shop.publish("1.1.0", "--share", "20%", "--notes", "Faster basket")
	b.open("/console/")
	b.signIn(s.Token())
	b.shows("Overview")
	return shop, b
}

func (s *shopper) simulate(devices int, seed string, flags ...string) {
	s.Helper()
	s.run(append([]string{"simulate", "--app", "shop", "--devices", fmt.Sprint(devices), "--settle", "--duration", "20s", "--arrive", "1s", "--poll", "1s",
		"--restart", "200ms", "--confirm-after", "200ms", "--networks", "40", "--seed", seed}, flags...)...)
}

func TestOperatorsSteerARolloutInTheConsole(t *testing.T) {
	shop, b := operated(t)
	shop.simulate(120, "1", "--versions", "1.0.0=100%")

	b.open("/console/apps/shop/channels")
	b.shows("production", "1.1.0", "20%", "1.0.0", "State expires", "No rollout fits")
	b.eval(`[...document.querySelectorAll(".walk a")].find((a) => a.textContent === "1.1.0").click()`)
	b.shows("main 1.1.0", "On the devices", "Share of devices that failed", "Evidence against the release", "Arms compared")

	// The share: what it will do is said before it is done.
	b.enter("input[name=share]", "60")
	b.until(`/About \d+ more of the devices known here \(40% of all\)/.test(document.body.innerText)`)
	b.click("button[name=set-share]")
	b.shows("1.1.0 goes from 20% to 60% of the devices.")
	b.press("Set to 60%")
	b.closed()
	b.shows("It goes to 60% now.")

	// What the command does appears by itself; a dialog that was opened before it does nothing.
	b.ask("Pause")
	b.shows("No new device takes it.")
	shop.run("rollout", "share", "1.1.0", "70%", "--app", "shop")
	b.eval(`document.querySelector("dialog[open] .dialog-foot .primary").click()`)
	b.shows("It has changed meanwhile.", "The share went from 60% to 70%.")
	b.press("Cancel")
	b.shows("It goes to 70% now.")
	b.ask("Pause")
	b.press("Pause")
	b.closed()
	b.shows("Paused.")
	b.ask("Resume")
	b.press("Resume")
	b.closed()

	b.ask("Withdraw")
	b.shows("must leave it at")
	b.enter("dialog input[name=reason]", "basket loses items")
	b.press("Withdraw")
	b.closed()
	b.shows("Devices leave this release at their next check.", "basket loses items")
	if out := shop.run("channel", "show", "production", "--app", "shop"); !strings.Contains(out, "basket loses items") {
		t.Errorf("the channel does not know of the withdrawal:\n%s", out)
	}
	b.quiet()
}

func TestAHaltByTheGuardAppearsInTheConsole(t *testing.T) {
	shop, b := operated(t)
	shop.publish("1.2.0", "--share", "50%", "--control", "20%")
	b.open("/console/apps/shop/channels/production")
	b.shows("1.2.0")
	b.eval(`[...document.querySelectorAll(".walk a")].find((a) => a.textContent === "1.2.0").click()`)
	b.shows("main 1.2.0", "The guard has not looked yet")
	shop.simulate(200, "2", "--versions", "1.0.0=100%", "--crash-rate", "1.2.0=60%")
	b.shows("The guard has halted this rollout.", "halted", "100 is enough to halt")
	b.until(`document.querySelectorAll("#guard .chart svg").length === 2`)
	b.shows("Crashed")

	// Nobody is offered to widen what the guard has halted; going on takes a word of its own.
	if got := b.eval(`!!document.querySelector("input[name=share]")`); got != "false" {
		t.Error("a halted rollout may be given a share")
	}
	b.ask("Resume")
	b.shows("although the guard found harm")
	b.press("Cancel")
	b.closed()

	b.open("/console/alerts")
	b.shows("critical", "The rollout of version 1.2.0 of shop")
	b.ask("Acknowledge")
	b.enter("dialog input[name=note]", "looking at it")
	b.press("Acknowledge")
	b.closed()
	b.shows("looked after", "looking at it")
	b.fleet(shop)
	b.quiet()
}

// fleet finds a device that went back, sees why it gets what it gets, and has its data deleted.
func (b *browser) fleet(shop *shopper) {
	b.Helper()
	b.open("/console/apps/shop/fleet?step=minute")
	b.shows("What the fleet runs", "Outcomes of trials", "Crashed")
	b.until(`document.querySelectorAll(".chart svg").length >= 2`)

	list := decodeJSON[api.DeviceList](shop, shop.run("device", "list", "--app", "shop", "--release", "1.0.0", "--json"))
	var gone string
	for _, d := range list.Devices {
		if strings.Contains(shop.run("device", "show", d.Device, "--app", "shop", "--json"), "rolled_back") {
			gone = d.Device
			break
		}
	}
	if gone == "" {
		b.Fatal("no device went back")
	}
	b.open("/console/apps/shop/devices")
	b.enter(`input[type="search"]`, gone[:10])
	b.until(fmt.Sprintf(`[...document.querySelectorAll("tbody a")].length === 1 && document.querySelector("tbody a").textContent === %q`, gone[:16]))
	b.click("tbody a")
	b.shows("Why it gets what it gets on production", "Given up after crashes", "keeps what it has", "Went back", "Rollouts that it took part in")
	b.ask("Delete its data")
	b.shows("all else that is kept of this device")
	b.press("Delete its data")
	b.closed()
	b.until(`location.pathname === "/console/apps/shop/devices"`)
	if n := len(decodeJSON[api.DeviceList](shop, shop.run("device", "list", "--app", "shop", "--prefix", gone, "--json")).Devices); n != 0 {
		b.Error("the device is still known")
	}
}

func TestOwnersMakeTokensAndReadTheAuditLogInTheConsole(t *testing.T) {
	shop, b := operated(t)
	b.open("/console/tokens")
	b.ask("Make a token")
	b.enter("dialog input[name=name]", "ci")
	b.enter("dialog select[name=role]", "viewer")
	b.shows("It may look, and change nothing.")
	b.press("Make a token")
	b.shows("It is shown this once.")
	secret := b.eval(`document.querySelector("dialog .once code").textContent`)
	b.press("Done")
	b.closed()
	b.shows("ci", "Viewer")
	who := func() string { return shop.run("token", "list", "--json") }
	if !strings.HasPrefix(secret, "slp_") || !strings.Contains(who(), `"ci"`) {
		t.Fatalf("the secret is %q, the tokens are %s", secret, who())
	}
	b.click(`button[aria-label="Revoke ci"]`)
	b.shows("let in no more")
	b.press("Revoke")
	b.closed()
	b.until(`!document.querySelector('button[aria-label="Revoke ci"]')`)
	if strings.Contains(who(), `"ci"`) {
		t.Error("the token is still there")
	}

	b.open("/console/audit")
	b.shows("token.create", "token.revoke", "rollout.start")
	b.press("Verify the chain")
	b.until(`/The chain of \d+ entries holds/.test(document.body.innerText)`)
	b.quiet()
}

func TestAViewerIsOfferedNothingToDo(t *testing.T) {
	shop, b := operated(t)
	said := shop.run("token", "create", "guest", "--role", "viewer")
	secret := regexp.MustCompile(`slp_[0-9a-f]+`).FindString(said)
	b.click(`button[aria-label="Sign out"]`)
	b.shows("Sign in")
	b.open("/console/apps/shop/channels/production")
	b.signIn(secret)
	b.shows("State expires", "1.1.0")
	for _, verb := range []string{"Offer", "Roll back", "Set a floor", "Promote", "Freeze plans"} {
		if b.eval(fmt.Sprintf(`[...document.querySelectorAll("button")].some((x) => x.textContent === %q)`, verb)) == "true" {
			t.Errorf("a viewer is offered %s", verb)
		}
	}
	b.quiet()
}

// A rollout by a plan and under a condition, what may be done with it, and the ways forward and back between releases.
func TestOperatorsOfferPromoteAndRollBackInTheConsole(t *testing.T) {
	shop, b := operated(t)
	shop.run("channel", "create", "beta", "--app", "shop")
	shop.publish("1.2.0", "--no-rollout")
	channel := func(name string) api.Channel {
		return decodeJSON[api.Channel](shop, shop.run("channel", "show", name, "--app", "shop", "--json"))
	}

	b.open("/console/apps/shop/channels/production")
	b.ask("Offer")
	b.shows("There is a signed way back to 1.1.0, 1.0.0.")
	b.press("By a plan")
	b.enter("dialog input[name=stages]", "5%:1h:10, 50%:2h, 100%")
	b.press("Add a condition")
	b.enter("dialog .when-row > :nth-child(3)", "cn, jp")
	b.shows("The plan then goes on by itself")
	b.press("Offer")
	b.shows("main 1.2.0", "country is one of cn, jp", "The next stage comes")
	top := channel("production").Policy.Packages["main"].Rollouts[0]
	if top.Version != "1.2.0" || top.To != 500 || len(top.Plan.Stages) != 3 || top.Plan.Stages[0].MinDevices != 10 || top.When[0].Attr != "country" || strings.Join(strings.Fields(string(top.When[0].Value)), "") != `["cn","jp"]` {
		t.Errorf("it is offered so: %+v, plan %+v", top, top.Plan)
	}
	b.ask("Freeze")
	b.press("Freeze")
	b.closed()
	b.shows("Waits: the plan is frozen")
	b.ask("Next stage")
	b.press("Next stage")
	b.closed()
	b.shows("It goes to 50% now.")
	b.ask("Finish")
	b.press("Finish")
	b.closed()
	b.shows("It goes to 100% now.", "It grows by hand alone.")

	b.open("/console/apps/shop/channels/beta")
	b.ask("Promote")
	b.shows("1.2.0 is offered here to 100%", "It keeps its conditions: country is one of cn, jp")
	b.press("Promote")
	b.shows("Done. Mind this:", "is not promoted")
	b.press("Close")
	b.closed()
	b.until(`[...document.querySelectorAll(".walk a")].some((a) => a.textContent === "1.2.0")`)

	b.open("/console/apps/shop/channels/production")
	b.ask("Roll back")
	b.enter("dialog input[name=reason]", "slow start")
	b.shows("1.1.0 is in force again, and 1.2.0 withdrawn in the same step.")
	b.press("Roll back")
	b.closed()
	b.shows("slow start")
	b.ask("Set a floor")
	b.enter("dialog select[name=lowest]", string(channel("production").Policy.Packages["main"].Rollouts[0].Manifest))
	b.press("Set a floor")
	b.closed()
	b.shows("Floors", "seq 2 or newer")
	b.ask("Lift")
	b.press("Lift")
	b.closed()
	b.ask("Freeze plans")
	b.enter("dialog input[name=reason]", "sale")
	b.press("Freeze plans")
	b.closed()
	b.shows("Plans are frozen.", "sale")
	if c := channel("production"); c.Policy.Freeze == nil || len(c.Policy.Packages["main"].Floors) != 0 || len(c.Policy.Packages["main"].Withdrawn) != 1 {
		t.Errorf("the channel is %+v", c.Policy)
	}
	b.quiet()
}
