// Package bsdiff reads and writes patches of the BSDIFF40 format, for clients that know no other.
//
// # Format
//
//	offset size
//	0      8     "BSDIFF40"
//	8      8     bytes of the control stream
//	16     8     bytes of the difference stream
//	24     8     bytes of the new file
//	32     …     control, difference and extra stream, each one bzip2 stream
//
// Numbers have eight bytes, little end first; the highest bit is the sign. The control stream holds triples (x, y, z):
// add x bytes of the difference stream to the next x bytes of the old file, take y bytes of the extra stream, go z bytes
// on in the old file. A patch names neither of the two files: whoever applies it must know the hash of the new one.
package bsdiff

import (
	"encoding/binary"

	"github.com/slipstream-ota/slipstream"
)

const (
	magic      = "BSDIFF40"
	headerSize = 32
	tripleSize = 24
)

// readNumber reads a number of the format.
func readNumber(b []byte) int64 {
	v := binary.LittleEndian.Uint64(b)
	n := int64(v &^ (1 << 63))
	if v>>63 != 0 {
		return -n
	}
	return n
}

// appendNumber writes a number of the format.
func appendNumber(out []byte, n int64) []byte {
	v := uint64(n)
	if n < 0 {
		v = uint64(-n) | 1<<63
	}
	return binary.LittleEndian.AppendUint64(out, v)
}

func invalid(format string, args ...any) error {
	return slipstream.Refuse(slipstream.ReasonContainerInvalid, "patch", format, args...)
}
