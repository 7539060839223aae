package client

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish/delta"
)

// patch makes the containers of the codecs from one release to another known, and no other way between them.
func (r *repository) patch(from, to slipstream.Digest, codecs ...string) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	open := func(f slipstream.File) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(r.blobs[f.SHA256])), nil
	}
	made, err := delta.EncodeDeltas(r.t.Context(), codecs, r.manifests[from], r.manifests[to], open, open, delta.DeltaOptions{Workers: 1})
	if err != nil {
		r.t.Fatal(err)
	}
	r.lists[to] = slices.DeleteFunc(r.lists[to], func(c slipstream.Container) bool { return c.From != "" })
	for _, d := range made {
		c := slipstream.Container{From: from, Codec: d.Codec, Size: int64(len(d.Container)), SHA256: sum(d.Container)}
		r.blobs[c.SHA256] = d.Container
		r.lists[to] = append(r.lists[to], c)
	}
}

func bytecodeFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "publish", "delta", "hermes", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestUpdatesByPatches(t *testing.T) {
	t.Parallel()
	one, two := bytecodeFile(t, "one.hbc"), bytecodeFile(t, "two.hbc")
	v1 := files{"index.android.bundle": one, "assets/a.txt": strings.Repeat("text ", 2000), "same.txt": "the same"}
	v2 := files{"index.android.bundle": two, "assets/b.txt": strings.Repeat("text ", 2000) + "!", "same.txt": "the same"}
	for _, codec := range []string{delta.CodecRich, delta.CodecHermes, delta.CodecSimpleZstd, delta.CodecSimpleBrotli, delta.CodecSimpleDeflate} {
		t.Run(codec, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			d1 := b.has("1.0.0", v1)
			d2 := b.repo.publish("main", "1.1.0", v2)
			b.repo.patch(d1, d2, codec)
			b.repo.offer(d2)
			b.update()
			if n := b.repo.count("/v1/containers/"); n != 2 {
				t.Errorf("%d containers were fetched: %v", n, b.repo.asked)
			}
			l := b.start()
			b.runs(l, "main", v2)
			b.confirm(l)
			if err := b.c.Report(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(b.repo.reports, func(e slipstream.Event) bool { return e.Codec == codec }) {
				t.Errorf("the codec is not reported: %+v", b.repo.reports)
			}
		})
	}
}

// padded is bytecode with more behind its instructions.
func padded(file, more string) string {
	const length, footer = 32, 20
	b := append([]byte(file[:len(file)-footer]), more...)
	binary.LittleEndian.PutUint32(b[length:], uint32(len(b)+footer))
	sum := sha1.Sum(b)
	return string(append(b, sum[:]...))
}

func TestLargeBytecodeIsUnpackedByWayOfAScratchFile(t *testing.T) {
	t.Parallel()
	more := randomText(2200 << 10)
	v1 := files{"index.android.bundle": padded(bytecodeFile(t, "one.hbc"), more)}
	v2 := files{"index.android.bundle": padded(bytecodeFile(t, "two.hbc"), more)}
	for name, full := range map[string]bool{"with room for it": false, "on a full disk": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			d1 := b.has("1.0.0", v1)
			d2 := b.repo.publish("main", "1.1.0", v2)
			b.repo.patch(d1, d2, delta.CodecSimpleHermes)
			b.repo.offer(d2)
			var used atomic.Int64
			b.disk.set(func(op, name string) error {
				if op != "scratch" {
					return nil
				}
				used.Add(1)
				if full {
					return diskFull(op, name)
				}
				return nil
			})
			if full {
				b.updateFails(slipstream.ReasonDiskFull)
			} else {
				b.update()
			}
			if used.Load() == 0 {
				t.Error("no scratch file is used")
			}
			left, err := os.ReadDir(filepath.Join(b.cfg.Dir, "fetch"))
			if err != nil || slices.ContainsFunc(left, func(e os.DirEntry) bool { return strings.HasPrefix(e.Name(), ".new-") }) {
				t.Errorf("%v is left, %v", left, err)
			}
			if !full {
				b.runs(b.start(), "main", v2)
			}
		})
	}
}

func TestADeviceTakesNoCodecThatItHasNoMemoryFor(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	v1, v2 := files{"main.js": randomText(20 << 10)}, files{"main.js": randomText(20<<10) + "!"}
	d1 := b.has("1.0.0", v1)
	d2 := b.repo.publish("main", "1.1.0", v2)
	b.repo.patch(d1, d2, delta.CodecRich64, delta.CodecSimpleDeflate)
	b.repo.offer(d2)
	small := b.repo.lists[d2][len(b.repo.lists[d2])-1]
	b.update()
	if b.repo.count(string(small.SHA256)) != 1 {
		t.Errorf("it is not taken: %v", b.repo.asked)
	}
	b.runs(b.start(), "main", v2)
}

// watched is a body that looks at the device between its pieces.
type watched struct {
	parts [][]byte
	look  func(rest int)
}

func (w *watched) Read(p []byte) (int, error) {
	w.look(len(w.parts))
	if len(w.parts) == 0 {
		return 0, io.EOF
	}
	n := copy(p, w.parts[0])
	if w.parts[0] = w.parts[0][n:]; len(w.parts[0]) == 0 {
		w.parts = w.parts[1:]
	}
	return n, nil
}

func (w *watched) Close() error { return nil }

func inPieces(b []byte, n int) [][]byte { return slices.Collect(slices.Chunk(b, n)) }

func TestFilesAppearWhileTheContainerComes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	content := files{}
	for i := range 6 {
		content[fmt.Sprintf("part-%d.bin", i)] = randomText(256 << 10)[i:]
	}
	content["big.bin"] = string(bytes.Repeat([]byte("not in one piece "), 1000)) + randomText(700<<10)
	digest := b.offers("1.0.0", content)
	early := 0
	b.repo.fault = func(r *http.Request, w *httptest.ResponseRecorder) (*http.Response, error) {
		if !strings.HasPrefix(r.URL.Path, "/v1/containers/") {
			return nil, nil
		}
		resp := w.Result()
		resp.Body = &watched{inPieces(w.Body.Bytes(), 32<<10), func(rest int) {
			found, err := filepath.Glob(filepath.Join(b.cfg.Dir, "releases", ".new-"+string(digest), "*.bin"))
			if err == nil && rest > 0 && len(found) > 0 {
				early++
			}
		}}
		return resp, nil
	}
	b.update()
	if early == 0 {
		t.Error("no file was there before the container was")
	}
	if n := b.repo.count("/v1/containers/"); n != 1 {
		t.Errorf("the container was asked for %d times", n)
	}
	b.runs(b.start(), "main", content)
}

// What a server may do in the middle of a container, and the one right end: the release as it was signed.
func TestAContainerThatIsAppliedAsItComes(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(n int, w *httptest.ResponseRecorder, whole []byte) *http.Response{
		"is cut": func(n int, w *httptest.ResponseRecorder, _ []byte) *http.Response {
			resp := w.Result()
			if n < 4 {
				resp.Body = http.MaxBytesReader(nil, resp.Body, 30<<10)
			}
			return resp
		},
		"is cut, and the rest begins anew": func(n int, w *httptest.ResponseRecorder, whole []byte) *http.Response {
			resp := w.Result()
			if n == 1 {
				resp.Body = http.MaxBytesReader(nil, resp.Body, 30<<10)
				return resp
			}
			resp.StatusCode, resp.Body = http.StatusOK, io.NopCloser(bytes.NewReader(whole))
			return resp
		},
		"is turned in the middle once": func(n int, w *httptest.ResponseRecorder, _ []byte) *http.Response {
			if n == 1 {
				w.Body.Bytes()[w.Body.Len()/2] ^= 1
			}
			return w.Result()
		},
		"is cut behind a turned byte": func(n int, w *httptest.ResponseRecorder, _ []byte) *http.Response {
			if n == 1 {
				w.Body.Bytes()[20<<10] ^= 1
			}
			resp := w.Result()
			if n < 3 {
				resp.Body = http.MaxBytesReader(nil, resp.Body, 30<<10)
			}
			return resp
		},
		"never ends": func(n int, w *httptest.ResponseRecorder, _ []byte) *http.Response {
			resp := w.Result()
			if n == 1 {
				resp.Body = io.NopCloser(io.MultiReader(resp.Body, endless{}))
			}
			return resp
		},
		"is another range": func(n int, w *httptest.ResponseRecorder, whole []byte) *http.Response {
			resp := w.Result()
			switch {
			case n == 1:
				resp.Body = http.MaxBytesReader(nil, resp.Body, 30<<10)
			case n == 2:
				resp.Header.Set("Content-Range", fmt.Sprintf("bytes 5-%d/%d", len(whole)-1, len(whole)))
			}
			return resp
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			v1 := files{"main.js": randomText(90 << 10), "same.txt": "the same"}
			v2 := files{"main.js": v1["main.js"][:40<<10] + randomText(200 << 10)[100<<10:] + v1["main.js"][40<<10:], "same.txt": "the same"}
			d1 := b.has("1.0.0", v1)
			d2 := b.repo.publish("main", "1.1.0", v2)
			b.repo.patch(d1, d2, delta.CodecSimpleZstd)
			b.repo.offer(d2)
			tries := 0
			b.repo.fault = func(r *http.Request, w *httptest.ResponseRecorder) (*http.Response, error) {
				if !strings.HasPrefix(r.URL.Path, "/v1/containers/") {
					return nil, nil
				}
				tries++
				sum := slipstream.Digest(strings.TrimPrefix(r.URL.Path, "/v1/containers/"))
				return answer(tries, w, b.repo.blobs[sum]), nil
			}
			b.update()
			b.repo.fault = nil
			b.runs(b.start(), "main", v2)
			if left, err := filepath.Glob(filepath.Join(b.cfg.Dir, "releases", ".*")); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
			if b.repo.count("/v1/blobs/") > 0 {
				t.Error("it ended in single files, although the container could be had")
			}
		})
	}
}

// endless gives zeros for ever.
type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestAPatchGoesOnAfterTheProcessDied(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	v1 := files{"main.js": randomText(90 << 10)}
	v2 := files{"main.js": v1["main.js"] + randomText(300 << 10)[100<<10:]}
	d1 := b.has("1.0.0", v1)
	d2 := b.repo.publish("main", "1.1.0", v2)
	b.repo.patch(d1, d2, delta.CodecRich)
	b.repo.lists[d2] = b.repo.lists[d2][len(b.repo.lists[d2])-1:]
	b.repo.offer(d2)
	b.repo.fault = func(r *http.Request, w *httptest.ResponseRecorder) (*http.Response, error) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/v1/blobs/"), strings.HasPrefix(r.URL.Path, "/v1/containers/") && r.Header.Get("Range") != "":
			return nil, io.ErrClosedPipe
		case strings.HasPrefix(r.URL.Path, "/v1/containers/"):
			resp := w.Result()
			resp.Body = http.MaxBytesReader(nil, resp.Body, 100<<10)
			return resp, nil
		}
		return nil, nil
	}
	b.updateFails(slipstream.ReasonNetwork)
	b.online()
	b.reopen()
	b.repo.asked = nil
	b.update()
	if b.repo.count("bytes=102400-") != 1 || b.repo.count("/v1/containers/") != 1 {
		t.Errorf("the second process did not go on: %v", b.repo.asked)
	}
	b.runs(b.start(), "main", v2)
}
