package patch

import (
	"context"
	"io"
	"runtime"
	"runtime/debug"
	"slices"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish/delta/rich"
	"github.com/slipstream-ota/slipstream/publish/delta/suffix"
	"github.com/slipstream-ota/slipstream/publish/delta/zframe"
)

// Profiles of Options.
const (
	ProfileAuto   = "auto"   // the smallest that the reader can apply, but for a rich one that saves less than 2 % by a million decisions
	ProfileRich   = "rich"   // context mixing
	ProfileSimple = "simple" // sparse difference in a general compressor
)

// Streams of the simple profile: how its bytes are compressed.
const (
	StreamStored  = "stored"
	StreamDeflate = "deflate"
	StreamZstd    = "zstd"
	StreamBrotli  = "brotli"
)

// Bounds of Options.Memory and defaults.
const (
	DefaultMemory    = 16 << 20
	MaxMemory        = 192 << 20
	DefaultDecisions = 8 << 20
	MaxInput         = 1<<31 - 1 // bytes of old and of new each
)

// Options say what the reader of the patch can do and how much the writer may spend. The zero value is "auto" with all
// streams, 16 MiB of tables and 8 Mi decisions.
type Options struct {
	Profile      string                  // ProfileAuto when empty
	Memory       int                     // bytes of tables the reader allows for rich: DefaultMemory when 0, at most MaxMemory
	Streams      []string                // streams the reader has for simple beside stored; none: all of them
	MaxDecisions int                     // coded binary decisions allowed for rich: DefaultDecisions when 0
	Progress     func(done, total int64) // called now and then from one goroutine at a time, may be nil
	Workers      int                     // candidates made at the same time: the number of processors when 0
	Compressors  *zframe.Compressors     // keeps what was made for streams; nil: nothing is kept
}

// Candidate is one way that was tried.
type Candidate struct {
	Profile   string
	Stream    string // of simple
	Size      int    // bytes of the whole patch
	Decisions int64  // of rich
	Reason    string // why it could not be used; empty when it could
}

// Stats tells how a patch was made.
type Stats struct {
	Candidate
	Covers     int   // places of old that new was built from
	Covered    int64 // bytes of new in them, changed or not
	Changed    int64 // of these, bytes that differ
	NewText    int64 // bytes of new outside of them
	Memory     int   // bytes of tables that the reader of a rich patch needs
	Candidates []Candidate
}

// Limits bound what a patch can make Apply do. A patch beyond them is refused before anything is allocated.
type Limits struct {
	NewSize int64 // the size that the result must have
	Memory  int   // bytes of tables for rich: DefaultMemory when 0
	// Decisions of rich beyond which it is refused; any number when 0. It is looked at after every 64 KiB of the result.
	Decisions int64
}

// Diff makes the patch that turns old into new. The same input and options give the same bytes everywhere, whatever
// the number of workers. Inputs of 2 GiB and more are refused (slipstream.ErrInvalid) with a hint.
func Diff(ctx context.Context, old, new []byte, o Options) ([]byte, Stats, error) {
	o, err := o.normal()
	if err != nil {
		return nil, Stats{}, err
	}
	total := int64(len(old)) + 2*int64(len(new))
	o.Progress(0, total)
	p, err := Match(ctx, old, new)
	if err != nil {
		return nil, Stats{}, err
	}
	return p.Diff(ctx, o)
}

// Pair is an old and a new byte string of which is known what they share, so that several patches cost only one search.
type Pair struct {
	old, new []byte
	covers   []suffix.Cover
}

// Match finds what new has of old. Neither may change afterwards. It refuses what Diff refuses. The search takes four
// bytes of memory for each of old, which are free again when it returns.
func Match(ctx context.Context, old, new []byte) (*Pair, error) {
	if err := CheckSizes(int64(len(old)), int64(len(new))); err != nil {
		return nil, err
	}
	covers, err := cover(ctx, old, new)
	if err != nil {
		return nil, err
	}
	if len(old) >= freeFrom {
		debug.FreeOSMemory() // of the search, before the candidates take their own
	}
	return &Pair{old, new, covers}, nil
}

// freeFrom is the size of old, in bytes, from which the memory of a search is worth the time to give it back.
const freeFrom = 16 << 20

// CheckSizes refuses what is too large for a patch (slipstream.ErrInvalid), with a hint.
func CheckSizes(old, new int64) error {
	if old <= MaxInput && new <= MaxInput {
		return nil
	}
	return slipstream.Hint(slipstream.Invalidf("old has %d bytes, new %d: a patch takes less than 2 GiB of each", old, new),
		"split the file into parts below 2 GiB, or ship it whole: the full and changed containers have no such limit")
}

// Diff makes the patch that the options ask for. It may be called by many goroutines.
func (p *Pair) Diff(ctx context.Context, o Options) ([]byte, Stats, error) {
	o, err := o.normal()
	if err != nil {
		return nil, Stats{}, err
	}
	return p.diff(ctx, o)
}

// Apply writes to w what patch makes of old, which may be Held. It reads patch once, from front to end, old at random
// places and nothing of w; memory is bounded by the limits, whatever the sizes. What it writes must be compared with the signed hash by the
// caller: a patch against another old gives other bytes, or an error, and never more than l.NewSize bytes. A patch that
// is damaged, truncated, extended or beyond the limits is a *slipstream.Refusal with reason container_invalid. Errors
// of old, patch and w are returned wrapped.
func Apply(ctx context.Context, old io.ReaderAt, oldSize int64, patch io.Reader, w io.Writer, l Limits) error {
	_, err := apply(ctx, old, oldSize, patch, w, l, nil)
	return err
}

// Part counts bytes of the result by how they came about. Cost is what they take in the patch, in bits; it is exact in
// sum and shared out by place for rich, and an estimate by columns for simple.
type Part struct {
	Covered   int64 // bytes taken from old unchanged
	Changed   int64 // bytes at a place of old, changed
	NewText   int64
	Covers    int // places of old that were begun in this part
	CoverBits int64
	PlaceBits int64 // where the changed bytes are
	ByteBits  int64 // what the changed bytes are
	TextBits  int64
}

// Info says where the bytes of a patch go.
type Info struct {
	Profile string
	Stream  string
	OldSize int64
	NewSize int64
	Size    int64  // of the patch
	Memory  int    // bytes of tables, rich
	Part           // everything
	Parts   []Part // one for each of the given ends
}

// Inspect applies patch without keeping the result and tells where its bytes go. ends are the ends of the files that
// new is made of, in order; nil when it is one file.
func Inspect(ctx context.Context, old io.ReaderAt, oldSize int64, patch io.Reader, ends []int64, l Limits) (Info, error) {
	c := &counted{r: patch}
	whole := len(ends) == 0
	if whole {
		ends = []int64{l.NewSize}
	}
	in, err := apply(ctx, old, oldSize, c, io.Discard, l, ends)
	in.Size = c.n
	if whole {
		in.Parts = nil
	}
	return in, err
}

type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func (o Options) normal() (Options, error) {
	switch o.Profile {
	case "":
		o.Profile = ProfileAuto
	case ProfileAuto, ProfileRich, ProfileSimple:
	default:
		return o, slipstream.Invalidf("profile %q is none of auto, rich, simple", o.Profile)
	}
	if len(o.Streams) == 0 {
		o.Streams = []string{StreamStored, StreamDeflate, StreamZstd, StreamBrotli}
	} else if !slices.Contains(o.Streams, StreamStored) {
		o.Streams = append([]string{StreamStored}, o.Streams...) // every reader has it
	}
	for _, s := range o.Streams {
		if _, ok := methodOf(s); !ok {
			return o, slipstream.Invalidf("stream %q is none of stored, deflate, zstd, brotli", s)
		}
	}
	if o.Memory == 0 {
		o.Memory = DefaultMemory
	}
	if o.Memory < 4<<20 || o.Memory > MaxMemory {
		return o, slipstream.Invalidf("memory of %d bytes is not between 4 MiB and 192 MiB", o.Memory)
	}
	if rich.ClassFor(o.Memory) == 0 {
		return o, slipstream.Invalidf("memory of %d bytes is too little for any table", o.Memory)
	}
	if o.MaxDecisions == 0 {
		o.MaxDecisions = DefaultDecisions
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Progress == nil {
		o.Progress = func(int64, int64) {}
	}
	return o, nil
}
