package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/slipstream-ota/slipstream"
)

var (
	v1 = files{"main.js": "one", "lib/a.js": strings.Repeat("library ", 2000), "run.sh": "#!/bin/sh"}
	v2 = files{"main.js": "two", "lib/a.js": strings.Repeat("library ", 2000), "new.txt": "hello", "run.sh": "#!/bin/sh"}
	v3 = files{"main.js": "three"}
)

func TestFirstInstallThenUpdate(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.runs(b.start(), "main", nil)
	b.offers("1.0.0", v1)
	u := b.update()
	if len(u.Staged) != 1 || u.Answers["main"].Verdict != slipstream.VerdictUpdate {
		t.Fatalf("staged %v, answer %+v", u.Staged, u.Answers["main"])
	}
	if got := b.version("main"); got != "" {
		t.Fatalf("a hot start switched to %q", got)
	}
	l := b.start()
	if !l.Trial || l.Packages["main"].Entry != "lib/a.js" {
		t.Fatalf("launch %+v", l)
	}
	b.runs(l, "main", v1)
	if info, err := os.Stat(filepath.Join(l.Packages["main"].Dir, "run.sh")); err != nil || info.Mode()&0o100 == 0 {
		t.Fatalf("run.sh is not executable: %v %v", info, err)
	}
	b.confirm(l)
	b.offers("1.1.0", v2)
	b.update()
	if n := b.repo.count("/v1/blobs/"); n != 0 {
		t.Errorf("%d single files were fetched although there is a container", n)
	}
	l = b.start()
	b.runs(l, "main", v2)
	b.confirm(l)
	if err := b.c.Report(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := "enrolled fetched staged started confirmed enrolled fetched staged started confirmed"
	if got := strings.Join(b.repo.kinds(), " "); got != want {
		t.Errorf("reports %s, expected %s", got, want)
	}
	for i, e := range b.repo.reports {
		if e.Kind == slipstream.KindFetched && i > 5 && e.Codec != "changed/1" {
			t.Errorf("fetched by %s, the smallest is changed/1", e.Codec)
		}
		if e.Device != b.c.Device() || len(e.Device) != 64 || strings.Contains(e.Device, b.c.device.ID) {
			t.Errorf("event carries device %q", e.Device)
		}
	}
}

func TestNothingNewIsOneConditionalRequest(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.has("1.0.0", v1)
	b.reopen()
	before := len(b.repo.asked)
	u := b.update()
	if asked := b.repo.asked[before:]; len(asked) != 1 || !strings.Contains(asked[0], "/state/") {
		t.Errorf("asked %v", asked)
	}
	if u.Answers["main"].Reason != slipstream.ReasonUpToDate {
		t.Errorf("answer %+v", u.Answers["main"])
	}
	if u.Next < 900*time.Second || u.Next >= 960*time.Second {
		t.Errorf("next check after %s, the server said 900 s and up to 60 s more", u.Next)
	}
}

func TestADownloadGoesOnWhereItWasCut(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	big := files{"main.js": randomText(300 << 10)}
	b.offers("1.0.0", big)
	cuts := 0
	b.repo.fault = func(r *http.Request, w *httptest.ResponseRecorder) (*http.Response, error) {
		if !strings.HasPrefix(r.URL.Path, "/v1/containers/") || cuts >= 5 {
			return nil, nil
		}
		cuts++
		resp := w.Result()
		resp.Body = http.MaxBytesReader(nil, resp.Body, 40<<10) // fails after 40 KiB
		return resp, nil
	}
	u := b.update()
	if len(u.Staged) != 1 || cuts != 5 {
		t.Fatalf("staged %v after %d cuts", u.Staged, cuts)
	}
	if n := b.repo.count("bytes="); n < 5 {
		t.Errorf("%d requests asked for the rest alone: %v", n, b.repo.asked)
	}
	b.runs(b.start(), "main", big)
}

func TestADownloadGoesOnAfterTheProcessDied(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	big := files{"main.js": randomText(300 << 10)}
	b.offers("1.0.0", big)
	b.repo.fault = func(r *http.Request, w *httptest.ResponseRecorder) (*http.Response, error) {
		if !strings.HasPrefix(r.URL.Path, "/v1/containers/") && !strings.HasPrefix(r.URL.Path, "/v1/blobs/") {
			return nil, nil
		}
		if r.Header.Get("Range") != "" {
			return nil, errors.New("gone")
		}
		resp := w.Result()
		resp.Body = http.MaxBytesReader(nil, resp.Body, 100<<10)
		return resp, nil
	}
	b.updateFails(slipstream.ReasonNetwork)
	b.online()
	b.reopen()
	b.repo.asked = nil
	b.update()
	if b.repo.count("bytes=102400-") != 1 {
		t.Errorf("the second process began anew: %v", b.repo.asked)
	}
	b.runs(b.start(), "main", big)
}

func randomText(n int) string {
	p := make([]byte, n)
	newSeeded(5).Read(p)
	return string(p)
}

func TestTheEmbeddedRelease(t *testing.T) {
	t.Parallel()
	embed := func(b *bench, d slipstream.Digest, content files) func(*Config) {
		m := fstest.MapFS{}
		for name, text := range content {
			m[name] = &fstest.MapFile{Data: []byte(text)}
		}
		return func(c *Config) {
			c.Embedded = map[string]Embedded{"main": {Files: m, Dir: "/app/www", Manifest: b.repo.envelopes[d]}}
		}
	}
	t.Run("is a base for updates", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		b.reopen(embed(b, b.repo.publish("main", "1.0.0", v1), v1))
		b.offers("1.1.0", v2)
		b.update()
		l := b.start()
		b.runs(l, "main", v2)
		if last := b.c.Pending(); !slices.ContainsFunc(last, func(e slipstream.Event) bool { return e.Codec == "changed/1" }) {
			t.Errorf("events %v", last)
		}
	})
	t.Run("wins when it is newer", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		b.has("1.0.0", v1)
		b.reopen(embed(b, b.repo.publish("main", "1.1.0", v2), v2))
		l := b.start()
		if got := l.Packages["main"]; !got.Embedded || got.Version != "1.1.0" || got.Dir != "/app/www" {
			t.Fatalf("runs %+v", got)
		}
		if !b.tellsOf(slipstream.KindRolledBack, slipstream.ReasonEmbeddedNewer) {
			t.Error("no reason was told")
		}
		if u := b.update(); u.Answers["main"].Offer != nil {
			t.Fatalf("went below the embedded release: %+v", u.Answers["main"])
		}
	})
}

func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d1 := b.has("1.0.0", v1)
	second, err := Open(t.Context(), b.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	l, err := second.Start(t.Context())
	if err != nil || l.Token != "" || l.Reason != slipstream.ReasonLocked {
		t.Fatalf("the second process started %+v, %v", l, err)
	}
	b.runs(l, "main", v1)
	if _, err := second.Update(t.Context()); slipstream.ReasonOf(err, "") != slipstream.ReasonLocked {
		t.Fatalf("update: %v", err)
	}
	if second.Device() != b.c.Device() {
		t.Error("the processes have different devices")
	}

	t.Run("what the second runs is not deleted", func(t *testing.T) {
		b.repo.edit("main", func(p *slipstream.PackageState) { p.Withdrawn, p.Rollouts = []slipstream.Digest{d1}, nil })
		b.has("2.0.0", v3)
		b.start()
		b.start()
		b.runs(l, "main", v1)
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.start()
		if _, err := os.Stat(l.Packages["main"].Dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a tree that nobody needs is still there: %v", err)
		}
	})
	t.Run("the second takes over when the first is gone", func(t *testing.T) {
		if err := b.c.Close(); err != nil {
			t.Fatal(err)
		}
		l, err := second.Start(t.Context())
		if err != nil || l.Token == "" {
			t.Fatalf("start: %+v, %v", l, err)
		}
		b.runs(l, "main", v3)
	})
}

func TestChangeOfChannel(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.Channel = "beta" })
	old := b.repo.publish("main", "1.0.0", v1)
	b.has("2.0.0-beta", v2)
	b.repo.channels["production"] = map[string]slipstream.PackageState{"main": {Rollouts: []slipstream.Rollout{{ID: "p", Manifest: old, Seq: 1, Version: "1.0.0",
		Size: b.repo.manifests[old].Size(), Runtime: slipstream.AnyRuntime(), To: slipstream.FullShare}}}}
	if err := b.c.ChangeChannel(t.Context(), "production"); err != nil {
		t.Fatal(err)
	}
	b.runs(b.start(), "main", v2)
	b.install()
	b.runs(b.start(), "main", v1)
	b.reopen(func(c *Config) { c.Channel = "" })
	b.update()
	if got := b.c.Pending(); got[len(got)-1].Channel != "production" {
		t.Errorf("the last event is of channel %q", got[len(got)-1].Channel)
	}
}

func needs(pkg string, seq int64) func(*slipstream.Manifest) {
	return func(m *slipstream.Manifest) {
		m.Requires = map[string]slipstream.Requirement{pkg: {MinSeq: seq}}
	}
}

func TestPackagesThatNeedEachOther(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.Packages = []string{"base", "cart", "config"} })
	b.repo.offer(b.repo.publish("base", "1", files{"base.js": "b1"}))
	b.repo.offer(b.repo.publish("cart", "1", files{"cart.js": "c1"}, needs("base", 1)))
	b.install()
	b.repo.offer(b.repo.publish("base", "2", files{"base.js": "b2"}))
	b.repo.offer(b.repo.publish("cart", "2", files{"cart.js": "c2"}, needs("base", 3)))
	b.repo.offer(b.repo.publish("config", "1", files{"config.json": "{}"}))
	b.update()
	l := b.start()
	b.runs(l, "base", files{"base.js": "b2"})
	b.runs(l, "cart", files{"cart.js": "c2"})
	b.runs(l, "config", nil)
	b.crash(l)
	l = b.start()
	b.crash(l)
	l = b.start()
	b.runs(l, "base", files{"base.js": "b1"})
	b.runs(l, "cart", files{"cart.js": "c1"})
	b.runs(l, "config", files{"config.json": "{}"})
	b.confirm(l)

	t.Run("what lacks its companion waits", func(t *testing.T) {
		d := b.repo.publish("cart", "3", files{"cart.js": "c3"}, needs("base", 99))
		b.repo.offer(d)
		u, err := b.c.Update(t.Context())
		if slipstream.ReasonOf(err, "") != slipstream.ReasonRequires || u.Answers["cart"].Reason != slipstream.ReasonRequires {
			t.Fatalf("update: %v", err)
		}
		b.runs(b.start(), "cart", files{"cart.js": "c1"})
	})
}

func TestBothArmsTellBeforeAnyDownload(t *testing.T) {
	t.Parallel()
	for arm, share := range map[string][2]int{slipstream.ArmTreatment: {0, 9999}, slipstream.ArmControl: {0, 0}} {
		t.Run(arm, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.repo.offer(b.repo.publish("main", "1.0.0", v1), func(r *slipstream.Rollout) {
				r.From, r.To, r.Control = share[0], share[1], slipstream.FullShare
				if share[1] == 0 {
					r.To = 1
				}
			})
			u, err := b.c.Check(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			events := b.c.Pending()
			if len(events) != 1 || events[0].Kind != slipstream.KindEnrolled || events[0].Arm != arm || events[0].Rollout != "ro-1.0.0-main" || events[0].Release == "" {
				t.Fatalf("events %+v, answer %+v", events, u.Answers["main"])
			}
			b.update()
			b.update()
			l := b.start()
			b.confirm(l)
			n := 0
			for _, e := range b.told {
				if e.Kind == slipstream.KindEnrolled {
					n++
				}
				if e.Kind == slipstream.KindConfirmed && e.Arm != arm {
					t.Errorf("confirmed in arm %q", e.Arm)
				}
			}
			if n != 1 {
				t.Errorf("enrolled %d times", n)
			}
			if treated := l.Packages["main"].Version == "1.0.0"; treated != (arm == slipstream.ArmTreatment) {
				t.Errorf("runs %q", l.Packages["main"].Version)
			}
		})
	}
}

func TestReportsAreKeptWhileOffline(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.offers("1.0.0", v1)
	b.update()
	b.offline()
	b.repo.reports = nil // which arm the device is in was told before the download
	b.confirm(b.start())
	if err := b.c.Report(t.Context()); slipstream.ReasonOf(err, "") != slipstream.ReasonNetwork {
		t.Fatalf("report: %v", err)
	}
	for i := range maxOutbox + 50 {
		if err := b.c.Metric("n", i); err != nil {
			t.Fatal(err)
		}
		if i == 150 {
			b.reopen()
		}
	}
	pending := b.c.Pending()
	if len(pending) != maxOutbox || string(pending[len(pending)-1].Value) != "549" {
		t.Fatalf("%d events, the last is %s", len(pending), pending[len(pending)-1].Value)
	}
	b.online()
	if err := b.c.Report(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(b.c.Pending()) != 0 || len(b.repo.reports) != maxOutbox {
		t.Fatalf("%d stay, %d arrived", len(b.c.Pending()), len(b.repo.reports))
	}
	last, ids := -1, map[string]bool{}
	for _, e := range b.repo.reports {
		var n int
		if err := json.Unmarshal(e.Value, &n); err != nil || n <= last {
			t.Fatalf("order broken at %s", e.Value)
		}
		last = n
		ids[e.ID] = true
	}
	if len(ids) != maxOutbox {
		t.Errorf("%d different ids", len(ids))
	}
}

func TestDataRollbackIsAnnounced(t *testing.T) {
	t.Parallel()
	var got []DataRollback
	b := newBench(t, func(c *Config) {
		c.Hooks.OnDataRollback = func(_ context.Context, d DataRollback) { got = append(got, d) }
	})
	data := func(writes string, reads ...string) func(*slipstream.Manifest) {
		return func(m *slipstream.Manifest) { m.Data = &slipstream.DataFormats{Reads: reads, Writes: writes} }
	}
	d1 := b.has("1.0.0", v1, data("a", "a"))
	d2 := b.offers("1.1.0", v2, data("b", "a", "b"))
	b.update()
	b.crash(b.start())
	b.crash(b.start())
	if len(got) != 0 {
		t.Fatalf("announced on the way up: %v", got)
	}
	b.start()
	if len(got) != 1 || got[0] != (DataRollback{Package: "main", From: d2, To: d1, Format: "b"}) {
		t.Fatalf("announced %v", got)
	}
}

func (lockless) TryLock(name string) (io.Closer, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EROFS}
}
