package outage

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/blob/file"
	"github.com/slipstream-ota/slipstream/deliver"
	"github.com/slipstream-ota/slipstream/internal/httpx"
	"github.com/slipstream-ota/slipstream/publish"
	"github.com/slipstream-ota/slipstream/publish/build"
	"github.com/slipstream-ota/slipstream/report"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/sign"
	"github.com/slipstream-ota/slipstream/store/sqlite"
)

// App is the one app of a Node.
const App = "shop"

// Node is a server wired as the command wires it, over a database and blobs that fail on demand.
type Node struct {
	URL        string
	Store      *Store
	Blobs      *Blobs
	Containers *build.Builder
	Admin      *api.Client // retries nothing by itself when its context is short
	Token      string
	Root       []byte
	Patience   time.Duration
	seq        int64
	release    sign.Signer
	devices    *deliver.Server
	fallback   []slipstream.Digest
	stop       func() error
}

// Start makes a server with one app in dir. clock is the server's; patience is how long it waits for its database or its
// blobs, for one request.
func Start(ctx context.Context, dir string, clock func() time.Time, patience time.Duration) (_ *Node, err error) {
	n := &Node{Patience: patience, release: signer("release")}
	if err := os.MkdirAll(filepath.Join(dir, "tmp"), 0o700); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	inner, err := sqlite.Open(ctx, filepath.Join(dir, "slipstream.db"), sqlite.Options{Migrate: true})
	if err != nil {
		return nil, err
	}
	n.Store = NewStore(inner)
	if err := n.wire(ctx, dir, clock); err != nil {
		return nil, errors.Join(err, inner.Close())
	}
	if err := n.open(ctx, clock()); err != nil {
		return nil, errors.Join(err, n.stop())
	}
	return n, nil
}

// wire puts the parts together and starts them.
func (n *Node) wire(ctx context.Context, dir string, clock func() time.Time) error {
	blobs, err := file.Open(filepath.Join(dir, "blobs"))
	if err != nil {
		return err
	}
	n.Blobs = &Blobs{Store: blobs}
	keys, err := rollout.OpenKeys(ctx, n.Store, bytes.Repeat([]byte{7}, 32))
	if err != nil {
		return err
	}
	spool, err := api.OpenSpool(filepath.Join(dir, "uploads"), nil)
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	changes := rollout.New(rollout.Config{Store: n.Store, Blobs: n.Blobs, Keys: keys, Clock: clock})
	tokens := auth.New(auth.Config{Store: n.Store})
	intake := report.NewIntake(n.Store.Reports(), report.Config{Salt: []byte("salt"), Timeout: n.Patience})
	n.Containers = build.New(build.Config{Store: n.Store, Blobs: n.Blobs, Owner: "node", TempDir: filepath.Join(dir, "tmp"), Clock: clock, Log: log})
	n.devices = deliver.New(deliver.Config{Store: n.Store, Blobs: n.Blobs, Keys: keys, Reports: intake, Clock: clock, Log: log,
		StoreTimeout: n.Patience, RetryEvery: 50 * time.Millisecond})
	admin := api.New(api.Config{Store: n.Store, Blobs: n.Blobs, Rollout: changes, Tokens: tokens, Jobs: n.Containers, Spool: spool, Log: log,
		StallTimeout: n.Patience, LoginTimeout: n.Patience})
	if n.Token, err = tokens.Reissue(ctx, "local", "local"); err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	n.URL = "http://" + listener.Addr().String()
	adminSide, deviceSide := admin.Handler(), n.devices.Handler()
	both := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, api.Base+"/") || strings.HasPrefix(r.URL.Path, "/v1/openapi") {
			adminSide.ServeHTTP(w, r)
			return
		}
		deviceSide.ServeHTTP(w, r)
	})
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	group, _ := errgroup.WithContext(running)
	group.Go(func() error { return httpx.Serve(running, httpx.NewServer(both, log), listener, time.Second) })
	group.Go(func() error { return n.devices.Run(running) })
	group.Go(func() error { return intake.Run(running) })
	n.stop = func() error {
		n.Store.Back()
		n.Blobs.Fail("", "")
		cancel()
		return errors.Join(group.Wait(), n.Store.Store.Close())
	}
	return nil
}

// open makes the app and waits until devices get answers.
func (n *Node) open(ctx context.Context, now time.Time) (err error) {
	if n.Admin, err = api.NewClient(n.URL, n.Token, &http.Transport{DisableKeepAlives: true}); err != nil {
		return err
	}
	if err := n.makeApp(ctx, now); err != nil {
		return err
	}
	for n.devices.Ready() != nil {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

// Close stops the server.
func (n *Node) Close() error { return n.stop() }

func signer(name string) sign.Signer {
	seed := sha256.Sum256([]byte("key of a node: " + name))
	return sign.NewSigner(ed25519.NewKeyFromSeed(seed[:]))
}

func (n *Node) makeApp(ctx context.Context, now time.Time) error {
	app, err := n.Admin.CreateApp(ctx, api.NewApp{Name: App})
	if err != nil {
		return err
	}
	state, err := sign.ParsePublic(app.StateKeys[0].Public)
	if err != nil {
		return err
	}
	one := func(p ed25519.PublicKey) sign.RoleKeys { return sign.RoleKeys{Keys: []ed25519.PublicKey{p}} }
	root, err := sign.NewRoot(App, now.AddDate(5, 0, 0), one(signer("root").Public()), one(n.release.Public()), one(state))
	if err != nil {
		return err
	}
	e, err := sign.Seal(sign.TypeRoot, root, signer("root"))
	if err != nil {
		return err
	}
	n.Root = e.Encode()
	_, err = n.Admin.AddRoot(ctx, App, n.Root)
	return err
}

// Release is a release that was signed.
type Release struct {
	Digest   slipstream.Digest
	Manifest *slipstream.Manifest
	Envelope []byte
	Files    map[string]string
}

// Sign makes the next release, with its version in its files.
func (n *Node) Sign(now time.Time) (*Release, error) {
	n.seq++
	version := fmt.Sprintf("1.%d.0", n.seq)
	r := &Release{Files: map[string]string{
		"main.js": "// " + version + "\n" + strings.Repeat("let x = 1;\n", 5000), "shared.txt": "the same in every release\n", "words/" + version + ".txt": version,
	}}
	r.Manifest = &slipstream.Manifest{App: App, Package: slipstream.DefaultPackage, Platform: slipstream.PlatformAny, Runtime: slipstream.AnyRuntime(),
		Seq: n.seq, Version: version, Entry: "main.js", Created: slipstream.At(now), Fallback: slices.Sorted(slices.Values(n.fallback))}
	for _, path := range slices.Sorted(maps.Keys(r.Files)) {
		sum := slipstream.DigestOf(sha256.Sum256([]byte(r.Files[path])))
		r.Manifest.Files = append(r.Manifest.Files, slipstream.File{Path: path, Size: int64(len(r.Files[path])), SHA256: sum})
	}
	e, err := sign.Seal(sign.TypeManifest, r.Manifest, n.release)
	if err != nil {
		return nil, err
	}
	r.Digest, r.Envelope = sign.DigestOf(e.Payload), e.Encode()
	n.fallback = append(n.fallback, r.Digest)
	n.fallback = n.fallback[max(len(n.fallback)-10, 0):]
	return r, nil
}

// Publish uploads what is missing and commits. It is what the tool does, and may be repeated.
func (n *Node) Publish(ctx context.Context, r *Release) (publish.CommitResult, error) {
	content := map[slipstream.Digest]string{}
	for _, f := range r.Manifest.Files {
		content[f.SHA256] = r.Files[f.Path]
	}
	missing, err := n.Admin.Missing(ctx, App, slices.Sorted(maps.Keys(content)))
	if err != nil {
		return publish.CommitResult{}, err
	}
	for _, d := range missing {
		err := n.Admin.PutBlob(ctx, App, publish.Blob{Digest: d, Size: int64(len(content[d])), Open: func(offset int64) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(content[d][offset:])), nil
		}})
		if err != nil {
			return publish.CommitResult{}, err
		}
	}
	none := 0
	return n.Admin.Commit(ctx, publish.CommitRequest{App: App, Manifest: r.Envelope,
		Rollout: &publish.NewRollout{Channel: slipstream.DefaultChannel, To: slipstream.FullShare, Control: &none}})
}
