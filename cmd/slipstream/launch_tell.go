package main

import (
	"fmt"
	"strings"

	"github.com/slipstream-ota/slipstream"
)

// drain tells the events that wait, so that lines come in the order of what happened.
func (l *launcher) drain() {
	for {
		select {
		case e := <-l.events:
			l.tell(e)
		default:
			return
		}
	}
}

// tell writes one event in words.
func (l *launcher) tell(e slipstream.Event) {
	name := func(d slipstream.Digest) string {
		if v := l.client.Version(d); v != "" {
			return v
		}
		if d == "" {
			return "the embedded release"
		}
		return d.Short()
	}
	release := name(e.Release)
	if e.Package != "" && e.Package != l.pkg {
		release = e.Package + " " + release
	}
	if e.Arm == slipstream.ArmControl {
		return // a comparison for the server: nothing changes here
	}
	text := ""
	switch e.Kind {
	case slipstream.KindFetched:
		text = fmt.Sprintf("release %s fetched (%s, %s)", release, formatBytes(e.Bytes), e.Codec)
	case slipstream.KindStaged:
		text = fmt.Sprintf("release %s staged", release)
	case slipstream.KindStarted:
		text = fmt.Sprintf("trial of %s started", release)
	case slipstream.KindConfirmed:
		text = fmt.Sprintf("release %s confirmed", release)
	case slipstream.KindCrashed:
		text = fmt.Sprintf("release %s crashed (%s), attempt %d of %d", release, e.Detail, e.Attempt, l.maxTries)
	case slipstream.KindHung:
		text = fmt.Sprintf("release %s hung (%s), attempt %d of %d", release, e.Detail, e.Attempt, l.maxTries)
	case slipstream.KindRolledBack:
		if e.Reason == slipstream.ReasonDisplaced {
			text = fmt.Sprintf("release %s is left before it was confirmed: a newer one is ready", release)
			break
		}
		text = fmt.Sprintf("back on %s because %s", name(e.Running), words(e.Reason))
	case slipstream.KindRefused:
		text = fmt.Sprintf("release %s is not tried again", release)
	case slipstream.KindFailed:
		if e.Reason == slipstream.ReasonUnknownEnd {
			text = fmt.Sprintf("the last start of %s ended before it was confirmed", release)
			break
		}
		text = fmt.Sprintf("%s failed: %s", e.Stage, words(e.Reason))
	default:
		return
	}
	l.lines.say(string(e.Kind), text, map[string]any{"package": e.Package, "release": e.Release, "reason": e.Reason, "attempt": e.Attempt, "bytes": e.Bytes, "codec": e.Codec})
}

func words(r slipstream.Reason) string { return strings.ReplaceAll(string(r), "_", " ") }
