package bsdiff

import (
	"bytes"
	"compress/bzip2"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream"
)

// edited gives text-like bytes and a version of them with parts changed, put in, taken out and moved.
func edited(seed uint64, size int) (old, new []byte) {
	r := rand.New(rand.NewPCG(seed, 1))
	words := make([][]byte, 300)
	for i := range words {
		words[i] = []byte(fmt.Sprintf("%c%x ", 'a'+i%26, r.Uint32()>>(r.UintN(28))))
	}
	for len(old) < size {
		old = append(old, words[r.IntN(len(words))]...)
	}
	old = old[:size]
	new = bytes.Clone(old)
	for range 4 + size/3000 {
		at := r.IntN(len(new) + 1)
		n := min(r.IntN(200), len(new)-at)
		switch r.IntN(4) {
		case 0:
			for i := range n {
				new[at+i] += byte(r.IntN(3))
			}
		case 1:
			new = append(new[:at:at], append(bytes.Repeat([]byte{byte(r.Uint32())}, n), new[at:]...)...)
		case 2:
			new = append(new[:at:at], new[at+n:]...)
		case 3:
			part := bytes.Clone(new[at : at+n])
			new = append(new[:at:at], new[at+n:]...)
			to := r.IntN(len(new) + 1)
			new = append(new[:to:to], append(part, new[to:]...)...)
		}
	}
	return old, new
}

type pair struct {
	name     string
	old, new []byte
}

func pairs() []pair {
	a, b := edited(1, 40_000)
	c, d := edited(2, 300)
	noise := make([]byte, 20_000)
	r := rand.New(rand.NewPCG(3, 3))
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	periodic := bytes.Repeat([]byte("abcdefgh"), 3000)
	broken := bytes.Clone(periodic)
	for i := 100; i < len(broken); i += 1021 {
		broken[i] = '!'
	}
	return []pair{
		{"nothing to nothing", nil, nil},
		{"nothing to something", nil, []byte("x")},
		{"something to nothing", []byte("x"), nil},
		{"one byte changed", []byte("x"), []byte("y")},
		{"the same", a, a},
		{"zeros", make([]byte, 30_000), make([]byte, 31_000)},
		{"edited", a, b},
		{"edited, small", c, d},
		{"rewritten", a, noise},
		{"repeats", periodic, broken},
		{"halves swapped", noise, append(bytes.Clone(noise[9_000:]), noise[:9_000]...)},
	}
}

func make40(t testing.TB, old, new []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := Diff(t.Context(), &out, old, new); err != nil {
		t.Fatalf("diff: %v", err)
	}
	return out.Bytes()
}

func apply40(ctx context.Context, old, patch []byte, newSize int64) ([]byte, error) {
	var out bytes.Buffer
	err := Apply(ctx, &out, bytes.NewReader(old), int64(len(old)), bytes.NewReader(patch), int64(len(patch)), newSize)
	return out.Bytes(), err
}

func TestWhatDiffWritesApplyReads(t *testing.T) {
	t.Parallel()
	for _, p := range pairs() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			patch := make40(t, p.old, p.new)
			got, err := apply40(t.Context(), p.old, patch, int64(len(p.new)))
			if err != nil || !bytes.Equal(got, p.new) {
				t.Fatalf("apply gave %d bytes of %d, error %v", len(got), len(p.new), err)
			}
			if again := make40(t, p.old, p.new); !bytes.Equal(again, patch) {
				t.Error("a second patch of the same files differs")
			}
		})
	}
}

func TestAPatchOfAnEditIsSmall(t *testing.T) {
	t.Parallel()
	old, new := edited(7, 60_000)
	if patch := make40(t, old, new); len(patch) > len(new)/10 {
		t.Errorf("patch has %d bytes for %d", len(patch), len(new))
	}
}

// The bytes of a patch are promised to stay: servers keep and compare them by hash.
func TestPatchesStayTheSame(t *testing.T) {
	t.Parallel()
	old, new := edited(5, 20_000)
	sum := sha256.Sum256(make40(t, old, new))
	const golden = "91df57ffe9a66a02"
	if got := hex.EncodeToString(sum[:8]); got != golden {
		t.Errorf("hash of the patch is %s, was %s", got, golden)
	}
}

func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	return path
}

func TestTheOriginalToolsAgree(t *testing.T) {
	t.Parallel()
	bsdiff, bspatch := tool(t, "bsdiff"), tool(t, "bspatch")
	run := func(t *testing.T, name string, args ...string) {
		t.Helper()
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", filepath.Base(name), err, out)
		}
	}
	for _, p := range pairs() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			at := func(name string) string { return filepath.Join(dir, name) }
			write := func(name string, b []byte) {
				if err := os.WriteFile(at(name), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			read := func(name string) []byte {
				b, err := os.ReadFile(at(name))
				if err != nil {
					t.Fatal(err)
				}
				return b
			}
			write("old", p.old)
			write("new", p.new)
			ours := make40(t, p.old, p.new)
			write("ours", ours)
			run(t, bspatch, at("old"), at("out"), at("ours"))
			if !bytes.Equal(read("out"), p.new) {
				t.Error("bspatch makes another file of our patch")
			}
			if len(p.old) == 0 || len(p.new) == 0 {
				return // bsdiff itself cannot read an empty file
			}
			run(t, bsdiff, at("old"), at("new"), at("theirs"))
			theirs := read("theirs")
			got, err := apply40(t.Context(), p.old, theirs, int64(len(p.new)))
			if err != nil || !bytes.Equal(got, p.new) {
				t.Errorf("a patch of bsdiff gives %d bytes of %d, error %v", len(got), len(p.new), err)
			}
			if len(ours) > len(theirs)+len(theirs)/20+64 {
				t.Errorf("our patch has %d bytes, that of bsdiff %d", len(ours), len(theirs))
			}
		})
	}
}

func refused(t *testing.T, name string, err error) {
	t.Helper()
	if slipstream.ReasonOf(err, "") != slipstream.ReasonContainerInvalid {
		t.Errorf("%s: error is %v, want a refusal", name, err)
	}
}

func TestDamagedPatchesAreRefused(t *testing.T) {
	t.Parallel()
	old, new := edited(9, 5_000)
	patch := make40(t, old, new)
	for n := range patch {
		_, err := apply40(t.Context(), old, patch[:n], int64(len(new)))
		refused(t, fmt.Sprintf("cut to %d bytes", n), err)
	}
	_, err := apply40(t.Context(), old, append(bytes.Clone(patch), 0), int64(len(new)))
	refused(t, "one byte more", err)
	_, err = apply40(t.Context(), old, append(bytes.Clone(patch), patch[headerSize:]...), int64(len(new)))
	refused(t, "streams behind the end", err)
	_, err = apply40(t.Context(), old, patch, int64(len(new))+1)
	refused(t, "another size expected", err)
	_, err = apply40(t.Context(), old[:len(old)/2], patch, int64(len(new)))
	refused(t, "a shorter old file", err)
	for bit := range len(patch) * 8 {
		bad := bytes.Clone(patch)
		bad[bit/8] ^= 1 << (bit % 8)
		got, err := apply40(t.Context(), old, bad, int64(len(new)))
		// Bits that pad a stream mean nothing.
		if err == nil && !bytes.Equal(got, new) {
			t.Fatalf("bit %d turned: another file without an error", bit)
		}
		if err != nil {
			refused(t, fmt.Sprintf("bit %d turned", bit), err)
		}
	}
}

// assemble makes a patch of steps as a stranger would write them.
func assemble(t *testing.T, newSize int64, steps []int64, difference, extra []byte) []byte {
	t.Helper()
	var control []byte
	for _, n := range steps {
		control = appendNumber(control, n)
	}
	out := []byte(magic)
	var body []byte
	for i, raw := range [][]byte{control, difference, extra} {
		z, err := compress(t.Context(), raw)
		if err != nil {
			t.Fatal(err)
		}
		if i < 2 {
			out = appendNumber(out, int64(len(z)))
		}
		body = append(body, z...)
	}
	return append(appendNumber(out, newSize), body...)
}

func TestHostilePatchesAreRefused(t *testing.T) {
	t.Parallel()
	old := []byte("the old file")
	const most = 1<<63 - 1
	idle := make([]int64, 3*10_000)
	for name, c := range map[string]struct {
		newSize           int64
		steps             []int64
		difference, extra []byte
	}{
		"more to add than there is":        {4, []int64{5, 0, 0}, make([]byte, 5), nil},
		"more to take than there is":       {4, []int64{0, 5, 0}, nil, make([]byte, 5)},
		"a sum beyond 64 bits":             {4, []int64{4, most, 0}, make([]byte, 4), nil},
		"negative counts":                  {4, []int64{-1, 5, 0}, nil, make([]byte, 5)},
		"reading behind the old file":      {20, []int64{20, 0, 0}, make([]byte, 20), nil},
		"reading before the old file":      {4, []int64{0, 1, -3, 3, 0, 0}, make([]byte, 3), make([]byte, 1)},
		"leading far away":                 {4, []int64{0, 1, most, 0, 3, 0}, nil, make([]byte, 4)},
		"leading far back":                 {4, []int64{0, 1, -most, 0, 3, 0}, nil, make([]byte, 4)},
		"steps that do nothing, for ever":  {4, idle, nil, nil},
		"bytes left in a stream":           {4, []int64{0, 4, 0}, make([]byte, 1), make([]byte, 4)},
		"steps left":                       {4, []int64{0, 4, 0, 0, 0, 0}, nil, make([]byte, 4)},
		"a stream that ends early":         {4, []int64{0, 4, 0}, nil, make([]byte, 3)},
		"megabytes of zeros for 4 bytes":   {4, []int64{0, 4, 0}, nil, make([]byte, 1<<20)},
		"no steps":                         {4, nil, nil, nil},
		"a new file of more than expected": {5, []int64{0, 5, 0}, nil, make([]byte, 5)},
	} {
		expected := c.newSize
		if name == "a new file of more than expected" {
			expected = 4
		}
		got, err := apply40(t.Context(), old, assemble(t, c.newSize, c.steps, c.difference, c.extra), expected)
		refused(t, name, err)
		if int64(len(got)) > expected {
			t.Errorf("%s: %d bytes were written, %d are allowed", name, len(got), expected)
		}
	}
	for name, header := range map[string][]int64{
		"a stream longer than the patch": {most, 0, 4},
		"two that overflow":              {most, most, 4},
		"negative lengths":               {-1, 0, 4},
		"a negative size":                {0, 0, -4},
	} {
		patch := []byte(magic)
		for _, n := range header {
			patch = appendNumber(patch, n)
		}
		_, err := apply40(t.Context(), old, append(patch, 1, 2, 3), header[2])
		refused(t, name, err)
	}
}

type brokenDisk struct{}

var errDisk = errors.New("disk is broken")

func (brokenDisk) ReadAt([]byte, int64) (int, error) { return 0, errDisk }
func (brokenDisk) Write([]byte) (int, error)         { return 0, errDisk }

func TestErrorsOfTheDiskAreNotTheFaultOfThePatch(t *testing.T) {
	t.Parallel()
	old, new := edited(11, 5_000)
	patch := make40(t, old, new)
	size := int64(len(new))
	for name, err := range map[string]error{
		"old":   Apply(t.Context(), io.Discard, brokenDisk{}, int64(len(old)), bytes.NewReader(patch), int64(len(patch)), size),
		"new":   Apply(t.Context(), brokenDisk{}, bytes.NewReader(old), int64(len(old)), bytes.NewReader(patch), int64(len(patch)), size),
		"patch": Apply(t.Context(), io.Discard, bytes.NewReader(old), int64(len(old)), brokenDisk{}, int64(len(patch)), size),
	} {
		if !errors.Is(err, errDisk) || slipstream.ReasonOf(err, "") != "" {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}

func TestCancelEndsBothWays(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	old, new := edited(12, 5_000)
	patch := make40(t, old, new)
	if _, err := apply40(ctx, old, patch, int64(len(new))); !errors.Is(err, context.Canceled) {
		t.Errorf("apply: %v", err)
	}
	if err := Diff(ctx, io.Discard, old, new); !errors.Is(err, context.Canceled) {
		t.Errorf("diff: %v", err)
	}
}

func TestTheCompressorIsReadable(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(4, 4))
	skewed := make([]byte, 250_000) // counts that double make the longest codes
	for i := range skewed {
		skewed[i] = byte(min(r.ExpFloat64()*2.5, 255))
	}
	noise := make([]byte, 210_000)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	text, _ := edited(13, 230_000)
	var runs []byte
	for n := range 600 {
		runs = append(runs, bytes.Repeat([]byte{byte(n)}, n)...)
	}
	for name, data := range map[string][]byte{
		"empty": nil, "one byte": {0}, "run of four": []byte("aaaa"), "run of three": []byte("aaa"), "runs": runs,
		"noise over blocks": noise, "skewed": skewed, "text": text, "zeros": make([]byte, 3_000_000),
		"fibonacci": fibonacci(),
	} {
		z, err := compress(t.Context(), data)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := io.ReadAll(bzip2.NewReader(bytes.NewReader(z)))
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d of %d bytes come back, error %v", name, len(got), len(data), err)
		}
	}
}

// fibonacci gives bytes whose counts are such that a Huffman code is as deep as it gets.
func fibonacci() []byte {
	var out []byte
	a, b := 1, 1
	for i := range 24 {
		out = append(out, []byte(strings.Repeat(string(rune('a'+i)), a))...)
		a, b = b, a+b
	}
	r := rand.New(rand.NewPCG(6, 6))
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func TestTheCompressorIsAsGoodAsTheOriginal(t *testing.T) {
	t.Parallel()
	bzip := tool(t, "bzip2")
	text, _ := edited(13, 230_000)
	ours, err := compress(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bzip, "-9", "-c")
	cmd.Stdin = bytes.NewReader(text)
	theirs, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if len(ours) > len(theirs)+len(theirs)/50 {
		t.Errorf("ours has %d bytes, that of bzip2 %d", len(ours), len(theirs))
	}
	back := exec.Command(bzip, "-d", "-c")
	back.Stdin = bytes.NewReader(ours)
	if got, err := back.Output(); err != nil || !bytes.Equal(got, text) {
		t.Errorf("bzip2 gives %d of %d bytes, error %v", len(got), len(text), err)
	}
}
