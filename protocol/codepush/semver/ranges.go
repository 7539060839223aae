package semver

import (
	"fmt"
	"slices"
	"strings"
)

// Range is a parsed range.
type Range struct {
	sets [][]comparator
}

type comparator struct {
	op string // "", "<", "<=", ">", ">="; "" is equal
	v  Version
	// any fits every version without a prerelease.
	any bool
}

// ParseRange reads a range; "" and "*" are everything but prereleases.
func ParseRange(s string) (Range, error) {
	var r Range
	if len(s) > maxText {
		return r, fmt.Errorf("range of %d bytes is longer than %d", len(s), maxText)
	}
	for alternative := range strings.SplitSeq(s, "||") {
		set, err := parseSet(strings.TrimSpace(alternative))
		if err != nil {
			return Range{}, fmt.Errorf("range %q: %w", s, err)
		}
		if len(set) == 1 && set[0].any {
			return Range{sets: [][]comparator{set}}, nil // everything else is within it
		}
		r.sets = append(r.sets, set)
	}
	return r, nil
}

func parseSet(s string) ([]comparator, error) {
	if from, to, ok := strings.Cut(s, " - "); ok {
		return hyphen(from, to)
	}
	var set []comparator
	for s != "" {
		op := s[:len(s)-len(strings.TrimLeft(s, "<>=~^"))]
		s = strings.TrimLeft(s[len(op):], " ")
		text, rest, _ := strings.Cut(s, " ")
		s = strings.TrimLeft(rest, " ")
		p, ok := parsePartial(text)
		if !ok && text != "" {
			return nil, fmt.Errorf("%q is not a version", op+text)
		}
		if text == "" {
			p.wild = true
		}
		some, err := expand(op, &p)
		if err != nil {
			return nil, err
		}
		set = append(set, some...)
	}
	return tidy(set), nil
}

// tidy drops what says nothing next to other comparators, as >=0.0.0 does, and everything next to one that fits nothing.
func tidy(set []comparator) []comparator {
	var out []comparator
	for _, c := range set {
		if c.op == "<" && c.v.part == [3]int64{} && len(c.v.pre) == 1 && c.v.pre[0] == "0" {
			return []comparator{c}
		}
		if !c.any && (c.op != ">=" || c.v.part != [3]int64{} || len(c.v.pre) > 0) {
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		return []comparator{{any: true}}
	}
	return out
}

func expand(op string, p *partial) ([]comparator, error) {
	switch op {
	case "^":
		same := 0
		for same < 2 && same < p.parts-1 && p.part[same] == 0 {
			same++
		}
		return span(p, same), nil
	case "~", "~>":
		return span(p, min(1, p.parts-1)), nil
	case "", "=":
		if p.wild {
			return span(p, p.parts-1), nil
		}
		return []comparator{{v: p.Version}}, nil
	case "<", ">", "<=", ">=":
		return compared(op, p), nil
	}
	return nil, fmt.Errorf("operator %q is not known", op)
}

// span is everything from p up to the next version whose part at is higher.
func span(p *partial, at int) []comparator {
	if p.parts == 0 {
		return []comparator{{any: true}}
	}
	return []comparator{{op: ">=", v: p.Version}, {op: "<", v: after(p, at)}}
}

// after is the lowest version, prereleases included, with a higher part at.
func after(p *partial, at int) Version {
	var v Version
	copy(v.part[:at+1], p.part[:at+1])
	v.part[at]++
	v.pre = []string{"0"}
	return v
}

// compared is one of the four orders; a missing part makes > and <= look at the end of what it stands for.
func compared(op string, p *partial) []comparator {
	switch {
	case p.parts == 0 && (op == "<" || op == ">"):
		return []comparator{{op: "<", v: Version{pre: []string{"0"}}}} // nothing
	case p.parts == 0:
		return []comparator{{any: true}}
	case !p.wild:
		return []comparator{{op: op, v: p.Version}}
	}
	next := after(p, p.parts-1)
	switch op {
	case ">":
		next.pre = nil
		return []comparator{{op: ">=", v: next}}
	case "<=":
		return []comparator{{op: "<", v: next}}
	case "<":
		v := p.Version
		v.pre = []string{"0"}
		return []comparator{{op: "<", v: v}}
	}
	return []comparator{{op: ">=", v: p.Version}}
}

func hyphen(from, to string) ([]comparator, error) {
	a, okA := parsePartial(from)
	b, okB := parsePartial(to)
	if !okA || !okB {
		return nil, fmt.Errorf("%q is not a range between two versions", from+" - "+to)
	}
	var set []comparator
	if a.parts > 0 {
		set = append(set, comparator{op: ">=", v: a.Version})
	}
	if b.parts > 0 {
		if b.wild {
			set = append(set, comparator{op: "<", v: after(&b, b.parts-1)})
		} else {
			set = append(set, comparator{op: "<=", v: b.Version})
		}
	}
	return tidy(set), nil
}

// Fits reports whether v lies in the range.
func (r *Range) Fits(v *Version) bool {
	for _, set := range r.sets {
		if fitsSet(set, v) {
			return true
		}
	}
	return false
}

func fitsSet(set []comparator, v *Version) bool {
	for i := range set {
		if !set[i].holds(v) {
			return false
		}
	}
	if len(v.pre) == 0 {
		return true
	}
	for i := range set {
		if c := &set[i]; !c.any && len(c.v.pre) > 0 && c.v.part == v.part {
			return true
		}
	}
	return false
}

func (c *comparator) holds(v *Version) bool {
	if c.any {
		return true
	}
	order := v.compare(&c.v)
	switch c.op {
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	case ">=":
		return order >= 0
	}
	return order == 0
}

// Equal reports whether two ranges are the same once they are written out: "1.2" and "~1.2.0" are.
func (r *Range) Equal(o *Range) bool {
	return slices.EqualFunc(r.sets, o.sets, func(a, b []comparator) bool {
		return slices.EqualFunc(a, b, func(x, y comparator) bool {
			return x.op == y.op && x.any == y.any && x.v.part == y.v.part && slices.Equal(x.v.pre, y.v.pre)
		})
	})
}

// Above reports whether v is greater than everything in the range.
func (r *Range) Above(v *Version) bool {
	if r.Fits(v) {
		return false
	}
	for _, set := range r.sets {
		if !aboveSet(set, v) {
			return false
		}
	}
	return true
}

func aboveSet(set []comparator, v *Version) bool {
	high, low := set[0].floor(), set[0].floor()
	for i := 1; i < len(set); i++ {
		c := set[i].floor()
		if c.v.compare(&high.v) > 0 {
			high = c
		} else if c.v.compare(&low.v) < 0 {
			low = c
		}
	}
	if high.op == ">" || high.op == ">=" {
		return false // it has no end
	}
	order := v.compare(&low.v)
	if (low.op == "" || low.op == ">") && order <= 0 {
		return false
	}
	return low.op != ">=" || order >= 0
}

// floor is the comparator itself, or that of everything.
func (c comparator) floor() comparator {
	if c.any {
		return comparator{op: ">="}
	}
	return c
}
