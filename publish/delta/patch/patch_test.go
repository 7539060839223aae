package patch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish/delta/patch"
)

var everyWay = map[string]patch.Options{
	"auto":    {},
	"rich":    {Profile: patch.ProfileRich},
	"stored":  {Profile: patch.ProfileSimple, Streams: []string{patch.StreamStored}},
	"deflate": {Profile: patch.ProfileSimple, Streams: []string{patch.StreamDeflate}},
	"zstd":    {Profile: patch.ProfileSimple, Streams: []string{patch.StreamZstd}},
	"brotli":  {Profile: patch.ProfileSimple, Streams: []string{patch.StreamBrotli}},
}

func diff(t testing.TB, old, new []byte, o patch.Options) ([]byte, patch.Stats) {
	t.Helper()
	p, st, err := patch.Diff(t.Context(), old, new, o)
	if err != nil {
		t.Fatalf("diff: %v", err)
	}
	if st.Size != len(p) {
		t.Errorf("the patch has %d bytes, told are %d", len(p), st.Size)
	}
	return p, st
}

func apply(ctx context.Context, old, p []byte, newSize int) ([]byte, error) {
	var out bytes.Buffer
	err := patch.Apply(ctx, bytes.NewReader(old), int64(len(old)), bytes.NewReader(p), &out, patch.Limits{NewSize: int64(newSize)})
	return out.Bytes(), err
}

// there and back again: new comes out of old and the patch.
func thereAndBack(t testing.TB, old, new []byte, o patch.Options) []byte {
	t.Helper()
	p, _ := diff(t, old, new, o)
	got, err := apply(t.Context(), old, p, len(new))
	if err != nil {
		t.Fatalf("apply: %v", err)
	}
	if !bytes.Equal(got, new) {
		t.Fatalf("%d bytes came out as %d others", len(new), len(got))
	}
	return p
}

func noise(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 9))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// sources is real text: the code of this folder and the one above.
func sources(t testing.TB) []byte {
	t.Helper()
	var out []byte
	for _, pattern := range []string{"*.go", "../*.go", "../rich/*.go", "../suffix/*.go"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("no sources in %s: %v", pattern, err)
		}
		for _, n := range names {
			b, err := os.ReadFile(n)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, b...)
		}
	}
	return out
}

func TestEveryPairComesBackInEveryWay(t *testing.T) {
	t.Parallel()
	text := sources(t)
	pairs := map[string][2][]byte{
		"nothing from nothing":   {nil, nil},
		"nothing from something": {text[:1000], nil},
		"something from nothing": {nil, text[:3000]},
		"one byte":               {[]byte("a"), []byte("b")},
		"one byte more":          {text[:999], text[:1000]},
		"the same":               {text[:50000], text[:50000]},
		"zeros":                  {make([]byte, 100_000), make([]byte, 123_456)},
		"zeros from text":        {text[:5000], make([]byte, 70_000)},
		"noise":                  {noise(30_000, 1), noise(30_000, 2)},
		"noise in front":         {text[:40_000], append(noise(5000, 3), text[:40_000]...)},
		"halves swapped":         {text[:60_000], append(slices.Clone(text[30_000:60_000]), text[:30_000]...)},
		"backwards":              {text[:20_000], reversed(text[:20_000])},
		"repeated":               {text[:3000], bytes.Repeat(text[:3000], 40)},
		"saw of many lengths":    {saw(60_000, 250), saw(60_000, 251)},
	}
	for name, p := range pairs {
		for way, o := range everyWay {
			t.Run(name+", "+way, func(t *testing.T) {
				t.Parallel()
				thereAndBack(t, p[0], p[1], o)
			})
		}
	}
}

func reversed(b []byte) []byte {
	b = slices.Clone(b)
	slices.Reverse(b)
	return b
}

func saw(n, period int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i % period)
	}
	return b
}

// Edits of real text: what releases are made of.
func TestRandomEditsComeBack(t *testing.T) {
	t.Parallel()
	text := sources(t)
	for seed := range uint64(24) {
		for _, way := range []string{"rich", "zstd"} {
			t.Run(fmt.Sprint(way, " ", seed), func(t *testing.T) {
				t.Parallel()
				r := rand.New(rand.NewPCG(seed, 5))
				old := text[:20_000+r.IntN(60_000)]
				p := thereAndBack(t, old, edited(r, old, text), everyWay[way])
				if len(p) > len(old)/2 {
					t.Errorf("a few edits of %d bytes take %d", len(old), len(p))
				}
			})
		}
	}
}

func edited(r *rand.Rand, old, other []byte) []byte {
	b := slices.Clone(old)
	for range 1 + r.IntN(12) {
		i := r.IntN(len(b))
		n := min(1+r.IntN(1<<r.IntN(12)), len(b)-i)
		switch r.IntN(6) {
		case 0:
			b = slices.Delete(b, i, i+n)
		case 1:
			k := r.IntN(len(other) - n)
			b = slices.Insert(b, i, other[k:k+n]...)
		case 2:
			piece := slices.Clone(b[i : i+n])
			b = slices.Delete(b, i, i+n)
			b = slices.Insert(b, r.IntN(len(b)+1), piece...)
		case 3:
			j := r.IntN(len(b))
			n = min(n, len(b)-j)
			for k := range n {
				b[i+k], b[j+k] = b[j+k], b[i+k]
			}
		case 4:
			b = bytes.ReplaceAll(b, []byte("err"), []byte("mishap"))
		case 5:
			b[i]++
		}
		if len(b) == 0 {
			b = []byte("x")
		}
	}
	return b
}

func TestSmallChangesTakeFewBytes(t *testing.T) {
	t.Parallel()
	old := sources(t)
	line := bytes.Replace(old, []byte("const gain = 8"), []byte("const gain = 9"), 1)
	renamed := bytes.ReplaceAll(old, []byte("old"), []byte("was"))
	moved := append(slices.Clone(old[40_000:]), old[:40_000]...)
	for _, c := range []struct {
		name string
		new  []byte
		most int
	}{
		{"the same", old, 8}, {"one line", line, 24}, {"a block moved", moved, 32}, {"a name everywhere", renamed, 700},
	} {
		if p := thereAndBack(t, old, c.new, patch.Options{}); len(p) > c.most {
			t.Errorf("%s: %d bytes, at most %d are due", c.name, len(p), c.most)
		}
	}
}

func TestTheSameInputGivesTheSamePatch(t *testing.T) {
	t.Parallel()
	old := sources(t)
	new := edited(rand.New(rand.NewPCG(3, 3)), old, old)
	one, _ := diff(t, old, new, patch.Options{Workers: 1})
	for range 3 {
		if many, _ := diff(t, old, new, patch.Options{Workers: 8}); !bytes.Equal(one, many) {
			t.Fatal("another patch came out")
		}
	}
}

func TestAutoIsNeverLargerThanAnyWay(t *testing.T) {
	t.Parallel()
	old := sources(t)[:50_000]
	for _, new := range [][]byte{edited(rand.New(rand.NewPCG(1, 3)), old, old), noise(3000, 4), old[:100], make([]byte, 9000)} {
		best, st := diff(t, old, new, patch.Options{})
		for way, o := range everyWay {
			if p, _ := diff(t, old, new, o); len(p) < len(best) {
				t.Errorf("%s gives %d bytes, auto %s gives %d", way, len(p), st.Profile, len(best))
			}
		}
	}
}

func TestAReadersTimeIsNotSpentOnNothing(t *testing.T) {
	picture := make([]byte, 160<<10)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range picture {
		picture[i] = byte(r.Uint32())
	}
	old := []byte(strings.Repeat("let total = price * amount;\n", 200))
	new := slices.Concat(bytes.ReplaceAll(old, []byte("price"), []byte("cost")), picture)
	_, st := diff(t, old, new, patch.Options{})
	if st.Profile != patch.ProfileSimple {
		t.Errorf("%s was taken, which takes %d decisions to apply, for %v", st.Profile, st.Decisions, st.Candidates)
	}
}

func TestTooManyDecisionsAreLeftToSimple(t *testing.T) {
	t.Parallel()
	old, new := noise(20_000, 1), sources(t)[:40_000]
	p, st := diff(t, old, new, patch.Options{MaxDecisions: 1000})
	if st.Profile != patch.ProfileSimple || st.Candidates[0].Reason == "" {
		t.Errorf("the patch is %s, the reason against rich %q", st.Profile, st.Candidates[0].Reason)
	}
	if _, _, err := patch.Diff(t.Context(), old, new, patch.Options{MaxDecisions: 1000, Profile: patch.ProfileRich}); err == nil {
		t.Error("rich alone was made beyond its bound")
	}
	if got, err := apply(t.Context(), old, p, len(new)); err != nil || !bytes.Equal(got, new) {
		t.Errorf("apply: %v", err)
	}
}

func TestInspectAccountsForEveryByte(t *testing.T) {
	t.Parallel()
	old := sources(t)
	new := edited(rand.New(rand.NewPCG(8, 3)), old, old)
	ends := []int64{1000, 1000, 20_000, int64(len(new))}
	for way, o := range everyWay {
		p, _ := diff(t, old, new, o)
		in, err := patch.Inspect(t.Context(), bytes.NewReader(old), int64(len(old)), bytes.NewReader(p), ends, patch.Limits{NewSize: int64(len(new))})
		if err != nil {
			t.Fatal(err)
		}
		if in.Size != int64(len(p)) || len(in.Parts) != len(ends) {
			t.Errorf("%s: size %d of %d, %d parts", way, in.Size, len(p), len(in.Parts))
		}
		last := int64(0)
		for i, part := range in.Parts {
			if n := part.Covered + part.Changed + part.NewText; n != ends[i]-last {
				t.Errorf("%s: part %d has %d bytes of %d", way, i, n, ends[i]-last)
			}
			last = ends[i]
		}
		if bits := in.CoverBits + in.PlaceBits + in.ByteBits + in.TextBits; o.Profile == patch.ProfileRich && (bits/8 > in.Size || bits/8+40 < in.Size) {
			t.Errorf("%d bits are told of %d bytes", bits, in.Size)
		}
	}
}

func TestWrongOptionsAreRefused(t *testing.T) {
	t.Parallel()
	for _, o := range []patch.Options{{Profile: "poor"}, {Streams: []string{"lzma"}}, {Memory: 1}, {Memory: 1 << 30}} {
		if _, _, err := patch.Diff(t.Context(), nil, nil, o); !errors.Is(err, slipstream.ErrInvalid) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	err := patch.CheckSizes(1<<31, 5)
	if !errors.Is(err, slipstream.ErrInvalid) || !strings.Contains(slipstream.HintOf(err), "split") {
		t.Errorf("2 GiB: %v, hint %q", err, slipstream.HintOf(err))
	}
}

func TestWorkEndsWithTheContext(t *testing.T) {
	t.Parallel()
	old := sources(t)
	new := edited(rand.New(rand.NewPCG(8, 3)), old, old)
	p, _ := diff(t, old, new, patch.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := patch.Diff(ctx, old, new, patch.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("diff: %v", err)
	}
	if _, err := apply(ctx, old, p, len(new)); !errors.Is(err, context.Canceled) {
		t.Errorf("apply: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error)          { return 0, f.err }
func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }
func (f failing) Write([]byte) (int, error)         { return 0, f.err }

// An error that is not the patch's fault must not be called a bad patch.
func TestErrorsOfOthersComeBackAsTheyAre(t *testing.T) {
	t.Parallel()
	old := sources(t)
	new := append(slices.Clone(old[100:]), "the end"...)
	broken := errors.New("broken disk")
	for way, o := range everyWay {
		p, _ := diff(t, old, new, o)
		l := patch.Limits{NewSize: int64(len(new))}
		for what, err := range map[string]error{
			"old":   patch.Apply(t.Context(), failing{broken}, int64(len(old)), bytes.NewReader(p), io.Discard, l),
			"patch": patch.Apply(t.Context(), bytes.NewReader(old), int64(len(old)), failing{broken}, io.Discard, l),
			"new":   patch.Apply(t.Context(), bytes.NewReader(old), int64(len(old)), bytes.NewReader(p), failing{broken}, l),
			"short": patch.Apply(t.Context(), bytes.NewReader(old[:40_000]), int64(len(old)), bytes.NewReader(p), io.Discard, l),
		} {
			if what == "short" {
				if !errors.Is(err, io.ErrUnexpectedEOF) || slipstream.ReasonOf(err, "") != "" {
					t.Errorf("%s, %s: %v", way, what, err)
				}
			} else if !errors.Is(err, broken) || slipstream.ReasonOf(err, "") != "" {
				t.Errorf("%s, %s: %v", way, what, err)
			}
		}
	}
}
