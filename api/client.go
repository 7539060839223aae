package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish"
)

const (
	maxAnswer = 64 << 20 // bytes of a JSON answer that the client reads
	attempts  = 4        // of a call that may be repeated
)

var _ publish.Server = (*Client)(nil)

// Client talks to the management API. It retries calls that may be repeated, with full jitter and Retry-After, and
// gives the server's problems back as the domain's errors: slipstream.ErrNotFound, ErrConflict, ErrUnavailable and
// *slipstream.Refusal work with errors.Is and errors.As as if the server were this process.
type Client struct {
	base  string
	token string
	http  *http.Client
	sleep func(ctx context.Context, d time.Duration) error
}

// NewClient makes a client for the server at baseURL. transport nil means http.DefaultTransport.
func NewClient(baseURL, token string, transport http.RoundTripper) (*Client, error) {
	u, err := url.Parse(baseURL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, slipstream.Hint(fmt.Errorf("server address %q is not a URL", baseURL), "use the form http://host:8080 or https://host")
	}
	return &Client{
		base:  strings.TrimSuffix(baseURL, "/"),
		token: token,
		http:  &http.Client{Transport: transport},
		sleep: func(ctx context.Context, d time.Duration) error {
			timer := time.NewTimer(d)
			defer timer.Stop()
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-timer.C:
				return nil
			}
		},
	}, nil
}

// URL is the server's address.
func (c *Client) URL() string { return c.base }

// call is one request: method, path below /v1/admin with its query, a JSON body or nil, and where the answer goes.
type call struct {
	method, path string
	query        url.Values
	body, answer any
	repeatable   bool // besides GET, HEAD, PUT and DELETE, which always are
}

func (c *Client) do(ctx context.Context, k call) error {
	var body []byte
	if k.body != nil {
		b, err := json.Marshal(k.body)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		body = b
	}
	repeatable := k.repeatable || k.method == http.MethodGet || k.method == http.MethodPut || k.method == http.MethodDelete
	return c.retry(ctx, repeatable, func() error {
		req, err := c.request(ctx, k.method, k.path, k.query, bytes.NewReader(body))
		if err != nil {
			return err
		}
		if k.body != nil {
			req.Header.Set("Content-Type", "application/json")
		}
		res, err := c.send(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
		if err != nil {
			return &networkError{fmt.Errorf("read answer of %s %s: %w", k.method, k.path, err)}
		}
		if len(b) > maxAnswer {
			return fmt.Errorf("answer of %s %s is larger than %d bytes", k.method, k.path, maxAnswer)
		}
		if k.answer == nil {
			return nil
		}
		if err := json.Unmarshal(b, k.answer); err != nil {
			return slipstream.Hint(fmt.Errorf("decode answer of %s %s: %w", k.method, k.path, err), "is %s really a slipstream server?", c.base)
		}
		return nil
	})
}

func (c *Client) request(ctx context.Context, method, path string, query url.Values, body io.Reader) (*http.Request, error) {
	u := c.base + "/v1/admin" + path
	if len(query) > 0 {
		u += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, u, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	req.Header.Set("Accept", "application/json")
	return req, nil
}

// networkError marks what the transport could not do; it is worth another attempt.
type networkError struct{ err error }

func (e *networkError) Error() string { return e.err.Error() }
func (e *networkError) Unwrap() error { return e.err }

// send gives a successful response, or the problem that the server answered with as an error.
func (c *Client) send(req *http.Request) (*http.Response, error) {
	res, err := c.http.Do(req)
	if err != nil {
		if ctxErr := req.Context().Err(); ctxErr != nil {
			return nil, ctxErr
		}
		return nil, slipstream.Hint(&networkError{fmt.Errorf("reach server: %w", err)}, "is the server running? start `slipstream serve` or run `slipstream login URL`")
	}
	if res.StatusCode < 300 {
		return res, nil
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return nil, problemError(res, b)
}

// retry calls fn until it succeeds, fails for good, or attempts are used up.
func (c *Client) retry(ctx context.Context, repeatable bool, fn func() error) error {
	wait := 200 * time.Millisecond
	for n := 1; ; n++ {
		err := fn()
		if err == nil || n == attempts || ctx.Err() != nil {
			return err
		}
		var network *networkError
		var remote *ProblemError
		after := time.Duration(0)
		switch {
		case errors.As(err, &remote):
			if remote.Status != http.StatusServiceUnavailable && remote.Status != http.StatusTooManyRequests {
				return err
			}
			after = remote.RetryAfter // the server did nothing: every call may be repeated
		case errors.As(err, &network):
			if !repeatable {
				return err
			}
		default:
			return err
		}
		pause := max(after, time.Duration(rand.Int64N(int64(wait))))
		if pause > 30*time.Second {
			return err
		}
		if err := c.sleep(ctx, pause); err != nil {
			return err
		}
		wait *= 2
	}
}

// ProblemError is a problem document (RFC 9457) that the server answered with. Code is stable; Reason is set when
// a document or bytes were refused.
type ProblemError struct {
	Status     int
	Code       string
	Detail     string
	HintText   string
	Reason     slipstream.Reason
	RetryAfter time.Duration
	kind       error // the domain's sentinel, a *slipstream.Refusal, or nil
}

func (e *ProblemError) Error() string {
	if e.Detail == "" {
		return fmt.Sprintf("server answered %d %s", e.Status, e.Code)
	}
	return e.Detail
}

func (e *ProblemError) Unwrap() error { return e.kind }

func problemError(res *http.Response, body []byte) error {
	var p Problem
	if err := json.Unmarshal(body, &p); err != nil || p.Status == 0 {
		p = Problem{Status: res.StatusCode, Detail: fmt.Sprintf("server answered %s", res.Status)}
	}
	e := &ProblemError{Status: res.StatusCode, Code: p.Code, Detail: p.Detail, HintText: p.Hint, Reason: p.Reason}
	for _, d := range p.Errors {
		e.Detail += fmt.Sprintf("\n  %s: %s", d.Location, d.Message)
	}
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s >= 0 {
		e.RetryAfter = time.Duration(s) * time.Second
	}
	switch {
	case p.Code == CodeSeqTaken:
		e.kind = publish.ErrSeqTaken
	case p.Code == CodeVersionTaken:
		e.kind = publish.ErrVersionTaken
	case p.Reason != "":
		e.kind = &slipstream.Refusal{Reason: p.Reason, What: p.What, Err: errors.New(p.Detail)}
	case res.StatusCode == http.StatusNotFound, p.Code == CodeMissingBlobs:
		e.kind = slipstream.ErrNotFound
	case res.StatusCode == http.StatusConflict:
		e.kind = slipstream.ErrConflict
	case res.StatusCode == http.StatusServiceUnavailable:
		e.kind = slipstream.ErrUnavailable
	}
	hint := p.Hint
	if hint == "" && res.StatusCode == http.StatusUnauthorized {
		hint = "run `slipstream login URL` with a token, or on the server's machine use the token that `slipstream serve` writes"
	}
	if hint == "" {
		return e
	}
	return slipstream.Hint(e, "%s", hint)
}
