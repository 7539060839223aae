//go:build !device

package main

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/alert"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/client"
	"github.com/slipstream-ota/slipstream/console"
	"github.com/slipstream-ota/slipstream/deliver"
	"github.com/slipstream-ota/slipstream/internal/config"
	"github.com/slipstream-ota/slipstream/internal/httpx"
	"github.com/slipstream-ota/slipstream/internal/seal"
	outcome "github.com/slipstream-ota/slipstream/report"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/store"
)

const (
	drainTime   = 15 * time.Second // for requests that run when the server stops
	startTime   = 30 * time.Second // for the first snapshot
	resignEvery = time.Minute
	expireEvery = time.Hour
)

// runningServer is a server in this process.
type runningServer struct {
	url   string
	token string
	saved string // file with URL and token, "" when it could not be written
	// metrics is where /metrics is, when it has an address of its own.
	metrics string
	stop    context.CancelFunc
	done    chan struct{}
	err     error
}

// URL is how programs on this machine reach the server.
func (r *runningServer) URL() string { return r.url }

// Token is the fresh admin token.
func (r *runningServer) Token() string { return r.token }

// Wait returns when the server has stopped and everything is written.
func (r *runningServer) Wait() error {
	<-r.done
	return r.err
}

// Close stops the server gracefully and waits for it.
func (r *runningServer) Close() error {
	r.stop()
	return r.Wait()
}

// opened is what a server stands on.
type opened struct {
	store store.Store
	blobs blob.Store
	keys  *rollout.Keys
	salt  []byte // for the hashes of senders' networks
	links []byte // for links that are good for a while
	spool *api.Spool
	// sealer keeps what only this server may read.
	sealer *seal.Sealer
	lock   io.Closer // of the data folder, nil with a database that many servers may share
}

// lockFile is held in the data folder by the server of a SQLite database.
const lockFile = "serve.lock"

// holdData keeps a second server off a SQLite database: it would take the local token over, and know nothing of what the
// first one changes.
func (c *serveConfig) holdData() (io.Closer, error) {
	path := c.sqlitePath()
	if path == "" {
		return nil, nil
	}
	name := filepath.Join(filepath.Dir(path), lockFile)
	lock, err := client.Disk{}.TryLock(name)
	if errors.Is(err, client.ErrLocked) {
		return nil, slipstream.Hint(fmt.Errorf("another server runs on %s: %w", filepath.Dir(path), err),
			"stop it, or give this one another --data; several servers share one database with --database postgres://…")
	}
	if err != nil {
		return nil, slipstream.Hint(fmt.Errorf("hold the data folder: %w", err), "check that this user may write to %s", filepath.Dir(path))
	}
	return lock, nil
}

// close gives back what open took, the data folder last.
func (o *opened) close() error {
	err := o.store.Close()
	if o.lock != nil {
		err = errors.Join(err, o.lock.Close())
	}
	return err
}

func (c *serveConfig) open(ctx context.Context) (o opened, err error) {
	if err := os.MkdirAll(filepath.Join(c.data, tempFolder), 0o700); err != nil {
		return o, slipstream.Hint(fmt.Errorf("make data folder: %w", err), "check that this user may write to %s, or choose another by --data", c.data)
	}
	if o.lock, err = c.holdData(); err != nil {
		return o, err
	}
	if o.store, err = c.openStore(ctx, true); err != nil {
		if o.lock != nil {
			err = errors.Join(err, o.lock.Close())
		}
		return o, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, o.close())
		}
	}()
	if o.blobs, err = c.openBlobs(ctx); err != nil {
		return o, err
	}
	if err := o.blobs.Check(ctx); err != nil {
		return o, fmt.Errorf("check blob store: %w", err)
	}
	secret, err := seal.LoadSecret(c.secret)
	if err != nil {
		return o, err
	}
	if o.keys, err = rollout.OpenKeys(ctx, o.store, secret); err != nil {
		return o, err
	}
	if o.sealer, err = seal.New(secret); err != nil {
		return o, err
	}
	o.store = alert.Watch(o.store, rollout.SpreadOf)
	if o.salt, err = hkdf.Key(sha256.New, secret, nil, "slipstream networks", 32); err != nil {
		return o, fmt.Errorf("derive salt: %w", err)
	}
	if o.links, err = hkdf.Key(sha256.New, secret, nil, "slipstream links", 32); err != nil {
		return o, fmt.Errorf("derive key of links: %w", err)
	}
	o.spool, err = api.OpenSpool(filepath.Join(c.data, spoolFolder), nil)
	return o, err
}

// startServer wires a server from top to bottom and starts it. It runs until ctx ends or Close is called, then stops:
// no new connections, requests under way get drainTime, reports that were accepted are written.
func (t *tool) startServer(ctx context.Context, cfg serveConfig) (_ *runningServer, err error) {
	listener, err := listen(ctx, cfg.listen) // first, so that a second server on this port changes nothing
	if err != nil {
		return nil, err
	}
	o, err := cfg.open(ctx)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	changes := rollout.New(rollout.Config{Store: o.store, Blobs: o.blobs, Keys: o.keys, Fits: fitsProtocols})
	tokens := auth.New(auth.Config{Store: o.store})
	intake := outcome.NewIntake(o.store.Reports(), outcome.Config{Salt: o.salt})
	containers := cfg.builder(o)
	news, err := cfg.teller(ctx, o, metrics)
	if err != nil {
		return nil, errors.Join(err, listener.Close(), o.close())
	}
	devices := deliver.New(deliver.Config{Store: o.store, Blobs: o.blobs, Keys: o.keys, Reports: intake, Log: cfg.log, Metrics: metrics, TrustedProxies: cfg.trusted(), ReportRate: cfg.reports.rate, Wanted: containers.Await,
		Pages: cfg.pages, Live: news.hub, Spread: rollout.SpreadOf, Caps: capsOf})
	logins := auth.NewLimiter(nil) // one for all surfaces: who guesses at two of them is slowed down at both
	people, err := cfg.people(o, logins)
	if err != nil {
		return nil, errors.Join(err, listener.Close(), news.close(), o.close())
	}
	adapters := cfg.foreign(o, devices, changes, tokens, logins)
	admin := api.New(api.Config{Store: o.store, Blobs: o.blobs, Rollout: changes, Tokens: tokens, Sessions: people.sessions, Members: people.members, SSO: people.sso, Admission: cfg.signIn.admission, Limiter: logins, Jobs: containers, Spool: o.spool,
		Log: cfg.log, Version: version, Node: cfg.node(), Sender: cfg.sender(), Origin: cfg.origin(), Protocols: protocols(), Alerts: news.alerts, Settle: adapters.settle})
	watcher := cfg.watcher(o, changes, news.looked)
	pages, err := console.New()
	if err != nil {
		return nil, errors.Join(err, listener.Close(), news.close(), o.close())
	}
	hosts := cfg.hostRule()
	hosts.warn(ctx, &cfg)
	all := routes(devices.Handler(), admin.Handler(), pages.Handler(), adapters, news.metrics())
	server := httpx.NewServer(hosts.guard(all, adapters.saysAddresses), cfg.log)

	// A restored database gets new epochs before any device asks.
	resignOnce(ctx, changes, cfg.log)
	r := &runningServer{url: urlOf(listener), metrics: news.url(), done: make(chan struct{})}
	if err := t.announce(ctx, cfg, r, tokens); err != nil {
		return nil, errors.Join(err, listener.Close(), news.close(), o.close())
	}

	// Two lives: requests stop first; what they hand their work to stops when the last of them is over.
	answering, stop := context.WithCancel(ctx)
	working, finish := context.WithCancel(context.WithoutCancel(ctx))
	r.stop = stop
	group, failed := errgroup.WithContext(working)
	group.Go(func() error {
		defer finish()
		defer stop()
		return httpx.Serve(answering, server, listener, drainTime)
	})
	group.Go(func() error { return devices.Run(answering) })
	group.Go(func() error { return news.run(answering) })
	group.Go(func() error { return intake.Run(working) })
	group.Go(func() error { return containers.Run(answering) })
	group.Go(func() error { return adapters.run(answering) })
	group.Go(func() error { return watcher.Run(answering) })
	group.Go(func() error { return resign(answering, changes, cfg.log) })
	group.Go(func() error { return cfg.reports.expire(answering, o.store.Reports(), cfg.log) })
	group.Go(func() error { return cfg.reports.expirePlaces(answering, o.store, cfg.log) })
	context.AfterFunc(failed, stop) // one part that cannot go on stops all
	go func() {
		defer close(r.done)
		r.err = errors.Join(group.Wait(), o.close())
		stop()
		finish()
	}()
	if err := r.ready(ctx, devices); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// routes puts the surfaces on one server.
func routes(devices, admin, pages http.Handler, adapters *foreign, metrics http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if adapter := adapters.surface(r.URL.Path); adapter != nil {
			adapter.ServeHTTP(w, r)
			return
		}
		switch path := r.URL.Path; {
		case strings.HasPrefix(path, api.Base+"/"), path == api.SessionBase, strings.HasPrefix(path, api.SessionBase+"/"), strings.HasPrefix(path, "/v1/openapi"):
			admin.ServeHTTP(w, r)
		case strings.HasPrefix(path, console.Base), path+"/" == console.Base:
			pages.ServeHTTP(w, r)
		case console.Wants(r):
			http.Redirect(w, r, console.Base, http.StatusSeeOther)
		case path == "/metrics" && metrics != nil:
			metrics.ServeHTTP(w, r)
		default:
			devices.ServeHTTP(w, r)
		}
	})
}

// announce makes a fresh admin token and leaves it, with the URL, where the commands of this user find it. A service
// without such a folder does without.
func (t *tool) announce(ctx context.Context, cfg serveConfig, r *runningServer, tokens *auth.Tokens) error {
	id, err := localToken(cfg.data)
	if err != nil {
		return err
	}
	if r.token, err = tokens.Reissue(ctx, id, "local"); err != nil {
		return err
	}
	if cfg.folder == nil {
		return nil
	}
	if err := cfg.folder.SaveServer(config.Server{URL: r.url, Token: r.token}); err != nil {
		cfg.log.LogAttrs(ctx, slog.LevelWarn, "URL and token could not be left for the commands of this user", slog.Any("error", err))
		return nil
	}
	r.saved = cfg.folder.ServerFile()
	return nil
}

// ready waits until devices get answers.
func (r *runningServer) ready(ctx context.Context, devices *deliver.Server) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := devices.Ready()
		if err == nil {
			return nil
		}
		select {
		case <-r.done:
			return errors.New("the server stopped while it started")
		case <-ctx.Done():
			return fmt.Errorf("wait for the first snapshot: %w", errors.Join(err, ctx.Err()))
		case <-tick.C:
		}
	}
}

// resign keeps states from expiring. A failure is told and tried again: the states are good for half their life.
func resign(ctx context.Context, changes *rollout.Service, log *slog.Logger) error {
	return every(ctx, resignEvery, func() { resignOnce(ctx, changes, log) })
}

func resignOnce(ctx context.Context, changes *rollout.Service, log *slog.Logger) {
	n, err := changes.Resign(ctx)
	if err != nil && ctx.Err() == nil {
		log.LogAttrs(ctx, slog.LevelError, "states could not be signed again", slog.Any("error", err))
	}
	if n > 0 {
		log.LogAttrs(ctx, slog.LevelInfo, "states signed again", slog.Int("channels", n))
	}
}

func every(ctx context.Context, d time.Duration, fn func()) error {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			fn()
		}
	}
}
