package deliver

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/internal/httpx"
	"github.com/slipstream-ota/slipstream/report"
	"github.com/slipstream-ota/slipstream/store"
)

// reports stores what devices tell and answers line by line, after the commit.
func (s *Server) reports(w http.ResponseWriter, r *http.Request) error {
	snap, err := s.current()
	if err != nil {
		httpx.LeaveBody(w, r)
		return err
	}
	free := s.limitReading(w)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, report.MaxBody))
	if err != nil {
		return readError(err) // the deadline stays: what is left of the body is not waited for
	}
	free()
	batch, err := report.ParseEvents(body)
	if err != nil {
		return err
	}
	batch.Refuse(func(e *slipstream.Event) error {
		if snap.apps[e.App] == nil {
			return fmt.Errorf("app %q is not known here", e.App)
		}
		return nil
	})
	stored, err := s.take(r, snap, batch.Events)
	if err != nil {
		return err
	}
	answer, err := json.Marshal(map[string][]slipstream.EventResult{"results": batch.Results(stored)})
	if err != nil {
		return fmt.Errorf("encode results: %w", err)
	}
	h := w.Header()
	h["Content-Type"] = s.headers.json
	h["Cache-Control"] = s.headers.noStore
	h["X-Content-Type-Options"] = s.headers.noSniff
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(answer) // stored already: a client that has gone away will repeat, by id
	return nil
}

// take stores proper events of apps that exist, unless they are too many for the network that they come from.
func (s *Server) take(r *http.Request, snap *snapshot, list []slipstream.Event) (_ []slipstream.EventResult, err error) {
	sender := s.sender(r)
	received, network := s.cfg.Clock(), s.cfg.Reports.Network(sender)
	if err := s.within(sender, network, len(list)); err != nil {
		return nil, err
	}
	events := make([]store.StoredEvent, len(list))
	known := s.releases.within(s)
	for i, e := range list {
		counts := countable(snap, &e)
		if counts && e.Release != "" {
			if counts, err = known.is(r.Context(), &e); err != nil {
				return nil, err
			}
		}
		if counts && e.Kind == slipstream.KindEnrolled {
			if counts, err = known.enrolls(r.Context(), snap, &e); err != nil {
				return nil, err
			}
		}
		events[i] = store.StoredEvent{Event: e, Received: received, Network: network, Uncounted: !counts}
	}
	return s.cfg.Reports.Accept(r.Context(), events)
}

// sender is the address that a request came from. A trusted proxy's word is taken for the hop before it.
func (s *Server) sender(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	if s.cfg.TrustedProxies == nil {
		return parseAddr(host)
	}
	hops := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	for s.cfg.TrustedProxies(host) && len(hops) > 0 {
		hop := strings.TrimSpace(hops[len(hops)-1])
		hops = hops[:len(hops)-1]
		if !parseAddr(hop).IsValid() {
			break
		}
		host = hop
	}
	return parseAddr(host)
}

func parseAddr(s string) netip.Addr {
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}
	}
	return addr
}

const (
	codeTooMany       = "too_many_requests"
	defaultReportRate = 500 // events per second
	quotaBurst        = 60  // seconds' worth that may come at once
	maxQuotas         = 20000
)

// quota bounds how many events one network may report, so that a crowd behind it cannot take the place of all others.
// What it remembers is bounded too.
type quota struct {
	rate  float64 // events per second; not above 0 = no bound
	burst float64

	mu   sync.Mutex
	used map[string]usage // by hashed network
}

// usage is how much of the burst was used up at a time; it is given back at the rate.
type usage struct {
	events float64
	at     time.Time
}

func newQuota(rate int) *quota {
	if rate == 0 {
		rate = defaultReportRate
	}
	return &quota{rate: float64(rate), burst: max(float64(rate)*quotaBurst, 2000), used: map[string]usage{}}
}

// take spends n events of network, or says how long to wait before it can.
func (q *quota) take(network string, n int, now time.Time) (wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	left := q.left(q.used[network], now)
	if over := left + float64(n) - q.burst; over > 0 {
		return max(time.Duration(over/q.rate*float64(time.Second)), time.Second)
	}
	if _, known := q.used[network]; !known && len(q.used) >= maxQuotas {
		q.sweep(now)
	}
	q.used[network] = usage{left + float64(n), now}
	return 0
}

// left is what of a usage is not given back yet.
func (q *quota) left(u usage, now time.Time) float64 {
	return max(u.events-q.rate*max(now.Sub(u.at).Seconds(), 0), 0)
}

// sweep forgets the networks that got everything back, and any others until there is room for long.
func (q *quota) sweep(now time.Time) {
	for network, u := range q.used {
		if q.left(u, now) == 0 {
			delete(q.used, network)
		}
	}
	for network := range q.used {
		if len(q.used) <= maxQuotas/2 {
			return
		}
		delete(q.used, network)
	}
}

// within refuses n events that are too many for the sender's network. Addresses of this machine and of private networks
// are never bound: behind them stands a proxy that nobody declared, or the operator.
func (s *Server) within(sender netip.Addr, network string, n int) error {
	return s.bounded(s.quota, "reports", sender, network, n)
}

func (s *Server) bounded(q *quota, what string, sender netip.Addr, network string, n int) error {
	sender = sender.Unmap()
	if q.rate <= 0 || !sender.IsValid() || sender.IsLoopback() || sender.IsPrivate() || sender.IsLinkLocalUnicast() {
		return nil
	}
	wait := q.take(network, n, s.cfg.Clock())
	if wait == 0 {
		return nil
	}
	p := httpx.NewProblem(http.StatusTooManyRequests, codeTooMany, "too many %s from this network", what)
	p.RetryAfter = int((wait + time.Second - 1) / time.Second)
	return p
}
