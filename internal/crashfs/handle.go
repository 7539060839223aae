package crashfs

import (
	"io"
	"slices"
	"syscall"
)

// handle is one open file. Writes go to the end, as both Create and Append promise.
type handle struct {
	fs     *FS
	id     int
	name   string
	at     int // of the next read
	writes bool
}

func (h *handle) Read(p []byte) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	n := h.fs.nodes[h.id]
	if n.entries != nil {
		return 0, failed("read", h.name, syscall.EISDIR)
	}
	if h.at >= len(n.data) {
		return 0, io.EOF
	}
	read := copy(p, n.data[h.at:])
	h.at += read
	return read, nil
}

func (h *handle) Write(p []byte) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if !h.writes {
		return 0, failed("write", h.name, syscall.EBADF)
	}
	if len(p) == 0 {
		return 0, nil
	}
	broken := h.fs.broken(true)
	if broken != nil {
		p = p[:len(p)/2]
	}
	n := h.fs.nodes[h.id]
	if n.shared {
		n.data, n.shared = slices.Clone(n.data), false
	}
	at := len(n.data)
	n.data = append(n.data, p...)
	h.fs.log(Op{Kind: Write, Node: h.id, At: at, Data: slices.Clone(p)})
	return len(p), failed("write", h.name, broken)
}

func (h *handle) Size() (int64, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	return int64(len(h.fs.nodes[h.id].data)), nil
}

// Sync makes what was written durable, not the file's name.
func (h *handle) Sync() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.fs.broken(false); err != nil {
		return failed("fsync", h.name, err)
	}
	h.fs.log(Op{Kind: Sync, Node: h.id})
	return nil
}

func (h *handle) Close() error { return nil }
