package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/protocol"
	"github.com/slipstream-ota/slipstream/store"
)

// ProtocolSwitch says whether a foreign protocol is on for an app. Options are a JSON object of the protocol's own.
type ProtocolSwitch struct {
	Name    string          `json:"name"`
	On      bool            `json:"on"`
	Options json.RawMessage `json:"options,omitempty"`
}

// ProtocolList are the protocols that this server knows.
type ProtocolList struct {
	Protocols []ProtocolSwitch `json:"protocols"`
}

// SwitchOn is what to switch a protocol on with.
type SwitchOn struct {
	Options json.RawMessage `json:"options,omitempty" doc:"JSON object of the protocol's own"`
}

// InProtocol are the path parameters of operations on one protocol of an app.
type InProtocol struct {
	InApp
	Protocol string `path:"protocol" maxLength:"64" doc:"Name of the protocol"`
}

func (s *Server) routeProtocols() {
	route(s, http.MethodGet, "/apps/{app}/protocols", "Which foreign protocols are on for an app", auth.Read, func(ctx context.Context, in *InApp) (*body[ProtocolList], error) {
		return answer(s.protocols(ctx, in.App))
	})
	route(s, http.MethodPut, "/apps/{app}/protocols/{protocol}", "Switch a foreign protocol on", auth.Manage, func(ctx context.Context, in *struct {
		InProtocol
		Body SwitchOn
	}) (*body[ProtocolSwitch], error) {
		p, err := s.protocol(in.Protocol)
		if err != nil {
			return nil, err
		}
		out := ProtocolSwitch{Name: p.Name(), On: true, Options: in.Body.Options}
		return answer(out, s.switched(ctx, in.App, "protocol.enable", p.Name(), in.Body.Options, func(tx store.Tx) error {
			return protocol.Enable(ctx, tx, p, in.App, in.Body.Options)
		}))
	})
	route(s, http.MethodDelete, "/apps/{app}/protocols/{protocol}", "Switch a foreign protocol off", auth.Manage, func(ctx context.Context, in *InProtocol) (*struct{}, error) {
		p, err := s.protocol(in.Protocol)
		if err != nil {
			return nil, err
		}
		return nil, s.switched(ctx, in.App, "protocol.disable", p.Name(), nil, func(tx store.Tx) error {
			err := protocol.Disable(ctx, tx, p.Name(), in.App)
			if errors.Is(err, slipstream.ErrNotFound) {
				return fmt.Errorf("protocol %s is not on for app %q: %w", p.Name(), in.App, slipstream.ErrNotFound)
			}
			return err
		})
	})
}

func (s *Server) protocol(name string) (protocol.Protocol, error) {
	var known []string
	for _, p := range s.cfg.Protocols {
		if p.Name() == name {
			return p, nil
		}
		known = append(known, p.Name())
	}
	return nil, slipstream.Hint(fmt.Errorf("protocol %q: %w", name, slipstream.ErrNotFound), "this server knows %s", strings.Join(known, ", "))
}

// switched changes a switch and writes it down, in one transaction.
func (s *Server) switched(ctx context.Context, app, action, name string, options json.RawMessage, change func(tx store.Tx) error) error {
	return s.cfg.Store.Update(ctx, func(tx store.Tx) error {
		if err := change(tx); err != nil {
			return err
		}
		detail := map[string]any{"protocol": name}
		if len(options) > 0 {
			detail["options"] = options
		}
		doc, err := json.Marshal(detail)
		if err != nil {
			return fmt.Errorf("encode audit detail: %w", err)
		}
		_, err = tx.Log().Audit().Append(ctx, store.AuditEntry{At: s.cfg.Clock().UTC().Truncate(time.Microsecond), Actor: by(ctx).Name, Action: action, App: app, Target: name, Detail: doc})
		return err
	})
}

func (s *Server) protocols(ctx context.Context, app string) (ProtocolList, error) {
	out := ProtocolList{Protocols: []ProtocolSwitch{}}
	err := s.cfg.Store.View(ctx, func(tx store.Tx) error {
		out.Protocols = out.Protocols[:0]
		if _, err := tx.Apps().Get(ctx, app); err != nil {
			return err
		}
		for _, p := range s.cfg.Protocols {
			on, err := protocol.Switched(ctx, tx, p.Name())
			if err != nil {
				return err
			}
			options, is := on[app]
			out.Protocols = append(out.Protocols, ProtocolSwitch{Name: p.Name(), On: is, Options: options})
		}
		return nil
	})
	return out, err
}

// Protocols says which foreign protocols are on for an app.
func (c *Client) Protocols(ctx context.Context, app string) ([]ProtocolSwitch, error) {
	list, err := send[ProtocolList](ctx, c, http.MethodGet, appPath(app, "protocols"), nil)
	return list.Protocols, err
}

// EnableProtocol switches a foreign protocol on for an app.
func (c *Client) EnableProtocol(ctx context.Context, app, name string, options json.RawMessage) (ProtocolSwitch, error) {
	return send[ProtocolSwitch](ctx, c, http.MethodPut, appPath(app, "protocols", name), SwitchOn{Options: options})
}

// DisableProtocol switches a foreign protocol off for an app.
func (c *Client) DisableProtocol(ctx context.Context, app, name string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: appPath(app, "protocols", name)})
}
