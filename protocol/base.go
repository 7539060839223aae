package protocol

import (
	"net/http"
	"strings"
)

// BaseURL gives the address under which a client reached the server: the configured one, else what the request says. A
// proxy's X-Forwarded-Proto and X-Forwarded-Host count only when trusted says so of the peer's IP address.
func BaseURL(configured string, trusted func(r *http.Request) bool) func(r *http.Request) string {
	if configured != "" {
		base := strings.TrimSuffix(configured, "/")
		return func(*http.Request) string { return base }
	}
	return func(r *http.Request) string {
		scheme := "http"
		if r.TLS != nil {
			scheme = "https"
		}
		if trusted != nil && trusted(r) {
			if p := r.Header.Get("X-Forwarded-Proto"); p == "http" || p == "https" {
				scheme = p
			}
		}
		return scheme + "://" + HostOf(r, trusted)
	}
}

// HostOf gives the host that a client asked: of X-Forwarded-Host where trusted says so of the peer, else of the request.
func HostOf(r *http.Request, trusted func(r *http.Request) bool) string {
	if trusted != nil && trusted(r) {
		if h := r.Header.Get("X-Forwarded-Host"); h != "" && !strings.ContainsAny(h, "/ ,\\\"'<>") {
			return h
		}
	}
	return r.Host
}
