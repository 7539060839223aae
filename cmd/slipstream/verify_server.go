package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish/delta"
	"github.com/slipstream-ota/slipstream/sign"
)

// maxContainerList bounds the unsigned list of containers of one release.
const maxContainerList = 1 << 20

// server looks at a server or bucket as a device does: from the given root onwards.
func (v *verifier) server(ctx context.Context, base string) error {
	if err := v.needRoot(); err != nil {
		return err
	}
	v.http = &http.Client{Timeout: 10 * time.Minute}
	base = strings.TrimRight(base, "/")
	app := v.trust.Root().App
	v.root("root", v.trust.Envelope())
	for range slipstream.MaxRootSteps {
		n := v.trust.Root().Version + 1
		raw, err := v.get(ctx, fmt.Sprintf("%s/v1/apps/%s/roots/%d", base, app, n), slipstream.MaxRootBytes)
		if errors.Is(err, slipstream.ErrNotFound) {
			break
		}
		if err != nil {
			return err
		}
		name := fmt.Sprintf("root %d", n)
		if _, err := v.trust.Next(raw); err != nil {
			v.refuse(name, err)
			break // everything else is judged by the last good one
		}
		v.root(name, raw)
	}
	offered := map[slipstream.Digest]*slipstream.Manifest{}
	for _, channel := range v.channels {
		for _, platform := range v.platforms {
			if err := v.serverState(ctx, base, channel, platform, offered); err != nil {
				return err
			}
		}
	}
	if !v.deep {
		return nil
	}
	for _, digest := range slices.Sorted(maps.Keys(offered)) {
		if err := v.serverBytes(ctx, base, offered[digest], digest); err != nil {
			return err
		}
	}
	return nil
}

// serverState checks the state of one channel and platform, and adds the releases it offers to offered.
func (v *verifier) serverState(ctx context.Context, base, channel, platform string, offered map[slipstream.Digest]*slipstream.Manifest) error {
	app := v.trust.Root().App
	name := fmt.Sprintf("state of %s/%s for %s", app, channel, platform)
	raw, err := v.get(ctx, fmt.Sprintf("%s/v1/apps/%s/channels/%s/state/%s", base, app, channel, platform), slipstream.MaxStateBytes)
	if errors.Is(err, slipstream.ErrNotFound) {
		v.note(name, "the server has none")
		return nil
	}
	if err != nil {
		return err
	}
	s, err := v.trust.AcceptState(raw, sign.ExpectState{App: app, Channel: channel, Platform: platform, Now: v.now})
	if err == nil && s.RootVersion > v.trust.Root().Version {
		err = slipstream.Refuse(slipstream.ReasonRootVersion, name, "names root version %d, the server gives %d", s.RootVersion, v.trust.Root().Version)
	}
	if err != nil {
		v.refuse(name, err)
		return nil
	}
	v.ok(describeState(s), "%d packages, expires %s", len(s.Packages), stamp(s.Expires))
	for _, pkg := range slices.Sorted(maps.Keys(s.Packages)) {
		p := s.Packages[pkg]
		for i := range p.Rollouts {
			r := &p.Rollouts[i]
			m, err := v.serverManifest(ctx, base, r.Manifest, sign.ExpectManifest{App: app, Package: pkg, Platform: platform, Runtime: &r.Runtime,
				Release: slipstream.ReleaseRef{Digest: r.Manifest, Seq: r.Seq, Version: r.Version, Size: r.Size}})
			if err != nil {
				return err
			}
			if m != nil {
				offered[r.Manifest] = m
			}
		}
	}
	return nil
}

// serverManifest fetches and checks one manifest as the rollout names it; nil when it is refused.
func (v *verifier) serverManifest(ctx context.Context, base string, digest slipstream.Digest, e sign.ExpectManifest) (*slipstream.Manifest, error) {
	name := fmt.Sprintf("manifest %s of package %s", digest.Short(), e.Package)
	raw, err := v.get(ctx, base+"/v1/manifests/"+string(digest), slipstream.MaxManifestBytes)
	if errors.Is(err, slipstream.ErrNotFound) {
		v.refuse(name, slipstream.Refuse(slipstream.ReasonManifestMismatch, name, "the state names it, the server does not have it"))
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m, err := v.trust.AcceptManifest(raw, e)
	if err != nil {
		v.refuse(name, err)
		return nil, nil
	}
	v.manifests[digest] = m
	v.ok(describeManifest(m, digest), "%d files, %d bytes, as the state names it", len(m.Files), m.Size())
	return m, nil
}

// serverBytes checks every container and every file of a release.
func (v *verifier) serverBytes(ctx context.Context, base string, m *slipstream.Manifest, digest slipstream.Digest) error {
	what := "release " + digest.Short()
	raw, err := v.get(ctx, base+"/v1/releases/"+string(digest)+"/containers", maxContainerList)
	if errors.Is(err, slipstream.ErrNotFound) {
		raw, err = []byte("[]"), nil
	}
	if err != nil {
		return err
	}
	var list []slipstream.Container
	if err := json.Unmarshal(raw, &list); err != nil {
		v.refuse("containers of "+what, slipstream.Refuse(slipstream.ReasonMalformed, what, "decode list: %w", err))
		return nil
	}
	if len(list) == 0 {
		v.note("containers of "+what, "there is none: devices fetch single files")
	}
	for _, c := range list {
		if err := v.serverContainer(ctx, base, m, digest, c); err != nil {
			return err
		}
	}
	faults, fetched := 0, map[slipstream.Digest]bool{}
	for _, f := range m.Files {
		if fetched[f.SHA256] {
			continue
		}
		fetched[f.SHA256] = true
		if err := v.checkBytes(ctx, base+"/v1/blobs/"+string(f.SHA256), f.Size, f.SHA256); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			faults++
			v.refuse(what+", file "+f.Path, err)
		}
	}
	if faults == 0 {
		v.ok("files of "+what, "all %d files are served as signed", len(m.Files))
	}
	return nil
}

// serverContainer checks one container's hash, and applies it to nowhere when its base is at hand.
func (v *verifier) serverContainer(ctx context.Context, base string, m *slipstream.Manifest, digest slipstream.Digest, c slipstream.Container) error {
	what := fmt.Sprintf("container %s (%s) of release %s", c.SHA256.Short(), c.Codec, digest.Short())
	if !c.SHA256.Valid() || c.Size < 0 || c.Size > m.Size()+slipstream.ContainerOverhead {
		v.refuse(what, slipstream.Refuse(slipstream.ReasonContainerInvalid, what, "%d bytes for a release of %d", c.Size, m.Size()))
		return nil
	}
	url := base + "/v1/containers/" + string(c.SHA256)
	if err := v.checkBytes(ctx, url, c.Size, c.SHA256); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		v.refuse(what, err)
		return nil
	}
	old, have := v.manifests[c.From]
	if c.From != "" && !have {
		v.ok(what, "%d bytes as listed; not applied, its base is not among the releases offered", c.Size)
		return nil
	}
	body, err := v.open(ctx, url)
	if err != nil {
		return err
	}
	defer body.Close()
	memory, _ := delta.MemoryOf(c.Codec)
	contents := &served{verifier: v, ctx: ctx, base: base, known: map[slipstream.Digest][]byte{}}
	limits := delta.ApplyLimits{Memory: memory, Decisions: delta.DecisionsOf(c.Codec)}
	if err := delta.ApplyDelta(ctx, body, old, m, contents.open, discard{}, limits); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		v.refuse(what, err)
		return nil
	}
	v.ok(what, "%d bytes as listed, gives the release", c.Size)
	return nil
}

// served gives the files of a base as the server has them; each is read once and compared with its name.
type served struct {
	verifier *verifier
	ctx      context.Context
	base     string
	known    map[slipstream.Digest][]byte
}

type inMemory struct{ *bytes.Reader }

func (inMemory) Close() error { return nil }

func (s *served) open(f slipstream.File) (delta.Content, error) {
	raw, ok := s.known[f.SHA256]
	if !ok {
		var err error
		if raw, err = s.verifier.get(s.ctx, s.base+"/v1/blobs/"+string(f.SHA256), f.Size); err != nil {
			return nil, err
		}
		if slipstream.DigestOf(sha256.Sum256(raw)) != f.SHA256 {
			return nil, slipstream.Refuse(slipstream.ReasonFileMismatch, f.Path, "the base's file is not served as it was signed")
		}
		s.known[f.SHA256] = raw
	}
	return inMemory{bytes.NewReader(raw)}, nil
}

// checkBytes downloads what should be size bytes of a hash, and reads at most one byte more.
func (v *verifier) checkBytes(ctx context.Context, url string, size int64, want slipstream.Digest) error {
	body, err := v.open(ctx, url)
	if err != nil {
		return slipstream.Refuse(slipstream.ReasonFileMismatch, url, "%w", err)
	}
	defer body.Close()
	n, sum, err := hashAll(io.LimitReader(body, size+1))
	switch {
	case err != nil:
		return slipstream.Refuse(slipstream.ReasonFileMismatch, url, "%w", err)
	case n != size || sum != want:
		return slipstream.Refuse(slipstream.ReasonFileMismatch, url, "not the %d bytes of %s", size, want.Short())
	}
	return nil
}

func (v *verifier) open(ctx context.Context, url string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", url, err)
	}
	res, err := v.http.Do(req)
	if err != nil {
		return nil, slipstream.Hint(fmt.Errorf("fetch: %w", err), "is the address right and the server running?")
	}
	if res.StatusCode != http.StatusOK {
		err = fmt.Errorf("fetch %s: %s", url, res.Status)
		if res.StatusCode == http.StatusNotFound {
			err = fmt.Errorf("fetch %s: %w", url, slipstream.ErrNotFound)
		}
		return nil, errors.Join(err, res.Body.Close())
	}
	return res.Body, nil
}

// get fetches a document; one byte more than limit is read, for the size check to refuse.
func (v *verifier) get(ctx context.Context, url string, limit int64) ([]byte, error) {
	body, err := v.open(ctx, url)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	raw, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", url, err)
	}
	return raw, nil
}
