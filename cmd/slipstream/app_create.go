//go:build !device

package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/sign"
)

// createdApp is what app create prints with --json.
type createdApp struct {
	App        string `json:"app"`
	Root       string `json:"root"` // file
	RootKey    string `json:"rootKey"`
	ReleaseKey string `json:"releaseKey"`
	Version    int64  `json:"rootVersion"`
	Existing   bool   `json:"existing,omitempty"`
}

func newAppCreate(t *tool) *cobra.Command {
	var n api.NewApp
	var life string
	c := &cobra.Command{
		Use:   "create NAME",
		Short: "Make an app with its keys and register its root",
		Long: `Create makes a root key and a release key in your configuration folder, has the server make a state key, signs the
first root and registers it. The private keys never leave this machine. What was interrupted goes on when it is run
again. Ship the root.json that it writes inside your app.`,
		Args: exactly(1, "one name"),
		RunE: func(c *cobra.Command, args []string) error {
			n.Name = args[0]
			if err := slipstream.CheckName("app", n.Name); err != nil {
				return usageError{err}
			}
			f := rootFlags{expires: life}
			expires, err := f.expiry(time.Now())
			if err != nil {
				return err
			}
			out, err := t.createApp(c.Context(), n, expires)
			if err != nil {
				return err
			}
			return t.print(out, func(w io.Writer) { printCreatedApp(w, out) })
		},
	}
	c.Flags().StringVar(&n.Display, "display", "", "display name")
	c.Flags().StringVar(&n.Kind, "kind", "", "what the app is made with: web, node, easyclick, codepush …")
	c.Flags().StringSliceVar(&n.Platforms, "platforms", nil, "platforms that states are signed for (default any,android,ios)")
	c.Flags().StringVar(&life, "expires", "5y", "life of the root")
	t.serverFlags(c)
	return c
}

func printCreatedApp(w io.Writer, out createdApp) {
	if out.Existing {
		fmt.Fprintf(w, "App %s is there already, with the root in %s\n", out.App, out.Root)
		return
	}
	fmt.Fprintf(w, "App %s is ready\n", out.App)
	fmt.Fprintf(w, "  root         %s (ship it inside your app)\n", out.Root)
	fmt.Fprintf(w, "  root key     %s (keep a copy offline: it can replace every other key)\n", out.RootKey)
	fmt.Fprintf(w, "  release key  %s\n", out.ReleaseKey)
	fmt.Fprintf(w, "\nNext:\n  slipstream publish ./dist --app %s --version 1.0.0\n", out.App)
}

// createApp does what is still to be done; every step is safe to repeat.
func (t *tool) createApp(ctx context.Context, n api.NewApp, expires time.Time) (createdApp, error) {
	folder := t.env.Folder()
	out := createdApp{App: n.Name, Root: folder.RootFile(n.Name), RootKey: folder.RootKeyFile(n.Name), ReleaseKey: folder.ReleaseKeyFile(n.Name)}
	server, err := t.client()
	if err != nil {
		return out, err
	}
	app, err := server.CreateApp(ctx, n)
	existed := errors.Is(err, slipstream.ErrConflict)
	if existed {
		app, err = server.App(ctx, n.Name)
	}
	if err != nil {
		return out, fmt.Errorf("create app: %w", err)
	}
	local, err := readSmall(out.Root, slipstream.MaxRootBytes)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return out, fmt.Errorf("read root: %w", err)
	}
	if app.RootVersion > 0 {
		return t.alreadyCreated(ctx, server, out, local)
	}
	if local == nil {
		if local, err = t.firstRoot(out, app, expires); err != nil {
			return out, err
		}
	} else if err := namesStateKey(local, app, out.Root); err != nil {
		return out, err
	}
	added, err := server.AddRoot(ctx, n.Name, local)
	if err != nil {
		return out, fmt.Errorf("register root: %w", err)
	}
	out.Version = added.Version
	return out, nil
}

// alreadyCreated is fine when the server's roots are the ones that this folder knows.
func (t *tool) alreadyCreated(ctx context.Context, server *api.Client, out createdApp, local []byte) (createdApp, error) {
	roots, err := server.Roots(ctx, out.App)
	if err != nil {
		return out, fmt.Errorf("read roots: %w", err)
	}
	if local != nil && slices.ContainsFunc(roots, func(r []byte) bool { return bytes.Equal(r, local) }) {
		out.Existing, out.Version = true, int64(len(roots))
		return out, nil
	}
	return out, slipstream.Hint(fmt.Errorf("app %s exists on the server, made elsewhere: %w", out.App, slipstream.ErrConflict),
		"copy its keys and root.json from the machine that made it into %s, or choose another name", t.env.Folder().Path)
}

// firstRoot makes the keys that are missing, and the root, signed and written to the publisher's folder.
func (t *tool) firstRoot(out createdApp, app api.App, expires time.Time) ([]byte, error) {
	rootKey, err := t.ensureKey(out.RootKey)
	if err != nil {
		return nil, err
	}
	releaseKey, err := t.ensureKey(out.ReleaseKey)
	if err != nil {
		return nil, err
	}
	var state []ed25519.PublicKey
	for _, k := range app.StateKeys {
		pub, err := sign.ParsePublic(k.Public)
		if err != nil {
			return nil, fmt.Errorf("state key of the server: %w", err)
		}
		state = append(state, pub)
	}
	one := func(s sign.Signer) sign.RoleKeys { return sign.RoleKeys{Keys: []ed25519.PublicKey{s.Public()}} }
	root, err := sign.NewRoot(app.Name, expires, one(rootKey), one(releaseKey), sign.RoleKeys{Keys: state})
	if err != nil {
		return nil, err
	}
	e, err := sign.Seal(sign.TypeRoot, root, rootKey)
	if err != nil {
		return nil, err
	}
	raw := e.Encode()
	return raw, t.env.Folder().Write(out.Root, raw, 0o644)
}

// ensureKey loads the key at path, or makes it.
func (t *tool) ensureKey(path string) (sign.Signer, error) {
	if _, err := os.Lstat(path); err == nil {
		return t.loadKey(path)
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("look for key: %w", err)
	}
	return t.newKey(path, true)
}

// namesStateKey refuses a root in the folder that belongs to an app of the same name on another server.
func namesStateKey(raw []byte, app api.App, path string) error {
	trust, err := sign.OpenRoot(raw)
	if err != nil {
		return fmt.Errorf("root in %s: %w", path, err)
	}
	for _, k := range app.StateKeys {
		if slices.Contains(trust.Root().Roles.State.Keys, k.KeyID) {
			return nil
		}
	}
	return slipstream.Hint(fmt.Errorf("the root in %s was made for another server: %w", path, slipstream.ErrConflict),
		"move that folder away to start anew, or name this server's state key in the next root: `slipstream app state-key %s` and `slipstream key root rotate`", app.Name)
}

// rootApp is the app that a root names, which must be said when that is given.
func rootApp(raw []byte, said string) (string, error) {
	root, _, _, err := sign.DraftRoot(raw)
	if err != nil {
		return "", err
	}
	if said != "" && said != root.App {
		return "", slipstream.Refuse(slipstream.ReasonWrongApp, "root", "of app %q, not %q", root.App, said)
	}
	return root.App, nil
}
