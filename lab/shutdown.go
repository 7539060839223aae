package lab

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/internal/pgcluster"
)

const (
	keptClients  = 6 // that keep their connection
	freshClients = 3 // that open a new one for each request
	drainLimit   = 20 * time.Second
)

// shutdown stops the real server with SIGTERM while devices ask it.
func shutdown() Proof {
	return Proof{
		Name: "sigterm under load", Claim: "every request that the server took is answered, and what it accepted is kept",
		Quick: time.Minute, Full: 10 * time.Minute, Needs: []Need{NeedProcesses()},
		Run: runShutdown,
	}
}

func runShutdown(ctx context.Context, env Env) (_ Result, err error) {
	a, err := serve(ctx, env, "shutdown")
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, a.service.kill()) }()
	s := a.service
	e, err := a.release(ctx, slipstream.DefaultChannel, serverFiles)
	if err != nil {
		return Result{}, err
	}
	rounds := 40
	if env.Quick {
		rounds = 5
	}
	t := &tally{}
	total := newCrowd(s, e, t)
	var drains []time.Duration
	for round := range rounds {
		if err := ctx.Err(); err != nil {
			return Result{}, context.Cause(ctx)
		}
		total.gather(ctx, env.Seed+uint64(round))
		time.Sleep(200 * time.Millisecond)
		begun := time.Now()
		total.closing.Store(true)
		stopped := s.terminate(drainLimit)
		drains = append(drains, time.Since(begun))
		total.leave()
		if stopped != nil {
			t.wrongf("round %d: the server does not end well: %v", round, stopped)
		}
		if _, err := s.start(ctx); err != nil {
			return Result{}, err
		}
		total.closing.Store(false)
		if err := total.auditReports(ctx, fmt.Sprintf("round %d", round)); err != nil {
			return Result{}, err
		}
	}
	t.try(int(total.answered.Load()))
	longest := time.Duration(0)
	for _, d := range drains {
		longest = max(longest, d)
	}
	return t.result("requests answered over %d restarts by SIGTERM; %d more met the gap of a restart; longest stop %s", rounds, total.gap.Load(),
		longest.Round(time.Millisecond)), s.terminate(drainLimit)
}

// twoServers stops and kills one of two servers behind one database.
func twoServers() Proof {
	return Proof{
		Name: "one of two servers dies", Claim: "the other one goes on, without a failed request, and knows every change within a second",
		Quick: time.Minute, Full: 10 * time.Minute, Long: 33 * time.Second, Needs: []Need{NeedProcesses(), NeedPostgres()},
		Run: runTwoServers,
	}
}

func runTwoServers(ctx context.Context, env Env) (_ Result, err error) {
	cluster, err := pgcluster.Start()
	if err != nil {
		return Result{}, fmt.Errorf("start PostgreSQL: %w", err)
	}
	defer func() { err = errors.Join(err, cluster.Stop()) }()
	database, _, err := cluster.Database()
	if err != nil {
		return Result{}, err
	}
	p, err := newProgram(env, filepath.Join(env.Dir, "two-servers"))
	if err != nil {
		return Result{}, err
	}
	var nodes [2]*service
	for i := range nodes {
		nodes[i], err = newService(p, filepath.Join(p.dir, fmt.Sprintf("data-%d", i)), "--database", database,
			"--blobs", filepath.Join(p.dir, "blobs"), "--secret", filepath.Join(p.dir, "secret"))
		if err != nil {
			return Result{}, err
		}
		defer func() { err = errors.Join(err, nodes[i].kill()) }()
	}
	if err := nodes[0].setUp(ctx); err != nil {
		return Result{}, err
	}
	nodes[1].token = nodes[0].token
	if _, err := nodes[1].start(ctx); err != nil {
		return Result{}, err
	}
	a, err := newAuthor(nodes[0])
	if err != nil {
		return Result{}, err
	}
	rounds := 30
	if env.Quick {
		rounds = 4
	}
	w := &pair{tally: &tally{}, author: a}
	for round := range rounds {
		if err := w.lose(ctx, round, nodes[round%2], nodes[1-round%2]); err != nil {
			return Result{}, err
		}
	}
	return w.tally.result("requests of the other one over %d deaths; a change reached it within %s at most", rounds, w.slowest.Round(time.Millisecond)),
		errors.Join(nodes[0].terminate(drainLimit), nodes[1].terminate(drainLimit))
}

// pair is two servers of one database.
type pair struct {
	tally   *tally
	author  *author
	slowest time.Duration
}

// lose kills one server in the middle of a publish, by turns with SIGKILL and SIGTERM. The other one is asked all the
// time, and the publisher goes on with it.
func (w *pair) lose(ctx context.Context, round int, dies, stays *service) (err error) {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	w.author.service = dies
	if w.author.server, err = dies.admin(); err != nil {
		return err
	}
	e, err := w.author.release(ctx, slipstream.DefaultChannel, serverFiles)
	if err != nil {
		return err
	}
	if err := w.reaches(ctx, stays, e.epoch); err != nil {
		return err
	}
	others := newCrowd(stays, e, w.tally)
	others.gather(ctx, uint64(round))
	defer others.leave()

	publishing, stop := context.WithCancel(ctx)
	defer stop()
	var publisher sync.WaitGroup
	publisher.Go(func() {
		for publishing.Err() == nil {
			if _, err := w.author.release(publishing, slipstream.DefaultChannel, serverFiles); err != nil {
				return // cut off, as it must be
			}
		}
	})
	time.Sleep(time.Duration(50+rand.IntN(150)) * time.Millisecond)
	if round%4 < 2 {
		err = dies.kill()
	} else {
		err = dies.terminate(drainLimit)
	}
	stop()
	publisher.Wait()
	if err != nil {
		return err
	}

	w.author.service = stays
	if w.author.server, err = stays.admin(); err != nil {
		return err
	}
	after, err := w.author.release(ctx, slipstream.DefaultChannel, serverFiles)
	if err != nil {
		w.tally.wrongf("round %d: nothing can be published through the other server: %v", round, err)
		return nil
	}
	if err := w.reaches(ctx, stays, after.epoch); err != nil {
		return err
	}
	others.leave()
	if _, err := dies.start(ctx); err != nil {
		return err
	}
	w.tally.try(int(others.answered.Load()))
	if err := w.reaches(ctx, dies, after.epoch); err != nil {
		return err
	}
	return others.auditReports(ctx, fmt.Sprintf("round %d", round))
}

// reaches waits until a server serves an epoch, which should take less than a second.
func (w *pair) reaches(ctx context.Context, s *service, epoch int64) error {
	begun := time.Now()
	if err := s.awaitEpoch(ctx, w.author.trust, slipstream.DefaultChannel, epoch); err != nil {
		if ctx.Err() != nil {
			return err
		}
		w.tally.wrongf("a change does not reach the other server: %v", err)
	}
	w.slowest = max(w.slowest, time.Since(begun))
	return nil
}

const statePath = "/v1/apps/" + serviceApp + "/channels/" + slipstream.DefaultChannel + "/state/any"

// crowd are clients of one server that know what became of each of their requests.
type crowd struct {
	service  *service
	edition  *edition
	tally    *tally
	closing  atomic.Bool // the server was asked to end
	answered atomic.Int64
	gap      atomic.Int64 // requests for which no connection was to be had
	events   atomic.Int64

	stop    context.CancelFunc
	clients sync.WaitGroup

	mu       sync.Mutex
	accepted []slipstream.Event
}

func newCrowd(s *service, e *edition, t *tally) *crowd {
	return &crowd{service: s, edition: e, tally: t}
}

// gather lets the clients begin, leave ends them.
func (c *crowd) gather(ctx context.Context, seed uint64) {
	ctx, c.stop = context.WithCancel(ctx)
	for i := range keptClients + freshClients {
		c.clients.Go(func() {
			one := &caller{crowd: c, keeps: i < keptClients, random: rand.New(rand.NewPCG(seed, uint64(i)))}
			for ctx.Err() == nil && one.call(ctx) {
			}
			one.hangUp()
		})
	}
}

func (c *crowd) leave() {
	c.stop()
	c.clients.Wait()
}

// auditReports sends again what was accepted: the server must know it.
func (c *crowd) auditReports(ctx context.Context, when string) error {
	accepted := c.accepted
	c.accepted = nil
	g := &raider{tally: c.tally, service: c.service, accepted: accepted, random: rand.New(rand.NewPCG(1, 1))}
	return g.auditReports(ctx, when)
}

// caller is one client. It speaks HTTP itself, so that nothing is tried again behind its back.
type caller struct {
	*crowd
	keeps  bool
	random *rand.Rand

	conn   net.Conn
	reader *bufio.Reader
	used   int  // requests on this connection
	late   bool // it was made when the server was asked to end already
}

func (c *caller) hangUp() {
	if c.conn != nil {
		c.conn.Close() // nothing is expected of it any more
		c.conn = nil
	}
}

// call makes one request. It reports whether to go on: after the listener is closed there is nobody to ask.
func (c *caller) call(ctx context.Context) bool {
	late := c.closing.Load()
	if c.conn == nil {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", c.service.address)
		if err != nil {
			if ctx.Err() == nil && !late && !c.closing.Load() {
				c.tally.wrongf("no connection: %v", err)
			}
			c.gap.Add(1)
			return false
		}
		c.conn, c.reader, c.used, c.late = conn, bufio.NewReader(conn), 0, late || c.closing.Load()
	}
	req, event := c.request()
	err := c.exchange(req, event)
	c.used++
	switch {
	case err == nil:
		c.answered.Add(1)
	case ctx.Err() != nil && !c.closing.Load():
	case c.used == 1 && (c.late || c.closing.Load()) && errors.Is(err, errNoAnswer):
		c.gap.Add(1) // the connection waited for a server that took no more
	default:
		c.tally.wrongf("request %d of a connection, %s %s, while the server was asked to end: %t: %v", c.used, req.Method, req.URL.Path, c.closing.Load(), err)
	}
	if err != nil || !c.keeps {
		c.hangUp()
	}
	return true
}

// request is one of those that devices make.
func (c *caller) request() (*http.Request, *slipstream.Event) {
	method, path, body := http.MethodGet, statePath, []byte(nil)
	var event *slipstream.Event
	switch c.random.IntN(5) {
	case 0:
		path = "/v1/manifests/" + string(c.edition.digest)
	case 1:
		path = "/v1/blobs/" + string(c.edition.manifest.Files[0].SHA256)
	case 2:
		n := c.events.Add(1)
		event = &slipstream.Event{ID: fmt.Sprintf("lab-%d-%x", n, c.random.Uint64()), Kind: slipstream.KindConfirmed, App: serviceApp,
			Channel: slipstream.DefaultChannel, Package: mainPkg, Device: string(c.edition.digest)}
		method, path = http.MethodPost, "/v1/reports"
		body, _ = json.Marshal(event) // of plain texts, cannot fail
	}
	req, _ := http.NewRequest(method, c.service.url+path, bytes.NewReader(body)) // of constant parts
	req.Close = !c.keeps
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, event
}

// errNoAnswer says that the connection ended before the first byte of an answer.
var errNoAnswer = errors.New("no answer")

func (c *caller) exchange(req *http.Request, event *slipstream.Event) error {
	if err := c.conn.SetDeadline(time.Now().Add(drainLimit)); err != nil {
		return err
	}
	if err := req.Write(c.conn); err != nil {
		return fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	if _, err := c.reader.Peek(1); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			err = fmt.Errorf("%w: %w", errNoAnswer, err)
		}
		return err
	}
	res, err := http.ReadResponse(c.reader, req)
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	body, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return fmt.Errorf("read body: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d: %s", res.StatusCode, body)
	}
	if event != nil {
		c.mu.Lock()
		c.accepted = append(c.accepted, *event)
		c.mu.Unlock()
	}
	if res.Close {
		c.hangUp()
	}
	return nil
}
