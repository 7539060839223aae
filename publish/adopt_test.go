package publish

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/sign"
)

// uploaded is a release as another system's tool brought it, and its bytes.
func uploaded(t *testing.T, change func(*slipstream.Manifest)) (Release, map[slipstream.Digest]string) {
	t.Helper()
	blobs := map[slipstream.Digest]string{}
	m := &slipstream.Manifest{App: "shop", Package: "main", Platform: "any", Runtime: slipstream.Runtime{Range: "^1.0.0"}, Seq: 4, Version: "production-v2",
		Created: slipstream.At(now()), Meta: map[string]json.RawMessage{slipstream.MetaAdapter: json.RawMessage(`"codepush"`)}}
	for _, f := range [][2]string{{"CodePush/assets/a.txt", "a"}, {"CodePush/main.jsbundle", "the bundle"}} {
		sum := slipstream.DigestOf(sha256.Sum256([]byte(f[1])))
		blobs[sum] = f[1]
		m.Files = append(m.Files, slipstream.File{Path: f[0], Size: int64(len(f[1])), SHA256: sum})
	}
	if change != nil {
		change(m)
	}
	payload, err := sign.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return Release{ReleaseInfo: ReleaseInfo{Digest: sign.DigestOf(payload), AdapterOnly: "codepush"}, Unsigned: m}, blobs
}

func fetchFrom(blobs map[slipstream.Digest]string) Fetch {
	return func(_ context.Context, f slipstream.File) (io.ReadCloser, error) {
		text, ok := blobs[f.SHA256]
		if !ok {
			return nil, slipstream.ErrNotFound
		}
		return io.NopCloser(strings.NewReader(text)), nil
	}
}

// TestWhatNobodySignedIsHashedHere: the files that are signed are those that came, and nothing of it stays behind.
func TestWhatNobodySignedIsHashedHere(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	p := newPublisher(t, 1, 1)
	if _, err := p.push(t, request("1.0.0"), map[string]string{"a": "one"}); err != nil {
		t.Fatal(err)
	}
	r, blobs := uploaded(t, nil)
	got, err := Receive(t.Context(), "shop", r, fetchFrom(blobs), Limits{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	mine := writeTree(t, map[string]string{"assets/a.txt": "a", "main.jsbundle": "the bundle"})
	same := filepath.Join(t.TempDir(), "CodePush")
	if err := os.Rename(mine, same); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{same, filepath.Dir(same)} {
		if err := got.SameTree(folder, openTree(t, folder)); err != nil {
			t.Errorf("%s: %v", folder, err)
		}
	}
	if err := os.WriteFile(filepath.Join(same, "main.jsbundle"), []byte("a bundle"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := got.SameTree(same, openTree(t, same)); slipstream.ReasonOf(err, "") != slipstream.ReasonFileMismatch {
		t.Errorf("another folder: %v", err)
	}
	req := p.proving(t, request("1.1.0"))
	req.Meta = got.Meta
	plan, err := Prepare(t.Context(), p.server, got.Tree, req, now())
	if err != nil {
		t.Fatal(err)
	}
	if m := plan.Manifest; m.Seq != 2 || len(m.Fallback) != 1 || len(m.Files) != 2 || m.Files[1] != r.Unsigned.Files[1] {
		t.Errorf("would sign %+v", m)
	}
	if err := got.Tree.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestAServerThatHandsOutSomethingElse is refused before anything is signed, and leaves nothing on the disk.
func TestAServerThatHandsOutSomethingElse(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	p := newPublisher(t, 1, 1)
	res, err := p.push(t, request("1.0.0"), map[string]string{"a": "one"})
	if err != nil {
		t.Fatal(err)
	}
	ours, err := p.server.Release(t.Context(), "shop", string(res.Digest))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		manifest func(*slipstream.Manifest)
		release  func(*Release)
		bytes    func(string) string
		want     slipstream.Reason
	}{
		"other bytes":                {bytes: func(string) string { return "the bumdle" }, want: slipstream.ReasonFileMismatch},
		"fewer bytes":                {bytes: func(s string) string { return s[1:] }, want: slipstream.ReasonFileMismatch},
		"more bytes":                 {bytes: func(s string) string { return s + strings.Repeat("x", 1<<20) }, want: slipstream.ReasonFileMismatch},
		"a manifest of another name": {release: func(r *Release) { r.Digest = slipstream.Digest(strings.Repeat("ab", 32)) }, want: slipstream.ReasonManifestMismatch},
		"a release of another app":   {manifest: func(m *slipstream.Manifest) { m.App = "bank" }, want: slipstream.ReasonWrongApp},
		"of another protocol":        {manifest: func(m *slipstream.Manifest) { m.Meta[slipstream.MetaAdapter] = json.RawMessage(`"other"`) }, want: slipstream.ReasonManifestMismatch},
		"words of its own in meta":   {manifest: func(m *slipstream.Manifest) { m.Meta["delta.base"] = json.RawMessage(`"x"`) }, want: slipstream.ReasonManifestMismatch},
		"a path out of the tree":     {manifest: func(m *slipstream.Manifest) { m.Files[0].Path = "../../evil" }, want: slipstream.ReasonMalformed},
		"more than fits":             {manifest: func(m *slipstream.Manifest) { m.Files[0].Size = 1 << 50 }, want: slipstream.ReasonTooLarge},
		"no size at all":             {manifest: func(m *slipstream.Manifest) { m.Files[0].Size = -1 }, want: slipstream.ReasonTooLarge},
		"a file to execute":          {manifest: func(m *slipstream.Manifest) { m.Files[1].Exec = true }, want: slipstream.ReasonFileMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			r, blobs := uploaded(t, c.manifest)
			if c.release != nil {
				c.release(&r)
			}
			if c.bytes != nil {
				for sum, text := range blobs {
					if text == "the bundle" {
						blobs[sum] = c.bytes(text)
					}
				}
			}
			if _, err := Receive(t.Context(), "shop", r, fetchFrom(blobs), Limits{}, nil); slipstream.ReasonOf(err, "") != c.want {
				t.Errorf("%v, want reason %s", err, c.want)
			}
		})
	}
	r, blobs := uploaded(t, nil)
	r.Envelope = ours.Envelope // signed, but not what it says
	if _, err := Receive(t.Context(), "shop", r, fetchFrom(blobs), Limits{}, nil); err == nil {
		t.Error("a release with an envelope passes for one that nobody signed")
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
