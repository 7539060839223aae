package report

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

// memory is a report log in memory. Every call of Append is one commit.
type memory struct {
	store.Reports // the rest is not used here
	mu            sync.Mutex
	known         map[string]bool
	commits       []int // events of each
	fail          func(batch []store.StoredEvent) error
	gate          chan struct{} // when not nil, a commit waits for it
}

func (m *memory) Append(ctx context.Context, batch []store.StoredEvent) ([]bool, error) {
	if m.gate != nil {
		select {
		case <-m.gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		if err := m.fail(batch); err != nil {
			return nil, err
		}
	}
	if m.known == nil {
		m.known = map[string]bool{}
	}
	fresh := make([]bool, len(batch))
	for i, e := range batch {
		fresh[i] = !m.known[e.ID]
		m.known[e.ID] = true
	}
	m.commits = append(m.commits, len(batch))
	return fresh, nil
}

func (m *memory) stored() (events, commits int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.known), len(m.commits)
}

func events(prefix string, n int) []store.StoredEvent {
	out := make([]store.StoredEvent, n)
	for i := range out {
		out[i].ID = fmt.Sprintf("%s-%06d", prefix, i)
	}
	return out
}

// running starts an Intake and gives a function that stops it and waits.
func running(t *testing.T, log store.Reports, cfg Config) (*Intake, func()) {
	t.Helper()
	in := NewIntake(log, cfg)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- in.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return in, stop
}

func TestAcceptedEventsAreNewOnce(t *testing.T) {
	in, _ := running(t, &memory{}, Config{})
	for round, status := range []string{slipstream.EventAccepted, slipstream.EventDuplicate} {
		got, err := in.Accept(context.Background(), events("a", 3))
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range got {
			if r.Index != i || r.Status != status {
				t.Errorf("round %d: %+v, want status %s", round, r, status)
			}
		}
	}
	if got, err := in.Accept(context.Background(), nil); got != nil || err != nil {
		t.Errorf("nothing at all: %v, %v", got, err)
	}
}

func TestCallersShareCommits(t *testing.T) {
	log := &memory{gate: make(chan struct{})}
	in, _ := running(t, log, Config{Batch: 100})
	const callers = 64
	var wait sync.WaitGroup
	for c := range callers {
		wait.Go(func() {
			got, err := in.Accept(context.Background(), events(fmt.Sprintf("caller%d", c), 2))
			if err != nil || len(got) != 2 || got[1].Status != slipstream.EventAccepted || got[1].Index != 1 {
				t.Errorf("caller %d: %v, %v", c, got, err)
			}
		})
	}
	waitFor(t, func() bool { // nobody can finish before the gate opens
		in.mu.Lock()
		defer in.mu.Unlock()
		return in.waiting >= (callers-50)*2
	})
	close(log.gate)
	wait.Wait()
	n, commits := log.stored()
	if n != 2*callers || commits >= callers/2 {
		t.Errorf("%d events in %d commits", n, commits)
	}
	for _, size := range log.commits {
		if size > 101 {
			t.Errorf("a commit of %d events, asked for 100 and one caller's rest", size)
		}
	}
}

func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it never came to pass")
		}
	}
}

func TestAFullQueueRefuses(t *testing.T) {
	log := &memory{gate: make(chan struct{})}
	in := NewIntake(log, Config{Queue: 10})
	done := make(chan error, 1)
	go func() {
		_, err := in.Accept(context.Background(), events("first", 8))
		done <- err
	}()
	waitFor(t, func() bool { in.mu.Lock(); defer in.mu.Unlock(); return in.waiting == 8 })
	if _, err := in.Accept(context.Background(), events("second", 3)); !errors.Is(err, slipstream.ErrUnavailable) {
		t.Errorf("11 of 10: %v", err)
	}
	close(log.gate)
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // Run drains what waits although it is to stop at once
	if err := in.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("what was queued is not stored: %v", err)
	}
	if _, err := in.Accept(context.Background(), events("late", 1)); !errors.Is(err, slipstream.ErrUnavailable) {
		t.Errorf("after the end: %v", err)
	}
}

func TestStoppingStoresWhatWaits(t *testing.T) {
	log := &memory{gate: make(chan struct{})}
	in, stop := running(t, log, Config{Batch: 1})
	var wait sync.WaitGroup
	for c := range 20 {
		wait.Go(func() {
			if _, err := in.Accept(context.Background(), events(fmt.Sprintf("caller%d", c), 1)); err != nil {
				t.Errorf("caller %d: %v", c, err)
			}
		})
	}
	waitFor(t, func() bool { in.mu.Lock(); defer in.mu.Unlock(); return in.waiting == 19 })
	go close(log.gate)
	stop()
	wait.Wait()
	if n, _ := log.stored(); n != 20 {
		t.Errorf("%d of 20 stored", n)
	}
}

func TestOneCallersEventsCannotRefuseAnothers(t *testing.T) {
	poison := errors.New("this row is not for me")
	log := &memory{gate: make(chan struct{}), fail: func(batch []store.StoredEvent) error {
		for _, e := range batch {
			if e.ID == "poison-000000" {
				return poison
			}
		}
		return nil
	}}
	in, _ := running(t, log, Config{Wait: 100 * time.Millisecond})
	var wait sync.WaitGroup
	for _, name := range []string{"good", "poison", "also-good"} {
		wait.Go(func() {
			_, err := in.Accept(context.Background(), events(name, 1))
			if (name == "poison") != errors.Is(err, poison) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	close(log.gate)
	wait.Wait()
}

func TestAnAbsentStoreIsToldToEveryCaller(t *testing.T) {
	log := &memory{fail: func([]store.StoredEvent) error { return fmt.Errorf("dial: %w", slipstream.ErrUnavailable) }}
	in, _ := running(t, log, Config{})
	if _, err := in.Accept(context.Background(), events("a", 2)); !errors.Is(err, slipstream.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

func TestACommitThatHangsIsGivenUp(t *testing.T) {
	in, _ := running(t, &memory{gate: make(chan struct{})}, Config{Timeout: time.Millisecond})
	if _, err := in.Accept(context.Background(), events("a", 1)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestACallerMayGiveUp(t *testing.T) {
	in := NewIntake(&memory{}, Config{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := in.Accept(ctx, events("a", 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestOnlyFirstTimeEventsAreTold(t *testing.T) {
	var mu sync.Mutex
	var told []string
	in, _ := running(t, &memory{}, Config{Accepted: func(es []store.StoredEvent) {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range es {
			told = append(told, e.ID)
		}
	}})
	for range 2 {
		if _, err := in.Accept(context.Background(), events("a", 2)); err != nil {
			t.Fatal(err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(told) != 2 {
		t.Errorf("told of %v", told)
	}
}

func TestNetworksAreHashedByNeighbourhood(t *testing.T) {
	in, other := NewIntake(nil, Config{Salt: []byte("a")}), NewIntake(nil, Config{Salt: []byte("b")})
	name := func(in *Intake, s string) string { return in.Network(netip.MustParseAddr(s)) }
	if name(in, "192.0.2.1") != name(in, "192.0.2.200") || name(in, "192.0.2.1") != name(in, "::ffff:192.0.2.1") {
		t.Error("neighbours in a /24 have different names")
	}
	if name(in, "2001:db8:1::1") != name(in, "2001:db8:1:ffff::2") {
		t.Error("neighbours in a /48 have different names")
	}
	if name(in, "192.0.2.1") == name(in, "192.0.3.1") || name(in, "2001:db8:1::1") == name(in, "2001:db8:2::1") {
		t.Error("strangers have one name")
	}
	if name(in, "192.0.2.1") == name(other, "192.0.2.1") {
		t.Error("the salt does nothing")
	}
	if in.Network(netip.Addr{}) != "" {
		t.Error("no address must have no name")
	}
}
