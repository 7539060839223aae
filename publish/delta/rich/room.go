package rich

import "unsafe"

// room is memory for tables in one piece. They are read and written all over: pages of 4 KiB cost an interruption by the
// kernel each, and the processor a search at most reads. So a room begins with a large page, and where the system leaves
// the choice to programs, asks for such.
type room struct {
	bytes []byte
	at    int
}

const largePage = 2 << 20

func newRoom(size int) *room {
	if size < largePage {
		return &room{bytes: bytesOf(make([]uint64, (size+7)/8))}
	}
	all := bytesOf(make([]uint64, (size+largePage)/8)) // what lies around the large pages is never touched
	begin := -int(uintptr(unsafe.Pointer(&all[0]))) & (largePage - 1)
	r := &room{bytes: all[begin : begin+size]}
	useLargePages(r.bytes)
	return r
}

func bytesOf(words []uint64) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(words)*8)
}

// table takes the next n cells of a room. Their bytes together must be a multiple of eight: so all tables are aligned.
func table[T uint8 | uint16 | uint32 | line | single](r *room, n int) []T {
	var cell T
	size := n * int(unsafe.Sizeof(cell))
	b := r.bytes[r.at:][:size:size]
	r.at += size
	return unsafe.Slice((*T)(unsafe.Pointer(&b[0])), n)
}
