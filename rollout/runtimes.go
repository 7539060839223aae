package rollout

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/decide"
)

// overlap reports whether some shell fits both runtimes. Ranges are asked at every version that either mentions and
// just around it: the borders of what fits lie nowhere else.
func overlap(a, b slipstream.Runtime) bool {
	if wider(a, b) || wider(b, a) {
		return true
	}
	switch {
	case a.Fingerprint != "" && b.Fingerprint != "":
		return false
	case a.Fingerprint != "":
		return decide.Fits(b, a.Fingerprint)
	case b.Fingerprint != "":
		return decide.Fits(a, b.Fingerprint)
	}
	for _, shell := range append(borders(a.Range), borders(b.Range)...) {
		if decide.Fits(a, shell) && decide.Fits(b, shell) {
			return true
		}
	}
	return false
}

// borders are versions at and around those that a range mentions.
func borders(r string) []string {
	mentioned := regexp.MustCompile(`(\d+)(?:\.(\d+|[xX*]))?(?:\.(\d+|[xX*]))?(-[0-9A-Za-z.-]+)?`)
	out := []string{"0.0.0-0", "0.0.0", "999999.0.0"}
	for _, m := range mentioned.FindAllStringSubmatch(r, -1) {
		n := [3]int64{number(m[1]), number(m[2]), number(m[3])}
		if m[4] != "" {
			out = append(out, version(n)+m[4], version(n)+m[4]+".0")
		}
		out = append(out, version(n)+"-0", version(n))
		for i := range n { // the first version after 1.2.3, 1.2.x, 1.x, and what comes just before it
			next := n
			next[i]++
			for j := i + 1; j < len(next); j++ {
				next[j] = 0
			}
			out = append(out, version(next)+"-0", version(next))
		}
	}
	return out
}

func number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0 // absent or a wildcard
	}
	return n
}

func version(n [3]int64) string {
	parts := make([]string, len(n))
	for i := range n {
		parts[i] = strconv.FormatInt(n[i], 10)
	}
	return strings.Join(parts, ".")
}
