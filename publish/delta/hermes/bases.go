package hermes

import (
	"bytes"
	"context"
	"fmt"
	"io"
)

// HeldInMemory is how many bytes of bytecode, old files and the largest new one, Bases hold in memory where they can have
// a scratch file.
const HeldInMemory = 4 << 20

// Bases are the old files of a patch that others were rewritten against, by a number: in memory, or in a Room.
type Bases struct {
	olds    map[int]*Old
	spooled map[int]*Spooled
	room    *Room // nil: in memory

	// Footers says that the footer of a rewritten file is taken as it is where it is not zero, and not computed. Whoever
	// compares the hash of the file needs no other proof of it.
	Footers bool
}

// NewBases decides where files are kept that have size bytes, old ones and the largest new one together. scratch makes an
// empty file, which the caller removes when all is done; nil: there is only memory.
func NewBases(ctx context.Context, size int64, scratch func() (Scratch, error)) (*Bases, error) {
	b := &Bases{olds: map[int]*Old{}, spooled: map[int]*Spooled{}}
	if scratch == nil || size <= HeldInMemory {
		return b, nil
	}
	file, err := scratch()
	if err != nil {
		return nil, fmt.Errorf("make a scratch file: %w", err)
	}
	b.room = NewRoom(ctx, file)
	return b, nil
}

// InMemory tells whether files are held in memory.
func (b *Bases) InMemory() bool { return b.room == nil }

// Open reads the old file of a number. It is ErrUnknown when it is no bytecode that is known.
func (b *Bases) Open(number int, content io.ReaderAt, size int64) error {
	if size > MaxFile {
		return ErrUnknown
	}
	if b.room != nil {
		o, ok, err := b.room.Open(content, size)
		if err == nil && !ok {
			err = ErrUnknown
		}
		b.spooled[number] = o
		return err
	}
	file := make([]byte, size)
	if n, err := content.ReadAt(file, 0); n < len(file) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	o, ok := Open(file)
	if !ok {
		return ErrUnknown
	}
	o.Base()
	b.olds[number] = o
	return nil
}

// Has says whether a number was opened.
func (b *Bases) Has(number int) bool {
	return b != nil && (b.olds[number] != nil || b.spooled[number] != nil)
}

// Held gives the rewritten form of an old file that is in memory, else nil.
func (b *Bases) Held(number int) []byte {
	if b == nil || b.olds[number] == nil {
		return nil
	}
	return b.olds[number].Base()
}

// Form gives the rewritten form of an old file that was opened.
func (b *Bases) Form(number int) io.ReaderAt {
	if o := b.spooled[number]; o != nil {
		return o
	}
	return bytes.NewReader(b.Held(number))
}

// Restoring takes a rewritten file in and gives back what it was.
type Restoring interface {
	// Write takes the next bytes of size.
	io.Writer
	// Restore gives the file to write, which may be called often and must not keep the bytes. Bytes that are no file are
	// ErrUnknown; any other error is one of write, of the context or of the scratch file.
	Restore(write func([]byte) error) error
}

var (
	_ Restoring = (*Incoming)(nil)
	_ Restoring = (*collected)(nil)
)

// Begin takes a file of size bytes whose old file is known. One is taken at a time.
func (b *Bases) Begin(number int, size int64) Restoring {
	if o := b.spooled[number]; o != nil {
		n := o.Incoming(size)
		n.whole = b.Footers
		return n
	}
	return &collected{old: b.olds[number], bytes: make([]byte, 0, size), whole: b.Footers}
}

// collected is a new file in memory.
type collected struct {
	old   *Old
	bytes []byte
	whole bool // as in Incoming
}

func (c *collected) Write(p []byte) (int, error) {
	c.bytes = append(c.bytes, p...)
	return len(p), nil
}

func (c *collected) Restore(write func([]byte) error) error {
	b, err := c.old.restore(c.bytes, c.whole)
	if err != nil {
		return err
	}
	return write(b)
}
