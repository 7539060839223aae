//go:build !device

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser is a real one, with all that it complained about.
type browser struct {
	*testing.T
	ctx  context.Context
	base string

	mu       sync.Mutex
	troubles []string
}

// openBrowser starts Chromium with a profile of its own; both are gone at the test's end.
func openBrowser(t *testing.T, base string) *browser {
	t.Helper()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("MISSING: chromium")
	}
	profile, err := os.MkdirTemp("", "slipstream-browser-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Its helpers may still write for a moment after it has ended.
		for range 50 {
			if err = os.RemoveAll(profile); err == nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Errorf("remove the browser's profile: %v", err)
	})
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium),
		chromedp.NoSandbox, chromedp.UserDataDir(profile), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-gpu", true), chromedp.Flag("lang", "en"))...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 4*time.Minute)
	t.Cleanup(cancel)
	b := &browser{T: t, ctx: ctx, base: base}
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1280, 900)); err != nil {
		t.Fatalf("open the browser: %v", err)
	}
	if err := chromedp.Listen(ctx, b.hear); err != nil {
		t.Fatalf("listen to the browser: %v", err)
	}
	return b
}

// hear keeps what the page's own scripts or its policy complain about. Browsers log every answer that is a problem by
// themselves: of the API those are the page's business.
func (b *browser) hear(ev any) {
	var said string
	switch e := ev.(type) {
	case *runtime.EventExceptionThrown:
		said = "exception: " + e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			said += " " + e.ExceptionDetails.Exception.Description
		}
	case *runtime.EventConsoleAPICalled:
		if e.Type != runtime.ConsoleAPICalledTypeError && e.Type != runtime.ConsoleAPICalledTypeWarning {
			return
		}
		for _, a := range e.Args {
			said += string(a.Value) + a.Description
		}
	case *cdplog.EventEntryAdded:
		if e.Entry.Level != cdplog.EntryLevelError && e.Entry.Level != cdplog.EntryLevelWarning || strings.Contains(e.Entry.Text, "the server responded with") && strings.Contains(e.Entry.URL, "/v1/") {
			return
		}
		said = e.Entry.Text + " " + e.Entry.URL
	default:
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.troubles = append(b.troubles, said)
}

// quiet fails the test with everything that the browser complained about.
func (b *browser) quiet() {
	b.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.troubles {
		b.Errorf("the browser says: %s", s)
	}
}

func (b *browser) open(path string) {
	b.Helper()
	if err := chromedp.Do(b.ctx, chromedp.Navigate(b.base+path)); err != nil {
		b.Fatalf("open %s: %v", path, err)
	}
}

func (b *browser) eval(script string) string {
	b.Helper()
	got, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("String("+script+")"))
	if err != nil {
		b.Fatalf("%s: %v", script, err)
	}
	return got
}

// shows waits until the page says each of the texts.
func (b *browser) shows(texts ...string) {
	b.Helper()
	for _, text := range texts {
		b.until(fmt.Sprintf("document.body?.innerText.includes(%q)", text))
	}
}

// until waits until script is true.
func (b *browser) until(script string) {
	b.Helper()
	deadline := time.Now().Add(45 * time.Second)
	for {
		// A page that is just left for another one answers nothing.
		got, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("String("+script+")"))
		if err == nil && got == "true" {
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("never true: %s\nthe page %s says:\n%s", script, b.eval("location.href"), b.eval("document.body.innerText"))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (b *browser) click(selector string) {
	b.Helper()
	b.until(fmt.Sprintf("!!document.querySelector(%q)", selector))
	b.eval(fmt.Sprintf("document.querySelector(%q).click()", selector))
}

// signIn types a token where it is asked for.
func (b *browser) signIn(token string) {
	b.Helper()
	b.until(`!!document.querySelector("input[name=token], [data-way=token]")`)
	b.eval(`document.querySelector("[data-way=token]")?.click()`)
	b.until(`!!document.querySelector("input[name=token]")`)
	b.eval(fmt.Sprintf(`(() => { const i = document.querySelector("input[name=token]"); i.value = %q; i.dispatchEvent(new Event("input", { bubbles: true })); })()`, token))
	b.click("form button[type=submit]")
}
