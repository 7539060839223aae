package client

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish/delta"
	"github.com/slipstream-ota/slipstream/sign"
)

// fakeClock stands still until it is moved. Short waits (the pauses of a retry) are over at once.
type fakeClock struct {
	mu     sync.Mutex
	now    time.Time
	timers []fakeTimer
}

type fakeTimer struct {
	at time.Time
	ch chan time.Time
}

func newClock() *fakeClock {
	return &fakeClock{now: time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)}
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := make(chan time.Time, 1)
	if d < 10*time.Second {
		ch <- c.now
		return ch
	}
	c.timers = append(c.timers, fakeTimer{c.now.Add(d), ch})
	return ch
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	c.timers = slices.DeleteFunc(c.timers, func(t fakeTimer) bool {
		if t.at.After(c.now) {
			return false
		}
		t.ch <- c.now
		return true
	})
}

// seeded is deterministic randomness that many goroutines may read.
type seeded struct {
	mu  sync.Mutex
	rng *rand.ChaCha8
}

func newSeeded(seed byte) *seeded {
	return &seeded{rng: rand.NewChaCha8([32]byte{seed})}
}

func (s *seeded) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rng.Read(p)
}

func signer(seed byte) sign.Signer {
	return sign.NewSigner(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize)))
}

// files is the content of a release.
type files map[string]string

// repository is a server as a device sees it, signing with real keys. It is an http.RoundTripper: hosts a.test and b.test
// are two mirrors of it.
type repository struct {
	t     *testing.T
	clock *fakeClock

	mu         sync.Mutex
	rootKey    sign.Signer
	release    sign.Signer
	stateKey   sign.Signer
	roots      [][]byte // version 1 first
	life       time.Duration
	epoch      map[string]int64
	packages   map[string]slipstream.PackageState // in every channel that has none of its own
	channels   map[string]map[string]slipstream.PackageState
	manifests  map[slipstream.Digest]*slipstream.Manifest
	envelopes  map[slipstream.Digest][]byte
	blobs      map[slipstream.Digest][]byte
	lists      map[slipstream.Digest][]slipstream.Container
	seq        int64
	reports    []slipstream.Event
	asked      []string // method and path of every request, with the range
	decide     func(slipstream.CheckRequest) map[string]slipstream.PackageDecision
	grants     map[string]bool
	grantEpoch int64                                                                       // of the answers, 0 = they do not say
	fault      func(r *http.Request, w *httptest.ResponseRecorder) (*http.Response, error) // may replace an answer
	down       bool
	future     string // what the states say in a field that this version does not know
	tamper     func(path string, body []byte) []byte
}

func newRepository(t *testing.T, clock *fakeClock) *repository {
	r := &repository{t: t, clock: clock, rootKey: signer(1), release: signer(2), stateKey: signer(3), life: 24 * time.Hour,
		epoch: map[string]int64{}, packages: map[string]slipstream.PackageState{}, channels: map[string]map[string]slipstream.PackageState{},
		manifests: map[slipstream.Digest]*slipstream.Manifest{}, envelopes: map[slipstream.Digest][]byte{}, blobs: map[slipstream.Digest][]byte{},
		lists: map[slipstream.Digest][]slipstream.Container{}}
	r.addRoot()
	return r
}

// addRoot signs the next root with the keys of now.
func (r *repository) addRoot(more ...sign.Signer) {
	r.t.Helper()
	keys := func(s sign.Signer) sign.RoleKeys {
		return sign.RoleKeys{Keys: []ed25519.PublicKey{s.Public()}, Threshold: 1}
	}
	root, err := sign.NewRoot("shop", r.clock.Now().Add(365*24*time.Hour), keys(r.rootKey), keys(r.release), keys(r.stateKey))
	if err != nil {
		r.t.Fatal(err)
	}
	root.Version = int64(len(r.roots) + 1)
	r.roots = append(r.roots, r.seal(sign.TypeRoot, root, append(more, r.rootKey)...))
	r.bump()
}

func (r *repository) seal(kind string, doc any, by ...sign.Signer) []byte {
	r.t.Helper()
	e, err := sign.Seal(kind, doc, by...)
	if err != nil {
		r.t.Fatalf("seal %s: %v", kind, err)
	}
	return e.Encode()
}

func sum(b []byte) slipstream.Digest { return slipstream.DigestOf(sha256.Sum256(b)) }

// publish makes a release known, with its full container and the changed ones from every earlier release.
func (r *repository) publish(pkg, version string, content files, change ...func(*slipstream.Manifest)) slipstream.Digest {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq++
	m := &slipstream.Manifest{App: "shop", Package: pkg, Platform: slipstream.PlatformAny, Runtime: slipstream.AnyRuntime(), Seq: r.seq, Version: version,
		Created: slipstream.At(r.clock.Now())}
	for _, name := range slices.Sorted(maps.Keys(content)) {
		b := []byte(content[name])
		r.blobs[sum(b)] = b
		m.Files = append(m.Files, slipstream.File{Path: name, Size: int64(len(b)), SHA256: sum(b), Exec: strings.HasSuffix(name, ".sh")})
	}
	m.Entry = m.Files[0].Path
	for _, f := range change {
		f(m)
	}
	raw := r.seal(sign.TypeManifest, m, r.release)
	e, err := sign.ParseEnvelope(raw, sign.TypeManifest, slipstream.MaxManifestBytes)
	if err != nil {
		r.t.Fatal(err)
	}
	digest := sign.DigestOf(e.Payload)
	for old, from := range r.manifests {
		if from.Package == pkg {
			r.contain(digest, m, old, from)
		}
	}
	r.contain(digest, m, "", nil)
	r.manifests[digest], r.envelopes[digest] = m, raw
	return digest
}

func (r *repository) contain(digest slipstream.Digest, m *slipstream.Manifest, from slipstream.Digest, old *slipstream.Manifest) {
	r.t.Helper()
	var buf bytes.Buffer
	err := delta.Encode(context.Background(), &buf, old, m, func(f slipstream.File) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(r.blobs[f.SHA256])), nil
	})
	if err != nil {
		r.t.Fatalf("encode container: %v", err)
	}
	c := slipstream.Container{From: from, Codec: delta.CodecFull, Size: int64(buf.Len()), SHA256: sum(buf.Bytes())}
	if from != "" {
		c.Codec = delta.CodecChanged
	}
	r.blobs[c.SHA256] = buf.Bytes()
	r.lists[digest] = append(r.lists[digest], c)
}

// offer puts a rollout of the release on top of its package's list on every channel.
func (r *repository) offer(d slipstream.Digest, change ...func(*slipstream.Rollout)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.manifests[d]
	ro := slipstream.Rollout{ID: "ro-" + m.Version + "-" + m.Package, Manifest: d, Seq: m.Seq, Version: m.Version, Size: m.Size(), Runtime: m.Runtime, To: slipstream.FullShare}
	for _, f := range change {
		f(&ro)
	}
	p := r.packages[m.Package]
	p.Rollouts = append([]slipstream.Rollout{ro}, p.Rollouts...)
	r.packages[m.Package] = p
	r.bump()
}

func (r *repository) bump() {
	for ch := range r.epoch {
		r.epoch[ch]++
	}
}

// edit changes what is said of a package.
func (r *repository) edit(pkg string, f func(*slipstream.PackageState)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.packages[pkg]
	f(&p)
	r.packages[pkg] = p
	r.bump()
}

func (r *repository) state(channel string) []byte {
	if r.epoch[channel] == 0 {
		r.epoch[channel] = r.clock.Now().Unix()
	}
	packages := r.packages
	if own, ok := r.channels[channel]; ok {
		packages = own
	}
	now := r.clock.Now()
	s := &slipstream.State{App: "shop", Channel: channel, Platform: slipstream.PlatformAny, Epoch: r.epoch[channel], Issued: slipstream.At(now.Truncate(time.Minute)),
		Expires: slipstream.At(now.Truncate(time.Minute).Add(r.life)), RootVersion: int64(len(r.roots)), CheckAfter: 900, Jitter: 60, Packages: packages}
	return r.seal(sign.TypeState, struct {
		*slipstream.State
		Future string `json:"future,omitempty"`
	}{s, r.future}, r.stateKey)
}

func (r *repository) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		return nil, errors.New("no route to host")
	}
	r.asked = append(r.asked, strings.TrimSpace(req.Method+" "+req.URL.Host+req.URL.Path+" "+req.Header.Get("Range")))
	w := httptest.NewRecorder()
	r.serve(w, req)
	if r.tamper != nil && w.Code == http.StatusOK {
		body := r.tamper(req.URL.Path, w.Body.Bytes())
		w.Body = bytes.NewBuffer(body)
	}
	if r.fault != nil {
		if resp, err := r.fault(req, w); resp != nil || err != nil {
			return resp, err
		}
	}
	return w.Result(), nil
}

func (r *repository) serve(w *httptest.ResponseRecorder, req *http.Request) {
	parts := strings.Split(strings.Trim(req.URL.Path, "/"), "/")
	send := func(b []byte, ok bool) {
		if !ok {
			http.NotFound(w, req)
			return
		}
		w.Header().Set("ETag", `"`+string(sum(b))+`"`)
		http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(b))
	}
	answer := func(v any) {
		b, err := json.Marshal(v)
		if err != nil {
			r.t.Error(err)
		}
		send(b, true)
	}
	switch path := req.URL.Path; {
	case strings.Contains(path, "/state/"):
		send(r.state(parts[4]), true)
	case strings.Contains(path, "/roots/"):
		var n int
		if _, err := fmt.Sscan(parts[4], &n); err != nil || n < 1 || n > len(r.roots) {
			http.NotFound(w, req)
			return
		}
		send(r.roots[n-1], true)
	case strings.HasPrefix(path, "/v1/manifests/"):
		b, ok := r.envelopes[slipstream.Digest(parts[2])]
		send(b, ok)
	case strings.HasSuffix(path, "/containers"):
		answer(r.lists[slipstream.Digest(parts[2])])
	case strings.HasPrefix(path, "/v1/containers/"), strings.HasPrefix(path, "/v1/blobs/"):
		b, ok := r.blobs[slipstream.Digest(parts[2])]
		send(b, ok)
	case path == "/v1/reports":
		r.take(w, req, answer)
	case path == "/v1/check":
		r.check(req, send)
	case path == "/v1/grants":
		var q map[string]string
		if err := json.NewDecoder(req.Body).Decode(&q); err != nil {
			r.t.Error(err)
		}
		if r.grantEpoch == 0 {
			answer(map[string]any{"granted": r.grants[q["rollout"]]})
			return
		}
		answer(map[string]any{"granted": r.grants[q["rollout"]], "epoch": r.grantEpoch})
	default:
		http.NotFound(w, req)
	}
}

func (r *repository) take(w http.ResponseWriter, req *http.Request, answer func(any)) {
	var batch []slipstream.Event
	if err := json.NewDecoder(req.Body).Decode(&batch); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var results []slipstream.EventResult
	for i, e := range batch {
		r.reports = append(r.reports, e)
		results = append(results, slipstream.EventResult{Index: i, Status: slipstream.EventAccepted})
	}
	answer(map[string]any{"results": results})
}

func (r *repository) check(req *http.Request, send func([]byte, bool)) {
	var q slipstream.CheckRequest
	if err := json.NewDecoder(req.Body).Decode(&q); err != nil || r.decide == nil {
		send(nil, false)
		return
	}
	now := r.clock.Now()
	if r.epoch[q.Channel] == 0 {
		r.epoch[q.Channel] = now.Unix()
	}
	d := &slipstream.Decision{App: q.App, Channel: q.Channel, Device: q.Device.ID, Nonce: q.Nonce, Epoch: r.epoch[q.Channel], Issued: slipstream.At(now),
		Expires: slipstream.At(now.Add(5 * time.Minute)), Packages: r.decide(q), CheckAfter: 600}
	send(r.seal(sign.TypeDecision, d, r.stateKey), true)
}

func (r *repository) kinds() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, e := range r.reports {
		s := string(e.Kind)
		if e.Reason != "" {
			s += ":" + string(e.Reason)
		}
		out = append(out, s)
	}
	return out
}

func (r *repository) count(part string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, a := range r.asked {
		if strings.Contains(a, part) {
			n++
		}
	}
	return n
}

// faultyDisk is the real disk with a switch for errors. It does not wait for the platter.
type faultyDisk struct {
	Disk
	mu   sync.Mutex
	fail func(op, name string) error
}

func (d *faultyDisk) check(op, name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail == nil {
		return nil
	}
	return d.fail(op, name)
}

func (d *faultyDisk) set(fail func(op, name string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = fail
}

type faultyFile struct {
	File
	d    *faultyDisk
	name string
}

func (f faultyFile) Write(p []byte) (int, error) {
	if err := f.d.check("write", f.name); err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

func (faultyFile) Sync() error { return nil }

func (*faultyDisk) SyncDir(string) error { return nil }

func (d *faultyDisk) Create(name string, perm fs.FileMode) (File, error) {
	if err := d.check("create", name); err != nil {
		return nil, err
	}
	f, err := d.Disk.Create(name, perm)
	if err != nil {
		return nil, err
	}
	return faultyFile{f, d, name}, nil
}

func (d *faultyDisk) Append(name string) (File, error) {
	if err := d.check("append", name); err != nil {
		return nil, err
	}
	f, err := d.Disk.Append(name)
	if err != nil {
		return nil, err
	}
	return faultyFile{f, d, name}, nil
}

type faultyScratch struct {
	ScratchFile
	d    *faultyDisk
	name string
}

func (f faultyScratch) WriteAt(p []byte, at int64) (int, error) {
	if err := f.d.check("scratch", f.name); err != nil {
		return 0, err
	}
	return f.ScratchFile.WriteAt(p, at)
}

func (d *faultyDisk) Scratch(name string) (ScratchFile, error) {
	f, err := d.Disk.Scratch(name)
	return faultyScratch{f, d, name}, err
}

func (d *faultyDisk) Rename(a, b string) error {
	if err := d.check("rename", b); err != nil {
		return err
	}
	return d.Disk.Rename(a, b)
}

func (d *faultyDisk) Remove(name string) error {
	if err := d.check("remove", name); err != nil {
		return err
	}
	return d.Disk.Remove(name)
}

func (d *faultyDisk) MkdirAll(name string) error {
	if err := d.check("mkdir", name); err != nil {
		return err
	}
	return d.Disk.MkdirAll(name)
}

func diskFull(string, string) error { return &fs.PathError{Op: "write", Err: syscall.ENOSPC} }

func readOnly(string, string) error { return &fs.PathError{Op: "write", Err: syscall.EROFS} }

// bench is one device and its server.
type bench struct {
	*testing.T
	clock *fakeClock
	repo  *repository
	disk  *faultyDisk
	cfg   Config
	c     *Client
	told  []slipstream.Event
	asks  []Change
}

// newBench opens a device on a fresh directory; change edits its configuration first.
func newBench(t *testing.T, change ...func(*Config)) *bench {
	t.Helper()
	b := &bench{T: t, clock: newClock(), disk: &faultyDisk{}}
	b.repo = newRepository(t, b.clock)
	b.cfg = Config{Dir: t.TempDir(), App: "shop", Runtime: "1.0.0", Servers: []string{"http://a.test"}, Root: b.repo.roots[0],
		FS: b.disk, Clock: b.clock, Transport: b.repo, Rand: newSeeded(9), Limits: Limits{Rounds: 2}}
	b.cfg.Hooks.OnEvent = func(e slipstream.Event) { b.told = append(b.told, e) }
	b.cfg.Hooks.Restart = func(_ context.Context, c Change) { b.asks = append(b.asks, c) }
	for _, f := range change {
		f(&b.cfg)
	}
	b.open()
	return b
}

func (b *bench) open() {
	b.Helper()
	c, err := Open(b.Context(), b.cfg)
	if err != nil {
		b.Fatalf("open: %v", err)
	}
	b.c = c
	b.Cleanup(func() { c.Close() })
}

// reopen is a restart of the process.
func (b *bench) reopen(change ...func(*Config)) {
	b.Helper()
	if err := b.c.Close(); err != nil {
		b.Fatalf("close: %v", err)
	}
	for _, f := range change {
		f(&b.cfg)
	}
	b.open()
}

func (b *bench) update() *Updated {
	b.Helper()
	u, err := b.c.Update(b.Context())
	if err != nil {
		b.Fatalf("update: %v", err)
	}
	return u
}

func (b *bench) updateFails(reason slipstream.Reason) {
	b.Helper()
	if _, err := b.c.Update(b.Context()); err == nil || classify(err) != reason {
		b.Fatalf("update: want reason %s, got %v", reason, err)
	}
}

func (b *bench) start() *Launch {
	b.Helper()
	l, err := b.c.Start(b.Context())
	if err != nil {
		b.Fatalf("start: %v", err)
	}
	return l
}

func (b *bench) confirm(l *Launch) {
	b.Helper()
	if err := l.Confirm(b.Context()); err != nil {
		b.Fatalf("confirm: %v", err)
	}
}

func (b *bench) crash(l *Launch) {
	b.Helper()
	if err := l.Crash(b.Context(), "exit 1"); err != nil {
		b.Fatalf("crash: %v", err)
	}
}

// install brings a release into force: update, start, confirm.
func (b *bench) install() *Launch {
	b.Helper()
	b.update()
	l := b.start()
	b.confirm(l)
	return l
}

// runs checks what a launch runs, byte for byte.
func (b *bench) runs(l *Launch, pkg string, content files) {
	b.Helper()
	t := l.Packages[pkg]
	if content == nil {
		if !t.Embedded {
			b.Fatalf("%s runs %s, expected the embedded release", pkg, t.Version)
		}
		return
	}
	for name, want := range content {
		got, err := os.ReadFile(filepath.Join(t.Dir, filepath.FromSlash(name)))
		if err != nil || string(got) != want {
			b.Fatalf("%s (%s): file %s is %q, expected %q (%v)", pkg, t.Version, name, got, want, err)
		}
	}
}

func (b *bench) version(pkg string) string { return b.c.Holds(pkg).Running.Version }

func (b *bench) tellsOf(kind slipstream.Kind, reason slipstream.Reason) bool {
	return slices.ContainsFunc(b.told, func(e slipstream.Event) bool { return e.Kind == kind && e.Reason == reason })
}

func (b *bench) offline() {
	b.repo.mu.Lock()
	defer b.repo.mu.Unlock()
	b.repo.down = true
}

func (b *bench) online() {
	b.repo.mu.Lock()
	defer b.repo.mu.Unlock()
	b.repo.fault, b.repo.down = nil, false
}
