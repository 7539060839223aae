package live

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/internal/httpx"
)

// Problems of this surface.
const (
	CodeTooMany = "too_many_connections"
	CodeOff     = "live_off"
)

// Waits that refused clients are asked for, in seconds. Meanwhile they poll.
const (
	retryFull   = 300
	retrySender = 600
)

// Refusals are the reasons that Metrics.Refused is told.
func Refusals() []string {
	return []string{string(refusedUnknown), string(refusedFull), string(refusedSender), string(refusedEnd)}
}

const head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\nX-Accel-Buffering: no\r\n" +
	"X-Content-Type-Options: nosniff\r\nAccess-Control-Allow-Origin: *\r\nConnection: close\r\n\r\n"

// Serve answers GET /v1/live?app=&channel=. from is who asks. The epoch that the client knows may be named by epoch=
// or Last-Event-ID; what is newer is told at once.
func (h *Hub) Serve(w http.ResponseWriter, r *http.Request, from netip.Addr) error {
	if h.cfg.Most < 0 {
		return slipstream.Hint(httpx.NewProblem(http.StatusNotFound, CodeOff, "live connections are turned off here"), "poll the state instead")
	}
	q := r.URL.Query()
	c := Channel{App: q.Get("app"), Name: q.Get("channel")}
	if c.Name == "" {
		c.Name = slipstream.DefaultChannel
	}
	k, why := h.enter(c, from, parseEpoch(q.Get("epoch"), r.Header.Get("Last-Event-ID")))
	if why != "" {
		return h.refuse(c, why)
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if errors.Is(err, http.ErrNotSupported) {
		return h.stream(w, r, k)
	}
	if err != nil {
		h.leave(k)
		return fmt.Errorf("take the connection over: %w", err)
	}
	h.keep(k, conn, buffered)
	return nil
}

func (h *Hub) refuse(c Channel, why refusal) error {
	if h.cfg.Metrics.Refused != nil {
		h.cfg.Metrics.Refused(string(why))
	}
	switch why {
	case refusedUnknown:
		return fmt.Errorf("app %.64q, channel %.64q: %w", c.App, c.Name, slipstream.ErrNotFound)
	case refusedSender:
		p := httpx.NewProblem(http.StatusTooManyRequests, CodeTooMany, "too many live connections from this address")
		p.RetryAfter = retrySender
		return p
	case refusedFull:
		p := httpx.NewProblem(http.StatusServiceUnavailable, CodeTooMany, "this server has no place for more live connections")
		p.RetryAfter = retryFull
		return p
	}
	return fmt.Errorf("the server is stopping: %w", slipstream.ErrUnavailable)
}

// leave gives a place back that was never used. k.once is held.
func (h *Hub) leave(k *client) {
	k.gone = true
	h.forget(k)
	k.once.Unlock()
}

// keep makes a connection the hub's. Nothing reads from it: a client that has gone is noticed when it is written to.
func (h *Hub) keep(k *client, conn net.Conn, buffered *bufio.ReadWriter) {
	k.send = func(frame []byte) error {
		if err := conn.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
			return err
		}
		_, err := conn.Write(frame)
		return err
	}
	k.close = func() { _ = conn.Close() } // whoever closes it is done with it
	// net/http's deadline for the request would close the connection later.
	err := conn.SetDeadline(time.Time{})
	if err == nil {
		first := append([]byte(head), beat...)
		err = k.send(append(first, h.news(k)...))
	}
	if err != nil {
		k.close()
		h.leave(k)
		return
	}
	k.once.Unlock()
}

// backlog is how many frames wait for a connection that is streamed to.
const backlog = 4

var errSlow = errors.New("the client does not read")

// stream answers on connections that net/http does not give away, as of HTTP/2: the handler stays.
func (h *Hub) stream(w http.ResponseWriter, r *http.Request, k *client) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	frames := make(chan []byte, backlog)
	k.send = func(frame []byte) error {
		select {
		case frames <- frame:
			return nil
		default:
			return errSlow
		}
	}
	k.close = cancel
	news := h.news(k)
	k.once.Unlock()
	defer h.drop(k)

	httpx.Unhurried(w, r)
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Access-Control-Allow-Origin", "*")
	w.WriteHeader(http.StatusOK)
	out := http.NewResponseController(w)
	write := func(frame []byte) bool {
		// What is not a real connection has no deadline.
		_ = out.SetWriteDeadline(time.Now().Add(10 * writeTime))
		_, err := w.Write(frame)
		return err == nil && out.Flush() == nil
	}
	if !write(append(beat[:len(beat):len(beat)], news...)) {
		return nil // a client that has gone away is no error of ours
	}
	for {
		select {
		case f := <-frames:
			if !write(f) {
				return nil
			}
			continue
		default:
		}
		select {
		case <-ctx.Done():
			return nil
		case f := <-frames:
			if !write(f) {
				return nil
			}
		}
	}
}
