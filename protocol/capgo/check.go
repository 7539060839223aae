package capgo

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/decide"
	"github.com/slipstream-ota/slipstream/protocol"
)

// refused is what a client is told at once, without asking the decision.
func (a *app) refused(d *device) *nothing {
	failed := func(code, format string, args ...any) *nothing {
		return &nothing{Error: code, Kind: kindFailed, Message: fmt.Sprintf(format, args...)}
	}
	switch {
	case d.platform == "" || slipstream.CheckName("platform", d.platform) != nil:
		return failed(codeMissing, "The request names no platform")
	case d.version == "":
		return failed(codeMissing, "The request names no version_name")
	case d.build == "":
		return failed(codeNoBuild, "The request names no version_build")
	case a.options.AppID != "" && d.app != a.options.AppID:
		return failed(codeMissing, "This address is for the app %s", a.options.AppID)
	}
	return nil
}

// onBuiltin reports whether the device runs the bundle that its app ships with. The updater of Electron calls that by the
// version of the app.
func (a *app) onBuiltin(d *device, i *item) bool {
	return d.version == builtin || i != nil && i.embedded || i == nil && d.version == d.build
}

// local is what the device has.
func (a *app) local(ch *channel, d *device) decide.Local {
	l := decide.Local{Remote: true}
	i, _ := a.item(ch, d.platform, d.version)
	if d.version == builtin {
		i = a.shipped(d)
	}
	if l.RunningEmbedded = a.onBuiltin(d, i); i != nil {
		l.Running = decide.Held{Digest: i.digest, Seq: i.seq, Runtime: i.runtime}
		if l.RunningEmbedded {
			l.Embedded = l.Running
		}
	}
	return l
}

// shipped is the release that is known to ship inside this version of the app, nil when none is.
func (a *app) shipped(d *device) *item {
	for _, i := range a.versions[d.build] {
		if i.embedded && meets(i.platform, d.platform) {
			return i
		}
	}
	return nil
}

// answer says what was decided: an update, a back or a nothing. why is empty for an update.
func (s *Server) answer(r *http.Request, a *app, d *device) (out any, why slipstream.Reason, err error) {
	name, ch := a.channel(d.channel)
	if ch == nil {
		return nothing{Error: codeNoChannel, Kind: kindFailed, Message: fmt.Sprintf("There is no channel %q", name)}, slipstream.ReasonNoRelease, nil
	}
	q := protocol.Question{App: a.name, Channel: name, Package: a.options.Package, Device: d.facts(a.name), Local: a.local(ch, d)}
	is, err := s.cfg.Decider.Decide(q)
	if err != nil {
		return nil, "", err
	}
	switch {
	case is.ToEmbedded:
		return back{builtin}, is.Reason, nil
	case is.Verdict == slipstream.VerdictUpgradeRuntime && is.Target != nil:
		n := said(slipstream.ReasonRuntimeMismatch, d, q.Local.RunningEmbedded)
		n.Error, n.Version, n.Breaking, n.Major = codeMajor, is.Target.Version, true, true
		return n, is.Reason, nil
	case is.Target == nil || is.Verdict != slipstream.VerdictUpdate && is.Verdict != slipstream.VerdictRollback:
		return said(is.Reason, d, q.Local.RunningEmbedded), is.Reason, nil
	}
	return s.offer(r, a, ch, d, &is.Decision)
}

// offer puts a release into an answer, if this client can take it.
func (s *Server) offer(r *http.Request, a *app, ch *channel, d *device, is *decide.Decision) (any, slipstream.Reason, error) {
	to := is.Target
	i, name := a.items[to.Manifest], ch.offer(to, is.MustLeave)
	if i == nil || i.zip == "" || name == "" || name == d.version {
		// Not named or rendered yet, not signed by the key of these apps, or only to be had by the name that the client
		// gives to something else.
		return said(slipstream.ReasonNotExpressible, d, false), slipstream.ReasonNotExpressible, nil
	}
	signed := i.made.KeyID != ""
	switch {
	case signed && !d.plugin.opens():
		n := said(slipstream.ReasonNotExpressible, d, false)
		n.Error, n.Kind, n.Message = codePlugin, kindFailed, "This updater cannot open a signed bundle"
		return n, slipstream.ReasonNotExpressible, nil
	case !d.plugin.electron && d.key != i.made.KeyID && (d.key != "" || d.plugin.saysKey()):
		return said(slipstream.ReasonSignatureInvalid, d, false), slipstream.ReasonSignatureInvalid, nil
	}
	base := s.cfg.BaseURL(r) + "/" + Name + "/" + a.name + "/files/"
	u := update{Version: name, URL: base + string(i.zip) + ".zip", SessionKey: i.made.SessionKey, Comment: to.Apply.Message}
	if d.plugin.lists() {
		u.Manifest = i.pieces(base)
	}
	switch {
	case signed && d.plugin.takesHex():
		u.Checksum = hex.EncodeToString(i.made.Checksum)
	case signed:
		u.Checksum = base64.StdEncoding.EncodeToString(i.made.Older)
	case d.plugin.hashes():
		u.Checksum = string(i.made.Plain)
	}
	return u, "", nil
}
