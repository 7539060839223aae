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
	// What was damaged under one codec's name is not asked for under another's.
	from = slices.CompactFunc(from, func(a, b slipstream.Container) bool { return a.SHA256 == b.SHA256 })
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
	spend := w.spender(path, count)
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

// spender counts bytes as they come. A server that begins anew each time, or gives wrong bytes, must not make a device
// download without end.
func (w *wanted) spender(path string, count func(int)) func(int) error {
	return func(n int) error {
		count(n)
		if w.bytes += int64(n); w.bytes > w.budget {
			return slipstream.Refuse(slipstream.ReasonTooLarge, path, "%d bytes came for a release of %d", w.bytes, w.manifest.Size())
		}
		return nil
	}
}

func (c *Client) fillOnce(ctx context.Context, path, part string, sum slipstream.Digest, size int64, spend func(int) error) error {
	return c.missing(ctx, call{path: path}, part, sum, size, func(body io.Reader, have int64) error {
		return c.pour(body, part, have, size, spend)
	})
}

// missing asks for what is missing of part. use is told how many bytes of it the body goes on behind: none when the server
// begins anew.
func (c *Client) missing(ctx context.Context, ask call, part string, sum slipstream.Digest, size int64, use func(body io.Reader, have int64) error) error {
	var have int64
	ask.slow, ask.accept = true, []int{http.StatusOK, http.StatusPartialContent}
	ask.header = func() http.Header {
		h := http.Header{}
		if have = c.partSize(part, size); have > 0 {
			h.Set("Range", fmt.Sprintf("bytes=%d-", have))
			h.Set("If-Range", `"`+string(sum)+`"`)
		}
		return h
	}
	return c.net.do(ctx, ask, func(r *http.Response) error {
		if r.StatusCode == http.StatusOK {
			return use(r.Body, 0)
		} else if !strings.HasPrefix(r.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", have)) {
			return slipstream.Refuse(slipstream.ReasonContainerInvalid, ask.path, "the answer is another range: %.80q", r.Header.Get("Content-Range"))
		}
		return use(r.Body, have)
	})
}

// pour writes a body behind the have bytes of part, at most up to size. One byte more is refused.
func (c *Client) pour(body io.Reader, part string, have, size int64, spend func(int) error) (err error) {
	f, err := c.beginAt(part, have)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	in := &incoming{disk: c.disk, part: part, body: body, w: f, size: size, left: size - have, spend: spend}
	for buf := make([]byte, 64<<10); err == nil; {
		_, err = in.Read(buf)
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// beginAt opens part for writing behind its have bytes, or anew when there are none.
func (c *Client) beginAt(part string, have int64) (File, error) {
	open := c.disk.Append
	if have == 0 {
		open = func(name string) (File, error) { return c.disk.Create(name, 0o600) }
	}
	f, err := open(part)
	if err != nil {
		return nil, storage("open partial download", err)
	}
	return f, nil
}

var errThere = errors.New("all of it is there")

// asItComes builds the tree from a container that is still coming. It asks one server, once. What came is kept in part, as
// an ordinary download keeps it, so that whatever ends this attempt, the next one goes on from there. Nothing of the
// container is trusted on the way: a tree becomes visible only when all its files are those that were signed.
func (c *Client) asItComes(ctx context.Context, w *wanted, base *tree, k slipstream.Container, part string) error {
	c.parts[k.SHA256] = true
	if c.partSize(part, k.Size) == k.Size {
		return errThere
	}
	watched, count, stop := c.net.pace(ctx, k.Size)
	defer stop()
	spend := w.spender(containerPath(k), count)
	var failed error // of the server that answered; the others are not asked then
	return c.missing(watched, call{path: containerPath(k), once: true}, part, k.SHA256, k.Size, func(body io.Reader, have int64) error {
		if failed == nil {
			failed = c.build(w, base, func(b *builder) (err error) {
				in, err := c.receive(body, part, have, k.Size, spend)
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, in.Close()) }()
				return c.apply(ctx, in, w, base, k, b)
			})
		}
		return failed
	})
}

// incoming reads a download of which the first bytes are there: those from part, the others as they come, and these are
// written behind part before they are given on.
type incoming struct {
	disk   disk
	part   string
	before File // nil when all of it has been read
	body   io.Reader
	w      File
	size   int64
	left   int64 // bytes that are still to come
	spend  func(int) error
	err    error
}

// receive begins behind the have bytes of part that are there.
func (c *Client) receive(body io.Reader, part string, have, size int64, spend func(int) error) (*incoming, error) {
	in := &incoming{disk: c.disk, part: part, body: body, size: size, left: size - have, spend: spend}
	var err error
	if have > 0 {
		if in.before, err = c.disk.Open(part); err != nil {
			return nil, storage("open partial download", err)
		}
	}
	if in.w, err = c.beginAt(part, have); err != nil {
		return nil, errors.Join(err, in.Close())
	}
	return in, nil
}

func (in *incoming) Read(p []byte) (int, error) {
	if in.err != nil || len(p) == 0 {
		return 0, in.err
	}
	if in.before != nil {
		n, err := in.before.Read(p)
		if n > 0 || err != nil && !errors.Is(err, io.EOF) {
			return n, err
		}
		f := in.before
		in.before = nil
		if err := f.Close(); err != nil {
			return 0, storage("read partial download", err)
		}
	}
	n, err := in.body.Read(p[:min(int64(len(p)), in.left+1)])
	if n, in.err = in.keep(p[:n], err); n > 0 {
		return n, nil
	}
	return 0, in.err
}

// keep writes what came behind part, and says how much of it counts and how it goes on.
func (in *incoming) keep(b []byte, err error) (int, error) {
	if err := in.spend(len(b)); err != nil {
		return 0, err
	}
	if int64(len(b)) > in.left {
		return 0, errors.Join(slipstream.Refuse(slipstream.ReasonTooLarge, in.part, "more than %d bytes", in.size), in.disk.Remove(in.part))
	}
	in.left -= int64(len(b))
	if _, err := in.w.Write(b); err != nil {
		return 0, storage("write partial download", err)
	}
	switch {
	case errors.Is(err, io.EOF) && in.left > 0:
		err = slipstream.Refuse(slipstream.ReasonNetwork, in.part, "%d bytes short", in.left)
	case err != nil && !errors.Is(err, io.EOF):
		err = &slipstream.Refusal{Reason: slipstream.ReasonNetwork, What: in.part, Err: err}
	}
	return len(b), err
}

// Close closes what is open; the body is not ours.
func (in *incoming) Close() error {
	var errs []error
	for _, f := range []File{in.before, in.w} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	in.before, in.w = nil, nil
	return errors.Join(errs...)
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
