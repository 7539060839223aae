//go:build !device

package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client"
	"github.com/slipstream-ota/slipstream/publish/delta"
	"github.com/slipstream-ota/slipstream/sign"
)

// origin is a server's device side made of nothing but paths and bytes.
type origin struct {
	t     *testing.T
	mu    sync.Mutex
	paths map[string][]byte
	asked []string
	root  []byte
	last  *slipstream.Manifest // the release before
	base  map[string]string
	from  slipstream.Digest
}

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked = append(o.asked, r.URL.Path)
	data, ok := o.paths[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	_, _ = w.Write(data)
}

func (o *origin) put(path string, data []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.paths[path] = data
}

// fetched counts requests since the last call.
func (o *origin) fetched(prefix string) (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range o.asked {
		if strings.HasPrefix(p, prefix) {
			n++
		}
	}
	o.asked = nil
	return n
}

func exportKey(name string) sign.Signer {
	seed := sha256.Sum256([]byte(name))
	return sign.NewSigner(ed25519.NewKeyFromSeed(seed[:]))
}

func bytesDigest(b []byte) slipstream.Digest { return slipstream.DigestOf(sha256.Sum256(b)) }

func newOrigin(t *testing.T) *origin {
	t.Helper()
	o := &origin{t: t, paths: map[string][]byte{}}
	role := func(name string) sign.RoleKeys {
		return sign.RoleKeys{Keys: []ed25519.PublicKey{exportKey(name).Public()}}
	}
	root, err := sign.NewRoot("shop", time.Now().Add(time.Hour), role("root"), role("release"), role("state"))
	if err != nil {
		t.Fatal(err)
	}
	o.root = o.seal(sign.TypeRoot, root, "root")
	o.put("/v1/apps/shop/roots/1", o.root)
	return o
}

func (o *origin) seal(payloadType string, doc any, key string) []byte {
	o.t.Helper()
	e, err := sign.Seal(payloadType, doc, exportKey(key))
	if err != nil {
		o.t.Fatal(err)
	}
	return e.Encode()
}

// release publishes files and gives the rollout to everybody.
func (o *origin) release(seq int64, files map[string]string) slipstream.Rollout {
	o.t.Helper()
	m := &slipstream.Manifest{App: "shop", Package: "main", Platform: "any", Runtime: slipstream.AnyRuntime(), Seq: seq,
		Version: fmt.Sprintf("1.%d.0", seq), Created: slipstream.At(time.Now()), Files: []slipstream.File{}}
	for _, path := range []string{"a.txt", "b.txt", "main.js"} {
		if data, ok := files[path]; ok {
			d := bytesDigest([]byte(data))
			m.Files = append(m.Files, slipstream.File{Path: path, Size: int64(len(data)), SHA256: d})
			o.put("/v1/blobs/"+string(d), []byte(data))
		}
	}
	raw := o.seal(sign.TypeManifest, m, "release")
	e, err := sign.ParseEnvelope(raw, sign.TypeManifest, slipstream.MaxManifestBytes)
	if err != nil {
		o.t.Fatal(err)
	}
	digest := sign.DigestOf(e.Payload)
	o.put("/v1/manifests/"+string(digest), raw)
	var full bytes.Buffer
	err = delta.Encode(context.Background(), &full, nil, m, func(f slipstream.File) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(files[f.Path])), nil
	})
	if err != nil {
		o.t.Fatal(err)
	}
	c := slipstream.Container{Codec: delta.CodecFull, Size: int64(full.Len()), SHA256: bytesDigest(full.Bytes())}
	o.put("/v1/containers/"+string(c.SHA256), full.Bytes())
	containers := []slipstream.Container{c}
	if o.last != nil {
		containers = append(containers, o.patch(m, files))
	}
	o.last, o.base, o.from = m, files, digest
	list, err := json.Marshal(containers)
	if err != nil {
		o.t.Fatal(err)
	}
	o.put("/v1/releases/"+string(digest)+"/containers", list)
	return slipstream.Rollout{ID: fmt.Sprintf("ro_%d", seq), Manifest: digest, Seq: seq, Version: m.Version, Size: m.Size(), Runtime: m.Runtime, To: slipstream.FullShare}
}

// patch makes the container from the release before.
func (o *origin) patch(m *slipstream.Manifest, files map[string]string) slipstream.Container {
	o.t.Helper()
	open := func(files map[string]string) func(slipstream.File) (io.ReadCloser, error) {
		return func(f slipstream.File) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(files[f.Path])), nil
		}
	}
	made, err := delta.EncodeDeltas(o.t.Context(), []string{delta.CodecRich}, o.last, m, open(o.base), open(files), delta.DeltaOptions{})
	if err != nil {
		o.t.Fatal(err)
	}
	c := slipstream.Container{From: o.from, Codec: delta.CodecRich, Size: int64(len(made[0].Container)), SHA256: bytesDigest(made[0].Container)}
	o.put("/v1/containers/"+string(c.SHA256), made[0].Container)
	return c
}

// page is a file of some size that ends with a word.
func page(word string) string {
	var b strings.Builder
	for i := range 100 {
		b.WriteString(string(bytesDigest([]byte{byte(i)})))
	}
	return b.String() + word
}

func (o *origin) state(platform string, epoch int64, rollouts ...slipstream.Rollout) {
	o.t.Helper()
	o.put("/v1/apps/shop/channels/production/state/"+platform, o.seal(sign.TypeState, slipstream.State{App: "shop", Channel: "production", Platform: platform,
		Epoch: epoch, Issued: slipstream.At(time.Now()), Expires: slipstream.At(time.Now().Add(time.Hour)), RootVersion: 1, CheckAfter: 900,
		Packages: map[string]slipstream.PackageState{"main": {Rollouts: rollouts}}}, "state"))
}

// export runs the command and gives its answer.
func runExport(t *testing.T, args ...string) (exported, int, string) {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(context.Background(), append([]string{"export", "--json"}, args...), []string{"HOME=" + t.TempDir()}, strings.NewReader(""), &out, &errs)
	var done exported
	if code == exitOK {
		if err := json.Unmarshal(out.Bytes(), &done); err != nil {
			t.Fatal(err)
		}
	}
	return done, code, errs.String()
}

func TestADeviceLivesOnExportedFilesAlone(t *testing.T) {
	o := newOrigin(t)
	first := o.release(1, map[string]string{"main.js": page("one"), "a.txt": "same"})
	o.state("any", 10, first)
	o.state("ios", 10, first)
	server := httptest.NewServer(o)
	defer server.Close()
	dir := t.TempDir()
	args := []string{dir, "--app", "shop", "--server", server.URL}

	done, code, errs := runExport(t, args...)
	if code != exitOK || done.States != 2 || done.Present != 0 {
		t.Fatalf("exit code %d, %+v: %s", code, done, errs)
	}
	static := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer static.Close()
	device, err := client.Open(context.Background(), client.Config{Dir: t.TempDir(), App: "shop", Servers: []string{static.URL}, Root: o.root})
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	runs := func(version, content string) {
		t.Helper()
		if _, err := device.Update(context.Background()); err != nil {
			t.Fatal(err)
		}
		launch, err := device.Start(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if err := device.Confirm(context.Background(), launch.Token); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(launch.Packages["main"].Dir, "main.js"))
		if err != nil || string(got) != page(content) {
			t.Errorf("the device runs %q, want %q: %v", got, content, err)
		}
		if err := launch.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	runs("1.1.0", "one")

	o.fetched("")
	again, _, _ := runExport(t, args...)
	if again.Files != 0 || again.Present != done.Files {
		t.Errorf("a second run wrote %d files and found %d of %d", again.Files, again.Present, done.Files)
	}
	if n := o.fetched("/v1/blobs/"); n != 0 {
		t.Errorf("a second run fetched %d blobs", n)
	}
	second := o.release(2, map[string]string{"main.js": page("two"), "a.txt": "same", "b.txt": ""})
	o.state("any", 11, second)
	if done, code, errs = runExport(t, args...); code != exitOK {
		t.Fatal(errs)
	}
	// The new main.js, the empty b.txt, two containers, a list, a manifest and a state.
	if done.Files != 7 {
		t.Errorf("the third run wrote %d files, want 7", done.Files)
	}
	runs("1.2.0", "two")

	if last := device.Pending(); !slices.ContainsFunc(last, func(e slipstream.Event) bool { return e.Codec == delta.CodecRich }) {
		t.Error("the device did not take the patch")
	}
	byPath := append(args, "--files")
	for _, wrote := range []int{5, 0} { // of two releases
		if done, code, errs = runExport(t, byPath...); code != exitOK || done.Files != wrote {
			t.Errorf("exit code %d, %d files by path, want %d: %s", code, done.Files, wrote, errs)
		}
	}
	r, err := http.Get(static.URL + "/v1/apps/shop/files/main/" + string(second.Manifest) + "/main.js")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if got, err := io.ReadAll(r.Body); err != nil || string(got) != page("two") {
		t.Errorf("by its path a file is %q: %v", got, err)
	}

	if leftovers, _ := filepath.Glob(filepath.Join(dir, "v1", "*", ".*")); len(leftovers) != 0 {
		t.Errorf("temporary files stay: %v", leftovers)
	}
}

func TestAStateIsNotExportedBeforeWhatItNames(t *testing.T) {
	for name, spoil := range map[string]func(o *origin, path string, data []byte){
		"a blob is missing":   func(o *origin, path string, _ []byte) { o.mu.Lock(); delete(o.paths, path); o.mu.Unlock() },
		"a blob is another's": func(o *origin, path string, data []byte) { o.put(path, bytes.Repeat([]byte("x"), len(data))) },
		"a blob is cut off":   func(o *origin, path string, data []byte) { o.put(path, data[:1]) },
		"a blob does not end": func(o *origin, path string, data []byte) { o.put(path, bytes.Repeat(data, 100)) },
	} {
		t.Run(name, func(t *testing.T) {
			o := newOrigin(t)
			o.state("any", 10, o.release(1, map[string]string{"main.js": "one"}))
			spoil(o, "/v1/blobs/"+string(bytesDigest([]byte("one"))), []byte("one"))
			server := httptest.NewServer(o)
			defer server.Close()
			dir := t.TempDir()
			_, code, errs := runExport(t, dir, "--app", "shop", "--server", server.URL)
			if code != exitRefused && code != exitNotFound {
				t.Errorf("exit code %d: %s", code, errs)
			}
			for _, path := range []string{"v1/apps/shop/channels", "v1/manifests", "v1/blobs/" + string(bytesDigest([]byte("one")))} {
				if _, err := os.Stat(filepath.Join(dir, path)); err == nil {
					t.Errorf("%s is there", path)
				}
			}
		})
	}
}

func TestExportNeedsAChannelThatExists(t *testing.T) {
	server := httptest.NewServer(newOrigin(t))
	defer server.Close()
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{"--app", "shop", "--server", server.URL}, exitNotFound},
		{[]string{"--app", "../etc", "--server", server.URL}, exitUsage},
		{[]string{"--app", "shop", "--channel", "a/b", "--server", server.URL}, exitUsage},
		{[]string{"--server", server.URL}, exitUsage},
		{[]string{"--app", "shop", "--server", "ftp://x"}, exitUsage},
		{[]string{"--app", "shop"}, exitError},
	} {
		if _, code, errs := runExport(t, append([]string{t.TempDir()}, c.args...)...); code != c.code {
			t.Errorf("%v: exit code %d, want %d: %s", c.args, code, c.code, errs)
		}
	}
}
