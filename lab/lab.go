package lab

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// Proof is one claim about the system, and what tries to break it.
type Proof struct {
	Name  string // lower case, short
	Claim string // what holds when nothing is wrong
	// Quick and Full are how long it may take. A proof that is over its time is stopped and counts as wrong.
	// Both are of a machine of two cores that does nothing else, see pace.
	Quick, Full time.Duration
	// Long is about how long the quick form takes on two cores beside two others, when that is long: those begin first.
	Long  time.Duration
	Needs []Need
	Run   func(ctx context.Context, env Env) (Result, error)
}

// Env is what proofs run in.
type Env struct {
	Quick   bool
	Seed    uint64
	Dir     string // for scratch files; every proof has its own
	Source  string // of a checkout of this project, "" when there is none
	Program string // the slipstream command to run; "" is the program that runs now
	Client  string // a program to attack that speaks the protocol of docs/lab-protocol.md, with its arguments; "" is our own
	Log     *slog.Logger
}

// Result of a proof. An error of Run means that the proof itself broke down, which counts as wrong.
type Result struct {
	Tried  int      // states, images, requests: what Detail says
	Wrong  int      // of these
	Detail string   // one line for the scoreboard
	Notes  []string // wrong ones first: what was lost, and how to see it again
}

// Row is a proof's line on the scoreboard. NotRun says why when it did not run.
type Row struct {
	Name   string   `json:"name"`
	Claim  string   `json:"claim"`
	Tried  int      `json:"tried"`
	Wrong  int      `json:"wrong"`
	Detail string   `json:"detail,omitempty"`
	Notes  []string `json:"notes,omitempty"`
	NotRun string   `json:"notRun,omitempty"`
	Millis int64    `json:"millis"`
}

// Scoreboard is the outcome of one run. The same seed tries the same things again.
type Scoreboard struct {
	Quick bool   `json:"quick"`
	Seed  uint64 `json:"seed"`
	Rows  []Row  `json:"rows"`
}

// Wrong is how many rows have something wrong.
func (s *Scoreboard) Wrong() int { return s.count(func(r Row) bool { return r.Wrong > 0 }) }

// NotRun is how many rows did not run.
func (s *Scoreboard) NotRun() int { return s.count(func(r Row) bool { return r.NotRun != "" }) }

func (s *Scoreboard) count(is func(Row) bool) int {
	n := 0
	for _, r := range s.Rows {
		if is(r) {
			n++
		}
	}
	return n
}

// quickAtOnce is how many proofs a quick run does at a time: much of what they do is waiting.
const quickAtOnce = 3

// Run runs the proofs and gives their rows in the same order: in the full form one after the other, so that none disturbs
// another's times, in the quick one the longest first, so that none is left alone at the end. done is called after each, never twice at a time, and may be nil. When ctx ends, what is left counts as
// not run.
func Run(ctx context.Context, proofs []Proof, env Env, done func(Row)) *Scoreboard {
	board := &Scoreboard{Quick: env.Quick, Seed: env.Seed, Rows: make([]Row, len(proofs))}
	atOnce := 1
	if env.Quick {
		atOnce = quickAtOnce
	}
	clock := newPace(time.Now())
	looking, stop := context.WithCancel(ctx)
	var looker sync.WaitGroup
	looker.Go(func() { clock.run(looking) })
	defer looker.Wait()
	defer stop()
	var telling sync.Mutex
	work := make(chan int)
	var workers sync.WaitGroup
	for range atOnce {
		workers.Go(func() {
			for i := range work {
				board.Rows[i] = runOne(ctx, proofs[i], env, clock)
				if done != nil {
					telling.Lock()
					done(board.Rows[i])
					telling.Unlock()
				}
			}
		})
	}
	order := make([]int, len(proofs))
	for i := range order {
		order[i] = i
	}
	if env.Quick {
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(proofs[b].Long, proofs[a].Long) })
	}
	for _, i := range order {
		work <- i
	}
	close(work)
	workers.Wait()
	return board
}

func runOne(ctx context.Context, p Proof, env Env, clock *pace) Row {
	row := Row{Name: p.Name, Claim: p.Claim}
	if err := ctx.Err(); err != nil {
		row.NotRun = "stopped before it began"
		return row
	}
	for _, need := range p.Needs {
		if why := need.Missing(env); why != "" {
			row.NotRun = need.Name + ": " + why
			return row
		}
	}
	limit := p.Full
	if env.Quick {
		limit = p.Quick
	}
	limited, cancel := clock.limited(ctx, limit)
	defer cancel()
	env.Dir = filepath.Join(env.Dir, strings.ReplaceAll(p.Name, " ", "-"))
	begun := time.Now()
	var result Result
	err := os.MkdirAll(env.Dir, 0o700)
	if err == nil {
		result, err = p.Run(limited, env)
	}
	row.Millis = time.Since(begun).Milliseconds()
	row.Tried, row.Wrong, row.Detail, row.Notes = result.Tried, result.Wrong, result.Detail, result.Notes
	switch {
	case err != nil && ctx.Err() != nil && result.Wrong == 0:
		row.NotRun = "stopped"
	case err != nil:
		row.Wrong++
		row.Notes = append([]string{"the proof broke down: " + err.Error()}, row.Notes...)
	}
	return row
}

// Find gives the proof with this name.
func Find(proofs []Proof, name string) (Proof, bool) {
	i := slices.IndexFunc(proofs, func(p Proof) bool { return p.Name == name })
	if i < 0 {
		return Proof{}, false
	}
	return proofs[i], true
}

const shownNotes = 8

// Print writes the scoreboard as a table, and below it what was wrong.
func (s *Scoreboard) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "PROOF\tTRIED\tWRONG\tTIME\t")
	for _, r := range s.Rows {
		switch {
		case r.NotRun != "":
			fmt.Fprintf(t, "%s\t-\t-\t\tnot run: %s\n", r.Name, r.NotRun)
		default:
			fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%s\n", r.Name, r.Tried, r.Wrong, (time.Duration(r.Millis) * time.Millisecond).Round(100*time.Millisecond), r.Detail)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, r := range s.Rows {
		if len(r.Notes) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n%s:\n", r.Name)
		for _, note := range r.Notes[:min(len(r.Notes), shownNotes)] {
			fmt.Fprintf(w, "  - %s\n", strings.ReplaceAll(note, "\n", "\n    "))
		}
		if more := len(r.Notes) - shownNotes; more > 0 {
			fmt.Fprintf(w, "  … and %d more\n", more)
		}
	}
	kind := "full"
	if s.Quick {
		kind = "quick"
	}
	_, err := fmt.Fprintf(w, "\n%d proofs, %d not run, %d wrong (%s run, seed %d)\n", len(s.Rows), s.NotRun(), s.Wrong(), kind, s.Seed)
	return err
}

// Need is something that a proof cannot do without. Missing says why it is not there, "" when it is.
type Need struct {
	Name    string
	Missing func(env Env) string
}

// NeedSource is a checkout of this project with Go to build it.
func NeedSource() Need {
	return Need{Name: "source", Missing: func(env Env) string {
		if env.Source == "" {
			return "not started in a checkout of the source"
		}
		if _, err := os.Stat(filepath.Join(env.Source, "go.mod")); err != nil {
			return "no go.mod in " + env.Source
		}
		return NeedProgram("go").Missing(env)
	}}
}

// NeedProgram is a program on the search path.
func NeedProgram(name string) Need {
	return Need{Name: name, Missing: func(Env) string {
		if _, err := exec.LookPath(name); err != nil {
			return "the program is not installed"
		}
		return ""
	}}
}

// NeedFUSE is the right to mount a FUSE file system.
func NeedFUSE() Need {
	return Need{Name: "FUSE", Missing: func(Env) string { return openable("/dev/fuse") }}
}

// NeedLoop is the right to mount a file as a disk.
func NeedLoop() Need {
	return Need{Name: "loop devices", Missing: func(env Env) string {
		if why := openable("/dev/loop-control"); why != "" {
			return why
		}
		if os.Geteuid() != 0 {
			return "mounting needs root"
		}
		return ""
	}}
}

func openable(device string) string {
	if runtime.GOOS != "linux" {
		return "only on Linux"
	}
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return err.Error()
	}
	if err := f.Close(); err != nil {
		return err.Error()
	}
	return ""
}
