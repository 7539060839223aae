package patch

import (
	"fmt"
	"io"
)

// pages reads old at random places through a few cached pieces.
type pages struct {
	r      io.ReaderAt
	size   int64
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
	pageCount = 32
)

// at gives the bytes of old from pos to the end of its page. pos must lie inside. They are valid until the next call.
func (p *pages) at(pos int64) ([]byte, error) {
	n := pos >> pageLog
	c := &p.cached[n%pageCount]
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
