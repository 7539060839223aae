package deliver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/blob/mem"
	"github.com/slipstream-ota/slipstream/publish/delta/dcz"
)

// scripts gives two versions of a script.
func scripts() (old, new string) {
	r := rand.New(rand.NewPCG(1, 1))
	var b strings.Builder
	for b.Len() < 60_000 {
		fmt.Fprintf(&b, "export function f%d(a) { return a + %d }\n", r.UintN(500), r.Uint32())
	}
	return b.String(), strings.Replace(b.String(), "return a + 1", "return a - 1", 5) + "// end\n"
}

func available(d slipstream.Digest) string {
	sum, _ := hex.DecodeString(string(d))
	return ":" + base64.StdEncoding.EncodeToString(sum) + ":"
}

func TestABlobComesAsADeltaOfWhatTheClientHas(t *testing.T) {
	w := newWorld(t)
	a, b := scripts()
	old, new := w.addBlob(a), w.addBlob(b)
	w.start()
	path := "/v1/blobs/" + string(new)
	asked := []string{"Accept-Encoding", "gzip, br, zstd, dcb, dcz", "Available-Dictionary", available(old)}
	r := w.ask("GET", path, "", asked...)
	body := bodyOf(t, r)
	if r.StatusCode != 200 || r.Header.Get("Content-Encoding") != "dcz" || len(body) > 500 {
		t.Fatalf("status %d, coding %q, %d bytes", r.StatusCode, r.Header.Get("Content-Encoding"), len(body))
	}
	var got bytes.Buffer
	if err := dcz.Decode(t.Context(), &got, []byte(a), strings.NewReader(body), int64(len(b))); err != nil || got.String() != b {
		t.Errorf("decoded: %d of %d bytes, error %v", got.Len(), len(b), err)
	}
	sum := sha256.Sum256([]byte(body))
	etag := `"` + string(new) + "-dcz-" + string(old) + `"`
	for name, want := range map[string]string{"Etag": etag, "Vary": "Accept-Encoding, Available-Dictionary", "Content-Length": fmt.Sprint(len(body)),
		"Cache-Control": "public, max-age=31536000, immutable", "Content-Type": "application/octet-stream",
		"Repr-Digest": "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"} {
		if r.Header.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, r.Header.Get(name), want)
		}
	}
	if again := w.ask("HEAD", path, "", asked...); again.Header.Get("Content-Length") != fmt.Sprint(len(body)) || again.Header.Get("Content-Encoding") != "dcz" {
		t.Errorf("HEAD: %v", again.Header)
	}
	if r := w.ask("GET", path, "", append(asked, "If-None-Match", etag)...); r.StatusCode != 304 || r.Header.Get("Etag") != etag {
		t.Errorf("a client that has the coded body gets %d", r.StatusCode)
	}
	if r := w.ask("GET", path, "", append(asked, "If-None-Match", `"`+string(new)+`"`)...); r.StatusCode != 304 || r.Header.Get("Etag") != `"`+string(new)+`"` {
		t.Errorf("a client that has the plain body gets %d", r.StatusCode)
	}
	if r := w.ask("GET", path, "", append(asked, "Range", "bytes=10-", "If-Range", etag)...); r.StatusCode != 206 || bodyOf(t, r) != body[10:] || r.Header.Get("Content-Encoding") != "dcz" {
		t.Errorf("the rest of the coded body: status %d", r.StatusCode)
	}
	if r := w.ask("GET", path, "", append(asked, "Range", "bytes=10-")...); r.StatusCode != 206 || bodyOf(t, r) != b[10:] || r.Header.Get("Content-Encoding") != "" {
		t.Errorf("a part is not of the plain body: status %d", r.StatusCode)
	}
}

func TestThePlainBodyComesWhereADeltaIsNotAskedForOrNotWorthIt(t *testing.T) {
	w := newWorld(t)
	a, b := scripts()
	noise := make([]byte, 30_000)
	_, _ = rand.NewChaCha8([32]byte{5}).Read(noise)
	old, new, other, tiny := w.addBlob(a), w.addBlob(b), w.addBlob(string(noise)), w.addBlob("tiny")
	w.start()
	for _, c := range []struct {
		name   string
		of     slipstream.Digest
		header []string
	}{
		{"no dictionary", new, []string{"Accept-Encoding", "dcz"}},
		{"no coding", new, []string{"Available-Dictionary", available(old)}},
		{"other codings", new, []string{"Accept-Encoding", "gzip, br, dcb, dczx, *", "Available-Dictionary", available(old)}},
		{"coding with no weight", new, []string{"Accept-Encoding", "gzip, dcz; q=0.0", "Available-Dictionary", available(old)}},
		{"dictionary that is not here", new, []string{"Accept-Encoding", "dcz", "Available-Dictionary", available(digestOf("gone"))}},
		{"dictionary that is no hash", new, []string{"Accept-Encoding", "dcz", "Available-Dictionary", ":" + base64.StdEncoding.EncodeToString([]byte("short")) + ":"}},
		{"dictionary that is a string", new, []string{"Accept-Encoding", "dcz", "Available-Dictionary", `"` + string(old) + `"`}},
		{"two dictionaries", new, []string{"Accept-Encoding", "dcz", "Available-Dictionary", available(old), "Available-Dictionary", available(old)}},
		{"dictionary that is the body", new, []string{"Accept-Encoding", "dcz", "Available-Dictionary", available(new)}},
		{"nothing in common", other, []string{"Accept-Encoding", "dcz", "Available-Dictionary", available(old)}},
		{"too small", tiny, []string{"Accept-Encoding", "dcz", "Available-Dictionary", available(old)}},
	} {
		r := w.ask("GET", "/v1/blobs/"+string(c.of), "", c.header...)
		if got := bodyOf(t, r); r.StatusCode != 200 || r.Header.Get("Content-Encoding") != "" || digestOf(got) != c.of || r.Header.Get("Etag") != `"`+string(c.of)+`"` {
			t.Errorf("%s: status %d, coding %q, etag %s", c.name, r.StatusCode, r.Header.Get("Content-Encoding"), r.Header.Get("Etag"))
		}
		if r.Header.Get("Vary") != "Accept-Encoding, Available-Dictionary" {
			t.Errorf("%s: a cache would give this body to everybody", c.name)
		}
	}
	if r := w.ask("GET", "/v1/containers/"+string(new), "", "Accept-Encoding", "dcz", "Available-Dictionary", available(old)); r.Header.Get("Content-Encoding") != "" {
		t.Error("a container was coded again")
	}
	if r := w.ask("GET", "/v1/blobs/"+string(new), "", "Accept-Encoding", "dcz;q=0.5", "Available-Dictionary", available(old), "Dictionary-ID", `"x"`); r.Header.Get("Content-Encoding") != "dcz" {
		t.Error("a weight, or an id of the dictionary, stands in the way")
	}
}

// counting counts what is put.
type counting struct {
	blob.Store
	mu   sync.Mutex
	puts int
	slow time.Duration
}

func (c *counting) Put(ctx context.Context, d slipstream.Digest, size int64, r io.Reader) error {
	c.mu.Lock()
	c.puts++
	c.mu.Unlock()
	time.Sleep(c.slow)
	return c.Store.Put(ctx, d, size, r)
}

func put(t *testing.T, s blob.Store, data string) slipstream.Digest {
	t.Helper()
	d := digestOf(data)
	if err := s.Put(t.Context(), d, int64(len(data)), strings.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestADeltaIsMadeOnceForAllWhoAskAtTheSameTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &counting{Store: mem.New()}
		a, b := scripts()
		key := codedKey{put(t, store, a), put(t, store, b)}
		store.puts, store.slow = 0, time.Second
		d := newDictionaries(store, time.Now, time.Minute)
		var asking sync.WaitGroup
		for range 20 {
			asking.Go(func() {
				if digest, ok := d.get(t.Context(), key); !ok || !digest.Valid() {
					t.Errorf("one of many gets %q, %v", digest, ok)
				}
			})
		}
		asking.Wait()
		if store.puts != 1 {
			t.Errorf("it was made %d times", store.puts)
		}
		// One who goes away does not take it from the others.
		store.slow = 0
		key.body = put(t, store, b+"more")
		gone, leave := context.WithCancel(t.Context())
		leave()
		if _, ok := d.get(gone, key); !ok {
			t.Error("the first to ask went away, and nothing was made")
		}
	})
}

func TestWhatStrangersCanMakeTheServerDoIsBounded(t *testing.T) {
	t.Parallel()
	store := mem.New()
	a, b := scripts()
	key := codedKey{put(t, store, a), put(t, store, b)}
	now := noon
	d := newDictionaries(store, func() time.Time { return now }, time.Minute)

	for range dictionaryWorkers {
		d.workers <- struct{}{}
	}
	if _, ok := d.get(t.Context(), key); ok {
		t.Error("more are made at a time than there are workers")
	}
	for range dictionaryWorkers {
		<-d.workers
	}
	noise := func(seed uint64) slipstream.Digest {
		b, r := make([]byte, 64<<10), rand.NewChaCha8([32]byte{byte(seed)})
		_, _ = r.Read(b)
		return put(t, store, string(b))
	}
	if _, ok := d.get(t.Context(), codedKey{noise(1), noise(2)}); ok || d.spent < 4<<10 {
		t.Errorf("strangers may let the server try for nothing as often as they like: %d bytes are counted", d.spent)
	}
	d.spent = dictionaryDaily - 5
	if _, ok := d.get(t.Context(), key); ok {
		t.Error("more is kept in a day than the budget")
	}
	now = now.Add(24 * time.Hour)
	if _, ok := d.get(t.Context(), key); !ok {
		t.Error("the next day nothing is made")
	}
	for i := range dictionaryKnown + 10 {
		d.mu.Lock()
		d.remember(codedKey{slipstream.Digest(fmt.Sprint(i)), key.body}, "")
		d.mu.Unlock()
	}
	if len(d.known) != dictionaryKnown || d.order.Len() != dictionaryKnown {
		t.Errorf("%d pairs are remembered", len(d.known))
	}
	for _, c := range []struct {
		dictionary, body int64
		worth            bool
	}{
		{1000, 1000, true}, {1000, dictionaryLeast - 1, false}, {1000, 8100, false}, {8100, 1000, false},
		{dictionaryLargest, dictionaryLargest, true}, {dictionaryLargest, dictionaryLargest + 1, false}, {7 << 20, 9 << 20, false},
	} {
		if worthCoding(c.dictionary, c.body) != c.worth {
			t.Errorf("dictionary of %d, body of %d: worth is %v", c.dictionary, c.body, !c.worth)
		}
	}
}

// Nothing names the coded bodies, so the collector may take them at any time.
func TestACollectedDeltaIsMadeAgain(t *testing.T) {
	w := newWorld(t)
	a, b := scripts()
	old, new := w.addBlob(a), w.addBlob(b)
	w.start()
	ask := func() string {
		r := w.ask("GET", "/v1/blobs/"+string(new), "", "Accept-Encoding", "dcz", "Available-Dictionary", available(old))
		body := bodyOf(t, r)
		if r.StatusCode != 200 {
			t.Fatalf("status %d", r.StatusCode)
		}
		return r.Header.Get("Content-Encoding") + " " + string(digestOf(body))
	}
	first := ask()
	if err := w.blobs.Delete(t.Context(), slipstream.Digest(strings.TrimPrefix(first, "dcz "))); err != nil {
		t.Fatal(err)
	}
	if got := ask(); got != " "+string(new) {
		t.Errorf("after the loss: %s, want the plain body", got)
	}
	if got := ask(); got != first {
		t.Errorf("later: %s, want %s again", got, first)
	}
}

// damaged gives other bytes than were put.
type damaged struct{ *mem.Store }

func (d damaged) Open(ctx context.Context, digest slipstream.Digest) (blob.Object, error) {
	o, err := d.Store.Open(ctx, digest)
	if err != nil {
		return nil, err
	}
	return flipped{o}, nil
}

type flipped struct{ blob.Object }

func (f flipped) Read(p []byte) (int, error) {
	n, err := f.Object.Read(p)
	for i := range n {
		p[i] ^= 1
	}
	return n, err
}

func TestADeltaThatDoesNotGiveTheBodyIsNotOffered(t *testing.T) {
	t.Parallel()
	store := damaged{mem.New()}
	a, b := scripts()
	d := newDictionaries(store, time.Now, time.Minute)
	if digest, ok := d.get(t.Context(), codedKey{put(t, store, a), put(t, store, b)}); ok {
		t.Errorf("%s is offered", digest)
	}
}

func (w *world) addFiles(files map[string]string) slipstream.Digest {
	w.t.Helper()
	m := &slipstream.Manifest{App: "shop", Package: "main"}
	for _, path := range sortedKeys(files) {
		m.Files = append(m.Files, slipstream.File{Path: path, Size: int64(len(files[path])), SHA256: w.addBlob(files[path])})
	}
	d := digestOf(fmt.Sprint(files))
	w.tables.releases[d] = &slipstream.Release{Digest: d, Manifest: m}
	return d
}

func TestAFileOfAReleaseIsFoundByItsPath(t *testing.T) {
	w := newWorld(t)
	a, b := scripts()
	one := w.addFiles(map[string]string{"index.js": a, "assets/main-3f2a9c01.js": a, "a b/ü(1).css": "p{}", "logo.png": "png", "index.html": "<script>", "empty": ""})
	two := w.addFiles(map[string]string{"index.js": b})
	none := w.addRelease("adapter-only", nil)
	w.start()
	base := "/v1/apps/shop/files/main/"
	for _, c := range []struct{ path, body, kind, match string }{
		{string(one) + "/index.js", a, "text/javascript; charset=utf-8", `match="/v1/apps/shop/files/main/*/index.js"`},
		{string(one) + "/assets/main-3f2a9c01.js", a, "text/javascript; charset=utf-8", `match="/v1/apps/shop/files/main/*/assets/main-*.js"`},
		{string(one) + "/a%20b/%C3%BC(1).css", "p{}", "text/css; charset=utf-8", `match="/v1/apps/shop/files/main/*/a%20b/%C3%BC\\(1\\).css"`},
		{string(one) + "/logo.png", "png", "image/png", ""},
		{string(one) + "/index.html", "<script>", "application/octet-stream", `match="/v1/apps/shop/files/main/*/index.html"`},
		{string(one) + "/empty", "", "application/octet-stream", `match="/v1/apps/shop/files/main/*/empty"`},
	} {
		r := w.ask("GET", base+c.path, "")
		if got := bodyOf(t, r); r.StatusCode != 200 || got != c.body {
			t.Errorf("%s: status %d, %d bytes", c.path, r.StatusCode, len(got))
		}
		for name, want := range map[string]string{"Content-Type": c.kind, "Use-As-Dictionary": c.match, "X-Content-Type-Options": "nosniff",
			"Access-Control-Allow-Origin": "*", "Vary": "Accept-Encoding, Available-Dictionary", "Cache-Control": "public, max-age=31536000, immutable"} {
			if r.Header.Get(name) != want {
				t.Errorf("%s: %s is %q, want %q", c.path, name, r.Header.Get(name), want)
			}
		}
	}
	r := w.ask("GET", base+string(two)+"/index.js", "", "Accept-Encoding", "dcz", "Available-Dictionary", available(digestOf(a)))
	if r.Header.Get("Content-Encoding") != "dcz" || r.Header.Get("Use-As-Dictionary") == "" || r.Header.Get("Content-Type") != "text/javascript; charset=utf-8" {
		t.Errorf("the next version: %v", r.Header)
	}
	for _, path := range []string{
		base + string(one) + "/nothing.js", base + string(one) + "/index", base + string(one) + "/", base + string(two) + "/logo.png",
		"/v1/apps/shop/files/other/" + string(one) + "/index.js", "/v1/apps/other/files/main/" + string(one) + "/index.js",
		base + string(none) + "/index.js", base + string(digestOf("x")) + "/index.js", base + "x/index.js",
	} {
		if r := w.ask("GET", path, ""); r.StatusCode != http.StatusNotFound || r.Header.Get("Use-As-Dictionary") != "" || r.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: status %d, %v", path, r.StatusCode, r.Header)
		}
	}
	if err := w.blobs.Delete(t.Context(), digestOf("png")); err != nil {
		t.Fatal(err)
	}
	if r := w.ask("GET", base+string(one)+"/logo.png", ""); r.StatusCode != 404 {
		t.Errorf("a file whose bytes are lost: status %d", r.StatusCode)
	}
}

func TestHashesInFileNamesAreWildcards(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"index.js": "index.js", "index-BxY12abc.js": "index-*.js", "chunk.3f2a9c01.js": "chunk.*.js", "3f2a9c01.js": "3f2a9c01.js",
		"app.2026.js": "app.2026.js", "vendor-component.js": "vendor-component.js", "a.12345678.css": "a.12345678.css", "x-1a2b3c4d.5e6f7a8b.js": "x-*.*.js",
		"a(b).js": `a\(b\).js`, "": "", "-": "-", "a-1a2b3c4": "a-1a2b3c4",
	} {
		if got := escapeHashed(name); got != want {
			t.Errorf("%s becomes %s, want %s", name, got, want)
		}
	}
}

func FuzzAvailableDictionary(f *testing.F) {
	f.Add(available(digestOf("x")))
	f.Add("::")
	f.Fuzz(func(t *testing.T, v string) {
		d, ok := availableDictionary(http.Header{"Available-Dictionary": {v}})
		if ok != d.Valid() || ok && available(d) != strings.Trim(v, " ") {
			t.Errorf("%q is read as %q, %v", v, d, ok)
		}
	})
}

var errAway = errors.New("away")

// A store that fails is no reason to fail a client that could have the plain body, and is asked again.
func TestAStoreThatFailsIsAskedAgain(t *testing.T) {
	t.Parallel()
	store := &failing{Store: mem.New(), err: errAway}
	a, b := scripts()
	key := codedKey{put(t, store.Store, a), put(t, store.Store, b)}
	d := newDictionaries(store, time.Now, time.Minute)
	if _, ok := d.get(t.Context(), key); ok {
		t.Error("something was made of nothing")
	}
	store.err = nil
	if _, ok := d.get(t.Context(), key); !ok {
		t.Error("it is not tried again")
	}
}

type failing struct {
	*mem.Store
	err error
}

func (f *failing) Stat(ctx context.Context, d slipstream.Digest) (blob.Info, error) {
	if f.err != nil {
		return blob.Info{}, f.err
	}
	return f.Store.Stat(ctx, d)
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
