package patch_test

import (
	"bytes"
	"encoding/hex"
	"flag"
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

var update = flag.Bool("update", false, "write the golden files")

// bounded fails a test that writes more than the signed size.
type bounded struct {
	t    testing.TB
	left int
	out  []byte
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		b.t.Error("more was written than signed")
	}
	b.out = append(b.out, p...)
	return len(p), nil
}

// applyHostile applies what may be anything. An error must be a refusal.
func applyHostile(t testing.TB, old, p []byte, newSize int) ([]byte, error) {
	t.Helper()
	w := &bounded{t: t, left: newSize}
	err := patch.Apply(t.Context(), bytes.NewReader(old), int64(len(old)), bytes.NewReader(p), w, patch.Limits{NewSize: int64(newSize)})
	if err != nil && slipstream.ReasonOf(err, "") != slipstream.ReasonContainerInvalid {
		t.Errorf("not a refusal: %v", err)
	}
	return w.out, err
}

func material(t testing.TB) (old, new []byte) {
	old = sources(t)[:20_000]
	return old, edited(rand.New(rand.NewPCG(5, 3)), old, old)
}

func TestDamagedPatchesAreRefused(t *testing.T) {
	t.Parallel()
	old, new := material(t)
	for way, o := range everyWay {
		p, _ := diff(t, old, new, o)
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			step := max(1, len(p)/60)
			for n := 0; n < len(p); n += step {
				if _, err := applyHostile(t, old, p[:n], len(new)); err == nil {
					t.Errorf("cut to %d of %d bytes it passes", n, len(p))
				}
			}
			if _, err := applyHostile(t, old, append(slices.Clone(p), 0), len(new)); err == nil {
				t.Error("with a byte more it passes")
			}
			for i := 0; i < len(p); i += step {
				q := slices.Clone(p)
				q[i] ^= 1 << (i & 7)
				if got, err := applyHostile(t, old, q, len(new)); err == nil && len(got) != len(new) {
					t.Errorf("with byte %d turned it makes %d bytes", i, len(got))
				}
			}
		})
	}
}

func TestBytesTurnedInRichShow(t *testing.T) {
	t.Parallel()
	old, new := material(t)
	p, _ := diff(t, old, new, everyWay["rich"])
	passed := 0
	for i := 4; i < len(p); i++ {
		q := slices.Clone(p)
		q[i] ^= 0x10
		if got, err := applyHostile(t, old, q, len(new)); err == nil && bytes.Equal(got, new) {
			t.Errorf("byte %d has no meaning", i)
		} else if err == nil {
			passed++
		}
	}
	if passed > len(p)/20 {
		t.Errorf("%d of %d turned bytes do not show", passed, len(p))
	}
}

func TestAnotherOldShows(t *testing.T) {
	t.Parallel()
	old, new := material(t)
	for way, o := range everyWay {
		p, _ := diff(t, old, new, o)
		if _, err := applyHostile(t, old[1:], p, len(new)); err == nil {
			t.Errorf("%s: an old of another size passes", way)
		}
		if _, err := applyHostile(t, old, p, len(new)+1); err == nil {
			t.Errorf("%s: another size than signed passes", way)
		}
	}
}

// Patches made to hurt: what they announce must be refused before memory is taken for it.
func TestBombsAreRefused(t *testing.T) {
	t.Parallel()
	old := make([]byte, 1000)
	for name, p := range map[string]string{
		"nothing":                        "",
		"another kind":                   "4200",
		"unknown method":                 "5500",
		"rich without a class":           "50",
		"rich with tables of 1 EiB":      "503c00",
		"rich with more tables than due": "501c00",
		"rich without a body":            "501200",
		"step of 4 GiB":                  "5100ffffffff0f00000000",
		"step of many covers":            "510080801f000000",
		"cover beyond old":               "51000100000000d00fe807",
		"cover before old":               "51000100000000010a",
		"cover too long":                 "5100010000000000ffffffff07",
		"gap without a change":           "510001010000000000e8070000",
		"change without a gap":           "510001000100000000e80700",
		"text that is not there":         "5100010000000500e807",
		"number of 11 bytes":             "5100ffffffffffffffffffff01",
		"bytes behind the end":           "5100010000000000e80700",
		"cover that makes nothing":       "510001000000000000010000000000e807",
	} {
		b, err := hex.DecodeString(p)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := applyHostile(t, old, b, len(old)); err == nil {
			t.Errorf("%s passes", name)
		}
	}
	copied, err := applyHostile(t, old, []byte{0x51, 0, 1, 0, 0, 0, 0, 0, 0xe8, 7}, len(old))
	if err != nil || !bytes.Equal(copied, old) {
		t.Errorf("the plain copy that the bombs are made of: %v", err)
	}
}

func TestMemoryOfTheReaderBinds(t *testing.T) {
	t.Parallel()
	old, new := material(t)
	p, st := diff(t, old, new, everyWay["rich"])
	for _, c := range []struct {
		memory int
		ok     bool
	}{{st.Memory, true}, {st.Memory - 1, false}} {
		err := patch.Apply(t.Context(), bytes.NewReader(old), int64(len(old)), bytes.NewReader(p), io.Discard, patch.Limits{NewSize: int64(len(new)), Memory: c.memory})
		if (err == nil) != c.ok {
			t.Errorf("with %d bytes: %v", c.memory, err)
		}
	}
}

// The golden patches were made once. Every reader must apply them for ever, and every machine makes the same rich one.
func TestGoldenPatches(t *testing.T) {
	t.Parallel()
	old, new := golden()
	for way, o := range everyWay {
		if way == "auto" {
			continue
		}
		name := filepath.Join("testdata", way+".hex")
		if *update {
			p, _ := diff(t, old, new, o)
			if err := os.WriteFile(name, []byte(hex.EncodeToString(p)+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		p, err := hex.DecodeString(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := apply(t.Context(), old, p, len(new))
		if err != nil || !bytes.Equal(got, new) {
			t.Errorf("%s: the golden patch gives something else: %v", way, err)
		}
		if made, _ := diff(t, old, new, o); way == "rich" && !bytes.Equal(made, p) {
			t.Errorf("%s: another patch than the golden one is made", way)
		}
	}
}

// golden is a pair with a bit of everything: renamed, moved, inserted and left out text, and words that grew.
func golden() (old, new []byte) {
	var a, b bytes.Buffer
	for i := range 60 {
		name := string(rune('a' + i%23))
		a.WriteString("function f" + name + "(e,t){return e." + name + "+t*" + strings.Repeat("9", i%4) + "1}\n")
		if i%11 != 7 {
			b.WriteString("function f" + name + "(n,r){return n." + name + "+r*" + strings.Repeat("9", i%4) + "1}\n")
		}
		if i == 31 {
			b.WriteString("const added = 'a sentence that was not there before';\n")
		}
	}
	for i := range 200 {
		a.Write([]byte{byte(i * 7), byte(i >> 3), 0, 1})
		b.Write([]byte{byte(i*7 + 16), byte(i >> 3), 0, 1})
	}
	return a.Bytes(), append(b.Bytes()[700:], b.Bytes()[:700]...)
}

func FuzzApply(f *testing.F) {
	old, new := golden()
	for _, o := range everyWay {
		p, _ := diff(f, old, new, o)
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		for _, size := range []int{len(new), len(old)} {
			if got, err := applyHostile(t, old, p, size); err == nil && len(got) != size {
				t.Errorf("%d bytes instead of %d", len(got), size)
			}
		}
	})
}

func FuzzRoundTrip(f *testing.F) {
	old, new := golden()
	f.Add(old, new)
	f.Add(new[:300], old[100:900])
	f.Add([]byte{}, []byte("x"))
	f.Add(make([]byte, 500), make([]byte, 700))
	f.Fuzz(func(t *testing.T, old, new []byte) {
		for _, way := range []string{"rich", "deflate"} {
			thereAndBack(t, old, new, everyWay[way])
		}
	})
}
