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
}
