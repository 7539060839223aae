//go:build !device

package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/internal/httpx"
	"github.com/slipstream-ota/slipstream/protocol"
)

// hostRule says by which names a server may be asked. Answers to clients of other systems carry whole addresses, and
// without a base URL those begin with what the request says: a name that nobody gave this server must not get into an
// answer that a cache may hand on.
type hostRule struct {
	listed  bool // the names were given: they count on every path
	fixed   bool // addresses in answers begin with the base URL, whatever the request says
	open    bool // any name will do, for nobody can tell which ones lead here
	names   map[string]bool
	trusted func(r *http.Request) bool
}

// validHost is a name or an address, and perhaps a port.
var validHost = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$`)

// parseHosts reads the names of --hosts.
func parseHosts(list string) (map[string]bool, error) {
	out := map[string]bool{}
	for s := range strings.SplitSeq(list, ",") {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		if ip, err := netip.ParseAddr(s); err == nil && ip.Is6() {
			s = "[" + s + "]"
		}
		if !validHost.MatchString(s) {
			return nil, slipstream.Hint(fmt.Errorf("hosts: %q is no name of a host", s), "use names by commas, without http:// and without a path, such as updates.example.com,10.0.0.5")
		}
		out[hostName(s)] = true
	}
	return out, nil
}

// hostName is a host without its port, as names are compared.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().WithZone("").String()
	}
	return host
}

// hostRule is the rule of a configuration. A server that listens everywhere, or behind a proxy on this machine, cannot
// know its names.
func (c *serveConfig) hostRule() *hostRule {
	h := &hostRule{listed: len(c.hosts) > 0, fixed: c.baseURL != "", names: map[string]bool{}, trusted: c.fromProxy()}
	for name := range c.hosts {
		h.names[name] = true
	}
	if u, err := url.Parse(c.baseURL); err == nil && u.Host != "" {
		h.names[hostName(u.Host)] = true
	}
	listen := hostName(c.listen)
	h.names[listen] = true
	ip, err := netip.ParseAddr(listen)
	everywhere := listen == "" || err == nil && ip.IsUnspecified()
	h.open = !h.listed && (everywhere || loopback(listen))
	return h
}

// fromProxy says whether a request comes from a proxy that may name the host that was asked.
func (c *serveConfig) fromProxy() func(r *http.Request) bool {
	trusted := c.trusted()
	return func(r *http.Request) bool {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		return err == nil && trusted != nil && trusted(host)
	}
}

func loopback(name string) bool {
	ip, err := netip.ParseAddr(name)
	return name == "localhost" || strings.HasSuffix(name, ".localhost") || err == nil && ip.IsLoopback()
}

func (h *hostRule) allows(r *http.Request) bool {
	host := protocol.HostOf(r, h.trusted)
	if !validHost.MatchString(host) {
		return false
	}
	name := hostName(host)
	if h.open || h.names[name] || loopback(name) {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && hostName(local.String()) == name
}

// guard refuses requests by other names: on every path but those of probes where names were given, else where whole
// addresses are answered.
func (h *hostRule) guard(next http.Handler, answersAddresses func(path string) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		probe := r.URL.Path == "/healthz" || r.URL.Path == "/readyz" || r.URL.Path == "/metrics"
		if !probe && (h.listed || !h.fixed && answersAddresses(r.URL.Path)) && !h.allows(r) {
			p := httpx.NewProblem(http.StatusMisdirectedRequest, "misdirected", "this server does not answer to the name %.100q", protocol.HostOf(r, h.trusted))
			p.Hint = "ask it by its own name; whoever runs it names it by serve --base-url, or --hosts for several"
			httpx.WriteProblem(w, r, p)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// warn says at start that addresses in answers are what clients ask by.
func (h *hostRule) warn(ctx context.Context, c *serveConfig) {
	if !h.fixed && h.open && !loopback(hostName(c.listen)) {
		c.log.LogAttrs(ctx, slog.LevelWarn, "download addresses for clients of other systems (EasyClick, CodePush, Capgo) begin with whatever name they ask by: give --base-url, or --hosts with the names of this server",
			slog.String("listen", c.listen))
	}
}
