package decide

import (
	"fmt"
	"strings"

	"github.com/slipstream-ota/slipstream"
)

// MaxRangeBytes bounds the text of a range.
const MaxRangeBytes = 512

type operator uint8

const (
	opEqual operator = iota
	opLess
	opLessEqual
	opGreater
	opGreaterEqual
	opTilde
	opCaret
	opWild // the first same parts are equal
)

// comparator is one condition on a version. same is how many leading parts must be equal (~, ^ and x-ranges).
type comparator struct {
	op   operator
	v    version
	same int
}

// rangeExpr is alternatives of comparators. everything is "*": it needs no version at all.
type rangeExpr struct {
	everything bool
	any        [][]comparator
}

// CheckRange says what is wrong with a range, see the package comment for the grammar.
func CheckRange(s string) error {
	_, err := parseRange(s)
	return err
}

// Fits reports whether a shell (its version or fingerprint) is one that rt means. A range that does not parse fits
// nothing.
func Fits(rt slipstream.Runtime, shell string) bool {
	v, ok := parseVersion(shell)
	fit := compileRuntime(rt)
	return fit.fits(shell, &v, ok)
}

func parseRange(s string) (rangeExpr, error) {
	var r rangeExpr
	if len(s) > MaxRangeBytes {
		return r, fmt.Errorf("range of %d bytes is longer than %d", len(s), MaxRangeBytes)
	}
	for alternative := range strings.SplitSeq(s, "||") {
		all, everything, err := parseAlternative(alternative)
		if err != nil {
			return rangeExpr{}, fmt.Errorf("range %q: %w", s, err)
		}
		r.everything = r.everything || everything
		r.any = append(r.any, all)
	}
	return r, nil
}

// parseAlternative reads comparators separated by spaces; spaces may also follow an operator.
func parseAlternative(s string) (all []comparator, everything bool, err error) {
	s = strings.Trim(s, " ")
	if s == "" {
		return nil, false, fmt.Errorf("an alternative is empty; * fits everything")
	}
	everything = true
	for s != "" {
		var op string
		op, s = cutOperator(s)
		s = strings.TrimLeft(s, " ")
		text, rest, _ := strings.Cut(s, " ")
		c, err := parseComparator(op, text)
		if err != nil {
			return nil, false, err
		}
		if c.op != opWild || c.same > 0 {
			everything = false
		}
		all = append(all, c)
		s = strings.TrimLeft(rest, " ")
	}
	return all, everything, nil
}

func cutOperator(s string) (op, rest string) {
	for _, op := range [...]string{"<=", ">=", "<", ">", "=", "~", "^"} {
		if rest, ok := strings.CutPrefix(s, op); ok {
			return op, rest
		}
	}
	return "", s
}

func parseComparator(op, text string) (comparator, error) {
	v, wild, ok := parseParts(text)
	if !ok {
		return comparator{}, fmt.Errorf("%q is not a version", op+text)
	}
	if wild > 0 {
		if op != "" && op != "=" {
			return comparator{}, fmt.Errorf("%q: an x-range takes no operator", op+text)
		}
		return comparator{op: opWild, v: v, same: 3 - wild}, nil
	}
	c := comparator{v: v}
	switch op {
	case "<":
		c.op = opLess
	case "<=":
		c.op = opLessEqual
	case ">":
		c.op = opGreater
	case ">=":
		c.op = opGreaterEqual
	case "~":
		c.op, c.same = opTilde, 2
	case "^":
		c.op, c.same = opCaret, 1
		for c.same < 3 && v.part[c.same-1] == 0 {
			c.same++
		}
	}
	return c, nil
}

// fits asks the range about a parsed version; ok is false for what does not parse as one.
func (r *rangeExpr) fits(v *version, ok bool) bool {
	if r.everything {
		return true
	}
	if !ok {
		return false
	}
	for _, all := range r.any {
		if holdAll(all, v) {
			return true
		}
	}
	return false
}

func holdAll(all []comparator, v *version) bool {
	for i := range all {
		if !all[i].holds(v) {
			return false
		}
	}
	return true
}

func (c *comparator) holds(v *version) bool {
	for i := range c.same {
		if v.part[i] != c.v.part[i] {
			return false
		}
	}
	if c.op == opWild {
		return true
	}
	order := v.compare(&c.v)
	switch c.op {
	case opEqual:
		return order == 0
	case opLess:
		return order < 0
	case opLessEqual:
		return order <= 0
	case opGreater:
		return order > 0
	}
	return order >= 0
}

// runtimeFit is a parsed slipstream.Runtime.
type runtimeFit struct {
	fingerprint string
	versions    rangeExpr
}

func compileRuntime(rt slipstream.Runtime) runtimeFit {
	if rt.Fingerprint != "" {
		return runtimeFit{fingerprint: rt.Fingerprint}
	}
	versions, err := parseRange(rt.Range)
	if err != nil {
		return runtimeFit{} // fits nothing
	}
	return runtimeFit{versions: versions}
}

func (f *runtimeFit) fits(shell string, v *version, ok bool) bool {
	if f.fingerprint != "" {
		return f.fingerprint == shell
	}
	return f.versions.fits(v, ok)
}
