//go:build !device

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/deliver"
	"github.com/slipstream-ota/slipstream/internal/config"
)

const defaultData = "./slipstream-data"

// serveFlags are the flags of serve, as given; "" means environment, settings file, default.
type serveFlags struct {
	listen, data, database, blobs, baseURL, hosts, secret, proxies, pages, log string
	guardEvery, patchRoot                                                      string
	signIn                                                                     signInFlags
	reports                                                                    reportFlags
	tell                                                                       tellFlags
}

func newServeCommand(t *tool) *cobra.Command {
	var f serveFlags
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: `Serve answers devices and the publisher's tools. Without flags it keeps everything in ./slipstream-data: metadata in a
SQLite file, bytes in a folder. It leaves its URL and a fresh admin token where the commands on this machine find them.

Every flag can be given as SLIPSTREAM_<NAME> or in settings.json of the configuration folder. The secret, made on the
first start, seals the keys that states are signed with: keep a copy, and give every node of one database the same.`,
		Example: `  slipstream serve
  slipstream serve --listen :80 --database postgres://slip@db/slip --blobs 's3://bucket?endpoint=https://s3.example.org'`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := t.serveConfig(f)
			if err != nil {
				return err
			}
			return t.serve(c.Context(), cfg)
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.listen, "listen", "", "address to listen on (default :8080)")
	flags.StringVar(&f.database, "database", "", "postgres://… (default: a SQLite file in the data folder)")
	flags.StringVar(&f.blobs, "blobs", "", "s3://bucket?endpoint=… or a folder (default: a folder in the data folder)")
	flags.StringVar(&f.baseURL, "base-url", "", "address under which devices reach this server, for what is printed")
	flags.StringVar(&f.hosts, "hosts", "", "names, by commas, that this server answers to; others get 421 (default: any, see the guide of operations)")
	flags.StringVar(&f.secret, "secret", "", "file of the server secret (default: secret in the data folder)")
	flags.StringVar(&f.proxies, "trusted-proxies", "", "networks, by commas, whose X-Forwarded-For is believed")
	flags.StringVar(&f.pages, "web-origins", "", "origins, by commas, whose web pages may check and report; \"none\" for no page (default \"*\": all)")
	flags.StringVar(&f.guardEvery, "guard-every", "", "time between two looks of the guard at the rollouts (default 10s)")
	flags.StringVar(&f.patchRoot, "ocrunner-root", "", "app/channel that the patch service's paths at the root of this server are for")
	f.reports.define(c)
	f.signIn.define(c)
	f.tell.define(c)
	flags.StringVar(&f.log, "log", "", "debug, info, warn or error (default info)")
	t.dataFlag(c, &f.data)
	return c
}

// dataFlag defines --data.
func (t *tool) dataFlag(c *cobra.Command, to *string) {
	c.Flags().StringVar(to, "data", "", "folder for everything that is kept here (default "+defaultData+")")
}

// serveConfig is everything that a server needs to know, checked.
type serveConfig struct {
	place
	listen  string
	baseURL string
	hosts   map[string]bool // names that it answers to; none: see hostRule
	secret  string          // file
	proxies []netip.Prefix
	pages   []string // as deliver.Config takes it
	reports reportSettings
	signIn  signInSettings
	tell    tellSettings
	// guardEvery is the time between two looks of the guard; 0 is its default.
	guardEvery time.Duration
	// patchApp and patchChannel are those of the patch service at the root, "" for none.
	patchApp, patchChannel string
	log                    *slog.Logger
	folder                 *config.Folder // where URL and token are left; nil leaves them nowhere
}

func (t *tool) serveConfig(f serveFlags) (serveConfig, error) {
	folder := t.env.Folder()
	c := serveConfig{
		place: place{data: first(f.data, t.env.Get("data", defaultData)), database: first(f.database, t.env.Get("database", "")),
			blobs: first(f.blobs, t.env.Get("blobs", "")), environ: t.environ},
		listen:  first(f.listen, t.env.Get("listen", ":8080")),
		baseURL: strings.TrimSuffix(first(f.baseURL, t.env.Get("base-url", "")), "/"),
		folder:  &folder,
	}
	if u, err := url.Parse(c.baseURL); c.baseURL != "" && (err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http")) {
		return c, usageError{slipstream.Hint(fmt.Errorf("base-url %q is no address", c.baseURL), "give the whole address, such as https://updates.example.com")}
	}
	c.secret = first(f.secret, t.env.Get("secret", filepath.Join(c.data, secretFile)))
	var level slog.Level
	if err := level.UnmarshalText([]byte(first(f.log, t.env.Get("log", "info")))); err != nil {
		return c, usageError{slipstream.Hint(fmt.Errorf("log level: %w", err), "use debug, info, warn or error")}
	}
	c.log = slog.New(slog.NewTextHandler(t.stderr, &slog.HandlerOptions{Level: level}))
	var err error
	for s := range strings.SplitSeq(first(f.proxies, t.env.Get("trusted-proxies", "")), ",") {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		p, err := parseNetwork(s)
		if err != nil {
			return c, usageError{slipstream.Hint(fmt.Errorf("trusted proxies: %w", err), "use networks such as 10.0.0.0/8,::1")}
		}
		c.proxies = append(c.proxies, p)
	}
	if c.hosts, err = parseHosts(first(f.hosts, t.env.Get("hosts", ""))); err != nil {
		return c, usageError{err}
	}
	if c.pages, err = parseOrigins(first(f.pages, t.env.Get("web-origins", deliver.AnyPage))); err != nil {
		return c, usageError{err}
	}
	if err := c.guardAndPatches(first(f.guardEvery, t.env.Get("guard-every", "")), first(f.patchRoot, t.env.Get("ocrunner-root", ""))); err != nil {
		return c, usageError{err}
	}
	if c.tell, err = f.tell.settings(t); err != nil {
		return c, err
	}
	if c.signIn, err = f.signIn.settings(t, c.baseURL); err != nil {
		return c, err
	}
	c.reports, err = f.reports.settings(t)
	return c, err
}

// origin is what browsers call the server by; "" when nobody said.
func (c *serveConfig) origin() string {
	u, err := url.Parse(c.baseURL)
	if err != nil || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

func (c *serveConfig) guardAndPatches(every, root string) (err error) {
	if every != "" {
		if c.guardEvery, err = time.ParseDuration(every); err != nil || c.guardEvery < 100*time.Millisecond {
			return slipstream.Invalidf("guard-every %q: must be a time of at least 100ms, like 10s", every)
		}
	}
	if root == "" {
		return nil
	}
	app, channel, _ := strings.Cut(root, "/")
	c.patchApp, c.patchChannel = app, first(channel, slipstream.DefaultChannel)
	return errors.Join(slipstream.CheckName("app", c.patchApp), slipstream.CheckName("channel", c.patchChannel))
}

// parseOrigins gives the origins of web pages that may act as devices: an empty list for none.
func parseOrigins(list string) ([]string, error) {
	origins := []string{}
	if list == "none" {
		return origins, nil
	}
	for s := range strings.SplitSeq(list, ",") {
		s = strings.TrimSpace(s)
		if err := deliver.CheckOrigin(s); err != nil {
			return nil, fmt.Errorf("web origins: %w", err)
		}
		origins = append(origins, s)
	}
	return origins, nil
}

func parseNetwork(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		return addr.Prefix(addr.BitLen())
	}
	return netip.ParsePrefix(s)
}

// trusted reports whether a peer may name the real sender; nil when nobody may.
func (c *serveConfig) trusted() func(ip string) bool {
	if len(c.proxies) == 0 {
		return nil
	}
	return func(ip string) bool {
		addr, err := netip.ParseAddr(ip)
		if err != nil {
			return false
		}
		for _, p := range c.proxies {
			if p.Contains(addr.Unmap()) {
				return true
			}
		}
		return false
	}
}

// sender is the address that failed logins count for: the last one in the chain of proxies that is not trusted.
func (c *serveConfig) sender() func(*http.Request) string {
	trusted := c.trusted()
	return func(r *http.Request) string {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil || trusted == nil {
			return r.RemoteAddr
		}
		hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
		for trusted(host) && len(hops) > 0 {
			last := strings.TrimSpace(hops[len(hops)-1])
			hops = hops[:len(hops)-1]
			if last == "" {
				break
			}
			host = last
		}
		return host
	}
}

// serving is what serve prints with --json.
type serving struct {
	URL     string `json:"url"`
	BaseURL string `json:"baseURL,omitempty"`
	Metrics string `json:"metrics,omitempty"`
	Data    string `json:"data"`
	Server  string `json:"server,omitempty"` // file with URL and token
}

func (t *tool) serve(ctx context.Context, cfg serveConfig) (err error) {
	s, err := t.startServer(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	out := serving{URL: s.URL(), BaseURL: cfg.baseURL, Metrics: s.metrics, Data: cfg.data, Server: s.saved}
	next := firstSteps(ctx, s, cfg)
	err = t.print(out, func(w io.Writer) {
		fmt.Fprintf(w, "Slipstream %s serves %s\n", version, s.URL())
		if cfg.baseURL != "" {
			fmt.Fprintf(w, "  devices reach it at %s\n", cfg.baseURL)
		}
		fmt.Fprintf(w, "  the console is at %s\n", consoleURL(s.URL()))
		for _, line := range cfg.kept() {
			fmt.Fprintln(w, " ", line)
		}
		if s.metrics != "" {
			fmt.Fprintf(w, "  metrics are at %s/metrics\n", s.metrics)
		}
		fmt.Fprint(w, next)
	})
	if err != nil {
		return err
	}
	return s.Wait()
}

// where says where metadata and bytes are, without what may be a password.
func (c *serveConfig) where() (database, blobs string) {
	database, blobs = plainAddress(c.database), plainAddress(c.blobs)
	if path := c.sqlitePath(); path != "" {
		database = path
	}
	if c.blobs == "" {
		blobs = filepath.Join(c.data, blobsFolder)
	}
	return database, blobs
}

// node is what the server says of itself.
func (c *serveConfig) node() api.Node {
	n := api.Node{Started: time.Now()}
	n.Database, n.Blobs = c.where()
	// A machine without a name is still told apart by where it keeps things.
	n.Name, _ = os.Hostname()
	return n
}

// kept says where the server keeps things, without what may be a password.
func (c *serveConfig) kept() []string {
	if c.database == "" && c.blobs == "" && c.secret == filepath.Join(c.data, secretFile) {
		return []string{"everything is kept in " + c.data}
	}
	database, blobs := c.where()
	return []string{"database  " + database, "bytes     " + blobs, "secret    " + c.secret + " (keep a copy; every node needs the same)"}
}

// firstSteps is what to do with a server that has no app yet, else "". It is advice: one that cannot be had, because the
// server was just asked to stop or its database is away, is no reason to end otherwise than in order.
func firstSteps(ctx context.Context, s *runningServer, cfg serveConfig) string {
	admin, err := api.NewClient(s.URL(), s.Token(), nil)
	if err != nil {
		return ""
	}
	if apps, err := admin.Apps(ctx); err != nil || len(apps) > 0 {
		return ""
	}
	return fmt.Sprintf("\nNext, in another terminal:\n  slipstream app create shop\n  slipstream publish ./dist --app shop --version 1.0.0\n"+
		"  slipstream run --server %s --app shop --dir ./device -- node {dir}/server.js\n", first(cfg.baseURL, s.URL()))
}

// listen takes the address, or says who else may have it.
func listen(ctx context.Context, address string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, slipstream.Hint(fmt.Errorf("listen on %s: %w", address, err), "another program, perhaps another `slipstream serve`, has the port; choose one by --listen :8081")
	}
	if errors.Is(err, syscall.EACCES) {
		return nil, slipstream.Hint(fmt.Errorf("listen on %s: %w", address, err), "ports below 1024 need a right of their own; choose a higher one by --listen :8080")
	}
	if err != nil {
		return nil, slipstream.Hint(fmt.Errorf("listen on %s: %w", address, err), "give an address such as :8080 or 127.0.0.1:8080")
	}
	return l, nil
}

// urlOf is how programs on this machine reach a listener.
func urlOf(l net.Listener) string {
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return "http://" + l.Addr().String()
	}
	host := addr.IP.String()
	if addr.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	return fmt.Sprintf("http://%s", net.JoinHostPort(host, fmt.Sprint(addr.Port)))
}

// localToken names the token of this machine's user for this data folder, so that several nodes of one database do not
// take each other's away.
func localToken(data string) (string, error) {
	abs, err := filepath.Abs(data)
	if err != nil {
		return "", fmt.Errorf("find data folder: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("name this machine: %w", err)
	}
	sum := sha256.Sum256([]byte(host + "\x00" + abs))
	return "local-" + hex.EncodeToString(sum[:6]), nil
}
