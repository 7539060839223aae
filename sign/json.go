package sign

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/slipstream-ota/slipstream"
)

// MaxDepth is how deep objects and arrays may nest in a document.
const MaxDepth = 32

type nodeKind uint8

const (
	kindObject nodeKind = iota + 1
	kindArray
	kindString
	kindInteger
	kindBool
)

func (k nodeKind) String() string {
	return [...]string{"nothing", "object", "array", "string", "integer", "boolean"}[k]
}

// node is one parsed JSON value; raw is its text in the document.
type node struct {
	kind  nodeKind
	raw   []byte
	text  string // of a string
	num   int64  // of an integer; 1 for true
	names []string
	items []node // of an array, or of an object beside names
}

// get gives the value of a name of an object, or nil.
func (n *node) get(name string) *node {
	for i, have := range n.names {
		if have == name {
			return &n.items[i]
		}
	}
	return nil
}

// without is an object that lacks the given names.
func (n *node) without(names ...string) *node {
	out := &node{kind: n.kind}
	for i, name := range n.names {
		if !slices.Contains(names, name) {
			out.names, out.items = append(out.names, name), append(out.items, n.items[i])
		}
	}
	return out
}

// equal compares values: names in any order, strings by their text however they were escaped.
func (n *node) equal(o *node) bool {
	if n.kind != o.kind || n.text != o.text || n.num != o.num || len(n.items) != len(o.items) {
		return false
	}
	for i := range n.items {
		other := &o.items[i]
		if n.kind == kindObject {
			other = o.get(n.names[i])
		}
		if other == nil || !n.items[i].equal(other) {
			return false
		}
	}
	return true
}

// parser reads the strict subset of RFC 8259 that documents are written in.
type parser struct {
	data []byte
	pos  int
}

// parseJSON reads exactly one value. The nodes point into data.
func parseJSON(data []byte) (*node, error) {
	p := &parser{data: data}
	p.space()
	var n node
	if err := p.value(&n, 0); err != nil {
		return nil, fmt.Errorf("offset %d: %w", p.pos, err)
	}
	p.space()
	if p.pos != len(data) {
		return nil, fmt.Errorf("offset %d: data after the value", p.pos)
	}
	return &n, nil
}

func (p *parser) space() {
	for p.pos < len(p.data) {
		switch p.data[p.pos] {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return
		}
	}
}

// peek gives the next byte, or 0 at the end (a NUL byte is no token either).
func (p *parser) peek() byte {
	if p.pos < len(p.data) {
		return p.data[p.pos]
	}
	return 0
}

func (p *parser) value(n *node, depth int) (err error) {
	start := p.pos
	switch c := p.peek(); {
	case c == '{':
		n.kind = kindObject
		err = p.object(n, depth+1)
	case c == '[':
		n.kind = kindArray
		err = p.array(n, depth+1)
	case c == '"':
		n.kind = kindString
		n.text, err = p.str()
	case c == '-' || c >= '0' && c <= '9':
		n.kind = kindInteger
		n.num, err = p.integer()
	case p.word("true"):
		n.kind, n.num = kindBool, 1
	case p.word("false"):
		n.kind = kindBool
	case p.word("null"):
		err = errors.New("null is not allowed")
	default:
		err = errors.New("not a JSON value")
	}
	if err != nil {
		return err
	}
	n.raw = p.data[start:p.pos]
	return nil
}

func (p *parser) word(w string) bool {
	if len(p.data)-p.pos < len(w) || string(p.data[p.pos:p.pos+len(w)]) != w {
		return false
	}
	p.pos += len(w)
	return true
}

func (p *parser) array(n *node, depth int) error {
	if depth > MaxDepth {
		return fmt.Errorf("nested deeper than %d", MaxDepth)
	}
	p.pos++
	p.space()
	if p.peek() == ']' {
		p.pos++
		return nil
	}
	for {
		var item node
		if err := p.value(&item, depth); err != nil {
			return err
		}
		n.items = append(n.items, item)
		if done, err := p.next(']'); done || err != nil {
			return err
		}
	}
}

func (p *parser) object(n *node, depth int) error {
	if depth > MaxDepth {
		return fmt.Errorf("nested deeper than %d", MaxDepth)
	}
	p.pos++
	p.space()
	if p.peek() == '}' {
		p.pos++
		return nil
	}
	var seen map[string]bool // only for objects too long to be searched
	for {
		if p.peek() != '"' {
			return errors.New("expected a name")
		}
		name, err := p.str()
		if err != nil {
			return err
		}
		if len(n.names) == 16 {
			seen = make(map[string]bool, 64)
			for _, s := range n.names {
				seen[s] = true
			}
		}
		if seen[name] || seen == nil && n.get(name) != nil {
			return fmt.Errorf("name %q is repeated", name)
		}
		if seen != nil {
			seen[name] = true
		}
		p.space()
		if p.peek() != ':' {
			return errors.New("expected ':'")
		}
		p.pos++
		p.space()
		var item node
		if err := p.value(&item, depth); err != nil {
			return err
		}
		n.names = append(n.names, name)
		n.items = append(n.items, item)
		if done, err := p.next('}'); done || err != nil {
			return err
		}
	}
}

// next steps over the comma to the next member, or over the closing bracket.
func (p *parser) next(closing byte) (done bool, err error) {
	p.space()
	switch p.peek() {
	case closing:
		p.pos++
		return true, nil
	case ',':
		p.pos++
		p.space()
		return false, nil
	}
	return false, fmt.Errorf("expected ',' or '%c'", closing)
}

func (p *parser) integer() (int64, error) {
	start := p.pos
	if p.peek() == '-' {
		p.pos++
	}
	digits := p.pos
	for c := p.peek(); c >= '0' && c <= '9'; c = p.peek() {
		p.pos++
	}
	switch n := p.pos - digits; {
	case n == 0:
		return 0, errors.New("digits expected")
	case n > 1 && p.data[digits] == '0':
		return 0, errors.New("number with a leading zero")
	}
	if c := p.peek(); c == '.' || c == 'e' || c == 'E' {
		return 0, errors.New("only integers are allowed")
	}
	text := string(p.data[start:p.pos])
	if text == "-0" {
		return 0, errors.New("-0 is not allowed")
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil || v > slipstream.MaxSafeInteger || v < -slipstream.MaxSafeInteger {
		return 0, errors.New("integer beyond 2^53-1")
	}
	return v, nil
}

// str reads a string and undoes its escapes.
func (p *parser) str() (string, error) {
	p.pos++
	start := p.pos
	for p.pos < len(p.data) { // the common string needs no copy but the final one
		c := p.data[p.pos]
		if c == '"' {
			p.pos++
			return string(p.data[start : p.pos-1]), nil
		}
		if c == '\\' || c < 0x20 || c >= utf8.RuneSelf {
			break
		}
		p.pos++
	}
	out := append([]byte(nil), p.data[start:p.pos]...)
	for p.pos < len(p.data) {
		switch c := p.data[p.pos]; {
		case c == '"':
			p.pos++
			return string(out), nil
		case c < 0x20:
			return "", errors.New("control character in a string")
		case c == '\\':
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			out = utf8.AppendRune(out, r)
		default:
			r, size := utf8.DecodeRune(p.data[p.pos:])
			if r == utf8.RuneError && size <= 1 {
				return "", errors.New("string is not UTF-8")
			}
			out = append(out, p.data[p.pos:p.pos+size]...)
			p.pos += size
		}
	}
	return "", errors.New("string without an end")
}

// escape reads one escape sequence, or the two of a surrogate pair.
func (p *parser) escape() (rune, error) {
	if p.pos++; p.pos == len(p.data) {
		return 0, errors.New("string without an end")
	}
	c := p.data[p.pos]
	p.pos++
	switch c {
	case '"', '\\', '/':
		return rune(c), nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'u':
		r, err := p.hex4()
		if err != nil || !utf16.IsSurrogate(r) {
			return r, err
		}
		if !p.word(`\u`) {
			return 0, errors.New("lone surrogate")
		}
		low, err := p.hex4()
		if err != nil {
			return 0, err
		}
		if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
			return 0, errors.New("lone surrogate")
		}
		return r, nil
	}
	return 0, errors.New("unknown escape")
}

func (p *parser) hex4() (rune, error) {
	if len(p.data)-p.pos < 4 {
		return 0, errors.New("short \\u escape")
	}
	var r rune
	for _, c := range p.data[p.pos : p.pos+4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, errors.New("bad \\u escape")
		}
	}
	p.pos += 4
	return r, nil
}
