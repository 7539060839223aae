package deliver

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/internal/httpx"
)

// bytes answers with an immutable object by its hash: ranges, conditions, a strong ETag, and the hash of the whole in
// Repr-Digest (RFC 9530). Blobs may come coded with a dictionary that the client names; containers are never coded
// again.
func (s *Server) bytes(w http.ResponseWriter, r *http.Request) error {
	d, err := digest(r)
	if err != nil {
		return err
	}
	if strings.HasPrefix(r.URL.Path, "/v1/blobs/") {
		return s.blob(w, r, d)
	}
	return s.plain(w, r, d)
}

// blob is bytes, coded with a dictionary where the client has one.
func (s *Server) blob(w http.ResponseWriter, r *http.Request, d slipstream.Digest) error {
	if done, err := s.coded(w, r, d); done || err != nil {
		return err
	}
	return s.plain(w, r, d)
}

// plain answers with the bytes as they are.
func (s *Server) plain(w http.ResponseWriter, r *http.Request, d slipstream.Digest) error {
	h := w.Header()
	etag := `"` + string(d) + `"`
	h["Etag"] = []string{etag}
	h["Cache-Control"] = s.headers.immutable
	object, err := s.open(r, d)
	if err != nil {
		return err
	}
	defer func() { _ = object.Close() }() // only read from
	if have := r.Header["If-None-Match"]; len(have) > 0 && matches(have, etag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return s.serve(w, r, d, object)
}

// serve sends the object d, whose ETag is set.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, d slipstream.Digest, object blob.Object) error {
	sum, err := hex.DecodeString(string(d))
	if err != nil {
		return fmt.Errorf("decode digest: %w", err)
	}
	h := w.Header()
	if h["Content-Type"] == nil {
		h["Content-Type"] = s.headers.octets
	}
	h["X-Content-Type-Options"] = s.headers.noSniff
	h["Repr-Digest"] = []string{"sha-256=:" + base64.StdEncoding.EncodeToString(sum) + ":"}
	if h["Content-Encoding"] != nil && r.Header.Get("Range") == "" {
		h["Content-Length"] = []string{strconv.FormatInt(object.Size(), 10)} // net/http leaves it out for coded bodies
	}
	defer s.limitWriting(w, r, object.Size())()
	http.ServeContent(&unsatisfiable{ResponseWriter: w, request: r}, r, "", time.Time{}, object)
	return nil
}

// open looks the object up within the store's time limit; the object itself lives as long as the request.
func (s *Server) open(r *http.Request, d slipstream.Digest) (blob.Object, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	late := time.AfterFunc(s.cfg.StoreTimeout, func() { cancel(context.DeadlineExceeded) })
	object, err := s.cfg.Blobs.Open(ctx, d)
	if !late.Stop() || err != nil {
		if err == nil {
			_ = object.Close()
			err = context.DeadlineExceeded
		}
		cancel(nil)
		return nil, fmt.Errorf("open %s: %w", d.Short(), err)
	}
	return &owned{object, cancel}, nil
}

// owned ends the context of an object with the object.
type owned struct {
	blob.Object
	cancel context.CancelCauseFunc
}

func (o *owned) Close() error {
	defer o.cancel(nil)
	return o.Object.Close()
}

// unsatisfiable turns http.ServeContent's plain text for a range outside the object into a problem.
type unsatisfiable struct {
	http.ResponseWriter
	request *http.Request
	refused bool
}

func (w *unsatisfiable) WriteHeader(code int) {
	if code < http.StatusBadRequest {
		w.ResponseWriter.WriteHeader(code)
		return
	}
	w.refused = true
	kind, text := "range_not_satisfiable", "the range lies outside the object"
	if code != http.StatusRequestedRangeNotSatisfiable {
		kind, text = httpx.CodeInternal, "the object could not be read"
	}
	httpx.WriteProblem(w.ResponseWriter, w.request, httpx.NewProblem(code, kind, "%s", text))
}

func (w *unsatisfiable) Write(b []byte) (int, error) {
	if w.refused {
		return len(b), nil
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController through.
func (w *unsatisfiable) Unwrap() http.ResponseWriter { return w.ResponseWriter }
