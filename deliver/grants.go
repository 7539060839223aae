package deliver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/internal/httpx"
	"github.com/slipstream-ota/slipstream/store"
)

// Limits of asking for places.
const (
	maxGrantBody     = 4 << 10
	maxRolloutID     = 64
	grantBatch       = 512  // requests that one commit takes
	maxGrantsWaiting = 8192 // requests that may wait before others are refused
	defaultGrantRate = 50   // requests per second of one network
)

// cappedRollout names a rollout with a cap where it stands.
type cappedRollout struct{ app, channel, id string }

// places are how many devices such a rollout takes, as of an epoch.
type places struct{ capacity, epoch int64 }

// placesOf keeps the rollouts that give places: those that stand in a state and that devices would take.
func placesOf(caps map[cappedRollout]int64, states map[stateKey]*stateEntry) map[cappedRollout]places {
	out := map[cappedRollout]places{}
	for k, e := range states {
		if e.plan == nil {
			continue
		}
		for _, p := range e.plan.State().Packages {
			for i := range p.Rollouts {
				r := &p.Rollouts[i]
				of := cappedRollout{k.app, k.channel, r.ID}
				capacity, known := caps[of]
				if !known || !r.Grant || r.Hold != "" || slices.Contains(p.Withdrawn, r.Manifest) {
					continue
				}
				if other, stands := out[of]; !stands || e.epoch < other.epoch {
					out[of] = places{capacity, e.epoch}
				}
			}
		}
	}
	return out
}

// grants gives a device a place in a rollout with a cap, or says that there is none. Which rollouts have places is in the
// snapshot; who has one is in the store alone.
func (s *Server) grants(w http.ResponseWriter, r *http.Request) error {
	snap, err := s.current()
	if err != nil {
		httpx.LeaveBody(w, r)
		return err
	}
	free := s.limitReading(w)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxGrantBody))
	if err != nil {
		return readError(err)
	}
	free()
	req, err := parseGrant(body)
	if err != nil {
		return err
	}
	p, ok := snap.caps[cappedRollout{req.App, req.Channel, req.Rollout}]
	if !ok {
		return fmt.Errorf("app %q, channel %q: a rollout %.64q that gives places is %w", req.App, req.Channel, req.Rollout, slipstream.ErrNotFound)
	}
	sender := s.sender(r)
	if err := s.bounded(s.grantQuota, "requests for places", sender, s.cfg.Reports.Network(sender), 1); err != nil {
		return err
	}
	given, err := s.grantQueue.ask(r.Context(), store.GrantRequest{App: req.App, Rollout: req.Rollout, Device: req.Device, Cap: p.capacity})
	if err != nil {
		return err
	}
	s.metrics.granted(given)
	answer, err := json.Marshal(slipstream.GrantAnswer{Granted: given, Epoch: p.epoch})
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	h := w.Header()
	h["Content-Type"] = s.headers.json
	h["Cache-Control"] = s.headers.noStore
	h["X-Content-Type-Options"] = s.headers.noSniff
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(answer) // a client that has gone away asks again and is told the same
	return nil
}

// parseGrant reads the body of a request for a place by the rules of parseCheck.
func parseGrant(body []byte) (slipstream.GrantRequest, error) {
	var req slipstream.GrantRequest
	refuse := func(err error) (slipstream.GrantRequest, error) {
		return slipstream.GrantRequest{}, &slipstream.Refusal{Reason: slipstream.ReasonMalformed, What: "request for a place", Err: err}
	}
	if !utf8.Valid(body) {
		return refuse(errors.New("the body is not UTF-8"))
	}
	c := &cursor{text: string(body)}
	err := c.object(maxDepth, func(name string) error {
		switch name {
		case "app":
			return c.textInto(&req.App)
		case "channel":
			return c.textInto(&req.Channel)
		case "rollout":
			return c.textInto(&req.Rollout)
		case "device":
			return c.textInto(&req.Device)
		}
		return errUnknown
	})
	if err == nil && !c.atEnd() {
		err = c.failure("data after the end")
	}
	if err == nil {
		err = errors.Join(slipstream.CheckName("app", req.App), slipstream.CheckName("channel", req.Channel))
	}
	switch {
	case err != nil:
		return refuse(err)
	case req.Rollout == "" || len(req.Rollout) > maxRolloutID:
		return refuse(fmt.Errorf("rollout must be an id of at most %d bytes", maxRolloutID))
	case !slipstream.Digest(req.Device).Valid():
		return refuse(errors.New("device must be 64 lower-case hex digits"))
	}
	return req, nil
}

// grantQueue groups requests for places into commits: while one is written, those that come meanwhile gather for the next.
// There is no goroutine of its own: the first who waits writes for all who wait with it.
type grantQueue struct {
	take    func(ctx context.Context, batch []store.GrantRequest) ([]bool, error)
	timeout time.Duration // of one commit

	mu      sync.Mutex
	waiting []*grantAsk // when one of them has the turn, it is the first
	busy    bool        // somebody has the turn, or writes
}

// grantAsk is one request on its way into a commit. Both channels take one value without a reader.
type grantAsk struct {
	request store.GrantRequest
	turn    chan struct{}
	done    chan grantAnswer
}

type grantAnswer struct {
	given bool
	err   error
}

// ask answers after the commit. A caller whose ctx ends may have got its place all the same; asking again tells.
func (q *grantQueue) ask(ctx context.Context, r store.GrantRequest) (bool, error) {
	a := &grantAsk{request: r, turn: make(chan struct{}, 1), done: make(chan grantAnswer, 1)}
	if err := q.enter(a); err != nil {
		return false, err
	}
	select {
	case <-a.turn:
		q.write(ctx)
	case got := <-a.done:
		return got.given, got.err
	case <-ctx.Done():
		q.leave(a)
		return false, fmt.Errorf("wait for a place: %w", ctx.Err())
	}
	got := <-a.done
	return got.given, got.err
}

func (q *grantQueue) enter(a *grantAsk) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) >= maxGrantsWaiting {
		return fmt.Errorf("ask for a place: %d are waiting: %w", len(q.waiting), slipstream.ErrUnavailable)
	}
	q.waiting = append(q.waiting, a)
	if !q.busy {
		q.passTurn()
	}
	return nil
}

// passTurn gives the turn to the first who waits. mu is held.
func (q *grantQueue) passTurn() {
	q.busy = len(q.waiting) > 0
	if q.busy {
		q.waiting[0].turn <- struct{}{}
	}
}

// leave takes back a request that nobody writes yet; with the turn, when it had it.
func (q *grantQueue) leave(a *grantAsk) {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, a)
	if i < 0 {
		return
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	if len(a.turn) > 0 {
		q.passTurn()
	}
}

// write commits the first of those who wait, the caller among them, and hands the turn on.
func (q *grantQueue) write(ctx context.Context) {
	q.mu.Lock()
	n := min(len(q.waiting), grantBatch)
	asks := slices.Clone(q.waiting[:n])
	q.waiting = slices.Delete(q.waiting, 0, n)
	q.mu.Unlock()
	var given []bool
	err := errors.New("give places: the writer broke off")
	defer func() { q.answer(asks, given, err) }()

	batch := make([]store.GrantRequest, len(asks))
	for i, a := range asks {
		batch[i] = a.request
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), q.timeout) // it writes for others too
	defer cancel()
	if given, err = q.take(ctx, batch); err == nil && len(given) != len(batch) {
		err = fmt.Errorf("give places: the store answered for %d of %d requests", len(given), len(batch))
	}
}

// answer tells those whose requests were written. When the store is away, those who wait behind them are told so too.
func (q *grantQueue) answer(asks []*grantAsk, given []bool, err error) {
	q.mu.Lock()
	if errors.Is(err, slipstream.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		asks, q.waiting = append(asks, q.waiting...), nil
	}
	q.passTurn()
	q.mu.Unlock()
	for i, a := range asks {
		if err != nil {
			a.done <- grantAnswer{err: err}
		} else {
			a.done <- grantAnswer{given: given[i]}
		}
	}
}
