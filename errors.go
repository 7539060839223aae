package slipstream

import (
	"errors"
	"fmt"
)

// Errors whose meaning belongs to the domain. Compare with errors.Is.
var (
	ErrBadName     = errors.New("must match [a-z0-9][a-z0-9._-]{0,63}")
	ErrNotFound    = errors.New("not found")
	ErrConflict    = errors.New("conflict")
	ErrUnavailable = errors.New("temporarily unavailable")
)

// Refusal is an error with a reason of the one vocabulary: what was refused, at which step, and why.
type Refusal struct {
	Reason Reason
	What   string // the document or thing: "state", "manifest", "file a/b.js"
	Err    error  // detail, may be nil
}

func (r *Refusal) Error() string {
	if r.Err == nil {
		return fmt.Sprintf("%s refused: %s", r.What, r.Reason)
	}
	return fmt.Sprintf("%s refused: %s: %v", r.What, r.Reason, r.Err)
}

func (r *Refusal) Unwrap() error { return r.Err }

// Refuse makes a Refusal; format and args say the detail.
func Refuse(reason Reason, what, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, What: what, Err: fmt.Errorf(format, args...)}
}

// ReasonOf digs the reason out of err, or gives otherwise.
func ReasonOf(err error, otherwise Reason) Reason {
	var r *Refusal
	if errors.As(err, &r) {
		return r.Reason
	}
	return otherwise
}

// Hinted is an error with advice for the person who runs the command or server.
type Hinted struct {
	Err  error
	Hint string
}

func (h *Hinted) Error() string { return h.Err.Error() }
func (h *Hinted) Unwrap() error { return h.Err }

// Hint wraps err with advice; nil stays nil.
func Hint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &Hinted{Err: err, Hint: fmt.Sprintf(format, args...)}
}

// HintOf gives the advice of the outermost hint in err's chain, or "".
func HintOf(err error) string {
	var h *Hinted
	if errors.As(err, &h) {
		return h.Hint
	}
	return ""
}

// ErrInvalid is what bad arguments are: the fault of whoever asked.
var ErrInvalid = errors.New("invalid")

type invalid struct{ error }

func (i invalid) Is(target error) bool { return target == ErrInvalid }
func (i invalid) Unwrap() error        { return i.error }

// Invalid marks err as the fault of whoever asked: errors.Is(err, ErrInvalid). Its text stays; nil stays nil.
func Invalid(err error) error {
	if err == nil {
		return nil
	}
	return invalid{err}
}

// Invalidf makes an error that is ErrInvalid.
func Invalidf(format string, args ...any) error { return invalid{fmt.Errorf(format, args...)} }
