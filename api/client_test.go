package api_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/publish"
	"github.com/slipstream-ota/slipstream/publish/delta"
)

func newApp(name string) api.NewApp { return api.NewApp{Name: name} }

func TestWhatAPublisherNeeds(t *testing.T) {
	w := newWorld(t)
	w.shop()
	c := w.client("publisher")
	target := publish.Target{App: "shop", Package: "main", Platform: "any", Channel: "production", Runtime: slipstream.AnyRuntime(), Version: "1.2.0"}
	before, err := c.Standing(w.ctx, target)
	w.must(err)
	if before.HighestSeq != 0 || before.Current != nil || before.Same != nil || !bytes.Equal(before.Root, w.root) {
		t.Errorf("before: %+v", before)
	}
	one, two := w.publish(1), w.publish(2)
	after, err := c.Standing(w.ctx, target)
	w.must(err)
	if after.HighestSeq != 2 || after.Current.Digest != two.Digest || after.Same.Digest != two.Digest || len(after.Recent) != 2 || after.Recent[1].Digest != one.Digest {
		t.Errorf("after: %+v", after)
	}
	other := target
	other.Runtime = slipstream.Runtime{Range: ">=2"}
	if s, err := c.Standing(w.ctx, other); err != nil || s.Current != nil || s.Same != nil {
		t.Errorf("for another runtime: %+v, %v", s, err)
	}
	if _, err := c.Standing(w.ctx, publish.Target{App: "shop", Package: "main", Platform: "any", Channel: "beta", Runtime: slipstream.AnyRuntime()}); !errors.Is(err, slipstream.ErrNotFound) || slipstream.HintOf(err) == "" {
		t.Errorf("a channel that is not there: %v", err)
	}
	list, err := c.Releases(w.ctx, publish.ReleaseQuery{App: "shop", Channel: "production", Limit: 1})
	if err != nil || len(list) != 1 || list[0].Digest != two.Digest || list[0].Channels[0] != "production" || len(list[0].KeyIDs) != 1 {
		t.Errorf("list %+v, %v", list, err)
	}
	for _, ref := range []string{"main@1.1.0", "1.1.0"} {
		if r, err := c.Release(w.ctx, "shop", ref); err != nil || r.Digest != one.Digest || len(r.Envelope) == 0 {
			t.Errorf("release %s: %+v, %v", ref, r, err)
		}
	}
}

func TestErrorsOfTheServerAreErrorsOfTheDomain(t *testing.T) {
	w := newWorld(t)
	w.shop()
	c := w.client("publisher")
	w.publish(1)
	commit := func(m []byte) error {
		_, err := c.Commit(w.ctx, publish.CommitRequest{App: "shop", Manifest: m})
		return err
	}
	if err := commit(w.manifest(1, func(m *slipstream.Manifest) { m.Version = "2.0.0" })); !errors.Is(err, publish.ErrSeqTaken) || !errors.Is(err, slipstream.ErrConflict) {
		t.Errorf("seq: %v", err)
	}
	if err := commit(w.manifest(2, func(m *slipstream.Manifest) { m.Version = "1.1.0" })); !errors.Is(err, publish.ErrVersionTaken) {
		t.Errorf("version: %v", err)
	}
	missing := w.manifest(2, func(m *slipstream.Manifest) { m.Files[0].SHA256 = slipstream.Digest(strings.Repeat("ab", 32)) })
	if err := commit(missing); !errors.Is(err, slipstream.ErrNotFound) {
		t.Errorf("missing blob: %v", err)
	}
	broken := bytes.Replace(w.manifest(2), []byte(`"sig":"`), []byte(`"sig":"AAAA`), 1)
	var refused *slipstream.Refusal
	if err := commit(broken); !errors.As(err, &refused) {
		t.Errorf("broken signature: %v", err)
	}
	if _, err := c.App(w.ctx, "nope"); !errors.Is(err, slipstream.ErrNotFound) || slipstream.HintOf(err) == "" {
		t.Errorf("not there: %v", err)
	}
	nobody, err := api.NewClient(w.url, "slp_wrong", nil)
	w.must(err)
	if _, err := nobody.Apps(w.ctx); err == nil || !strings.Contains(slipstream.HintOf(err), "login") {
		t.Errorf("no token: %v", err)
	}
}

func TestMissingBlobsAreNamedOnce(t *testing.T) {
	w := newWorld(t)
	c := w.shop()
	have := bytesBlob([]byte("here"))
	w.must(c.PutBlob(w.ctx, "shop", have))
	lack := slipstream.Digest(strings.Repeat("ab", 32))
	got, err := c.Missing(w.ctx, "shop", []slipstream.Digest{lack, have.Digest, lack})
	if err != nil || len(got) != 1 || got[0] != lack {
		t.Errorf("missing %v, %v", got, err)
	}
}

// cutter breaks the n-th request's body off in the middle, and counts the bytes that are sent.
type cutter struct {
	next http.RoundTripper
	cut  atomic.Int64 // requests until the break
	sent atomic.Int64
}

func (c *cutter) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.Body != http.NoBody {
		limit := int64(1 << 40)
		if c.cut.Add(-1) == 0 {
			limit = r.ContentLength / 2
		}
		r = r.Clone(r.Context())
		r.Body = &cutBody{ReadCloser: r.Body, left: limit, sent: &c.sent}
	}
	return c.next.RoundTrip(r)
}

type cutBody struct {
	io.ReadCloser
	left int64
	sent *atomic.Int64
}

func (b *cutBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errors.New("connection lost")
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	b.sent.Add(int64(n))
	return n, err
}

func TestALargeUploadGoesOnWhereItBroke(t *testing.T) {
	w := newWorld(t)
	w.shop()
	content := make([]byte, 40<<20)
	if _, err := rand.Read(content); err != nil {
		t.Fatal(err)
	}
	b := bytesBlob(content)
	transport := &cutter{next: http.DefaultTransport}
	transport.cut.Store(2)
	c, err := api.NewClient(w.url, w.secrets["publisher"], transport)
	w.must(err)
	w.must(c.PutBlob(w.ctx, "shop", b))
	info, err := w.blobs.Stat(w.ctx, b.Digest)
	if err != nil || info.Size != b.Size {
		t.Errorf("stored %+v, %v", info, err)
	}
	if again := transport.sent.Load() - b.Size; again > 24<<20 {
		t.Errorf("%d bytes were sent again", again)
	}
	before := transport.sent.Load()
	w.must(c.PutBlob(w.ctx, "shop", b))
	if transport.sent.Load() != before {
		t.Error("sent what the server has")
	}
}

func TestAnUploadThatIsNotWhatItsNameSaysIsThrownAway(t *testing.T) {
	w := newWorld(t)
	c := w.shop()
	for name, size := range map[string]int{"whole": 100, "in parts": 9 << 20} {
		content := bytes.Repeat([]byte{7}, size)
		b := bytesBlob(content)
		lie := bytesBlob(bytes.Repeat([]byte{8}, size))
		lie.Digest = b.Digest
		if err := c.PutBlob(w.ctx, "shop", lie); slipstream.ReasonOf(err, "") != slipstream.ReasonFileMismatch {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := w.blobs.Stat(w.ctx, b.Digest); !errors.Is(err, slipstream.ErrNotFound) {
			t.Errorf("%s: stored: %v", name, err)
		}
		if err := c.PutBlob(w.ctx, "shop", b); err != nil {
			t.Errorf("%s: the true one afterwards: %v", name, err)
		}
	}
}

func TestUploadsOfOthersAreNotTaken(t *testing.T) {
	w := newWorld(t)
	w.shop()
	b := bytesBlob([]byte("x"))
	for name, as := range map[string]string{"viewer": w.secrets["viewer"], "nobody": ""} {
		for _, method := range []string{"PUT", "PATCH", "HEAD"} {
			res, _ := w.call(method, "/v1/admin/apps/shop/blobs/"+string(b.Digest), as, "x")
			if res.StatusCode != 401 && res.StatusCode != 403 {
				t.Errorf("%s %s: %d", name, method, res.StatusCode)
			}
		}
	}
	res, body := w.call("PUT", "/v1/admin/apps/shop/blobs/ABC", w.secrets["publisher"], "x")
	if res.StatusCode != 422 {
		t.Errorf("no digest: %d %s", res.StatusCode, body)
	}
}

// flaky answers 503 a few times.
type flaky struct {
	next  http.RoundTripper
	fail  atomic.Int64
	calls atomic.Int64
}

func (f *flaky) RoundTrip(r *http.Request) (*http.Response, error) {
	f.calls.Add(1)
	if f.fail.Add(-1) >= 0 {
		return nil, errors.New("connection refused")
	}
	return f.next.RoundTrip(r)
}

func TestOnlyWhatMayBeRepeatedIsRepeated(t *testing.T) {
	w := newWorld(t)
	w.shop()
	transport := &flaky{next: http.DefaultTransport}
	c, err := api.NewClient(w.url, w.secrets["owner"], transport)
	w.must(err)
	transport.fail.Store(1)
	if _, err := c.Apps(w.ctx); err != nil || transport.calls.Load() != 2 {
		t.Errorf("a question: %v after %d calls", err, transport.calls.Load())
	}
	transport.calls.Store(0)
	transport.fail.Store(1)
	if _, err := c.CreateToken(w.ctx, api.NewToken{Name: "x", Role: "viewer"}); err == nil || transport.calls.Load() != 1 {
		t.Errorf("a change that may have happened: %v after %d calls", err, transport.calls.Load())
	}
	transport.calls.Store(0)
	transport.fail.Store(100)
	ctx, cancel := context.WithCancel(w.ctx)
	cancel()
	if _, err := c.Apps(ctx); !errors.Is(err, context.Canceled) || transport.calls.Load() > 1 {
		t.Errorf("given up: %v after %d calls", err, transport.calls.Load())
	}
}

func TestContainersAreBuiltForWhatLacksThem(t *testing.T) {
	w := newWorld(t)
	c := w.shop()
	one := w.publish(1)
	two := w.publish(2)
	for range 2 { // the second time nothing is to be done
		w.must(w.jobs.Settle(w.ctx))
	}
	for d, least := range map[slipstream.Digest]int{one.Digest: 1, two.Digest: 1} {
		r, err := c.Release(w.ctx, "shop", string(d))
		w.must(err)
		full := false
		for _, k := range r.Containers {
			full = full || k.From == "" && k.Codec == delta.CodecFull
			if _, err := w.blobs.Stat(w.ctx, k.SHA256); err != nil {
				t.Errorf("container %+v: %v", k, err)
			}
		}
		if !full || len(r.Containers) < least {
			t.Errorf("containers of %s: %+v", d.Short(), r.Containers)
		}
		m, err := c.Making(w.ctx, "shop", string(d))
		w.must(err)
		if !slices.Equal(m.Containers, r.Containers) || len(m.Work) == 0 || m.Work[0].State != "done" || m.Work[0].Tries != 1 || m.Work[0].Stage != "" || m.Work[0].Note == "" {
			t.Errorf("making of %s: %+v", d.Short(), m)
		}
	}
}

// Everything arrived and nothing was stored: the server was killed in between, or somebody else sent as many bytes.
func TestACompleteUploadThatIsNotStoredIsFinished(t *testing.T) {
	for name, spoiled := range map[string]func([]byte) []byte{
		"all bytes are right":    func(b []byte) []byte { return b },
		"other bytes":            func(b []byte) []byte { return make([]byte, len(b)) },
		"more than there can be": func(b []byte) []byte { return append(bytes.Clone(b), 0) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.shop()
			content := bytes.Repeat([]byte("0123456789abcdef"), 1<<20) // 16 MiB: sent in parts
			d := slipstream.DigestOf(sha256.Sum256(content))
			name := sha256.Sum256(fmt.Appendf(nil, "shop\x00%s\x00%d", d, len(content)))
			w.must(os.WriteFile(filepath.Join(w.spooled, hex.EncodeToString(name[:])), spoiled(content), 0o600))
			b := publish.Blob{Digest: d, Size: int64(len(content)), Open: func(offset int64) (io.ReadCloser, error) {
				return io.NopCloser(bytes.NewReader(content[offset:])), nil
			}}
			c := w.client("publisher")
			w.must(c.PutBlob(w.ctx, "shop", b))
			if _, err := w.blobs.Stat(w.ctx, d); err != nil {
				t.Errorf("said to be there: %v", err)
			}
		})
	}
}

func TestAnUnfinishedUploadIsNotInTheWayOfOthers(t *testing.T) {
	w := newWorld(t)
	c := w.shop()
	_, err := c.CreateApp(w.ctx, api.NewApp{Name: "cart"})
	w.must(err)
	b := bytesBlob([]byte("0123456789"))
	path := func(app string) string { return "/v1/admin/apps/" + app + "/blobs/" + string(b.Digest) }
	part := func(app, offset, length, content string) int {
		res, _ := w.call("PATCH", path(app), w.secrets["owner"], content, "Upload-Offset", offset, "Upload-Length", length)
		return res.StatusCode
	}
	if got := part("cart", "0", "10", "wrong"); got != 204 {
		t.Fatalf("another app's part: %d", got)
	}
	if got := part("shop", "0", "11", "wrong"); got != 204 {
		t.Fatalf("a part of another length: %d", got)
	}
	res, _ := w.call("HEAD", path("shop"), w.secrets["owner"], "", "Upload-Length", "10")
	if got := res.Header.Get("Upload-Offset"); got != "0" {
		t.Errorf("the upload stands at %s", got)
	}
	if got := part("shop", "0", "10", "0123456789"); got != 201 {
		t.Errorf("the true one: %d", got)
	}
}

func TestAChangeIsSettledBeforeItIsAnswered(t *testing.T) {
	w := newWorld(t)
	c := w.client("owner")
	for range 2 { // the second one is refused
		_, _ = c.CreateApp(w.ctx, api.NewApp{Name: "shop", Platforms: []string{"ios"}})
	}
	apps, err := c.Apps(w.ctx)
	w.must(err)
	if got := w.settled.Load(); got != 1 || len(apps) != 1 {
		t.Errorf("settled %d times for one change of %d apps, although settling failed", got, len(apps))
	}
}
