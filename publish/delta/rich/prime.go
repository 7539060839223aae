package rich

// maxPrimed bounds how much of old is learnt.
const maxPrimed = 32 << 20

// piece is a part of old.
type piece struct {
	b    []byte
	at   int    // its place
	last uint64 // the bytes in front of it
}

// prime learns all of old, when the first new text comes.
func (t *history) prime(m *model) {
	if t.primed {
		return
	}
	t.primed = true
	var pieces []piece
	p := piece{}
	for size := min(m.oldSize, maxPrimed); p.at < size; {
		pieces = pieces[:0]
		for end := min(p.at+Near, size); p.at < end; p.at += len(p.b) {
			b, err := m.src.Page(p.at)
			if err == nil {
				err = m.ctx.Err()
			}
			if err != nil {
				m.fail(err)
				return
			}
			p.b = b[:min(len(b), end-p.at)]
			pieces = append(pieces, p)
			for _, c := range p.b[max(0, len(p.b)-8):] {
				p.last = p.last<<8 | uint64(c)
			}
		}
		t.learn(pieces)
	}
}

// learn takes in some pieces. They are gone through for one table after the other, which then stays near the processor,
// and by two processors at the same time.
func (t *history) learn(pieces []piece) {
	tables := make(chan func(piece), 4)
	tables <- t.followers
	tables <- t.long
	tables <- t.short
	tables <- t.inWord
	close(tables)
	fill := func() {
		for one := range tables {
			for _, p := range pieces {
				one(p)
			}
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		fill()
	}()
	fill()
	<-done
}

// followers learns what follows what.
func (t *history) followers(p piece) {
	after1, after2, after3 := (*[1 << 8]uint32)(t.after1), (*[1 << 16]uint32)(t.after2), (*[1 << after3Log]uint32)(t.after3)
	last := uint32(p.last)
	for _, c := range p.b {
		a1, a2, a3 := &after1[byte(last)], &after2[uint16(last)], &after3[t.slot3(last)]
		*a1 = *a1<<8 | uint32(c)
		*a2 = *a2<<8 | uint32(c)
		*a3 = *a3<<8 | uint32(c)
		last = last<<8 | uint32(c)
	}
}

// long learns where bytes are, by the last longSpan.
func (t *history) long(p piece) {
	index, shift := t.index(0), uint(64-t.logs)&63
	last, pos := p.last, uint32(p.at)
	for _, c := range p.b {
		last = last<<8 | uint64(c)
		pos++
		index[last<<(64-8*longSpan)*keyFactor>>shift] = pos
	}
}

// short does so by the last shortSpan.
func (t *history) short(p piece) {
	index, shift := t.index(1), uint(64-t.logs)&63
	last, pos := p.last, uint32(p.at)
	for _, c := range p.b {
		last = last<<8 | uint64(c)
		pos++
		index[last<<(64-8*shortSpan)*keyFactor>>shift] = pos
	}
}

// inWord does so by those of the word of four.
func (t *history) inWord(p piece) {
	index, logs := t.index(2), t.logs
	last, pos := p.last, uint32(p.at)
	for _, c := range p.b {
		last = last<<8 | uint64(c)
		pos++
		if k := pos & 3; k >= 2 {
			index[key(last, int(k), logs)] = pos
		}
	}
}
