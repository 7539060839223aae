package deliver

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/internal/httpx"
	"github.com/slipstream-ota/slipstream/report"
	"github.com/slipstream-ota/slipstream/store"
)

// reports stores what devices tell and answers line by line, after the commit.
func (s *Server) reports(w http.ResponseWriter, r *http.Request) error {
	snap, err := s.current()
	if err != nil {
		httpx.LeaveBody(w, r)
		return err
	}
	free := s.limitReading(w)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, report.MaxBody))
	if err != nil {
		return readError(err) // the deadline stays: what is left of the body is not waited for
	}
	free()
	batch, err := report.ParseEvents(body)
	if err != nil {
		return err
	}
	batch.Refuse(func(e *slipstream.Event) error {
		if snap.apps[e.App] == nil {
			return fmt.Errorf("app %q is not known here", e.App)
		}
		return nil
	})
	received, network := s.cfg.Clock(), s.cfg.Reports.Network(s.sender(r))
	events := make([]store.StoredEvent, len(batch.Events))
	known := s.releases.within(s)
	for i, e := range batch.Events {
		counts := countable(snap, &e)
		if counts && e.Release != "" {
			if counts, err = known.is(r.Context(), &e); err != nil {
				return err
			}
		}
		events[i] = store.StoredEvent{Event: e, Received: received, Network: network, Uncounted: !counts}
	}
	stored, err := s.cfg.Reports.Accept(r.Context(), events)
	if err != nil {
		return err
	}
	answer, err := json.Marshal(map[string][]slipstream.EventResult{"results": batch.Results(stored)})
	if err != nil {
		return fmt.Errorf("encode results: %w", err)
	}
	h := w.Header()
	h["Content-Type"] = s.headers.json
	h["Cache-Control"] = s.headers.noStore
	h["X-Content-Type-Options"] = s.headers.noSniff
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(answer) // stored already: a client that has gone away will repeat, by id
	return nil
}

// sender is the address that a request came from. A trusted proxy's word is taken for the hop before it.
func (s *Server) sender(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	if s.cfg.TrustedProxies == nil {
		return parseAddr(host)
	}
	hops := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	for s.cfg.TrustedProxies(host) && len(hops) > 0 {
		hop := strings.TrimSpace(hops[len(hops)-1])
		hops = hops[:len(hops)-1]
		if !parseAddr(hop).IsValid() {
			break
		}
		host = hop
	}
	return parseAddr(host)
}

func parseAddr(s string) netip.Addr {
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}
	}
	return addr
}
