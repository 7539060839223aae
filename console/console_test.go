package console

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func handler(t *testing.T) http.Handler {
	t.Helper()
	c, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return c.Handler()
}

func ask(t *testing.T, h http.Handler, method, path string, headers ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, "http://console.test/", nil)
	r.URL.Path = path
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func text(t *testing.T, r *http.Response) string {
	t.Helper()
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

var assetURL = regexp.MustCompile(`(?:src|href)="(/console/assets/[^"]+)"`)

func TestEveryPathIsThePageAndThePageNamesItsAssetsByTheirContent(t *testing.T) {
	t.Parallel()
	h := handler(t)
	front := text(t, ask(t, h, http.MethodGet, "/console/"))
	for _, path := range []string{"/console/apps/shop/releases/abc", "/console/server"} {
		r := ask(t, h, http.MethodGet, path)
		if r.StatusCode != http.StatusOK || r.Header.Get("Cache-Control") != "no-cache" || text(t, r) != front {
			t.Errorf("%s: %d, %q", path, r.StatusCode, r.Header.Get("Cache-Control"))
		}
	}
	found := assetURL.FindAllStringSubmatch(front, -1)
	if len(found) < 10 {
		t.Fatalf("the page names %d assets", len(found))
	}
	for _, m := range found {
		r := ask(t, h, http.MethodGet, m[1])
		if r.StatusCode != http.StatusOK || !strings.Contains(r.Header.Get("Cache-Control"), "immutable") || r.Header.Get("Content-Type") == "" {
			t.Errorf("%s: %d, %v", m[1], r.StatusCode, r.Header)
		}
	}
}

func TestEveryAnswerKeepsOtherPagesOut(t *testing.T) {
	t.Parallel()
	h := handler(t)
	front := text(t, ask(t, h, http.MethodGet, "/console/"))
	asset := assetURL.FindStringSubmatch(front)[1]
	for _, path := range []string{"/console", "/console/", "/console/apps/shop", asset, "/console/assets/old/app.js"} {
		got := ask(t, h, http.MethodGet, path).Header
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
		} {
			if got.Get(name) != want {
				t.Errorf("%s: %s is %q", path, name, got.Get(name))
			}
		}
	}
	for _, inline := range []string{"<style", "style=", " onclick", " onload", "javascript:"} {
		if strings.Contains(front, inline) {
			t.Errorf("the page holds %q, which its policy forbids", inline)
		}
	}
	if n, open := strings.Count(front, "<script "), strings.Count(front, "<script"); n != open || strings.Count(front, "</script>") != open || strings.Count(front, `"></script>`) != open {
		t.Error("the page holds a script of its own")
	}
}

func TestAnAssetComesPackedAndOnlyOnce(t *testing.T) {
	t.Parallel()
	h := handler(t)
	front := text(t, ask(t, h, http.MethodGet, "/console/"))
	asset := regexp.MustCompile(`/console/assets/[^"]+/app\.js`).FindString(front)
	plain := ask(t, h, http.MethodGet, asset)
	want := text(t, plain)
	packed := ask(t, h, http.MethodGet, asset, "Accept-Encoding", "br, gzip;q=0.8")
	if packed.Header.Get("Content-Encoding") != "gzip" || packed.Header.Get("Vary") != "Accept-Encoding" {
		t.Fatalf("headers %v", packed.Header)
	}
	z, err := gzip.NewReader(packed.Body)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(z)
	if err != nil || string(got) != want {
		t.Errorf("unpacked: %d bytes, %v; want %d", len(got), err, len(want))
	}
	if r := ask(t, h, http.MethodGet, asset, "Accept-Encoding", "gzip;q=0"); r.Header.Get("Content-Encoding") != "" {
		t.Error("who refuses gzip got it")
	}
	tag := plain.Header.Get("ETag")
	if tag == packed.Header.Get("ETag") {
		t.Error("two forms have one tag")
	}
	if r := ask(t, h, http.MethodGet, asset, "If-None-Match", `"other", W/`+tag); r.StatusCode != http.StatusNotModified || text(t, r) != "" {
		t.Errorf("with its tag: %d", r.StatusCode)
	}
	if r := ask(t, h, http.MethodHead, asset); r.Header.Get("Content-Length") == "" || text(t, r) != "" {
		t.Error("HEAD has a body, or no length")
	}
}

func TestNothingElseIsHandedOut(t *testing.T) {
	t.Parallel()
	h := handler(t)
	front := text(t, ask(t, h, http.MethodGet, "/console/"))
	base := regexp.MustCompile(`/console/assets/[^/"]+/`).FindString(front)
	for _, path := range []string{
		base, base + "vendor", base + "none.js", base + "index.html", base + "vendor/LICENSE-htm", base + "../console.go", base + "..%2f..%2fconsole.go",
		"/console/assets/", "/console/assets/0000000000000000/app.js", "/console/../healthz", "/console//app.js", "/consolelog",
	} {
		if r := ask(t, h, http.MethodGet, path); r.StatusCode != http.StatusNotFound || !strings.Contains(r.Header.Get("Content-Type"), "problem+json") {
			t.Errorf("%s: %d %s", path, r.StatusCode, r.Header.Get("Content-Type"))
		}
	}
	if r := ask(t, h, http.MethodPost, "/console/"); r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", r.StatusCode)
	}
	if r := ask(t, h, http.MethodGet, "/console"); r.StatusCode != http.StatusPermanentRedirect || r.Header.Get("Location") != "/console/" {
		t.Errorf("without the slash: %d to %q", r.StatusCode, r.Header.Get("Location"))
	}
}

func TestOnlyABrowserAtTheRootIsSentToTheConsole(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		method, path, accept string
		want                 bool
	}{
		{http.MethodGet, "/", "text/html,application/xhtml+xml,*/*;q=0.8", true},
		{http.MethodGet, "/", "*/*", false},
		{http.MethodGet, "/", "", false},
		{http.MethodPost, "/", "text/html", false},
		{http.MethodGet, "/other", "text/html", false},
	} {
		r := httptest.NewRequest(c.method, c.path, nil)
		r.Header.Set("Accept", c.accept)
		if got := Wants(r); got != c.want {
			t.Errorf("%s %s with %q: %v", c.method, c.path, c.accept, got)
		}
	}
}
