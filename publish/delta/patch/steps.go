package patch

import (
	"encoding/binary"

	"github.com/slipstream-ota/slipstream/publish/delta/suffix"
)

// maxStep bounds the columns of a step, and so what a reader holds at a time.
const maxStep = 512 << 10

// columns of the step being written.
type columns struct {
	texts, jumps, lens []byte
	gaps, changes      []byte
	text               []byte
	covers             int
	gap                int // bytes of covers since the last changed one
}

func (c *columns) size() int {
	return len(c.texts) + len(c.jumps) + len(c.lens) + len(c.gaps) + len(c.changes) + len(c.text)
}

// flush appends the step to out, as separate parts, so that a compressor can tell them apart.
func (c *columns) flush(out [][]byte) [][]byte {
	if c.covers == 0 {
		return out
	}
	h := binary.AppendUvarint(nil, uint64(c.covers))
	h = binary.AppendUvarint(h, uint64(len(c.gaps)))
	h = binary.AppendUvarint(h, uint64(len(c.changes)))
	h = binary.AppendUvarint(h, uint64(len(c.text)))
	h = append(append(append(h, c.texts...), c.jumps...), c.lens...)
	for _, part := range [][]byte{h, c.gaps, c.changes, c.text} {
		out = append(out, append([]byte(nil), part...))
	}
	*c = columns{texts: c.texts[:0], jumps: c.jumps[:0], lens: c.lens[:0], gaps: c.gaps[:0], changes: c.changes[:0], text: c.text[:0]}
	return out
}

// encodeSteps writes the covers of simple. Four parts make one step.
func encodeSteps(old, new []byte, covers []suffix.Cover) [][]byte {
	const room = maxStep - 64
	var out [][]byte
	c := &columns{}
	end := 0 // of the last cover in old
	at := 0  // in new
	cover := func(text []byte, oldPos, n int) {
		c.texts = binary.AppendUvarint(c.texts, uint64(len(text)))
		c.jumps = binary.AppendVarint(c.jumps, int64(oldPos-end))
		c.lens = binary.AppendUvarint(c.lens, uint64(n))
		c.text = append(c.text, text...)
		c.covers++
	}
	emit := func(next suffix.Cover) {
		for {
			text := new[at:next.New]
			if free := room - c.size(); len(text) > free {
				if free > 0 {
					cover(text[:free], end, 0)
					at += free
				}
				out = c.flush(out)
				continue
			}
			if c.size() >= room {
				out = c.flush(out)
			}
			n := c.cover(old[next.Old:next.Old+next.Len], new[next.New:next.New+next.Len], room-c.size()-len(text))
			if len(text)+n > 0 {
				cover(text, next.Old, n)
				at, end = next.New+n, next.Old+n
			}
			if n == next.Len {
				return
			}
			next = suffix.Cover{Old: next.Old + n, New: next.New + n, Len: next.Len - n}
			out = c.flush(out)
		}
	}
	for _, next := range covers {
		emit(next)
	}
	if at < len(new) {
		emit(suffix.Cover{Old: end, New: len(new)})
	}
	return c.flush(out)
}

// cover appends what differs, until the room is used up, and gives how many bytes it got along.
func (c *columns) cover(old, new []byte, room int) int {
	before := len(c.gaps) + len(c.changes)
	for i, last := alike(old, new, 0), 0; ; i, last = alike(old, new, i+1), i+1 {
		c.gap += i - last
		if i == len(new) {
			return i
		}
		if len(c.gaps)+len(c.changes)-before+8 > room {
			return i
		}
		c.gaps = binary.AppendUvarint(c.gaps, uint64(c.gap))
		c.changes = append(c.changes, new[i]-old[i])
		c.gap = 0
	}
}
