//go:build !device

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/internal/atomicfile"
	"github.com/slipstream-ota/slipstream/sign"
)

const (
	exportWorkers = 4
	exportTries   = 3
	exportStall   = time.Minute // without a byte
	// maxExportedList bounds the list of one release's containers.
	maxExportedList = 4 << 20
)

// exporter copies from a server's device side into a directory. It trusts nothing it gets: what has a hash is checked
// by it, and devices verify the rest themselves.
type exporter struct {
	dir, base           string
	app                 string
	channels, platforms []string
	files               bool // by their paths too
	client              *http.Client

	mu   sync.Mutex
	done exported
}

func newExporter(dir, base string, f *exportFlags) (*exporter, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, usageError{fmt.Errorf("server address %q is not an http or https URL", base)}
	}
	platforms := wellKnownPlatforms()
	for _, p := range f.platforms {
		if !slices.Contains(platforms, p) {
			platforms = append(platforms, p)
		}
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, ResponseHeaderTimeout: 30 * time.Second, MaxIdleConnsPerHost: exportWorkers, DisableCompression: true}
	return &exporter{dir: dir, base: strings.TrimSuffix(base, "/"), app: f.app, channels: f.channels, platforms: platforms,
		files: f.files, client: &http.Client{Transport: transport}}, nil
}

// run copies everything once. States are fetched first and written last, so that whatever a state names is there
// before it.
func (e *exporter) run(ctx context.Context) (exported, error) {
	e.done = exported{}
	states := map[string][]byte{}
	releases := map[slipstream.Digest]bool{}
	for _, channel := range e.channels {
		found := false
		for _, platform := range e.platforms {
			path := "v1/apps/" + e.app + "/channels/" + channel + "/state/" + platform
			raw, err := e.get(ctx, path, slipstream.MaxStateBytes)
			if errors.Is(err, slipstream.ErrNotFound) {
				continue
			}
			if err != nil {
				return e.done, err
			}
			if err := named(raw, releases); err != nil {
				return e.done, fmt.Errorf("state of channel %s, platform %s: %w", channel, platform, err)
			}
			states[path], found = raw, true
		}
		if !found {
			return e.done, fmt.Errorf("channel %s of app %s: %w", channel, e.app, slipstream.ErrNotFound)
		}
	}
	if err := e.roots(ctx); err != nil {
		return e.done, err
	}
	for _, d := range slices.Sorted(maps.Keys(releases)) {
		if err := e.release(ctx, d); err != nil {
			return e.done, fmt.Errorf("release %s: %w", d.Short(), err)
		}
	}
	for path, raw := range states {
		if err := e.put(path, raw); err != nil {
			return e.done, err
		}
	}
	e.done.States = len(states)
	return e.done, nil
}

// named collects the releases that a state offers.
func named(raw []byte, into map[slipstream.Digest]bool) error {
	envelope, err := sign.ParseEnvelope(raw, sign.TypeState, slipstream.MaxStateBytes)
	if err != nil {
		return err
	}
	var st slipstream.State
	if err := sign.Decode(envelope.Payload, &st); err != nil {
		return err
	}
	for _, p := range st.Packages {
		for _, r := range p.Rollouts {
			into[r.Manifest] = true
		}
	}
	return nil
}

func (e *exporter) roots(ctx context.Context) error {
	for n := 1; ; n++ {
		path := fmt.Sprintf("v1/apps/%s/roots/%d", e.app, n)
		if e.has(path, -1) {
			e.present()
			continue
		}
		raw, err := e.get(ctx, path, slipstream.MaxRootBytes)
		if errors.Is(err, slipstream.ErrNotFound) && n > 1 {
			return nil
		}
		if err != nil {
			return err
		}
		if err := e.put(path, raw); err != nil {
			return err
		}
	}
}

// release copies a manifest with its files and containers; the manifest, which may have got signatures since the last
// run, is always asked for.
func (e *exporter) release(ctx context.Context, d slipstream.Digest) error {
	path := "v1/manifests/" + string(d)
	raw, err := e.get(ctx, path, slipstream.MaxManifestBytes)
	if err != nil {
		return err
	}
	envelope, err := sign.ParseEnvelope(raw, sign.TypeManifest, slipstream.MaxManifestBytes)
	if err != nil {
		return err
	}
	if got := sign.DigestOf(envelope.Payload); got != d {
		return slipstream.Refuse(slipstream.ReasonManifestMismatch, "manifest", "is that of release %s", got.Short())
	}
	var m slipstream.Manifest
	if err := sign.Decode(envelope.Payload, &m); err != nil {
		return err
	}
	listPath := "v1/releases/" + string(d) + "/containers"
	list, err := e.get(ctx, listPath, maxExportedList)
	if err != nil {
		return err
	}
	var containers []slipstream.Container
	if err := json.Unmarshal(list, &containers); err != nil {
		return fmt.Errorf("list of containers: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(exportWorkers)
	seen := map[slipstream.Digest]bool{}
	for _, f := range m.Files {
		if !seen[f.SHA256] {
			seen[f.SHA256] = true
			group.Go(func() error { return e.object(ctx, "v1/blobs/", f.SHA256, f.Size) })
		}
	}
	for _, c := range containers {
		group.Go(func() error { return e.object(ctx, "v1/containers/", c.SHA256, c.Size) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if e.files {
		if err := e.byPath(d, &m); err != nil {
			return err
		}
	}
	if err := e.put(path, raw); err != nil {
		return err
	}
	return e.put(listPath, list)
}

// object copies bytes that are named by their hash, unless they are there.
func (e *exporter) object(ctx context.Context, folder string, d slipstream.Digest, size int64) error {
	if !d.Valid() {
		return fmt.Errorf("%q is not a digest", d)
	}
	path := folder + string(d)
	if e.has(path, size) {
		e.present()
		return nil
	}
	return e.retry(ctx, path, func(body io.Reader) error {
		hash := sha256.New()
		n, err := e.store(path, io.TeeReader(io.LimitReader(body, size+1), hash), func(n int64) error {
			if got := hex.EncodeToString(hash.Sum(nil)); n != size || got != string(d) {
				return slipstream.Refuse(slipstream.ReasonFileMismatch, path, "%d bytes with hash %s, want %d", n, got[:12], size)
			}
			return nil
		})
		if err == nil {
			e.wrote(n)
		}
		return err
	})
}

// store writes a file that appears whole and only after accept agrees to its length.
func (e *exporter) store(path string, r io.Reader, accept func(n int64) error) (n int64, err error) {
	target := filepath.Join(e.dir, filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return 0, fmt.Errorf("make folder: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(target), ".export-*")
	if err != nil {
		return 0, fmt.Errorf("create temporary file: %w", err)
	}
	defer func() {
		if err != nil {
			tmp.Close()
			os.Remove(tmp.Name())
		}
	}()
	if n, err = io.Copy(tmp, r); err != nil {
		return n, fmt.Errorf("copy %s: %w", path, err)
	}
	if err := accept(n); err != nil {
		return n, err
	}
	if err := errors.Join(tmp.Chmod(0o644), tmp.Sync(), tmp.Close()); err != nil {
		return n, fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(tmp.Name(), target); err != nil {
		return n, fmt.Errorf("rename: %w", err)
	}
	return n, atomicfile.SyncDir(filepath.Dir(target))
}

// put replaces a small file when it is not the same already.
func (e *exporter) put(path string, data []byte) error {
	target := filepath.Join(e.dir, filepath.FromSlash(path))
	if old, err := os.ReadFile(target); err == nil && string(old) == string(data) {
		e.present()
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	if err := atomicfile.Write(target, data, 0o644); err != nil {
		return err
	}
	e.wrote(int64(len(data)))
	return nil
}

// has reports whether a file of this size is there; size -1 means any. Files only ever appear whole.
func (e *exporter) has(path string, size int64) bool {
	info, err := os.Stat(filepath.Join(e.dir, filepath.FromSlash(path)))
	return err == nil && info.Mode().IsRegular() && (size < 0 || info.Size() == size)
}

func (e *exporter) wrote(n int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.done.Files++
	e.done.Bytes += n
}

func (e *exporter) present() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.done.Present++
}

// get fetches a small document.
func (e *exporter) get(ctx context.Context, path string, limit int64) ([]byte, error) {
	var out []byte
	err := e.retry(ctx, path, func(body io.Reader) error {
		var err error
		out, err = io.ReadAll(io.LimitReader(body, limit+1))
		if err == nil && int64(len(out)) > limit {
			err = slipstream.Refuse(slipstream.ReasonTooLarge, path, "more than %d bytes", limit)
		}
		return err
	})
	return out, err
}

// retry asks for path and gives the body to use. Failures that may pass are tried again; what is missing or refused
// is not.
func (e *exporter) retry(ctx context.Context, path string, use func(io.Reader) error) error {
	for try := 1; ; try++ {
		err := e.once(ctx, path, use)
		var refusal *slipstream.Refusal
		if err == nil || try == exportTries || ctx.Err() != nil || errors.Is(err, slipstream.ErrNotFound) || errors.As(err, &refusal) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Duration(try) * 500 * time.Millisecond):
		}
	}
}

func (e *exporter) once(ctx context.Context, path string, use func(io.Reader) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.base+"/"+path, nil)
	if err != nil {
		return fmt.Errorf("ask for %s: %w", path, err)
	}
	r, err := e.client.Do(req)
	if err != nil {
		return fmt.Errorf("ask for %s: %w", path, err)
	}
	defer r.Body.Close()
	switch {
	case r.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%s: %w", path, slipstream.ErrNotFound)
	case r.StatusCode != http.StatusOK:
		return fmt.Errorf("ask for %s: the server answered %s", path, r.Status)
	}
	stall := time.AfterFunc(exportStall, cancel)
	defer stall.Stop()
	return use(&steady{r.Body, stall})
}

// steady puts a timer off with every byte that arrives.
type steady struct {
	r     io.Reader
	stall *time.Timer
}

func (l *steady) Read(b []byte) (int, error) {
	n, err := l.r.Read(b)
	if n > 0 {
		l.stall.Reset(exportStall)
	}
	return n, err
}
