//go:build !device

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/sign"
)

// byPath gives the blobs of a release the names that the files have in it. The manifest is a stranger's: its paths are
// checked, and nothing leads out of the directory.
func (e *exporter) byPath(d slipstream.Digest, m *slipstream.Manifest) error {
	if m.App != e.app {
		return slipstream.Refuse(slipstream.ReasonManifestMismatch, "manifest", "is of app %q", m.App)
	}
	if err := sign.CheckManifest(m); err != nil {
		return err
	}
	root, err := os.OpenRoot(e.dir)
	if err != nil {
		return fmt.Errorf("open %s: %w", e.dir, err)
	}
	defer root.Close()
	folder := path.Join("v1/apps", e.app, "files", m.Package, string(d))
	for _, f := range m.Files {
		name := path.Join(folder, f.Path)
		if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
		switch err := root.Link("v1/blobs/"+string(f.SHA256), name); {
		case errors.Is(err, fs.ErrExist):
			e.present()
		case err != nil:
			return slipstream.Hint(fmt.Errorf("name %s: %w", f.Path, err), "--files needs a file system with hard links")
		default:
			e.wrote(0)
		}
	}
	return nil
}
