package client

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish/delta"
	"github.com/slipstream-ota/slipstream/sign"
)

const (
	maxContainerList = 256 << 10
	blobSlack        = 64 << 10 // bytes above twice the signed sizes that single blobs may bring
)

// Offer is a release that this device is to take. Leaving says that what runs must be left for it.
type Offer struct {
	Package string
	Release slipstream.ReleaseRef
	Runtime *slipstream.Runtime // the rollout's; nil when a decision named the release
	Rollout string
	Retry   int
	Apply   slipstream.Apply
	Leaving bool
	Reason  slipstream.Reason
}

// wanted is an offer with its verified manifest.
type wanted struct {
	offer    Offer
	manifest *slipstream.Manifest
	envelope []byte
	bytes    int64  // that came over the network
	budget   int64  // how many may
	codec    string // "" when the tree was there already
}

func (w *wanted) digest() slipstream.Digest { return w.offer.Release.Digest }

// manifest gets and verifies the manifest of an offer: the one on disk when it is still good, else the servers'.
func (c *Client) manifest(ctx context.Context, o Offer) (*wanted, error) {
	c.mu.Lock()
	trust := c.trust
	c.mu.Unlock()
	expect := sign.ExpectManifest{App: c.cfg.App, Package: o.Package, Platform: c.cfg.Platform, Release: o.Release, Runtime: o.Runtime, Fits: c.fits}
	if raw, err := c.disk.read(c.disk.manifestFile(o.Release.Digest), slipstream.MaxManifestBytes); err == nil {
		if m, err := trust.AcceptManifest(raw, expect); err == nil {
			return &wanted{offer: o, manifest: m, envelope: raw}, nil
		}
	}
	var m *slipstream.Manifest
	var raw []byte
	walked := false
	for {
		err := c.net.do(ctx, call{path: "/v1/manifests/" + string(o.Release.Digest)}, func(r *http.Response) error {
			var err error
			if raw, err = readCapped(r.Body, slipstream.MaxManifestBytes, "manifest"); err != nil {
				return err
			}
			m, err = trust.AcceptManifest(raw, expect)
			return err
		})
		if err == nil {
			return &wanted{offer: o, manifest: m, envelope: raw}, nil
		}
		if walked || slipstream.ReasonOf(err, "") != slipstream.ReasonSignatureInvalid {
			return nil, fmt.Errorf("fetch manifest of %s %s: %w", o.Package, o.Release.Version, err)
		}
		walked = true
		if werr := c.walkRoots(ctx); werr != nil {
			return nil, errors.Join(err, werr)
		}
		c.mu.Lock()
		trust = c.trust
		c.mu.Unlock()
	}
}

// obtain puts the tree of w under releases: it is there already, or comes by the smallest container that can be
// applied, or file by file. All roads end in the same hashes.
func (c *Client) obtain(ctx context.Context, w *wanted) error {
	if c.inLine(w) || c.intact(w) {
		return nil
	}
	base := c.base(w.offer.Package)
	list, err := c.containers(ctx, w, base)
	if err != nil {
		c.log.Debug("no list of containers", "error", err)
	}
	var errs []error
	w.budget = 2 * (w.manifest.Size() + slipstream.ContainerOverhead)
	for _, k := range c.candidates(w, base, list) {
		err := c.byContainer(ctx, w, base, k)
		if err == nil {
			return nil
		}
		if hopeless(err) || ctx.Err() != nil {
			return err
		}
		errs = append(errs, err)
	}
	w.budget = w.bytes + 2*w.manifest.Size() + blobSlack
	if err := c.byFiles(ctx, w); err != nil {
		return errors.Join(append(errs, err)...)
	}
	return nil
}

// inLine reports whether w is staged already: it was verified then.
func (c *Client) inLine(w *wanted) bool {
	c.mu.Lock()
	staged, waiting := c.body.Trial.StagedFor(w.offer.Package)
	c.mu.Unlock()
	return waiting && staged.Digest == w.digest() && c.disk.exists(c.disk.tree(w.digest()))
}

// hopeless errors are those that another way of fetching would meet as well.
func hopeless(err error) bool {
	reason := classify(err)
	return reason == slipstream.ReasonDiskFull || reason == slipstream.ReasonReadOnly || reason == slipstream.ReasonLocked
}

// containers asks for the ways to get a release, and says where from, so that the server makes one when there is none.
// The list is a hint that nobody signed.
func (c *Client) containers(ctx context.Context, w *wanted, base *tree) ([]slipstream.Container, error) {
	path := "/v1/releases/" + string(w.digest()) + "/containers"
	if base != nil {
		path += "?from=" + string(base.digest)
	}
	var list []slipstream.Container
	err := c.net.document(ctx, http.MethodGet, path, nil, maxContainerList, func(raw []byte) error {
		list = nil
		return decodeAnswer(raw, &list, "list of containers")
	})
	return list, err
}

// maxCandidates bounds how many containers from what runs are tried before the full one.
const maxCandidates = 2

// candidates are the containers that can be applied here: from what runs, smallest first, then the full one. A device
// that went through all of them takes the files one by one.
func (c *Client) candidates(w *wanted, base *tree, list []slipstream.Container) []slipstream.Container {
	limit := w.manifest.Size() + slipstream.ContainerOverhead
	random := base.random()
	var from, full []slipstream.Container
	for _, k := range list {
		if k.Size <= 0 || k.Size > limit || !k.SHA256.Valid() {
			continue
		}
		tables, patched := delta.MemoryOf(k.Codec)
		switch {
		case k.From == "" && k.Codec == delta.CodecFull:
			full = append(full, k)
		case base == nil || k.From != base.digest:
		case k.Codec == delta.CodecChanged, patched && random && tables <= c.cfg.Limits.Memory:
			from = append(from, k)
		}
	}
	bySize := func(a, b slipstream.Container) int { return cmp.Compare(a.Size, b.Size) }
	slices.SortStableFunc(from, bySize)
	slices.SortStableFunc(full, bySize)
	from = from[:min(len(from), maxCandidates)]
	if len(full) == 0 {
		return from
	}
	// A container that brings more than the full one is no help.
	from = slices.DeleteFunc(from, func(k slipstream.Container) bool { return k.Size >= full[0].Size })
	return append(from, full[0])
}

// download gets an immutable object into fetch/<sha256>.part, going on where an earlier attempt stopped, and gives the
// file's name once its bytes are those that sum names.
func (c *Client) download(ctx context.Context, w *wanted, path string, sum slipstream.Digest, size int64) (string, error) {
	c.parts[sum] = true
	part := c.disk.path("fetch", string(sum)+".part")
	for attempt := 0; ; attempt++ {
		if err := c.fill(ctx, w, path, part, sum, size); err != nil {
			return "", fmt.Errorf("download %s: %w", path, err)
		}
		err := c.checkPart(part, sum, size)
		if err == nil {
			return part, nil
		}
		c.net.demote(c.net.answered()) // another server may have the right bytes
		if rerr := c.disk.Remove(part); rerr != nil || attempt >= max(1, len(c.net.servers)-1) {
			return "", errors.Join(err, rerr)
		}
	}
}

// fill downloads until part holds size bytes. An attempt that brought something does not count as a failure.
func (c *Client) fill(ctx context.Context, w *wanted, path, part string, sum slipstream.Digest, size int64) error {
	watched, count, stop := c.net.pace(ctx, size)
	defer stop()
	// A server that begins anew each time, or gives wrong bytes, must not make a device download without end.
	spend := func(n int) error {
		count(n)
		if w.bytes += int64(n); w.bytes > w.budget {
			return slipstream.Refuse(slipstream.ReasonTooLarge, path, "%d bytes came for a release of %d", w.bytes, w.manifest.Size())
		}
		return nil
	}
	for {
		before := c.partSize(part, size)
		if before == size {
			return nil
		}
		err := c.fillOnce(watched, path, part, sum, size, spend)
		if err != nil && (watched.Err() != nil || !retryable(err) || c.partSize(part, size) <= before) {
			return err
		}
	}
}

func (c *Client) fillOnce(ctx context.Context, path, part string, sum slipstream.Digest, size int64, spend func(int) error) error {
	var have int64
	header := func() http.Header {
		h := http.Header{}
		if have = c.partSize(part, size); have > 0 {
			h.Set("Range", fmt.Sprintf("bytes=%d-", have))
			h.Set("If-Range", `"`+string(sum)+`"`)
		}
		return h
	}
	accept := []int{http.StatusOK, http.StatusPartialContent}
	return c.net.do(ctx, call{path: path, slow: true, header: header, accept: accept}, func(r *http.Response) error {
		if r.StatusCode == http.StatusOK {
			have = 0
		} else if !strings.HasPrefix(r.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", have)) {
			return slipstream.Refuse(slipstream.ReasonContainerInvalid, path, "the answer is another range: %.80q", r.Header.Get("Content-Range"))
		}
		return c.pour(r.Body, part, have, size, spend)
	})
}

// pour writes a body behind the have bytes of part, at most up to size. One byte more is refused.
func (c *Client) pour(body io.Reader, part string, have, size int64, spend func(int) error) (err error) {
	open := c.disk.Append
	if have == 0 {
		open = func(name string) (File, error) { return c.disk.Create(name, 0o600) }
	}
	f, err := open(part)
	if err != nil {
		return storage("open partial download", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buf := make([]byte, 64<<10)
	for left := size - have; ; {
		n, rerr := body.Read(buf[:min(int64(len(buf)), left+1)])
		if err := spend(n); err != nil {
			return err
		}
		if int64(n) > left {
			return errors.Join(slipstream.Refuse(slipstream.ReasonTooLarge, part, "more than %d bytes", size), c.disk.Remove(part))
		}
		left -= int64(n)
		if _, err := f.Write(buf[:n]); err != nil {
			return storage("write partial download", err)
		}
		switch {
		case errors.Is(rerr, io.EOF) && left > 0:
			return slipstream.Refuse(slipstream.ReasonNetwork, part, "%d bytes short", left)
		case errors.Is(rerr, io.EOF):
			return nil
		case rerr != nil:
			return &slipstream.Refusal{Reason: slipstream.ReasonNetwork, What: part, Err: rerr}
		}
	}
}

// partSize is how much of a download is there; more than all of it is as good as nothing.
func (c *Client) partSize(part string, size int64) int64 {
	f, err := c.disk.Open(part)
	if err != nil {
		return 0
	}
	n, err := f.Size()
	if errors.Join(err, f.Close()) != nil || n > size {
		return 0
	}
	return n
}

func (c *Client) checkPart(part string, sum slipstream.Digest, size int64) error {
	f, err := c.disk.Open(part)
	if err != nil {
		return fmt.Errorf("open download: %w", err)
	}
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(f, size+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("read download: %w", err)
	}
	if got := slipstream.DigestOf([32]byte(h.Sum(nil))); got != sum || n != size {
		return slipstream.Refuse(slipstream.ReasonFileMismatch, "download "+sum.Short(), "its hash is %s", got.Short())
	}
	return nil
}
