package device

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/slipstream-ota/slipstream/internal/atomicfile"
)

// pending is a download that is not whole yet. With a path, what comes is written down as it comes, so that a process that
// dies leaves it to the next one.
type pending struct {
	path string
	of   promise
	have []byte
	file *os.File // open once something was written
}

// promise is what a download is of. The server's tag makes sure that what comes later belongs to what came before.
type promise struct {
	ETag string `json:"etag"`
	MD5  string `json:"md5"`
	Size int64  `json:"size"` // bytes, 0 = not known
}

const aboutEnd = ".json"

// openPending takes up what an earlier run kept of the patch that is promised now. What it kept of another one goes.
func openPending(path string, a Answer) *pending {
	p := &pending{path: path, of: promise{MD5: a.MD5, Size: a.Size}}
	if path == "" {
		return p
	}
	var was promise
	raw, err := os.ReadFile(path + aboutEnd)
	if err == nil {
		err = json.Unmarshal(raw, &was)
	}
	info, serr := os.Lstat(path)
	whole := serr == nil && info.Mode().IsRegular() && info.Size() <= MaxPatch && (a.Size == 0 || info.Size() <= a.Size)
	if err != nil || !whole || was.ETag == "" || was.MD5 != a.MD5 || was.Size != a.Size {
		p.remove()
		return p
	}
	if p.have, err = os.ReadFile(path); err != nil {
		p.have = nil
		p.remove()
		return p
	}
	p.of = was
	return p
}

// restart begins the download anew, of what the server calls etag.
func (p *pending) restart(etag string) {
	p.remove()
	p.have, p.of.ETag = p.have[:0], etag
	if p.path == "" || etag == "" {
		return
	}
	raw, err := json.Marshal(p.of)
	if err == nil {
		err = atomicfile.Write(p.path+aboutEnd, raw, 0o600)
	}
	if err == nil {
		p.file, err = os.OpenFile(p.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	}
	if err != nil {
		p.keepNothing()
	}
}

// Write takes what came. A disk that is full ends the keeping, not the download.
func (p *pending) Write(b []byte) (int, error) {
	p.have = append(p.have, b...)
	if p.path == "" || p.of.ETag == "" {
		return len(b), nil
	}
	var err error
	if p.file == nil {
		p.file, err = os.OpenFile(p.path, os.O_WRONLY|os.O_APPEND, 0)
	}
	if err == nil {
		_, err = p.file.Write(b)
	}
	if err != nil {
		p.keepNothing()
	}
	return len(b), nil
}

func (p *pending) keepNothing() {
	p.remove()
	p.path = ""
}

// close leaves what is kept to a later run.
func (p *pending) close() {
	if p.file != nil {
		_ = p.file.Close() // what is missing of it comes again
		p.file = nil
	}
}

// remove takes away what is kept.
func (p *pending) remove() {
	p.close()
	if p.path != "" {
		_, _ = os.Remove(p.path), os.Remove(p.path+aboutEnd) // not there, or found out again by the next run
	}
}

// whole downloads the patch, going on where an earlier run broke off, and checks it. If what was kept turns out not to be
// its beginning, the patch is downloaded once more from the start.
func (d *Device) whole(ctx context.Context, u *Update) error {
	p := openPending(d.Partial, u.Answer)
	defer p.close()
	for {
		u.Resumed = int64(len(p.have))
		manifest, err := d.download(ctx, u.Answer.URL, p, u, d.renew(u.Answer))
		if err != nil {
			return err
		}
		u.Patch = p.have
		err = d.verify(u, manifest)
		p.remove()
		if err == nil || u.Resumed == 0 || ctx.Err() != nil {
			return err
		}
		p.have, p.of.ETag = nil, ""
	}
}

// renew asks for another link to the patch that was promised.
func (d *Device) renew(promised Answer) func(ctx context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		a, err := d.Check(ctx)
		if err == nil && (!a.Update || a.MD5 != promised.MD5) {
			err = errors.New("the service offers another patch meanwhile")
		}
		return a.URL, err
	}
}

// download follows a link, and goes on where it broke off, as long as each try brings more. When the link is over
// meanwhile, renew, if there is one, gives the next. It gives the signed manifest that came along.
func (d *Device) download(ctx context.Context, link string, p *pending, u *Update, renew func(ctx context.Context) (string, error)) (string, error) {
	to, err := d.resolve(link)
	if err != nil {
		return "", err
	}
	if p.of.Size > 0 && int64(len(p.have)) == p.of.Size {
		return d.manifest(ctx, link) // every byte was kept
	}
	idle := 0
	for range requests {
		before := len(p.have)
		manifest, more, err := d.once(ctx, to, p, u)
		if errors.Is(err, errLink) && renew != nil {
			if link, err = renew(ctx); err == nil {
				to, err = d.resolve(link)
			}
			if err != nil {
				return "", fmt.Errorf("ask for another link: %w", err)
			}
			renew = nil
			continue
		}
		if idle++; len(p.have) > before {
			idle = 0
		}
		if err == nil || !more || ctx.Err() != nil || idle == tries {
			return manifest, err
		}
	}
	return "", fmt.Errorf("download: it broke off %d times", requests)
}

// errLink says that a link leads nowhere any more.
var errLink = errors.New("the link is over")

var errTooLarge = errors.New("the patch is larger than allowed")

// once makes one request; more says that it is worth another.
func (d *Device) once(ctx context.Context, to string, p *pending, u *Update) (manifest string, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to, nil)
	if err != nil {
		return "", false, fmt.Errorf("download: %w", err)
	}
	if len(p.have) > 0 && p.of.ETag != "" {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", len(p.have)))
		req.Header.Set("If-Range", p.of.ETag)
	}
	res, err := d.client().Do(req)
	if err != nil {
		return "", true, fmt.Errorf("download: %w", err)
	}
	defer res.Body.Close() // only read from
	manifest = res.Header.Get("X-Slipstream-Manifest")
	switch {
	case res.StatusCode == http.StatusOK:
		u.Resumed = 0
		p.restart(res.Header.Get("Etag"))
	case res.StatusCode == http.StatusPartialContent && strings.HasPrefix(res.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", len(p.have))):
	default:
		text, _ := io.ReadAll(io.LimitReader(res.Body, 200))
		err := fmt.Errorf("download: the service answered %d %s", res.StatusCode, text)
		switch res.StatusCode {
		case http.StatusForbidden, http.StatusNotFound:
			err = fmt.Errorf("%w: %w", errLink, err)
		case http.StatusRequestedRangeNotSatisfiable: // more was kept than there is
			u.Resumed = 0
			p.restart("")
			return manifest, true, err
		}
		return manifest, false, err
	}
	n, err := io.Copy(p, io.LimitReader(res.Body, MaxPatch+1-int64(len(p.have))))
	u.Bytes += n
	if len(p.have) > MaxPatch {
		p.remove()
		return "", false, errTooLarge
	}
	if err != nil {
		return manifest, true, fmt.Errorf("download: %w", err)
	}
	return manifest, false, nil
}
