// Package console is the web console: pages for people who look after releases, made of the ES modules and style sheets
// in the folder assets. They run in the browser and use the management API and nothing else; the server only hands them
// out. Nothing is built or fetched: what is in the folder is what a browser gets.
package console

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/slipstream-ota/slipstream/internal/httpx"
)

// Base is where the console lives.
const Base = "/console/"

const (
	indexFile  = "index.html"
	assetsPath = Base + "assets/"
	forever    = "public, max-age=31536000, immutable"
	policy     = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
		"frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)

//go:embed assets
var embedded embed.FS

var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
	".js": "text/javascript; charset=utf-8", ".mjs": "text/javascript; charset=utf-8",
}

// file is an asset as it is sent. packed is its gzip form, nil where that is no smaller.
type file struct {
	kind, tag   string
	raw, packed []byte
}

// Console hands out the pages. It never changes, so it may be shared.
type Console struct {
	hash  string // of all assets, part of their URLs
	files map[string]file
	index file
}

// New reads the assets, packs them and names them by their content: a URL of an asset never gives anything else.
func New() (*Console, error) {
	assets, err := fs.Sub(embedded, "assets")
	if err != nil {
		return nil, fmt.Errorf("find the console's assets: %w", err)
	}
	c := &Console{files: map[string]file{}}
	sum := sha256.New()
	var modules []string
	err = fs.WalkDir(assets, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := fs.ReadFile(assets, name)
		if err != nil {
			return err
		}
		fmt.Fprintf(sum, "%s\x00%d\x00", name, len(raw))
		sum.Write(raw)
		kind := contentTypes[path.Ext(name)]
		if kind == "" || name == indexFile {
			return nil // licences stay in the source
		}
		if c.files[name], err = pack(kind, raw); err != nil {
			return err
		}
		if strings.HasPrefix(kind, "text/javascript") && name != "boot.js" {
			modules = append(modules, name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the console's assets: %w", err)
	}
	c.hash = hex.EncodeToString(sum.Sum(nil))[:16]
	c.index, err = c.page(assets, modules)
	return c, err
}

// page is the one HTML document. It lists all modules, so that the browser fetches them at once and not one after another.
func (c *Console) page(assets fs.FS, modules []string) (file, error) {
	t, err := template.ParseFS(assets, indexFile)
	if err != nil {
		return file{}, fmt.Errorf("read the console's page: %w", err)
	}
	slices.Sort(modules)
	var out bytes.Buffer
	err = t.Execute(&out, map[string]any{"Assets": assetsPath + c.hash + "/", "Modules": modules})
	if err != nil {
		return file{}, fmt.Errorf("make the console's page: %w", err)
	}
	return pack(contentTypes[".html"], out.Bytes())
}

func pack(kind string, raw []byte) (file, error) {
	sum := sha256.Sum256(raw)
	f := file{kind: kind, tag: hex.EncodeToString(sum[:16]), raw: raw}
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return f, fmt.Errorf("pack an asset: %w", err)
	}
	if _, err := w.Write(raw); err != nil {
		return f, fmt.Errorf("pack an asset: %w", err)
	}
	if err := w.Close(); err != nil {
		return f, fmt.Errorf("pack an asset: %w", err)
	}
	if out.Len() < len(raw) {
		f.packed = out.Bytes()
	}
	return f, nil
}

// Handler answers everything below Base. Every path there that is no asset is a page of the console: which one is up to
// the page itself, so that a link to it can be kept and passed on.
func (c *Console) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secure(w.Header())
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			httpx.MethodNotAllowed(w, r, http.MethodGet, http.MethodHead)
		case r.URL.Path+"/" == Base:
			http.Redirect(w, r, Base, http.StatusPermanentRedirect)
		case !httpx.CleanPath(r.URL.Path) || !strings.HasPrefix(r.URL.Path, Base):
			httpx.NotFound(w, r)
		case strings.HasPrefix(r.URL.Path, assetsPath):
			name, ours := strings.CutPrefix(r.URL.Path, assetsPath+c.hash+"/")
			f, known := c.files[name]
			if !ours || !known {
				httpx.NotFound(w, r)
				return
			}
			f.send(w, r, forever)
		default:
			c.index.send(w, r, "no-cache")
		}
	})
}

// Wants says whether r is a browser at the root of the server that should be shown the console.
func Wants(r *http.Request) bool {
	return r.URL.Path == "/" && (r.Method == http.MethodGet || r.Method == http.MethodHead) && strings.Contains(r.Header.Get("Accept"), "text/html")
}

// secure sets what keeps other pages, and whatever might get into ours, from acting for who is signed in.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

func (f file) send(w http.ResponseWriter, r *http.Request, cache string) {
	h, body, tag := w.Header(), f.raw, `"`+f.tag+`"`
	h.Set("Vary", "Accept-Encoding")
	h.Set("Cache-Control", cache)
	packed := f.packed != nil && acceptsGzip(r.Header.Get("Accept-Encoding"))
	if packed {
		body, tag = f.packed, `"`+f.tag+`-gz"`
	}
	h.Set("ETag", tag)
	if slices.ContainsFunc(strings.Split(r.Header.Get("If-None-Match"), ","), func(s string) bool {
		return strings.TrimPrefix(strings.TrimSpace(s), "W/") == tag
	}) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if packed {
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("Content-Type", f.kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		// A browser that has gone away is no error of ours.
		_, _ = w.Write(body)
	}
}

func acceptsGzip(header string) bool {
	for part := range strings.SplitSeq(header, ",") {
		name, params, _ := strings.Cut(part, ";")
		if strings.TrimSpace(name) == "gzip" {
			q := strings.ReplaceAll(params, " ", "")
			return q != "q=0" && q != "q=0.0" && q != "q=0.00" && q != "q=0.000"
		}
	}
	return false
}
