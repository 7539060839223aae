//go:build !device

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
)

// Control sequences of ECMA-48 that every terminal of today knows.
const (
	screenOn  = "\x1b[?1049h\x1b[?25l" // another page, without a cursor
	screenOff = "\x1b[?25h\x1b[?1049l"
	screenTop = "\x1b[H"
	lineEnd   = "\x1b[K"
	screenEnd = "\x1b[J"
)

// watchStatus shows the status again and again until ctx ends. A server that is away for a while is waited for.
func (t *tool) watchStatus(ctx context.Context, server *api.Client, app string, every time.Duration) error {
	s, err := server.Status(ctx, app)
	if err != nil {
		return fmt.Errorf("read status: %w", err)
	}
	fmt.Fprint(t.stdout, screenOn)
	defer fmt.Fprint(t.stdout, screenOff)
	tick := time.NewTicker(every)
	defer tick.Stop()
	before := s
	for {
		var page bytes.Buffer
		now := time.Now()
		writeStatusPage(&page, s, before, every, now)
		if err != nil {
			fmt.Fprintf(&page, "\nThe server does not answer since then: %v\n", err)
		}
		width, height := terminalSize(t.stdout)
		t.showPage(page.String(), width, height)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		var next api.Status
		if next, err = server.Status(ctx, app); err == nil {
			before, s = s, next
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// terminalSize is the size of the terminal that w is; a common one when it cannot be told.
func terminalSize(w io.Writer) (width, height int) {
	if f, ok := w.(*os.File); ok {
		if width, height, err := term.GetSize(int(f.Fd())); err == nil && width > 0 && height > 0 {
			return width, height
		}
	}
	return 120, 40
}

// showPage puts a page on the screen, cut to its size.
func (t *tool) showPage(page string, width, height int) {
	var out strings.Builder
	out.WriteString(screenTop)
	lines := strings.Split(strings.TrimRight(page, "\n"), "\n")
	for i, line := range lines[:min(len(lines), height-1)] {
		if i > 0 {
			out.WriteString("\r\n")
		}
		out.WriteString(cut(line, width))
		out.WriteString(lineEnd)
	}
	out.WriteString(screenEnd)
	fmt.Fprint(t.stdout, out.String())
}

// cut makes a line fit; every character counts as one column.
func cut(line string, width int) string {
	if utf8.RuneCountInString(line) <= width {
		return line
	}
	return string([]rune(line)[:max(width-1, 0)]) + "…"
}

// writeStatusPage writes one look. before is the look before it, every the time between them.
func writeStatusPage(w io.Writer, s, before api.Status, every time.Duration, now time.Time) {
	fmt.Fprintf(w, "slipstream status   %s   every %s, Ctrl-C ends\n", now.Format("15:04:05"), every)
	for _, a := range s.Apps {
		fmt.Fprintf(w, "\n%s\n", a.Name)
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(tw, "  CHANNEL\tPACKAGE\tVERSION\tSHARE\t\tSTAGE\tTAKEN\tCONFIRMED\tWENT BACK\tGUARD\t")
		for _, c := range a.Channels {
			rows := 0
			for _, p := range c.Packages {
				for _, r := range p.Rollouts {
					rows++
					was := devicesBefore(before, a.Name, c.Name, r.ID)
					fmt.Fprintf(tw, "  %s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", c.Name, p.Name, r.Version, shareBar(r), shareText(r.Entry), stageText(r, now),
						counted(r.Devices, was, slipstream.KindStarted, every), counted(r.Devices, was, slipstream.KindConfirmed, every),
						backText(r), guardText(r))
				}
			}
			if rows == 0 {
				fmt.Fprintf(tw, "  %s\t-\t-\t\tnothing offered\t\t\t\t\t\t\n", c.Name)
			}
		}
		tw.Flush()
		for _, warning := range a.Warnings {
			fmt.Fprintf(w, "  ! %s\n", warning)
		}
		for _, c := range a.Channels {
			writeReasons(w, c)
		}
	}
	if len(s.Apps) == 0 {
		fmt.Fprintln(w, "\nNo apps. `slipstream app create NAME` makes one.")
	}
}

// writeReasons says in the guard's words what it has against a rollout.
func writeReasons(w io.Writer, c api.ChannelStatus) {
	for _, p := range c.Packages {
		for _, r := range p.Rollouts {
			if r.Guard != nil && r.Guard.Verdict.Reason != "" && r.Guard.Verdict.Level != "clean" && r.Guard.Verdict.Level != "no_data" {
				fmt.Fprintf(w, "  %s, %s: %s\n", c.Name, r.Version, r.Guard.Verdict.Reason)
			}
		}
	}
}

func devicesBefore(s api.Status, app, channel, id string) map[slipstream.Kind]int64 {
	for _, a := range s.Apps {
		for _, c := range a.Channels {
			for _, p := range c.Packages {
				for _, r := range p.Rollouts {
					if a.Name == app && c.Name == channel && r.ID == id {
						return r.Devices
					}
				}
			}
		}
	}
	return nil
}

const barWidth = 20

// shareBar draws which positions a rollout has.
func shareBar(r api.RolloutStatus) string {
	from, to := r.From*barWidth/slipstream.FullShare, (r.To*barWidth+slipstream.FullShare-1)/slipstream.FullShare
	full := "█"
	if r.Hold != "" || r.Withdrawn {
		full = "▒"
	}
	return strings.Repeat("░", from) + strings.Repeat(full, max(to-from, 0)) + strings.Repeat("░", barWidth-max(to, from))
}

// stageText says how far a plan is, and what it waits for.
func stageText(r api.RolloutStatus, now time.Time) string {
	if s := standing(r); s != "offered" {
		return s
	}
	if r.Plan == nil {
		return "-"
	}
	n := len(r.Plan.Stages)
	stage, began, running := r.Plan.Stage()
	switch {
	case !running:
		return fmt.Sprintf("0 of %d%s", n, waiting(r))
	case r.Plan.Last():
		return fmt.Sprintf("%d of %d", n, n)
	}
	if left := began.Add(time.Duration(stage.Soak) * time.Second).Sub(now); left > 0 && !r.Plan.Frozen {
		return fmt.Sprintf("%d of %d, %s to go", r.Plan.At+1, n, left.Round(time.Second))
	}
	return fmt.Sprintf("%d of %d%s", r.Plan.At+1, n, waiting(r))
}

func waiting(r api.RolloutStatus) string {
	why := r.Waits
	if why == "" && r.Guard != nil {
		why = r.Guard.Waits
	}
	if why == "" {
		return ""
	}
	return ", " + why
}

// counted is a number of devices, and how fast it grows.
func counted(now, before map[slipstream.Kind]int64, kind slipstream.Kind, every time.Duration) string {
	text := fmt.Sprint(now[kind])
	if more := now[kind] - before[kind]; more > 0 && before != nil {
		text += fmt.Sprintf(" +%.0f/s", float64(more)/every.Seconds())
	}
	return text
}

// wentBack is how many devices the release failed on; those that left for another one are not among them.
func wentBack(r api.RolloutStatus) int64 {
	return max(0, r.Devices[slipstream.KindRolledBack]-r.Left[slipstream.KindRolledBack])
}

// backText is how many devices went back, and their share of those that have tried.
func backText(r api.RolloutStatus) string {
	back := wentBack(r)
	text := fmt.Sprint(back)
	if tried := r.Devices[slipstream.KindStarted]; back > 0 && tried > 0 {
		text += fmt.Sprintf(" (%.1f%%)", 100*float64(back)/float64(tried))
	}
	return text
}
