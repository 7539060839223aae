package protocol

import (
	"cmp"
	"strings"
)

// Compare orders two versions the way people write them: numbers between dots, of any count (1.10.0 is above 1.9,
// 7 is above 6, 1.0 equals 1), a leading v, a build after + that does not matter, and a prerelease after - that comes
// before the version without one. What is no number is compared as text, after numbers.
func Compare(a, b string) int {
	a, preA := split(a)
	b, preB := split(b)
	if c := dotted(a, b); c != 0 {
		return c
	}
	switch {
	case preA == preB:
		return 0
	case preA == "":
		return 1
	case preB == "":
		return -1
	}
	return dotted(preA, preB)
}

func split(v string) (numbers, prerelease string) {
	v = strings.TrimSpace(v)
	if len(v) > 1 && (v[0] == 'v' || v[0] == 'V') && isDigit(v[1]) {
		v = v[1:]
	}
	v, _, _ = strings.Cut(v, "+")
	numbers, prerelease, _ = strings.Cut(v, "-")
	return numbers, prerelease
}

func isDigit(b byte) bool { return '0' <= b && b <= '9' }

func dotted(a, b string) int {
	for a != "" || b != "" {
		var x, y string
		x, a, _ = strings.Cut(a, ".")
		y, b, _ = strings.Cut(b, ".")
		if c := part(x, y); c != 0 {
			return c
		}
	}
	return 0
}

// part compares numbers of any length by their digits; what is missing is 0.
func part(x, y string) int {
	nx, okx := number(x)
	ny, oky := number(y)
	switch {
	case okx && oky:
		return cmp.Or(cmp.Compare(len(nx), len(ny)), cmp.Compare(nx, ny))
	case okx:
		return -1
	case oky:
		return 1
	}
	return cmp.Compare(x, y)
}

func number(s string) (digits string, ok bool) {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return s, false
		}
	}
	return strings.TrimLeft(s, "0"), true
}
