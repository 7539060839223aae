package hermes

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
)

// scratch is a file that counts, and that is full or broken from some call on.
type scratch struct {
	*os.File
	largest int64
	calls   int // that are still answered; below zero all are
}

func newScratch(t testing.TB) *scratch {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "scratch"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &scratch{f, 0, -1}
}

func (s *scratch) answers() error {
	if s.calls--; s.calls == -1 {
		return syscall.ENOSPC
	}
	return nil
}

func (s *scratch) WriteAt(p []byte, at int64) (int, error) {
	if err := s.answers(); err != nil {
		return 0, err
	}
	s.largest = max(s.largest, at+int64(len(p)))
	return s.File.WriteAt(p, at)
}

func (s *scratch) ReadAt(p []byte, at int64) (int, error) {
	if err := s.answers(); err != nil {
		return 0, err
	}
	return s.File.ReadAt(p, at)
}

// restoreIn restores a file in a room, from pieces of some size.
func restoreIn(o *Spooled, rewritten []byte, piece int) ([]byte, error) {
	in := o.Incoming(int64(len(rewritten)))
	for at := 0; at < len(rewritten); at += piece {
		if _, err := in.Write(rewritten[at:min(at+piece, len(rewritten))]); err != nil {
			return nil, err
		}
	}
	var out []byte
	err := in.Restore(func(b []byte) error {
		out = append(out, b...)
		return nil
	})
	return out, err
}

func openIn(t testing.TB, r *Room, file []byte) *Spooled {
	t.Helper()
	o, ok, err := r.Open(bytes.NewReader(file), int64(len(file)))
	if err != nil || !ok {
		t.Fatalf("it is not opened: %v, %v", ok, err)
	}
	return o
}

var versions = []string{"", "-89", "-90", "-94", "-98", "-99"}

func TestARoomGivesWhatMemoryGives(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		old, new := file(t, "one"+version+".hbc"), file(t, "two"+version+".hbc")
		base, _ := Base(old)
		rewritten, _ := Rewrite(old, new)
		r := NewRoom(t.Context(), newScratch(t))
		o := openIn(t, r, old)
		got, err := io.ReadAll(io.NewSectionReader(o, 0, int64(len(old))))
		if err != nil || !bytes.Equal(got, base) {
			t.Fatalf("one%s.hbc has another rewritten form: %v", version, err)
		}
		for range 2 { // a room serves many files
			back, err := restoreIn(o, rewritten, 999)
			if err != nil || !bytes.Equal(back, new) {
				t.Errorf("two%s.hbc does not come back: %v", version, err)
			}
		}
		// Whatever strangers make of it.
		random := rand.New(rand.NewPCG(1, 2))
		for range 60 {
			b := bytes.Clone(rewritten)
			for range 1 + random.IntN(4) {
				at := random.IntN(len(b) - 4)
				if random.IntN(2) == 0 {
					at = random.IntN(headerSize + 2000)
				}
				binary.LittleEndian.PutUint32(b[at:], random.Uint32()>>random.IntN(32))
			}
			want, wantErr := Restore(old, bytes.Clone(b))
			got, err := restoreIn(o, b, 1<<20)
			if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(got, want) {
				t.Fatalf("two%s.hbc, changed: error %v, in memory %v", version, err, wantErr)
			}
		}
	}
}

// program makes a file of version 96 with all that fills tables: functions that share and overlap code, strings of all
// kinds, many with the same content, and literals that are named more than once.
func madeProgram(functions, strings int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	var kinds, small, overflow, storage, code, headers []byte
	u32 := binary.LittleEndian.AppendUint32
	for i := range strings {
		content := fmt.Appendf(nil, "string %d", r.IntN(2*strings))
		wide := uint32(0)
		if i%7 == 0 {
			content, wide = append(content, make([]byte, len(content)&1)...), 1
		}
		length := uint32(len(content)) >> wide
		if len(storage) >= 1<<23 || i%50 == 0 {
			small = u32(small, 255<<24|uint32(len(overflow)/8)<<1|wide)
			overflow = u32(u32(overflow, uint32(len(storage))), length)
		} else {
			small = u32(small, length<<24|uint32(len(storage))<<1|wide)
		}
		storage = append(storage, content...)
	}
	kinds = u32(u32(kinds, uint32(strings/2)), 1<<31|uint32(strings-strings/2))
	var arrays []byte
	for len(arrays) < 3*strings {
		arrays = append(arrays, 0x53, byte(r.IntN(256)), byte(r.IntN(256)), byte(r.IntN(256)), byte(r.IntN(256)), byte(r.IntN(256)), byte(r.IntN(256)))
	}
	tables := 16*functions + len(kinds) + 4*(strings-strings/2) + len(small) + len(overflow)
	pad := func(n int) int { return (n + 3) &^ 3 }
	begin := headerSize + tables + pad(len(storage)) + pad(len(arrays))
	for i := range functions {
		at := begin + len(code)
		if i%9 == 8 {
			at -= 5 // in the code of the one before
		}
		body := []byte{55, 0, 1, 2}
		body = binary.LittleEndian.AppendUint16(body, uint16(r.IntN(1<<16)))
		body = append(binary.LittleEndian.AppendUint16(append(body, 100, 1, 2), uint16(i)), 22, 1, 2, 3)
		body = append(u32(append(body, 6, 1, 0, 0, byte(r.IntN(9)), 0), uint32(r.IntN(len(arrays)))), 116, 3)
		body = append(u32(body, uint32(r.IntN(strings))), 92, 0)
		code = append(code, body...)
		headers = u32(u32(headers, uint32(at)&offsetBits|1<<25), uint32(len(body))|uint32(r.IntN(1<<17))<<15)
		headers = u32(u32(headers, uint32(at)&offsetBits), 0)
	}
	out := make([]byte, headerSize)
	for at, v := range map[int]int{8: 96, 40: functions, 44: 2, 48: strings - strings/2, 52: strings, 56: len(overflow) / 8, 60: len(storage), 80: len(arrays)} {
		binary.LittleEndian.PutUint32(out[at:], uint32(v))
	}
	binary.LittleEndian.PutUint64(out, magic)
	out = append(append(append(out, headers...), kinds...), make([]byte, 4*(strings-strings/2))...)
	out = append(append(append(out, small...), overflow...), storage...)
	out = append(append(out, make([]byte, pad(len(storage))-len(storage))...), arrays...)
	out = append(append(out, make([]byte, pad(len(arrays))-len(arrays))...), code...)
	out = append(out, make([]byte, footerSize)...)
	binary.LittleEndian.PutUint32(out[32:], uint32(len(out)))
	l, err := read(out)
	if err != nil {
		panic(err)
	}
	newRewriter(l, held(out), nil).rehash()
	back, err := Restore(out, must(Rewrite(out, out)))
	if err != nil {
		panic(err)
	}
	return back
}

// What a room allocates in total bounds what it holds; it must not grow with the files.
func TestMemoryOfARoomDoesNotGrow(t *testing.T) {
	for _, c := range []struct{ functions, strings int }{{3000, 2000}, {150_000, 300_000}} {
		old, new := madeProgram(c.functions, c.strings, 1), madeProgram(c.functions, c.strings, 2)
		base, _ := Base(old)
		rewritten, ok := Rewrite(old, new)
		if !ok {
			t.Fatal("the made program is not rewritten")
		}
		s := newScratch(t)
		same := 0 // bytes of the result that are right
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		r := NewRoom(t.Context(), s)
		o := openIn(t, r, old)
		in := o.Incoming(int64(len(rewritten)))
		_, err := in.Write(rewritten)
		if err == nil {
			err = in.Restore(func(b []byte) error {
				if bytes.Equal(b, new[same:same+len(b)]) {
					same += len(b)
				}
				return nil
			})
		}
		runtime.ReadMemStats(&after)
		if err != nil || same != len(new) {
			t.Fatalf("%d bytes of %d come back: %v", same, len(new), err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
			t.Errorf("%d KiB are allocated in all for files of %d", n>>10, len(old)>>10)
		}
		if got, err := io.ReadAll(io.NewSectionReader(o, 0, int64(len(old)))); err != nil || !bytes.Equal(got, base) {
			t.Errorf("the rewritten form is another: %v", err)
		}
		if most := 3 * int64(len(old)+len(new)); s.largest > most {
			t.Errorf("%d bytes of scratch for files of %d", s.largest, len(old))
		}
	}
}

// A device that takes its disk's fault for damage fetches the patch again, and tells of the wrong one.
func TestAFaultOfTheDiskIsNoDamage(t *testing.T) {
	t.Parallel()
	old, new := madeProgram(3000, 6000, 1), madeProgram(3000, 6000, 2)
	rewritten, _ := Rewrite(old, new)
	for k := 0; ; k++ {
		s := newScratch(t)
		r := NewRoom(t.Context(), s)
		o := openIn(t, r, old)
		s.calls = k
		_, err := restoreIn(o, rewritten, 64<<10)
		s.Close()
		if err == nil {
			return
		}
		if !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrUnknown) {
			t.Fatalf("full at call %d: %v", k, err)
		}
	}
}

func TestAFullDiskIsAClearError(t *testing.T) {
	t.Parallel()
	old, new := madeProgram(30_000, 60_000, 1), madeProgram(30_000, 60_000, 2)
	rewritten, _ := Rewrite(old, new)
	run := func(s *scratch) (int, error) {
		r := NewRoom(t.Context(), s)
		o, ok, err := r.Open(bytes.NewReader(old), int64(len(old)))
		if err != nil || !ok {
			return 0, err
		}
		b, err := restoreIn(o, rewritten, 64<<10)
		return len(b), err
	}
	s := newScratch(t)
	s.calls = 1 << 30
	if n, err := run(s); err != nil || n != len(new) {
		t.Fatalf("%d bytes: %v", n, err)
	}
	all := 1<<30 - s.calls
	for _, k := range []int{0, 1, all / 10, all / 3, all / 2, all * 2 / 3, all * 9 / 10, all - 1} {
		s := newScratch(t)
		s.calls = k
		if n, err := run(s); !errors.Is(err, syscall.ENOSPC) || n == len(new) {
			t.Errorf("full at call %d of %d: %d bytes, error %v", k, all, n, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := NewRoom(ctx, newScratch(t)).Open(bytes.NewReader(old), int64(len(old))); !errors.Is(err, context.Canceled) {
		t.Errorf("a room that is given up: %v", err)
	}
}

func TestARoomRefusesWhatIsNoBytecode(t *testing.T) {
	t.Parallel()
	good := file(t, "one.hbc")
	for name, b := range map[string][]byte{"nothing": nil, "text": []byte("var x = 1"), "long text": bytes.Repeat([]byte("text "), 9999), "cut off": good[:9000]} {
		r := NewRoom(t.Context(), newScratch(t))
		if _, ok, err := r.Open(bytes.NewReader(b), int64(len(b))); ok || err != nil {
			t.Errorf("%s is opened: %v", name, err)
		}
		if _, err := restoreIn(openIn(t, r, good), b, 1000); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s is restored: %v", name, err)
		}
	}
	r := NewRoom(t.Context(), newScratch(t))
	if _, _, err := r.Open(bytes.NewReader(good[:9000]), int64(len(good))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a content that ends early: %v", err)
	}
	o := openIn(t, r, good)
	in := o.Incoming(300)
	if _, err := in.Write(make([]byte, 301)); err == nil {
		t.Error("more is taken than there was to be")
	}
}

// Whoever compares the hash of a file may leave its footer in the rewritten form: then it need not be computed.
func TestAFooterThatStandsIsNotComputed(t *testing.T) {
	t.Parallel()
	old, new := file(t, "one.hbc"), file(t, "two.hbc")
	rewritten, ok := Rewrite(old, new)
	if !ok {
		t.Fatal("it is not rewritten")
	}
	footer := len(new) - footerSize
	standing := slices.Concat(rewritten[:footer], new[footer:])
	other := bytes.Clone(standing)
	other[len(other)-1] ^= 1
	for _, inRoom := range []bool{false, true} {
		b, err := NewBases(t.Context(), 1<<30, nil)
		if inRoom {
			b, err = NewBases(t.Context(), 1<<30, func() (Scratch, error) { return newScratch(t), nil })
		}
		if err == nil {
			err = b.Open(1, bytes.NewReader(old), int64(len(old)))
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			footers         bool
			rewritten, want []byte
		}{{true, rewritten, new}, {true, standing, new}, {true, other, slices.Concat(new[:footer], other[footer:])}, {false, other, new}} {
			b.Footers = c.footers
			in := b.Begin(1, int64(len(new)))
			var got []byte
			_, err := in.Write(bytes.Clone(c.rewritten))
			if err == nil {
				err = in.Restore(func(p []byte) error { got = append(got, p...); return nil })
			}
			if err != nil || !bytes.Equal(got, c.want) {
				t.Errorf("in a room %t, footers %t: other bytes come back (%v)", inRoom, c.footers, err)
			}
		}
	}
}
