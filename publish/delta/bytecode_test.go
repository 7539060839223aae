package delta

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish/delta/hermes"
	"github.com/slipstream-ota/slipstream/publish/delta/patch"
)

func bytecodeFile(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("hermes", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// bytecodeReleases have a bundle that was compiled anew, one under a new name, and files that are no bytecode.
func bytecodeReleases(t testing.TB) (old, new tree) {
	one, two := bytecodeFile(t, "one.hbc"), bytecodeFile(t, "two.hbc")
	old = tree{"index.hbc": one, "legal.txt": prose(5000, 1), "z/debug.hbc": bytecodeFile(t, "debug.hbc")}
	new = tree{"index.hbc": two, "legal.txt": prose(5001, 1), "z/debug-4711.hbc": one, "z/more.js": prose(300, 2)}
	return old, new
}

func TestBytecodeTravelsRewritten(t *testing.T) {
	t.Parallel()
	old, new := bytecodeReleases(t)
	made := encodeDeltas(t, old, new, CodecRich, CodecHermes, CodecHermes64)
	if len(made) != 2 || made[0].Codec != CodecRich || made[1].Codec != CodecHermes {
		t.Fatalf("made %d containers, of which the one with more memory is no other", len(made))
	}
	plain, rewritten := len(made[0].Container), len(made[1].Container)
	if rewritten*2 > plain {
		t.Errorf("%d bytes plain, %d rewritten", plain, rewritten)
	}
	for _, d := range made {
		got, err := rebuild(t.Context(), d.Container, old, new)
		if err != nil {
			t.Fatalf("%s: %v", d.Codec, err)
		}
		wantTree(t, got, new)
	}
}

func TestSimplePatchesOverRewrittenBytecode(t *testing.T) {
	t.Parallel()
	old, new := bytecodeReleases(t)
	made := encodeDeltas(t, old, new, CodecSimpleZstd, CodecSimpleHermes, CodecSimpleHermes64, CodecRich)
	if len(made) != 3 || made[0].Codec != CodecSimpleZstd || made[1].Codec != CodecSimpleHermes || made[2].Codec != CodecRich {
		t.Fatalf("made %d containers, of which the one with more memory is no other", len(made))
	}
	plain, rewritten := made[0].Container, made[1].Container
	if len(rewritten)*3 > len(plain)*2 || made[1].Stats.Profile != patch.ProfileSimple {
		t.Errorf("%d bytes plain, %d rewritten with profile %s", len(plain), len(rewritten), made[1].Stats.Profile)
	}
	if alone := encodeDeltas(t, old, new, CodecSimpleHermes); len(alone) != 1 || !bytes.Equal(alone[0].Container, rewritten) {
		t.Error("what else is asked for changes the container")
	}
	got, err := rebuild(t.Context(), rewritten, old, new)
	if err != nil {
		t.Fatal(err)
	}
	wantTree(t, got, new)
}

// A reader in JavaScript need not compute SHA-1 for it.
func TestSimplePatchesCarryTheFootersOfBytecode(t *testing.T) {
	t.Parallel()
	old, new := tree{"index.hbc": bytecodeFile(t, "one.hbc")}, tree{"index.hbc": bytecodeFile(t, "two.hbc")}
	c := encodeDeltas(t, old, new, CodecSimpleHermes)[0].Container
	base, _ := hermes.Base([]byte(old["index.hbc"]))
	var got bytes.Buffer
	err := patch.Apply(t.Context(), bytes.NewReader(base), int64(len(base)), bytes.NewReader(c[headerSize+3:]), &got,
		patch.Limits{NewSize: int64(len(new["index.hbc"]))})
	if err != nil {
		t.Fatal(err)
	}
	if want := new["index.hbc"]; got.String()[got.Len()-footerSize:] != want[len(want)-footerSize:] {
		t.Error("the footer is another one")
	}
}

func TestSeveralFilesOfBytecode(t *testing.T) {
	t.Parallel()
	one, two, debug := bytecodeFile(t, "one.hbc"), bytecodeFile(t, "two.hbc"), bytecodeFile(t, "debug.hbc")
	old := tree{"a.hbc": one, "b.hbc": debug, "c.js": prose(3000, 3)}
	new := tree{"a.hbc": two, "b.hbc": bytecodeFile(t, "two-based.hbc"), "c.js": prose(3001, 3), "d.hbc": "no bytecode", "empty": ""}
	for _, d := range encodeDeltas(t, old, new, CodecHermes) {
		if d.Container[5] != codecRewritten {
			t.Error("nothing is rewritten")
		}
		got, err := rebuild(t.Context(), d.Container, old, new)
		if err != nil {
			t.Fatal(err)
		}
		wantTree(t, got, new)
	}
}

func TestACodecForBytecodeIsLeftOutWhenItIsNoUse(t *testing.T) {
	t.Parallel()
	old, new := releases()
	if made := encodeDeltas(t, old, new, CodecHermes, CodecRich, CodecHermes64); len(made) != 1 || made[0].Codec != CodecRich {
		t.Errorf("made %d containers, one is due", len(made))
	}
	if made := encodeDeltas(t, old, new, CodecSimpleHermes64, CodecSimpleHermes, CodecSimpleZstd); len(made) != 1 || made[0].Codec != CodecSimpleZstd {
		t.Errorf("made %d simple containers, one is due", len(made))
	}
	for _, c := range []string{CodecHermes, CodecSimpleHermes} {
		made := encodeDeltas(t, old, new, c, CodecSimpleDeflate)
		if len(made) != 2 || made[0].Codec != c {
			t.Fatalf("who asks for no other codec like %s must get one", c)
		}
		if got, err := rebuild(t.Context(), made[0].Container, old, new); err != nil {
			t.Error(err)
		} else {
			wantTree(t, got, new)
		}
	}
}

// A change of one byte leaves nothing to save that is worth the time to take the rewriting back.
func TestNextToNoChangeOfBytecodeIsNotRewritten(t *testing.T) {
	t.Parallel()
	compiled := func(last byte) string { // as large as a program is, by bytes that nothing in the file names
		b := []byte(bytecodeFile(t, "one.hbc"))
		b = append(b[:len(b)-footerSize], make([]byte, 1<<20)...)
		b[len(b)-1] = last
		binary.LittleEndian.PutUint32(b[32:], uint32(len(b)+footerSize))
		sum := sha1.Sum(b)
		return string(append(b, sum[:]...))
	}
	old, new := tree{"index.hbc": compiled(0)}, tree{"index.hbc": compiled(1)}
	if _, ok := hermes.Rewrite([]byte(old["index.hbc"]), []byte(new["index.hbc"])); !ok {
		t.Fatal("it cannot be rewritten at all")
	}
	for _, c := range [][]string{{CodecRich, CodecHermes}, {CodecSimpleHermes, CodecSimpleZstd}} {
		made := encodeDeltas(t, old, new, c...)
		if len(made) != 1 || made[0].Container[5] != codecPatch {
			t.Errorf("of %v %d are made", c, len(made))
		}
	}
}

func TestBytecodeKeepsToItsMemory(t *testing.T) {
	t.Parallel()
	old, new := bytecodeReleases(t)
	c := encodeDeltas(t, old, new, CodecHermes)[0].Container
	for _, memory := range []int{1, 50_000, 100_000} {
		sink := newSink(old, new.manifest())
		err := ApplyDelta(t.Context(), bytes.NewReader(c), old.manifest(), new.manifest(), old.openAt, sink, ApplyLimits{Memory: memory})
		if slipstream.ReasonOf(err, "") != slipstream.ReasonContainerInvalid {
			t.Errorf("in %d bytes: %v", memory, err)
		}
	}
	large := []slipstream.File{{Path: "a.hbc", Size: 40 << 20}, {Path: "b.hbc", Size: 1 << 20}}
	w := &rewriter{old: large, carried: large, pairs: []rewrite{{0, 0}, {1, 1}, {1, 0}}}
	if got := w.within(patch.Options{Memory: 16 << 20}); !slices.Equal(got, []rewrite{{1, 1}}) {
		t.Errorf("within 16 MiB %v are rewritten", got)
	}
	if got := w.within(patch.Options{Memory: 16 << 20, Profile: patch.ProfileSimple}); !slices.Equal(got, []rewrite{{1, 1}}) {
		t.Errorf("within 16 MiB without tables %v are rewritten", got)
	}
	four := []slipstream.File{{Path: "a.hbc", Size: 4 << 20}}
	for less, want := range map[int64]int{0: 0, 1: 1} {
		four[0].Size -= less
		w := &rewriter{old: four, carried: four, pairs: []rewrite{{0, 0}}}
		if got := w.within(patch.Options{Memory: 16 << 20, Profile: patch.ProfileSimple}); len(got) != want {
			t.Errorf("of %d bytes %v are rewritten", four[0].Size, got)
		}
		four[0].Size += less
	}
	if got := w.within(patch.Options{Memory: 256 << 20}); len(got) != 3 {
		t.Errorf("within 256 MiB %v are rewritten", got)
	}
}

func TestHostileListsOfRewrittenFiles(t *testing.T) {
	t.Parallel()
	old, new := bytecodeReleases(t)
	c := encodeDeltas(t, old, new, CodecHermes)[0].Container
	list := func(numbers ...uint64) []byte {
		b := slices.Clone(c[:headerSize])
		for _, n := range numbers {
			b = binary.AppendUvarint(b, n)
		}
		return append(b, c[headerSize+3:]...)
	}
	if good := list(1, 0, 0); !bytes.Equal(good, c) {
		t.Fatalf("the good one is %x", c[:headerSize+6])
	}
	for name, b := range map[string][]byte{
		"nothing":                 list(0),
		"more than is carried":    list(9, 0, 0),
		"2^63 files":              list(1<<63, 0, 0),
		"an old file beyond":      list(1, 0, 3),
		"an old file far beyond":  list(1, 0, 1<<63),
		"a new file beyond":       list(1, 3, 0),
		"a new file far beyond":   list(1, 1<<63, 0),
		"an old file that is not": list(1, 0, 1),
		"a new file that is not":  list(1, 1, 0),
		"another old file":        list(1, 0, 2),
		"one more":                list(2, 0, 0, 0, 0),
		"more than once":          list(2, 0, 0, 1<<64-1, 0),
		"cut in the list":         c[:headerSize+1],
		"cut behind the list":     c[:headerSize+3],
		"said to be plain":        append(append(slices.Clone(c[:5]), codecPatch), c[6:]...),
	} {
		if _, err := rebuild(t.Context(), b, old, new); err == nil {
			t.Errorf("%s: accepted", name)
		} else if r := slipstream.ReasonOf(err, ""); r != slipstream.ReasonContainerInvalid && r != slipstream.ReasonFileMismatch {
			t.Errorf("%s: %v", name, err)
		}
	}
	damagedBase := tree{"index.hbc": strings.Repeat("x", len(old["index.hbc"])), "legal.txt": old["legal.txt"], "z/debug.hbc": old["z/debug.hbc"]}
	sink := newSink(old, new.manifest())
	err := ApplyDelta(t.Context(), bytes.NewReader(c), old.manifest(), new.manifest(), damagedBase.openAt, sink, ApplyLimits{})
	if slipstream.ReasonOf(err, "") != slipstream.ReasonContainerInvalid {
		t.Errorf("over a base that is no bytecode any more: %v", err)
	}
}

// What was made before is understood for ever.
func TestGoldenBytecodeContainer(t *testing.T) {
	t.Parallel()
	old, new := bytecodeReleases(t)
	for codec, file := range map[string]string{CodecHermes: "rich-1-hbc.hex", CodecSimpleHermes: "simple-1-zstd-hbc.hex"} {
		c := wantGolden(t, file, old, new, codec)
		if again := encodeDeltas(t, old, new, codec)[0].Container; !bytes.Equal(again, c) {
			t.Errorf("the writer of %s makes other bytes", codec)
		}
	}
}

func FuzzApplyRewritten(f *testing.F) {
	one, two := bytecodeFile(f, "one.hbc"), bytecodeFile(f, "two.hbc")
	old, new := tree{"index.hbc": one}, tree{"index.hbc": two}
	f.Add(encodeDeltas(f, old, new, CodecHermes)[0].Container[headerSize:])
	f.Add(encodeDeltas(f, old, new, CodecSimpleHermes)[0].Container[headerSize:])
	head := patchHeader(codecRewritten, old.manifest().Files, new.manifest().Files)
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := rebuild(t.Context(), append(slices.Clone(head), body...), old, new)
		if err == nil {
			wantTree(t, got, new)
		} else if r := slipstream.ReasonOf(err, ""); r != slipstream.ReasonContainerInvalid && r != slipstream.ReasonFileMismatch {
			t.Errorf("not a refusal: %v", err)
		}
	})
}
