package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/internal/child"
	"github.com/slipstream-ota/slipstream/internal/config"
	"github.com/slipstream-ota/slipstream/publish"
	"github.com/slipstream-ota/slipstream/sign"
)

// NeedProcesses is a system on which programs can be run, signalled and killed.
func NeedProcesses() Need {
	return Need{Name: "processes", Missing: func(Env) string {
		if err := child.Supported(); err != nil {
			return err.Error()
		}
		return ""
	}}
}

// tally counts what a proof tried and what was wrong. It is safe for many goroutines.
type tally struct {
	mu    sync.Mutex
	tried int
	wrong int
	notes []string
}

func (t *tally) try(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tried += n
}

func (t *tally) wrongf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wrong++
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

func (t *tally) result(detail string, args ...any) Result {
	t.mu.Lock()
	defer t.mu.Unlock()
	return Result{Tried: t.tried, Wrong: t.wrong, Detail: fmt.Sprintf(detail, args...), Notes: t.notes}
}

// program is the real command with settings of its own: nothing of this user's takes part.
type program struct {
	path    string
	dir     string
	environ []string
}

func newProgram(env Env, dir string) (*program, error) {
	path := env.Program
	if path == "" {
		var err error
		if path, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("find this program: %w", err)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make scratch folder: %w", err)
	}
	return &program{path: path, dir: dir, environ: []string{
		"HOME=" + dir, "XDG_CONFIG_HOME=" + filepath.Join(dir, "config"), "TMPDIR=" + os.TempDir(), "PATH=/usr/local/bin:/usr/bin:/bin",
	}}, nil
}

func (p *program) folder() config.Folder {
	return config.Folder{Path: filepath.Join(p.dir, "config", "slipstream")}
}

func (p *program) start(stdout, stderr func(string), args ...string) (*child.Process, error) {
	return child.Start(child.Spec{Path: p.path, Args: args, Env: p.environ, Dir: p.dir, Stdout: stdout, Stderr: stderr})
}

// run runs the command to its end and gives what it printed.
func (p *program) run(ctx context.Context, args ...string) (string, error) {
	var out strings.Builder
	c, err := p.start(func(line string) { out.WriteString(line + "\n") }, nil, args...)
	if err != nil {
		return "", err
	}
	if err := c.Finish(ctx.Done()); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return out.String(), fmt.Errorf("slipstream %s: %w\n%s", strings.Join(args, " "), err, c.Tail())
	}
	return out.String(), nil
}

const (
	serviceApp    = "shop"
	entryFile     = "main.sh"
	startPatience = 30 * time.Second // for a start of the server, on a machine that has other things to do
)

// service is a server in a process of its own, at an address that stays the same when it is started again.
type service struct {
	program *program
	data    string
	flags   []string
	address string
	url     string
	token   string // lasts over restarts
	process *child.Process
}

// newService prepares a server; start starts it.
func newService(p *program, data string, flags ...string) (*service, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	return &service{program: p, data: data, flags: flags, address: address, url: "http://" + address}, nil
}

// freeAddress gives a loopback address that nobody listens on, below the ports that systems hand out by themselves: it
// must stay free while its server is down.
func freeAddress() (string, error) {
	for range 200 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(15000+rand.IntN(15000)))
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		return address, l.Close()
	}
	return "", errors.New("no free port was found")
}

// launch starts the process and returns at once.
func (s *service) launch() (err error) {
	args := append([]string{"serve", "--listen", s.address, "--data", s.data, "--log", "error"}, s.flags...)
	s.process, err = s.program.start(nil, nil, args...)
	return err
}

// start starts the server and waits until it answers devices. It gives the time that took.
func (s *service) start(ctx context.Context) (time.Duration, error) {
	begun := time.Now()
	if err := s.launch(); err != nil {
		return 0, err
	}
	return s.await(ctx, begun)
}

// await waits until devices get answers.
func (s *service) await(ctx context.Context, begun time.Time) (time.Duration, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startPatience, fmt.Errorf("the server does not serve %s after its start", startPatience))
	defer cancel()
	for {
		status, _, err := s.get(ctx, "/readyz")
		if err == nil && status == http.StatusOK {
			return time.Since(begun), nil
		}
		select {
		case <-s.process.Done():
			return 0, fmt.Errorf("the server ended while it started: %w\n%s", s.process.Err(), s.process.Tail())
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// kill ends the server without any warning.
func (s *service) kill() error {
	if s.process == nil {
		return nil
	}
	err := s.process.Close()
	s.process = nil
	return err
}

// terminate asks the server to end and gives how it did.
func (s *service) terminate(grace time.Duration) error {
	err := s.process.Signal(syscall.SIGTERM)
	if err == nil {
		select {
		case <-s.process.Done():
			err = s.process.Err()
		case <-time.After(grace):
			err = fmt.Errorf("the server is still there %s after SIGTERM", grace)
		}
	}
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, s.process.Tail())
	}
	return errors.Join(err, s.kill())
}

// get reads a path of the device side with a connection of its own.
func (s *service) get(ctx context.Context, path string) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
	if err != nil {
		return 0, nil, err
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, body, errors.Join(err, res.Body.Close())
}

func (s *service) post(ctx context.Context, client *http.Client, path string, body []byte) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	answer, err := io.ReadAll(res.Body)
	return res.StatusCode, answer, errors.Join(err, res.Body.Close())
}

// admin is a client of the management API with connections of its own.
func (s *service) admin() (*api.Client, error) {
	token := s.token
	if token == "" {
		saved, err := s.program.folder().LoadServer()
		if err != nil {
			return nil, err
		}
		token = saved.Token
	}
	return api.NewClient(s.url, token, &http.Transport{DisableKeepAlives: true})
}

// setUp starts the server for the first time, makes the app with its keys by the real command, and a token that lasts.
func (s *service) setUp(ctx context.Context) error {
	if _, err := s.start(ctx); err != nil {
		return err
	}
	if _, err := s.program.run(ctx, "app", "create", serviceApp); err != nil {
		return err
	}
	admin, err := s.admin()
	if err != nil {
		return err
	}
	token, err := admin.CreateToken(ctx, api.NewToken{Name: "lab", Role: string(auth.Owner)})
	if err != nil {
		return fmt.Errorf("make token: %w", err)
	}
	s.token = token.Secret
	return nil
}

// edition is a release that was signed. Whether it was published is another matter.
type edition struct {
	digest   slipstream.Digest
	manifest *slipstream.Manifest
	envelope []byte
	files    map[string]string
	rollout  string // id, once it was acknowledged
	epoch    int64  // of that
}

// author signs and publishes the releases of a service's app.
type author struct {
	service *service
	server  *api.Client
	signer  sign.Signer
	root    []byte
	trust   *sign.Trust

	turn     sync.Mutex // one release after the other: a lower seq is refused
	mu       sync.Mutex
	seq      int64
	editions map[slipstream.Digest]*edition
	newest   []slipstream.Digest // committed, newest first, at most ten
}

// serve starts the real server in a folder of its own and makes an app on it. Whoever called it kills the server.
func serve(ctx context.Context, env Env, name string, flags ...string) (*author, error) {
	p, err := newProgram(env, filepath.Join(env.Dir, name))
	if err != nil {
		return nil, err
	}
	s, err := newService(p, filepath.Join(p.dir, "data"), flags...)
	if err != nil {
		return nil, err
	}
	if err := s.setUp(ctx); err != nil {
		return nil, errors.Join(err, s.kill())
	}
	a, err := newAuthor(s)
	if err != nil {
		return nil, errors.Join(err, s.kill())
	}
	return a, nil
}

// newAuthor takes the keys that the command made.
func newAuthor(s *service) (*author, error) {
	a := &author{service: s, editions: map[slipstream.Digest]*edition{}}
	pem, err := os.ReadFile(s.program.folder().ReleaseKeyFile(serviceApp))
	if err != nil {
		return nil, fmt.Errorf("read release key: %w", err)
	}
	key, err := sign.ParseKey(pem, nil)
	if err != nil {
		return nil, fmt.Errorf("parse release key: %w", err)
	}
	a.signer = sign.NewSigner(key)
	if a.root, err = os.ReadFile(a.rootFile()); err != nil {
		return nil, fmt.Errorf("read root: %w", err)
	}
	if a.trust, err = sign.OpenRoot(a.root); err != nil {
		return nil, err
	}
	a.server, err = s.admin()
	return a, err
}

func (a *author) rootFile() string { return a.service.program.folder().RootFile(serviceApp) }

// write signs the next release. files gets its version, so that every file can tell whose it is.
func (a *author) write(files func(version string) map[string]string) (*edition, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seq++
	version := fmt.Sprintf("1.%d.0", a.seq)
	e := &edition{files: files(version)}
	e.manifest = &slipstream.Manifest{App: serviceApp, Package: mainPkg, Platform: slipstream.PlatformAny, Runtime: slipstream.AnyRuntime(),
		Seq: a.seq, Version: version, Entry: entryFile, Created: slipstream.At(time.Now()), Fallback: slices.Sorted(slices.Values(a.newest))}
	for _, path := range slices.Sorted(maps.Keys(e.files)) {
		sum := slipstream.DigestOf(sha256.Sum256([]byte(e.files[path])))
		e.manifest.Files = append(e.manifest.Files, slipstream.File{Path: path, Size: int64(len(e.files[path])), SHA256: sum, Exec: path == entryFile})
	}
	sealed, err := sign.Seal(sign.TypeManifest, e.manifest, a.signer)
	if err != nil {
		return nil, fmt.Errorf("sign manifest: %w", err)
	}
	e.digest, e.envelope = sign.DigestOf(sealed.Payload), sealed.Encode()
	a.editions[e.digest] = e
	return e, nil
}

// publish uploads a release and offers it on a channel to everybody.
func (a *author) publish(ctx context.Context, e *edition, channel string) (publish.CommitResult, error) {
	contents := map[slipstream.Digest]string{}
	for _, f := range e.manifest.Files {
		contents[f.SHA256] = e.files[f.Path]
	}
	missing, err := a.server.Missing(ctx, serviceApp, slices.Sorted(maps.Keys(contents)))
	if err != nil {
		return publish.CommitResult{}, err
	}
	for _, d := range missing {
		content := contents[d]
		err := a.server.PutBlob(ctx, serviceApp, publish.Blob{Digest: d, Size: int64(len(content)), Open: func(offset int64) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(content[offset:])), nil
		}})
		if err != nil {
			return publish.CommitResult{}, err
		}
	}
	none := 0
	done, err := a.server.Commit(ctx, publish.CommitRequest{App: serviceApp, Manifest: e.envelope,
		Rollout: &publish.NewRollout{Channel: channel, To: slipstream.FullShare, Control: &none}})
	if err != nil {
		return done, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	e.rollout, e.epoch = done.Rollout, done.Epoch
	a.newest = slices.Insert(a.newest, 0, e.digest)[:min(len(a.newest)+1, 10)]
	return done, nil
}

// release signs the next release, publishes it, and waits until devices are told of it.
func (a *author) release(ctx context.Context, channel string, files func(version string) map[string]string) (*edition, error) {
	a.turn.Lock()
	defer a.turn.Unlock()
	e, err := a.write(files)
	if err != nil {
		return nil, err
	}
	if _, err := a.publish(ctx, e, channel); err != nil {
		return nil, err
	}
	return e, a.service.awaitEpoch(ctx, a.trust, channel, e.epoch)
}

// awaitEpoch waits until the server gives devices a channel's state of an epoch: a second at most, says the design.
func (s *service) awaitEpoch(ctx context.Context, trust *sign.Trust, channel string, epoch int64) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 10*time.Second, fmt.Errorf("devices are not told of epoch %d of %s within 10 s", epoch, channel))
	defer cancel()
	for {
		status, raw, err := s.get(ctx, "/v1/apps/"+serviceApp+"/channels/"+channel+"/state/any")
		if err == nil && status == http.StatusOK {
			st, err := trust.State(raw)
			if err != nil {
				return err
			}
			if st.Epoch >= epoch {
				return nil
			}
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
		if err := sleepFor(ctx, 2*time.Millisecond); err != nil {
			return err
		}
	}
}

// edition is a signed release by its digest, nil when nobody signed it.
func (a *author) edition(d slipstream.Digest) *edition {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.editions[d]
}

// mixed says what is not as it was signed in the tree of e, "" when the tree is whole and nothing else.
func (e *edition) mixed(dir string) string {
	left := maps.Clone(e.files)
	var faults []string
	err := filepath.WalkDir(dir, func(full string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, full)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		want, signed := left[rel]
		delete(left, rel)
		got, err := os.ReadFile(full)
		switch {
		case err != nil:
			return err
		case !signed:
			faults = append(faults, rel+" is not signed")
		case string(got) != want:
			faults = append(faults, rel+" is not as it was signed")
		}
		return nil
	})
	if err != nil {
		return err.Error()
	}
	for _, path := range slices.Sorted(maps.Keys(left)) {
		faults = append(faults, path+" is missing")
	}
	return strings.Join(faults, ", ")
}
