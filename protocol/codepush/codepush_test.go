package codepush

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/protocol/protocoltest"
)

func sumOf(text string) slipstream.Digest { return slipstream.DigestOf(sha256.Sum256([]byte(text))) }

// The vectors were computed with the original server's own code.
func TestPackageHashes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		files map[string]string
		want  slipstream.Digest
	}{
		{"three files", map[string]string{"CodePush/index.android.bundle": "console.log(1)\n", "CodePush/assets/a.txt": "a\n", "CodePush/assets/b.txt": "b\n"},
			"cf88b157f9351c02bddd20a46c28f17d53670d38d92f34b9763731c0aed32eeb"},
		{"one file", map[string]string{"CodePush/main.jsbundle": "1\n"}, "6e36daa2f72fc646998d30ad505d454c23a83da673b9bd57e8a42f7b5010c56b"},
		{"a signature does not count", map[string]string{"CodePush/main.jsbundle": "1\n", "CodePush/.codepushrelease": "x"},
			"6e36daa2f72fc646998d30ad505d454c23a83da673b9bd57e8a42f7b5010c56b"},
		{"nasty names", map[string]string{"CodePush/main.jsbundle": "console.log(1)\n", "CodePush/a": "1", "CodePush/a-b": "2", "CodePush/a.b": "3", "CodePush/sub/a": "4",
			"CodePush/\u00e9.txt": "5", "CodePush/e\u0301.txt": "6", "CodePush/\U0001f600.png": "7", "CodePush/\uff5e.png": "8", "CodePush/q\"uote&<x>.txt": "9",
			"CodePush/u\u2028s.txt": "10", "CodePush/empty.txt": "", `CodePush/back\slash.txt`: "11", "CodePush/.DS_Store": "x", "CodePush/sub/.DS_Store": "x",
			"CodePush/.codepushrelease": "x", "CodePush/sub/.codepushrelease": "x", "__MACOSX/x": "x"},
			"79fcc0cd53f05f64b481f9d584a4489c232df06aa7357963e35905fb367e042a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			sums := map[string]slipstream.Digest{}
			for path, text := range c.files {
				sums[path] = sumOf(text)
			}
			if got := PackageHash(sums); got != c.want {
				t.Errorf("hash %s, want %s", got, c.want)
			}
		})
	}
}

func TestPlacesOfTheOriginal(t *testing.T) {
	t.Parallel()
	const uuid = "0f4e9b1c-6a4e-4b52-9d1e-8f1e2d3c4b5a"
	for text, want := range map[string]int64{"device-1-v1": 2703853230, "device-1-v12": -2079895740, "abc-v1": -1424438330, "abc-v12": 3087052076,
		uuid + "-v1": -666052296, uuid + "-v12": 827215354, "设备😀-v3": 2087257022} {
		if got := spread(text); got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
	}
	if got := bucket("device-1", "v12"); got != 40 {
		t.Errorf("bucket %d", got)
	}
	d := &deployment{placed: map[string]string{"ro_1": "v1"}}
	if at := d.position("device-1")("ro_1", "id"); at/100 != 30 {
		t.Errorf("placed at %d", at)
	}
	// A salt of its own is not the original's: our own place, whatever the client calls itself.
	if d.position("device-1")("salt", "id") != d.position("device-2")("salt", "id") {
		t.Error("a salt of its own places clients by their name")
	}
	inside := 0
	for i := range 10000 {
		if at := d.position(fmt.Sprintf("device-%d", i))("ro_1", fmt.Sprint(i)); at < 2500 {
			inside++
		}
	}
	if inside < 2300 || inside > 2700 {
		t.Errorf("%d of 10000 in a quarter", inside)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, good := range []string{``, `{}`, `{"deployments":{"production":"PRODKEY-0123456789","beta":{"ios":"BETA-IOS-01"}},"package":"app"}`} {
		if err := (Protocol{}).Check([]byte(good)); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for bad, word := range map[string]string{
		`{"key":"x"}`: "key", `[]`: "options", `{"deployments":{"production":"short"}}`: "10 to 100", `{"deployments":{"production":5}}`: "options",
		`{"deployments":{"Production":"PRODKEY-0123456789"}}`:                          "channel",
		`{"deployments":{"a":"PRODKEY-0123456789","b":"PRODKEY-0123456789"}}`:          "the same deployment key",
		`{"deployments":{"a":{"No Platform":"PRODKEY-0123456789"}}}`:                   "platform",
		`{"deployments":{"production":"PRODKEY-0123456789"},"signingKey":"not a PEM"}`: "PEM",
	} {
		if err := (Protocol{}).Check([]byte(bad)); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v, want something about %q", bad, err, word)
		}
	}
	var back Options
	raw, err := json.Marshal(Options{Deployments: map[string]Keys{"a": {"any": "PRODKEY-0123456789"}, "b": {"ios": "IOSKEY-0123456789"}}})
	if err == nil {
		err = json.Unmarshal(raw, &back)
	}
	if err != nil || back.Deployments["a"]["any"] != "PRODKEY-0123456789" || back.Deployments["b"]["ios"] != "IOSKEY-0123456789" {
		t.Errorf("%s: %v, %v", raw, back, err)
	}
}

// TestTheClientIsFound by its label, else by its hash: what it passes over depends on where it stands.
func TestTheClientIsFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	var hashes []string
	for i, text := range []string{"one", "two", "three"} {
		r := protocoltest.Release{Version: fmt.Sprintf("1.%d.0", i), Files: map[string]string{"main.jsbundle": text}, Offer: protocoltest.Offer(slipstream.FullShare)}
		r.Offer.Apply.Mandatory = text == "two"
		w.Publish(r)
		w.Settle()
		hashes = append(hashes, string(w.check("").PackageHash))
	}
	for query, mandatory := range map[string]bool{
		"package_hash=" + hashes[0]: true, "package_hash=" + hashes[1]: false, "label=v1": true, "label=v2": false,
		"label=v2&package_hash=" + hashes[0]: false, "label=v1&package_hash=" + hashes[1]: true, "": true, "label=&package_hash=": true,
	} {
		if u := w.check(query); !u.IsAvailable || u.Label != "v3" || u.IsMandatory != mandatory {
			t.Errorf("%q: %+v, want mandatory %v", query, u, mandatory)
		}
	}
	for _, query := range []string{"package_hash=" + hashes[2], "label=v3", "label=v1&package_hash=" + hashes[2]} {
		if u := w.check(query); u.IsAvailable {
			t.Errorf("%q: %+v", query, u)
		}
	}
}

// TestParallelReleases of one deployment get labels of their own, each with its own contents.
func TestParallelReleases(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	for i := range 6 {
		w.Publish(protocoltest.Release{Version: fmt.Sprintf("1.%d.0", i), Files: map[string]string{"main.jsbundle": fmt.Sprint(i)}, Offer: protocoltest.Offer(slipstream.FullShare)})
	}
	done := make(chan error, 2)
	for range 2 { // two nodes on one database
		go func() {
			book := NewBook(w.Store, w.Blobs, nil, nil)
			done <- book.Refresh(t.Context())
		}()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	w.Settle()
	seen := map[string]bool{}
	for _, e := range w.book.current.Load().byKey[prodKey].entries {
		if seen[e.name] || seen[e.Rollout] {
			t.Errorf("%s of rollout %s is there twice", e.name, e.Rollout)
		}
		seen[e.name], seen[e.Rollout] = true, true
	}
	u := w.check("")
	if got := protocoltest.Unzip(t, w.download(u)); got["CodePush/main.jsbundle"] != "5" {
		t.Errorf("%s holds %v", u.Label, got)
	}
}

// TestADifferenceGivesThePackage applies what is served as a client does, by the names and the file alone.
func TestADifferenceGivesThePackage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	long := strings.Repeat("0123456789 and so on; ", 200)
	w.release("1.0.0", map[string]string{"index.android.bundle": "one", "assets/kept.txt": long + rand.Text(), "assets/gone.txt": "gone", "a b/ü.txt": "x"})
	first := w.check("")
	have := protocoltest.Unzip(t, w.download(first))
	if hashOfTexts(have) != first.PackageHash {
		t.Fatalf("the package has hash %s, not %s", hashOfTexts(have), first.PackageHash)
	}
	w.release("1.1.0", map[string]string{"index.android.bundle": "two", "assets/kept.txt": have["CodePush/assets/kept.txt"], "a b/ü.txt": "y", "new.txt": ""})
	next := w.check("label=v1&package_hash=" + string(first.PackageHash))
	whole := w.check("label=v1")
	if next.PackageSize >= whole.PackageSize || next.PackageHash != whole.PackageHash {
		t.Fatalf("difference of %d bytes, package of %d", next.PackageSize, whole.PackageSize)
	}
	diff := protocoltest.Unzip(t, w.download(next))
	var about struct{ DeletedFiles []string }
	if err := json.Unmarshal([]byte(diff[diffFile]), &about); err != nil || !slices.Equal(about.DeletedFiles, []string{"CodePush/assets/gone.txt"}) {
		t.Fatalf("%s: %v", diff[diffFile], err)
	}
	delete(diff, diffFile)
	for _, path := range about.DeletedFiles {
		delete(have, path)
	}
	for path, text := range diff {
		have[path] = text
	}
	if _, sent := diff["CodePush/assets/kept.txt"]; sent || hashOfTexts(have) != next.PackageHash {
		t.Errorf("after the difference: hash %s, want %s", hashOfTexts(have), next.PackageHash)
	}
}

// A difference that does not lead to the package is not stored as one.
func TestADifferenceIsProved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	put := func(path, text string) packed {
		if err := w.Blobs.Put(w.Context(), sumOf(text), int64(len(text)), strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		return packed{path: path, size: int64(len(text)), sha256: sumOf(text)}
	}
	old := []packed{put("CodePush/a", "1"), put("CodePush/b", "2")}
	next := []packed{put("CodePush/a", "1"), put("CodePush/b", "3")}
	if _, _, err := putDiff(w.Context(), w.Blobs, old, next); err != nil {
		t.Fatal(err)
	}
	lying := []packed{old[0], old[1]}
	lying[0].sha256 = sumOf("other bytes than those there")
	if _, _, err := putDiff(w.Context(), w.Blobs, lying, next); err == nil {
		t.Error("a base whose bytes are not there was taken")
	}
	if err := w.Blobs.Delete(w.Context(), sumOf("1")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := putDiff(w.Context(), w.Blobs, old, next); !errors.Is(err, slipstream.ErrNotFound) {
		t.Errorf("a base that is gone: %v", err)
	}
}

func keyPair(t *testing.T) (private []byte, public string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}), string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func manifestOf(files map[string]string, token json.RawMessage) *slipstream.Manifest {
	m := &slipstream.Manifest{App: "shop", Package: "main"}
	for path, text := range files {
		m.Files = append(m.Files, slipstream.File{Path: path, Size: int64(len(text)), SHA256: sumOf(text)})
	}
	if token != nil {
		m.Meta = map[string]json.RawMessage{Meta: token}
	}
	return m
}

// TestASignedAppTakesOnlyWhatIsSigned: at the door by what the manifest says, and before offering by the bytes.
func TestASignedAppTakesOnlyWhatIsSigned(t *testing.T) {
	t.Parallel()
	private, public := keyPair(t)
	strange, _ := keyPair(t)
	files := map[string]string{"main.jsbundle": "1\n"}
	options, err := json.Marshal(Options{Deployments: map[string]Keys{"production": {"any": prodKey}}, SigningKey: public})
	if err != nil {
		t.Fatal(err)
	}
	m := manifestOf(files, nil)
	good, err := Sign(m.Files, private)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Sign(m.Files, private)
	if err != nil || !bytes.Equal(good, again) {
		t.Errorf("signing again gives another token: %v", err)
	}
	other, err := Sign(m.Files, strange)
	if err != nil {
		t.Fatal(err)
	}
	p := Protocol{}
	for name, c := range map[string]struct {
		m    *slipstream.Manifest
		want string
	}{
		"signed":            {manifestOf(files, good), ""},
		"unsigned":          {manifestOf(files, nil), "not signed"},
		"by another key":    {manifestOf(files, other), "the key that the apps have"},
		"of other contents": {manifestOf(map[string]string{"main.jsbundle": "2\n"}, good), "other contents"},
		"no token":          {manifestOf(files, json.RawMessage(`"a.b"`)), "three parts"},
	} {
		err := p.FitsWith(options, c.m)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if err := p.FitsWith([]byte(`{}`), manifestOf(files, nil)); err != nil {
		t.Errorf("an app without a key: %v", err)
	}
	if _, err := Sign(append(m.Files, slipstream.File{Path: "CodePush/x"}), []byte("no key")); err == nil {
		t.Error("signed by no key")
	}

	// A signature in a file is looked at when the release is rendered.
	w := newWorld(t, string(options))
	var token string
	if err := json.Unmarshal(good, &token); err != nil {
		t.Fatal(err)
	}
	w.release("1.0.0", map[string]string{"main.jsbundle": "1\n", ".codepushrelease": token + "\n"})
	u := w.check("")
	if !u.IsAvailable || u.PackageHash != "6e36daa2f72fc646998d30ad505d454c23a83da673b9bd57e8a42f7b5010c56b" {
		t.Fatalf("the signed release: %+v", u)
	}
	if got := protocoltest.Unzip(t, w.download(u)); got[signatureFile] != token+"\n" {
		t.Errorf("the package holds %v", got)
	}
	w.release("1.1.0", map[string]string{"main.jsbundle": "2\n"})
	if u := w.check(""); u.IsAvailable {
		t.Errorf("an unsigned release is offered: %+v", u)
	}
}

// TestLabelsOnlyRise: through rollbacks, more entries than are kept, and a book that starts anew.
func TestLabelsOnlyRise(t *testing.T) {
	t.Parallel()
	var r History
	highest := 0
	for i := range 500 {
		ro := slipstream.Rollout{ID: fmt.Sprint(i), Manifest: sumOf(fmt.Sprint(i)), To: slipstream.FullShare}
		if !r.follow("key", slipstream.PackageState{Rollouts: []slipstream.Rollout{ro}}, time.Time{}) {
			t.Fatal("a new rollout got no label")
		}
		raw, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if r, err = parseRecord(raw); err != nil {
			t.Fatal(err)
		}
		last := r.Entries[len(r.Entries)-1]
		if last.N <= highest || last.Rollout != ro.ID {
			t.Fatalf("%+v after v%d", last, highest)
		}
		highest = last.N
		if r.follow("key", slipstream.PackageState{Rollouts: []slipstream.Rollout{ro}}, time.Time{}) {
			t.Fatal("the same state changes something")
		}
	}
	if len(r.Entries) > maxHistory+1 {
		t.Errorf("%d labels are kept", len(r.Entries))
	}
}
