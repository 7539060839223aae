package hermes

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/flate"
)

// bytecodeVectors say what becomes of two files of one version, and of damaged ones.
type bytecodeVectors struct {
	Old       string         `json:"old"`       // below publish/delta/hermes/testdata
	New       string         `json:"new"`       // what is rewritten against it
	Base      string         `json:"base"`      // SHA-256 of the rewritten form of old
	Rewritten string         `json:"rewritten"` // the rewritten form of new, deflated, in base64
	Bases     []bytecodeCase `json:"bases"`     // old files with changes
	Restores  []bytecodeCase `json:"restores"`  // rewritten forms with changes
}

// bytecodeCase puts numbers of four bytes at places. Expected is the SHA-256 of what becomes of it, but for the 20 bytes at
// the end, or nothing where that is refused.
type bytecodeCase struct {
	Edits  [][2]uint32 `json:"edits"`
	Expect string      `json:"expect"`
}

func sumOf(b []byte) string {
	sum := sha256.Sum256(b[:len(b)-footerSize])
	return hex.EncodeToString(sum[:])
}

func (c bytecodeCase) in(b []byte) []byte {
	b = bytes.Clone(b)
	for _, e := range c.Edits {
		binary.LittleEndian.PutUint32(b[e[0]:], e[1])
	}
	return b
}

func (c bytecodeCase) base(old []byte) string {
	b, ok := Base(c.in(old))
	if !ok {
		return ""
	}
	return sumOf(b)
}

func (c bytecodeCase) restored(old, rewritten []byte) string {
	b, err := Restore(bytes.Clone(old), c.in(rewritten))
	if err != nil {
		return ""
	}
	return sumOf(b)
}

// edits damages a file of some layout, most often where it is interpreted.
func edits(rng *rand.Rand, l *layout, size int) [][2]uint32 {
	tables := []span{{8, 120}, l.headers, l.kinds, l.small, l.overflow, l.arrays, l.keys, l.values, l.shapes, l.code, l.code, {0, size - 4}}
	out := make([][2]uint32, 1+rng.IntN(4))
	for i := range out {
		s := tables[rng.IntN(len(tables))]
		if s.size < 8 {
			s = l.code
		}
		at := s.at + rng.IntN(s.size-4)
		if rng.IntN(3) > 0 {
			at &^= 3
		}
		v := rng.Uint32()
		switch rng.IntN(4) {
		case 0:
			v = []uint32{0, 1, 255, 1 << 16, 1<<25 - 1, 1 << 29, 1 << 31, 1<<32 - 1}[rng.IntN(8)]
		case 1:
			v %= 300
		case 2:
			v %= uint32(size)
		}
		out[i] = [2]uint32{uint32(at), v}
	}
	return out
}

func deflated(t *testing.T, b []byte) string {
	t.Helper()
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, 9)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(out.Bytes())
}

func inflated(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(flate.NewReader(bytes.NewReader(b)))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func makeBytecodeVectors(t *testing.T, version string) bytecodeVectors {
	t.Helper()
	v := bytecodeVectors{Old: "one" + version + ".hbc", New: "two" + version + ".hbc"}
	old, new := file(t, v.Old), file(t, v.New)
	rewritten, ok := Rewrite(bytes.Clone(old), new)
	if !ok {
		t.Fatalf("%s is not rewritten", v.New)
	}
	l, err := read(new)
	if err != nil {
		t.Fatal(err)
	}
	v.Base, v.Rewritten = bytecodeCase{}.base(old), deflated(t, rewritten)
	rng := rand.New(rand.NewPCG(1, uint64(len(new))))
	for range 14 {
		c := bytecodeCase{Edits: edits(rng, l, len(old))}
		c.Expect = c.base(old)
		v.Bases = append(v.Bases, c)
	}
	for range 40 {
		c := bytecodeCase{Edits: edits(rng, l, len(new))}
		c.Expect = c.restored(old, rewritten)
		v.Restores = append(v.Restores, c)
	}
	return v
}

// What comes of any bytes, also damaged ones, is part of the format: every implementation gives the same.
func TestBytecodeVectors(t *testing.T) {
	t.Parallel()
	var all []bytecodeVectors
	for _, version := range []string{"", "-89", "-90", "-94", "-98", "-99"} {
		all = append(all, makeBytecodeVectors(t, version))
	}
	want, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	name := filepath.Join("..", "..", "..", "testdata", "vectors", "bytecode.json")
	if *update {
		if err := os.WriteFile(name, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatalf("golden vectors: %v (go test ./publish/delta/hermes -run Vectors -update writes them)", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what this code generates: go test ./publish/delta/hermes -run Vectors -update writes it anew; then look at the difference", name)
	}
	var vectors []bytecodeVectors
	if err := json.Unmarshal(got, &vectors); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for _, v := range vectors {
		old, new, rewritten := file(t, v.Old), file(t, v.New), inflated(t, v.Rewritten)
		if got := (bytecodeCase{}).base(old); got != v.Base {
			t.Errorf("%s: its rewritten form is another one", v.Old)
		}
		if got := (bytecodeCase{}).restored(old, rewritten); got != sumOf(new) {
			t.Errorf("%s does not come back", v.New)
		}
		for i, c := range v.Bases {
			if got := c.base(old); got != c.Expect {
				t.Errorf("%s, change %d: base is %q, want %q", v.Old, i, got, c.Expect)
			}
		}
		for i, c := range v.Restores {
			if c.Expect == "" {
				refused++
			}
			if got := c.restored(old, rewritten); got != c.Expect {
				t.Errorf("%s, change %d: restored is %q, want %q", v.New, i, got, c.Expect)
			}
		}
	}
	if refused < 20 || refused > 160 {
		t.Errorf("%d of the damaged ones are refused: the others or these say nothing", refused)
	}
}
