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

	"github.com/slipstream-ota/slipstream"
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

	// A browser keeps dictionaries behind the page's back, and one on a busy machine may never get round to it: another
	// one is asked then.
	for attempt := 1; ; attempt++ {
		problem := browse(t, chromium, server.URL, &answering, &mu, sent, one, two, a, b)
		if problem == "" {
			return
		}
		if attempt == 3 {
			t.Fatal(problem)
		}
		t.Logf("attempt %d: %s", attempt, problem)
	}
}

// browse opens a browser and loads two versions of a file; it gives what went wrong, "" for nothing. Wrong bytes fail the
// test at once.
func browse(t *testing.T, chromium, url string, answering *sync.RWMutex, mu *sync.Mutex, sent map[string][]string, one, two slipstream.Digest, a, b string) string {
	t.Helper()
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium),
		chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-gpu", true))...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Navigate(url)); err != nil {
		return fmt.Sprintf("open the page: %v", err)
	}
	ctx, cancel = context.WithTimeout(ctx, 20*time.Second)
	defer cancel()

	load := func(path string) (string, error) {
		t.Helper()
		script := fmt.Sprintf(`(async () => {
			const answer = await fetch(%q)
			const sum = await crypto.subtle.digest('SHA-256', await answer.arrayBuffer())
			return [...new Uint8Array(sum)].map(b => b.toString(16).padStart(2, '0')).join('')
		})()`, path)
		hash, err := chromedp.Run(ctx, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise))
		answering.Lock()
		defer answering.Unlock()
		return hash, err
	}
	base := "/v1/apps/shop/files/main/"
	got, err := load(base + string(one) + "/assets/app.js")
	if err != nil {
		return fmt.Sprintf("load the first version: %v", err)
	}
	if got != string(digestOf(a)) {
		t.Fatalf("first version: the page sees %s", got)
	}
	// The browser keeps the dictionary behind the page's back; until it has, the second version comes whole.
	path := base + string(two) + "/assets/app.js"
	for try := 0; ; try++ {
		got, err := load(fmt.Sprintf("%s?%d", path, try))
		if err != nil {
			return fmt.Sprintf("the second version never came as a delta: %v", err)
		}
		if got != string(digestOf(b)) {
			t.Fatalf("second version: the page sees %s", got)
		}
		mu.Lock()
		last := sent[path][len(sent[path])-1]
		mu.Unlock()
		if last == "dcz "+available(digestOf(a)) || last == "dcz "+available(digestOf(b)) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	// Another file is no later version of this one.
	if _, err := load(base + string(one) + "/other.js"); err != nil {
		return fmt.Sprintf("load another file: %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, got := range sent[base+string(one)+"/other.js"] {
		if got != " " {
			t.Errorf("another file was asked for with %q", got)
		}
	}
	return ""
}
