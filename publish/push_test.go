package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/sign"
)

func TestPublishSignsUploadsAndCommits(t *testing.T) {
	p := newPublisher(t, 1, 1)
	res, err := p.push(t, request("1.0.0"), map[string]string{"a.js": "one", "b.js": "two", "copy.js": "one"})
	if err != nil {
		t.Fatal(err)
	}
	if res.Seq != 1 || res.Uploaded != 2 || res.UploadedBytes != 6 || res.Rollout == "" || res.Existing {
		t.Errorf("got %+v", res)
	}
	trust, err := sign.OpenRoot(p.server.root)
	if err != nil {
		t.Fatal(err)
	}
	m, digest, err := trust.Manifest(p.server.releases[0].Envelope)
	if err != nil || digest != res.Digest || m.Created != slipstream.At(now()) {
		t.Errorf("committed %+v, %v", m, err)
	}
}

func TestOnlyMissingBlobsAreUploaded(t *testing.T) {
	p := newPublisher(t, 1, 1)
	must(t)(p.push(t, request("1.0.0"), map[string]string{"a": "one", "b": "two"}))
	res := must(t)(p.push(t, request("1.1.0"), map[string]string{"a": "one", "c/b": "two", "d": "three"}))
	if res.Uploaded != 1 || p.server.puts != 3 || res.Seq != 2 {
		t.Errorf("uploaded %d blobs, %d in all", res.Uploaded, p.server.puts)
	}
}

func must(t testing.TB) func(Result, error) Result {
	return func(r Result, err error) Result {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
}

func TestSameContentAgainMakesNoRelease(t *testing.T) {
	p := newPublisher(t, 1, 1)
	files := map[string]string{"a": "one"}
	req := request("1.0.0")
	req.Meta = map[string]json.RawMessage{"theme": json.RawMessage(`{"dark": true}`)}
	req.Requires = map[string]slipstream.Requirement{"base": {MinSeq: 3}}
	first := must(t)(p.push(t, req, files))
	again := must(t)(p.push(t, req, files))
	if !again.UpToDate || !again.Existing || again.Digest != first.Digest || p.server.commits != 1 {
		t.Errorf("got %+v after %d commits", again, p.server.commits)
	}
	t.Run("but another channel gets it offered", func(t *testing.T) {
		req := req
		req.Channel = "beta"
		req.Rollout = &NewRollout{Channel: "beta", To: slipstream.FullShare}
		res := must(t)(p.push(t, req, files))
		if res.UpToDate || !res.Existing || res.Digest != first.Digest || len(p.server.releases) != 1 || len(p.server.offers["beta"]) != 1 {
			t.Errorf("got %+v", res)
		}
	})
}

func TestTakenVersionWithOtherContentIsAConflict(t *testing.T) {
	for name, change := range map[string]func(*Request, map[string]string){
		"files":    func(_ *Request, f map[string]string) { f["a"] = "other" },
		"new file": func(_ *Request, f map[string]string) { f["b"] = "other" },
		"entry":    func(r *Request, _ map[string]string) { r.Entry = "b" },
		"meta":     func(r *Request, _ map[string]string) { r.Meta = map[string]json.RawMessage{"k": json.RawMessage("1")} },
		"requires": func(r *Request, _ map[string]string) {
			r.Requires = map[string]slipstream.Requirement{"base": {MinSeq: 1}}
		},
		"data": func(r *Request, _ map[string]string) { r.Data = &slipstream.DataFormats{Writes: "v2"} },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPublisher(t, 1, 1)
			files := map[string]string{"a": "one", "b": "two"}
			must(t)(p.push(t, request("1.0.0"), files))
			puts := p.server.puts
			req := request("1.0.0")
			change(&req, files)
			_, err := p.push(t, req, files)
			if !errors.Is(err, ErrVersionTaken) || !errors.Is(err, slipstream.ErrConflict) || slipstream.HintOf(err) == "" {
				t.Errorf("got %v", err)
			}
			if p.server.puts != puts {
				t.Error("blobs were uploaded before the refusal")
			}
		})
	}
}

func TestContentThatTheChannelLeftBehindIsAConflict(t *testing.T) {
	p := newPublisher(t, 1, 1)
	must(t)(p.push(t, request("1.0.0"), map[string]string{"a": "one"}))
	must(t)(p.push(t, request("1.1.0"), map[string]string{"a": "two"}))
	_, err := p.push(t, request("1.0.0"), map[string]string{"a": "one"})
	if !errors.Is(err, slipstream.ErrConflict) || !strings.Contains(slipstream.HintOf(err), "rollback") {
		t.Errorf("got %v", err)
	}
}

// TestLosingTheRace: between our reading and our commit another publisher commits.
func TestLosingTheRace(t *testing.T) {
	race := func(t *testing.T, theirs string, theirFiles map[string]string) (*publisher, Result, error) {
		p := newPublisher(t, 1, 1)
		other := &publisher{p.server, p.signers, p.root, p.rootKey}
		p.server.beforeCommit = func() { must(t)(other.push(t, request(theirs), theirFiles)) }
		res, err := p.push(t, request("1.0.0"), map[string]string{"a": "mine"})
		return p, res, err
	}
	t.Run("of another version: both get a seq", func(t *testing.T) {
		p, res, err := race(t, "0.9.0", map[string]string{"a": "theirs"})
		if err != nil || res.Seq != 2 || len(p.server.releases) != 2 {
			t.Fatalf("got %+v, %v", res, err)
		}
		m, err := p.server.releases[1].Manifest()
		if err != nil || len(m.Fallback) != 1 || m.Fallback[0] != p.server.releases[0].Digest {
			t.Errorf("the loser signed again without reading again: %+v, %v", m, err)
		}
	})
	t.Run("of this version with the same content: one release", func(t *testing.T) {
		p, res, err := race(t, "1.0.0", map[string]string{"a": "mine"})
		if err != nil || !res.Existing || len(p.server.releases) != 1 {
			t.Errorf("got %+v, %v", res, err)
		}
	})
	t.Run("of this version with other content: a conflict", func(t *testing.T) {
		p, _, err := race(t, "1.0.0", map[string]string{"a": "theirs"})
		if !errors.Is(err, ErrVersionTaken) || len(p.server.releases) != 1 {
			t.Errorf("got %v", err)
		}
	})
}

func TestManyPublishersAtOnce(t *testing.T) {
	p := newPublisher(t, 1, 1)
	const n = 6
	results := make([]Result, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		tree := openTree(t, writeTree(t, map[string]string{"a": fmt.Sprint("content ", i)}))
		plan, err := Prepare(t.Context(), p.server, tree, p.proving(t, request(fmt.Sprintf("1.%d.0", i))), now())
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() { results[i], errs[i] = Push(t.Context(), p.server, plan, p.signers, now, nil) })
	}
	wg.Wait()
	seqs := map[int64]bool{}
	for i := range n {
		if errs[i] != nil {
			t.Errorf("publisher %d: %v", i, errs[i])
		}
		seqs[results[i].Seq] = true
	}
	if len(seqs) != n || p.server.highest != n {
		t.Errorf("seqs %v", seqs)
	}
}

func TestAKilledPublishGoesOnWhereItWas(t *testing.T) {
	p := newPublisher(t, 1, 1)
	files := map[string]string{}
	for i := range 20 {
		files[fmt.Sprint("f", i)] = fmt.Sprint("content ", i)
	}
	killed := errors.New("killed")
	p.server.putBlob = func(Blob) (bool, error) {
		p.server.mu.Lock()
		defer p.server.mu.Unlock()
		return p.server.puts < 12, killed
	}
	if _, err := p.push(t, request("1.0.0"), files); !errors.Is(err, killed) || len(p.server.releases) != 0 {
		t.Fatalf("got %v", err)
	}
	before := p.server.puts
	p.server.putBlob = nil
	res := must(t)(p.push(t, request("1.0.0"), files))
	if before < 12 || res.Uploaded != 20-before || p.server.puts != 20 {
		t.Errorf("%d blobs before, %d after, %d in all", before, res.Uploaded, p.server.puts)
	}
}

func TestABlobThatVanishesBeforeTheCommitIsSentAgain(t *testing.T) {
	p := newPublisher(t, 1, 1)
	p.server.beforeCommit = func() {
		p.server.mu.Lock()
		defer p.server.mu.Unlock()
		clear(p.server.blobs)
	}
	if res := must(t)(p.push(t, request("1.0.0"), map[string]string{"a": "one"})); res.Seq != 1 || p.server.puts != 2 {
		t.Errorf("got %+v after %d uploads", res, p.server.puts)
	}
}

func TestAFileThatChangesAfterItWasHashedStopsThePublish(t *testing.T) {
	p := newPublisher(t, 1, 1)
	dir := writeTree(t, map[string]string{"a": "one"})
	plan, err := Prepare(t.Context(), p.server, openTree(t, dir), p.proving(t, request("1.0.0")), now())
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/a", "longer")
	if _, err := Push(t.Context(), p.server, plan, p.signers, now, nil); !errors.Is(err, errChanged) || len(p.server.releases) != 0 {
		t.Errorf("got %v", err)
	}
}

func TestKeysOutsideTheReleaseRoleAreRefusedBeforeUploading(t *testing.T) {
	p := newPublisher(t, 1, 1)
	p.signers = []sign.Signer{newSigner(t)}
	_, err := p.push(t, request("1.0.0"), map[string]string{"a": "one"})
	if slipstream.ReasonOf(err, "") != slipstream.ReasonSignatureInvalid || p.server.puts != 0 {
		t.Errorf("got %v after %d uploads", err, p.server.puts)
	}
}

func TestSeveralSignatures(t *testing.T) {
	p := newPublisher(t, 3, 2)
	files := map[string]string{"a": "one"}
	all := p.signers
	t.Run("one of two is not enough", func(t *testing.T) {
		p.signers = all[:1]
		_, err := p.push(t, request("1.0.0"), files)
		if slipstream.ReasonOf(err, "") != slipstream.ReasonSignatureInvalid || p.server.puts != 0 {
			t.Errorf("got %v", err)
		}
	})
	t.Run("one key twice is not enough", func(t *testing.T) {
		p.signers = []sign.Signer{all[0], all[0]}
		if _, err := p.push(t, request("1.0.0"), files); err == nil {
			t.Error("accepted")
		}
	})
	t.Run("signed one after the other, then committed", func(t *testing.T) {
		plan, err := Prepare(t.Context(), p.server, openTree(t, writeTree(t, files)), p.proving(t, request("1.0.0")), now())
		if err != nil {
			t.Fatal(err)
		}
		e, err := plan.Seal(all[:1])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Upload(t.Context(), p.server, plan, nil); err != nil {
			t.Fatal(err)
		}
		req := CommitRequest{App: "shop", Manifest: e.Encode()}
		if _, err := PushSealed(t.Context(), p.server, req, p.proving(t, Request{}).Keys, nil, nil); slipstream.ReasonOf(err, "") != slipstream.ReasonSignatureInvalid {
			t.Fatalf("half signed: %v", err)
		}
		if err := e.Sign(all[2]); err != nil {
			t.Fatal(err)
		}
		req.Manifest = e.Encode()
		if res := must(t)(PushSealed(t.Context(), p.server, req, p.proving(t, Request{}).Keys, nil, nil)); res.Seq != 1 {
			t.Errorf("got %+v", res)
		}
	})
	t.Run("all at once", func(t *testing.T) {
		p.signers = all
		if res := must(t)(p.push(t, request("1.1.0"), map[string]string{"a": "two"})); res.Seq != 2 {
			t.Errorf("got %+v", res)
		}
	})
}

func TestASealedManifestNeedsItsTree(t *testing.T) {
	p := newPublisher(t, 1, 1)
	dir := writeTree(t, map[string]string{"a": "one"})
	plan, err := Prepare(t.Context(), p.server, openTree(t, dir), p.proving(t, request("1.0.0")), now())
	if err != nil {
		t.Fatal(err)
	}
	e, err := plan.Seal(p.signers)
	if err != nil {
		t.Fatal(err)
	}
	req := CommitRequest{App: "shop", Manifest: e.Encode()}
	if _, err := PushSealed(t.Context(), p.server, req, p.proving(t, Request{}).Keys, nil, nil); !errors.Is(err, slipstream.ErrNotFound) {
		t.Errorf("without blobs and tree: %v", err)
	}
	other := openTree(t, writeTree(t, map[string]string{"a": "two"}))
	if _, err := PushSealed(t.Context(), p.server, req, p.proving(t, Request{}).Keys, other, nil); slipstream.ReasonOf(err, "") != slipstream.ReasonFileMismatch {
		t.Errorf("with another tree: %v", err)
	}
	if res := must(t)(PushSealed(t.Context(), p.server, req, p.proving(t, Request{}).Keys, openTree(t, dir), nil)); res.Uploaded != 1 {
		t.Errorf("got %+v", res)
	}
}

func TestFallbackNamesTheLastTenThatFit(t *testing.T) {
	p := newPublisher(t, 1, 1)
	publish := func(version string, change func(*Request)) Result {
		req := request(version)
		if change != nil {
			change(&req)
		}
		return must(t)(p.push(t, req, map[string]string{"a": version}))
	}
	var plain []slipstream.Digest
	for i := range 12 {
		plain = append(plain, publish(fmt.Sprintf("1.%d.0", i), nil).Digest)
	}
	publish("2.0.0-ios", func(r *Request) { r.Platform = "ios" })
	publish("2.0.0-cart", func(r *Request) { r.Package = "cart" })
	publish("2.0.0-narrow", func(r *Request) { r.Runtime = slipstream.Runtime{Range: ">=3.0.0"} })
	publish("2.0.0-print", func(r *Request) { r.Runtime = slipstream.Runtime{Fingerprint: "abc"} })
	publish("2.0.0-embedded", func(r *Request) { r.Embedded, r.Rollout = true, nil })
	last := publish("3.0.0", nil)
	back := func(digest slipstream.Digest) []slipstream.Digest {
		r, err := p.server.Release(t.Context(), "shop", string(digest))
		if err != nil {
			t.Fatal(err)
		}
		m, err := r.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		return m.Fallback
	}
	got := back(last.Digest)
	if len(got) != MaxFallback {
		t.Fatalf("%d edges", len(got))
	}
	for i, d := range got {
		if d != plain[len(plain)-1-i] {
			t.Errorf("edge %d is not release 1.%d.0", i, len(plain)-1-i)
		}
	}
	narrow := publish("3.1.0-narrow", func(r *Request) { r.Runtime = slipstream.Runtime{Range: ">=3.0.0"} })
	if got := back(narrow.Digest); len(got) != MaxFallback || got[0] != last.Digest {
		t.Error("a release for every runtime is a way back for a narrower one")
	}
}

func TestProgressCountsEveryByteOnce(t *testing.T) {
	tree := openTree(t, writeTree(t, map[string]string{"a": strings.Repeat("x", 1000)}))
	var p countingProgress
	b := tree.blob(tree.Files[0], &p)
	for _, from := range []int64{0, 300, 0} { // a retry from the middle, another from the beginning
		r, err := b.Open(from)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, io.LimitReader(r, 600)); err != nil || n != 600 {
			t.Fatal(n, err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if p.n != 900 {
		t.Errorf("counted %d", p.n)
	}
}

type countingProgress struct{ n int64 }

func (c *countingProgress) Phase(string, int64) {}
func (c *countingProgress) Add(n int64)         { c.n += n }

func TestCancelledPublishCommitsNothing(t *testing.T) {
	p := newPublisher(t, 1, 1)
	plan, err := Prepare(t.Context(), p.server, openTree(t, writeTree(t, map[string]string{"a": "one"})), p.proving(t, request("1.0.0")), now())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	p.server.putBlob = func(Blob) (bool, error) { cancel(); return true, nil }
	if _, err := Push(ctx, p.server, plan, p.signers, now, nil); !errors.Is(err, context.Canceled) || p.server.commits != 0 {
		t.Errorf("got %v", err)
	}
}

func TestANumberAboveTheNextOneCanBeAskedFor(t *testing.T) {
	p := newPublisher(t, 1, 1)
	for _, c := range []struct {
		version   string
		min, want int64
	}{{"1", 0, 1}, {"2", 40, 40}, {"3", 7, 41}} {
		req := request(c.version)
		req.MinSeq = c.min
		if res := must(t)(p.push(t, req, map[string]string{"a": c.version})); res.Seq != c.want {
			t.Errorf("version %s got seq %d, want %d", c.version, res.Seq, c.want)
		}
	}
}
