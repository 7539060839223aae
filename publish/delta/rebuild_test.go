package delta

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream"
)

var patchCodecs = []string{CodecRich, CodecRich64, CodecSimpleDeflate, CodecSimpleZstd, CodecSimpleBrotli}

type memoryContent struct{ *strings.Reader }

func (memoryContent) Close() error { return nil }

func (t tree) openAt(f slipstream.File) (Content, error) {
	return memoryContent{strings.NewReader(t[f.Path])}, nil
}

func encodeDeltas(t testing.TB, old, new tree, codecs ...string) []Delta {
	t.Helper()
	out, err := EncodeDeltas(t.Context(), codecs, old.manifest(), new.manifest(), old.open, new.open, DeltaOptions{})
	if err != nil {
		t.Fatal("encode:", err)
	}
	return out
}

func rebuild(ctx context.Context, container []byte, old, new tree) (tree, error) {
	sink := newSink(old, new.manifest())
	err := ApplyDelta(ctx, bytes.NewReader(container), base(old), new.manifest(), old.openAt, sink, ApplyLimits{Memory: 64 << 20})
	return sink.got, err
}

// prose is text that does not repeat itself much.
func prose(n int, seed uint64) string {
	r := rand.New(rand.NewPCG(seed, 1))
	var b strings.Builder
	for b.Len() < n {
		fmt.Fprintf(&b, "%s%d ", []string{"let ", "of(", "=>", "return ", "x.", "await "}[r.IntN(6)], r.IntN(1000))
	}
	return b.String()[:n]
}

func releases() (old, new tree) {
	a, b, c := prose(30_000, 1), prose(9000, 2), prose(4000, 3)
	old = tree{"app.js": a, "lib/util.js": b, "lib/old-name.css": c, "logo.svg": "<svg/>", "gone.txt": "bye", "empty": ""}
	new = tree{
		"app.js":           strings.Replace(a, "await", "wait", 1),   // changed
		"chunk-8f3a.js":    strings.Replace(b, "return", "throw", 1), // renamed and changed
		"lib/new-name.css": c,                                        // renamed
		"logo.svg":         "<svg/>",                                 // the same
		"more/copy.js":     strings.Replace(a, "await", "wait", 1),   // twice
		"more/empty-too":   "", "fresh.txt": "something new", "moved.js": a[20_000:] + b[:500],
	}
	return old, new
}

func TestChangedFilesAreRebuilt(t *testing.T) {
	t.Parallel()
	old, new := releases()
	for _, d := range encodeDeltas(t, old, new, patchCodecs...) {
		got, err := rebuild(t.Context(), d.Container, old, new)
		if err != nil {
			t.Errorf("%s: %v", d.Codec, err)
		}
		wantTree(t, got, new)
		if len(d.Container) > 250 {
			t.Errorf("%s takes %d bytes for a few small changes", d.Codec, len(d.Container))
		}
	}
}

func TestOneReaderAppliesAllCodecs(t *testing.T) {
	t.Parallel()
	old, new := releases()
	for _, c := range [][]byte{encode(t, old, new), encode(t, nil, new)} {
		got, err := rebuild(t.Context(), c, old, new)
		if err != nil {
			t.Fatal(err)
		}
		wantTree(t, got, new)
	}
}

func TestRandomTreesAreRebuilt(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(4, 4))
	for range 15 {
		old, new := randomTree(r), randomTree(r)
		for path, content := range old {
			if r.IntN(2) == 0 && len(content) > 2 {
				new[path] = content[1:] + "!"
			}
		}
		for _, d := range encodeDeltas(t, old, new, CodecRich, CodecSimpleZstd) {
			got, err := rebuild(t.Context(), d.Container, old, new)
			if err != nil {
				t.Fatalf("%s: %v", d.Codec, err)
			}
			wantTree(t, got, new)
		}
	}
}

func TestAPatchCostsLittleByItself(t *testing.T) {
	t.Parallel()
	old := tree{"app.js": prose(50_000, 7), "other.js": prose(1000, 8)}
	new := tree{"app.js": strings.Replace(old["app.js"], "await", "wait!", 1), "other.js": old["other.js"]}
	for _, d := range encodeDeltas(t, old, new, patchCodecs...) {
		if len(d.Container) > 64 {
			t.Errorf("%s: %d bytes", d.Codec, len(d.Container))
		}
	}
}

func TestContainersOfPatchesRefuse(t *testing.T) {
	t.Parallel()
	old, new := releases()
	other := tree{"app.js": "another"}
	for _, d := range encodeDeltas(t, old, new, CodecRich, CodecSimpleDeflate) {
		wrongBase := tree{}
		for p, c := range old {
			wrongBase[p] = strings.ToUpper(c)
		}
		for name, err := range map[string]error{
			"another base":            second(rebuild(t.Context(), d.Container, other, new)),
			"no base":                 second(rebuild(t.Context(), d.Container, nil, new)),
			"another release":         second(rebuild(t.Context(), d.Container, old, other)),
			"a cut container":         second(rebuild(t.Context(), d.Container[:len(d.Container)-1], old, new)),
			"a cut header":            second(rebuild(t.Context(), d.Container[:20], old, new)),
			"a longer container":      second(rebuild(t.Context(), append(slices.Clone(d.Container), 0), old, new)),
			"a codec of the future":   second(rebuild(t.Context(), append([]byte("SLPC\x02\x09"), d.Container[6:]...), old, new)),
			"a version of the future": second(rebuild(t.Context(), append([]byte("SLPC\x03\x02"), d.Container[6:]...), old, new)),
		} {
			if slipstream.ReasonOf(err, "") != slipstream.ReasonContainerInvalid {
				t.Errorf("%s, %s: %v", d.Codec, name, err)
			}
		}
		sink := newSink(old, new.manifest())
		err := ApplyDelta(t.Context(), bytes.NewReader(d.Container), old.manifest(), new.manifest(), wrongBase.openAt, sink, ApplyLimits{})
		if r := slipstream.ReasonOf(err, ""); r != slipstream.ReasonFileMismatch && r != slipstream.ReasonContainerInvalid {
			t.Errorf("%s over files that are not those of the base: %v", d.Codec, err)
		}
	}
}

func second(_ tree, err error) error { return err }

// noise is 1000 bytes that nothing makes smaller.
func noise(seed uint64) string {
	r := rand.New(rand.NewPCG(seed, seed))
	b := make([]byte, 1000)
	for i := range b {
		b[i] = byte(r.IntN(256))
	}
	return string(b)
}

// A reader that interprets its program gets the container of rich/1 where it is little work, and none where it is much.
func TestTheContainerForJavaScriptIsThatOfRich(t *testing.T) {
	t.Parallel()
	text := prose(600_000, 11)
	old := tree{"app.js": text}
	for name, c := range map[string]struct {
		new    tree
		exists bool
	}{
		"a small change": {tree{"app.js": strings.Replace(text, "await", "wait!", 40)}, true},
		"a large change": {tree{"app.js": text + prose(160_000, 12)}, false},
		"only noise":     {tree{"app.js": text, "new": noise(13)}, true},
	} {
		both := encodeDeltas(t, old, c.new, CodecRich, CodecRichJS)
		if exists := len(both) == 2; exists != c.exists {
			t.Fatalf("%s, %d decisions: there is one: %v", name, both[0].Stats.Decisions, exists)
		}
		alone := encodeDeltas(t, old, c.new, CodecRichJS)
		if !c.exists {
			if len(alone) != 0 {
				t.Errorf("%s: there is one when nobody asks for rich/1", name)
			}
			continue
		}
		if both[1].Codec != CodecRichJS || !bytes.Equal(both[0].Container, both[1].Container) || !bytes.Equal(both[0].Container, alone[0].Container) {
			t.Errorf("%s: it is not the container of rich/1", name)
		}
	}
}

func TestAReaderMayBoundDecisions(t *testing.T) {
	t.Parallel()
	text := prose(200_000, 14)
	old, new := tree{"app.js": text}, tree{"app.js": text + prose(20_000, 15)}
	d := encodeDeltas(t, old, new, CodecRich)[0]
	for most, wanted := range map[int64]slipstream.Reason{d.Stats.Decisions: "", d.Stats.Decisions / 2: slipstream.ReasonContainerInvalid} {
		sink := newSink(old, new.manifest())
		err := ApplyDelta(t.Context(), bytes.NewReader(d.Container), old.manifest(), new.manifest(), old.openAt, sink, ApplyLimits{Decisions: most})
		if got := slipstream.ReasonOf(err, ""); got != wanted {
			t.Errorf("with at most %d of %d decisions: %v", most, d.Stats.Decisions, err)
		}
	}
}

func TestErrorsAroundAPatchPassUnchanged(t *testing.T) {
	t.Parallel()
	old, new := releases()
	broken := errors.New("broken disk")
	c := encodeDeltas(t, old, new, CodecRich)[0].Container
	open := func(slipstream.File) (Content, error) { return nil, broken }
	sink := newSink(old, new.manifest())
	for name, err := range map[string]error{
		"base": ApplyDelta(t.Context(), bytes.NewReader(c), old.manifest(), new.manifest(), open, sink, ApplyLimits{}),
		"sink": ApplyDelta(t.Context(), bytes.NewReader(c), old.manifest(), new.manifest(), old.openAt, failing{broken}, ApplyLimits{}),
	} {
		if !errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := EncodeDeltas(t.Context(), []string{CodecFull}, old.manifest(), new.manifest(), old.open, new.open, DeltaOptions{}); !errors.Is(err, slipstream.ErrInvalid) {
		t.Errorf("a codec without a patch: %v", err)
	}
	liar := func(slipstream.File) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("no")), nil }
	if _, err := EncodeDeltas(t.Context(), []string{CodecRich}, old.manifest(), new.manifest(), liar, new.open, DeltaOptions{}); slipstream.ReasonOf(err, "") != slipstream.ReasonFileMismatch {
		t.Errorf("a base that is not the signed one: %v", err)
	}
}

// quiet drops what it is given, so that only the reader's own memory counts.
type quiet struct{ *memorySink }

func (q quiet) Create(f slipstream.File) (io.WriteCloser, error) { return dropped{}, nil }

type dropped struct{}

func (dropped) Write(p []byte) (int, error) { return len(p), nil }
func (dropped) Close() error                { return nil }

// What a reader allocates in total bounds what it holds; it must not grow with the files.
func TestMemoryDoesNotGrowWithTheFiles(t *testing.T) {
	big := prose(1<<20, 5)
	old := tree{"big.js": strings.Repeat(big, 4)}
	new := tree{"big.js": strings.Replace(old["big.js"], "return", "yield", 300)}
	for _, d := range encodeDeltas(t, old, new, CodecRich, CodecSimpleDeflate, CodecSimpleZstd, CodecSimpleBrotli) {
		most := uint64(8 << 20)
		if d.Codec == CodecRich {
			most = 20 << 20
		}
		om, nm := old.manifest(), new.manifest()
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		err := ApplyDelta(t.Context(), bytes.NewReader(d.Container), om, nm, old.openAt, quiet{newSink(old, nm)}, ApplyLimits{})
		runtime.ReadMemStats(&after)
		if err != nil {
			t.Fatal(err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > most {
			t.Errorf("%s: %d KiB are allocated in all", d.Codec, n>>10)
		}
	}
}

// wantGolden reads a container that was made before, or with -update makes it anew, and wants it to give new.
func wantGolden(t *testing.T, file string, old, new tree, codec string) []byte {
	t.Helper()
	name := filepath.Join("testdata", file)
	if *update {
		c := encodeDeltas(t, old, new, codec)[0].Container
		if err := os.WriteFile(name, []byte(hex.EncodeToString(c)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	c, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	got, err := rebuild(t.Context(), c, old, new)
	if err != nil {
		t.Fatal(err)
	}
	wantTree(t, got, new)
	return c
}

func TestGoldenPatchContainers(t *testing.T) {
	t.Parallel()
	old, new := releases()
	for _, codec := range []string{CodecRich, CodecSimpleDeflate} {
		wantGolden(t, strings.NewReplacer("/", "-", "+", "-").Replace(codec)+".hex", old, new, codec)
	}
}

func FuzzApplyDelta(f *testing.F) {
	old, new := releases()
	for _, d := range encodeDeltas(f, old, new, CodecRich, CodecSimpleZstd, CodecSimpleDeflate) {
		f.Add(d.Container[headerSize:])
	}
	head := patchHeader(codecPatch, old.manifest().Files, new.manifest().Files)
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := rebuild(t.Context(), append(slices.Clone(head), body...), old, new)
		if err == nil {
			wantTree(t, got, new)
		} else if r := slipstream.ReasonOf(err, ""); r != slipstream.ReasonContainerInvalid && r != slipstream.ReasonFileMismatch {
			t.Errorf("not a refusal: %v", err)
		}
	})
}
