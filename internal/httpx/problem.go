// Package httpx holds what every HTTP surface of the server shares: problem documents and a server with limits.
package httpx

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/slipstream-ota/slipstream"
)

// Problem is an RFC 9457 problem document. Code is stable and meant for programs, Detail and Hint for people. It is an
// error, so handlers return it like any other.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	Code   string `json:"code"`
	Hint   string `json:"hint,omitempty"`
	// RetryAfter is sent as the header of that name, in seconds, when it is not 0.
	RetryAfter int `json:"-"`
}

func (p *Problem) Error() string {
	if p.Detail == "" {
		return p.Title
	}
	return p.Detail
}

// NewProblem makes a problem with a status and a code; format and args say the detail.
func NewProblem(status int, code, format string, args ...any) *Problem {
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: fmt.Sprintf(format, args...)}
}

// Codes of problems besides the reasons of the domain.
const (
	CodeNotFound         = "not_found"
	CodeConflict         = "conflict"
	CodeBadName          = "bad_name"
	CodeBadRequest       = "bad_request"
	CodeUnavailable      = "unavailable"
	CodeTooLarge         = "too_large"
	CodeMethodNotAllowed = "method_not_allowed"
	CodeUnsupportedMedia = "unsupported_media_type"
	CodeInternal         = "internal"
	CodeTimeout          = "timeout"
)

// ProblemOf maps any error to the problem that a client may see. Of an error that is nobody's fault but the server's
// the detail is kept back: it belongs into the log.
func ProblemOf(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		if p.Hint != "" {
			return p
		}
		q := *p
		q.Hint = slipstream.HintOf(err)
		return &q
	}
	q := classify(err)
	if q.Status < http.StatusInternalServerError || q.Status == http.StatusServiceUnavailable {
		q.Hint = slipstream.HintOf(err)
	}
	return q
}

func classify(err error) *Problem {
	var refusal *slipstream.Refusal
	var tooLarge *http.MaxBytesError
	var badType *json.UnmarshalTypeError
	var badSyntax *json.SyntaxError
	switch {
	case errors.As(err, &refusal):
		return NewProblem(refusalStatus(refusal.Reason), string(refusal.Reason), "%v", err)
	case errors.As(err, &tooLarge):
		return NewProblem(http.StatusRequestEntityTooLarge, CodeTooLarge, "the body is larger than %d bytes", tooLarge.Limit)
	case errors.Is(err, slipstream.ErrNotFound):
		return NewProblem(http.StatusNotFound, CodeNotFound, "%v", err)
	case errors.Is(err, slipstream.ErrConflict):
		return NewProblem(http.StatusConflict, CodeConflict, "%v", err)
	case errors.Is(err, slipstream.ErrBadName):
		return NewProblem(http.StatusBadRequest, CodeBadName, "%v", err)
	case errors.Is(err, slipstream.ErrUnavailable):
		p := NewProblem(http.StatusServiceUnavailable, CodeUnavailable, "the server cannot do this right now")
		p.RetryAfter = 5
		return p
	case errors.Is(err, context.DeadlineExceeded):
		p := NewProblem(http.StatusServiceUnavailable, CodeTimeout, "the server did not finish in time")
		p.RetryAfter = 5
		return p
	case errors.Is(err, context.Canceled):
		return NewProblem(http.StatusServiceUnavailable, CodeUnavailable, "the request was given up")
	case errors.As(err, &badType), errors.As(err, &badSyntax):
		return NewProblem(http.StatusBadRequest, CodeBadRequest, "%v", err)
	}
	return NewProblem(http.StatusInternalServerError, CodeInternal, "the server failed; its log says why")
}

func refusalStatus(r slipstream.Reason) int {
	switch r {
	case slipstream.ReasonTooLarge:
		return http.StatusRequestEntityTooLarge
	case slipstream.ReasonMalformed:
		return http.StatusBadRequest
	}
	return http.StatusUnprocessableEntity
}

// WriteProblem answers with the problem of err. It must be called before anything else is written.
func WriteProblem(w http.ResponseWriter, r *http.Request, err error) {
	p := ProblemOf(err)
	body, merr := json.Marshal(p)
	if merr != nil {
		body = []byte(`{"type":"about:blank","status":500,"code":"internal"}`)
	}
	h := w.Header()
	for _, stale := range []string{"Etag", "Repr-Digest", "Accept-Ranges", "Last-Modified", "Content-Encoding", "Use-As-Dictionary"} {
		h.Del(stale)
	}
	if p.Status != http.StatusRequestedRangeNotSatisfiable {
		h.Del("Content-Range")
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("Content-Length", fmt.Sprint(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if p.RetryAfter > 0 {
		h.Set("Retry-After", fmt.Sprint(p.RetryAfter))
	}
	w.WriteHeader(p.Status)
	if r.Method != http.MethodHead {
		// A client that has gone away is no error of ours.
		_, _ = w.Write(body)
	}
}

// MethodNotAllowed answers 405 and says which methods the resource has.
func MethodNotAllowed(w http.ResponseWriter, r *http.Request, allowed ...string) {
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	LeaveBody(w, r)
	WriteProblem(w, r, NewProblem(http.StatusMethodNotAllowed, CodeMethodNotAllowed, "%s is not possible here", r.Method))
}

// NotFound answers 404 for a path that does not exist.
func NotFound(w http.ResponseWriter, r *http.Request) {
	LeaveBody(w, r)
	WriteProblem(w, r, NewProblem(http.StatusNotFound, CodeNotFound, "there is nothing at this path"))
}
