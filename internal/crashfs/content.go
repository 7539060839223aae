package crashfs

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"sync"
)

const (
	pageSize   = 4096
	sectorSize = 512
)

// content is what is in a file. It is never changed.
type content struct {
	bytes []byte
	once  sync.Once
	sum   [32]byte
}

func (c *content) hash() [32]byte {
	c.once.Do(func() { c.sum = sha256.Sum256(c.bytes) })
	return c.sum
}

// unsynced is a file with writes since its last fsync. It is never changed.
type unsynced struct {
	old    *content
	states [][]byte // after each write
	once   sync.Once
	made   []*content
}

func (u *unsynced) with(op Op) *unsynced {
	last := u.old.bytes
	if n := len(u.states); n > 0 {
		last = u.states[n-1]
	}
	var next []byte
	if op.Kind == Write {
		next = make([]byte, max(len(last), op.At+len(op.Data)))
		copy(next, last)
		copy(next[op.At:], op.Data)
	}
	return &unsynced{old: u.old, states: append(slices.Clip(u.states), next)}
}

func (u *unsynced) final() *content { return u.variants()[0] }

// variants are the contents that a power cut may leave, the intended one first and the old one second.
func (u *unsynced) variants() []*content {
	u.once.Do(u.vary)
	return u.made
}

func (u *unsynced) vary() {
	final, old := u.states[len(u.states)-1], u.old.bytes
	add := func(b []byte) {
		if !slices.ContainsFunc(u.made, func(c *content) bool { return bytes.Equal(c.bytes, b) }) {
			u.made = append(u.made, &content{bytes: b})
		}
	}
	add(final)
	add(old)
	for _, b := range u.states {
		add(b)
	}
	// The size can be ahead of the pages: what was never written reads as zeros.
	base := make([]byte, len(final))
	copy(base, old)
	add(base)
	add(nil)
	for page := 0; page < len(final); page += pageSize {
		end := min(page+pageSize, len(final))
		if bytes.Equal(base[page:end], final[page:end]) {
			continue
		}
		without, alone := slices.Clone(final), slices.Clone(base)
		copy(without[page:end], base[page:end])
		copy(alone[page:end], final[page:end])
		add(without)
		add(alone)
		add(final[:page])
		for _, cut := range []int{sectorSize, pageSize - sectorSize} {
			if page+cut < end {
				torn := slices.Clone(final)
				copy(torn[page+cut:end], base[page+cut:end])
				add(torn)
				add(final[:page+cut])
			}
		}
	}
}
