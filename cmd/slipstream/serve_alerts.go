//go:build !device

package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/alert"
	"github.com/slipstream-ota/slipstream/alert/shout"
	"github.com/slipstream-ota/slipstream/alert/webhook"
	"github.com/slipstream-ota/slipstream/deliver/live"
	"github.com/slipstream-ota/slipstream/halt"
	guard "github.com/slipstream-ota/slipstream/halt/watch"
	"github.com/slipstream-ota/slipstream/internal/httpx"
	"github.com/slipstream-ota/slipstream/store"
)

// tellFlags are the flags of serve about who is told what, as given.
type tellFlags struct{ liveMost, livePerAddress, metricsListen, alertAllow string }

func (f *tellFlags) define(c *cobra.Command) {
	c.Flags().StringVar(&f.liveMost, "live-max", "", "live connections at once, 0 for none (default: four fifths of the files that may be open)")
	c.Flags().StringVar(&f.livePerAddress, "live-per-address", "", "live connections at once from one address (default 4000)")
	c.Flags().StringVar(&f.metricsListen, "metrics-listen", "", "address of its own for /metrics, or off (default: where devices are answered)")
	c.Flags().StringVar(&f.alertAllow, "alert-allow", "", "networks, by commas, that alerts are sent to although they are link-local")
}

// tellSettings are the same, checked.
type tellSettings struct {
	liveMost, livePerAddress int
	metricsListen            string
	alertAllow               []netip.Prefix
}

const metricsOff = "off"

func (f *tellFlags) settings(t *tool) (tellSettings, error) {
	s := tellSettings{metricsListen: first(f.metricsListen, t.env.Get("metrics-listen", ""))}
	for _, n := range []struct {
		name, given string
		otherwise   int
		to          *int
	}{{"live-max", f.liveMost, fileLimit() / 5 * 4, &s.liveMost}, {"live-per-address", f.livePerAddress, live.DefaultPerAddress, &s.livePerAddress}} {
		text := first(n.given, t.env.Get(n.name, strconv.Itoa(n.otherwise)))
		v, err := strconv.Atoi(text)
		if err != nil || v < 0 {
			return s, usageError{slipstream.Hint(fmt.Errorf("%s: %q is no number of connections", n.name, text), "use a number such as 10000")}
		}
		*n.to = v
	}
	if s.liveMost == 0 {
		s.liveMost = -1 // turned off
	}
	for a := range strings.SplitSeq(first(f.alertAllow, t.env.Get("alert-allow", "")), ",") {
		if a = strings.TrimSpace(a); a == "" {
			continue
		}
		p, err := parseNetwork(a)
		if err != nil {
			return s, usageError{slipstream.Hint(fmt.Errorf("alert allow: %w", err), "use networks such as 169.254.10.0/24")}
		}
		s.alertAllow = append(s.alertAllow, p)
	}
	return s, nil
}

// teller is what tells devices and people: live connections, alerts, metrics.
type teller struct {
	store    store.Store
	hub      *live.Hub
	alerts   *alert.Service
	figures  *alert.Metrics
	registry *prometheus.Registry
	listener net.Listener // of the metrics; nil where they have none of their own
	off      bool         // no metrics at all
	log      *slog.Logger
}

// teller wires them. Its listener is open already.
func (c *serveConfig) teller(ctx context.Context, o opened, registry *prometheus.Registry) (*teller, error) {
	t := &teller{store: o.store, registry: registry, figures: alert.NewMetrics(), off: c.tell.metricsListen == metricsOff, log: c.log}
	connections := prometheus.NewGauge(prometheus.GaugeOpts{Name: "slipstream_live_connections", Help: "Live connections of devices."})
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "slipstream_live_refused_total", Help: "Live connections that were not taken, by reason."}, []string{"reason"})
	told := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "slipstream_live_fanout_seconds", Help: "Time to tell all live connections of a channel that it changed.",
		Buckets: []float64{.001, .005, .02, .1, .25, .5, 1, 2, 5, 15}})
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "slipstream_build_info", Help: "Always 1; the version of the program."}, []string{"version"})
	build.WithLabelValues(version).Set(1)
	for _, reason := range live.Refusals() {
		refused.WithLabelValues(reason)
	}
	jobs := &jobFigures{store: o.store, waiting: prometheus.NewDesc("slipstream_jobs", "Containers that are to be built, by state.", []string{"state"}, nil)}
	for _, collector := range []prometheus.Collector{connections, refused, told, build, t.figures, jobs} {
		if err := registry.Register(collector); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	t.hub = live.NewHub(live.Config{Most: c.tell.liveMost, PerAddress: c.tell.livePerAddress, Metrics: live.Metrics{
		Connected: func(delta int) { connections.Add(float64(delta)) },
		Refused:   func(why string) { refused.WithLabelValues(why).Inc() },
		Told:      func(_ int, took time.Duration) { told.Observe(took.Seconds()) },
	}})
	allow := webhook.Guard{Allow: c.tell.alertAllow}
	t.alerts = alert.New(alert.Config{Store: o.store, Sealer: o.sealer, Metrics: t.figures, Log: c.log, Senders: map[string]alert.Sender{
		"webhook": webhook.NewSender(allow), "dingtalk": webhook.NewDingTalk(allow), "shoutrrr": shout.NewSender(allow)}})
	if at := c.tell.metricsListen; at != "" && !t.off {
		var err error
		if t.listener, err = listen(ctx, at); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// metrics answers /metrics where devices are answered; nil where it is not answered there.
func (t *teller) metrics() http.Handler {
	if t.off || t.listener != nil {
		return nil
	}
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{})
}

// url is where the metrics are, when they have an address of their own.
func (t *teller) url() string {
	if t.listener == nil {
		return ""
	}
	return urlOf(t.listener)
}

// run tells until ctx ends.
func (t *teller) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return t.hub.Run(ctx) })
	group.Go(func() error { return t.alerts.Run(ctx) })
	if t.listener != nil {
		group.Go(func() error {
			mux := http.NewServeMux()
			mux.Handle("/metrics", promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{}))
			return httpx.Serve(ctx, httpx.NewServer(mux, t.log), t.listener, time.Second)
		})
	}
	return group.Wait()
}

// close gives the listener back of a server that never ran.
func (t *teller) close() error {
	if t.listener == nil {
		return nil
	}
	return t.listener.Close()
}

// looked passes on what the guard saw: its evidence, and a warning that comes or goes.
func (t *teller) looked(ctx context.Context, h guard.Happening) {
	if h.Verdict.Needed > 0 {
		t.figures.Judged(h.Rollout.ID, h.Verdict.E/h.Verdict.Needed)
	}
	odd := func(l halt.Level) bool { return l == halt.Warning || l == halt.Inconclusive }
	if h.Before == h.Verdict.Level || !odd(h.Before) && !odd(h.Verdict.Level) {
		return
	}
	key := alert.RolloutKey(alert.KindGuardWarning, h.App, h.Channel, h.Rollout.ID)
	err := t.store.Update(ctx, func(tx store.Tx) error {
		if !odd(h.Verdict.Level) {
			return alert.Settle(ctx, tx, key, "guard", h.Verdict.Reason, time.Time{})
		}
		return alert.Raise(ctx, tx, alert.Alert{Kind: alert.KindGuardWarning, App: h.App, Channel: h.Channel, Package: h.Package, Subject: h.Rollout.ID, Severity: alert.Warning, Key: key,
			Title: fmt.Sprintf("The guard is wary of version %s of %s, package %s, on %s: %s", h.Rollout.Version, h.App, h.Package, h.Channel, h.Verdict.Reason)})
	})
	if err != nil && ctx.Err() == nil {
		t.log.LogAttrs(ctx, slog.LevelError, "a warning of the guard could not be raised", slog.Any("error", err))
	}
}

// jobFigures counts the queue when somebody looks.
type jobFigures struct {
	store   store.Store
	waiting *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (j *jobFigures) Describe(ch chan<- *prometheus.Desc) { ch <- j.waiting }

// Collect implements prometheus.Collector. While the store is away there are no figures.
func (j *jobFigures) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	list, err := j.store.Jobs().List(ctx, "")
	if err != nil {
		return
	}
	counts := map[store.JobState]int{store.JobQueued: 0, store.JobRunning: 0, store.JobFailed: 0}
	for _, job := range list {
		counts[job.State]++
	}
	for state, n := range counts {
		ch <- prometheus.MustNewConstMetric(j.waiting, prometheus.GaugeValue, float64(n), string(state))
	}
}
