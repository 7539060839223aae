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
	tryAgain        = time.Second     // while as many try at the same time as may fail
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
	tries int // under way, of which nobody knows yet how they end
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

// ofGuesser is the key of guesses at passwords from a network. What else succeeds there says nothing about them.
func ofGuesser(remoteAddr string) string { return "guesser " + network(remoteAddr).String() }

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
		f.count = 0
		if f.tries == 0 {
			l.remove(el)
		}
		return 0
	}
	if f.count < failuresAllowed {
		return 0
	}
	return left
}

// try begins one that takes a while: many at the same time are no more than ten after one another. Without a wait, done
// must be told whether it failed. One that does not fail takes no others back: who may in must not wash off guesses at
// somebody else.
func (l *Limiter) try(key string) (wait time.Duration, done func(failed bool)) {
	if wait := l.wait(key); wait > 0 {
		return wait, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.of(key)
	if f.count+f.tries >= failuresAllowed {
		return tryAgain, nil
	}
	f.tries++
	return 0, func(failed bool) {
		if failed {
			l.failed(key) // first, so that nobody slips in between
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		f.tries--
	}
}

// of gives what is known of a key, in front of all others.
func (l *Limiter) of(key string) *failures {
	el, ok := l.byKey[key]
	if !ok {
		el = l.order.PushFront(&failures{key: key, last: l.clock()})
		l.byKey[key] = el
	}
	l.order.MoveToFront(el)
	for l.order.Len() > maxNetworks {
		l.remove(l.order.Back())
	}
	return el.Value.(*failures)
}

func (l *Limiter) failed(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock()
	f := l.of(key)
	if now.Sub(f.last) > forgetAfter {
		f.count = 0
	}
	f.count++
	f.last = now
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
