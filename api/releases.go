package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/publish"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/sign"
	"github.com/slipstream-ota/slipstream/store"
)

const (
	defaultReleases = 100 // listed when nobody says how many
	recentReleases  = 100 // told with a Standing
	rootSoon        = 30 * 24 * time.Hour
)

// InRelease is the path of operations on one release.
type InRelease struct {
	InApp
	Release string `path:"release" maxLength:"200" doc:"Digest, a prefix of it of at least 8 digits, package@version, or a version that one release has"`
}

func (s *Server) routeReleases() {
	route(s, http.MethodGet, "/apps/{app}/standing", "How things stand where a release is about to go", auth.Read, s.standing)
	route(s, http.MethodPost, "/apps/{app}/blobs/missing", "Which of these blobs the server lacks", auth.Publish, func(ctx context.Context, in *struct {
		InApp
		Body DigestList
	}) (*body[DigestList], error) {
		missing, err := s.cfg.Rollout.Missing(ctx, in.Body.Digests)
		return answer(DigestList{Digests: missing}, err)
	})
	route(s, http.MethodGet, "/apps/{app}/releases", "List releases", auth.Read, s.listReleases)
	route(s, http.MethodPost, "/apps/{app}/releases", "Commit a signed manifest and start its rollout", auth.Publish, s.commit)
	route(s, http.MethodGet, "/apps/{app}/releases/{release}", "Show a release with its manifest", auth.Read, func(ctx context.Context, in *InRelease) (*body[publish.Release], error) {
		return answer(s.release(ctx, in.App, in.Release))
	})
	route(s, http.MethodGet, "/apps/{app}/releases/{release}/containers", "What containers a release has, and how far the others are", auth.Read, func(ctx context.Context, in *InRelease) (*body[publish.Making], error) {
		return answer(s.making(ctx, in.App, in.Release))
	})
	route(s, http.MethodPut, "/apps/{app}/releases/{release}/envelope", "Add signatures to a release", auth.Publish, func(ctx context.Context, in *struct {
		InRelease
		Body Envelope
	}) (*struct{}, error) {
		d, err := s.resolve(ctx, in.App, "", in.Release)
		if err != nil {
			return nil, err
		}
		return nil, s.cfg.Rollout.AddSignatures(ctx, by(ctx).Name, in.App, d, in.Body.Envelope)
	})
	route(s, http.MethodDelete, "/apps/{app}/releases/{release}", "Delete a release that nothing names", auth.Manage, func(ctx context.Context, in *InRelease) (*struct{}, error) {
		d, err := s.resolve(ctx, in.App, "", in.Release)
		if err != nil {
			return nil, err
		}
		return nil, s.cfg.Rollout.DeleteRelease(ctx, by(ctx).Name, in.App, d)
	})
}

func (s *Server) commit(ctx context.Context, in *struct {
	InApp
	Body publish.CommitRequest
}) (*body[publish.CommitResult], error) {
	c := rollout.Commit{App: in.App, Manifest: in.Body.Manifest, Notes: in.Body.Notes, Embedded: in.Body.Embedded}
	if r := in.Body.Rollout; r != nil {
		c.Offer = &rollout.Offer{Channel: r.Channel, From: r.From, To: r.To, Control: r.Control, Salt: r.Salt, When: r.When,
			Apply: r.Apply, Private: r.Private, Cap: r.Cap, Notes: in.Body.Notes}
	}
	if r := in.Body.Rollout; r != nil {
		var err error
		if c.Offer.Plan, err = planOf(r.Plan); err != nil {
			return nil, err
		}
	}
	out, err := s.cfg.Rollout.Commit(ctx, by(ctx).Name, c)
	if err != nil {
		return nil, err
	}
	if s.cfg.Jobs != nil {
		s.cfg.Jobs.Wake()
	}
	res := publish.CommitResult{Digest: out.Release.Digest, Seq: out.Release.Manifest.Seq, Existing: out.Existing, Epoch: out.Epoch, Warnings: out.Warnings}
	if out.Rollout != nil {
		res.Rollout = out.Rollout.ID
	}
	return answer(res, nil)
}

// offers tells, per channel of an app, what its policy says.
type offers struct {
	channels []store.Channel
	policies []*rollout.Policy
}

func offersOf(ctx context.Context, tx store.Tx, app string) (offers, error) {
	var o offers
	var err error
	if o.channels, err = tx.Channels().List(ctx, app); err != nil {
		return o, err
	}
	for _, c := range o.channels {
		p, err := rollout.PolicyOf(c)
		if err != nil {
			return o, err
		}
		o.policies = append(o.policies, p)
	}
	return o, nil
}

func (o offers) describe(r *slipstream.Release) publish.ReleaseInfo {
	m := r.Manifest
	info := publish.ReleaseInfo{Digest: r.Digest, App: m.App, Package: m.Package, Platform: m.Platform, Runtime: m.Runtime, Seq: m.Seq,
		Version: m.Version, Entry: m.Entry, Files: len(m.Files), Size: m.Size(), Created: m.Created, Published: r.Published, Notes: r.Notes,
		Embedded: r.Embedded, Data: m.Data, AdapterOnly: r.Adapter()}
	for i, c := range o.channels {
		pp := o.policies[i].Packages[m.Package]
		if pp == nil {
			continue
		}
		switch {
		case pp.WithdrawnOn(r.Digest, m.Platform):
			info.Withdrawn = append(info.Withdrawn, c.Name)
		case slices.ContainsFunc(pp.Rollouts, func(e rollout.Entry) bool { return e.Manifest == r.Digest }):
			info.Channels = append(info.Channels, c.Name)
		}
	}
	if e, err := sign.ParseEnvelope(r.Envelope, sign.TypeManifest, slipstream.MaxManifestBytes); err == nil {
		for _, sig := range e.Signatures {
			info.KeyIDs = append(info.KeyIDs, sig.KeyID)
		}
	}
	return info
}

func (s *Server) listReleases(ctx context.Context, in *struct {
	InApp
	Package  string `query:"package"`
	Platform string `query:"platform"`
	Channel  string `query:"channel" doc:"Only what that channel's rollouts name"`
	Limit    int    `query:"limit" minimum:"0" maximum:"1000"`
}) (*body[ReleaseList], error) {
	out := ReleaseList{Releases: []publish.ReleaseInfo{}}
	limit := in.Limit
	if limit == 0 {
		limit = defaultReleases
	}
	err := s.cfg.Store.View(ctx, func(tx store.Tx) error {
		out.Releases = out.Releases[:0]
		if _, err := tx.Apps().Get(ctx, in.App); err != nil {
			return err
		}
		o, err := offersOf(ctx, tx, in.App)
		if err != nil {
			return err
		}
		f := store.ReleaseFilter{App: in.App, Package: in.Package, Platform: in.Platform, Limit: limit}
		if in.Channel != "" {
			if _, err := tx.Channels().Get(ctx, in.App, in.Channel); err != nil {
				return err
			}
			f.Limit = 0 // the channel may name old ones
		}
		list, err := tx.Releases().List(ctx, f)
		if err != nil {
			return err
		}
		for _, r := range list {
			info := o.describe(r)
			if in.Channel != "" && !slices.Contains(info.Channels, in.Channel) && !slices.Contains(info.Withdrawn, in.Channel) {
				continue
			}
			if len(out.Releases) < limit {
				out.Releases = append(out.Releases, info)
			}
		}
		return nil
	})
	return answer(out, err)
}

func (s *Server) release(ctx context.Context, app, ref string) (publish.Release, error) {
	var out publish.Release
	err := s.cfg.Store.View(ctx, func(tx store.Tx) error {
		d, err := resolveIn(ctx, tx, app, "", ref)
		if err != nil {
			return err
		}
		r, err := tx.Releases().Get(ctx, d)
		if err != nil {
			return err
		}
		o, err := offersOf(ctx, tx, app)
		if err != nil {
			return err
		}
		out = publish.Release{ReleaseInfo: o.describe(r), Envelope: r.Envelope}
		if out.AdapterOnly != "" {
			out.Unsigned = r.Manifest
		}
		out.Containers, err = tx.Containers().List(ctx, d)
		return err
	})
	if err != nil {
		return out, err
	}
	out.Work, err = s.work(ctx, out.Digest)
	return out, err
}

// making is what changes of a release while its containers are made.
func (s *Server) making(ctx context.Context, app, ref string) (publish.Making, error) {
	out := publish.Making{Containers: []slipstream.Container{}, Work: []publish.Work{}}
	var d slipstream.Digest
	err := s.cfg.Store.View(ctx, func(tx store.Tx) (err error) {
		if d, err = resolveIn(ctx, tx, app, "", ref); err != nil {
			return err
		}
		list, err := tx.Containers().List(ctx, d)
		out.Containers = append(out.Containers[:0], list...)
		return err
	})
	if err != nil {
		return out, err
	}
	work, err := s.work(ctx, d)
	out.Work = append(out.Work, work...)
	return out, err
}

func (s *Server) work(ctx context.Context, release slipstream.Digest) ([]publish.Work, error) {
	jobs, err := s.cfg.Store.Jobs().List(ctx, release)
	if err != nil {
		return nil, err
	}
	var out []publish.Work
	for _, j := range jobs {
		out = append(out, workOf(j))
	}
	return out, nil
}

func workOf(j store.Job) publish.Work {
	at := slipstream.At(j.Updated)
	w := publish.Work{From: j.From, State: string(j.State), Done: j.Done, Total: j.Total, Seconds: j.Spent.Seconds(), Note: j.Note, Tries: j.Attempts, Updated: &at}
	if j.State == store.JobRunning {
		w.Stage, w.Note = j.Note, ""
	}
	if j.State == store.JobFailed && !j.Due.IsZero() {
		again := slipstream.At(j.Due)
		w.Again = &again
	}
	return w
}

// resolve finds a release of app by digest, by a digest's prefix of at least 8 digits, by package@version, or by
// version alone where one release of pkg, or of the app when pkg is "", has it.
func (s *Server) resolve(ctx context.Context, app, pkg, ref string) (slipstream.Digest, error) {
	var d slipstream.Digest
	err := s.cfg.Store.View(ctx, func(tx store.Tx) (err error) {
		d, err = resolveIn(ctx, tx, app, pkg, ref)
		return err
	})
	return d, err
}

func resolveIn(ctx context.Context, tx store.Tx, app, pkg, ref string) (slipstream.Digest, error) {
	if _, err := tx.Apps().Get(ctx, app); err != nil {
		return "", err
	}
	if d := slipstream.Digest(ref); d.Valid() {
		r, err := tx.Releases().Get(ctx, d)
		if err != nil {
			return "", err
		}
		if r.Manifest.App != app {
			return "", fmt.Errorf("release %s of app %s: %w", d.Short(), app, slipstream.ErrNotFound)
		}
		return d, nil
	}
	version := ref
	if before, after, ok := strings.Cut(ref, "@"); ok {
		pkg, version = before, after
	}
	if version != "" {
		d, err := byVersion(ctx, tx, store.ReleaseFilter{App: app, Package: pkg, Version: version})
		if err == nil || !errors.Is(err, slipstream.ErrNotFound) {
			return d, err
		}
	}
	return byPrefix(ctx, tx, app, ref)
}

func byVersion(ctx context.Context, tx store.Tx, f store.ReleaseFilter) (slipstream.Digest, error) {
	list, err := tx.Releases().List(ctx, f)
	if err != nil {
		return "", err
	}
	switch len(list) {
	case 0:
		return "", fmt.Errorf("release %s of app %s: %w", strings.TrimPrefix(f.Package+"@"+f.Version, "@"), f.App, slipstream.ErrNotFound)
	case 1:
		return list[0].Digest, nil
	}
	lines := make([]string, len(list))
	for i, r := range list {
		lines[i] = fmt.Sprintf("%s (%s, %s, runtime %s)", r.Digest.Short(), r.Manifest.Package, r.Manifest.Platform, r.Manifest.Runtime)
	}
	return "", slipstream.Hint(fmt.Errorf("version %s stands for %d releases: %w", f.Version, len(list), slipstream.ErrConflict),
		"name one by its digest: %s", strings.Join(lines, ", "))
}

func byPrefix(ctx context.Context, tx store.Tx, app, prefix string) (slipstream.Digest, error) {
	missing := fmt.Errorf("release %q of app %s: %w", prefix, app, slipstream.ErrNotFound)
	if len(prefix) < 8 || len(prefix) > 64 || strings.Trim(prefix, "0123456789abcdef") != "" {
		return "", slipstream.Hint(missing, "name a release by its digest, at least 8 digits of it, by package@version, or by its version alone where only one has it")
	}
	list, err := tx.Releases().List(ctx, store.ReleaseFilter{App: app})
	if err != nil {
		return "", err
	}
	var found slipstream.Digest
	for _, r := range list {
		if !strings.HasPrefix(string(r.Digest), prefix) {
			continue
		}
		if found != "" {
			return "", fmt.Errorf("digest prefix %q stands for several releases: %w", prefix, slipstream.ErrConflict)
		}
		found = r.Digest
	}
	if found == "" {
		return "", missing
	}
	return found, nil
}

// standingQuery is where a release is about to go.
type standingQuery struct {
	InApp
	Package     string `query:"package" required:"true"`
	Platform    string `query:"platform" required:"true"`
	Channel     string `query:"channel"`
	Range       string `query:"range"`
	Fingerprint string `query:"fingerprint"`
	Version     string `query:"version"`
}

func (s *Server) standing(ctx context.Context, in *standingQuery) (*body[publish.Standing], error) {
	var out publish.Standing
	runtime := slipstream.Runtime{Range: in.Range, Fingerprint: in.Fingerprint}
	err := s.cfg.Store.View(ctx, func(tx store.Tx) error {
		out = publish.Standing{Recent: []publish.ReleaseInfo{}}
		app, err := tx.Apps().Get(ctx, in.App)
		if err != nil {
			return slipstream.Hint(err, "`slipstream app create %s` makes the app", in.App)
		}
		settings, err := rollout.SettingsOf(app)
		if err != nil {
			return err
		}
		out.Kind, out.Platforms, out.HostConfirms = settings.Kind, app.Platforms, settings.Confirm == rollout.ConfirmHost
		roots, err := tx.Apps().Roots(ctx, in.App)
		if err != nil {
			return err
		}
		if len(roots) == 0 {
			return slipstream.Hint(fmt.Errorf("app %s has no root yet: %w", in.App, slipstream.ErrConflict), "`slipstream app create %s` finishes what was begun", in.App)
		}
		out.Root = roots[len(roots)-1]
		if out.HighestSeq, err = tx.Releases().HighestSeq(ctx, in.App, in.Package); err != nil {
			return err
		}
		o, err := offersOf(ctx, tx, in.App)
		if err != nil {
			return err
		}
		if err := o.fill(ctx, tx, &out, in, runtime); err != nil {
			return err
		}
		return s.warn(&out, o, in)
	})
	return answer(out, err)
}

// fill finds the current, the same and the recent releases.
func (o offers) fill(ctx context.Context, tx store.Tx, out *publish.Standing, in *standingQuery, runtime slipstream.Runtime) error {
	recent, err := tx.Releases().List(ctx, store.ReleaseFilter{App: in.App, Package: in.Package, Limit: recentReleases})
	if err != nil {
		return err
	}
	for _, r := range recent {
		out.Recent = append(out.Recent, o.describe(r))
	}
	if in.Version != "" {
		same, err := tx.Releases().List(ctx, store.ReleaseFilter{App: in.App, Package: in.Package, Platform: in.Platform, Version: in.Version})
		if err != nil {
			return err
		}
		for _, r := range same {
			if r.Manifest.Runtime == runtime {
				info := o.describe(r)
				out.Same = &info
			}
		}
	}
	if in.Channel == "" {
		return nil
	}
	i := slices.IndexFunc(o.channels, func(c store.Channel) bool { return c.Name == in.Channel })
	if i < 0 {
		return slipstream.Hint(fmt.Errorf("channel %s of app %s: %w", in.Channel, in.App, slipstream.ErrNotFound),
			"`slipstream channel create %s --app %s` makes the channel", in.Channel, in.App)
	}
	pp := o.policies[i].Packages[in.Package]
	if pp == nil {
		return nil
	}
	var best *rollout.Entry
	for j := range pp.Rollouts {
		e := &pp.Rollouts[j]
		if e.Platform == in.Platform && e.Runtime == runtime && !pp.WithdrawnOn(e.Manifest, e.Platform) && (best == nil || e.Seq > best.Seq) {
			best = e
		}
	}
	if best == nil {
		return nil
	}
	r, err := tx.Releases().Get(ctx, best.Manifest)
	if err != nil {
		return err
	}
	info := o.describe(r)
	out.Current = &info
	return nil
}

// warn adds what only the server can know.
func (s *Server) warn(out *publish.Standing, o offers, in *standingQuery) error {
	trust, err := sign.OpenRoot(out.Root)
	if err != nil {
		return fmt.Errorf("open newest root: %w", err)
	}
	out.Warnings = append(out.Warnings, aboutRoot(trust.Root(), s.cfg.Clock())...)
	for i, c := range o.channels {
		pp := o.policies[i].Packages[in.Package]
		if c.Name != in.Channel || pp == nil {
			continue
		}
		for _, e := range pp.Rollouts {
			if e.Platform == in.Platform && e.Hold != "" && !pp.WithdrawnOn(e.Manifest, e.Platform) {
				out.Warnings = append(out.Warnings, fmt.Sprintf("rollout %s of version %s is %s on channel %s; the new one goes above it", e.ID, e.Version, e.Hold, c.Name))
			}
			break // only what is on top
		}
	}
	return nil
}

func aboutRoot(root *slipstream.Root, now time.Time) []string {
	left := root.Expires.Sub(now)
	switch {
	case left <= 0:
		return []string{fmt.Sprintf("the root expired at %s: devices take no updates until a new one is registered", root.Expires.Format(slipstream.TimeLayout))}
	case left < rootSoon:
		return []string{fmt.Sprintf("the root expires in %d days: sign the next one soon", int(left.Hours()/24))}
	}
	return nil
}
