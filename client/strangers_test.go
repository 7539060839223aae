package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// breaking is a body that ends with an error after its bytes.
func breaking(b []byte) *http.Response {
	failing := errReader{}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(io.MultiReader(bytes.NewReader(b), failing))}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func carriesFiles(path string) bool {
	return strings.HasPrefix(path, "/v1/containers/") || strings.HasPrefix(path, "/v1/blobs/")
}

// What a mirror says goes into reports, cut and made valid: it can never make the device's own state unreadable.
func TestWordsOfAMirrorLeaveTheStateReadable(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.has("1.0.0", v1)
	b.offers("1.1.0", v2)
	b.repo.fault = func(r *http.Request, _ *httptest.ResponseRecorder) (*http.Response, error) {
		if !carriesFiles(r.URL.Path) {
			return nil, nil
		}
		w := httptest.NewRecorder()
		w.Header().Set("Content-Range", strings.Repeat("中", 3000))
		w.WriteHeader(http.StatusPartialContent)
		return w.Result(), nil
	}
	if _, err := b.c.Update(t.Context()); err == nil {
		t.Fatal("the update went through")
	}
	b.offline()
	b.start()
	b.reopen()
	if h := b.c.Holds("main"); h.Running.Version != "1.0.0" || h.Anchor.Seq != 1 {
		t.Errorf("runs %q with anchor %d", h.Running.Version, h.Anchor.Seq)
	}
}

func TestAListOfContainersCannotFillTheDisk(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	body := strings.Repeat("0123456789abcdef", 4096)
	d := b.offers("1.0.0", files{"main.js": body})
	size := int64(len(body)) + slipstream.ContainerOverhead
	round := 0
	b.repo.fault = func(r *http.Request, _ *httptest.ResponseRecorder) (*http.Response, error) {
		switch {
		case !carriesFiles(r.URL.Path):
			return nil, nil
		case r.Header.Get("Range") != "" || strings.HasPrefix(r.URL.Path, "/v1/blobs/"):
			return nil, errors.New("connection reset")
		}
		return breaking(make([]byte, size-1)), nil
	}
	for range 3 { // every list names others
		round++
		b.repo.lists[d] = nil
		for i := range 60 {
			b.repo.lists[d] = append(b.repo.lists[d], slipstream.Container{Codec: "full/1", Size: size, SHA256: sum(fmt.Append(nil, round, i))})
		}
		if _, err := b.c.Update(t.Context()); err == nil {
			t.Fatal("the update went through")
		}
		var total int64
		entries, err := os.ReadDir(filepath.Join(b.cfg.Dir, "fetch"))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if info, err := e.Info(); err == nil {
				total += info.Size()
			}
		}
		if total > 2*size {
			t.Errorf("update %d: %d bytes lie in fetch for a release of %d", round, total, len(body))
		}
	}
}

func TestADownloadThatBeginsAnewIsBounded(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	body := strings.Repeat("0123456789abcdef", 4096)
	d := b.repo.publish("main", "1.0.0", files{"main.js": body})
	b.repo.lists[d] = nil
	b.repo.offer(d)
	served, longer := 0, 0
	b.repo.fault = func(r *http.Request, _ *httptest.ResponseRecorder) (*http.Response, error) {
		if !strings.HasPrefix(r.URL.Path, "/v1/blobs/") {
			return nil, nil
		}
		longer += 256
		n := min(longer, len(body)-1)
		served += n
		return breaking(make([]byte, n)), nil
	}
	if _, err := b.c.Update(t.Context()); err == nil {
		t.Fatal("the update went through")
	}
	if served > 4*len(body) {
		t.Errorf("%d bytes were downloaded for a release of %d", served, len(body))
	}
}

// A captive portal, a cache that went mad: whatever one server says, the next is asked for every kind of document.
func TestABadMirrorHidesNoGoodOne(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]string{"everything": "/v1/", "states": "/state/", "roots": "/roots/", "lists of containers": "/containers", "decisions": "/v1/check"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, func(c *Config) {
				c.Servers, c.Decisions = []string{"http://bad.test", "http://good.test"}, path == "/v1/check"
			})
			d := b.offers("1.0.0", v1)
			m := b.repo.manifests[d]
			b.repo.decide = func(slipstream.CheckRequest) map[string]slipstream.PackageDecision {
				return map[string]slipstream.PackageDecision{"main": {Verdict: slipstream.VerdictUpdate, Reason: slipstream.ReasonNewRelease,
					Release: &slipstream.ReleaseRef{Digest: d, Seq: m.Seq, Version: m.Version, Size: m.Size()}}}
			}
			b.repo.addRoot()
			b.repo.fault = func(r *http.Request, _ *httptest.ResponseRecorder) (*http.Response, error) {
				if r.URL.Host != "bad.test" || !strings.Contains(r.URL.Path, path) {
					return nil, nil
				}
				w := httptest.NewRecorder()
				w.WriteString("<html>please log in</html>")
				return w.Result(), nil
			}
			b.install()
			if v, root := b.version("main"), b.c.rootVersion(); v != "1.0.0" || root != 2 {
				t.Errorf("runs %q under root %d", v, root)
			}
			b.c.net.good.Store(0) // the bad one is asked first again
			d = b.repo.publish("main", "1.1.0", v2)
			m = b.repo.manifests[d]
			b.repo.offer(d)
			b.install()
			if v := b.version("main"); v != "1.1.0" {
				t.Errorf("runs %q after the second update", v)
			}
			if path == "/v1/check" && b.repo.count("good.test/v1/check") == 0 {
				t.Error("the good server was not asked for a decision")
			}
		})
	}
}

func TestDecisionsAloneLearnOfNewRoots(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.has("1.0.0", v1)
	b.repo.decide = func(slipstream.CheckRequest) map[string]slipstream.PackageDecision {
		return map[string]slipstream.PackageDecision{"main": {Verdict: slipstream.VerdictNone, Reason: slipstream.ReasonUpToDate}}
	}
	thief := b.repo.stateKey
	b.repo.stateKey = signer(33)
	b.repo.addRoot() // takes the thief's key away
	b.repo.stateKey = thief
	b.clock.advance(25 * time.Hour)
	if _, err := b.c.CheckDecision(t.Context()); slipstream.ReasonOf(err, "") != slipstream.ReasonSignatureInvalid {
		t.Errorf("a decision by a key that was taken away a day ago: %v", err)
	}
}

func TestNoServerDecidesHowLongADeviceIsSilent(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, after := range []int{0, 1, 900, math.MaxInt >> 20, math.MaxInt >> 10} {
		for _, spread := range []int{0, 60, math.MaxInt >> 20, math.MaxInt >> 10} {
			out := &Checked{}
			b.c.next(out, after, spread)
			if out.Next < minCheckAfter*time.Second || out.Next > 2*maxCheckAfter*time.Second {
				t.Errorf("checkAfter %d, jitter %d: comes again after %s", after, spread, out.Next)
			}
		}
	}
}

func TestACriticalUpdateHoldsUpAStartForSecondsOnly(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.repo.offer(b.repo.publish("main", "1.0.0", v1), func(r *slipstream.Rollout) {
		r.Apply = slipstream.Apply{Priority: slipstream.PriorityCritical, Timeout: math.MaxInt32}
	})
	if _, err := b.c.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	var left time.Duration
	b.c.net.http.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		// Documents have a time limit of their own, so the caller's is seen in what the start asked for.
		if deadline, ok := r.Context().Deadline(); ok {
			left = max(left, time.Until(deadline))
		}
		return nil, errors.New("no route to host")
	})
	b.c.net.limits.Document = time.Hour
	b.start()
	if left == 0 || left > maxCriticalTimeout {
		t.Errorf("a start may wait %s", left)
	}
}

func TestOneReportThatNoServerTakesHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for i := range 20 {
		if err := b.c.Metric("n", i); err != nil {
			t.Fatal(err)
		}
	}
	b.repo.fault = func(r *http.Request, _ *httptest.ResponseRecorder) (*http.Response, error) {
		body, err := r.GetBody()
		if err != nil {
			return nil, err
		}
		raw, err := io.ReadAll(body)
		if err != nil || !bytes.Contains(raw, []byte(`"value":7}`)) {
			return nil, err
		}
		w := httptest.NewRecorder()
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return w.Result(), nil
	}
	for range 8 {
		if err := b.c.Report(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	arrived := map[string]bool{}
	for _, e := range b.repo.reports {
		arrived[string(e.Value)] = true
	}
	if n := len(b.c.Pending()); n != 0 || !arrived["6"] || !arrived["8"] || !arrived["19"] {
		t.Errorf("%d reports are stuck, arrived: %v", n, arrived)
	}
}

// The file of roles grows with nothing that a signer of decisions can say.
func TestDecisionsCannotMakeTheStateLarge(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.has("1.0.0", v1)
	n, pad := 0, ""
	b.repo.decide = func(slipstream.CheckRequest) map[string]slipstream.PackageDecision {
		n++
		return map[string]slipstream.PackageDecision{"main": {Verdict: slipstream.VerdictNone, Reason: slipstream.ReasonControlGroup, Control: true, Rollout: fmt.Sprint(n, pad)}}
	}
	for range 2 * manyRollouts {
		if _, err := b.c.CheckDecision(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	b.c.mu.Lock()
	enrolled, controls := len(b.c.body.Trial.Enrolled), len(b.c.body.Trial.Controls)
	b.c.mu.Unlock()
	if enrolled > manyRollouts+1 || controls > manyRollouts+1 {
		t.Errorf("%d rollouts and %d controls are remembered", enrolled, controls)
	}
	pad = strings.Repeat("r", 180<<10)
	if _, err := b.c.CheckDecision(t.Context()); slipstream.ReasonOf(err, "") != slipstream.ReasonMalformed {
		t.Errorf("an id of 180 KB: %v", err)
	}
}

func TestADecisionLeadsBackToNothingWithdrawn(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.has("1.0.0", v1)
	bad := b.has("1.1.0", v2)
	b.has("1.2.0", files{"main.js": "three"})
	b.repo.edit("main", func(p *slipstream.PackageState) { p.Withdrawn, p.Rollouts = []slipstream.Digest{bad}, nil })
	b.c.mu.Lock()
	last, _ := b.c.lastState()
	known := *last
	known.Packages = b.repo.packages // accepted, and the process died before it acted
	b.c.states[b.c.channel] = heldState{&known, b.c.states[b.c.channel].envelope}
	b.c.mu.Unlock()
	b.repo.decide = func(slipstream.CheckRequest) map[string]slipstream.PackageDecision {
		return map[string]slipstream.PackageDecision{"main": {Verdict: slipstream.VerdictRollback, Reason: slipstream.ReasonWithdrawn}}
	}
	if _, err := b.c.CheckDecision(t.Context()); err != nil {
		t.Fatal(err)
	}
	if v := b.version("main"); v != "1.0.0" {
		t.Errorf("left 1.2.0 for %q", v)
	}
}

func TestCloseEndsWhatIsUnderWayAndWaitsForIt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.offers("1.0.0", v1)
	started, ended := make(chan struct{}), make(chan error, 1)
	var over atomic.Bool
	b.c.net.http.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		if carriesFiles(r.URL.Path) {
			close(started)
			<-r.Context().Done()
			time.Sleep(20 * time.Millisecond) // a transport that needs a moment
			over.Store(true)
			return nil, r.Context().Err()
		}
		return b.repo.RoundTrip(r)
	})
	go func() {
		_, err := b.c.Update(context.WithoutCancel(t.Context()))
		ended <- err
	}()
	<-started
	if err := b.c.Close(); err != nil {
		t.Fatal(err)
	}
	if !over.Load() {
		t.Error("Close gave the directory away while an update was under way")
	}
	second, err := Open(t.Context(), b.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if err := <-ended; err == nil {
		t.Error("the update went through after Close")
	}
	if trees, err := second.disk.digests(); err != nil || len(trees) != 0 {
		t.Errorf("the closed client published %v (%v)", trees, err)
	}
}

func TestAnOpenQuestionHoldsUpNoCheck(t *testing.T) {
	t.Parallel()
	open, asked := make(chan struct{}), make(chan struct{})
	b := newBench(t, func(c *Config) {
		c.Hooks.Prompt = func(context.Context, Offer) bool { close(asked); <-open; return false }
	})
	b.repo.offer(b.repo.publish("main", "1.0.0", v1), func(r *slipstream.Rollout) { r.Apply.Mode = slipstream.ModePrompt })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.c.Run(ctx) }()
	<-asked
	if _, err := b.c.Check(t.Context()); err != nil {
		t.Errorf("a check beside the question: %v", err)
	}
	before := b.repo.count("/state/")
	for b.repo.count("/state/") == before { // Run goes on too
		b.clock.advance(time.Hour)
		time.Sleep(time.Millisecond)
	}
	cancel()
	close(open)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestWhichArmIsToldBeforeTheDownloadBegins(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.offers("1.0.0", v1)
	b.update()
	told := false
	for _, a := range b.repo.asked {
		told = told || strings.Contains(a, "/v1/reports")
		if _, path, _ := strings.Cut(a, "a.test"); carriesFiles(path) && !told {
			t.Fatalf("order of requests: %v", b.repo.asked)
		}
	}
	if !told {
		t.Error("nothing was told")
	}
}

func TestARefusalUnderAWrongClockDoesNotWaitForThatYear(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.repo.life = 20 * 365 * 24 * time.Hour
	b.offers("1.0.0", v1)
	b.update()
	b.clock.advance(300 * 24 * time.Hour) // within the life of the root
	for range 2 {
		b.crash(b.start())
	}
	b.clock.advance(-300 * 24 * time.Hour)
	b.clock.advance(7 * time.Hour)
	if u := b.update(); u.Answers["main"].Reason == slipstream.ReasonRefusedAfterCrash {
		t.Error("the further trial waits most of a year")
	}
}

// A stolen state key can have one device restart once in an epoch, not again and again.
func TestWhatWasLeftComesBackOnlyWithANewEpoch(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.has("1.0.0", v1)
	d := b.has("1.1.0", v2)
	m, honest := b.repo.manifests[d], false
	b.repo.decide = func(q slipstream.CheckRequest) map[string]slipstream.PackageDecision {
		if !honest && q.Packages["main"].Digest == d {
			return map[string]slipstream.PackageDecision{"main": {Verdict: slipstream.VerdictRollback, Reason: slipstream.ReasonWithdrawn}}
		}
		return map[string]slipstream.PackageDecision{"main": {Verdict: slipstream.VerdictUpdate, Reason: slipstream.ReasonNewRelease,
			Release: &slipstream.ReleaseRef{Digest: d, Seq: m.Seq, Version: m.Version, Size: m.Size()}, Apply: &slipstream.Apply{Mode: slipstream.ModeImmediate}}}
	}
	b.reopen(func(c *Config) { c.Decisions = true })
	for range 6 {
		b.update()
		b.confirm(b.start())
	}
	if v := b.version("main"); v != "1.0.0" || len(b.asks) > 1 {
		t.Errorf("runs %q after %d restarts", v, len(b.asks))
	}
	b.repo.edit("main", func(*slipstream.PackageState) {})
	honest = true
	b.install()
	if v := b.version("main"); v != "1.1.0" {
		t.Errorf("a later epoch offers 1.1.0 and the device runs %q", v)
	}
}
