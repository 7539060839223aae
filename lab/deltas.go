package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish/delta"
)

// deltas attack the codecs that rebuild files, as a device applies them.
func deltas() Proof {
	return Proof{
		Name:  "deltas",
		Claim: "a container with a patch makes exactly the signed files or is refused, whatever became of it or of the base, within its bounds",
		Quick: 100 * time.Second, Full: 30 * time.Minute, Long: 17 * time.Second,
		Needs: []Need{NeedSource()},
		Run:   runDeltas,
	}
}

// deltaBombMemory bounds what a hostile container may make a device allocate in all, in bytes: the tables that its codec
// allows, and what reading takes beside them.
const deltaBombMemory = 32 << 20

// folder is the content of a release, by path.
type folder map[string][]byte

func (f folder) manifest() *slipstream.Manifest {
	m := &slipstream.Manifest{}
	for _, p := range slices.Sorted(maps.Keys(f)) {
		m.Files = append(m.Files, slipstream.File{Path: p, Size: int64(len(f[p])), SHA256: slipstream.DigestOf(sha256.Sum256(f[p]))})
	}
	return m
}

func (f folder) open(file slipstream.File) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(f[file.Path])), nil
}

func (f folder) at(file slipstream.File) (delta.Content, error) {
	return struct {
		io.ReaderAt
		io.Closer
	}{bytes.NewReader(f[file.Path]), io.NopCloser(nil)}, nil
}

func (f folder) encode(ctx context.Context, new folder, codecs ...string) ([]delta.Delta, error) {
	return delta.EncodeDeltas(ctx, codecs, f.manifest(), new.manifest(), f.open, new.open, delta.DeltaOptions{Workers: 1})
}

// rebuilt is a Sink that keeps complete files.
type rebuilt struct {
	old   folder
	files folder
	bytes int64 // written, complete or not
}

type rebuiltFile struct {
	bytes.Buffer
	to   *rebuilt
	path string
}

func (f *rebuiltFile) Write(p []byte) (int, error) {
	f.to.bytes += int64(len(p))
	return f.Buffer.Write(p)
}

func (f *rebuiltFile) Close() error {
	f.to.files[f.path] = f.Bytes()
	return nil
}

func (r *rebuilt) Create(f slipstream.File) (io.WriteCloser, error) {
	return &rebuiltFile{to: r, path: f.Path}, nil
}

func (r *rebuilt) Keep(f, old slipstream.File) error {
	r.files[f.Path] = r.old[old.Path]
	return nil
}

func (r *rebuilt) Duplicate(f, of slipstream.File) error {
	r.files[f.Path] = r.files[of.Path]
	return nil
}

// deltaTrial is a pair of releases and a container between them.
type deltaTrial struct {
	name     string
	old, new folder
	codec    string
	made     []byte
}

// apply applies what the container became over what the base became, and gives what is wrong about that: "" when the
// files are the signed ones, or the container was refused with a reason of its own and no byte more than signed was written.
func (t *deltaTrial) apply(ctx context.Context, container io.Reader, base folder) (problem string, accepted bool) {
	memory, _ := delta.MemoryOf(t.codec)
	target := t.new.manifest()
	sink := &rebuilt{old: t.old, files: folder{}}
	err := delta.ApplyDelta(ctx, container, t.old.manifest(), target, base.at, sink, delta.ApplyLimits{Memory: memory})
	if sink.bytes > target.Size() {
		return fmt.Sprintf("%d bytes were written, signed are %d", sink.bytes, target.Size()), false
	}
	if err == nil {
		if !maps.EqualFunc(sink.files, t.new, bytes.Equal) {
			return "accepted, and the files are not those that were signed", true
		}
		return "", true
	}
	switch slipstream.ReasonOf(err, "") {
	case slipstream.ReasonContainerInvalid, slipstream.ReasonFileMismatch:
		return "", false
	}
	return fmt.Sprintf("refused without a reason: %v", err), false
}

func runDeltas(ctx context.Context, env Env) (Result, error) {
	rng := rand.New(rand.NewPCG(env.Seed, 77))
	c := &tally{}
	trials, err := deltaTrials(ctx, env.Source)
	if err != nil {
		return Result{}, err
	}
	at := 0
	since := func() int {
		n := c.tried - at
		at = c.tried
		return n
	}
	for _, t := range trials {
		if err := changeDelta(ctx, t, c, env.Quick, rng); err != nil {
			return c.result("stopped"), err
		}
	}
	changed := since()
	for _, t := range trials {
		wrongBases(ctx, t, c, rng)
	}
	bases := since()
	for _, t := range trials {
		if err := bombs(ctx, t, c, env.Quick); err != nil {
			return c.result("stopped"), err
		}
	}
	bombed := since()
	if err := roundTrips(ctx, env, c, rng); err != nil {
		return c.result("stopped"), err
	}
	return c.result("containers of %d codecs: %d cut, changed and extended ones, %d over another base, %d bombs; %d between edited real files",
		len(trials), changed, bases, bombed, since()), nil
}

// deltaTrials makes a small container of every codec. What its bytes say matters: little is copied, little is the same.
func deltaTrials(ctx context.Context, source string) ([]*deltaTrial, error) {
	text := strings.Repeat("export function price(net){return net*1.19}\n", 40)
	old := folder{"app.js": []byte(text + "let a=1;\n" + text[:900]), "lib/b.css": []byte(strings.Repeat("body{margin:0}\n", 60)), "same": []byte("the same")}
	new := folder{"app.js": []byte(text[:700] + "let tax=0.07;\n" + text[500:] + "let a=2;\n"), "lib/c.css": []byte(strings.Repeat("body{margin:1}\n", 60)), "same": []byte("the same"), "empty": {}}
	var out []*deltaTrial
	for _, codec := range []string{delta.CodecRich, delta.CodecSimpleDeflate, delta.CodecSimpleZstd, delta.CodecSimpleBrotli} {
		out = append(out, &deltaTrial{name: codec, old: old, new: new, codec: codec})
	}
	code := &deltaTrial{name: delta.CodecHermes, codec: delta.CodecHermes, old: folder{}, new: folder{}}
	for name, to := range map[string]folder{"one.hbc": code.old, "two.hbc": code.new} {
		b, err := os.ReadFile(filepath.Join(source, "publish", "delta", "hermes", "testdata", name))
		if err != nil {
			return nil, fmt.Errorf("read bytecode: %w", err)
		}
		to["index.android.bundle"] = b
	}
	out = append(out, code)
	for _, t := range out {
		made, err := t.old.encode(ctx, t.new, t.codec)
		if err != nil {
			return nil, err
		}
		t.made = made[0].Container
		if problem, accepted := t.apply(ctx, bytes.NewReader(t.made), t.old); problem != "" || !accepted {
			return nil, fmt.Errorf("the whole container of %s does not do: %s", t.name, problem)
		}
	}
	return out, nil
}

// largeDelta is the size in bytes from which places and values are drawn: trying them all would take hours.
const largeDelta = 600

// changeDelta tries every truncation and, at every place, other bytes: each bit turned in the quick form, all values in
// the full one.
func changeDelta(ctx context.Context, t *deltaTrial, c *tally, quick bool, rng *rand.Rand) error {
	// A container that ends early always shows.
	for n := range t.made {
		if quick && rng.IntN(len(t.made)) >= largeDelta {
			continue
		}
		c.try(1)
		if problem, accepted := t.apply(ctx, bytes.NewReader(t.made[:n]), t.old); problem != "" || accepted {
			c.wrongf("%s, cut behind %d bytes: accepted %t %s", t.name, n, accepted, problem)
		}
	}
	// Another byte that leaves the files as they are is no harm.
	try := func(what string, b []byte) error {
		c.try(1)
		if problem, _ := t.apply(ctx, bytes.NewReader(b), t.old); problem != "" {
			c.wrongf("%s, %s: %s", t.name, what, problem)
		}
		return context.Cause(ctx)
	}
	for at := range t.made {
		var flips []byte
		for k := 1; k < 256; k++ {
			alone := k&(k-1) == 0 // one bit
			if (!quick || alone) && rng.IntN(len(t.made)) < largeDelta {
				flips = append(flips, byte(k))
			}
		}
		for _, flip := range flips {
			b := bytes.Clone(t.made)
			b[at] ^= flip
			if err := try(fmt.Sprintf("byte %d is %d", at, b[at]), b); err != nil {
				return err
			}
		}
	}
	for _, more := range [][]byte{{0}, {255}, t.made, bytes.Repeat([]byte{0}, 4096)} {
		if err := try(fmt.Sprintf("%d bytes more", len(more)), slices.Concat(t.made, more)); err != nil {
			return err
		}
	}
	return nil
}

// wrongBases applies the container over files that are not those of the base, as after damage on the device's disk.
func wrongBases(ctx context.Context, t *deltaTrial, c *tally, rng *rand.Rand) {
	damage := map[string]func([]byte) []byte{
		"zeros":         func(b []byte) []byte { return make([]byte, len(b)) },
		"a turned byte": func(b []byte) []byte { b = bytes.Clone(b); b[rng.IntN(len(b))] ^= 1; return b },
		"cut":           func(b []byte) []byte { return b[:len(b)/2] },
		"empty":         func([]byte) []byte { return nil },
		"noise": func(b []byte) []byte {
			b = bytes.Clone(b)
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
			return b
		},
	}
	for name, f := range damage {
		base := maps.Clone(t.old)
		for p, b := range base {
			if len(b) > 0 {
				base[p] = f(b)
			}
		}
		c.try(1)
		problem, _ := t.apply(ctx, bytes.NewReader(t.made), base)
		if strings.Contains(problem, io.ErrUnexpectedEOF.Error()) {
			problem = "" // a base that cannot be read is an error of the disk, and not of the container
		}
		if problem != "" {
			c.wrongf("%s over a base of %s: %s", t.name, name, problem)
		}
	}
}

// endless is a container that never ends.
type endless struct {
	head []byte
	next func() byte
	read int64
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.head)
	e.head = e.head[n:]
	for ; n < len(p); n++ {
		p[n] = e.next()
	}
	e.read += int64(n)
	return n, nil
}

// bombs are containers that want a device to read, write or hold without end.
func bombs(ctx context.Context, t *deltaTrial, c *tally, quick bool) error {
	const headerSize = 22
	limit := t.new.manifest().Size() + slipstream.ContainerOverhead + 1<<16
	var heads [][]byte
	for profile := range byte(7) {
		for _, class := range []byte{0, 17, 18, 24, 25, 28, 29, 64, 255} {
			heads = append(heads, []byte{0x50 + profile, class, 0}, []byte{0x50 + profile, class, 1}, binary.AppendVarint([]byte{0x50 + profile, class}, 1<<40))
		}
	}
	if t.codec == delta.CodecHermes {
		for _, h := range slices.Clone(heads) {
			heads = append(heads, slices.Concat([]byte{1, 0, 0}, h))
		}
		heads = append(heads, binary.AppendUvarint(nil, 1<<62), binary.AppendUvarint([]byte{1}, 1<<62), binary.AppendUvarint([]byte{1, 0}, 1<<62))
	}
	for i, h := range heads {
		state := uint32(i)
		for name, next := range map[string]func() byte{
			"zeros": func() byte { return 0 }, "ones": func() byte { return 255 },
			"noise": func() byte { state = state*1664525 + 1013904223; return byte(state >> 24) },
		} {
			e := &endless{head: slices.Concat(t.made[:headerSize], h), next: next}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			problem, accepted := t.apply(ctx, e, t.old)
			runtime.ReadMemStats(&after)
			c.try(1)
			switch used := after.TotalAlloc - before.TotalAlloc; {
			case problem != "" || accepted:
				c.wrongf("%s, %x and endless %s: accepted %t %s", t.name, h, name, accepted, problem)
			case e.read > limit:
				c.wrongf("%s, %x and endless %s: %d bytes were read, %d are due", t.name, h, name, e.read, limit)
			case !quick && used > deltaBombMemory: // in the quick form another proof allocates at the same time
				c.wrongf("%s, %x and endless %s: %d bytes were allocated", t.name, h, name, used)
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

// roundTrips edits real files of the project as releases do, and worse, and rebuilds them.
func roundTrips(ctx context.Context, env Env, c *tally, rng *rand.Rand) error {
	files, err := realFiles(env.Source)
	if err != nil {
		return err
	}
	rounds := 300
	if env.Quick {
		rounds = 12
	}
	codecs := []string{delta.CodecRich, delta.CodecHermes, delta.CodecSimpleDeflate, delta.CodecSimpleZstd, delta.CodecSimpleBrotli, delta.CodecSimpleHermes}
	for round := range rounds {
		old := folder{}
		for range 1 + rng.IntN(8) {
			p := files[rng.IntN(len(files))]
			b, err := os.ReadFile(p)
			if err != nil {
				return fmt.Errorf("read a file of the project: %w", err)
			}
			old[strings.TrimPrefix(filepath.ToSlash(p), filepath.ToSlash(env.Source)+"/")] = b
		}
		new := editFolder(old, rng)
		made, err := old.encode(ctx, new, codecs...)
		if err != nil {
			return err
		}
		for _, d := range made {
			t := &deltaTrial{old: old, new: new, codec: d.Codec}
			c.try(1)
			if problem, accepted := t.apply(ctx, bytes.NewReader(d.Container), old); problem != "" || !accepted {
				c.wrongf("round %d, %s: %q does not come back: %s", round, d.Codec, slices.Sorted(maps.Keys(old)), problem)
			}
		}
	}
	return nil
}

// realFiles lists what there is of text, code, pictures and bytecode in a checkout.
func realFiles(source string) ([]string, error) {
	var out []string
	err := filepath.WalkDir(source, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && p != source && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules" || d.Name() == "fuzz") {
			return fs.SkipDir
		}
		if info, err := d.Info(); err == nil && d.Type().IsRegular() && info.Size() < 1<<20 {
			out = append(out, p)
		}
		return nil
	})
	if err == nil && len(out) == 0 {
		err = errors.New("there are no files")
	}
	return out, err
}

// editFolder inserts, deletes, moves, swaps and overwrites pieces, and renames, splits, drops and adds files.
func editFolder(old folder, rng *rand.Rand) folder {
	out := folder{}
	for _, p := range slices.Sorted(maps.Keys(old)) {
		b := bytes.Clone(old[p])
		for range rng.IntN(6) {
			b = editBytes(b, rng)
		}
		switch rng.IntN(8) {
		case 0: // gone
		case 1:
			out["renamed/"+filepath.Base(p)] = b
		case 2:
			k := rng.IntN(len(b) + 1)
			out[p], out[p+".rest"] = b[:k], b[k:]
		case 3:
			out[p], out["copy/"+p] = b, b
		default:
			out[p] = b
		}
	}
	out["new/always"] = []byte("one file at least")
	return out
}

func editBytes(b []byte, rng *rand.Rand) []byte {
	piece := func() (int, int) {
		from := rng.IntN(len(b) + 1)
		return from, from + rng.IntN(min(len(b)-from, 1<<rng.IntN(16))+1)
	}
	from, to := piece()
	cut := bytes.Clone(b[from:to])
	switch rng.IntN(5) {
	case 0: // delete
		return slices.Concat(b[:from], b[to:])
	case 1: // repeat elsewhere
		at := rng.IntN(len(b) + 1)
		return slices.Concat(b[:at], cut, b[at:])
	case 2: // move
		b = slices.Concat(b[:from], b[to:])
		at := rng.IntN(len(b) + 1)
		return slices.Concat(b[:at], cut, b[at:])
	case 3: // something new
		for i := range cut {
			cut[i] = byte(rng.IntN(64) + 32)
		}
		return slices.Concat(b[:from], cut, b[to:])
	}
	for i := from; i < to; i += 1 + rng.IntN(40) { // scattered changes, as of numbers in code
		b[i] += byte(1 + rng.IntN(3))
	}
	return b
}
