package auth

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

// Limits of failed logins.
const (
	failuresAllowed = 10              // in a row from one network
	forgetAfter     = 5 * time.Minute // since the last failure
	maxNetworks     = 10000           // remembered at once
)

// Limiter slows down guessing: after ten failures a network waits, five minutes after its last one it is forgotten. So does
// a member whose second factor is guessed at, wherever from. Its memory is bounded; whoever failed longest ago is forgotten
// first.
type Limiter struct {
	clock func() time.Time
	mu    sync.Mutex
	byKey map[string]*list.Element
	order *list.List // of *failures, the most recent in front
}

type failures struct {
	key   string
	count int
	last  time.Time
}

// NewLimiter makes a Limiter; clock nil means time.Now.
func NewLimiter(clock func() time.Time) *Limiter {
	if clock == nil {
		clock = time.Now
	}
	return &Limiter{clock: clock, byKey: map[string]*list.Element{}, order: list.New()}
}

// network of an address: one IPv4 address, or the /64 that one IPv6 customer has.
func network(remoteAddr string) netip.Prefix {
	ap, err := netip.ParseAddrPort(remoteAddr)
	addr := ap.Addr()
	if err != nil {
		if addr, err = netip.ParseAddr(remoteAddr); err != nil {
			return netip.Prefix{}
		}
	}
	addr = addr.Unmap().WithZone("")
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// ofMember is the key of a member, which no network has.
func ofMember(name string) string { return "member " + name }

// Wait says how long a network must wait before it may try again; 0 when it may.
func (l *Limiter) Wait(remoteAddr string) time.Duration { return l.wait(network(remoteAddr).String()) }

// Failed counts a failure.
func (l *Limiter) Failed(remoteAddr string) { l.failed(network(remoteAddr).String()) }

// Succeeded forgets a network's failures.
func (l *Limiter) Succeeded(remoteAddr string) { l.succeeded(network(remoteAddr).String()) }

func (l *Limiter) wait(key string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	el, ok := l.byKey[key]
	if !ok {
		return 0
	}
	f := el.Value.(*failures)
	left := f.last.Add(forgetAfter).Sub(l.clock())
	if left <= 0 {
		l.remove(el)
		return 0
	}
	if f.count < failuresAllowed {
		return 0
	}
	return left
}

func (l *Limiter) failed(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock()
	el, ok := l.byKey[key]
	if !ok {
		el = l.order.PushFront(&failures{key: key})
		l.byKey[key] = el
	}
	f := el.Value.(*failures)
	if now.Sub(f.last) > forgetAfter {
		f.count = 0
	}
	f.count++
	f.last = now
	l.order.MoveToFront(el)
	for l.order.Len() > maxNetworks {
		l.remove(l.order.Back())
	}
}

func (l *Limiter) succeeded(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if el, ok := l.byKey[key]; ok {
		l.remove(el)
	}
}

func (l *Limiter) remove(el *list.Element) {
	delete(l.byKey, el.Value.(*failures).key)
	l.order.Remove(el)
}
