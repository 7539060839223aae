package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/internal/pgcluster"
	"github.com/slipstream-ota/slipstream/publish"
	"github.com/slipstream-ota/slipstream/rollout"
)

// killWhileSteering kills a server whose guard is at work.
func killWhileSteering() Proof {
	return Proof{
		Name: "kill -9 while the guard steers", Claim: "a plan's stage or a halt is in force with its evidence, its entry in the audit log and its epoch, or nothing of it is",
		Quick: 2 * time.Minute, Full: 20 * time.Minute, Long: 17 * time.Second, Needs: []Need{NeedProcesses()},
		Run: func(ctx context.Context, env Env) (_ Result, err error) {
			rounds := 60
			if env.Quick {
				rounds = 6
			}
			a, err := serve(ctx, env, "steer", steeringFlags()...)
			if err != nil {
				return Result{}, err
			}
			defer func() { err = errors.Join(err, a.service.kill()) }()
			g := &steering{tally: &tally{}, author: a, nodes: []*service{a.service}, random: rand.New(rand.NewPCG(env.Seed, 21))}
			if g.release, err = a.release(ctx, slipstream.DefaultChannel, goodFiles); err != nil {
				return Result{}, err
			}
			for n := range rounds {
				if err := g.round(ctx, fmt.Sprintf("steer-%d", n), n%2 == 1, true); err != nil {
					return g.result("stopped"), err
				}
			}
			return g.result("checks over %d kills; %d stages, %d halts, %d looks, each computed again", rounds, g.stages, g.halts, g.looks), a.service.terminate(drainLimit)
		},
	}
}

// twoGuards has two servers steer the rollouts of one database.
func twoGuards() Proof {
	return Proof{
		Name: "two servers steer one plan", Claim: "every stage is taken once and every halt is made once, whichever server is faster",
		Quick: 2 * time.Minute, Full: 15 * time.Minute, Long: 26 * time.Second, Needs: []Need{NeedProcesses(), NeedPostgres()},
		Run: func(ctx context.Context, env Env) (_ Result, err error) {
			rounds := 40
			if env.Quick {
				rounds = 4
			}
			g, end, err := twoNodes(ctx, env, "two-guards")
			if err != nil {
				return Result{}, err
			}
			defer func() { err = errors.Join(err, end()) }()
			for n := range rounds {
				if err := g.round(ctx, fmt.Sprintf("steer-%d", n), n%2 == 1, false); err != nil {
					return g.result("stopped"), err
				}
			}
			return g.result("checks of %d rollouts on two servers; %d stages, %d halts, %d looks, each computed again", rounds, g.stages, g.halts, g.looks), nil
		},
	}
}

func steeringFlags() []string {
	return []string{"--guard-every", "100ms", "--trusted-proxies", "127.0.0.1"}
}

// steering is servers whose guard is at work, and the devices that report to them.
type steering struct {
	*tally
	author  *author
	nodes   []*service
	random  *rand.Rand
	release *edition
	devices int

	stages, halts, looks int
}

// twoNodes starts two servers on a PostgreSQL of their own. end stops everything.
func twoNodes(ctx context.Context, env Env, name string) (g *steering, end func() error, err error) {
	cluster, err := pgcluster.Start()
	if err != nil {
		return nil, nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	g = &steering{tally: &tally{}, random: rand.New(rand.NewPCG(env.Seed, 22))}
	end = func() error {
		var failed error
		for _, n := range g.nodes {
			failed = errors.Join(failed, n.kill())
		}
		return errors.Join(failed, cluster.Stop())
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, end())
		}
	}()
	database, _, err := cluster.Database()
	if err != nil {
		return nil, nil, err
	}
	p, err := newProgram(env, filepath.Join(env.Dir, name))
	if err != nil {
		return nil, nil, err
	}
	for i := range 2 {
		flags := append([]string{"--database", database, "--blobs", filepath.Join(p.dir, "blobs"), "--secret", filepath.Join(p.dir, "secret")}, steeringFlags()...)
		n, err := newService(p, filepath.Join(p.dir, fmt.Sprintf("data-%d", i)), flags...)
		if err != nil {
			return nil, nil, err
		}
		g.nodes = append(g.nodes, n)
	}
	if err := g.nodes[0].setUp(ctx); err != nil {
		return nil, nil, err
	}
	g.nodes[1].token = g.nodes[0].token
	if _, err := g.nodes[1].start(ctx); err != nil {
		return nil, nil, err
	}
	if g.author, err = newAuthor(g.nodes[0]); err != nil {
		return nil, nil, err
	}
	g.release, err = g.author.release(ctx, slipstream.DefaultChannel, goodFiles)
	return g, end, err
}

const steerPlan = "10%:1s:5,50%:1s:5,100%"

// round starts a rollout with a plan on a channel of its own, has devices report, kills the server somewhere in between
// when it should, and judges what stands then and in the end.
func (g *steering) round(ctx context.Context, channel string, bad, kill bool) error {
	if _, err := g.author.server.CreateChannel(ctx, serviceApp, api.NewChannel{Name: channel}); err != nil {
		return err
	}
	started, err := g.author.server.StartRollout(ctx, serviceApp, channel, api.StartRollout{Release: string(g.release.digest), Plan: &publish.NewPlan{Stages: steerPlan}})
	if err != nil {
		return err
	}
	id := started.Rollout.ID
	if err := g.report(ctx, channel, id, 20, bad); err != nil {
		return err
	}
	if kill {
		// A plan waits for its second, a halt comes at once.
		wait := time.Duration(g.random.IntN(300)) * time.Millisecond
		if !bad {
			wait += 850 * time.Millisecond
		}
		if err := sleepFor(ctx, wait); err != nil {
			return err
		}
		if err := errors.Join(g.nodes[0].kill(), ctx.Err()); err != nil {
			return err
		}
		if _, err := g.nodes[0].start(ctx); err != nil {
			return err
		}
		if _, err := g.judge(ctx, channel, id); err != nil {
			return err
		}
	}
	limit, cancel := context.WithTimeoutCause(ctx, 20*time.Second, errors.New("the guard has not come to its end within 20 s"))
	defer cancel()
	for {
		e, err := g.entry(limit, channel, id)
		if err != nil {
			return err
		}
		if bad && e.Hold == slipstream.HoldHalted || !bad && e.Plan.Last() {
			break
		}
		if !bad { // every stage asks for devices of its own
			if err := g.report(limit, channel, id, 2, false); err != nil {
				return err
			}
		}
		if err := sleepFor(limit, 100*time.Millisecond); err != nil {
			g.wrongf("%s: %v; it stands at %s, held %q", channel, err, rollout.Percent(e.To), e.Hold)
			return ctx.Err()
		}
	}
	e, err := g.judge(ctx, channel, id)
	if err == nil {
		g.stages += e.Plan.At
		if e.Hold != "" {
			g.halts++
		}
	}
	return err
}

// report has n devices of each arm enrol and end, each from a network of its own, by turns on all servers.
func (g *steering) report(ctx context.Context, channel, id string, n int, bad bool) error {
	for range n {
		for _, arm := range []string{slipstream.ArmTreatment, slipstream.ArmControl} {
			g.devices++
			e := slipstream.Event{App: serviceApp, Channel: channel, Package: mainPkg, Device: fmt.Sprintf("%064x", g.devices), Rollout: id, Arm: arm, Release: g.release.digest}
			joined, ended := e, e
			joined.ID, joined.Kind = fmt.Sprintf("steer-joined-%d", g.devices), slipstream.KindEnrolled
			ended.ID, ended.Kind = fmt.Sprintf("steer-ended-%d", g.devices), slipstream.KindConfirmed
			if arm == slipstream.ArmControl {
				joined.Running = g.release.digest
			} else if bad {
				ended.Kind, ended.Reason = slipstream.KindRolledBack, slipstream.ReasonCrashed
			}
			code, answer, err := g.send(ctx, g.nodes[g.devices%len(g.nodes)], "/v1/reports", encoded(joined, ended), g.devices)
			if err != nil {
				return err
			}
			if code != http.StatusOK {
				return fmt.Errorf("reports are answered with %d: %.200s", code, answer)
			}
		}
	}
	return nil
}

// send posts as a device of a network of its own.
func (g *steering) send(ctx context.Context, s *service, path string, body []byte, network int) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Forwarded-For", fmt.Sprintf("10.%d.%d.1", network>>8&255, network&255))
	return answerOf(req)
}

func (g *steering) entry(ctx context.Context, channel, id string) (*rollout.Entry, error) {
	ch, err := g.author.server.Channel(ctx, serviceApp, channel)
	if err != nil {
		return nil, err
	}
	_, e, err := ch.Policy.Find(id)
	return e, err
}

// judge holds policy, evidence, audit log and the state that devices get against each other. The guard goes on meanwhile,
// so it asks again until two questions for the policy give the same.
func (g *steering) judge(ctx context.Context, channel, id string) (*rollout.Entry, error) {
	for {
		before, err := g.entry(ctx, channel, id)
		if err != nil {
			return nil, err
		}
		evidence, err := g.author.server.Evidence(ctx, serviceApp, channel, id, true)
		if err != nil {
			return nil, err
		}
		audit, err := g.author.server.Audit(ctx, api.AuditQuery{App: serviceApp, Limit: 200})
		if err != nil {
			return nil, err
		}
		after, err := g.entry(ctx, channel, id)
		if err != nil {
			return nil, err
		}
		if before.To == after.To && before.Hold == after.Hold {
			return after, g.agree(ctx, channel, after, evidence, audit)
		}
	}
}

func (g *steering) agree(ctx context.Context, channel string, e *rollout.Entry, evidence api.EvidenceList, audit []api.AuditEntry) error {
	looked, logged := map[string]int{}, map[string]int{}
	for i, l := range evidence.Looks {
		looked[string(l.Action)]++
		g.try(1)
		if l.N != int64(i+1) || l.Same == nil || !*l.Same {
			g.wrongf("%s: look %d of the guard is number %d, and comes out otherwise when it is computed again", channel, i+1, l.N)
		}
	}
	g.looks += len(evidence.Looks)
	for _, a := range audit {
		if a.Target == e.ID {
			logged[a.Action]++
		}
	}
	halted := map[bool]int{true: 1}[e.Hold == slipstream.HoldHalted]
	for what, n := range map[string][3]int{"halts": {halted, looked["halt"], logged["rollout.halt"]}, "stages": {e.Plan.At, looked["advance"], logged["rollout.advance"]}} {
		g.try(1)
		if n[0] != n[1] || n[1] != n[2] {
			g.wrongf("%s: %d %s are in force, %d are in the evidence, %d in the audit log", channel, n[0], what, n[1], n[2])
		}
	}
	g.try(1)
	if want := e.From + e.Plan.Stages[e.Plan.At].Share; len(e.Plan.Began) != e.Plan.At+1 || e.To != want {
		g.wrongf("%s: the plan is at stage %d, began %d of them, and %d positions have the release", channel, e.Plan.At, len(e.Plan.Began), e.To)
	}
	return g.served(ctx, channel, e)
}

// served waits until every server gives devices the state that the policy makes: a second, says the design.
func (g *steering) served(ctx context.Context, channel string, e *rollout.Entry) error {
	for _, n := range g.nodes {
		g.try(1)
		deadline := time.Now().Add(5 * time.Second)
		for {
			status, raw, err := n.get(ctx, stateOf(channel))
			if err != nil {
				return err
			}
			var hold string
			to := -1
			if status == http.StatusOK {
				s, err := g.author.trust.State(raw)
				if err != nil {
					return err
				}
				if list := s.Packages[mainPkg].Rollouts; len(list) > 0 {
					hold, to = list[0].Hold, list[0].To
				}
			}
			if to >= e.To && (e.Hold == "" || hold == e.Hold) {
				break
			}
			if time.Now().After(deadline) {
				g.wrongf("%s: devices are told of %d positions, held %q; in force are %d, held %q", channel, to, hold, e.To, e.Hold)
				break
			}
			if err := sleepFor(ctx, 20*time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

// capsHold has many workers ask for the places of a rollout with a cap.
func capsHold() Proof {
	return Proof{
		Name: "caps under concurrency", Claim: "a rollout with a cap takes exactly as many devices, whoever asks where and how often, and whenever a server dies",
		Quick: 2 * time.Minute, Full: 10 * time.Minute, Long: 20 * time.Second, Needs: []Need{NeedProcesses()},
		Run: runCaps,
	}
}

const (
	capWorkers = 64
	capPlaces  = 300
)

func runCaps(ctx context.Context, env Env) (_ Result, err error) {
	a, err := serve(ctx, env, "caps", steeringFlags()...)
	if err != nil {
		return Result{}, err
	}
	g := &steering{tally: &tally{}, author: a, nodes: []*service{a.service}}
	defer func() { err = errors.Join(err, a.service.kill()) }()
	rounds := 10
	if env.Quick {
		rounds = 1
	}
	if g.release, err = a.release(ctx, slipstream.DefaultChannel, goodFiles); err != nil {
		return Result{}, err
	}
	random, kills := rand.New(rand.NewPCG(env.Seed, 17)), 0
	for n := range rounds {
		if err := g.take(ctx, fmt.Sprintf("caps-%d", n), func(done <-chan struct{}) (err error) {
			died, err := g.killWhile(ctx, done, random)
			kills += died
			return err
		}); err != nil {
			return g.result("stopped"), err
		}
	}
	r := g.result("places asked for by %d workers, %d given at a time, on SQLite over %d kills", capWorkers, capPlaces, kills)
	if why := NeedPostgres().Missing(env); why != "" {
		r.Notes = append(r.Notes, "not tried on two servers: "+why)
		return r, nil
	}
	two, end, err := twoNodes(ctx, env, "caps-two")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, end()) }()
	for n := range rounds {
		if err := two.take(ctx, fmt.Sprintf("caps-%d", n), nil); err != nil {
			return r, err
		}
	}
	more := two.result("")
	r.Tried, r.Wrong, r.Notes = r.Tried+more.Tried, r.Wrong+more.Wrong, slices.Concat(r.Notes, more.Notes)
	r.Detail += " and on two servers of one PostgreSQL"
	return r, nil
}

// take has three times as many devices as there are places ask for one, each twice, on all servers at the same time, while
// meanwhile runs, if it is not nil.
func (g *steering) take(ctx context.Context, channel string, meanwhile func(done <-chan struct{}) error) error {
	if _, err := g.author.server.CreateChannel(ctx, serviceApp, api.NewChannel{Name: channel}); err != nil {
		return err
	}
	started, err := g.author.server.StartRollout(ctx, serviceApp, channel, api.StartRollout{Release: string(g.release.digest), Cap: capPlaces})
	if err != nil {
		return err
	}
	for _, n := range g.nodes {
		if err := n.awaitEpoch(ctx, g.author.trust, channel, started.Epoch); err != nil {
			return err
		}
	}
	const devices = 3 * capPlaces
	var granted [2][devices]bool
	for again := range granted {
		var all sync.WaitGroup
		failed := make([]error, capWorkers)
		for w := range capWorkers {
			all.Go(func() {
				for i := w; i < devices && failed[w] == nil; i += capWorkers {
					granted[again][i], failed[w] = g.place(ctx, channel, started.Rollout.ID, i, (i+again)%len(g.nodes))
				}
			})
		}
		done, ended := make(chan struct{}), make(chan error, 1)
		if meanwhile != nil {
			go func() { ended <- meanwhile(done) }()
		} else {
			ended <- nil
		}
		all.Wait()
		close(done)
		if err := errors.Join(append(failed, <-ended)...); err != nil {
			return err
		}
	}
	given := 0
	for i := range devices {
		g.try(2)
		if granted[0][i] {
			given++
		}
		if granted[0][i] != granted[1][i] {
			g.wrongf("%s: device %d is told %t first and %t then", channel, i, granted[0][i], granted[1][i])
		}
	}
	g.try(1)
	if given != capPlaces {
		g.wrongf("%s: %d places are given, there are %d", channel, given, capPlaces)
	}
	return nil
}
