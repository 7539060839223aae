package siege

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/decide"
	"github.com/slipstream-ota/slipstream/publish/delta"
	"github.com/slipstream-ota/slipstream/sign"
)

// read is something that a device reads: its bytes, and what the device makes of them. taken is what came of bytes that
// were not refused: it must equal what came of the good ones.
type read struct {
	name string
	raw  []byte
	take func(raw []byte) (taken []byte, err error)
}

// Flips changes single bytes of everything that a device reads of a small release, and cuts it off after every byte. All
// puts every other value in the place of every byte, else one bit is changed, chosen by seed; Most bounds the places in
// one thing, 0 for no bound, and takes them evenly spread.
type Flips struct {
	Seed uint64
	All  bool
	Most int
}

// Run tries every change. What is not refused must have no effect: the same signed payload, or the same files.
func (f Flips) Run(ctx context.Context) (Outcome, error) {
	var out Outcome
	things, err := readables()
	if err != nil {
		return out, err
	}
	random := rand.New(rand.NewPCG(f.Seed, 2))
	cuts, same := 0, 0
	var shares []string
	for _, r := range things {
		good, err := r.take(r.raw)
		if err != nil {
			return out, fmt.Errorf("the good %s is refused: %w", r.name, err)
		}
		try := func(what string, raw []byte) {
			out.Tried++
			taken, err := r.take(raw)
			switch {
			case err != nil:
			case bytes.Equal(taken, good):
				same++
			default:
				out.fail("%s: %s is taken for something else", r.name, what)
			}
		}
		before := same
		for _, at := range f.places(len(r.raw)) {
			differences := []byte{1 << random.IntN(8)}
			if f.All {
				differences = everyDifference()
			}
			for _, x := range differences {
				changed := bytes.Clone(r.raw)
				changed[at] ^= x
				try(fmt.Sprintf("byte %d changed from %#02x to %#02x", at, r.raw[at], changed[at]), changed)
			}
			cuts++
			try(fmt.Sprintf("cut off after %d bytes", at), r.raw[:at])
			if ctx.Err() != nil {
				return out, context.Cause(ctx)
			}
		}
		if same > before {
			shares = append(shares, fmt.Sprintf("%s %d", r.name, same-before))
		}
	}
	slices.Sort(shares)
	out.Detail = fmt.Sprintf("%d changed bytes and %d cuts of %d things, without effect %d %v", out.Tried-cuts, cuts, len(things), same, shares)
	return out, nil
}

// everyDifference makes all other values of a byte.
func everyDifference() []byte {
	var out []byte
	for x := 1; x < 256; x++ {
		out = append(out, byte(x))
	}
	return out
}

func (f Flips) places(n int) []int {
	step := 1
	if f.Most > 0 && n > f.Most {
		step = (n + f.Most - 1) / f.Most
	}
	var out []int
	for at := int(f.Seed % uint64(step)); at < n; at += step {
		out = append(out, at)
	}
	return out
}

// readables are the four documents, with as many signatures as are needed and no more, and the containers.
func readables() ([]read, error) {
	keys := ring("owner")
	o := &origin{stock: NewStock(), keys: keys, now: began, releases: map[slipstream.Digest]*release{}, manifests: map[slipstream.Digest][]byte{},
		blobs: map[slipstream.Digest][]byte{}, containers: map[slipstream.Digest][]slipstream.Container{}}
	o.state = slipstream.State{App: app, Epoch: 100, Channel: channel, Platform: slipstream.PlatformAny, RootVersion: 1, CheckAfter: 900, Packages: map[string]slipstream.PackageState{}}
	if err := o.addRoot(keys); err != nil {
		return nil, err
	}
	trust, err := sign.OpenRoot(o.roots[0])
	if err != nil {
		return nil, err
	}
	old, err := o.publish(spec{seq: 1, files: small("old")})
	if err != nil {
		return nil, err
	}
	next, err := o.publish(spec{seq: 2, files: small("next"), signers: keys.release.signers[:threshold], fallback: []slipstream.Digest{old.digest}})
	if err != nil {
		return nil, err
	}
	o.offer(next)
	docs, err := documentsOf(o, trust, next)
	if err != nil {
		return nil, err
	}
	for _, from := range []*release{nil, old} {
		c, err := o.stock.container(from, next)
		if err != nil {
			return nil, err
		}
		docs = append(docs, containerOf(c, from, next))
	}
	return docs, nil
}

// small is a tree with a file that stays, one that changes, one that is empty and one that is there twice.
func small(name string) map[string][]byte {
	text := bytes.Repeat([]byte(name+" says hello to everybody. "), 8)
	return map[string][]byte{"a/empty": {}, "a/main.js": text, "b/copy.js": text, "c/stays.txt": []byte("the same\n")}
}

func documentsOf(o *origin, trust *sign.Trust, next *release) ([]read, error) {
	few := o.keys.state.signers[:threshold]
	root, err := o.rootOf(2, o.keys)
	if err != nil {
		return nil, err
	}
	nextRoot, err := seal(sign.TypeRoot, root, o.keys.root.signers[:threshold]...)
	if err != nil {
		return nil, err
	}
	state, err := seal(sign.TypeState, o.stated(nil), few...)
	if err != nil {
		return nil, err
	}
	req := slipstream.CheckRequest{Nonce: "bm9uY2Vub25jZW5vbmNlbm9uY2Vub25jZW5vbmNlMTI=", Device: slipstream.DeviceFacts{ID: string(sum([]byte("device")))}}
	decision, err := seal(sign.TypeDecision, o.decision(req, update(next)), few...)
	if err != nil {
		return nil, err
	}
	now := began.Add(time.Minute)
	payload := func(kind string, limit int, check func(raw []byte) error) func(raw []byte) ([]byte, error) {
		return func(raw []byte) ([]byte, error) {
			if err := check(raw); err != nil {
				return nil, err
			}
			e, err := sign.ParseEnvelope(raw, kind, limit)
			if err != nil {
				return nil, err
			}
			return e.Payload, nil
		}
	}
	rollout := o.state.Packages[pkg].Rollouts[0]
	return []read{
		{"the shipped root", nextRoot, payload(sign.TypeRoot, slipstream.MaxRootBytes, func(raw []byte) error { _, err := sign.OpenRoot(raw); return err })},
		{"the next root", nextRoot, payload(sign.TypeRoot, slipstream.MaxRootBytes, func(raw []byte) error { _, err := trust.Next(raw); return err })},
		{"the state", state, payload(sign.TypeState, slipstream.MaxStateBytes, func(raw []byte) error {
			_, err := trust.AcceptState(raw, sign.ExpectState{App: app, Channel: channel, Platform: slipstream.PlatformAny, Now: now})
			return err
		})},
		{"the decision", decision, payload(sign.TypeDecision, slipstream.MaxDecisionBytes, func(raw []byte) error {
			_, err := trust.AcceptDecision(raw, sign.ExpectDecision{App: app, Channel: channel, Device: req.Device.ID, Nonce: req.Nonce, Now: now})
			return err
		})},
		{"the manifest", next.envelope, payload(sign.TypeManifest, slipstream.MaxManifestBytes, func(raw []byte) error {
			_, err := trust.AcceptManifest(raw, sign.ExpectManifest{App: app, Package: pkg, Platform: slipstream.PlatformAny, Release: *next.ref(), Runtime: &rollout.Runtime,
				Fits: func(r slipstream.Runtime) bool { return decide.Fits(r, shell) }})
			return err
		})},
	}, nil
}

// containerOf is a container as a device applies it when nobody vouches for its hash.
func containerOf(c packed, from, to *release) read {
	r := read{name: "the full container", raw: c.bytes}
	var old *slipstream.Manifest
	if from != nil {
		r.name, old = "the container of changes", from.manifest
	}
	r.take = func(raw []byte) ([]byte, error) {
		tree := memoryTree{base: from, files: map[string][]byte{}, most: to.manifest.Size()}
		if err := delta.Apply(context.Background(), bytes.NewReader(raw), old, to.manifest, &tree); err != nil {
			return nil, errors.Join(err, tree.over)
		}
		var all []byte
		for _, f := range to.manifest.Files {
			all = fmt.Appendf(all, "%s %d %s\n", f.Path, len(tree.files[f.Path]), sum(tree.files[f.Path]))
		}
		return all, tree.over
	}
	return r
}

// memoryTree is a delta.Sink that holds no more than was signed.
type memoryTree struct {
	base  *release
	files map[string][]byte
	most  int64
	held  int64
	over  error
}

type memoryFile struct {
	tree *memoryTree
	path string
}

func (m *memoryTree) put(path string, data []byte) error {
	m.files[path] = append(m.files[path], data...)
	if m.held += int64(len(data)); m.held > m.most {
		m.over = fmt.Errorf("%d bytes were written, %d are signed", m.held, m.most)
	}
	return m.over
}

func (m *memoryTree) Create(f slipstream.File) (io.WriteCloser, error) {
	return memoryFile{m, f.Path}, m.put(f.Path, nil)
}

func (m *memoryTree) Keep(f, old slipstream.File) error { return m.put(f.Path, m.base.files[old.Path]) }

func (m *memoryTree) Duplicate(f, of slipstream.File) error { return m.put(f.Path, m.files[of.Path]) }

func (f memoryFile) Write(p []byte) (int, error) { return len(p), f.tree.put(f.path, p) }
func (memoryFile) Close() error                  { return nil }
