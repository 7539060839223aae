package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish"
)

const (
	wholeUpload = 8 << 20  // blobs up to this size go in one PUT
	chunkUpload = 16 << 20 // larger ones in parts of this size, continued where the server has them
)

func appPath(app string, parts ...string) string {
	p := "/apps/" + url.PathEscape(app)
	for _, s := range parts {
		p += "/" + url.PathEscape(s)
	}
	return p
}

// set adds the non-empty ones of name, value pairs to a query.
func set(pairs ...string) url.Values {
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return q
}

// Standing implements publish.Server.
func (c *Client) Standing(ctx context.Context, t publish.Target) (publish.Standing, error) {
	var s publish.Standing
	q := set("package", t.Package, "platform", t.Platform, "channel", t.Channel, "range", t.Runtime.Range,
		"fingerprint", t.Runtime.Fingerprint, "version", t.Version)
	err := c.do(ctx, call{method: http.MethodGet, path: appPath(t.App, "standing"), query: q, answer: &s})
	return s, err
}

// Releases implements publish.Server.
func (c *Client) Releases(ctx context.Context, q publish.ReleaseQuery) ([]publish.ReleaseInfo, error) {
	var out ReleaseList
	limit := ""
	if q.Limit > 0 {
		limit = strconv.Itoa(q.Limit)
	}
	err := c.do(ctx, call{method: http.MethodGet, path: appPath(q.App, "releases"), answer: &out,
		query: set("package", q.Package, "platform", q.Platform, "channel", q.Channel, "limit", limit)})
	return out.Releases, err
}

// Release implements publish.Server.
func (c *Client) Release(ctx context.Context, app, ref string) (publish.Release, error) {
	var r publish.Release
	err := c.do(ctx, call{method: http.MethodGet, path: appPath(app, "releases", ref), answer: &r})
	return r, err
}

// Making tells what containers a release has, and how far the others are.
func (c *Client) Making(ctx context.Context, app, ref string) (publish.Making, error) {
	return send[publish.Making](ctx, c, http.MethodGet, appPath(app, "releases", ref, "containers"), nil)
}

// Missing implements publish.Server.
func (c *Client) Missing(ctx context.Context, app string, digests []slipstream.Digest) ([]slipstream.Digest, error) {
	var missing []slipstream.Digest
	for len(digests) > 0 {
		n := min(len(digests), MaxDigests)
		var out DigestList
		err := c.do(ctx, call{method: http.MethodPost, path: appPath(app, "blobs", "missing"), body: DigestList{Digests: digests[:n]},
			answer: &out, repeatable: true})
		if err != nil {
			return nil, err
		}
		missing = append(missing, out.Digests...)
		digests = digests[n:]
	}
	return missing, nil
}

// Commit implements publish.Server.
func (c *Client) Commit(ctx context.Context, req publish.CommitRequest) (publish.CommitResult, error) {
	var out publish.CommitResult
	err := c.do(ctx, call{method: http.MethodPost, path: appPath(req.App, "releases"), body: req, answer: &out, repeatable: true})
	return out, err
}

// Resign implements publish.Server.
func (c *Client) Resign(ctx context.Context, app string, digest slipstream.Digest, envelope []byte) error {
	return c.do(ctx, call{method: http.MethodPut, path: appPath(app, "releases", string(digest), "envelope"), body: Envelope{Envelope: envelope}})
}

// DeleteRelease removes a release that no channel and no fallback edge of a live release names.
func (c *Client) DeleteRelease(ctx context.Context, app string, digest slipstream.Digest) error {
	return c.do(ctx, call{method: http.MethodDelete, path: appPath(app, "releases", string(digest))})
}

// PutBlob implements publish.Server.
func (c *Client) PutBlob(ctx context.Context, app string, b publish.Blob) error {
	if b.Size <= wholeUpload {
		return c.retry(ctx, true, func() error {
			return c.upload(ctx, http.MethodPut, app, b, 0, b.Size)
		})
	}
	moved, fresh := 0, false
	for {
		offset, stored, err := c.uploaded(ctx, app, b)
		if err != nil || stored {
			return err
		}
		err = c.uploadFrom(ctx, app, b, offset)
		var remote *ProblemError
		if errors.As(err, &remote) && remote.Code == CodeOffset && moved < attempts {
			moved++ // another upload of the same blob moved on, or the server lost its part: ask again where it stands
			continue
		}
		if offset > 0 && !fresh && slipstream.ReasonOf(err, "") == slipstream.ReasonFileMismatch {
			fresh = true // what was there before was not ours, and is thrown away now
			continue
		}
		return err
	}
}

// uploaded says how many bytes of the blob the server has, and whether they are stored for good.
func (c *Client) uploaded(ctx context.Context, app string, b publish.Blob) (offset int64, stored bool, err error) {
	err = c.retry(ctx, true, func() error {
		req, err := c.request(ctx, http.MethodHead, appPath(app, "blobs", string(b.Digest)), nil, nil)
		if err != nil {
			return err
		}
		req.Header.Set("Upload-Length", strconv.FormatInt(b.Size, 10))
		res, err := c.send(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		offset, err = strconv.ParseInt(res.Header.Get("Upload-Offset"), 10, 64)
		if err != nil {
			return fmt.Errorf("server answered no upload offset: %w", err)
		}
		stored = res.Header.Get(headerStored) == "true"
		return nil
	})
	return offset, stored, err
}

func (c *Client) uploadFrom(ctx context.Context, app string, b publish.Blob, offset int64) error {
	for {
		// Everything may be there and not yet stored: then an empty part asks for that.
		n := max(0, min(chunkUpload, b.Size-offset))
		from := min(offset, b.Size)
		err := c.retry(ctx, true, func() error { return c.upload(ctx, http.MethodPatch, app, b, from, n) })
		if err != nil {
			return err
		}
		if offset += n; offset >= b.Size {
			return nil
		}
	}
}

// upload sends n bytes of b from offset on.
func (c *Client) upload(ctx context.Context, method, app string, b publish.Blob, offset, n int64) error {
	content, err := b.Open(offset)
	if err != nil {
		return fmt.Errorf("open blob %s: %w", b.Digest.Short(), err)
	}
	defer content.Close()
	var body io.Reader = io.LimitReader(content, n)
	if n == 0 {
		body = http.NoBody
	}
	req, err := c.request(ctx, method, appPath(app, "blobs", string(b.Digest)), nil, body)
	if err != nil {
		return err
	}
	req.ContentLength = n
	req.Header.Set("Content-Type", "application/octet-stream")
	if method == http.MethodPatch {
		req.Header.Set("Upload-Offset", strconv.FormatInt(offset, 10))
		req.Header.Set("Upload-Length", strconv.FormatInt(b.Size, 10))
	}
	res, err := c.send(req)
	if err != nil {
		return err
	}
	return res.Body.Close()
}
