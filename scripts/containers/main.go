//go:build unix

// Command containers makes the containers that turn one file or tree into another, applies each, and writes them for the
// benchmarks of other implementations. Usage: containers OLD NEW OUT CODEC…
//
// OUT gets a file for each codec that there is, "/" in its name as "-", and pair.json with both lists of files, sizes,
// decisions and what applying took of the processor here, in milliseconds, the median of five.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish/delta"
)

// release is the content of files by path.
type release map[string][]byte

type made struct {
	Codec     string  `json:"codec"`
	File      string  `json:"file"`
	Size      int     `json:"size"`
	Profile   string  `json:"profile"`
	Decisions int64   `json:"decisions"`
	ApplyMs   float64 `json:"applyMs"`
}

type pair struct {
	From       []slipstream.File `json:"from"`
	To         []slipstream.File `json:"to"`
	Containers []made            `json:"containers"`
}

func main() {
	if len(os.Args) < 5 {
		fmt.Fprintln(os.Stderr, "usage: containers OLD NEW OUT CODEC…")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3], os.Args[4:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, oldPath, newPath, out string, codecs []string) error {
	old, err := read(oldPath)
	if err != nil {
		return err
	}
	new, err := read(newPath)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	from, to := old.manifest(), new.manifest()
	p := pair{From: from.Files, To: to.Files}
	all, err := delta.EncodeDeltas(ctx, slices.DeleteFunc(slices.Clone(codecs), plain), from, to, old.open, new.open, delta.DeltaOptions{})
	if err != nil {
		return err
	}
	for _, c := range codecs {
		if !plain(c) {
			continue
		}
		base := from
		if c == delta.CodecFull {
			base = nil
		}
		var b bytes.Buffer
		if err := delta.Encode(ctx, &b, base, to, new.open); err != nil {
			return err
		}
		all = append(all, delta.Delta{Codec: c, Container: b.Bytes()})
	}
	for _, d := range all {
		ms, err := apply(ctx, d, from, to, old)
		if err != nil {
			return fmt.Errorf("apply %s: %w", d.Codec, err)
		}
		name := strings.ReplaceAll(d.Codec, "/", "-")
		if err := os.WriteFile(filepath.Join(out, name), d.Container, 0o644); err != nil {
			return err
		}
		p.Containers = append(p.Containers, made{d.Codec, name, len(d.Container), d.Stats.Profile, d.Stats.Decisions, ms})
	}
	text, err := json.MarshalIndent(p, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "pair.json"), text, 0o644)
}

func plain(codec string) bool { return codec == delta.CodecFull || codec == delta.CodecChanged }

// apply gives the median of five runs, in milliseconds.
func apply(ctx context.Context, d delta.Delta, from, to *slipstream.Manifest, old release) (float64, error) {
	var times []float64
	for range 5 {
		start := spent()
		err := delta.ApplyDelta(ctx, bytes.NewReader(d.Container), from, to, old.content, discard{}, delta.ApplyLimits{})
		if err != nil {
			return 0, err
		}
		times = append(times, float64((spent()-start).Microseconds())/1000)
	}
	slices.Sort(times)
	return times[2], nil
}

// spent is the processor time of this process.
func spent() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// read takes a file, or all files of a folder.
func read(path string) (release, error) {
	out := release{}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		out["index"], err = os.ReadFile(path)
		return out, err
	}
	return out, filepath.WalkDir(path, func(name string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		below, err := filepath.Rel(path, name)
		if err != nil {
			return err
		}
		out[filepath.ToSlash(below)], err = os.ReadFile(name)
		return err
	})
}

func (r release) manifest() *slipstream.Manifest {
	m := &slipstream.Manifest{}
	for p, b := range r {
		m.Files = append(m.Files, slipstream.File{Path: p, Size: int64(len(b)), SHA256: slipstream.DigestOf(sha256.Sum256(b))})
	}
	slices.SortFunc(m.Files, func(a, b slipstream.File) int { return strings.Compare(a.Path, b.Path) })
	return m
}

func (r release) open(f slipstream.File) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(r[f.Path])), nil
}

type content struct{ *bytes.Reader }

func (content) Close() error { return nil }

func (r release) content(f slipstream.File) (delta.Content, error) {
	return content{bytes.NewReader(r[f.Path])}, nil
}

// discard takes what comes and keeps nothing; the hashes are compared before.
type discard struct{}

func (discard) Create(slipstream.File) (io.WriteCloser, error)   { return discard{}, nil }
func (discard) Keep(slipstream.File, slipstream.File) error      { return nil }
func (discard) Duplicate(slipstream.File, slipstream.File) error { return nil }
func (discard) Write(p []byte) (int, error)                      { return len(p), nil }
func (discard) Close() error                                     { return nil }
