package deliver

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/internal/httpx"
	"github.com/slipstream-ota/slipstream/store"
)

const (
	maxGrantBody = 4 << 10
	grantBatch   = 512                  // devices that one transaction answers
	grantQueue   = 8192                 // devices that may wait before others are refused
	grantWait    = 2 * time.Millisecond // that the first of a batch waits for company
)

// cappedRollout names a rollout with a cap where it stands.
type cappedRollout struct{ app, channel, id string }

// grantCall is one device on its way into a batch.
type grantCall struct {
	request store.GrantRequest
	done    chan grantAnswer // of capacity 1, so that the writer never waits for a device that gave up
}

type grantAnswer struct {
	given bool
	err   error
}

// grants answers whether a device has a place in a rollout with a cap. It is the one question of devices that is not
// answered from memory: a place is given in a durable transaction, which many devices share.
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
	request, err := readGrant(snap, body)
	if err != nil {
		return err
	}
	sender := s.sender(r)
	if err := s.within(sender, s.cfg.Reports.Network(sender), 1); err != nil {
		return err
	}
	given, err := s.place(r.Context(), request)
	if err != nil {
		return err
	}
	answer, err := json.Marshal(map[string]bool{"granted": given})
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	h := w.Header()
	h["Content-Type"] = s.headers.json
	h["Cache-Control"] = s.headers.noStore
	h["X-Content-Type-Options"] = s.headers.noSniff
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(answer) // given already: a device that has gone away will ask again
	return nil
}

// readGrant reads a device's question and looks its rollout up.
func readGrant(snap *snapshot, body []byte) (store.GrantRequest, error) {
	var q struct{ App, Channel, Rollout, Device string }
	d := json.NewDecoder(bytes.NewReader(body))
	if err := d.Decode(&q); err != nil {
		return store.GrantRequest{}, slipstream.Invalidf("the body is no JSON object of texts: %w", err)
	}
	if d.More() {
		return store.GrantRequest{}, slipstream.Invalidf("the body goes on after its object")
	}
	if !slipstream.Digest(q.Device).Valid() {
		return store.GrantRequest{}, slipstream.Invalidf("device: must be 64 lower-case hex digits")
	}
	places, ok := snap.caps[cappedRollout{q.App, q.Channel, q.Rollout}]
	if !ok {
		return store.GrantRequest{}, fmt.Errorf("app %.64q, channel %.64q: a rollout %.64q with a cap: %w", q.App, q.Channel, q.Rollout, slipstream.ErrNotFound)
	}
	return store.GrantRequest{App: q.App, Rollout: q.Rollout, Device: q.Device, Cap: places}, nil
}

// place waits until a batch has answered for the device.
func (s *Server) place(ctx context.Context, request store.GrantRequest) (bool, error) {
	c := &grantCall{request: request, done: make(chan grantAnswer, 1)}
	if s.stopping.Load() {
		return false, fmt.Errorf("give a place: the server is stopping: %w", slipstream.ErrUnavailable)
	}
	select {
	case s.asking <- c:
	default:
		return false, fmt.Errorf("give a place: %d devices are waiting: %w", grantQueue, slipstream.ErrUnavailable)
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.StoreTimeout)
	defer cancel()
	select {
	case a := <-c.done:
		return a.given, a.err
	case <-ctx.Done():
		return false, fmt.Errorf("wait for a place: %w: %w", context.Cause(ctx), slipstream.ErrUnavailable)
	}
}

// giveGrants answers batch by batch until ctx ends.
func (s *Server) giveGrants(ctx context.Context) {
	for {
		select {
		case c := <-s.asking:
			s.giveBatch(ctx, s.gatherGrants(c))
		case <-ctx.Done():
			return
		}
	}
}

func (s *Server) gatherGrants(first *grantCall) []*grantCall {
	calls := []*grantCall{first}
	timer := time.NewTimer(grantWait)
	defer timer.Stop()
	for len(calls) < grantBatch {
		select {
		case c := <-s.asking:
			calls = append(calls, c)
		case <-timer.C:
			return calls
		}
	}
	return calls
}

// giveBatch outlives ctx: a batch that has begun is answered.
func (s *Server) giveBatch(ctx context.Context, calls []*grantCall) {
	batch := make([]store.GrantRequest, len(calls))
	for i, c := range calls {
		batch[i] = c.request
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.StoreTimeout)
	defer cancel()
	given, err := s.cfg.Store.Grants().Take(ctx, batch)
	for i, c := range calls {
		if err != nil {
			c.done <- grantAnswer{err: fmt.Errorf("give places: %w", err)}
			continue
		}
		c.done <- grantAnswer{given: given[i]}
	}
}
