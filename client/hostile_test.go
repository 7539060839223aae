package client

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/sign"
)

func TestAnExpiredStateInstallsNothingAndStopsNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.has("1.0.0", v1)
	b.offers("1.1.0", v2)
	b.repo.life = time.Second
	b.clock.advance(time.Hour + 30*time.Second)
	b.updateFails(slipstream.ReasonExpiredState)
	b.runs(b.start(), "main", v1)
	n := 0
	b.updateFails(slipstream.ReasonExpiredState)
	for _, e := range b.c.Pending() {
		if e.Reason == slipstream.ReasonExpiredState {
			n++
		}
	}
	if n != 1 {
		t.Errorf("reported %d times", n)
	}
}

func TestAClockSetBackDoesNotReviveAState(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.offers("1.0.0", v1)
	old := b.repo.state("production")
	b.clock.advance(48 * time.Hour)
	b.update()
	b.clock.advance(-48 * time.Hour)
	b.repo.tamper = func(path string, body []byte) []byte {
		if strings.Contains(path, "/state/") {
			return old
		}
		return body
	}
	b.updateFails(slipstream.ReasonStaleState)
}

func TestAnOlderEpochIsIgnored(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.offers("1.0.0", v1)
	old := b.repo.state("production")
	b.has("1.1.0", v2)
	b.reopen()
	b.repo.edit("main", func(*slipstream.PackageState) {}) // or the answer is that nothing changed
	b.repo.tamper = func(path string, body []byte) []byte {
		if strings.Contains(path, "/state/") {
			return old
		}
		return body
	}
	b.updateFails(slipstream.ReasonStaleState)
	b.runs(b.start(), "main", v2)
}

func TestAnEqualEpochThatSaysSomethingElseIsRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.has("1.0.0", v1)
	b.repo.edit("main", func(p *slipstream.PackageState) { p.Rollouts[0].Hold = slipstream.HoldPaused })
	b.repo.epoch["production"]--
	b.updateFails(slipstream.ReasonEquivocation)
}

func TestAnEqualEpochThatDiffersInAFieldOfALaterVersionIsRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.repo.future = "one"
	b.has("1.0.0", v1)
	b.clock.advance(time.Hour)
	b.update() // signed again with later times: the same
	b.repo.future = "another"
	b.updateFails(slipstream.ReasonEquivocation)
	b.reopen() // what was kept before is all that the next process knows
	b.updateFails(slipstream.ReasonEquivocation)
	b.repo.future = "one"
	b.update()
}

func TestTheStateKeyIsRotated(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.has("1.0.0", v1)
	t.Run("a thief signs the highest epoch", func(t *testing.T) {
		b.repo.epoch["production"] = slipstream.MaxSafeInteger
		b.update()
	})
	t.Run("a new root heals it", func(t *testing.T) {
		b.repo.stateKey = signer(33)
		b.repo.addRoot()
		b.repo.epoch["production"] = b.clock.Now().Unix()
		b.has("1.1.0", v2)
		b.runs(b.start(), "main", v2)
		if v := b.c.rootVersion(); v != 2 {
			t.Errorf("root version %d", v)
		}
	})
	t.Run("and the old key is worth nothing, also after a restart", func(t *testing.T) {
		b.reopen()
		b.repo.stateKey = signer(3)
		b.updateFails(slipstream.ReasonSignatureInvalid)
	})
}

func TestTheRootAndReleaseKeysAreRotated(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.has("1.0.0", v1)
	oldRoot := b.repo.rootKey
	b.repo.rootKey, b.repo.release = signer(11), signer(22)
	b.repo.addRoot(oldRoot)
	for range 5 {
		b.repo.addRoot()
	}
	b.has("1.1.0", v2)
	b.runs(b.start(), "main", v2)
	if v := b.c.rootVersion(); v != 7 {
		t.Errorf("root version %d", v)
	}

	t.Run("a root without the old key's signature is refused", func(t *testing.T) {
		b.repo.rootKey = signer(99)
		b.repo.addRoot()
		b.update()
		if v := b.c.rootVersion(); v != 7 {
			t.Errorf("root version %d", v)
		}
	})
}

func TestRootsAreAskedForOnceADay(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.update()
	b.update()
	if n := b.repo.count("/roots/"); n != 1 {
		t.Errorf("%d questions on the first day", n)
	}
	b.clock.advance(25 * time.Hour)
	b.update()
	if n := b.repo.count("/roots/"); n != 2 {
		t.Errorf("%d questions on the second day", n)
	}
}

func TestAnExpiredRootStopsUpdatesNotTheApp(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.has("1.0.0", v1)
	b.clock.advance(400 * 24 * time.Hour)
	b.updateFails(slipstream.ReasonExpiredRoot)
	b.runs(b.start(), "main", v1)
}

// TestNothingTamperedIsEverRun lets a server change one kind of answer at a time.
func TestNothingTamperedIsEverRun(t *testing.T) {
	t.Parallel()
	flip := func(body []byte) []byte {
		out := bytes.Clone(body)
		out[len(out)/2] ^= 4
		return out
	}
	for name, c := range map[string]struct {
		part   string
		change func([]byte) []byte
		lands  bool // another road leads to the signed bytes
	}{
		"state":                    {"/state/", flip, false},
		"manifest":                 {"/v1/manifests/", flip, false},
		"every object":             {"/v1/", flip, false},
		"containers only":          {"/v1/containers/", flip, true},
		"list of containers":       {"/containers", func([]byte) []byte { return []byte(`{"no":"list"}`) }, true},
		"an endless state":         {"/state/", func(b []byte) []byte { return append(bytes.Clone(b), make([]byte, slipstream.MaxStateBytes)...) }, false},
		"an endless container":     {"/v1/containers/", func(b []byte) []byte { return append(bytes.Clone(b), make([]byte, 8<<20)...) }, true},
		"a truncated container":    {"/v1/containers/", func(b []byte) []byte { return b[:len(b)/2] }, true},
		"an empty answer":          {"/v1/", func([]byte) []byte { return nil }, false},
		"another signed document":  {"/state/", nil, false},
		"a state in place of code": {"/v1/manifests/", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			d := b.offers("1.0.0", v1)
			change := c.change
			if change == nil {
				other := b.repo.envelopes[d]
				if c.part != "/state/" {
					other = b.repo.state("production")
				}
				change = func([]byte) []byte { return other }
			}
			b.repo.tamper = func(path string, body []byte) []byte {
				if strings.Contains(path, c.part) {
					return change(body)
				}
				return body
			}
			_, err := b.c.Update(t.Context())
			l := b.start()
			if !c.lands {
				if err == nil {
					t.Error("no error was told")
				}
				b.runs(l, "main", nil)
				return
			}
			if err != nil {
				t.Fatalf("no road led to the release: %v", err)
			}
			b.runs(l, "main", v1)
		})
	}
}

func TestAMirrorTakesOver(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.Servers = []string{"http://a.test/", "http://b.test"} })
	b.offers("1.0.0", v1)
	b.repo.fault = func(r *http.Request, w *httptest.ResponseRecorder) (*http.Response, error) {
		if r.URL.Host == "a.test" {
			return nil, errors.New("connection refused")
		}
		return nil, nil
	}
	b.update()
	b.runs(b.start(), "main", v1)
	if n := b.repo.count("a.test"); n != 1 {
		t.Errorf("the dead server was asked %d times", n)
	}
}

func TestAMirrorThatLiesIsPassedOver(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.Servers = []string{"http://a.test", "http://b.test"} })
	b.offers("1.0.0", v1)
	b.repo.fault = func(r *http.Request, w *httptest.ResponseRecorder) (*http.Response, error) {
		if r.URL.Host != "a.test" || !strings.Contains(r.URL.Path, "manifests") {
			return nil, nil
		}
		other := httptest.NewRecorder()
		_, err := io.WriteString(other, "<html>please log in</html>")
		return other.Result(), err
	}
	b.update()
	b.runs(b.start(), "main", v1)
}

func TestRetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.repo.fault = func(*http.Request, *httptest.ResponseRecorder) (*http.Response, error) {
		w := httptest.NewRecorder()
		w.Header().Set("Retry-After", "120")
		w.WriteHeader(http.StatusServiceUnavailable)
		return w.Result(), nil
	}
	_, err := b.c.Update(t.Context())
	if RetryAfter(err) != 2*time.Minute {
		t.Fatalf("asked to wait %s: %v", RetryAfter(err), err)
	}
	if wait := b.c.wait(nil, err, 1); wait < 2*time.Minute {
		t.Errorf("comes again after %s", wait)
	}
}

func TestADownloadThatTricklesIsGivenUp(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.Limits.Rounds = 1 })
	b.offers("1.0.0", files{"main.js": randomText(100 << 10)})
	b.repo.fault = func(r *http.Request, w *httptest.ResponseRecorder) (*http.Response, error) {
		if !strings.HasPrefix(r.URL.Path, "/v1/containers/") && !strings.HasPrefix(r.URL.Path, "/v1/blobs/") {
			return nil, nil
		}
		resp := w.Result()
		resp.Body = &trickle{ctx: r.Context().Done(), clock: b.clock}
		return resp, nil
	}
	b.updateFails(slipstream.ReasonTimeout)
}

// trickle gives a byte now and then while the clock runs on.
type trickle struct {
	ctx   <-chan struct{}
	clock *fakeClock
}

func (t *trickle) Read(p []byte) (int, error) {
	select {
	case <-t.ctx:
		return 0, errors.New("cancelled")
	case <-time.After(time.Millisecond):
		t.clock.advance(10 * time.Second)
		p[0] = 'x'
		return 1, nil
	}
}

func (*trickle) Close() error { return nil }

// decideFor answers every check with one release for main.
func decideFor(b *bench, d slipstream.Digest, verdict slipstream.Verdict) {
	m := b.repo.manifests[d]
	b.repo.decide = func(slipstream.CheckRequest) map[string]slipstream.PackageDecision {
		return map[string]slipstream.PackageDecision{"main": {Verdict: verdict, Reason: slipstream.ReasonNewRelease, Rollout: "private",
			Release: &slipstream.ReleaseRef{Digest: d, Seq: m.Seq, Version: m.Version, Size: m.Size()}}}
	}
}

func TestADecisionServesAWrongClock(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.repo.publish("main", "1.0.0", v1)
	decideFor(b, d, slipstream.VerdictUpdate)
	b.repo.life = time.Second
	b.clock.advance(30 * time.Second)
	b.update()
	b.runs(b.start(), "main", v1)
}

func TestPrivateRolloutsComeByDecision(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.Decisions = true })
	decideFor(b, b.repo.publish("main", "1.0.0", v1), slipstream.VerdictUpdate)
	u := b.update()
	if !u.Decision || u.Next != 600*time.Second {
		t.Errorf("checked %+v", u.Checked)
	}
	b.runs(b.start(), "main", v1)
}

func TestADecisionCannotBreakTheDevicesRules(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d1 := b.repo.publish("main", "1.0.0", v1)
	b.has("1.1.0", v2)
	decideFor(b, d1, slipstream.VerdictRollback)
	got, err := b.c.CheckDecision(t.Context())
	if err != nil || got.Answers["main"].Reason != slipstream.ReasonDowngrade {
		t.Fatalf("a downgrade: %+v, %v", got, err)
	}
	t.Run("nor be replayed", func(t *testing.T) {
		var kept []byte
		b.repo.tamper = func(path string, body []byte) []byte {
			if path != "/v1/check" {
				return body
			}
			if kept == nil {
				kept = body
			}
			return kept
		}
		if _, err := b.c.CheckDecision(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := b.c.CheckDecision(t.Context()); slipstream.ReasonOf(err, "") != slipstream.ReasonWrongNonce {
			t.Fatalf("replay: %v", err)
		}
	})
}

func TestGrantsAdmitADeviceOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.repo.offer(b.repo.publish("main", "1.0.0", v1), func(r *slipstream.Rollout) { r.Grant = true })
	if u := b.update(); u.Answers["main"].Reason != slipstream.ReasonGrantNeeded {
		t.Fatalf("answer %+v", u.Answers["main"])
	}
	b.repo.grants = map[string]bool{"ro-1.0.0-main": true}
	b.repo.edit("main", func(*slipstream.PackageState) {}) // until then the refusal stands
	if u := b.update(); len(u.Staged) != 1 {
		t.Fatalf("answer %+v", u.Answers["main"])
	}
	before := b.repo.count("/v1/grants")
	b.update()
	if b.repo.count("/v1/grants") != before {
		t.Error("asked again although it was admitted")
	}
}

func TestTheShippedRootMustBeOfTheApp(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	cfg := b.cfg
	cfg.App, cfg.Dir = "other", t.TempDir()
	if _, err := Open(t.Context(), cfg); slipstream.ReasonOf(err, "") != slipstream.ReasonWrongApp {
		t.Errorf("open: %v", err)
	}
	keys := sign.RoleKeys{Keys: []ed25519.PublicKey{signer(1).Public()}, Threshold: 1}
	root, err := sign.NewRoot("shop", b.clock.Now().Add(time.Hour), keys, keys, sign.RoleKeys{Keys: []ed25519.PublicKey{signer(3).Public()}, Threshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	cfg.App, cfg.Root = "shop", b.repo.seal(sign.TypeRoot, root, signer(66))
	if _, err := Open(t.Context(), cfg); slipstream.ReasonOf(err, "") != slipstream.ReasonSignatureInvalid {
		t.Errorf("open: %v", err)
	}
}

func TestADamagedTreeIsNotABase(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.offers("1.0.0", v1)
	l := b.install()
	if err := os.WriteFile(filepath.Join(l.Packages["main"].Dir, "lib", "a.js"), []byte("scribbled over"), 0o644); err != nil {
		t.Fatal(err)
	}
	b.offers("1.1.0", v2)
	b.update()
	b.runs(b.start(), "main", v2)
}

// FuzzState feeds the reader of state.json: it accepts nothing but what the writer wrote.
func FuzzState(f *testing.F) {
	good, err := encodeGeneration(1, body{RootChecked: 5})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"format":1,"generation":1,"sha256":"","body":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		number, b, err := decodeGeneration(data)
		if err != nil {
			return
		}
		again, err := encodeGeneration(number, b)
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("%q was read but is written as %q (%v)", data, again, err)
		}
	})
}

// FuzzContainerList feeds the unsigned hint: whatever it says, only usable containers within the cap are chosen.
func FuzzContainerList(f *testing.F) {
	f.Add([]byte(`[{"codec":"full/1","size":10,"sha256":"` + strings.Repeat("a", 64) + `"}]`))
	f.Add([]byte(`[{"from":"x","codec":"changed/1","size":-1}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var list []slipstream.Container
		if json.Unmarshal(data, &list) != nil {
			return
		}
		c := &Client{}
		w := &wanted{manifest: &slipstream.Manifest{}}
		for _, k := range c.candidates(w, nil, list) {
			if k.Size <= 0 || k.Size > slipstream.ContainerOverhead || k.From != "" || !k.SHA256.Valid() {
				t.Fatalf("chose %+v", k)
			}
		}
	})
}
