package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/internal/pgcluster"
	"github.com/slipstream-ota/slipstream/publish"
)

func load() Proof {
	return Proof{
		Name:  "load",
		Claim: "under a mixed load no answer is an error that is not defined, memory, handles and goroutines do not grow, and the counts at the end are what the clients did",
		Quick: 75 * time.Second, Full: 45 * time.Minute, Long: 27 * time.Second,
		Needs: []Need{NeedProcesses()},
		Run:   runLoad,
	}
}

const (
	quickLoad        = 15 * time.Second
	fullLoad         = 30 * time.Minute
	fullPostgresLoad = 5 * time.Minute
)

func runLoad(ctx context.Context, env Env) (r Result, err error) {
	if env.Quick {
		return loadOn(ctx, env, "sqlite", quickLoad)
	}
	if r, err = loadOn(ctx, env, "sqlite", fullLoad); err != nil {
		return r, err
	}
	if pgcluster.Missing() {
		r.Notes = append(r.Notes, "not tried: "+pgcluster.ErrMissing.Error())
		return r, nil
	}
	cluster, err := pgcluster.Start()
	if err != nil {
		return r, fmt.Errorf("start PostgreSQL: %w", err)
	}
	defer func() { err = errors.Join(err, cluster.Stop()) }()
	url, _, err := cluster.Database() // goes with its cluster
	if err != nil {
		return r, err
	}
	more, err := loadOn(ctx, env, "postgres", fullPostgresLoad, "--database", url)
	r.Tried, r.Wrong = r.Tried+more.Tried, r.Wrong+more.Wrong
	r.Detail += "; on postgres: " + more.Detail
	r.Notes = append(r.Notes, more.Notes...)
	return r, err
}

// strain is a load on one server, and what it should have led to.
type strain struct {
	*tally
	service *service
	author  *author
	http    *http.Client
	pace    time.Duration // least time between two requests of one worker
	pool    int           // connections to a database that the server may keep

	mu       sync.Mutex
	requests map[string]int
	counted  []*edition                                      // that reports are about
	told     map[slipstream.Digest]map[slipstream.Kind]int64 // different devices, by release
	audited  map[string]int                                  // acknowledged changes by action
	releases int
	vitals   []vitals
}

// countedChannel has rollouts that nothing changes, so that all of them stand in the status at the end.
const countedChannel = "counted"

func loadOn(ctx context.Context, env Env, name string, lasting time.Duration, flags ...string) (_ Result, err error) {
	a, err := serve(ctx, env, "load-"+name, flags...)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, a.service.kill()) }()
	l := &strain{tally: &tally{}, service: a.service, author: a, pace: 25 * time.Millisecond, requests: map[string]int{}, audited: map[string]int{},
		told: map[slipstream.Digest]map[slipstream.Kind]int64{}, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: loadWorkers}, Timeout: 30 * time.Second}}
	if len(flags) > 0 {
		l.pool = postgresPool
	}
	if err := l.prepare(ctx); err != nil {
		return Result{}, fmt.Errorf("prepare: %w", err)
	}
	before, err := l.entries(ctx)
	if err != nil {
		return Result{}, err
	}
	idle, err := l.calm(ctx, nil)
	if err != nil {
		return Result{}, err
	}
	l.bear(ctx, lasting, env.Seed)
	if ctx.Err() != nil {
		return l.result("stopped"), context.Cause(ctx)
	}
	l.http.CloseIdleConnections()
	end, err := l.calm(ctx, &idle)
	if err != nil {
		return Result{}, err
	}
	growth := l.judgeVitals(idle, end, lasting < shortLoad)
	if err := l.judgeCounts(ctx, before); err != nil {
		return Result{}, err
	}
	return l.result("checks on %s in %s: %s; %s", name, lasting, l.sums(), growth), a.service.terminate(drainLimit)
}

// prepare publishes the releases that reports are about, each to a share of its own.
func (l *strain) prepare(ctx context.Context) error {
	if _, err := l.author.server.CreateChannel(ctx, serviceApp, api.NewChannel{Name: countedChannel}); err != nil {
		return err
	}
	if _, err := l.author.server.CreateChannel(ctx, serviceApp, api.NewChannel{Name: beta}); err != nil {
		return err
	}
	for i := range 4 {
		e, err := l.author.release(ctx, slipstream.DefaultChannel, loadFiles)
		if err != nil {
			return err
		}
		to := 1000 * (i + 1)
		if _, err := l.author.server.StartRollout(ctx, serviceApp, countedChannel, api.StartRollout{Release: string(e.digest), To: &to}); err != nil {
			return err
		}
		l.counted, l.told[e.digest] = append(l.counted, e), map[slipstream.Kind]int64{}
		l.releases++
	}
	return nil
}

func loadFiles(version string) map[string]string {
	return map[string]string{entryFile: "#!/bin/sh\necho " + version + "\n", "same.txt": strings.Repeat("the same in every release\n", 2000),
		"app/big.js": strings.Repeat("// "+version+" and something more\n", 4000)}
}

// note counts one request that was answered as it should be.
func (l *strain) note(kind string) {
	l.try(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests[kind]++
}

func (l *strain) sums() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for kind, n := range l.requests {
		out = append(out, fmt.Sprintf("%d %s", n, kind))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// acknowledged notes a change that the server confirmed.
func (l *strain) acknowledged(action string) {
	l.note("changes")
	l.mu.Lock()
	defer l.mu.Unlock()
	l.audited[action]++
}

// vitals are what the server takes of the machine. heap is what its collector has not taken back yet, in KiB: its least
// over some time is what lives.
type vitals struct {
	kilobytes, heap, handles, goroutines int
}

func (l *strain) measure(ctx context.Context) (vitals, error) {
	var v vitals
	proc := filepath.Join("/proc", strconv.Itoa(l.service.process.ID))
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		return v, nil // not on this system
	}
	if _, after, ok := bytes.Cut(status, []byte("VmRSS:")); ok {
		_, _ = fmt.Sscan(string(after), &v.kilobytes)
	}
	open, err := os.ReadDir(filepath.Join(proc, "fd"))
	if err != nil {
		return v, fmt.Errorf("count handles: %w", err)
	}
	for _, fd := range open {
		// SQLite's own are a pool that fills up to its bound.
		if target, err := os.Readlink(filepath.Join(proc, "fd", fd.Name())); err == nil && !strings.Contains(filepath.Base(target), ".db") {
			v.handles++
		}
	}
	code, metrics, err := l.service.get(ctx, "/metrics")
	if err != nil || code != http.StatusOK {
		return v, errors.Join(fmt.Errorf("metrics answer with %d", code), err)
	}
	if _, after, ok := bytes.Cut(metrics, []byte("\ngo_goroutines ")); ok {
		_, _ = fmt.Sscan(string(after), &v.goroutines)
	}
	if _, after, ok := bytes.Cut(metrics, []byte("\ngo_memstats_heap_alloc_bytes ")); ok {
		var size float64
		_, _ = fmt.Sscan(string(after), &size)
		v.heap = int(size) >> 10
	}
	return v, nil
}

// Bounds of growth. Resident memory goes up and down with the work of the moment, such as making containers, and the
// system gets it back late; what lives on the heap does not. A short load ends before that can be told.
const (
	moreHandles    = 4 // than before, when nobody asks any more
	moreGoroutines = 8
	postgresPool   = 16        // connections that the server may keep, each with a handle and a goroutine
	moreLiving     = 8 << 10   // KiB, beside a quarter
	mostResident   = 320 << 10 // KiB, whatever it was before
	shortLoad      = time.Minute
)

// calm measures the server while nobody asks, and waits for it to become as it was before.
func (l *strain) calm(ctx context.Context, before *vitals) (vitals, error) {
	for deadline := time.Now().Add(10 * time.Second); ; {
		v, err := l.measure(ctx)
		if err != nil || time.Now().After(deadline) {
			return v, err
		}
		if before != nil && v.handles <= before.handles+moreHandles+l.pool && v.goroutines <= before.goroutines+moreGoroutines+l.pool {
			return v, nil
		}
		if before == nil && time.Until(deadline) < 9*time.Second {
			return v, nil
		}
		select {
		case <-ctx.Done():
			return v, context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// judgeVitals compares memory early and late under the same load, and the rest before and after it.
func (l *strain) judgeVitals(idle, end vitals, short bool) string {
	if len(l.vitals) < 8 || idle.kilobytes == 0 {
		return "memory not measured"
	}
	n := len(l.vitals)
	early, late, most := living(l.vitals[n/4:n/2]), living(l.vitals[3*n/4:]), 0
	for _, v := range l.vitals {
		most = max(most, v.kilobytes)
	}
	l.try(4)
	if bound := early*5/4 + moreLiving; late > bound && !short {
		l.wrongf("what lives on the heap grows from %d KiB to %d KiB under the same load, more than to %d", early, late, bound)
	}
	if most > mostResident {
		l.wrongf("%d KiB of memory are taken, more than %d", most, mostResident)
	}
	if end.handles > idle.handles+moreHandles+l.pool {
		l.wrongf("%d handles are open when nobody asks any more, %d were before", end.handles, idle.handles)
	}
	if end.goroutines > idle.goroutines+moreGoroutines+l.pool {
		l.wrongf("%d goroutines run when nobody asks any more, %d did before", end.goroutines, idle.goroutines)
	}
	heap := fmt.Sprintf("living heap %d to %d MiB, ", early>>10, late>>10)
	if short {
		heap = ""
	}
	return fmt.Sprintf("%sat most %d MiB resident, handles %d to %d, goroutines %d to %d", heap, most>>10, idle.handles, end.handles, idle.goroutines, end.goroutines)
}

// living is what was left of the heap when the collector had just been there.
func living(v []vitals) int {
	least := v[0].heap
	for _, one := range v {
		least = min(least, one.heap)
	}
	return least
}

// mostReleases is how many one answer may list.
const mostReleases = 1000

// entries counts what the audit log has, by action.
func (l *strain) entries(ctx context.Context) (map[string]int, error) {
	out := map[string]int{}
	const page = 1000
	for before := int64(0); ; {
		list, err := l.author.server.Audit(ctx, api.AuditQuery{App: serviceApp, Before: before, Limit: page})
		if err != nil {
			return nil, fmt.Errorf("read audit log: %w", err)
		}
		for _, e := range list {
			out[e.Action]++
			before = e.Seq
		}
		if len(list) < page {
			return out, nil
		}
	}
}

// judgeCounts compares what the server says with what its clients did.
func (l *strain) judgeCounts(ctx context.Context, before map[string]int) error {
	after, err := l.entries(ctx)
	if err != nil {
		return err
	}
	for action, n := range after {
		l.try(1)
		if got := n - before[action]; got != l.audited[action] {
			l.wrongf("%d entries of %s in the audit log, %d were acknowledged", got, action, l.audited[action])
		}
	}
	report, err := l.author.server.VerifyAudit(ctx, "")
	l.try(1)
	if err != nil || !report.OK() {
		l.wrongf("the audit log is broken: %s, %v", report.Fault, err)
	}
	list, err := l.author.server.Releases(ctx, publish.ReleaseQuery{App: serviceApp, Limit: mostReleases})
	if err != nil {
		return err
	}
	l.try(1)
	if len(list) != min(l.releases, mostReleases) {
		l.wrongf("%d releases are there, %d were acknowledged", len(list), l.releases)
	}
	status, err := l.author.server.Status(ctx, serviceApp)
	if err != nil {
		return err
	}
	l.judgeReports(status)
	return nil
}

func (l *strain) judgeReports(status api.Status) {
	seen := map[slipstream.Digest]map[slipstream.Kind]int64{}
	for _, c := range status.Apps[0].Channels {
		if c.Name == countedChannel {
			for _, r := range c.Packages[0].Rollouts {
				seen[r.Manifest] = r.Devices
			}
		}
	}
	for _, e := range l.counted {
		for kind, want := range l.told[e.digest] {
			l.try(1)
			if got := seen[e.digest][kind]; got != want {
				l.wrongf("%d devices are counted that told %s of %s, %d did", got, kind, e.manifest.Version, want)
			}
		}
	}
}
