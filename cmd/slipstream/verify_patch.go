package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish/delta/bsdiff"
	"github.com/slipstream-ota/slipstream/publish/delta/dcz"
	"github.com/slipstream-ota/slipstream/publish/delta/patch"
	"github.com/slipstream-ota/slipstream/publish/delta/tree"
)

// isPatch knows patches by their beginning: of trees and files, BSDIFF40, dcz.
func isPatch(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, 8)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false
	}
	for _, s := range []string{"SLPT", "BSDIFF40", "\x5e\x2a\x4d\x18"} {
		if strings.HasPrefix(string(head[:n]), s) {
			return true
		}
	}
	return false
}

// patch checks a patch that stands alone: by itself, and with --base what it makes of that.
func (v *verifier) patch(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open patch: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("look at patch: %w", err)
	}
	what := "patch " + path
	own, err := isOwnPatch(f)
	if err != nil {
		return err
	}
	if own {
		err = v.ownPatch(ctx, what, f)
	} else {
		err = v.foreignPatch(ctx, what, f, info.Size())
	}
	if slipstream.ReasonOf(err, "") == slipstream.ReasonContainerInvalid {
		v.refuse(what, err)
		return nil
	}
	return err
}

func (v *verifier) ownPatch(ctx context.Context, what string, f *os.File) error {
	o, err := tree.Check(ctx, f, patch.MaxMemory)
	if err != nil {
		return err
	}
	kind := "trees"
	if o.Single {
		kind = "files"
	}
	how := strings.TrimSpace(o.Patch.Profile + " " + o.Patch.Stream)
	if v.base == "" {
		if o.Whole {
			v.ok(what, "between two %s, %s: whole, carries %d bytes", kind, how, o.Carried)
		} else {
			v.ok(what, "between two %s, %s: the header is right, says that %d bytes are carried", kind, how, o.Carried)
		}
		v.unproven(what)
		return nil
	}
	old, err := openSource(ctx, v.base, o.Single, quietProgress{}) // an archive is a file to a patch between files
	if err != nil {
		return err
	}
	defer old.Close()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("rewind patch: %w", err)
	}
	scratch := &scratchFiles{}
	files, err := tree.Apply(ctx, old.Tree, old.base, f, tree.Limits{Memory: patch.MaxMemory, Scratch: scratch.create}, patchSink{})
	if err := errors.Join(err, scratch.close()); err != nil {
		return err
	}
	var total int64
	for _, made := range files {
		total += made.Size
	}
	if o.Single {
		v.ok(what, "%s: turns %s into a file of %d bytes, sha256 %s", how, v.base, total, files[0].SHA256)
	} else {
		v.ok(what, "%s: turns %s into %d files of %d bytes, their list has the hash %s that the patch names", how, v.base, len(files), total, o.Hash)
	}
	v.unsigned(what)
	return nil
}

// foreignPatch checks a patch that carries no hash of what it makes.
func (v *verifier) foreignPatch(ctx context.Context, what string, f *os.File, size int64) error {
	format, makes := "dcz", int64(0)
	i, err := bsdiff.Inspect(f, size)
	if err == nil {
		format, makes = "BSDIFF40", i.NewSize
	} else if makes, err = dcz.Size(f, size); err != nil {
		return err
	}
	if v.base == "" {
		v.ok(what, "%s: the header is right, says that it makes %d bytes", format, makes)
		v.unproven(what)
		return nil
	}
	old, err := findSource(ctx, v.base, true)
	if err != nil {
		return err
	}
	defer old.Close()
	if !old.Single {
		return usageError{fmt.Errorf("%s is a folder: %s is for a single file", v.base, what)}
	}
	h, n := sha256.New(), &countingWriter{}
	if err := applyForeign(ctx, io.MultiWriter(h, n), old, f, size, -patch.MaxInput); err != nil {
		return err
	}
	v.ok(what, "%s: turns %s into a file of %d bytes, sha256 %x", format, v.base, n.n, h.Sum(nil))
	v.note(what, "it carries no hash of what it makes: compare the one above with that of the file it was made for")
	return nil
}

// unproven says what was not looked at.
func (v *verifier) unproven(what string) {
	v.note(what, "what it makes can be told with the file or folder that it is for: --base OLD")
}

// unsigned says how far the result of a patch can be believed.
func (v *verifier) unsigned(what string) {
	v.note(what, "nobody signed it: it is as good as the place it came from, or as the hash of the result that you know")
}

// patchSink keeps nothing: tree.Apply itself compares the hash of what a patch makes.
type patchSink struct{}

func (patchSink) Create(slipstream.File) (io.WriteCloser, error) { return keptOpen{io.Discard}, nil }
func (patchSink) Keep(slipstream.File, slipstream.File) error    { return nil }
func (patchSink) Repeat(slipstream.File, slipstream.File) error  { return nil }
