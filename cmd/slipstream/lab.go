//go:build !device

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/lab"
)

type labFlags struct {
	quick  bool
	only   []string
	seed   uint64
	client string
}

func newLabCommand(t *tool) *cobra.Command {
	var f labFlags
	var names []string
	for _, p := range lab.Proofs() {
		names = append(names, p.Name)
	}
	c := &cobra.Command{
		Use:   "lab",
		Short: "Prove that nothing is lost, forged or bricked, and print one scoreboard",
		Long: "Runs every proof against the real code: power cuts, kills, attacks, hostile bytes. The full run takes two hours,\n" +
			"--quick less than two minutes on two cores. A proof that cannot run here says why and counts as not run. The exit code is 1 when\n" +
			"anything is wrong. Proofs: " + strings.Join(names, ", ") + ".",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return t.runLab(c.Context(), f) },
	}
	c.Flags().BoolVar(&f.quick, "quick", false, "a short form of every proof")
	c.Flags().StringArrayVar(&f.only, "only", nil, "run only this proof; may be repeated")
	c.Flags().StringVar(&f.client, "client", "", "a client to attack instead of our own: a program, with its arguments, that speaks the protocol of docs/lab-protocol.md")
	c.Flags().Uint64Var(&f.seed, "seed", 1, "what is drawn at random; the same seed tries the same things")
	return c
}

// quickMemory is how much memory the quick form may take before it collects more often, in bytes.
const quickMemory = 640 << 20

func (t *tool) runLab(ctx context.Context, f labFlags) (err error) {
	proofs := lab.Proofs()
	if len(f.only) > 0 {
		proofs = nil
		for _, name := range f.only {
			p, ok := lab.Find(lab.Proofs(), name)
			if !ok {
				return usageError{slipstream.Hint(fmt.Errorf("there is no proof %q", name), "see `slipstream lab --help`")}
			}
			proofs = append(proofs, p)
		}
	}
	scratch, err := os.MkdirTemp("", "slipstream-lab-")
	if err != nil {
		return fmt.Errorf("make scratch folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	if f.quick {
		// Thousands of short lives in memory: collecting less often saves a tenth of the processor's time. A full run, which
		// judges what is allocated, stays as servers and devices are.
		debug.SetGCPercent(400)
		debug.SetMemoryLimit(quickMemory)
	}
	env := lab.Env{Quick: f.quick, Seed: f.seed, Dir: scratch, Source: checkout(), Client: f.client, Log: slog.New(slog.DiscardHandler)}
	board := lab.Run(ctx, proofs, env, func(r lab.Row) {
		if terminal(t.stderr) {
			fmt.Fprintf(t.stderr, "%s: done\n", r.Name)
		}
	})
	if err := t.print(board, func(w io.Writer) { err = board.Print(w) }); err != nil {
		return err
	}
	switch {
	case err != nil:
		return err
	case ctx.Err() != nil:
		return errors.New("stopped before the end")
	case board.Wrong() > 0:
		return exitCode(exitError)
	}
	return nil
}

// checkout is the folder of this project's source that the command was started in, "" when there is none.
func checkout() string {
	dir, err := os.Getwd()
	for err == nil {
		mod, rerr := os.ReadFile(filepath.Join(dir, "go.mod"))
		if rerr == nil && strings.HasPrefix(string(mod), "module github.com/slipstream-ota/slipstream\n") {
			return dir
		}
		if dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	return ""
}
