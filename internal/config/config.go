// Package config reads settings: flag > environment SLIPSTREAM_* > file. It is the only place that looks at the
// environment.
package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipstream-ota/slipstream"
)

// Env is the part of the process environment that settings come from.
type Env struct {
	vars map[string]string
	file map[string]string
	home string
}

// Names of all settings that an environment variable SLIPSTREAM_<NAME> or a key of the settings file can give; the
// same names in lower case with '-' are flags.
var names = []string{
	"URL", "TOKEN", "RELEASE_KEY", "ROOT_KEY", "PASSPHRASE", "CONFIG", "ROOT",
	"LISTEN", "DATA", "DATABASE", "BLOBS", "BASE_URL", "SECRET", "DIR", "LOG",
	"TRUSTED_PROXIES", "REPORT_RETENTION",
}

// Load takes the environment as os.Environ gives it. The settings file is $SLIPSTREAM_CONFIG or
// <folder>/settings.json, a JSON object of strings; unknown keys are errors.
func Load(environ []string) (*Env, error) {
	e := &Env{vars: map[string]string{}, file: map[string]string{}}
	for _, kv := range environ {
		k, v, _ := strings.Cut(kv, "=")
		e.vars[k] = v
	}
	e.home = e.vars["HOME"]
	path, explicit := e.vars["SLIPSTREAM_CONFIG"], true
	if path == "" {
		path, explicit = filepath.Join(e.Folder().Path, "settings.json"), false
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && !explicit {
		return e, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	if err := json.Unmarshal(b, &e.file); err != nil {
		return nil, fmt.Errorf("parse settings %s: %w", path, err)
	}
	for k := range e.file {
		if !slices.Contains(names, variable(k)) {
			return nil, slipstream.Hint(fmt.Errorf("settings %s: unknown key %q", path, k), "known keys: %s", strings.ToLower(strings.Join(names, ", ")))
		}
	}
	return e, nil
}

func variable(key string) string { return strings.ToUpper(strings.ReplaceAll(key, "-", "_")) }

// Get gives the setting name ("base-url") from environment or file, or otherwise.
func (e *Env) Get(name, otherwise string) string {
	v := variable(name)
	if s, ok := e.vars["SLIPSTREAM_"+v]; ok && s != "" {
		return s
	}
	for k, s := range e.file {
		if variable(k) == v && s != "" {
			return s
		}
	}
	return otherwise
}

// Folder is the publisher's configuration folder.
func (e *Env) Folder() Folder {
	if x := e.vars["XDG_CONFIG_HOME"]; x != "" {
		return Folder{filepath.Join(x, "slipstream")}
	}
	return Folder{filepath.Join(e.home, ".config", "slipstream")}
}

// secrets are the settings that no program that we start may see.
var secrets = []string{"TOKEN", "RELEASE_KEY", "ROOT_KEY", "PASSPHRASE", "SECRET", "DATABASE", "BLOBS"}

// Environ is the environment with extra appended, for programs that we start: they come from elsewhere, so our own
// secrets are not in it.
func (e *Env) Environ(extra ...string) []string {
	out := make([]string, 0, len(e.vars)+len(extra))
	for k, v := range e.vars {
		if name, ours := strings.CutPrefix(k, "SLIPSTREAM_"); !ours || !slices.Contains(secrets, name) {
			out = append(out, k+"="+v)
		}
	}
	slices.Sort(out)
	return append(out, extra...)
}
