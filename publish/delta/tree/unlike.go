package tree

import (
	"encoding/binary"
	"math/bits"
)

// blockSize is that of the pieces of old which are looked for in new, in bytes.
const blockSize = 16

// unlike counts about how many bytes of new are in no block of old, wherever that is. It is a look at a fiftieth of the cost of a
// search: a few blocks too many are found, and what differs in one byte is lost as a whole.
func unlike(old, new []byte) int64 {
	const spread = 32 // bits for a block
	shift := 64 - bits.Len(uint(len(old)/blockSize*spread|1<<12))
	seen := make([]uint64, 1<<(64-shift-6))
	for i := 0; i+blockSize <= len(old); i += blockSize {
		h := blockHash(old[i:]) >> shift
		seen[h/64] |= 1 << (h % 64)
	}
	lost, i := 0, 0
	for i+blockSize <= len(new) {
		h := blockHash(new[i:]) >> shift
		if seen[h/64]>>(h%64)&1 == 1 {
			i += blockSize
		} else {
			lost++
			i++
		}
	}
	return int64(lost + len(new) - i)
}

func blockHash(b []byte) uint64 {
	const odd = 0x9e3779b97f4a7c15
	x, y := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
	x = (x ^ bits.RotateLeft64(y*odd, 29)) * odd
	return (x ^ x>>32) * odd
}
