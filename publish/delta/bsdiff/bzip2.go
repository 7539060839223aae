package bsdiff

import (
	"context"

	"github.com/slipstream-ota/slipstream/publish/delta/suffix"
)

// The bzip2 stream format: "BZh" and a digit for the block size, blocks, and an end mark with the checksum of all
// blocks. Bits are written from the high end of a byte on. The format is described by its decoders only; the names here
// are those that the standard library's reader uses.
const (
	bzMaxLevel   = 9
	bzLevelBytes = 100_000
	bzRunMax     = 255 // of equal bytes in one run of the first run-length stage
	bzRunMin     = 4   // equal bytes after which a count follows
	bzGroup      = 50  // symbols that share one Huffman table
	bzMaxTables  = 6
	bzMaxCode    = 17 // bits of a code; readers take up to 20
	bzRounds     = 4  // of fitting tables and groups to each other
	bzSlack      = 19 // bytes that a block stays below its size, as every writer does

	bzBlockMagic = 0x314159265359
	bzEndMagic   = 0x177245385090
)

// compress gives one bzip2 stream of data. The same data gives the same stream. Memory is about 25 MiB, whatever the
// size of data, beside the stream itself.
func compress(ctx context.Context, data []byte) ([]byte, error) {
	level := min(bzMaxLevel, 1+(len(data)+len(data)/bzRunMin+bzSlack)/bzLevelBytes)
	w := &bitWriter{out: []byte{'B', 'Z', 'h', '0' + byte(level)}}
	capacity := level*bzLevelBytes - bzSlack
	block := make([]byte, 0, min(capacity, len(data)+len(data)/bzRunMin+bzRunMin+1))
	var combined uint32
	for len(data) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var used int
		block, used = packRuns(block[:0], data, capacity)
		crc := bzChecksum(data[:used])
		combined = (combined<<1 | combined>>31) ^ crc
		if err := writeBlock(ctx, w, block, crc); err != nil {
			return nil, err
		}
		data = data[used:]
	}
	w.bits(bzEndMagic, 48)
	w.bits(uint64(combined), 32)
	return w.flush(), nil
}

// packRuns is the first stage: four equal bytes are followed by the count of further ones. It fills block up to
// capacity and says how many bytes of data are in it.
func packRuns(block, data []byte, capacity int) ([]byte, int) {
	used := 0
	for used < len(data) && len(block)+bzRunMin+1 <= capacity {
		c, n := data[used], 1
		for n < bzRunMax && used+n < len(data) && data[used+n] == c {
			n++
		}
		for range min(n, bzRunMin) {
			block = append(block, c)
		}
		if n >= bzRunMin {
			block = append(block, byte(n-bzRunMin))
		}
		used += n
	}
	return block, used
}

// bzChecksum is CRC-32 with the bits of a byte taken from the high end.
func bzChecksum(data []byte) uint32 {
	var table [256]uint32
	for i := range table {
		c := uint32(i) << 24
		for range 8 {
			if c&(1<<31) != 0 {
				c = c<<1 ^ 0x04c11db7
			} else {
				c <<= 1
			}
		}
		table[i] = c
	}
	crc := ^uint32(0)
	for _, b := range data {
		crc = crc<<8 ^ table[byte(crc>>24)^b]
	}
	return ^crc
}

func writeBlock(ctx context.Context, w *bitWriter, block []byte, crc uint32) error {
	last, origin, err := sortRotations(ctx, block)
	if err != nil {
		return err
	}
	w.bits(bzBlockMagic, 48)
	w.bits(uint64(crc), 32)
	w.bits(0, 1) // not randomised
	w.bits(uint64(origin), 24)

	var used [256]bool
	for _, b := range block {
		used[b] = true
	}
	var rows uint64
	for i := range 16 {
		for j := range 16 {
			if used[i*16+j] {
				rows |= 1 << (15 - i)
			}
		}
	}
	w.bits(rows, 16)
	var alphabet []byte
	for i := range 16 {
		if rows>>(15-i)&1 == 0 {
			continue
		}
		var row uint64
		for j := range 16 {
			if used[i*16+j] {
				row |= 1 << (15 - j)
				alphabet = append(alphabet, byte(i*16+j))
			}
		}
		w.bits(row, 16)
	}
	symbols := moveToFront(last, alphabet)
	writeSymbols(w, symbols, len(alphabet)+2)
	return nil
}

// sortRotations gives the last column of the sorted rotations of block (Burrows and Wheeler's transform) and the row
// of the block itself. Rotations are suffixes of the block written twice.
func sortRotations(ctx context.Context, block []byte) (last []byte, origin int, err error) {
	n := len(block)
	twice := append(append(make([]byte, 0, 2*n), block...), block...)
	order, err := suffix.Sort(ctx, twice)
	if err != nil {
		return nil, 0, err
	}
	last = make([]byte, 0, n)
	for _, p := range order {
		if int(p) >= n {
			continue
		}
		if p == 0 {
			origin = len(last)
		}
		last = append(last, twice[int(p)+n-1])
	}
	return last, origin, nil
}

// moveToFront codes each byte by its place in a list of the most recent ones. Runs of place 0 become numbers in the
// digits 0 and 1 that count 1 and 2; other places are one higher. The end has the highest symbol.
func moveToFront(last, alphabet []byte) []uint16 {
	recent := append([]byte(nil), alphabet...)
	symbols := make([]uint16, 0, len(last)/2+1)
	zeros := 0
	flush := func() {
		for zeros > 0 {
			symbols = append(symbols, uint16((zeros-1)&1))
			zeros = (zeros - 1) >> 1
		}
	}
	for _, b := range last {
		if recent[0] == b {
			zeros++
			continue
		}
		flush()
		i := 1
		for recent[i] != b {
			i++
		}
		copy(recent[1:i+1], recent[:i])
		recent[0] = b
		symbols = append(symbols, uint16(i+1))
	}
	flush()
	return append(symbols, uint16(len(alphabet)+1))
}

// bitWriter collects bits from the high end of each byte on.
type bitWriter struct {
	out   []byte
	held  uint64
	count uint // bits in held, below 8 between calls
}

// bits writes the low n bits of v, at most 48 of them.
func (w *bitWriter) bits(v uint64, n uint) {
	w.held = w.held<<n | v&(1<<n-1)
	w.count += n
	for w.count >= 8 {
		w.count -= 8
		w.out = append(w.out, byte(w.held>>w.count))
	}
}

func (w *bitWriter) flush() []byte {
	if w.count > 0 {
		w.out = append(w.out, byte(w.held<<(8-w.count)))
		w.count = 0
	}
	return w.out
}
