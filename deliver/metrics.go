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
	apps      prometheus.Gauge
	states    prometheus.Gauge
	built     prometheus.Gauge
}

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	if registry == nil {
		return nil, nil
	}
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "slipstream_deliver_requests_total", Help: "Requests of devices by route and status code.",
		}, []string{"route", "code"}),
		apps:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "slipstream_snapshot_apps", Help: "Apps in the snapshot."}),
		states: prometheus.NewGauge(prometheus.GaugeOpts{Name: "slipstream_snapshot_states", Help: "Signed states in the snapshot."}),
		built:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "slipstream_snapshot_timestamp_seconds", Help: "When the snapshot was last refreshed."}),
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
	for _, c := range []prometheus.Collector{m.requests, durations, m.apps, m.states, m.built} {
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

func (m *metrics) snapshot(apps, states int) {
	if m == nil {
		return
	}
	m.apps.Set(float64(apps))
	m.states.Set(float64(states))
	m.built.SetToCurrentTime()
}
