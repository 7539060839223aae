package deliver

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/internal/httpx"
)

// AnyPage in Config.Pages lets the pages of every origin in.
const AnyPage = "*"

// CodePage is the code of the problem that a page of another origin gets.
const CodePage = "origin_not_allowed"

// What a page of another origin may send and see beside what every page may (Fetch, section 3.3).
const (
	pageSends = "Content-Type, If-None-Match, If-Range, Last-Event-ID, Range"
	pageSees  = "Content-Range, ETag, Repr-Digest, Retry-After"
)

// pages tells browsers which pages may use the device side (CORS). No answer depends on a cookie or a login, so there is
// nothing of the visitor's that a page could read. What is signed or named by its hash is public: any page may read it,
// and because that is said whoever asks, a shared cache may keep the answer for all. What counts a device (checks,
// reports, places, live connections) can be kept to the pages of named origins, so that a stranger's page does not make
// its visitors report. The result says whether to go on.
func (s *Server) pages(w http.ResponseWriter, r *http.Request) bool {
	if !strings.HasPrefix(r.URL.Path, "/v1/") {
		return true
	}
	h := w.Header()
	if isPublic(r) {
		h["Access-Control-Allow-Origin"] = s.headers.anyone
		h["Access-Control-Expose-Headers"] = s.headers.pageSees
		return true
	}
	origin := r.Header.Get("Origin")
	if origin == "" { // no page
		return true
	}
	if slices.Contains(s.cfg.Pages, AnyPage) {
		origin = AnyPage
	} else {
		h.Add("Vary", "Origin")
		if !slices.Contains(s.cfg.Pages, origin) && !ownPage(r, origin) {
			httpx.LeaveBody(w, r)
			httpx.WriteProblem(w, r, slipstream.Hint(httpx.NewProblem(http.StatusForbidden, CodePage, "pages of %.200q may not do this here", origin),
				"name the origin in serve --web-origins"))
			return false
		}
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h["Access-Control-Expose-Headers"] = s.headers.pageSees
	return true
}

// isPublic says whether a request, or the one that a preflight announces, only reads what is public.
func isPublic(r *http.Request) bool {
	method := r.Method
	if method == http.MethodOptions {
		method = r.Header.Get("Access-Control-Request-Method")
	}
	return (method == http.MethodGet || method == http.MethodHead) && r.URL.Path != "/v1/live"
}

// ownPage says whether the page lies under the name that this server was asked by, as behind one proxy with it.
func ownPage(r *http.Request, origin string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}

// isPreflight says whether a browser asks before it sends a page's real request.
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

// preflight tells what a page may send to a route; who may was said by pages.
func (s *Server) preflight(w http.ResponseWriter, methods []string) {
	h := w.Header()
	h.Del("Access-Control-Expose-Headers")
	h.Set("Access-Control-Allow-Methods", strings.Join(methods, ", "))
	h.Set("Access-Control-Allow-Headers", pageSends)
	h.Set("Access-Control-Max-Age", "7200")
	w.WriteHeader(http.StatusNoContent)
}

// CheckOrigin says what is wrong with an entry of Config.Pages: a scheme and a host as browsers send them, "null" (pages
// from files) or AnyPage.
func CheckOrigin(origin string) error {
	if origin == AnyPage || origin == "null" {
		return nil
	}
	u, err := url.Parse(origin)
	if err != nil || u.Hostname() == "" || strings.Contains(u.Host, "*") || u.Scheme+"://"+u.Host != origin || origin != strings.ToLower(origin) {
		return slipstream.Hint(fmt.Errorf("%.200q is no origin of web pages", origin),
			"use a scheme, a host in lower case and its port when it is not the usual one, such as https://shop.example, without a path")
	}
	return nil
}
