package deliver

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/decide"
	"github.com/slipstream-ota/slipstream/internal/httpx"
)

// checkBuffers are the bytes of one check on their way through; they are used again.
type checkBuffers struct {
	body, payload, message, answer []byte
}

// check decides for a device that cannot or may not do it from the state, and signs the answer over the request's
// nonce. It looks at nothing but the snapshot.
func (s *Server) check(w http.ResponseWriter, r *http.Request) error {
	snap, err := s.current()
	if err != nil {
		return err
	}
	b := s.checks.Get().(*checkBuffers)
	defer s.checks.Put(b)
	if err := s.readCheck(w, r, b); err != nil {
		return err
	}
	req, err := parseCheck(b.body)
	if err != nil {
		return err
	}
	if err := s.answerCheck(snap, req, b); err != nil {
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
func (s *Server) answerCheck(snap *snapshot, req *slipstream.CheckRequest, b *checkBuffers) error {
	entry := snap.states[stateKey{req.App, req.Channel, req.Device.Platform}]
	if entry == nil {
		entry = snap.states[stateKey{req.App, req.Channel, slipstream.PlatformAny}]
	}
	if entry == nil {
		return fmt.Errorf("app %q, channel %q: state %w", req.App, req.Channel, slipstream.ErrNotFound)
	}
	app := snap.apps[req.App]
	if entry.plan == nil || app == nil || len(app.signers) == 0 {
		return slipstream.Hint(fmt.Errorf("decisions of app %q cannot be signed here: %w", req.App, slipstream.ErrUnavailable),
			"use the signed state; the server's log says what is missing")
	}
	now := s.cfg.Clock()
	st := entry.plan.State()
	d := slipstream.Decision{
		App: req.App, Channel: req.Channel, Device: req.Device.ID, Nonce: req.Nonce, Epoch: st.Epoch,
		Issued: slipstream.At(now), Expires: slipstream.At(now.Add(s.cfg.DecisionLifetime)), CheckAfter: st.CheckAfter,
		Packages: make(map[string]slipstream.PackageDecision, len(req.Packages)),
	}
	device := decide.NewDevice(req.Device)
	for name, onBoard := range req.Packages {
		d.Packages[name] = decideOne(entry.plan, name, device, onBoard, now)
	}
	if len(req.Packages) == 0 {
		for _, name := range entry.names {
			d.Packages[name] = decideOne(entry.plan, name, device, slipstream.PackageOnBoard{}, now)
		}
	}
	return seal(&d, app.signers, b)
}

func decideOne(plan *decide.Plan, name string, device *decide.Device, onBoard slipstream.PackageOnBoard, now time.Time) slipstream.PackageDecision {
	local := decide.LocalFromCheck(onBoard)
	return plan.Decide(name, device, &local, now).Wire()
}

// readCheck reads the body into b.body.
func (s *Server) readCheck(w http.ResponseWriter, r *http.Request, b *checkBuffers) error {
	free := s.limitReading(w)
	defer free()
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
