package patch

// tally counts by parts of new what a simple patch does. Costs are the bytes of its columns, before compression.
type tally struct {
	ends  []int64
	parts []Part
	part  int
	at    int64
}

func newTally(ends []int64) tally {
	return tally{ends: ends, parts: make([]Part, max(1, len(ends)))}
}

func (t *tally) move(n int64) {
	t.at += n
	for t.part+1 < len(t.ends) && t.at >= t.ends[t.part] {
		t.part++
	}
}

// text counts new text.
func (t *tally) text(n int64) {
	for n > 0 {
		k := n
		if t.part+1 < len(t.ends) {
			k = min(k, t.ends[t.part]-t.at)
		}
		t.parts[t.part].NewText += k
		t.parts[t.part].TextBits += 8 * k
		t.move(k)
		n -= k
	}
}

// same counts bytes of old.
func (t *tally) same(n int64) {
	for n > 0 {
		k := n
		if t.part+1 < len(t.ends) {
			k = min(k, t.ends[t.part]-t.at)
		}
		t.parts[t.part].Covered += k
		t.move(k)
		n -= k
	}
}

func (t *tally) changed() {
	p := &t.parts[t.part]
	p.Changed++
	p.PlaceBits += 8
	p.ByteBits += 8
	t.move(1)
}

func (t *tally) cover() {
	p := &t.parts[t.part]
	p.Covers++
	p.CoverBits += 40
}
