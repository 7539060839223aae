package auth

import (
	"net"
	"net/http"
	"time"
)

const (
	cookieName   = "slipstream"
	cookieSecure = "__Host-" + cookieName
)

// Cookie is how browsers carry a session's secret: never readable by scripts, never sent along by another site's page.
type Cookie struct {
	// Secure is for servers that browsers reach over https: the cookie goes over nothing else, and no other host of the
	// domain can set it.
	Secure bool
}

// name of the cookie. Cookies do not know ports: without one in its name, two servers on one machine would sign each
// other's people out.
func (c Cookie) name(r *http.Request) string {
	if c.Secure {
		return cookieSecure
	}
	if _, port, err := net.SplitHostPort(r.Host); err == nil && port != "" {
		return cookieName + "-" + port
	}
	return cookieName
}

// Of is the cookie that keeps a secret until ends; secret "" takes it away.
func (c Cookie) Of(r *http.Request, secret string, ends time.Time) http.Cookie {
	k := http.Cookie{Name: c.name(r), Value: secret, Path: "/", Secure: c.Secure, HttpOnly: true, SameSite: http.SameSiteStrictMode}
	if secret == "" {
		k.MaxAge = -1
	} else {
		k.Expires = ends
	}
	return k
}

// Attempt is a short-lived cookie that comes back when another site, the identity provider, sends the browser back; value ""
// takes it away.
func (c Cookie) Attempt(r *http.Request, value string, life time.Duration) http.Cookie {
	k := c.Of(r, value, time.Time{})
	k.Name, k.SameSite = k.Name+"-sso", http.SameSiteLaxMode
	if value != "" {
		k.Expires, k.MaxAge = time.Time{}, int(life/time.Second)
	}
	return k
}

// AttemptOf is the value of that cookie, "" for none.
func (c Cookie) AttemptOf(r *http.Request) string {
	k, err := r.Cookie(c.name(r) + "-sso")
	if err != nil {
		return ""
	}
	return k.Value
}

// Secret is the secret that r carries, "" for none.
func (c Cookie) Secret(r *http.Request) string {
	k, err := r.Cookie(c.name(r))
	if err != nil {
		return ""
	}
	return k.Value
}

// FromHere checks that a browser's request comes from one of the server's own pages, or, when it only looks, was typed by
// its user: else it is ErrCrossOrigin. own may be an origin under which browsers reach the server, "" for none: it is
// needed where a proxy gives the server another host name than browsers see.
func FromHere(r *http.Request, own string) error {
	looks := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin": // old browsers, and plain http, do not say
	case "none":
		if !looks {
			return ErrCrossOrigin
		}
	default:
		return ErrCrossOrigin
	}
	check := http.NewCrossOriginProtection()
	if own != "" {
		if err := check.AddTrustedOrigin(own); err != nil {
			return ErrCrossOrigin
		}
	}
	if err := check.Check(r); err != nil {
		return ErrCrossOrigin
	}
	return nil
}
