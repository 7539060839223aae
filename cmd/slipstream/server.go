//go:build !device

package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
)

// serverFlags defines --server and --token on c, for client.
func (t *tool) serverFlags(c *cobra.Command) {
	c.Flags().StringVar(&t.server.url, "server", "", "server address (default: SLIPSTREAM_URL, or what login and serve wrote)")
	c.Flags().StringVar(&t.server.token, "token", "", "API token (default: SLIPSTREAM_TOKEN, or what login and serve wrote)")
}

// client is the management API of the server that flags, environment or the publisher's folder name, in that order.
func (t *tool) client() (*api.Client, error) {
	url, token, err := t.address()
	if err != nil {
		return nil, err
	}
	return api.NewClient(url, token, nil)
}

func (t *tool) address() (string, string, error) {
	saved, err := t.env.Folder().LoadServer()
	if err != nil {
		return "", "", err
	}
	url := first(t.server.url, t.env.Get("url", ""), saved.URL)
	token := first(t.server.token, t.env.Get("token", ""))
	if token == "" && url == saved.URL {
		token = saved.Token // a token is only ever shown to the server that it came from
	}
	if url == "" {
		return "", "", slipstream.Hint(errors.New("no server is known"), "start `slipstream serve` on this machine, or run `slipstream login URL`")
	}
	return url, token, nil
}
