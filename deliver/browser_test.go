package deliver

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// A browser takes the delta by itself: it is told by the first version to keep it as a dictionary, offers it for the
// second, and gives the page the right bytes.
func TestABrowserGetsTheSecondVersionAsADelta(t *testing.T) {
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed")
	}
	w := newWorld(t)
	a, b := scripts()
	one, two := w.addFiles(map[string]string{"assets/app.js": a, "other.js": b}), w.addFiles(map[string]string{"assets/app.js": b})
	w.start()

	var mu sync.Mutex
	var answering sync.RWMutex    // a page may have its answer before the handler has returned
	sent := map[string][]string{} // codings by path
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			rw.Header().Set("Content-Type", "text/html")
			fmt.Fprint(rw, "<!doctype html><title>shell</title>")
			return
		}
		answering.RLock()
		defer answering.RUnlock()
		w.http.ServeHTTP(rw, r)
		mu.Lock()
		defer mu.Unlock()
		sent[r.URL.Path] = append(sent[r.URL.Path], rw.Header().Get("Content-Encoding")+" "+r.Header.Get("Available-Dictionary"))
	}))
	defer server.Close()

	ctx, cancel := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium),
		chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-gpu", true))...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Navigate(server.URL)); err != nil {
		t.Fatalf("open the page: %v", err)
	}
	ctx, cancel = context.WithTimeout(ctx, 60*time.Second)
	defer cancel()

	load := func(path string) string {
		t.Helper()
		script := fmt.Sprintf(`(async () => {
			const answer = await fetch(%q)
			const sum = await crypto.subtle.digest('SHA-256', await answer.arrayBuffer())
			return [...new Uint8Array(sum)].map(b => b.toString(16).padStart(2, '0')).join('')
		})()`, path)
		hash, err := chromedp.Run(ctx, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise))
		if err != nil {
			t.Fatalf("load %s: %v", path, err)
		}
		answering.Lock()
		defer answering.Unlock()
		return hash
	}
	base := "/v1/apps/shop/files/main/"
	if got := load(base + string(one) + "/assets/app.js"); got != string(digestOf(a)) {
		t.Fatalf("first version: the page sees %s", got)
	}
	// The browser keeps the dictionary behind the page's back; until it has, the second version comes whole.
	path := base + string(two) + "/assets/app.js"
	for try := 0; ; try++ {
		if got := load(fmt.Sprintf("%s?%d", path, try)); got != string(digestOf(b)) {
			t.Fatalf("second version: the page sees %s", got)
		}
		mu.Lock()
		last := sent[path][len(sent[path])-1]
		mu.Unlock()
		if last == "dcz "+available(digestOf(a)) || last == "dcz "+available(digestOf(b)) {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("the second version never came as a delta: %q", sent[path])
		}
		time.Sleep(50 * time.Millisecond)
	}
	// Another file is no later version of this one.
	load(base + string(one) + "/other.js")
	mu.Lock()
	defer mu.Unlock()
	if got := sent[base+string(one)+"/other.js"]; len(got) != 1 || got[0] != " " {
		t.Errorf("another file was asked for with %q", got)
	}
}
