package api

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/store"
)

// Member is a person who signs in by name.
type Member struct {
	Name         string           `json:"name"`
	Display      string           `json:"display,omitempty"`
	Email        string           `json:"email,omitempty"`
	Role         auth.Role        `json:"role"`
	Apps         []string         `json:"apps" doc:"None means all"`
	Created      time.Time        `json:"created"`
	Seen         *time.Time       `json:"seen,omitempty" doc:"Last sign-in"`
	Disabled     bool             `json:"disabled"`
	Password     bool             `json:"password" doc:"There is one: the invitation was taken up"`
	SSO          bool             `json:"sso" doc:"Signed in by the identity provider before"`
	SecondFactor bool             `json:"secondFactor"`
	Recovery     int              `json:"recovery" doc:"Recovery codes that are left"`
	Sessions     []BrowserSession `json:"sessions,omitempty"`
	Invitation   *InvitationLink  `json:"invitation,omitempty"`
}

// InvitationLink lets a member set a password, once.
type InvitationLink struct {
	Member  string    `json:"member"`
	Code    string    `json:"code"`
	Path    string    `json:"path" doc:"Where a browser takes it up, on this server"`
	URL     string    `json:"url,omitempty" doc:"The same with the address that the server knows of itself"`
	Expires time.Time `json:"expires"`
}

// MemberList is the members.
type MemberList struct {
	Members []Member `json:"members"`
}

// NewMember asks for a member.
type NewMember struct {
	Name    string   `json:"name" maxLength:"64"`
	Display string   `json:"display,omitempty" maxLength:"200"`
	Email   string   `json:"email,omitempty" maxLength:"254"`
	Role    string   `json:"role" doc:"owner, publisher, operator or viewer"`
	Apps    []string `json:"apps,omitempty" maxItems:"1000" doc:"Only these; none means all"`
}

// MemberChange changes a member; what is absent stays.
type MemberChange struct {
	Display  *string   `json:"display,omitempty" maxLength:"200"`
	Email    *string   `json:"email,omitempty" maxLength:"254"`
	Role     *string   `json:"role,omitempty"`
	Apps     *[]string `json:"apps,omitempty" maxItems:"1000" doc:"An empty list means all"`
	Disabled *bool     `json:"disabled,omitempty" doc:"Who is disabled is signed out and stays out"`
}

// Invite asks for another invitation.
type Invite struct {
	Reset bool `json:"reset,omitempty" doc:"Take password, second factor and sessions away at once"`
}

// InMember is the path parameter of operations on one member.
type InMember struct {
	Member string `path:"member" maxLength:"64" doc:"Name of the member"`
}

func (s *Server) routeMembers() {
	route(s, http.MethodGet, "/members", "List members", auth.Admit, func(ctx context.Context, _ *struct{}) (*body[MemberList], error) {
		list, err := s.cfg.Members.List(ctx, by(ctx))
		out := MemberList{Members: make([]Member, len(list))}
		for i, m := range list {
			out.Members[i] = describeMember(m)
		}
		return answer(out, err)
	})
	route(s, http.MethodPost, "/members", "Make a member; answers an invitation", auth.Admit, s.createMember)
	route(s, http.MethodGet, "/members/{member}", "Show a member and where they are signed in", auth.Admit, func(ctx context.Context, in *InMember) (*body[Member], error) {
		m, sessions, err := s.cfg.Members.Get(ctx, by(ctx), in.Member)
		out := describeMember(m)
		out.Sessions = describeSessions(sessions, by(ctx).Session)
		return answer(out, err)
	})
	route(s, http.MethodPatch, "/members/{member}", "Change a member", auth.Admit, s.changeMember)
	route(s, http.MethodDelete, "/members/{member}", "Remove a member, with their tokens and sessions", auth.Admit, func(ctx context.Context, in *InMember) (*struct{}, error) {
		return nil, s.cfg.Members.Remove(ctx, by(ctx), in.Member)
	})
	route(s, http.MethodPost, "/members/{member}/invitation", "Make another invitation; the former ones are no longer good", auth.Admit, func(ctx context.Context, in *struct {
		InMember
		Body Invite
	}) (*body[InvitationLink], error) {
		inv, err := s.cfg.Members.Invite(ctx, by(ctx), in.Member, in.Body.Reset)
		return answer(s.describeInvitation(inv), err)
	})
	route(s, http.MethodDelete, "/members/{member}/sessions", "Sign a member out everywhere", auth.Admit, func(ctx context.Context, in *InMember) (*struct{}, error) {
		return nil, s.cfg.Members.SignOut(ctx, by(ctx), in.Member)
	})
}

func describeMember(m store.Member) Member {
	return Member{Name: m.Name, Display: m.Display, Email: m.Email, Role: auth.Role(m.Role), Apps: append([]string{}, m.Apps...), Created: m.Created, Seen: pointer(m.Seen),
		Disabled: m.Disabled, Password: m.Password != "", SSO: m.Subject != "", SecondFactor: m.OTP != nil, Recovery: len(m.Recovery)}
}

func (s *Server) describeInvitation(inv auth.Invitation) InvitationLink {
	out := InvitationLink{Member: inv.Member, Code: inv.Code, Path: "/console/#invitation=" + inv.Code, Expires: inv.Expires}
	if s.cfg.Origin != "" {
		out.URL = s.cfg.Origin + out.Path
	}
	return out
}

func (s *Server) createMember(ctx context.Context, in *struct{ Body NewMember }) (*body[Member], error) {
	b := in.Body
	m, inv, err := s.cfg.Members.Create(ctx, by(ctx), auth.MemberSpec{Name: b.Name, Display: b.Display, Email: b.Email, Role: auth.Role(b.Role), Apps: b.Apps})
	if err != nil {
		return nil, err
	}
	out, link := describeMember(m), s.describeInvitation(inv)
	out.Invitation = &link
	return answer(out, nil)
}

func (s *Server) changeMember(ctx context.Context, in *struct {
	InMember
	Body MemberChange
}) (*body[Member], error) {
	b := in.Body
	m, err := s.cfg.Members.Change(ctx, by(ctx), in.Member, func(spec *auth.MemberSpec) {
		put(&spec.Display, b.Display)
		put(&spec.Email, b.Email)
		put((*string)(&spec.Role), b.Role)
		put(&spec.Apps, b.Apps)
		put(&spec.Disabled, b.Disabled)
	})
	return answer(describeMember(m), err)
}

// put replaces what a change names.
func put[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

func memberPath(name string, rest string) string { return "/members/" + url.PathEscape(name) + rest }

// Members lists members.
func (c *Client) Members(ctx context.Context) ([]Member, error) {
	l, err := get[MemberList](ctx, c, "/members", nil)
	return l.Members, err
}

// Member shows a member and where they are signed in.
func (c *Client) Member(ctx context.Context, name string) (Member, error) {
	return get[Member](ctx, c, memberPath(name, ""), nil)
}

// CreateMember makes a member; the invitation in the answer is nowhere else.
func (c *Client) CreateMember(ctx context.Context, n NewMember) (Member, error) {
	return send[Member](ctx, c, http.MethodPost, "/members", n)
}

// ChangeMember changes a member.
func (c *Client) ChangeMember(ctx context.Context, name string, ch MemberChange) (Member, error) {
	return send[Member](ctx, c, http.MethodPatch, memberPath(name, ""), ch)
}

// RemoveMember takes a member away.
func (c *Client) RemoveMember(ctx context.Context, name string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: memberPath(name, "")})
}

// InviteMember makes another invitation.
func (c *Client) InviteMember(ctx context.Context, name string, i Invite) (InvitationLink, error) {
	return send[InvitationLink](ctx, c, http.MethodPost, memberPath(name, "/invitation"), i)
}

// SignMemberOut ends all sessions of a member.
func (c *Client) SignMemberOut(ctx context.Context, name string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: memberPath(name, "/sessions")})
}
