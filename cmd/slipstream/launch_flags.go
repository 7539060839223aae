package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client"
	"github.com/slipstream-ota/slipstream/sign"
)

// deviceFlags are what run, check, fetch and confirm share: which device, which app, whom to trust.
type deviceFlags struct {
	servers                 []string
	app, channel, dir, root string
	packages                []string
	runtime, platform       string
	embedded                []string
	attributes              []string
	poll, retryAfter        time.Duration
	maxCrashes, retries     int
	decisions, verbose      bool
}

func (d *deviceFlags) define(c *cobra.Command, t *tool) {
	f := c.Flags()
	f.StringSliceVar(&d.servers, "server", nil, "server addresses, tried in turn (default: SLIPSTREAM_URL, or what login and serve wrote)")
	f.StringVar(&d.app, "app", "", "app")
	f.StringVar(&d.channel, "channel", "", "channel (default: the one of the last run, at first production)")
	f.StringSliceVar(&d.packages, "package", []string{slipstream.DefaultPackage}, "package; more than one are kept up to date together, the first is run")
	dir := t.env.Get("dir", "")
	if lookup(t.environ, "SLIPSTREAM_CONTROL") != "" {
		dir = "" // below `slipstream run` this is the release's directory, not the device's
	}
	f.StringVar(&d.dir, "dir", dir, "directory of this device (default: ./slipstream-APP)")
	f.StringVar(&d.root, "root", t.env.Get("root", ""), "root.json that trust starts from (default: the publisher's own, on the same machine)")
	f.StringSliceVar(&d.embedded, "embedded", nil, "release that ships with the program: PACKAGE=DIR or DIR; DIR.manifest.json beside it is its signed manifest")
	f.StringVar(&d.runtime, "runtime", "", "version or fingerprint of the native shell")
	f.StringVar(&d.platform, "platform", slipstream.PlatformAny, "platform")
	f.StringArrayVar(&d.attributes, "attr", nil, "attribute for conditions: NAME=VALUE, repeatable")
	f.DurationVar(&d.poll, "poll", 0, "time between checks (default: what the server says)")
	f.IntVar(&d.maxCrashes, "max-crashes", 2, "crashes that end a trial")
	f.IntVar(&d.retries, "retries", 1, "further trials of a release that failed; 0 = none")
	f.DurationVar(&d.retryAfter, "retry-after", 6*time.Hour, "time until that further trial")
	f.BoolVar(&d.decisions, "decisions", false, "ask the server for a decision too, as private rollouts need")
	f.BoolVar(&d.verbose, "verbose", false, "log more to standard error")
}

// config makes the client's configuration from flags, environment and the publisher's folder.
func (d *deviceFlags) config(t *tool) (client.Config, error) {
	cfg := client.Config{App: d.app, Channel: d.channel, Platform: d.platform, Runtime: d.runtime, Packages: d.packages, Dir: d.dir, Poll: d.poll,
		MaxCrashes: d.maxCrashes, Retries: d.retries, RetryAfter: d.retryAfter, Decisions: d.decisions, OS: runtime.GOOS, Spread: time.Nanosecond}
	if cfg.Retries == 0 {
		cfg.Retries = -1
	}
	if d.app == "" {
		return cfg, usageError{slipstream.Hint(errors.New("no app is named"), "give --app NAME")}
	}
	if err := slipstream.CheckName("app", d.app); err != nil {
		return cfg, usageError{err}
	}
	if cfg.Dir == "" {
		cfg.Dir = "slipstream-" + d.app
	}
	var err error
	if cfg.Dir, err = filepath.Abs(cfg.Dir); err != nil { // programs may run in a folder of their own
		return cfg, fmt.Errorf("find %s: %w", d.dir, err)
	}
	if cfg.Servers, err = d.serverList(t); err != nil {
		return cfg, err
	}
	if cfg.Root, err = d.rootEnvelope(t); err != nil {
		return cfg, err
	}
	if cfg.Embedded, err = d.embeddedReleases(); err != nil {
		return cfg, err
	}
	if cfg.Attributes, err = attributes(d.attributes); err != nil {
		return cfg, err
	}
	level := slog.LevelError
	if d.verbose {
		level = slog.LevelDebug
	}
	cfg.Log = slog.New(slog.NewTextHandler(t.stderr, &slog.HandlerOptions{Level: level}))
	return cfg, nil
}

func (d *deviceFlags) serverList(t *tool) ([]string, error) {
	servers := d.servers
	if len(servers) == 0 {
		if url := t.env.Get("url", ""); url != "" {
			servers = strings.Split(url, ",")
		}
	}
	if len(servers) == 0 {
		saved, err := t.env.Folder().LoadServer()
		if err != nil {
			return nil, err
		}
		if saved.URL == "" {
			return nil, slipstream.Hint(errors.New("no server is known"), "give --server URL, or start `slipstream serve` on this machine")
		}
		servers = []string{saved.URL}
	}
	for i, s := range servers {
		servers[i] = strings.TrimSpace(s)
		if !strings.HasPrefix(servers[i], "http://") && !strings.HasPrefix(servers[i], "https://") {
			return nil, usageError{fmt.Errorf("server %q is no http or https address", s)}
		}
	}
	return servers, nil
}

// rootEnvelope reads the root that trust starts from. It is never taken from the network: whoever answers first would be
// trusted.
func (d *deviceFlags) rootEnvelope(t *tool) ([]byte, error) {
	path := d.root
	if path == "" {
		path = t.env.Folder().RootFile(d.app)
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && d.root == "" {
		return nil, slipstream.Hint(fmt.Errorf("no root to trust for app %s", d.app),
			"give --root root.json as the publisher of %s handed it out (`slipstream app create` wrote it); it is never taken from the server", d.app)
	}
	if err != nil {
		return nil, fmt.Errorf("read root: %w", err)
	}
	if _, err := sign.OpenRoot(raw); err != nil {
		return nil, fmt.Errorf("root %s: %w", path, err)
	}
	return raw, nil
}

func (d *deviceFlags) embeddedReleases() (map[string]client.Embedded, error) {
	out := map[string]client.Embedded{}
	for _, e := range d.embedded {
		pkg, dir, named := strings.Cut(e, "=")
		if !named {
			pkg, dir = d.packages[0], e
		}
		dir, err := filepath.Abs(dir)
		if err != nil {
			return nil, fmt.Errorf("find embedded release: %w", err)
		}
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return nil, usageError{fmt.Errorf("embedded release %s is no directory", dir)}
		}
		manifest, err := os.ReadFile(dir + ".manifest.json")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read embedded manifest: %w", err)
		}
		out[pkg] = client.Embedded{Dir: dir, Files: os.DirFS(dir), Manifest: manifest}
	}
	return out, nil
}

// attributes reads NAME=VALUE pairs: whole numbers and true or false keep their type, all else is text.
func attributes(pairs []string) (map[string]json.RawMessage, error) {
	out := map[string]json.RawMessage{}
	for _, p := range pairs {
		name, value, ok := strings.Cut(p, "=")
		if !ok || name == "" {
			return nil, usageError{fmt.Errorf("attribute %q is not NAME=VALUE", p)}
		}
		var v any = value
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			v = n
		} else if value == "true" || value == "false" {
			v = value == "true"
		}
		raw, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("attribute %s: %w", name, err)
		}
		out[name] = raw
	}
	return out, nil
}

// lines writes what happens to a device, one line per event: text for people, JSON with --json.
type lines struct {
	w    io.Writer
	json bool
	now  func() time.Time
}

// say writes one line. fields are for --json only.
func (l lines) say(kind, text string, fields map[string]any) {
	if !l.json {
		fmt.Fprintf(l.w, "%s %s\n", l.now().Format("15:04:05"), text)
		return
	}
	line := map[string]any{"at": l.now().UTC().Format(time.RFC3339), "event": kind, "text": text}
	for k, v := range fields {
		line[k] = v
	}
	raw, err := json.Marshal(line)
	if err != nil {
		raw = []byte(`{"event":"error"}`)
	}
	fmt.Fprintln(l.w, string(raw))
}
