package hermes

// Where an instruction begins is known when the one before has been read, and that wait is most of the time that it takes to
// go through them. So two runs of functions are gone through at a time, which only notes the instructions that have
// something to care for; these are looked at afterwards, in order.

// laneSize bounds the bytes of instructions that are gone through before what was noted is looked at.
const laneSize = 16 << 10

// lane is a run of functions, and where instructions are in them that have something to care for.
type lane struct {
	bodies []body
	cares  []uint32
}

// unknown is longer than any function: what follows an instruction that is not known is not looked at.
const unknown = 1 << 24

// strides gives for every opcode how far it is to the next instruction, and at bit 28 whether it has something to care for.
func (q *quick) strides(v *version) *[256]uint32 {
	var out [256]uint32
	for code, p := range q.passes {
		switch {
		case v.length[code] == 0:
			out[code] = unknown
		case p.kind() == passPlain:
			out[code] = uint32(p.length())
		default:
			out[code] = uint32(p.length()) | careBit
		}
	}
	return &out
}

const (
	careShift = 28
	careBit   = 1 << careShift
)

// inLanes goes through the instructions of functions of a file that is held, those in bodies.
func (w *rewriter) inLanes(c *coder, q *quick, bodies []body) {
	strides := q.strides(w.version)
	var lanes [2]lane
	for i := range lanes {
		lanes[i].cares = make([]uint32, laneSize)
	}
	for len(bodies) > 0 {
		for i := range lanes {
			size, n := uint32(0), 0
			for n < len(bodies) && size+bodies[n].size <= laneSize {
				size += bodies[n].size
				n++
			}
			lanes[i].bodies, bodies = bodies[:n], bodies[n:]
		}
		note(w.win, strides, &lanes[0], &lanes[1])
		for i := range lanes {
			w.look(c, q, &lanes[i])
		}
		if len(bodies) > 0 && bodies[0].size > laneSize {
			w.begin(c, bodies[0])
			w.body(c, q, bodies[0])
			bodies = bodies[1:]
		}
	}
}

// note fills the lanes.
func note(code []byte, strides *[256]uint32, a, b *lane) {
	var x, y cursor
	x.open(a)
	y.open(b)
	p, q := (*[laneSize]uint32)(a.cares), (*[laneSize]uint32)(b.cares)
	m, n := uint32(0), uint32(0)
	for x.at < x.end && y.at < y.end {
		i, j, iEnd, jEnd := x.at, y.at, x.end, y.end // not in memory: to go by way of it takes as long as the rest
		for i < iEnd && j < jEnd {
			s, t := strides[code[i]], strides[code[j]]
			p[m%laneSize], q[n%laneSize] = i, j
			m += s >> careShift
			n += t >> careShift
			i += s % careBit
			j += t % careBit
		}
		x.at, y.at = i, j
		x.next()
		y.next()
	}
	m = x.rest(code, strides, p, m)
	n = y.rest(code, strides, q, n)
	a.cares, b.cares = a.cares[:m], b.cares[:n]
}

// rest goes through what is left, when m instructions are noted.
func (c *cursor) rest(code []byte, strides *[256]uint32, cares *[laneSize]uint32, m uint32) uint32 {
	for ; c.at < c.end; c.next() {
		for c.at < c.end {
			s := strides[code[c.at]]
			cares[m%laneSize] = c.at
			m += s >> careShift
			c.at += s % careBit
		}
	}
	return m
}

// cursor is a place in the functions of a lane.
type cursor struct {
	at, end uint32
	bodies  []body // that follow
}

func (c *cursor) open(l *lane) {
	c.bodies = l.bodies
	c.next()
}

// next goes on to the next function when the one at hand is done.
func (c *cursor) next() {
	if c.at >= c.end && len(c.bodies) > 0 {
		c.at, c.end = c.bodies[0].at, c.bodies[0].end()
		c.bodies = c.bodies[1:]
	}
}

// look rewrites what was noted.
func (w *rewriter) look(c *coder, q *quick, l *lane) {
	cares := l.cares
	for _, s := range l.bodies {
		w.begin(c, s)
		end := int(s.end())
		n := 0
		for ; n < len(cares) && cares[n] < s.end(); n++ {
			at := int(cares[n])
			p := q.passes[w.win[at]]
			if at+p.length() > end {
				end = 0 // what a table of jumps ends, or a function that is cut off
				continue
			}
			if !w.quickly(c, q, w.win[at:at+p.length()], p) {
				end = w.instruction(c, w.win[at], at, end)
			}
		}
		cares = cares[n:]
	}
	l.cares = l.cares[:laneSize]
}
