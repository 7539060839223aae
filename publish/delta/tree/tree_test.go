package tree

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish/delta/hermes"
	"github.com/slipstream-ota/slipstream/publish/delta/patch"
)

// contents is a tree in memory: path to content. A path that ends in "*" may be run.
type contents map[string]string

func (c contents) tree() Tree {
	var t Tree
	paths := slices.SortedFunc(maps.Keys(c), func(a, b string) int { return strings.Compare(strings.TrimSuffix(a, "*"), strings.TrimSuffix(b, "*")) })
	for _, p := range paths {
		name, exec := strings.CutSuffix(p, "*")
		t.Files = append(t.Files, slipstream.File{Path: name, Size: int64(len(c[p])), SHA256: slipstream.DigestOf(sha256.Sum256([]byte(c[p]))), Exec: exec})
	}
	t.Open = func(i int) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(c[paths[i]])), nil }
	return t
}

func single(content string) Tree {
	t := contents{"name": content}.tree()
	t.Single = true
	return t
}

// taken is a Sink in memory.
type taken struct {
	old  Tree
	got  contents
	open int
}

type takenFile struct {
	bytes.Buffer
	t    *taken
	name string
}

func (f *takenFile) Close() error {
	f.t.open--
	f.t.got[f.name] = f.String()
	return nil
}

func key(f slipstream.File) string {
	if f.Exec {
		return f.Path + "*"
	}
	return f.Path
}

func (t *taken) Create(f slipstream.File) (io.WriteCloser, error) {
	t.open++
	return &takenFile{t: t, name: key(f)}, nil
}

func (t *taken) Keep(f, old slipstream.File) error {
	i := slices.IndexFunc(t.old.Files, func(o slipstream.File) bool { return t.old.Single || o.Path == old.Path })
	r, err := t.old.Open(i)
	if err != nil {
		return err
	}
	b, err := io.ReadAll(r)
	t.got[key(f)] = string(b)
	return err
}

func (t *taken) Repeat(f, of slipstream.File) error {
	t.got[key(f)] = t.got[key(of)]
	return nil
}

func applied(ctx context.Context, old Tree, p []byte, l Limits) (contents, error) {
	s := &taken{old: old, got: contents{}}
	_, err := Apply(ctx, old, func(files []int) (io.ReaderAt, error) {
		_, size := inBase(old.Files, nil)
		b, err := old.gather(ctx, nil, files, size)
		return bytes.NewReader(b), err
	}, bytes.NewReader(p), l, s)
	if s.open != 0 {
		return s.got, fmt.Errorf("%d files are still open (%w)", s.open, err)
	}
	return s.got, err
}

func made(t testing.TB, old, new Tree) ([]byte, Stats) {
	t.Helper()
	p, s, err := Diff(t.Context(), old, new, patch.Options{Profile: patch.ProfileSimple, Workers: 1})
	if err != nil {
		t.Fatalf("diff: %v", err)
	}
	return p, s
}

func text(seed uint64, lines int) string {
	r := rand.New(rand.NewPCG(seed, 1))
	var b strings.Builder
	for range lines {
		fmt.Fprintf(&b, "const v%d = %d\n", r.UintN(999), r.Uint32())
	}
	return b.String()
}

func TestATreeComesBack(t *testing.T) {
	t.Parallel()
	a, b, c := text(1, 300), text(2, 300), text(3, 300)
	edit := strings.Replace(a, "const", "let", 3)
	for name, p := range map[string][2]contents{
		"both empty":         {{}, {}},
		"from nothing":       {{}, {"a": a, "d/b*": b, "empty": ""}},
		"to nothing":         {{"a": a, "b": b}, {}},
		"the same":           {{"a": a, "b/c": b}, {"a": a, "b/c": b}},
		"one changed":        {{"a": a, "b": b}, {"a": edit, "b": b}},
		"renamed":            {{"old/a": a, "b": b}, {"new/a": a, "b": b}},
		"renamed and edited": {{"old/a-1.js": a, "b": b}, {"old/a-2.js": edit, "b": b}},
		"swapped":            {{"a": a, "b": b}, {"a": b, "b": a}},
		"mode":               {{"a": a, "b*": b}, {"a*": a, "b": b}},
		"mode and content":   {{"a": a}, {"a*": edit}},
		"copies":             {{"a": a}, {"a": a, "b": a, "c*": a}},
		"new ones alike":     {{"z": a}, {"a": c, "b": c, "c*": c, "z": a}},
		"emptied":            {{"a": a, "b": b}, {"a": "", "b": b}},
		"many":               {{"a": a, "b": b, "c": "1", "d": "2", "e/f": "3", "g": "4"}, {"a": edit, "aa": "5", "c": "1", "d": "x", "e/f": "3", "e/g": c, "h": "4"}},
	} {
		old, new := p[0].tree(), p[1].tree()
		patch, _ := made(t, old, new)
		got, err := applied(t.Context(), old, patch, Limits{})
		if err != nil || !maps.Equal(got, p[1]) {
			t.Errorf("%s: error %v, %d files of %d", name, err, len(got), len(p[1]))
		}
		if again, _ := made(t, old, new); !bytes.Equal(again, patch) {
			t.Errorf("%s: made twice it differs", name)
		}
	}
}

func TestAFileComesBack(t *testing.T) {
	t.Parallel()
	for _, p := range [][2]string{{"", ""}, {"a", ""}, {"", "a"}, {text(4, 100), text(4, 101)}} {
		old := single(p[0])
		inner, _ := made(t, old, single(p[1]))
		got, err := applied(t.Context(), old, inner, Limits{})
		if err != nil || len(got) != 1 || got[""] != p[1] {
			t.Errorf("%d to %d bytes: error %v", len(p[0]), len(p[1]), err)
		}
	}
	whole, _ := made(t, single(text(4, 100)), single(text(4, 101)))
	if _, err := applied(t.Context(), single("another"), whole, Limits{}); slipstream.ReasonOf(err, "") != slipstream.ReasonContainerInvalid {
		t.Errorf("another file: %v", err)
	}
	if _, _, err := Diff(t.Context(), single("a"), contents{"a": "b"}.tree(), patch.Options{}); !errors.Is(err, slipstream.ErrInvalid) {
		t.Errorf("a file and a tree: %v", err)
	}
}

// Whoever applies a patch to one file need not hash it: what it makes proves it, and only what goes wrong is looked into.
func TestAFileMayComeWithoutItsHash(t *testing.T) {
	t.Parallel()
	a := text(1, 300)
	edit := strings.Replace(a, "const", "let", 3)
	for name, p := range map[string][2]string{"changed": {a, edit}, "the same": {a, a}, "emptied": {a, ""}, "from nothing": {"", a}, "nothing at all": {"", ""}} {
		patch, _ := made(t, single(p[0]), single(p[1]))
		for _, exec := range []bool{false, true} {
			old := single(p[0])
			old.Files[0].SHA256 = ""
			s := &taken{old: old, got: contents{}}
			old.Files[0].Exec = exec // not what the patch was made for
			files, err := Apply(t.Context(), old, func([]int) (io.ReaderAt, error) { return strings.NewReader(p[0]), nil }, bytes.NewReader(patch), Limits{}, s)
			if exec {
				if err == nil || !strings.Contains(err.Error(), "another old file") {
					t.Errorf("%s: a file that may be run, for one that may not: %v", name, err)
				}
				continue
			}
			if err != nil || len(files) != 1 || s.got[""] != p[1] || files[0].SHA256 != slipstream.DigestOf(sha256.Sum256([]byte(p[1]))) {
				t.Errorf("%s: %v, %d bytes", name, err, len(s.got[""]))
			}
		}
		other := text(9, 300)
		wrong := single(other)
		wrong.Files[0].SHA256 = ""
		_, err := Apply(t.Context(), wrong, func([]int) (io.ReaderAt, error) { return strings.NewReader(other), nil }, bytes.NewReader(patch), Limits{}, &taken{old: wrong, got: contents{}})
		if reason := slipstream.ReasonOf(err, ""); reason != slipstream.ReasonContainerInvalid || !strings.Contains(err.Error(), "another old file") {
			t.Errorf("%s: another old file: %v", name, err)
		}
	}
}

func TestAPatchHoldsOnlyWhatIsNew(t *testing.T) {
	t.Parallel()
	old, new := contents{}, contents{}
	for i := range 500 {
		old[fmt.Sprintf("dir/%03d.js", i)] = text(uint64(i), 20)
		new[fmt.Sprintf("dir/%03d.js", i)] = text(uint64(i), 20)
	}
	delete(new, "dir/100.js")
	new["moved/100.js"] = old["dir/100.js"]
	new["dir/200.js"] = strings.Replace(old["dir/200.js"], "const", "let", 1)
	p, s := made(t, old.tree(), new.tree())
	if s.Kept != 498 || s.Copied != 1 || s.Changed != 1 || s.Dropped != 1 {
		t.Errorf("stats: %+v", s)
	}
	if len(p) > headerSize+70 {
		t.Errorf("%d bytes for a move and one line", len(p))
	}
}

// assemble writes a patch as a stranger would.
func assemble(t *testing.T, old Tree, ops []byte, carried string, total int) []byte {
	t.Helper()
	h := hashList(old.Files, old.Single)
	out := append([]byte(magic), version, 0)
	out = append(out, h[:tagSize]...)
	out = append(out, make([]byte, sha256.Size)...)
	out = append(out, 0)
	out = binary.AppendUvarint(out, uint64(len(ops)))
	out = binary.AppendUvarint(out, uint64(total))
	_, size := inBase(old.Files, nil)
	base, err := old.gather(t.Context(), nil, []int{0, 1}, size)
	if err != nil {
		t.Fatal(err)
	}
	inner, _, err := patch.Diff(t.Context(), base, append(slices.Clone(ops), carried...), patch.Options{Profile: patch.ProfileSimple, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	return append(out, inner...)
}

func TestHostilePatchesAreRefused(t *testing.T) {
	t.Parallel()
	old := contents{"a": "one", "b": "two"}.tree()
	op := func(n, op int, arg ...byte) []byte { return append(binary.AppendUvarint(nil, uint64(n<<3|op)), arg...) }
	path := func(p string, arg ...byte) []byte { return append(append([]byte{0, byte(len(p))}, p...), arg...) }
	keepAll := op(2, opKeep)
	for name, c := range map[string]struct {
		ops     []byte
		carried string
	}{
		"more old files than there are":   {op(3, opKeep), ""},
		"old files left over":             {op(1, opKeep), ""},
		"an operation for none":           {append(op(0, opKeep), keepAll...), ""},
		"an operation for too many":       {op(1<<28, opAdd), ""},
		"an operation that is not known":  {append(keepAll, op(1, 7, path("c", 0, 0)...)...), ""},
		"a path outside":                  {append(op(2, opDrop), op(1, opAdd, path("../c", 0, 1)...)...), "x"},
		"an absolute path":                {append(op(2, opDrop), op(1, opAdd, path("/c", 0, 1)...)...), "x"},
		"a path of another system":        {append(op(2, opDrop), op(1, opAdd, path(`c\d`, 0, 1)...)...), "x"},
		"a drive":                         {append(op(2, opDrop), op(1, opAdd, path("c:d", 0, 1)...)...), "x"},
		"an empty path":                   {append(op(2, opDrop), op(1, opAdd, path("", 0, 1)...)...), "x"},
		"a path twice":                    {append(op(1, opKeep), op(1, opCopy, path("a", 0, 0)...)...), ""},
		"a path that is cut off":          {append(keepAll, op(1, opAdd, 0, 200, 'c')...), ""},
		"a mode that is none":             {append(keepAll, op(1, opAdd, path("c", 2, 1)...)...), "x"},
		"a path that begins like nothing": {append(keepAll, op(1, opAdd, 9, 1, 'c', 0, 1)...), "x"},
		"a copy of nothing":               {append(keepAll, op(1, opCopy, path("c", 0, 2)...)...), ""},
		"a repeat of nothing":             {append(keepAll, op(1, opRepeat, path("c", 0, 0)...)...), ""},
		"a size below zero":               {append(op(1, opChange, 9), op(1, opKeep)...), ""},
		"more bytes than it carries":      {append(keepAll, op(1, opAdd, path("c", 0, 9)...)...), "x"},
		"less bytes than it carries":      {append(keepAll, op(1, opAdd, path("c", 0, 1)...)...), "xyz"},
		"carried bytes for no file":       {keepAll, "xyz"},
		"another tree than it says":       {keepAll, ""},
		"operations that are cut off":     {append(keepAll, 0x80), ""},
	} {
		_, err := applied(t.Context(), old, assemble(t, old, c.ops, c.carried, len(c.ops)+len(c.carried)), Limits{})
		if slipstream.ReasonOf(err, "") != slipstream.ReasonContainerInvalid {
			t.Errorf("%s: error is %v", name, err)
		}
	}
	big := contents{"a": strings.Repeat("x", 10_000), "b": ""}.tree()
	var bomb []byte
	for i := range 50 {
		bomb = append(bomb, path(fmt.Sprintf("c%02d", i), 0, 0)...)
	}
	_, err := applied(t.Context(), big, assemble(t, big, append(op(2, opKeep), op(50, opCopy, bomb...)...), "", len(bomb)+4), Limits{})
	if slipstream.ReasonOf(err, "") != slipstream.ReasonContainerInvalid {
		t.Errorf("fifty copies: error is %v", err)
	}
}

func TestDamagedPatchesAreRefused(t *testing.T) {
	t.Parallel()
	old := contents{"a": text(1, 30), "b": text(2, 30)}
	new := contents{"a": text(1, 31), "c": text(2, 30), "d": "new"}
	p, _ := made(t, old.tree(), new.tree())
	check := func(name string, tree contents, p []byte, l Limits) {
		t.Helper()
		if _, err := applied(t.Context(), tree.tree(), p, l); slipstream.ReasonOf(err, "") != slipstream.ReasonContainerInvalid {
			t.Errorf("%s: error is %v", name, err)
		}
	}
	for n := range p {
		check(fmt.Sprintf("cut to %d bytes", n), old, p[:n], Limits{})
	}
	check("one byte more", old, append(bytes.Clone(p), 0), Limits{})
	check("another tree", new, p, Limits{})
	check("another mode", contents{"a*": old["a"], "b": old["b"]}, p, Limits{})
	check("more than is allowed", old, p, Limits{Carried: 10})
	check("a larger tree than is allowed", old, p, Limits{Total: 10})
	for bit := range len(p) * 8 {
		bad := bytes.Clone(p)
		bad[bit/8] ^= 1 << (bit % 8)
		got, err := applied(t.Context(), old.tree(), bad, Limits{})
		if err == nil && !maps.Equal(got, new) {
			t.Fatalf("bit %d turned: another tree without an error", bit)
		}
	}
}

func FuzzApply(f *testing.F) {
	old := contents{"a": text(1, 3), "b/c": text(2, 3)}.tree()
	p, _ := made(f, old, contents{"a": text(1, 4), "b/d*": text(2, 3), "e": "x"}.tree())
	f.Add(p[6+tagSize:])
	h := hashList(old.Files, false)
	head := append(append([]byte(magic), version, 0), h[:tagSize]...)
	f.Fuzz(func(t *testing.T, rest []byte) {
		got, err := applied(t.Context(), old, append(bytes.Clone(head), rest...), Limits{Carried: 1 << 16, Memory: 1 << 20})
		if err != nil {
			return
		}
		if _, err := Check(t.Context(), bytes.NewReader(append(bytes.Clone(head), rest...)), patch.MaxMemory); err != nil {
			t.Fatalf("it can be applied, and yet it is refused without its base: %v", err)
		}
		if tree := got.tree(); tree.check("new") != nil || hashList(tree.Files, false) != [32]byte(rest[:32]) {
			t.Fatal("a tree that is none, or not the one in the patch")
		}
	})
}

// Bytecode of many megabytes beside other files is restored by way of a scratch file, and comes back.
func TestLargeBytecodeComesBack(t *testing.T) {
	t.Parallel()
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join("..", "hermes", "testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	more := strings.Repeat(text(7, 1000), 100) // how large new bytecode is stands behind what is carried, so this counts
	old := contents{"a.txt": "text", "b.hbc": read("one.hbc"), "c.txt": more, "d.hbc": read("debug.hbc")}
	new := contents{"a.txt": "texts", "b.hbc": read("two.hbc"), "c.txt": more + "!", "d.hbc": read("debug.hbc") + "!", "e.txt": strings.Repeat(text(8, 1000), 100)}
	p, s := made(t, old.tree(), new.tree())
	if s.Rewritten != 1 {
		t.Fatalf("%d files are rewritten", s.Rewritten)
	}
	files := 0
	l := Limits{Scratch: func() (hermes.Scratch, error) {
		files++
		f, err := os.Create(filepath.Join(t.TempDir(), "scratch"))
		if err == nil {
			t.Cleanup(func() { f.Close() })
		}
		return f, err
	}}
	got, err := applied(t.Context(), old.tree(), p, l)
	if err != nil || !maps.Equal(got, new) {
		t.Errorf("it does not come back: %v", err)
	}
	if files != 1 {
		t.Errorf("%d scratch files are made", files)
	}
	for i := range 9 { // whatever strangers make of it
		b := slices.Clone(p)
		b[len(b)*i/9] ^= 0x44
		if got, err := applied(t.Context(), old.tree(), b, l); err == nil && !maps.Equal(got, new) {
			t.Errorf("byte %d: other files are made, and no error", len(b)*i/9)
		}
	}
}

// padded makes a file of bytecode larger by bytes that nothing in it names, zeros and a last one.
func padded(t *testing.T, name string, size int, last byte) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "hermes", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	const sizeAt, footer = 32, 20
	b = append(b[:len(b)-footer], make([]byte, size)...)
	b[len(b)-1] = last
	binary.LittleEndian.PutUint32(b[sizeAt:], uint32(len(b)+footer))
	sum := sha1.Sum(b)
	return string(append(b, sum[:]...))
}

// To take rewriting back takes a reader time whatever changed, so it must save something.
func TestBytecodeIsRewrittenWhereThatPays(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		old, new  string
		rewritten int
	}{
		"another compile":              {padded(t, "one.hbc", 1, 0), padded(t, "two.hbc", 1, 0), 1},
		"of a larger program":          {padded(t, "one.hbc", 1<<20, 0), padded(t, "two.hbc", 1<<20, 0), 1},
		"of one with more to rewrite":  {padded(t, "one.hbc", 8<<20, 0), padded(t, "two.hbc", 8<<20, 0), 0},
		"one byte":                     {padded(t, "one.hbc", 1<<20, 0), padded(t, "one.hbc", 1<<20, 1), 0},
		"another program, mostly more": {padded(t, "one.hbc", 1, 0), padded(t, "debug.hbc", 1, 0), 1},
	} {
		old, new := contents{"app.hbc": c.old}, contents{"app.hbc": c.new}
		for _, profile := range []string{patch.ProfileRich, patch.ProfileSimple} {
			p, s, err := Diff(t.Context(), old.tree(), new.tree(), patch.Options{Profile: profile, Streams: []string{patch.StreamZstd}})
			if err != nil {
				t.Fatal(err)
			}
			if s.Rewritten != c.rewritten {
				t.Errorf("%s, %s: %d files are rewritten for a patch of %d bytes", name, profile, s.Rewritten, len(p))
			}
			if got, err := applied(t.Context(), old.tree(), p, Limits{}); err != nil || !maps.Equal(got, new) {
				t.Errorf("%s, %s: it does not come back: %v", name, profile, err)
			}
		}
	}
}
