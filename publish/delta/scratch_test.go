package delta

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/slipstream-ota/slipstream/publish/delta/hermes"
)

// padded is bytecode with more behind its instructions.
func padded(file, more string) string {
	const length, footer = 32, 20
	b := append([]byte(file[:len(file)-footer]), more...)
	binary.LittleEndian.PutUint32(b[length:], uint32(len(b)+footer))
	sum := sha1.Sum(b)
	return string(append(b, sum[:]...))
}

// What a reader allocates in total bounds what it holds. With a scratch file it does not grow with bytecode either.
func TestMemoryDoesNotGrowWithBytecode(t *testing.T) {
	more := strings.Repeat(prose(1<<20, 5), 3)
	old := tree{"a.hbc": padded(bytecodeFile(t, "one.hbc"), more), "b.txt": "text"}
	new := tree{"a.hbc": padded(bytecodeFile(t, "two.hbc"), strings.Replace(more, "return", "yield!", 30)), "b.txt": "texts"}
	for _, d := range encodeDeltas(t, old, new, CodecSimpleHermes, CodecHermes64) {
		if d.Container[5] != codecRewritten {
			t.Fatalf("%s: nothing is rewritten", d.Codec)
		}
		om, nm := old.manifest(), new.manifest()
		memory, _ := MemoryOf(d.Codec)
		most := uint64(8 << 20)
		if d.Codec == CodecHermes64 {
			most = uint64(d.Stats.Memory) + 8<<20
		}
		files := 0
		l := ApplyLimits{Memory: memory, Scratch: func() (Scratch, error) {
			files++
			f, err := os.Create(filepath.Join(t.TempDir(), "scratch"))
			if err == nil {
				t.Cleanup(func() { f.Close() })
			}
			return f, err
		}}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		err := ApplyDelta(t.Context(), bytes.NewReader(d.Container), om, nm, old.openAt, quiet{newSink(old, nm)}, l)
		runtime.ReadMemStats(&after)
		if err != nil || files != 1 {
			t.Fatalf("%s, %d scratch files: %v", d.Codec, files, err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > most {
			t.Errorf("%s: %d KiB are allocated in all", d.Codec, n>>10)
		}
		sink := newSink(old, nm)
		if err := ApplyDelta(t.Context(), bytes.NewReader(d.Container), om, nm, old.openAt, sink, l); err != nil {
			t.Fatal(err)
		}
		wantTree(t, sink.got, new)
	}
}

// full is a disk without room.
type full struct{ Scratch }

func (full) WriteAt([]byte, int64) (int, error) { return 0, syscall.ENOSPC }

func TestErrorsOfAScratchFilePass(t *testing.T) {
	t.Parallel()
	more := prose(2*hermes.HeldInMemory/3, 6)
	old := tree{"a.hbc": padded(bytecodeFile(t, "one.hbc"), more)}
	new := tree{"a.hbc": padded(bytecodeFile(t, "two.hbc"), more)}
	c := encodeDeltas(t, old, new, CodecSimpleHermes)[0].Container
	broken := errors.New("no file to be had")
	for wanted, scratch := range map[error]func() (Scratch, error){
		broken:         func() (Scratch, error) { return nil, broken },
		syscall.ENOSPC: func() (Scratch, error) { return full{}, nil },
	} {
		l := ApplyLimits{Scratch: scratch}
		err := ApplyDelta(t.Context(), bytes.NewReader(c), old.manifest(), new.manifest(), old.openAt, newSink(old, new.manifest()), l)
		if !errors.Is(err, wanted) {
			t.Errorf("%v became %v", wanted, err)
		}
	}
}
