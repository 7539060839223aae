package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/rollout"
)

func get[T any](ctx context.Context, c *Client, path string, q url.Values) (T, error) {
	var out T
	err := c.do(ctx, call{method: http.MethodGet, path: path, query: q, answer: &out})
	return out, err
}

func send[T any](ctx context.Context, c *Client, method, path string, body any) (T, error) {
	var out T
	err := c.do(ctx, call{method: method, path: path, body: body, answer: &out})
	return out, err
}

func number(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// WhoAmI tells whom the client's token belongs to.
func (c *Client) WhoAmI(ctx context.Context) (Me, error) { return get[Me](ctx, c, "/whoami", nil) }

// Apps lists the apps that the token may see.
func (c *Client) Apps(ctx context.Context) ([]App, error) {
	l, err := get[AppList](ctx, c, "/apps", nil)
	return l.Apps, err
}

// App describes one app.
func (c *Client) App(ctx context.Context, name string) (App, error) {
	return get[App](ctx, c, appPath(name), nil)
}

// CreateApp makes an app.
func (c *Client) CreateApp(ctx context.Context, n NewApp) (App, error) {
	return send[App](ctx, c, http.MethodPost, "/apps", n)
}

// ChangeApp changes an app.
func (c *Client) ChangeApp(ctx context.Context, name string, ch AppChange) (App, error) {
	return send[App](ctx, c, http.MethodPatch, appPath(name), ch)
}

// Roots gives all root envelopes of an app, version 1 first.
func (c *Client) Roots(ctx context.Context, app string) ([][]byte, error) {
	l, err := get[RootList](ctx, c, appPath(app, "roots"), nil)
	return l.Roots, err
}

// AddRoot registers a root. The same root again is no error.
func (c *Client) AddRoot(ctx context.Context, app string, envelope []byte) (rollout.RootAdded, error) {
	var out rollout.RootAdded
	err := c.do(ctx, call{method: http.MethodPost, path: appPath(app, "roots"), body: Envelope{envelope}, answer: &out, repeatable: true})
	return out, err
}

// NewStateKey makes another state key of an app.
func (c *Client) NewStateKey(ctx context.Context, app string) (StateKey, error) {
	return send[StateKey](ctx, c, http.MethodPost, appPath(app, "state-keys"), nil)
}

// Channels lists the channels of an app.
func (c *Client) Channels(ctx context.Context, app string) ([]Channel, error) {
	l, err := get[ChannelList](ctx, c, appPath(app, "channels"), nil)
	return l.Channels, err
}

// Channel describes one channel.
func (c *Client) Channel(ctx context.Context, app, channel string) (Channel, error) {
	return get[Channel](ctx, c, appPath(app, "channels", channel), nil)
}

// CreateChannel makes a channel.
func (c *Client) CreateChannel(ctx context.Context, app string, n NewChannel) (Channel, error) {
	return send[Channel](ctx, c, http.MethodPost, appPath(app, "channels"), n)
}

// ChangeChannel changes a channel.
func (c *Client) ChangeChannel(ctx context.Context, app, channel string, ch ChannelChange) (Channel, error) {
	return send[Channel](ctx, c, http.MethodPatch, appPath(app, "channels", channel), ch)
}

// StartRollout offers a published release.
func (c *Client) StartRollout(ctx context.Context, app, channel string, r StartRollout) (rollout.Done, error) {
	return send[rollout.Done](ctx, c, http.MethodPost, appPath(app, "channels", channel, "rollouts"), r)
}

// ChangeRollout does one verb on a rollout.
func (c *Client) ChangeRollout(ctx context.Context, app, channel, id string, ch RolloutChange) (rollout.Done, error) {
	return send[rollout.Done](ctx, c, http.MethodPatch, appPath(app, "channels", channel, "rollouts", id), ch)
}

// Withdraw makes devices leave a release, or takes that back.
func (c *Client) Withdraw(ctx context.Context, app, channel string, w Withdraw) (rollout.Done, error) {
	return send[rollout.Done](ctx, c, http.MethodPost, appPath(app, "channels", channel, "withdraw"), w)
}

// Rollback goes back to an earlier release.
func (c *Client) Rollback(ctx context.Context, app, channel string, r Rollback) (rollout.Done, error) {
	return send[rollout.Done](ctx, c, http.MethodPost, appPath(app, "channels", channel, "rollback"), r)
}

// Promote offers on channel what another one has in force.
func (c *Client) Promote(ctx context.Context, app, channel string, p Promote) ([]rollout.Done, error) {
	out, err := send[Promoted](ctx, c, http.MethodPost, appPath(app, "channels", channel, "promote"), p)
	return out.Started, err
}

// SetFloor sets the lowest seq that devices may run.
func (c *Client) SetFloor(ctx context.Context, app, channel string, f SetFloor) (rollout.Done, error) {
	return send[rollout.Done](ctx, c, http.MethodPost, appPath(app, "channels", channel, "floor"), f)
}

// Explain tells why a device gets what it gets.
func (c *Client) Explain(ctx context.Context, app, channel string, e Explain) (Explained, error) {
	var out Explained
	err := c.do(ctx, call{method: http.MethodPost, path: appPath(app, "channels", channel, "explain"), body: e, answer: &out, repeatable: true})
	return out, err
}

// Status tells what is in force; app "" means all.
func (c *Client) Status(ctx context.Context, app string) (Status, error) {
	return get[Status](ctx, c, "/status", set("app", app))
}

// AuditQuery selects recorded changes; zero fields do not restrict.
type AuditQuery struct {
	App, Action string
	Before      int64
	Limit       int
}

// Audit lists recorded changes, newest first.
func (c *Client) Audit(ctx context.Context, q AuditQuery) ([]AuditEntry, error) {
	l, err := get[AuditList](ctx, c, "/audit", set("app", q.App, "action", q.Action, "before", number(q.Before), "limit", number(int64(q.Limit))))
	return l.Entries, err
}

// VerifyAudit recomputes the chain of recorded changes; head, when not "", must be among the hashes.
func (c *Client) VerifyAudit(ctx context.Context, head string) (auth.AuditReport, error) {
	return get[auth.AuditReport](ctx, c, "/audit/verify", set("head", head))
}

// Tokens lists tokens.
func (c *Client) Tokens(ctx context.Context) ([]Token, error) {
	l, err := get[TokenList](ctx, c, "/tokens", nil)
	return l.Tokens, err
}

// CreateToken makes a token; its secret is in the answer and nowhere else.
func (c *Client) CreateToken(ctx context.Context, n NewToken) (Token, error) {
	return send[Token](ctx, c, http.MethodPost, "/tokens", n)
}

// RevokeToken takes a token away.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: "/tokens/" + url.PathEscape(id)})
}

// SessionLink makes a code that signs one browser in.
func (c *Client) SessionLink(ctx context.Context) (SessionLink, error) {
	return send[SessionLink](ctx, c, http.MethodPost, "/session-links", nil)
}

// Collect finds or removes garbage.
func (c *Client) Collect(ctx context.Context, g Collect) (rollout.Collected, error) {
	return send[rollout.Collected](ctx, c, http.MethodPost, "/gc", g)
}

// ResolveRelease is the digest of the release that ref names, see publish.Server.
func (c *Client) ResolveRelease(ctx context.Context, app, ref string) (slipstream.Digest, error) {
	r, err := c.Release(ctx, app, ref)
	return r.Digest, err
}

// ServerStatus tells how the server is that answers.
func (c *Client) ServerStatus(ctx context.Context) (ServerStatus, error) {
	return send[ServerStatus](ctx, c, http.MethodGet, "/server", nil)
}
