package decide

import (
	"strings"

	"github.com/slipstream-ota/slipstream"
)

// version is a parsed version; the build is dropped. pre is the prerelease without its dash.
type version struct {
	part [3]int64
	pre  string
}

// parseVersion reads one to three numbers, then "-prerelease" and "+build" if any.
func parseVersion(s string) (version, bool) {
	v, n, ok := parseParts(s)
	return v, ok && n == 0
}

// parseParts also reads x, X and * in place of trailing parts; wild is how many of the three parts are such.
func parseParts(s string) (v version, wild int, ok bool) {
	s = strings.TrimPrefix(s, "v")
	s, build, found := strings.Cut(s, "+")
	if found && !identifiers(build) {
		return v, 0, false
	}
	s, v.pre, found = strings.Cut(s, "-")
	if found && !identifiers(v.pre) {
		return v, 0, false
	}
	for i := 0; ; i++ {
		part, rest, more := strings.Cut(s, ".")
		switch {
		case i > 2:
			return v, 0, false
		case part == "x" || part == "X" || part == "*":
			if wild == 0 {
				wild = 3 - i
			}
		case wild > 0:
			return v, 0, false
		default:
			if v.part[i], ok = number(part); !ok {
				return v, 0, false
			}
		}
		if !more {
			break
		}
		s = rest
	}
	return v, wild, wild == 0 || v.pre == "" && build == ""
}

// number reads decimal digits up to 2^53-1, so that every language agrees on what overflows.
func number(s string) (int64, bool) {
	if s == "" {
		return 0, false
	}
	var n int64
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		if n = n*10 + int64(s[i]-'0'); n > slipstream.MaxSafeInteger {
			return 0, false
		}
	}
	return n, true
}

// identifiers checks a dot-separated list of [0-9A-Za-z-]+.
func identifiers(s string) bool {
	empty := true
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '.':
			if empty {
				return false
			}
			empty = true
		case c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-':
			empty = false
		default:
			return false
		}
	}
	return !empty
}

// compare is SemVer 2 precedence: negative when v is lower than o.
func (v *version) compare(o *version) int {
	for i := range v.part {
		if v.part[i] != o.part[i] {
			if v.part[i] < o.part[i] {
				return -1
			}
			return 1
		}
	}
	switch {
	case v.pre == o.pre:
		return 0
	case v.pre == "":
		return 1
	case o.pre == "":
		return -1
	}
	return comparePre(v.pre, o.pre)
}

func comparePre(a, b string) int {
	for {
		x, restA, moreA := strings.Cut(a, ".")
		y, restB, moreB := strings.Cut(b, ".")
		if c := compareIdentifier(x, y); c != 0 {
			return c
		}
		switch {
		case !moreA && !moreB:
			return 0
		case !moreA:
			return -1
		case !moreB:
			return 1
		}
		a, b = restA, restB
	}
}

// compareIdentifier orders digits by value, whatever their length, below words; words by their bytes.
func compareIdentifier(a, b string) int {
	na, nb := digits(a), digits(b)
	switch {
	case na && nb:
		a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
		if len(a) != len(b) {
			return sign(len(a) - len(b))
		}
	case na:
		return -1
	case nb:
		return 1
	}
	return strings.Compare(a, b)
}

func digits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}
