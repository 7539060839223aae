package protocol

import (
	"hash/maphash"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

const (
	missSlots = 4096
	// MissBurst is how many misses one network may have at once; one a second is given back.
	MissBurst = 60
)

// Misses counts requests for what does not exist (an unknown key, link or app) by network, in a table that never grows:
// networks that share a slot share the limit.
type Misses struct {
	seed  maphash.Seed
	mu    sync.Mutex
	slots [missSlots]struct {
		used float64
		at   time.Time
	}
}

// NewMisses makes an empty table.
func NewMisses() *Misses { return &Misses{seed: maphash.MakeSeed()} }

// Slow counts a request for what does not exist, and reports whether its network asks too much; then the answer says
// how long to wait.
func (m *Misses) Slow(w http.ResponseWriter, r *http.Request, now time.Time) bool {
	wait := m.Note(r.RemoteAddr, now)
	if wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
	}
	return wait > 0
}

// Note counts one of a peer (host:port) and says how long to wait when there were too many, else 0. This machine and
// private networks are not limited: behind them stands a proxy, or the operator.
func (m *Misses) Note(remote string, now time.Time) time.Duration {
	host, _, err := net.SplitHostPort(remote)
	addr, perr := netip.ParseAddr(host)
	if err != nil || perr != nil {
		return 0
	}
	addr = addr.Unmap()
	if addr.IsLoopback() || addr.IsPrivate() || addr.IsLinkLocalUnicast() {
		return 0
	}
	bits := 48
	if addr.Is4() {
		bits = 24
	}
	network, err := addr.Prefix(bits)
	if err != nil {
		return 0
	}
	slot := maphash.Comparable(m.seed, network) % missSlots
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &m.slots[slot]
	s.used, s.at = max(0, s.used-max(now.Sub(s.at).Seconds(), 0)), now
	if s.used+1 > MissBurst {
		return time.Duration((s.used + 1 - MissBurst) * float64(time.Second))
	}
	s.used++
	return 0
}
