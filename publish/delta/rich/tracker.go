package rich

// tracker knows at which places of old a change is likely. It follows from where changes were and to what, not from how
// that was coded, so that the writer can foresee it.
type tracker struct {
	words   memory    // by the word of old that the place is in, and where in it
	triples memory    // by the bytes of old around the place
	warm    [2]marks  // of which of the two there is a past at all: small enough to stay near the processor
	marked  [2]int    // how many those are
	letters [256]bool // wordByte
	hotTo   int       // place of old up to which a change is likely, because one was just before
	// the present place
	word, triple uint32
	token        uint32 // the word as a hash, 0: it is no word
	tokenAt      int    // place of the word's first byte
	tokenEnd     int    // place behind the word
	placed       int    // which place all this is of, plus one
}

// memory remembers what happened at places that look alike.
type memory []past

type past struct {
	when int32 // place of the last change
	past uint8 // the last eight times: ones are changes
	is   uint8 // what it changed to
}

const (
	warmWords = iota
	warmTriples
)

// marks is a set of numbers of memoryBits bits.
type marks [1 << (memoryBits - 6)]uint64

func (m *marks) has(k uint32) bool { return m[k>>6&(1<<(memoryBits-6)-1)]>>(k&63)&1 != 0 }

func (m *marks) flip(k uint32) { m[k>>6&(1<<(memoryBits-6)-1)] ^= 1 << (k & 63) }

func (m memory) at(k uint32) *past { return &m[k] }

const (
	afterChange = 12
	memoryBits  = 15
	hotPast     = 7 // a change was among the last three times
)

func newTracker() tracker {
	t := tracker{words: make(memory, 1<<memoryBits), triples: make(memory, 1<<memoryBits), tokenEnd: -1}
	for b := range t.letters {
		t.letters[b] = wordByte(byte(b))
	}
	return t
}

// hot moves to a place of old and tells whether a change is likely there.
func (t *tracker) hot(v []byte, o, op int) bool {
	if t.placed != op+1 {
		t.place(v, o, op)
	}
	return op < t.hotTo || t.triples[t.triple].past&hotPast != 0 || t.token != 0 && t.words[t.word].past&hotPast != 0
}

func (t *tracker) place(v []byte, o, op int) {
	t.placed = op + 1
	t.triple = tripleAt(v[o-1:])
	t.enter(v, o, op)
	t.word = (t.token + uint32(op-t.tokenAt)*0x85ebca6b) * 0x9e3779b1 >> (32 - memoryBits)
}

// enter finds the word that a place is in, unless that is known.
func (t *tracker) enter(v []byte, o, op int) {
	if op < t.tokenEnd && op >= t.tokenAt {
		return
	}
	t.token, t.tokenAt, t.tokenEnd = 0, op, op+1
	if t.letters[v[o]] {
		t.findToken(v, o, op)
	}
}

// cold counts the places from op on, n at most, that have no past. They are quiet, and passing them changes nothing.
func (t *tracker) cold(v []byte, o, op, n int) int {
	if n <= 0 || op < t.hotTo {
		return 0
	}
	n = t.coldTriples(v, o, n)
	if t.marked[warmWords] == 0 {
		t.pass(v, o, op, n)
		return n
	}
	words := &t.warm[warmWords]
	// place says what the products are: those of sums are sums
	const step = 0x85ebca6b * 0x9e3779b1 & (1<<32 - 1)
	for k := 0; k < n; {
		if !t.letters[v[o+k]] {
			k++
			continue
		}
		t.enter(v, o+k, op+k)
		word := t.token*0x9e3779b1 + uint32(op+k-t.tokenAt)*step
		for end := min(n, t.tokenEnd-op); k < end; k++ {
			if words.has(word >> (32 - memoryBits)) {
				return k
			}
			word += step
		}
	}
	return n
}

// coldTriples is cold by the bytes around places alone.
func (t *tracker) coldTriples(v []byte, o, n int) int {
	if t.marked[warmTriples] == 0 {
		return n
	}
	triples := &t.warm[warmTriples]
	near := uint32(v[o-1])<<8 | uint32(v[o])<<16
	for k, b := range v[o+1 : o+1+n] {
		near = near>>8 | uint32(b)<<16
		if triples.has(near * tripleFactor >> (32 - memoryBits)) {
			return k
		}
	}
	return n
}

// pass moves over n places. Where a long word is cut depends on where it was entered.
func (t *tracker) pass(v []byte, o, op, n int) {
	if !t.letters[v[o+n]] {
		return
	}
	k := n
	for k > 0 && t.letters[v[o+k-1]] {
		k--
	}
	for ; k < n; k = t.tokenEnd - op {
		t.enter(v, o+k, op+k)
	}
}

const tripleFactor = 0x9e3779b1

// tripleAt hashes three bytes.
func tripleAt(v []byte) uint32 {
	return (uint32(v[0]) | uint32(v[1])<<8 | uint32(v[2])<<16) * tripleFactor >> (32 - memoryBits)
}

// findToken finds the word around a place, of which it looks at 16 bytes.
func (t *tracker) findToken(v []byte, o, op int) {
	i := o
	for i > o-12 && t.letters[v[i-1]] {
		i--
	}
	h := uint32(1)
	if v[i-1] == '.' {
		h = 2
	}
	t.tokenAt = op - (o - i)
	n := 0
	for _, b := range v[i : i+16] {
		if !t.letters[b] {
			break
		}
		h = (h + uint32(b)) * 0x2f0b4c47
		h ^= h >> 15
		n++
	}
	t.tokenEnd = max(op+1, t.tokenAt+n)
	t.token = h | 1
}

func (t *tracker) same(op int) {
	t.fade(warmTriples, t.triples.at(t.triple), t.triple)
	if t.token != 0 {
		t.fade(warmWords, t.words.at(t.word), t.word)
	}
}

// fade notes that nothing changed.
func (t *tracker) fade(kind int, p *past, k uint32) {
	if p.past == 0 {
		return
	}
	if p.past <<= 1; p.past == 0 {
		t.warm[kind].flip(k)
		t.marked[kind]--
	}
}

func (t *tracker) changed(op int, to byte) {
	t.note(warmTriples, t.triples.at(t.triple), t.triple, op, to)
	t.note(warmWords, t.words.at(t.word), t.word, op, to)
	t.hotTo = op + 1 + afterChange
}

func (t *tracker) note(kind int, p *past, k uint32, op int, to byte) {
	if p.past == 0 {
		t.warm[kind].flip(k)
		t.marked[kind]++
	}
	p.past = p.past<<1 | 1
	p.is = to
	p.when = int32(op)
}

func (t *tracker) jumped(op int) {
	t.hotTo = min(t.hotTo, op)
	t.tokenEnd = -1
	t.placed = 0
}
