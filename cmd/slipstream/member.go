//go:build !device

package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/auth"
)

func newMemberCommand(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use: "member", Short: "Let people sign in by their own name",
		Long: `A member signs in to the web console with a name, a password and, if wanted, a second factor, or by the identity
provider that serve was told of. Roles are those of tokens: owner (everything), publisher (releases and rollouts),
operator (rollouts, withdrawals, rollbacks), viewer (looks only); each for all apps or for some. Programs use tokens:
a member makes personal ones in the console, which never do more than the member may.`,
		Args: noSubcommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newMemberAdd(t), newMemberList(t), newMemberShow(t), newMemberChange(t), newMemberDisable(t), newMemberEnable(t), newMemberRemove(t),
		newMemberLink(t, "link", "Print another invitation link, for a password that was forgotten",
			"The former links are no longer good. Password and second factor stay until the link is used; it asks for the second factor.", false),
		newMemberLink(t, "reset", "Take password, second factor and sessions away, and print an invitation link",
			"For a phone or a password that was lost or stolen. The member gets in again by the link alone.", true),
		newMemberSignOut(t))
	return c
}

// memberFlags are what is said of a member.
type memberFlags struct {
	display, email, role string
	apps                 []string
}

func (f *memberFlags) define(c *cobra.Command, role string) {
	c.Flags().StringVar(&f.display, "display", "", "name for people")
	c.Flags().StringVar(&f.email, "email", "", "e-mail address; may be used to sign in, and is how an identity provider knows the member")
	c.Flags().StringVar(&f.role, "role", role, "owner, publisher, operator or viewer")
	c.Flags().StringSliceVar(&f.apps, "app", nil, "for this app only; may be given several times, \"all\" for all apps")
}

// scope turns --app into the apps of a member.
func (f *memberFlags) scope() []string {
	if len(f.apps) == 1 && f.apps[0] == "all" {
		return []string{}
	}
	return f.apps
}

func newMemberAdd(t *tool) *cobra.Command {
	var f memberFlags
	c := &cobra.Command{
		Use: "add NAME", Short: "Make a member and print an invitation link", Args: exactly(1, "one name"),
		Long: `Add makes a member and prints a link with which they set their password, and a second factor if they want one or
serve --require-otp asks for it. The link works once, for three days.`,
		Example: "  slipstream member add ann --email ann@example.org --role publisher --app shop",
		RunE: func(c *cobra.Command, args []string) error {
			if err := slipstream.CheckName("member", args[0]); err != nil {
				return usageError{err}
			}
			if _, err := auth.ParseRole(f.role); err != nil {
				return usageError{err}
			}
			server, err := t.client()
			if err != nil {
				return err
			}
			m, err := server.CreateMember(c.Context(), api.NewMember{Name: args[0], Display: f.display, Email: f.email, Role: f.role, Apps: f.scope()})
			if err != nil {
				return fmt.Errorf("add member: %w", err)
			}
			if m.Invitation == nil {
				return errors.New("add member: the server answered without an invitation")
			}
			return t.printInvitation(server, m, *m.Invitation, fmt.Sprintf("Member %s is made, role %s for %s", m.Name, m.Role, scopeText(m.Apps)))
		},
	}
	f.define(c, string(auth.Publisher))
	t.serverFlags(c)
	return c
}

// printInvitation prints the link alone on standard output, so that it can be piped on, and what it is for beside it.
func (t *tool) printInvitation(server *api.Client, out any, inv api.InvitationLink, said string) error {
	link := first(inv.URL, server.URL()+inv.Path)
	if m, ok := out.(api.Member); ok {
		m.Invitation.URL = link
		out = m
	} else {
		inv.URL = link
		out = inv
	}
	return t.print(out, func(w io.Writer) {
		fmt.Fprintln(w, link)
		fmt.Fprintf(t.stderr, "%s. Pass the link on to them alone: it works once, until %s\n", said, inv.Expires.UTC().Format("2006-01-02 15:04 UTC"))
	})
}

func scopeText(apps []string) string { return first(strings.Join(apps, ", "), "all apps") }

func newMemberList(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List members", Args: exactly(0, "no argument"),
		RunE: func(c *cobra.Command, _ []string) error {
			server, err := t.client()
			if err != nil {
				return err
			}
			list, err := server.Members(c.Context())
			if err != nil {
				return fmt.Errorf("list members: %w", err)
			}
			return t.print(list, func(w io.Writer) {
				tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(tw, "NAME\tROLE\tAPPS\tE-MAIL\tSTATE\tSECOND FACTOR\tLAST SIGN-IN")
				for _, m := range list {
					fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", m.Name, m.Role, first(strings.Join(m.Apps, ","), "all"), first(m.Email, "-"), memberState(m), yesNo(m.SecondFactor), day(m.Seen, "never"))
				}
				tw.Flush()
			})
		},
	}
	t.serverFlags(c)
	return c
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func memberState(m api.Member) string {
	switch {
	case m.Disabled:
		return "disabled"
	case !m.Password && !m.SSO:
		return "invited"
	}
	return "active"
}

func newMemberShow(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use: "show NAME", Short: "Show a member and where they are signed in", Args: exactly(1, "one member"),
		RunE: func(c *cobra.Command, args []string) error {
			server, err := t.client()
			if err != nil {
				return err
			}
			m, err := server.Member(c.Context(), args[0])
			if err != nil {
				return slipstream.Hint(fmt.Errorf("show member: %w", err), "%s", first(slipstream.HintOf(err), "`slipstream member list` shows the names"))
			}
			return t.print(m, func(w io.Writer) {
				tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				for _, row := range [][2]string{{"Name", m.Name}, {"Display name", m.Display}, {"E-mail", m.Email}, {"Role", string(m.Role)}, {"Apps", scopeText(m.Apps)}, {"State", memberState(m)},
					{"Second factor", yesNo(m.SecondFactor)}, {"Recovery codes left", fmt.Sprint(m.Recovery)}, {"Identity provider", yesNo(m.SSO)},
					{"Made", m.Created.UTC().Format("2006-01-02 15:04")}, {"Last sign-in", day(m.Seen, "never")}} {
					fmt.Fprintf(tw, "%s:\t%s\n", row[0], first(row[1], "-"))
				}
				for _, s := range m.Sessions {
					fmt.Fprintf(tw, "Signed in by %s:\tsince %s, last used %s, %s\n", s.Via, s.Created.UTC().Format("2006-01-02 15:04"), s.Seen.UTC().Format("2006-01-02 15:04"), first(s.Agent, "an unnamed browser"))
				}
				tw.Flush()
			})
		},
	}
	t.serverFlags(c)
	return c
}

func newMemberChange(t *tool) *cobra.Command {
	var f memberFlags
	c := &cobra.Command{
		Use: "change NAME", Short: "Change what is said of a member", Args: exactly(1, "one member"),
		Example: "  slipstream member change ann --role owner --app all",
		RunE: func(c *cobra.Command, args []string) error {
			var ch api.MemberChange
			for name, set := range map[string]func(){
				"display": func() { ch.Display = &f.display }, "email": func() { ch.Email = &f.email }, "role": func() { ch.Role = &f.role },
				"app": func() { apps := f.scope(); ch.Apps = &apps },
			} {
				if c.Flags().Changed(name) {
					set()
				}
			}
			if ch == (api.MemberChange{}) {
				return usageError{slipstream.Hint(errors.New("nothing to change"), "give --display, --email, --role or --app")}
			}
			return t.changeMember(c, args[0], ch, "changed")
		},
	}
	f.define(c, "")
	t.serverFlags(c)
	return c
}

func (t *tool) changeMember(c *cobra.Command, name string, ch api.MemberChange, done string) error {
	server, err := t.client()
	if err != nil {
		return err
	}
	m, err := server.ChangeMember(c.Context(), name, ch)
	if err != nil {
		return err
	}
	return t.print(m, func(w io.Writer) {
		fmt.Fprintf(w, "Member %s is %s: role %s for %s\n", m.Name, done, m.Role, scopeText(m.Apps))
	})
}

func newMemberDisable(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use: "disable NAME", Short: "Sign a member out and keep them out, with their personal tokens", Args: exactly(1, "one member"),
		RunE: func(c *cobra.Command, args []string) error {
			yes := true
			return t.changeMember(c, args[0], api.MemberChange{Disabled: &yes}, "disabled")
		},
	}
	t.serverFlags(c)
	return c
}

func newMemberEnable(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use: "enable NAME", Short: "Let a member that was disabled in again", Args: exactly(1, "one member"),
		RunE: func(c *cobra.Command, args []string) error {
			no := false
			return t.changeMember(c, args[0], api.MemberChange{Disabled: &no}, "enabled")
		},
	}
	t.serverFlags(c)
	return c
}

func newMemberRemove(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use: "remove NAME", Aliases: []string{"rm"}, Short: "Remove a member, with their personal tokens and sessions", Args: exactly(1, "one member"),
		Long: "Remove takes a member away for good. What they did stays in the audit log, under their name.",
		RunE: func(c *cobra.Command, args []string) error {
			server, err := t.client()
			if err != nil {
				return err
			}
			if err := server.RemoveMember(c.Context(), args[0]); err != nil {
				return fmt.Errorf("remove member: %w", err)
			}
			return t.print(map[string]string{"removed": args[0]}, func(w io.Writer) { fmt.Fprintf(w, "Member %s is removed\n", args[0]) })
		},
	}
	t.serverFlags(c)
	return c
}

func newMemberLink(t *tool, verb, short, long string, reset bool) *cobra.Command {
	c := &cobra.Command{
		Use: verb + " NAME", Short: short, Long: long, Args: exactly(1, "one member"),
		RunE: func(c *cobra.Command, args []string) error {
			server, err := t.client()
			if err != nil {
				return err
			}
			inv, err := server.InviteMember(c.Context(), args[0], api.Invite{Reset: reset})
			if err != nil {
				return fmt.Errorf("invite member: %w", err)
			}
			said := "A new invitation for " + inv.Member
			if reset {
				said = "Password, second factor and sessions of " + inv.Member + " are gone"
			}
			return t.printInvitation(server, inv, inv, said)
		},
	}
	t.serverFlags(c)
	return c
}

func newMemberSignOut(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use: "sign-out NAME", Short: "End all sessions of a member", Args: exactly(1, "one member"),
		RunE: func(c *cobra.Command, args []string) error {
			server, err := t.client()
			if err != nil {
				return err
			}
			if err := server.SignMemberOut(c.Context(), args[0]); err != nil {
				return fmt.Errorf("sign member out: %w", err)
			}
			return t.print(map[string]string{"signedOut": args[0]}, func(w io.Writer) { fmt.Fprintf(w, "Member %s is signed out everywhere\n", args[0]) })
		},
	}
	t.serverFlags(c)
	return c
}
