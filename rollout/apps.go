package rollout

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/sign"
	"github.com/slipstream-ota/slipstream/store"
)

// DefaultPlatforms are those that states are signed for when nobody says otherwise. A release for another platform
// adds it.
func DefaultPlatforms() []string {
	return []string{slipstream.PlatformAny, "android", "ios"}
}

// Settings are an app's settings in store.App.
type Settings struct {
	// Kind is what the app is made with, for advice at publish: "web", "node", "easyclick", "codepush" …
	Kind string `json:"kind,omitempty"`
	// Confirm is who says that a start worked, ConfirmHost or "" for the release's own code: for advice at publish too.
	Confirm string `json:"confirm,omitempty"`
}

// Who confirms a start.
const (
	ConfirmHost    = "host"    // the shell does, whatever runs in it
	ConfirmRelease = "release" // the code of the release does, by a call
)

// SettingsOf reads an app's settings.
func SettingsOf(a store.App) (Settings, error) {
	var s Settings
	if len(a.Settings) == 0 {
		return s, nil
	}
	if err := json.Unmarshal(a.Settings, &s); err != nil {
		return s, fmt.Errorf("read settings of app %s: %w", a.Name, err)
	}
	return s, nil
}

// AppSpec is what people say of an app. Platforms nil means the defaults.
type AppSpec struct {
	Name      string
	Display   string
	Kind      string
	Confirm   string // ConfirmHost; ConfirmRelease or "" for the default
	Platforms []string
}

func (a *AppSpec) check() error {
	if err := slipstream.CheckName("app", a.Name); err != nil {
		return err
	}
	if len(a.Display) > 200 {
		return slipstream.Invalidf("display name is longer than %d bytes", 200)
	}
	if a.Kind != "" {
		if err := slipstream.CheckName("kind", a.Kind); err != nil {
			return err
		}
	}
	switch a.Confirm {
	case "", ConfirmHost:
	case ConfirmRelease:
		a.Confirm = ""
	default:
		return slipstream.Hint(slipstream.Invalidf("confirm %.40q: must be %s or %s", a.Confirm, ConfirmHost, ConfirmRelease), "it says who tells a device that a start worked")
	}
	if a.Platforms == nil {
		a.Platforms = DefaultPlatforms()
	}
	if len(a.Platforms) > 32 {
		return slipstream.Invalidf("more than %d platforms", 32)
	}
	for _, p := range a.Platforms {
		if err := slipstream.CheckName("platform", p); err != nil {
			return err
		}
	}
	a.Platforms = normal(append(slices.Clone(a.Platforms), slipstream.PlatformAny))
	return nil
}

func normal(platforms []string) []string {
	slices.Sort(platforms)
	return slices.Compact(platforms)
}

// CreateApp makes an app with a state key and the default channel. An app that exists is slipstream.ErrConflict.
func (s *Service) CreateApp(ctx context.Context, by string, spec AppSpec) error {
	if err := spec.check(); err != nil {
		return err
	}
	settings, err := json.Marshal(Settings{Kind: spec.Kind, Confirm: spec.Confirm})
	if err != nil {
		return err
	}
	key, err := s.keys.Generate(spec.Name)
	if err != nil {
		return err
	}
	return s.store.Update(ctx, func(tx store.Tx) error {
		now := s.clock()
		key.Created = now
		app := store.App{Name: spec.Name, Display: spec.Display, Platforms: spec.Platforms, Settings: settings, Created: now}
		if err := tx.Apps().Create(ctx, app); err != nil {
			return err
		}
		if err := tx.Apps().AddStateKey(ctx, key); err != nil {
			return err
		}
		channel := store.Channel{App: spec.Name, Name: slipstream.DefaultChannel, Policy: []byte(`{}`), Created: now, Updated: now}
		if err := tx.Channels().Create(ctx, channel); err != nil {
			return err
		}
		return s.audit(ctx, tx, by, "app.create", spec.Name, spec.Name, map[string]any{"platforms": spec.Platforms, "statekey": key.KeyID}, now)
	})
}

// SaveApp changes display name, kind, who confirms, and platforms; states of new platforms are signed at once.
func (s *Service) SaveApp(ctx context.Context, by string, spec AppSpec) error {
	if err := spec.check(); err != nil {
		return err
	}
	return s.store.Update(ctx, func(tx store.Tx) error {
		app, err := tx.Apps().Get(ctx, spec.Name)
		if err != nil {
			return err
		}
		settings, err := SettingsOf(app)
		if err != nil {
			return err
		}
		settings.Kind, settings.Confirm = spec.Kind, spec.Confirm
		if app.Settings, err = json.Marshal(settings); err != nil {
			return err
		}
		for _, had := range app.Platforms {
			if !slices.Contains(spec.Platforms, had) {
				return slipstream.Hint(fmt.Errorf("platform %s cannot be taken away: %w", had, slipstream.ErrConflict),
					"devices may ask for its state; leave it in the list")
			}
		}
		more := len(spec.Platforms) > len(app.Platforms)
		app.Display, app.Platforms = spec.Display, spec.Platforms
		if err := tx.Apps().Save(ctx, app); err != nil {
			return err
		}
		now := s.clock()
		if more {
			if err := s.signApp(ctx, tx, app, now); err != nil {
				return err
			}
		}
		return s.audit(ctx, tx, by, "app.change", app.Name, app.Name, map[string]any{"platforms": app.Platforms, "kind": spec.Kind, "confirm": spec.Confirm, "display": app.Display}, now)
	})
}

// signApp signs the states of all channels of an app anew.
func (s *Service) signApp(ctx context.Context, tx store.Tx, app store.App, now time.Time) error {
	channels, err := tx.Channels().List(ctx, app.Name)
	if err != nil {
		return err
	}
	for _, c := range channels {
		p, err := PolicyOf(c)
		if err != nil {
			return err
		}
		if _, err := s.signChannel(ctx, tx, app, c.Name, p, now); err != nil {
			return err
		}
	}
	return nil
}

// NewStateKey makes another state key, to be named by the next root. It signs from then on.
func (s *Service) NewStateKey(ctx context.Context, by, app string) (store.StateKey, error) {
	key, err := s.keys.Generate(app)
	if err != nil {
		return store.StateKey{}, err
	}
	err = s.store.Update(ctx, func(tx store.Tx) error {
		if _, err := tx.Apps().Get(ctx, app); err != nil {
			return err
		}
		now := s.clock()
		key.Created = now
		if err := tx.Apps().AddStateKey(ctx, key); err != nil {
			return err
		}
		return s.audit(ctx, tx, by, "app.statekey", app, key.KeyID, map[string]any{"public": key.Public}, now)
	})
	return key, err
}

// Live is a release that a channel offers.
type Live struct {
	Channel string            `json:"channel"`
	Package string            `json:"package"`
	Version string            `json:"version"`
	Digest  slipstream.Digest `json:"digest"`
	Error   string            `json:"error,omitempty"`
}

// RootAdded is what came of AddRoot.
type RootAdded struct {
	Version int64 `json:"version"`
	// Unverified are live releases that the new root no longer verifies: devices refuse them until somebody signs them
	// with a key of the new release role.
	Unverified []Live `json:"unverified,omitempty"`
}

// AddRoot registers the next root of an app and signs all its states anew. The first root is taken as it is, every
// other must be signed by a threshold of the one before. The state role must name a key of this server.
func (s *Service) AddRoot(ctx context.Context, by, app string, raw []byte) (RootAdded, error) {
	var added RootAdded
	err := s.store.Update(ctx, func(tx store.Tx) error {
		a, err := tx.Apps().Get(ctx, app)
		if err != nil {
			return err
		}
		roots, err := tx.Apps().Roots(ctx, app)
		if err != nil {
			return err
		}
		for i, known := range roots {
			if bytes.Equal(known, raw) {
				added = RootAdded{Version: int64(i + 1)}
				return nil
			}
		}
		trust, err := follow(roots, raw)
		if err != nil {
			return err
		}
		if got := trust.Root().App; got != app {
			return slipstream.Refuse(slipstream.ReasonWrongApp, "root", "of app %q, not %q", got, app)
		}
		now := s.clock()
		if trust.Expired(now) {
			return slipstream.Refuse(slipstream.ReasonExpiredRoot, "root", "expired at %s", trust.Root().Expires.Format(slipstream.TimeLayout))
		}
		version := trust.Root().Version
		if err := tx.Apps().AddRoot(ctx, app, version, raw); err != nil {
			return err
		}
		if err := s.signApp(ctx, tx, a, now); err != nil {
			// The roots of an app that moves to an empty server name a state key that is gone, up to the one that is to
			// name the new key. Nothing is served yet that this could break.
			if nothing, serr := unserved(ctx, tx, app); serr != nil || !nothing || slipstream.ReasonOf(err, "") != slipstream.ReasonSignatureInvalid {
				return errors.Join(err, serr)
			}
		}
		if added.Unverified, err = Unverified(ctx, tx, app); err != nil {
			return err
		}
		added.Version = version
		return s.audit(ctx, tx, by, "root.add", app, fmt.Sprint(version), map[string]any{"sha256": sign.DigestOf(raw), "unverified": len(added.Unverified)}, now)
	})
	return added, err
}

// unserved reports whether no state of the app was ever signed here.
func unserved(ctx context.Context, tx store.Tx, app string) (bool, error) {
	rows, err := tx.States().Since(ctx, 0)
	return !slices.ContainsFunc(rows, func(r store.StateRow) bool { return r.App == app }), err
}

// follow verifies raw as the root after roots.
func follow(roots [][]byte, raw []byte) (*sign.Trust, error) {
	if len(roots) > 0 {
		last, err := sign.OpenRoot(roots[len(roots)-1])
		if err != nil {
			return nil, fmt.Errorf("open newest root: %w", err)
		}
		return last.Next(raw)
	}
	trust, err := sign.OpenRoot(raw)
	if err != nil {
		return nil, err
	}
	if v := trust.Root().Version; v != 1 {
		return nil, slipstream.Refuse(slipstream.ReasonRootVersion, "root", "the first root has version 1, not %d", v)
	}
	return trust, nil
}

// Unverified lists the live releases of an app that its newest root does not verify.
func Unverified(ctx context.Context, tx store.Tx, app string) ([]Live, error) {
	trust, err := newestTrust(ctx, tx, app)
	if err != nil || trust == nil {
		return nil, err
	}
	a, err := tx.Apps().Get(ctx, app)
	if err != nil {
		return nil, err
	}
	channels, err := tx.Channels().List(ctx, app)
	if err != nil {
		return nil, err
	}
	var out []Live
	failed := map[slipstream.Digest]error{}
	for _, c := range channels {
		p, err := PolicyOf(c)
		if err != nil {
			return nil, err
		}
		for _, l := range p.live(c.Name, a.Platforms) {
			fault, asked := failed[l.Digest]
			if !asked {
				r, err := tx.Releases().Get(ctx, l.Digest)
				if err != nil {
					return nil, err
				}
				_, _, fault = trust.Manifest(r.Envelope)
				failed[l.Digest] = fault
			}
			if fault != nil {
				l.Error = fault.Error()
				out = append(out, l)
			}
		}
	}
	return out, nil
}

// live are the releases that stand in the channel's states and are not withdrawn, each once.
func (p *Policy) live(channel string, platforms []string) []Live {
	var out []Live
	for name, pp := range p.Packages {
		seen := map[slipstream.Digest]bool{}
		for _, platform := range platforms {
			for _, e := range pp.Standing(platform, true) {
				if !seen[e.Manifest] && !pp.WithdrawnOn(e.Manifest, platform) {
					seen[e.Manifest] = true
					out = append(out, Live{Channel: channel, Package: name, Version: e.Version, Digest: e.Manifest})
				}
			}
		}
	}
	return out
}

// ChannelSpec is what people say of a channel.
type ChannelSpec struct {
	App, Name, Display string
	Timing             Timing
}

// CreateChannel makes a channel and signs its first states.
func (s *Service) CreateChannel(ctx context.Context, by string, spec ChannelSpec) (Done, error) {
	if err := errors.Join(slipstream.CheckName("channel", spec.Name), spec.Timing.Check()); err != nil {
		return Done{}, err
	}
	policy, err := (&Policy{Timing: spec.Timing}).encode()
	if err != nil {
		return Done{}, err
	}
	var done Done
	err = s.store.Update(ctx, func(tx store.Tx) error {
		a, err := tx.Apps().Get(ctx, spec.App)
		if err != nil {
			return err
		}
		now := s.clock()
		err = tx.Channels().Create(ctx, store.Channel{App: a.Name, Name: spec.Name, Display: spec.Display, Policy: policy, Created: now, Updated: now})
		if err != nil {
			return err
		}
		done, err = s.changeIn(&edit{ctx: ctx, tx: tx, app: a, now: now, by: by, action: "channel.create", detail: map[string]any{}}, spec.Name, func(*edit) error { return nil })
		return err
	})
	return done, err
}

// SaveChannel changes a channel's display name and timing.
func (s *Service) SaveChannel(ctx context.Context, by string, spec ChannelSpec) (Done, error) {
	if err := spec.Timing.Check(); err != nil {
		return Done{}, err
	}
	return s.change(ctx, by, spec.App, spec.Name, "channel.change", func(e *edit) error {
		e.policy.Timing, e.channel.Display = spec.Timing, spec.Display
		e.detail["timing"], e.detail["display"] = spec.Timing, spec.Display
		return nil
	})
}
