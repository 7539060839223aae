package api

import (
	"context"
	"net/http"
	"time"

	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/store"
)

const defaultAudit = 100

func (s *Server) routeAdmin() {
	route(s, http.MethodGet, "/status", "What is in force, and how it goes", auth.Read, s.status)
	route(s, http.MethodGet, "/audit", "List recorded changes, newest first", auth.Read, s.listAudit)
	route(s, http.MethodGet, "/audit/verify", "Recompute the chain of all recorded changes", auth.Read, func(ctx context.Context, in *struct {
		Head string `query:"head" doc:"Hash of an entry that must be there"`
	}) (*body[auth.AuditReport], error) {
		if p := by(ctx); !p.Apps.All() {
			return nil, forbidden(p, auth.Read) // the chain runs through the entries of all apps
		}
		return answer(auth.VerifyAudit(ctx, s.cfg.Store, in.Head))
	})
	route(s, http.MethodGet, "/tokens", "List tokens", auth.Admit, s.listTokens)
	route(s, http.MethodPost, "/tokens", "Make a token", auth.Admit, s.createToken)
	route(s, http.MethodDelete, "/tokens/{token}", "Revoke a token", auth.Admit, s.revokeToken)
	route(s, http.MethodPost, "/gc", "Find or remove garbage", auth.Server, s.collect)
}

func (s *Server) listAudit(ctx context.Context, in *struct {
	App    string `query:"app"`
	Action string `query:"action"`
	Before int64  `query:"before" doc:"Only entries with a lower seq"`
	Limit  int    `query:"limit" minimum:"0" maximum:"1000"`
}) (*body[AuditList], error) {
	q := store.AuditQuery{App: in.App, Action: in.Action, BeforeSeq: in.Before, Limit: in.Limit}
	if q.Limit == 0 {
		q.Limit = defaultAudit
	}
	p := by(ctx)
	if q.App != "" && !p.Apps.Has(q.App) {
		return nil, forbidden(p, auth.Read)
	}
	q.Apps = p.Apps.Names()
	out := AuditList{Entries: []AuditEntry{}}
	err := s.cfg.Store.View(ctx, func(tx store.Tx) error {
		out.Entries = out.Entries[:0]
		list, err := tx.Log().Audit().List(ctx, q)
		for _, e := range list {
			out.Entries = append(out.Entries, AuditEntry{Seq: e.Seq, At: e.At, Actor: e.Actor, Action: e.Action, App: e.App, Target: e.Target,
				Detail: e.Detail, Prev: e.Prev, Hash: e.Hash})
		}
		return err
	})
	return answer(out, err)
}

func describeToken(k store.Token, secret string) Token {
	t := Token{ID: k.ID, Name: k.Name, Role: auth.Role(k.Role), App: k.App, Member: k.Member, Created: k.Created, Secret: secret}
	if !k.Expires.IsZero() {
		t.Expires = &k.Expires
	}
	if !k.LastUsed.IsZero() {
		t.LastUsed = &k.LastUsed
	}
	return t
}

func (s *Server) listTokens(ctx context.Context, _ *struct{}) (*body[TokenList], error) {
	all, err := s.cfg.Tokens.List(ctx)
	out := TokenList{Tokens: []Token{}}
	for _, k := range all {
		if by(ctx).Apps.Has(k.App) {
			out.Tokens = append(out.Tokens, describeToken(k, ""))
		}
	}
	return answer(out, err)
}

func (s *Server) createToken(ctx context.Context, in *struct{ Body NewToken }) (*body[Token], error) {
	p, b := by(ctx), in.Body
	if !p.Apps.Has(b.App) {
		return nil, forbidden(p, auth.Admit)
	}
	spec := auth.Spec{Name: b.Name, Role: auth.Role(b.Role), App: b.App}
	if b.Expires != nil {
		spec.Expires = *b.Expires
	}
	k, secret, err := s.cfg.Tokens.Create(ctx, p.Name, spec)
	return answer(describeToken(k, secret), err)
}

func (s *Server) revokeToken(ctx context.Context, in *struct {
	Token string `path:"token" maxLength:"64"`
}) (*struct{}, error) {
	p := by(ctx)
	return nil, s.cfg.Tokens.Revoke(ctx, p.Name, in.Token, func(k store.Token) error {
		if !p.Apps.Has(k.App) {
			return forbidden(p, auth.Admit)
		}
		return nil
	})
}

func (s *Server) collect(ctx context.Context, in *struct{ Body Collect }) (*body[rollout.Collected], error) {
	if p := by(ctx); !p.Apps.All() {
		return nil, forbidden(p, auth.Server)
	}
	b := in.Body
	return answer(s.cfg.Rollout.Collect(ctx, by(ctx).Name, rollout.CollectSpec{Apply: b.Apply, Keep: b.Keep,
		Margin: time.Duration(b.Margin) * time.Second, KeepFor: time.Duration(b.KeepFor) * time.Second}))
}
