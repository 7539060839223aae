package delta

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/slipstream-ota/slipstream"
)

// handmade packs operations and contents into a container as an attacker may.
func handmade(t testing.TB, old, new tree, ops []byte, contents string, o ...zstd.EOption) []byte {
	t.Helper()
	codec := byte(codecChanged)
	if old == nil {
		codec = codecFull
	}
	b := bytes.NewBuffer(header(codec, old.manifest().Files, new.manifest().Files))
	enc, err := zstd.NewWriter(b, append([]zstd.EOption{zstd.WithEncoderConcurrency(1)}, o...)...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := enc.Write(append(ops, contents...)); err != nil {
		t.Fatal(err)
	}
	if err := enc.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestHostileContainers(t *testing.T) {
	old := tree{"a": "one", "b": "two", "d": "four"}
	new := tree{"a": "one", "b": "TWO", "c": "four", "e": "TWO"} // keep a, carry b, copy d → c, duplicate b → e
	good := []byte{opKeep, 1, opCarry, 1, opCopy, 1, 4 /* +2 */, opDuplicate, 1, 1}
	if got, err := applyTree(t.Context(), handmade(t, old, new, good, "TWO"), old, new); err != nil || len(got) != 4 {
		t.Fatal("the good one must work:", err)
	}
	whole := handmade(t, old, new, good, "TWO")
	edit := func(at int, b byte) []byte {
		c := bytes.Clone(whole)
		c[at] = b
		return c
	}
	ops := func(b ...byte) []byte { return handmade(t, old, new, b, "TWO") }
	huge := binary.AppendUvarint([]byte{opKeep}, 1<<63)
	for name, c := range map[string][]byte{
		"empty":                          {},
		"other magic":                    edit(0, 'Z'),
		"newer format":                   edit(4, 2),
		"unknown codec":                  edit(5, 2),
		"other base":                     edit(6, whole[6]^1),
		"other target":                   edit(14, whole[14]^1),
		"no frame":                       whole[:headerSize],
		"skippable frame first":          append(bytes.Clone(whole[:headerSize]), append([]byte{0x50, 0x2A, 0x4D, 0x18, 0, 0, 0, 0}, whole[headerSize:]...)...),
		"byte behind the end":            append(bytes.Clone(whole), 0),
		"empty frame behind the end":     append(bytes.Clone(whole), handmade(t, old, new, nil, "")[headerSize:]...),
		"skippable frame behind the end": append(bytes.Clone(whole), 0x50, 0x2A, 0x4D, 0x18, 0, 0, 0, 0),
		"content behind the last file":   handmade(t, old, new, good, "TWO!"),
		"content missing":                handmade(t, old, new, good, "TW"),
		"no operation":                   ops(),
		"operation zero":                 ops(0, 1),
		"operation of the future":        ops(5, 1, 1),
		"run of nothing":                 ops(opCarry, 0),
		"run beyond the files":           ops(opCarry, 5),
		"run beyond 64 bits":             handmade(t, old, new, []byte{opCarry, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1}, ""),
		"run of 2^63":                    handmade(t, old, new, huge, ""),
		"keeps what differs":             ops(opKeep, 2, opCopy, 1, 4, opDuplicate, 1, 1),
		"keeps what is not there":        ops(opKeep, 1, opCarry, 1, opKeep, 1, opDuplicate, 1, 1),
		"copies what differs":            ops(opKeep, 1, opCarry, 1, opCopy, 1, 2, opDuplicate, 1, 1),
		"copies before the base":         ops(opKeep, 1, opCarry, 1, opCopy, 1, 1, opDuplicate, 1, 1),
		"copies behind the base":         ops(opKeep, 1, opCarry, 1, opCopy, 1, 6, opDuplicate, 1, 1),
		"copies far behind the base":     handmade(t, old, new, binary.AppendVarint([]byte{opKeep, 1, opCarry, 1, opCopy, 1}, -1<<63), ""),
		"copies a run over the end":      ops(opKeep, 1, opCarry, 1, opCopy, 2, 4),
		"duplicate of itself":            ops(opKeep, 1, opCarry, 1, opCopy, 1, 4, opDuplicate, 1, 3),
		"duplicate of a later file":      ops(opKeep, 1, opDuplicate, 1, 3, opCopy, 1, 4, opCarry, 1),
		"duplicate of what is kept":      ops(opKeep, 1, opCarry, 1, opCopy, 1, 4, opDuplicate, 1, 0),
		"duplicates as a run":            ops(opKeep, 1, opCarry, 1, opCopy, 1, 4, opDuplicate, 2, 1),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := applyTree(t.Context(), c, old, new)
			if slipstream.ReasonOf(err, "none") != slipstream.ReasonContainerInvalid {
				t.Fatalf("got %v", err)
			}
		})
	}
	t.Run("cut anywhere", func(t *testing.T) {
		for n := range len(whole) {
			if _, err := applyTree(t.Context(), whole[:n], old, new); slipstream.ReasonOf(err, "none") != slipstream.ReasonContainerInvalid {
				t.Fatalf("cut at %d: %v", n, err)
			}
		}
	})
	t.Run("other content", func(t *testing.T) {
		_, err := applyTree(t.Context(), handmade(t, old, new, good, "owt"), old, new)
		if slipstream.ReasonOf(err, "none") != slipstream.ReasonFileMismatch {
			t.Fatal(err)
		}
	})
	t.Run("changed container without a base", func(t *testing.T) {
		m := new.manifest()
		err := Apply(t.Context(), bytes.NewReader(whole), nil, m, newSink(nil, m))
		if slipstream.ReasonOf(err, "none") != slipstream.ReasonContainerInvalid {
			t.Fatal(err)
		}
	})
	t.Run("keep in a full container", func(t *testing.T) {
		_, err := applyTree(t.Context(), handmade(t, nil, old, []byte{opKeep, 3}, ""), old, old)
		if slipstream.ReasonOf(err, "none") != slipstream.ReasonContainerInvalid {
			t.Fatal(err)
		}
	})
}

// TestLargeWindowIsRefused: the window is memory that the container asks a device for.
func TestLargeWindowIsRefused(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 3<<20/16)
	new := tree{"a": content}
	c := handmade(t, nil, new, []byte{opCarry, 1}, content, zstd.WithWindowSize(16<<20))
	if _, err := applyTree(t.Context(), c, nil, new); slipstream.ReasonOf(err, "none") != slipstream.ReasonContainerInvalid {
		t.Fatal(err)
	}
}

// endlessBlocks is a frame that never ends: empty raw blocks, or blocks of one repeated byte.
type endlessBlocks struct {
	head, block []byte
	read        int64
}

func (e *endlessBlocks) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if len(e.head) == 0 {
			e.head = e.block
		}
		k := copy(p[n:], e.head)
		n, e.head = n+k, e.head[k:]
	}
	e.read += int64(n)
	return n, nil
}

func TestEndlessContainersEnd(t *testing.T) {
	new := tree{"a": strings.Repeat("\x00", 1<<20)}
	m := new.manifest()
	head := append(header(codecFull, nil, m.Files), 0x28, 0xB5, 0x2F, 0xFD, 0, 0x50 /* 1 MiB window */)
	ops := []byte{2 << 3, 0, 0, opCarry, 1} // a raw block with the operations
	for name, block := range map[string][]byte{
		"empty blocks":             {0, 0, 0},
		"blocks that repeat bytes": {0x02, 0, 0x10, 'x'}, // 128 KiB each
	} {
		t.Run(name, func(t *testing.T) {
			src := &endlessBlocks{head: append(bytes.Clone(head), ops...), block: block}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := Apply(t.Context(), src, nil, m, newSink(nil, m))
			runtime.ReadMemStats(&after)
			if err == nil {
				t.Fatal("accepted")
			}
			if limit := m.Size() + slipstream.ContainerOverhead + 1; src.read > limit {
				t.Errorf("read %d bytes, at most %d are due", src.read, limit)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 32<<20 {
				t.Errorf("allocated %d bytes", used)
			}
		})
	}
}

var update = flag.Bool("update", false, "write testdata anew: for a change of the writer that readers of released versions understand")

// goldenTrees are what testdata/changed.hex was made from.
func goldenTrees() (old, new tree) {
	old = tree{"app.js": "console.log('one')\n", "img/logo.svg": "<svg/>", "lib/a.js": "a", "lib/b.js": "b"}
	new = tree{"app.js": "console.log('two')\n", "copy.js": "console.log('two')\n", "img/logo.svg": "<svg/>", "vendor/a.js": "a", "vendor/b.js": "b"}
	return old, new
}

// TestGolden fails when the bytes that Encode writes drift, be it by a new version of the compressor, and when what was
// written before is not understood.
func TestGolden(t *testing.T) {
	old, new := goldenTrees()
	for name, base := range map[string]tree{"full": nil, "changed": old} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", name+".hex")
			if *update {
				if err := os.WriteFile(file, fmt.Appendf(nil, "%x\n", encode(t, base, new)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want, err := hex.DecodeString(strings.TrimSpace(string(text)))
			if err != nil {
				t.Fatal(err)
			}
			got, err := applyTree(t.Context(), want, base, new)
			if err != nil {
				t.Fatal("the golden container is refused:", err)
			}
			wantTree(t, got, new)
			if made := encode(t, base, new); !bytes.Equal(made, want) {
				t.Errorf("made  %x\nwants %x", made, want)
			}
		})
	}
}

func FuzzApply(f *testing.F) {
	old, new := goldenTrees()
	f.Add(encode(f, nil, new))
	f.Add(encode(f, old, new))
	f.Add(handmade(f, old, new, []byte{opCarry, 5}, "x"))
	f.Fuzz(func(t *testing.T, c []byte) {
		got, err := applyTree(t.Context(), c, old, new)
		if err == nil {
			wantTree(t, got, new)
		} else if reason := slipstream.ReasonOf(err, "none"); reason != slipstream.ReasonContainerInvalid && reason != slipstream.ReasonFileMismatch {
			t.Fatalf("no reason: %v", err)
		}
	})
}

// FuzzStream lets the fuzzer write what the decompressor gives out, which it would hardly get through the compressor.
func FuzzStream(f *testing.F) {
	old, new := goldenTrees()
	f.Add([]byte{opCarry, 2, opKeep, 1, opCopy, 2, 4}, "console.log('two')\nconsole.log('two')\n")
	f.Add([]byte{opCarry, 1, opDuplicate, 1, 0, opKeep, 1, opCopy, 2, 4}, "console.log('two')\n")
	f.Fuzz(func(t *testing.T, ops []byte, contents string) {
		got, err := applyTree(t.Context(), handmade(t, old, new, ops, contents, zstd.WithEncoderLevel(zstd.SpeedFastest)), old, new)
		if err == nil {
			wantTree(t, got, new)
		}
	})
}

func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("aabbcc"), []byte("abc"))
	f.Add([]byte{}, []byte{0, 1, 2, 3, 4, 5, 6, 7})
	build := func(b []byte) tree {
		t := tree{}
		for i := 0; i+1 < len(b) && i < 200; i += 2 {
			t["f"+string('a'+rune(b[i]%26))] = strings.Repeat(string('A'+rune(b[i+1]%26)), int(b[i+1]))
		}
		return t
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		old, new := build(a), build(b)
		got, err := applyTree(t.Context(), encode(t, old, new), old, new)
		if err != nil {
			t.Fatal(err)
		}
		wantTree(t, got, new)
	})
}
