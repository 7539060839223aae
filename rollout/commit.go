package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/sign"
	"github.com/slipstream-ota/slipstream/store"
)

// Conflicts of a commit.
var (
	ErrSeqTaken     = fmt.Errorf("seq is not above the highest: %w", slipstream.ErrConflict)
	ErrVersionTaken = fmt.Errorf("version is taken: %w", slipstream.ErrConflict)
)

const parallelStats = 16

// MissingError names blobs that a release needs and that are not stored. It is a slipstream.ErrNotFound.
type MissingError struct{ Digests []slipstream.Digest }

func (e *MissingError) Error() string {
	return fmt.Sprintf("%d blobs are missing, among them %s", len(e.Digests), e.Digests[0].Short())
}

// Is makes a MissingError a slipstream.ErrNotFound.
func (e *MissingError) Is(target error) bool { return target == slipstream.ErrNotFound }

// Offer is the rollout that a release gets with its commit, or later. Control nil is the default.
type Offer struct {
	Channel  string
	From, To int
	Control  *int
	Salt     string
	When     []slipstream.Condition
	Apply    slipstream.Apply
	Private  bool
	Grant    bool  // follows from Cap
	Cap      int64 // devices that may take it, first come, first served; 0 = no bound
	Notes    string
	Plan     *Plan  // instead of To: its first stage says where to begin
	At       int    // place in the package's list, 0 = top
	platform string // narrower than the release's, of a rollback that is promoted
}

// Commit publishes a release.
type Commit struct {
	App      string
	Manifest []byte // envelope
	Notes    string
	Embedded bool // ships inside app binaries only
	Offer    *Offer
}

// Committed is what came of a Commit.
type Committed struct {
	Release  *slipstream.Release
	Existing bool
	Done
}

// Commit makes a release visible in one transaction, after every signature is verified and every blob is readable, and
// starts its rollout with it: both or nothing. The same digest again is no error, and neither is the same offer.
func (s *Service) Commit(ctx context.Context, by string, c Commit) (Committed, error) {
	if len(c.Notes) > MaxNotes {
		return Committed{}, slipstream.Invalidf("notes are longer than %d bytes", MaxNotes)
	}
	if c.Embedded && c.Offer != nil {
		return Committed{}, slipstream.Invalidf("an embedded release is never offered on a channel")
	}
	id, err := s.newID()
	if err != nil {
		return Committed{}, err
	}
	for {
		generation, err := s.checkBlobs(ctx, c)
		if err != nil {
			return Committed{}, err
		}
		var out Committed
		err = s.store.Update(ctx, func(tx store.Tx) error {
			if err := s.unchanged(ctx, tx, generation); err != nil {
				return err
			}
			var err error
			out, err = s.commitIn(ctx, tx, by, c, id)
			return err
		})
		if !errors.Is(err, errCollected) {
			return out, err
		}
	}
}

// checkBlobs verifies the manifest and that all its blobs can be read, and says at which state of the garbage
// collection that was so.
func (s *Service) checkBlobs(ctx context.Context, c Commit) (int64, error) {
	var m *slipstream.Manifest
	var generation int64
	err := s.store.View(ctx, func(tx store.Tx) error {
		trust, err := s.releaseTrust(ctx, tx, c.App)
		if err != nil {
			return err
		}
		if m, _, err = trust.Manifest(c.Manifest); err != nil {
			return err
		}
		generation, err = generationOf(ctx, tx)
		return err
	})
	if err != nil {
		return 0, err
	}
	return generation, s.checkStored(ctx, m.Files)
}

// checkStored makes sure that every file's blob is there, and as long as it should be.
func (s *Service) checkStored(ctx context.Context, files []slipstream.File) error {
	digests := make([]slipstream.Digest, len(files))
	for i, f := range files {
		digests[i] = f.SHA256
	}
	missing, err := s.Missing(ctx, digests)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return slipstream.Hint(&MissingError{missing}, "publish again: only what is missing is uploaded")
	}
	return s.checkSizes(ctx, files)
}

// checkSizes makes sure that no file claims another size than its blob has: devices would refuse the release.
func (s *Service) checkSizes(ctx context.Context, files []slipstream.File) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelStats)
	for _, f := range files {
		g.Go(func() error {
			info, err := s.blobs.Stat(ctx, f.SHA256)
			if err != nil {
				return fmt.Errorf("look at blob of %s: %w", f.Path, err)
			}
			if info.Size != f.Size {
				return slipstream.Refuse(slipstream.ReasonFileMismatch, "file "+f.Path, "manifest says %d bytes, the blob has %d", f.Size, info.Size)
			}
			return nil
		})
	}
	return g.Wait()
}

// Missing gives those of digests whose blobs are not stored, each once, in order.
func (s *Service) Missing(ctx context.Context, digests []slipstream.Digest) ([]slipstream.Digest, error) {
	digests = slices.Clone(digests)
	slices.Sort(digests)
	digests = slices.Compact(digests)
	var mu sync.Mutex
	missing := []slipstream.Digest{}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelStats)
	for _, d := range digests {
		if !d.Valid() {
			return nil, slipstream.Invalidf("digest %q is not 64 lower-case hex digits", d)
		}
		g.Go(func() error {
			_, err := s.blobs.Stat(gctx, d)
			if errors.Is(err, slipstream.ErrNotFound) {
				mu.Lock()
				defer mu.Unlock()
				missing = append(missing, d)
				return nil
			}
			if err != nil {
				return fmt.Errorf("look for blob %s: %w", d.Short(), err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	slices.Sort(missing)
	return missing, nil
}

func (s *Service) releaseTrust(ctx context.Context, tx store.Tx, app string) (*sign.Trust, error) {
	if _, err := tx.Apps().Get(ctx, app); err != nil {
		return nil, slipstream.Hint(err, "`slipstream app create %s` makes the app", app)
	}
	trust, err := newestTrust(ctx, tx, app)
	if err != nil {
		return nil, err
	}
	if trust == nil {
		return nil, slipstream.Hint(fmt.Errorf("app %s has no root yet: %w", app, slipstream.ErrConflict), "`slipstream app create %s` finishes what was begun", app)
	}
	return trust, nil
}

func (s *Service) commitIn(ctx context.Context, tx store.Tx, by string, c Commit, id string) (Committed, error) {
	trust, err := s.releaseTrust(ctx, tx, c.App)
	if err != nil {
		return Committed{}, err
	}
	m, digest, err := trust.Manifest(c.Manifest)
	if err != nil {
		return Committed{}, err
	}
	if m.App != c.App {
		return Committed{}, slipstream.Refuse(slipstream.ReasonWrongApp, "manifest", "of app %q, not %q", m.App, c.App)
	}
	app, err := tx.Apps().Get(ctx, c.App)
	if err != nil {
		return Committed{}, err
	}
	now := s.clock()
	out := Committed{Release: &slipstream.Release{Digest: digest, Manifest: m, Envelope: c.Manifest, Published: slipstream.At(now), Notes: c.Notes, Embedded: c.Embedded}}
	known, err := tx.Releases().Get(ctx, digest)
	switch {
	case err == nil:
		out.Release, out.Existing = known, true
	case !errors.Is(err, slipstream.ErrNotFound):
		return Committed{}, err
	default:
		if s.fits != nil && !c.Embedded {
			if err := s.fits(ctx, tx, m); err != nil {
				return Committed{}, err
			}
		}
		if err := s.putRelease(ctx, tx, by, &app, out.Release); err != nil {
			return Committed{}, err
		}
	}
	if c.Offer == nil {
		return out, nil
	}
	e := &edit{ctx: ctx, tx: tx, app: app, now: now, by: by, action: "rollout.start", detail: map[string]any{}}
	out.Done, err = s.changeIn(e, c.Offer.Channel, func(e *edit) error { return e.start(out.Release, *c.Offer, id) })
	return out, err
}

// putRelease keeps a new release; a platform that the app did not have gets its states.
func (s *Service) putRelease(ctx context.Context, tx store.Tx, by string, app *store.App, r *slipstream.Release) error {
	m := r.Manifest
	highest, err := tx.Releases().HighestSeq(ctx, m.App, m.Package)
	if err != nil {
		return err
	}
	if m.Seq <= highest {
		return slipstream.Hint(fmt.Errorf("seq %d of package %s, highest is %d: %w", m.Seq, m.Package, highest, ErrSeqTaken), "somebody else published meanwhile; publish again")
	}
	same, err := tx.Releases().List(ctx, store.ReleaseFilter{App: m.App, Package: m.Package, Platform: m.Platform, Version: m.Version})
	if err != nil {
		return err
	}
	for _, o := range same {
		if o.Manifest.Runtime == m.Runtime {
			return slipstream.Hint(fmt.Errorf("version %s of package %s for %s, runtime %s: %w", m.Version, m.Package, m.Platform, m.Runtime, ErrVersionTaken), "choose another version")
		}
	}
	if err := tx.Releases().Put(ctx, r); err != nil {
		return err
	}
	detail := map[string]any{"package": m.Package, "version": m.Version, "seq": m.Seq, "platform": m.Platform, "files": len(m.Files), "size": m.Size()}
	if name := r.Adapter(); name != "" {
		detail["adapterOnly"] = name
	}
	if err := s.audit(ctx, tx, by, "release.publish", m.App, string(r.Digest), detail, r.Published.Time); err != nil {
		return err
	}
	if slices.Contains(app.Platforms, m.Platform) {
		return nil
	}
	app.Platforms = normal(append(slices.Clone(app.Platforms), m.Platform))
	if err := tx.Apps().Save(ctx, *app); err != nil {
		return err
	}
	return s.signApp(ctx, tx, *app, s.clock())
}

// start is the verb of a new rollout, with what a release says of itself.
func (e *edit) start(r *slipstream.Release, o Offer, id string) error {
	m := r.Manifest
	if err := offerable(r); err != nil {
		return err
	}
	if r.Embedded {
		return fmt.Errorf("release %s only ships inside app binaries: %w", m.Version, slipstream.ErrConflict)
	}
	if o.Grant && o.Cap == 0 {
		return slipstream.Hint(slipstream.Invalidf("a rollout with places for nobody: no device would get the release"), "say the cap: how many devices may take it")
	}
	control := slipstream.DefaultControl
	if o.Control != nil {
		control = *o.Control
	}
	entry := Entry{Platform: first(o.platform, m.Platform), Private: o.Private, Notes: o.Notes, By: e.by, Created: slipstream.At(e.now),
		Rollout: slipstream.Rollout{ID: id, Manifest: r.Digest, Seq: m.Seq, Version: m.Version, Size: m.Size(), Runtime: m.Runtime,
			Salt: o.Salt, From: o.From, To: o.To, Control: control, When: o.When, Grant: o.Cap != 0, Apply: o.Apply}}
	entry.Plan, entry.Cap = o.Plan, o.Cap
	e.target = id
	e.detail["package"], e.detail["version"], e.detail["digest"] = m.Package, m.Version, r.Digest
	if err := entry.begin(e.now, e.policy.frozen(e.now)); err != nil {
		return err
	}
	if same := e.policy.pkg(m.Package).sameOffer(entry); same != nil {
		e.target, e.done.Rollout = same.ID, same
		return nil
	}
	e.detail["share"] = Percent(entry.To - entry.From)
	if entry.Cap > 0 {
		e.detail["cap"] = entry.Cap
	}
	if err := e.policy.Start(m.Package, entry, o.At); err != nil {
		return err
	}
	e.done.Rollout = &entry
	e.done.Warnings = append(e.done.Warnings, e.policy.pkg(m.Package).aboutStart(entry)...)
	return nil
}

// sameOffer finds a rollout on top that says the very same, so that a commit which is sent twice starts one.
func (pp *PackagePolicy) sameOffer(e Entry) *Entry {
	if len(pp.Rollouts) == 0 {
		return nil
	}
	top := pp.Rollouts[0]
	a, b := top.Rollout, e.Rollout
	a.ID, b.ID = "", ""
	if top.Plan != nil && e.Plan != nil && slices.Equal(top.Plan.Stages, e.Plan.Stages) {
		b.To = a.To // it may have advanced meanwhile
	}
	if top.Private == e.Private && top.Cap == e.Cap && top.Platform == e.Platform && (top.Plan == nil) == (e.Plan == nil) && equalRollouts(a, b) {
		return &top
	}
	return nil
}

func equalRollouts(a, b slipstream.Rollout) bool {
	x, errX := sign.Encode(a)
	y, errY := sign.Encode(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// aboutStart warns of what makes a new rollout reach fewer devices than its share says.
func (pp *PackagePolicy) aboutStart(e Entry) []string {
	var out []string
	for i := range pp.Rollouts {
		o := &pp.Rollouts[i]
		if o.ID == e.ID || !meet(o.Platform, e.Platform) || !overlap(o.Runtime, e.Runtime) || pp.WithdrawnOn(o.Manifest, e.Platform) {
			continue
		}
		if o.Seq > e.Seq && o.unconditional() {
			out = append(out, fmt.Sprintf("devices that run version %s (seq %d) keep it: version %s (seq %d) is older; use rollback to bring it back", o.Version, o.Seq, e.Version, e.Seq))
			break
		}
	}
	for _, f := range pp.Floors {
		if e.Seq < f.Seq && meet(f.Platform, e.Platform) && overlap(f.Runtime, e.Runtime) {
			out = append(out, fmt.Sprintf("version %s (seq %d) is below the floor %d of runtime %s: devices there skip it", e.Version, e.Seq, f.Seq, f.Runtime))
		}
	}
	return out
}
