package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sort"
)

// joined reads files on disk as one. It is used by one goroutine. Where there are many small files their contents are put
// behind each other into a temporary file first: opening hundreds of them for every read would take minutes.
type joined struct {
	source *deltaSource
	pieces []joinedPiece // in order, none empty
	size   int64
	open   map[int]*os.File
	small  *os.File // contents of small files
	bytes  int64    // in small
	named  bool     // small has a name that must go
}

// joinedPiece is a file, or several small ones.
type joinedPiece struct {
	start, size int64
	file        int   // index in the source; -1: in small
	at          int64 // in small
}

const (
	filesOpen = 64      // at a time
	smallFile = 8 << 10 // bytes that a small file has at most
	manySmall = 1 << 10 // how many of them are worth a temporary file
)

// take makes the chosen files what is read.
func (j *joined) take(chosen []int) error {
	files := j.source.Files
	small := 0
	for _, i := range chosen {
		if files[i].Size <= smallFile {
			small++
		}
	}
	buf := make([]byte, smallFile)
	for _, i := range chosen {
		size := files[i].Size
		if size == 0 {
			continue
		}
		p := joinedPiece{start: j.size, size: size, file: i}
		if small >= manySmall && size <= smallFile {
			p.file, p.at = -1, j.bytes
			if err := j.keep(i, buf[:size]); err != nil {
				return err
			}
		}
		j.size += size
		if n := len(j.pieces); n > 0 && p.file < 0 && j.pieces[n-1].file < 0 {
			j.pieces[n-1].size += size
			continue
		}
		j.pieces = append(j.pieces, p)
	}
	j.pieces = slices.Clip(j.pieces)
	return nil
}

// keep puts the content of a small file into the temporary one.
func (j *joined) keep(i int, buf []byte) error {
	if j.small == nil {
		f, err := os.CreateTemp("", "slipstream-*")
		if err != nil {
			return fmt.Errorf("make a temporary file: %w", err)
		}
		j.small, j.named = f, os.Remove(f.Name()) != nil // an open file can go from most systems at once
	}
	r, err := os.Open(j.source.names[i])
	if err != nil {
		return err
	}
	_, err = io.ReadFull(r, buf)
	if err := errors.Join(err, r.Close()); err != nil {
		return fmt.Errorf("read %s: %w", j.source.names[i], err)
	}
	_, err = j.small.WriteAt(buf, j.bytes)
	j.bytes += int64(len(buf))
	return err
}

func (j *joined) ReadAt(p []byte, at int64) (int, error) {
	read := 0
	for read < len(p) && at < j.size {
		k := sort.Search(len(j.pieces), func(k int) bool { return j.pieces[k].start > at }) - 1
		piece := j.pieces[k]
		f, inside := j.small, at-piece.start
		end := min(int64(len(p)), int64(read)+piece.size-inside)
		if piece.file >= 0 {
			var err error
			if f, err = j.file(piece.file); err != nil {
				return read, err
			}
		}
		n, err := f.ReadAt(p[read:end], piece.at+inside)
		read, at = read+n, at+int64(n)
		if n == 0 {
			return read, fmt.Errorf("%s became shorter: %w", f.Name(), errors.Join(err, io.ErrUnexpectedEOF))
		}
	}
	if read < len(p) {
		return read, io.EOF
	}
	return read, nil
}

func (j *joined) file(i int) (*os.File, error) {
	if f, ok := j.open[i]; ok {
		return f, nil
	}
	for k, f := range j.open {
		if len(j.open) < filesOpen {
			break
		}
		delete(j.open, k)
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
	f, err := os.Open(j.source.names[i])
	if err == nil {
		j.open[i] = f
	}
	return f, err
}

func (j *joined) close() error {
	var err error
	for _, f := range j.open {
		err = errors.Join(err, f.Close())
	}
	if j.small != nil {
		err = errors.Join(err, j.small.Close())
		if j.named {
			err = errors.Join(err, os.Remove(j.small.Name()))
		}
	}
	return err
}
