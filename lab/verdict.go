package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client"
	"github.com/slipstream-ota/slipstream/client/trial"
	"github.com/slipstream-ota/slipstream/sign"
)

// verdict is what a disk is worth. It is found by the real client, started on that disk, and by reading the files that
// are documented. It depends on nothing but the disk.
type verdict struct {
	broken []string // what no disk may be, whatever happened to it

	fate       string // what the next start runs, how often it was tried, and with what evidence
	whole      string // the same and all other roles, history and refusals
	generation int64
	root       int64 // the last of the kept chain
	shown      int64 // version of root.json
	epoch      int64 // the highest that is remembered of the channel
	kept       int64 // of the kept state, when it was signed under the kept root
	channel    string
	anchors    map[string]int64
	device     string // install id
	outbox     map[string]bool
}

func (v *verdict) wrong(format string, args ...any) {
	v.broken = append(v.broken, fmt.Sprintf(format, args...))
}

// generation is a file of state as package client documents it.
type generation struct {
	Format int64           `json:"format"`
	Number int64           `json:"generation"`
	SHA256 string          `json:"sha256"`
	Body   json.RawMessage `json:"body"`
	body   struct {
		Trial    trial.State        `json:"trial"`
		Outbox   []slipstream.Event `json:"outbox"`
		Channels map[string]struct {
			Epoch int64 `json:"epoch"`
		} `json:"channels"`
	}
}

// judge finds out what a disk is worth. The disk is used up by it.
func (l *life) judge(ctx context.Context, m machine, goOn bool) *verdict {
	v := &verdict{anchors: map[string]int64{}, outbox: map[string]bool{}}
	v.readFiles(l, m)
	j := l.judging(m, 1)
	j.verdict = v
	for _, stage := range []func(context.Context) error{j.startOffline, j.crashLoop, j.replay, j.goOn} {
		if len(v.broken) > 0 || !goOn && len(v.fate) > 0 {
			break
		}
		if err := stage(ctx); err != nil {
			v.wrong("%v", err)
		}
	}
	if err := j.locked.kill(); err != nil {
		v.wrong("%v", err)
	}
	return v
}

// judging is the device with a disk m, at the end of the life.
func (l *life) judging(m machine, seed uint64) *judging {
	j := &judging{life: l, machine: m, verdict: &verdict{anchors: map[string]int64{}}, clock: newClock(), rand: newRand(seed)}
	j.clock.advance(l.clock.Now().Sub(j.clock.Now()))
	return j
}

// readFiles reads what the directory says before anybody touches it.
func (v *verdict) readFiles(l *life, m machine) {
	read := func(parts ...string) []byte {
		raw, err := readFile(m.fs, filepath.Join(append([]string{m.dir}, parts...)...))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			v.wrong("read %s: %v", parts, err)
		}
		return raw
	}
	var numbers []int64
	for _, name := range []string{"state.json", "state.previous.json"} {
		raw := read(name)
		if raw == nil {
			continue
		}
		g, err := parseGeneration(raw)
		if err != nil {
			v.wrong("%s is damaged: %v", name, err)
			continue
		}
		numbers = append(numbers, g.Number)
		for _, d := range g.body.Trial.Names() {
			if d == l.releases["main1"].Digest {
				continue // runs from the app binary
			}
			if err := checkTree(m, l.repo.Get(d)); err != nil {
				v.wrong("%s names release %s, of which the tree is not whole: %v", name, d.Short(), err)
			}
			if raw := read("releases", string(d)+".manifest.json"); l.repo.Get(d) != nil && !bytes.Equal(raw, l.repo.Get(d).Envelope) {
				v.wrong("%s names release %s, of which the manifest is gone", name, d.Short())
			}
		}
		if v.generation == 0 {
			v.generation, v.channel = g.Number, g.body.Trial.Channel
			v.epoch = g.body.Channels[v.channel].Epoch
			for _, e := range g.body.Outbox {
				v.outbox[e.ID] = true
			}
		}
	}
	if n := append(numbers, 0, 0); n[0]-n[1] > 1 {
		v.wrong("generation %d is followed by %d: the one between is not kept", n[1], n[0])
	}
	if raw := read("device.json"); raw != nil {
		var d struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(raw, &d); err != nil {
			v.wrong("device.json is damaged: %v", err)
		}
		v.device = d.ID
	}
	v.readTrust(l, read)
}

// readTrust walks the kept chain of roots, of which the last is in force. root.json shows it to people and tools.
func (v *verdict) readTrust(l *life, read func(...string) []byte) {
	trust, err := l.trust(nil, l.repo.Root(1))
	for err == nil {
		v.root = trust.Root().Version
		raw := read("trust", "roots", fmt.Sprintf("%d.json", v.root+1))
		if raw == nil {
			break
		}
		trust, err = l.trust(trust, raw)
	}
	if err != nil {
		v.wrong("the kept root after %d is damaged: %v", v.root, err)
		return
	}
	if raw := read("trust", "root.json"); raw != nil {
		shown, err := l.trust(nil, raw)
		if err != nil {
			v.wrong("root.json is damaged: %v", err)
			return
		}
		if v.shown = shown.Root().Version; v.shown > v.root {
			v.wrong("root.json is of version %d, but the kept chain ends at %d", v.shown, v.root)
		}
	}
	if raw := read("trust", "state-"+v.channel+".json"); raw != nil {
		if s, err := trust.State(raw); err == nil {
			if s.RootVersion == v.root && s.Epoch < v.epoch {
				v.wrong("the kept state is of epoch %d, but epoch %d was accepted: a restart decides by the older one", s.Epoch, v.epoch)
			}
			v.epoch = max(v.epoch, s.Epoch)
			if s.RootVersion == v.root {
				v.kept = s.Epoch
			}
		} else if slipstream.ReasonOf(err, "") != slipstream.ReasonSignatureInvalid {
			v.wrong("the kept state is damaged: %v", err)
		}
	}
}

// trust opens a root, or the one after another, once for all disks that hold it.
func (l *life) trust(before *sign.Trust, raw []byte) (*sign.Trust, error) {
	key := fmt.Sprintf("%t %s", before == nil, raw)
	if t, known := l.trusts.Load(key); known {
		return t.(*sign.Trust), nil
	}
	var t *sign.Trust
	var err error
	if before == nil {
		t, err = sign.OpenRoot(raw)
	} else {
		t, err = before.Next(raw)
	}
	if err == nil {
		l.trusts.Store(key, t)
	}
	return t, err
}

func parseGeneration(raw []byte) (*generation, error) {
	var g generation
	if err := json.Unmarshal(raw, &g); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(g.Body)
	if hex.EncodeToString(sum[:]) != g.SHA256 {
		return nil, errors.New("the checksum is wrong")
	}
	return &g, json.Unmarshal(g.Body, &g.body)
}

func readFile(disk client.FS, name string) ([]byte, error) {
	f, err := disk.Open(name)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	return b, errors.Join(err, f.Close())
}

// checkTree compares a tree on disk with the release as it was signed, in both directions.
func checkTree(m machine, r *Release) error {
	if r == nil {
		return errors.New("nobody published it")
	}
	dir := filepath.Join(m.dir, "releases", string(r.Digest))
	for path, want := range r.Files {
		got, err := readFile(m.fs, filepath.Join(dir, filepath.FromSlash(path)))
		if err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("%s has other bytes (%d, not %d)", path, len(got), len(want))
		}
	}
	n, err := countFiles(m.fs, dir)
	if err == nil && n != len(r.Files) {
		err = fmt.Errorf("%d files instead of %d", n, len(r.Files))
	}
	return err
}

func countFiles(disk client.FS, dir string) (int, error) {
	entries, err := disk.ReadDir(dir)
	n := 0
	for _, e := range entries {
		below := 1
		if e.IsDir() && err == nil {
			below, err = countFiles(disk, filepath.Join(dir, e.Name()))
		}
		n += below
	}
	return n, err
}

// judging is the device after the power came back.
type judging struct {
	*life
	machine
	*verdict
	clock  *clock
	rand   io.Reader
	locked ownLocks
	client *client.Client
	launch *client.Launch
}

type noNetwork struct{}

func (noNetwork) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("there is no network")
}

// reopen is the start of a new process, after the one before was killed.
func (j *judging) reopen(ctx context.Context, transport http.RoundTripper) error {
	if err := j.locked.kill(); err != nil {
		return err
	}
	m := j.machine
	j.locked.Locks = m.locks
	m.locks = &j.locked
	var err error
	if j.client, err = client.Open(ctx, j.config(m, transport, j.clock, j.rand)); err != nil {
		return fmt.Errorf("the client does not open: %w", err)
	}
	return nil
}

func (j *judging) start(ctx context.Context) error {
	var err error
	if j.launch, err = j.client.Start(ctx); err != nil {
		return fmt.Errorf("nothing starts: %w", err)
	}
	if j.launch.Token == "" {
		return fmt.Errorf("the start is not kept: %s", j.launch.Reason)
	}
	for _, pkg := range lifePackages {
		t := j.launch.Packages[pkg]
		if t.Embedded {
			continue
		}
		r := j.repo.Get(t.Release)
		if err := checkTree(j.machine, r); err != nil {
			return fmt.Errorf("what runs of %s is not what was signed: %w", pkg, err)
		}
		if t.Entry != r.Manifest.Entry || filepath.Base(t.Dir) != string(t.Release) {
			return fmt.Errorf("%s runs %s of %s instead of %s", pkg, t.Entry, t.Dir, r.Manifest.Entry)
		}
	}
	return nil
}

// startOffline is the first start after the power cut, without a network.
func (j *judging) startOffline(ctx context.Context) error {
	if err := j.reopen(ctx, noNetwork{}); err != nil {
		return err
	}
	if err := j.start(ctx); err != nil {
		return err
	}
	for _, e := range j.client.Pending() {
		if e.Reason == slipstream.ReasonStorageCorrupted {
			return fmt.Errorf("the client found damage: %s", e.Detail)
		}
	}
	raw, err := readFile(j.fsys(), filepath.Join(j.machine.dir, "state.json"))
	if err != nil {
		return err
	}
	g, err := parseGeneration(raw)
	if err != nil {
		return fmt.Errorf("the start left a damaged state: %w", err)
	}
	s := g.body.Trial
	var fate strings.Builder
	for _, pkg := range lifePackages {
		t, held := j.launch.Packages[pkg], j.client.Holds(pkg)
		fmt.Fprintf(&fate, "%s runs %d (trial %t, in force %d, %d bad starts) ", pkg, t.Seq, t.Trial, held.Official.Seq, s.Packages[pkg].Crashes)
		j.anchors[pkg] = held.Anchor.Seq
	}
	if s.Trial != nil {
		fmt.Fprintf(&fate, "attempt %d, %d points", s.Trial.Attempt, s.Trial.Points)
	}
	whole, err := json.Marshal(s)
	j.fate, j.whole = fate.String(), string(whole)
	return err
}

func (j *judging) fsys() client.FS { return j.machine.fs }

// Three unknown ends are the most that a trial may have: 2 points each, 6 end it.
const maxUnknownStarts = 3

// crashLoop kills every start of a release on trial.
func (j *judging) crashLoop(ctx context.Context) error {
	for j.launch.Trial {
		if j.launch.Attempt > maxUnknownStarts {
			return fmt.Errorf("a release on trial starts for the %dth time although every start before was killed", j.launch.Attempt)
		}
		if err := errors.Join(j.reopen(ctx, noNetwork{}), j.start(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// replay offers the newest state from before the one that the device accepted last, by the same key.
func (j *judging) replay(ctx context.Context) error {
	var old *IssuedState
	for _, s := range j.repo.Issued() {
		if s.Channel == j.channel && s.RootVersion == j.root && s.Epoch < j.kept && (old == nil || s.Epoch > old.Epoch) {
			old = &s
		}
	}
	if old == nil {
		return nil
	}
	if err := j.reopen(ctx, replaying{old.Envelope}); err != nil {
		return err
	}
	_, err := j.client.Check(ctx)
	if reason := slipstream.ReasonOf(err, ""); reason != slipstream.ReasonStaleState {
		return fmt.Errorf("a state of epoch %d after %d was not refused as stale: %w", old.Epoch, j.kept, err)
	}
	return nil
}

// replaying answers every question for a state with an old one.
type replaying struct{ state []byte }

func (r replaying) RoundTrip(req *http.Request) (*http.Response, error) {
	status, body := http.StatusNotFound, []byte(nil)
	if strings.Contains(req.URL.Path, "/state/") {
		status, body = http.StatusOK, r.state
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body)), Request: req}, nil
}

// goOn follows the repository: within a few starts the device must run what it offers in the end.
func (j *judging) goOn(ctx context.Context) error {
	j.clock.advance(7 * time.Hour) // past the wait for a second try
	for range 4 {
		if err := j.reopen(ctx, j.repo); err != nil {
			return err
		}
		if _, err := j.client.Update(ctx); err != nil {
			return fmt.Errorf("the device cannot update any more: %w", err)
		}
		if err := errors.Join(j.reopen(ctx, j.repo), j.start(ctx)); err != nil {
			return err
		}
		if err := j.launch.Confirm(ctx); err != nil {
			return fmt.Errorf("the device cannot confirm any more: %w", err)
		}
		if !slices.ContainsFunc(lifePackages[:], func(pkg string) bool { return j.client.Holds(pkg).Official.Digest != j.final[pkg].Digest }) {
			return nil
		}
	}
	return fmt.Errorf("the device does not reach the last release: main is %d", j.client.Holds(mainPkg).Official.Seq)
}
