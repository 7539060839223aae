package rich

// guesser finds what a changed byte probably becomes, so that one decision is enough to tell it.
type guesser struct {
	sources [guesses]source
	byOld   [4][256]byte // by place in the word and old byte: what it became last
	seen    [4][256]uint8
}

const guesses = 5

// source is one way to guess. trust says how often it was right, by the state it was in.
type source struct {
	valid bool
	byte  byte
	state int
	trust [256]uint16
}

func newGuesser() guesser {
	g := guesser{}
	for i := range g.sources {
		for j := range g.sources[i].trust {
			g.sources[i].trust[j] = 36000
		}
	}
	return g
}

func (s *source) set(b, old byte, state int) {
	s.byte, s.state, s.valid = b, state, b != old
}

// guess fills the sources and gives the one to be trusted most, -1 when there is none.
func (m *model) guess() int {
	g := &m.guesser
	old := m.view[m.o]
	word := m.op & 3
	n := len(m.out)
	e, agree := m.expected()
	g.sources[0].set(e, old, int(agree)<<2|word)
	t, p := m.track.words.at(m.track.word), m.track.triples.at(m.track.triple)
	g.sources[1].set(t.is, old, int(t.past&7)<<5|min(log(m.op-int(t.when)), 31))
	g.sources[1].valid = g.sources[1].valid && t.when > 0 && m.track.token != 0
	g.sources[2].set(p.is, old, int(p.past&7)<<5|min(log(m.op-int(p.when)), 31))
	g.sources[2].valid = g.sources[2].valid && p.when > 0
	g.sources[3].set(g.byOld[word][old], old, int(min(g.seen[word][old], 15)))
	g.sources[3].valid = g.sources[3].valid && g.seen[word][old] > 0
	g.sources[4].set(old+m.out[n-4]-m.view[m.o-4], old, word|int(m.hist>>3&1)<<2|int(m.hist&1)<<3)
	best, trust := -1, uint16(20000)
	for i := range g.sources {
		s := &g.sources[i]
		if s.valid && s.trust[s.state] > trust {
			best, trust = i, s.trust[s.state]
		}
	}
	return best
}

// guessed learns how good the guesses were.
func (m *model) guessed(b byte) {
	g := &m.guesser
	for i := range g.sources {
		s := &g.sources[i]
		if !s.valid {
			continue
		}
		if t := &s.trust[s.state]; s.byte == b {
			*t += (65535 - *t) >> 4
		} else {
			*t -= *t >> 4
		}
	}
	old, word := m.view[m.o], m.op&3
	if g.byOld[word][old] == b {
		g.seen[word][old] += uint8(1) &^ (g.seen[word][old] >> 7)
	} else {
		g.byOld[word][old] = b
		g.seen[word][old] = 1
	}
}

// hit codes whether the guess of a source is right.
func (m *model) hit(best, bit int) int {
	f, g := &m.flags, &m.guesser
	s := &g.sources[best]
	alike := uint32(best)
	for i := range g.sources {
		alike <<= 2
		if o := &g.sources[i]; o.valid {
			alike |= 1
			if o.byte == s.byte {
				alike |= 2
			}
		}
	}
	v, o := m.view, m.o
	o0 := uint32(v[o])
	x := uint32(s.byte)
	n := len(m.out)
	c1 := uint32(m.out[n-1])
	h := &f.h
	near := uint32(m.hist)
	h[0] = hash3(kindHit, alike, uint32(s.state))
	h[1] = hash3(kindHit<<8, alike, near&7)
	h[2] = hash3(kindHit<<8+1, x|o0<<8, uint32(m.op&3))
	h[3] = hash3(kindHit<<8+2, x|o0<<8|c1<<16|uint32(v[o+1])<<24, 0)
	h[4] = hash3(kindHit<<8+3, m.track.token|1, x|o0<<8)
	h[5] = hash3(kindHit<<8+4, uint32(v[o-1])|uint32(v[o-2])<<8|o0<<16|x<<24, 0)
	h[6] = hash3(kindHit<<8+5, m.dword(), uint32(m.op&3)|x<<8)
	h[7] = hash3(kindHit<<8+6, m.hits&0xff, uint32(best))
	diff := func(k int) uint32 { return uint32(m.out[n-k] - v[o-k]) }
	by := (x - o0) & 255
	h[8] = hash3(kindHit<<8+7, by|diff(1)<<8|x<<16, uint32(m.op&3))
	h[9] = hash3(kindHit<<8+8, by|diff(4)<<8|diff(8)<<16, uint32(m.op&3))
	h[10] = hash3(kindHit<<8+9, c1|uint32(m.out[n-2])<<8|x<<16, 0)
	h[11] = hash3(kindHit<<8+10, o0|uint32(v[o+1])<<8|uint32(v[o+2])<<16|x<<24, 0)
	h[12] = hash3(kindHit<<8+11, m.delta[0], uint32(m.op&3)|by<<8)
	h[13] = hash3(kindHit<<8+12, o0, uint32(s.trust[s.state]>>12))
	f.guess.b.choose(best<<2|m.op&3, int(alike&1023), int(m.hits&31), 0)
	bit = m.decide(&f.guess, bit)
	m.hits = m.hits<<1 | uint32(bit)
	return bit
}
