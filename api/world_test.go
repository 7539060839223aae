package api_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/blob/mem"
	"github.com/slipstream-ota/slipstream/internal/seal"
	"github.com/slipstream-ota/slipstream/publish"
	"github.com/slipstream-ota/slipstream/publish/build"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/sign"
	"github.com/slipstream-ota/slipstream/store"
	"github.com/slipstream-ota/slipstream/store/sqlite"
)

// world is a management API over a store in memory, with clients of several roles.
type world struct {
	*testing.T
	ctx     context.Context
	store   *faulty
	blobs   blob.Store
	tokens  *auth.Tokens
	jobs    *build.Builder
	url     string
	spooled string // folder of unfinished uploads
	now     time.Time
	secrets map[string]string // by name
	settled atomic.Int32      // how often devices were to see a change before its answer
	release sign.Signer
	root    []byte
}

// faulty is a store that can be away.
type faulty struct {
	store.Store
	away bool
}

func (f *faulty) View(ctx context.Context, fn func(store.Tx) error) error {
	if f.away {
		return fmt.Errorf("connect: %w", slipstream.ErrUnavailable)
	}
	return f.Store.View(ctx, fn)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	st, err := sqlite.Open(t.Context(), ":memory:", sqlite.Options{Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, ctx: t.Context(), store: &faulty{Store: st}, blobs: mem.New(), now: time.Now().UTC(), secrets: map[string]string{}}
	t.Cleanup(func() { w.must(st.Close()) })
	keys, err := rollout.OpenKeys(w.ctx, st, bytes.Repeat([]byte{1}, 32))
	w.must(err)
	w.tokens = auth.New(auth.Config{Store: w.store})
	w.spooled = t.TempDir()
	spool, err := api.OpenSpool(w.spooled, nil)
	w.must(err)
	w.jobs = build.New(build.Config{Store: w.store, Blobs: w.blobs, Owner: "test", TempDir: t.TempDir()})
	sealer, err := seal.New(bytes.Repeat([]byte{1}, 32))
	w.must(err)
	members := auth.NewMembers(auth.MembersConfig{Config: auth.Config{Store: w.store}, Sealer: sealer, Cost: auth.Cost{Memory: 64, Time: 1, Threads: 1}})
	s := api.New(api.Config{Store: w.store, Blobs: w.blobs, Tokens: w.tokens, Members: members, Spool: spool, Jobs: w.jobs,
		Rollout: rollout.New(rollout.Config{Store: w.store, Blobs: w.blobs, Keys: keys}),
		Settle: func(context.Context) error {
			w.settled.Add(1)
			return slipstream.ErrUnavailable
		},
		Sender: func(r *http.Request) string { return first(r.Header.Get("Test-Sender"), "192.0.2.1") }})
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	w.url = server.URL
	for _, role := range []auth.Role{auth.Owner, auth.Publisher, auth.Operator, auth.Viewer} {
		w.token(string(role), role, "")
	}
	return w
}

// record is what a handler answers without a server.
func record(h http.Handler, method, path, body string, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for k, v := range header {
		r.Header[k] = v
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) token(name string, role auth.Role, app string) {
	w.Helper()
	_, secret, err := w.tokens.Create(w.ctx, "test", auth.Spec{Name: name, Role: role, App: app})
	w.must(err)
	w.secrets[name] = secret
}

// client has the token of this name.
func (w *world) client(name string) *api.Client {
	w.Helper()
	c, err := api.NewClient(w.url, w.secrets[name], nil)
	w.must(err)
	return c
}

// shop makes the app "shop" as the command does.
func (w *world) shop() *api.Client {
	w.Helper()
	c := w.client("owner")
	app, err := c.CreateApp(w.ctx, api.NewApp{Name: "shop", Platforms: []string{"ios"}})
	w.must(err)
	signer := func() sign.Signer {
		_, priv, err := ed25519.GenerateKey(nil)
		w.must(err)
		return sign.NewSigner(priv)
	}
	root := signer()
	w.release = signer()
	state, err := sign.ParsePublic(app.StateKeys[0].Public)
	w.must(err)
	one := func(p ed25519.PublicKey) sign.RoleKeys { return sign.RoleKeys{Keys: []ed25519.PublicKey{p}} }
	doc, err := sign.NewRoot("shop", w.now.AddDate(5, 0, 0), one(root.Public()), one(w.release.Public()), one(state))
	w.must(err)
	e, err := sign.Seal(sign.TypeRoot, doc, root)
	w.must(err)
	w.root = e.Encode()
	_, err = c.AddRoot(w.ctx, "shop", w.root)
	w.must(err)
	return c
}

// bytesBlob is content to upload that counts how often it is opened.
func bytesBlob(content []byte) publish.Blob {
	return publish.Blob{Digest: slipstream.DigestOf(sha256.Sum256(content)), Size: int64(len(content)), Open: func(offset int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content[offset:])), nil
	}}
}

// manifest signs a release of one file and uploads the file.
func (w *world) manifest(seq int64, change ...func(*slipstream.Manifest)) []byte {
	w.Helper()
	b := bytesBlob(fmt.Appendf(nil, "release %d", seq))
	w.must(w.client("owner").PutBlob(w.ctx, "shop", b))
	m := &slipstream.Manifest{App: "shop", Package: "main", Platform: "any", Runtime: slipstream.AnyRuntime(), Seq: seq, Version: fmt.Sprintf("1.%d.0", seq),
		Entry: "a.js", Created: slipstream.At(w.now), Files: []slipstream.File{{Path: "a.js", Size: b.Size, SHA256: b.Digest}}}
	for _, c := range change {
		c(m)
	}
	e, err := sign.Seal(sign.TypeManifest, m, w.release)
	w.must(err)
	return e.Encode()
}

func (w *world) publish(seq int64, change ...func(*slipstream.Manifest)) publish.CommitResult {
	w.Helper()
	res, err := w.client("publisher").Commit(w.ctx, publish.CommitRequest{App: "shop", Manifest: w.manifest(seq, change...),
		Rollout: &publish.NewRollout{Channel: "production", To: slipstream.FullShare}})
	w.must(err)
	return res
}

// call sends one raw request.
func (w *world) call(method, path, token, body string, headers ...string) (*http.Response, string) {
	w.Helper()
	req, err := http.NewRequestWithContext(w.ctx, method, w.url+path, strings.NewReader(body))
	w.must(err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	w.must(err)
	b, err := io.ReadAll(res.Body)
	w.must(errors.Join(err, res.Body.Close()))
	return res, string(b)
}
