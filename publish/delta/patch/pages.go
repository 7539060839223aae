package patch

import (
	"fmt"
	"io"
)

// Held is an old side that has some of its bytes in memory. They are used where they are, without a copy.
type Held interface {
	// Held gives the bytes from off on that are in memory, as far as they go; none means that they must be read. They do
	// not change.
	Held(off int64) []byte
}

// pages reads old at random places through a few cached pieces.
type pages struct {
	r      io.ReaderAt
	held   Held // nil: nothing is
	size   int64
	few    bool // half of the pages, for an old side that is larger than all of them
	cached [pageCount]page
	err    error // of reading
}

type page struct {
	number int64 // plus one; 0 when there is nothing
	data   []byte
}

const (
	pageLog   = 15
	pageSize  = 1 << pageLog
	pageCount = 64 // a bundle of 2 MB is read once
)

// at gives bytes of old from pos on: to the end of its page, or as many as are held. pos must lie inside. They are valid
// until a call for a place that is rich.Near or more away, unless there are few pages.
func (p *pages) at(pos int64) ([]byte, error) {
	if p.held != nil {
		if b := p.held.Held(pos); len(b) > 0 {
			return b, nil
		}
	}
	n := pos >> pageLog
	c := &p.cached[n%pageCount]
	if p.few {
		c = &p.cached[n%(pageCount/2)]
	}
	if c.number != n+1 {
		if err := p.load(c, n); err != nil {
			return nil, err
		}
	}
	return c.data[pos&(pageSize-1):], nil
}

func (p *pages) load(c *page, n int64) error {
	if c.data == nil {
		c.data = make([]byte, min(pageSize, p.size))
	}
	c.number = 0
	c.data = c.data[:min(pageSize, p.size-n<<pageLog)]
	if k, err := p.r.ReadAt(c.data, n<<pageLog); k < len(c.data) {
		if err == nil || err == io.EOF {
			err = fmt.Errorf("it ends at byte %d of %d: %w", n<<pageLog+int64(k), p.size, io.ErrUnexpectedEOF)
		}
		p.err = err
		return err
	}
	c.number = n + 1
	return nil
}
