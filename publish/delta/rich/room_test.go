package rich

import "testing"

func TestTablesOfARoomAreApartAndEmpty(t *testing.T) {
	t.Parallel()
	r := newRoom(8<<10 + 4<<10 + 16)
	bytes, words, halves := table[uint8](r, 8<<10), table[uint32](r, 1<<10), table[uint16](r, 8)
	for i := range bytes {
		bytes[i] = 0xff
	}
	for i := range halves {
		halves[i] = 0xffff
	}
	if cap(bytes) != 8<<10 || len(words) != 1<<10 || len(halves) != 8 {
		t.Errorf("tables of %d, %d and %d cells", cap(bytes), len(words), len(halves))
	}
	for i, w := range words {
		if w != 0 {
			t.Fatalf("word %d is %#x", i, w)
		}
	}
}
