package capgo

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"maps"
	"net/http"
	"net/url"
	"slices"
)

// chosen is the answer about a device's channel. A refusal comes as a success with an error in it.
type chosen struct {
	Status   string `json:"status,omitempty"`
	Channel  string `json:"channel,omitempty"`
	AllowSet *bool  `json:"allowSet,omitempty"`
	// Unset asks the client to drop what it chose before: the default channel needs no choice.
	Unset    bool   `json:"unset,omitempty"`
	Electron *bool  `json:"allow_set,omitempty"` // what the updater of Electron calls AllowSet
	Error    string `json:"error,omitempty"`
	Message  string `json:"message,omitempty"`
}

// listed is a channel that devices may choose. Native clients want a number for its id.
type listed struct {
	ID           uint32 `json:"id"`
	Name         string `json:"name"`
	Public       bool   `json:"public"`
	AllowSelfSet bool   `json:"allow_self_set"`
}

// channelSelf lets a device choose a channel. What it chose it keeps itself, and names in each request from then on.
func (s *Server) channelSelf(w http.ResponseWriter, r *http.Request) {
	if !s.allowed(w, r, http.MethodPost, http.MethodPut, http.MethodGet, http.MethodDelete) {
		return
	}
	a := s.app(w, r)
	if a == nil {
		return
	}
	f := fieldsOf(r.URL.Query())
	if r.Method == http.MethodPost || r.Method == http.MethodPut {
		body := s.body(w, r, maxRequest)
		if body == nil {
			return
		}
		var err error
		if f, err = parseFields(body); err != nil {
			s.refuse(w, r, http.StatusBadRequest, nothing{Error: codeBody, Kind: kindFailed, Message: "The body is no JSON object"}, err)
			return
		}
	}
	d := parseDevice(f)
	switch r.Method {
	case http.MethodPost:
		s.write(w, http.StatusOK, a.choose(f.text("channel"), f.text("action")))
	case http.MethodPut:
		status, out := a.chose(&d)
		s.write(w, status, out)
	case http.MethodDelete:
		s.write(w, http.StatusOK, chosen{Status: "ok"})
	case http.MethodGet:
		switch {
		case !d.plugin.electron:
			s.write(w, http.StatusOK, a.choices())
		case f.text("action") == "list":
			s.write(w, http.StatusOK, struct {
				Channels []listed `json:"channels"`
			}{a.choices()})
		default:
			status, out := a.chose(&d)
			out.Electron = out.AllowSet
			s.write(w, status, out)
		}
	}
}

// fieldsOf are the parameters of a query as if they had come in a body.
func fieldsOf(q url.Values) fields {
	f := fields{}
	for name := range q {
		raw, err := json.Marshal(q.Get(name))
		if err == nil && len(f) < maxFields {
			f[name] = raw
		}
	}
	return f
}

// choose answers a device that wants another channel.
func (a *app) choose(said, action string) chosen {
	yes := true
	name, ch := a.channel(said)
	switch {
	case action == "unset", said != "" && ch != nil && name == a.options.Channel:
		return chosen{Status: "ok", AllowSet: &yes, Unset: true}
	case said == "" || ch == nil:
		return chosen{Error: codeChannelUnknown, Message: fmt.Sprintf("There is no channel %q", said)}
	case !slices.Contains(a.options.SelfAssign, name):
		return chosen{Error: "channel_self_set_not_allowed", Message: fmt.Sprintf("Devices may not choose the channel %q", said)}
	}
	return chosen{Status: "ok", AllowSet: &yes}
}

// chose answers which channel a device is on, by the name that it has for it.
func (a *app) chose(d *device) (int, chosen) {
	may := len(a.options.SelfAssign) > 0
	name, ch := a.channel(d.channel)
	if ch == nil {
		return http.StatusBadRequest, chosen{Error: codeChannelUnknown, Message: fmt.Sprintf("There is no channel %q", d.channel)}
	}
	out := chosen{Channel: d.channel, Status: "override", AllowSet: &may}
	if name == a.options.Channel {
		out.Status = "default"
	}
	if out.Channel == "" {
		out.Channel = a.theirs(name)
	}
	return http.StatusOK, out
}

// choices are the default channel and those that devices may choose.
func (a *app) choices() []listed {
	out := []listed{}
	for _, name := range slices.Sorted(maps.Keys(a.channels)) {
		may, public := slices.Contains(a.options.SelfAssign, name), name == a.options.Channel
		if may || public {
			out = append(out, listed{ID: crc32.ChecksumIEEE([]byte(name)), Name: a.theirs(name), Public: public, AllowSelfSet: may})
		}
	}
	return out
}

// theirs is the name that clients have for a channel of ours.
func (a *app) theirs(name string) string {
	for _, said := range slices.Sorted(maps.Keys(a.options.Channels)) {
		if a.options.Channels[said] == name {
			return said
		}
	}
	return name
}
