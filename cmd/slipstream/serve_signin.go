//go:build !device

package main

import (
	"fmt"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/auth"
)

// signInFlags are the flags of serve about how people sign in, as given.
type signInFlags struct {
	requireOTP string
}

func (f *signInFlags) define(c *cobra.Command) {
	c.Flags().StringVar(&f.requireOTP, "require-otp", "", "true wants a second factor of every member who signs in by a password (default false)")
	c.Flags().Lookup("require-otp").NoOptDefVal = "true"
}

// signInSettings are how people sign in, checked.
type signInSettings struct {
	requireOTP bool
}

func (f *signInFlags) settings(t *tool) (out signInSettings, err error) {
	text := first(f.requireOTP, t.env.Get("require-otp", "false"))
	if out.requireOTP, err = strconv.ParseBool(text); err != nil {
		return out, usageError{slipstream.Hint(fmt.Errorf("require-otp %q: %w", text, err), "use true or false")}
	}
	return out, nil
}

// people are who may use the management API beside tokens.
type people struct {
	sessions *auth.Sessions
	members  *auth.Members
}

func (c *serveConfig) people(o opened, logins *auth.Limiter) people {
	from := auth.Config{Store: o.store, RequireOTP: c.signIn.requireOTP}
	issuer := "Slipstream"
	if u, err := url.Parse(c.baseURL); err == nil && u.Host != "" {
		issuer += " " + u.Hostname()
	}
	return people{sessions: auth.NewSessions(from), members: auth.NewMembers(auth.MembersConfig{Config: from, Sealer: o.sealer, Limiter: logins, Issuer: issuer})}
}
