package patch

import (
	"context"

	"github.com/slipstream-ota/slipstream/publish/delta/suffix"
)

// A search takes four bytes of memory and some tenths of a microsecond for each byte of old. Where old is large, what goes
// on beside new from its begin and up to its end is therefore covered as it is, and only what lies between is searched,
// together with some of old around it.
const (
	largeOld  = 128 << 20 // from this size on
	around    = 16 << 20  // of old on both sides of what is searched
	alikePart = 64 << 10  // looked at together
)

// between says what is left of old and new without the ends that are alike: all but the first head and the last tail
// bytes of both.
func between(ctx context.Context, old, new []byte) (head, tail int, err error) {
	n := min(len(old), len(new))
	for head+alikePart <= n && mostlyAlike(old[head:head+alikePart], new[head:head+alikePart]) {
		if head += alikePart; head%(64<<20) == 0 && ctx.Err() != nil {
			return 0, 0, ctx.Err()
		}
	}
	for tail+alikePart <= n-head {
		a, b := len(old)-tail-alikePart, len(new)-tail-alikePart
		if !mostlyAlike(old[a:a+alikePart], new[b:b+alikePart]) {
			break
		}
		tail += alikePart
	}
	return head, tail, ctx.Err()
}

// mostlyAlike says whether seven of eight bytes are the same in two pieces of one length.
func mostlyAlike(a, b []byte) bool {
	left := len(a) / 8 // that may still differ
	for i := alike(a, b, 0); i < len(a) && left >= 0; i = alike(a, b, i+1) {
		left--
	}
	return left >= 0
}

// coverLarge is cover for a large old.
func coverLarge(ctx context.Context, old, new []byte) ([]suffix.Cover, error) {
	head, tail, err := between(ctx, old, new)
	if err != nil {
		return nil, err
	}
	head, tail = max(0, head-around), max(0, tail-around)
	inner, err := search(ctx, old[head:len(old)-tail], new[head:len(new)-tail])
	if err != nil {
		return nil, err
	}
	out := []suffix.Cover{{Len: head}}
	for _, c := range inner {
		out = append(out, suffix.Cover{Old: c.Old + head, New: c.New + head, Len: c.Len})
	}
	return joined(append(out, suffix.Cover{Old: len(old) - tail, New: len(new) - tail, Len: tail})), nil
}

// joined leaves out empty covers and joins those of which one goes on where the one before ends.
func joined(covers []suffix.Cover) []suffix.Cover {
	out := covers[:0]
	for _, c := range covers {
		switch n := len(out); {
		case c.Len == 0:
		case n > 0 && out[n-1].Old+out[n-1].Len == c.Old && out[n-1].New+out[n-1].Len == c.New:
			out[n-1].Len += c.Len
		default:
			out = append(out, c)
		}
	}
	return out
}
