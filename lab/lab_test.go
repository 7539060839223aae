package lab

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client"
	"github.com/slipstream-ota/slipstream/internal/crashfs"
)

func TestCrashModel(t *testing.T) { runQuick(t, crashModel()) }

func TestPowerCuts(t *testing.T) { runQuick(t, powerCuts()) }

func runQuick(t *testing.T, p Proof) {
	t.Helper()
	row := runOne(t.Context(), p, Env{Quick: true, Seed: 1, Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if row.NotRun != "" {
		t.Skip(row.NotRun)
	}
	if row.Wrong > 0 || row.Tried == 0 {
		t.Errorf("%d of %d wrong", row.Wrong, row.Tried)
		for _, note := range row.Notes {
			t.Error(note)
		}
	}
	t.Log(row.Tried, row.Detail)
}

func TestPowerCutsNoticeAClientThatNeverSyncs(t *testing.T) {
	p := powerCuts()
	p.Run = func(ctx context.Context, env Env) (Result, error) { return cutPower(ctx, env, lazy{}, 16) }
	row := runOne(t.Context(), p, Env{Quick: true, Seed: 1, Dir: t.TempDir()})
	if row.NotRun != "" {
		t.Skip(row.NotRun)
	}
	if row.Wrong == 0 {
		t.Errorf("%d images of a client without any fsync, and none is wrong", row.Tried)
	}
}

// lazy is a disk on which nothing is ever synced.
type lazy struct{ client.Disk }

func (l lazy) Create(name string, perm fs.FileMode) (client.File, error) {
	f, err := l.Disk.Create(name, perm)
	return lazyFile{f}, err
}

func (lazy) SyncDir(string) error { return nil }

type lazyFile struct{ client.File }

func (lazyFile) Sync() error { return nil }

func TestScoreboard(t *testing.T) {
	t.Parallel()
	good := func(context.Context, Env) (Result, error) { return Result{Tried: 3, Detail: "things"}, nil }
	board := Run(t.Context(), []Proof{
		{Name: "good", Quick: time.Minute, Run: good},
		{Name: "wrong", Quick: time.Minute, Run: func(context.Context, Env) (Result, error) {
			return Result{Tried: 3, Wrong: 1, Notes: []string{"the second was lost"}}, nil
		}},
		{Name: "broken", Quick: time.Minute, Run: func(context.Context, Env) (Result, error) { return Result{}, errors.New("no disk") }},
		{Name: "slow", Quick: time.Millisecond, Run: func(ctx context.Context, _ Env) (Result, error) {
			<-ctx.Done()
			return Result{}, context.Cause(ctx)
		}},
		{Name: "needy", Quick: time.Minute, Run: good, Needs: []Need{{Name: "a moon", Missing: func(Env) string { return "it is day" }}}},
	}, Env{Quick: true, Seed: 7, Dir: t.TempDir()}, nil)
	if board.Wrong() != 3 || board.NotRun() != 1 {
		t.Errorf("%d wrong, %d not run", board.Wrong(), board.NotRun())
	}
	var b bytes.Buffer
	if err := board.Print(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"not run: a moon: it is day", "the second was lost", "the proof broke down: no disk", "not done within 1ms", "5 proofs, 1 not run, 3 wrong (quick run, seed 7)"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the scoreboard does not say %q:\n%s", want, b.String())
		}
	}
}

func TestWhatIsStoppedDidNotRun(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	board := Run(ctx, []Proof{
		{Name: "first", Full: time.Minute, Run: func(ctx context.Context, _ Env) (Result, error) { cancel(); return Result{}, ctx.Err() }},
		{Name: "second", Full: time.Minute},
	}, Env{Dir: t.TempDir()}, nil)
	if board.NotRun() != 2 || board.Wrong() != 0 {
		t.Errorf("%d not run, %d wrong", board.NotRun(), board.Wrong())
	}
}

func TestProofsHaveDifferentNamesAndBoundedTimes(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, p := range Proofs() {
		if seen[p.Name] || p.Name == "" || p.Claim == "" || p.Quick <= 0 || p.Full < p.Quick {
			t.Errorf("%+v", p)
		}
		seen[p.Name] = true
	}
}

func TestARepositoryServesARealClientAndTampersOnDemand(t *testing.T) {
	t.Parallel()
	disk := crashfs.New()
	l, err := newLife(machine{fs: disk, locks: disk, dir: "/device", settle: disk.Settle}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.open(t.Context()), l.offerNew(production, Spec{Package: mainPkg, Seq: 2})); err != nil {
		t.Fatal(err)
	}
	l.repo.Tamper = func(a *Response) {
		if strings.Contains(a.Request.URL.Path, "/manifests/") {
			a.Bytes = bytes.Replace(a.Bytes, []byte(`"payload":"`), []byte(`"payload":"AAAA`), 1)
		}
	}
	if _, err := l.client.Update(t.Context()); slipstream.ReasonOf(err, "") != slipstream.ReasonSignatureInvalid {
		t.Errorf("a manifest with other bytes: %v", err)
	}
	l.repo.Tamper = nil
	updated, err := l.client.Update(t.Context())
	if err != nil || len(updated.Staged) != 1 {
		t.Errorf("the real one: %+v, %v", updated, err)
	}
	decided, err := l.client.CheckDecision(t.Context())
	if err != nil || !decided.Decision {
		t.Errorf("a decision: %+v, %v", decided, err)
	}
	if err := errors.Join(l.client.Report(t.Context()), l.stop()); err != nil || len(l.repo.Reports()) < 3 {
		t.Errorf("%d reports, %v", len(l.repo.Reports()), err)
	}
}
