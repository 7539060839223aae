package deliver

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob/mem"
	"github.com/slipstream-ota/slipstream/report"
	"github.com/slipstream-ota/slipstream/sign"
	"github.com/slipstream-ota/slipstream/store"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// tables is a store in memory with what this package reads.
type tables struct {
	store.Store
	store.Tx

	mu         sync.Mutex
	down       error // what every access fails with
	views      int
	apps       []store.App
	roots      map[string][][]byte
	keys       map[string][]store.StateKey
	channels   []store.Channel
	rows       []store.StateRow
	releases   map[slipstream.Digest]*slipstream.Release
	containers map[slipstream.Digest][]slipstream.Container
	events     map[string]store.StoredEvent
	watchers   []func()
}

func (t *tables) View(_ context.Context, fn func(store.Tx) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.views++
	if t.down != nil {
		return t.down
	}
	return fn(t)
}

func (t *tables) Watch(ctx context.Context, changed func()) error {
	t.mu.Lock()
	down := t.down
	t.watchers = append(t.watchers, changed)
	t.mu.Unlock()
	changed()
	if down != nil {
		return down
	}
	<-ctx.Done()
	return ctx.Err()
}

// change edits the tables as an Update of any node would.
func (t *tables) change(edit func()) {
	t.mu.Lock()
	edit()
	watchers := slices.Clone(t.watchers)
	t.mu.Unlock()
	for _, w := range watchers {
		w()
	}
}

func (t *tables) Reports() store.Reports       { return reportTable{t: t} }
func (t *tables) Apps() store.Apps             { return appTable{t: t} }
func (t *tables) Releases() store.Releases     { return releaseTable{t: t} }
func (t *tables) Channels() store.Channels     { return channelTable{t: t} }
func (t *tables) States() store.States         { return stateTable{t: t} }
func (t *tables) Containers() store.Containers { return containerTable{t: t} }

type appTable struct {
	store.Apps
	t *tables
}

func (a appTable) List(context.Context) ([]store.App, error) { return slices.Clone(a.t.apps), nil }
func (a appTable) Roots(_ context.Context, app string) ([][]byte, error) {
	return a.t.roots[app], nil
}
func (a appTable) StateKeys(_ context.Context, app string) ([]store.StateKey, error) {
	return a.t.keys[app], nil
}

type channelTable struct {
	store.Channels
	t *tables
}

func (c channelTable) List(context.Context, string) ([]store.Channel, error) {
	return slices.Clone(c.t.channels), nil
}

type stateTable struct {
	store.States
	t *tables
}

func (s stateTable) Since(_ context.Context, rev int64) ([]store.StateRow, error) {
	var out []store.StateRow
	for _, r := range s.t.rows {
		if r.Rev > rev {
			out = append(out, r)
		}
	}
	return out, nil
}

type releaseTable struct {
	store.Releases
	t *tables
}

func (r releaseTable) Get(_ context.Context, d slipstream.Digest) (*slipstream.Release, error) {
	if rel, ok := r.t.releases[d]; ok {
		return rel, nil
	}
	return nil, fmt.Errorf("release %s: %w", d.Short(), slipstream.ErrNotFound)
}

type containerTable struct {
	store.Containers
	t *tables
}

func (c containerTable) List(_ context.Context, d slipstream.Digest) ([]slipstream.Container, error) {
	return c.t.containers[d], nil
}

type reportTable struct {
	store.Reports
	t *tables
}

func (r reportTable) Append(_ context.Context, batch []store.StoredEvent) ([]bool, error) {
	t := r.t
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.down != nil {
		return nil, t.down
	}
	fresh := make([]bool, len(batch))
	for i, e := range batch {
		_, known := t.events[e.ID]
		fresh[i] = !known
		t.events[e.ID] = e
	}
	return fresh, nil
}

// plainKeys opens keys that are not sealed at all.
type plainKeys struct{}

func (plainKeys) OpenKey(_ context.Context, k store.StateKey) (sign.Signer, error) {
	return sign.NewSigner(ed25519.PrivateKey(k.Sealed)), nil
}

// world is a server over tables with one app, shop.
type world struct {
	t      testing.TB
	tables *tables
	blobs  *mem.Store
	server *Server
	logs   *logBuffer
	root   ed25519.PrivateKey
	state  ed25519.PrivateKey
	trust  *sign.Trust
	clock  atomic.Pointer[time.Time]
	stop   func()
	http   http.Handler
}

type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func key(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// newWorld makes the tables; start makes the server over them.
func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{
		t: t, blobs: mem.New(), logs: &logBuffer{}, root: key("root"), state: key("state"),
		tables: &tables{roots: map[string][][]byte{}, keys: map[string][]store.StateKey{}, releases: map[slipstream.Digest]*slipstream.Release{},
			containers: map[slipstream.Digest][]slipstream.Container{}, events: map[string]store.StoredEvent{}},
	}
	w.setTime(noon)
	w.addApp("shop")
	w.trust = must[*sign.Trust](t)(sign.OpenRoot(w.tables.roots["shop"][0]))
	w.put("shop", "production", "any", 1, packageState())
	return w
}

func (w *world) now() time.Time      { return *w.clock.Load() }
func (w *world) setTime(t time.Time) { w.clock.Store(&t) }

func (w *world) addApp(app string) {
	w.t.Helper()
	root := must[*slipstream.Root](w.t)(sign.NewRoot(app, noon.Add(1000*time.Hour), sign.RoleKeys{Keys: []ed25519.PublicKey{public(w.root)}},
		sign.RoleKeys{Keys: []ed25519.PublicKey{public(key("release"))}}, sign.RoleKeys{Keys: []ed25519.PublicKey{public(w.state)}}))
	envelope := must[*sign.Envelope](w.t)(sign.Seal(sign.TypeRoot, root, sign.NewSigner(w.root)))
	w.tables.apps = append(w.tables.apps, store.App{Name: app})
	w.tables.roots[app] = [][]byte{envelope.Encode()}
	w.tables.keys[app] = []store.StateKey{{App: app, KeyID: sign.KeyID(public(w.state)), Sealed: w.state}}
}

func digestOf(s string) slipstream.Digest { return slipstream.DigestOf(sha256.Sum256([]byte(s))) }

// packageState offers release 5 to everybody.
func packageState(edits ...func(*slipstream.PackageState)) map[string]slipstream.PackageState {
	p := slipstream.PackageState{Rollouts: []slipstream.Rollout{{
		ID: "ro_5", Manifest: digestOf("5"), Seq: 5, Version: "1.5.0", Size: 5000, Runtime: slipstream.AnyRuntime(),
		To: slipstream.FullShare, Control: slipstream.DefaultControl, Apply: slipstream.Apply{Mode: slipstream.ModePrompt, Message: "Größe <5 MB>"},
	}}}
	for _, e := range edits {
		e(&p)
	}
	return map[string]slipstream.PackageState{"main": p}
}

func withdrawn(release string) func(*slipstream.PackageState) {
	return func(p *slipstream.PackageState) { p.Withdrawn = append(p.Withdrawn, digestOf(release)) }
}

// put signs and stores a state; it must be told to the server by change.
func (w *world) put(app, channel, platform string, epoch int64, packages map[string]slipstream.PackageState) store.StateRow {
	w.t.Helper()
	st := slipstream.State{App: app, Channel: channel, Platform: platform, Epoch: epoch, Issued: slipstream.At(noon), Expires: slipstream.At(noon.Add(24 * time.Hour)),
		RootVersion: 1, CheckAfter: 900, Jitter: 60, Packages: packages}
	envelope := must[*sign.Envelope](w.t)(sign.Seal(sign.TypeState, st, sign.NewSigner(w.state)))
	row := store.StateRow{App: app, Channel: channel, Platform: platform, Epoch: epoch, Issued: st.Issued.Time, Expires: st.Expires.Time,
		Envelope: envelope.Encode(), Rev: int64(len(w.tables.rows) + 1)}
	w.tables.rows = append(w.tables.rows, row)
	if !slices.ContainsFunc(w.tables.channels, func(c store.Channel) bool { return c.App == app && c.Name == channel }) {
		w.tables.channels = append(w.tables.channels, store.Channel{App: app, Name: channel})
	}
	return row
}

func (w *world) addRelease(name string, envelope []byte) slipstream.Digest {
	d := digestOf(name)
	w.tables.releases[d] = &slipstream.Release{Digest: d, Envelope: envelope}
	return d
}

func (w *world) addBlob(data string) slipstream.Digest {
	w.t.Helper()
	d := digestOf(data)
	if err := w.blobs.Put(context.Background(), d, int64(len(data)), strings.NewReader(data)); err != nil {
		w.t.Fatal(err)
	}
	return d
}

// start runs the server and its intake until the test ends.
func (w *world) start(edits ...func(*Config)) *world {
	w.t.Helper()
	intake := report.NewIntake(w.tables.Reports(), report.Config{Salt: []byte("salt")})
	cfg := Config{Store: w.tables, Blobs: w.blobs, Keys: plainKeys{}, Reports: intake, Clock: w.now,
		Log: slog.New(slog.NewTextHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug})), RetryEvery: time.Millisecond}
	for _, e := range edits {
		e(&cfg)
	}
	w.server = New(cfg)
	w.http = w.server.Handler()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.server.Run(ctx); err != nil {
			w.t.Errorf("run: %v", err)
		}
	})
	running.Go(func() {
		if err := intake.Run(ctx); err != nil {
			w.t.Errorf("intake: %v", err)
		}
	})
	w.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	w.t.Cleanup(w.stop)
	if w.tables.down == nil {
		w.eventually(func() bool { return w.server.Ready() == nil })
	}
	return w
}

func (w *world) eventually(condition func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("it never came to pass; the log says:\n%s", w.logs)
		}
	}
}

// ask sends one request; header is name, value, name, value.
func (w *world) ask(method, path, body string, header ...string) *http.Response {
	w.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	w.http.ServeHTTP(rec, r)
	return rec.Result()
}

func bodyOf(t testing.TB, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func nonce() string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32)) }

func checkBody(t testing.TB, edits ...func(*slipstream.CheckRequest)) string {
	t.Helper()
	req := slipstream.CheckRequest{App: "shop", Channel: "production", Nonce: nonce(),
		Device: slipstream.DeviceFacts{ID: string(digestOf("device")), Platform: "android", Runtime: "3.2.0", OS: "14", Model: "Pixel 8", Locale: "zh-CN",
			Attributes: map[string]json.RawMessage{"brand": json.RawMessage(`"Google"`), "custom.plan": json.RawMessage(`"pro"`)}},
		Packages: map[string]slipstream.PackageOnBoard{"main": {Digest: digestOf("4"), Seq: 4, Anchor: 4}}}
	for _, e := range edits {
		e(&req)
	}
	return string(must[[]byte](t)(json.Marshal(req)))
}
