package lab

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/lab/driver"
	"github.com/slipstream-ota/slipstream/lab/siege"
)

// The client in JavaScript, on Node, behind the protocol of docs/lab-protocol.md.
const (
	nodeDriver = "sdk/js/packages/client/tools/driver.mjs"
	nodeClient = "sdk/js/packages/client/dist/esm/device/client.js"
)

// needNode is Node and the built packages of sdk/js.
func needNode() Need {
	return Need{Name: "MISSING: node", Missing: func(env Env) string {
		if why := NeedProgram("node").Missing(env); why != "" {
			return why
		}
		for _, name := range []string{nodeDriver, nodeClient} {
			if _, err := os.Stat(filepath.Join(env.Source, name)); err != nil || env.Source == "" {
				return "the JavaScript client is not built (npm ci && npm run build in sdk/js of a checkout)"
			}
		}
		return ""
	}}
}

func startNode(ctx context.Context, env Env) (*driver.Program, error) {
	return driver.NewProgram(ctx, io.Discard, "node", filepath.Join(env.Source, nodeDriver))
}

// attacksJavaScript does to the client in JavaScript what attacks and bodies do to the one in Go.
func attacksJavaScript() Proof {
	const some = 15
	return Proof{
		Name:  "attacks (JavaScript)",
		Claim: "the same attacks come to nothing on the client in JavaScript, with the same reasons",
		Quick: 60 * time.Second, Full: 30 * time.Minute,
		Needs: []Need{NeedProcesses(), needNode()},
		Run: func(ctx context.Context, env Env) (Result, error) {
			most := 0
			if env.Quick {
				most = some
			}
			cases := chosen(env, most)
			detail := counted(cases) + ", on a real disk"
			if !env.Quick {
				bodies := siege.Bodies()
				cases, detail = append(cases, bodies...), fmt.Sprintf("%s; %d bodies", detail, len(bodies))
			}
			out, err := siege.Storm(ctx, cases, attackers(), func(ctx context.Context) (driver.Driver, error) { return startNode(ctx, env) }, filepath.Join(env.Dir, "devices"))
			return told(out, detail), err
		},
	}
}

// twins lets a device in Go and one in JavaScript live the same random lives.
func twins() Proof {
	const some, all = 2, 60
	return Proof{
		Name:  "twins",
		Claim: "through updates, crashes, restarts, withdrawals, rotations and waits the client in JavaScript is always where the one in Go is",
		Quick: 60 * time.Second, Full: 20 * time.Minute,
		Needs: []Need{NeedProcesses(), needNode()},
		Run: func(ctx context.Context, env Env) (Result, error) {
			lives, t, seen := all, tally{}, map[string]int{}
			if env.Quick {
				lives = some
			}
			for n := range lives {
				seed := env.Seed<<16 + uint64(n)
				steps, err := liveTogether(ctx, env, seed, seen)
				t.try(steps)
				var apart *apartError
				if errors.As(err, &apart) {
					t.wrongf("life %d: %v", seed, err)
				} else if err != nil {
					return Result{}, fmt.Errorf("life %d: %w", seed, err)
				}
			}
			for _, must := range []string{"trial", "staged", string(slipstream.ReasonUpToDate)} {
				if seen[must] == 0 {
					return Result{}, fmt.Errorf("no life came to %q: the proof proves too little", must)
				}
			}
			return t.result("%d lives, each command answered alike: %s", lives, tallied(seen)), nil
		},
	}
}

// tallied says how often what was seen, most often first.
func tallied(seen map[string]int) string {
	names := slices.SortedFunc(maps.Keys(seen), func(a, b string) int { return cmp.Or(cmp.Compare(seen[b], seen[a]), cmp.Compare(a, b)) })
	for i, name := range names {
		names[i] = fmt.Sprintf("%s %d", name, seen[name])
	}
	return strings.Join(names, ", ")
}

// apartError says where two devices part.
type apartError struct {
	steps []string
	found string
}

func (e *apartError) Error() string {
	return fmt.Sprintf("after %s:\n  %s", strings.Join(e.steps, ", "), e.found)
}

// twinLives is the two devices, and the repository that both follow.
type twinLives struct {
	repo    *Repository
	clock   *clock
	random  *rand.Rand
	setup   driver.Setup
	dir     string
	devices [2]driver.Driver
	seq     int64
	all     []*Release // of every package, oldest first
	steps   []string
	seen    map[string]int // on how many packages: staged, on trial, and why
	mu      sync.Mutex     // guards told
	told    []string       // ids of the reports that came, oldest first

	disturbed bool // some answers were wrong: how often each was asked for is each client's own affair
}

const lifeSteps = 40

// liveTogether leads one life and says how many commands were answered alike.
func liveTogether(ctx context.Context, env Env, seed uint64, seen map[string]int) (steps int, err error) {
	c := newClock()
	repo, err := NewRepository(lifeApp, c.Now)
	if err != nil {
		return 0, err
	}
	server := served(repo)
	defer server.Close()
	inNode, err := startNode(ctx, env)
	if err != nil {
		return 0, err
	}
	p := &twinLives{
		repo: repo, clock: c, seen: seen, random: rand.New(rand.NewPCG(seed, 7)), dir: filepath.Join(env.Dir, fmt.Sprint("life-", seed)),
		devices: [2]driver.Driver{&driver.Device{}, inNode},
		setup: driver.Setup{App: lifeApp, Channel: production, Platform: slipstream.PlatformAny, Runtime: "1.0.0", Packages: []string{cartPkg, mainPkg},
			Servers: []string{server.URL}, Root: string(repo.Root(1)), Limits: driver.Limits{Document: 5000}},
	}
	defer func() {
		for _, d := range p.devices {
			err = errors.Join(err, d.Close())
		}
	}()
	repo.heard = func(id string) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.told = append(p.told, id)
	}
	repo.Change(production, func(*Channel) {})
	p.setup.Decisions = p.random.IntN(3) == 0
	if p.random.IntN(2) == 0 {
		p.seq++
		shipped, err := repo.Publish(Spec{Package: mainPkg, Seq: p.seq, Files: filesOf("shipped")})
		if err != nil {
			return 0, err
		}
		p.all = append(p.all, shipped)
		p.setup.Embedded = map[string]string{mainPkg: string(shipped.Envelope)}
		p.steps = append(p.steps, "main 1 is shipped")
	}
	if p.setup.Decisions {
		p.steps = append(p.steps, "with decisions")
	}
	if err := p.tell(ctx, "init"); err != nil {
		return 0, err
	}
	for n := range lifeSteps {
		if err := p.step(ctx); err != nil {
			return n, err
		}
	}
	return lifeSteps, errors.Join(p.tell(ctx, driver.DoReport), p.compareReports())
}

// compareReports looks at what both devices told of their lives: the same, in the same order, but for the words of details.
func (p *twinLives) compareReports() error {
	byDevice := map[string][]string{}
	reports := map[string]slipstream.Event{}
	for _, e := range p.repo.Reports() {
		reports[e.ID] = e
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range p.told {
		e := reports[id]
		device := e.Device
		e.ID, e.Device, e.Detail = "", "", ""
		if p.disturbed {
			e.Bytes = 0
		}
		raw, err := json.Marshal(e)
		if err != nil {
			return err
		}
		byDevice[device] = append(byDevice[device], string(raw))
		p.seen["report: "+string(e.Kind)]++
	}
	if len(byDevice) > 2 {
		return fmt.Errorf("%d devices reported and not two", len(byDevice))
	}
	var both [2][]string // of a device to which nothing happens there is nothing to tell
	for i, device := range slices.Sorted(maps.Keys(byDevice)) {
		both[i] = byDevice[device]
	}
	if !slices.Equal(both[0], both[1]) {
		at := 0
		for at < min(len(both[0]), len(both[1])) && both[0][at] == both[1][at] {
			at++
		}
		return &apartError{slices.Clone(p.steps), fmt.Sprintf("one told   %s\n  the other %s", strings.Join(both[0][at:], "\n    "), strings.Join(both[1][at:], "\n    "))}
	}
	return nil
}

// served puts a repository behind a real connection.
func served(repo *Repository) *httptest.Server {
	return httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", "repository" },
		Transport:    repo,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	})
}

// step is what happens next in a life.
func (p *twinLives) step(ctx context.Context) error {
	switch n := p.random.IntN(20); {
	case n < 3:
		if err := p.publish(); err != nil {
			return err
		}
		return p.tell(ctx, driver.DoUpdate)
	case n < 5:
		return p.tell(ctx, driver.DoUpdate)
	case n < 10:
		return p.tell(ctx, driver.DoStart)
	case n < 13:
		return p.tell(ctx, driver.DoConfirm)
	case n < 15:
		return p.tell(ctx, driver.DoCrash)
	case n < 16:
		return p.tell(ctx, driver.DoInit)
	case n < 17:
		return p.wait(ctx)
	case n < 18 && len(p.all) > 0:
		r := p.all[p.random.IntN(len(p.all))]
		p.steps = append(p.steps, fmt.Sprintf("withdraw %s %d", r.Manifest.Package, r.Manifest.Seq))
		p.repo.Withdraw(production, r)
		return p.tell(ctx, driver.DoUpdate)
	case n < 19 && len(p.all) > 1:
		r := p.all[p.random.IntN(len(p.all))]
		p.steps = append(p.steps, fmt.Sprintf("offer %s %d again", r.Manifest.Package, r.Manifest.Seq))
		p.repo.Offer(production, r)
		return p.tell(ctx, driver.DoUpdate)
	}
	return p.change(ctx)
}

// wait lets time pass: seconds, or longer than a failed release must wait for its further try.
func (p *twinLives) wait(ctx context.Context) error {
	d := []time.Duration{10 * time.Second, time.Minute, 7 * time.Hour, 25 * time.Hour}[p.random.IntN(4)]
	p.steps = append(p.steps, "wait "+d.String())
	p.clock.advance(d)
	return p.tell(ctx, driver.DoState)
}

// change is what happens seldom: the shell is updated, or keys are replaced.
func (p *twinLives) change(ctx context.Context) error {
	switch p.random.IntN(4) {
	case 3:
		return p.disturb(ctx)
	case 0:
		p.setup.Runtime = []string{"1.0.0", "2.0.0"}[p.random.IntN(2)]
		p.steps = append(p.steps, "shell "+p.setup.Runtime)
		return p.tell(ctx, driver.DoInit)
	case 1:
		p.steps = append(p.steps, "another state key")
		err := p.repo.Rotate(func(k *Keys) { k.State[0] = Key(fmt.Sprint("state ", len(p.steps))) })
		return errors.Join(err, p.tell(ctx, driver.DoUpdate))
	}
	p.steps = append(p.steps, "another release key")
	return p.repo.Rotate(func(k *Keys) { k.Release[0] = Key(fmt.Sprint("release ", len(p.steps))) })
}

// disturb lets the answers about one kind of thing be wrong for one update.
func (p *twinLives) disturb(ctx context.Context) error {
	about := []string{"/state/", "/roots/", "/manifests/", "/containers", "/blobs/", "/v1/check", "/v1/"}[p.random.IntN(7)]
	how := []string{"not there", "an error", "a page", "half of it"}[p.random.IntN(4)]
	p.steps = append(p.steps, about+": "+how)
	p.disturbed = true
	p.repo.tamperWith(func(a *Response) {
		if !strings.Contains(a.Request.URL.Path, about) {
			return
		}
		switch how {
		case "not there":
			a.Status, a.Bytes = http.StatusNotFound, nil
		case "an error":
			a.Status, a.Bytes = http.StatusInternalServerError, nil
		case "a page":
			a.Bytes = []byte("<!doctype html>")
		case "half of it":
			a.Bytes = a.Bytes[:len(a.Bytes)/2]
		}
		a.Header.Del("Content-Length")
	})
	defer p.repo.tamperWith(nil)
	if err := p.publish(); err != nil {
		return err
	}
	return p.tell(ctx, driver.DoUpdate)
}

// publish makes a release of one package, that at times needs one of the other or fits one shell alone, and offers it.
func (p *twinLives) publish() error {
	p.seq++
	s := Spec{Package: []string{cartPkg, mainPkg}[p.random.IntN(2)], Seq: p.seq, Files: filesOf(fmt.Sprint("release ", p.seq))}
	var carts []*Release
	for _, r := range p.all {
		if r.Manifest.Package == s.Package {
			s.Fallback = append(s.Fallback, r.Digest)
		} else if r.Manifest.Package == cartPkg {
			carts = append(carts, r)
		}
	}
	if len(carts) > 0 && p.random.IntN(3) == 0 {
		s.Requires = needs(cartPkg, carts[len(carts)-1].Manifest.Seq)
	}
	if p.random.IntN(5) == 0 {
		s.Runtime = slipstream.Runtime{Range: ">=2.0.0"}
	}
	r, err := p.repo.Publish(s)
	if err != nil {
		return err
	}
	p.all = append(p.all, r)
	p.steps = append(p.steps, fmt.Sprintf("publish %s %d", s.Package, s.Seq))
	p.repo.Offer(production, r)
	return nil
}

// tell gives both devices a command. A second between two commands keeps the order of times.
func (p *twinLives) tell(ctx context.Context, do string) error {
	p.steps = append(p.steps, do)
	p.clock.advance(time.Second)
	now := slipstream.At(p.clock.Now())
	var said [2]driver.Answer
	var shown [2][]byte
	for i, d := range p.devices {
		c := driver.Command{Do: do, Now: &now}
		if do == driver.DoInit {
			c.Setup = p.setup
			c.Dir = filepath.Join(p.dir, []string{"go", "node"}[i])
		}
		a, err := d.Tell(ctx, c)
		if err != nil {
			return fmt.Errorf("%s: %w", strings.Join(p.steps, ", "), err)
		}
		said[i] = a
		a.Error, a.Warnings = "", nil
		if shown[i], err = json.Marshal(a); err != nil {
			return err
		}
	}
	if !bytes.Equal(shown[0], shown[1]) {
		return &apartError{slices.Clone(p.steps), fmt.Sprintf("Go         %s (%s)\n  JavaScript %s (%s)", shown[0], said[0].Error, shown[1], said[1].Error)}
	}
	p.note(do, said[0])
	return nil
}

func (p *twinLives) note(do string, a driver.Answer) {
	for _, on := range a.Packages {
		if on.Staged != "" {
			p.seen["staged"]++
		}
		if do == driver.DoStart && on.Trial {
			p.seen["trial"]++
		}
		if do == driver.DoUpdate && on.Why != "" {
			p.seen[string(on.Why)]++
		}
	}
}
