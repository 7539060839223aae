// Package live listens for changes of a channel: the device's end of GET /v1/live.
//
// It is an extra. Whatever goes wrong is waited out in silence, longer and longer, and the device polls as it would
// without. What a server says here is never trusted: it only makes the device look sooner.
package live

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Times and sizes.
const (
	answerTime = 30 * time.Second // for the head of an answer
	silence    = 90 * time.Second // without a byte, after which a connection is dead: servers beat at least every 30 s
	firstWait  = 5 * time.Second  // longest wait before the first attempt to come back
	longest    = 10 * time.Minute
	notHere    = time.Hour // where a server has no live connections
	settled    = time.Minute
	breath     = time.Second // between two events that are acted on
	maxLine    = 4 << 10
)

// Clock tells the time and waits.
type Clock interface {
	Now() time.Time
	After(d time.Duration) <-chan time.Time
}

// Config says where to listen.
type Config struct {
	HTTP         *http.Client
	Servers      []string // base URLs without a slash at the end, tried in turn
	App, Channel string
	Epoch        func() int64 // the newest that is known, so that a server need not tell it
	Clock        Clock
	Rand         io.Reader
	Debug        func(msg string, args ...any) // of what is waited out; nil for nobody
}

// Listen calls changed with the data of every event that tells of a change, until ctx ends.
func Listen(ctx context.Context, cfg Config, changed func(data []byte)) {
	if len(cfg.Servers) == 0 {
		return
	}
	l := &listener{Config: cfg, changed: changed, retry: firstWait}
	failures := 0
	for at := 0; ctx.Err() == nil; at = (at + 1) % len(cfg.Servers) {
		began := cfg.Clock.Now()
		err := l.once(ctx, cfg.Servers[at])
		if ctx.Err() != nil {
			return
		}
		if cfg.Clock.Now().Sub(began) >= settled {
			failures = 0
		}
		wait := l.wait(err, failures)
		failures++
		if cfg.Debug != nil {
			cfg.Debug("no live connection", "server", cfg.Servers[at], "wait", wait, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-cfg.Clock.After(wait):
		}
	}
}

type listener struct {
	Config
	changed func(data []byte)
	retry   time.Duration // what the server wants as the first wait
}

// answerError is an answer that is no stream.
type answerError struct {
	status int
	after  time.Duration
}

func (e *answerError) Error() string { return fmt.Sprintf("status %d", e.status) }

// wait is the time until the next attempt: full jitter under a bound that doubles, and never less than was asked for.
func (l *listener) wait(err error, failures int) time.Duration {
	bound := min(l.retry<<min(failures, 10), max(longest, l.retry))
	var a *answerError
	if errors.As(err, &a) {
		switch {
		case a.after > 0:
			return a.after + l.jitter(a.after/2)
		case a.status < http.StatusInternalServerError && a.status != http.StatusTooManyRequests:
			return notHere/2 + l.jitter(notHere)
		}
	}
	return l.jitter(bound)
}

// jitter is a random duration in [0, bound). Without randomness it is the bound.
func (l *listener) jitter(bound time.Duration) time.Duration {
	var b [8]byte
	if _, err := io.ReadFull(l.Rand, b[:]); err != nil || bound <= 0 {
		return max(bound, 0)
	}
	return time.Duration(binary.BigEndian.Uint64(b[:]) % uint64(bound))
}

// once listens on one connection until it ends.
func (l *listener) once(ctx context.Context, server string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	q := url.Values{"app": {l.App}, "channel": {l.Channel}}
	if epoch := l.Epoch(); epoch > 0 {
		q.Set("epoch", strconv.FormatInt(epoch, 10))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, server+"/v1/live?"+q.Encode(), nil)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Accept-Encoding", "identity")
	req.Header.Set("User-Agent", "slipstream-client/1")

	var heard atomic.Int64
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel(nil)
	watching.Go(func() { l.watch(ctx, &heard, cancel) })

	res, err := l.HTTP.Do(req)
	if err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return &answerError{res.StatusCode, retryAfter(res.Header.Get("Retry-After"))}
	}
	heard.Add(1)
	return errors.Join(l.read(ctx, &counting{res.Body, &heard}), context.Cause(ctx))
}

// watch gives a connection up that says nothing: no head in answerTime, no byte in silence.
func (l *listener) watch(ctx context.Context, heard *atomic.Int64, giveUp context.CancelCauseFunc) {
	for before, limit := int64(0), answerTime; ; limit = silence {
		select {
		case <-ctx.Done():
			return
		case <-l.Clock.After(limit):
		}
		now := heard.Load()
		if now == before {
			giveUp(errors.New("nothing was heard for too long"))
			return
		}
		before = now
	}
}

type counting struct {
	io.Reader
	bytes *atomic.Int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.bytes.Add(int64(n))
	return n, err
}

// read follows a stream of events (https://html.spec.whatwg.org/multipage/server-sent-events.html). Those that come faster
// than one in a breath are read as slowly: whoever sends them can only fill its own buffers.
func (l *listener) read(ctx context.Context, stream io.Reader) error {
	p := parser{lines: bufio.NewReaderSize(stream, maxLine)}
	for {
		e, err := p.next()
		if err != nil {
			return err
		}
		if e.retry > 0 {
			l.retry = min(max(e.retry, time.Second), longest)
		}
		if e.name != "changed" || len(e.data) == 0 {
			continue
		}
		l.changed(e.data)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.Clock.After(breath):
		}
	}
}

// event is one of a stream; only a retry has neither name nor data.
type event struct {
	name  string
	data  []byte
	retry time.Duration
}

type parser struct{ lines *bufio.Reader }

var errLong = errors.New("a line or event is too long")

// next reads up to the end of the next event that says something.
func (p *parser) next() (event, error) {
	var e event
	for first := true; ; {
		line, err := p.lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return e, errLong
		}
		if err != nil {
			return e, err // an event that was not ended does not count
		}
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		if len(line) == 0 {
			if first {
				continue
			}
			return e, nil
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "": // a comment
			continue
		case "event":
			e.name = string(value)
		case "data":
			if len(e.data)+len(value) >= maxLine {
				return e, errLong
			}
			if e.data != nil {
				e.data = append(e.data, '\n')
			}
			e.data = append(e.data, value...)
		case "retry":
			if ms, err := strconv.ParseUint(string(value), 10, 31); err == nil {
				e.retry = time.Duration(ms) * time.Millisecond
			}
		}
		first = false
	}
}

// retryAfter reads seconds, at most a day; a date is not worth the trouble here.
func retryAfter(v string) time.Duration {
	s, err := strconv.ParseUint(v, 10, 31)
	if err != nil {
		return 0
	}
	return min(time.Duration(s)*time.Second, 24*time.Hour)
}
