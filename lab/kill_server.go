package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/internal/pgcluster"
	"github.com/slipstream-ota/slipstream/publish"
	"github.com/slipstream-ota/slipstream/rollout"
)

const (
	quickServerKills = 12 // on each database
	fullServerKills  = 300
	longestRaid      = 400 * time.Millisecond // of load before a kill
	startLimit       = 2 * time.Second        // to serve again
	startLimitQuick  = 10 * time.Second       // the same beside the tests of everything else
)

// NeedPostgres is a PostgreSQL that can be started here.
func NeedPostgres() Need {
	return Need{Name: "postgres", Missing: func(Env) string {
		if pgcluster.Missing() {
			return pgcluster.ErrMissing.Error()
		}
		return ""
	}}
}

// killServer kills the real server, on SQLite and a folder of blobs.
func killServer() Proof {
	return Proof{
		Name: "kill -9 of the server on sqlite", Claim: "nothing acknowledged is lost, no number falls, no release is half there, and it serves again at once",
		Quick: time.Minute, Full: 30 * time.Minute, Needs: []Need{NeedProcesses()},
		Run: func(ctx context.Context, env Env) (Result, error) {
			return raidServer(ctx, env, "kill-server-sqlite")
		},
	}
}

// killServerPostgres is the same on PostgreSQL, which lives on.
func killServerPostgres() Proof {
	p := killServer()
	p.Name, p.Needs = "kill -9 of the server on postgres", append(p.Needs, NeedPostgres())
	p.Run = func(ctx context.Context, env Env) (_ Result, err error) {
		cluster, err := pgcluster.Start()
		if err != nil {
			return Result{}, fmt.Errorf("start PostgreSQL: %w", err)
		}
		defer func() { err = errors.Join(err, cluster.Stop()) }()
		url, _, err := cluster.Database()
		if err != nil {
			return Result{}, err
		}
		return raidServer(ctx, env, "kill-server-postgres", "--database", url)
	}
	return p
}

// raider kills a server again and again while it works, and knows what it has acknowledged.
type raider struct {
	tally   *tally
	service *service
	author  *author
	random  *rand.Rand
	limit   time.Duration // to serve again
	starts  []time.Duration
	events  atomic.Int64 // made so far

	mu        sync.Mutex
	committed map[slipstream.Digest]int64 // seq of acknowledged releases
	unchecked []slipstream.Digest         // of these, since the last kill
	seen      map[slipstream.Digest]bool  // releases that were found whole
	doubtful  *edition                    // its commit was not answered
	accepted  []slipstream.Event          // acknowledged since the last kill
	older     []slipstream.Event          // some of those before
	epochs    []int64                     // of acknowledged changes since the last kill
	epoch     int64                       // highest that anybody was told
	head      string                      // of the audit log, as last read
	rollouts  map[string]*expectation     // by id
	withdrawn map[slipstream.Digest][]bool
	acks      int
}

// expectation is what a rollout may say: one value when the last change was acknowledged, more when not.
type expectation struct {
	release slipstream.Digest
	hold    []string
	to      []int
}

func raidServer(ctx context.Context, env Env, name string, flags ...string) (_ Result, err error) {
	a, err := serve(ctx, env, name, flags...)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, a.service.kill()) }()
	g := &raider{tally: &tally{}, service: a.service, author: a, random: rand.New(rand.NewPCG(env.Seed, 3)), committed: map[slipstream.Digest]int64{},
		seen: map[slipstream.Digest]bool{}, rollouts: map[string]*expectation{}, withdrawn: map[slipstream.Digest][]bool{}}
	kills := fullServerKills
	g.limit = startLimit
	if env.Quick {
		kills, g.limit = quickServerKills, startLimitQuick
	}
	for n := 1; n <= kills; n++ {
		if err := g.raid(ctx, n); err != nil {
			return g.result(), err
		}
	}
	return g.result(), a.service.terminate(20 * time.Second)
}

func (g *raider) result() Result {
	slices.Sort(g.starts)
	if len(g.starts) == 0 {
		return g.tally.result("no kill")
	}
	at := func(q int) time.Duration { return g.starts[(len(g.starts)-1)*q/100].Round(time.Millisecond) }
	return g.tally.result("kills; %d things acknowledged, %d releases, %d reports; serves again in p50 %s, p99 %s, at most %s", g.acks, len(g.committed), g.events.Load(), at(50), at(99), at(100))
}

// raid lets everybody work for a while, kills the server, starts it and asks after everything.
func (g *raider) raid(ctx context.Context, n int) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	working, stop := context.WithCancel(ctx)
	defer stop()
	var workers sync.WaitGroup
	for _, work := range []func(context.Context) error{g.publishOne, g.changeOne, g.reportSome, g.readState, g.readAudit} {
		workers.Go(func() {
			for working.Err() == nil && work(working) == nil {
			}
		})
	}
	after := time.Duration(g.random.Int64N(int64(longestRaid)))
	time.Sleep(after)
	err := g.service.kill()
	stop()
	workers.Wait()
	if err != nil {
		return err
	}
	if g.random.IntN(5) == 0 { // and once more while it starts
		if err := g.service.launch(); err != nil {
			return err
		}
		time.Sleep(time.Duration(g.random.Int64N(int64(80 * time.Millisecond))))
		if err := g.service.kill(); err != nil {
			return err
		}
	}
	took, err := g.service.start(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		g.tally.wrongf("kill %d, %s after the start: %v", n, after.Round(time.Microsecond), err)
		return err
	}
	g.starts = append(g.starts, took)
	if took > g.limit {
		g.tally.wrongf("kill %d: the server serves again only after %s", n, took)
	}
	g.tally.try(1)
	return g.audit(ctx, fmt.Sprintf("kill %d, %s after the start", n, after.Round(time.Microsecond)))
}

// serverFiles are a release of a few small blobs, one of them common to all.
func serverFiles(version string) map[string]string {
	return map[string]string{
		entryFile:   "echo " + version + "\n",
		"a.txt":     strings.Repeat("a of "+version+"\n", 300),
		"b/b.txt":   strings.Repeat("b of "+version+"\n", 3000),
		"same.txt":  "the same in every release\n",
		"empty.txt": "",
	}
}

// publishOne publishes a release; first again one of which nobody knows whether it was published.
func (g *raider) publishOne(ctx context.Context) error {
	g.mu.Lock()
	e := g.doubtful
	g.mu.Unlock()
	if e == nil {
		var err error
		if e, err = g.author.write(serverFiles); err != nil {
			return err
		}
		g.mu.Lock()
		g.doubtful = e
		g.mu.Unlock()
	}
	done, err := g.author.publish(ctx, e, slipstream.DefaultChannel)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.doubtful = nil
	if done.Seq != e.manifest.Seq || done.Digest != e.digest {
		g.tally.wrongf("release %s came back as %s with seq %d instead of %d", e.digest.Short(), done.Digest.Short(), done.Seq, e.manifest.Seq)
	}
	g.committed[e.digest] = done.Seq
	g.unchecked = append(g.unchecked, e.digest)
	g.acknowledge(done.Epoch)
	if g.rollouts[done.Rollout] == nil {
		g.rollouts[done.Rollout] = &expectation{release: e.digest, hold: []string{""}, to: []int{slipstream.FullShare}}
	}
	return nil
}

// acknowledge notes a change that was answered. mu is held.
func (g *raider) acknowledge(epoch int64) {
	g.acks++
	if epoch > 0 {
		g.epochs = append(g.epochs, epoch)
		g.epoch = max(g.epoch, epoch)
	}
}

// changeOne pauses, resumes, shares or withdraws a recent release.
func (g *raider) changeOne(ctx context.Context) error {
	g.mu.Lock()
	var e *edition
	if len(g.unchecked) > 0 {
		e = g.author.edition(g.unchecked[rand.IntN(len(g.unchecked))])
	}
	g.mu.Unlock()
	if e == nil {
		return sleepFor(ctx, 5*time.Millisecond)
	}
	switch n := rand.IntN(4); n {
	case 0, 1:
		hold, sent := "none", ""
		if n == 1 {
			hold, sent = slipstream.HoldPaused, slipstream.HoldPaused
		}
		return g.changeRollout(ctx, e, api.RolloutChange{Hold: &hold}, func(x *expectation, sure bool) { x.hold = expect(x.hold, sent, sure) })
	case 2:
		to := 1 + rand.IntN(slipstream.FullShare)
		return g.changeRollout(ctx, e, api.RolloutChange{To: &to}, func(x *expectation, sure bool) { x.to = expect(x.to, to, sure) })
	}
	undo := rand.IntN(2) == 0
	g.mu.Lock()
	if g.withdrawn[e.digest] == nil {
		g.withdrawn[e.digest] = []bool{false}
	}
	g.withdrawn[e.digest] = expect(g.withdrawn[e.digest], !undo, false)
	g.mu.Unlock()
	done, err := g.author.server.Withdraw(ctx, serviceApp, slipstream.DefaultChannel, api.Withdraw{Release: string(e.digest), Undo: undo})
	if err != nil {
		return g.ifGone(err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.withdrawn[e.digest] = []bool{!undo}
	g.acknowledge(done.Epoch)
	return nil
}

func (g *raider) changeRollout(ctx context.Context, e *edition, change api.RolloutChange, note func(x *expectation, sure bool)) error {
	g.mu.Lock()
	x := g.rollouts[e.rollout]
	note(x, false)
	g.mu.Unlock()
	done, err := g.author.server.ChangeRollout(ctx, serviceApp, slipstream.DefaultChannel, e.rollout, change)
	if err != nil {
		return g.ifGone(err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	note(x, true)
	g.acknowledge(done.Epoch)
	return nil
}

// expect adds a value that may hold now; when it is sure, it is the only one.
func expect[T comparable](values []T, v T, sure bool) []T {
	if sure {
		return []T{v}
	}
	return append(slices.Clone(values), v)
}

// ifGone lets a worker go on after an answer of the server, and ends it when there was none.
func (g *raider) ifGone(err error) error {
	var problem *api.ProblemError
	if errors.As(err, &problem) && problem.Status < 500 {
		return nil
	}
	return err
}

func sleepFor(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// reportSome sends a few events and keeps those that were accepted.
func (g *raider) reportSome(ctx context.Context) error {
	var events []slipstream.Event
	for range 1 + rand.IntN(4) {
		n := g.events.Add(1)
		device := sha256.Sum256(fmt.Appendf(nil, "device %d", n%50))
		events = append(events, slipstream.Event{ID: fmt.Sprintf("lab-event-%08d", n), Kind: slipstream.KindConfirmed, App: serviceApp,
			Channel: slipstream.DefaultChannel, Package: mainPkg, Device: string(slipstream.DigestOf(device)), Platform: slipstream.PlatformAny})
	}
	results, err := g.send(ctx, events)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range results {
		if r.Status == slipstream.EventAccepted {
			g.accepted = append(g.accepted, events[r.Index])
			g.acks++
		}
	}
	return nil
}

func (g *raider) send(ctx context.Context, events []slipstream.Event) ([]slipstream.EventResult, error) {
	body, err := json.Marshal(events)
	if err != nil {
		return nil, err
	}
	status, answer, err := g.service.post(ctx, http.DefaultClient, "/v1/reports", body)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("reports answered %d: %s", status, answer)
	}
	var out struct{ Results []slipstream.EventResult }
	if err := json.Unmarshal(answer, &out); err != nil {
		return nil, fmt.Errorf("read the answer to reports: %w", err)
	}
	return out.Results, nil
}

// readState notes the highest epoch that a device was given.
func (g *raider) readState(ctx context.Context) error {
	st, err := g.state(ctx)
	if err != nil {
		return err
	}
	g.mu.Lock()
	if st != nil {
		if st.Epoch < g.epoch-1_000_000 {
			g.tally.wrongf("the epoch of the state is %d", st.Epoch)
		}
		g.epoch = max(g.epoch, st.Epoch)
	}
	g.mu.Unlock()
	return sleepFor(ctx, 2*time.Millisecond)
}

func (g *raider) state(ctx context.Context) (*slipstream.State, error) {
	status, raw, err := g.service.get(ctx, statePath)
	if err != nil {
		return nil, err
	}
	if status == http.StatusNotFound {
		return nil, nil
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("the state answered %d: %s", status, raw)
	}
	return g.author.trust.State(raw)
}

// readAudit notes the newest entry of the audit log.
func (g *raider) readAudit(ctx context.Context) error {
	entries, err := g.author.server.Audit(ctx, api.AuditQuery{Limit: 1})
	if err != nil || len(entries) == 0 {
		return err
	}
	g.mu.Lock()
	g.head = entries[0].Hash
	g.mu.Unlock()
	return sleepFor(ctx, 10*time.Millisecond)
}

// audit asks the server that was started again after everything that it had acknowledged.
func (g *raider) audit(ctx context.Context, when string) error {
	for _, ask := range []func(context.Context, string) error{g.auditState, g.auditReleases, g.auditLog, g.auditPolicy, g.auditReports} {
		if err := ask(ctx, when); err != nil {
			return fmt.Errorf("%s: %w\n%s", when, err, g.service.process.Tail())
		}
	}
	return nil
}

func (g *raider) auditState(ctx context.Context, when string) error {
	st, err := g.state(ctx)
	switch {
	case err != nil:
		return err
	case st == nil && g.epoch == 0:
		return nil
	case st == nil:
		g.tally.wrongf("%s: the state is gone", when)
		return nil
	case st.Epoch < g.epoch:
		g.tally.wrongf("%s: the epoch fell from %d to %d", when, g.epoch, st.Epoch)
	}
	g.epoch = max(g.epoch, st.Epoch)
	for _, r := range st.Packages[mainPkg].Rollouts {
		if fault := g.whole(ctx, r.Manifest); fault != "" {
			g.tally.wrongf("%s: the state names a release that is not whole: %s", when, fault)
		}
	}
	return nil
}

// auditReleases: what was committed is listed with its seq, and whatever is listed is whole.
func (g *raider) auditReleases(ctx context.Context, when string) error {
	list, err := g.author.server.Releases(ctx, publish.ReleaseQuery{App: serviceApp, Package: mainPkg, Limit: len(g.unchecked) + 20})
	if err != nil {
		return err
	}
	found := map[slipstream.Digest]int64{}
	for i, r := range list {
		found[r.Digest] = r.Seq
		if i > 0 && r.Seq >= list[i-1].Seq {
			g.tally.wrongf("%s: seq %d stands below seq %d", when, r.Seq, list[i-1].Seq)
		}
		if fault := g.whole(ctx, r.Digest); fault != "" {
			g.tally.wrongf("%s: a listed release is not whole: %s", when, fault)
		}
	}
	for _, d := range g.unchecked {
		if seq, ok := found[d]; !ok || seq != g.committed[d] {
			g.tally.wrongf("%s: release %s with seq %d was acknowledged and is now %d (0 = lost)", when, d.Short(), g.committed[d], seq)
		}
	}
	return nil
}

// whole says what is missing of a release, "" when its manifest and every blob are readable and as signed.
func (g *raider) whole(ctx context.Context, d slipstream.Digest) string {
	if g.seen[d] {
		return ""
	}
	e := g.author.edition(d)
	if e == nil {
		return fmt.Sprintf("nobody signed %s", d)
	}
	status, raw, err := g.service.get(ctx, "/v1/manifests/"+string(d))
	if err != nil || status != http.StatusOK || !bytes.Equal(raw, e.envelope) {
		return fmt.Sprintf("the manifest of %s answers %d, %d bytes, %v", e.manifest.Version, status, len(raw), err)
	}
	for _, f := range e.manifest.Files {
		if f.Size == 0 {
			continue
		}
		status, raw, err := g.service.get(ctx, "/v1/blobs/"+string(f.SHA256))
		if err != nil || status != http.StatusOK || string(raw) != e.files[f.Path] {
			return fmt.Sprintf("%s of %s answers %d, %d of %d bytes, %v", f.Path, e.manifest.Version, status, len(raw), f.Size, err)
		}
	}
	g.seen[d] = true
	return ""
}

// auditLog: the chain holds, what was read of it is in it, and every acknowledged change has its entry.
func (g *raider) auditLog(ctx context.Context, when string) error {
	report, err := g.author.server.VerifyAudit(ctx, g.head)
	if err != nil {
		return err
	}
	if !report.OK() {
		g.tally.wrongf("%s: the audit log does not verify: %s", when, report.Fault)
	}
	entries, err := g.author.server.Audit(ctx, api.AuditQuery{App: serviceApp, Limit: len(g.epochs)*2 + 50})
	if err != nil {
		return err
	}
	told := map[int64]bool{}
	for _, e := range entries {
		var detail struct{ Epoch int64 }
		if err := json.Unmarshal(e.Detail, &detail); err != nil {
			return fmt.Errorf("read audit entry %d: %w", e.Seq, err)
		}
		told[detail.Epoch] = true
	}
	for _, epoch := range g.epochs {
		if !told[epoch] {
			g.tally.wrongf("%s: no audit entry tells of the change with epoch %d, which was acknowledged", when, epoch)
		}
	}
	g.epochs = nil
	return nil
}

// auditPolicy: rollouts and withdrawals say what was acknowledged last, or what was asked for and not answered.
func (g *raider) auditPolicy(ctx context.Context, when string) error {
	ch, err := g.author.server.Channel(ctx, serviceApp, slipstream.DefaultChannel)
	if errors.Is(err, slipstream.ErrNotFound) && len(g.committed) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	pkg := ch.Policy.Packages[mainPkg]
	if pkg == nil {
		pkg = &rollout.PackagePolicy{}
	}
	entries := map[string]rollout.Entry{}
	for _, e := range pkg.Rollouts {
		entries[e.ID] = e
	}
	for _, d := range g.unchecked {
		id := g.author.edition(d).rollout
		e, there := entries[id]
		x := g.rollouts[id]
		if !there {
			if !slices.ContainsFunc(pkg.Past, func(p rollout.Past) bool { return p.Digest == d }) {
				g.tally.wrongf("%s: rollout %s was acknowledged and is gone", when, id)
			}
			continue
		}
		if !slices.Contains(x.hold, e.Hold) || !slices.Contains(x.to, e.To) {
			g.tally.wrongf("%s: rollout %s says hold %q to %d, acknowledged was one of %q and %d", when, id, e.Hold, e.To, x.hold, x.to)
		}
		is := slices.ContainsFunc(pkg.Withdrawn, func(w rollout.Withdrawal) bool { return w.Digest == d })
		if may := g.withdrawn[d]; len(may) > 0 && !slices.Contains(may, is) || len(may) == 0 && is {
			g.tally.wrongf("%s: release %s is withdrawn: %t, acknowledged was %t", when, d.Short(), is, may)
		}
	}
	g.unchecked = nil
	return nil
}

// auditReports sends again what was accepted: the server must know it. Of older ones a sample is asked for too.
func (g *raider) auditReports(ctx context.Context, when string) error {
	again := slices.Clone(g.accepted)
	for range min(20, len(g.older)) {
		again = append(again, g.older[g.random.IntN(len(g.older))])
	}
	for chunk := range slices.Chunk(again, 100) {
		results, err := g.send(ctx, chunk)
		if err != nil {
			return err
		}
		for _, r := range results {
			if r.Status != slipstream.EventDuplicate {
				g.tally.wrongf("%s: report %s was acknowledged and is now %s %s", when, chunk[r.Index].ID, r.Status, r.Error)
			}
		}
	}
	g.older = append(g.older, g.accepted...)
	g.accepted = nil
	return nil
}
