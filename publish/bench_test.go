package publish

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob/file"
)

// diskServer is fakeServer with durable blobs, so that a publish pays what it pays on a real server's disk.
type diskServer struct {
	*fakeServer
	blobs *file.Store
}

func (d *diskServer) Missing(ctx context.Context, _ string, digests []slipstream.Digest) ([]slipstream.Digest, error) {
	var out []slipstream.Digest
	for _, digest := range digests {
		if _, err := d.blobs.Stat(ctx, digest); err != nil {
			out = append(out, digest)
		}
	}
	return out, nil
}

func (d *diskServer) PutBlob(ctx context.Context, _ string, b Blob) error {
	r, err := b.Open(0)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := d.blobs.Put(ctx, b.Digest, b.Size, r); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fakeServer.blobs[b.Digest] = nil
	return nil
}

// publishTo publishes dir into a new server whose blobs lie in store.
func publishTo(t testing.TB, dir, store string) {
	t.Helper()
	p := newPublisher(t, 1, 1)
	blobs, err := file.Open(store)
	if err != nil {
		t.Fatal(err)
	}
	server := &diskServer{p.server, blobs}
	tree, err := Open(t.Context(), dir, Limits{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := Prepare(t.Context(), server, tree, request("1.0.0"), now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Push(t.Context(), server, plan, p.signers, now, nil); err != nil {
		t.Fatal(err)
	}
	if err := tree.Close(); err != nil {
		t.Fatal(err)
	}
}

// benchChild marks the child process that publishes alone, for its peak memory.
const benchChild = "SLIPSTREAM_BENCH_PUBLISH"

func TestPublishInAChild(t *testing.T) {
	dir := os.Getenv(benchChild)
	if dir == "" {
		return // only BenchmarkPublish starts it
	}
	publishTo(t, dir, t.TempDir())
	fmt.Println("peak", peakMemory(t))
}

// peakMemory is the most memory that this process ever had resident, in bytes, its file pages not counted apart.
func peakMemory(t testing.TB) int64 {
	t.Helper()
	f, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		if rest, ok := strings.CutPrefix(s.Text(), "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kb << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}

// BenchmarkPublish compares publishing with copying and hashing the same files by cp -r, sha256sum and sync, all in one
// run. x_cp+sha256 is the ratio of the times, peak-MB the memory of a process that publishes once.
func BenchmarkPublish(b *testing.B) {
	for name, make := range map[string]func(testing.TB, string){"10000_small_files": smallFiles, "one_500MB_file": bigFile} {
		b.Run(name, func(b *testing.B) {
			dir := filepath.Join(b.TempDir(), "tree")
			make(b, dir)
			var ours, theirs time.Duration
			b.ResetTimer()
			for range b.N {
				start := time.Now()
				publishTo(b, dir, b.TempDir())
				ours += time.Since(start)
				b.StopTimer()
				start = time.Now()
				script := fmt.Sprintf("cp -r %s %s && find %s -type f -print0 | xargs -0 sha256sum >/dev/null && sync -f %[2]s", dir, filepath.Join(b.TempDir(), "copy"), dir)
				if out, err := exec.CommandContext(b.Context(), "sh", "-c", script).CombinedOutput(); err != nil {
					b.Fatalf("%v: %s", err, out)
				}
				theirs += time.Since(start)
				b.StartTimer()
			}
			b.StopTimer()
			child := exec.CommandContext(b.Context(), os.Args[0], "-test.run=^TestPublishInAChild$")
			child.Env = append(os.Environ(), benchChild+"="+dir)
			out, err := child.CombinedOutput()
			var peak int64
			if _, rest, ok := strings.Cut(string(out), "peak "); err != nil || !ok {
				b.Fatalf("%v: %s", err, out)
			} else if _, err := fmt.Sscan(rest, &peak); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(ours.Seconds()/theirs.Seconds(), "x_cp+sha256")
			b.ReportMetric(float64(peak)/1e6, "peak-MB")
		})
	}
}

func smallFiles(t testing.TB, dir string) {
	for i := range 10_000 {
		write(t, filepath.Join(dir, fmt.Sprintf("%02x", i%64), fmt.Sprintf("%05d.js", i)), strings.Repeat(fmt.Sprintf("line %d of a small script\n", i), 80))
	}
}

func bigFile(t testing.TB, dir string) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "big.bin"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.CopyN(f, rand.Reader, 500<<20); err != nil {
		t.Fatal(err)
	}
}

// TestMemoryDoesNotGrowWithTheFile: reading a large file allocates a few buffers.
func TestMemoryDoesNotGrowWithTheFile(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "f"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(64<<20), f.Close()); err != nil { // sparse
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	tree := openTree(t, dir)
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 || tree.Files[0].Size != 64<<20 {
		t.Errorf("allocated %d bytes for a file of %d", used, tree.Files[0].Size)
	}
}
