package capgo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
)

const (
	maxStats    = 4 << 20 // bytes of a batch
	maxEvents   = 1000    // of a batch that are looked at; clients keep 200
	maxAnswered = 2000    // of a batch that are answered for
	maxStored   = 250     // events of ours that are stored at once
	maxPhones   = 16      // devices of a batch that are looked up; a client tells of its own
)

// result is what became of one event of a batch.
type result struct {
	Status string `json:"status"`
	Index  int    `json:"index"`
	Error  string `json:"error,omitempty"`
}

// stats takes in what happened on a device: one event or an array. The answer comes after it is stored. A client throws
// away what is refused, so whatever can be read is taken, also what says nothing here.
func (s *Server) stats(w http.ResponseWriter, r *http.Request) {
	if !s.allowed(w, r, http.MethodPost) {
		return
	}
	a := s.app(w, r)
	if a == nil {
		return
	}
	body := s.body(w, r, maxStats)
	if body == nil {
		return
	}
	one := !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("["))
	if !json.Valid(body) {
		s.refuse(w, r, http.StatusBadRequest, nothing{Error: codeBody, Kind: kindFailed, Message: "The body is no event and no array of events"}, nil)
		return
	}
	list := []json.RawMessage{body}
	if !one {
		list = batch(body, maxAnswered)
	}
	results, events, err := s.read(r.Context(), a, list)
	for err == nil && len(events) > 0 {
		n := min(len(events), maxStored)
		err = s.cfg.Reporter.Report(r, events[:n])
		events = events[n:]
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	out := struct {
		Status  string   `json:"status"`
		Results []result `json:"results,omitzero"`
	}{"ok", results}
	if one {
		out.Results = nil
	}
	s.write(w, http.StatusOK, out)
}

// batch takes a valid array apart, the first most of it: what a stranger sends must not become many times as much in memory
// and in the answer. It is nil for what is no array.
func batch(body []byte, most int) []json.RawMessage {
	d := json.NewDecoder(bytes.NewReader(body))
	begin, err := d.Token()
	if err != nil || begin != json.Delim('[') {
		return nil
	}
	list := []json.RawMessage{}
	for err == nil && d.More() && len(list) < most {
		var raw json.RawMessage
		if err = d.Decode(&raw); err == nil {
			list = append(list, raw)
		}
	}
	return list
}

// read puts a batch into our words.
func (s *Server) read(ctx context.Context, a *app, list []json.RawMessage) ([]result, []slipstream.Event, error) {
	results := []result{}
	var events []slipstream.Event
	now := &account{server: s, app: a, running: map[string]slipstream.Digest{}}
	for i, raw := range list {
		if i >= maxEvents {
			results = append(results, result{"error", i, "too_many_events"})
			continue
		}
		f, err := parseEvent(raw)
		if err != nil {
			results = append(results, result{"error", i, "invalid_event"})
			continue
		}
		more, err := now.events(ctx, f)
		if err != nil {
			return nil, nil, err
		}
		events = append(events, more...)
		results = append(results, result{Status: "ok", Index: i})
	}
	return results, events, nil
}

// parseEvent reads one event, which is no longer than any other request.
func parseEvent(raw json.RawMessage) (fields, error) {
	if len(raw) > maxRequest {
		return nil, slipstream.Invalidf("an event has %d bytes, at most %d", len(raw), maxRequest)
	}
	return parseFields(raw)
}

// account is the reading of one batch. running is what its devices ran when they were last heard.
type account struct {
	server  *Server
	app     *app
	running map[string]slipstream.Digest
}

// told is one event of a client.
type told struct {
	device
	action, old string
	when        string // as the client says it
	item        *item
	offer       *named
}

// mark says whether an action means a release by the name that it gives: some name what runs, whatever they are about.
type mark uint8

const (
	naming  mark = iota // what it names
	perhaps             // what it names, unless that runs already
	current             // what runs
)

// meaning is what an action is in our words. Without a kind it only enrols the device.
type meaning struct {
	kind   slipstream.Kind
	stage  string
	reason slipstream.Reason
	of     mark
	often  bool // each time counts, not only the first
}

// meaningOf reads an action; ok is false for what says nothing here. The updater of Electron names what an action is about
// always, and says set when the host has confirmed.
func meaningOf(action string, electron bool) (m meaning, ok bool) {
	failed := func(stage string, reason slipstream.Reason, of mark) (meaning, bool) {
		if electron {
			of = naming
		}
		return meaning{kind: slipstream.KindFailed, stage: stage, reason: reason, of: of, often: true}, true
	}
	switch action {
	case "download_0", "download_zip_start", "download_manifest_start":
		return meaning{}, true
	case "download_complete", "download_zip_complete", "download_manifest_complete":
		return meaning{kind: slipstream.KindFetched}, true
	case "set_next":
		return meaning{kind: slipstream.KindStaged}, true
	case "set":
		if electron {
			return meaning{kind: slipstream.KindConfirmed}, true
		}
		return meaning{kind: slipstream.KindStarted}, true
	case "app_launch_ready", "app_moved_to_background":
		return meaning{kind: slipstream.KindConfirmed}, true
	case "ping", "app_launch_start", "app_moved_to_foreground", "reset", "os_version_changed", "native_app_version_changed":
		return meaning{kind: slipstream.KindAlive}, true
	case "update_fail":
		return meaning{kind: slipstream.KindRolledBack, reason: slipstream.ReasonHung}, true
	case "set_fail":
		if electron {
			return failed("trial", slipstream.ReasonHung, naming)
		}
		return failed("stage", slipstream.ReasonStorageCorrupted, naming)
	case "app_launch_timeout", "app_anr":
		return meaning{kind: slipstream.KindHung, reason: slipstream.ReasonHung, often: true}, true
	case "app_crash", "app_crash_native", "app_initialization_failure", "webview_render_process_gone":
		return meaning{kind: slipstream.KindCrashed, reason: slipstream.ReasonCrashed, often: true}, true
	case "download_fail":
		return failed("fetch", slipstream.ReasonNetwork, perhaps)
	case "finish_download_fail", "download_manifest_file_fail":
		return failed("fetch", slipstream.ReasonNetwork, naming)
	case "low_mem_fail":
		return failed("fetch", slipstream.ReasonInternal, naming)
	case "insufficient_disk_space":
		return failed("fetch", slipstream.ReasonDiskFull, naming)
	case "download_manifest_checksum_fail":
		return failed("fetch", slipstream.ReasonFileMismatch, naming)
	case "download_manifest_brotli_fail", "manifest_path_fail":
		return failed("stage", slipstream.ReasonContainerInvalid, naming)
	case "checksum_fail":
		return failed("fetch", slipstream.ReasonFileMismatch, current)
	case "checksum_required", "decrypt_fail":
		return failed("fetch", slipstream.ReasonSignatureInvalid, current)
	case "unzip_fail", "windows_path_fail", "canonical_path_fail", "directory_path_fail":
		return failed("stage", slipstream.ReasonContainerInvalid, current)
	}
	return meaning{}, false
}

// events are one event of a client in our words. The ids follow from what is told, so that telling it again changes nothing.
// A client without an id says nothing that could be counted.
func (c *account) events(ctx context.Context, f fields) ([]slipstream.Event, error) {
	t := told{device: parseDevice(f), action: f.text("action"), old: f.text("old_version_name"), when: f.text("timestamp")}
	if t.id == "" || c.app.options.AppID != "" && t.app != c.app.options.AppID || slipstream.CheckName("platform", t.platform) != nil {
		return nil, nil
	}
	m, ok := meaningOf(t.action, t.plugin.electron)
	if !ok {
		return nil, nil
	}
	name, ch := c.app.channel(t.channel)
	if ch == nil {
		name, ch = c.app.channel("")
	}
	t.item, t.offer = c.app.item(ch, t.platform, t.version)
	if version, _, file := strings.Cut(t.version, ":"); t.item == nil && file {
		t.item, t.offer = c.app.item(ch, t.platform, version)
	}
	base := slipstream.Event{App: c.app.name, Channel: name, Package: c.app.options.Package, Platform: t.platform, Runtime: t.build,
		Device: slipstream.DeviceID(c.app.name, t.id), At: c.server.clockOf(t.when)}
	before, err := c.before(ctx, &t, ch, base.Device)
	if err != nil {
		return nil, err
	}
	return c.words(base, &t, m, before), nil
}

// words makes our events of what is known by now.
func (c *account) words(e slipstream.Event, t *told, m meaning, before slipstream.Digest) []slipstream.Event {
	attributed := t.item != nil && !t.item.embedded && m.of != current && (m.of != perhaps || t.item.digest != before)
	if m.kind == slipstream.KindConfirmed && !attributed {
		m.kind = slipstream.KindAlive // the bundle that ships in the app
	}
	if m.kind == slipstream.KindAlive {
		return []slipstream.Event{t.alive(e)}
	}
	if attributed {
		e.Release, e.Rollout = t.item.digest, t.offer.rollout()
		if before != e.Release {
			e.Running = before
		}
	} else {
		e.Running, e.Detail = before, slipstream.CutDetail(t.version)
	}
	var out []slipstream.Event
	if e.Rollout != "" {
		enrolled := e
		enrolled.Kind, enrolled.Arm = slipstream.KindEnrolled, slipstream.ArmTreatment
		enrolled.ID = eventID(e.Device, string(e.Release), e.Rollout, "enrolled")
		out = append(out, enrolled)
	}
	if m.kind == "" {
		return out
	}
	e.Kind, e.Stage, e.Reason = m.kind, m.stage, m.reason
	parts := []string{e.Device, string(e.Release), e.Rollout, string(m.kind), t.action}
	if m.often {
		parts = append(parts, t.when, t.version)
	}
	if m.kind == slipstream.KindConfirmed {
		parts = parts[:4]
	}
	e.ID = eventID(parts...)
	out = append(out, e)
	if t.action == "app_moved_to_background" {
		e.Release, e.Rollout, e.Stage, e.Reason = "", "", "", ""
		out = append(out, t.alive(e))
	}
	return out
}

// alive says once a day what a device runs.
func (t *told) alive(e slipstream.Event) slipstream.Event {
	day := ""
	if e.At != nil {
		day = e.At.Format(time.DateOnly)
	}
	e.Kind, e.Running = slipstream.KindAlive, ""
	if t.item != nil && !t.item.embedded {
		e.Running = t.item.digest
	}
	e.ID = eventID(e.Device, string(e.Running), "alive", day)
	return e
}

// before is what the device ran before: by its own word, else by what it told last.
func (c *account) before(ctx context.Context, t *told, ch *channel, device string) (slipstream.Digest, error) {
	if t.old != "" && t.action == "set" {
		if i, _ := c.app.item(ch, t.platform, t.old); i != nil {
			return i.digest, nil
		}
		return "", nil
	}
	if had, known := c.running[device]; known || c.server.cfg.Running == nil || len(c.running) >= maxPhones {
		return had, nil
	}
	had, err := c.server.cfg.Running(ctx, c.app.name, c.app.options.Package, device)
	if err == nil {
		c.running[device] = had
	}
	return had, err
}

// clockOf reads a client's time in milliseconds; nil is one that cannot be.
func (s *Server) clockOf(when string) *slipstream.Time {
	ms, err := strconv.ParseInt(when, 10, 64)
	now := s.cfg.Clock()
	at := time.UnixMilli(ms)
	if err != nil || at.After(now.AddDate(0, 0, 1)) || at.Before(now.AddDate(-1, 0, 0)) {
		at = now
	}
	t := slipstream.At(at)
	return &t
}

func eventID(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return "cap-" + hex.EncodeToString(sum[:20])
}
