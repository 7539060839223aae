package deliver

import (
	"net/http"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream/deliver/live"
)

// Whatever a page may read says so to everybody, so that a shared cache can keep it.
func TestAnyPageReadsWhatIsPublic(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	blob := w.addBlob("bytes")
	w.start(func(c *Config) { c.Pages = []string{"https://shop.example"} })
	for _, path := range []string{statePath, "/v1/apps/shop/roots/1", "/v1/apps/shop/roots/2", "/v1/blobs/" + string(blob), "/v1/manifests/" + strings.Repeat("0", 64)} {
		for _, origin := range [][]string{nil, {"Origin", "https://other.example"}, {"Origin", "null"}} {
			res := w.ask("GET", path, "", origin...)
			if got := res.Header.Get("Access-Control-Allow-Origin"); got != "*" {
				t.Errorf("%s of %v: allowed for %q", path, origin, got)
			}
			if got := res.Header.Get("Access-Control-Expose-Headers"); !strings.Contains(got, "ETag") || !strings.Contains(got, "Retry-After") {
				t.Errorf("%s of %v: a page sees %q", path, origin, got)
			}
			if got := res.Header.Get("Vary"); strings.Contains(got, "Origin") {
				t.Errorf("%s of %v: varies by %q", path, origin, got)
			}
		}
	}
}

func TestPagesAskBeforeTheySend(t *testing.T) {
	t.Parallel()
	w := newWorld(t).start()
	for _, c := range []struct{ method, path, allowed string }{
		{"POST", "/v1/check", "POST"},
		{"POST", "/v1/reports", "POST"},
		{"POST", "/v1/grants", "POST"},
		{"GET", "/v1/live", "GET"},
		{"GET", statePath, "GET, HEAD"},
		{"GET", "/v1/blobs/" + strings.Repeat("0", 64), "GET, HEAD"},
	} {
		res := w.ask("OPTIONS", c.path, "", "Origin", "https://shop.example", "Access-Control-Request-Method", c.method, "Access-Control-Request-Headers", "content-type,if-range")
		if res.StatusCode != http.StatusNoContent || res.Header.Get("Access-Control-Allow-Origin") != "*" || res.Header.Get("Access-Control-Allow-Methods") != c.allowed ||
			!strings.Contains(res.Header.Get("Access-Control-Allow-Headers"), "Content-Type, If-None-Match, If-Range") {
			t.Errorf("%s %s: %s %v", c.method, c.path, res.Status, res.Header)
		}
	}
	for name, res := range map[string]*http.Response{
		"no page":      w.ask("OPTIONS", "/v1/check", ""),
		"management":   w.ask("OPTIONS", "/v1/admin/apps", "", "Origin", "https://shop.example", "Access-Control-Request-Method", "GET"),
		"for machines": w.ask("GET", "/healthz", "", "Origin", "https://shop.example"),
	} {
		if got := res.Header.Get("Access-Control-Allow-Methods"); got != "" {
			t.Errorf("%s: %s, methods %q", name, res.Status, got)
		}
	}
	if got := w.ask("GET", "/healthz", "", "Origin", "https://shop.example").Header.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("/healthz is allowed for %q", got)
	}
}

// What counts a device can be kept to some pages; whoever is no page is not meant.
func TestStrangersPagesCanBeKeptFromReporting(t *testing.T) {
	t.Parallel()
	hub := live.NewHub(live.Config{})
	w := newWorld(t).start(func(c *Config) {
		c.Pages = []string{"https://shop.example", "null"}
		c.Live = hub
	})
	for _, c := range []struct {
		origin, allowed string
		refused         bool
	}{
		{origin: ""},
		{origin: "https://shop.example", allowed: "https://shop.example"},
		{origin: "null", allowed: "null"},
		{origin: "http://example.com", allowed: "http://example.com"}, // the name that the server is asked by
		{origin: "https://shop.example.evil", refused: true},
		{origin: "http://shop.example", refused: true},
		{origin: "*", refused: true},
		{origin: "https://", refused: true},
	} {
		header := []string{"Origin", c.origin}
		if c.origin == "" {
			header = nil
		}
		for _, path := range []string{"/v1/check", "/v1/reports", "/v1/grants"} {
			res := w.ask("POST", path, "[]", header...)
			if (res.StatusCode == http.StatusForbidden) != c.refused || res.Header.Get("Access-Control-Allow-Origin") != c.allowed {
				t.Errorf("%s of %q: %s, allowed for %q", path, c.origin, res.Status, res.Header.Get("Access-Control-Allow-Origin"))
			}
			if body := bodyOf(t, res); c.refused && !strings.Contains(body, CodePage) {
				t.Errorf("%s of %q: %s", path, c.origin, body)
			}
			if c.origin != "" && res.Header.Get("Vary") != "Origin" {
				t.Errorf("%s of %q varies by %q", path, c.origin, res.Header.Get("Vary"))
			}
		}
		if c.refused {
			if res := w.ask("GET", "/v1/live?app=shop", "", header...); res.StatusCode != http.StatusForbidden {
				t.Errorf("live of %q: %s", c.origin, res.Status)
			}
			if res := w.ask("OPTIONS", "/v1/reports", "", append(header, "Access-Control-Request-Method", "POST")...); res.StatusCode != http.StatusForbidden {
				t.Errorf("preflight of %q: %s", c.origin, res.Status)
			}
		}
	}
	none := newWorld(t).start(func(c *Config) { c.Pages = []string{} })
	if res := none.ask("POST", "/v1/reports", "[]", "Origin", "https://shop.example"); res.StatusCode != http.StatusForbidden {
		t.Errorf("no page at all: %s", res.Status)
	}
}

func TestOriginsAreWrittenAsBrowsersSendThem(t *testing.T) {
	t.Parallel()
	for origin, good := range map[string]bool{
		"*": true, "null": true, "https://shop.example": true, "http://localhost:8099": true, "capacitor://localhost": true, "https://[::1]:8443": true,
		"": false, "shop.example": false, "https://shop.example/": false, "https://shop.example/page": false, "https://Shop.example": false,
		"https://": false, "https://a@shop.example": false, "https://shop.example?x": false, "https://*.example": false,
	} {
		if err := CheckOrigin(origin); (err == nil) != good {
			t.Errorf("%q: %v", origin, err)
		}
	}
}
