package capgo

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/protocol/archive"
	"github.com/slipstream-ota/slipstream/protocol/protocoltest"
)

// oracle is what Capgo's own tool made of a zip, once.
type oracle struct {
	Private, Public                     string
	Zip, Encrypted                      []byte
	Checksum, ChecksumOlder, SessionKey string
}

func readOracle(t testing.TB) oracle {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "oracle.json"))
	if err != nil {
		t.Fatal(err)
	}
	var o oracle
	if err := json.Unmarshal(raw, &o); err != nil {
		t.Fatal(err)
	}
	return o
}

// decrypt opens a bundle as a client does: by the public key that its app has.
func decrypt(t testing.TB, public, sessionKey string, sealed []byte) []byte {
	t.Helper()
	key, err := parsePublic(public)
	if err != nil {
		t.Fatal(err)
	}
	iv, wrapped, _ := strings.Cut(sessionKey, ":")
	first, err1 := base64.StdEncoding.DecodeString(iv)
	sig, err2 := base64.StdEncoding.DecodeString(wrapped)
	session, err3 := open(key, sig)
	block, err4 := aes.NewCipher(session)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	plain := make([]byte, len(sealed))
	cipher.NewCBCDecrypter(block, first).CryptBlocks(plain, sealed)
	return plain[:len(plain)-int(plain[len(plain)-1])]
}

// TestTheOwnToolSignsTheSame: for the same zip and key, checksums are those of Capgo's own tool to the byte, for newer and
// older updaters, and what it encrypted is opened.
func TestTheOwnToolSignsTheSame(t *testing.T) {
	t.Parallel()
	o := readOracle(t)
	key, err := parsePrivate([]byte(o.Private))
	if err != nil {
		t.Fatal(err)
	}
	s, err := signatureOf(key, sha256.Sum256(o.Zip))
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(s.Checksum); got != o.Checksum {
		t.Errorf("checksum %s, want %s", got, o.Checksum)
	}
	if got := base64.StdEncoding.EncodeToString(s.Older); got != o.ChecksumOlder {
		t.Errorf("checksum for older updaters %s, want %s", got, o.ChecksumOlder)
	}
	if got := decrypt(t, o.Public, o.SessionKey, o.Encrypted); !bytes.Equal(got, o.Zip) {
		t.Error("its encrypted bundle opens to something else")
	}
	if got, want := keyID(&key.PublicKey), strings.Split(o.Public, "\n")[1][:keyIDLength]; got != want {
		t.Errorf("key id %s, want %s", got, want)
	}
}

// signedRelease publishes what the tool would: signed on the publisher's side.
func signedRelease(w *world, version string, files map[string]string, private string) slipstream.Digest {
	w.Helper()
	d := w.Publish(protocoltest.Release{Version: version, Files: files, Offer: protocoltest.Offer(slipstream.FullShare), Meta: map[string]json.RawMessage{Meta: signFiles(w, files, private)}})
	w.Settle()
	return d
}

func signFiles(t testing.TB, files map[string]string, private string) json.RawMessage {
	t.Helper()
	var list []slipstream.File
	for path, text := range files {
		list = append(list, slipstream.File{Path: path, Size: int64(len(text)), SHA256: slipstream.DigestOf(sha256.Sum256([]byte(text)))})
	}
	raw, err := Sign(list, func(f slipstream.File, w io.Writer) error {
		return archive.Checked(w, strings.NewReader(files[f.Path]), f)
	}, []byte(private))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestASignedBundle: a client that has the public key opens it and finds the checksum that was signed; the same contents are signed
// the same.
func TestASignedBundle(t *testing.T) {
	t.Parallel()
	o := readOracle(t)
	w := newWorld(t, "")
	files := map[string]string{"index.html": strings.Repeat("<p>one</p>", 5000), "a.js": "1"}
	signedRelease(w, "1.0.0", files, o.Private)
	id := strings.Split(o.Public, "\n")[1][:keyIDLength]
	a := w.check(map[string]any{"key_id": id})
	plain := decrypt(t, o.Public, a.SessionKey, w.download(a.URL))
	if got := protocoltest.Unzip(t, plain); !maps.Equal(got, files) {
		t.Errorf("the bundle has %v", got)
	}
	key, err := parsePublic(o.Public)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(plain)
	opens := func(checksum []byte, err error, want []byte) {
		t.Helper()
		got, openErr := open(key, checksum)
		if err != nil || openErr != nil || !bytes.Equal(got, want) {
			t.Errorf("checksum opens to %x, want %x (%v, %v)", got, want, err, openErr)
		}
	}
	raw, err := hex.DecodeString(a.Checksum)
	opens(raw, err, sum[:])
	older, err := base64.StdEncoding.DecodeString(w.check(map[string]any{"key_id": id, "plugin_version": "7.6.0"}).Checksum)
	digits, _ := base64.StdEncoding.DecodeString(hex.EncodeToString(sum[:]))
	opens(older, err, digits)
	if first, again := signFiles(t, files, o.Private), signFiles(t, files, o.Private); !bytes.Equal(first, again) {
		t.Error("the same contents are signed differently")
	}
	if len(a.Manifest) > 0 {
		t.Error("a signed bundle is offered file by file, where clients do not look at signatures")
	}
}

// TestKeysMustFit: nobody gets a bundle that the key in the app did not sign, or that the updater could not open.
func TestKeysMustFit(t *testing.T) {
	t.Parallel()
	o := readOracle(t)
	w := newWorld(t, "")
	signedRelease(w, "1.0.0", map[string]string{"index.html": "1"}, o.Private)
	id := strings.Split(o.Public, "\n")[1][:keyIDLength]
	for _, c := range []struct {
		what   string
		change map[string]any
		want   string
	}{
		{"the key", map[string]any{"key_id": id}, ""},
		{"another key", map[string]any{"key_id": "MIIBCgKCAQEAxxxxxxxx"}, codeKeyID},
		{"no key in the app", nil, codeKeyID},
		{"an updater that does not say its key", map[string]any{"plugin_version": "6.14.0"}, ""},
		{"an updater with another encryption", map[string]any{"plugin_version": "5.9.0"}, codePlugin},
		{"Electron", map[string]any{"platform": "electron", "plugin_version": "0.0.1"}, codePlugin},
	} {
		if a := w.check(c.change); a.Error != c.want || (a.URL == "") != (c.want != "") {
			t.Errorf("%s: %+v, want %q", c.what, a, c.want)
		}
	}
	w.release("2.0.0", map[string]string{"index.html": "2"})
	if a := w.check(map[string]any{"key_id": id}); a.Error != codeKeyID {
		t.Errorf("an unsigned bundle for an app with a key: %+v", a)
	}
	if a := w.check(nil); a.Version != "2.0.0" || a.SessionKey != "" {
		t.Errorf("an unsigned bundle for an app without: %+v", a)
	}
}

// TestASignedAppTakesOnlyWhatIsSigned: with the app's key in the options, anything else is refused before it is published, and not
// offered if it was there before.
func TestASignedAppTakesOnlyWhatIsSigned(t *testing.T) {
	t.Parallel()
	o := readOracle(t)
	options, err := json.Marshal(Options{PublicKey: o.Public})
	if err != nil {
		t.Fatal(err)
	}
	files := []slipstream.File{{Path: "index.html", SHA256: slipstream.DigestOf(sha256.Sum256(nil))}}
	sign := func(private string) json.RawMessage {
		return signFiles(t, map[string]string{"index.html": ""}, private)
	}
	other, _, _, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	good := sign(o.Private)
	for _, c := range []struct {
		what string
		meta json.RawMessage
		want string
	}{
		{"signed", good, ""},
		{"unsigned", nil, "it is not signed for Capgo"},
		{"by another key", sign(string(other)), "not signed by the key that the apps have"},
		{"no signature", json.RawMessage(`"x"`), "malformed"},
		{"no key", json.RawMessage(`{"public":""}`), "malformed"},
	} {
		m := &slipstream.Manifest{Version: "1.0.0", Files: files, Meta: map[string]json.RawMessage{}}
		if c.meta != nil {
			m.Meta[Meta] = c.meta
		}
		err := errors.Join((Protocol{}).Fits(m), (Protocol{}).FitsWith(options, m))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.what, err, c.want)
		}
	}
	w := newWorld(t, "")
	w.release("1.0.0", map[string]string{"index.html": "1"})
	w.Enable(string(options))
	w.Settle()
	if a := w.check(map[string]any{"app_id": "x"}); a.Error != codeNoNew {
		t.Errorf("what was published before the key was named: %+v", a)
	}
}

// TestASignatureOfAnotherZip: a release whose signature is of other contents is not rendered, so no client is offered it.
func TestASignatureOfAnotherZip(t *testing.T) {
	t.Parallel()
	o := readOracle(t)
	w := newWorld(t, "")
	w.Publish(protocoltest.Release{Version: "1.0.0", Files: map[string]string{"index.html": "1"}, Offer: protocoltest.Offer(slipstream.FullShare),
		Meta: map[string]json.RawMessage{Meta: signFiles(t, map[string]string{"index.html": "2"}, o.Private)}})
	w.Settle()
	if a := w.check(nil); a.Error != codeNoNew {
		t.Errorf("offered: %+v", a)
	}
}

// TestZipsStayTheSame: a signature made by one version of the tool is good on a server of another. Should this fail, releases that
// are signed already can no longer be packed anew.
func TestZipsStayTheSame(t *testing.T) {
	t.Parallel()
	sum := sha256.New()
	text := strings.Repeat("The same words again and again, ", 4000)
	err := archive.Write(sum, []archive.Entry{
		{Path: "assets/ü.js", CopyTo: func(w io.Writer) error { _, err := io.WriteString(w, text); return err }},
		{Path: "empty", CopyTo: func(io.Writer) error { return nil }},
	})
	if got := hex.EncodeToString(sum.Sum(nil)); err != nil || got != "f0a9efcfec554501dac20c3da3bd4cc535f2b9b6eb8db02b82d1fb55fa698247" {
		t.Errorf("%s, %v", got, err)
	}
}
