package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/internal/httpx"
	"github.com/slipstream-ota/slipstream/rollout"
)

// Codes of problems that a program may want to tell apart. They never change. A refused document's code is its reason.
const (
	CodeSeqTaken     = "seq_taken"
	CodeVersionTaken = "version_taken"
	CodeMissingBlobs = "missing_blobs"
	CodeInvalid      = "invalid"
	CodeUnauthorized = "unauthorized"
	CodeForbidden    = "forbidden"
	CodeTooMany      = "too_many_requests"
	CodeOffset       = "upload_offset"
	CodeRepublish    = "republish_needed"
	CodeCrossOrigin  = "cross_origin"
	CodeSecondFactor = "second_factor_needed"
)

// Problem is the body of every error: RFC 9457 with a stable code, and where there is one a reason of the vocabulary
// and advice for people.
type Problem struct {
	Type   string            `json:"type,omitempty" doc:"URI of the kind of problem"`
	Title  string            `json:"title" doc:"The HTTP status in words"`
	Status int               `json:"status" doc:"The HTTP status"`
	Code   string            `json:"code" doc:"Stable name of the problem, for programs"`
	Detail string            `json:"detail,omitempty" doc:"What happened, for people"`
	Hint   string            `json:"hint,omitempty" doc:"What to do about it"`
	Reason slipstream.Reason `json:"reason,omitempty" doc:"Why a document was refused"`
	What   string            `json:"what,omitempty" doc:"What was refused"`
	Errors []ProblemDetail   `json:"errors,omitempty" doc:"The single faults of a request"`
	// retryAfter is sent as the header of that name, in seconds, when it is not 0.
	retryAfter int
}

// ProblemDetail is one fault of a request.
type ProblemDetail struct {
	Message  string `json:"message"`
	Location string `json:"location,omitempty"`
}

var _ huma.StatusError = (*Problem)(nil)

// Error makes a Problem an error.
func (p *Problem) Error() string { return p.Detail }

// GetStatus is the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType makes the body application/problem+json.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders are the headers that go with the problem.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="slipstream"`)
	}
	h.Set("Cache-Control", "no-store")
	return h
}

func newProblem(status int, code, detail string) *Problem {
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: detail}
}

// problemOf maps any error to what a client may see: the one table from the domain's errors to HTTP.
func problemOf(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	var missing *rollout.MissingError
	var edge *rollout.EdgeError
	var refusal *slipstream.Refusal
	var slowed *auth.Slowed
	switch {
	case errors.Is(err, rollout.ErrSeqTaken):
		p = newProblem(http.StatusConflict, CodeSeqTaken, err.Error())
	case errors.Is(err, rollout.ErrVersionTaken):
		p = newProblem(http.StatusConflict, CodeVersionTaken, err.Error())
	case errors.As(err, &missing):
		p = newProblem(http.StatusConflict, CodeMissingBlobs, err.Error())
		for _, d := range missing.Digests[:min(len(missing.Digests), 100)] {
			p.Errors = append(p.Errors, ProblemDetail{Message: "blob is missing", Location: string(d)})
		}
	case errors.As(err, &edge):
		p = newProblem(http.StatusConflict, CodeRepublish, err.Error())
	case errors.Is(err, slipstream.ErrInvalid), errors.Is(err, slipstream.ErrBadName):
		p = newProblem(http.StatusUnprocessableEntity, CodeInvalid, err.Error())
	case errors.As(err, &slowed):
		p = newProblem(http.StatusTooManyRequests, CodeTooMany, slowed.Error())
		p.retryAfter = int(slowed.Wait/time.Second) + 1
	case errors.Is(err, auth.ErrSecondFactor):
		p = newProblem(http.StatusUnauthorized, CodeSecondFactor, err.Error())
	case errors.Is(err, auth.ErrForbidden):
		p = newProblem(http.StatusForbidden, CodeForbidden, err.Error())
	case errors.Is(err, auth.ErrCrossOrigin):
		p = newProblem(http.StatusForbidden, CodeCrossOrigin, err.Error())
	case errors.Is(err, auth.ErrUnauthorized):
		p = newProblem(http.StatusUnauthorized, CodeUnauthorized, err.Error())
	default:
		h := httpx.ProblemOf(err)
		p = newProblem(h.Status, h.Code, h.Detail)
		p.Hint, p.retryAfter = h.Hint, h.RetryAfter
		if errors.As(err, &refusal) {
			p.Reason, p.What = refusal.Reason, refusal.What
		}
		return p
	}
	p.Hint = slipstream.HintOf(err)
	return p
}

// writeProblem answers a request that does not go through huma.
func writeProblem(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	body, merr := json.Marshal(p)
	if merr != nil {
		httpx.WriteProblem(w, r, merr)
		return
	}
	for k, v := range p.GetHeaders() {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	if r.Method != http.MethodHead {
		// A client that has gone away is no error of ours.
		_, _ = w.Write(body)
	}
}

// ownProblems turns the problems that huma makes itself (validation, unknown media types) into ours.
func ownProblems(_ huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	code := map[int]string{
		http.StatusRequestEntityTooLarge: httpx.CodeTooLarge,
		http.StatusUnsupportedMediaType:  httpx.CodeUnsupportedMedia,
		http.StatusInternalServerError:   httpx.CodeInternal,
		http.StatusRequestTimeout:        httpx.CodeTimeout,
	}[m.Status]
	if code == "" {
		code = CodeInvalid
	}
	p := newProblem(m.Status, code, m.Detail)
	for _, e := range m.Errors {
		if e != nil {
			p.Errors = append(p.Errors, ProblemDetail{Message: e.Message, Location: e.Location})
		}
	}
	return p, nil
}
