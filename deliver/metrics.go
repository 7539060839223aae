package deliver

import (
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// routeID numbers the routes, so that counting needs no look-up.
type routeID int

const (
	routeState routeID = iota
	routeRoot
	routeManifest
	routeContainers
	routeBytes
	routeCheck
	routeReports
	routeGrants
	routeFiles
	routeLive
	routeHealth
	routeUnknown
	routes
)

func (r routeID) String() string {
	return [...]string{"state", "root", "manifest", "containers", "bytes", "check", "reports", "grants", "files", "live", "health", "unknown"}[r]
}

// maxCode bounds the status codes that are counted without a look-up.
const maxCode = 600

// metrics counts requests. A nil *metrics counts nothing.
type metrics struct {
	requests  *prometheus.CounterVec
	common    [routes][maxCode]prometheus.Counter
	durations [routes]prometheus.Observer
	places    *prometheus.CounterVec
	apps      prometheus.Gauge
	states    prometheus.Gauge
	built     prometheus.Gauge
	expires   prometheus.Gauge
	failed    prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	if registry == nil {
		return nil, nil
	}
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "slipstream_deliver_requests_total", Help: "Requests of devices by route and status code.",
		}, []string{"route", "code"}),
		places: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "slipstream_grants_total", Help: "Answers to devices that asked for a place in a rollout with a cap.",
		}, []string{"result"}),
		apps:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "slipstream_snapshot_apps", Help: "Apps in the snapshot."}),
		states: prometheus.NewGauge(prometheus.GaugeOpts{Name: "slipstream_snapshot_states", Help: "Signed states in the snapshot."}),
		built:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "slipstream_snapshot_timestamp_seconds", Help: "When the snapshot was last refreshed."}),
		expires: prometheus.NewGauge(prometheus.GaugeOpts{Name: "slipstream_state_expires_timestamp_seconds",
			Help: "When the first of the states expires, if it is not signed again; 0 without any."}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{Name: "slipstream_snapshot_failures_total", Help: "Refreshes of the snapshot that failed: the store was away."}),
	}
	durations := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "slipstream_deliver_duration_seconds", Help: "Time to answer devices by route.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .05, .25, 1, 5, 30},
	}, []string{"route"})
	for r := range routes {
		m.durations[r] = durations.WithLabelValues(r.String())
		for _, code := range []int{200, 206, 304, 400, 404, 405, 413, 416, 500, 503} {
			m.common[r][code] = m.requests.WithLabelValues(r.String(), strconv.Itoa(code))
		}
	}
	var failed error
	for _, c := range []prometheus.Collector{m.requests, durations, m.places, m.apps, m.states, m.built, m.expires, m.failed} {
		failed = errors.Join(failed, registry.Register(c))
	}
	return m, failed
}

func (m *metrics) observe(r routeID, code int, took time.Duration) {
	if m == nil {
		return
	}
	m.durations[r].Observe(took.Seconds())
	if code < maxCode && m.common[r][code] != nil {
		m.common[r][code].Inc()
		return
	}
	m.requests.WithLabelValues(r.String(), strconv.Itoa(code)).Inc()
}

func (m *metrics) granted(given bool) {
	switch {
	case m == nil:
	case given:
		m.places.WithLabelValues("granted").Inc()
	default:
		m.places.WithLabelValues("full").Inc()
	}
}

func (m *metrics) refreshFailed() {
	if m != nil {
		m.failed.Inc()
	}
}

func (m *metrics) snapshot(s *snapshot) {
	if m == nil {
		return
	}
	var first time.Time
	for _, e := range s.states {
		if first.IsZero() || e.expires.Before(first) {
			first = e.expires
		}
	}
	m.expires.Set(0)
	if !first.IsZero() {
		m.expires.Set(float64(first.Unix()))
	}
	m.apps.Set(float64(len(s.apps)))
	m.states.Set(float64(len(s.states)))
	m.built.SetToCurrentTime()
}
