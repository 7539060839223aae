package dcz

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/slipstream-ota/slipstream"
)

// versions gives two bodies of text, the second an edit of the first.
func versions(seed uint64, size int) (old, new []byte) {
	r := rand.New(rand.NewPCG(seed, 2))
	for len(old) < size {
		old = fmt.Appendf(old, "function f%d(a){return a+%d}\n", r.UintN(900), r.Uint32())
	}
	old = old[:size]
	cut := size / 3
	new = append(append(bytes.Clone(old[cut:]), "something new here;"...), old[:cut-cut/4]...)
	return old, new
}

func coded(t testing.TB, dictionary, body []byte) []byte {
	t.Helper()
	z, err := Encode(dictionary, body)
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	return z
}

func decoded(ctx context.Context, dictionary, z []byte, size int) ([]byte, error) {
	var out bytes.Buffer
	err := Decode(ctx, &out, dictionary, bytes.NewReader(z), int64(size))
	return out.Bytes(), err
}

func TestABodyComesBack(t *testing.T) {
	t.Parallel()
	a, b := versions(1, 200_000)
	for name, p := range map[string][2][]byte{
		"edited": {a, b}, "the same": {a, a}, "empty": {a, nil}, "one byte": {a, []byte("x")}, "dictionary of one byte": {[]byte("x"), b},
		"shorter than its dictionary": {a, b[:1000]}, "longer than its dictionary": {a[:1000], b}, "zeros": {make([]byte, 9), make([]byte, 99_999)},
	} {
		z := coded(t, p[0], p[1])
		got, err := decoded(t.Context(), p[0], z, len(p[1]))
		if err != nil || !bytes.Equal(got, p[1]) {
			t.Errorf("%s: %d of %d bytes come back, error %v", name, len(got), len(p[1]), err)
		}
		if n, err := Size(bytes.NewReader(z), int64(len(z))); err != nil || n != int64(len(p[1])) {
			t.Errorf("%s: it says its body has %d bytes of %d, error %v", name, n, len(p[1]), err)
		}
		if !bytes.Equal(coded(t, p[0], p[1]), z) {
			t.Errorf("%s: coded twice it differs", name)
		}
	}
	if z := coded(t, a, b); len(z) > 400 {
		t.Errorf("an edit takes %d bytes", len(z))
	}
}

// The header is that of RFC 9842 section 5, and names the dictionary by its hash.
func TestTheHeaderIsThatOfTheStandard(t *testing.T) {
	t.Parallel()
	a, b := versions(2, 5_000)
	sum := sha256.Sum256(a)
	want := append([]byte{0x5e, 0x2a, 0x4d, 0x18, 0x20, 0, 0, 0}, sum[:]...)
	want = append(want, 0x28, 0xb5, 0x2f, 0xfd)
	if z := coded(t, a, b); !bytes.HasPrefix(z, want) {
		t.Errorf("it begins %x", z[:HeaderSize+4])
	}
}

func TestWhatNoReaderMustTakeIsNotMade(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		dictionary, size int64
		fits             bool
	}{
		{0, 1, false}, {1, 8 << 20, true}, {1, 8<<20 + 1, false}, {8 << 20, 10 << 20, true}, {8 << 20, 10<<20 + 1, false},
		{110 << 20, 128 << 20, true}, {110 << 20, 128<<20 + 1, false}, {128<<20 + 1, 1, false}, {1, -1, false},
	} {
		if Fits(c.dictionary, c.size) != c.fits {
			t.Errorf("dictionary of %d, body of %d: fits is %v", c.dictionary, c.size, !c.fits)
		}
	}
	if _, err := Encode(nil, []byte("x")); !errors.Is(err, slipstream.ErrInvalid) {
		t.Errorf("without a dictionary: %v", err)
	}
}

func TestTheReferenceDecoderAgrees(t *testing.T) {
	t.Parallel()
	zstd, err := exec.LookPath("zstd")
	if err != nil {
		t.Skip("zstd is not installed")
	}
	noise := rand.NewChaCha8([32]byte{1})
	long := make([]byte, 9<<20) // the whole dictionary is needed, also beyond 8 MiB
	_, _ = noise.Read(long)
	longer := append(bytes.Clone(long[1<<20:]), long[:2<<20]...)
	small, edited := versions(3, 100_000)
	dir := t.TempDir()
	for name, p := range map[string][2][]byte{"small": {small, edited}, "long": {long, longer}, "empty": {small, nil}} {
		dictionary, body := filepath.Join(dir, name+".old"), filepath.Join(dir, name+".dcz")
		z := coded(t, p[0], p[1])
		if len(z) > 4000 {
			t.Errorf("%s: %d bytes coded, nearly all are in the dictionary", name, len(z))
		}
		if err := errors.Join(os.WriteFile(dictionary, p[0], 0o600), os.WriteFile(body, z, 0o600)); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(zstd, "-d", "-c", "--long=27", "-D", dictionary, body)
		var failed bytes.Buffer
		cmd.Stderr = &failed
		if got, err := cmd.Output(); err != nil || !bytes.Equal(got, p[1]) {
			t.Errorf("%s: zstd gives %d of %d bytes: %v %s", name, len(got), len(p[1]), err, &failed)
		}
		if got, err := decoded(t.Context(), p[0], z, len(p[1])); err != nil || !bytes.Equal(got, p[1]) {
			t.Errorf("%s: %d of %d bytes come back, error %v", name, len(got), len(p[1]), err)
		}
		if len(p[1]) == 0 {
			continue
		}
		cmd = exec.Command(zstd, "-3", "-c", "--no-check", "--patch-from", dictionary, fmt.Sprintf("--stream-size=%d", len(p[1])))
		cmd.Stdin, cmd.Stderr = bytes.NewReader(p[1]), &failed
		frame, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: zstd: %v %s", name, err, &failed)
		}
		sum := sha256.Sum256(p[0])
		theirs := append(append([]byte(magic), sum[:]...), frame...)
		if got, err := decoded(t.Context(), p[0], theirs, len(p[1])); err != nil || !bytes.Equal(got, p[1]) {
			t.Errorf("%s: of zstd's frame %d of %d bytes come back, error %v", name, len(got), len(p[1]), err)
		}
	}
}

func TestDamagedBodiesAreRefused(t *testing.T) {
	t.Parallel()
	a, b := versions(4, 3_000)
	z := coded(t, a, b)
	refused := func(name string, dictionary, z []byte, size int) {
		t.Helper()
		got, err := decoded(t.Context(), dictionary, z, size)
		if slipstream.ReasonOf(err, "") != slipstream.ReasonContainerInvalid {
			t.Errorf("%s: error is %v", name, err)
		}
		if len(got) > size {
			t.Errorf("%s: %d bytes were written, %d are allowed", name, len(got), size)
		}
	}
	for n := range z {
		refused(fmt.Sprintf("cut to %d bytes", n), a, z[:n], len(b))
	}
	refused("another dictionary", b, z, len(b))
	refused("a body longer than expected", a, z, len(b)-1)
	refused("a body shorter than expected", a, z, len(b)+1)
	refused("bytes behind the end", a, append(bytes.Clone(z), "trailing"...), len(b))
	refused("two bodies", a, append(bytes.Clone(z), z[HeaderSize:]...), len(b))
	sum := sha256.Sum256(a)
	huge := append(append([]byte(magic), sum[:]...), 0x28, 0xb5, 0x2f, 0xfd, 0x00, 31<<3, 1, 0, 0)
	refused("a window of 2 TiB", a, huge, len(b))
	huge = append(append([]byte(magic), sum[:]...), 0x28, 0xb5, 0x2f, 0xfd, 0x00, 14<<3, 1, 0, 0)
	refused("a window of 16 MiB for a small dictionary", a, huge, 0)
	for bit := range len(z) * 8 {
		bad := bytes.Clone(z)
		bad[bit/8] ^= 1 << (bit % 8)
		if got, _ := decoded(t.Context(), a, bad, len(b)); len(got) > len(b) { // the hash is the caller's to compare
			t.Fatalf("bit %d turned: %d bytes were written", bit, len(got))
		}
	}
	bomb := coded(t, a, make([]byte, 4<<20))
	refused("megabytes for a few bytes", a, bomb, 100)
}

var errDisk = errors.New("disk is broken")

type broken struct{}

func (broken) Read([]byte) (int, error)  { return 0, errDisk }
func (broken) Write([]byte) (int, error) { return 0, errDisk }

func TestOtherErrorsAreToldApart(t *testing.T) {
	t.Parallel()
	a, b := versions(5, 3_000)
	z := coded(t, a, b)
	if err := Decode(t.Context(), io.Discard, a, broken{}, int64(len(b))); !errors.Is(err, errDisk) || slipstream.ReasonOf(err, "") != "" {
		t.Errorf("read: %v", err)
	}
	if err := Decode(t.Context(), broken{}, a, bytes.NewReader(z), int64(len(b))); !errors.Is(err, errDisk) || slipstream.ReasonOf(err, "") != "" {
		t.Errorf("write: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Decode(ctx, io.Discard, a, bytes.NewReader(z), int64(len(b))); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	a, b := versions(6, 600)
	z := coded(f, a, b)
	f.Add(a, z[HeaderSize:], 600)
	f.Add([]byte("x"), []byte(nil), 0)
	f.Fuzz(func(t *testing.T, dictionary, frame []byte, size int) {
		if len(dictionary) == 0 || size < 0 || size > 1<<16 {
			return
		}
		sum := sha256.Sum256(dictionary)
		got, err := decoded(t.Context(), dictionary, append(append([]byte(magic), sum[:]...), frame...), size)
		if len(got) > size || err == nil && len(got) != size {
			t.Fatalf("%d bytes of %d, error %v", len(got), size, err)
		}
	})
}

func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("the old body"), []byte("the new body"))
	f.Fuzz(func(t *testing.T, dictionary, body []byte) {
		if len(dictionary) == 0 {
			return
		}
		if got, err := decoded(t.Context(), dictionary, coded(t, dictionary, body), len(body)); err != nil || !bytes.Equal(got, body) {
			t.Fatalf("%d of %d bytes come back, error %v", len(got), len(body), err)
		}
	})
}
