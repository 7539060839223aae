//go:build !device

package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish/delta"
	"github.com/slipstream-ota/slipstream/sign"
)

// pretend is a server's device side made of files in memory, which a test may damage.
type pretend struct {
	t        *testing.T
	dir      string
	served   map[string][]byte
	contents map[slipstream.Digest][]byte
	root     *slipstream.Root
}

func testSigner(n byte) sign.Signer {
	return sign.NewSigner(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize)))
}

// Signers of the pretended app.
const (
	byRoot byte = iota + 1
	byRelease
	byState
)

func (p *pretend) seal(payloadType string, doc any, by byte) []byte {
	p.t.Helper()
	e, err := sign.Seal(payloadType, doc, testSigner(by))
	if err != nil {
		p.t.Fatal(err)
	}
	return e.Encode()
}

func (p *pretend) write(name string, data []byte) string {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// release makes a manifest over contents, and serves it and its files.
func (p *pretend) release(seq int64, files map[string]string) (*slipstream.Manifest, slipstream.Digest) {
	p.t.Helper()
	m := &slipstream.Manifest{App: "shop", Package: "main", Platform: "any", Runtime: slipstream.AnyRuntime(), Seq: seq, Version: "v", Created: slipstream.At(time.Unix(0, 0)), Files: []slipstream.File{}}
	for _, name := range []string{"a.txt", "b.txt", "c.txt"} {
		if text, named := files[name]; named {
			d := sign.DigestOf([]byte(text))
			m.Files = append(m.Files, slipstream.File{Path: name, Size: int64(len(text)), SHA256: d})
			p.contents[d] = []byte(text)
			p.served["/v1/blobs/"+string(d)] = []byte(text)
		}
	}
	payload, err := sign.Encode(m)
	if err != nil {
		p.t.Fatal(err)
	}
	digest := sign.DigestOf(payload)
	p.served["/v1/manifests/"+string(digest)] = p.seal(sign.TypeManifest, m, byRelease)
	return m, digest
}

func (p *pretend) container(old, target *slipstream.Manifest) []byte {
	p.t.Helper()
	var b bytes.Buffer
	err := delta.Encode(context.Background(), &b, old, target, func(f slipstream.File) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(p.contents[f.SHA256])), nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return b.Bytes()
}

func (p *pretend) state(change func(*slipstream.State), rollouts ...slipstream.Rollout) {
	now := time.Now()
	s := &slipstream.State{App: "shop", Channel: "production", Platform: "any", Epoch: 1, Issued: slipstream.At(now), Expires: slipstream.At(now.Add(time.Hour)),
		RootVersion: p.root.Version, Packages: map[string]slipstream.PackageState{"main": {Rollouts: rollouts}}}
	if change != nil {
		change(s)
	}
	p.served["/v1/apps/shop/channels/production/state/any"] = p.seal(sign.TypeState, s, byState)
}

// list serves the containers of a release.
func (p *pretend) list(digest slipstream.Digest, containers map[slipstream.Digest][]byte) {
	list := []slipstream.Container{}
	for from, b := range containers {
		c := slipstream.Container{From: from, Codec: delta.CodecChanged, Size: int64(len(b)), SHA256: sign.DigestOf(b)}
		if from == "" {
			c.Codec = delta.CodecFull
		}
		p.served["/v1/containers/"+string(c.SHA256)] = b
		list = append(list, c)
	}
	raw, err := json.Marshal(list)
	if err != nil {
		p.t.Fatal(err)
	}
	p.served["/v1/releases/"+string(digest)+"/containers"] = raw
}

func rolloutOf(id string, m *slipstream.Manifest, digest slipstream.Digest) slipstream.Rollout {
	return slipstream.Rollout{ID: id, Manifest: digest, Seq: m.Seq, Version: m.Version, Size: m.Size(), Runtime: m.Runtime, To: slipstream.FullShare}
}

// pretendServer offers two releases, with the full container of each and the one that leads from the first to the second.
func pretendServer(t *testing.T) (p *pretend, first, second slipstream.Digest) {
	p = &pretend{t: t, dir: t.TempDir(), served: map[string][]byte{}, contents: map[slipstream.Digest][]byte{}}
	role := func(n byte) sign.RoleKeys { return sign.RoleKeys{Keys: []ed25519.PublicKey{testSigner(n).Public()}} }
	var err error
	if p.root, err = sign.NewRoot("shop", time.Now().Add(time.Hour), role(byRoot), role(byRelease), role(byState)); err != nil {
		t.Fatal(err)
	}
	p.write("root.json", p.seal(sign.TypeRoot, p.root, byRoot))
	p.root.Version = 2
	p.served["/v1/apps/shop/roots/2"] = p.seal(sign.TypeRoot, p.root, byRoot)
	m1, first := p.release(1, map[string]string{"a.txt": "one", "b.txt": "stays"})
	m2, second := p.release(2, map[string]string{"a.txt": "two", "b.txt": "stays", "c.txt": "new"})
	p.state(nil, rolloutOf("r2", m2, second), rolloutOf("r1", m1, first))
	p.list(first, map[slipstream.Digest][]byte{"": p.container(nil, m1)})
	p.list(second, map[slipstream.Digest][]byte{"": p.container(nil, m2), first: p.container(m1, m2)})
	return p, first, second
}

// verify runs the command against the pretended server.
func (p *pretend) verify(args ...string) (code int, stdout, stderr string) {
	p.t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, there := p.served[r.URL.Path]
		if !there {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(b)
	}))
	defer server.Close()
	var out, errs bytes.Buffer
	args = append([]string{"verify", "--root", filepath.Join(p.dir, "root.json")}, args...)
	for i, a := range args {
		args[i] = strings.ReplaceAll(a, "SERVER", server.URL)
	}
	code = run(context.Background(), args, []string{"HOME=" + p.dir}, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

func TestVerifyServer(t *testing.T) {
	t.Parallel()
	p, first, second := pretendServer(t)
	code, out, errs := p.verify("--deep", "SERVER/")
	if code != exitOK || strings.Contains(out, "REFUSED") || strings.Contains(out, "not applied") {
		t.Fatalf("exit code %d\n%s%s", code, out, errs)
	}
	for _, want := range []string{
		"ok       root of shop, version 1",
		"ok       root of shop, version 2",
		"ok       state of shop/production for any, epoch 1",
		"ok       release " + second.Short() + " of shop/main, version v, seq 2: 3 files, 11 bytes, as the state names it",
		"ok       release " + first.Short(),
		"ok       files of release " + second.Short() + ": all 3 files are served as signed",
		"(full/1) of release " + second.Short(),
		"(changed/1) of release " + second.Short(),
		"gives the release",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("nothing is said of %q:\n%s", want, out)
		}
	}
}

func TestVerifyServerRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		damage func(p *pretend, first, second slipstream.Digest)
		want   string
	}{
		{"a root that its predecessor did not sign", func(p *pretend, _, _ slipstream.Digest) {
			p.root.Version = 3
			p.served["/v1/apps/shop/roots/3"] = p.seal(sign.TypeRoot, p.root, byRelease)
		}, "signature_invalid"},
		{"a root that is not the next one", func(p *pretend, _, _ slipstream.Digest) {
			p.served["/v1/apps/shop/roots/3"] = p.served["/v1/apps/shop/roots/2"]
		}, "root_version"},
		{"a state that names a root which is not served", func(p *pretend, _, _ slipstream.Digest) {
			p.state(func(s *slipstream.State) { s.RootVersion = 3 })
		}, "root_version: names root version 3"},
		{"an expired state", func(p *pretend, _, _ slipstream.Digest) {
			p.state(func(s *slipstream.State) {
				s.Issued, s.Expires = slipstream.At(time.Unix(1, 0)), slipstream.At(time.Unix(2, 0))
			})
		}, "expired_state"},
		{"the state of another channel", func(p *pretend, _, _ slipstream.Digest) {
			p.state(func(s *slipstream.State) { s.Channel = "beta" })
		}, "wrong_channel"},
		{"a state that is too large", func(p *pretend, _, _ slipstream.Digest) {
			const path = "/v1/apps/shop/channels/production/state/any"
			p.served[path] = append(p.served[path], bytes.Repeat([]byte(" "), slipstream.MaxStateBytes)...)
		}, "too_large"},
		{"a manifest that is missing", func(p *pretend, first, _ slipstream.Digest) {
			delete(p.served, "/v1/manifests/"+string(first))
		}, "manifest_mismatch: the state names it"},
		{"the manifest of another release", func(p *pretend, first, second slipstream.Digest) {
			p.served["/v1/manifests/"+string(first)] = p.served["/v1/manifests/"+string(second)]
		}, "manifest_mismatch"},
		{"a file with another content", func(p *pretend, _, _ slipstream.Digest) {
			p.served["/v1/blobs/"+string(sign.DigestOf([]byte("new")))] = []byte("old")
		}, "file c.txt: file_mismatch"},
		{"a file that is longer", func(p *pretend, _, _ slipstream.Digest) {
			p.served["/v1/blobs/"+string(sign.DigestOf([]byte("new")))] = []byte("new and more")
		}, "file c.txt: file_mismatch"},
		{"a file that is missing", func(p *pretend, _, _ slipstream.Digest) {
			delete(p.served, "/v1/blobs/"+string(sign.DigestOf([]byte("new"))))
		}, "file c.txt: file_mismatch"},
		{"a container of a wrong hash", func(p *pretend, _, _ slipstream.Digest) {
			for path := range p.served {
				if strings.HasPrefix(path, "/v1/containers/") {
					p.served[path] = append(p.served[path], 'x')
				}
			}
		}, "file_mismatch"},
		{"a container of another release", func(p *pretend, first, second slipstream.Digest) {
			p.served["/v1/releases/"+string(first)+"/containers"] = p.served["/v1/releases/"+string(second)+"/containers"]
		}, "container_invalid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, first, second := pretendServer(t)
			c.damage(p, first, second)
			code, out, errs := p.verify("--deep", "SERVER")
			if code != exitRefused {
				t.Errorf("exit code %d, want %d: %s", code, exitRefused, errs)
			}
			found := false
			for line := range strings.Lines(out) {
				found = found || strings.HasPrefix(line, "REFUSED") && strings.Contains(line, c.want)
			}
			if !found {
				t.Errorf("%q is not refused:\n%s", c.want, out)
			}
		})
	}
}

func TestVerifyServerThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	p, _, _ := pretendServer(t)
	code, _, errs := p.verify("http://127.0.0.1:1")
	if code != exitError || !strings.Contains(errs, "Try: is the address right") {
		t.Errorf("exit code %d: %s", code, errs)
	}
}

func TestVerifyContainer(t *testing.T) {
	t.Parallel()
	p, first, second := pretendServer(t)
	m1 := p.write("m1.json", p.served["/v1/manifests/"+string(first)])
	m2 := p.write("m2.json", p.served["/v1/manifests/"+string(second)])
	trust, err := sign.OpenRoot(p.seal(sign.TypeRoot, p.root, byRoot))
	if err != nil {
		t.Fatal(err)
	}
	old, _, err := trust.Manifest(p.served["/v1/manifests/"+string(first)])
	if err != nil {
		t.Fatal(err)
	}
	target, _, err := trust.Manifest(p.served["/v1/manifests/"+string(second)])
	if err != nil {
		t.Fatal(err)
	}
	full := p.write("full.slp", p.container(nil, target))
	changed := p.write("changed.slp", p.container(old, target))
	broken := p.write("broken.slp", p.container(nil, target)[:60])
	for _, c := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"full, with its manifest", []string{full, m2}, exitOK, "turns nothing into release " + second.Short()},
		{"changed, with both manifests", []string{changed, m1, m2}, exitOK, "turns release " + first.Short() + " into release " + second.Short()},
		{"changed, without its base", []string{changed, m2}, exitRefused, "container_invalid"},
		{"with the manifest of another release", []string{full, m1}, exitRefused, "container_invalid"},
		{"cut", []string{broken, m2}, exitRefused, "container_invalid"},
		{"without a manifest", []string{full}, exitError, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := p.verify(c.args...)
			if code != c.code || !strings.Contains(out, c.want) {
				t.Errorf("exit code %d, want %d and %q:\n%s%s", code, c.code, c.want, out, errs)
			}
		})
	}
}
