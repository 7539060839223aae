package hermes

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Known says whether a file is bytecode of a version that is known, and which.
func Known(file []byte) (version uint32, ok bool) {
	if _, err := read(file); err != nil {
		return 0, false
	}
	return binary.LittleEndian.Uint32(file[8:]), true
}

// Same says whether two files hold the same program, or what differs first: the same functions with the same
// instructions, where a string is its content, a literal its value, and a jump the instruction that it leads to. Short
// and long forms of an instruction are the same. What cannot be compared is not the same.
func Same(a, b []byte) error {
	x, err := openProgram(a)
	if err != nil {
		return fmt.Errorf("first file: %w", err)
	}
	y, err := openProgram(b)
	if err != nil {
		return fmt.Errorf("second file: %w", err)
	}
	if binary.LittleEndian.Uint32(a[8:]) != binary.LittleEndian.Uint32(b[8:]) || x.functions != y.functions {
		return fmt.Errorf("%d and %d functions, or two versions of the bytecode", x.functions, y.functions)
	}
	fixed := func(p *program) []byte { return slices.Concat(p.part(p.integers), p.part(p.digits), p.part(p.modules)) }
	if x.number(36, 4) != y.number(36, 4) || !bytes.Equal(fixed(x), fixed(y)) {
		return fmt.Errorf("the first function, the big integers or the modules differ")
	}
	for i := range x.functions {
		if err := sameFunction(x, y, i); err != nil {
			return fmt.Errorf("function %d: %w", i, err)
		}
	}
	return nil
}

// program is a file with its strings.
type program struct {
	*rewriter
	b     []byte
	texts texts
}

func openProgram(file []byte) (*program, error) {
	l, err := read(file)
	if err != nil {
		return nil, err
	}
	texts, err := l.texts(file)
	return &program{newRewriter(l, held(file), nil), file, texts}, err
}

func (p *program) part(s span) []byte { return p.b[s.at:s.end()] }

// expression gives what a regular expression was compiled to.
func (p *program) expression(id uint32) []byte {
	if int64(id) >= int64(p.expressions.size/8) {
		return nil
	}
	at := p.expressions.at + 8*int(id)
	offset, size := int(p.number(at, 4)), int(p.number(at+4, 4))
	if offset > p.patterns.size || size > p.patterns.size-offset {
		return nil
	}
	return p.b[p.patterns.at+offset : p.patterns.at+offset+size]
}

func (p *program) text(id uint32) text {
	if int64(id) < int64(p.texts.len()) {
		return p.texts.at(int(id))
	}
	return text{false, fmt.Append(nil, "no string ", id)}
}

var errNotCompared = errors.New("programs of bytecode from version 98 on cannot be compared")

// details are a function's header, wherever it stands.
type details struct {
	body                     span
	params, frame, env, info uint32
	caches                   [2]byte
	flags                    byte
	name                     text
}

func (p *program) details(i int) (d details, err error) {
	if p.version.recent {
		return d, errNotCompared
	}
	f := p.function(i)
	w := f.words
	d = details{span{int(w[0] & offsetBits), int(p.codeSize(f))}, w[0] >> 25, w[2] >> 25, w[3] & 255, w[2] & offsetBits,
		[2]byte{byte(w[3] >> 8), byte(w[3] >> 16)}, byte(w[3]>>24) &^ (flagLarge >> 24), p.text(w[1] >> 15)}
	if p.large(f) {
		at := p.largeAt(f)
		if at < 0 {
			return d, ErrUnknown
		}
		n := func(k int) uint32 { return p.number(at+4*k, 4) }
		last := p.b[at+28:]
		d = details{span{int(n(0)), int(n(2))}, n(1), n(5), n(6), uint32(at + largeHeader), [2]byte{last[0], last[1]}, last[2] &^ (flagLarge >> 24), p.text(n(3))}
	}
	if d.body.at < p.code.at || d.body.at > p.code.end() || d.body.size > p.code.end()-d.body.at {
		return d, ErrUnknown
	}
	return d, nil
}

func sameFunction(x, y *program, i int) error {
	a, err := x.details(i)
	if err != nil {
		return err
	}
	b, err := y.details(i)
	if err != nil {
		return err
	}
	if !a.name.equal(b.name) || a.params != b.params || a.frame != b.frame || a.env != b.env || a.flags != b.flags || a.caches != b.caches {
		return fmt.Errorf("%q and %q have other frames or flags", a.name.bytes, b.name.bytes)
	}
	p, err := x.list(a.body)
	if err != nil {
		return err
	}
	q, err := y.list(b.body)
	if err != nil {
		return err
	}
	if len(p.at) != len(q.at) {
		return fmt.Errorf("%d and %d instructions", len(p.at), len(q.at))
	}
	for k := range p.at {
		if err := sameInstruction(x, y, &p, &q, k); err != nil {
			return fmt.Errorf("instruction %d: %w", k, err)
		}
	}
	const handlers = 8
	if a.flags&handlers != 0 {
		return sameHandlers(x, y, &a, &b, &p, &q)
	}
	return nil
}

// listing is where the instructions of a function begin.
type listing struct {
	body  span
	at    []int
	order map[int]int // number of the instruction that begins at a distance from the begin
}

func (p *program) list(body span) (listing, error) {
	l := listing{body: body, order: map[int]int{}}
	end := body.end()
	for at := body.at; at < end; {
		code := p.b[at]
		length := int(p.version.length[code])
		if length == 0 || at+length > end {
			if len(bytes.Trim(p.b[at:end], "\x00")) == 0 { // filled up to a table
				break
			}
			return l, fmt.Errorf("instruction %d is not known", code)
		}
		l.order[at-body.at] = len(l.at)
		l.at = append(l.at, at)
		operandAt := at + 1
		for _, o := range p.version.operands[code] {
			if o.kind == jumpTableAt {
				if table := (at + int(p.number(operandAt, o.width)) + 3) &^ 3; table > at && table < end {
					end = table
				}
			}
			operandAt += int(o.width)
		}
		at += length
	}
	l.order[end-body.at] = len(l.at)
	return l, nil
}

// baseName is the name of an instruction without what says how wide its operands are.
func baseName(name string) string {
	for _, end := range []string{"LongIndex", "Long", "Short"} {
		name = strings.TrimSuffix(name, end)
	}
	return name
}

func sameInstruction(x, y *program, p, q *listing, k int) error {
	a, b := p.at[k], q.at[k]
	c, d := x.b[a], y.b[b]
	name := x.version.names[c]
	if baseName(name) != baseName(y.version.names[d]) {
		return fmt.Errorf("%s and %s", name, y.version.names[d])
	}
	from, to := x.version.operands[c], y.version.operands[d]
	if len(from) != len(to) {
		return fmt.Errorf("%s has other operands", name)
	}
	at, bt := a+1, b+1
	var count uint32
	for i := range from {
		u, v := x.number(at, from[i].width), y.number(bt, to[i].width)
		same := u == v
		switch from[i].kind {
		case plain:
			same = bytes.Equal(x.b[at:at+int(from[i].width)], y.b[bt:bt+int(to[i].width)])
		case literals:
			count = u
		case stringID:
			same = x.text(u).equal(y.text(v))
		case regExpID:
			same = bytes.Equal(x.expression(u), y.expression(v))
		case target:
			same = p.leadsTo(a, u, from[i].width) == q.leadsTo(b, v, to[i].width)
		case jumpTableAt:
			same = sameTable(x, y, p, q, a, b, u, v)
		case keysAt, valuesAt, arrayAt:
			same = slices.Equal(x.content(from[i].kind, u, count), y.content(from[i].kind, v, count))
		}
		if !same {
			return fmt.Errorf("%s differs in operand %d", name, i+1)
		}
		at, bt = at+int(from[i].width), bt+int(to[i].width)
	}
	return nil
}

// leadsTo gives the number of the instruction that a jump at a place leads to, or less than 0.
func (l *listing) leadsTo(from int, distance uint32, width byte) int {
	d := int(int32(distance))
	if width == 1 {
		d = int(int8(distance))
	}
	if n, ok := l.order[from-l.body.at+d]; ok {
		return n
	}
	return -1 - d
}

// sameTable compares the tables of a switch by the instructions that they lead to.
func sameTable(x, y *program, p, q *listing, a, b int, u, v uint32) bool {
	const least, most = 1 + 1 + 4 + 4, 1 + 1 + 4 + 4 + 4 // where the instruction holds them
	low, high := x.number(a+least, 4), x.number(a+most, 4)
	s, t := (a+int(u)+3)&^3, (b+int(v)+3)&^3
	if high < low || high-low > 1<<20 {
		return false
	}
	n := int(high-low) + 1
	if s+4*n > x.code.end() || t+4*n > y.code.end() {
		return false
	}
	for k := range n {
		if p.leadsTo(a, x.number(s+4*k, 4), 4) != q.leadsTo(b, y.number(t+4*k, 4), 4) {
			return false
		}
	}
	return true
}

// content gives the literals of a run, strings by their content.
func (p *program) content(kind byte, place, count uint32) []string {
	p.runs = newSorter(nil)
	p.note(kind, place, count)
	if len(p.runs.held) == 0 {
		return []string{fmt.Sprint("no literals at ", place)}
	}
	var out []string
	p.walk(p.runOf(p.runs.held[0]), len(p.b), func(at, size int, kind byte) {
		switch kind {
		case group:
		case longString, shortString, byteString:
			t := p.text(p.number(at, byte(size)))
			out = append(out, fmt.Sprintf("string %t %q", t.wide, t.bytes))
		default:
			out = append(out, fmt.Sprint(kind, " ", p.b[at:at+size]))
		}
	})
	return out
}

// sameHandlers compares what catches exceptions, by instructions.
func sameHandlers(x, y *program, a, b *details, p, q *listing) error {
	s, t := (int(a.info)+3)&^3, (int(b.info)+3)&^3
	if s+4 > len(x.b) || t+4 > len(y.b) || x.number(s, 4) != y.number(t, 4) {
		return fmt.Errorf("the tables of exceptions have other lengths")
	}
	n := int(x.number(s, 4))
	if n > len(x.b)/12 || s+4+12*n > len(x.b) || t+4+12*n > len(y.b) {
		return ErrUnknown
	}
	for k := range 3 * n {
		if p.leadsTo(a.body.at, x.number(s+4+4*k, 4), 4) != q.leadsTo(b.body.at, y.number(t+4+4*k, 4), 4) {
			return fmt.Errorf("exceptions are caught elsewhere")
		}
	}
	return nil
}

// ShortNames gives the share of functions with a name whose name has one or two characters: near 0 as people write them,
// far from it where a minifier was at work. Without enough functions it is false.
func ShortNames(file []byte) (share float64, ok bool) {
	p, err := openProgram(file)
	if err != nil {
		return 0, false
	}
	named, short := 0, 0
	for i := range p.functions {
		d, err := p.details(i)
		if err != nil || len(d.name.bytes) == 0 {
			continue
		}
		named++
		if len(d.name.bytes) <= 2 {
			short++
		}
	}
	const enough = 30
	return float64(short) / float64(max(named, 1)), named >= enough
}
