package deliver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/deliver/live"
	"github.com/slipstream-ota/slipstream/report"
	"github.com/slipstream-ota/slipstream/sign"
	"github.com/slipstream-ota/slipstream/store"
)

// KeyOpener unseals the private state keys of apps, to sign decisions with.
type KeyOpener interface {
	// OpenKey gives the signer of a sealed state key. It is called while a snapshot is built, never for a request.
	OpenKey(ctx context.Context, k store.StateKey) (sign.Signer, error)
}

// Config is what a Server is made of. Zero limits mean the defaults.
type Config struct {
	Store   store.Store
	Blobs   blob.Store
	Keys    KeyOpener
	Reports *report.Intake
	Clock   func() time.Time
	Log     *slog.Logger
	// Metrics takes the server's collectors; nil keeps none.
	Metrics prometheus.Registerer
	// TrustedProxies says whether a peer, by its IP address, may name the real sender in X-Forwarded-For; nil trusts
	// nobody.
	TrustedProxies func(ip string) bool
	// Wanted is told that a device that runs from found no container from there to release. It may wait a moment until one
	// is made, and reports whether it is worth looking again. nil tells nobody.
	Wanted func(ctx context.Context, release, from slipstream.Digest) bool
	// Live is told when a channel changed, and answers those who listen; the caller runs it. nil answers nobody.
	Live *live.Hub
	// Spread is over how many seconds the devices of a channel spread what they do when they are told; nil or 0 means
	// live.DefaultSpread.
	Spread func(store.Channel) int
	// Pages are the origins of web pages that may check, report and listen as devices do, AnyPage among them for all; nil
	// means all. See CheckOrigin.
	Pages []string
	// Caps tells how many places each rollout with a cap has in a channel; 0 gives none to new devices. nil means that
	// there are no such rollouts.
	Caps func(store.Channel) map[string]int64

	CacheBytes       int64         // of manifests and container lists in memory, default 64 MiB
	DecisionLifetime time.Duration // default 5 minutes, at most 10
	BodyTimeout      time.Duration // to read a request's body, default 10 s
	StoreTimeout     time.Duration // of a look into the store or the blobs, default 10 s
	MinimumRate      int64         // bytes per second below which a download is given up, default 4 KiB
	ReportRate       int           // events per second that one network may report, default 500; negative: no bound
	GrantRate        int           // requests for places per second of one network, default 50; negative, or without a ReportRate: no bound
	RetryEvery       time.Duration // between attempts to reach a store that is away, default 1 s
}

// Limits of requests.
const (
	maxCheckBody      = 64 << 10
	maxDecisionLife   = 10 * time.Minute
	downloadGrace     = 30 * time.Second // beside what the minimum rate allows
	expiryCheckPeriod = 30 * time.Second
)

func (c Config) withDefaults() Config {
	if c.CacheBytes <= 0 {
		c.CacheBytes = 64 << 20
	}
	if c.DecisionLifetime <= 0 || c.DecisionLifetime > maxDecisionLife {
		c.DecisionLifetime = maxDecisionLife / 2
	}
	if c.BodyTimeout <= 0 {
		c.BodyTimeout = 10 * time.Second
	}
	if c.StoreTimeout <= 0 {
		c.StoreTimeout = 10 * time.Second
	}
	if c.MinimumRate <= 0 {
		c.MinimumRate = 4 << 10
	}
	if c.GrantRate == 0 && c.ReportRate >= 0 {
		c.GrantRate = defaultGrantRate
	} else if c.GrantRate == 0 {
		c.GrantRate = -1
	}
	if c.RetryEvery <= 0 {
		c.RetryEvery = time.Second
	}
	if c.Pages == nil {
		c.Pages = []string{AnyPage}
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Server answers devices.
type Server struct {
	cfg          Config
	snapshot     atomic.Pointer[snapshot]
	refreshing   chan struct{} // one refresh at a time, so that no older snapshot follows a newer one
	stopping     atomic.Bool
	cache        *cache
	dictionaries *dictionaries
	metrics      *metrics
	headers      headers
	releases     knownReleases
	quota        *quota
	grantQuota   *quota
	grantQueue   *grantQueue
	checks       sync.Pool       // of *checkBuffers
	expired      map[string]bool // states that were logged as expired; only Run touches it
}

// New makes a Server. It answers 503 until Run has built the first snapshot.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg.withDefaults(), headers: newHeaders(), expired: map[string]bool{}, refreshing: make(chan struct{}, 1)}
	s.quota = newQuota(s.cfg.ReportRate)
	s.grantQuota = newQuota(s.cfg.GrantRate)
	s.grantQueue = &grantQueue{timeout: s.cfg.StoreTimeout, take: func(ctx context.Context, batch []store.GrantRequest) ([]bool, error) {
		return s.cfg.Store.Grants().Take(ctx, batch)
	}}
	s.cache = newCache(s.cfg.CacheBytes, s.cfg.StoreTimeout)
	s.dictionaries = newDictionaries(s.cfg.Blobs, s.cfg.Clock, s.cfg.StoreTimeout)
	var err error
	if s.metrics, err = newMetrics(s.cfg.Metrics); err != nil {
		s.cfg.Log.Warn("some metrics of deliveries will be missing", "error", err)
	}
	s.checks.New = func() any { return &checkBuffers{} }
	return s
}

// Run keeps the snapshot fresh until ctx ends. A store that is away is waited for; meanwhile the last snapshot
// answers.
func (s *Server) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.stopping.Store(true) })
	defer stop()
	changed := make(chan struct{}, 1)
	tell := func() {
		select {
		case changed <- struct{}{}:
		default: // a refresh is due already
		}
	}
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() { s.watch(ctx, tell) })

	tick := time.NewTicker(expiryCheckPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			s.stopping.Store(true)
			return nil
		case <-tick.C:
			s.logExpired()
		case <-changed:
			if err := s.refresh(ctx); err != nil && ctx.Err() == nil {
				s.metrics.refreshFailed()
				s.cfg.Log.Error("the snapshot could not be refreshed; devices get the last one", "error", err)
				if wait(ctx, s.cfg.RetryEvery) {
					tell()
				}
				continue
			}
			s.logExpired()
		}
	}
}

// Settle takes what the store holds by now, so that whoever changed something sees it in this node's next answers. Other
// nodes follow by themselves.
func (s *Server) Settle(ctx context.Context) error {
	if s.snapshot.Load() == nil {
		return nil // Run begins with what the store holds
	}
	return s.refresh(ctx)
}

// watch follows the store and comes back to it whenever it was away.
func (s *Server) watch(ctx context.Context, tell func()) {
	for {
		err := s.cfg.Store.Watch(ctx, tell)
		if ctx.Err() != nil {
			return
		}
		s.cfg.Log.Error("the store's changes cannot be followed; trying again", "error", err)
		if !wait(ctx, s.cfg.RetryEvery) {
			return
		}
		tell()
	}
}

// wait sleeps and reports whether ctx is still alive.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// Ready says why the server should get no requests: no snapshot yet, or it is stopping. A store that is away is no
// such reason: devices are answered from memory.
func (s *Server) Ready() error {
	if s.stopping.Load() {
		return errors.New("the server is stopping")
	}
	if s.snapshot.Load() == nil {
		return errors.New("the first snapshot is not built yet")
	}
	return nil
}

// Stopping makes Ready fail from now on, before connections are drained.
func (s *Server) Stopping() { s.stopping.Store(true) }

// current is the snapshot, or an error that becomes 503.
func (s *Server) current() (*snapshot, error) {
	if snap := s.snapshot.Load(); snap != nil {
		return snap, nil
	}
	return nil, fmt.Errorf("the first snapshot is not built yet: %w", slipstream.ErrUnavailable)
}

// healthz says that the process lives.
func (s *Server) healthz(w http.ResponseWriter, r *http.Request) error {
	return s.writeText(w, r, "ok\n")
}

// readyz says whether requests should come here.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) error {
	if err := s.Ready(); err != nil {
		return slipstream.Hint(fmt.Errorf("%w: %w", err, slipstream.ErrUnavailable), "%v", err)
	}
	return s.writeText(w, r, "ready\n")
}

func (s *Server) writeText(w http.ResponseWriter, r *http.Request, text string) error {
	h := w.Header()
	h["Content-Type"] = s.headers.text
	h["Cache-Control"] = s.headers.noStore
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write([]byte(text)) // a client that has gone away is no error of ours
	}
	return nil
}
