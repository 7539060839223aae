package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/lab/driver"
)

// killJavaScript kills the client in JavaScript while it updates, starts and confirms.
func killJavaScript() Proof {
	const some, all = 6, 100
	return Proof{
		Name:  "kill -9 (JavaScript)",
		Claim: "after any kill the client in JavaScript runs exactly one whole signed release, no anchor falls, and it reaches the newest",
		Quick: 60 * time.Second, Full: 20 * time.Minute,
		Needs: []Need{NeedProcesses(), needNode()},
		Run: func(ctx context.Context, env Env) (Result, error) {
			kills, t := all, tally{}
			if env.Quick {
				kills = some
			}
			v, err := newNodeVictim(env)
			if err != nil {
				return Result{}, err
			}
			defer v.close()
			for n := range kills {
				err := v.suffer(ctx)
				if err == nil && n%5 == 4 {
					err = v.recover(ctx)
				}
				if ctx.Err() != nil {
					return Result{}, context.Cause(ctx)
				}
				t.try(1)
				if err != nil {
					t.wrongf("kill %d: %v", n+1, err)
					break // what follows would only tell the same again
				}
			}
			return t.result("%d kills while it was busy, %d after it was done", v.busy, t.tried-v.busy), nil
		},
	}
}

// nodeVictim is one device in JavaScript, and the repository that it follows.
type nodeVictim struct {
	env      Env
	repo     *Repository
	clock    *clock
	close    func()
	random   *rand.Rand
	setup    driver.Setup
	releases map[slipstream.Digest]*Release
	last     *Release
	seq      int64
	anchor   int64         // highest that was seen
	takes    time.Duration // about as long as an update, a start and a confirm take
	busy     int           // kills that met it at work
}

func newNodeVictim(env Env) (*nodeVictim, error) {
	c := newClock()
	repo, err := NewRepository(lifeApp, c.Now)
	if err != nil {
		return nil, err
	}
	server := served(repo)
	return &nodeVictim{
		env: env, repo: repo, clock: c, close: server.Close, random: rand.New(rand.NewPCG(env.Seed, 8)), takes: 300 * time.Millisecond, releases: map[slipstream.Digest]*Release{},
		setup: driver.Setup{Dir: filepath.Join(env.Dir, "device"), App: lifeApp, Channel: production, Platform: slipstream.PlatformAny, Runtime: "1.0.0",
			Packages: []string{mainPkg}, Servers: []string{server.URL}, Root: string(repo.Root(1)), Limits: driver.Limits{Document: 5000}},
	}, nil
}

func (v *nodeVictim) publish() error {
	v.seq++
	s := Spec{Package: mainPkg, Seq: v.seq, Files: filesOf(fmt.Sprint("release ", v.seq))}
	for d := range v.releases {
		s.Fallback = append(s.Fallback, d)
	}
	s.Fallback = s.Fallback[:min(len(s.Fallback), 5)]
	v.repo.Codecs = [][]string{nil, {"full/1"}, {"full/1", "changed/1"}}[v.random.IntN(3)]
	r, err := v.repo.Publish(s)
	if err != nil {
		return err
	}
	v.releases[r.Digest], v.last = r, r
	v.repo.Offer(production, r)
	return nil
}

// process starts a new one on the device.
func (v *nodeVictim) process(ctx context.Context) (*driver.Program, error) {
	p, err := startNode(ctx, v.env)
	if err != nil {
		return nil, err
	}
	if _, err := v.tell(ctx, p, driver.DoInit); err != nil {
		return nil, errors.Join(err, p.Kill())
	}
	return p, nil
}

func (v *nodeVictim) tell(ctx context.Context, p *driver.Program, do string) (driver.Answer, error) {
	v.clock.advance(time.Second)
	now := slipstream.At(v.clock.Now())
	c := driver.Command{Do: do, Now: &now}
	if do == driver.DoInit {
		c.Setup = v.setup
	}
	a, err := p.Tell(ctx, c)
	if err == nil && !a.OK {
		err = fmt.Errorf("%s: %s: %s", do, a.Reason, a.Error)
	}
	return a, err
}

// suffer kills a process that updates, and looks at what the next one finds.
func (v *nodeVictim) suffer(ctx context.Context) error {
	if err := v.publish(); err != nil {
		return err
	}
	p, err := v.process(ctx)
	if err != nil {
		return err
	}
	done := make(chan bool, 1)
	go func() {
		for _, do := range []string{driver.DoUpdate, driver.DoStart, driver.DoConfirm} {
			if _, err := v.tell(ctx, p, do); err != nil {
				done <- false
				return
			}
		}
		done <- true
	}()
	time.Sleep(time.Duration(v.random.Int64N(int64(v.takes))))
	if err := p.Kill(); err != nil {
		return err
	}
	if whole := <-done; !whole {
		v.busy++
	}
	next, err := v.process(ctx)
	if err != nil {
		return fmt.Errorf("the next process: %w", err)
	}
	return errors.Join(v.look(ctx, next), next.Close())
}

// look starts the device and compares what runs with what was signed.
func (v *nodeVictim) look(ctx context.Context, p *driver.Program) error {
	a, err := v.tell(ctx, p, driver.DoStart)
	if err != nil {
		return err
	}
	on := a.Packages[mainPkg]
	if on.Anchor < v.anchor {
		return fmt.Errorf("the anchor fell from %d to %d", v.anchor, on.Anchor)
	}
	v.anchor = on.Anchor
	if on.Embedded {
		if v.anchor > 0 {
			return fmt.Errorf("the embedded release runs, after seq %d was confirmed", v.anchor)
		}
		return nil
	}
	r := v.releases[on.Running]
	if r == nil {
		return fmt.Errorf("it runs %s, which nobody published", on.Running.Short())
	}
	want := map[string]slipstream.Digest{}
	for _, f := range r.Manifest.Files {
		want[f.Path] = f.SHA256
	}
	if !maps.Equal(want, on.Files) {
		return fmt.Errorf("it runs seq %d with other files than were signed: %v", r.Manifest.Seq, on.Files)
	}
	return nil
}

// recover lets one update go undisturbed to its confirm.
func (v *nodeVictim) recover(ctx context.Context) error {
	if err := v.publish(); err != nil {
		return err
	}
	p, err := v.process(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	_, err = v.tell(ctx, p, driver.DoUpdate)
	if err == nil {
		err = v.look(ctx, p)
	}
	var a driver.Answer
	if err == nil {
		a, err = v.tell(ctx, p, driver.DoConfirm)
	}
	v.takes = max(time.Since(began), 20*time.Millisecond)
	if err == nil && a.Packages[mainPkg].Running != v.last.Digest {
		err = fmt.Errorf("it runs %s and not the newest release", a.Packages[mainPkg].Running.Short())
	}
	return errors.Join(err, p.Close())
}
