package hermes

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func file(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBytecodeComesBack(t *testing.T) {
	t.Parallel()
	names := []string{"one.hbc", "two.hbc", "debug.hbc"}
	for _, a := range names {
		for _, b := range names {
			old, new := file(t, a), file(t, b)
			rewritten, ok := Rewrite(old, new)
			if !ok || len(rewritten) != len(new) {
				t.Fatalf("%s to %s is not rewritten", a, b)
			}
			back, err := Restore(old, bytes.Clone(rewritten))
			if err != nil || !bytes.Equal(back, new) {
				t.Errorf("%s to %s does not come back: %v", a, b, err)
			}
			if a == b {
				if base, ok := Base(old); !ok || !bytes.Equal(base, rewritten) {
					t.Errorf("%s against itself is not its own base", a)
				}
			}
		}
	}
}

// differing counts the bytes in which neighbours of the same place differ, by compressing one with the other at hand.
func differing(t *testing.T, old, new []byte) int {
	t.Helper()
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderDictRaw(0, old), zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	if err != nil {
		t.Fatal(err)
	}
	return len(enc.EncodeAll(new, nil))
}

func TestWhatFollowsFromTheChangeIsGone(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"", "-94", "-90", "-89", "-98", "-99"} {
		old, new := file(t, "one"+version+".hbc"), file(t, "two"+version+".hbc")
		base, ok := Base(old)
		rewritten, ok2 := Rewrite(old, new)
		if !ok || !ok2 {
			t.Fatalf("one%s.hbc is not rewritten", version)
		}
		plain, less := differing(t, old, new), differing(t, base, rewritten)
		if less*3 > plain*2 {
			t.Errorf("one%s.hbc: %d bytes differ, %d once they are rewritten", version, plain, less)
		}
		back, err := Restore(old, rewritten)
		if err != nil || !bytes.Equal(back, new) {
			t.Errorf("two%s.hbc does not come back: %v", version, err)
		}
		if version != "" {
			if _, ok := Rewrite(file(t, "one.hbc"), new); ok {
				t.Errorf("two%s.hbc is rewritten against another version", version)
			}
		}
	}
}

// Every function of a real file ends where its instructions do, or its padding and jump tables begin: an instruction of
// another length would lead into the middle of another.
func TestInstructionsOfEveryVersionAreKnown(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"two.hbc", "two-94.hbc", "two-90.hbc", "two-89.hbc", "two-98.hbc", "two-99.hbc"} {
		b := file(t, name)
		l, err := read(b)
		if err != nil {
			t.Fatal(err)
		}
		w := newRewriter(l, held(b), nil)
		w.bodies(func(s body) {
			last, at, end := "", int(s.at), int(s.end())
			for ; at < end; at += int(w.version.length[b[at]]) {
				code := b[at]
				if last = w.version.names[code]; last == "" {
					t.Fatalf("%s: opcode %d in function %d is not known", name, code, s.function)
				}
				if last == "SwitchImm" {
					end = min(end, at+int(w.number(at+2, 4))&^3)
				}
			}
			if int(s.end())-at >= 4 && last == "" || at > int(s.end()) {
				t.Errorf("%s: function %d ends at %d, its instructions at %d", name, s.function, s.end(), at)
			}
		})
	}
}

func TestWhatIsNotKnownIsNotRewritten(t *testing.T) {
	t.Parallel()
	good := file(t, "one.hbc")
	edit := func(at int, v uint32) []byte {
		b := bytes.Clone(good)
		binary.LittleEndian.PutUint32(b[at:], v)
		return b
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "text": []byte("var x = 1"), "another version": edit(8, 95), "another length": edit(32, uint32(len(good)+1)),
		"too many functions": edit(40, 1<<30), "too many strings": edit(52, 1<<31), "cut off": good[:len(good)/2], "a byte more": append(bytes.Clone(good), 0),
	} {
		if _, ok := Base(b); ok {
			t.Errorf("%s is taken for bytecode", name)
		}
		if _, ok := Rewrite(good, b); ok {
			t.Errorf("%s is rewritten", name)
		}
		if _, ok := Rewrite(b, good); ok {
			t.Errorf("a file is rewritten against %s", name)
		}
		if _, err := Restore(good, bytes.Clone(b)); err == nil {
			t.Errorf("%s is restored", name)
		}
	}
	// A file whose hashes are not those that follow would come back with other ones.
	l, err := read(good)
	if err != nil {
		t.Fatal(err)
	}
	for name, at := range map[string]int{"hash of an identifier": l.hashes.at, "hash of the file": l.footer.at} {
		b := bytes.Clone(good)
		b[at] ^= 1
		if at != l.footer.at {
			sum := sha1.Sum(b[:l.footer.at])
			copy(b[l.footer.at:], sum[:])
		}
		if _, ok := Rewrite(good, b); ok {
			t.Errorf("another %s is rewritten", name)
		}
	}
}

func TestShortIdsStayShort(t *testing.T) {
	t.Parallel()
	var old, new texts
	add := func(to *texts, s string) {
		to.places = append(to.places, textPlace{uint32(len(to.storage)), uint32(len(s)) << 1})
		to.storage = append(to.storage, s...)
	}
	for i := range 400 {
		add(&old, fmt.Sprintf("old%d", i))
		add(&new, fmt.Sprintf("old%d", (i+200)%450))
	}
	for _, s := range []string{"more", "old3", "old3"} {
		add(&new, s)
	}
	ids := align(old, new)
	sorted := slices.Sorted(slices.Values(ids))
	for i, v := range sorted {
		if v != uint32(i) {
			t.Fatalf("%d ids are no permutation", len(ids))
		}
	}
	for i, v := range ids {
		if (i < shortIDs) != (v < shortIDs) {
			t.Errorf("id %d becomes %d", i, v)
		}
	}
	same := 0
	for i, v := range ids {
		if i < new.len() && int(v) < old.len() && old.at(int(v)).equal(new.at(i)) {
			same++
		}
	}
	if same != 62 { // 56 short ones and 6 among those behind number 250 have a number of the same kind
		t.Errorf("%d strings keep their number", same)
	}
	if back := invert(ids); back[ids[7]] != 7 {
		t.Error("the inverse is none")
	}
}

// A list of strings that begins like the other is not looked through: every id would stay, also of strings that are there
// twice.
func TestIdsOfListsThatAreAlikeStay(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(7, 7))
	for range 200 {
		var old, new texts
		n, more := rng.IntN(700), rng.IntN(300)
		kinds := 1 + rng.IntN(2*n+1) // few: many are there twice or more
		for i := range n + more {
			s := fmt.Sprint("text", rng.IntN(kinds))
			place := textPlace{uint32(len(new.storage)), uint32(len(s)) << 1}
			new.storage = append(new.storage, s...)
			new.places = append(new.places, place)
			if i < n {
				old.places = append(old.places, place)
			}
		}
		old.storage = new.storage
		if rng.IntN(2) == 0 {
			old, new = new, old
		}
		if ids := align(old, new); ids != nil {
			t.Fatalf("%d and %d strings of %d kinds are not taken as alike", old.len(), new.len(), kinds)
		}
		for i, v := range renumbering(old, new) {
			if v != uint32(i) {
				t.Fatalf("of %d and %d strings of %d kinds, %d would become %d", old.len(), new.len(), kinds, i, v)
			}
		}
	}
}

func TestHashIsThatOfTheEngine(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]uint32{"y": 0x0001E3E8, "x": 0x0001E7F9, "$$typeof": 0xFF4C300D, "Object": 0x9615E9FA, "\x7f\x01": 0x0005EA8A} {
		wide := uint32(0)
		if content[0] == 0x7f {
			wide = 1
		}
		if got := (&layout{}).hashOf(held([]byte(content)), textPlace{0, uint32(len(content))<<1 | wide}); got != want {
			t.Errorf("hash of %q is %#x, want %#x", content, got, want)
		}
	}
}

// The rewritten form is in the hands of strangers: any bytes are restored to something, or refused, within bounds.
func FuzzRestore(f *testing.F) { fuzzRestore(f, "") }

func FuzzRestoreOfRecentVersions(f *testing.F) { fuzzRestore(f, "-98") }

func fuzzRestore(f *testing.F, version string) {
	old, new := file(f, "one"+version+".hbc"), file(f, "two"+version+".hbc")
	rewritten, _ := Rewrite(old, new)
	f.Add(uint32(40), uint32(3), uint32(52), uint32(9))
	f.Add(uint32(0x80), uint32(1<<31), uint32(0x90), uint32(1<<29|5))
	f.Fuzz(func(t *testing.T, at1, v1, at2, v2 uint32) {
		b := bytes.Clone(rewritten)
		for _, e := range [][2]uint32{{at1, v1}, {at2, v2}} {
			binary.LittleEndian.PutUint32(b[int(e[0])%(len(b)-4):], e[1])
		}
		got, err := Restore(old, bytes.Clone(b))
		if err == nil && len(got) != len(b) {
			t.Fatal("another length")
		}
		if _, ok := Rewrite(old, b); ok { // whatever it says of itself
			if again, err := Restore(old, must(Rewrite(old, b))); err != nil || !bytes.Equal(again, b) {
				t.Fatal("rewritten, and does not come back")
			}
		}
	})
}

func must(b []byte, ok bool) []byte { return b }
