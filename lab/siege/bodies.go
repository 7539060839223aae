package siege

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/lab/driver"
)

// Metered is a Go client of which every byte that it reads from the network is counted, and what it holds on its disk.
type Metered struct {
	driver.Device
	meter meter
}

// NewMetered makes one.
func NewMetered(context.Context) (driver.Driver, error) {
	m := &Metered{}
	m.meter.carry = &http.Transport{}
	m.Transport = &m.meter
	return m, nil
}

// Close ends it.
func (m *Metered) Close() error {
	err := m.Device.Close()
	m.meter.carry.CloseIdleConnections()
	return err
}

// meter counts what is read of every answer.
type meter struct {
	carry *http.Transport
	mu    sync.Mutex
	most  map[string]int64 // path → bytes read of one answer
}

func (m *meter) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := m.carry.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = &counted{ReadCloser: resp.Body, meter: m, path: req.URL.Path}
	return resp, nil
}

type counted struct {
	io.ReadCloser
	meter *meter
	path  string
	n     int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n += int64(n)
	c.meter.mu.Lock()
	defer c.meter.mu.Unlock()
	if c.meter.most == nil {
		c.meter.most = map[string]int64{}
	}
	c.meter.most[c.path] = max(c.meter.most[c.path], c.n)
	return n, err
}

// A device never holds more than its trees, its documents and one download: all of this release together are far below.
const mostHeld = 2 << 20

// excess says which answers were read beyond what they may be: one byte more tells that they are too long.
func (m *Metered) excess(limit func(path string) int64) error {
	var errs []error
	m.meter.mu.Lock()
	for path, n := range m.meter.most {
		if most := limit(path) + 1; n > most {
			errs = append(errs, fmt.Errorf("%d bytes of %s were read, %d are enough to know that it is too long", n, path, most))
		}
	}
	m.meter.mu.Unlock()
	held, err := m.Used()
	if held > mostHeld {
		errs = append(errs, fmt.Errorf("the device holds %d bytes", held))
	}
	return errors.Join(append(errs, err)...)
}

// limit is how long an honest answer can be.
func (s *siege) limit(path string) int64 {
	switch last := path[strings.LastIndexByte(path, '/')+1:]; {
	case strings.Contains(path, aboutState):
		return slipstream.MaxStateBytes
	case strings.Contains(path, aboutRoots):
		return slipstream.MaxRootBytes
	case strings.Contains(path, aboutManifests):
		return slipstream.MaxManifestBytes
	case strings.Contains(path, aboutContainers), strings.Contains(path, aboutBlobs):
		s.origin.mu.Lock()
		defer s.origin.mu.Unlock()
		return int64(len(s.origin.blobs[slipstream.Digest(last)]))
	}
	return slipstream.MaxDecisionBytes
}

// Bodies are all cases in which a body is not what it should be.
func Bodies() []Case {
	attacks := append(network(), floods()...)
	for _, what := range documents() {
		for name, change := range map[string]func(body []byte) []byte{
			"repeated":               func(b []byte) []byte { return append(bytes.Clone(b), b...) },
			"a byte longer":          func(b []byte) []byte { return append(bytes.Clone(b), ' ') },
			"a megabyte longer":      func(b []byte) []byte { return append(bytes.Clone(b), make([]byte, 1<<20)...) },
			"eight megabytes longer": func(b []byte) []byte { return append(bytes.Clone(b), bytes.Repeat([]byte("{"), 8<<20)...) },
		} {
			a := what.attack("body: "+what.name+": "+name, func(_ *siege, x *exchange) { x.body = change(x.body) })
			if name == "a byte longer" {
				switch what.part { // a space behind the envelope is no part of what was signed
				case aboutState, aboutManifests:
					a.Any, a.Runs = false, "next"
				case aboutRoots:
					a.Root = 2
				}
			}
			attacks = append(attacks, a)
		}
	}
	var out []Case
	for _, a := range attacks {
		out = append(out, Case{Name: a.Name, Slow: a.slow, Run: a.Run})
	}
	return out
}
