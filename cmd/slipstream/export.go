//go:build !device

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
)

// exportFlags are the flags of export.
type exportFlags struct {
	app                 string
	channels, platforms []string
	url                 string
	every               time.Duration
	files               bool
}

func newExportCommand(t *tool) *cobra.Command {
	f := &exportFlags{}
	c := &cobra.Command{
		Use:   "export DIR --app APP",
		Short: "Write everything that a channel's devices need as static files",
		Long: `Write everything that a channel's devices need as static files, laid out like the paths of the server, so that a
plain bucket or web server can serve a whole fleet: signed states, roots, manifests, blobs, and all containers that the
server has made, patches among them, with their lists. --files adds every file of a release under its own path, for web
pages; it shares the disk with its blob.

Run it again after every change, or with --every: only what is new is fetched, files are replaced whole, and the
states come last, so that a device never sees a state whose releases are not there yet. Serve states with a short
max-age; everything under v1/containers and v1/blobs never changes. Nothing is decided per device, so private rollouts
and reports still need the server.`,
		Example: `  slipstream export ./public --app shop
  slipstream export ./public --app shop --channel production --channel beta --platform ios --every 10m`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return t.export(c.Context(), args[0], f) },
	}
	c.Flags().StringVar(&f.app, "app", "", "the app")
	c.Flags().StringSliceVar(&f.channels, "channel", []string{slipstream.DefaultChannel}, "a channel; may be repeated")
	c.Flags().StringSliceVar(&f.platforms, "platform", nil, "a platform beside the well-known ones; may be repeated")
	c.Flags().StringVar(&f.url, "server", "", "server address (default: SLIPSTREAM_URL, or what login and serve wrote)")
	c.Flags().BoolVar(&f.files, "files", false, "files by their paths too, for web pages (v1/apps/APP/files/…)")
	c.Flags().DurationVar(&f.every, "every", 0, "go on and export again after this time")
	return c
}

// wellKnownPlatforms are asked for without being named. The device side has no list of an app's platforms.
func wellKnownPlatforms() []string {
	return []string{slipstream.PlatformAny, "android", "ios", "harmony", "windows", "macos", "linux", "web"}
}

// exported says what one run did.
type exported struct {
	States  int   `json:"states"`
	Files   int   `json:"files"` // new or changed
	Bytes   int64 `json:"bytes"`
	Present int   `json:"present"` // were there already
}

func (t *tool) export(ctx context.Context, dir string, f *exportFlags) error {
	for _, name := range append([]string{f.app}, append(f.channels, f.platforms...)...) {
		if err := slipstream.CheckName("app, channel or platform", name); err != nil {
			return usageError{err}
		}
	}
	url, err := t.exportServer(f.url)
	if err != nil {
		return err
	}
	e, err := newExporter(dir, url, f)
	if err != nil {
		return err
	}
	for {
		done, err := e.run(ctx)
		switch {
		case err != nil && f.every == 0:
			return err
		case err != nil && ctx.Err() == nil:
			fmt.Fprintf(t.stderr, "Error: %v; trying again in %s\n", err, f.every)
		case err == nil:
			if err := t.print(done, func(w io.Writer) {
				fmt.Fprintf(w, "%d states; %d files written (%s), %d there already\n", done.States, done.Files, formatBytes(done.Bytes), done.Present)
			}); err != nil {
				return err
			}
		}
		if f.every == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(f.every):
		}
	}
}

func (t *tool) exportServer(flag string) (string, error) {
	saved, err := t.env.Folder().LoadServer()
	if err != nil {
		return "", err
	}
	url := first(flag, t.env.Get("url", ""), saved.URL)
	if url == "" {
		return "", slipstream.Hint(errors.New("no server is known"), "name one with --server URL")
	}
	return url, nil
}
