package publish

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob/mem"
	"github.com/slipstream-ota/slipstream/publish/delta"
	"github.com/slipstream-ota/slipstream/sign"
)

// stored puts the contents of files into blobs and makes a release of them.
func stored(t *testing.T, blobs *mem.Store, files map[string]string) *slipstream.Release {
	t.Helper()
	m := manifestOf(t, files)
	for _, f := range m.Files {
		if err := blobs.Put(t.Context(), f.SHA256, f.Size, strings.NewReader(files[f.Path])); err != nil {
			t.Fatal(err)
		}
	}
	payload, err := sign.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return &slipstream.Release{Digest: sign.DigestOf(payload), Manifest: m}
}

func noise(seed uint64, n int) string {
	r := rand.New(rand.NewPCG(seed, seed))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.IntN(256))
	}
	return string(b)
}

func TestBuildContainers(t *testing.T) {
	blobs := mem.New()
	v1 := stored(t, blobs, map[string]string{"app.js": "one", "image": noise(1, 50_000), "old": "x"})
	v2 := stored(t, blobs, map[string]string{"app.js": "two", "image": noise(1, 50_000), "old": "x"})
	other := stored(t, blobs, map[string]string{"nothing": "alike"})
	v3 := stored(t, blobs, map[string]string{"app.js": "three", "img/image": noise(1, 50_000), "new": "y"})
	temp := t.TempDir()
	var told []slipstream.Container
	put := func(_ context.Context, c slipstream.Container) error {
		if _, err := blobs.Stat(t.Context(), c.SHA256); err != nil {
			t.Error("told before its bytes are stored:", err)
		}
		told = append(told, c)
		return nil
	}
	var full int64
	var got []slipstream.Container
	for _, base := range []*slipstream.Release{nil, v2, v1, other} {
		made, err := BuildContainers(t.Context(), blobs, v3, base, ContainerOptions{TempDir: temp, Full: full, Put: put})
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, made...)
		full = got[0].Size
	}
	byFrom := map[slipstream.Digest][]string{}
	for _, c := range got {
		byFrom[c.From] = append(byFrom[c.From], c.Codec)
		if c.From != "" && (c.Size > 200 || c.Size >= full) {
			t.Errorf("%s has %d bytes", c.Codec, c.Size)
		}
	}
	if len(told) != len(got) || got[0].Codec != delta.CodecFull || got[0].Size < 50_000 {
		t.Fatalf("got %+v, told of %d", got, len(told))
	}
	all := []string{delta.CodecChanged, delta.CodecRich, delta.CodecRichJS, delta.CodecSimpleZstd}
	if !slices.Equal(byFrom[v2.Digest], all) || !slices.Equal(byFrom[v1.Digest], all) || byFrom[other.Digest] != nil {
		t.Fatalf("got %v", byFrom)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	bases := map[slipstream.Digest]*slipstream.Manifest{"": nil, v2.Digest: v2.Manifest, v1.Digest: v1.Manifest}
	for _, c := range got {
		o, err := blobs.Open(t.Context(), c.SHA256)
		if err != nil || o.Size() != c.Size {
			t.Fatal(err)
		}
		proof := newProof(v3.Manifest)
		from := (&contents{builder: &builder{blobs: blobs}, ctx: t.Context(), known: map[slipstream.Digest][]byte{}}).open
		if err := delta.ApplyDelta(t.Context(), o, bases[c.From], v3.Manifest, from, proof, delta.ApplyLimits{}); err != nil || len(proof.due) != 0 {
			t.Errorf("%s from %q: %v", c.Codec, c.From.Short(), err)
		}
	}
}

func TestBuildingSaysWhereItIs(t *testing.T) {
	blobs := mem.New()
	text := noise(3, 30_000)
	v1 := stored(t, blobs, map[string]string{"app.js": "one" + text, "image": noise(1, 50_000)})
	v2 := stored(t, blobs, map[string]string{"app.js": "two" + text, "image": noise(1, 50_000)})
	var stages []string
	options := ContainerOptions{
		TempDir: t.TempDir(),
		Stage:   func(name string) { stages = append(stages, name) },
		Progress: func(done, total int64) {
			if len(stages) == 0 || done < 0 || done > total || strings.HasPrefix(stages[len(stages)-1], StagePatch) && total > v2.Manifest.Size() {
				t.Errorf("%d of %d in %v", done, total, stages)
			}
		},
	}
	if _, err := BuildContainers(t.Context(), blobs, v2, nil, options); err != nil {
		t.Fatal(err)
	}
	if want := []string{StageFull}; !slices.Equal(stages, want) {
		t.Errorf("the full container: %v", stages)
	}
	stages = nil
	if _, err := BuildContainers(t.Context(), blobs, v2, v1, options); err != nil {
		t.Fatal(err)
	}
	if want := []string{StageChanged, StageSearch, StagePatch + " 1", StagePatch + " 2", StageProve}; !slices.Equal(stages, want) {
		t.Errorf("from a base: %v", stages)
	}
}

func TestBuildContainersStops(t *testing.T) {
	blobs := mem.New()
	v1 := stored(t, blobs, map[string]string{"a": "one"})
	v2 := stored(t, blobs, map[string]string{"a": "two"})
	t.Run("at an error of put", func(t *testing.T) {
		full := errors.New("full")
		o := ContainerOptions{Put: func(context.Context, slipstream.Container) error { return full }}
		if _, err := BuildContainers(t.Context(), blobs, v2, nil, o); !errors.Is(err, full) {
			t.Error(err)
		}
	})
	t.Run("when a blob is missing", func(t *testing.T) {
		if err := blobs.Delete(t.Context(), v2.Manifest.Files[0].SHA256); err != nil {
			t.Fatal(err)
		}
		if _, err := BuildContainers(t.Context(), blobs, v2, v1, ContainerOptions{}); !errors.Is(err, slipstream.ErrNotFound) {
			t.Error(err)
		}
	})
	t.Run("when there is no room to spool", func(t *testing.T) {
		if _, err := BuildContainers(t.Context(), blobs, v1, nil, ContainerOptions{TempDir: "/nonexistent"}); !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	})
}

func TestTheProofMissesNothing(t *testing.T) {
	m := manifestOf(t, map[string]string{"a": "1", "b": "2"})
	p := newProof(m)
	if err := p.Keep(m.Files[0], m.Files[0]); err != nil {
		t.Error(err)
	}
	if err := p.Keep(m.Files[0], m.Files[0]); err == nil {
		t.Error("a file may come twice")
	}
	if _, err := p.Create(slipstream.File{Path: "c"}); err == nil {
		t.Error("a file may come that is not of the release")
	}
	if len(p.due) != 1 {
		t.Errorf("%d files are due", len(p.due))
	}
}

func TestLimitWriterEndsAtTheLimit(t *testing.T) {
	var b bytes.Buffer
	w := &limitWriter{w: &b, left: 10}
	n, err := io.Copy(w, strings.NewReader("123456789"))
	if n != 9 || err != nil {
		t.Error(n, err)
	}
	if _, err := w.Write([]byte("0")); err == nil {
		t.Error("as large as the full container is not smaller")
	}
}
