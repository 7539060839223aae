package manage

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/protocol"
	"github.com/slipstream-ota/slipstream/protocol/codepush"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/store"
)

// checkDisplay refuses names that the tool could not put into an address.
func checkDisplay(name string) error {
	if name == "" || utf8.RuneCountInString(name) > 100 || strings.ContainsAny(name, "/\\?:@") || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) || slug(name) == "" {
		return slipstream.Invalidf(`the name %.50q: must have 1 to 100 characters, a letter or digit among them, and none of / \ ? : @`, name)
	}
	return nil
}

// appName finds an app by its own name, else by the one that it has for people. Whoever manages one app chooses what that is
// called: where two are called the same, the name means the one that is named so too, or nobody knows which.
func (s *Server) appName(ctx context.Context, said string) (string, error) {
	if _, after, owned := strings.Cut(said, ":"); owned {
		said = after // "owner@mail:app" names one of several of that name elsewhere
	}
	var found string
	err := s.cfg.Store.View(ctx, func(tx store.Tx) (err error) {
		found, err = appNamed(ctx, tx, said)
		return err
	})
	return found, err
}

func appNamed(ctx context.Context, tx store.Tx, said string) (string, error) {
	apps, err := tx.Apps().List(ctx)
	if err != nil {
		return "", err
	}
	var called []string
	for _, a := range apps {
		if a.Name == said {
			return a.Name, nil
		}
		if a.Display == said || a.Display == "" && a.Name == slug(said) {
			called = append(called, a.Name)
		}
	}
	switch {
	case len(called) == 0:
		return "", fmt.Errorf("app %q: %w", said, slipstream.ErrNotFound)
	case len(called) == 1:
		return called[0], nil
	case slices.Contains(called, slug(said)):
		return slug(said), nil
	}
	return "", slipstream.Hint(fmt.Errorf("%d apps are called %q: %w", len(called), said, slipstream.ErrConflict), "name the one that is meant: %s", strings.Join(called, ", "))
}

func shown(display, name string) string {
	if display != "" {
		return display
	}
	return name
}

func (s *Server) listApps(c call) (answer, error) {
	out := []any{}
	var apps []store.App
	err := s.cfg.Store.View(c.ctx, func(tx store.Tx) (err error) {
		apps, err = tx.Apps().List(c.ctx)
		return err
	})
	if err != nil {
		return answer{}, err
	}
	for _, a := range apps {
		if !c.who.Apps.Has(a.Name) {
			continue
		}
		one, err := s.appInfo(c, a.Name)
		if errors.Is(err, slipstream.ErrNotFound) {
			continue // the protocol is not on for it
		}
		if err != nil {
			return answer{}, err
		}
		out = append(out, one)
	}
	return ok(map[string]any{"apps": out}), nil
}

func (s *Server) appInfo(c call, app string) (any, error) {
	var display string
	names := []string{}
	err := s.cfg.Store.View(c.ctx, func(tx store.Tx) error {
		a, err := tx.Apps().Get(c.ctx, app)
		if err != nil {
			return err
		}
		display = shown(a.Display, a.Name)
		list, _, err := deployments(c.ctx, tx, app)
		names = names[:0]
		for _, d := range list {
			names = append(names, d.display)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	people, err := s.collaborators(c, app)
	return map[string]any{"name": display, "collaborators": people, "deployments": names}, err
}

func (s *Server) showApp(c call) (answer, error) {
	info, err := s.appInfo(c, c.app)
	return ok(map[string]any{"app": info}), err
}

func (s *Server) addApp(c call) (answer, error) {
	var in struct {
		Name   string `json:"name"`
		Manual bool   `json:"manuallyProvisionDeployments"`
	}
	if err := c.read(&in); err != nil {
		return answer{}, err
	}
	if err := checkDisplay(in.Name); err != nil {
		return answer{}, err
	}
	name := slug(in.Name)
	if !c.who.May(auth.Manage, name) {
		return answer{status: http.StatusForbidden, body: "the access key is for the app " + c.who.Apps.String() + " alone"}, nil
	}
	if other, err := s.appName(c.ctx, in.Name); err == nil && other != name {
		return answer{}, fmt.Errorf("app %q exists: %w", in.Name, slipstream.ErrConflict)
	} else if err != nil && !errors.Is(err, slipstream.ErrNotFound) {
		return answer{}, err
	}
	err := s.cfg.Rollout.CreateApp(c.ctx, c.who.Name, rollout.AppSpec{Name: name, Display: in.Name, Kind: codepush.Name})
	if errors.Is(err, slipstream.ErrConflict) {
		err = s.revive(c, name, in.Name)
	}
	if err != nil {
		return answer{}, err
	}
	err = s.cfg.Store.Update(c.ctx, func(tx store.Tx) error {
		return errors.Join(protocol.Enable(c.ctx, tx, codepush.Protocol{}, name, nil), s.audit(c.ctx, tx, c, "protocol.enable", name, codepush.Name, nil))
	})
	for _, d := range []string{"Production", "Staging"} {
		if err == nil && !in.Manual {
			_, err = s.makeDeployment(c, name, d, "")
		}
	}
	return answer{status: http.StatusCreated, body: map[string]any{"app": in}, location: at("apps", in.Name)}, err
}

// revive names an app anew that was made by this surface and removed by it. Any other app of that name is in the way.
func (s *Server) revive(c call, name, display string) error {
	return s.cfg.Store.Update(c.ctx, func(tx store.Tx) error {
		a, err := tx.Apps().Get(c.ctx, name)
		if err != nil {
			return err
		}
		on, err := protocol.Switched(c.ctx, tx, codepush.Name)
		if err != nil {
			return err
		}
		if _, is := on[name]; is {
			return fmt.Errorf("app %q exists: %w", display, slipstream.ErrConflict)
		}
		settings, err := rollout.SettingsOf(a)
		if err != nil {
			return err
		}
		if settings.Kind != codepush.Name {
			return slipstream.Hint(fmt.Errorf("app %q is there for clients of another kind: %w", display, slipstream.ErrConflict),
				"slipstream protocol enable codepush --app %s lets CodePush clients have it too", name)
		}
		a.Display = display
		return tx.Apps().Save(c.ctx, a)
	})
}

func (s *Server) renameApp(c call) (answer, error) {
	var in struct {
		Name string `json:"name"`
	}
	if err := c.read(&in); err != nil {
		return answer{}, err
	}
	if err := checkDisplay(in.Name); err != nil {
		return answer{}, err
	}
	err := s.cfg.Store.Update(c.ctx, func(tx store.Tx) error {
		if other, err := appNamed(c.ctx, tx, in.Name); err == nil && other != c.app {
			return fmt.Errorf("app %q exists: %w", in.Name, slipstream.ErrConflict)
		} else if err != nil && !errors.Is(err, slipstream.ErrNotFound) {
			return err
		}
		a, err := tx.Apps().Get(c.ctx, c.app)
		if err != nil {
			return err
		}
		a.Display = in.Name
		if err := tx.Apps().Save(c.ctx, a); err != nil {
			return err
		}
		return s.audit(c.ctx, tx, c, "app.change", c.app, c.app, map[string]any{"display": in.Name})
	})
	return ok(map[string]any{"app": map[string]string{"name": in.Name}}), err
}

// removeApp takes an app's deployments away and switches the protocol off. The app itself stays, with its audit log, and
// for clients of other kinds.
func (s *Server) removeApp(c call) (answer, error) {
	err := s.cfg.Store.Update(c.ctx, func(tx store.Tx) error {
		list, _, err := deployments(c.ctx, tx, c.app)
		if err != nil {
			return err
		}
		for _, d := range list {
			if err := errors.Join(forget(c.ctx, tx, d), unnameChannel(c.ctx, tx, d)); err != nil {
				return err
			}
		}
		a, err := tx.Apps().Get(c.ctx, c.app)
		if err != nil {
			return err
		}
		if slug(a.Display) != a.Name {
			a.Display = ""
		}
		if err := tx.Apps().Save(c.ctx, a); err != nil {
			return err
		}
		if err := protocol.Disable(c.ctx, tx, codepush.Name, c.app); err != nil {
			return err
		}
		return s.audit(c.ctx, tx, c, "protocol.disable", c.app, codepush.Name, nil)
	})
	return answer{status: http.StatusNoContent}, err
}

// place is a deployment: a channel, and a platform where an app has keys by platform.
type place struct {
	app, pkg, channel, platform, key, display string
}

// deployments are those of an app for which the protocol is on.
func deployments(ctx context.Context, tx store.Tx, app string) ([]place, codepush.Options, error) {
	on, err := protocol.Switched(ctx, tx, codepush.Name)
	if err != nil {
		return nil, codepush.Options{}, err
	}
	raw, is := on[app]
	if !is {
		return nil, codepush.Options{}, slipstream.Hint(fmt.Errorf("app %q: %w", app, slipstream.ErrNotFound), "CodePush is not switched on for it: slipstream protocol enable codepush")
	}
	o, err := codepush.ParseOptions(raw)
	if err != nil {
		return nil, o, err
	}
	channels, err := tx.Channels().List(ctx, app)
	if err != nil {
		return nil, o, err
	}
	var out []place
	for _, ch := range channels {
		for platform, key := range o.Deployments[ch.Name] {
			d := place{app: app, pkg: o.Package, channel: ch.Name, platform: platform, key: key, display: shown(ch.Display, ch.Name)}
			if platform != slipstream.PlatformAny {
				d.display += "@" + platform
			}
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b place) int { return strings.Compare(a.display, b.display) })
	return out, o, nil
}

func deployment(ctx context.Context, tx store.Tx, app, said string) (place, error) {
	list, _, err := deployments(ctx, tx, app)
	if err != nil {
		return place{}, err
	}
	for _, d := range list {
		if d.display == said || d.platform == slipstream.PlatformAny && d.channel == said {
			return d, nil
		}
	}
	return place{}, fmt.Errorf("deployment %q of app %q: %w", said, app, slipstream.ErrNotFound)
}

// in finds the deployment that a request is about.
func (s *Server) in(c call) (place, error) {
	var d place
	err := s.cfg.Store.View(c.ctx, func(tx store.Tx) (err error) {
		d, err = deployment(c.ctx, tx, c.app, c.PathValue("deployment"))
		return err
	})
	return d, err
}

// deploymentInfo is a deployment in the words of the tool.
type deploymentInfo struct {
	Name    string    `json:"name"`
	Key     string    `json:"key"`
	Package *labelled `json:"package"`
}

func (s *Server) deploymentInfo(ctx context.Context, tx store.Tx, c call, d place) (deploymentInfo, error) {
	h, err := codepush.HistoryOf(ctx, tx, d.app, d.channel, d.platform)
	out := deploymentInfo{Name: d.display, Key: d.key}
	if err != nil || len(h.Entries) == 0 {
		return out, err
	}
	list, err := s.releases(c, tx, d, &h)
	if err == nil {
		out.Package = &list[len(list)-1]
	}
	return out, err
}

func (s *Server) listDeployments(c call) (answer, error) {
	out := []deploymentInfo{}
	err := s.cfg.Store.View(c.ctx, func(tx store.Tx) error {
		out = out[:0]
		list, _, err := deployments(c.ctx, tx, c.app)
		for _, d := range list {
			one, ierr := s.deploymentInfo(c.ctx, tx, c, d)
			err = errors.Join(err, ierr)
			out = append(out, one)
		}
		return err
	})
	return ok(map[string]any{"deployments": out}), err
}

func (s *Server) showDeployment(c call) (answer, error) {
	d, err := s.in(c)
	if err != nil {
		return answer{}, err
	}
	var out deploymentInfo
	err = s.cfg.Store.View(c.ctx, func(tx store.Tx) (err error) {
		out, err = s.deploymentInfo(c.ctx, tx, c, d)
		return err
	})
	return ok(map[string]any{"deployment": out}), err
}

func newKey() (string, error) {
	b := make([]byte, 20)
	if _, err := rand.Read(b); err != nil {
		return "", err
	}
	return hex.EncodeToString(b), nil
}

// makeDeployment gives a channel a key, and makes the channel when there is none of that name.
func (s *Server) makeDeployment(c call, app, display, key string) (d deploymentInfo, err error) {
	channel, platform, split := strings.Cut(display, "@")
	if !split {
		platform = slipstream.PlatformAny
	}
	if err := checkDisplay(channel); err != nil {
		return d, err
	}
	if key == "" {
		if key, err = newKey(); err != nil {
			return d, err
		}
	}
	if !codepush.ValidKey(key) { // before a channel is made for it
		return d, slipstream.Invalidf("a deployment key is 10 to 100 of A-Z, a-z, 0-9, _ and -; that of %s is not", display)
	}
	name := slug(channel)
	_, err = s.cfg.Rollout.CreateChannel(c.ctx, c.who.Name, rollout.ChannelSpec{App: app, Name: name, Display: channel})
	if err != nil && !errors.Is(err, slipstream.ErrConflict) {
		return d, err
	}
	err = s.cfg.Store.Update(c.ctx, func(tx store.Tx) error {
		ch, err := tx.Channels().Get(c.ctx, app, name)
		if err != nil {
			return err
		}
		if ch.Display == "" {
			ch.Display = channel
			if err := tx.Channels().Save(c.ctx, ch); err != nil {
				return err
			}
		}
		return s.options(c, tx, app, func(o *codepush.Options) error {
			other, err := deployment(c.ctx, tx, app, display)
			if err != nil && !errors.Is(err, slipstream.ErrNotFound) {
				return err
			}
			// A name that another one got by a rename would mean either.
			if o.Deployments[name][platform] != "" || shown(ch.Display, name) != channel || err == nil && other.channel != name {
				return fmt.Errorf("deployment %q exists: %w", display, slipstream.ErrConflict)
			}
			if o.Deployments == nil {
				o.Deployments = map[string]codepush.Keys{}
			}
			if o.Deployments[name] == nil {
				o.Deployments[name] = codepush.Keys{}
			}
			o.Deployments[name][platform] = key
			return nil
		})
	})
	return deploymentInfo{Name: display, Key: key}, err
}

// options changes the options of an app's switch. A key that another app has is refused: it belongs to that one.
func (s *Server) options(c call, tx store.Tx, app string, change func(*codepush.Options) error) error {
	_, o, err := deployments(c.ctx, tx, app)
	if err != nil {
		return err
	}
	if err := change(&o); err != nil {
		return err
	}
	on, err := protocol.Switched(c.ctx, tx, codepush.Name)
	if err != nil {
		return err
	}
	mine := map[string]bool{}
	for _, keys := range o.Deployments {
		for _, key := range keys {
			mine[key] = true
		}
	}
	for other, raw := range on {
		its, err := codepush.ParseOptions(raw)
		if other == app || err != nil {
			continue
		}
		for _, keys := range its.Deployments {
			for _, key := range keys {
				if mine[key] {
					return fmt.Errorf("the deployment key is taken by another app: %w", slipstream.ErrConflict)
				}
			}
		}
	}
	raw, err := encode(o)
	if err != nil {
		return err
	}
	if err := protocol.Enable(c.ctx, tx, codepush.Protocol{}, app, raw); err != nil {
		return err
	}
	return s.audit(c.ctx, tx, c, "protocol.enable", app, codepush.Name, map[string]any{"deployments": len(o.Deployments)})
}

func (s *Server) addDeployment(c call) (answer, error) {
	var in struct{ Name, Key string }
	if err := c.read(&in); err != nil {
		return answer{}, err
	}
	d, err := s.makeDeployment(c, c.app, in.Name, in.Key)
	return answer{status: http.StatusCreated, body: map[string]any{"deployment": d}, location: at("apps", c.PathValue("app"), "deployments", in.Name)}, err
}

func (s *Server) patchDeployment(c call) (answer, error) {
	var in struct{ Name, Key string }
	if err := c.read(&in); err != nil {
		return answer{}, err
	}
	d, err := s.in(c)
	if err == nil && in.Name != "" {
		err = checkDisplay(in.Name)
	}
	if err != nil {
		return answer{}, err
	}
	err = s.cfg.Store.Update(c.ctx, func(tx store.Tx) error {
		if other, err := deployment(c.ctx, tx, d.app, in.Name); err == nil && other.channel != d.channel {
			return fmt.Errorf("deployment %q exists: %w", in.Name, slipstream.ErrConflict)
		}
		ch, err := tx.Channels().Get(c.ctx, d.app, d.channel)
		if err != nil {
			return err
		}
		if in.Name != "" {
			ch.Display = in.Name
			if err := tx.Channels().Save(c.ctx, ch); err != nil {
				return err
			}
		}
		return s.options(c, tx, d.app, func(o *codepush.Options) error {
			if in.Key != "" {
				o.Deployments[d.channel][d.platform] = in.Key
			}
			return nil
		})
	})
	return ok(map[string]any{"deployment": deploymentInfo{Name: shown(in.Name, d.display), Key: shown(in.Key, d.key)}}), err
}

// removeDeployment takes a channel's key and labels away. The channel stays, for clients of other kinds.
func (s *Server) removeDeployment(c call) (answer, error) {
	d, err := s.in(c)
	if err != nil {
		return answer{}, err
	}
	err = s.cfg.Store.Update(c.ctx, func(tx store.Tx) error {
		if err := errors.Join(forget(c.ctx, tx, d), unnameChannel(c.ctx, tx, d)); err != nil {
			return err
		}
		return s.options(c, tx, d.app, func(o *codepush.Options) error {
			delete(o.Deployments[d.channel], d.platform)
			if len(o.Deployments[d.channel]) == 0 {
				delete(o.Deployments, d.channel)
			}
			return nil
		})
	})
	return answer{status: http.StatusNoContent}, err
}

// forget deletes a deployment's own releases, and everything that is kept of it.
func forget(ctx context.Context, tx store.Tx, d place) error {
	if err := deleteReleases(ctx, tx, d); err != nil {
		return err
	}
	return codepush.Forget(ctx, tx, d.app, d.channel, d.platform)
}

func deleteReleases(ctx context.Context, tx store.Tx, d place) error {
	h, err := codepush.HistoryOf(ctx, tx, d.app, d.channel, d.platform)
	if err != nil {
		return err
	}
	for _, e := range h.Entries {
		if e.Own == nil {
			continue
		}
		if err := tx.Releases().Delete(ctx, e.Release); err != nil && !errors.Is(err, slipstream.ErrNotFound) {
			return err
		}
	}
	return nil
}

// unnameChannel takes the name away that a channel got by a rename, so that another deployment may have it.
func unnameChannel(ctx context.Context, tx store.Tx, d place) error {
	ch, err := tx.Channels().Get(ctx, d.app, d.channel)
	if err != nil || slug(ch.Display) == ch.Name || ch.Display == "" {
		return err
	}
	ch.Display = ""
	return tx.Channels().Save(ctx, ch)
}
