package hermes

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/slipstream-ota/slipstream"
)

// Scratch is a file for what is not held in memory. It begins empty, may grow to what Room says, and is removed by its owner.
type Scratch interface {
	io.ReaderAt
	io.WriterAt
}

// A page is the piece of a scratch file that is held at a time.
const (
	pageLog   = 14
	pageSize  = 1 << pageLog
	pageCount = 24
)

// Room undoes rewriting in some 3 MiB of memory whatever the size of the files, and keeps them in a scratch file meanwhile.
// That holds the rewritten form of every old file and of the new one at hand, and lists of what is in them: for a file that
// a compiler wrote they are smaller than it is, for any other below twelve times its size. A Room is for one goroutine.
type Room struct {
	ctx   context.Context
	file  Scratch
	end   int64 // of what is in use, a multiple of pageSize
	pages []*page
	found map[int64]*page // by number
	hand  int             // the page that may go next
	spare [][]record      // buffers of sorters
	seeds seeds
	err   error // of the file or the context; what is read after it is worth nothing
}

// page is a piece of the file with what is changed in it.
type page struct {
	number  int64
	data    []byte
	pins    int  // views that are at it
	changed bool // written back before it goes
	used    bool // since the hand passed
}

// NewRoom gives a Room over a scratch file that is empty. ctx bounds all that is done in it.
func NewRoom(ctx context.Context, file Scratch) *Room {
	return &Room{ctx: ctx, file: file, found: map[int64]*page{}, seeds: newSeeds()}
}

func (r *Room) fail(err error) { r.err = fmt.Errorf("read scratch file: %w", err) }

// allocate gives the place of n bytes of any content.
func (r *Room) allocate(n int64) int64 {
	at := r.end
	r.end += (n + pageSize - 1) &^ (pageSize - 1)
	return at
}

// release gives back all that was allocated since end was such.
func (r *Room) release(end int64) {
	for number, p := range r.found {
		if number<<pageLog >= end {
			p.changed, p.used, p.pins, p.number = false, false, 0, -1
			delete(r.found, number)
		}
	}
	r.end = end
}

// read reads bytes that were written before.
func (r *Room) read(b []byte, at int64) {
	if r.err != nil {
		return
	}
	if r.err = r.ctx.Err(); r.err != nil {
		return
	}
	if n, err := r.file.ReadAt(b, at); n < len(b) {
		r.fail(err)
	}
}

func (r *Room) write(b []byte, at int64) {
	if r.err != nil {
		return
	}
	if r.err = r.ctx.Err(); r.err != nil {
		return
	}
	if _, err := r.file.WriteAt(b, at); err != nil {
		r.err = slipstream.Hint(fmt.Errorf("write scratch file: %w", err),
			"make room where the result goes: for bytecode it takes the old files and the new one once more, and up to as much again")
	}
}

// page gives a page. With fresh it is all zero, whatever the file has there.
func (r *Room) page(number int64, fresh bool) *page {
	if p := r.found[number]; p != nil {
		p.used = true
		return p
	}
	p := r.vacant()
	p.number, p.used, p.changed = number, true, fresh
	r.found[number] = p
	clear(p.data)
	if fresh || r.err != nil {
		return p
	}
	// The file may end in the last page.
	if r.err = r.ctx.Err(); r.err != nil {
		return p
	}
	if _, err := r.file.ReadAt(p.data, number<<pageLog); err != nil && !errors.Is(err, io.EOF) {
		r.fail(err)
	}
	return p
}

// vacant gives a page that holds nothing any more. Far fewer are pinned than there are.
func (r *Room) vacant() *page {
	if len(r.pages) < pageCount {
		p := &page{data: make([]byte, pageSize)}
		r.pages = append(r.pages, p)
		return p
	}
	for {
		r.hand = (r.hand + 1) % pageCount
		p := r.pages[r.hand]
		switch {
		case p.pins > 0:
		case p.used:
			p.used = false
		default:
			r.writeBack(p)
			delete(r.found, p.number)
			return p
		}
	}
}

func (r *Room) writeBack(p *page) {
	if p.changed {
		r.write(p.data, p.number<<pageLog)
		p.changed = false
	}
}

// flush writes back what is changed, for readers of the file.
func (r *Room) flush() {
	for _, p := range r.found {
		r.writeBack(p)
	}
}

// copyIn puts n bytes of a content at a place.
func (r *Room) copyIn(from io.ReaderAt, n, at int64) error {
	p := r.vacant()
	p.number = -1
	for done := int64(0); done < n && r.err == nil; {
		b := p.data[:min(pageSize, n-done)]
		if k, err := from.ReadAt(b, done); k < len(b) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		r.write(b, at+done)
		done += int64(len(b))
	}
	return r.err
}
