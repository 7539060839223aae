//go:build !device

package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/store"
	"github.com/slipstream-ota/slipstream/store/sqlite"
)

// consoleShop is a server with an app and two published releases of it, the second for a fifth of the devices.
func consoleShop(t *testing.T) (s *runningServer, data string) {
	t.Helper()
	tool := testTool(t)
	data = t.TempDir()
	s = startTestServer(t, tool, serveFlags{data: data})
	mustRun(t, tool, "app", "create", "shop", "--display", "Corner Shop")
	dir := t.TempDir()
	words := rand.New(rand.NewPCG(1, 2))
	var script strings.Builder
	for i := range 16000 {
		fmt.Fprintf(&script, "function f%d(x){return x+%d}\n", i, words.IntN(1_000_000))
	}
	writeFiles(t, dir, map[string]string{"index.html": "<!doctype html><title>shop</title>", "main.js": script.String(), "old.txt": "gone soon"})
	mustRun(t, tool, "publish", dir, "--app", "shop", "--version", "1.0.0")
	if err := os.Remove(dir + "/old.txt"); err != nil {
		t.Fatal(err)
	}
	writeFiles(t, dir, map[string]string{"main.js": strings.Replace(script.String(), "return x+", "return 2*x+", 4000), "new.txt": "here now"})
	mustRun(t, tool, "publish", dir, "--app", "shop", "--version", "1.1.0", "--share", "20%", "--notes", "Faster basket")
	return s, data
}

// mustRun runs one command of the tool's user.
func mustRun(t *testing.T, tool *tool, args ...string) string {
	t.Helper()
	var out, complaints bytes.Buffer
	if code := run(t.Context(), args, tool.environ, strings.NewReader(""), &out, &complaints); code != 0 {
		t.Fatalf("%v: exit code %d, %s", args, code, complaints.String())
	}
	return out.String()
}

func TestTheConsoleShowsWhatIsInForce(t *testing.T) {
	s, _ := consoleShop(t)
	b := openBrowser(t, s.URL())

	// A deep link asks who one is, and leads on to where it leads.
	b.open("/console/?from=mail")
	b.shows("Sign in")
	b.signIn("slp_wrong")
	b.shows("Not accepted", "unauthorized")
	b.signIn(s.Token())
	b.shows("Overview", "Corner Shop", "main 1.1.0", "20%", "main 1.0.0")
	if got := b.eval("location.pathname + location.search"); got != "/console/?from=mail" {
		t.Errorf("signing in led to %s", got)
	}
	if got := b.eval("document.title"); got != "Overview · Slipstream" {
		t.Errorf("the title is %q", got)
	}

	// Another language, at once and after a reload; and nobody is signed out by one.
	b.click("button.language")
	b.shows("总览")
	b.open("/console/")
	b.shows("总览")
	if got := b.eval("document.documentElement.lang"); got != "zh-CN" {
		t.Errorf("the language is %q", got)
	}
	b.click("button.language")

	// What is on screen follows what somebody else does.
	b.shows("20%")
	c, err := api.NewClient(s.URL(), s.Token(), nil)
	if err != nil {
		t.Fatal(err)
	}
	channel, err := c.Channel(t.Context(), "shop", "production")
	if err != nil {
		t.Fatal(err)
	}
	b.open("/console/apps/shop")
	b.shows("under way", "Newest releases")
	share := 5000
	if _, err := c.ChangeRollout(t.Context(), "shop", "production", channel.Policy.Packages["main"].Rollouts[0].ID, api.RolloutChange{To: &share}); err != nil {
		t.Fatal(err)
	}
	b.shows("50%")

	// The pages that need nothing prepared.
	b.open("/console/apps/shop/protocols")
	b.shows("codepush", "off")
	b.open("/console/server")
	b.shows("Database", "ok", "as this computer's")
	b.open("/console/apps/shop/nothing")
	b.shows("There is no such page")
	b.click("button[aria-label='Sign out']")
	b.shows("Sign in")
	b.open("/console/")
	b.shows("Sign in")
	b.signIn(s.Token())
	b.shows("main 1.1.0")
	b.quiet()

	// A server that is away is said so, above what was read before; it is not taken for a sign-out.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b.eval(`window.dispatchEvent(new Event("online"))`)
	b.shows("The server cannot be reached", "main 1.1.0", "Try again")
}

// otherNode works on a patch as another node of the same database does.
type otherNode struct {
	*testing.T
	jobs store.Jobs
	job  store.Job
	now  time.Time
}

func newNode(t *testing.T, data string, c *api.Client) *otherNode {
	t.Helper()
	r, err := c.Release(t.Context(), "shop", "main@1.1.0")
	if err != nil {
		t.Fatal(err)
	}
	db, err := sqlite.Open(t.Context(), filepath.Join(data, databaseFile), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	later := time.Now().Add(time.Hour) // nobody else takes what is due then
	n := &otherNode{T: t, jobs: db.Jobs(), now: later, job: store.Job{Release: r.Digest, From: slipstream.Digest(strings.Repeat("ab", 32)), Priority: -1, Created: time.Now(), Due: later}}
	if _, err := n.jobs.Add(t.Context(), []store.Job{n.job}); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *otherNode) begin() {
	n.Helper()
	var err error
	if n.job, err = n.jobs.Claim(n.Context(), "elsewhere", n.now, time.Hour); err != nil {
		n.Fatal(err)
	}
	n.tell("search", 0, 0)
}

func (n *otherNode) tell(stage string, done, total int64) {
	n.Helper()
	n.job.Note, n.job.Done, n.job.Total, n.job.Updated = stage, done, total, time.Now()
	if err := n.jobs.Renew(n.Context(), n.job, n.now.Add(time.Hour)); err != nil {
		n.Fatal(err)
	}
}

func (n *otherNode) end(note string) {
	n.Helper()
	n.job.State, n.job.Note, n.job.Updated = store.JobDone, note, time.Now()
	if err := n.jobs.Finish(n.Context(), n.job); err != nil {
		n.Fatal(err)
	}
}

func TestTheConsoleShowsPatchesWhileTheyAreMade(t *testing.T) {
	s, data := consoleShop(t)
	b := openBrowser(t, s.URL())
	c, err := api.NewClient(s.URL(), s.Token(), nil)
	if err != nil {
		t.Fatal(err)
	}
	link, err := c.SessionLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// The command's link signs in, and leaves nothing of itself behind.
	b.open("/console/apps/shop/releases#signin=" + link.Code)
	b.shows("main 1.1.0", "Faster basket")
	if got := b.eval("location.hash + history.length"); got != "2" {
		t.Errorf("the code is kept: %s", got)
	}
	b.open("/console/apps/shop/releases?q=1.0.0")
	b.shows("main 1.0.0")
	if got := b.eval(`document.querySelectorAll("tbody tr").length`); got != "1" {
		t.Errorf("%s releases fit", got)
	}

	// A patch that another node makes: the page follows it without a reload.
	node := newNode(t, data, c)
	node.begin()
	b.eval(`(history.pushState(null, "", "/console/apps/shop/releases/1.1.0"), window.dispatchEvent(new PopStateEvent("popstate")))`)
	b.shows("main 1.1.0", "Patches")
	b.until(`document.querySelector(".way[data-state=running]")?.innerText.includes("searching")`)
	b.eval(`(window.kept = document.querySelector(".way[data-state=running]"), 1)`)
	node.tell("patch 2", 42, 100)
	b.until(`kept.innerText.includes("coding patch 2") && kept.innerText.includes("42%") && kept.querySelector("[role=progressbar]").ariaValueNow === "42"`)
	b.until(`/^[12] of 3 downloads ready/m.test(document.querySelector("#patches").innerText)`)
	node.end("no container is smaller than the full one")
	b.until(`kept.isConnected && kept.dataset.state === "refused" && kept.innerText.includes("the full download is as small")`)

	// The one that this server made.
	b.until(`!!document.querySelector(".way[data-state=done]:not([data-from=full])")`)
	way := b.eval(`document.querySelector(".way[data-state=done]:not([data-from=full])").innerText`)
	for _, want := range []string{"1.0.0", "seq 1", "ready", "% of full", "rich/1", "simple/1+zstd"} {
		if !strings.Contains(way, want) {
			t.Errorf("the patch says no %q:\n%s", want, way)
		}
	}
	b.shows("All 3 downloads are ready", "Where it is offered", "20%", "Ways back", "3", "main.js", "new.txt")

	// What differs from another release, with an address of its own that survives a reload.
	b.eval(`(() => { const s = document.querySelector("#files select"); s.value = s.options[1].value; s.dispatchEvent(new Event("change", { bubbles: true })); })()`)
	b.shows("Changes since", "1 added", "1 changed", "1 removed", "old.txt")
	b.eval("location.reload()")
	b.shows("Changes since", "old.txt")

	// Back leads back.
	b.eval("history.back()")
	b.shows("main 1.0.0")
	if got := b.eval("location.search"); got != "?q=1.0.0" {
		t.Errorf("back led to %s", got)
	}

	// A release that does not exist says so, with its code; a session that is over leads to signing in, and back.
	b.open("/console/apps/shop/releases/main@9.9.9")
	b.shows("Not there", "not_found")
	b.eval(`fetch("/v1/session", { method: "DELETE" })`)
	b.open("/console/apps/shop/releases/main@1.1.0")
	b.shows("Sign in")
	b.signIn(s.Token())
	b.shows("main 1.1.0", "Patches")
	b.quiet()
}
