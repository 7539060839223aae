package lab

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client"
	"github.com/slipstream-ota/slipstream/internal/crashfs"
	"github.com/slipstream-ota/slipstream/publish/delta"
)

func deviceHardships() []hardship {
	return []hardship{
		{"disk full at every write", fullDisks},
		{"disk that turns read-only at every write", readOnlyDisks},
		{"disk that errs at every write", brokenDisks},
		{"real small disk", realSmallDisk},
		{"real read-only disk", realReadOnlyDisk},
		{"clock a year back", clockBack},
		{"clock a year forward", clockForward},
		{"old states under a clock set back", clockReplay},
		{"second try under a jumping clock", clockRetry},
		{"second process on a directory", secondProcess},
		{"processes that race for a directory", racingProcesses},
		{"few file handles", fewHandles},
	}
}

// hardLife is a device whose surroundings fail. Its steps may fail, but only for a reason; starts never do.
type hardLife struct {
	*life
	reasons []slipstream.Reason // that a failing step may give
	wrong   []string
}

func newHardLife(m machine, seed uint64, reasons ...slipstream.Reason) (*hardLife, error) {
	l, err := newLife(m, seed)
	return &hardLife{life: l, reasons: reasons}, err
}

func (h *hardLife) complain(format string, args ...any) {
	h.wrong = append(h.wrong, fmt.Sprintf(format, args...))
}

// may takes the error of a step: it must have one of the expected reasons, if any are expected.
func (h *hardLife) may(what string, err error) bool {
	if err == nil {
		return true
	}
	reason := slipstream.ReasonOf(err, slipstream.ReasonInternal)
	for _, r := range h.reasons {
		if reason == r {
			return false
		}
	}
	h.complain("%s: %v (reason %s)", what, err, reason)
	return false
}

// reopen is the start of a new process on the same directory.
func (h *hardLife) reopen(ctx context.Context, now client.Clock, transport http.RoundTripper) bool {
	if err := h.stop(); err != nil {
		h.complain("end of a process: %v", err)
	}
	m := h.machine
	h.locked = &ownLocks{Locks: h.locks}
	m.locks = h.locked
	var err error
	h.client, err = client.Open(ctx, h.config(m, transport, now, h.rand))
	return h.may("open", err) && h.client != nil
}

// start is a cold start, which must give something whole to run whatever is wrong around it. A start that is not kept
// runs what is official, never a trial.
func (h *hardLife) start(ctx context.Context, now client.Clock) bool {
	if !h.reopen(ctx, now, h.repo) {
		h.launch = nil
		return false
	}
	launch, err := h.client.Start(ctx)
	if err != nil {
		h.complain("nothing starts: %v", err)
		return false
	}
	h.launch = launch
	for _, pkg := range lifePackages {
		t := launch.Packages[pkg]
		if !t.Embedded {
			if err := checkTree(h.machine, h.repo.Get(t.Release)); err != nil {
				h.complain("what runs of %s is not whole: %v", pkg, err)
			}
		}
		if official := h.client.Holds(pkg).Official; launch.Token == "" && (t.Trial || t.Release != official.Digest) {
			h.complain("a start that is not kept runs %d of %s instead of the official %d", t.Seq, pkg, official.Seq)
		}
	}
	if launch.Token == "" {
		h.may("the start is not kept", slipstream.Refuse(launch.Reason, "start", "no token"))
	}
	return true
}

func (h *hardLife) update(ctx context.Context) {
	if h.client == nil {
		return
	}
	h.clock.advance(time.Minute)
	_, err := h.client.Update(ctx)
	h.may("update", err)
}

func (h *hardLife) end(what string, fn func() error) {
	if h.launch == nil || h.launch.Token == "" {
		return
	}
	if err := fn(); err != nil && slipstream.ReasonOf(err, "") != slipstream.ReasonStaleToken {
		h.may(what, err)
	}
}

func (h *hardLife) confirm(ctx context.Context) {
	h.end("confirm", func() error { return h.launch.Confirm(ctx) })
}
func (h *hardLife) crash(ctx context.Context) {
	h.end("crash", func() error { return h.launch.Crash(ctx, "exit code 1") })
}

// offerRelease publishes and offers; the repository never fails.
func (h *hardLife) offerRelease(s Spec) {
	if err := h.offerNew(production, s); err != nil {
		h.complain("publish: %v", err)
	}
}

// live goes through an install, an update by files, one by container of two packages, a trial that crashes, the second
// try, and a withdrawal, on a disk that fails from some operation on.
func (h *hardLife) live(ctx context.Context) {
	h.start(ctx, h.clock)
	h.confirm(ctx)
	h.repo.Codecs = nil
	h.offerRelease(Spec{Package: mainPkg, Seq: 2})
	h.update(ctx)
	h.start(ctx, h.clock)
	h.confirm(ctx)
	h.repo.Codecs = []string{delta.CodecFull, delta.CodecChanged}
	h.offerRelease(Spec{Package: mainPkg, Seq: 3})
	h.update(ctx)
	for range 3 {
		h.start(ctx, h.clock)
		h.crash(ctx)
	}
	h.start(ctx, h.clock)
	h.confirm(ctx)
	if h.client != nil {
		h.may("report", h.client.Report(ctx))
	}
	h.clock.advance(6 * time.Hour)
	h.update(ctx)
	h.start(ctx, h.clock)
	h.confirm(ctx)
	h.repo.Withdraw(production, h.releases["main3"])
	h.update(ctx)
	h.start(ctx, h.clock)
}

// recover heals nothing by itself: the caller has. It offers the last releases and judges the disk.
func (h *hardLife) recover(ctx context.Context) {
	for _, s := range []Spec{{Package: cartPkg, Seq: 9, Requires: needs(mainPkg, 9)}, {Package: mainPkg, Seq: 9, Requires: needs(cartPkg, 9)}} {
		name := fmt.Sprintf("%s%d", s.Package, s.Seq)
		if err := h.publish(name, s); err != nil {
			h.complain("publish: %v", err)
		}
		h.final[s.Package] = h.releases[name]
	}
	h.offer(production, "main9", "cart9")
	if err := h.stop(); err != nil {
		h.complain("end of a process: %v", err)
	}
	h.wrong = append(h.wrong, h.judge(ctx, h.machine, true).broken...)
}

func (h *hardLife) problem() string { return strings.Join(h.wrong, "; ") }

func fullDisks(ctx context.Context, t *trials) error {
	return failingDisks(ctx, t, syscall.ENOSPC, slipstream.ReasonDiskFull, 12)
}

func readOnlyDisks(ctx context.Context, t *trials) error {
	return failingDisks(ctx, t, syscall.EROFS, slipstream.ReasonReadOnly, 40)
}

func brokenDisks(ctx context.Context, t *trials) error {
	return failingDisks(ctx, t, syscall.EIO, slipstream.ReasonInternal, 40)
}

// failingDisks lives the life once for every operation that can fail, in two ways: that one alone fails, or it and all
// that follow until the disk is healed at the end. The quick form takes every stride-th operation.
func failingDisks(ctx context.Context, t *trials, errno syscall.Errno, reason slipstream.Reason, stride int) error {
	if !t.env.Quick {
		stride = 1
	}
	const never = 1 << 30
	kept := &delta.Compressors{}
	healthy, operations, err := onFailingDisk(ctx, kept, t.env.Seed, crashfs.Fault{At: never, Err: errno}, reason)
	if err != nil {
		return err
	}
	if p := healthy.problem(); p != "" {
		return fmt.Errorf("on a disk that never fails: %s", p)
	}
	var mu sync.Mutex
	work := newCrew(ctx)
	for at := 1; at <= operations; at += stride {
		for _, stays := range []bool{false, true} {
			work.do(func() {
				h, _, err := onFailingDisk(ctx, kept, t.env.Seed, crashfs.Fault{At: at, Err: errno, Sticky: stays}, reason)
				if ctx.Err() != nil {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				what := fmt.Sprintf("operation %d of %d, those after it too: %t", at, operations, stays)
				if err != nil {
					t.expect(what, err.Error())
					return
				}
				t.expect(what, h.problem())
			})
		}
	}
	return work.wait()
}

// onFailingDisk gives the life that was lived, and how many operations the fault could have hit.
func onFailingDisk(ctx context.Context, kept *delta.Compressors, seed uint64, fault crashfs.Fault, reason slipstream.Reason) (*hardLife, int, error) {
	disk := crashfs.New()
	dir := filepath.FromSlash("/app/updates")
	if err := disk.MkdirAll(filepath.Dir(dir)); err != nil {
		return nil, 0, err
	}
	h, err := newHardLife(machine{fs: disk, locks: disk, dir: dir, settle: disk.Settle, shared: kept}, seed, reason)
	if err != nil {
		return nil, 0, err
	}
	disk.Fail(fault)
	h.live(ctx)
	operations := disk.Counted()
	disk.Fail(crashfs.Fault{})
	h.recover(ctx)
	return h, operations, nil
}
