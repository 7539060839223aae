package client

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// Waits of the retry: the longest backoff, the longest Retry-After that is waited for on the spot, and the longest that
// is believed at all.
const (
	maxBackoff    = 30 * time.Second
	maxWaitInline = time.Minute
	maxRetryAfter = 24 * time.Hour
)

// network asks a list of servers, of which none is trusted.
type network struct {
	servers []string
	http    *http.Client
	clock   Clock
	rand    io.Reader
	limits  Limits
	good    atomic.Int32 // index of the server that answered last
}

func newNetwork(cfg Config) *network {
	n := &network{clock: cfg.Clock, rand: cfg.Rand, limits: cfg.Limits}
	for _, s := range cfg.Servers {
		n.servers = append(n.servers, strings.TrimRight(s, "/"))
	}
	n.http = &http.Client{Transport: cfg.Transport, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) >= 5 {
			return errors.New("more than 5 redirects")
		}
		if via[0].URL.Scheme == "https" && r.URL.Scheme != "https" {
			return errors.New("redirected from https to " + r.URL.Scheme)
		}
		return nil
	}}
	return n
}

// call is one request that any server may answer.
type call struct {
	method string // GET when empty
	path   string
	header func() http.Header // made anew for every attempt; may be nil
	body   []byte
	accept []int // statuses that are answers; 200 when empty
	once   bool  // one round over the servers is enough
	slow   bool  // not a document: the caller watches the time
}

// busy is an answer that asks to come again later.
type busy struct {
	status int
	after  time.Duration
}

func (b *busy) Error() string { return fmt.Sprintf("status %d", b.status) }

// RetryAfter digs out of err how long the servers asked to wait, 0 when they did not.
func RetryAfter(err error) time.Duration {
	var b *busy
	if errors.As(err, &b) {
		return b.after
	}
	return 0
}

// do asks the servers in turn, the one that answered last first, and again after a random wait, until use accepts an
// answer. A server that answers with wrong bytes is as bad as one that does not answer: the next may be right.
func (n *network) do(ctx context.Context, c call, use func(*http.Response) error) error {
	if len(n.servers) == 0 {
		return slipstream.Refuse(slipstream.ReasonNetwork, "request", "no server is set")
	}
	var last error
	for round := range n.limits.Rounds {
		if round > 0 {
			if err := n.pause(ctx, round, RetryAfter(last)); err != nil {
				return errors.Join(last, err)
			}
		}
		again := false
		first := int(n.good.Load())
		for i := range n.servers {
			at := (first + i) % len(n.servers)
			err := n.ask(ctx, n.servers[at], c, use)
			if err == nil || errors.Is(err, slipstream.ErrNotFound) {
				n.good.Store(int32(at)) // it answers
			}
			if err == nil {
				return nil
			}
			if ctx.Err() != nil {
				return &slipstream.Refusal{Reason: slipstream.ReasonTimeout, What: "request", Err: errors.Join(err, context.Cause(ctx))}
			}
			again = again || retryable(err)
			last = worse(last, err)
		}
		if !again || c.once || errors.Is(last, slipstream.ErrNotFound) || RetryAfter(last) > maxWaitInline {
			return last
		}
	}
	return last
}

// answered is the index of the server that answered last.
func (n *network) answered() int { return int(n.good.Load()) }

// demote puts a server, of which an answer turned out to be wrong later, behind the others.
func (n *network) demote(at int) {
	if len(n.servers) > 0 {
		n.good.Store(int32((at + 1) % len(n.servers)))
	}
}

// worse keeps the error that tells more: "not found" over silence, a refusal of bytes over both, and over all a signature
// that a newer root may explain.
func worse(a, b error) error {
	rank := func(err error) int {
		switch {
		case err == nil:
			return 0
		case slipstream.ReasonOf(err, "") == slipstream.ReasonNetwork:
			return 1
		case errors.Is(err, slipstream.ErrNotFound):
			return 2
		case asksForRoots(err):
			return 4
		}
		return 3
	}
	if rank(a) > rank(b) {
		return a
	}
	return b
}

// asksForRoots reports whether a newer root may make a refused document good.
func asksForRoots(err error) bool {
	reason := slipstream.ReasonOf(err, "")
	return reason == slipstream.ReasonSignatureInvalid || reason == slipstream.ReasonExpiredRoot
}

func retryable(err error) bool {
	reason := slipstream.ReasonOf(err, "")
	return reason == slipstream.ReasonNetwork || reason == slipstream.ReasonServerError || reason == slipstream.ReasonTimeout
}

func (n *network) ask(ctx context.Context, server string, c call, use func(*http.Response) error) error {
	method := orElse(c.method, http.MethodGet)
	if !c.slow {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, n.limits.Document)
		defer cancel()
	}
	var body io.Reader
	if c.body != nil {
		body = bytes.NewReader(c.body)
	}
	req, err := http.NewRequestWithContext(ctx, method, server+c.path, body)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	if c.header != nil {
		req.Header = c.header()
	}
	if c.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept-Encoding", "identity") // offsets and hashes are of the bytes as stored
	req.Header.Set("User-Agent", "slipstream-client/1")
	r, err := n.http.Do(req)
	if err != nil {
		return &slipstream.Refusal{Reason: slipstream.ReasonNetwork, What: "request", Err: err}
	}
	err = n.judge(r, c, use)
	if closed := r.Body.Close(); err == nil && closed != nil && ctx.Err() != nil {
		return closed
	}
	return err
}

func (n *network) judge(r *http.Response, c call, use func(*http.Response) error) error {
	ok := c.accept
	if len(ok) == 0 {
		ok = []int{http.StatusOK}
	}
	switch {
	case slices.Contains(ok, r.StatusCode):
		return use(r)
	case r.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%s: %w", c.path, slipstream.ErrNotFound)
	case r.StatusCode == http.StatusTooManyRequests || r.StatusCode >= 500:
		b := &busy{status: r.StatusCode, after: n.retryAfter(r.Header.Get("Retry-After"))}
		return &slipstream.Refusal{Reason: slipstream.ReasonServerError, What: c.path, Err: b}
	}
	return fmt.Errorf("%s: %w", c.path, statusError(r.StatusCode))
}

// statusError is an answer that says no for good.
type statusError int

func (s statusError) Error() string { return fmt.Sprintf("status %d", int(s)) }

// refusedWhole reports whether a server refused a request for what it holds: sending it again would change nothing.
func refusedWhole(err error) bool {
	var s statusError
	return errors.As(err, &s) && (s == http.StatusBadRequest || s == http.StatusRequestEntityTooLarge || s == http.StatusUnprocessableEntity)
}

// retryAfter reads seconds or an HTTP date (RFC 9110 §10.2.3).
func (n *network) retryAfter(v string) time.Duration {
	var d time.Duration
	if s, err := strconv.ParseInt(v, 10, 32); err == nil {
		d = time.Duration(s) * time.Second
	} else if t, err := http.ParseTime(v); err == nil {
		d = t.Sub(n.clock.Now())
	}
	return min(max(d, 0), maxRetryAfter)
}

// pause waits between two rounds: full jitter under a doubling bound, but never less than the servers asked for.
func (n *network) pause(ctx context.Context, round int, atLeast time.Duration) error {
	bound := min(n.limits.Backoff<<(round-1), maxBackoff)
	return sleep(ctx, n.clock, max(jitter(n.rand, bound), atLeast))
}

// jitter is a random duration in [0, bound). Without randomness it is the bound.
func jitter(rand io.Reader, bound time.Duration) time.Duration {
	var b [8]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil || bound <= 0 {
		return max(bound, 0)
	}
	return time.Duration(binary.BigEndian.Uint64(b[:]) % uint64(bound))
}

// document asks for one small document of at most limit bytes, until accept takes what a server says. body makes it a
// POST of JSON.
func (n *network) document(ctx context.Context, method, path string, body []byte, limit int, accept func(raw []byte) error) error {
	return n.do(ctx, call{method: method, path: path, body: body}, func(r *http.Response) error {
		raw, err := readCapped(r.Body, limit, path)
		if err != nil {
			return err
		}
		return accept(raw)
	})
}

// readCapped reads at most limit bytes and one more: a longer body is refused without reading it.
func readCapped(r io.Reader, limit int, what string) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err != nil {
		return nil, &slipstream.Refusal{Reason: slipstream.ReasonNetwork, What: what, Err: err}
	}
	if len(raw) > limit {
		return nil, slipstream.Refuse(slipstream.ReasonTooLarge, what, "more than %d bytes", limit)
	}
	return raw, nil
}

var errSlow = errors.New("slower than the minimum rate")

// pace watches a download: it cancels ctx when fewer than MinRate bytes a second come in over a window, and when the
// deadline that size allows has passed. stop ends the watch and waits for it.
func (n *network) pace(ctx context.Context, size int64) (_ context.Context, count func(int), stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	var got atomic.Int64
	var watch sync.WaitGroup
	deadline := n.limits.Download + time.Duration(size/n.limits.MinRate)*time.Second
	watch.Go(func() {
		need := n.limits.MinRate * int64(n.limits.Window/time.Second)
		for spent, before := time.Duration(0), int64(0); ; {
			if sleep(ctx, n.clock, n.limits.Window) != nil {
				return
			}
			spent += n.limits.Window
			now := got.Load()
			if now-before < need || spent >= deadline {
				cancel(errSlow)
				return
			}
			before = now
		}
	})
	return ctx, func(n int) { got.Add(int64(n)) }, func() { cancel(nil); watch.Wait() }
}

func decodeAnswer(raw []byte, v any, what string) error {
	if err := json.Unmarshal(raw, v); err != nil {
		return slipstream.Refuse(slipstream.ReasonMalformed, what, "parse: %w", err)
	}
	return nil
}

func cloneWith[K comparable, V any](m map[K]V, k K, v V) map[K]V {
	out := make(map[K]V, len(m)+1)
	for key, value := range m {
		out[key] = value
	}
	out[k] = v
	return out
}
