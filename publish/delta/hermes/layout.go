package hermes

import (
	"encoding/binary"
	"errors"
)

// The file: a header of 128 bytes, the tables in the order below, each from a multiple of 4 bytes on, the instructions of
// the functions, what else is known of them, and a SHA-1 of all before. Numbers have 4 bytes, little end first.
const (
	headerSize = 128
	footerSize = 20
	magic      = 0x1F1903C103BC1FC6

	// MaxFile bounds a file that is rewritten, in bytes: it is held in memory a few times.
	MaxFile = 64 << 20
)

// span is a part of the file.
type span struct{ at, size int }

func (s span) end() int { return s.at + s.size }

// layout says where the tables of a file are.
type layout struct {
	version *version

	functions   int
	strings     int
	kinds       span // runs of strings: 31 bits count, 1 bit "identifiers"
	headers     span // 16 bytes for a function, 12 from version 98 on
	hashes      span // 4 bytes for an identifier
	small       span // 4 bytes for a string: 1 bit UTF-16, 23 bits offset, 8 bits length
	overflow    span // 8 bytes for a string that does not fit: offset, length
	storage     span
	arrays      span // literals of arrays, and from version 98 on of objects too
	keys        span
	values      span
	shapes      span // 8 bytes: place in keys, and how many names
	integers    span // 8 bytes for a big integer: offset, length
	digits      span
	expressions span // 8 bytes for a regular expression: offset, length
	patterns    span
	modules     span // 8 bytes
	sources     span // 8 bytes: function, string
	code        span // instructions and the rest
	footer      span
	identifiers int
}

var ErrUnknown = errors.New("not a file that is known")

// read finds the tables. Everything is checked to lie within the file.
func read(b []byte) (*layout, error) { return readHead(b, len(b)) }

// readHead is read for a file of which the begin is at hand.
func readHead(b []byte, size int) (l *layout, err error) {
	if size < headerSize+footerSize || size > MaxFile || binary.LittleEndian.Uint64(b) != magic {
		return nil, ErrUnknown
	}
	field := func(at int) int { return int(binary.LittleEndian.Uint32(b[at:])) }
	l = &layout{version: versionOf(uint32(field(8)))}
	if l.version == nil || field(32) != size {
		return nil, ErrUnknown
	}
	l.functions, l.identifiers, l.strings = field(40), field(48), field(52)
	at, total := headerSize, size
	next := func(count, size int) span {
		s := span{at, 0}
		if count < 0 || count > total || count*size > total-at { // below 0 where an int has 32 bits
			err = ErrUnknown
			return s
		}
		s.size = count * size
		at = min((s.end()+3)&^3, total)
		return s
	}
	l.headers = next(l.functions, l.version.headerSize())
	l.kinds = next(field(44), 4)
	l.hashes = next(l.identifiers, 4)
	l.small = next(l.strings, 4)
	l.overflow = next(field(56), 8)
	l.storage = next(field(60), 1)
	l.arrays = next(field(80), 1)
	l.keys = next(field(84), 1)
	more := 96 // where the header goes on
	if l.version.recent {
		l.values = span{l.keys.end(), 0}
		l.shapes = next(field(88), 8)
		more = 100
	} else {
		l.values = next(field(88), 1)
	}
	l.integers = next(field(64), 8)
	l.digits = next(field(68), 1)
	l.expressions = next(field(72), 8)
	l.patterns = next(field(76), 1)
	l.modules = next(field(more), 8)
	l.sources = next(field(more+4), 8)
	if err != nil || at > size-footerSize {
		return nil, ErrUnknown
	}
	l.code = span{at, size - footerSize - at}
	l.footer = span{size - footerSize, footerSize}
	return l, nil
}
