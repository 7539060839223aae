package main

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/internal/tarball"
	"github.com/slipstream-ota/slipstream/publish/delta/patch"
	"github.com/slipstream-ota/slipstream/publish/delta/tree"
)

// deltaSource is one side of a delta: a file, a folder, or an archive taken as the files in it.
type deltaSource struct {
	tree.Tree
	path  string
	zip   *zip.ReadCloser
	tar   *tarball.Reader
	names []string // folder: where each file lies
	size  int64    // of all files
	joins []*joined
	buf   []byte // for copyTo
}

const (
	archiveFree  = 64 << 20 // bytes that an archive may hold whatever its size
	archiveRatio = 100      // times its size beyond that
)

// openSource finds and hashes the files of path. raw takes an archive as one file.
func openSource(ctx context.Context, path string, raw bool, progress steps) (*deltaSource, error) {
	s, err := findSource(ctx, path, raw)
	if err != nil {
		return nil, err
	}
	if err := s.hash(ctx, progress); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// findSource finds the files of path. They have no hashes yet.
func findSource(ctx context.Context, path string, raw bool) (_ *deltaSource, err error) {
	s := &deltaSource{path: path}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", path, err)
	}
	switch {
	case info.IsDir():
		err = s.folder(ctx)
	case !info.Mode().IsRegular():
		err = fmt.Errorf("%s is neither a folder nor a regular file", path)
	default:
		err = s.file(info, raw)
	}
	if err != nil {
		return nil, err
	}
	sort.Stable(s)
	s.Open = s.open
	for _, f := range s.Files {
		s.size += f.Size
	}
	return s, nil
}

// file takes an archive as the files in it, and everything else, or with raw everything, as it is.
func (s *deltaSource) file(info fs.FileInfo, raw bool) error {
	if !raw {
		if archive, err := isArchive(s.path); err != nil || archive {
			if err != nil {
				return err
			}
			return s.archive(info.Size())
		}
		if packed, err := tarball.Packed(s.path); err != nil || packed {
			if err != nil {
				return fmt.Errorf("look into %s: %w", s.path, err)
			}
			return s.tarball(info.Size())
		}
	}
	s.Single, s.names = true, []string{s.path}
	s.Files = []slipstream.File{{Size: info.Size(), Exec: info.Mode()&0o111 != 0}}
	return nil
}

// isArchive looks at the content: zip, apk, aar, jar, wgt and their like all begin so.
func isArchive(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, fmt.Errorf("open %s: %w", path, err)
	}
	var head [4]byte
	n, err := io.ReadFull(f, head[:])
	if err != nil && n < len(head) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, errors.Join(fmt.Errorf("read %s: %w", path, err), f.Close())
	}
	return string(head[:n]) == "PK\x03\x04", f.Close()
}

func (s *deltaSource) folder(ctx context.Context) error {
	return filepath.WalkDir(s.path, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, syscall.ENAMETOOLONG) {
			return slipstream.Hint(fmt.Errorf("%s is nested too deeply: %w", s.path, syscall.ENAMETOOLONG), "give it a shorter path, or patch its inner folders one by one")
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if d.IsDir() {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return slipstream.Hint(fmt.Errorf("%s is not a regular file", p), "a tree holds regular files only: replace links by what they lead to")
		}
		name, err := filepath.Rel(s.path, p)
		if err != nil {
			return err
		}
		s.add(slipstream.File{Path: filepath.ToSlash(name), Size: info.Size(), Exec: info.Mode()&0o111 != 0}, p)
		return nil
	})
}

func (s *deltaSource) add(f slipstream.File, name string) {
	s.Files, s.names = append(s.Files, f), append(s.names, name)
}

// Len, Less and Swap sort by path: a walk goes folder by folder, which is another order.
func (s *deltaSource) Len() int           { return len(s.Files) }
func (s *deltaSource) Less(i, j int) bool { return s.Files[i].Path < s.Files[j].Path }
func (s *deltaSource) Swap(i, j int) {
	s.Files[i], s.Files[j] = s.Files[j], s.Files[i]
	s.names[i], s.names[j] = s.names[j], s.names[i]
}

func (s *deltaSource) archive(size int64) error {
	z, err := zip.OpenReader(s.path)
	if err != nil && (z == nil || !errors.Is(err, zip.ErrInsecurePath)) {
		return slipstream.Hint(fmt.Errorf("read archive %s: %w", s.path, err), "with --raw it is taken as one file")
	}
	s.zip = z
	seen, total := map[string]bool{}, int64(0)
	for _, e := range z.File {
		if strings.HasSuffix(e.Name, "/") {
			continue
		}
		mode := e.Mode()
		switch {
		case !mode.IsRegular() || seen[e.Name] || !fs.ValidPath(e.Name):
			return slipstream.Hint(slipstream.Refuse(slipstream.ReasonMalformed, "archive "+s.path, "the entry %q is a link, is there twice, or leads out of it", e.Name),
				"with --raw it is taken as one file")
		case e.UncompressedSize64 > uint64(archiveFree+archiveRatio*size-total):
			return slipstream.Refuse(slipstream.ReasonMalformed, "archive "+s.path, "its contents are out of proportion: it looks like a zip bomb")
		}
		total += int64(e.UncompressedSize64)
		seen[e.Name] = true
		s.add(slipstream.File{Path: e.Name, Size: int64(e.UncompressedSize64), Exec: mode&0o111 != 0}, "")
	}
	return nil
}

// tarball lists a compressed tar archive. What is not compressed is as well patched as one file.
func (s *deltaSource) tarball(size int64) (err error) {
	if s.tar, err = tarball.Open(s.path, archiveFree+archiveRatio*size); err != nil {
		return slipstream.Hint(fmt.Errorf("read archive %s: %w", s.path, err), "with --raw it is taken as one file")
	}
	for i, e := range s.tar.Files {
		if !fs.ValidPath(e.Name) {
			return slipstream.Hint(slipstream.Refuse(slipstream.ReasonMalformed, "archive "+s.path, "the entry %q leads out of it", e.Name),
				"with --raw it is taken as one file")
		}
		s.add(slipstream.File{Path: e.Name, Size: e.Size, Exec: e.Exec}, strconv.Itoa(i))
	}
	return nil
}

func (s *deltaSource) open(i int) (io.ReadCloser, error) {
	switch {
	case s.zip != nil:
		return s.zip.Open(s.Files[i].Path)
	case s.tar != nil:
		n, err := strconv.Atoi(s.names[i])
		if err != nil {
			return nil, err
		}
		return s.tar.Open(n), nil
	}
	return os.Open(s.names[i])
}

// hash reads every file once.
func (s *deltaSource) hash(ctx context.Context, progress steps) error {
	progress.Phase("Reading", s.size)
	h, buf := sha256.New(), make([]byte, 64<<10) // for all files: a tree may have a million
	for i := range s.Files {
		f := &s.Files[i]
		r, err := s.open(i)
		if err != nil {
			return fmt.Errorf("open %s: %w", f.Path, err)
		}
		h.Reset()
		n, err := io.CopyBuffer(h, &watched{ctx, r, progress}, buf)
		if err := errors.Join(err, r.Close()); err != nil {
			return fmt.Errorf("read %s: %w", f.Path, err)
		}
		if n != f.Size {
			return fmt.Errorf("%s changes while it is read", f.Path)
		}
		f.SHA256 = slipstream.DigestOf([32]byte(h.Sum(nil)))
	}
	return nil
}

// watched ends with ctx and tells how far it is.
type watched struct {
	ctx      context.Context
	r        io.Reader
	progress steps
}

func (w *watched) Read(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := w.r.Read(p)
	w.progress.Add(int64(n))
	return n, err
}

// base gives the chosen files one after another. Those on disk are read where they lie; those of an archive are unpacked
// into memory.
func (s *deltaSource) base(chosen []int) (io.ReaderAt, error) {
	if s.zip == nil && s.tar == nil {
		j := &joined{source: s, open: map[int]*os.File{}}
		s.joins = append(s.joins, j)
		return j, j.take(chosen)
	}
	var all bytes.Buffer
	for _, i := range chosen {
		r, err := s.open(i)
		if err != nil {
			return nil, err
		}
		_, err = io.Copy(&all, io.LimitReader(r, s.Files[i].Size))
		if err := errors.Join(err, r.Close()); err != nil {
			return nil, fmt.Errorf("unpack %s: %w", s.Files[i].Path, err)
		}
		if all.Len() > patch.MaxInput {
			return nil, fmt.Errorf("unpack %s: more than 2 GiB", s.path)
		}
	}
	return bytes.NewReader(all.Bytes()), nil
}

// content reads a single file.
func (s *deltaSource) content() ([]byte, error) {
	if !s.Single {
		return nil, usageError{fmt.Errorf("%s is a folder: this format is for single files", s.path)}
	}
	return os.ReadFile(s.path)
}

// Close lets go of all files.
func (s *deltaSource) Close() error {
	var err error
	for _, j := range s.joins {
		err = errors.Join(err, j.close())
	}
	if s.zip != nil {
		err = errors.Join(err, s.zip.Close())
	}
	if s.tar != nil {
		err = errors.Join(err, s.tar.Close())
	}
	return err
}
