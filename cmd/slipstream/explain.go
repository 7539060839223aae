//go:build !device

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
)

func newExplainCommand(t *tool) *cobra.Command {
	var a at
	var q api.Explain
	var attrs []string
	c := &cobra.Command{
		Use: "explain", Short: "Say step by step why a device gets what it gets", Args: exactly(0, "no argument"),
		Long: `Explain walks the channel's rollouts as the device does and tells every step. --device is the id that reports carry (64
hex digits) or the raw install id, which is hashed here and not sent. What is left out, the device does not tell.`,
		Example: "  slipstream explain --device 5f2c… --platform android --runtime 3.2.0 --running 1.3.0 --attr country=cn --attr custom.tester=true",
		RunE: func(c *cobra.Command, _ []string) error {
			server, err := t.on(&a)
			if err != nil {
				return err
			}
			if id := q.Device.ID; id != "" && !slipstream.Digest(id).Valid() {
				sum := sha256.Sum256([]byte(a.app + ":" + id))
				q.Device.ID = hex.EncodeToString(sum[:])
			}
			if q.Device.Attributes, err = parseAttributes(attrs); err != nil {
				return usageError{err}
			}
			q.Package = a.pkg
			out, err := server.Explain(c.Context(), a.app, a.channel, q)
			if err != nil {
				return fmt.Errorf("explain: %w", err)
			}
			return t.print(out, func(w io.Writer) { printExplained(w, out) })
		},
	}
	fs := c.Flags()
	fs.StringVar(&q.Device.ID, "device", "", "device id, or raw install id")
	fs.StringVar(&q.Device.Platform, "platform", "", "platform of the device")
	fs.StringVar(&q.Device.Runtime, "runtime", "", "version or fingerprint of its shell")
	fs.StringVar(&q.Device.OS, "os", "", "its operating system's version")
	fs.StringVar(&q.Device.Model, "model", "", "its model")
	fs.StringVar(&q.Device.Locale, "locale", "", "its locale")
	fs.StringVar(&q.Running, "running", "", "release that it runs: version, package@version or digest (default: an embedded one)")
	fs.StringVar(&q.Anchor, "anchor", "", "newest release that it has confirmed (default: the running one)")
	fs.StringSliceVar(&q.Held, "held", nil, "releases that it could go back to, newest first")
	fs.StringSliceVar(&q.Refused, "refused", nil, "releases that it gave up")
	fs.StringSliceVar(&q.Granted, "granted", nil, "rollouts with a cap that admitted it")
	fs.StringArrayVar(&attrs, "attr", nil, "other attributes, such as country=cn or custom.level=3 (repeatable)")
	t.packageFlags(c, &a)
	return c
}

// parseAttributes reads k=v pairs; what is JSON stays JSON, everything else is text.
func parseAttributes(pairs []string) (map[string]json.RawMessage, error) {
	out := map[string]json.RawMessage{}
	for _, pair := range pairs {
		k, v, ok := strings.Cut(pair, "=")
		if !ok || k == "" {
			return nil, fmt.Errorf("attribute %q is not of the form name=value", pair)
		}
		raw := json.RawMessage(v)
		if !json.Valid(raw) {
			quoted, err := json.Marshal(v)
			if err != nil {
				return nil, fmt.Errorf("attribute %q: %w", k, err)
			}
			raw = quoted
		}
		out[k] = raw
	}
	return out, nil
}

func printExplained(w io.Writer, e api.Explained) {
	fmt.Fprintf(w, "State of platform %s, epoch %d\n", e.Platform, e.Epoch)
	for i, s := range e.Steps {
		fmt.Fprintf(w, "%3d. %s\n", i+1, s.Text)
	}
	d := e.Decision
	fmt.Fprintf(w, "\n%s: %s", d.Verdict, d.Reason)
	if d.Release != nil {
		fmt.Fprintf(w, ", version %s (seq %d, %s)", d.Release.Version, d.Release.Seq, d.Release.Digest.Short())
	}
	fmt.Fprintln(w)
}
