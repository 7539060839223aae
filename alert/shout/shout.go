// Package shout sends alerts to chats by the services of shoutrrr: Slack, Lark, WeCom and others, each named by a URL.
package shout

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/nicholas-fedor/shoutrrr/pkg/router"
	"github.com/nicholas-fedor/shoutrrr/pkg/types"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/alert"
	"github.com/slipstream-ota/slipstream/alert/webhook"
)

// services are those that reach people. Others of shoutrrr write to this machine or run programs.
func services() []string {
	return []string{"bark", "discord", "generic", "googlechat", "gotify", "ifttt", "lark", "matrix", "mattermost", "notifiarr", "ntfy", "opsgenie",
		"pagerduty", "pushbullet", "pushover", "rocketchat", "signal", "slack", "smtp", "teams", "telegram", "wecom", "zulip"}
}

// sendTime is how long shoutrrr may take: it cannot be told to stop.
const sendTime = 10 * time.Second

// Sender sends the text of an alert.
type Sender struct{ guard webhook.Guard }

var _ alert.Sender = (*Sender)(nil)

// NewSender makes a Sender. The guard looks at the host of a URL before each message.
func NewSender(g webhook.Guard) *Sender { return &Sender{g} }

// Prepare implements alert.Sender.
func (s *Sender) Prepare(ctx context.Context, a alert.Address) (alert.Address, string, string, error) {
	u, err := url.Parse(a.URL)
	if err != nil {
		return a, "", "", slipstream.Invalidf("the address is not a URL")
	}
	service, _, _ := strings.Cut(u.Scheme, "+")
	if !slices.Contains(services(), service) {
		return a, "", "", slipstream.Invalidf("service %q: must be one of %s", service, strings.Join(services(), ", "))
	}
	if a.Secret != "" {
		return a, "", "", slipstream.Invalidf("%s takes no secret beside its URL", service)
	}
	if _, err := locate(a.URL); err != nil {
		return a, "", "", slipstream.Hint(slipstream.Invalidf("the address is not one of %s", service), "docs/guides/alerts.md shows the forms")
	}
	if err := s.guard.CheckHost(ctx, u.Hostname()); err != nil {
		return a, "", "", slipstream.Hint(fmt.Errorf("%w: %w", slipstream.Invalidf("the receiver"), err), "start the server with --alert-allow to reach it all the same")
	}
	return a, u.Scheme + "://…", "", nil
}

func locate(address string) (*router.ServiceRouter, error) {
	r, err := router.New(nil, address)
	if err != nil {
		return nil, errors.New("the address is not understood") // shoutrrr's own words hold the address
	}
	r.Timeout = sendTime
	return r, nil
}

// Send implements alert.Sender.
func (s *Sender) Send(ctx context.Context, a alert.Address, m alert.Message) (alert.Sent, error) {
	u, err := url.Parse(a.URL)
	if err != nil {
		return alert.Sent{}, errors.New("the address is not understood")
	}
	if err := s.guard.CheckHost(ctx, u.Hostname()); err != nil {
		return alert.Sent{}, err
	}
	r, err := locate(a.URL)
	if err != nil {
		return alert.Sent{}, err
	}
	params := types.Params{}
	params.SetTitle("Slipstream")
	for _, err := range r.Send(m.Text, &params) {
		if err != nil {
			return alert.Sent{}, errors.New(hide(err.Error(), u))
		}
	}
	return alert.Sent{}, nil
}

// hide takes what may be a token out of an error: everything of the address but the scheme.
func hide(text string, u *url.URL) string {
	secrets := append(strings.FieldsFunc(u.Path+"/"+u.RawQuery+"/"+u.Fragment, func(r rune) bool { return strings.ContainsRune("/=&?", r) }), u.Host)
	if u.User != nil {
		p, _ := u.User.Password()
		secrets = append(secrets, u.User.Username(), p)
	}
	for _, s := range secrets {
		if len(s) >= 4 {
			text = strings.ReplaceAll(text, s, "…")
		}
	}
	return text
}
