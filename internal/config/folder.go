package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/internal/atomicfile"
)

// Folder is the publisher's configuration folder: $XDG_CONFIG_HOME/slipstream.
//
//	server.json              URL and admin token: of `login`, or of the `serve` that ran last on this machine
//	apps/<app>/root.json     newest root envelope, verbatim; root-N.json are all of them
//	apps/<app>/seq-<package>.json  highest seq that was signed here
//	apps/<app>/root.key      PKCS#8 PEM
//	apps/<app>/release.key   PKCS#8 PEM
type Folder struct{ Path string }

// Server is what server.json holds.
type Server struct {
	URL   string `json:"url"`
	Token string `json:"token"`
}

// RootFile, RootKeyFile and ReleaseKeyFile are the paths of an app's trust files.
func (f Folder) RootFile(app string) string { return filepath.Join(f.Path, "apps", app, "root.json") }

// RootKeyFile is the path of the app's private root key.
func (f Folder) RootKeyFile(app string) string {
	return filepath.Join(f.Path, "apps", app, "root.key")
}

// ReleaseKeyFile is the path of the app's private release key.
func (f Folder) ReleaseKeyFile(app string) string {
	return filepath.Join(f.Path, "apps", app, "release.key")
}

// ServerFile is the path of server.json.
func (f Folder) ServerFile() string { return filepath.Join(f.Path, "server.json") }

// LoadServer reads server.json; a missing file is an empty Server.
func (f Folder) LoadServer() (Server, error) {
	var s Server
	b, err := os.ReadFile(f.ServerFile())
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("read server address: %w", err)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, slipstream.Hint(fmt.Errorf("parse %s: %w", f.ServerFile(), err), "delete the file and run `slipstream login URL` again")
	}
	return s, nil
}

// SaveServer replaces server.json, readable by this user only.
func (f Folder) SaveServer(s Server) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return f.Write(f.ServerFile(), append(b, '\n'), 0o600)
}

// Write puts data at path durably and makes the folders above it, private to this user.
func (f Folder) Write(path string, data []byte, perm os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make configuration folder: %w", err)
	}
	return atomicfile.Write(path, data, perm)
}
