package capgo

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/slipstream-ota/slipstream"
)

const (
	maxRequest = 64 << 10 // bytes
	maxText    = 256      // bytes of a field
	maxFields  = 64
)

// fields are an object that a client sent, with what is too long, nested or no value left out.
type fields map[string]json.RawMessage

// parseFields reads no further than an object may go: what a stranger sends must not become many times as much in memory.
func parseFields(body []byte) (fields, error) {
	refused := slipstream.Invalidf("the body is no JSON object of at most %d fields", maxFields)
	if !json.Valid(body) {
		return nil, refused
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if begin, err := d.Token(); err != nil || begin != json.Delim('{') {
		return nil, refused
	}
	f := fields{}
	for n := 0; d.More(); n++ {
		name, err := d.Token()
		var raw json.RawMessage
		if err == nil {
			err = d.Decode(&raw)
		}
		said, ok := name.(string)
		if err != nil || !ok || n == maxFields {
			return nil, refused
		}
		f[said] = raw
	}
	return f, nil
}

// text gives a field as text: clients of different ages write the same one as text, number or truth value. null and what
// holds control characters are "".
func (f fields) text(name string) string {
	raw := bytes.TrimSpace(f[name])
	if len(raw) == 0 || len(raw) > 2*maxText {
		return ""
	}
	switch raw[0] {
	case '"':
		var s string
		if json.Unmarshal(raw, &s) != nil || len(s) > maxText || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return ""
		}
		return strings.TrimSpace(s)
	case '{', '[', 'n':
		return ""
	}
	return string(raw)
}

// truth gives a field that is true or false, also as text or number.
func (f fields) truth(name string) (value, said bool) {
	switch f.text(name) {
	case "true", "1":
		return true, true
	case "false", "0":
		return false, true
	}
	return false, false
}

// device is who asks: what every request of these clients carries.
type device struct {
	platform, id, app, custom    string
	build, code, os, version     string // of the app's shell; version is the name of the running bundle
	channel, key, installedFrom  string
	plugin                       plugin
	pluginText                   string
	emulator, production         bool
	saidEmulator, saidProduction bool
}

func parseDevice(f fields) device {
	d := device{platform: strings.ToLower(f.text("platform")), id: f.text("device_id"), app: f.text("app_id"), custom: f.text("custom_id"),
		build: f.text("version_build"), code: f.text("version_code"), os: f.text("version_os"), version: f.text("version_name"),
		channel: f.text("defaultChannel"), key: f.text("key_id"), installedFrom: f.text("install_source"), pluginText: f.text("plugin_version")}
	d.plugin = parsePlugin(d.platform, d.pluginText)
	d.emulator, d.saidEmulator = f.truth("is_emulator")
	d.production, d.saidProduction = f.truth("is_prod")
	return d
}

// facts are the device in our words. Its raw id goes no further.
func (d *device) facts(app string) slipstream.DeviceFacts {
	f := slipstream.DeviceFacts{Platform: d.platform, Runtime: d.build, OS: d.os, Attributes: map[string]json.RawMessage{}}
	if d.id != "" {
		f.ID = slipstream.DeviceID(app, d.id)
	}
	for name, value := range map[string]string{"custom.id": d.custom, "custom.build": d.code, "custom.plugin": d.pluginText, "custom.source": d.installedFrom} {
		if value != "" {
			raw, err := json.Marshal(value)
			if err == nil {
				f.Attributes[name] = raw
			}
		}
	}
	if d.saidEmulator {
		f.Attributes["custom.emulator"] = truthOf(d.emulator)
	}
	if d.saidProduction {
		f.Attributes["custom.prod"] = truthOf(d.production)
	}
	return f
}

func truthOf(v bool) json.RawMessage {
	if v {
		return json.RawMessage("true")
	}
	return json.RawMessage("false")
}

func lower(s string) string { return strings.ToLower(s) }

// update is the answer that offers a bundle. Nothing else makes a client take one, and a field named error or kind keeps it
// from doing so.
type update struct {
	Version    string  `json:"version"`
	URL        string  `json:"url"`
	SessionKey string  `json:"session_key"`
	Checksum   string  `json:"checksum"`
	Manifest   []piece `json:"manifest,omitempty"`
	Comment    string  `json:"comment,omitempty"`
}

// piece is one file of a bundle.
type piece struct {
	Name string `json:"file_name"`
	Hash string `json:"file_hash"`
	URL  string `json:"download_url"`
}

// back is the answer that sends a client to the bundle that its app ships with.
type back struct {
	Version string `json:"version"`
}

// nothing is the answer without an update. Breaking tells the host that there is one for a newer app.
type nothing struct {
	Error    string `json:"error"`
	Kind     string `json:"kind"`
	Message  string `json:"message"`
	Version  string `json:"version,omitempty"`
	Breaking bool   `json:"breaking,omitempty"`
	Major    bool   `json:"major,omitempty"` // what older clients call it
	More     *more  `json:"moreInfo,omitempty"`
}

type more struct {
	RetryAfter int `json:"retryAfterSeconds"`
}

// Kinds of an answer without an update. To what failed a client says so to its host and to the stats.
const (
	kindUpToDate = "up_to_date"
	kindBlocked  = "blocked"
	kindFailed   = "failed"
)

// Codes of answers without an update.
const (
	codeNoNew          = "no_new_version_available"
	codeOnBuiltin      = "already_on_builtin"
	codeUnderNative    = "disable_auto_update_under_native"
	codeMajor          = "disable_auto_update_to_major"
	codeMetadata       = "disable_auto_update_metadata"
	codeDevice         = "disable_device"
	codeKeyID          = "key_id_mismatch"
	codePlatform       = "disabled_platform_"
	codeNoChannel      = "no_channel"
	codeMissing        = "missing_info"
	codeNoBuild        = "unknown_version_build"
	codePlugin         = "unsupported_plugin_version"
	codeElsewhere      = "on_premise_app"
	codeTooMany        = "too_many_requests"
	codeResponse       = "response_error"
	codeMethod         = "method_not_allowed"
	codeBody           = "invalid_json_body"
	codeChannelUnknown = "channel_not_found"
)

// said puts a reason of ours into the client's vocabulary.
func said(why slipstream.Reason, d *device, onBuiltin bool) nothing {
	n := nothing{Error: codeNoNew, Kind: kindUpToDate, Message: sentence(why)}
	blocked := func(code string) nothing {
		n.Error, n.Kind = code, kindBlocked
		return n
	}
	switch why {
	case slipstream.ReasonKeepNewer, slipstream.ReasonEmbeddedNewer:
		if onBuiltin {
			return blocked(codeUnderNative)
		}
	case slipstream.ReasonRuntimeMismatch, slipstream.ReasonRequires:
		return blocked(codeMetadata)
	case slipstream.ReasonConditions:
		return blocked(codeDevice)
	case slipstream.ReasonPlatformMismatch:
		return blocked(codePlatform + d.platform)
	case slipstream.ReasonWithdrawn, slipstream.ReasonBelowFloor:
		if onBuiltin {
			n.Error = codeOnBuiltin
		}
	case slipstream.ReasonSignatureInvalid:
		return blocked(codeKeyID)
	case slipstream.ReasonExpiredState:
		n.Error, n.Kind = codeResponse, kindFailed
	}
	return n
}

// sentence is a reason as people read it in the log of a device.
func sentence(why slipstream.Reason) string {
	switch why {
	case slipstream.ReasonUpToDate:
		return "No new version available"
	case slipstream.ReasonNewRelease:
		return "A new version is there"
	case slipstream.ReasonNoRelease:
		return "Nothing is on offer for this device"
	case slipstream.ReasonNotInRollout, slipstream.ReasonControlGroup, slipstream.ReasonGrantNeeded:
		return "The new version is for other devices first"
	case slipstream.ReasonPaused, slipstream.ReasonHalted:
		return "The new version is being held back"
	case slipstream.ReasonKeepNewer, slipstream.ReasonEmbeddedNewer:
		return "What runs here is newer than what is on offer"
	case slipstream.ReasonRuntimeMismatch:
		return "What is on offer needs another version of the app"
	case slipstream.ReasonConditions:
		return "What is on offer is for other devices"
	case slipstream.ReasonWithdrawn, slipstream.ReasonBelowFloor:
		return "What was on offer has been withdrawn"
	case slipstream.ReasonSignatureInvalid:
		return "What is on offer and this app do not have the same key"
	case slipstream.ReasonRequires:
		return "What is on offer needs another part of the app first"
	case slipstream.ReasonPlatformMismatch:
		return "What is on offer is for another platform"
	case slipstream.ReasonRefusedAfterCrash, slipstream.ReasonDowngrade:
		return "What is on offer is nothing for this device"
	case slipstream.ReasonExpiredState:
		return "This server cannot decide at the moment"
	case slipstream.ReasonNotExpressible:
		return "What is on offer is not ready for this client"
	}
	return string(why)
}
