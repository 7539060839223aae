package watch

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob/mem"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/store"
	"github.com/slipstream-ota/slipstream/store/sqlite"
)

const (
	killPath = "SLIPSTREAM_TEST_KILL_PATH"
	killNow  = "SLIPSTREAM_TEST_KILL_NOW"
)

// written is what a look leaves behind, each part read where it lies.
type written struct {
	look      rollout.Action // of the newest evidence
	looks     int
	hold      string
	share     int
	withdrawn bool
	entries   int   // of the audit log, by the guard
	epoch     int64 // of the signed state
}

func readWritten(t *testing.T, s store.Store, id string, release slipstream.Digest) (out written) {
	t.Helper()
	ctx := t.Context()
	err := s.View(ctx, func(tx store.Tx) error {
		ch, err := tx.Channels().Get(ctx, "shop", "production")
		if err != nil {
			return err
		}
		policy, err := rollout.PolicyOf(ch)
		if err != nil {
			return err
		}
		pkg, e, err := policy.Find(id)
		if err != nil {
			return err
		}
		out.hold, out.share, out.withdrawn = e.Hold, e.To, policy.Packages[pkg].WithdrawnOn(release, slipstream.PlatformAny)
		looks, err := tx.Log().Evidence().List(ctx, id, 0)
		if err != nil {
			return err
		}
		if out.looks = len(looks); out.looks > 0 {
			var l Look
			if err := json.Unmarshal(looks[out.looks-1].Doc, &l); err != nil {
				return err
			}
			out.look = l.Action
		}
		log, err := tx.Log().Audit().List(ctx, store.AuditQuery{App: "shop"})
		if err != nil {
			return err
		}
		for _, entry := range log {
			if entry.Actor == "guard" {
				out.entries++
			}
		}
		row, err := tx.States().Get(ctx, "shop", "production", slipstream.PlatformAny)
		out.epoch = row.Epoch
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestKilledInTheMiddleOfALook kills a process at random instants of the look that halts a release, or takes the next step
// of a plan. Evidence, policy, signed state and audit log must all know of it or none, and who comes after ends at the same.
func TestKilledInTheMiddleOfALook(t *testing.T) {
	if path := os.Getenv(killPath); path != "" {
		lookOnce(path, os.Getenv(killNow))
	}
	for name, c := range map[string]struct {
		fails func(int) bool
		want  written // afterwards, but for the epoch
	}{
		"halt":    {always, written{look: rollout.ActionHalt, looks: 1, hold: slipstream.HoldHalted, share: 1000, withdrawn: true, entries: 1}},
		"advance": {nil, written{look: rollout.ActionAdvance, looks: 1, share: slipstream.FullShare, entries: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "10%:1h:20,100%")
			if _, err := w.Rollout.SetGuard(t.Context(), "ann", "shop", "production", rollout.Guard{OnHalt: rollout.OnHaltWithdraw}); err != nil {
				t.Fatal(err)
			}
			w.Now = w.Now.Add(61 * time.Minute)
			w.join(slipstream.ArmTreatment, 40, c.fails)
			w.join(slipstream.ArmControl, 20, nil)
			backup := filepath.Join(t.TempDir(), "backup.db")
			if err := w.Store.(store.Backuper).Backup(t.Context(), backup); err != nil {
				t.Fatal(err)
			}
			before := readWritten(t, w.Store, w.id, w.new)
			rng := rand.New(rand.NewPCG(5, 6))
			const rounds = 25
			none, all := 0, 0
			for round := range rounds {
				path := copyOf(t, backup)
				// The first is killed before it can begin, the last one when it is done.
				after := time.Duration(rng.IntN(40)) * time.Millisecond
				lookUntilKilled(t, path, w.Now, after, round == 0, round == rounds-1)
				s, err := sqlite.Open(t.Context(), path, sqlite.Options{})
				if err != nil {
					t.Fatal(err)
				}
				got := readWritten(t, s, w.id, w.new)
				switch {
				case got == before:
					none++
				case whole(got, c.want, before):
					all++
				default:
					t.Errorf("round %d, killed after %s: half of it is there: %+v, before it was %+v", round, after, got, before)
				}
				if err := lookAt(t.Context(), s, w.Now); err != nil {
					t.Errorf("round %d: the look of the next process: %v", round, err)
				}
				if end := readWritten(t, s, w.id, w.new); !whole(end, c.want, before) {
					t.Errorf("round %d: the next process ends at %+v, want %+v", round, end, c.want)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if none == 0 || all == 0 {
				t.Errorf("%d times nothing was written, %d times all: the kills tell nothing", none, all)
			}
			t.Logf("nothing written %d times, everything %d times", none, all)
		})
	}
}

// whole compares all but the epoch, which must have risen.
func whole(got, want, before written) bool {
	risen := got.epoch > before.epoch
	got.epoch = 0
	return risen && got == want
}

func copyOf(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "slipstream.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func lookUntilKilled(t *testing.T, path string, now time.Time, after time.Duration, atOnce, whenDone bool) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestKilledInTheMiddleOfALook$")
	child.Env = append(os.Environ(), killPath+"="+path, killNow+"="+now.Format(time.RFC3339Nano))
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the child does not start: %q, %v", line, err)
	}
	if !atOnce {
		if _, err := fmt.Fprintln(in, "go"); err != nil {
			t.Fatal(err)
		}
		if whenDone {
			if line, err := lines.ReadString('\n'); err != nil || line != "done\n" {
				t.Fatalf("the child says %q, %v", line, err)
			}
		} else {
			time.Sleep(after)
		}
	}
	_ = child.Process.Kill() // it may be over
	_ = child.Wait()
}

// lookOnce is the child: it opens everything, waits for the word, looks, says so, and waits to be killed.
func lookOnce(path, at string) {
	err := func() error {
		now, err := time.Parse(time.RFC3339Nano, at)
		if err != nil {
			return err
		}
		s, err := sqlite.Open(context.Background(), path, sqlite.Options{})
		if err != nil {
			return err
		}
		fmt.Println("ready")
		in := bufio.NewReader(os.Stdin)
		if _, err := in.ReadString('\n'); err != nil {
			return err
		}
		if err := lookAt(context.Background(), s, now); err != nil {
			return err
		}
		fmt.Println("done")
		_, err = in.ReadString('\n')
		return err
	}()
	fmt.Println("failed:", err)
	os.Exit(1)
}

// lookAt is one round of a watcher in a process of its own, with the secret of the tests' world.
func lookAt(ctx context.Context, s store.Store, now time.Time) error {
	keys, err := rollout.OpenKeys(ctx, s, bytes.Repeat([]byte{7}, 32))
	if err != nil {
		return err
	}
	clock := func() time.Time { return now }
	service := rollout.New(rollout.Config{Store: s, Blobs: mem.New(), Keys: keys, Clock: clock})
	return New(Config{Store: s, Rollout: service, Clock: clock}).Round(ctx)
}
