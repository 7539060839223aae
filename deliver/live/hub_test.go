package live

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream/internal/httpx"
)

var shop = Channel{App: "shop", Name: "production"}

// stage is a Hub behind a real server.
type stage struct {
	*testing.T
	hub  *Hub
	url  string
	stop func()
}

// noHijack hides that a connection could be taken over, as HTTP/2 does.
type noHijack struct{ http.ResponseWriter }

func (w noHijack) Flush() { w.ResponseWriter.(http.Flusher).Flush() }

func newStage(t *testing.T, cfg Config, wrap ...func(http.ResponseWriter) http.ResponseWriter) *stage {
	t.Helper()
	s := &stage{T: t, hub: NewHub(cfg)}
	s.hub.Set(map[Channel]News{shop: {Epoch: 5}})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.hub.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	s.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, change := range wrap {
			w = change(w)
		}
		from := netip.MustParseAddrPort(r.RemoteAddr).Addr()
		if v := r.Header.Get("Test-Sender"); v != "" {
			from = netip.MustParseAddr(v)
		}
		if err := s.hub.Serve(w, r, from); err != nil {
			httpx.WriteProblem(w, r, err)
		}
	})
	server := httptest.NewUnstartedServer(handler)
	server.Config = httpx.NewServer(handler, slog.New(slog.DiscardHandler))
	server.Start()
	s.url = server.URL
	t.Cleanup(func() { s.stop(); server.Close() })
	return s
}

// listener is a client that reads lines.
type listener struct {
	*testing.T
	res   *http.Response
	lines *bufio.Reader
}

func (s *stage) listen(query string, header ...string) *listener {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), http.MethodGet, s.url+"/v1/live?"+query, nil)
	if err != nil {
		s.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { res.Body.Close() })
	return &listener{s.T, res, bufio.NewReader(res.Body)}
}

// event gives the next event's fields in one line, and skips comments; at the end it is "end".
func (l *listener) event() string {
	l.Helper()
	var fields []string
	for {
		line, err := l.lines.ReadString('\n')
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return "end"
		}
		if err != nil {
			l.Fatal(err)
		}
		switch line = strings.TrimSuffix(line, "\n"); {
		case line == "" && len(fields) > 0:
			return strings.Join(fields, " ")
		case line != "" && line[0] != ':':
			fields = append(fields, line)
		}
	}
}

func (l *listener) expect(want string) {
	l.Helper()
	if got := l.event(); got != want {
		l.Errorf("got  %s\nwant %s", got, want)
	}
}

func changedTo(epoch int64, spread int, urgent bool) string {
	return fmt.Sprintf(`id: %d event: changed data: {"epoch":%d,"spread":%d,"urgent":%t}`, epoch, epoch, spread, urgent)
}

func (s *stage) eventually(what string, ok func() bool) {
	s.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatalf("never happened: %s", what)
		}
	}
}

func TestClientsAreToldWhatTheyDoNotKnow(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string][]func(http.ResponseWriter) http.ResponseWriter{
		"on a connection of its own":    nil,
		"where net/http keeps the conn": {func(w http.ResponseWriter) http.ResponseWriter { return noHijack{w} }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, Config{}, wrap...)
			fresh := s.listen("app=shop&channel=production")
			if ct := fresh.res.Header.Get("Content-Type"); ct != "text/event-stream" || fresh.res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("headers %v", fresh.res.Header)
			}
			fresh.expect(changedTo(5, 600, false))
			knows := s.listen("app=shop&epoch=5") // the channel's default is production
			back := s.listen("app=shop&epoch=nonsense", "Last-Event-ID", "5")
			s.hub.Set(map[Channel]News{shop: {Epoch: 6, Spread: 120}})
			for _, l := range []*listener{fresh, knows, back} {
				l.expect(changedTo(6, 120, false))
			}
			s.hub.Set(map[Channel]News{shop: {Epoch: 6, Spread: 120}}) // signed again: nothing to tell
			s.hub.Set(map[Channel]News{shop: {Epoch: 7, Spread: 120, Urgent: true}})
			for _, l := range []*listener{fresh, knows, back} {
				l.expect(changedTo(7, 12, true))
			}
			s.listen("app=shop&epoch=6").expect(changedTo(7, 12, true))
			s.hub.Set(map[Channel]News{})
			fresh.expect("end")
			s.eventually("nobody left", func() bool { return s.hub.Connections() == 0 })
		})
	}
}

func TestUrgencyIsNotLostWhileItIsToBeTold(t *testing.T) {
	t.Parallel()
	h := NewHub(Config{}) // nobody runs it: nothing is told
	for _, n := range []News{{Epoch: 1}, {Epoch: 2, Urgent: true}, {Epoch: 2}, {Epoch: 3}} {
		h.Set(map[Channel]News{shop: n})
	}
	if got := h.topics[shop].news; got != (News{Epoch: 3, Urgent: true}) {
		t.Errorf("to be told: %+v", got)
	}
	h.tell()
	h.Set(map[Channel]News{shop: {Epoch: 4}})
	if got := h.topics[shop].news; got != (News{Epoch: 4}) {
		t.Errorf("after it was told: %+v", got)
	}
}

func TestConnectionsAreLimited(t *testing.T) {
	t.Parallel()
	refused := map[string]int{}
	var mu sync.Mutex
	s := newStage(t, Config{Most: 3, PerAddress: 2, Metrics: Metrics{Refused: func(why string) {
		mu.Lock()
		defer mu.Unlock()
		refused[why]++
	}}})
	one := s.listen("app=shop", "Test-Sender", "2001:db8::1")
	one.expect(changedTo(5, 600, false))
	s.listen("app=shop", "Test-Sender", "2001:db8::2")
	for _, c := range []struct {
		query, sender string
		status        int
		retry         string
	}{
		{"app=shop", "2001:db8::3", 429, "600"}, // all of one /64 are one sender
		{"app=other", "192.0.2.1", 404, ""},
		{"app=shop&channel=other", "192.0.2.1", 404, ""},
		{"app=shop", "192.0.2.1", 200, ""},
		{"app=shop", "192.0.2.2", 503, "300"},
	} {
		l := s.listen(c.query, "Test-Sender", c.sender)
		if l.res.StatusCode != c.status || l.res.Header.Get("Retry-After") != c.retry {
			t.Errorf("%s from %s: %s, Retry-After %q", c.query, c.sender, l.res.Status, l.res.Header.Get("Retry-After"))
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if fmt.Sprint(refused) != "map[full:1 per_address:1 unknown_channel:2]" {
		t.Errorf("refused %v", refused)
	}
	off := newStage(t, Config{Most: -1})
	if l := off.listen("app=shop"); l.res.StatusCode != http.StatusNotFound {
		t.Errorf("turned off: %s", l.res.Status)
	}
}

func TestWhoHasGoneGivesTheirPlaceBack(t *testing.T) {
	t.Parallel()
	s := newStage(t, Config{Heartbeat: 5 * time.Millisecond, Most: 1})
	l := s.listen("app=shop")
	l.expect(changedTo(5, 600, false))
	for range 3 { // heartbeats come
		if line, err := l.lines.ReadString('\n'); err != nil || line != ":\n" && line != "\n" {
			t.Fatalf("%q, %v", line, err)
		}
	}
	l.res.Body.Close()
	s.eventually("the place is free", func() bool { return s.hub.Connections() == 0 })
	s.listen("app=shop").expect(changedTo(5, 600, false))
	if n := len(s.hub.senders); n != 1 {
		t.Errorf("%d senders are remembered", n)
	}
}

func TestAClientThatDoesNotReadIsLetGoAndHoldsUpNobodyForLong(t *testing.T) {
	t.Parallel()
	s := newStage(t, Config{})
	good := s.listen("app=shop&epoch=5")
	s.eventually("the connection", func() bool { return s.hub.Connections() == 1 })
	k, why := s.hub.enter(shop, netip.MustParseAddr("192.0.2.1"), 5)
	if why != "" {
		t.Fatal(why)
	}
	here, there := net.Pipe() // holds nothing: a write waits for a read
	defer there.Close()
	go func() { _, _ = io.ReadFull(there, make([]byte, len(head)+len(beat))) }()
	s.hub.keep(k, here, nil)
	s.hub.Set(map[Channel]News{shop: {Epoch: 6}})
	good.expect(changedTo(6, 600, false))
	s.eventually("the silent one is gone", func() bool { return s.hub.Connections() == 1 })
}

func TestTheEndTellsWhenToComeBack(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string][]func(http.ResponseWriter) http.ResponseWriter{
		"own": nil, "streamed": {func(w http.ResponseWriter) http.ResponseWriter { return noHijack{w} }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, Config{}, wrap...)
			l := s.listen("app=shop&epoch=5")
			s.eventually("the connection", func() bool { return s.hub.Connections() == 1 })
			s.stop()
			l.expect("retry: 2000")
			l.expect("end")
			if l := s.listen("app=shop"); l.res.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("after the end: %s", l.res.Status)
			}
		})
	}
}

func TestManyComeAndGoWhileChangesAreTold(t *testing.T) {
	t.Parallel()
	s := newStage(t, Config{Heartbeat: time.Millisecond})
	const last = 40
	var clients sync.WaitGroup
	for range 16 {
		clients.Go(func() {
			for known := int64(0); known < last; { // each reads one event and comes back
				l := s.listen(fmt.Sprintf("app=shop&epoch=%d", known))
				var epoch int64
				var spread int
				var urgent bool
				event := l.event()
				if _, err := fmt.Sscanf(event[strings.Index(event, "data: "):], `data: {"epoch":%d,"spread":%d,"urgent":%t}`, &epoch, &spread, &urgent); err != nil {
					t.Errorf("%q: %v", event, err)
					return
				}
				if epoch <= known {
					t.Errorf("told %d, knew %d", epoch, known)
				}
				known = epoch
				l.res.Body.Close()
			}
		})
	}
	for epoch := int64(6); epoch <= last; epoch++ {
		s.hub.Set(map[Channel]News{shop: {Epoch: epoch}})
		time.Sleep(time.Millisecond)
	}
	clients.Wait()
	s.eventually("all have gone", func() bool { return s.hub.Connections() == 0 })
}
