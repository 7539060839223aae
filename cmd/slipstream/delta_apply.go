package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish/delta/bsdiff"
	"github.com/slipstream-ota/slipstream/publish/delta/dcz"
	"github.com/slipstream-ota/slipstream/publish/delta/hermes"
	"github.com/slipstream-ota/slipstream/publish/delta/tree"
)

// deltaApplied tells what applying a patch did.
type deltaApplied struct {
	Files   int     `json:"files"`
	Bytes   int64   `json:"bytes"`
	SHA256  string  `json:"sha256,omitempty"` // of a single file
	Proven  bool    `json:"proven"`           // the patch carried the hash of the result
	Seconds float64 `json:"seconds"`
}

// applyFlags are the flags of `delta apply`.
type applyFlags struct {
	memory     string
	size       int64
	sha256     string // of the result, "" = not known
	raw, force bool
}

func newDeltaApplyCommand(t *tool) *cobra.Command {
	var f applyFlags
	c := &cobra.Command{
		Use: "apply OLD PATCH OUT", Short: "Apply a patch", Args: exactly(3, "OLD, PATCH and OUT"),
		Long: `Apply a patch to OLD and write OUT: a file, or a folder that must not be there yet. An archive comes out as the folder
of its files. OUT appears when it is complete and its hash is right; otherwise nothing does.

BSDIFF40 patches and bodies of the content coding dcz are known by their content. They carry no hash of the result, so
the hash is printed, or compared with --sha256.`,
		Example: "  slipstream delta apply app-1.4.0/ app.patch app-1.5.0/",
		RunE: func(c *cobra.Command, args []string) error {
			out, err := t.deltaApply(c.Context(), &f, args[0], args[1], args[2])
			if err != nil {
				return err
			}
			return t.print(out, func(w io.Writer) {
				fmt.Fprintf(w, "%s in %d files, made in %.2f s\n", formatBytes(out.Bytes), out.Files, out.Seconds)
				if !out.Proven {
					fmt.Fprintf(w, "sha256 %s (compare it, here or with --sha256: the patch does not carry it)\n", out.SHA256)
				}
			})
		},
	}
	c.Flags().BoolVar(&f.raw, "raw", false, "take archives as one file")
	c.Flags().BoolVar(&f.force, "force", false, "write over a file OUT")
	c.Flags().StringVar(&f.memory, "memory", "192MiB", "most memory that the patch may take for tables")
	c.Flags().StringVar(&f.sha256, "sha256", "", "hash that OUT must have where the patch does not carry one")
	c.Flags().Int64Var(&f.size, "size", 1<<31, "most bytes that OUT may have where the patch does not carry its hash")
	return c
}

func (t *tool) deltaApply(ctx context.Context, f *applyFlags, oldPath, patchPath, out string) (_ *deltaApplied, err error) {
	if err := free(out, f.force); err != nil {
		return nil, err
	}
	memory, err := parseMemory(f.memory)
	if err != nil {
		return nil, err
	}
	p, err := os.Open(patchPath)
	if err != nil {
		return nil, fmt.Errorf("open patch: %w", err)
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	own, err := isOwnPatch(p)
	if err != nil {
		return nil, err
	}
	progress, end := t.deltaProgress(false)
	defer end()
	begin := time.Now()
	old, err := findSource(ctx, oldPath, f.raw || !own)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, old.Close()) }()
	if startsLarge && old.Single && 2*old.size <= hermes.HeldInMemory {
		collectLate()
	}
	if !old.Single { // a single file is hashed where its hash is asked for
		if err := old.hash(ctx, progress); err != nil {
			return nil, err
		}
	}
	progress.Phase("Applying", 0)
	var done *deltaApplied
	switch {
	case !own:
		done, err = applyForeignTo(ctx, old, p, out, f)
	case old.Single:
		done, err = applyFile(ctx, old, p, out, memory)
	default:
		done, err = applyTree(ctx, old, p, out, memory)
	}
	if err != nil {
		return nil, hintAtPatch(err)
	}
	done.Seconds = time.Since(begin).Seconds()
	return done, nil
}

// hintAtPatch says what to do about a patch that was refused.
func hintAtPatch(err error) error {
	var hinted *slipstream.Hinted
	if slipstream.ReasonOf(err, "") != slipstream.ReasonContainerInvalid || errors.As(err, &hinted) {
		return err
	}
	return slipstream.Hint(err, "give the OLD that the patch was made from, with --raw if it was made with that; if it is the right one, the patch is damaged: get it again")
}

func isOwnPatch(p io.ReaderAt) (bool, error) {
	var head [8]byte
	n, err := p.ReadAt(head[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("read patch: %w", err)
	}
	foreign := string(head[:n]) == "BSDIFF40" || strings.HasPrefix(string(head[:n]), "\x5e\x2a\x4d\x18")
	return !foreign, nil
}

// free says whether out can be written.
func free(out string, force bool) error {
	info, err := os.Lstat(out)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look at %s: %w", out, err)
	case info.Mode().IsRegular() && force:
		return nil
	case info.Mode().IsRegular():
		return slipstream.Hint(fmt.Errorf("%s is there already: %w", out, slipstream.ErrConflict), "--force writes over it")
	}
	return slipstream.Hint(fmt.Errorf("%s is there already: %w", out, slipstream.ErrConflict), "remove it, or choose another name")
}

// writeOut writes a file that appears when it is complete.
func writeOut(out string, write func(w io.Writer) error, exec bool) (err error) {
	f, err := os.CreateTemp(filepath.Dir(out), "."+filepath.Base(out)+".*")
	if err != nil {
		return fmt.Errorf("make a temporary file: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	mode := fs.FileMode(0o644)
	if exec {
		mode = 0o755
	}
	err = write(f)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), out)
}

// applyFile makes one file.
func applyFile(ctx context.Context, old *deltaSource, p io.Reader, out string, memory int) (*deltaApplied, error) {
	var files []slipstream.File
	scratch := &scratchFiles{near: out}
	err := writeOut(out, func(w io.Writer) error {
		var err error
		files, err = tree.Apply(ctx, old.Tree, old.base, p, tree.Limits{Memory: memory, Scratch: scratch.create, Holds: holdsBytecode}, &fileSink{old, w})
		return errors.Join(err, scratch.close())
	}, old.Files[0].Exec)
	if err != nil {
		return nil, err
	}
	return &deltaApplied{Files: 1, Bytes: files[0].Size, SHA256: string(files[0].SHA256), Proven: true}, nil
}

// holdsBytecode is told before bytecode is read, and collects late where it is little.
func holdsBytecode(size int64) {
	if size <= hermes.HeldInMemory {
		collectLate()
	}
}

// collectLate puts the first collection of garbage off until 8 MiB are in use, where most patches are applied. At 4 MiB it would
// find nothing, and takes as long as a third of applying.
func collectLate() { debug.SetGCPercent(200) }

// fileSink takes the one file of a patch between files.
type fileSink struct {
	old *deltaSource
	w   io.Writer
}

func (s *fileSink) Create(slipstream.File) (io.WriteCloser, error) { return keptOpen{s.w}, nil }
func (s *fileSink) Keep(_, old slipstream.File) error              { return s.old.copyTo(0, s.w, old.SHA256) }
func (s *fileSink) Repeat(slipstream.File, slipstream.File) error {
	return errors.New("a single file cannot repeat another")
}

type keptOpen struct{ io.Writer }

func (keptOpen) Close() error { return nil }

// copyTo writes file i, which must still have the hash.
func (s *deltaSource) copyTo(i int, w io.Writer, hash slipstream.Digest) error {
	r, err := s.open(i)
	if err != nil {
		return err
	}
	h := sha256.New()
	if s.buf == nil {
		s.buf = make([]byte, 64<<10)
	}
	_, err = io.CopyBuffer(io.MultiWriter(w, h), io.LimitReader(r, s.Files[i].Size), s.buf)
	if err := errors.Join(err, r.Close()); err != nil {
		return err
	}
	if slipstream.DigestOf([32]byte(h.Sum(nil))) != hash {
		return fmt.Errorf("%s changed while the patch was applied", s.Files[i].Path)
	}
	return nil
}

// applyTree makes a folder beside out and renames it.
func applyTree(ctx context.Context, old *deltaSource, p io.Reader, out string, memory int) (_ *deltaApplied, err error) {
	out = filepath.Clean(out)
	dir, err := os.MkdirTemp(filepath.Dir(out), "."+filepath.Base(out)+".*")
	if err != nil {
		return nil, fmt.Errorf("make a temporary folder: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	s := &treeSink{old: old, root: root, places: map[string]int{}}
	for i, f := range old.Files {
		s.places[f.Path] = i
	}
	scratch := &scratchFiles{near: out}
	files, err := tree.Apply(ctx, old.Tree, old.base, p, tree.Limits{Memory: memory, Scratch: scratch.create, Holds: holdsBytecode}, s)
	if err = errors.Join(err, scratch.close(), s.close(), root.Close()); err != nil {
		return nil, err
	}
	if err := errors.Join(os.Chmod(dir, 0o755), os.Rename(dir, out)); err != nil {
		return nil, err
	}
	done := &deltaApplied{Files: len(files), Proven: true}
	for _, f := range files {
		done.Bytes += f.Size
	}
	return done, nil
}

// treeSink writes files below a folder that nothing can lead out of.
type treeSink struct {
	old    *deltaSource
	root   *os.Root
	places map[string]int // of the old files
	folder string         // of the file that was made last
	in     *os.Root       // that folder, nil: the whole tree
}

func (s *treeSink) Create(f slipstream.File) (io.WriteCloser, error) { return s.create(f) }

func (s *treeSink) create(f slipstream.File) (*os.File, error) {
	dir, name := path.Split(f.Path)
	if err := s.enter(dir); err != nil {
		return nil, err
	}
	in := s.root
	if s.in != nil {
		in = s.in
	}
	mode := fs.FileMode(0o644)
	if f.Exec {
		mode = 0o755
	}
	return in.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
}

// enter makes a folder. It stays open: looking up the whole path anew for every file would take most of the time.
func (s *treeSink) enter(dir string) error {
	if dir == s.folder {
		return nil
	}
	if err := s.close(); err != nil || dir == "" {
		return err
	}
	name := filepath.FromSlash(strings.TrimSuffix(dir, "/"))
	if err := s.root.MkdirAll(name, 0o755); err != nil {
		return err
	}
	in, err := s.root.OpenRoot(name)
	if err == nil {
		s.folder, s.in = dir, in
	}
	return err
}

func (s *treeSink) close() error {
	if s.in == nil {
		return nil
	}
	in := s.in
	s.folder, s.in = "", nil
	return in.Close()
}

func (s *treeSink) Keep(f, old slipstream.File) error {
	w, err := s.create(f)
	if err != nil {
		return err
	}
	return errors.Join(s.old.copyTo(s.places[old.Path], w, old.SHA256), w.Close())
}

func (s *treeSink) Repeat(f, of slipstream.File) error {
	r, err := s.root.Open(filepath.FromSlash(of.Path))
	if err != nil {
		return err
	}
	w, err := s.create(f)
	if err != nil {
		return errors.Join(err, r.Close())
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Close(), r.Close())
}

// applyForeignTo applies a patch of another format to a file.
func applyForeignTo(ctx context.Context, old *deltaSource, p *os.File, out string, f *applyFlags) (*deltaApplied, error) {
	if !old.Single {
		return nil, usageError{fmt.Errorf("%s is a folder: this patch is for a single file", old.path)}
	}
	info, err := p.Stat()
	if err != nil {
		return nil, fmt.Errorf("look at patch: %w", err)
	}
	h := sha256.New()
	n := &countingWriter{}
	err = writeOut(out, func(w io.Writer) error {
		if err := applyForeign(ctx, io.MultiWriter(w, h, n), old, p, info.Size(), -f.size); err != nil {
			return err
		}
		if sum := slipstream.DigestOf([32]byte(h.Sum(nil))); f.sha256 != "" && string(sum) != strings.ToLower(f.sha256) {
			return slipstream.Refuse(slipstream.ReasonContainerInvalid, "patch", "what it makes has the hash %s", sum)
		}
		return nil
	}, old.Files[0].Exec)
	if err != nil {
		return nil, err
	}
	return &deltaApplied{Files: 1, Bytes: n.n, SHA256: string(slipstream.DigestOf([32]byte(h.Sum(nil))))}, nil
}

type countingWriter struct{ n int64 }

func (c *countingWriter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// applyForeign writes what a BSDIFF40 patch or a dcz body makes of old. size is that of the result; below zero it is the
// largest one that is allowed, with the sign turned.
func applyForeign(ctx context.Context, w io.Writer, old *deltaSource, p io.ReaderAt, patchSize, size int64) error {
	var head [8]byte
	if _, err := p.ReadAt(head[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read patch: %w", err)
	}
	if string(head[:]) == "BSDIFF40" {
		info, err := bsdiff.Inspect(p, patchSize)
		if err != nil {
			return err
		}
		if size, err = allowed(info.NewSize, size); err != nil {
			return err
		}
		base, err := old.base([]int{0})
		if err != nil {
			return err
		}
		return bsdiff.Apply(ctx, w, base, old.size, p, patchSize, size)
	}
	dictionary, err := old.content()
	if err != nil {
		return err
	}
	if size < 0 {
		said, err := dcz.Size(p, patchSize)
		if err != nil {
			return err
		}
		if size, err = allowed(said, size); err != nil {
			return err
		}
	}
	return dcz.Decode(ctx, w, dictionary, io.NewSectionReader(p, 0, patchSize), size)
}

// allowed gives the size that a result must have of the one that a patch says and the one that the caller asks for, as
// applyForeign has it.
func allowed(said, size int64) (int64, error) {
	switch {
	case size >= 0:
		return size, nil
	case said > -size:
		return 0, slipstream.Hint(fmt.Errorf("the patch makes a file of %d bytes", said), "allow it with --size")
	}
	return said, nil
}
