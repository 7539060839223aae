package httpx

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

// StallTimeout is after how long an upload that sends nothing, or of which nothing is taken, is given up.
const StallTimeout = time.Minute

// patientBody lets an upload take as long as it needs while bytes keep coming and are taken.
type patientBody struct {
	r     *http.Request
	ctl   *http.ResponseController
	limit time.Duration
	next  time.Time
	idle  *time.Timer // runs while nobody reads
}

// Patient gives the body of an upload, which has no deadline while bytes come, and a context to store it in that ends with
// why when nobody reads for limit. stop is called when it is read.
func Patient(w http.ResponseWriter, r *http.Request, limit time.Duration, why error) (ctx context.Context, body io.Reader, stop func()) {
	ctx, cancel := context.WithCancelCause(r.Context())
	b := &patientBody{r: r, ctl: http.NewResponseController(w), limit: limit}
	b.idle = time.AfterFunc(b.limit, func() { cancel(why) })
	return ctx, b, func() { b.idle.Stop(); cancel(nil) }
}

func (b *patientBody) Read(p []byte) (int, error) {
	b.idle.Stop()
	if now := time.Now(); now.After(b.next) {
		// Servers without deadlines (tests) are patient by themselves.
		_ = b.ctl.SetReadDeadline(now.Add(b.limit))
		b.next = now.Add(b.limit / 4)
	}
	n, err := b.r.Body.Read(p)
	switch {
	case err == nil:
		b.idle.Reset(b.limit)
	case errors.Is(err, io.EOF):
		_ = b.ctl.SetReadDeadline(time.Time{}) // what is left to do is the blob store's
	}
	return n, err
}
