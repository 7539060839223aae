package client

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
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish/delta"
	"github.com/slipstream-ota/slipstream/sign"
)

// files is the content of a release.
type files map[string]string

// repository is a server as a device sees it, signing with real keys. It is an http.RoundTripper: hosts a.test and b.test
// are two mirrors of it.
type repository struct {
	t     *testing.T
	clock *fakeClock

	mu         sync.Mutex
	rootKey    sign.Signer
	release    sign.Signer
	stateKey   sign.Signer
	roots      [][]byte // version 1 first
	life       time.Duration
	epoch      map[string]int64
	packages   map[string]slipstream.PackageState // in every channel that has none of its own
	channels   map[string]map[string]slipstream.PackageState
	manifests  map[slipstream.Digest]*slipstream.Manifest
	envelopes  map[slipstream.Digest][]byte
	blobs      map[slipstream.Digest][]byte
	lists      map[slipstream.Digest][]slipstream.Container
	seq        int64
	reports    []slipstream.Event
	asked      []string // method and path of every request, with the range
	decide     func(slipstream.CheckRequest) map[string]slipstream.PackageDecision
	grants     map[string]bool
	grantEpoch int64                                                                       // of the answers, 0 = they do not say
	fault      func(r *http.Request, w *httptest.ResponseRecorder) (*http.Response, error) // may replace an answer
	down       bool
	future     string // what the states say in a field that this version does not know
	tamper     func(path string, body []byte) []byte
}

func newRepository(t *testing.T, clock *fakeClock) *repository {
	r := &repository{t: t, clock: clock, rootKey: signer(1), release: signer(2), stateKey: signer(3), life: 24 * time.Hour,
		epoch: map[string]int64{}, packages: map[string]slipstream.PackageState{}, channels: map[string]map[string]slipstream.PackageState{},
		manifests: map[slipstream.Digest]*slipstream.Manifest{}, envelopes: map[slipstream.Digest][]byte{}, blobs: map[slipstream.Digest][]byte{},
		lists: map[slipstream.Digest][]slipstream.Container{}}
	r.addRoot()
	return r
}

// addRoot signs the next root with the keys of now.
func (r *repository) addRoot(more ...sign.Signer) {
	r.t.Helper()
	keys := func(s sign.Signer) sign.RoleKeys {
		return sign.RoleKeys{Keys: []ed25519.PublicKey{s.Public()}, Threshold: 1}
	}
	root, err := sign.NewRoot("shop", r.clock.Now().Add(365*24*time.Hour), keys(r.rootKey), keys(r.release), keys(r.stateKey))
	if err != nil {
		r.t.Fatal(err)
	}
	root.Version = int64(len(r.roots) + 1)
	r.roots = append(r.roots, r.seal(sign.TypeRoot, root, append(more, r.rootKey)...))
	r.bump()
}

func (r *repository) seal(kind string, doc any, by ...sign.Signer) []byte {
	r.t.Helper()
	e, err := sign.Seal(kind, doc, by...)
	if err != nil {
		r.t.Fatalf("seal %s: %v", kind, err)
	}
	return e.Encode()
}

func sum(b []byte) slipstream.Digest { return slipstream.DigestOf(sha256.Sum256(b)) }

// publish makes a release known, with its full container and the changed ones from every earlier release.
func (r *repository) publish(pkg, version string, content files, change ...func(*slipstream.Manifest)) slipstream.Digest {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq++
	m := &slipstream.Manifest{App: "shop", Package: pkg, Platform: slipstream.PlatformAny, Runtime: slipstream.AnyRuntime(), Seq: r.seq, Version: version,
		Created: slipstream.At(r.clock.Now())}
	for _, name := range slices.Sorted(maps.Keys(content)) {
		b := []byte(content[name])
		r.blobs[sum(b)] = b
		m.Files = append(m.Files, slipstream.File{Path: name, Size: int64(len(b)), SHA256: sum(b), Exec: strings.HasSuffix(name, ".sh")})
	}
	m.Entry = m.Files[0].Path
	for _, f := range change {
		f(m)
	}
	raw := r.seal(sign.TypeManifest, m, r.release)
	e, err := sign.ParseEnvelope(raw, sign.TypeManifest, slipstream.MaxManifestBytes)
	if err != nil {
		r.t.Fatal(err)
	}
	digest := sign.DigestOf(e.Payload)
	for old, from := range r.manifests {
		if from.Package == pkg {
			r.contain(digest, m, old, from)
		}
	}
	r.contain(digest, m, "", nil)
	r.manifests[digest], r.envelopes[digest] = m, raw
	return digest
}

func (r *repository) contain(digest slipstream.Digest, m *slipstream.Manifest, from slipstream.Digest, old *slipstream.Manifest) {
	r.t.Helper()
	var buf bytes.Buffer
	err := delta.Encode(context.Background(), &buf, old, m, func(f slipstream.File) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(r.blobs[f.SHA256])), nil
	})
	if err != nil {
		r.t.Fatalf("encode container: %v", err)
	}
	c := slipstream.Container{From: from, Codec: delta.CodecFull, Size: int64(buf.Len()), SHA256: sum(buf.Bytes())}
	if from != "" {
		c.Codec = delta.CodecChanged
	}
	r.blobs[c.SHA256] = buf.Bytes()
	r.lists[digest] = append(r.lists[digest], c)
}

// offer puts a rollout of the release on top of its package's list on every channel.
func (r *repository) offer(d slipstream.Digest, change ...func(*slipstream.Rollout)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.manifests[d]
	ro := slipstream.Rollout{ID: "ro-" + m.Version + "-" + m.Package, Manifest: d, Seq: m.Seq, Version: m.Version, Size: m.Size(), Runtime: m.Runtime, To: slipstream.FullShare}
	for _, f := range change {
		f(&ro)
	}
	p := r.packages[m.Package]
	p.Rollouts = append([]slipstream.Rollout{ro}, p.Rollouts...)
	r.packages[m.Package] = p
	r.bump()
}

func (r *repository) bump() {
	for ch := range r.epoch {
		r.epoch[ch]++
	}
}

// edit changes what is said of a package.
func (r *repository) edit(pkg string, f func(*slipstream.PackageState)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.packages[pkg]
	f(&p)
	r.packages[pkg] = p
	r.bump()
}

func (r *repository) state(channel string) []byte {
	if r.epoch[channel] == 0 {
		r.epoch[channel] = r.clock.Now().Unix()
	}
	packages := r.packages
	if own, ok := r.channels[channel]; ok {
		packages = own
	}
	now := r.clock.Now()
	s := &slipstream.State{App: "shop", Channel: channel, Platform: slipstream.PlatformAny, Epoch: r.epoch[channel], Issued: slipstream.At(now.Truncate(time.Minute)),
		Expires: slipstream.At(now.Truncate(time.Minute).Add(r.life)), RootVersion: int64(len(r.roots)), CheckAfter: 900, Jitter: 60, Packages: packages}
	return r.seal(sign.TypeState, struct {
		*slipstream.State
		Future string `json:"future,omitempty"`
	}{s, r.future}, r.stateKey)
}

func (r *repository) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		return nil, errors.New("no route to host")
	}
	r.asked = append(r.asked, strings.TrimSpace(req.Method+" "+req.URL.Host+req.URL.Path+" "+req.Header.Get("Range")))
	w := httptest.NewRecorder()
	r.serve(w, req)
	if r.tamper != nil && w.Code == http.StatusOK {
		body := r.tamper(req.URL.Path, w.Body.Bytes())
		w.Body = bytes.NewBuffer(body)
	}
	if r.fault != nil {
		if resp, err := r.fault(req, w); resp != nil || err != nil {
			return resp, err
		}
	}
	return w.Result(), nil
}

func (r *repository) serve(w *httptest.ResponseRecorder, req *http.Request) {
	parts := strings.Split(strings.Trim(req.URL.Path, "/"), "/")
	send := func(b []byte, ok bool) {
		if !ok {
			http.NotFound(w, req)
			return
		}
		w.Header().Set("ETag", `"`+string(sum(b))+`"`)
		http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(b))
	}
	answer := func(v any) {
		b, err := json.Marshal(v)
		if err != nil {
			r.t.Error(err)
		}
		send(b, true)
	}
	switch path := req.URL.Path; {
	case strings.Contains(path, "/state/"):
		send(r.state(parts[4]), true)
	case strings.Contains(path, "/roots/"):
		var n int
		if _, err := fmt.Sscan(parts[4], &n); err != nil || n < 1 || n > len(r.roots) {
			http.NotFound(w, req)
			return
		}
		send(r.roots[n-1], true)
	case strings.HasPrefix(path, "/v1/manifests/"):
		b, ok := r.envelopes[slipstream.Digest(parts[2])]
		send(b, ok)
	case strings.HasSuffix(path, "/containers"):
		answer(r.lists[slipstream.Digest(parts[2])])
	case strings.HasPrefix(path, "/v1/containers/"), strings.HasPrefix(path, "/v1/blobs/"):
		b, ok := r.blobs[slipstream.Digest(parts[2])]
		send(b, ok)
	case path == "/v1/reports":
		r.take(w, req, answer)
	case path == "/v1/check":
		r.check(req, send)
	case path == "/v1/grants":
		var q map[string]string
		if err := json.NewDecoder(req.Body).Decode(&q); err != nil {
			r.t.Error(err)
		}
		if r.grantEpoch == 0 {
			answer(map[string]any{"granted": r.grants[q["rollout"]]})
			return
		}
		answer(map[string]any{"granted": r.grants[q["rollout"]], "epoch": r.grantEpoch})
	default:
		http.NotFound(w, req)
	}
}

func (r *repository) take(w http.ResponseWriter, req *http.Request, answer func(any)) {
	var batch []slipstream.Event
	if err := json.NewDecoder(req.Body).Decode(&batch); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var results []slipstream.EventResult
	for i, e := range batch {
		r.reports = append(r.reports, e)
		results = append(results, slipstream.EventResult{Index: i, Status: slipstream.EventAccepted})
	}
	answer(map[string]any{"results": results})
}

func (r *repository) check(req *http.Request, send func([]byte, bool)) {
	var q slipstream.CheckRequest
	if err := json.NewDecoder(req.Body).Decode(&q); err != nil || r.decide == nil {
		send(nil, false)
		return
	}
	now := r.clock.Now()
	if r.epoch[q.Channel] == 0 {
		r.epoch[q.Channel] = now.Unix()
	}
	d := &slipstream.Decision{App: q.App, Channel: q.Channel, Device: q.Device.ID, Nonce: q.Nonce, Epoch: r.epoch[q.Channel], Issued: slipstream.At(now),
		Expires: slipstream.At(now.Add(5 * time.Minute)), Packages: r.decide(q), CheckAfter: 600}
	send(r.seal(sign.TypeDecision, d, r.stateKey), true)
}

func (r *repository) kinds() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, e := range r.reports {
		s := string(e.Kind)
		if e.Reason != "" {
			s += ":" + string(e.Reason)
		}
		out = append(out, s)
	}
	return out
}

func (r *repository) count(part string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, a := range r.asked {
		if strings.Contains(a, part) {
			n++
		}
	}
	return n
}
