package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/sign"
)

// MaxFallback is how many releases a new one may be left for.
const MaxFallback = 10

// Request says what is to be published, beside the tree itself.
type Request struct {
	Target
	Entry    string
	Kind     string // one of Kinds; "" = what the server says, else guessed
	Requires map[string]slipstream.Requirement
	Data     *slipstream.DataFormats
	Meta     map[string]json.RawMessage
	Notes    string
	Embedded bool
	Rollout  *NewRollout // nil = publish only
	// MinSeq is the lowest seq that the release may get: for a server that lost its releases, whose devices have
	// confirmed higher ones. 0 = the next.
	MinSeq int64
	// Keys prove roots and earlier releases: nothing that the server says is signed without.
	Keys Keyring
	// Seqs keeps what was signed on this machine; nil = nothing is kept.
	Seqs SeqMemory
}

// Plan is what publishing would do. Nothing has been written or uploaded.
type Plan struct {
	Manifest *slipstream.Manifest
	Kind     string
	Current  *ReleaseInfo // what the channel offers now, nil = nothing
	Diff     Diff         // from Current to Manifest
	// Existing is the release that has this version and the very same content already; it is committed as it is instead
	// of a new one.
	Existing *Release
	// Back are the releases that Manifest may be left for, newest first.
	Back []ReleaseInfo
	// UpToDate: Existing is what the channel offers, there is nothing to do.
	UpToDate bool
	Warnings []Warning

	request Request
	role    slipstream.Role // the release role of the newest root
	tree    *Tree
}

// Prepare reads how things stand, makes the manifest and compares. A version that is taken by other content is
// ErrVersionTaken; content that the channel has left behind is slipstream.ErrConflict.
func Prepare(ctx context.Context, server Server, tree *Tree, req Request, now time.Time) (*Plan, error) {
	standing, err := server.Standing(ctx, req.Target)
	if err != nil {
		return nil, fmt.Errorf("ask how things stand: %w", err)
	}
	keys, err := req.Keys.Follow(ctx, server, req.App)
	if err != nil {
		return nil, err
	}
	p := &Plan{request: req, tree: tree, role: keys.Root().Root().Roles.Release, Current: standing.Current}
	before, err := keys.proven(ctx, server, req.Target, standing, req.Seqs)
	if err != nil {
		return nil, err
	}
	p.Back = before.back
	p.Manifest = newManifest(tree, req, p.Back, now)
	if p.Manifest.Seq, err = nextSeq(standing, before.highest, req.MinSeq); err != nil {
		return nil, err
	}
	if err := sign.CheckManifest(p.Manifest); err != nil {
		return nil, err
	}
	current, err := p.readCurrent(ctx, server)
	if err != nil {
		return nil, err
	}
	p.Diff = Compare(current, p.Manifest)
	if standing.Same != nil {
		if err := p.meetSame(ctx, server, *standing.Same); err != nil {
			return nil, err
		}
	}
	p.Kind = kindOf(req.Kind, standing.Kind, tree.Files)
	if p.Existing == nil {
		p.Warnings, err = check(ctx, p, standing.HostConfirms)
		if err != nil {
			return nil, err
		}
	}
	p.Warnings = append(p.Warnings, before.warnings...)
	for _, text := range standing.Warnings {
		p.Warnings = append(p.Warnings, Warning{WarnServer, text})
	}
	return p, nil
}

func newManifest(tree *Tree, req Request, back []ReleaseInfo, now time.Time) *slipstream.Manifest {
	m := &slipstream.Manifest{
		App: req.App, Package: req.Package, Platform: req.Platform, Runtime: req.Runtime, Version: req.Version,
		Entry: req.Entry, Created: slipstream.At(now), Files: tree.Files,
		Requires: req.Requires, Data: req.Data, Meta: req.Meta,
	}
	if m.Entry == "" && len(m.Files) == 1 {
		m.Entry = m.Files[0].Path
	}
	for _, r := range back {
		m.Fallback = append(m.Fallback, r.Digest)
	}
	return m
}

// fallbacks gives the newest releases that run wherever the target runs.
func fallbacks(t Target, recent []ReleaseInfo) []ReleaseInfo {
	var out []ReleaseInfo
	for _, r := range recent {
		fits := r.Runtime == t.Runtime || r.Runtime == slipstream.AnyRuntime()
		if r.Package == t.Package && !r.Embedded && fits && (r.Platform == t.Platform || r.Platform == slipstream.PlatformAny) {
			out = append(out, r)
		}
	}
	slices.SortStableFunc(out, func(a, b ReleaseInfo) int { return int(b.Seq - a.Seq) })
	return out[:min(len(out), MaxFallback)]
}

// readCurrent gives the manifest of what the channel offers. It is for comparing only, so no signature is checked; that
// it is the named one is.
func (p *Plan) readCurrent(ctx context.Context, server Server) (*slipstream.Manifest, error) {
	if p.Current == nil {
		return nil, nil
	}
	r, err := server.Release(ctx, p.request.App, string(p.Current.Digest))
	if err != nil {
		return nil, fmt.Errorf("read current release: %w", err)
	}
	r.Digest = p.Current.Digest
	return r.Manifest()
}

// Manifest decodes the release's envelope and checks that it is the one that the digest names. Signatures are not
// looked at. An adapter-only release has no envelope: its manifest is the one that the digest names, and nobody signed it.
func (r *Release) Manifest() (*slipstream.Manifest, error) {
	if len(r.Envelope) == 0 && r.AdapterOnly != "" && r.Unsigned != nil {
		payload, err := sign.Encode(r.Unsigned)
		if err != nil {
			return nil, fmt.Errorf("release %s: %w", r.Digest.Short(), err)
		}
		if d := sign.DigestOf(payload); d != r.Digest {
			return nil, slipstream.Refuse(slipstream.ReasonManifestMismatch, "manifest", "its digest is %s, asked for was %s", d.Short(), r.Digest.Short())
		}
		return r.Unsigned, nil
	}
	e, err := sign.ParseEnvelope(r.Envelope, sign.TypeManifest, slipstream.MaxManifestBytes)
	if err != nil {
		return nil, fmt.Errorf("release %s: %w", r.Digest.Short(), err)
	}
	if d := sign.DigestOf(e.Payload); d != r.Digest {
		return nil, slipstream.Refuse(slipstream.ReasonManifestMismatch, "manifest", "its digest is %s, asked for was %s", d.Short(), r.Digest.Short())
	}
	var m slipstream.Manifest
	if err := sign.Decode(e.Payload, &m); err != nil {
		return nil, fmt.Errorf("release %s: %w", r.Digest.Short(), err)
	}
	return &m, nil
}

// meetSame decides about the release that has our version already: the same content is used again, other content is a
// conflict.
func (p *Plan) meetSame(ctx context.Context, server Server, same ReleaseInfo) error {
	if same.AdapterOnly != "" {
		return slipstream.Hint(fmt.Errorf("version %s of package %s came in through %s and nobody signed it: %w", same.Version, same.Package, same.AdapterOnly, ErrVersionTaken),
			"choose another version with --version")
	}
	r, err := server.Release(ctx, p.request.App, string(same.Digest))
	if err != nil {
		return fmt.Errorf("read release %s: %w", same.Version, err)
	}
	r.Digest = same.Digest
	old, err := r.Manifest()
	if err != nil {
		return err
	}
	if what := difference(old, p.Manifest); what != "" {
		return slipstream.Hint(fmt.Errorf("version %s of package %s is published already (seq %d, %s) with other %s: %w",
			same.Version, same.Package, same.Seq, same.Digest.Short(), what, ErrVersionTaken),
			"raise the version with --version; `slipstream release diff` shows what differs between two releases")
	}
	p.Existing, p.Manifest, p.Back = &r, old, nil
	switch {
	case p.request.Rollout == nil || p.Current != nil && p.Current.Digest == same.Digest:
		p.UpToDate = true
	case p.Current != nil && p.Current.Seq > same.Seq:
		return slipstream.Hint(fmt.Errorf("version %s is published already (seq %d) and channel %s has moved on to %s (seq %d): %w",
			same.Version, same.Seq, p.request.Channel, p.Current.Version, p.Current.Seq, slipstream.ErrConflict),
			"`slipstream rollback` puts an earlier release in force; to send this content as something newer, raise --version")
	}
	return nil
}

// difference names the first part in which two manifests of one version differ, but for what every publish renews: seq,
// created, fallback.
func difference(a, b *slipstream.Manifest) string {
	switch {
	case !slices.Equal(a.Files, b.Files):
		d := Compare(a, b)
		first := "order"
		if len(d.Changes) > 0 {
			first = d.Changes[0].Path
		}
		return fmt.Sprintf("files (%d differ, the first is %s)", len(d.Changes), first)
	case a.Entry != b.Entry:
		return "entry"
	case !maps.EqualFunc(a.Requires, b.Requires, func(x, y slipstream.Requirement) bool {
		return x.MinSeq == y.MinSeq && slices.Equal(x.Digests, y.Digests)
	}):
		return "requires"
	case !sameData(a.Data, b.Data):
		return "data formats"
	case !maps.EqualFunc(a.Meta, b.Meta, func(x, y json.RawMessage) bool { return bytes.Equal(compact(x), compact(y)) }):
		return "meta"
	}
	return ""
}

func sameData(a, b *slipstream.DataFormats) bool {
	var none slipstream.DataFormats
	if a == nil {
		a = &none
	}
	if b == nil {
		b = &none
	}
	return a.Writes == b.Writes && slices.Equal(a.Reads, b.Reads)
}

func compact(raw json.RawMessage) []byte {
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return raw
	}
	return b.Bytes()
}

// Needed is how many release keys must sign.
func (p *Plan) Needed() int { return p.role.Threshold }

// CheckSigners refuses keys that the newest root does not let sign releases, before anything is uploaded, and says how
// many signatures are still missing with these.
func (p *Plan) CheckSigners(signers []sign.Signer) (missing int, err error) {
	ids := map[string]bool{}
	for _, s := range signers {
		id := sign.KeyID(s.Public())
		if !slices.Contains(p.role.Keys, id) {
			err = errors.Join(err, slipstream.Refuse(slipstream.ReasonSignatureInvalid, "release key "+id,
				"the newest root of app %s lets only %s sign releases", p.request.App, strings.Join(p.role.Keys, ", ")))
		}
		ids[id] = true
	}
	return max(0, p.role.Threshold-len(ids)), slipstream.Hint(err, "give the right key with --key or SLIPSTREAM_RELEASE_KEY; after a change of keys, publish the new root first (docs/guides/lost-key.md)")
}

// Seal signs the plan's manifest, and keeps its seq in mind before that.
func (p *Plan) Seal(signers []sign.Signer) (*sign.Envelope, error) {
	if s := p.request.Seqs; s != nil {
		if err := s.Remember(p.request.App, p.Manifest.Package, p.Manifest.Seq); err != nil {
			return nil, err
		}
	}
	e, err := sign.Seal(sign.TypeManifest, p.Manifest, signers...)
	if err != nil {
		return nil, fmt.Errorf("sign manifest: %w", err)
	}
	if n := len(e.Encode()); n > slipstream.MaxManifestBytes {
		return nil, slipstream.Hint(slipstream.Refuse(slipstream.ReasonTooLarge, "manifest", "it has %d bytes, at most %d are allowed", n, slipstream.MaxManifestBytes),
			"split the release into several packages, or shorten its paths")
	}
	return e, nil
}
