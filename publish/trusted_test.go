package publish

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/sign"
)

// liar is a stolen server: it changes what it says of earlier releases.
type liar struct {
	Server
	standing func(*Standing)
	release  func(*Release)
}

func (l liar) Standing(ctx context.Context, t Target) (Standing, error) {
	s, err := l.Server.Standing(ctx, t)
	if l.standing != nil {
		l.standing(&s)
	}
	return s, err
}

func (l liar) Release(ctx context.Context, app, ref string) (Release, error) {
	r, err := l.Server.Release(ctx, app, ref)
	if l.release != nil {
		l.release(&r)
		err = nil
	}
	return r, err
}

func TestNoWayBackIsSignedThatNobodyHereSigned(t *testing.T) {
	p := newPublisher(t, 1, 1)
	if _, err := p.push(t, request("1.0.0"), map[string]string{"a": "one"}); err != nil {
		t.Fatal(err)
	}
	thief := newSigner(t)
	forged := func(s *Standing) {
		s.Recent[0].Digest = slipstream.Digest(strings.Repeat("ab", 32))
	}
	forge := func(r *Release) {
		m, err := r.Manifest()
		if err != nil {
			return
		}
		m.Version = "0.0.1"
		e, err := sign.Seal(sign.TypeManifest, m, thief)
		if err != nil {
			t.Error(err)
			return
		}
		r.Envelope, r.Digest = e.Encode(), sign.DigestOf(e.Payload)
	}
	for name, l := range map[string]liar{
		"a digest that the server invents":   {Server: p.server, standing: forged},
		"a manifest that somebody else made": {Server: p.server, release: forge},
	} {
		t.Run(name, func(t *testing.T) {
			plan, err := Prepare(t.Context(), l, openTree(t, writeTree(t, map[string]string{"a": "two"})), p.proving(t, request("1.1.0")), now())
			if err == nil && len(plan.Manifest.Fallback) != 0 {
				t.Errorf("would sign a way back to %v", plan.Manifest.Fallback)
			}
		})
	}
	plan, err := Prepare(t.Context(), p.server, openTree(t, writeTree(t, map[string]string{"a": "two"})), p.proving(t, request("1.1.0")), now())
	if err != nil || len(plan.Manifest.Fallback) != 1 {
		t.Errorf("honest server: %v, %v", plan.Manifest.Fallback, err)
	}
}

func TestAServerCannotUseUpTheSeqs(t *testing.T) {
	p := newPublisher(t, 1, 1)
	if _, err := p.push(t, request("1.0.0"), map[string]string{"a": "one"}); err != nil {
		t.Fatal(err)
	}
	l := liar{Server: p.server, standing: func(s *Standing) { s.HighestSeq = slipstream.MaxSafeInteger - 1 }}
	tree := openTree(t, writeTree(t, map[string]string{"a": "two"}))
	var refusal *slipstream.Refusal
	if _, err := Prepare(t.Context(), l, tree, p.proving(t, request("1.1.0")), now()); !errors.As(err, &refusal) {
		t.Errorf("got %v, want a refusal", err)
	}
}

func TestAReleaseThatTheServerMadeUpIsNotSignedAgain(t *testing.T) {
	p := newPublisher(t, 1, 1)
	res, err := p.push(t, request("1.0.0"), map[string]string{"a": "one"})
	if err != nil {
		t.Fatal(err)
	}
	ours := p.proving(t, request("")).Keys
	r, err := p.server.Release(t.Context(), "shop", string(res.Digest))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ours.Open("shop", r); err != nil {
		t.Errorf("our own release: %v", err)
	}
	if _, err := ours.Open("bank", r); slipstream.ReasonOf(err, "") != slipstream.ReasonWrongApp {
		t.Errorf("for another app: %v", err)
	}
	m, err := r.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	m.Files[0].SHA256 = slipstream.Digest(strings.Repeat("cd", 32))
	e, err := sign.Seal(sign.TypeManifest, m, newSigner(t))
	if err != nil {
		t.Fatal(err)
	}
	made := Release{ReleaseInfo: ReleaseInfo{Digest: sign.DigestOf(e.Payload)}, Envelope: e.Encode()}
	if _, err := ours.Open("shop", made); slipstream.ReasonOf(err, "") != slipstream.ReasonSignatureInvalid {
		t.Errorf("a release of the server's own making: %v", err)
	}
	// An envelope that we signed proves nothing of a manifest that lies beside it.
	beside := Release{ReleaseInfo: ReleaseInfo{Digest: r.Digest, AdapterOnly: "codepush"}, Envelope: r.Envelope, Unsigned: m}
	if got, err := ours.Open("shop", beside); err == nil && got.Files[0].SHA256 == m.Files[0].SHA256 {
		t.Error("an unsigned manifest passes by the signature of another one")
	}
	alone := Release{ReleaseInfo: ReleaseInfo{Digest: sign.DigestOf(e.Payload), AdapterOnly: "codepush"}, Unsigned: m}
	if _, err := ours.Open("shop", alone); err == nil {
		t.Error("a release that nobody signed passes")
	}
	alone.Digest = r.Digest
	if _, err := alone.Manifest(); slipstream.ReasonOf(err, "") != slipstream.ReasonManifestMismatch {
		t.Errorf("an unsigned manifest under the digest of another: %v", err)
	}
}

// rooted gives the server the root that change makes of the publisher's own, signed by keys.
func (p *publisher) rooted(t *testing.T, change func(*slipstream.Root), keys ...sign.Signer) []byte {
	t.Helper()
	root, _, _, err := sign.DraftRoot(p.root)
	if err != nil {
		t.Fatal(err)
	}
	change(root)
	e, err := sign.Seal(sign.TypeRoot, root, keys...)
	if err != nil {
		t.Fatal(err)
	}
	return e.Encode()
}

func TestAServersRootMustFollowTheOwnOne(t *testing.T) {
	thief := newSigner(t)
	takeOver := func(version int64) func(*slipstream.Root) {
		return func(r *slipstream.Root) {
			id := sign.AddKey(r, thief.Public())
			r.Version, r.Roles.Root.Keys, r.Roles.Release.Keys = version, []string{id}, []string{id}
		}
	}
	tree := map[string]string{"a": "one"}
	for name, version := range map[string]int64{"another one of the same version": 1, "a next one that only the thief signed": 2, "one that leaves out a version": 3} {
		t.Run(name, func(t *testing.T) {
			p := newPublisher(t, 1, 1)
			p.server.root = p.rooted(t, takeOver(version), thief)
			_, err := Prepare(t.Context(), p.server, openTree(t, writeTree(t, tree)), p.proving(t, request("1.0.0")), now())
			if slipstream.ReasonOf(err, "") != slipstream.ReasonSignatureInvalid || slipstream.HintOf(err) == "" {
				t.Errorf("got %v", err)
			}
			if _, err := PushSealed(t.Context(), p.server, CommitRequest{App: "shop", Manifest: signedBy(t, thief)}, p.proving(t, Request{}).Keys, nil, nil); err == nil || p.server.commits != 0 {
				t.Errorf("a manifest of the thief's was committed: %v", err)
			}
		})
	}
	t.Run("no root of one's own", func(t *testing.T) {
		p := newPublisher(t, 1, 1)
		_, err := Prepare(t.Context(), p.server, openTree(t, writeTree(t, tree)), request("1.0.0"), now())
		if !errors.Is(err, slipstream.ErrNotFound) || !strings.Contains(slipstream.HintOf(err), "SLIPSTREAM_ROOT") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a next one that the own one signed is followed", func(t *testing.T) {
		p := newPublisher(t, 1, 1)
		next := newSigner(t)
		p.server.root = p.rooted(t, func(r *slipstream.Root) {
			r.Version, r.Roles.Release.Keys = 2, []string{sign.AddKey(r, next.Public())}
		}, p.rootKey)
		p.signers = []sign.Signer{next}
		must(t)(p.push(t, request("1.0.0"), tree))
	})
	t.Run("a server that lost the newest one is no harm", func(t *testing.T) {
		p := newPublisher(t, 1, 1)
		p.root = p.rooted(t, func(r *slipstream.Root) { r.Version = 2 }, p.rootKey)
		must(t)(p.push(t, request("1.0.0"), tree))
	})
}

func signedBy(t *testing.T, s sign.Signer) []byte {
	t.Helper()
	m := slipstream.Manifest{App: "shop", Package: "main", Platform: "any", Runtime: slipstream.AnyRuntime(), Seq: 1, Version: "1.0.0", Created: slipstream.At(now()),
		Files: []slipstream.File{{Path: "a", Size: 1, SHA256: slipstream.Digest(strings.Repeat("ab", 32))}}}
	e, err := sign.Seal(sign.TypeManifest, &m, s)
	if err != nil {
		t.Fatal(err)
	}
	return e.Encode()
}

func TestAReleaseThatTheServerMadeUpIsNotPublishedAgain(t *testing.T) {
	p := newPublisher(t, 1, 1)
	own := must(t)(p.push(t, request("1.0.0"), map[string]string{"a": "one"}))
	must(t)(p.push(t, request("1.1.0"), map[string]string{"a": "two"}))
	again := Again{Keys: p.proving(t, Request{}).Keys}
	standing, err := p.server.Standing(t.Context(), request("").Target)
	if err != nil {
		t.Fatal(err)
	}
	forged := signedBy(t, newSigner(t))
	parsed, err := sign.ParseEnvelope(forged, sign.TypeManifest, slipstream.MaxManifestBytes)
	if err != nil {
		t.Fatal(err)
	}
	made := Release{ReleaseInfo: ReleaseInfo{Digest: sign.DigestOf(parsed.Payload)}, Envelope: forged}
	if _, e, err := Republish(t.Context(), p.server, made, standing, again, p.signers, now()); slipstream.ReasonOf(err, "") != slipstream.ReasonSignatureInvalid || e != nil {
		t.Errorf("got %v", err)
	}
	old, err := p.server.Release(t.Context(), "shop", string(own.Digest))
	if err != nil {
		t.Fatal(err)
	}
	m, _, err := Republish(t.Context(), p.server, old, standing, again, p.signers, now())
	if err != nil || m.Seq != 3 || m.Version != "1.0.0-again.3" || len(m.Fallback) != 2 {
		t.Errorf("an honest one: %+v, %v", m, err)
	}
	standing.HighestSeq = slipstream.MaxSafeInteger - 1
	if _, _, err := Republish(t.Context(), p.server, old, standing, again, p.signers, now()); slipstream.ReasonOf(err, "") != slipstream.ReasonManifestMismatch {
		t.Errorf("a jump of the seq: %v", err)
	}
	standing.HighestSeq, standing.Recent[0].Digest = 2, made.Digest
	if m, _, err := Republish(t.Context(), liar{Server: p.server, release: func(r *Release) { *r = made }}, old, standing, again, p.signers, now()); err != nil || len(m.Fallback) != 0 {
		t.Errorf("signed ways back to %v, %v", m.Fallback, err)
	}
}

// remembered is a SeqMemory of one package.
type remembered struct{ seq int64 }

func (r *remembered) Highest(string, string) (int64, error) { return r.seq, nil }
func (r *remembered) Remember(_, _ string, seq int64) error {
	r.seq = max(r.seq, seq)
	return nil
}

func TestWhatWasSignedHereCountsMoreThanWhatTheServerSays(t *testing.T) {
	p := newPublisher(t, 1, 1)
	memory := &remembered{seq: 40}
	req := request("1.0.0")
	req.Seqs = memory
	if res := must(t)(p.push(t, req, map[string]string{"a": "one"})); res.Seq != 41 || memory.seq != 41 {
		t.Errorf("seq %d, remembered %d", res.Seq, memory.seq)
	}
	t.Run("a plan alone signs and keeps nothing", func(t *testing.T) {
		req := request("1.1.0")
		req.Seqs = memory
		plan, err := Prepare(t.Context(), p.server, openTree(t, writeTree(t, map[string]string{"a": "two"})), p.proving(t, req), now())
		if err != nil || plan.Manifest.Seq != 42 || memory.seq != 41 {
			t.Errorf("got %+v, %v", plan, err)
		}
	})
}

// boaster is a server that tells of another release than the one it was given.
type boaster struct{ *fakeServer }

func (b boaster) Commit(ctx context.Context, req CommitRequest) (CommitResult, error) {
	c, err := b.fakeServer.Commit(ctx, req)
	c.Digest, c.Seq = slipstream.Digest(strings.Repeat("ab", 32)), 99
	return c, err
}

func TestTheResultIsWhatWasSigned(t *testing.T) {
	p := newPublisher(t, 1, 1)
	plan, err := Prepare(t.Context(), p.server, openTree(t, writeTree(t, map[string]string{"a": "one"})), p.proving(t, request("1.0.0")), now())
	if err != nil {
		t.Fatal(err)
	}
	res, err := Push(t.Context(), boaster{p.server}, plan, p.signers, now, nil)
	if slipstream.ReasonOf(err, "") != slipstream.ReasonManifestMismatch || res.Seq != 1 || res.Digest != p.server.releases[0].Digest {
		t.Errorf("got %+v, %v", res, err)
	}
}
