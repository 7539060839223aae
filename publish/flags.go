package publish

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/decide"
	"github.com/slipstream-ota/slipstream/sign"
)

// ParseRequirement reads "base>=12" or "base=digest,digest…": the package and what is required of it.
func ParseRequirement(s string) (pkg string, r slipstream.Requirement, err error) {
	if name, seq, ok := strings.Cut(s, ">="); ok {
		n, err := strconv.ParseInt(strings.TrimSpace(seq), 10, 64)
		if err != nil || n < 0 {
			return "", r, fmt.Errorf("requirement %q: %q is not a seq", s, seq)
		}
		pkg, r.MinSeq = strings.TrimSpace(name), n
	} else if name, list, ok := strings.Cut(s, "="); ok {
		for _, d := range strings.Split(list, ",") {
			digest := slipstream.Digest(strings.TrimSpace(d))
			if !digest.Valid() {
				return "", r, fmt.Errorf("requirement %q: %q is not a digest of 64 hex digits", s, d)
			}
			r.Digests = append(r.Digests, digest)
		}
		pkg = strings.TrimSpace(name)
	} else {
		return "", r, fmt.Errorf("requirement %q is neither package>=seq nor package=digest", s)
	}
	if err := slipstream.CheckName("package", pkg); err != nil {
		return "", r, err
	}
	return pkg, r, nil
}

// ParseCondition reads one condition as people write it: "country in cn,jp", "os semver >=14", "seq gte 12",
// "first_seen before 2026-01-31", "custom.beta exists", "custom.beta exists false". '=' and '!=' stand for in and
// not_in, '>=' and '<' for gte and lt.
func ParseCondition(s string) (slipstream.Condition, error) {
	attr, rest, _ := strings.Cut(strings.TrimSpace(s), " ")
	op, value, _ := strings.Cut(strings.TrimSpace(rest), " ")
	value = strings.TrimSpace(value)
	switch op {
	case "=":
		op = "in"
	case "!=":
		op = "not_in"
	case ">=":
		op = "gte"
	case "<":
		op = "lt"
	}
	c := slipstream.Condition{Attr: attr, Op: op}
	var v any
	switch op {
	case "in", "not_in":
		list, err := parseValues(attr, value)
		if err != nil {
			return c, fmt.Errorf("condition %q: %w", s, err)
		}
		v = list
	case "gte", "lt":
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return c, fmt.Errorf("condition %q: %q is not an integer", s, value)
		}
		v = n
	case "before", "after":
		t, err := parseInstant(value)
		if err != nil {
			return c, fmt.Errorf("condition %q: %w", s, err)
		}
		v = t
	case "exists":
		v = value != "false"
		if value != "" && value != "true" && value != "false" {
			return c, fmt.Errorf("condition %q: %q is neither true nor false", s, value)
		}
	case "semver":
		v = value
	default:
		return c, fmt.Errorf("condition %q is not of the form `attribute operator value`: operators are in, not_in, semver, gte, lt, before, after, exists", s)
	}
	raw, err := sign.Encode(v)
	if err != nil {
		return c, err
	}
	c.Value = raw
	// Lists of devices and custom values are hashed by the server; only then can they be checked.
	hashed := (op == "in" || op == "not_in") && (attr == "device" || strings.HasPrefix(attr, "custom."))
	if !hashed {
		if err := decide.CheckConditions([]slipstream.Condition{c}); err != nil {
			return c, fmt.Errorf("condition %q: %w", s, err)
		}
	}
	return c, nil
}

func parseValues(attr, list string) (any, error) {
	if list == "" {
		return nil, fmt.Errorf("it names no value")
	}
	values := strings.Split(list, ",")
	var numbers []int64
	for i := range values {
		values[i] = strings.TrimSpace(values[i])
		if attr == "seq" {
			n, err := strconv.ParseInt(values[i], 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%q is not a seq", values[i])
			}
			numbers = append(numbers, n)
		}
	}
	if numbers != nil {
		return numbers, nil
	}
	return values, nil
}

func parseInstant(s string) (slipstream.Time, error) {
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return slipstream.At(t), nil
	}
	return slipstream.ParseTime(s)
}

// ParseShare reads "10%", "0.5%" or "12.34 %" as positions of slipstream.FullShare.
func ParseShare(s string) (int, error) {
	number, ok := strings.CutSuffix(strings.TrimSpace(s), "%")
	whole, part, _ := strings.Cut(strings.TrimSpace(number), ".")
	if whole+part != "" && len(part) <= 2 {
		part = (part + "00")[:2]
		n, err := strconv.ParseUint(whole+part, 10, 32)
		if ok && err == nil && n <= slipstream.FullShare {
			return int(n), nil
		}
	}
	return 0, fmt.Errorf("share %q is not a percentage from 0%% to 100%% with at most two decimals", s)
}
