package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/sign"
)

// hintAdopt says how a release that nobody signed becomes one that somebody did.
const hintAdopt = "`slipstream release sign` publishes its contents as a release with your signature"

// Fetch opens a file of a release as the server hands it out. What it gives is not trusted.
type Fetch func(ctx context.Context, f slipstream.File) (io.ReadCloser, error)

// Received is an adapter-only release as it came from the server.
type Received struct {
	Tree     *Tree                      // what the bytes are that came, not what the server says of them; close it
	Manifest *slipstream.Manifest       // as the server keeps it: nobody signed it
	Meta     map[string]json.RawMessage // what clients of its protocol need to find it the same
}

// Receive downloads every file of an adapter-only release and hashes what came. It is refused unless that is, to the byte,
// what the manifest under the release's digest says. To the publisher it is still only the server's word: nobody signed
// that manifest. progress may be nil.
func Receive(ctx context.Context, app string, r Release, fetch Fetch, l Limits, progress Progress) (_ *Received, err error) {
	if r.AdapterOnly == "" || len(r.Envelope) > 0 {
		return nil, slipstream.Hint(fmt.Errorf("release %s is signed: %w", r.Digest.Short(), slipstream.ErrConflict), "`slipstream release resign` adds signatures")
	}
	out := &Received{}
	if out.Manifest, err = r.Manifest(); err != nil {
		return nil, err
	}
	if out.Manifest.App != app {
		return nil, slipstream.Refuse(slipstream.ReasonWrongApp, "release "+r.Digest.Short(), "it is of app %q, not %q", out.Manifest.App, app)
	}
	if out.Meta, err = adapterMeta(out.Manifest, r.AdapterOnly); err != nil {
		return nil, err
	}
	files := out.Manifest.Files
	if errs := sign.CheckPaths(files); len(errs) > 0 {
		return nil, Offenders(errs)
	}
	l = l.withDefaults()
	if err := withinLimits(files, l); err != nil {
		return nil, err
	}
	if out.Tree, err = download(ctx, files, fetch, l, progress); err != nil {
		return nil, err
	}
	if !slices.Equal(out.Tree.Files, files) {
		d := Compare(out.Manifest, &slipstream.Manifest{Files: out.Tree.Files})
		return nil, errors.Join(slipstream.Refuse(slipstream.ReasonFileMismatch, "release "+r.Digest.Short(), "%d files differ from what the server says of them%s", len(d.Changes), firstOf(&d)), out.Tree.Close())
	}
	return out, nil
}

// firstOf names the first file of a comparison.
func firstOf(d *Diff) string {
	if len(d.Changes) == 0 {
		return ""
	}
	return ", the first is " + d.Changes[0].Path
}

// adapterMeta is what a release keeps of its meta when it is signed: which protocol it came in through, and that
// protocol's own notes. Anything else would be the server's word under the publisher's signature.
func adapterMeta(m *slipstream.Manifest, adapter string) (map[string]json.RawMessage, error) {
	var name string
	if raw := m.Meta[slipstream.MetaAdapter]; json.Unmarshal(raw, &name) != nil || name != adapter {
		return nil, slipstream.Refuse(slipstream.ReasonManifestMismatch, "meta", "its %s is %s, the server says %q", slipstream.MetaAdapter, raw, adapter)
	}
	for key := range m.Meta {
		if key != slipstream.MetaAdapter && !strings.HasPrefix(key, adapter+".") {
			return nil, slipstream.Refuse(slipstream.ReasonManifestMismatch, "meta", "it has %q, which is none of %s", key, adapter)
		}
	}
	return m.Meta, nil
}

func withinLimits(files []slipstream.File, l Limits) error {
	var total int64
	for _, f := range files {
		if f.Size < 0 || f.Size > l.FileBytes || f.Size > l.TotalBytes-total {
			return slipstream.Refuse(slipstream.ReasonTooLarge, "file "+f.Path, "%d bytes: a file has at most %d, all of them %d", f.Size, l.FileBytes, l.TotalBytes)
		}
		total += f.Size
	}
	return nil
}

// download keeps what comes in a temporary folder, which Close of the tree removes. Files are named by their place in
// the list, whatever their paths are.
func download(ctx context.Context, files []slipstream.File, fetch Fetch, l Limits, progress Progress) (_ *Tree, err error) {
	if progress == nil {
		progress = noProgress{}
	}
	dir, err := os.MkdirTemp("", "slipstream-sign-*")
	if err != nil {
		return nil, fmt.Errorf("keep what comes: %w", err)
	}
	t := &Tree{content: map[string]content{}, closer: removing(dir)}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.Close())
		}
	}()
	var total int64
	for _, f := range files {
		total += f.Size
	}
	progress.Phase("Downloading", total)
	var w walk
	for i, f := range files {
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := keepFile(ctx, path, f, fetch); err != nil {
			return nil, fmt.Errorf("download %s: %w", f.Path, err)
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("look at what came: %w", err)
		}
		w.files = append(w.files, found{f.Path, info.Size(), false, &diskFile{path, info}})
		progress.Add(f.Size)
	}
	return t, t.take(ctx, &w, l, progress)
}

// keepFile writes at most one byte more than a file should have: that is enough to know that it is another one.
func keepFile(ctx context.Context, path string, f slipstream.File, fetch Fetch) (err error) {
	r, err := fetch(ctx, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	to, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, io.LimitReader(r, f.Size+1))
	return errors.Join(err, to.Close())
}

// removing is a folder that goes when it is closed.
type removing string

func (r removing) Close() error { return os.RemoveAll(string(r)) }

// SameTree refuses a folder of the publisher's that is not, file by file, what was received. The folder may be the one
// whose name the release's paths begin with, as upload tools keep it, or hold what stands below them.
func (r *Received) SameTree(folder string, tree *Tree) error {
	if slices.EqualFunc(tree.Files, r.Tree.Files, sameContent) {
		return nil
	}
	abs, err := filepath.Abs(folder)
	if err != nil {
		return fmt.Errorf("look at %s: %w", folder, err)
	}
	below := slices.Clone(tree.Files)
	for i := range below {
		below[i].Path = filepath.Base(abs) + "/" + below[i].Path
	}
	if slices.EqualFunc(below, r.Tree.Files, sameContent) {
		return nil
	}
	d := Compare(&slipstream.Manifest{Files: below}, &slipstream.Manifest{Files: r.Tree.Files})
	return slipstream.Hint(slipstream.Refuse(slipstream.ReasonFileMismatch, "tree", "%d files differ between %s and what the server holds%s", len(d.Changes), folder, firstOf(&d)),
		"do not sign it before you know why; `slipstream publish` signs and uploads your own folder")
}

// sameContent compares without the right to execute, which uploads of other tools do not carry.
func sameContent(a, b slipstream.File) bool {
	return a.Path == b.Path && a.Size == b.Size && a.SHA256 == b.SHA256
}
