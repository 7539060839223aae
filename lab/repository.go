package lab

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
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/decide"
	"github.com/slipstream-ota/slipstream/publish/delta"
	"github.com/slipstream-ota/slipstream/sign"
)

// Keys are the signing keys of an app, by role. A proof that steals keys signs with them what it likes.
type Keys struct{ Root, Release, State []sign.Signer }

// Key makes the signing key that a name stands for, always the same.
func Key(name string) sign.Signer {
	seed := sha256.Sum256([]byte("key of the lab: " + name))
	return sign.NewSigner(ed25519.NewKeyFromSeed(seed[:]))
}

// Release is a published release with its files.
type Release struct {
	Digest   slipstream.Digest
	Manifest *slipstream.Manifest
	Envelope []byte
	Files    map[string][]byte
}

// Ref is how states and decisions name the release.
func (r *Release) Ref() slipstream.ReleaseRef {
	return slipstream.ReleaseRef{Digest: r.Digest, Seq: r.Manifest.Seq, Version: r.Manifest.Version, Size: r.Manifest.Size()}
}

// IssuedState is a state that was signed and given out.
type IssuedState struct {
	Channel     string
	Epoch       int64
	RootVersion int64
	Issued      time.Time
	Envelope    []byte
}

// Channel is what a channel says. A proof may change it as it likes, by Change.
type Channel struct {
	Epoch    int64
	Packages map[string]slipstream.PackageState
	current  []byte // signed, nil after a change
	expires  time.Time
	etag     string
}

// Repository is the device side of a server for one app, in memory. All of it is deterministic but for the clock. It is
// an http.RoundTripper and safe for many goroutines; the fields are knobs, set before use or in Change.
type Repository struct {
	App string
	// Tamper sees every answer before it leaves and may change it.
	Tamper func(a *Response)
	// Codecs are the container codecs that are offered; none means single blobs.
	Codecs []string
	// Compressors are shared by repositories that come and go; nil keeps nothing.
	Compressors *delta.Compressors

	mu         sync.Mutex
	clock      func() time.Time
	keys       Keys
	root       slipstream.Root
	roots      [][]byte // envelopes, version 1 first
	channels   map[string]*Channel
	releases   map[slipstream.Digest]*Release
	blobs      map[slipstream.Digest][]byte
	containers map[slipstream.Digest][]slipstream.Container // by release
	reports    map[string]slipstream.Event
	heard      func(id string) // of every event that came; may be nil
	issued     []IssuedState
}

const (
	stateLife = 24 * time.Hour
	rootLife  = 10 * 365 * 24 * time.Hour
)

// NewRepository makes an app with one key for each role.
func NewRepository(app string, clock func() time.Time) (*Repository, error) {
	r := &Repository{
		App: app, clock: clock, channels: map[string]*Channel{}, releases: map[slipstream.Digest]*Release{},
		blobs: map[slipstream.Digest][]byte{}, containers: map[slipstream.Digest][]slipstream.Container{}, reports: map[string]slipstream.Event{},
		Codecs: []string{delta.CodecFull, delta.CodecChanged},
		keys:   Keys{Root: []sign.Signer{Key("root")}, Release: []sign.Signer{Key("release")}, State: []sign.Signer{Key("state")}},
	}
	root, err := sign.NewRoot(app, clock().Add(rootLife), role(r.keys.Root), role(r.keys.Release), role(r.keys.State))
	if err != nil {
		return nil, fmt.Errorf("make root: %w", err)
	}
	e, err := sign.Seal(sign.TypeRoot, root, r.keys.Root...)
	if err != nil {
		return nil, fmt.Errorf("sign root: %w", err)
	}
	r.root, r.roots = *root, [][]byte{e.Encode()}
	return r, nil
}

// tamperWith sets Tamper while requests may come.
func (r *Repository) tamperWith(tamper func(a *Response)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Tamper = tamper
}

// Root is the envelope of a version of the root.
func (r *Repository) Root(version int64) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.roots[version-1]
}

// Keys are the keys in use now.
func (r *Repository) Keys() Keys {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.keys
}

// Rotate publishes the next root with other keys, each role signed for by one of its keys. The new root is signed by
// the root keys before and after.
func (r *Repository) Rotate(change func(k *Keys)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.keys.Root
	change(&r.keys)
	next, err := sign.NewRoot(r.App, r.clock().Add(rootLife), role(r.keys.Root), role(r.keys.Release), role(r.keys.State))
	if err != nil {
		return fmt.Errorf("make root: %w", err)
	}
	next.Version = r.root.Version + 1
	e, err := sign.Seal(sign.TypeRoot, next, slices.Concat(before, r.keys.Root)...)
	if err != nil {
		return fmt.Errorf("sign root: %w", err)
	}
	r.root, r.roots = *next, append(r.roots, e.Encode())
	for _, c := range r.channels {
		c.Epoch++ // a state names the root's version
		c.current = nil
	}
	return nil
}

func role(signers []sign.Signer) sign.RoleKeys {
	k := sign.RoleKeys{}
	for _, s := range signers {
		k.Keys = append(k.Keys, s.Public())
	}
	return k
}

// Spec describes a release to publish. Empty fields take simple defaults.
type Spec struct {
	Package  string
	Seq      int64
	Files    map[string][]byte
	Fallback []slipstream.Digest
	Requires map[string]slipstream.Requirement
	Runtime  slipstream.Runtime
}

// Publish signs a release and makes its bytes available.
func (r *Repository) Publish(s Spec) (*Release, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := &slipstream.Manifest{
		App: r.App, Package: s.Package, Platform: slipstream.PlatformAny, Runtime: s.Runtime, Seq: s.Seq, Version: fmt.Sprintf("1.%d.0", s.Seq),
		Created: slipstream.At(r.clock()), Fallback: s.Fallback, Requires: s.Requires,
	}
	if m.Runtime == (slipstream.Runtime{}) {
		m.Runtime = slipstream.AnyRuntime()
	}
	for _, path := range slices.Sorted(maps.Keys(s.Files)) {
		data := s.Files[path]
		sum := slipstream.DigestOf(sha256.Sum256(data))
		m.Files = append(m.Files, slipstream.File{Path: path, Size: int64(len(data)), SHA256: sum})
		r.blobs[sum] = data
	}
	m.Entry = m.Files[0].Path
	e, err := sign.Seal(sign.TypeManifest, m, r.keys.Release...)
	if err != nil {
		return nil, fmt.Errorf("sign manifest: %w", err)
	}
	release := &Release{Digest: sign.DigestOf(e.Payload), Manifest: m, Envelope: e.Encode(), Files: s.Files}
	r.releases[release.Digest] = release
	return release, r.pack(release)
}

// pack makes the containers of a release, from nothing and from every earlier one of its package.
func (r *Repository) pack(to *Release) error {
	bases := []*Release{nil}
	for _, d := range slices.Sorted(maps.Keys(r.releases)) {
		if from := r.releases[d]; from.Manifest.Package == to.Manifest.Package && from.Manifest.Seq < to.Manifest.Seq {
			bases = append(bases, from)
		}
	}
	for _, from := range bases {
		var old *slipstream.Manifest
		c := slipstream.Container{Codec: delta.CodecFull}
		if from != nil {
			old, c.From, c.Codec = from.Manifest, from.Digest, delta.CodecChanged
		}
		var b bytes.Buffer
		err := delta.EncodeWith(context.Background(), r.Compressors, &b, old, to.Manifest, func(f slipstream.File) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(to.Files[f.Path])), nil
		})
		if err != nil {
			return fmt.Errorf("make container: %w", err)
		}
		c.Size, c.SHA256 = int64(b.Len()), slipstream.DigestOf(sha256.Sum256(b.Bytes()))
		r.blobs[c.SHA256] = b.Bytes()
		r.containers[to.Digest] = append(r.containers[to.Digest], c)
	}
	return nil
}

// Get is a release by its digest, nil when there is none.
func (r *Repository) Get(d slipstream.Digest) *Release {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.releases[d]
}

// Change changes what a channel says, in a new epoch: one more than the last, unless change sets another.
func (r *Repository) Change(channel string, change func(c *Channel)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.channels[channel]
	if c == nil {
		c = &Channel{Packages: map[string]slipstream.PackageState{}}
		r.channels[channel] = c
	}
	c.Epoch++
	c.current = nil
	change(c)
}

// Offer puts one release per package in force on a channel, for every device.
func (r *Repository) Offer(channel string, releases ...*Release) {
	r.Change(channel, func(c *Channel) {
		for _, release := range releases {
			m := release.Manifest
			p := c.Packages[m.Package]
			p.Rollouts = []slipstream.Rollout{{
				ID: fmt.Sprintf("%s-%s-%d", channel, m.Package, m.Seq), Manifest: release.Digest, Seq: m.Seq, Version: m.Version, Size: m.Size(),
				Runtime: m.Runtime, To: slipstream.FullShare,
			}}
			c.Packages[m.Package] = p
		}
	})
}

// Withdraw makes devices leave a release.
func (r *Repository) Withdraw(channel string, release *Release) {
	r.Change(channel, func(c *Channel) {
		p := c.Packages[release.Manifest.Package]
		p.Withdrawn = append(slices.Clip(p.Withdrawn), release.Digest)
		c.Packages[release.Manifest.Package] = p
	})
}

// Issued are all states that were ever signed, oldest first: what an attacker may have kept.
func (r *Repository) Issued() []IssuedState {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.issued)
}

// Reports are the events that devices told, in no order.
func (r *Repository) Reports() []slipstream.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Values(r.reports))
}

// state signs what a channel says, anew after a change and at half of its life. mu is held.
func (r *Repository) state(channel string) (*Channel, *slipstream.State, error) {
	c := r.channels[channel]
	if c == nil {
		return nil, nil, slipstream.ErrNotFound
	}
	now := r.clock()
	s := &slipstream.State{
		App: r.App, Channel: channel, Platform: slipstream.PlatformAny, Epoch: c.Epoch, Issued: slipstream.At(now), Expires: slipstream.At(now.Add(stateLife)),
		RootVersion: r.root.Version, CheckAfter: 900, Packages: c.Packages,
	}
	if c.current != nil && now.Before(c.expires.Add(-stateLife/2)) {
		return c, s, nil
	}
	e, err := sign.Seal(sign.TypeState, s, r.keys.State[0])
	if err != nil {
		return nil, nil, fmt.Errorf("sign state: %w", err)
	}
	sum := sha256.Sum256(e.Encode())
	c.current, c.expires, c.etag = e.Encode(), s.Expires.Time, fmt.Sprintf("%q", string(slipstream.DigestOf(sum)))
	r.issued = append(r.issued, IssuedState{Channel: channel, Epoch: c.Epoch, RootVersion: r.root.Version, Issued: now, Envelope: c.current})
	return c, s, nil
}

// accept takes reports, each once.
func (r *Repository) accept(body []byte) ([]slipstream.EventResult, error) {
	var events []slipstream.Event
	if err := json.Unmarshal(body, &events); err != nil {
		return nil, err
	}
	var out []slipstream.EventResult
	for i, e := range events {
		status := slipstream.EventAccepted
		if _, known := r.reports[e.ID]; known {
			status = slipstream.EventDuplicate
		}
		r.reports[e.ID] = e
		if r.heard != nil {
			r.heard(e.ID)
		}
		out = append(out, slipstream.EventResult{Index: i, Status: status})
	}
	return out, nil
}

// Response is an answer on its way to a device, for Repository.Tamper to change. Body may be replaced by one that never
// ends; its length is not announced then.
type Response struct {
	Request *http.Request
	Status  int
	Header  http.Header
	Bytes   []byte
	Body    io.ReadCloser // replaces Bytes
	Err     error         // the connection breaks
}

const maxRequestBody = 1 << 20

// RoundTrip answers as a server does.
func (r *Repository) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	var body []byte
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(io.LimitReader(req.Body, maxRequestBody)); err != nil {
			return nil, err
		}
		if err := req.Body.Close(); err != nil {
			return nil, err
		}
	}
	w := &recorder{header: http.Header{}}
	r.mu.Lock()
	r.answer(w, req, body)
	tamper := r.Tamper
	r.mu.Unlock()
	a := &Response{Request: req, Status: max(w.status, http.StatusOK), Header: w.header, Bytes: w.body.Bytes()}
	if tamper != nil {
		tamper(a)
	}
	if a.Err != nil {
		return nil, a.Err
	}
	out := &http.Response{StatusCode: a.Status, Header: a.Header, Body: a.Body, ContentLength: -1, Request: req, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	if a.Body == nil {
		out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(a.Bytes)), int64(len(a.Bytes))
	}
	return out, nil
}

// recorder is an http.ResponseWriter in memory.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header         { return w.header }
func (w *recorder) Write(p []byte) (int, error) { return w.body.Write(p) }
func (w *recorder) WriteHeader(status int)      { w.status = status }

// answer routes one request. mu is held.
func (r *Repository) answer(w *recorder, req *http.Request, body []byte) {
	var raw []byte
	var err error
	parts := strings.Split(strings.Trim(req.URL.Path, "/"), "/")
	fits := func(pattern string) bool {
		want := strings.Split(pattern, "/")
		if len(want) != len(parts) {
			return false
		}
		for i := range want {
			if want[i] != "*" && want[i] != parts[i] {
				return false
			}
		}
		return true
	}
	switch {
	case fits("v1/apps/*/channels/*/state/*"):
		raw, err = r.answerState(w, parts[4])
	case fits("v1/apps/*/roots/*"):
		raw, err = r.answerRoot(parts[4])
	case fits("v1/manifests/*"):
		err = slipstream.ErrNotFound
		if release := r.releases[slipstream.Digest(parts[2])]; release != nil {
			raw, err = release.Envelope, nil
		}
	case fits("v1/releases/*/containers"):
		list := slices.DeleteFunc(slices.Clone(r.containers[slipstream.Digest(parts[2])]), func(c slipstream.Container) bool { return !slices.Contains(r.Codecs, c.Codec) })
		raw, err = json.Marshal(list)
	case fits("v1/containers/*"), fits("v1/blobs/*"):
		data, known := r.blobs[slipstream.Digest(parts[2])]
		if known {
			w.header.Set("ETag", strconv.Quote(parts[2]))
			http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(data))
			return
		}
		err = slipstream.ErrNotFound
	case fits("v1/check"):
		raw, err = r.answerCheck(body)
	case fits("v1/reports"):
		var results []slipstream.EventResult
		if results, err = r.accept(body); err == nil {
			raw, err = json.Marshal(map[string]any{"results": results})
		}
	default:
		err = slipstream.ErrNotFound
	}
	switch {
	case errors.Is(err, slipstream.ErrNotFound):
		w.status = http.StatusNotFound
	case err != nil:
		w.status = http.StatusBadRequest
		fmt.Fprint(&w.body, err)
	case raw != nil:
		http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(raw))
	}
}

func (r *Repository) answerState(w *recorder, channel string) ([]byte, error) {
	c, _, err := r.state(channel)
	if err != nil {
		return nil, err
	}
	w.header.Set("ETag", c.etag)
	return c.current, nil
}

func (r *Repository) answerRoot(version string) ([]byte, error) {
	n, err := strconv.Atoi(version)
	if err != nil || n < 1 || n > len(r.roots) {
		return nil, slipstream.ErrNotFound
	}
	return r.roots[n-1], nil
}

// answerCheck decides for a device as a server does.
func (r *Repository) answerCheck(body []byte) ([]byte, error) {
	var req slipstream.CheckRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, err
	}
	_, s, err := r.state(req.Channel)
	if err != nil {
		return nil, err
	}
	plan, err := decide.Compile(s)
	if err != nil {
		return nil, err
	}
	now := r.clock()
	d := &slipstream.Decision{
		App: r.App, Channel: req.Channel, Device: req.Device.ID, Nonce: req.Nonce, Epoch: s.Epoch, Issued: slipstream.At(now),
		Expires: slipstream.At(now.Add(sign.MaxDecisionLife)), CheckAfter: s.CheckAfter, Packages: map[string]slipstream.PackageDecision{},
	}
	device := decide.NewDevice(req.Device)
	for pkg, on := range req.Packages {
		local := decide.LocalFromCheck(on)
		decision := plan.Decide(pkg, device, &local, now)
		d.Packages[pkg] = decision.Wire()
	}
	e, err := sign.Seal(sign.TypeDecision, d, r.keys.State[0])
	if err != nil {
		return nil, err
	}
	return e.Encode(), nil
}
