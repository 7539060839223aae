package alert

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

// Metrics tells operators of alerts, messages and rollouts. It is a prometheus.Collector; nil keeps nothing.
type Metrics struct {
	attempts *prometheus.CounterVec

	mu     sync.Mutex
	live   []Live
	active map[string]int // by severity
	queue  map[store.DeliveryState]int64
	guard  map[string]float64 // evidence by rollout

	alerts, messages, share, held, devices, evidence *prometheus.Desc
}

// NewMetrics makes empty Metrics.
func NewMetrics() *Metrics {
	labels := []string{"app", "channel", "package", "rollout", "version"}
	return &Metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "slipstream_alert_attempts_total", Help: "Attempts to send messages by type of target and outcome: sent, failed or dead."},
			[]string{"type", "outcome"}),
		alerts:   prometheus.NewDesc("slipstream_alerts_active", "Alerts that stand, by severity.", []string{"severity"}, nil),
		messages: prometheus.NewDesc("slipstream_alert_messages", "Messages that wait, or were given up.", []string{"state"}, nil),
		share:    prometheus.NewDesc("slipstream_rollout_share_ratio", "Share of the devices that a rollout is offered to.", labels, nil),
		held:     prometheus.NewDesc("slipstream_rollout_held", "1 when a rollout is paused or halted.", append(labels, "hold"), nil),
		devices:  prometheus.NewDesc("slipstream_rollout_devices", "Devices in a rollout by arm and what became of them.", append(labels, "arm", "outcome"), nil),
		evidence: prometheus.NewDesc("slipstream_guard_evidence_ratio", "Evidence against a rollout, as a share of what halts it.", labels, nil),
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.alerts, m.messages, m.share, m.held, m.devices, m.evidence} {
		ch <- d
	}
	m.attempts.Describe(ch)
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	m.attempts.Collect(ch)
	m.mu.Lock()
	defer m.mu.Unlock()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, s := range Severities() {
		gauge(m.alerts, float64(m.active[s]), s)
	}
	for _, s := range []store.DeliveryState{store.DeliveryQueued, store.DeliveryDead} {
		gauge(m.messages, float64(m.queue[s]), string(s))
	}
	seen := map[string]bool{}
	for i := range m.live {
		l := &m.live[i]
		if seen[l.Rollout.ID] { // ids are unique; a scrape with a series twice would fail as a whole
			continue
		}
		seen[l.Rollout.ID] = true
		labels := []string{l.App, l.Channel, l.Package, l.Rollout.ID, l.Rollout.Version}
		with := func(more ...string) []string { return append(labels[:len(labels):len(labels)], more...) }
		gauge(m.share, float64(l.Rollout.To-l.Rollout.From)/slipstream.FullShare, labels...)
		for _, hold := range []string{slipstream.HoldPaused, slipstream.HoldHalted} {
			held := 0.0
			if l.Rollout.Hold == hold {
				held = 1
			}
			gauge(m.held, held, with(hold)...)
		}
		for arm, t := range l.Tally {
			for outcome, n := range map[string]int64{"confirmed": t.Confirmed, "failed": t.Failed, "left": t.Left, "open": t.Enrolled - t.Confirmed - t.Failed - t.Left} {
				gauge(m.devices, float64(n), with(arm, outcome)...)
			}
		}
		if e, judged := m.guard[l.Rollout.ID]; judged {
			gauge(m.evidence, e, labels...)
		}
	}
}

// Judged notes the guard's evidence against a rollout, as a share of what halts it.
func (m *Metrics) Judged(rollout string, evidence float64) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.guard == nil {
		m.guard = map[string]float64{}
	}
	m.guard[rollout] = evidence
}

func (m *Metrics) setLive(all []Live) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.live = all
	there := map[string]bool{}
	for _, l := range all {
		there[l.Rollout.ID] = true
	}
	for id := range m.guard {
		if !there[id] {
			delete(m.guard, id)
		}
	}
}

func (m *Metrics) setActive(active map[string]store.Alert) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.active = map[string]int{}
	for _, a := range active {
		m.active[a.Severity]++
	}
}

func (m *Metrics) setQueue(counts map[store.DeliveryState]int64) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.queue = counts
}

func (m *Metrics) attempted(kind string, state store.DeliveryState, sent bool) {
	if m == nil {
		return
	}
	outcome := "failed"
	switch {
	case sent:
		outcome = "sent"
	case state == store.DeliveryDead:
		outcome = "dead"
	}
	m.attempts.WithLabelValues(kind, outcome).Inc()
}
