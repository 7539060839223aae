package siege

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish/delta"
	"github.com/slipstream-ota/slipstream/sign"
)

const (
	app     = "shop"
	channel = slipstream.DefaultChannel
	pkg     = slipstream.DefaultPackage
	shell   = "3.0.0"

	stateLife = 24 * time.Hour
	rootLife  = 365 * 24 * time.Hour
)

// key makes the signing key that a name stands for, always the same.
func key(name string) sign.Signer {
	seed := sha256.Sum256([]byte("key of the siege: " + name))
	return sign.NewSigner(ed25519.NewKeyFromSeed(seed[:]))
}

// role is the keys of one role and how many of them must sign.
type role struct {
	signers   []sign.Signer
	threshold int
}

func keysOf(name string, n, threshold int) role {
	r := role{threshold: threshold}
	for i := range n {
		r.signers = append(r.signers, key(fmt.Sprintf("%s %d", name, i+1)))
	}
	return r
}

func (r role) keys() sign.RoleKeys {
	k := sign.RoleKeys{Threshold: r.threshold}
	for _, s := range r.signers {
		k.Keys = append(k.Keys, s.Public())
	}
	return k
}

// keyring is who signs what of an app.
type keyring struct{ root, release, state role }

func ring(name string) keyring {
	return keyring{root: keysOf(name+" root", 3, 2), release: keysOf(name+" release", 3, 2), state: keysOf(name+" state", 3, 2)}
}

// release is a signed release and its files.
type release struct {
	digest   slipstream.Digest
	manifest *slipstream.Manifest
	envelope []byte
	files    map[string][]byte
}

// exchange is an answer on its way to the device, for the attacker to change.
type exchange struct {
	req    *http.Request
	asked  []byte // body of the request
	status int
	header http.Header
	body   []byte
	// stream takes the place of body.
	stream func(w http.ResponseWriter, r *http.Request)
}

func (x *exchange) about(part string) bool { return strings.Contains(x.req.URL.Path, part) }

// Parts of the paths that a device asks for.
const (
	aboutState      = "/state/"
	aboutRoots      = "/roots/"
	aboutManifests  = "/v1/manifests/"
	aboutList       = "/v1/releases/"
	aboutContainers = "/v1/containers/"
	aboutBlobs      = "/v1/blobs/"
	aboutCheck      = "/v1/check"
	aboutReports    = "/v1/reports"
)

// Stock keeps containers that were made before, because the sieges of one run all use the same releases. It is safe for
// many goroutines.
type Stock struct {
	mu   sync.Mutex
	made map[[2]slipstream.Digest]packed
	kept delta.Compressors
}

type packed struct {
	entry slipstream.Container
	bytes []byte
}

// NewStock is empty.
func NewStock() *Stock { return &Stock{made: map[[2]slipstream.Digest]packed{}} }

// container is the one that turns from, nil for nothing, into to.
func (k *Stock) container(from, to *release) (packed, error) {
	name := [2]slipstream.Digest{"", to.digest}
	if from != nil {
		name[0] = from.digest
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if p, made := k.made[name]; made {
		return p, nil
	}
	p, err := k.pack(from, to)
	if err == nil {
		k.made[name] = p
	}
	return p, err
}

// origin is the honest server of one app, with everything that an attacker may want to turn.
type origin struct {
	stock *Stock
	keys  keyring
	url   string

	mu         sync.Mutex
	now        time.Time
	roots      [][]byte // version 1 first
	state      slipstream.State
	releases   map[slipstream.Digest]*release
	manifests  map[slipstream.Digest][]byte
	blobs      map[slipstream.Digest][]byte
	containers map[slipstream.Digest][]slipstream.Container
	decisions  func(req slipstream.CheckRequest) slipstream.Decision
	tamper     func(x *exchange)
	requests   []string
	server     *http.Server
	served     sync.WaitGroup
}

// newOrigin makes an app and serves it on a port of this machine.
func newOrigin(stock *Stock, now time.Time, keys keyring) (*origin, error) {
	o := &origin{stock: stock, keys: keys, now: now, releases: map[slipstream.Digest]*release{}, manifests: map[slipstream.Digest][]byte{}, blobs: map[slipstream.Digest][]byte{},
		containers: map[slipstream.Digest][]slipstream.Container{}}
	o.state = slipstream.State{App: app, Epoch: 100, Channel: channel, Platform: slipstream.PlatformAny, RootVersion: 1, CheckAfter: 900, Packages: map[string]slipstream.PackageState{}}
	if err := o.addRoot(keys); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("serve the origin: %w", err)
	}
	o.url, o.server = "http://"+l.Addr().String(), &http.Server{Handler: o, ReadHeaderTimeout: time.Minute}
	o.served.Go(func() {
		// It always ends with an error, at the latest that it was closed.
		_ = o.server.Serve(l)
	})
	return o, nil
}

func (o *origin) close() error {
	err := o.server.Close()
	o.served.Wait()
	return err
}

// rootOf is an unsigned root of these keys.
func (o *origin) rootOf(version int64, keys keyring) (*slipstream.Root, error) {
	r, err := sign.NewRoot(app, o.now.Add(rootLife), keys.root.keys(), keys.release.keys(), keys.state.keys())
	if err != nil {
		return nil, fmt.Errorf("make root: %w", err)
	}
	r.Version = version
	return r, nil
}

// addRoot publishes the next root: signed by the keys before and after, as it must be.
func (o *origin) addRoot(keys keyring) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	r, err := o.rootOf(int64(len(o.roots)+1), keys)
	if err != nil {
		return err
	}
	raw, err := seal(sign.TypeRoot, r, slices.Concat(o.keys.root.signers, keys.root.signers)...)
	if err != nil {
		return err
	}
	o.keys, o.roots, o.state.RootVersion = keys, append(o.roots, raw), int64(len(o.roots)+1)
	return nil
}

func seal(payloadType string, doc any, signers ...sign.Signer) ([]byte, error) {
	e, err := sign.Seal(payloadType, doc, signers...)
	if err != nil {
		return nil, err
	}
	return e.Encode(), nil
}

// spec is what a release is made of.
type spec struct {
	seq      int64
	files    map[string][]byte
	fallback []slipstream.Digest
	edit     func(m *slipstream.Manifest) // the last word
	signers  []sign.Signer                // nil: the release role
}

// publish signs a release and makes its bytes available. Nobody offers it yet.
func (o *origin) publish(s spec) (*release, error) {
	m := &slipstream.Manifest{
		App: app, Package: pkg, Platform: slipstream.PlatformAny, Runtime: slipstream.AnyRuntime(), Seq: s.seq, Version: fmt.Sprintf("1.%d.0", s.seq),
		Created: slipstream.At(began), Fallback: s.fallback, Files: []slipstream.File{},
	}
	for _, path := range slices.Sorted(maps.Keys(s.files)) {
		data := s.files[path]
		m.Files = append(m.Files, slipstream.File{Path: path, Size: int64(len(data)), SHA256: sum(data)})
	}
	if s.edit != nil {
		s.edit(m)
	}
	if s.signers == nil {
		s.signers = o.keys.release.signers
	}
	e, err := sign.Seal(sign.TypeManifest, m, s.signers...)
	if err != nil {
		return nil, fmt.Errorf("sign manifest: %w", err)
	}
	r := &release{digest: sign.DigestOf(e.Payload), manifest: m, envelope: e.Encode(), files: s.files}
	return r, o.hold(r)
}

func sum(data []byte) slipstream.Digest { return slipstream.DigestOf(sha256.Sum256(data)) }

// hold serves the bytes of a release: as single blobs, whole, and from every other release.
func (o *origin) hold(r *release) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.releases[r.digest], o.manifests[r.digest] = r, r.envelope
	for _, data := range r.files {
		o.blobs[sum(data)] = data
	}
	bases := []*release{nil}
	for _, d := range slices.Sorted(maps.Keys(o.releases)) {
		if d != r.digest {
			bases = append(bases, o.releases[d])
		}
	}
	o.containers[r.digest] = nil
	for _, from := range bases {
		c, err := o.stock.container(from, r)
		if err != nil {
			continue // a release that no codec carries comes by single blobs
		}
		o.blobs[c.entry.SHA256] = c.bytes
		o.containers[r.digest] = append(o.containers[r.digest], c.entry)
	}
	return nil
}

func (k *Stock) pack(from, to *release) (packed, error) {
	c := slipstream.Container{Codec: delta.CodecFull}
	var old *slipstream.Manifest
	if from != nil {
		old, c.From, c.Codec = from.manifest, from.digest, delta.CodecChanged
	}
	var b bytes.Buffer
	err := delta.EncodeWith(context.Background(), &k.kept, &b, old, to.manifest, func(f slipstream.File) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(to.files[f.Path])), nil
	})
	c.Size, c.SHA256 = int64(b.Len()), sum(b.Bytes())
	return packed{c, b.Bytes()}, err
}

// offer puts a release in force for every device, in a new epoch.
func (o *origin) offer(r *release) {
	o.change(func(s *slipstream.State) { offer(s, r) })
}

func offer(s *slipstream.State, r *release) {
	p := s.Packages[pkg]
	p.Rollouts = []slipstream.Rollout{rollout(r)}
	s.Packages = maps.Clone(s.Packages)
	s.Packages[pkg] = p
}

func rollout(r *release) slipstream.Rollout {
	m := r.manifest
	return slipstream.Rollout{ID: fmt.Sprintf("rollout-%d", m.Seq), Manifest: r.digest, Seq: m.Seq, Version: m.Version, Size: m.Size(), Runtime: m.Runtime,
		To: slipstream.FullShare, Control: slipstream.DefaultControl}
}

// ref names the release in a decision.
func (r *release) ref() *slipstream.ReleaseRef {
	return &slipstream.ReleaseRef{Digest: r.digest, Seq: r.manifest.Seq, Version: r.manifest.Version, Size: r.manifest.Size()}
}

func (o *origin) change(edit func(*slipstream.State)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.state.Epoch++
	edit(&o.state)
}

// stated is what the server would say now, after edit, not yet signed.
func (o *origin) stated(edit func(*slipstream.State)) *slipstream.State {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.statedNow(edit)
}

func (o *origin) statedNow(edit func(*slipstream.State)) *slipstream.State {
	s := o.state
	s.Packages = maps.Clone(s.Packages)
	s.Issued, s.Expires = slipstream.At(o.now), slipstream.At(o.now.Add(stateLife))
	if edit != nil {
		edit(&s)
	}
	return &s
}

func (o *origin) set(tamper func(x *exchange)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tamper = tamper
}

// ServeHTTP answers as a server does, after the attacker had his way.
func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	asked, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return
	}
	o.mu.Lock()
	o.requests = append(o.requests, r.URL.Path)
	x := &exchange{req: r, asked: asked, status: http.StatusOK, header: http.Header{}}
	x.body, err = o.answer(x)
	tamper := o.tamper
	o.mu.Unlock()
	if errors.Is(err, slipstream.ErrNotFound) {
		x.status = http.StatusNotFound
	} else if err != nil {
		x.status, x.body = http.StatusInternalServerError, []byte(err.Error())
	}
	if tamper != nil {
		tamper(x)
	}
	if x.stream != nil {
		x.stream(w, r)
		return
	}
	maps.Copy(w.Header(), x.header)
	if x.status == http.StatusOK && w.Header().Get("Content-Length") == "" {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(x.body))
		return
	}
	w.WriteHeader(x.status)
	if x.status != http.StatusNotModified {
		_, _ = w.Write(x.body) // nobody is left to be told
	}
}

// answer gives the body of an honest answer. mu is held.
func (o *origin) answer(x *exchange) ([]byte, error) {
	parts := strings.Split(strings.Trim(x.req.URL.Path, "/"), "/")
	last := slipstream.Digest(parts[len(parts)-1])
	found := func(raw []byte) ([]byte, error) {
		if raw == nil {
			return nil, slipstream.ErrNotFound
		}
		return raw, nil
	}
	switch {
	case x.about(aboutState):
		if len(parts) != 7 || parts[2] != app || parts[4] != channel || parts[6] != slipstream.PlatformAny {
			return nil, slipstream.ErrNotFound
		}
		raw, err := seal(sign.TypeState, o.statedNow(nil), o.keys.state.signers...)
		x.header.Set("ETag", strconv.Quote(string(sum(raw))))
		return raw, err
	case x.about(aboutRoots):
		n, err := strconv.Atoi(string(last))
		if err != nil || n < 1 || n > len(o.roots) {
			return nil, slipstream.ErrNotFound
		}
		return o.roots[n-1], nil
	case x.about(aboutManifests):
		return found(o.manifests[last])
	case x.about(aboutList):
		return json.Marshal(o.containers[slipstream.Digest(parts[2])])
	case x.about(aboutContainers), x.about(aboutBlobs):
		x.header.Set("ETag", strconv.Quote(string(last)))
		return found(o.blobs[last])
	case x.about(aboutReports):
		return accepted(x.asked)
	case x.about(aboutCheck) && o.decisions != nil:
		var req slipstream.CheckRequest
		if err := json.Unmarshal(x.asked, &req); err != nil {
			return nil, err
		}
		return seal(sign.TypeDecision, o.decisions(req), o.keys.state.signers...)
	}
	return nil, slipstream.ErrNotFound
}

// accepted is the answer to reports that were all taken.
func accepted(asked []byte) ([]byte, error) {
	var events []json.RawMessage
	if err := json.Unmarshal(asked, &events); err != nil {
		return nil, err
	}
	results := []slipstream.EventResult{}
	for i := range events {
		results = append(results, slipstream.EventResult{Index: i, Status: slipstream.EventAccepted})
	}
	return json.Marshal(map[string]any{"results": results})
}

// decision is an honest answer to a check: one package, one release or nothing.
func (o *origin) decision(req slipstream.CheckRequest, d slipstream.PackageDecision) slipstream.Decision {
	return slipstream.Decision{
		App: app, Channel: channel, Device: req.Device.ID, Nonce: req.Nonce, Epoch: o.state.Epoch, Issued: slipstream.At(o.now),
		Expires: slipstream.At(o.now.Add(sign.MaxDecisionLife)), CheckAfter: 900, Packages: map[string]slipstream.PackageDecision{pkg: d},
	}
}

func update(r *release) slipstream.PackageDecision {
	return slipstream.PackageDecision{Verdict: slipstream.VerdictUpdate, Reason: slipstream.ReasonNewRelease, Release: r.ref(), Rollout: "private"}
}

// asked says whether anybody asked for this path.
func (o *origin) asked(path string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Contains(o.requests, path)
}
