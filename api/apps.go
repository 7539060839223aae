package api

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/sign"
	"github.com/slipstream-ota/slipstream/store"
)

// InApp is the path parameter of most operations.
type InApp struct {
	App string `path:"app" maxLength:"64" doc:"Name of the app"`
}

// body wraps what an operation answers.
type body[T any] struct{ Body T }

func answer[T any](v T, err error) (*body[T], error) {
	if err != nil {
		return nil, err
	}
	return &body[T]{v}, nil
}

func (s *Server) routeApps() {
	route(s, http.MethodGet, "/whoami", "Who the token belongs to", auth.Read, func(ctx context.Context, _ *struct{}) (*body[Me], error) {
		p := by(ctx)
		return answer(Me{Name: p.Name, Role: p.Role, App: p.Apps.One(), Apps: p.Apps.Names(), Member: p.Member}, nil)
	})
	route(s, http.MethodGet, "/apps", "List apps", auth.Read, func(ctx context.Context, _ *struct{}) (*body[AppList], error) {
		return answer(s.apps(ctx))
	})
	route(s, http.MethodPost, "/apps", "Make an app; answers its state key for the first root", auth.Manage, s.createApp)
	route(s, http.MethodGet, "/apps/{app}", "Show an app", auth.Read, func(ctx context.Context, in *InApp) (*body[App], error) {
		return answer(s.app(ctx, in.App))
	})
	route(s, http.MethodPatch, "/apps/{app}", "Change an app", auth.Manage, s.changeApp)
	route(s, http.MethodGet, "/apps/{app}/roots", "All roots of an app, verbatim", auth.Read, func(ctx context.Context, in *InApp) (*body[RootList], error) {
		return answer(s.roots(ctx, in.App))
	})
	route(s, http.MethodPost, "/apps/{app}/roots", "Register the next root", auth.Manage, func(ctx context.Context, in *struct {
		InApp
		Body Envelope
	}) (*body[rollout.RootAdded], error) {
		return answer(s.cfg.Rollout.AddRoot(ctx, by(ctx).Name, in.App, in.Body.Envelope))
	})
	route(s, http.MethodPost, "/apps/{app}/state-keys", "Make another state key, for the next root to name", auth.Manage, func(ctx context.Context, in *InApp) (*body[StateKey], error) {
		k, err := s.cfg.Rollout.NewStateKey(ctx, by(ctx).Name, in.App)
		return answer(StateKey{KeyID: k.KeyID, Public: k.Public, Created: k.Created}, err)
	})
}

func (s *Server) apps(ctx context.Context) (AppList, error) {
	out := AppList{Apps: []App{}}
	err := s.cfg.Store.View(ctx, func(tx store.Tx) error {
		out.Apps = out.Apps[:0]
		list, err := tx.Apps().List(ctx)
		if err != nil {
			return err
		}
		for _, a := range list {
			if !by(ctx).May(auth.Read, a.Name) {
				continue
			}
			described, err := describeApp(ctx, tx, a)
			if err != nil {
				return err
			}
			out.Apps = append(out.Apps, described)
		}
		return nil
	})
	return out, err
}

func (s *Server) app(ctx context.Context, name string) (App, error) {
	var out App
	err := s.cfg.Store.View(ctx, func(tx store.Tx) error {
		a, err := tx.Apps().Get(ctx, name)
		if err != nil {
			return slipstream.Hint(err, "`slipstream app create %s` makes the app", name)
		}
		out, err = describeApp(ctx, tx, a)
		return err
	})
	return out, err
}

func describeApp(ctx context.Context, tx store.Tx, a store.App) (App, error) {
	settings, err := rollout.SettingsOf(a)
	if err != nil {
		return App{}, err
	}
	out := App{Name: a.Name, Display: a.Display, Kind: settings.Kind, Confirm: settings.Confirm, Platforms: a.Platforms, Created: a.Created, StateKeys: []StateKey{}, Channels: []string{}}
	root, err := newestRoot(ctx, tx, a.Name)
	if err != nil {
		return App{}, err
	}
	if root != nil {
		out.RootVersion, out.RootExpires = root.Version, &root.Expires
	}
	keys, err := tx.Apps().StateKeys(ctx, a.Name)
	if err != nil {
		return App{}, err
	}
	for _, k := range keys {
		active := root != nil && slices.Contains(root.Roles.State.Keys, k.KeyID)
		out.StateKeys = append(out.StateKeys, StateKey{KeyID: k.KeyID, Public: k.Public, Created: k.Created, Active: active})
	}
	channels, err := tx.Channels().List(ctx, a.Name)
	if err != nil {
		return App{}, err
	}
	for _, c := range channels {
		out.Channels = append(out.Channels, c.Name)
	}
	return out, nil
}

// newestRoot is nil while the app has none.
func newestRoot(ctx context.Context, tx store.Tx, app string) (*slipstream.Root, error) {
	roots, err := tx.Apps().Roots(ctx, app)
	if err != nil || len(roots) == 0 {
		return nil, err
	}
	trust, err := sign.OpenRoot(roots[len(roots)-1])
	if err != nil {
		return nil, err
	}
	return trust.Root(), nil
}

func (s *Server) createApp(ctx context.Context, in *struct{ Body NewApp }) (*body[App], error) {
	p, n := by(ctx), in.Body
	if !p.Apps.All() {
		return nil, forbidden(p, auth.Manage)
	}
	err := s.cfg.Rollout.CreateApp(ctx, p.Name, rollout.AppSpec{Name: n.Name, Display: n.Display, Kind: n.Kind, Platforms: n.Platforms})
	if err != nil {
		return nil, err
	}
	return answer(s.app(ctx, n.Name))
}

func (s *Server) changeApp(ctx context.Context, in *struct {
	InApp
	Body AppChange
}) (*body[App], error) {
	have, err := s.app(ctx, in.App)
	if err != nil {
		return nil, err
	}
	spec := rollout.AppSpec{Name: have.Name, Display: have.Display, Kind: have.Kind, Confirm: have.Confirm, Platforms: have.Platforms}
	if in.Body.Display != nil {
		spec.Display = *in.Body.Display
	}
	if in.Body.Kind != nil {
		spec.Kind = *in.Body.Kind
	}
	if in.Body.Confirm != nil {
		spec.Confirm = *in.Body.Confirm
	}
	if in.Body.Platforms != nil {
		spec.Platforms = in.Body.Platforms
	}
	if err := s.cfg.Rollout.SaveApp(ctx, by(ctx).Name, spec); err != nil {
		return nil, err
	}
	return answer(s.app(ctx, in.App))
}

func (s *Server) roots(ctx context.Context, app string) (RootList, error) {
	out := RootList{Roots: [][]byte{}}
	err := s.cfg.Store.View(ctx, func(tx store.Tx) error {
		if _, err := tx.Apps().Get(ctx, app); err != nil {
			return err
		}
		roots, err := tx.Apps().Roots(ctx, app)
		out.Roots = append([][]byte{}, roots...)
		return err
	})
	if errors.Is(err, slipstream.ErrNotFound) {
		err = slipstream.Hint(err, "`slipstream app create %s` makes the app", app)
	}
	return out, err
}
