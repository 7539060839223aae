package bsdiff

import (
	"context"
	"fmt"
	"io"
	"math"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish/delta/suffix"
)

const (
	// MaxFile bounds both files in bytes: places are kept in 32 bits while a patch is made.
	MaxFile = math.MaxInt32
	// gain is by how many bytes a place elsewhere must beat going on at the present one. It is that of the first program
	// for this format; a step costs about as much in the control stream.
	gain = 8
)

// Diff writes to w the patch that makes new of old. The same files give the same patch. Memory is about 5 bytes for a
// byte of old, 2 for a byte of new and 25 MiB.
func Diff(ctx context.Context, w io.Writer, old, new []byte) error {
	if len(old) > MaxFile || len(new) > MaxFile {
		return slipstream.Hint(slipstream.Invalidf("a file of this format has less than 2 GiB, these have %d and %d bytes", len(old), len(new)),
			"ship the file whole")
	}
	control, difference, extra, err := split(ctx, old, new)
	if err != nil {
		return err
	}
	var streams [3][]byte
	for i, raw := range [][]byte{control, difference, extra} {
		if streams[i], err = compress(ctx, raw); err != nil {
			return err
		}
	}
	header := appendNumber([]byte(magic), int64(len(streams[0])))
	header = appendNumber(header, int64(len(streams[1])))
	header = appendNumber(header, int64(len(new)))
	for _, part := range [][]byte{header, streams[0], streams[1], streams[2]} {
		if _, err := w.Write(part); err != nil {
			return fmt.Errorf("write patch: %w", err)
		}
	}
	return nil
}

// split gives the three streams of a patch. A step holds one cover and the new bytes behind it; the first one may hold
// new bytes alone.
func split(ctx context.Context, old, new []byte) (control, difference, extra []byte, err error) {
	index, err := suffix.New(ctx, old)
	if err != nil {
		return nil, nil, nil, err
	}
	covers, err := index.Covers(ctx, new, gain)
	if err != nil {
		return nil, nil, nil, err
	}
	difference = make([]byte, 0, len(new))
	at := 0 // in old
	step := func(c suffix.Cover, next suffix.Cover) {
		for i, b := range new[c.New : c.New+c.Len] {
			difference = append(difference, b-old[c.Old+i])
		}
		fresh := new[c.New+c.Len : next.New]
		extra = append(extra, fresh...)
		at += c.Len
		control = appendNumber(control, int64(c.Len))
		control = appendNumber(control, int64(len(fresh)))
		control = appendNumber(control, int64(next.Old-at))
		at = next.Old
	}
	var last suffix.Cover
	for _, c := range covers {
		if c.New+c.Old > 0 { // else the first cover begins where both files begin
			step(last, c)
		}
		last = c
	}
	if len(new) > 0 {
		step(last, suffix.Cover{Old: last.Old + last.Len, New: len(new)})
	}
	return control, difference, extra, nil
}
