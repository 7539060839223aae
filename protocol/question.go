package protocol

import (
	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/decide"
)

// Question is what a foreign client asks, in our words.
type Question struct {
	App, Channel, Package string
	Device                slipstream.DeviceFacts
	Local                 decide.Local
	// Position places the device for shares; nil is our own function.
	Position decide.PositionFunc
	// Runtime reads the ranges of releases; nil is our own grammar.
	Runtime decide.RuntimeFunc
}

// Answer is what was decided, and under which epoch.
type Answer struct {
	decide.Decision
	Epoch int64
}

// Running is what a client holds that tells its version alone: the release with that version, else something that
// stands just above the highest release that is not newer.
func (a *App) Running(pkg, platform, version string) decide.Local {
	l := decide.Local{Remote: true}
	if i := a.ByVersion(pkg, platform, version); i != nil {
		l.Running = decide.Held{Digest: i.Digest, Seq: i.Seq, Runtime: i.Runtime}
		return l
	}
	for _, i := range a.Items(pkg, platform) {
		if Compare(i.Version, version) < 0 {
			l.Running = decide.Held{Seq: i.Seq}
			return l
		}
	}
	return l
}
