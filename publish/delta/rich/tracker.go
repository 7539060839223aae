package rich

// tracker knows at which places of old a change is likely. It follows from where changes were and to what, not from how
// that was coded, so that the writer can foresee it.
type tracker struct {
	words   memory   // by the word of old that the place is in, and where in it
	triples memory   // by the bytes of old around the place
	warm    [2]marks // of which of the two there is a past at all: small enough to stay near the processor
	hotTo   int      // place of old up to which a change is likely, because one was just before
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
func (m *marks) put(k uint32)      { m[k>>6&(1<<(memoryBits-6)-1)] |= 1 << (k & 63) }
func (m *marks) drop(k uint32)     { m[k>>6&(1<<(memoryBits-6)-1)] &^= 1 << (k & 63) }

func (m memory) at(k uint32) *past { return &m[k] }

const (
	afterChange = 12
	memoryBits  = 15
	hotPast     = 7 // a change was among the last three times
)

func newTracker() tracker {
	return tracker{words: make(memory, 1<<memoryBits), triples: make(memory, 1<<memoryBits), tokenEnd: -1}
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
	t.triple = (uint32(v[o-1]) | uint32(v[o])<<8 | uint32(v[o+1])<<16) * 0x9e3779b1 >> (32 - memoryBits)
	t.enter(v, o, op)
	t.word = (t.token + uint32(op-t.tokenAt)*0x85ebca6b) * 0x9e3779b1 >> (32 - memoryBits)
}

// enter finds the word that a place is in, unless that is known.
func (t *tracker) enter(v []byte, o, op int) {
	if op < t.tokenEnd && op >= t.tokenAt {
		return
	}
	t.token, t.tokenAt, t.tokenEnd = 0, op, op+1
	if wordByte(v[o]) {
		t.findToken(v, o, op)
	}
}

// cold counts the places from op on, n at most, that have no past. They are quiet, and passing them changes nothing.
func (t *tracker) cold(v []byte, o, op, n int) int {
	if n <= 0 || op < t.hotTo {
		return 0
	}
	ahead := v[o+1 : o+1+n]
	words, triples := &t.warm[warmWords], &t.warm[warmTriples]
	near := uint32(v[o-1])<<8 | uint32(v[o])<<16
	for k := 0; k < n; {
		t.enter(v, o+k, op+k)
		end := min(n, t.tokenEnd-op)
		word := t.token + uint32(op+k-t.tokenAt)*0x85ebca6b
		for ; k < end; k++ {
			near = near>>8 | uint32(ahead[k])<<16
			if triples.has(near*0x9e3779b1>>(32-memoryBits)) || words.has(word*0x9e3779b1>>(32-memoryBits)) && t.token != 0 {
				return k
			}
			word += 0x85ebca6b
		}
	}
	return n
}

// findToken finds the word around a place, of which it looks at 16 bytes.
func (t *tracker) findToken(v []byte, o, op int) {
	i := o
	for i > o-12 && wordByte(v[i-1]) {
		i--
	}
	h := uint32(1)
	if v[i-1] == '.' {
		h = 2
	}
	t.tokenAt = op - (o - i)
	n := 0
	for ; n < 16 && wordByte(v[i+n]); n++ {
		h = (h + uint32(v[i+n])) * 0x2f0b4c47
		h ^= h >> 15
	}
	t.tokenEnd = max(op+1, t.tokenAt+n)
	t.token = h | 1
}

func (t *tracker) same(op int) {
	if p := &t.triples[t.triple]; p.past != 0 {
		if p.past <<= 1; p.past == 0 {
			t.warm[warmTriples].drop(t.triple)
		}
	}
	if t.token != 0 {
		if p := &t.words[t.word]; p.past != 0 {
			if p.past <<= 1; p.past == 0 {
				t.warm[warmWords].drop(t.word)
			}
		}
	}
}

func (t *tracker) changed(op int, to byte) {
	for _, p := range [2]*past{&t.triples[t.triple], &t.words[t.word]} {
		p.past = p.past<<1 | 1
		p.is = to
		p.when = int32(op)
	}
	t.warm[warmTriples].put(t.triple)
	t.warm[warmWords].put(t.word)
	t.hotTo = op + 1 + afterChange
}

func (t *tracker) jumped(op int) {
	t.hotTo = min(t.hotTo, op)
	t.tokenEnd = -1
	t.placed = 0
}
