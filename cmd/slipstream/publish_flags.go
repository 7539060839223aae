//go:build !device

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/decide"
	"github.com/slipstream-ota/slipstream/publish"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/sign"
)

// publishFlags are the flags of publish, as text.
type publishFlags struct {
	app, pkg, channel, version, runtime, fingerprint, platform string
	entry, kind, notes                                         string
	share, control, salt                                       string
	when, requires, dataReads, meta, keys                      []string
	dataWrites                                                 string
	apply                                                      slipstream.Apply
	dryRun, embedded, noRollout, private                       bool
	partialOut, manifest, root                                 string
	easyclick                                                  string // folder of an EasyClick project
	codepushKey                                                string // private key file for CodePush clients
	capgoKey                                                   string // the same for Capgo clients
	plan                                                       planFlags
	minSeq                                                     int64
	capacity                                                   int64
}

func (f *publishFlags) define(c *cobra.Command) {
	f.plan.define(c)
	fs := c.Flags()
	fs.StringVar(&f.app, "app", "", "app (default: from "+publish.SettingsFile+", or the only app known here)")
	fs.StringVar(&f.pkg, "package", slipstream.DefaultPackage, "package inside the app")
	fs.StringVar(&f.channel, "channel", slipstream.DefaultChannel, "channel to offer the release on")
	fs.StringVar(&f.version, "version", "", "version of the release (default: of package.json)")
	fs.StringVar(&f.runtime, "runtime", "*", "shell versions that the release fits, as a range: '>=3.0.0 <4'")
	fs.StringVar(&f.fingerprint, "fingerprint", "", "instead of --runtime: the one shell fingerprint that the release fits")
	fs.StringVar(&f.platform, "platform", slipstream.PlatformAny, "platform of the devices")
	fs.StringVar(&f.entry, "entry", "", "file that the host starts (default: the only file, if it is one)")
	fs.StringVar(&f.kind, "kind", "", "what the app is made with, for warnings: "+strings.Join(publish.Kinds(), ", ")+" (default: guessed)")
	fs.StringVar(&f.notes, "notes", "", "notes for people")
	fs.StringVar(&f.share, "share", "100%", "share of the devices that are offered the release")
	defineCap(c, &f.capacity)
	fs.StringVar(&f.control, "control", "", "share of the devices kept on the former release for comparison (default 5%)")
	fs.StringVar(&f.salt, "salt", "", "rollouts with the same salt meet the same devices (default: each its own)")
	fs.StringArrayVar(&f.when, "when", nil, "only devices for which this holds: 'country in cn,jp', 'os semver >=14' (repeatable)")
	fs.StringArrayVar(&f.requires, "requires", nil, "other package that this one needs: base>=12, or base=DIGEST,DIGEST (repeatable)")
	fs.StringSliceVar(&f.dataReads, "data-reads", nil, "formats of stored user data that the release reads")
	fs.StringVar(&f.dataWrites, "data-writes", "", "format of stored user data that the release writes")
	fs.StringArrayVar(&f.meta, "meta", nil, "key=value for the host; a value that is JSON stays JSON (repeatable)")
	fs.StringArrayVar(&f.keys, "key", nil, "private release key file (repeatable; default: SLIPSTREAM_RELEASE_KEY, or the app's key here)")
	fs.BoolVar(&f.apply.Mandatory, "mandatory", false, "the host must not let users put the update off")
	fs.StringVar(&f.apply.Mode, "mode", "", "when the update takes effect: "+strings.Join(applyModes(), ", "))
	fs.StringVar(&f.apply.Priority, "priority", "", "low, normal or critical")
	fs.StringVar(&f.apply.Message, "message", "", "text for users, shown by hosts that ask")
	fs.IntVar(&f.apply.Timeout, "timeout", 0, "seconds that a blocking update may take")
	fs.StringVar(&f.easyclick, "easyclick-project", "", "folder of the EasyClick project: its update.json must name this very version")
	fs.StringVar(&f.codepushKey, "codepush-key", "", "private RSA key file (PEM): sign the release for CodePush clients too")
	fs.StringVar(&f.capgoKey, "capgo-private-key", "", "private RSA key file (PEM): sign the release for Capgo clients too")
	fs.BoolVar(&f.dryRun, "dry-run", false, "show what would change and write nothing")
	fs.BoolVar(&f.embedded, "embedded", false, "the release ships inside the app binary only: it is known, never offered")
	fs.BoolVar(&f.noRollout, "no-rollout", false, "publish without offering it on a channel")
	fs.BoolVar(&f.private, "private", false, "keep the rollout out of the public state")
	fs.StringVar(&f.partialOut, "partial-out", "", "write the manifest to this file for others to sign, instead of committing it")
	fs.Int64Var(&f.minSeq, "min-seq", 0, "give the release at least this number: after a lost server, above what devices have confirmed")
	fs.StringVar(&f.manifest, "manifest", "", "commit this signed manifest instead of making one")
}

func applyModes() []string {
	return []string{slipstream.ModeNextLaunch, slipstream.ModeNextOpen, slipstream.ModeNextResume, slipstream.ModeImmediate, slipstream.ModePrompt}
}

// settable are the flags that a slipstream.json may give: those that stay the same from release to release.
func settable() []string {
	return []string{"app", "package", "channel", "runtime", "fingerprint", "platform", "entry", "kind", "requires", "data-reads", "data-writes", "control", "mode", "priority", "hermes-base", "hermes-bundle", "hermesc"}
}

// readSettings gives the flags that the user did not set the values of the nearest slipstream.json, in folder or the
// one above it.
func readSettings(c *cobra.Command, folder string) error {
	path, data, err := readNear(folder, publish.SettingsFile)
	if err != nil || data == nil {
		return err
	}
	var settings map[string]any
	if err := json.Unmarshal(data, &settings); err != nil {
		return fmt.Errorf("parse %s: %w", path, err)
	}
	for name, v := range settings {
		if !slices.Contains(settable(), name) {
			return slipstream.Hint(fmt.Errorf("%s: unknown key %q", path, name), "known keys: %s", strings.Join(settable(), ", "))
		}
		flag := c.Flags().Lookup(name)
		if flag == nil || flag.Changed {
			continue
		}
		values, ok := v.([]any)
		if !ok {
			values = []any{v}
		}
		for _, v := range values {
			s, ok := v.(string)
			if !ok {
				return fmt.Errorf("%s: %q must be text or a list of texts", path, name)
			}
			if err := flag.Value.Set(s); err != nil {
				return fmt.Errorf("%s: %q: %w", path, name, err)
			}
		}
	}
	return nil
}

// readNear reads the file name in folder, else in the folder above. No such file is nil.
func readNear(folder, name string) (path string, data []byte, err error) {
	for _, dir := range []string{folder, filepath.Join(folder, "..")} {
		path = filepath.Join(dir, name)
		data, err = readSmall(path, 1<<20)
		if !errors.Is(err, os.ErrNotExist) {
			break
		}
		data, err = nil, nil
	}
	if err != nil {
		return "", nil, fmt.Errorf("read %s: %w", path, err)
	}
	return path, data, nil
}

// folderOf is the folder whose settings count for what is published at path.
func folderOf(path string) string {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return path
	}
	return filepath.Dir(path)
}

// defaultApp is said, or the only app in the publisher's folder.
func (t *tool) defaultApp(said string) (string, error) {
	if said != "" {
		return said, slipstream.CheckName("app", said)
	}
	entries, err := os.ReadDir(filepath.Join(t.env.Folder().Path, "apps"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("look for apps: %w", err)
	}
	var apps []string
	for _, e := range entries {
		if e.IsDir() && slipstream.CheckName("app", e.Name()) == nil {
			apps = append(apps, e.Name())
		}
	}
	switch len(apps) {
	case 1:
		return apps[0], nil
	case 0:
		return "", usageError{slipstream.Hint(errors.New("which app?"), "say --app NAME; `slipstream app create NAME` makes one")}
	}
	return "", usageError{slipstream.Hint(errors.New("which app?"), "say --app with one of: %s", strings.Join(apps, ", "))}
}

// request turns the flags into what is asked of package publish. Everything wrong with them is a usage error.
func (t *tool) request(f *publishFlags, folder string) (r publish.Request, err error) {
	defer func() {
		if err != nil && !errors.As(err, new(usageError)) {
			err = usageError{err}
		}
	}()
	r = publish.Request{Entry: f.entry, Kind: f.kind, Notes: f.notes, Embedded: f.embedded, MinSeq: f.minSeq}
	r.Package, r.Platform, r.Channel, r.Version = f.pkg, f.platform, f.channel, f.version
	if r.App, err = t.defaultApp(f.app); err != nil {
		return r, err
	}
	if r.Version == "" {
		if r.Version, err = packageVersion(folder); err != nil {
			return r, err
		}
	}
	if f.easyclick != "" {
		if err := checkEasyclickProject(f.easyclick, r.Version); err != nil {
			return r, err
		}
	}
	if r.Runtime, err = f.runtimeOf(); err != nil {
		return r, err
	}
	if f.kind != "" && !slices.Contains(publish.Kinds(), f.kind) {
		return r, fmt.Errorf("kind %q is not one of %s", f.kind, strings.Join(publish.Kinds(), ", "))
	}
	for _, s := range f.requires {
		pkg, q, err := publish.ParseRequirement(s)
		if err != nil {
			return r, err
		}
		if r.Requires == nil {
			r.Requires = map[string]slipstream.Requirement{}
		}
		r.Requires[pkg] = q
	}
	if len(f.dataReads) > 0 || f.dataWrites != "" {
		r.Data = &slipstream.DataFormats{Reads: f.dataReads, Writes: f.dataWrites}
	}
	if r.Meta, err = parseMeta(f.meta); err != nil {
		return r, err
	}
	if f.embedded || f.noRollout {
		r.Channel = ""
		return r, nil
	}
	r.Rollout, err = f.rollout()
	return r, err
}

func (f *publishFlags) runtimeOf() (slipstream.Runtime, error) {
	if f.fingerprint != "" {
		if f.runtime != "*" {
			return slipstream.Runtime{}, errors.New("--runtime and --fingerprint exclude each other")
		}
		return slipstream.Runtime{Fingerprint: f.fingerprint}, nil
	}
	return slipstream.Runtime{Range: f.runtime}, decide.CheckRange(f.runtime)
}

// reach is the share that a rollout begins with, and the plan by which it goes on.
func (f *publishFlags) reach() string {
	if f.plan.plan == "" {
		return f.share
	}
	text := f.plan.plan
	if text == "default" {
		text = ""
	}
	stages, err := rollout.ParsePlan(text)
	if err != nil {
		return f.share
	}
	parts := make([]string, len(stages))
	for i, s := range stages {
		parts[i] = rollout.Percent(s.Share)
	}
	return strings.Join(parts, " → ")
}

func (f *publishFlags) rollout() (*publish.NewRollout, error) {
	r := &publish.NewRollout{Channel: f.channel, Salt: f.salt, Apply: f.apply, Private: f.private, Cap: f.capacity}
	var err error
	if err := checkCap(f.capacity); err != nil {
		return nil, err
	}
	if r.To, err = publish.ParseShare(f.share); err != nil {
		return nil, err
	}
	if r.Plan, err = f.plan.read(time.Now()); err != nil {
		return nil, err
	}
	if f.control != "" {
		control, err := publish.ParseShare(f.control)
		if err != nil {
			return nil, err
		}
		r.Control = &control
	}
	for _, s := range f.when {
		c, err := publish.ParseCondition(s)
		if err != nil {
			return nil, err
		}
		r.When = append(r.When, c)
	}
	if m := f.apply.Mode; m != "" && !slices.Contains(applyModes(), m) {
		return nil, fmt.Errorf("mode %q is not one of %s", m, strings.Join(applyModes(), ", "))
	}
	priorities := []string{slipstream.PriorityLow, slipstream.PriorityNormal, slipstream.PriorityCritical}
	if p := f.apply.Priority; p != "" && !slices.Contains(priorities, p) {
		return nil, fmt.Errorf("priority %q is not one of %s", p, strings.Join(priorities, ", "))
	}
	return r, slipstream.CheckName("channel", f.channel)
}

// parseMeta reads key=value pairs.
func parseMeta(pairs []string) (map[string]json.RawMessage, error) {
	if len(pairs) == 0 {
		return nil, nil
	}
	out := make(map[string]json.RawMessage, len(pairs))
	for _, pair := range pairs {
		k, v, ok := strings.Cut(pair, "=")
		if !ok || k == "" {
			return nil, fmt.Errorf("meta %q is not of the form key=value", pair)
		}
		raw := json.RawMessage(v)
		if !json.Valid(raw) {
			quoted, err := sign.Encode(v)
			if err != nil {
				return nil, fmt.Errorf("meta %q: %w", k, err)
			}
			raw = quoted
		}
		out[k] = raw
	}
	return out, nil
}

// packageVersion is the version that a package.json in folder or the one above says.
func packageVersion(folder string) (string, error) {
	hint := "say --version 1.0.0"
	path, data, err := readNear(folder, "package.json")
	if err != nil {
		return "", err
	}
	if data == nil {
		return "", slipstream.Hint(errors.New("which version?"), "%s, or keep it in package.json", hint)
	}
	var p struct {
		Version string `json:"version"`
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return "", slipstream.Hint(fmt.Errorf("parse %s: %w", path, err), "%s", hint)
	}
	if p.Version == "" {
		return "", slipstream.Hint(fmt.Errorf("%s says no version", path), "%s", hint)
	}
	return p.Version, nil
}

// releaseSigners loads the keys that files name; without any, SLIPSTREAM_RELEASE_KEY (a file, or the PEM itself, for
// CI), else the app's release key in the publisher's folder.
func (t *tool) releaseSigners(app string, files []string) ([]sign.Signer, error) {
	if len(files) == 0 {
		set := t.env.Get("release-key", "")
		if strings.Contains(set, "-----BEGIN") {
			priv, err := sign.ParseKey([]byte(set), []byte(t.env.Get("passphrase", "")))
			if err != nil {
				return nil, slipstream.Hint(fmt.Errorf("key in SLIPSTREAM_RELEASE_KEY: %w", err), "it holds a PEM text or the path of one; SLIPSTREAM_PASSPHRASE opens a protected key")
			}
			return []sign.Signer{sign.NewSigner(priv)}, nil
		}
		files = []string{first(set, t.env.Folder().ReleaseKeyFile(app))}
	}
	var signers []sign.Signer
	for _, file := range files {
		s, err := t.loadKey(file)
		if errors.Is(err, slipstream.ErrNotFound) && file == t.env.Folder().ReleaseKeyFile(app) {
			err = slipstream.Hint(fmt.Errorf("release key of app %s: %w", app, err), "make the app and its keys by `slipstream app create %s`, or name a key by --key or SLIPSTREAM_RELEASE_KEY", app)
		}
		if err != nil {
			return nil, err
		}
		signers = append(signers, s)
	}
	return signers, nil
}
