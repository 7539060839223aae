package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"log/slog"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client"
	"github.com/slipstream-ota/slipstream/internal/crashfs"
)

// TestProofs is the quick form of `slipstream lab`: every proof there is, against the command built from this tree.
func TestProofs(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the command and does everything to it")
	}
	source, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "slipstream")
	if out, err := exec.Command("go", "build", "-o", program, "github.com/slipstream-ota/slipstream/cmd/slipstream").CombinedOutput(); err != nil {
		t.Fatalf("build the command: %v\n%s", err, out)
	}
	clock := newPace(time.Now())
	looking, stop := context.WithCancel(context.Background())
	var looker sync.WaitGroup
	looker.Go(func() { clock.run(looking) })
	t.Cleanup(func() { stop(); looker.Wait() })
	for _, p := range Proofs() {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			p.Quick *= 3 // other tests run beside it, more than clock can see
			row := runOne(t.Context(), p, Env{Quick: true, Seed: 1, Dir: t.TempDir(), Source: source, Program: program, Log: slog.New(slog.DiscardHandler)}, clock)
			if row.NotRun != "" {
				t.Skip(row.NotRun)
			}
			t.Logf("%d %s", row.Tried, row.Detail)
			if row.Wrong == 0 && row.Tried > 0 {
				return
			}
			t.Errorf("%d of %d wrong", row.Wrong, row.Tried)
			for _, note := range row.Notes {
				t.Error(note)
			}
		})
	}
}

// TestNoProofIsForgotten: a function that makes a proof stands in the list.
func TestNoProofIsForgotten(t *testing.T) {
	t.Parallel()
	made := map[string]bool{}
	listed := map[string]bool{}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			fn, is := d.(*ast.FuncDecl)
			if !is || fn.Recv != nil {
				continue
			}
			if r := fn.Type.Results; fn.Type.Params.NumFields() == 0 && r.NumFields() == 1 {
				if id, is := r.List[0].Type.(*ast.Ident); is && id.Name == "Proof" {
					made[fn.Name.Name] = true
				}
			}
			if fn.Name.Name == "Proofs" {
				ast.Inspect(fn, func(n ast.Node) bool {
					if call, is := n.(*ast.CallExpr); is {
						if id, is := call.Fun.(*ast.Ident); is {
							listed[id.Name] = true
						}
					}
					return true
				})
			}
		}
	}
	if len(made) == 0 || !maps.Equal(made, listed) {
		t.Errorf("made: %v\nlisted in proofs.go: %v", slices.Sorted(maps.Keys(made)), slices.Sorted(maps.Keys(listed)))
	}
}

func TestPowerCutsNoticeAClientThatNeverSyncs(t *testing.T) {
	p := powerCuts()
	p.Run = func(ctx context.Context, env Env) (Result, error) { return cutPower(ctx, env, lazy{}, 16) }
	row := runOne(t.Context(), p, Env{Quick: true, Seed: 1, Dir: t.TempDir()}, newPace(time.Now()))
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
		if p.Long > p.Quick || p.Quick > time.Minute && p.Long == 0 {
			t.Errorf("%s: may take %s, and takes %s: a quick run does not know when to begin it", p.Name, p.Quick, p.Long)
		}
		seen[p.Name] = true
	}
}

func TestAQuickRunBeginsTheLongest(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var begun []string
	var proofs []Proof
	all := make(chan struct{})
	for i, long := range []time.Duration{0, 3 * time.Second, 0, 20 * time.Second, 9 * time.Second} {
		name := fmt.Sprint(i)
		proofs = append(proofs, Proof{Name: name, Quick: time.Hour, Long: long, Run: func(context.Context, Env) (Result, error) {
			mu.Lock()
			begun = append(begun, name)
			if len(begun) == quickAtOnce {
				close(all)
			}
			mu.Unlock()
			<-all // the first ones begin before any other
			return Result{Tried: 1}, nil
		}})
	}
	Run(t.Context(), proofs, Env{Quick: true, Dir: t.TempDir()}, nil)
	first := slices.Sorted(slices.Values(begun[:quickAtOnce]))
	if !slices.Equal(first, []string{"1", "3", "4"}) {
		t.Errorf("%v begin, want those that take long", first)
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
