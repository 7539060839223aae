package delta

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/slipstream-ota/slipstream"
)

// Names of the codecs in a list of containers.
const (
	CodecFull    = "full/1"    // turns nothing into the release
	CodecChanged = "changed/1" // turns the base into the release: carries only what the base lacks
)

const (
	magic         = "SLPC"
	formatVersion = 1
	headerSize    = 22
	tagSize       = 8
	maxWindowLog  = 23
	maxWindow     = 1 << maxWindowLog
)

// Bytes of the header that name the codec.
const (
	codecFull    = 0
	codecChanged = 1
)

// Operations. Their numbers are part of the format.
const (
	opKeep      = 1
	opCarry     = 2
	opCopy      = 3
	opDuplicate = 4
)

// tag names a list of files.
func tag(files []slipstream.File) [tagSize]byte {
	h := sha256.New()
	w := bufio.NewWriter(h)
	for _, f := range files {
		w.WriteString(f.Path)
		w.WriteByte(0)
		w.WriteString(strconv.FormatInt(f.Size, 10))
		w.WriteByte(0)
		w.WriteString(string(f.SHA256))
		w.WriteByte('\n')
	}
	w.Flush()
	return [tagSize]byte(h.Sum(nil)[:tagSize])
}

func header(codec byte, old, new []slipstream.File) []byte {
	out := append([]byte(magic), formatVersion, codec)
	var base [tagSize]byte
	if codec == codecChanged {
		base = tag(old)
	}
	target := tag(new)
	return append(append(out, base[:]...), target[:]...)
}

// step says how one file of the target comes into being. arg is the index of the base file (copy, keep) or of the
// target file (duplicate).
type step struct {
	op  byte
	arg int
}

// plan chooses a step for every target file: the cheapest one, and always the same one for the same input.
func plan(old, new []slipstream.File) []step {
	byPath := make(map[string]int, len(old))
	byContent := make(map[slipstream.Digest]int, len(old))
	for i, f := range old {
		byPath[f.Path] = i
		if _, ok := byContent[f.SHA256]; !ok {
			byContent[f.SHA256] = i
		}
	}
	carried := make(map[slipstream.Digest]int)
	steps := make([]step, len(new))
	for i, f := range new {
		if j, ok := byPath[f.Path]; ok && sameContent(old[j], f) {
			steps[i] = step{opKeep, j}
		} else if j, ok := byContent[f.SHA256]; ok && sameContent(old[j], f) {
			steps[i] = step{opCopy, j}
		} else if j, ok := carried[f.SHA256]; ok && sameContent(new[j], f) {
			steps[i] = step{opDuplicate, j}
		} else {
			steps[i] = step{op: opCarry}
			carried[f.SHA256] = i
		}
	}
	return steps
}

func sameContent(a, b slipstream.File) bool { return a.SHA256 == b.SHA256 && a.Size == b.Size }

// encodeSteps writes steps as runs.
func encodeSteps(steps []step) []byte {
	var out []byte
	copyEnd := 0
	for i := 0; i < len(steps); {
		s := steps[i]
		n := 1
		for s.op != opDuplicate && i+n < len(steps) && steps[i+n].op == s.op &&
			(s.op != opCopy || steps[i+n].arg == s.arg+n) {
			n++
		}
		out = append(out, s.op)
		out = binary.AppendUvarint(out, uint64(n))
		switch s.op {
		case opCopy:
			out = binary.AppendVarint(out, int64(s.arg-copyEnd))
			copyEnd = s.arg + n
		case opDuplicate:
			out = binary.AppendUvarint(out, uint64(s.arg))
		}
		i += n
	}
	return out
}

// decodeSteps reads runs until every target file has its step and refuses any that the two file lists do not bear out.
// It reads at most a few bytes per target file.
func decodeSteps(r *bufio.Reader, old, new []slipstream.File) ([]step, error) {
	byPath := make(map[string]int, len(old))
	for i, f := range old {
		byPath[f.Path] = i
	}
	steps := make([]step, 0, len(new))
	copyEnd := 0
	for len(steps) < len(new) {
		op, err := r.ReadByte()
		if err != nil {
			return nil, damaged(err, "read operation")
		}
		count, err := binary.ReadUvarint(r)
		if err != nil {
			return nil, damaged(err, "read run length")
		}
		if count == 0 || count > uint64(len(new)-len(steps)) {
			return nil, invalid("run of %d files where %d remain", count, len(new)-len(steps))
		}
		n := int(count)
		switch op {
		case opKeep:
			for range n {
				f := new[len(steps)]
				j, ok := byPath[f.Path]
				if !ok || !sameContent(old[j], f) {
					return nil, invalid("keeps %q, which the base does not have so", f.Path)
				}
				steps = append(steps, step{opKeep, j})
			}
		case opCarry:
			for range n {
				steps = append(steps, step{op: opCarry})
			}
		case opCopy:
			if steps, copyEnd, err = decodeCopy(r, steps, n, copyEnd, old, new); err != nil {
				return nil, err
			}
		case opDuplicate:
			if steps, err = decodeDuplicate(r, steps, n, new); err != nil {
				return nil, err
			}
		default:
			return nil, invalid("unknown operation %d", op)
		}
	}
	return steps, nil
}

func decodeCopy(r *bufio.Reader, steps []step, n, copyEnd int, old, new []slipstream.File) ([]step, int, error) {
	rel, err := binary.ReadVarint(r)
	if err != nil {
		return nil, 0, damaged(err, "read base index")
	}
	if rel < -int64(len(old)) || rel > int64(len(old)) {
		return nil, 0, invalid("base index out of range")
	}
	first := copyEnd + int(rel)
	if first < 0 || first+n > len(old) {
		return nil, 0, invalid("base files %d to %d of %d", first, first+n, len(old))
	}
	for j := first; j < first+n; j++ {
		f := new[len(steps)]
		if !sameContent(old[j], f) {
			return nil, 0, invalid("copies %q from %q, which differs", f.Path, old[j].Path)
		}
		steps = append(steps, step{opCopy, j})
	}
	return steps, first + n, nil
}

func decodeDuplicate(r *bufio.Reader, steps []step, n int, new []slipstream.File) ([]step, error) {
	of, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, damaged(err, "read target index")
	}
	f := new[len(steps)]
	if n != 1 || of >= uint64(len(steps)) || steps[of].op != opCarry || !sameContent(new[of], f) {
		return nil, invalid("%q is no duplicate of target file %d", f.Path, of)
	}
	return append(steps, step{opDuplicate, int(of)}), nil
}

// streamOrder gives the indexes of the carried files in the order of their contents in the stream.
func streamOrder(files []slipstream.File, steps []step) []int {
	var order []int
	for i, s := range steps {
		if s.op == opCarry {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(a, b int) int {
		if c := strings.Compare(path.Ext(files[a].Path), path.Ext(files[b].Path)); c != 0 {
			return c
		}
		return strings.Compare(files[a].Path, files[b].Path)
	})
	return order
}

func invalid(format string, args ...any) error {
	return slipstream.Refuse(slipstream.ReasonContainerInvalid, "container", format, args...)
}

// damaged makes a refusal of an error met while decoding.
func damaged(err error, doing string) error {
	return slipstream.Refuse(slipstream.ReasonContainerInvalid, "container", "%s: %w", doing, err)
}
