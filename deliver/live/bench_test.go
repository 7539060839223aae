//go:build unix

package live

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream/internal/httpx"
)

const crowdEnv = "SLIPSTREAM_TEST_CROWD" // address and number of clients: this process is them

func TestMain(m *testing.M) {
	if v := os.Getenv(crowdEnv); v != "" {
		if err := crowd(v, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// crowd connects many clients and tells on out: "ready" when all have their answer, then the epoch each time all have
// been told one. It ends with in.
func crowd(spec string, in io.Reader, out io.Writer) error {
	address, count, _ := strings.Cut(spec, " ")
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	var ready, told atomic.Int64
	failed := make(chan error, n)
	tell := func(counter *atomic.Int64, line string) {
		if counter.Add(1)%int64(n) == 0 {
			fmt.Fprintln(out, line)
		}
	}
	// Few dial at once: the backlog of the listener is short.
	places := make(chan struct{}, 64)
	for range n {
		places <- struct{}{}
		go func() {
			conn, err := net.Dial("tcp", address)
			if err == nil {
				_, err = io.WriteString(conn, "GET /v1/live?app=shop&epoch=1 HTTP/1.1\r\nHost: x\r\n\r\n")
			}
			if err != nil {
				failed <- err
				<-places
				return
			}
			r := bufio.NewReaderSize(conn, 512)
			for began := false; ; {
				line, err := r.ReadSlice('\n')
				if err != nil {
					failed <- err
					return
				}
				switch {
				case !began && len(line) == 2: // the end of the header
					began = true
					<-places
					tell(&ready, "ready")
				case bytes.HasPrefix(line, []byte("id: ")):
					tell(&told, strings.TrimSpace(string(line)))
				}
			}
		}()
	}
	ended := make(chan struct{})
	go func() { _, _ = io.Copy(io.Discard, in); close(ended) }()
	select {
	case err := <-failed:
		return err
	case <-ended:
		return nil
	}
}

// handles is how many connections fit beside the files of a test.
func handles(t testing.TB, want int) int {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	return min(want, int(limit.Cur)-200)
}

// besieged is a hub with n idle clients of another process.
type besieged struct {
	hub    *Hub
	n      int
	lines  *bufio.Reader
	before runtime.MemStats
}

func besiege(t testing.TB, n int) *besieged {
	t.Helper()
	b := &besieged{hub: NewHub(Config{Most: n, PerAddress: n}), n: n}
	b.hub.Set(map[Channel]News{shop: {Epoch: 1}})
	ctx, cancel := context.WithCancel(context.Background())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := httpx.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := b.hub.Serve(w, r, netip.MustParseAddrPort(r.RemoteAddr).Addr()); err != nil {
			httpx.WriteProblem(w, r, err)
		}
	}), slog.New(slog.DiscardHandler))
	runtime.GC()
	runtime.ReadMemStats(&b.before)
	var running sync.WaitGroup
	running.Go(func() { _ = b.hub.Run(ctx) })
	running.Go(func() { _ = httpx.Serve(ctx, server, l, time.Second) })

	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", crowdEnv, l.Addr(), n))
	child.Stderr = os.Stderr
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
	t.Cleanup(func() {
		_ = in.Close()
		if err := child.Wait(); err != nil {
			t.Errorf("the clients: %v", err)
		}
		cancel()
		running.Wait()
	})
	b.lines = bufio.NewReader(out)
	b.await(t, "ready")
	return b
}

func (b *besieged) await(t testing.TB, want string) {
	t.Helper()
	line, err := b.lines.ReadString('\n')
	if strings.TrimSpace(line) != want {
		t.Fatalf("the clients say %q, not %q: %v", line, want, err)
	}
}

// memory is what the Go program holds for each connection: heap and stacks, without what the kernel holds.
func (b *besieged) memory() float64 {
	debug.FreeOSMemory()
	var now runtime.MemStats
	runtime.ReadMemStats(&now)
	return float64(int64(now.HeapAlloc+now.StackInuse)-int64(b.before.HeapAlloc+b.before.StackInuse)) / float64(b.n)
}

// change raises the epoch and waits until all clients have been told.
func (b *besieged) change(t testing.TB, epoch int64) time.Duration {
	t.Helper()
	begun := time.Now()
	b.hub.Set(map[Channel]News{shop: {Epoch: epoch}})
	b.await(t, fmt.Sprintf("id: %d", epoch))
	return time.Since(begun)
}

func TestFifteenThousandIdleConnectionsAreCheap(t *testing.T) {
	if testing.Short() {
		t.Skip("SHORT: 15,000 connections")
	}
	n := handles(t, 15_000)
	b := besiege(t, n)
	if got := b.hub.Connections(); got != n {
		t.Fatalf("%d connections, want %d", got, n)
	}
	bytes, goroutines := b.memory(), runtime.NumGoroutine()
	took := b.change(t, 2)
	t.Logf("%d connections: %.0f bytes of Go memory each, %d goroutines in all, a change reached all in %s", n, bytes, goroutines, took.Round(time.Millisecond))
	if bytes > 2048 {
		t.Errorf("an idle connection holds %.0f bytes, at most 2048 wanted", bytes)
	}
	if goroutines > 100 {
		t.Errorf("%d goroutines for %d idle connections", goroutines, n)
	}
}

func BenchmarkFanOut(b *testing.B) {
	for _, n := range []int{1_000, 10_000} {
		b.Run(fmt.Sprintf("clients=%d", n), func(b *testing.B) {
			s := besiege(b, handles(b, n))
			perConnection := s.memory()
			b.ResetTimer()
			var worst time.Duration
			for i := range b.N {
				worst = max(worst, s.change(b, int64(i)+2))
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms/change")
			b.ReportMetric(float64(worst.Microseconds())/1000, "ms-worst")
			b.ReportMetric(perConnection, "B/connection")
		})
	}
}
