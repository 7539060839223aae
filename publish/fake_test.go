package publish

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/sign"
)

// fakeServer keeps everything in memory and keeps the rules of Server's contract.
type fakeServer struct {
	mu       sync.Mutex
	root     []byte
	kind     string
	confirms bool // the host
	blobs    map[slipstream.Digest][]byte
	releases []Release
	offers   map[string][]slipstream.Digest // channel → digests, newest last
	highest  int64
	puts     int
	commits  int
	warnings []string

	beforeCommit func()                   // runs once, outside the lock
	putBlob      func(Blob) (bool, error) // true: take it
}

var _ Server = (*fakeServer)(nil)

type publisher struct {
	server  *fakeServer
	signers []sign.Signer
	root    []byte // the publisher's own, of version 1
	rootKey sign.Signer
}

func newPublisher(t testing.TB, keys, threshold int) *publisher {
	t.Helper()
	role := sign.RoleKeys{Threshold: threshold}
	p := &publisher{server: &fakeServer{blobs: map[slipstream.Digest][]byte{}, offers: map[string][]slipstream.Digest{}}}
	for range keys {
		s := newSigner(t)
		p.signers = append(p.signers, s)
		role.Keys = append(role.Keys, s.Public())
	}
	rootKey, stateKey := newSigner(t), newSigner(t)
	root, err := sign.NewRoot("shop", time.Now().AddDate(1, 0, 0), sign.RoleKeys{Keys: pub(rootKey)}, role, sign.RoleKeys{Keys: pub(stateKey)})
	if err != nil {
		t.Fatal(err)
	}
	e, err := sign.Seal(sign.TypeRoot, root, rootKey)
	if err != nil {
		t.Fatal(err)
	}
	p.root, p.server.root, p.rootKey = e.Encode(), e.Encode(), rootKey
	return p
}

func newSigner(t testing.TB) sign.Signer {
	t.Helper()
	priv, err := sign.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return sign.NewSigner(priv)
}

func pub(s sign.Signer) []ed25519.PublicKey { return []ed25519.PublicKey{s.Public()} }

func (s *fakeServer) Standing(_ context.Context, t Target) (Standing, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Standing{Kind: s.kind, HostConfirms: s.confirms, Platforms: []string{"any"}, Root: s.root, HighestSeq: s.highest, Warnings: s.warnings}
	for i := len(s.releases) - 1; i >= 0; i-- {
		r := s.releases[i].ReleaseInfo
		if r.Package != t.Package {
			continue
		}
		st.Recent = append(st.Recent, r)
		here := r.Platform == t.Platform && r.Runtime == t.Runtime
		if here && r.Version == t.Version {
			st.Same = &r
		}
		if here && st.Current == nil && slices.Contains(s.offers[t.Channel], r.Digest) {
			st.Current = &r
		}
	}
	return st, nil
}

func (s *fakeServer) Roots(context.Context, string) ([][]byte, error) { return [][]byte{s.root}, nil }

func (s *fakeServer) Releases(context.Context, ReleaseQuery) ([]ReleaseInfo, error) {
	return nil, errors.New("not asked for by publishing")
}

func (s *fakeServer) Release(_ context.Context, _, ref string) (Release, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.releases {
		if string(r.Digest) == ref {
			return r, nil
		}
	}
	return Release{}, slipstream.ErrNotFound
}

func (s *fakeServer) Missing(_ context.Context, _ string, digests []slipstream.Digest) ([]slipstream.Digest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []slipstream.Digest
	for _, d := range digests {
		if _, ok := s.blobs[d]; !ok {
			out = append(out, d)
		}
	}
	return out, nil
}

func (s *fakeServer) PutBlob(ctx context.Context, _ string, b Blob) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	hook := s.putBlob
	s.mu.Unlock()
	if hook != nil {
		if take, err := hook(b); !take {
			return err
		}
	}
	r, err := b.Open(0)
	if err != nil {
		return err
	}
	content, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return err
	}
	if d := slipstream.DigestOf(sha256.Sum256(content)); d != b.Digest || int64(len(content)) != b.Size {
		return slipstream.Refuse(slipstream.ReasonFileMismatch, "blob", "got %s", d)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[b.Digest] = content
	s.puts++
	return nil
}

func (s *fakeServer) Commit(_ context.Context, req CommitRequest) (CommitResult, error) {
	s.mu.Lock()
	before := s.beforeCommit
	s.beforeCommit = nil
	s.mu.Unlock()
	if before != nil {
		before()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	trust, err := sign.OpenRoot(s.root)
	if err != nil {
		return CommitResult{}, err
	}
	m, digest, err := trust.Manifest(req.Manifest)
	if err != nil {
		return CommitResult{}, err
	}
	existing := slices.ContainsFunc(s.releases, func(r Release) bool { return r.Digest == digest })
	if !existing {
		if err := s.admit(m); err != nil {
			return CommitResult{}, err
		}
		s.highest = m.Seq
		s.releases = append(s.releases, Release{Envelope: req.Manifest, ReleaseInfo: ReleaseInfo{Digest: digest, App: m.App, Package: m.Package,
			Platform: m.Platform, Runtime: m.Runtime, Seq: m.Seq, Version: m.Version, Embedded: req.Embedded, Data: m.Data}})
	}
	s.commits++
	res := CommitResult{Digest: digest, Seq: m.Seq, Existing: existing, Warnings: s.warnings}
	if req.Rollout != nil {
		s.offers[req.Rollout.Channel] = append(s.offers[req.Rollout.Channel], digest)
		res.Rollout, res.Epoch = fmt.Sprint("r", s.commits), int64(s.commits)
	}
	return res, nil
}

func (s *fakeServer) admit(m *slipstream.Manifest) error {
	for _, f := range m.Files {
		if _, ok := s.blobs[f.SHA256]; !ok {
			return fmt.Errorf("blob of %s: %w", f.Path, slipstream.ErrNotFound)
		}
	}
	for _, r := range s.releases {
		if r.Version == m.Version && r.Package == m.Package && r.Platform == m.Platform && r.Runtime == m.Runtime {
			return ErrVersionTaken
		}
	}
	if m.Seq <= s.highest {
		return ErrSeqTaken
	}
	return nil
}

func (s *fakeServer) Resign(context.Context, string, slipstream.Digest, []byte) error {
	return errors.New("not asked for by publishing")
}

// request is what `publish` asks for without any flag.
func request(version string) Request {
	return Request{
		Target:  Target{App: "shop", Package: "main", Platform: "any", Channel: "production", Runtime: slipstream.AnyRuntime(), Version: version},
		Rollout: &NewRollout{Channel: "production", To: slipstream.FullShare},
	}
}

func now() time.Time { return time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC) }

// proving is req with the publisher's own root and keys.
func (p *publisher) proving(t testing.TB, req Request) Request {
	t.Helper()
	var err error
	if req.Keys, err = NewKeyring(p.root); err != nil {
		t.Fatal(err)
	}
	for _, s := range p.signers {
		req.Keys = req.Keys.With(s.Public())
	}
	return req
}

// push publishes files as a user with one command.
func (p *publisher) push(t testing.TB, req Request, files map[string]string) (Result, error) {
	t.Helper()
	tree := openTree(t, writeTree(t, files))
	plan, err := Prepare(t.Context(), p.server, tree, p.proving(t, req), now())
	if err != nil {
		return Result{}, err
	}
	return Push(t.Context(), p.server, plan, p.signers, now, nil)
}

func writeTree(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for p, content := range files {
		write(t, filepath.Join(dir, p), content)
	}
	return dir
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func openTree(t testing.TB, path string) *Tree {
	t.Helper()
	tree, err := Open(t.Context(), path, Limits{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tree.Close(); err != nil {
			t.Error(err)
		}
	})
	return tree
}
