package decide

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// condition is a parsed slipstream.Condition. A condition that is not well formed never holds, neither does one whose
// operator is unknown: a device must not take a release because it failed to understand whom it is for.
type condition struct {
	attr   string
	op     string
	never  bool
	hashed map[[sha256.Size]byte]struct{} // in, not_in of device and custom.*
	texts  map[string]struct{}
	ints   map[int64]struct{}
	rng    rangeExpr
	n      int64
	at     time.Time
	exists bool
}

// attributes that a condition may ask for, besides custom.*.
func known(attr string) bool {
	switch attr {
	case "device", "platform", "runtime", "os", "model", "brand", "locale", "country", "first_seen", "seq":
		return true
	}
	name, ok := strings.CutPrefix(attr, "custom.")
	return ok && name != "" && len(name) <= slipstream.MaxNameLength
}

// hashedAttr reports whether lists of the attribute's values stand in a state only as hashes.
func hashedAttr(attr string) bool { return attr == "device" || strings.HasPrefix(attr, "custom.") }

// CheckConditions says what is wrong with a rollout's conditions: what a server refuses to put into a state.
func CheckConditions(when []slipstream.Condition) error {
	hashed := 0
	for i, w := range when {
		if !known(w.Attr) {
			return fmt.Errorf("condition %d: unknown attribute %q", i+1, w.Attr)
		}
		c, err := parseCondition(w)
		if err != nil {
			return fmt.Errorf("condition %d (%s %s): %w", i+1, w.Attr, w.Op, err)
		}
		hashed += len(c.hashed)
	}
	if hashed > slipstream.MaxHashedValues {
		return slipstream.Hint(fmt.Errorf("%d hashed values, at most %d in one rollout", hashed, slipstream.MaxHashedValues),
			"make the rollout private")
	}
	return nil
}

func compileCondition(w slipstream.Condition) condition {
	c, err := parseCondition(w)
	if err != nil {
		return condition{attr: w.Attr, op: w.Op, never: true}
	}
	return c
}

func parseCondition(w slipstream.Condition) (condition, error) {
	c := condition{attr: w.Attr, op: w.Op}
	switch w.Op {
	case "in", "not_in":
		return c, c.parseList(w.Value)
	case "semver":
		var s string
		if err := json.Unmarshal(w.Value, &s); err != nil {
			return c, fmt.Errorf("value must be a range: %w", err)
		}
		var err error
		c.rng, err = parseRange(s)
		return c, err
	case "gte", "lt":
		var f float64
		if err := json.Unmarshal(w.Value, &f); err != nil || string(w.Value) == "null" {
			return c, fmt.Errorf("value must be an integer")
		}
		var ok bool
		if c.n, ok = safeInteger(f); !ok {
			return c, fmt.Errorf("value must be an integer up to 2^53-1")
		}
		return c, nil
	case "before", "after":
		var s string
		if err := json.Unmarshal(w.Value, &s); err != nil {
			return c, fmt.Errorf("value must be a time: %w", err)
		}
		t, err := slipstream.ParseTime(s)
		c.at = t.Time
		return c, err
	case "exists":
		if err := json.Unmarshal(w.Value, &c.exists); err != nil || string(w.Value) == "null" {
			return c, fmt.Errorf("value must be true or false")
		}
		return c, nil
	}
	return c, fmt.Errorf("unknown operator")
}

func (c *condition) parseList(raw json.RawMessage) error {
	var list []any
	if err := json.Unmarshal(raw, &list); err != nil || list == nil {
		return fmt.Errorf("value must be an array")
	}
	for _, v := range list {
		if err := c.addListed(v); err != nil {
			return err
		}
	}
	return nil
}

func (c *condition) addListed(v any) error {
	if hashedAttr(c.attr) {
		s, _ := v.(string)
		if !slipstream.Digest(s).Valid() {
			return slipstream.Hint(fmt.Errorf("%v is not a hashed value", v), "a state holds hex sha256(salt + \":\" + value) only")
		}
		var sum [sha256.Size]byte
		if _, err := hex.Decode(sum[:], []byte(s)); err != nil {
			return err
		}
		if c.hashed == nil {
			c.hashed = map[[sha256.Size]byte]struct{}{}
		}
		c.hashed[sum] = struct{}{}
		return nil
	}
	switch v := v.(type) {
	case string:
		if c.texts == nil {
			c.texts = map[string]struct{}{}
		}
		c.texts[v] = struct{}{}
		return nil
	case float64:
		if n, ok := safeInteger(v); ok {
			if c.ints == nil {
				c.ints = map[int64]struct{}{}
			}
			c.ints[n] = struct{}{}
			return nil
		}
	}
	return fmt.Errorf("values must be texts or integers up to %d", int64(math.Trunc(slipstream.MaxSafeInteger)))
}

// holds asks the condition about a device that runs the release with this seq. A missing or wrongly typed attribute
// makes any condition false; only exists false matches absence.
func (c *condition) holds(d *Device, seq int64, salt string) bool {
	if c.never {
		return false
	}
	a := d.attribute(c.attr, seq)
	if c.op == "exists" {
		return c.exists == (a.kind != absent)
	}
	if a.kind == absent || a.kind == other {
		return false
	}
	switch c.op {
	case "in", "not_in":
		listed, typed := c.lists(a, salt)
		return typed && listed == (c.op == "in")
	case "semver":
		if a.kind != text {
			return false
		}
		v, ok := parseVersion(a.text)
		return c.rng.fits(&v, ok)
	case "gte":
		return a.kind == integer && a.n >= c.n
	case "lt":
		return a.kind == integer && a.n < c.n
	}
	if a.kind != text {
		return false
	}
	at, err := slipstream.ParseTime(a.text)
	if err != nil {
		return false
	}
	if c.op == "before" {
		return at.Before(c.at)
	}
	return at.After(c.at)
}

// lists looks a up in the list. typed is false when the attribute's type is not one that a list of values can name.
func (c *condition) lists(a attribute, salt string) (listed, typed bool) {
	if hashedAttr(c.attr) {
		_, listed = c.hashed[salted(salt, a.text)]
		return listed, true
	}
	switch a.kind {
	case text:
		_, listed = c.texts[a.text]
		return listed, c.attr != "seq"
	case integer:
		_, listed = c.ints[a.n]
		return listed, c.attr == "seq"
	}
	return false, false
}
