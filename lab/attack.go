package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream/lab/driver"
	"github.com/slipstream-ota/slipstream/lab/siege"
)

// attackers is how many devices are attacked at once.
func attackers() int { return 2 * runtime.GOMAXPROCS(0) }

// attacks drives the Go client in this process.
func attacks() Proof {
	return Proof{
		Name:  "attacks",
		Claim: "no attack makes a device run what was not signed for it, and stolen keys do what the table says and no more; afterwards it still updates",
		Quick: 60 * time.Second, Full: 10 * time.Minute, Long: 22 * time.Second,
		Run: func(ctx context.Context, env Env) (Result, error) {
			cases := chosen(env, 0)
			out, err := siege.Storm(ctx, cases, attackers(), func(context.Context) (driver.Driver, error) { return &driver.Device{}, nil }, "")
			return told(out, counted(cases)), err
		},
	}
}

// protocol does the same through a program that speaks the protocol of docs/lab-protocol.md: our own, or env.Client.
func protocol() Proof {
	const some = 40
	return Proof{
		Name:  "protocol",
		Claim: "the same attacks come to nothing on a client behind the protocol of the lab, which a client in any language may speak",
		Quick: 30 * time.Second, Full: 10 * time.Minute,
		Needs: []Need{NeedProcesses()},
		Run: func(ctx context.Context, env Env) (Result, error) {
			words, err := clientWords(env)
			if err != nil {
				return Result{}, err
			}
			most := 0
			if env.Quick {
				most = some
			}
			cases := chosen(env, most)
			out, err := siege.Storm(ctx, cases, attackers(), func(ctx context.Context) (driver.Driver, error) {
				return driver.NewProgram(ctx, io.Discard, words[0], words[1:]...)
			}, filepath.Join(env.Dir, "devices"))
			return told(out, fmt.Sprintf("%s, by %s, on a real disk", counted(cases), filepath.Base(words[0]))), err
		},
	}
}

func clientWords(env Env) ([]string, error) {
	if words := strings.Fields(env.Client); len(words) > 0 {
		return words, nil
	}
	path := env.Program
	if path == "" {
		var err error
		if path, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("find this program: %w", err)
		}
	}
	return []string{path, "lab-client"}, nil
}

const theft = "stolen: " // how the names of cases with stolen keys begin

// chosen are the cases of a run: in a quick one a third of the thefts and no case that takes seconds; at most so many,
// but for 0.
func chosen(env Env, most int) []siege.Case {
	cases := siege.Cases()
	if env.Quick {
		random := rand.New(rand.NewPCG(env.Seed, 4))
		cases = slices.DeleteFunc(cases, func(c siege.Case) bool { return c.Slow || strings.HasPrefix(c.Name, theft) && random.IntN(3) > 0 })
	}
	if most > 0 && len(cases) > most {
		rand.New(rand.NewPCG(env.Seed, 3)).Shuffle(len(cases), func(i, j int) { cases[i], cases[j] = cases[j], cases[i] })
		cases = cases[:most]
	}
	return cases
}

func counted(cases []siege.Case) string {
	thefts := 0
	for _, c := range cases {
		if strings.HasPrefix(c.Name, theft) {
			thefts++
		}
	}
	return fmt.Sprintf("%d attacks, %d things tried with stolen keys", len(cases)-thefts, thefts)
}

func told(out siege.Outcome, detail string) Result {
	if out.Detail != "" {
		detail = strings.TrimPrefix(detail+"; "+out.Detail, "; ")
	}
	return Result{Tried: out.Tried, Wrong: out.Wrong, Detail: detail, Notes: out.Notes}
}

// mutants leaves out one step of verification at a time, in clients that exist for nothing else.
func mutants() Proof {
	const some = 2
	return Proof{
		Name:  "mutants",
		Claim: "without any one step of verification, at least one attack succeeds",
		Quick: 60 * time.Second, Full: 30 * time.Minute,
		Needs: []Need{NeedSource()},
		Run: func(ctx context.Context, env Env) (Result, error) {
			h := siege.Hunt{Source: env.Source, Dir: filepath.Join(env.Dir, "mutants"), Seed: env.Seed}
			if env.Quick {
				h.Some = some
			}
			out, err := h.Run(ctx)
			return told(out, ""), err
		},
	}
}

// changedBytes flips and cuts everything that a device reads.
func changedBytes() Proof {
	return Proof{
		Name:  "bytes",
		Claim: "every changed byte and every cut of every document and container of a small release is refused or without effect",
		Quick: 20 * time.Second, Full: 5 * time.Minute,
		Run: func(ctx context.Context, env Env) (Result, error) {
			f := siege.Flips{Seed: env.Seed, All: !env.Quick}
			if env.Quick {
				f.Most = 1000
			}
			out, err := f.Run(ctx)
			return told(out, ""), err
		},
	}
}

// hostileBodies floods a device, starves it, and sends it elsewhere.
func hostileBodies() Proof {
	return Proof{
		Name:  "bodies",
		Claim: "repeated, oversized, endless, dripping and redirected bodies neither hang nor fill the disk; at most one byte more is read than was signed",
		Quick: 30 * time.Second, Full: 5 * time.Minute,
		Run: func(ctx context.Context, env Env) (Result, error) {
			cases := siege.Bodies()
			if env.Quick {
				cases = slices.DeleteFunc(cases, func(c siege.Case) bool { return c.Slow })
			}
			out, err := siege.Storm(ctx, cases, attackers(), siege.NewMetered, "")
			if err == nil && out.Tried == 0 {
				err = errors.New("nothing was tried")
			}
			return told(out, fmt.Sprintf("%d bodies", out.Tried)), err
		},
	}
}
