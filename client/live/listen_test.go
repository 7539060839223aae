package live

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// clock notes every wait. Waits below a limit are over at once; others end when they are let.
type clock struct {
	mu    sync.Mutex
	waits []time.Duration
	open  []chan time.Time
	brief time.Duration
	now   time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := make(chan time.Time, 1)
	if d == answerTime || d == silence {
		c.open = append(c.open, ch)
		return ch
	}
	c.waits = append(c.waits, d)
	if d < c.brief {
		ch <- c.now
	}
	return ch
}

// pass lets all watches end.
func (c *clock) pass() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ch := range c.open {
		ch <- c.now
	}
	c.open = nil
}

func (c *clock) waited() []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.waits)
}

// none is no randomness: waits are as long as they may be.
type none struct{}

func (none) Read([]byte) (int, error) { return 0, io.EOF }

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// listen runs Listen against a handler until the test ends.
func listen(t *testing.T, c *clock, handler http.HandlerFunc, more ...string) (heard func() []string) {
	t.Helper()
	server := httptest.NewServer(handler)
	var mu sync.Mutex
	var data []string
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	cfg := Config{HTTP: &http.Client{}, Servers: append([]string{server.URL}, more...), App: "shop", Channel: "beta", Epoch: func() int64 { return 41 }, Clock: c, Rand: none{}}
	running.Go(func() {
		Listen(ctx, cfg, func(d []byte) {
			mu.Lock()
			defer mu.Unlock()
			data = append(data, string(d))
		})
	})
	t.Cleanup(func() { cancel(); running.Wait(); cfg.HTTP.CloseIdleConnections(); server.Close() })
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(data)
	}
}

func TestEventsAreHandedOnAndTheKnownEpochIsNamed(t *testing.T) {
	t.Parallel()
	heard := listen(t, &clock{brief: 2 * time.Second}, func(w http.ResponseWriter, r *http.Request) {
		if got := r.URL.String(); got != "/v1/live?app=shop&channel=beta&epoch=41" {
			t.Errorf("asked for %s", got)
		}
		fmt.Fprint(w, ":\n\nid: 42\nevent: changed\ndata: {\"epoch\":42}\n\nevent: other\ndata: x\n\nevent: changed\r\ndata: a\r\ndata:b\r\n\r\nevent: changed\ndata: cut off")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	eventually(t, "both events", func() bool { return len(heard()) == 2 })
	if got := strings.Join(heard(), "|"); got != "{\"epoch\":42}|a\nb" {
		t.Errorf("heard %q", got)
	}
}

func TestAWireThatBreaksIsWaitedOutLongerAndLonger(t *testing.T) {
	t.Parallel()
	c := &clock{brief: time.Hour}
	listen(t, c, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "retry: 20000\n\n") })
	eventually(t, "eight attempts", func() bool { return len(c.waited()) >= 8 })
	want := []time.Duration{20, 40, 80, 160, 320, 600, 600, 600}
	for i, w := range c.waited()[:8] {
		if w != want[i]*time.Second {
			t.Errorf("wait %d is %s, want %d s", i+1, w, want[i])
		}
	}
}

func TestRefusalsAreWaitedOut(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]time.Duration{404: 90 * time.Minute, 405: 90 * time.Minute, 429: 15 * time.Minute, 503: 15 * time.Minute, 500: 5 * time.Second} {
		c := &clock{}
		listen(t, c, func(w http.ResponseWriter, _ *http.Request) {
			if status == 429 || status == 503 {
				w.Header().Set("Retry-After", "600")
			}
			w.WriteHeader(status)
		})
		eventually(t, "the wait", func() bool { return len(c.waited()) == 1 })
		if got := c.waited()[0]; got != want {
			t.Errorf("after %d: %s, want %s", status, got, want)
		}
	}
}

func TestSilenceEndsAConnectionAndTheNextServerIsTried(t *testing.T) {
	t.Parallel()
	done := make(chan struct{})
	reached := sync.OnceFunc(func() { close(done) })
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { reached(); <-r.Context().Done() }))
	t.Cleanup(other.Close)
	began := make(chan struct{})
	begin := sync.OnceFunc(func() { close(began) })
	c := &clock{brief: time.Minute}
	listen(t, c, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, ":\n\n")
		w.(http.Flusher).Flush()
		begin()
		<-r.Context().Done()
	}, other.URL)
	<-began
	for {
		c.pass() // the head was in time; then nothing comes any more
		select {
		case <-done:
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestHostileStreamsEnd(t *testing.T) {
	t.Parallel()
	for name, stream := range map[string]string{
		"a line without end": strings.Repeat("x", maxLine+1),
		"data without end":   strings.Repeat("data: "+strings.Repeat("x", 100)+"\n", 100),
	} {
		p := parser{lines: bufio.NewReaderSize(strings.NewReader(stream), maxLine)}
		if _, err := p.next(); err != errLong {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A stream means the same whoever cuts it into pieces, and never gives more than it may.
func FuzzParser(f *testing.F) {
	for _, s := range []string{"", ":\n\n", "event: changed\ndata: {\"epoch\":1}\n\n", "retry: 5\n\n", "data\n\ndata: a\ndata: b\r\n\r\n", "id: 1\nevent: changed\ndata:x"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		p := parser{lines: bufio.NewReaderSize(strings.NewReader(string(stream)), maxLine)}
		for total := 0; ; {
			e, err := p.next()
			if err != nil {
				return
			}
			if len(e.data) > maxLine || e.retry < 0 {
				t.Fatalf("%d bytes, retry %s", len(e.data), e.retry)
			}
			if total += len(e.data) + len(e.name); total > len(stream) {
				t.Fatalf("%d bytes came of %d", total, len(stream))
			}
		}
	})
}
