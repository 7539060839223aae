package hermes

import (
	"bytes"
	"encoding/binary"
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
	if !slices.Equal(x.sourcesOf(), y.sourcesOf()) {
		return fmt.Errorf("the sources that functions tell of themselves differ")
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
	if l.version.recent {
		l.version = comparedVersion(binary.LittleEndian.Uint32(file[8:]))
	}
	texts, err := l.texts(file)
	return &program{newRewriter(l, held(file), nil), file, texts}, err
}

// sourcesOf gives which functions say what their source is, and what they say.
func (p *program) sourcesOf() []string {
	var out []string
	for at := p.sources.at; at < p.sources.end(); at += 8 {
		t := p.text(p.number(at+4, 4))
		out = append(out, fmt.Sprintf("%d %t %q", p.number(at, 4), t.wide, t.bytes))
	}
	return out
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

// details are a function's header, wherever it stands.
type details struct {
	body span
	info uint32 // where handlers of exceptions are, from the next multiple of 4 on
	name text
	frame
}

// frame is what the same function has in every compile.
type frame struct {
	params, depth, size, environment uint32
	numbers, others                  uint32 // registers that hold no pointers
	caches                           uint32
	flags                            byte
}

func (p *program) details(i int) (d details, err error) {
	f := p.function(i)
	switch {
	case p.large(f):
		at := p.largeAt(f)
		if at < 0 || p.version.recent && at+largeRecent > p.code.end() {
			return d, ErrUnknown
		}
		d = p.largeDetails(at)
	case p.version.recent:
		w := f.words
		d = details{body: span{int(w[0] & offsetBits), int(p.codeSize(f))}, name: p.text(w[1] >> 14 & 255), frame: frame{params: w[0] >> 25 & 31,
			depth: w[0] >> 30, size: w[2] & 255, numbers: w[1] >> 22 & 31, others: w[1] >> 27, caches: w[2] >> 8 & 0xFFFF, flags: byte(w[2] >> 24)}}
	default:
		w := f.words
		d = details{span{int(w[0] & offsetBits), int(p.codeSize(f))}, w[2] & offsetBits, p.text(w[1] >> 15), frame{params: w[0] >> 25,
			size: w[2] >> 25, environment: w[3] & 255, caches: w[3] >> 8 & 0xFFFF, flags: byte(w[3] >> 24)}}
	}
	d.flags &^= flagLarge >> 24
	if d.body.at < p.code.at || d.body.at > p.code.end() || d.body.size > p.code.end()-d.body.at {
		return d, ErrUnknown
	}
	return d, nil
}

// largeRecent is how many bytes a large header has at most.
const largeRecent = 40

// largeDetails reads a large header: numbers of 4 bytes, then a byte for each cache and one for flags, behind which the
// handlers of exceptions are.
func (p *program) largeDetails(at int) details {
	n := func(k int) uint32 { return p.number(at+4*k, 4) }
	if !p.version.recent {
		last := p.b[at+28:]
		return details{span{int(n(0)), int(n(2))}, uint32(at + largeHeader), p.text(n(3)), frame{params: n(1), size: n(5), environment: n(6),
			caches: uint32(last[0]) | uint32(last[1])<<8, flags: last[2]}}
	}
	d := details{body: span{int(n(0)), int(n(3))}, name: p.text(n(4)), frame: frame{params: n(1), depth: n(2), numbers: n(5), others: n(6), size: n(7), caches: n(8)}}
	flags := at + 36
	if p.version.caches == 3 {
		flags = at + 35
		d.caches &= 1<<24 - 1
	}
	d.flags, d.info = p.b[flags], uint32(flags+1)
	return d
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
	if !a.name.equal(b.name) || a.frame != b.frame {
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
		case shapeID:
			same = x.shapeSize(u) == y.shapeSize(v) && slices.Equal(x.keysOf(u), y.keysOf(v))
			count = x.shapeSize(u)
		case casesAt:
			same = sameCases(x, y, p, q, place{a, at}, place{b, bt})
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

// place is an instruction and where its operand is.
type place struct{ code, operand int }

// cases gives the strings that a switch tells apart, each with the number of the instruction that it leads to.
func (p *program) cases(l *listing, at place) ([]string, bool) {
	const counted = 8 // bytes behind the operand: the place where others go, then how many strings there are
	table := (at.code + int(p.number(at.operand, 4)) + 3) &^ 3
	n := int(p.number(at.operand+counted, 4))
	if table < p.code.at || n > p.code.size/8 || table+8*n > p.code.end() {
		return nil, false
	}
	out := make([]string, n)
	for k := range out {
		t, leads := p.text(p.number(table+8*k, 4)), l.leadsTo(at.code, p.number(table+8*k+4, 4), 4)
		out[k] = fmt.Sprintf("string %t %q to %d", t.wide, t.bytes, leads)
	}
	return out, true
}

// sameCases compares switches over strings. Their tables are sorted by the numbers of the strings.
func sameCases(x, y *program, p, q *listing, a, b place) bool {
	from, ok := x.cases(p, a)
	to, ok2 := y.cases(q, b)
	slices.Sort(from)
	slices.Sort(to)
	return ok && ok2 && slices.Equal(from, to)
}

// keysOf gives the names that the objects of a shape have.
func (p *program) keysOf(shape uint32) []string {
	if int64(shape) >= int64(p.shapes.size/8) {
		return []string{fmt.Sprint("no shape ", shape)}
	}
	at := p.shapes.at + 8*int(shape)
	return p.content(keysAt, p.number(at, 4), p.number(at+4, 4))
}

// content gives the literals of a run, strings by their content.
func (p *program) content(kind byte, place, count uint32) []string {
	if count == 0 {
		return nil
	}
	p.runs = newSorter(nil)
	p.note(kind, place, count)
	if len(p.runs.held) == 0 {
		return []string{fmt.Sprint("no literals at ", place)}
	}
	var out []string
	p.walk(p.runOf(p.runs.held[0]), len(p.b), func(at, count, width int, kind byte) {
		for ; count > 0 && kind != group; count-- {
			if kind >= longString && kind <= byteString && width > 0 {
				t := p.text(p.number(at, byte(width)))
				out = append(out, fmt.Sprintf("string %t %q", t.wide, t.bytes))
			} else {
				out = append(out, fmt.Sprint(kind, " ", p.b[at:at+width]))
			}
			at += width
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
