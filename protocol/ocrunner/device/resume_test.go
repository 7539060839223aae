package device

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// cutter lets so many bytes of each download through and then breaks the connection, or holds it for ever.
type cutter struct {
	mu     sync.Mutex
	after  int
	hold   bool
	links  map[string]bool // that were followed
	ranges []string        // that were asked for
	run    string          // whose requests count: those of a run that ended may come late
}

// run marks the requests of one run of a device.
type run string

func (r run) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("X-Run", string(r))
	return http.DefaultTransport.RoundTrip(req)
}

func (c *cutter) spoil(serve http.Handler) func(w http.ResponseWriter, r *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/download/") || r.Method != http.MethodGet {
			return false
		}
		c.mu.Lock()
		if r.Header.Get("X-Run") == c.run {
			c.links[r.URL.Path] = true
			c.ranges = append(c.ranges, r.Header.Get("Range"))
		}
		left, hold := c.after, c.hold
		c.mu.Unlock()
		if left < 0 {
			return false
		}
		rec := httptest.NewRecorder()
		serve.ServeHTTP(rec, r)
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(rec.Code)
		_, _ = io.CopyN(w, rec.Body, int64(left))
		w.(http.Flusher).Flush()
		if hold {
			<-r.Context().Done()
		}
		panic(http.ErrAbortHandler)
	}
}

func (c *cutter) set(after int, hold bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.after, c.hold, c.links, c.ranges = after, hold, map[string]bool{}, nil
}

func (s *service) cut() *cutter {
	c := &cutter{}
	c.set(-1, false)
	s.spoil = c.spoil(s.patches)
	return c
}

// TestADownloadGoesOnInAnotherRun: what came is kept beside the output, the next run asks for a new link and for the rest
// alone, and the signature is checked over all of it.
func TestADownloadGoesOnInAnotherRun(t *testing.T) {
	t.Parallel()
	s := newService(t)
	patch := noise(3, 50_000)
	s.publish("1.1.1", patch)
	c := s.cut()
	d := s.device()
	d.Partial = filepath.Join(t.TempDir(), "patch.partial")
	c.set(3000, false)
	short, cancel := context.WithCancel(t.Context())
	go func() { // the run ends in the middle
		for {
			if info, err := os.Stat(d.Partial); err == nil && info.Size() >= 6000 {
				cancel()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if u, err := d.Fetch(short); err == nil {
		t.Fatalf("a download that is cut: %+v", u)
	}
	kept, err := os.Stat(d.Partial)
	if err != nil || kept.Size() < 6000 || kept.Size() >= 50_000 {
		t.Fatalf("kept: %v, %v", kept, err)
	}
	c.mu.Lock()
	before := c.links
	c.run = "second"
	c.mu.Unlock()
	c.set(-1, false)
	d.Client = &http.Client{Transport: run(c.run)}
	u, err := d.Fetch(t.Context())
	if err != nil || string(u.Plain) != patch || u.Release != s.DigestOf("1.1.1") || u.Resumed != kept.Size() || u.Bytes != 50_000-kept.Size() {
		t.Fatalf("the next run: %+v, %v", u, err)
	}
	for link := range c.links {
		if before[link] {
			t.Error("the link of the first run was used again")
		}
	}
	if want := fmt.Sprintf("bytes=%d-", kept.Size()); len(c.ranges) != 1 || c.ranges[0] != want {
		t.Errorf("asked for %q, want %q", c.ranges, want)
	}
	if left, err := filepath.Glob(d.Partial + "*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

const childEnv = "SLIPSTREAM_TEST_FETCH"

// TestFetchInAnotherProcess is the other process of the test below, and nothing by itself.
func TestFetchInAnotherProcess(t *testing.T) {
	url, partial, ok := strings.Cut(os.Getenv(childEnv), "\n")
	if !ok {
		return
	}
	d := &Device{URL: url, Version: "1.1.1", Partial: partial}
	_, err := d.Fetch(t.Context())
	t.Fatalf("the download ended: %v", err)
}

// TestADownloadOutlivesItsProcess: killed at any byte, what came before is there for the next one.
func TestADownloadOutlivesItsProcess(t *testing.T) {
	t.Parallel()
	s := newService(t)
	patch := noise(4, 200_000)
	s.publish("1.1.1", patch)
	c := s.cut()
	partial := filepath.Join(t.TempDir(), "patch.partial")
	before := int64(0)
	for run := range 2 {
		c.set(40_000, true)
		child := exec.Command(os.Args[0], "-test.run=^TestFetchInAnotherProcess$")
		child.Env = append(os.Environ(), childEnv+"="+s.url+"\n"+partial)
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(2 * time.Millisecond) {
			if info, err := os.Stat(partial); err == nil && info.Size() >= before+20_000 {
				break
			}
			if time.Now().After(deadline) {
				_ = child.Process.Kill()
				t.Fatal("nothing is kept")
			}
		}
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = child.Wait() // it was killed
		info, err := os.Stat(partial)
		if err != nil || info.Size() <= before {
			t.Fatalf("after run %d: %v, %v", run, info, err)
		}
		before = info.Size()
	}
	c.set(-1, false)
	d := s.device()
	d.Partial = partial
	u, err := d.Fetch(t.Context())
	if err != nil || string(u.Plain) != patch || u.Resumed != before || u.Bytes != 200_000-before {
		t.Fatalf("%v, resumed at %d of %d kept", err, u.Resumed, before)
	}
}

// TestWhatWasKeptIsNotTrusted: it may be of another patch, longer than the patch, or damaged; the result is right all the same.
func TestWhatWasKeptIsNotTrusted(t *testing.T) {
	t.Parallel()
	s := newService(t)
	patch := noise(5, 10_000)
	s.publish("1.1.1", patch)
	s.cut()
	a, err := s.device().Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tag := `"` + a.SHA256 + `"`
	about := fmt.Sprintf(`{"etag":%q,"md5":%q,"size":10000}`, tag, a.MD5)
	for name, c := range map[string]struct {
		kept, about string
		bytes       int64
	}{
		"the beginning":           {patch[:4000], about, 6000},
		"every byte":              {patch, about, 0},
		"damaged":                 {"X" + patch[1:4000], about, 16_000},
		"damaged, every byte":     {"X" + patch[1:], about, 10_000},
		"too much":                {patch + "more", about, 10_000},
		"of another patch":        {patch[:4000], strings.Replace(about, a.MD5, strings.Repeat("0", 32), 1), 10_000},
		"of what the server had":  {patch[:4000], strings.Replace(about, a.SHA256, strings.Repeat("0", 64), 1), 10_000},
		"nobody knows of what":    {patch[:4000], "", 10_000},
		"nobody can read of what": {patch[:4000], "{", 10_000},
		"without a tag":           {patch[:4000], strings.Replace(about, fmt.Sprintf("%q", tag), `""`, 1), 10_000},
		"nothing, and of what":    {"", about, 10_000},
	} {
		t.Run(name, func(t *testing.T) {
			d := s.device()
			d.Partial = filepath.Join(t.TempDir(), "p")
			if err := errors.Join(os.WriteFile(d.Partial, []byte(c.kept), 0o600), os.WriteFile(d.Partial+".json", []byte(c.about), 0o600)); err != nil {
				t.Fatal(err)
			}
			u, err := d.Fetch(t.Context())
			if err != nil || string(u.Plain) != patch || u.Bytes != c.bytes {
				t.Errorf("%v, %d bytes came, want %d", err, u.Bytes, c.bytes)
			}
			if left, _ := filepath.Glob(d.Partial + "*"); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
	// A link in its place is not followed.
	d := s.device()
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	d.Partial = filepath.Join(dir, "p")
	if err := errors.Join(os.WriteFile(victim, []byte(patch[:4000]), 0o600), os.Symlink(victim, d.Partial), os.WriteFile(d.Partial+".json", []byte(about), 0o600)); err != nil {
		t.Fatal(err)
	}
	if u, err := d.Fetch(t.Context()); err != nil || u.Resumed != 0 {
		t.Errorf("by a link: %+v, %v", u, err)
	}
	if raw, err := os.ReadFile(victim); err != nil || string(raw) != patch[:4000] {
		t.Errorf("what a link led to was changed: %d bytes, %v", len(raw), err)
	}
	// What is not the publisher's is refused however it came, and not kept.
	d = s.device()
	d.App, d.Partial = "bank", filepath.Join(t.TempDir(), "p")
	if _, err := d.Fetch(t.Context()); slipstream.ReasonOf(err, "") != slipstream.ReasonWrongApp {
		t.Errorf("of another app: %v", err)
	}
	if left, _ := filepath.Glob(d.Partial + "*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
