package file_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/blob/blobtest"
	"github.com/slipstream-ota/slipstream/blob/file"
)

const killDir = "SLIPSTREAM_TEST_KILL_DIR"

// TestKilledWhilePutting kills a process that puts blobs at random instants. What it said was stored must be there and
// whole, and nothing that is listed may be damaged.
func TestKilledWhilePutting(t *testing.T) {
	if dir := os.Getenv(killDir); dir != "" {
		putForever(dir)
	}
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(1, 2))
	acknowledged := 0
	for round := range 30 {
		for _, d := range putUntilKilled(t, dir, time.Duration(rng.IntN(60))*time.Millisecond) {
			acknowledged++
			o, err := open(t, dir).Open(t.Context(), d)
			if err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			if err := o.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if acknowledged == 0 {
		t.Fatal("no put was acknowledged in any round")
	}
	everyListedBlobIsWhole(t, open(t, dir))
}

func everyListedBlobIsWhole(t *testing.T, s *file.Store) {
	t.Helper()
	err := s.List(t.Context(), func(i blob.Info) error {
		o, err := s.Open(t.Context(), i.Digest)
		if err != nil {
			return err
		}
		defer o.Close()
		h := sha256.New()
		if _, err := io.Copy(h, o); err != nil {
			return err
		}
		if got := slipstream.DigestOf([32]byte(h.Sum(nil))); got != i.Digest {
			return fmt.Errorf("%s holds %s", i.Digest.Short(), got.Short())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// putUntilKilled gives what the child acknowledged in after, counted from its first sign of life.
func putUntilKilled(t *testing.T, dir string, after time.Duration) (done []slipstream.Digest) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestKilledWhilePutting$")
	child.Env = append(os.Environ(), killDir+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Scan() // "ready"
	killer := time.AfterFunc(after, func() { _ = child.Process.Kill() })
	defer killer.Stop()
	for lines.Scan() {
		if d := slipstream.Digest(lines.Text()); d.Valid() {
			done = append(done, d)
		}
	}
	_ = child.Wait() // it was killed
	return done
}

func putForever(dir string) {
	fmt.Println("ready")
	s, err := file.Open(dir)
	for seed := rand.Uint64(); err == nil; seed++ {
		data, d := blobtest.Random(seed, rand.IntN(200_000))
		if err = s.Put(context.Background(), d, int64(len(data)), bytes.NewReader(data)); err == nil {
			fmt.Println(d)
		}
	}
	fmt.Println(err)
	os.Exit(1)
}
