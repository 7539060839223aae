// Package webhook sends messages over HTTP: to any receiver, signed as standardwebhooks.com describes, and to DingTalk,
// signed as its robots want it.
package webhook

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"syscall"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// ErrForbidden says that an address is one that no message goes to.
var ErrForbidden = errors.New("no messages are sent to this address")

// Guard keeps messages from addresses that only a machine's own platform should hear: who may set a target must not get
// at the keys of the machine. Addresses of the own network are allowed, because that is where receivers are.
type Guard struct {
	// Allow are networks that are reached although they are forbidden otherwise.
	Allow []netip.Prefix
}

// forbidden are the addresses where clouds give keys to whoever asks from inside: link-local ones and, outside those, the
// ones of Amazon (IPv6), Alibaba and Oracle. What is no address of one machine is forbidden too.
func forbidden(a netip.Addr) bool {
	switch a.String() {
	case "fd00:ec2::254", "100.100.100.200", "192.0.0.192":
		return true
	}
	return a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// Check refuses one address.
func (g Guard) Check(a netip.Addr) error {
	a = embedded(a.WithZone(""))
	if slices.ContainsFunc(g.Allow, func(p netip.Prefix) bool { return p.Contains(a) }) || !forbidden(a) {
		return nil
	}
	return fmt.Errorf("%s: %w", a, ErrForbidden)
}

// embedded is the IPv4 address that an IPv6 one stands for: mapped (::ffff:0:0/96), NAT64 (64:ff9b::/96, RFC 6052) or 6to4
// (2002::/16, RFC 3056); any other is itself.
func embedded(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if !a.Is6() {
		return a
	}
	b := a.As16()
	switch {
	case netip.MustParsePrefix("64:ff9b::/96").Contains(a):
		return netip.AddrFrom4([4]byte(b[12:16]))
	case netip.MustParsePrefix("2002::/16").Contains(a):
		return netip.AddrFrom4([4]byte(b[2:6]))
	}
	return a
}

// control refuses a connection when its real address is known, whatever a name resolved to before.
func (g Guard) control(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("address %q: %w", address, ErrForbidden)
	}
	return g.Check(at.Addr())
}

// Client is an HTTP client that keeps to the guard. It follows no redirects and uses no proxy, which would connect for it.
func (g Guard) Client() *http.Client {
	dialer := &net.Dialer{Timeout: 10 * time.Second, Control: g.control}
	return &http.Client{
		Transport: &http.Transport{DialContext: dialer.DialContext, TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: time.Minute,
			MaxIdleConnsPerHost: 1, ResponseHeaderTimeout: 15 * time.Second, MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// CheckHost refuses a host that is forbidden now. A name that does not resolve is left to the one who connects.
func (g Guard) CheckHost(ctx context.Context, host string) error {
	if a, err := netip.ParseAddr(host); err == nil {
		return g.Check(a)
	}
	list, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil
	}
	for _, a := range list {
		if err := g.Check(a); err != nil {
			return fmt.Errorf("%s: %w", host, err)
		}
	}
	return nil
}

// parse checks the URL of a receiver. Whoever it resolves to is checked when it is connected to.
func (g Guard) parse(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" {
		return nil, slipstream.Hint(slipstream.Invalidf("the receiver is not a URL with http or https"), "use the form https://host/path")
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil {
		if err := g.Check(a); err != nil {
			return nil, slipstream.Hint(fmt.Errorf("%w: %w", slipstream.Invalidf("the receiver"), err), "link-local addresses hold the keys of cloud machines; start the server with --alert-allow to reach one all the same")
		}
	}
	return u, nil
}

// shown is a URL for people: without its query, user and all but the first part of its path, where tokens are.
func shown(u *url.URL) string {
	out := u.Scheme + "://" + u.Host
	if u.Path != "" && u.Path != "/" || u.RawQuery != "" {
		out += "/…"
	}
	return out
}
