package sqlite_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
	"github.com/slipstream-ota/slipstream/store/sqlite"
)

const killPath = "SLIPSTREAM_TEST_KILL_PATH"

// TestKilledWhileWriting kills a process that publishes and takes reports, at random instants from the making of the
// database on. What it acknowledged must be there; what it did not is there whole or not at all.
func TestKilledWhileWriting(t *testing.T) {
	if path := os.Getenv(killPath); path != "" {
		writeForever(path)
	}
	path := filepath.Join(t.TempDir(), "slipstream.db")
	rng := rand.New(rand.NewPCG(3, 4))
	releases, events, places := 0, 0, map[string]bool{}
	for round := range 30 {
		acknowledged := writeUntilKilled(t, path, time.Duration(rng.IntN(80))*time.Millisecond)
		s := open(t, path, sqlite.Options{Migrate: true})
		for _, line := range acknowledged {
			kind, name, _ := strings.Cut(line, " ")
			switch kind {
			case "release":
				releases++
				if err := s.View(t.Context(), func(tx store.Tx) error {
					_, err := tx.Releases().Get(t.Context(), slipstream.Digest(name))
					return err
				}); err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
			case "events":
				events++
				if got, err := s.Reports().Events(t.Context(), store.EventQuery{App: "shop", Device: name}); err != nil || len(got) != 3 {
					t.Fatalf("round %d: %d of 3 events, %v", round, len(got), err)
				}
			case "place":
				places[name] = true
			default:
				t.Fatalf("round %d: the child says %q", round, line)
			}
		}
		everythingFits(t, s)
		placesStay(t, s, places)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if releases == 0 || events == 0 || len(places) == 0 {
		t.Fatalf("%d releases, %d batches and %d places were acknowledged in all rounds", releases, events, len(places))
	}
}

// placesStay checks that who was told to have a place has it, and that what is counted is what is there.
func placesStay(t *testing.T, s *sqlite.Store, told map[string]bool) {
	t.Helper()
	var asked []store.GrantRequest
	for device := range told {
		asked = append(asked, store.GrantRequest{App: "shop", Rollout: "r1", Device: device}) // without a cap nothing new is given
	}
	given, err := s.Grants().Take(t.Context(), asked)
	if err != nil || slices.Contains(given, false) {
		t.Fatalf("of %d places that were given some are gone: %v", len(asked), err)
	}
	n, err := s.Grants().Count(t.Context(), "r1")
	if err != nil || n["r1"] < int64(len(told)) || n["r1"]%2 != 0 {
		t.Fatalf("%d places are counted, %d were told, in pairs: %v", n["r1"], len(told), err)
	}
}

// everythingFits checks what one transaction always wrote together, and the chain of the audit log.
func everythingFits(t *testing.T, s *sqlite.Store) {
	t.Helper()
	counts, err := s.Reports().Counts(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	stored, err := s.Reports().Events(t.Context(), store.EventQuery{Limit: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	if len(counts) > 0 && counts[0].Devices*3 != int64(len(stored)) {
		t.Errorf("%d devices are counted, %d events stored", counts[0].Devices, len(stored))
	}
	if err := s.View(t.Context(), func(tx store.Tx) error {
		all, err := tx.Releases().List(t.Context(), store.ReleaseFilter{})
		if err != nil {
			return err
		}
		log, err := tx.Log().Audit().List(t.Context(), store.AuditQuery{Action: "release.publish"})
		if err != nil {
			return err
		}
		highest, err := tx.Releases().HighestSeq(t.Context(), "shop", "main")
		if int64(len(all)) != highest || len(log) != len(all) {
			t.Errorf("%d releases, highest seq %d, %d audit entries", len(all), highest, len(log))
		}
		for i, e := range log {
			if e.Hash != store.ChainHash(e) || i > 0 && log[i-1].Prev != e.Hash {
				t.Errorf("the audit chain breaks at %d", e.Seq)
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

func writeUntilKilled(t *testing.T, path string, after time.Duration) (acknowledged []string) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestKilledWhileWriting$")
	child.Env = append(os.Environ(), killPath+"="+path)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if _, err := lines.ReadString('\n'); err != nil {
		t.Fatalf("the child does not start: %v", err)
	}
	killer := time.AfterFunc(after, func() { _ = child.Process.Kill() })
	defer killer.Stop()
	for {
		line, err := lines.ReadString('\n')
		if err != nil { // a line without its end was cut by the kill
			break
		}
		acknowledged = append(acknowledged, strings.TrimSuffix(line, "\n"))
	}
	_ = child.Wait() // it was killed
	return acknowledged
}

func writeForever(path string) {
	fmt.Println("ready")
	fmt.Println("failed:", write(context.Background(), path))
	os.Exit(1)
}

func write(ctx context.Context, path string) error {
	s, err := sqlite.Open(ctx, path, sqlite.Options{Migrate: true})
	if err != nil {
		return err
	}
	if err := createApp(ctx, s, "shop"); err != nil && !strings.Contains(err.Error(), "conflict") {
		return err
	}
	go func() {
		for {
			device := fmt.Sprint(rand.Uint64())
			var batch []store.StoredEvent
			for i := range 3 {
				batch = append(batch, store.StoredEvent{Event: slipstream.Event{ID: fmt.Sprint("event-", i), App: "shop", Device: device, Kind: slipstream.KindStarted}, Received: time.Now()})
			}
			if _, err := s.Reports().Append(ctx, batch); err != nil {
				fmt.Println("failed:", err)
				return
			}
			fmt.Println("events", device)
		}
	}()
	go func() {
		for {
			device := fmt.Sprint(rand.Uint64())
			batch := []store.GrantRequest{{App: "shop", Rollout: "r1", Device: device + "a", Cap: 1 << 40}, {App: "shop", Rollout: "r1", Device: device + "b", Cap: 1 << 40}}
			if _, err := s.Grants().Take(ctx, batch); err != nil {
				fmt.Println("failed:", err)
				return
			}
			fmt.Printf("place %sa\nplace %sb\n", device, device)
		}
	}()
	for {
		var digest slipstream.Digest
		err := s.Update(ctx, func(tx store.Tx) error {
			seq, err := tx.Releases().HighestSeq(ctx, "shop", "main")
			if err != nil {
				return err
			}
			m := &slipstream.Manifest{App: "shop", Package: "main", Platform: "any", Runtime: slipstream.AnyRuntime(), Seq: seq + 1, Version: fmt.Sprint(seq + 1)}
			digest = slipstream.DigestOf(sha256.Sum256([]byte(m.Version)))
			if err := tx.Releases().Put(ctx, &slipstream.Release{Digest: digest, Manifest: m}); err != nil {
				return err
			}
			_, err = tx.Log().Audit().Append(ctx, store.AuditEntry{At: time.Now(), Action: "release.publish", App: "shop"})
			return err
		})
		if err != nil {
			return err
		}
		fmt.Println("release", digest)
	}
}
