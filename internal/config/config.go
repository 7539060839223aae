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
	"URL", "TOKEN", "RELEASE_KEY", "ROOT_KEY", "PASSPHRASE", "CONFIG", "ROOT", "CODEPUSH_KEY", "DIR",
	"LISTEN", "DATA", "DATABASE", "BLOBS", "BASE_URL", "HOSTS", "SECRET", "LOG", "TRUSTED_PROXIES", "WEB_ORIGINS",
	"METRICS_LISTEN", "ALERT_ALLOW", "GUARD_EVERY", "OCRUNNER_ROOT", "LIVE_MAX", "LIVE_PER_ADDRESS", "REPORT_RATE",
	"REPORT_RETENTION", "DEVICE_RETENTION", "TRIAL_RETENTION", "MINUTE_RETENTION", "HOUR_RETENTION", "DAY_RETENTION", "REQUIRE_OTP",
	"OIDC_ISSUER", "OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET_FILE", "OIDC_NAME", "OIDC_DOMAINS", "OIDC_GROUPS", "OIDC_GROUPS_CLAIM", "OIDC_ROLE",
}

// Known reports whether environment and settings file may give the setting of that name ("base-url").
func Known(name string) bool { return slices.Contains(names, variable(name)) }

// Load takes the environment as os.Environ gives it. The settings file is $SLIPSTREAM_CONFIG or
// <folder>/settings.json, a JSON object of texts or numbers; unknown keys are errors.
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
		return nil, slipstream.Hint(fmt.Errorf("read settings: %w", err), "correct or unset SLIPSTREAM_CONFIG")
	}
	if e.file, err = parse(b); err != nil {
		return nil, fmt.Errorf("settings %s: %w", path, err)
	}
	return e, nil
}

// parse reads a settings file. A number is taken as it is written: ports and rates are easily written so.
func parse(b []byte) (map[string]string, error) {
	var values map[string]json.RawMessage
	if err := json.Unmarshal(b, &values); err != nil {
		return nil, slipstream.Hint(fmt.Errorf("not a JSON object: %w", err), `write {"listen": ":8080", "data": "/var/lib/slipstream"}`)
	}
	file := map[string]string{}
	for k, raw := range values {
		if !Known(k) {
			return nil, slipstream.Hint(fmt.Errorf("unknown key %q", k), "known keys: %s", strings.ReplaceAll(strings.ToLower(strings.Join(names, ", ")), "_", "-"))
		}
		var text string
		var number json.Number
		switch {
		case json.Unmarshal(raw, &text) == nil && string(raw) != "null":
			file[k] = text
		case json.Unmarshal(raw, &number) == nil && string(raw) != "null":
			file[k] = number.String()
		default:
			return nil, slipstream.Hint(fmt.Errorf("the value of %q is neither a text nor a number", k), `write it in quotes, lists as one text with commas: "10.0.0.0/8,::1"`)
		}
	}
	return file, nil
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
