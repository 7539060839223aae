package suffix

import "context"

// Cover says that new[New:New+Len] is built on old[Old:Old+Len]: most bytes are alike.
type Cover struct{ Old, New, Len int }

// Covers gives covers in the order of New that do not overlap. gain is how many more bytes a match elsewhere must have
// right than going on beside the last one, to be preferred: a larger one gives fewer and longer covers.
func (x *Index) Covers(ctx context.Context, new []byte, gain int) ([]Cover, error) {
	c := &coverer{x: x, old: x.text, new: new, gain: gain}
	err := c.run(ctx)
	return c.covers, err
}

type coverer struct {
	x      *Index
	old    []byte
	new    []byte
	gain   int
	covers []Cover
	// the match found last, good for the places behind it too
	matchOld, matchNew, matchEnd int
}

// match gives the longest match at i. What is known from the search before is used where it is long: the match at
// i+1 is at least the one at i without its first byte.
func (c *coverer) match(i, wanted int) (pos, length int) {
	if left := c.matchEnd - i; left >= searchDepth {
		return c.matchOld + i - c.matchNew, left
	}
	pos, length = c.x.Longest(c.new[i:], wanted)
	c.matchOld, c.matchNew, c.matchEnd = pos, i, i+length
	return pos, length
}

func (c *coverer) run(ctx context.Context) error {
	n := len(c.new)
	scan, length, pos := 0, 0, 0
	last := Cover{} // end of what is settled: Old and New of the cover being grown, Len unused
	shift := 0      // old place minus new place of that cover
	for round := 0; scan < n; round++ {
		if round&0x3ff == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		score := 0 // bytes of the match that the present cover has right as well
		scan += length
		seen := scan
		for steps := 0; scan < n; scan++ {
			if steps++; steps&0xffff == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			pos, length = c.match(scan, scan+shift)
			for ; seen < scan+length; seen++ {
				if c.alike(seen, shift) {
					score++
				}
			}
			if length == score && length != 0 || length > score+c.gain {
				break
			}
			if c.alike(scan, shift) {
				score--
			}
		}
		if length != score || scan == n {
			last, shift = c.settle(last, shift, scan, pos)
		}
	}
	return nil
}

func (c *coverer) alike(i, shift int) bool {
	j := i + shift
	return j >= 0 && j < len(c.old) && c.old[j] == c.new[i]
}

// settle ends the cover that began at last, somewhere in front of scan, and begins the next one there.
func (c *coverer) settle(last Cover, shift, scan, pos int) (Cover, int) {
	forward := 0
	for i, score, best := 0, 0, 0; last.New+i < scan && last.Old+i < len(c.old); {
		if c.old[last.Old+i] == c.new[last.New+i] {
			score++
		}
		i++
		if score*2-i > best*2-forward {
			best, forward = score, i
		}
	}
	backward := 0
	if scan < len(c.new) {
		for i, score, best := 1, 0, 0; scan-i >= last.New && pos >= i; i++ {
			if c.old[pos-i] == c.new[scan-i] {
				score++
			}
			if score*2-i > best*2-backward {
				best, backward = score, i
			}
		}
	}
	if over := last.New + forward - (scan - backward); over > 0 { // both claim these bytes: split where most are right
		score, best, split := 0, 0, 0
		for i := range over {
			if c.new[last.New+forward-over+i] == c.old[last.Old+forward-over+i] {
				score++
			}
			if c.new[scan-backward+i] == c.old[pos-backward+i] {
				score--
			}
			if score > best {
				best, split = score, i+1
			}
		}
		forward += split - over
		backward -= split
	}
	if forward > 0 {
		c.covers = append(c.covers, Cover{Old: last.Old, New: last.New, Len: forward})
	}
	return Cover{Old: pos - backward, New: scan - backward}, pos - scan
}
