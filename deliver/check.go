package deliver

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/decide"
	"github.com/slipstream-ota/slipstream/internal/httpx"
)

// checkBuffers are the parts of one check on its way through; they are used again.
type checkBuffers struct {
	request                        checkRequest
	body, payload, message, answer []byte
}

// check decides for a device that cannot or may not do it from the state, and signs the answer over the request's
// nonce. It looks at nothing but the snapshot.
func (s *Server) check(w http.ResponseWriter, r *http.Request) error {
	snap, err := s.current()
	if err != nil {
		httpx.LeaveBody(w, r)
		return err
	}
	b := s.checks.Get().(*checkBuffers)
	defer s.checks.Put(b)
	if err := s.readCheck(w, r, b); err != nil {
		return err
	}
	if err := parseCheck(b.body, &b.request); err != nil {
		return err
	}
	if err := s.answerCheck(snap, b); err != nil {
		return err
	}
	h := w.Header()
	h["Content-Type"] = s.headers.json
	h["Cache-Control"] = s.headers.noStore
	h["X-Content-Type-Options"] = s.headers.noSniff
	h["Content-Length"] = []string{strconv.Itoa(len(b.answer))}
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(b.answer) // a client that has gone away is no error of ours
	return nil
}

// answerCheck decides for every package that the device names, or for all when it names none, and seals the decision
// into b.answer.
func (s *Server) answerCheck(snap *snapshot, b *checkBuffers) error {
	req := &b.request
	entry := snap.states[stateKey{req.app, req.channel, req.device.Platform}]
	if entry == nil {
		entry = snap.states[stateKey{req.app, req.channel, slipstream.PlatformAny}]
	}
	if entry == nil {
		return fmt.Errorf("app %q, channel %q: state %w", req.app, req.channel, slipstream.ErrNotFound)
	}
	app := snap.apps[req.app]
	if entry.plan == nil || app == nil || len(app.signers) == 0 {
		return slipstream.Hint(fmt.Errorf("decisions of app %q cannot be signed here: %w", req.app, slipstream.ErrUnavailable),
			"use the signed state; the server's log says what is missing")
	}
	if len(req.packages) == 0 {
		for _, name := range entry.names {
			req.packages = append(req.packages, namedPackage{name: name})
		}
	}
	slices.SortFunc(req.packages, func(a, b namedPackage) int { return strings.Compare(a.name, b.name) })
	now := s.cfg.Clock()
	st := entry.plan.State()
	d := slipstream.Decision{App: req.app, Channel: req.channel, Device: req.device.ID, Nonce: req.nonce, Epoch: st.Epoch,
		Issued: slipstream.At(now), Expires: slipstream.At(now.Add(s.cfg.DecisionLifetime)), CheckAfter: st.CheckAfter}
	device := decide.NewDevice(req.device)
	b.payload = appendHead(b.payload[:0], &d)
	for i := range req.packages {
		p := &req.packages[i]
		local := decide.LocalFromCheck(p.onBoard)
		decided := entry.plan.Decide(p.name, device, &local, now)
		var err error
		if b.payload, err = entry.appendPackage(b.payload, p.name, &decided); err != nil {
			return err
		}
	}
	b.payload = appendTail(b.payload, &d)
	return seal(app.signers, b)
}

// readCheck reads the body into b.body.
func (s *Server) readCheck(w http.ResponseWriter, r *http.Request, b *checkBuffers) error {
	s.limitReading(w)
	if n := r.ContentLength; n >= 0 && n <= maxCheckBody {
		if int64(cap(b.body)) < n {
			b.body = make([]byte, n)
		}
		b.body = b.body[:n]
		_, err := io.ReadFull(r.Body, b.body)
		return readError(err)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCheckBody))
	b.body = append(b.body[:0], body...)
	return readError(err)
}

// readError makes a problem of a body that could not be read.
func readError(err error) error {
	var tooLarge *http.MaxBytesError
	var timeout net.Error
	switch {
	case err == nil || errors.As(err, &tooLarge):
		return err
	case errors.As(err, &timeout) && timeout.Timeout():
		return httpx.NewProblem(http.StatusRequestTimeout, httpx.CodeTimeout, "the body did not arrive in time")
	}
	return httpx.NewProblem(http.StatusBadRequest, httpx.CodeBadRequest, "the body could not be read")
}
