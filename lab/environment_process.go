package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client"
)

func secondProcess(ctx context.Context, t *trials) error {
	h, err := onRelease2(ctx, t)
	if err != nil {
		return err
	}
	h.offerRelease(Spec{Package: mainPkg, Seq: 3})
	second, err := client.Open(ctx, h.config(h.machine, h.repo, h.clock, h.rand))
	if err != nil {
		t.expect("open", err.Error())
		return nil
	}
	launch, err := second.Start(ctx)
	if err != nil {
		t.expect("start", err.Error())
		return nil
	}
	t.expectf(launch.Token == "" && launch.Reason == slipstream.ReasonLocked, "the start of a second process", "it has token %q, reason %s", launch.Token, launch.Reason)
	t.expectf(launch.Packages[mainPkg].Seq == 2 && checkTree(h.machine, h.releases["main2"]) == nil, "what it runs", "release %d", launch.Packages[mainPkg].Seq)
	for what, do := range map[string]func() error{
		"check":          func() error { _, err := second.Check(ctx); return err },
		"update":         func() error { _, err := second.Update(ctx); return err },
		"confirm":        func() error { return launch.Confirm(ctx) },
		"metric":         func() error { return second.Metric("m", 1) },
		"change channel": func() error { return second.ChangeChannel(ctx, beta) },
	} {
		err := do()
		t.expectf(slipstream.ReasonOf(err, "") == slipstream.ReasonLocked, what+" of a second process", "it is not refused as locked: %v", err)
	}
	t.expectf(launch.Crash(ctx, "") == nil, "the end of a second process", "it is refused")
	if _, err := h.client.Update(ctx); err != nil {
		t.expect("the first process goes on", err.Error())
	}
	if err := h.stop(); err != nil {
		return err
	}
	launch, err = second.Start(ctx)
	if err != nil {
		return err
	}
	t.expectf(launch.Token != "" && launch.Trial && launch.Packages[mainPkg].Seq == 3, "the second process after the first has died", "it runs release %d, token %q, reason %s",
		launch.Packages[mainPkg].Seq, launch.Token, launch.Reason)
	err = launch.Confirm(ctx)
	t.expectf(err == nil, "its confirm", "%v", err)
	return second.Close()
}

// racingProcesses lets several processes do as they like with one real directory.
func racingProcesses(ctx context.Context, t *trials) error {
	rounds := 40
	if t.env.Quick {
		rounds = 6
	}
	disk := client.Disk{}
	h, err := newHardLife(machine{fs: disk, locks: disk, dir: filepath.Join(t.dir, "updates"), settle: func() {}}, t.env.Seed, slipstream.ReasonLocked)
	if err != nil {
		return err
	}
	h.offerRelease(Spec{Package: mainPkg, Seq: 2})
	var mu sync.Mutex
	var all sync.WaitGroup
	for who := range 3 {
		all.Go(func() {
			for round := range rounds {
				problem, alone := h.visit(ctx, who, round)
				mu.Lock()
				if problem != "" || alone {
					t.expect(fmt.Sprintf("process %d, round %d", who, round), problem)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	h.recover(ctx)
	t.expect("the directory at the end", h.problem())
	return nil
}

// visit is one process from its start to its end; alone says that it had the directory for itself.
func (h *hardLife) visit(ctx context.Context, who, round int) (problem string, alone bool) {
	locks := &ownLocks{Locks: h.locks}
	m := h.machine
	m.locks = locks
	c, err := client.Open(ctx, h.config(m, h.repo, h.clock, newRand(uint64(who*1000+round))))
	if err != nil {
		return fmt.Sprintf("open: %v", err), false
	}
	var wrong []string
	may := func(what string, err error) {
		if reason := slipstream.ReasonOf(err, slipstream.ReasonInternal); err != nil && reason != slipstream.ReasonLocked && reason != slipstream.ReasonStaleToken {
			wrong = append(wrong, fmt.Sprintf("%s: %v", what, err))
		}
	}
	launch, err := c.Start(ctx)
	if err != nil {
		return fmt.Sprintf("start: %v", err), false
	}
	alone = launch.Token != ""
	if tree := launch.Packages[mainPkg]; !tree.Embedded {
		if err := checkTree(h.machine, h.repo.Get(tree.Release)); err != nil {
			wrong = append(wrong, fmt.Sprintf("what runs is not whole: %v", err))
		}
	}
	_, err = c.Update(ctx)
	may("update", err)
	if alone {
		may("confirm", launch.Confirm(ctx))
	}
	if round%2 == 0 {
		may("close", c.Close())
	} else {
		may("kill", locks.kill())
	}
	return strings.Join(wrong, "; "), alone
}

// fewHandles runs the real command under a limit of open files: it works or it says why not, and the directory stays
// whole either way.
func fewHandles(ctx context.Context, t *trials) error {
	if why := NeedProcesses().Missing(t.env); why != "" {
		return fmt.Errorf("%w: %s", errNotHere, why)
	}
	tool, err := newProgram(t.env, t.dir)
	if err != nil {
		return err
	}
	limited := *tool
	limited.path = "/bin/sh"
	if _, err := os.Stat(limited.path); err != nil {
		return fmt.Errorf("%w: %w", errNotHere, err)
	}
	disk := client.Disk{}
	h, err := newHardLife(machine{fs: disk, locks: disk, dir: filepath.Join(t.dir, "updates"), settle: func() {}}, t.env.Seed)
	if err != nil {
		return err
	}
	files := map[string][]byte{}
	count := 200
	if t.env.Quick {
		count = 3 * enoughHandles
	}
	for i := range count {
		files[fmt.Sprintf("d%d/f%d.txt", i%7, i)] = fmt.Appendf(nil, "file %d", i)
	}
	h.offerRelease(Spec{Package: mainPkg, Seq: 2, Files: files})
	h.repo.Codecs = nil // file by file: the most handles
	root := filepath.Join(t.dir, "root.json")
	if err := os.WriteFile(root, h.repo.Root(1), 0o600); err != nil {
		return err
	}
	url, stop, err := h.repo.listen(ctx)
	if err != nil {
		return err
	}
	defer stop()
	limits := []int{9, 10, 11, 12, 14, 16, 20, 24, 32, 64}
	if t.env.Quick {
		limits = []int{9, 12, enoughHandles}
	}
	dir := h.machine.dir
	for _, n := range limits {
		h.machine.dir = fmt.Sprintf("%s%d", dir, n)
		fetch := []string{tool.path, "fetch", "--server", url, "--app", lifeApp, "--package", "main,cart", "--runtime", "3.0.0", "--dir", h.machine.dir, "--root", root}
		_, err := limited.run(ctx, slices.Concat([]string{"-c", ownHandles + `ulimit -n "$0" && exec "$@"`, strconv.Itoa(n)}, fetch)...)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		problem := ""
		if err != nil && (n >= enoughHandles || strings.Contains(err.Error(), "panic") || strings.Contains(err.Error(), "goroutine ")) {
			problem = err.Error()
		}
		t.expect(fmt.Sprintf("fetch with %d handles", n), problem)
		_, err = tool.run(ctx, fetch[1:]...)
		t.expectf(err == nil && checkTree(h.machine, h.releases["main2"]) == nil, fmt.Sprintf("after %d handles, without a limit", n), "fetch: %v", err)
	}
	return nil
}

// ownHandles closes what whoever started the lab left open: it is none of the client's.
const ownHandles = "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-; "

// Below nine, no program of this language and these libraries comes as far as its first line.
//
// enoughHandles is how many open files a device's client needs at most, whatever it does.
const enoughHandles = 24

// listen serves the repository on a loopback port until stop.
func (r *Repository) listen(ctx context.Context) (url string, stop func(), err error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		res, err := r.RoundTrip(req)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		for name, values := range res.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(res.StatusCode)
		_, _ = io.Copy(w, res.Body) // a device that has gone away is no error of ours
		_ = res.Body.Close()
	})}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) }) // ends with stop
	return "http://" + l.Addr().String(), func() {
		_ = server.Close()
		serving.Wait()
	}, nil
}
