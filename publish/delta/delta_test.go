package delta

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream"
)

// tree is a release in memory: path → content.
type tree map[string]string

func (t tree) manifest() *slipstream.Manifest {
	m := &slipstream.Manifest{}
	for p, c := range t {
		m.Files = append(m.Files, slipstream.File{Path: p, Size: int64(len(c)), SHA256: slipstream.DigestOf(sha256.Sum256([]byte(c)))})
	}
	slices.SortFunc(m.Files, func(a, b slipstream.File) int { return strings.Compare(a.Path, b.Path) })
	return m
}

func (t tree) open(f slipstream.File) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(t[f.Path])), nil
}

// encode fails the test on any error.
func encode(t testing.TB, old, new tree) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Encode(t.Context(), &b, base(old), new.manifest(), new.open); err != nil {
		t.Fatal("encode:", err)
	}
	return b.Bytes()
}

func base(old tree) *slipstream.Manifest {
	if old == nil {
		return nil
	}
	return old.manifest()
}

// memorySink builds a tree and breaks on anything that a Sink may not be asked for.
type memorySink struct {
	old, got tree
	named    map[string]int64 // path → signed size
	phase    int
}

func newSink(old tree, new *slipstream.Manifest) *memorySink {
	s := &memorySink{old: old, got: tree{}, named: map[string]int64{}}
	for _, f := range new.Files {
		s.named[f.Path] = f.Size
	}
	return s
}

func (s *memorySink) enter(f slipstream.File, phase int) error {
	if _, ok := s.named[f.Path]; !ok {
		return fmt.Errorf("%q is not named", f.Path)
	}
	if _, ok := s.got[f.Path]; ok {
		return fmt.Errorf("%q comes twice", f.Path)
	}
	if phase < s.phase {
		return fmt.Errorf("%q comes out of order", f.Path)
	}
	s.phase = phase
	return nil
}

func (s *memorySink) Keep(f, old slipstream.File) error {
	if err := s.enter(f, 0); err != nil {
		return err
	}
	s.got[f.Path] = s.old[old.Path]
	return nil
}

func (s *memorySink) Create(f slipstream.File) (io.WriteCloser, error) {
	return &memoryFile{sink: s, f: f}, s.enter(f, 1)
}

func (s *memorySink) Duplicate(f, of slipstream.File) error {
	if err := s.enter(f, 2); err != nil {
		return err
	}
	c, ok := s.got[of.Path]
	if !ok {
		return fmt.Errorf("%q is duplicated before it is there", of.Path)
	}
	s.got[f.Path] = c
	return nil
}

type memoryFile struct {
	sink *memorySink
	f    slipstream.File
	b    bytes.Buffer
}

func (m *memoryFile) Write(p []byte) (int, error) {
	if int64(m.b.Len()+len(p)) > m.sink.named[m.f.Path] {
		return 0, fmt.Errorf("%q is written beyond its signed size", m.f.Path)
	}
	return m.b.Write(p)
}

func (m *memoryFile) Close() error {
	m.sink.got[m.f.Path] = m.b.String()
	return nil
}

func applyTree(ctx context.Context, container []byte, old, new tree) (tree, error) {
	m := new.manifest()
	sink := newSink(old, m)
	err := Apply(ctx, bytes.NewReader(container), base(old), m, sink)
	return sink.got, err
}

func wantTree(t testing.TB, got, want tree) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d files, want %d", len(got), len(want))
	}
	for p, c := range want {
		if got[p] != c {
			t.Fatalf("content of %q differs", p)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	big := strings.Repeat("all work and no play makes a dull release\n", 5000)
	for name, c := range map[string]struct{ old, new tree }{
		"full":                        {nil, tree{"a.js": "one", "b/c.css": "two"}},
		"full of one empty file":      {nil, tree{"empty": ""}},
		"from an empty base":          {tree{}, tree{"a": "one"}},
		"nothing changed":             {tree{"a": "one", "b": "two"}, tree{"a": "one", "b": "two"}},
		"everything changed":          {tree{"a": "one", "b": "two"}, tree{"a": "three", "b": "four"}},
		"everything new":              {tree{"a": "one"}, tree{"c": "three"}},
		"renamed":                     {tree{"old/name": big}, tree{"new/name": big}},
		"folder renamed":              {tree{"x/1": "a", "x/2": "b", "x/3": "c"}, tree{"y/1": "a", "y/2": "b", "y/3": "c"}},
		"two files swapped":           {tree{"a": "one", "b": "two"}, tree{"a": "two", "b": "one"}},
		"duplicate of a new file":     {tree{"z": "z"}, tree{"a": big, "b": big, "c": big}},
		"duplicate of a base file":    {tree{"a": big}, tree{"a": big, "b": big}},
		"many empty files":            {tree{"a": ""}, tree{"a": "", "b": "", "c": ""}},
		"a file became a folder":      {tree{"a": "one"}, tree{"a/b": "one"}},
		"file larger than the window": {nil, tree{"big": strings.Repeat(big, 60)}},
		"names that sort oddly":       {nil, tree{"a.b": "1", "a/b": "2", "a-b": "3", "ä": "4"}},
	} {
		t.Run(name, func(t *testing.T) {
			container := encode(t, c.old, c.new)
			got, err := applyTree(t.Context(), container, c.old, c.new)
			if err != nil {
				t.Fatal(err)
			}
			wantTree(t, got, c.new)
		})
	}
}

// randomTree makes trees that share contents and paths, so that all operations occur.
func randomTree(r *rand.Rand) tree {
	t := tree{}
	for range r.IntN(40) {
		p := fmt.Sprintf("%c/%d.%s", 'a'+rune(r.IntN(3)), r.IntN(15), []string{"js", "css", "png"}[r.IntN(3)])
		t[p] = strings.Repeat(fmt.Sprintf("content %d;", r.IntN(12)), r.IntN(4)*r.IntN(2000))
	}
	return t
}

func TestRoundTripOfRandomTrees(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 80 {
		old, new := randomTree(r), randomTree(r)
		if r.IntN(4) == 0 {
			old = nil
		}
		container := encode(t, old, new)
		got, err := applyTree(t.Context(), container, old, new)
		if err != nil {
			t.Fatal(err)
		}
		wantTree(t, got, new)
		if !bytes.Equal(container, encode(t, old, new)) {
			t.Fatal("the same input gave other bytes")
		}
	}
}

func TestFullContainerNeedsNoBase(t *testing.T) {
	new := tree{"a": "one", "b": "two"}
	got, err := applyTree(t.Context(), encode(t, nil, new), tree{"a": "zero"}, new)
	if err != nil {
		t.Fatal(err)
	}
	wantTree(t, got, new)
}

func TestOnlyTheExecutableBitChanged(t *testing.T) {
	tr := tree{"run": "#!/bin/sh"}
	old, new := tr.manifest(), tr.manifest()
	new.Files[0].Exec = true
	var b bytes.Buffer
	if err := Encode(t.Context(), &b, old, new, nil); err != nil { // nothing is opened
		t.Fatal(err)
	}
	sink := newSink(tr, new)
	if err := Apply(t.Context(), &b, old, new, sink); err != nil {
		t.Fatal(err)
	}
	wantTree(t, sink.got, tr)
}

// TestOverhead: what is not content costs next to nothing, also for very many files.
func TestOverhead(t *testing.T) {
	old := tree{}
	for i := range 5000 {
		old[fmt.Sprintf("assets/%05d.js", i)] = fmt.Sprint("content ", i)
	}
	if n := len(encode(t, old, old)); n > 64 {
		t.Errorf("nothing changed in 5000 files costs %d bytes", n)
	}
	moved := tree{}
	for p, c := range old {
		moved["v2/"+p] = c
	}
	if n := len(encode(t, old, moved)); n > 64 {
		t.Errorf("5000 moved files cost %d bytes", n)
	}
	one := tree{}
	for p, c := range old {
		one[p] = c
	}
	one["assets/02500.js"] = "x"
	if n := len(encode(t, old, one)); n > 64 {
		t.Errorf("one changed file of one byte costs %d bytes", n)
	}
}

func TestAlikeFilesCompressTogether(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	noise := make([]byte, 20<<10)
	for i := range noise {
		noise[i] = byte(r.IntN(256))
	}
	tr := tree{}
	for i := range 20 {
		tr[fmt.Sprintf("%d/lib.js", i)] = fmt.Sprint(i) + string(noise)
	}
	if n := len(encode(t, nil, tr)); n > 2*len(noise) {
		t.Errorf("20 nearly equal files of %d bytes take %d", len(noise), n)
	}
}

func TestEncodeRefusesContentThatIsNotTheSigned(t *testing.T) {
	for name, content := range map[string]string{"other": "two", "longer": "one!", "shorter": "on", "endless": ""} {
		t.Run(name, func(t *testing.T) {
			open := func(slipstream.File) (io.ReadCloser, error) {
				if name == "endless" {
					return io.NopCloser(zeros{}), nil
				}
				return io.NopCloser(strings.NewReader(content)), nil
			}
			err := Encode(t.Context(), io.Discard, nil, tree{"a": "one"}.manifest(), open)
			if slipstream.ReasonOf(err, "") != slipstream.ReasonFileMismatch {
				t.Fatal(err)
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestErrorsOfOthersPassUnchanged(t *testing.T) {
	broken := errors.New("broken pipe")
	new := tree{"a": strings.Repeat("one", 1000), "b": "two"}
	container := encode(t, tree{"b": "two"}, new)
	t.Run("of the reader", func(t *testing.T) {
		for n := range len(container) {
			r := io.MultiReader(bytes.NewReader(container[:n]), failing{broken})
			m := new.manifest()
			err := Apply(t.Context(), r, tree{"b": "two"}.manifest(), m, newSink(tree{"b": "two"}, m))
			if !errors.Is(err, broken) || slipstream.ReasonOf(err, "none") != "none" {
				t.Fatalf("after %d bytes: %v", n, err)
			}
		}
	})
	t.Run("of the reader of a patch", func(t *testing.T) {
		old := tree{"a.hbc": bytecodeFile(t, "one.hbc")}
		new := tree{"a.hbc": bytecodeFile(t, "two.hbc")}
		c := encodeDeltas(t, old, new, CodecSimpleHermes)[0].Container
		if c[5] != codecRewritten {
			t.Fatal("nothing is rewritten")
		}
		for n := 0; n < len(c); n += 1 + n/64 {
			r := io.MultiReader(bytes.NewReader(c[:n]), failing{broken})
			err := ApplyDelta(t.Context(), r, old.manifest(), new.manifest(), old.openAt, newSink(old, new.manifest()), ApplyLimits{})
			if !errors.Is(err, broken) || slipstream.ReasonOf(err, "none") != "none" {
				t.Fatalf("after %d bytes: %v", n, err)
			}
		}
	})
	t.Run("of the sink", func(t *testing.T) {
		err := Apply(t.Context(), bytes.NewReader(container), tree{"b": "two"}.manifest(), new.manifest(), failing{broken})
		if !errors.Is(err, broken) || slipstream.ReasonOf(err, "none") != "none" {
			t.Fatal(err)
		}
	})
	t.Run("of the opener", func(t *testing.T) {
		err := Encode(t.Context(), io.Discard, nil, new.manifest(), func(slipstream.File) (io.ReadCloser, error) { return nil, broken })
		if !errors.Is(err, broken) {
			t.Fatal(err)
		}
	})
	t.Run("of the context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := applyTree(ctx, container, tree{"b": "two"}, new); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	})
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error)                         { return 0, f.err }
func (f failing) Create(slipstream.File) (io.WriteCloser, error)   { return nil, f.err }
func (f failing) Keep(slipstream.File, slipstream.File) error      { return f.err }
func (f failing) Duplicate(slipstream.File, slipstream.File) error { return f.err }
