package build

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/blob/mem"
	"github.com/slipstream-ota/slipstream/publish"
	"github.com/slipstream-ota/slipstream/store"
	"github.com/slipstream-ota/slipstream/store/sqlite"
)

// world is a store with the app shop, blobs, and a clock that tests turn.
type world struct {
	*testing.T
	store *sqlite.Store
	blobs *mem.Store
	turn  sync.Mutex // of now where it moves while somebody works: progress is recorded beside the work
	now   time.Time
	seq   int64
	fleet []Share
}

func newWorld(t *testing.T) *world {
	t.Helper()
	st, err := sqlite.Open(t.Context(), ":memory:", sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, store: st, blobs: mem.New(), now: time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)}
	t.Cleanup(func() { w.must(st.Close()) })
	w.update(func(ctx context.Context, tx store.Tx) error {
		return tx.Apps().Create(ctx, store.App{Name: "shop", Platforms: []string{"any"}, Settings: []byte("{}")})
	})
	return w
}

func (w *world) clock() time.Time {
	w.turn.Lock()
	defer w.turn.Unlock()
	return w.now
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) update(fn func(ctx context.Context, tx store.Tx) error) {
	w.Helper()
	w.must(w.store.Update(context.Background(), func(tx store.Tx) error { return fn(context.Background(), tx) }))
}

// release publishes a release of one file that shares most of its text with the others.
func (w *world) release(edit ...func(*slipstream.Release)) *slipstream.Release {
	w.Helper()
	w.seq++
	content := strings.Repeat("the same in every release\n", 200) + fmt.Sprint("release ", w.seq)
	sum := slipstream.DigestOf(sha256.Sum256([]byte(content)))
	w.must(w.blobs.Put(w.Context(), sum, int64(len(content)), strings.NewReader(content)))
	image := slipstream.DigestOf(sha256.Sum256(make([]byte, 50_000)))
	w.must(w.blobs.Put(w.Context(), image, 50_000, strings.NewReader(string(make([]byte, 50_000)))))
	r := &slipstream.Release{
		Digest: slipstream.DigestOf(sha256.Sum256(fmt.Append(nil, "release", w.seq))),
		Manifest: &slipstream.Manifest{App: "shop", Package: "main", Platform: "any", Runtime: slipstream.AnyRuntime(), Seq: w.seq, Version: fmt.Sprint(w.seq),
			Files: []slipstream.File{{Path: "image", Size: 50_000, SHA256: image}, {Path: "main.js", Size: int64(len(content)), SHA256: sum}}},
		Envelope: []byte("{}"),
	}
	for _, e := range edit {
		e(r)
	}
	w.update(func(ctx context.Context, tx store.Tx) error { return tx.Releases().Put(ctx, r) })
	return r
}

func (w *world) offer(releases ...*slipstream.Release) {
	w.Helper()
	var entries []string
	for i, r := range releases {
		entries = append(entries, fmt.Sprintf(`{"id":"r%d","manifest":%q,"seq":%d,"to":10000,"platform":"any"}`, i, r.Digest, r.Manifest.Seq))
	}
	w.decide(fmt.Sprintf(`{"rollouts":[%s]}`, strings.Join(entries, ",")), nil)
}

// decide puts the policy of package main in force, with digests for the names of releases.
func (w *world) decide(pkg string, names map[string]*slipstream.Release) {
	w.Helper()
	for n, r := range names {
		pkg = strings.ReplaceAll(pkg, `"`+n+`"`, `"`+string(r.Digest)+`"`)
	}
	policy := []byte(`{"packages":{"main":` + pkg + `}}`)
	w.update(func(ctx context.Context, tx store.Tx) error {
		ch := store.Channel{App: "shop", Name: "production", Policy: policy}
		if err := tx.Channels().Save(ctx, ch); !errors.Is(err, slipstream.ErrNotFound) {
			return err
		}
		return tx.Channels().Create(ctx, ch)
	})
}

func (w *world) builder(owner string, blobs blob.Store) *Builder {
	return New(Config{Store: w.store, Blobs: blobs, Owner: owner, TempDir: w.TempDir(), Clock: w.clock,
		Running: func(context.Context, string, string) ([]Share, error) { return w.fleet, nil }})
}

// from lists the bases that r has containers from, "" for the full one.
func (w *world) from(r *slipstream.Release) []slipstream.Digest {
	w.Helper()
	found := map[slipstream.Digest]bool{}
	w.must(w.store.View(w.Context(), func(tx store.Tx) error {
		list, err := tx.Containers().List(w.Context(), r.Digest)
		for _, k := range list {
			found[k.From] = true
			if _, err := w.blobs.Stat(w.Context(), k.SHA256); err != nil {
				w.Errorf("a container is offered whose bytes are not there: %v", err)
			}
		}
		return err
	}))
	return slices.Sorted(maps.Keys(found))
}

func (w *world) wantFrom(about string, r *slipstream.Release, bases ...*slipstream.Release) {
	w.Helper()
	want := []slipstream.Digest{""}
	for _, b := range bases {
		want = append(want, b.Digest)
	}
	slices.Sort(want)
	if got := w.from(r); !slices.Equal(got, want) {
		w.Errorf("%s: containers from %v, want %v", about, got, want)
	}
}

func TestReleasesGetTheirContainersOnce(t *testing.T) {
	w := newWorld(t)
	one, two := w.release(), w.release()
	w.offer(two)
	b := w.builder("a", w.blobs)
	w.must(b.Settle(t.Context()))
	w.wantFrom("the first release", one)
	w.wantFrom("the second", two, one)
	w.must(b.Settle(t.Context()))
	jobs, err := w.store.Jobs().List(t.Context(), two.Digest)
	w.must(err)
	for _, j := range jobs {
		if j.State != store.JobDone || j.Attempts != 1 || j.Note == "" {
			t.Errorf("job %+v", j)
		}
	}
}

func TestWhatTheFleetRunsIsABase(t *testing.T) {
	w := newWorld(t)
	old := w.release()
	for range 8 {
		w.release()
	}
	newest := w.release()
	w.offer(newest)
	b := w.builder("a", w.blobs)
	w.must(b.Settle(t.Context()))
	if slices.Contains(w.from(newest), old.Digest) {
		t.Fatal("a base that nobody runs")
	}
	w.fleet = []Share{{old.Digest, 1000}}
	w.must(b.Settle(t.Context()))
	if !slices.Contains(w.from(newest), old.Digest) {
		t.Error("most devices run it, and there is no way from there")
	}
	w.fleet = []Share{{newest.Digest, 1000}}
	w.must(b.Settle(t.Context()))
	if !slices.Contains(w.from(newest), old.Digest) {
		t.Error("dropped at once: a device that tells nothing may have asked for it")
	}
	w.now = w.now.Add(25 * time.Hour)
	w.must(b.Settle(t.Context()))
	if slices.Contains(w.from(newest), old.Digest) {
		t.Error("kept although its base has no devices")
	}
}

func TestADeviceCanAskForAWay(t *testing.T) {
	w := newWorld(t)
	old := w.release()
	for range 8 {
		w.release()
	}
	newest := w.release()
	other := w.release(func(r *slipstream.Release) { r.Manifest.Package = "cart" })
	w.offer(newest)
	b := w.builder("a", w.blobs)
	w.must(b.Settle(t.Context()))
	before := w.from(newest)
	b.Want(newest.Digest, other.Digest)
	b.Want(newest.Digest, newest.Digest)
	b.Want(newest.Digest, name(1))
	b.Want(name(1), newest.Digest)
	unoffered := w.release()
	w.must(b.Settle(t.Context()))
	b.Want(unoffered.Digest, old.Digest)
	w.must(b.Settle(t.Context()))
	if got := w.from(newest); !slices.Equal(got, before) {
		t.Errorf("strangers got containers made: %v", got)
	}
	if slices.Contains(w.from(unoffered), old.Digest) {
		t.Error("a stranger got a way to a release that nobody is offered")
	}
	b.Want(newest.Digest, old.Digest)
	w.must(b.Settle(t.Context()))
	if !slices.Contains(w.from(newest), old.Digest) {
		t.Error("the way that was asked for was not made")
	}
	for range 10 * wantedAtOnce {
		b.Want(newest.Digest, old.Digest) // never blocks
	}
}

func TestNewInstallationsGetAWay(t *testing.T) {
	w := newWorld(t)
	shipped := w.release(func(r *slipstream.Release) { r.Embedded = true })
	for range 8 {
		w.release()
	}
	newest := w.release()
	w.offer(newest)
	w.must(w.builder("a", w.blobs).Settle(t.Context()))
	if !slices.Contains(w.from(newest), shipped.Digest) {
		t.Error("no container from the embedded release")
	}
	if got := w.from(shipped); len(got) != 0 {
		t.Errorf("an embedded release is never fetched, and yet has %v", got)
	}
}

// failing is a blob store whose reads fail while it is told so.
type failing struct {
	blob.Store
	mu   sync.Mutex
	fail error
	wait func(ctx context.Context)
}

func (f *failing) Open(ctx context.Context, d slipstream.Digest) (blob.Object, error) {
	f.mu.Lock()
	err, wait := f.fail, f.wait
	f.mu.Unlock()
	if wait != nil {
		wait(ctx)
	}
	if err != nil {
		return nil, err
	}
	return f.Store.Open(ctx, d)
}

func TestAFailureIsTriedAgainLater(t *testing.T) {
	w := newWorld(t)
	r := w.release()
	w.offer(r)
	blobs := &failing{Store: w.blobs, fail: io.ErrUnexpectedEOF}
	b := w.builder("a", blobs)
	if err := b.Settle(t.Context()); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("the cause is not told: %v", err)
	}
	blobs.fail = nil
	w.must(b.Settle(t.Context()))
	if got := w.from(r); len(got) != 0 {
		t.Error("tried again at once: a store that is down would be hammered")
	}
	w.now = w.now.Add(2 * time.Minute)
	w.must(b.Settle(t.Context()))
	w.wantFrom("after a while", r)
}

func TestWhatFailsForLongIsTriedAgainTheDayAfter(t *testing.T) {
	w := newWorld(t)
	w.release()
	r := w.release()
	w.offer(r)
	blobs := &failing{Store: w.blobs, fail: io.ErrUnexpectedEOF}
	b := w.builder("a", blobs)
	b.cfg.Bounds = Bounds{Previous: 1}
	for range 8 {
		_ = b.Settle(t.Context())
		w.now = w.now.Add(retryMost)
	}
	blobs.fail = nil
	w.must(b.Settle(t.Context()))
	if got := w.from(r); len(got) != 0 {
		t.Fatal("it was never given up")
	}
	w.now = w.now.Add(giveUpFor)
	w.must(b.Settle(t.Context())) // the full container
	w.now = w.now.Add(retryMost + 2*notYet)
	w.must(b.Settle(t.Context())) // and its base, which has waited for it
	if len(w.from(r)) != 2 {
		t.Errorf("containers from %v", w.from(r))
	}
}

func TestWhatKillsItsNodeIsGivenUp(t *testing.T) {
	w := newWorld(t)
	r := w.release()
	w.offer(r)
	b := w.builder("a", w.blobs)
	w.must(b.plan(t.Context()))
	for range maxAttempts {
		if _, err := w.store.Jobs().Claim(t.Context(), "killed", w.now, lease); err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(lease + time.Second)
	}
	if err := b.Settle(t.Context()); err == nil || !strings.Contains(err.Error(), "memory") {
		t.Errorf("the server goes down for it for ever, or nobody is told why not: %v", err)
	}
	jobs, err := w.store.Jobs().List(t.Context(), r.Digest)
	w.must(err)
	if j := jobs[0]; j.State != store.JobFailed || !j.Due.IsZero() {
		t.Errorf("job %+v", j)
	}
}

// asked is a store whose readers are overtaken by one more wish each.
type asked struct {
	store.Store
	once func()
}

func (a asked) View(ctx context.Context, fn func(tx store.Tx) error) error {
	a.once()
	return a.Store.View(ctx, fn)
}

func TestAFloodOfWishesDoesNotStopTheWork(t *testing.T) {
	w := newWorld(t)
	b := w.builder("a", w.blobs)
	taken := 0
	b.cfg.Store = asked{w.store, func() {
		if taken++; taken < 10*wantedAtOnce {
			b.Want(name(1), name(2))
		}
	}}
	b.Want(name(1), name(2))
	b.listen(t.Context(), 0)
	if taken > wantedAtOnce {
		t.Errorf("%d wishes were listened to before any work", taken)
	}
}

func TestANodeThatStopsGivesItsWorkBack(t *testing.T) {
	w := newWorld(t)
	r := w.release()
	w.offer(r)
	ctx, stop := context.WithCancel(t.Context())
	blobs := &failing{Store: w.blobs, wait: func(ctx context.Context) { stop(); <-ctx.Done() }}
	if err := w.builder("a", blobs).Settle(ctx); err == nil {
		t.Fatal("settled although it was stopped")
	}
	w.must(w.builder("b", w.blobs).Settle(t.Context()))
	w.wantFrom("by the other node", r)
}

func TestWhereTheWorkIsCanBeSeen(t *testing.T) {
	w := newWorld(t)
	r := w.release()
	w.offer(r)
	seen := store.Job{}
	blobs := &failing{Store: w.blobs, wait: func(ctx context.Context) {
		for deadline := time.Now().Add(20 * time.Second); seen.Note == "" && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			jobs, err := w.store.Jobs().List(ctx, r.Digest)
			w.must(err)
			seen = jobs[0]
		}
	}}
	w.must(w.builder("a", blobs).Settle(t.Context()))
	if seen.State != store.JobRunning || seen.Note != publish.StageFull || seen.Owner != "a" {
		t.Errorf("while it was made: %+v", seen)
	}
	w.wantFrom("afterwards", r)
}

func TestANodeThatDiedLosesItsWork(t *testing.T) {
	w := newWorld(t)
	r := w.release()
	w.offer(r)
	b := w.builder("b", w.blobs)
	w.must(b.plan(t.Context()))
	if _, err := w.store.Jobs().Claim(t.Context(), "dead", w.now, lease); err != nil {
		t.Fatal(err)
	}
	w.must(b.Settle(t.Context()))
	if got := w.from(r); len(got) != 0 {
		t.Fatal("taken from a node that may be alive")
	}
	w.now = w.now.Add(lease + time.Second)
	w.must(b.Settle(t.Context()))
	w.wantFrom("after its lease", r)
}

func TestTwoNodesMakeNothingTwice(t *testing.T) {
	w := newWorld(t)
	for range 12 {
		w.release()
	}
	newest := w.release()
	w.offer(newest)
	var wg sync.WaitGroup
	for _, owner := range []string{"a", "b"} {
		wg.Go(func() {
			b := w.builder(owner, w.blobs)
			if err := b.Settle(t.Context()); err != nil {
				t.Errorf("node %s: %v", owner, err)
			}
		})
	}
	wg.Wait()
	w.now = w.now.Add(time.Minute) // what had to wait for a full container
	w.must(w.builder("a", w.blobs).Settle(t.Context()))
	jobs, err := w.store.Jobs().List(t.Context(), newest.Digest)
	w.must(err)
	for _, j := range jobs {
		if j.State != store.JobDone || j.Attempts != 1 {
			t.Errorf("job %+v", j)
		}
	}
	if len(w.from(newest)) != 6 {
		t.Errorf("containers from %v", w.from(newest))
	}
}

func TestANewReleaseDoesNotWaitForTheBasesOfTheFormer(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		w.release()
	}
	former := w.release()
	w.offer(former)
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	var newest *slipstream.Release
	var doneBefore int
	blobs := &failing{Store: w.blobs}
	b := w.builder("a", blobs)
	blobs.wait = func(context.Context) {
		switch {
		case newest == nil && len(w.from(former)) == 1: // the first base of the former is being worked on
			doneBefore = w.done(former)
			newest = w.release()
			w.offer(newest)
			b.Wake()
		case newest != nil && len(w.from(newest)) == 1:
			stop()
		}
	}
	w.must(b.Run(ctx))
	if newest == nil || len(w.from(newest)) == 0 {
		t.Fatal("the new release got no container")
	}
	if n := w.done(former) - doneBefore; n > 1 {
		t.Errorf("the new release waited for %d bases of the former one", n)
	}
}

// done counts the jobs of r that are done.
func (w *world) done(r *slipstream.Release) (n int) {
	w.Helper()
	jobs, err := w.store.Jobs().List(w.Context(), r.Digest)
	w.must(err)
	for _, j := range jobs {
		if j.State == store.JobDone {
			n++
		}
	}
	return n
}

// What counts is the time of processors: a store that answers slowly, or a machine that is busy with something else, takes
// nothing from a release.
func TestTheProcessorTimeOfOneReleaseIsBounded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		known    bool
		work     time.Duration // of processors, each time a blob is read
		wait     time.Duration // on the clock
		followed bool          // the second base is made too
	}{
		"much work":                        {true, time.Hour, time.Second, false},
		"long waits":                       {true, time.Second, time.Hour, true},
		"work that nobody knows of":        {false, 0, time.Hour, false},
		"little of what nobody knows of":   {false, 0, time.Second, true},
		"waits that nobody knows to be so": {false, time.Second, time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			one := w.release()
			two := w.release()
			w.offer(two)
			var used time.Duration
			slow := &failing{Store: w.blobs, wait: func(context.Context) {
				w.turn.Lock()
				defer w.turn.Unlock()
				w.now, used = w.now.Add(c.wait), used+c.work
			}}
			b := w.builder("a", slow)
			b.cfg.Bounds = Bounds{Previous: 1}
			b.cfg.Processor = func() (time.Duration, bool) {
				w.turn.Lock()
				defer w.turn.Unlock()
				return used, c.known
			}
			w.must(b.Settle(t.Context()))
			w.wantFrom("the first base is made", two, one)
			three := w.release()
			b.Want(two.Digest, three.Digest)
			w.must(b.Settle(t.Context()))
			if c.followed {
				w.wantFrom("there is time left", two, one, three)
			} else {
				w.wantFrom("then the time is used up", two, one)
			}
		})
	}
}

func TestTheSystemTellsProcessorTime(t *testing.T) {
	t.Parallel()
	m := (&Builder{cfg: Config{Clock: time.Now, Processor: processorTime}}).meter()
	if !m.known {
		t.Skip("this system does not tell it")
	}
	sum, began := [32]byte{}, time.Now()
	for m.taken() < 50*time.Millisecond {
		if time.Since(began) > time.Minute {
			t.Fatalf("after a minute of work %s are told", m.taken())
		}
		for range 1000 {
			sum = sha256.Sum256(sum[:])
		}
	}
	if on := time.Since(began) * time.Duration(runtime.NumCPU()); m.taken() > on+time.Second {
		t.Errorf("%s of work are told in %s", m.taken(), on)
	}
}
