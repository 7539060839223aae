package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/sign"
)

// uploadWorkers is how many blobs go up side by side.
const uploadWorkers = 4

// maxTries bounds how often a publisher who lost the race for a seq signs again.
const maxTries = 8

// Result is what a publish did.
type Result struct {
	CommitResult
	Version       string `json:"version"`
	UpToDate      bool   `json:"upToDate,omitempty"` // nothing had to be done
	Uploaded      int    `json:"uploaded"`           // blobs
	UploadedBytes int64  `json:"uploadedBytes"`
	Plan          *Plan  `json:"-"` // as committed, after a lost race not the one that Push was given
	Envelope      []byte `json:"-"`
}

// Push signs the plan, uploads what the server lacks and commits. It may be repeated after any failure or kill: blobs
// that arrived are not sent again. When another publisher was faster it reads, signs and commits again, so that both
// get a seq; if that one took the version with other content, the error is ErrVersionTaken. progress may be nil.
func Push(ctx context.Context, server Server, p *Plan, signers []sign.Signer, clock func() time.Time, progress Progress) (Result, error) {
	var sent sending
	for try := 1; ; try++ {
		res, err := pushOnce(ctx, server, p, signers, &sent, progress)
		again := errors.Is(err, ErrSeqTaken) || errors.Is(err, ErrVersionTaken)
		if err == nil || !again || try == maxTries || p.Existing != nil {
			res.Uploaded, res.UploadedBytes = sent.blobs, sent.bytes
			return res, err
		}
		if p, err = Prepare(ctx, server, p.tree, p.request, clock()); err != nil {
			return Result{}, err
		}
	}
}

func pushOnce(ctx context.Context, server Server, p *Plan, signers []sign.Signer, sent *sending, progress Progress) (Result, error) {
	res := Result{Version: p.Manifest.Version, Plan: p}
	if p.Existing != nil {
		res.Digest, res.Seq, res.Existing, res.UpToDate = p.Existing.Digest, p.Manifest.Seq, true, p.UpToDate
		res.Envelope = p.Existing.Envelope
		if p.UpToDate {
			return res, nil
		}
	} else {
		missing, err := p.CheckSigners(signers)
		if err != nil {
			return res, err
		}
		if missing > 0 {
			return res, slipstream.Hint(slipstream.Refuse(slipstream.ReasonSignatureInvalid, "manifest", "%d release keys must sign, %d are missing", p.Needed(), missing),
				"give --key once per key, or write the manifest with --partial-out FILE and let others run `slipstream release sign FILE`")
		}
		e, err := p.Seal(signers)
		if err != nil {
			return res, err
		}
		res.Envelope, res.Digest, res.Seq = e.Encode(), sign.DigestOf(e.Payload), p.Manifest.Seq
	}
	c, err := deliverRelease(ctx, server, p.request.commit(res.Envelope), p.tree, p.Manifest.Files, sent, progress)
	if err != nil {
		return res, err
	}
	return res, res.committed(c)
}

// committed takes over what the server says it did, but for what was signed: that is not the server's to say.
func (r *Result) committed(c CommitResult) error {
	digest, seq := r.Digest, r.Seq
	r.CommitResult = c
	r.Digest, r.Seq = digest, seq
	if c.Digest != digest {
		return slipstream.Refuse(slipstream.ReasonManifestMismatch, "answer", "the server says that it committed %s, signed was %s", c.Digest.Short(), digest.Short())
	}
	return nil
}

func (r *Request) commit(envelope []byte) CommitRequest {
	return CommitRequest{App: r.App, Manifest: envelope, Notes: r.Notes, Embedded: r.Embedded, Rollout: r.Rollout}
}

// PushSealed commits a manifest that others signed, as the newest root asks: no signature is added, no seq renewed. tree
// may be nil if all blobs are on the server already.
func PushSealed(ctx context.Context, server Server, req CommitRequest, keys Keyring, tree *Tree, progress Progress) (Result, error) {
	r := Release{Envelope: req.Manifest}
	e, err := sign.ParseEnvelope(req.Manifest, sign.TypeManifest, slipstream.MaxManifestBytes)
	if err != nil {
		return Result{}, err
	}
	r.Digest = sign.DigestOf(e.Payload)
	m, err := r.Manifest()
	if err != nil {
		return Result{}, err
	}
	if keys, err = keys.Follow(ctx, server, m.App); err != nil {
		return Result{}, err
	}
	if _, _, err := keys.Root().Manifest(req.Manifest); err != nil {
		return Result{}, slipstream.Hint(err, "let another key holder run `slipstream release sign FILE`")
	}
	if tree != nil && !slices.Equal(tree.Files, m.Files) {
		d := Compare(m, &slipstream.Manifest{Files: tree.Files})
		return Result{}, slipstream.Refuse(slipstream.ReasonFileMismatch, "tree", "%d files differ from those that were signed", len(d.Changes))
	}
	var sent sending
	c, err := deliverRelease(ctx, server, req, tree, m.Files, &sent, progress)
	if errors.Is(err, ErrSeqTaken) {
		err = slipstream.Hint(err, "another release was published since: make the manifest anew with --partial-out and have it signed again")
	}
	res := Result{Version: m.Version, Uploaded: sent.blobs, UploadedBytes: sent.bytes, Envelope: req.Manifest}
	res.Digest, res.Seq = r.Digest, m.Seq
	if err != nil {
		return res, err
	}
	return res, res.committed(c)
}

// deliverRelease uploads and commits. When a blob vanished between the two (garbage collection), it does so once more.
func deliverRelease(ctx context.Context, server Server, req CommitRequest, tree *Tree, files []slipstream.File, sent *sending, progress Progress) (CommitResult, error) {
	for again := false; ; again = true {
		n, err := upload(ctx, server, req.App, tree, files, sent, progress)
		if err != nil {
			return CommitResult{}, err
		}
		c, err := server.Commit(ctx, req)
		if err == nil || again || n == 0 || !errors.Is(err, slipstream.ErrNotFound) {
			if err != nil {
				err = fmt.Errorf("commit release: %w", err)
			}
			return c, err
		}
	}
}

// Upload sends the contents of a plan without committing it, for a manifest that waits for more signatures.
func Upload(ctx context.Context, server Server, p *Plan, progress Progress) (blobs int, err error) {
	var sent sending
	return upload(ctx, server, p.request.App, p.tree, p.Manifest.Files, &sent, progress)
}

// sending counts what was uploaded.
type sending struct {
	blobs int
	bytes int64
}

// upload sends the blobs that the server lacks, largest first, and gives their number.
func upload(ctx context.Context, server Server, app string, tree *Tree, files []slipstream.File, sent *sending, progress Progress) (int, error) {
	if progress == nil {
		progress = noProgress{}
	}
	byDigest := make(map[slipstream.Digest]slipstream.File, len(files))
	var digests []slipstream.Digest
	for _, f := range files {
		if _, ok := byDigest[f.SHA256]; !ok {
			byDigest[f.SHA256] = f
			digests = append(digests, f.SHA256)
		}
	}
	missing, err := server.Missing(ctx, app, digests)
	if err != nil {
		return 0, fmt.Errorf("ask what is missing: %w", err)
	}
	var todo []slipstream.File
	var total int64
	for _, d := range missing {
		f, ok := byDigest[d]
		if !ok {
			return 0, fmt.Errorf("server asks for %s, which is not in the release", d.Short())
		}
		todo = append(todo, f)
		total += f.Size
	}
	if len(todo) > 0 && tree == nil {
		return 0, slipstream.Hint(fmt.Errorf("%d of the release's blobs are not on the server: %w", len(todo), slipstream.ErrNotFound),
			"give the path of the tree as well")
	}
	slices.SortStableFunc(todo, func(a, b slipstream.File) int { return cmp.Compare(b.Size, a.Size) })
	progress.Phase("Uploading", total)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(uploadWorkers)
	for _, f := range todo {
		if gctx.Err() != nil {
			break
		}
		g.Go(func() error {
			if err := server.PutBlob(gctx, app, tree.blob(f, progress)); err != nil {
				return fmt.Errorf("upload %s: %w", f.Path, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return 0, err
	}
	sent.blobs += len(todo)
	sent.bytes += total
	return len(todo), ctx.Err()
}

// blob makes a file of the tree uploadable. Progress counts every byte once, also when a part is sent again.
func (t *Tree) blob(f slipstream.File, progress Progress) Blob {
	m := &meter{progress: progress}
	return Blob{Digest: f.SHA256, Size: f.Size, Open: func(offset int64) (io.ReadCloser, error) {
		r, err := t.Content(f.Path, offset)
		if err != nil {
			return nil, err
		}
		m.reach(offset)
		return &metered{ReadCloser: r, at: offset, meter: m}, nil
	}}
}

// meter is the furthest that a blob was read; a blob is read from one goroutine at a time.
type meter struct {
	progress Progress
	furthest int64
}

func (m *meter) reach(at int64) {
	if at > m.furthest {
		m.progress.Add(at - m.furthest)
		m.furthest = at
	}
}

type metered struct {
	io.ReadCloser
	at    int64
	meter *meter
}

func (m *metered) Read(p []byte) (int, error) {
	n, err := m.ReadCloser.Read(p)
	m.at += int64(n)
	m.meter.reach(m.at)
	return n, err
}
