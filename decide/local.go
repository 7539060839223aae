package decide

import (
	"slices"

	"github.com/slipstream-ota/slipstream"
)

// Held is a release on a device. A zero digest with seq 0 is an embedded release that ships without a manifest.
type Held struct {
	Digest  slipstream.Digest  `json:"digest,omitempty"`
	Seq     int64              `json:"seq"`
	Runtime slipstream.Runtime `json:"runtime,omitzero"`
}

// Refusal is a release that this device gave up. Retry is the rollout's retry number when it did; a higher one on the
// rollout opens the release again.
type Refusal struct {
	Digest slipstream.Digest `json:"digest"`
	Retry  int               `json:"retry,omitempty"`
}

// Local is what a device holds of one package.
type Local struct {
	Running         Held `json:"running"`
	RunningEmbedded bool `json:"runningEmbedded,omitempty"`
	Embedded        Held `json:"embedded,omitzero"`
	// Anchor is the release with the highest seq that the device has confirmed on this channel, AnchorFallback what
	// that release's manifest allows to leave it for.
	Anchor         Held                `json:"anchor,omitzero"`
	AnchorFallback []slipstream.Digest `json:"anchorFallback,omitempty"`
	// Held is what the device could go back to at once, newest first, without Running and Embedded.
	Held    []Held    `json:"held,omitempty"`
	Refused []Refusal `json:"refused,omitempty"`
	// Granted are the rollouts with a cap that admitted this device.
	Granted []string `json:"granted,omitempty"`
	// Full are the rollouts with a cap that had no place for it: they are not asked for one again.
	Full []string `json:"full,omitempty"`
	// Remote says that somebody else decides for the device and does not see its anchor's manifest: a target below a
	// withdrawn anchor is then allowed, and the device checks the fallback edge itself.
	Remote bool `json:"remote,omitempty"`
}

// LocalFromCheck is what a check request tells of one package. The device checks the answer against its own anchor and
// refusals again: the request does not carry fallback edges, held releases and retry numbers.
func LocalFromCheck(b slipstream.PackageOnBoard) Local {
	l := Local{
		Running:         Held{Digest: b.Digest, Seq: b.Seq},
		RunningEmbedded: b.Digest == "",
		Anchor:          Held{Seq: b.Anchor},
		Granted:         b.Granted,
		Full:            b.Full,
		Remote:          true,
	}
	if b.Anchor == b.Seq {
		l.Anchor.Digest = b.Digest
	}
	if len(b.Refused) > 0 {
		l.Refused = make([]Refusal, len(b.Refused))
		for i, d := range b.Refused {
			l.Refused[i].Digest = d
		}
	}
	return l
}

func (l *Local) granted(rollout string) bool { return slices.Contains(l.Granted, rollout) }

// refused reports whether the device gave the release up at this retry number or a later one.
func (l *Local) refused(d slipstream.Digest, retry int) bool {
	for i := range l.Refused {
		if l.Refused[i].Digest == d && l.Refused[i].Retry >= retry {
			return true
		}
	}
	return false
}

// gaveUp reports whether the device gave the release up at all.
func (l *Local) gaveUp(d slipstream.Digest) bool { return l.refused(d, 0) }
