package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/internal/httpx"
)

// MaxBlob bounds one blob: what a single file of a release may weigh.
const MaxBlob = 16 << 30

// headerStored tells a stored blob from an unfinished upload that happens to be as long.
const headerStored = "Upload-Stored"

const (
	loginTimeout = 10 * time.Second // for the look at a token: a database that hangs is told before anything is begun
)

// routeBlobs adds the uploads. They stream, so they do not go through huma, which reads bodies whole. Blobs are kept
// once for all apps: who may publish for one app can learn of any digest whether it is stored, which takes knowing it.
func (s *Server) routeBlobs() {
	const path = Base + "/apps/{app}/blobs/{digest}"
	s.upload(http.MethodHead, path, "How much of a blob has arrived (Upload-Offset)", s.headBlob)
	s.upload(http.MethodPut, path, "Upload a blob whole", s.putBlob)
	s.upload(http.MethodPatch, path, "Upload a part of a large blob at Upload-Offset", s.patchBlob)
}

func (s *Server) upload(method, path, summary string, fn func(http.ResponseWriter, *http.Request, slipstream.Digest) error) {
	s.mux.HandleFunc(method+" "+path, func(w http.ResponseWriter, r *http.Request) {
		if _, err := s.authorize(r, auth.Publish, r.PathValue("app")); err != nil {
			httpx.LeaveBody(w, r)
			s.fail(w, r, err)
			return
		}
		d := slipstream.Digest(r.PathValue("digest"))
		if !d.Valid() {
			httpx.LeaveBody(w, r)
			s.fail(w, r, slipstream.Invalidf("digest %q is not 64 lower-case hex digits", d))
			return
		}
		if err := fn(w, r, d); err != nil {
			httpx.LeaveBody(w, r)
			s.fail(w, r, err)
		}
	})
	param := func(name, in, typ, doc string, required bool) *huma.Param {
		return &huma.Param{Name: name, In: in, Description: doc, Required: required, Schema: &huma.Schema{Type: typ}}
	}
	op := &huma.Operation{OperationID: operationID(method, "/apps/blobs"), Method: method, Path: path, Summary: summary, Tags: []string{"apps"},
		Security:   []map[string][]string{{"token": {}}},
		Parameters: []*huma.Param{param("app", "path", "string", "Name of the app", true), param("digest", "path", "string", "SHA-256 of the content", true)},
		Responses:  map[string]*huma.Response{"200": {Description: "Upload-Offset says how much is there"}},
	}
	if method == http.MethodHead {
		op.Parameters = append(op.Parameters, param("Upload-Length", "header", "integer", "Size of the whole blob, which an unfinished upload is found by", false))
	}
	if method != http.MethodHead {
		op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/octet-stream": {Schema: &huma.Schema{Type: "string", Format: "binary"}}}}
		op.Responses = map[string]*huma.Response{"201": {Description: "The blob is stored"}, "204": {Description: "The part is kept; Upload-Offset says how much is there"}}
	}
	if method == http.MethodPatch {
		op.Parameters = append(op.Parameters, param("Upload-Offset", "header", "integer", "Where this part begins", true),
			param("Upload-Length", "header", "integer", "Size of the whole blob", true))
	}
	s.huma.OpenAPI().AddOperation(op)
}

func (s *Server) headBlob(w http.ResponseWriter, r *http.Request, d slipstream.Digest) error {
	info, err := s.cfg.Blobs.Stat(r.Context(), d)
	offset, stored := info.Size, err == nil
	if errors.Is(err, slipstream.ErrNotFound) {
		offset, err = 0, nil
		if size, serr := strconv.ParseInt(r.Header.Get("Upload-Length"), 10, 64); serr == nil && s.cfg.Spool != nil {
			offset, err = s.cfg.Spool.offset(upload{r.PathValue("app"), d, size})
		}
	}
	if err != nil {
		return err
	}
	w.Header().Set("Upload-Offset", strconv.FormatInt(offset, 10))
	w.Header().Set(headerStored, strconv.FormatBool(stored))
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return nil
}

func (s *Server) putBlob(w http.ResponseWriter, r *http.Request, d slipstream.Digest) error {
	if r.ContentLength < 0 {
		return newProblem(http.StatusLengthRequired, CodeInvalid, "Content-Length is needed")
	}
	if r.ContentLength > MaxBlob {
		return newProblem(http.StatusRequestEntityTooLarge, httpx.CodeTooLarge, fmt.Sprintf("a blob has at most %d bytes", int64(MaxBlob)))
	}
	if s.cfg.Spool != nil {
		release, err := s.cfg.Spool.pass(upload{r.PathValue("app"), d, r.ContentLength})
		if err != nil {
			return err
		}
		defer release()
	}
	ctx, body, stop := httpx.Patient(w, r, s.cfg.StallTimeout, errStalled)
	defer stop()
	if err := s.cfg.Blobs.Put(ctx, d, r.ContentLength, body); err != nil {
		return s.arrival(r, errors.Join(err, stalled(ctx)))
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (s *Server) patchBlob(w http.ResponseWriter, r *http.Request, d slipstream.Digest) error {
	if s.cfg.Spool == nil {
		return newProblem(http.StatusNotImplemented, httpx.CodeMethodNotAllowed, "this server takes blobs whole only")
	}
	offset, err1 := strconv.ParseInt(r.Header.Get("Upload-Offset"), 10, 64)
	size, err2 := strconv.ParseInt(r.Header.Get("Upload-Length"), 10, 64)
	if err1 != nil || err2 != nil || offset < 0 || size <= 0 || offset > size || size > MaxBlob {
		return slipstream.Invalidf("Upload-Offset and Upload-Length must be numbers of bytes up to %d", int64(MaxBlob))
	}
	u := upload{r.PathValue("app"), d, size}
	release, err := s.cfg.Spool.claim(u)
	if err != nil {
		return err
	}
	defer release()
	if there, err := s.cfg.Spool.offset(u); err == nil && there > size {
		// Longer than the blob can be: whatever wrote that, it is in the way of what is right.
		if err := s.cfg.Spool.remove(u); err != nil {
			return err
		}
	}
	_, body, stop := httpx.Patient(w, r, s.cfg.StallTimeout, errStalled)
	defer stop()
	have, err := s.cfg.Spool.append(u, offset, body)
	var elsewhere *offsetError
	if errors.As(err, &elsewhere) {
		w.Header().Set("Upload-Offset", strconv.FormatInt(elsewhere.have, 10))
		return newProblem(http.StatusConflict, CodeOffset, err.Error())
	}
	if err != nil {
		return s.arrival(r, err)
	}
	w.Header().Set("Upload-Offset", strconv.FormatInt(have, 10))
	if have < size {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	httpx.Unhurried(w, r)
	if err := s.store(r.Context(), u); err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

// store moves a complete upload into the blob store. What does not have its hash is thrown away.
func (s *Server) store(ctx context.Context, u upload) error {
	f, err := s.cfg.Spool.open(u)
	if err != nil {
		return err
	}
	err = errors.Join(s.cfg.Blobs.Put(ctx, u.digest, u.size, f), f.Close())
	var refused *slipstream.Refusal
	if err == nil || errors.As(err, &refused) {
		err = errors.Join(err, s.cfg.Spool.remove(u))
	}
	return err
}

// arrival tells a body that broke off from a store that failed.
func (s *Server) arrival(r *http.Request, err error) error {
	if r.Context().Err() != nil {
		return newProblem(http.StatusBadRequest, CodeInvalid, "the upload broke off")
	}
	return err
}

// errStalled ends an upload of which the blob store takes nothing. The client may be long gone: that shows only once
// its bytes have been read.
var errStalled = fmt.Errorf("the blob store takes nothing: %w", slipstream.ErrUnavailable)

// stalled is errStalled when that ended ctx.
func stalled(ctx context.Context) error {
	if err := context.Cause(ctx); errors.Is(err, errStalled) {
		return err
	}
	return nil
}
