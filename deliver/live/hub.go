// Package live tells connected clients that a channel changed, over Server-Sent Events (GET /v1/live).
//
// An idle connection costs the server its socket and a few hundred bytes: once the answer has begun, the connection is
// taken from net/http, and nothing waits on it. What is written to it, changes and heartbeats, is written by the Hub.
package live

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

// Defaults of a Config.
const (
	DefaultHeartbeat  = 25 * time.Second // shorter than the patience of most proxies
	DefaultMost       = 20_000
	DefaultPerAddress = 4_000
	DefaultSpread     = 600 // seconds
)

const (
	// writeTime is how long one write may take. Idle connections have room for what is sent here, so a client that needs
	// longer is gone or does not read.
	writeTime = 500 * time.Millisecond
	// writers send a change at the same time, so that few clients that hold up their writer delay the others little.
	writers = 64
	// comeBack is how many clients per second are asked to come back after the server stops.
	comeBack = 500
	// urgently divides the spread of what cannot wait.
	urgently = 10
)

// Config is what a Hub is made of. Zero fields mean the defaults.
type Config struct {
	Heartbeat  time.Duration // between two signs of life on an idle connection
	Most       int           // connections at once; negative turns them off
	PerAddress int           // connections at once of one sender: an IPv4 address or an IPv6 /64
	Metrics    Metrics
}

// Metrics is told what happens. All fields may be nil.
type Metrics struct {
	Connected func(delta int)
	Refused   func(why string)
	Told      func(clients int, took time.Duration)
}

// Channel names a channel.
type Channel struct{ App, Name string }

// News is what is known of a channel.
type News struct {
	Epoch  int64
	Spread int  // seconds over which clients spread their checks; 0 means DefaultSpread
	Urgent bool // it cannot wait: clients spread over a tenth of that
}

// frame is the event that tells n. Its id is the epoch, so that a browser that comes back says what it knows.
func (n News) frame() []byte {
	spread := n.Spread
	if spread <= 0 {
		spread = DefaultSpread
	}
	if n.Urgent {
		spread = max(spread/urgently, 1)
	}
	return fmt.Appendf(nil, "id: %d\nevent: changed\ndata: {\"epoch\":%d,\"spread\":%d,\"urgent\":%t}\n\n", n.Epoch, n.Epoch, spread, n.Urgent)
}

// beat is a comment: clients see that the connection lives.
var beat = []byte(":\n\n")

// Hub keeps the connections. Its methods may be called from many goroutines.
type Hub struct {
	cfg     Config
	changed chan struct{}

	mu      sync.Mutex
	topics  map[Channel]*topic
	clients int
	senders map[netip.Prefix]int
	closed  bool
}

// topic is one channel with those who listen to it.
type topic struct {
	news    News
	told    int64 // the epoch that everybody in clients was told, or knew
	clients map[*client]struct{}
}

// client is one connection.
type client struct {
	from  netip.Prefix
	topic *topic
	send  func(frame []byte) error
	close func()
	once  sync.Mutex // held while something is sent, so that frames do not mix
	known int64      // epoch that it knows
	gone  bool
}

// NewHub makes a Hub that knows no channel yet.
func NewHub(cfg Config) *Hub {
	if cfg.Heartbeat <= 0 {
		cfg.Heartbeat = DefaultHeartbeat
	}
	if cfg.Most == 0 {
		cfg.Most = DefaultMost
	}
	if cfg.PerAddress <= 0 {
		cfg.PerAddress = DefaultPerAddress
	}
	return &Hub{cfg: cfg, changed: make(chan struct{}, 1), topics: map[Channel]*topic{}, senders: map[netip.Prefix]int{}}
}

// Set says what all channels are at now. It returns at once; Run tells the clients. Clients of channels that are not in
// now are let go.
func (h *Hub) Set(now map[Channel]News) {
	var gone []*client
	h.mu.Lock()
	for c, n := range now {
		t := h.topics[c]
		if t == nil {
			h.topics[c] = &topic{news: n, told: n.Epoch, clients: map[*client]struct{}{}}
			continue
		}
		// An urgent change that was not told yet stays urgent.
		n.Urgent = n.Urgent || t.news.Urgent && (t.told < t.news.Epoch || n.Epoch <= t.news.Epoch)
		t.news = n
	}
	for c, t := range h.topics {
		if _, there := now[c]; !there {
			for k := range t.clients {
				gone = append(gone, k)
			}
			delete(h.topics, c)
		}
	}
	h.mu.Unlock()
	for _, k := range gone {
		h.drop(k)
	}
	select {
	case h.changed <- struct{}{}:
	default: // they are about to be told
	}
}

// Connections is how many there are.
func (h *Hub) Connections() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.clients
}

// Run tells the clients of changes, and that they are not forgotten, until ctx ends. Then it lets all go, and tells them
// when to come back, so that they do not come all at once.
func (h *Hub) Run(ctx context.Context) error {
	tick := time.NewTicker(h.cfg.Heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			h.end()
			return nil
		case <-h.changed:
			h.tell()
		case <-tick.C:
			h.tell() // whoever came while the last change was being told
			h.each(h.everybody(), beat, 0)
		}
	}
}

// tell sends every channel's news to those who do not know them.
func (h *Hub) tell() {
	for {
		var frame []byte
		var to []*client
		var epoch int64
		h.mu.Lock()
		for _, t := range h.topics {
			if t.told < t.news.Epoch {
				t.told, epoch, frame = t.news.Epoch, t.news.Epoch, t.news.frame()
				for k := range t.clients {
					to = append(to, k)
				}
				break
			}
		}
		h.mu.Unlock()
		if frame == nil {
			return
		}
		begun := time.Now()
		h.each(to, frame, epoch)
		if h.cfg.Metrics.Told != nil {
			h.cfg.Metrics.Told(len(to), time.Since(begun))
		}
	}
}

func (h *Hub) everybody() []*client {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]*client, 0, h.clients)
	for _, t := range h.topics {
		for k := range t.clients {
			out = append(out, k)
		}
	}
	return out
}

// each sends frame to all of to that know less than epoch, or to all when it is 0.
func (h *Hub) each(to []*client, frame []byte, epoch int64) {
	var wg sync.WaitGroup
	share := max((len(to)+writers-1)/writers, 64)
	for start := 0; start < len(to); start += share {
		part := to[start:min(start+share, len(to))]
		wg.Go(func() {
			for _, k := range part {
				h.sendTo(k, frame, epoch)
			}
		})
	}
	wg.Wait()
}

func (h *Hub) sendTo(k *client, frame []byte, epoch int64) {
	k.once.Lock()
	defer k.once.Unlock()
	if k.gone || epoch > 0 && k.known >= epoch {
		return
	}
	k.known = max(k.known, epoch)
	if err := k.send(frame); err != nil {
		k.gone = true
		h.forget(k)
		k.close()
	}
}

// drop ends a connection.
func (h *Hub) drop(k *client) {
	k.once.Lock()
	defer k.once.Unlock()
	if !k.gone {
		k.gone = true
		h.forget(k)
		k.close()
	}
}

func (h *Hub) forget(k *client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(k.topic.clients, k)
	h.clients--
	if h.senders[k.from]--; h.senders[k.from] == 0 {
		delete(h.senders, k.from)
	}
	if h.cfg.Metrics.Connected != nil {
		h.cfg.Metrics.Connected(-1)
	}
}

// end lets everybody go.
func (h *Hub) end() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	all := h.everybody()
	wait := max(time.Duration(len(all))*time.Second/comeBack, 2*time.Second)
	h.each(all, fmt.Appendf(nil, "retry: %d\n\n", wait.Milliseconds()), 0)
	for _, k := range all {
		h.drop(k)
	}
}

// refusal says why a connection is not taken.
type refusal string

const (
	refusedUnknown refusal = "unknown_channel"
	refusedFull    refusal = "full"
	refusedSender  refusal = "per_address"
	refusedEnd     refusal = "stopping"
)

// sender is what the limit per address counts: one IPv4 address, or the /64 that one IPv6 host has.
func sender(a netip.Addr) netip.Prefix {
	bits := 64
	if a = a.Unmap().WithZone(""); a.Is4() {
		bits = 32
	}
	p, _ := a.Prefix(bits) // an address that is not known is one sender like another
	return p
}

// enter takes a place for a connection to a channel, or says why there is none.
func (h *Hub) enter(c Channel, from netip.Addr, known int64) (*client, refusal) {
	k := &client{from: sender(from), known: known}
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.topics[c]
	switch {
	case h.closed:
		return nil, refusedEnd
	case t == nil:
		return nil, refusedUnknown
	case h.clients >= h.cfg.Most:
		return nil, refusedFull
	case h.senders[k.from] >= h.cfg.PerAddress:
		return nil, refusedSender
	}
	k.topic = t
	k.once.Lock() // until it can be sent to
	t.clients[k] = struct{}{}
	h.clients++
	h.senders[k.from]++
	if h.cfg.Metrics.Connected != nil {
		h.cfg.Metrics.Connected(1)
	}
	return k, ""
}

// news gives the topic's, when k does not know them. k.once is held.
func (h *Hub) news(k *client) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	if k.known >= k.topic.news.Epoch {
		return nil
	}
	k.known = k.topic.news.Epoch
	return k.topic.news.frame()
}

// parseEpoch reads what a client says that it knows; nonsense is nothing.
func parseEpoch(values ...string) (epoch int64) {
	for _, v := range values {
		if n, err := strconv.ParseInt(v, 10, 64); err == nil {
			epoch = max(epoch, n)
		}
	}
	return epoch
}
