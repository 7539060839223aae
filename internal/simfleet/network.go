package simfleet

import (
	"fmt"
	"maps"
	"math/bits"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// link is how one device reaches its servers: over the fleet's connections, from a network of its own.
type link struct {
	fleet  *meter
	sender []string
}

// RoundTrip names the device's address as a proxy would.
func (l *link) RoundTrip(r *http.Request) (*http.Response, error) {
	own := *r
	own.Header = maps.Clone(r.Header)
	own.Header["X-Forwarded-For"] = l.sender
	return l.fleet.RoundTrip(&own)
}

// sender is the address of a device: the networks are /24 of 10.0.0.0/8.
func sender(network, device int) []string {
	return []string{fmt.Sprintf("10.%d.%d.%d", network>>8&255, network&255, 1+device%254)}
}

// Traffic is what was asked of the servers, by kind of request. Durations are to the answer's first byte; percentiles are
// upper bounds, at most a fifth too high.
type Traffic struct {
	Kind     string        `json:"kind"`
	Requests int64         `json:"requests"`
	Failed   int64         `json:"failed,omitempty"` // no answer, 429 or 5xx
	P50      time.Duration `json:"p50"`
	P99      time.Duration `json:"p99"`
	Max      time.Duration `json:"max"`
}

// meter counts requests.
type meter struct {
	base http.RoundTripper

	mu    sync.Mutex
	kinds map[string]*gauge
	all   int64
}

type gauge struct {
	Traffic
	times [steps]int64
}

// A step of the times is a quarter of a doubling, from a microsecond on.
const steps = 4 * 30

func step(d time.Duration) int {
	us := uint64(max(d.Microseconds(), 1))
	octave := bits.Len64(us) - 1
	part := us << 2 >> octave & 3
	return min(4*octave+int(part), steps-1)
}

func top(step int) time.Duration {
	return time.Duration(float64(uint64(1)<<(step/4))*(1+float64(step%4+1)/4)) * time.Microsecond
}

func (m *meter) RoundTrip(r *http.Request) (*http.Response, error) {
	kind := kindOf(r.URL.Path)
	begun := time.Now()
	res, err := m.base.RoundTrip(r)
	if r.Context().Err() != nil {
		return res, err // given up on purpose
	}
	took := time.Since(begun)
	m.mu.Lock()
	defer m.mu.Unlock()
	g := m.kinds[kind]
	if g == nil {
		g = &gauge{Traffic: Traffic{Kind: kind}}
		m.kinds[kind] = g
	}
	m.all++
	g.Requests++
	if err != nil || res.StatusCode == http.StatusTooManyRequests || res.StatusCode >= 500 {
		g.Failed++
	}
	g.times[step(took)]++
	g.Max = max(g.Max, took)
	return res, err
}

func kindOf(path string) string {
	rest, _ := strings.CutPrefix(path, "/v1/")
	word, rest, _ := strings.Cut(rest, "/")
	switch {
	case word == "apps" && strings.Contains(rest, "/roots/"):
		return "roots"
	case word == "apps":
		return "states"
	case word == "releases":
		return "lists"
	}
	return word
}

// traffic gives the counts by kind, the most frequent first.
func (m *meter) traffic() []Traffic {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Traffic
	for _, g := range m.kinds {
		t := g.Traffic
		t.P50, t.P99 = min(g.quantile(0.5), g.Max), min(g.quantile(0.99), g.Max)
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b Traffic) int {
		if a.Requests != b.Requests {
			return int(b.Requests - a.Requests)
		}
		return strings.Compare(a.Kind, b.Kind)
	})
	return out
}

func (m *meter) requests() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.all
}

func (g *gauge) quantile(q float64) time.Duration {
	rest := int64(q * float64(g.Requests))
	for i, n := range g.times {
		if rest -= n; rest < 0 {
			return top(i)
		}
	}
	return g.Max
}
