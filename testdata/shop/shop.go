// Package shop holds four releases of a small web shop: real files for the demo and for tests. 1.0.0 is whole, the later
// ones hold only what they change. 1.2.0 has a promotion of 120 %, at which the shop's server refuses to start.
package shop

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

//go:embed 1.0.0 1.1.0 1.2.0 1.2.1
var files embed.FS

// Write puts the whole tree of a version below dir, which it makes.
func Write(dir, version string) error {
	for _, layer := range []string{"1.0.0", version} {
		tree, err := fs.Sub(files, layer)
		if err != nil {
			return err
		}
		err = fs.WalkDir(tree, ".", func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			to := filepath.Join(dir, filepath.FromSlash(path))
			if d.IsDir() {
				return os.MkdirAll(to, 0o755)
			}
			data, err := fs.ReadFile(tree, path)
			if err != nil {
				return err
			}
			return os.WriteFile(to, data, 0o644)
		})
		if err != nil {
			return fmt.Errorf("write shop %s: %w", version, err)
		}
	}
	return nil
}
