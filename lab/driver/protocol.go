// Package driver drives a client of any language through the proofs of package lab, by a small protocol of JSON lines
// that docs/lab-protocol.md describes. There are two drivers: [Device] is the Go client in this process, [Program] any
// program that speaks the protocol on its standard input and output. [Serve] makes such a program of a Device.
package driver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/slipstream-ota/slipstream"
)

// What a command can ask for.
const (
	DoInit    = "init"
	DoUpdate  = "update"
	DoStart   = "start"
	DoConfirm = "confirm"
	DoCrash   = "crash"
	DoReport  = "report"
	DoState   = "state"
	DoQuit    = "quit"
)

// Command is one line to a client. Now is what its clock shows from then on.
type Command struct {
	Do  string           `json:"do"`
	Now *slipstream.Time `json:"now,omitempty"`
	Setup
}

// Setup comes with init. A second init in the same directory is the start of a new process on the same device.
type Setup struct {
	Dir       string            `json:"dir,omitempty"` // "": in memory, until quit
	App       string            `json:"app,omitempty"`
	Channel   string            `json:"channel,omitempty"`
	Platform  string            `json:"platform,omitempty"`
	Runtime   string            `json:"runtime,omitempty"`
	Packages  []string          `json:"packages,omitempty"`
	Servers   []string          `json:"servers,omitempty"`
	Root      string            `json:"root,omitempty"`      // the envelope that ships with the app
	Embedded  map[string]string `json:"embedded,omitempty"`  // package → envelope of the manifest that ships with the app
	Decisions bool              `json:"decisions,omitempty"` // ask for signed decisions too
	Limits    Limits            `json:"limits,omitzero"`
}

// Limits shorten what a client waits for. Document, Download and Window are milliseconds, MinRate bytes a second; zero
// leaves the client's own.
type Limits struct {
	Document int   `json:"document,omitempty"`
	Download int   `json:"download,omitempty"`
	Window   int   `json:"window,omitempty"`
	MinRate  int64 `json:"minRate,omitempty"`
}

// Answer is one line from a client. OK false comes with Reason, of the one vocabulary, and Error for people. Warnings
// are the reasons of what was refused on the way without making the command fail; a client that cannot tell leaves them
// out (null), one that can and met none gives an empty array.
type Answer struct {
	OK       bool                `json:"ok"`
	Reason   slipstream.Reason   `json:"reason,omitempty"`
	Error    string              `json:"error,omitempty"`
	Warnings []slipstream.Reason `json:"warnings"`
	Root     int64               `json:"root,omitempty"`     // version of the newest root that is trusted
	Epoch    int64               `json:"epoch,omitempty"`    // of the last state or decision that an update accepted
	Packages map[string]Package  `json:"packages,omitempty"` // after every command but quit
}

// Package is what a device has of one package. Verdict and Why are the last update's. Files are set after start alone:
// the paths of the running tree and the hex SHA-256 of what the host would read there.
type Package struct {
	Running  slipstream.Digest            `json:"running,omitempty"` // "": embedded without a manifest
	Embedded bool                         `json:"embedded,omitempty"`
	Staged   slipstream.Digest            `json:"staged,omitempty"`
	Trial    bool                         `json:"trial,omitempty"`
	Anchor   int64                        `json:"anchor,omitempty"` // seq
	Verdict  slipstream.Verdict           `json:"verdict,omitempty"`
	Why      slipstream.Reason            `json:"why,omitempty"`
	Files    map[string]slipstream.Digest `json:"files,omitempty"`
}

// Driver is a client that does what it is told. An error says that there is no answer: a client that refuses, or
// fails, answers with OK false.
type Driver interface {
	Tell(ctx context.Context, c Command) (Answer, error)
	Close() error
}

// Serve answers commands line by line until quit, the end of in, or the end of ctx.
func Serve(ctx context.Context, d Driver, in io.Reader, out io.Writer) error {
	lines, answers := json.NewDecoder(in), json.NewEncoder(out)
	for ctx.Err() == nil {
		var c Command
		if err := lines.Decode(&c); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read command: %w", err)
		}
		a, err := d.Tell(ctx, c)
		if err != nil {
			return err
		}
		if err := answers.Encode(a); err != nil {
			return fmt.Errorf("write answer: %w", err)
		}
		if c.Do == DoQuit {
			return nil
		}
	}
	return context.Cause(ctx)
}
