//go:build !device

package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/internal/simfleet"
)

// simulated is what simulate prints with --json. Counted is left out when no token was at hand to ask the server.
type simulated struct {
	simfleet.Report
	Counted []countedLine `json:"counted,omitempty"`
}

// countedLine is one kind of report of one release: how many devices told it, and how many more the server counts than
// before the simulation.
type countedLine struct {
	Release slipstream.Digest `json:"release"`
	Version string            `json:"version"`
	Kind    slipstream.Kind   `json:"kind"`
	Told    int64             `json:"told"`
	Lied    int64             `json:"lied,omitempty"` // by liars, beside
	Server  int64             `json:"server"`
}

func (l countedLine) agrees() bool { return l.Told+l.Lied == l.Server }

type countKey struct {
	release slipstream.Digest
	kind    slipstream.Kind
}

// countsOf are the server's counts of one channel, of the releases whose rollouts stand in it; nil without a server to ask.
func countsOf(ctx context.Context, server *api.Client, app, channel string) (map[countKey]int64, error) {
	if server == nil {
		return nil, nil
	}
	status, err := server.Status(ctx, app)
	if err != nil {
		return nil, fmt.Errorf("read the server's counts: %w", err)
	}
	out := map[countKey]int64{}
	for _, a := range status.Apps {
		for _, c := range a.Channels {
			if c.Name != channel {
				continue
			}
			for _, p := range c.Packages {
				for _, r := range p.Rollouts {
					out[countKey{r.Manifest, ""}] = 0
					for kind, n := range r.Devices {
						out[countKey{r.Manifest, kind}] = n
					}
				}
			}
		}
	}
	return out, nil
}

// compareCounts holds what devices told against what the server counts more than before.
func compareCounts(r simfleet.Report, before, after map[countKey]int64) []countedLine {
	var out []countedLine
	for _, t := range r.Told {
		if _, stands := after[countKey{t.Release, ""}]; stands {
			key := countKey{t.Release, t.Kind}
			out = append(out, countedLine{Release: t.Release, Version: t.Version, Kind: t.Kind, Told: t.Devices, Lied: t.Lied, Server: after[key] - before[key]})
		}
	}
	return out
}

const progressEvery = 5 * time.Second // where there is no terminal

// showProgress tells how things stand until ctx ends: on a terminal in one line that changes.
func (t *tool) showProgress(ctx context.Context, f *simfleet.Fleet, devices int) {
	if t.json {
		return
	}
	every, live := progressEvery, terminal(t.stderr)
	if live {
		every = 500 * time.Millisecond
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	var asked int64
	for {
		select {
		case <-ctx.Done():
			if live {
				fmt.Fprint(t.stderr, "\r\x1b[K")
			}
			return
		case <-tick.C:
		}
		now := f.Now()
		line := progressLine(now, devices, float64(now.Requests-asked)/every.Seconds())
		asked = now.Requests
		if live {
			fmt.Fprintf(t.stderr, "\r\x1b[K%s", line)
		} else {
			fmt.Fprintln(t.stderr, line)
		}
	}
}

func progressLine(p simfleet.Progress, devices int, rate float64) string {
	parts := []string{fmt.Sprintf("%5s  %d of %d devices", p.Elapsed.Round(time.Second), p.Arrived, devices)}
	for _, r := range p.Running[:min(len(p.Running), 3)] {
		parts = append(parts, fmt.Sprintf("%s: %d", first(r.Version, "(shipped)"), r.Devices))
	}
	for _, k := range []struct {
		kind slipstream.Kind
		said string
	}{{slipstream.KindRolledBack, "went back"}, {slipstream.KindConfirmed, "confirmed"}} {
		if n := p.Events[k.kind]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, k.said))
		}
	}
	if p.Silent > 0 {
		parts = append(parts, fmt.Sprintf("%d silent", p.Silent))
	}
	if p.Errors > 0 {
		parts = append(parts, fmt.Sprintf("%d errors", p.Errors))
	}
	return strings.Join(append(parts, fmt.Sprintf("%.0f requests/s", rate)), ", ")
}

func (s *simulated) write(w io.Writer) {
	fmt.Fprintf(w, "%d of %d devices came in %s, %d fell silent (seed %d)\n", s.Arrived, s.Devices, s.Elapsed.Round(time.Second), s.Silent, s.Seed)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(s.Tallies) > 0 {
		fmt.Fprintln(table, "\n  TRIED\tARM\tDEVICES\tCONFIRMED\tFAILED\tOPEN\tFAILURE RATE")
	}
	for _, a := range s.Tallies {
		rate := "-"
		if ended := a.Confirmed + a.Failed; ended > 0 {
			rate = fmt.Sprintf("%.2f %%", 100*float64(a.Failed)/float64(ended))
		}
		fmt.Fprintf(table, "  %s\t%s\t%d\t%d\t%d\t%d\t%s\n", first(a.Version, a.Rollout), a.Arm, a.Enrolled, a.Confirmed, a.Failed, a.Enrolled-a.Confirmed-a.Failed-a.Left, rate)
	}
	fmt.Fprintln(table, "\n  RUNS AT THE END\tDEVICES")
	for _, r := range s.Running {
		fmt.Fprintf(table, "  %s\t%d\n", first(r.Version, "(shipped)"), r.Devices)
	}
	s.writeCounts(table)
	fmt.Fprintln(table, "\n  REQUESTS\tNUMBER\tFAILED\tHALF WITHIN\t99 % WITHIN\tSLOWEST")
	for _, q := range s.Requests {
		fmt.Fprintf(table, "  %s\t%d\t%d\t%s\t%s\t%s\n", q.Kind, q.Requests, q.Failed, brief(q.P50), brief(q.P99), brief(q.Max))
	}
	table.Flush()
	if l := s.Lies; l != nil {
		fmt.Fprintf(w, "\n  Liars: %d failures without an enrolment, %d enrolments with a failure from one network; %d reports taken, %d refused\n", l.Unasked, l.Flooded, l.Accepted, l.Refused)
	}
	if s.Late > 0 {
		fmt.Fprintf(w, "\n  Devices had to wait for up to %s: this machine, or the server, is too slow for so many at this pace\n", s.Late.Round(100*time.Millisecond))
	}
	for _, e := range s.Errors {
		fmt.Fprintf(w, "\n  %d × %s, such as: %s\n", e.Times, e.What, strings.ReplaceAll(e.Example, "\n", "; "))
	}
}

func (s *simulated) writeCounts(w io.Writer) {
	if s.Counted == nil {
		fmt.Fprintln(w, "\n  What the server counted is not shown: there is no token to ask it with")
		return
	}
	lines := slices.Clone(s.Counted)
	slices.SortStableFunc(lines, func(a, b countedLine) int { return cmp.Compare(a.Version, b.Version) })
	fmt.Fprintln(w, "\n  RELEASE\tREPORT\tDEVICES TOLD\tSERVER COUNTED\t")
	for _, l := range lines {
		told, verdict := fmt.Sprint(l.Told), "the same"
		if l.Lied > 0 {
			told += fmt.Sprintf(" + %d lies", l.Lied)
		}
		if !l.agrees() {
			verdict = fmt.Sprintf("differs by %+d", l.Server-l.Told-l.Lied)
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%d\t%s\n", l.Version, l.Kind, told, l.Server, verdict)
	}
	if s.Untold > 0 {
		fmt.Fprintf(w, "  (%d reports stayed on devices that fell silent)\n", s.Untold)
	}
}

func brief(d time.Duration) string {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}
