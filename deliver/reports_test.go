package deliver

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/internal/httpx"
	"github.com/slipstream-ota/slipstream/report"
)

func event(id, app string) string {
	return fmt.Sprintf(`{"id":%q,"kind":"confirmed","app":%q,"device":%q,"release":%q}`, id, app, digestOf("device"), digestOf("5"))
}

func TestReportsAreAnsweredLineByLine(t *testing.T) {
	w := newWorld(t).start()
	for _, c := range []struct{ name, body, want string }{
		{"one", event("event-0001", "shop"), `{"results":[{"index":0,"status":"accepted"}]}`},
		{"again, with others", "[" + event("event-0001", "shop") + `,{"id":"x"},` + event("event-0002", "none") + "," + event("event-0003", "shop") + "," + event("event-0003", "shop") + "]",
			`{"results":[{"index":0,"status":"duplicate"},{"index":1,"status":"refused","error":"id \"x\" must be 8 to 64 of [A-Za-z0-9._-]"},` +
				`{"index":2,"status":"refused","error":"app \"none\" is not known here"},{"index":3,"status":"accepted"},{"index":4,"status":"duplicate"}]}`},
		{"none", "[]", `{"results":[]}`},
		{"only bad ones", `[5]`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := w.ask("POST", "/v1/reports", c.body)
			body := bodyOf(t, r)
			if r.StatusCode != http.StatusOK || r.Header.Get("Cache-Control") != "no-store" || c.want != "" && body != c.want {
				t.Errorf("status %d: %s\nwant %s", r.StatusCode, body, c.want)
			}
		})
	}
	stored := w.tables.events["event-0001"]
	if !stored.Received.Equal(noon) || stored.Network == "" || strings.Contains(stored.Network, "192.0.2") || stored.Release != digestOf("5") {
		t.Errorf("stored %+v", stored)
	}
	if len(w.tables.events) != 2 {
		t.Errorf("%d events stored", len(w.tables.events))
	}
	if strings.Contains(w.logs.String(), string(digestOf("device"))) {
		t.Error("the log names a device")
	}
}

func TestOnlyWhatExistsIsCounted(t *testing.T) {
	w := newWorld(t)
	d := w.addRelease("5", []byte("{}"))
	w.tables.releases[d].Manifest = &slipstream.Manifest{App: "shop", Package: "main"}
	w.start()
	report := func(id, change string) string {
		return fmt.Sprintf(`{"id":%q,"kind":"confirmed","app":"shop","device":%q,"release":%q,"channel":"production","package":"main"%s}`, id, digestOf("device"), d, change)
	}
	for id, c := range map[string]struct {
		change  string
		counted bool
	}{
		"all-of-it-exists":    {"", true},
		"names-less":          {`,"channel":"","package":""`, true},
		"invented-kind":       {`,"kind":"invented"`, false},
		"invented-channel":    {`,"channel":"invented"`, false},
		"invented-package":    {`,"package":"invented"`, false},
		"invented-release":    {`,"release":"` + string(digestOf("invented")) + `"`, false},
		"no-release":          {`,"release":"","kind":"failed"`, true},
		"no-release-no-thing": {`,"release":"","package":"invented"`, false},
		"enrolled-in-force":   {`,"kind":"enrolled","rollout":"ro_5"`, true},
		"enrolled-invented":   {`,"kind":"enrolled","rollout":"invented"`, false},
		"enrolled-elsewhere":  {`,"kind":"enrolled","rollout":"ro_5","channel":"beta"`, false},
		"enrolled-in-another": {`,"kind":"enrolled","rollout":"ro_5","release":"` + string(digestOf("4")) + `"`, false},
		"alive-and-well":      {`,"kind":"alive","release":""`, true},
	} {
		if r := w.ask("POST", "/v1/reports", report(id, c.change)); !strings.Contains(bodyOf(t, r), "accepted") {
			t.Errorf("%s: not kept", id)
		}
		if got := !w.tables.events[id].Uncounted; got != c.counted {
			t.Errorf("%s: counted %v", id, got)
		}
	}
}

func TestBadReportsAreRefusedWhole(t *testing.T) {
	w := newWorld(t).start()
	for name, c := range map[string]struct {
		body   string
		status int
		code   string
	}{
		"no JSON":   {"hello", 400, "malformed"},
		"cut off":   {"[" + event("event-0001", "shop"), 400, "malformed"},
		"too many":  {"[" + strings.TrimSuffix(strings.Repeat("{},", report.MaxEvents+1), ",") + "]", 413, "too_large"},
		"too large": {`"` + strings.Repeat("a", report.MaxBody) + `"`, 413, "too_large"},
	} {
		r := w.ask("POST", "/v1/reports", c.body)
		if body := bodyOf(t, r); r.StatusCode != c.status || !strings.Contains(body, c.code) {
			t.Errorf("%s: status %d: %s", name, r.StatusCode, body)
		}
	}
}

func TestOnlyATrustedProxyNamesTheSender(t *testing.T) {
	s := New(Config{})
	trusting := New(Config{TrustedProxies: func(ip string) bool { return strings.HasPrefix(ip, "10.") }})
	for _, c := range []struct {
		server          *Server
		peer, forwarded string
		want            string
	}{
		{s, "198.51.100.1:4711", "", "198.51.100.1"},
		{s, "10.0.0.1:4711", "203.0.113.9", "10.0.0.1"},
		{trusting, "10.0.0.1:4711", "203.0.113.9", "203.0.113.9"},
		{trusting, "10.0.0.1:4711", "1.1.1.1, 203.0.113.9, 10.0.0.2", "203.0.113.9"},
		{trusting, "198.51.100.1:4711", "203.0.113.9", "198.51.100.1"},
		{trusting, "10.0.0.1:4711", "garbage", "10.0.0.1"},
		{trusting, "10.0.0.1:4711", "", "10.0.0.1"},
		{s, "[2001:db8::1]:4711", "", "2001:db8::1"},
		{s, "pipe", "", "invalid IP"},
	} {
		r := &http.Request{RemoteAddr: c.peer, Header: http.Header{}}
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		if got := c.server.sender(r).String(); got != c.want {
			t.Errorf("peer %s, forwarded %q: %s, want %s", c.peer, c.forwarded, got, c.want)
		}
	}
}

// serve puts the world's server on a real connection.
func (w *world) serve() string {
	w.t.Helper()
	l := must[net.Listener](w.t)(net.Listen("tcp", "127.0.0.1:0"))
	server := httpx.NewServer(w.http, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := httpx.Serve(ctx, server, l, 5*time.Second); err != nil {
			w.t.Errorf("serve: %v", err)
		}
	})
	w.t.Cleanup(func() { cancel(); running.Wait() })
	return "http://" + l.Addr().String()
}

func TestABodyThatDoesNotComeIsGivenUp(t *testing.T) {
	w := newWorld(t).start(func(c *Config) { c.BodyTimeout = 20 * time.Millisecond })
	url := w.serve()
	for _, path := range []string{"/v1/check", "/v1/reports"} {
		pr, pw := io.Pipe()
		r, err := http.Post(url+path, "application/json", pr)
		if err != nil {
			t.Fatal(err)
		}
		if body := bodyOf(t, r); r.StatusCode != http.StatusRequestTimeout || !strings.Contains(body, "timeout") {
			t.Errorf("%s: status %d: %s", path, r.StatusCode, body)
		}
		r.Body.Close()
		pw.Close()
	}
}

func TestLimitsDoNotOutliveTheirRequest(t *testing.T) {
	w := newWorld(t).start(func(c *Config) { c.BodyTimeout = 50 * time.Millisecond })
	data := strings.Repeat("x", largeDocument*2)
	d := w.addBlob(data)
	url := w.serve()
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
	defer client.CloseIdleConnections()
	for range 3 { // on one connection
		r := must[*http.Response](t)(client.Post(url+"/v1/check", "application/json", strings.NewReader(checkBody(t))))
		if r.StatusCode != http.StatusOK {
			t.Fatalf("status %d", r.StatusCode)
		}
		bodyOf(t, r)
		r.Body.Close()
		time.Sleep(60 * time.Millisecond) // longer than the limit
		r = must[*http.Response](t)(client.Get(url + "/v1/blobs/" + string(d)))
		if bodyOf(t, r) != data {
			t.Fatal("the blob is not whole")
		}
		r.Body.Close()
	}
}

func TestAManyTimesAskedManifestIsLoadedOnce(t *testing.T) {
	w := newWorld(t)
	d := w.addRelease("5", []byte("manifest"))
	w.start()
	views := func() int { w.tables.mu.Lock(); defer w.tables.mu.Unlock(); return w.tables.views }
	before := views()
	var asking sync.WaitGroup
	for range 50 {
		asking.Go(func() {
			if r := w.ask("GET", "/v1/manifests/"+string(d), ""); r.StatusCode != http.StatusOK {
				t.Errorf("status %d", r.StatusCode)
			}
		})
	}
	asking.Wait()
	if n := views() - before; n != 1 {
		t.Errorf("loaded %d times", n)
	}
}

func TestTheCacheKeepsItsBound(t *testing.T) {
	c := newCache(10*(100+entryOverhead), time.Second)
	fetched := 0
	get := func(key string) {
		t.Helper()
		if _, err := c.get(context.Background(), key, func(context.Context) ([]byte, error) { fetched++; return make([]byte, 100), nil }); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 30 {
		get(fmt.Sprint(i))
		get("0") // asked for again and again, so it stays
	}
	if c.order.Len() != 10 || c.used != 10*(100+entryOverhead) || len(c.entries) != 10 {
		t.Errorf("%d entries weigh %d", c.order.Len(), c.used)
	}
	if fetched != 30 {
		t.Errorf("fetched %d times", fetched)
	}
	if _, err := c.get(context.Background(), "huge", func(context.Context) ([]byte, error) { return make([]byte, 1<<20), nil }); err != nil {
		t.Fatal(err)
	}
	if c.used > c.limit {
		t.Errorf("one entry beyond the bound stays")
	}
}

func TestWhatIsMissingIsAskedForAgain(t *testing.T) {
	c := newCache(1<<20, time.Second)
	there := false
	get := func() error {
		_, err := c.get(context.Background(), "k", func(context.Context) ([]byte, error) {
			if !there {
				return nil, slipstream.ErrNotFound
			}
			return []byte("x"), nil
		})
		return err
	}
	if get() == nil {
		t.Error("found")
	}
	there = true
	if err := get(); err != nil {
		t.Error(err)
	}
	there = false
	c.expire()
	if get() == nil || len(c.entries) != 0 {
		t.Error("a deleted entry stays")
	}
}

// stuck is a blob store that does not answer.
type stuck struct{ blob.Store }

func (stuck) Open(ctx context.Context, _ slipstream.Digest) (blob.Object, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

func TestABlobStoreThatHangsIsGivenUp(t *testing.T) {
	w := newWorld(t).start(func(c *Config) { c.Blobs, c.StoreTimeout = stuck{}, 100*time.Millisecond })
	r := w.ask("GET", "/v1/blobs/"+string(digestOf("x")), "")
	if r.StatusCode != http.StatusServiceUnavailable || !strings.Contains(bodyOf(t, r), "timeout") {
		t.Errorf("status %d", r.StatusCode)
	}
}
