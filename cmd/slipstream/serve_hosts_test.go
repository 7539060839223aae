//go:build !device

package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestTheNamesThatAServerAnswersTo(t *testing.T) {
	const foreign, own = "/easyclick/shop/production", "/v1/check"
	for _, c := range []struct {
		about, listen, base, hosts string
		path, host, forwarded      string
		refused                    bool
	}{
		{about: "listening everywhere, any name", listen: ":8080", path: foreign, host: "slipstream:8080"},
		{about: "behind a proxy of this machine, any name", listen: "127.0.0.1:8080", path: foreign, host: "updates.example.com"},
		{about: "a name that is none", listen: ":8080", path: foreign, host: `a"b`, refused: true},
		{about: "on one address, a stranger's name", listen: "10.0.0.5:8080", path: foreign, host: "evil.example", refused: true},
		{about: "on one address, that one", listen: "10.0.0.5:8080", path: foreign, host: "10.0.0.5:8080"},
		{about: "the address that the connection came to", listen: "updates.lan:8080", path: foreign, host: "192.0.2.7"},
		{about: "on a name, that one, however it is written", listen: "updates.lan:8080", path: foreign, host: "Updates.LAN."},
		{about: "loopback, always", listen: "10.0.0.5:8080", path: foreign, host: "localhost:8080"},
		{about: "where no address is answered", listen: "10.0.0.5:8080", path: own, host: "evil.example"},
		{about: "where addresses begin with the base URL", listen: "10.0.0.5:8080", base: "https://updates.example.com", path: foreign, host: "evil.example"},
		{about: "names given: another", listen: ":8080", hosts: "updates.example.com,10.0.0.9", path: foreign, host: "evil.example", refused: true},
		{about: "names given: another, on every path", listen: ":8080", hosts: "updates.example.com", path: own, host: "evil.example", refused: true},
		{about: "names given: a probe", listen: ":8080", hosts: "updates.example.com", path: "/healthz", host: "10.1.2.3"},
		{about: "names given: one of them", listen: ":8080", hosts: "updates.example.com,10.0.0.9", path: own, host: "10.0.0.9:8080"},
		{about: "names given: the base URL's", listen: ":8080", hosts: "other.example", base: "https://updates.example.com", path: own, host: "updates.example.com"},
		{about: "names given: loopback", listen: ":8080", hosts: "updates.example.com", path: own, host: "[::1]:8080"},
		{about: "a proxy that is not trusted names another", listen: ":8080", hosts: "updates.example.com", path: own, host: "updates.example.com", forwarded: "evil.example"},
	} {
		t.Run(c.about, func(t *testing.T) {
			cfg, err := testTool(t).serveConfig(serveFlags{listen: c.listen, baseURL: c.base, hosts: c.hosts, proxies: "198.51.100.0/24"})
			if err != nil {
				t.Fatal(err)
			}
			answered := false
			h := cfg.hostRule().guard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { answered = true }),
				func(path string) bool { return strings.HasPrefix(path, "/easyclick/") })
			ctx := context.WithValue(t.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 8080})
			r := httptest.NewRequestWithContext(ctx, http.MethodGet, c.path, nil)
			r.Host = c.host
			if c.forwarded != "" {
				r.Header.Set("X-Forwarded-Host", c.forwarded)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if answered == c.refused {
				t.Errorf("answered %v, status %d", answered, w.Code)
			}
			if c.refused && (w.Code != http.StatusMisdirectedRequest || !strings.Contains(w.Body.String(), "--base-url")) {
				t.Errorf("refused with %d %s", w.Code, w.Body)
			}
		})
	}
}

func TestATrustedProxyNamesTheHost(t *testing.T) {
	cfg, err := testTool(t).serveConfig(serveFlags{listen: ":8080", hosts: "updates.example.com", proxies: "198.51.100.0/24"})
	if err != nil {
		t.Fatal(err)
	}
	for forwarded, want := range map[string]bool{"updates.example.com": true, "evil.example": false} {
		r := httptest.NewRequest(http.MethodGet, "/v1/check", nil)
		r.RemoteAddr, r.Host = "198.51.100.4:99", "slipstream:8080"
		r.Header.Set("X-Forwarded-Host", forwarded)
		if got := cfg.hostRule().allows(r); got != want {
			t.Errorf("%s: allowed %v", forwarded, got)
		}
	}
}

func TestAServerWithNamesRefusesOthers(t *testing.T) {
	s := startTestServer(t, testTool(t), serveFlags{data: t.TempDir(), hosts: "updates.example.com"})
	for host, want := range map[string]int{"updates.example.com": 200, "evil.example": 421, "": 200} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL()+"/v1/openapi.json", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%q: %d %.200s", host, res.StatusCode, body)
		}
	}
}

func TestAServerWarnsThatItDoesNotKnowItsName(t *testing.T) {
	for _, c := range []struct {
		flags serveFlags
		warns bool
	}{
		{serveFlags{listen: ":8080"}, true},
		{serveFlags{listen: "[::]:8080"}, true},
		{serveFlags{listen: "127.0.0.1:8080"}, false},
		{serveFlags{listen: "10.0.0.5:8080"}, false},
		{serveFlags{listen: ":8080", baseURL: "https://updates.example.com"}, false},
		{serveFlags{listen: ":8080", hosts: "updates.example.com"}, false},
	} {
		cfg, err := testTool(t).serveConfig(c.flags)
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		cfg.log = slog.New(slog.NewTextHandler(&log, nil))
		cfg.hostRule().warn(t.Context(), &cfg)
		if got := strings.Contains(log.String(), "--base-url"); got != c.warns {
			t.Errorf("%+v: %q", c.flags, log.String())
		}
	}
}
