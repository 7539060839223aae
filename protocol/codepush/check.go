package codepush

import (
	"net/http"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/decide"
	"github.com/slipstream-ota/slipstream/protocol"
	"github.com/slipstream-ota/slipstream/protocol/codepush/semver"
)

// running is what the client has: what it calls by a label, else the newest release with its hash, else nothing of ours. A
// label whose contents are others than the client's is one from before the labels began anew.
func (d *deployment) running(q *query) *item {
	if e := d.labels[q.label]; e != nil && e.item != nil && (q.hash == "" || e.item.hash == "" || e.item.hash == q.hash) {
		return e.item
	}
	return d.hashes[q.hash]
}

// decide asks the one decision, by the state that devices of the channel have, or by the same with this protocol's own
// labels in it.
func (s *Server) decide(d *deployment, q *protocol.Question) (protocol.Answer, error) {
	if d.plan == nil {
		return s.cfg.Decider.Decide(*q)
	}
	plan := d.plan.WithRuntime(q.Runtime)
	if q.Position != nil {
		plan = plan.WithPosition(q.Position)
	}
	return protocol.Answer{Decision: plan.Decide(q.Package, decide.NewDevice(q.Device), &q.Local, s.cfg.Clock()), Epoch: plan.State().Epoch}, nil
}

// question is the client's request in our words.
func (d *deployment) question(q *query) protocol.Question {
	ask := protocol.Question{App: d.app, Channel: d.channel, Package: d.pkg, Runtime: d.fits(q),
		Device: slipstream.DeviceFacts{Platform: d.platform, Runtime: q.said}, Local: decide.Local{Remote: true, RunningEmbedded: true}}
	if i := d.running(q); i != nil {
		ask.Local.Running, ask.Local.RunningEmbedded = decide.Held{Digest: i.digest, Seq: i.seq, Runtime: i.runtime}, false
	}
	if q.client != "" {
		ask.Device.ID, ask.Position = slipstream.DeviceID(d.app, q.client), d.position(q.client)
	}
	return ask
}

// fits reads ranges by the rules of these clients. A fingerprint is none of theirs.
func (d *deployment) fits(q *query) decide.RuntimeFunc {
	return func(rt slipstream.Runtime) bool {
		if rt.Fingerprint != "" {
			return false
		}
		return q.companion || d.parsed(rt).Fits(&q.version)
	}
}

func (d *deployment) parsed(rt slipstream.Runtime) *semver.Range {
	if r := d.ranges[rt.Range]; r != nil {
		return r
	}
	r, err := semver.ParseRange(rt.Range)
	if err != nil {
		r = semver.Range{} // fits nothing
	}
	return &r
}

// answer says what was decided. why is empty for an update.
func (s *Server) answer(r *http.Request, ed *edition, d *deployment, q *query) (u updateInfo, why slipstream.Reason, err error) {
	ask := d.question(q)
	a, err := s.decide(d, &ask)
	if err != nil {
		return u, "", err
	}
	offered := a.Target != nil && (a.Verdict == slipstream.VerdictUpdate || a.Verdict == slipstream.VerdictRollback)
	if !offered {
		u, err = s.nothing(ask, d, q)
		return u, a.Reason, err
	}
	e := d.standing[a.Target.ID]
	switch {
	case e == nil || e.item == nil || e.item.hash == "":
		return u, slipstream.ReasonNotExpressible, nil // not labelled or rendered yet, or not signed for these apps
	case e.item.hash == q.hash:
		u, err = s.nothing(ask, d, q)
		return u, slipstream.ReasonUpToDate, err
	}
	u = updateInfo{Description: a.Target.Apply.Message, IsAvailable: true, IsMandatory: a.Target.Apply.Mandatory || d.carries(e, ask, q),
		AppVersion: q.said, TargetBinaryRange: q.said, PackageHash: e.item.hash, Label: e.name, PackageSize: e.item.size}
	sum := e.item.zip
	if diff, ok := ed.diffs[pair{q.hash, e.item.hash}]; ok && q.hash != "" && diff.size < e.item.size {
		sum, u.PackageSize = diff.sum, diff.size
	}
	u.DownloadURL = s.cfg.BaseURL(r) + "/" + Name + "/files/" + string(sum)
	return u, "", nil
}

// nothing is the answer without an update: is there one for another version of the app, and does any fit this one? Both
// are asked of the decision, for a device that has nothing yet.
func (s *Server) nothing(ask protocol.Question, d *deployment, q *query) (updateInfo, error) {
	var u updateInfo
	ask.Local = decide.Local{Remote: true, RunningEmbedded: true}
	fitting, err := s.decide(d, &ask)
	if err != nil {
		return u, err
	}
	u.ShouldRunBinaryVersion = fitting.Verdict != slipstream.VerdictUpdate
	ask.Runtime = func(rt slipstream.Runtime) bool { return rt.Fingerprint == "" }
	newest, err := s.decide(d, &ask)
	if err != nil || newest.Verdict != slipstream.VerdictUpdate || newest.Target == nil || q.companion {
		return u, err
	}
	other := d.parsed(newest.Target.Runtime)
	if other.Fits(&q.version) {
		return u, nil
	}
	u.UpdateAppVersion = !other.Above(&q.version)
	u.AppVersion = newest.Target.Runtime.Range
	u.TargetBinaryRange = u.AppVersion
	return u, nil
}

// carries reports whether the client passes over a mandatory release on its way to the entry to: one between its own and
// that one, for its version of the app, and for it if that rollout is for a share. A client that goes back passes over none.
func (d *deployment) carries(to *entry, ask protocol.Question, q *query) bool {
	below := false
	for _, e := range d.entries {
		if q.label != "" && e.name == q.label || q.label == "" && q.hash != "" && e.item != nil && e.item.hash == q.hash {
			return false
		}
		if below && e.Mandatory && !e.withdrawn && e.item != nil && ask.Runtime(e.runtime()) && d.reaches(e, ask) {
			return true
		}
		below = below || e == to
	}
	return false
}

// reaches reports whether a client is in the share of a rollout; one that stands no more has reached all.
func (d *deployment) reaches(e *entry, ask protocol.Question) bool {
	ro := e.rollout
	switch {
	case ro == nil || ro.From == 0 && ro.To == slipstream.FullShare:
		return ro == nil || ro.Hold == "" && len(ro.When) == 0
	case ro.Hold != "" || len(ro.When) > 0 || ask.Position == nil:
		return false
	}
	at := ask.Position(ro.PositionSalt(), ask.Device.ID)
	return at >= ro.From && at < ro.To
}
