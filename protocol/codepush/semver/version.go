// Package semver reads versions and ranges as the npm package semver does, whose rules the apps of CodePush are written
// for: prereleases fit a range only where a comparator of the same three numbers has a prerelease too, missing parts are
// wildcards. Our own ranges (package decide) are another, smaller grammar.
package semver

import (
	"strconv"
	"strings"

	"github.com/slipstream-ota/slipstream"
)

// Version is a parsed version; what stands after + is dropped.
type Version struct {
	part [3]int64
	pre  []string
}

const maxText = 256 // bytes of a version or a range

// Parse reads a strict version: three numbers without leading zeros, a prerelease and a build if any; a leading v or = is
// ignored.
func Parse(s string) (Version, bool) {
	p, ok := parsePartial(s)
	return p.version(), ok && p.parts == 3 && !p.wild
}

// partial is a version of which parts may be missing or wildcards.
type partial struct {
	Version
	parts int  // how many stand before the first wildcard
	wild  bool // some part is missing or a wildcard
}

func (p *partial) version() Version { return p.Version }

func parsePartial(s string) (p partial, ok bool) {
	if len(s) > maxText {
		return p, false
	}
	s = strings.TrimLeft(strings.TrimSpace(s), "v= ")
	s, build, built := strings.Cut(s, "+")
	s, pre, tagged := strings.Cut(s, "-")
	if built && !identifiers(strings.Split(build, "."), false) {
		return p, false
	}
	parts := strings.Split(s, ".")
	if len(parts) > 3 || (tagged || built) && len(parts) < 3 {
		return p, false
	}
	for i, text := range parts {
		if text == "x" || text == "X" || text == "*" {
			p.wild = true
			continue
		}
		n, ok := number(text)
		if !ok {
			return p, false
		}
		if !p.wild {
			p.part[i], p.parts = n, i+1
		}
	}
	p.wild = p.wild || len(parts) < 3
	if tagged {
		if p.pre = strings.Split(pre, "."); !identifiers(p.pre, true) {
			return p, false
		}
	}
	if p.wild {
		p.pre = nil
	}
	return p, true
}

func number(s string) (int64, bool) {
	if s == "" || len(s) > 1 && s[0] == '0' || !digits(s) {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n <= slipstream.MaxSafeInteger
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// identifiers checks [0-9A-Za-z-]+; strict refuses numbers with leading zeros.
func identifiers(list []string, strict bool) bool {
	for _, s := range list {
		if s == "" || strict && len(s) > 1 && s[0] == '0' && digits(s) {
			return false
		}
		for i := range len(s) {
			c := s[i]
			if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' {
				return false
			}
		}
	}
	return true
}

// compare is negative when v is lower than o.
func (v *Version) compare(o *Version) int {
	for i := range v.part {
		if v.part[i] != o.part[i] {
			if v.part[i] < o.part[i] {
				return -1
			}
			return 1
		}
	}
	switch {
	case len(v.pre) == 0 && len(o.pre) == 0:
		return 0
	case len(v.pre) == 0:
		return 1
	case len(o.pre) == 0:
		return -1
	}
	for i := 0; i < len(v.pre) && i < len(o.pre); i++ {
		if c := compareIdentifier(v.pre[i], o.pre[i]); c != 0 {
			return c
		}
	}
	return len(v.pre) - len(o.pre)
}

func compareIdentifier(a, b string) int {
	na, nb := digits(a), digits(b)
	switch {
	case na && nb && len(a) != len(b):
		return len(a) - len(b)
	case na && !nb:
		return -1
	case nb && !na:
		return 1
	}
	return strings.Compare(a, b)
}

// Pad completes what apps call their version: "2" is 2.0.0, "2.0-rc" is 2.0.0-rc.
func Pad(s string) string {
	core := s
	if i := strings.IndexAny(s, "-+"); i >= 0 {
		core = s[:i]
	}
	parts := strings.Split(core, ".")
	for _, p := range parts {
		if !digits(p) {
			return s
		}
	}
	switch {
	case len(parts) == 1 && core == s:
		return s + ".0.0"
	case len(parts) == 2:
		return core + ".0" + s[len(core):]
	}
	return s
}
