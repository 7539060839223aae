package capgo

import (
	"crypto/sha256"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/protocol/protocoltest"
)

// TestThePiecesAreTheTree: file by file, and each of them in two parts, a client comes to what was published.
func TestThePiecesAreTheTree(t *testing.T) {
	t.Parallel()
	noise := make([]byte, 20<<10)
	random := rand.NewChaCha8([32]byte{1})
	if _, err := random.Read(noise); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"index.html": strings.Repeat("<p>one</p>\n", 2000), "assets/a.js": strings.Repeat("let x = 1;", 3000), "small.txt": "1", "empty.txt": "", "noise.bin": string(noise)}
	w := newWorld(t, "")
	w.release("1.0.0", files)
	a := w.check(nil)
	got, compressed := map[string]string{}, 0
	for _, p := range a.Manifest {
		whole := w.download(p.URL)
		for _, from := range []int{0, len(whole) / 2} {
			if part := w.part(p.URL, from); len(whole) > 0 && string(part) != string(whole[from:]) {
				t.Errorf("%s from %d: %d bytes of %d", p.Name, from, len(part), len(whole))
			}
		}
		name, br := strings.CutSuffix(p.Name, ".br")
		if br {
			compressed++
			plain, err := io.ReadAll(brotli.NewReader(strings.NewReader(string(whole))))
			if err != nil || len(whole) >= len(plain) {
				t.Fatalf("%s: %d bytes of %d, %v", p.Name, len(whole), len(plain), err)
			}
			whole = plain
		}
		if slipstream.DigestOf(sha256.Sum256(whole)) != slipstream.Digest(p.Hash) {
			t.Errorf("%s has another hash", p.Name)
		}
		got[name] = string(whole)
	}
	if !maps.Equal(got, files) || compressed != 2 {
		t.Errorf("%d files, %d of them compressed", len(got), compressed)
	}
}

// part downloads from an offset on.
func (w *world) part(url string, from int) []byte {
	w.Helper()
	r := httptest.NewRequest(http.MethodGet, strings.TrimPrefix(url, protocoltest.Base), nil)
	if from > 0 {
		r.Header.Set("Range", "bytes="+itoa(from)+"-")
	}
	rec := httptest.NewRecorder()
	w.server.ServeHTTP(rec, r)
	if want := map[bool]int{true: http.StatusPartialContent, false: http.StatusOK}[from > 0]; rec.Code != want {
		w.Fatalf("%s from %d: %d", url, from, rec.Code)
	}
	return rec.Body.Bytes()
}

// TestWhatUpdatersKnow: by version, whether an updater takes lists, opens signed bundles, reads hex and compares a SHA-256.
func TestWhatUpdatersKnow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		platform, version         string
		lists, opens, hex, sha256 bool
		key                       bool
	}{
		{"android", "5.0.0", false, false, false, false, false},
		{"ios", "5.9.5", false, false, false, false, false},
		{"android", "5.43.3", true, true, true, true, true},
		{"ios", "6.0.21", false, true, false, false, false},
		{"ios", "6.14.26", false, true, false, false, false},
		{"android", "6.39.0", true, true, true, false, true},
		{"android", "7.0.0", false, false, false, false, false},
		{"android", "7.0.50", true, true, false, true, false},
		{"ios", "7.27.8", true, true, false, true, false},
		{"ios", "7.36.1", true, true, true, true, false},
		{"ios", "8.0.0-beta.1", true, true, true, true, false},
		{"android", "8.51.14", true, true, true, true, true},
		{"electron", "0.0.1", false, false, true, true, false},
		{"android", "", false, false, false, false, false},
		{"android", "latest", false, false, false, false, false},
	} {
		p := parsePlugin(c.platform, c.version)
		if p.lists() != c.lists || p.opens() != c.opens || p.takesHex() != c.hex || p.hashes() != c.sha256 {
			t.Errorf("%s %s: lists %v, opens %v, hex %v, sha256 %v", c.platform, c.version, p.lists(), p.opens(), p.takesHex(), p.hashes())
		}
		if p.saysKey() != c.key {
			t.Errorf("%s %s: says its key %v", c.platform, c.version, p.saysKey())
		}
	}
}
