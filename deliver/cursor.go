package deliver

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/slipstream-ota/slipstream"
)

// cursor walks over one JSON text (RFC 8259) that is known to be UTF-8.
type cursor struct {
	text string
	at   int
}

// errUnknown is what the function given to object returns for a name that it does not know: the value is skipped.
var errUnknown = errors.New("unknown name")

func (c *cursor) failure(what string) error { return fmt.Errorf("at byte %d: %s", c.at, what) }

func (c *cursor) space() {
	for c.at < len(c.text) {
		switch c.text[c.at] {
		case ' ', '\t', '\r', '\n':
			c.at++
		default:
			return
		}
	}
}

func (c *cursor) atEnd() bool {
	c.space()
	return c.at == len(c.text)
}

// peek is the next byte that is not space, 0 at the end.
func (c *cursor) peek() byte {
	c.space()
	if c.at == len(c.text) {
		return 0
	}
	return c.text[c.at]
}

func (c *cursor) expect(b byte) error {
	if c.peek() != b {
		return c.failure(fmt.Sprintf("expected %q", b))
	}
	c.at++
	return nil
}

// object calls field after each name; field reads the value. Repeated names are refused.
func (c *cursor) object(depth int, field func(name string) error) error {
	if depth == 0 {
		return c.failure("nested too deeply")
	}
	if err := c.expect('{'); err != nil {
		return err
	}
	if c.peek() == '}' {
		c.at++
		return nil
	}
	var few [16]string // enough for most, without a map
	seen := few[:0]
	for {
		name, err := c.textValue()
		if err != nil {
			return err
		}
		for _, s := range seen {
			if s == name {
				return fmt.Errorf("at byte %d: name %.64q is repeated", c.at, name)
			}
		}
		if seen = append(seen, name); len(seen) > maxNames {
			return c.failure("too many names in one object")
		}
		if err := c.expect(':'); err != nil {
			return err
		}
		err = field(name)
		if errors.Is(err, errUnknown) {
			_, err = c.value(depth - 1)
		}
		if err != nil {
			return err
		}
		if c.peek() == ',' {
			c.at++
			continue
		}
		return c.expect('}')
	}
}

// maxNames bounds the names of one object, and with them the work of finding a repeated one.
const maxNames = 256

// array calls item for each item, which it must read.
func (c *cursor) array(item func() error) error {
	if err := c.expect('['); err != nil {
		return err
	}
	if c.peek() == ']' {
		c.at++
		return nil
	}
	for {
		if err := item(); err != nil {
			return err
		}
		if c.peek() == ',' {
			c.at++
			continue
		}
		return c.expect(']')
	}
}

// value reads any value and gives its text.
func (c *cursor) value(depth int) (string, error) {
	if depth == 0 {
		return "", c.failure("nested too deeply")
	}
	b := c.peek()
	start := c.at
	var err error
	switch {
	case b == '{':
		err = c.object(depth, func(string) error { return errUnknown })
	case b == '[':
		err = c.array(func() error { _, err := c.value(depth - 1); return err })
	case b == '"':
		_, err = c.textValue()
	case b == '-' || b >= '0' && b <= '9':
		err = c.number()
	default:
		err = c.word()
	}
	if err != nil {
		return "", err
	}
	return c.text[start:c.at], nil
}

func (c *cursor) word() error {
	for _, w := range [...]string{"true", "false", "null"} {
		if strings.HasPrefix(c.text[c.at:], w) {
			c.at += len(w)
			return nil
		}
	}
	return c.failure("expected a value")
}

func (c *cursor) number() error {
	start := c.at
	for c.at < len(c.text) && strings.IndexByte("+-.0123456789eE", c.text[c.at]) >= 0 {
		c.at++
	}
	if !json.Valid([]byte(c.text[start:c.at])) {
		return c.failure("not a number")
	}
	return nil
}

func (c *cursor) integerInto(n *int64) error {
	c.space()
	start := c.at
	for c.at < len(c.text) && c.text[c.at] >= '0' && c.text[c.at] <= '9' {
		if *n = *n*10 + int64(c.text[c.at]-'0'); *n > slipstream.MaxSafeInteger {
			return c.failure("an integer beyond 2^53-1")
		}
		c.at++
	}
	digits := c.text[start:c.at]
	if digits == "" || len(digits) > 1 && digits[0] == '0' {
		return c.failure("expected an integer that is not negative")
	}
	return nil
}

func (c *cursor) textInto(s *string) (err error) {
	*s, err = c.textValue()
	return err
}

// textValue reads a string. Without escapes it is a part of the text itself.
func (c *cursor) textValue() (string, error) {
	if err := c.expect('"'); err != nil {
		return "", err
	}
	start := c.at
	escaped := false
	for ; c.at < len(c.text); c.at++ {
		switch b := c.text[c.at]; {
		case b == '"':
			inside := c.text[start:c.at]
			c.at++
			if !escaped {
				return inside, nil
			}
			var s string
			if err := json.Unmarshal([]byte(c.text[start-1:c.at]), &s); err != nil {
				return "", c.failure("a broken string")
			}
			return s, nil
		case b == '\\':
			escaped = true
			c.at++
		case b < ' ':
			return "", c.failure("a control character in a string")
		}
	}
	return "", c.failure("a string without an end")
}
