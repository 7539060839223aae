package capgo

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream/protocol/protocoltest"
	"github.com/slipstream-ota/slipstream/rollout"
)

// start is what device.js prints of one start of the app.
type start struct {
	Running, Page, Next string
	Latest              answered
	Seen                []string
	Set                 *struct{ Status, Error string }
	Channels            []struct {
		Name                 string
		Public, AllowSelfSet bool
	}
	Channel struct {
		Channel, Status string
		AllowSet        bool
	}
}

// TestTheRealUpdater drives the updater that apps of Electron have against a server, over starts of the app.
func TestTheRealUpdater(t *testing.T) {
	t.Parallel()
	dir := protocoltest.NPM(t, "the updater for Electron", filepath.Join("testdata", "sdk"), "device.js", ".npmrc")
	w := newWorld(t, "")
	var web *httptest.Server
	w.server, w.book = newServer(w.World, func(*http.Request) string { return web.URL }, func() time.Time { return w.Now })
	w.Book = w.book
	web = httptest.NewServer(w.server)
	t.Cleanup(web.Close)
	w.Settle()
	app := func(name, way string, args ...string) start {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c := exec.CommandContext(ctx, "node", append([]string{"device.js", filepath.Join(dir, name), web.URL + "/capgo/shop", way}, args...)...)
		c.Dir = dir
		var stderr bytes.Buffer
		c.Stderr = &stderr
		out, err := c.Output()
		if err != nil {
			t.Fatalf("%v\n%s", err, stderr.Bytes())
		}
		var s start
		if err := json.Unmarshal(out, &s); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return s
	}
	expect := func(what string, s start, running, page, next string) {
		t.Helper()
		if s.Running != running || s.Page != page || s.Next != next {
			t.Errorf("%s: %+v, want %s (%s) and next %q", what, s, running, page, next)
		}
	}
	w.release("1.0.1", map[string]string{"index.html": "one", "assets/a.js": "1"})
	expect("a new device", app("a", "ready"), "1.0.0", "builtin", "1.0.1")
	s := app("a", "ready")
	expect("after a start", s, "1.0.1", "one", "")
	if !slices.Equal(s.Seen, []string{"noNeedUpdate"}) || s.Latest.Error != codeNoNew {
		t.Errorf("up to date: %+v", s)
	}
	w.release("1.1.0", map[string]string{"index.html": "two"})
	expect("the next release", app("a", "ready"), "1.0.1", "one", "1.1.0")
	expect("after a start", app("a", "ready"), "1.1.0", "two", "")

	// The former release comes back by another name.
	if _, err := w.Rollout.RollBack(t.Context(), "test", "shop", "production", rollout.RollbackSpec{Package: "main", To: w.DigestOf("1.0.1")}); err != nil {
		t.Fatal(err)
	}
	w.Settle()
	expect("a rollback", app("a", "ready"), "1.1.0", "two", "1.0.1+2")
	expect("after a start", app("a", "ready"), "1.0.1+2", "one", "")

	// Nothing is left: back to what ships in the app.
	if _, err := w.Rollout.Withdraw(t.Context(), "test", "shop", "production", rollout.WithdrawSpec{Release: w.DigestOf("1.0.1")}); err != nil {
		t.Fatal(err)
	}
	w.Settle()
	expect("a withdrawal", app("a", "ready"), "1.0.0", "builtin", "")
	if s := app("a", "ready"); s.Latest.Error != codeNoNew && s.Latest.Error != codeOnBuiltin {
		t.Errorf("on the built-in bundle: %+v", s)
	}

	// A host that never gets ready says so, and the guard hears of it.
	w.release("1.2.0", map[string]string{"index.html": "bad"})
	expect("a bad release", app("b", "ready"), "1.0.0", "builtin", "1.2.0")
	if s := app("b", "hangs"); !slices.Contains(s.Seen, "updateFailed") {
		t.Errorf("a host that hangs: %+v", s)
	}
	got := w.Counts()
	want := map[string]int64{"enrolled": 3, "fetched": 3, "confirmed": 2, "failed": 1}
	if !maps.Equal(got, want) {
		t.Errorf("counts %v, want %v", got, want)
	}

	// A channel of the device's own choice.
	if _, err := w.Rollout.CreateChannel(t.Context(), "test", rollout.ChannelSpec{App: "shop", Name: "beta"}); err != nil {
		t.Fatal(err)
	}
	w.Publish(protocoltest.Release{Version: "2.0.0", Files: map[string]string{"index.html": "beta"}, Offer: &rollout.Offer{Channel: "beta", To: 10000}})
	w.Settle()
	s = app("c", "ready", "beta")
	expect("another channel", s, "1.0.0", "builtin", "2.0.0")
	if s.Set == nil || s.Set.Status != "ok" || s.Channel.Channel != "beta" || s.Channel.Status != "override" || len(s.Channels) != 2 {
		t.Errorf("channels: %+v", s)
	}
	if s := app("d", "ready", "secret"); s.Set == nil || s.Set.Error != codeChannelUnknown {
		t.Errorf("a channel that is not there: %+v", s)
	}
}
