//go:build !device

package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/auth/sso"
)

// signInFlags are the flags of serve about how people sign in, as given.
type signInFlags struct {
	requireOTP                                  string
	issuer, clientID, secretFile, name          string // of the identity provider
	domains, groups, groupsClaim, admissionRole string
}

func (f *signInFlags) define(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.requireOTP, "require-otp", "", "true wants a second factor of every member who signs in by a password (default false)")
	flags.Lookup("require-otp").NoOptDefVal = "true"
	flags.StringVar(&f.issuer, "oidc-issuer", "", "identity provider that members may sign in by (OpenID Connect), such as https://id.example.org; needs --base-url")
	flags.StringVar(&f.clientID, "oidc-client-id", "", "what the identity provider calls this server")
	flags.StringVar(&f.secretFile, "oidc-client-secret-file", "", "file with the client secret (default: none, a public client)")
	flags.StringVar(&f.name, "oidc-name", "", "name of the identity provider on the sign-in page (default: its host)")
	flags.StringVar(&f.domains, "oidc-domains", "", "domains, by commas, whose people become members when they sign in (default: only members sign in)")
	flags.StringVar(&f.groups, "oidc-groups", "", "groups whose people become members, with their role: dev=publisher,ops=operator")
	flags.StringVar(&f.groupsClaim, "oidc-groups-claim", "", "claim that names a person's groups (default groups)")
	flags.StringVar(&f.admissionRole, "oidc-role", "", "role of who becomes a member by the domain (default viewer)")
}

// signInSettings are how people sign in, checked.
type signInSettings struct {
	requireOTP bool
	provider   sso.Config // Issuer "" is none
	admission  auth.Admission
}

func (f *signInFlags) settings(t *tool, baseURL string) (out signInSettings, err error) {
	text := first(f.requireOTP, t.env.Get("require-otp", "false"))
	if out.requireOTP, err = strconv.ParseBool(text); err != nil {
		return out, usageError{slipstream.Hint(fmt.Errorf("require-otp %q: %w", text, err), "use true or false")}
	}
	out.provider = sso.Config{Issuer: first(f.issuer, t.env.Get("oidc-issuer", "")), ClientID: first(f.clientID, t.env.Get("oidc-client-id", "")),
		Name: first(f.name, t.env.Get("oidc-name", "")), GroupsClaim: first(f.groupsClaim, t.env.Get("oidc-groups-claim", ""))}
	if out.provider.Issuer == "" {
		if out.provider.ClientID != "" {
			return out, usageError{slipstream.Hint(errors.New("there is a client id of an identity provider, but no provider"), "give --oidc-issuer")}
		}
		return out, nil
	}
	if baseURL == "" {
		return out, usageError{slipstream.Hint(errors.New("an identity provider needs to know where to send people back"), "give --base-url, under which browsers reach this server")}
	}
	u, err := url.Parse(baseURL)
	if err != nil {
		return out, err
	}
	out.provider.Redirect = u.Scheme + "://" + u.Host + api.SSOCallbackPath
	if path := first(f.secretFile, t.env.Get("oidc-client-secret-file", "")); path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return out, slipstream.Hint(fmt.Errorf("read client secret: %w", err), "put the secret that the identity provider gave into that file")
		}
		out.provider.ClientSecret = strings.TrimSpace(string(b))
	}
	if out.admission, err = f.admission(t); err != nil {
		return out, usageError{err}
	}
	if _, err := sso.New(out.provider); err != nil {
		return out, usageError{err}
	}
	return out, nil
}

// admission says who becomes a member by the identity provider.
func (f *signInFlags) admission(t *tool) (out auth.Admission, err error) {
	if out.Role, err = auth.ParseRole(first(f.admissionRole, t.env.Get("oidc-role", string(auth.Viewer)))); err != nil {
		return out, fmt.Errorf("oidc role: %w", err)
	}
	for d := range strings.SplitSeq(first(f.domains, t.env.Get("oidc-domains", "")), ",") {
		if d = strings.ToLower(strings.TrimPrefix(strings.TrimSpace(d), "@")); d == "" {
			continue
		}
		if strings.ContainsAny(d, "@/:* ") || !strings.Contains(d, ".") {
			return out, slipstream.Hint(slipstream.Invalidf("oidc domains: %q is no domain of e-mail addresses", d), "use the form example.org,example.com; a domain does not include those below it")
		}
		out.Domains = append(out.Domains, d)
	}
	for g := range strings.SplitSeq(first(f.groups, t.env.Get("oidc-groups", "")), ",") {
		if g = strings.TrimSpace(g); g == "" {
			continue
		}
		at := strings.LastIndex(g, "=")
		if at < 1 {
			return out, slipstream.Hint(slipstream.Invalidf("oidc groups: %q names no role", g), "use the form dev=publisher,ops=operator")
		}
		role, err := auth.ParseRole(g[at+1:])
		if err != nil {
			return out, fmt.Errorf("oidc groups: %w", err)
		}
		if out.Groups == nil {
			out.Groups = map[string]auth.Role{}
		}
		out.Groups[g[:at]] = role
	}
	return out, nil
}

// people are who may use the management API beside tokens.
type people struct {
	sessions *auth.Sessions
	members  *auth.Members
	sso      *sso.Provider // nil for none
}

func (c *serveConfig) people(o opened, logins *auth.Limiter) (out people, err error) {
	from := auth.Config{Store: o.store, RequireOTP: c.signIn.requireOTP}
	issuer := "Slipstream"
	if u, err := url.Parse(c.baseURL); err == nil && u.Host != "" {
		issuer += " " + u.Hostname()
	}
	out = people{sessions: auth.NewSessions(from), members: auth.NewMembers(auth.MembersConfig{Config: from, Sealer: o.sealer, Limiter: logins, Issuer: issuer})}
	if provider := c.signIn.provider; provider.Issuer != "" {
		provider.Sealer = o.sealer
		out.sso, err = sso.New(provider)
	}
	return out, err
}
