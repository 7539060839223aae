package delta

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish/delta/patch"
)

// content is the bytes of a file as they stand in a vector: text, or base64 where that is not UTF-8, then spaces up to pad.
type content struct {
	Text   string `json:"text,omitempty"`
	Base64 string `json:"base64,omitempty"`
	Pad    int    `json:"pad,omitempty"`
}

type containerVector struct {
	Name      string             `json:"name"`
	Base      bool               `json:"base"`             // whether there is one at all
	Held      map[string]content `json:"held,omitempty"`   // what is on disk in place of files of the base
	Memory    int                `json:"memory,omitempty"` // allowed, 16 MiB when absent
	Container string             `json:"container"`        // base64
	Expect    string             `json:"expect"`
}

type containerVectors struct {
	Codec  string             `json:"codec"`
	Base   map[string]content `json:"base"`
	Target map[string]content `json:"target"`
	Cases  []containerVector  `json:"cases"`
}

func contentOf(s string) content {
	if t := strings.TrimRight(s, " "); len(s)-len(t) > 100 {
		return content{Text: t, Pad: len(s)}
	}
	if utf8.ValidString(s) {
		return content{Text: s}
	}
	return content{Base64: base64.StdEncoding.EncodeToString([]byte(s))}
}

func (c content) bytes(t testing.TB) string {
	raw := c.Text
	if c.Base64 != "" {
		b, err := base64.StdEncoding.DecodeString(c.Base64)
		if err != nil {
			t.Fatal(err)
		}
		raw = string(b)
	}
	return raw + strings.Repeat(" ", max(0, c.Pad-len(raw)))
}

func contents(tr tree) map[string]content {
	out := map[string]content{}
	for p, c := range tr {
		out[p] = contentOf(c)
	}
	return out
}

func treeOf(t testing.TB, m map[string]content) tree {
	out := tree{}
	for p, c := range m {
		out[p] = c.bytes(t)
	}
	return out
}

// vectorMaker collects the cases of one codec.
type vectorMaker struct {
	old, new tree
	good     []byte
	cases    []containerVector
}

func (v *vectorMaker) add(name, expect string, container []byte) *containerVector {
	v.cases = append(v.cases, containerVector{Name: name, Base: true, Container: base64.StdEncoding.EncodeToString(container), Expect: expect})
	return &v.cases[len(v.cases)-1]
}

func (v *vectorMaker) edited(at int, xor byte) []byte {
	c := bytes.Clone(v.good)
	c[at] ^= xor
	return c
}

const refusedContainer, refusedFile = string(slipstream.ReasonContainerInvalid), string(slipstream.ReasonFileMismatch)

// usual are the cases that every codec has.
func (v *vectorMaker) usual() {
	v.add("good", "ok", v.good)
	v.add("nothing at all", refusedContainer, nil)
	v.add("only a header", refusedContainer, v.good[:headerSize])
	v.add("cut in the middle", refusedContainer, v.good[:(headerSize+len(v.good))/2])
	v.add("the last byte is missing", refusedContainer, v.good[:len(v.good)-1])
	v.add("a byte follows", refusedContainer, append(bytes.Clone(v.good), 0))
	v.add("other magic", refusedContainer, v.edited(0, 1))
	v.add("version of the future", refusedContainer, v.edited(4, 0x40))
	v.add("codec of the future", refusedContainer, v.edited(5, 0x40))
	v.add("made for another base", refusedContainer, v.edited(8, 1))
	v.add("made for another release", refusedContainer, v.edited(16, 1))
}

// patched are the cases of all codecs with a patch.
func (v *vectorMaker) patched() {
	v.usual()
	v.add("without a base", refusedContainer, v.good).Base = false
	wrong := bytes.Clone(v.good)
	for i, b := range wrong[headerSize+1:] { // the size stands behind the class of memory in a rich one
		if i > 0 || v.good[headerSize] != 0x50 {
			wrong[headerSize+1+i] = b + 2
			break
		}
	}
	v.add("makes another size than signed", refusedContainer, wrong)
	v.add("begins like no patch", refusedContainer, v.edited(headerSize, 0x80))
	expect := refusedFile
	if v.good[headerSize] == 0x50 {
		expect = refusedContainer // what the model makes of it is impossible before a file is complete
	}
	held := v.add("the base on disk is another one", expect, v.good)
	held.Held = contents(tree{"app.js": strings.ToUpper(v.old["app.js"])})
}

// frame packs raw blocks into a Zstandard frame with some window.
func frame(window byte, blocks ...string) []byte {
	out := []byte{0x28, 0xB5, 0x2F, 0xFD, 0, window}
	for i, b := range blocks {
		h := len(b) << 3
		if i == len(blocks)-1 {
			h |= 1
		}
		out = append(append(out, byte(h), byte(h>>8), byte(h>>16)), b...)
	}
	return out
}

// vectorReleases have a file for every way that a content can come about.
func vectorReleases() (old, new tree) {
	app, css := prose(2000, 1), prose(900, 2)
	old = tree{"app.js": app, "old/a.css": css, "logo.svg": "<svg/>", "gone.txt": "bye", "empty": ""}
	new = tree{
		"app.js":    strings.Replace(app, "await", "wait ", 3) + "// the end\n",
		"again.js":  strings.Replace(app, "await", "wait ", 3) + "// the end\n",
		"new/a.css": css, "logo.svg": "<svg/>", "more/empty": "", "fresh.txt": "something new ✓\n" + prose(700, 3), "moved.js": app[1200:] + css[:200],
	}
	return old, new
}

func wholeVectors(t *testing.T, codec string) *vectorMaker {
	old, new := vectorReleases()
	base := old
	if codec == CodecFull {
		base = nil
	}
	v := &vectorMaker{old: old, new: new, good: encode(t, base, new)}
	v.usual()
	head := v.good[:headerSize]
	put := func(b ...[]byte) []byte { return append(bytes.Clone(head), bytes.Join(b, nil)...) }
	if codec == CodecFull {
		v.add("without a base", "ok", v.good).Base = false
		all := string(rune(opCarry)) + string(rune(len(new)))
		v.add("carries everything, of another content", refusedFile, put(frame(0x50, all, strings.Repeat("x", int(new.manifest().Size())))))
		v.add("a file is missing", refusedContainer, put(frame(0x50, all, "x")))
		v.add("a window of 8 MiB, but nothing in it", refusedContainer, put(frame(0x68, "")))
		v.add("a window beyond 8 MiB", refusedContainer, put(frame(0x69, all, strings.Repeat("x", int(new.manifest().Size())))))
		v.add("keeps without a base", refusedContainer, put(frame(0x50, string(rune(opKeep))+string(rune(len(new))))))
		v.add("a run of no files", refusedContainer, put(frame(0x50, string(rune(opCarry))+"\x00")))
		v.add("an operation of the future", refusedContainer, put(frame(0x50, "\x05\x01")))
		v.add("a run of 2^63 files", refusedContainer, put(frame(0x50, string(binary.AppendUvarint([]byte{opCarry}, 1<<63)))))
		return v
	}
	v.add("without a base", refusedContainer, v.good).Base = false
	v.add("a dictionary is asked for", refusedContainer, put([]byte{0x28, 0xB5, 0x2F, 0xFD, 1, 0x50, 7, 1, 0, 0}))
	v.add("a skippable frame in front", refusedContainer, put([]byte{0x50, 0x2A, 0x4D, 0x18, 0, 0, 0, 0}, v.good[headerSize:]))
	v.add("a second frame behind", refusedContainer, append(bytes.Clone(v.good), frame(0x50, "")...))
	v.add("a reserved block", refusedContainer, put([]byte{0x28, 0xB5, 0x2F, 0xFD, 0, 0x50, 7, 0, 0}))
	v.add("keeps what differs", refusedContainer, put(frame(0x50, string([]byte{opKeep, byte(len(new))}))))
	v.add("copies behind the base", refusedContainer, put(frame(0x50, string([]byte{opCopy, 1, 100}))))
	v.add("duplicate of a later file", refusedContainer, put(frame(0x50, string([]byte{opDuplicate, 1, 3}))))
	return v
}

// simplePatch packs steps as an attacker may, stored.
func simplePatch(v *vectorMaker, steps ...byte) []byte {
	grown := int64(0)
	for _, f := range carriedOf(v) {
		grown += f.Size
	}
	grown -= v.old.manifest().Size()
	out := append(bytes.Clone(v.good[:headerSize]), 0x51)
	return append(binary.AppendVarint(out, grown), steps...)
}

func carriedOf(v *vectorMaker) []slipstream.File {
	files := v.new.manifest().Files
	return pick(files, streamOrder(files, plan(v.old.manifest().Files, files)))
}

func simpleVectors(t *testing.T, codec string) *vectorMaker {
	old, new := vectorReleases()
	v := &vectorMaker{old: old, new: new}
	v.good = encodeDeltas(t, old, new, codec)[0].Container
	if method := v.good[headerSize]; method == 0x51 {
		t.Fatal("the stored patch is smaller: this says nothing of the stream")
	}
	v.patched()
	if codec != CodecSimpleZstd {
		return v
	}
	text := ""
	for _, f := range carriedOf(v) {
		text += new[f.Path]
	}
	n := binary.AppendUvarint(nil, uint64(len(text)))
	step := func(covers, gaps, changes byte, numbers ...byte) []byte {
		s := append([]byte{covers, gaps, changes}, n...)
		return append(append(s, numbers...), text...)
	}
	whole := step(1, 0, 0, append(append([]byte{}, n...), 0, 0)...)
	v.add("stored, everything is new text", "ok", simplePatch(v, whole...))
	v.add("other text", refusedFile, simplePatch(v, bytes.Replace(whole, []byte("something"), []byte("somewhere"), 1)...))
	v.add("bytes follow the last step", refusedContainer, simplePatch(v, append(whole, 0)...))
	v.add("a step without covers", refusedContainer, simplePatch(v, step(0, 0, 0)...))
	v.add("a cover that makes nothing", refusedContainer, simplePatch(v, 1, 0, 0, 0, 0, 0, 0))
	v.add("a cover in front of the base", refusedContainer, simplePatch(v, 1, 0, 0, 0, 0, 1, 9))
	v.add("a cover behind the base", refusedContainer, simplePatch(v, append([]byte{1, 0, 0, 0, 0}, append(binary.AppendVarint(nil, old.manifest().Size()), 9)...)...))
	v.add("more text than announced", refusedContainer, simplePatch(v, 1, 0, 0, 1, 2, 0, 0, 'x'))
	v.add("less text than announced", refusedContainer, simplePatch(v, 1, 0, 0, 2, 1, 0, 0, 'x', 'y'))
	v.add("a gap without its change", refusedContainer, simplePatch(v, 1, 1, 0, 0, 0, 0, 9, 1))
	v.add("a change without its gap", refusedContainer, simplePatch(v, 1, 0, 1, 0, 0, 0, 9, 1))
	v.add("a gap that does not end", refusedContainer, simplePatch(v, 1, 1, 1, 0, 0, 0, 9, 0x80, 1))
	v.add("a gap of eleven bytes", refusedContainer, simplePatch(v, append([]byte{1, 11, 1, 0, 0, 0, 9}, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0, 1)...))
	v.add("more bytes than signed", refusedContainer, simplePatch(v, append([]byte{1, 0, 0, 0, 0, 0}, binary.AppendUvarint(nil, uint64(len(text)+1))...)...))
	v.add("columns beyond 512 KiB", refusedContainer, simplePatch(v, append([]byte{1, 0, 0}, binary.AppendUvarint(nil, 512<<10+1)...)...))
	v.add("columns together beyond 512 KiB", refusedContainer, simplePatch(v, append([]byte{1, 0, 0}, binary.AppendUvarint(nil, 512<<10-2)...)...))
	// mark, size and the frame of the good one: its window stands behind magic and descriptor
	at := headerSize + 1
	for v.good[at] >= 0x80 {
		at++
	}
	at++
	if v.good[at+4]&0x20 != 0 {
		t.Fatal("the frame has no window of its own")
	}
	window := bytes.Clone(v.good)
	window[at+5] = 0x58
	v.add("a window of 2 MiB", "ok", window)
	window = bytes.Clone(v.good)
	window[at+5] = 0x59
	v.add("a window beyond 2 MiB", refusedContainer, window)
	return v
}

func richVectors(t *testing.T, codec string) *vectorMaker {
	old, new := vectorReleases()
	v := &vectorMaker{old: old, new: new}
	v.good = encodeDeltas(t, old, new, codec)[0].Container
	if v.good[headerSize] != 0x50 {
		t.Fatal("the patch is not of the profile rich")
	}
	v.patched()
	v.add("another base size", refusedContainer, v.edited(headerSize+2, 2))
	v.add("a byte of the end is another one", refusedContainer, v.edited(len(v.good)-1, 1))
	v.add("a class that is not known", refusedContainer, v.edited(headerSize+1, 0x40))
	larger := bytes.Clone(v.good)
	larger[headerSize+1] = 25
	v.add("tables beyond what is allowed", refusedContainer, larger)
	v.add("less memory than the tables need", refusedContainer, v.good).Memory = 1 << 20
	return v
}

// overCap is a container of rich/1 that takes more decisions than rich/1+js allows, and hardly any bytes.
func overCap(t *testing.T) *vectorMaker {
	v := &vectorMaker{old: tree{"app.js": "let a = 1\n"}, new: tree{"app.js": "let b = 2\n" + strings.Repeat(" ", 250_000)}}
	body, stats, err := patch.Diff(t.Context(), []byte(v.old["app.js"]), []byte(v.new["app.js"]), patch.Options{Profile: patch.ProfileRich})
	if err != nil || stats.Decisions <= DecisionsJS {
		t.Fatal(err, stats.Decisions)
	}
	v.good = append(patchHeader(codecPatch, v.old.manifest().Files, v.new.manifest().Files), body...)
	v.add("more than a million decisions", refusedContainer, v.good)
	return v
}

func hermesVectors(t *testing.T, codec string) *vectorMaker {
	v := &vectorMaker{
		old: tree{"app.js": prose(200, 1), "index.hbc": bytecodeFile(t, "one.hbc")},
		new: tree{"app.js": prose(200, 1) + "!", "index.hbc": bytecodeFile(t, "two.hbc")},
	}
	v.good = encodeDeltas(t, v.old, v.new, codec)[0].Container
	if v.good[5] != codecRewritten {
		t.Fatal("nothing is rewritten")
	}
	v.usual()
	v.add("without a base", refusedContainer, v.good).Base = false
	list := func(b ...byte) []byte { return append(bytes.Clone(v.good[:headerSize]), b...) }
	v.add("rewrites no file", refusedContainer, list(0))
	v.add("rewrites more files than are carried", refusedContainer, list(3))
	v.add("rewrites a file that is not carried", refusedContainer, list(1, 2, 1))
	v.add("rewrites against a file that is not there", refusedContainer, list(1, 0, 2))
	v.add("rewrites against what is no bytecode", refusedContainer, append(list(1, 1, 0), v.good[headerSize+3:]...))
	v.add("less memory than bytecode needs", refusedContainer, v.good).Memory = 1 << 15
	v.add("says that nothing is rewritten", refusedFile, append(patchHeader(codecPatch, v.old.manifest().Files, v.new.manifest().Files), v.good[headerSize+3:]...))
	v.add("the base on disk is no bytecode", refusedContainer, v.good).Held = contents(tree{"index.hbc": strings.Repeat("x", len(v.old["index.hbc"]))})
	return v
}

func TestContainerVectors(t *testing.T) {
	for name, make := range map[string]func(*testing.T) (string, *vectorMaker){
		"full":    func(t *testing.T) (string, *vectorMaker) { return CodecFull, wholeVectors(t, CodecFull) },
		"changed": func(t *testing.T) (string, *vectorMaker) { return CodecChanged, wholeVectors(t, CodecChanged) },
		"simple-deflate": func(t *testing.T) (string, *vectorMaker) {
			return CodecSimpleDeflate, simpleVectors(t, CodecSimpleDeflate)
		},
		"simple-zstd": func(t *testing.T) (string, *vectorMaker) { return CodecSimpleZstd, simpleVectors(t, CodecSimpleZstd) },
		"simple-brotli": func(t *testing.T) (string, *vectorMaker) {
			return CodecSimpleBrotli, simpleVectors(t, CodecSimpleBrotli)
		},
		"rich":     func(t *testing.T) (string, *vectorMaker) { return CodecRichJS, richVectors(t, CodecRichJS) },
		"rich-cap": func(t *testing.T) (string, *vectorMaker) { return CodecRichJS, overCap(t) },
		"simple-hbc": func(t *testing.T) (string, *vectorMaker) {
			return CodecSimpleHermes, hermesVectors(t, CodecSimpleHermes)
		},
		"rich-hbc": func(t *testing.T) (string, *vectorMaker) { return CodecHermes, hermesVectors(t, CodecHermes) },
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("..", "..", "testdata", "vectors", "containers", name+".json")
			codec, v := make(t)
			want, err := json.MarshalIndent(containerVectors{codec, contents(v.old), contents(v.new), v.cases}, "", " ")
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, '\n')
			if *update {
				if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, want, 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			got, err := os.ReadFile(file)
			if err != nil {
				t.Fatalf("golden vectors: %v (go test ./publish/delta -run Vectors -update writes them)", err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s is not what this code generates: go test ./publish/delta -run Vectors -update writes it anew; then look at the difference", file)
			}
			runContainerVectors(t, got)
		})
	}
}

func runContainerVectors(t *testing.T, file []byte) {
	var v containerVectors
	if err := json.Unmarshal(file, &v); err != nil {
		t.Fatal(err)
	}
	old, new := treeOf(t, v.Base), treeOf(t, v.Target)
	for _, c := range v.Cases {
		t.Run(c.Name, func(t *testing.T) {
			container, err := base64.StdEncoding.DecodeString(c.Container)
			if err != nil {
				t.Fatal(err)
			}
			var from *slipstream.Manifest
			if c.Base {
				from = old.manifest()
			}
			onDisk := maps.Clone(old)
			maps.Copy(onDisk, treeOf(t, c.Held))
			m := new.manifest()
			sink := newSink(onDisk, m)
			limits := ApplyLimits{Memory: c.Memory, Decisions: DecisionsOf(v.Codec)}
			err = ApplyDelta(t.Context(), bytes.NewReader(container), from, m, onDisk.openAt, sink, limits)
			outcome := "ok"
			if err != nil {
				outcome = string(slipstream.ReasonOf(err, slipstream.Reason(fmt.Sprint(err))))
			}
			if outcome != c.Expect {
				t.Fatalf("got %s, want %s: %v", outcome, c.Expect, err)
			}
			if err == nil {
				wantTree(t, sink.got, new)
			}
		})
	}
}
