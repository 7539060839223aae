package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/sign"
)

// device looks at a device directory: trust/root.json, trust/state-<channel>.json, releases/<digest>.manifest.json and
// the trees releases/<digest>.
func (v *verifier) device(ctx context.Context, dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "releases")); err != nil {
		if _, err := os.Stat(filepath.Join(dir, "trust")); err != nil {
			return slipstream.Hint(fmt.Errorf("%s is no device directory: it has neither trust nor releases", dir), "give the folder that `slipstream run --dir` used, or a file")
		}
	}
	if err := v.deviceRoot(filepath.Join(dir, "trust", "root.json")); err != nil {
		return err
	}
	if err := v.needRoot(); err != nil {
		return err
	}
	states, err := filepath.Glob(filepath.Join(dir, "trust", "state-*.json"))
	if err != nil {
		return fmt.Errorf("list states: %w", err)
	}
	for _, path := range states {
		if err := v.deviceState(path); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(filepath.Join(dir, "releases"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list releases: %w", err)
	}
	for _, e := range entries {
		if err := v.deviceRelease(ctx, filepath.Join(dir, "releases"), e); err != nil {
			return err
		}
	}
	return nil
}

// deviceRoot checks the stored root by the given one. Without a given one the device's own stands in, and a note says so.
func (v *verifier) deviceRoot(path string) error {
	raw, err := readSmall(path, slipstream.MaxRootBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read root: %w", err)
	}
	alone := v.trust == nil
	v.root(path, raw)
	if alone {
		if trust, err := sign.OpenRoot(raw); err == nil {
			v.trust = trust
		}
	}
	return nil
}

// deviceState checks a kept state. That its time is over is no fault of a directory: the device was offline.
func (v *verifier) deviceState(path string) error {
	raw, err := readSmall(path, slipstream.MaxStateBytes)
	if err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	s, err := v.trust.State(raw)
	if err != nil {
		v.refuse(path, err)
		return nil
	}
	what := describeState(s)
	channel := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "state-"), ".json")
	switch err := v.ofApp(what, s.App); {
	case err != nil:
		v.refuse(what, err)
	case s.Channel != channel:
		v.refuse(what, slipstream.Refuse(slipstream.ReasonWrongChannel, what, "is kept as the state of channel %q", channel))
	case !v.now.Before(s.Expires.Time):
		v.note(what, "expired %s: the device installs nothing until it gets a newer one", stamp(s.Expires))
	default:
		v.ok(what, "expires %s", stamp(s.Expires))
	}
	return nil
}

// deviceRelease checks one entry of releases: a manifest together with its tree, or a tree that has no manifest.
func (v *verifier) deviceRelease(ctx context.Context, dir string, e fs.DirEntry) error {
	path := filepath.Join(dir, e.Name())
	if e.IsDir() {
		if slipstream.Digest(e.Name()).Valid() {
			if _, err := os.Stat(path + ".manifest.json"); errors.Is(err, fs.ErrNotExist) {
				v.refuse(path, slipstream.Refuse(slipstream.ReasonManifestMismatch, path, "a tree without its manifest"))
			}
		}
		return nil
	}
	named, isManifest := strings.CutSuffix(e.Name(), ".manifest.json")
	if !isManifest || !slipstream.Digest(named).Valid() {
		return nil
	}
	raw, err := readSmall(path, slipstream.MaxManifestBytes)
	if err != nil {
		return fmt.Errorf("read manifest: %w", err)
	}
	m, digest := v.manifest(path, raw)
	if m == nil {
		return nil
	}
	what := "tree of release " + digest.Short()
	if string(digest) != named {
		v.refuse(what, slipstream.Refuse(slipstream.ReasonManifestMismatch, what, "is kept as %s", slipstream.Digest(named).Short()))
		return nil
	}
	tree := filepath.Join(dir, named)
	if _, err := os.Lstat(tree); errors.Is(err, fs.ErrNotExist) {
		v.note(what, "is not here; the manifest is kept as an anchor or for a later fetch")
		return nil
	}
	return v.tree(ctx, what, tree, m)
}

// tree compares a folder with a manifest: every file, and nothing else.
func (v *verifier) tree(ctx context.Context, what, dir string, m *slipstream.Manifest) error {
	faults, files := 0, make(map[string]slipstream.File, len(m.Files))
	for _, f := range m.Files {
		files[f.Path] = f
	}
	fault := func(path, format string, args ...any) {
		faults++
		v.refuse(what+", file "+path, slipstream.Refuse(slipstream.ReasonFileMismatch, path, format, args...))
	}
	err := filepath.WalkDir(dir, func(full string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return errors.Join(err, ctx.Err())
		}
		rel, err := filepath.Rel(dir, full)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		f, named := files[rel]
		delete(files, rel)
		switch {
		case !named:
			fault(rel, "is not in the manifest")
		case !e.Type().IsRegular():
			fault(rel, "is no regular file")
		default:
			size, sum, err := hashFile(full)
			if err != nil {
				return err
			}
			if size != f.Size || sum != f.SHA256 {
				fault(rel, "has %d bytes and hash %s instead of %d and %s", size, sum.Short(), f.Size, f.SHA256.Short())
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("walk %s: %w", dir, err)
	}
	for _, f := range m.Files {
		if _, missing := files[f.Path]; missing {
			fault(f.Path, "is missing")
		}
	}
	if faults == 0 {
		v.ok(what, "all %d files are as signed", len(m.Files))
	}
	return nil
}

func hashFile(path string) (int64, slipstream.Digest, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, "", fmt.Errorf("open file: %w", err)
	}
	defer f.Close()
	return hashAll(f)
}

// hashAll reads r to its end.
func hashAll(r io.Reader) (int64, slipstream.Digest, error) {
	h := sha256.New()
	n, err := io.Copy(h, r)
	if err != nil {
		return n, "", fmt.Errorf("read file: %w", err)
	}
	return n, slipstream.Digest(hex.EncodeToString(h.Sum(nil))), nil
}
