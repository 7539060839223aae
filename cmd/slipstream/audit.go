//go:build !device

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
)

func newAuditCommand(t *tool) *cobra.Command {
	list := newAuditList(t)
	c := &cobra.Command{
		Use: "audit", Short: "List who changed what, and prove that nothing was taken out", Args: noSubcommand,
		Long: `Every change is recorded with who made it, each entry chained to the one before by its hash. "audit verify" recomputes
the chain; keep the hash of the newest entry elsewhere and give it by --head later to prove that nothing was cut off.`,
		RunE: list.RunE,
	}
	c.Flags().AddFlagSet(list.Flags())
	c.AddCommand(list, newAuditVerify(t))
	return c
}

func newAuditList(t *tool) *cobra.Command {
	var q api.AuditQuery
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List recorded changes, the newest first", Args: exactly(0, "no argument"),
		RunE: func(c *cobra.Command, _ []string) error {
			server, err := t.client()
			if err != nil {
				return err
			}
			list, err := server.Audit(c.Context(), q)
			if err != nil {
				return fmt.Errorf("list audit log: %w", err)
			}
			return t.print(list, func(w io.Writer) {
				tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(tw, "SEQ\tAT\tBY\tACTION\tAPP\tTARGET\tDETAIL")
				for _, e := range list {
					target := e.Target
					if slipstream.Digest(target).Valid() {
						target = slipstream.Digest(target).Short()
					}
					fmt.Fprintf(tw, "%d\t%s\t%s\t%s\t%s\t%s\t%s\n", e.Seq, e.At.UTC().Format("2006-01-02 15:04:05"), e.Actor, e.Action, dash(e.App), dash(target), detailText(e.Detail))
				}
				tw.Flush()
			})
		},
	}
	c.Flags().StringVar(&q.App, "app", "", "only changes of this app")
	c.Flags().StringVar(&q.Action, "action", "", "only this action, such as rollout.pause")
	c.Flags().Int64Var(&q.Before, "before", 0, "only entries before this number")
	c.Flags().IntVar(&q.Limit, "limit", 50, "at most so many")
	t.serverFlags(c)
	return c
}

// detailText writes an entry's JSON object as name=value; whatever is something else stays as it is.
func detailText(raw []byte) string {
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil {
		return string(raw)
	}
	parts := make([]string, 0, len(fields))
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		value := string(fields[name])
		var text string
		if json.Unmarshal(fields[name], &text) == nil && text != "" {
			value = text
			if slipstream.Digest(text).Valid() {
				value = slipstream.Digest(text).Short()
			} else if strings.ContainsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }) {
				value = strconv.Quote(text)
			}
		}
		parts = append(parts, name+"="+value)
	}
	return dash(strings.Join(parts, " "))
}

func newAuditVerify(t *tool) *cobra.Command {
	var head string
	c := &cobra.Command{
		Use: "verify", Short: "Recompute the chain of all recorded changes", Args: exactly(0, "no argument"),
		RunE: func(c *cobra.Command, _ []string) error {
			server, err := t.client()
			if err != nil {
				return err
			}
			r, err := server.VerifyAudit(c.Context(), head)
			if err != nil {
				return fmt.Errorf("verify audit log: %w", err)
			}
			if err := t.print(r, func(w io.Writer) {
				if r.OK() {
					fmt.Fprintf(w, "%d entries, the chain holds\nhead %s\n", r.Entries, r.Head)
				}
			}); err != nil {
				return err
			}
			if r.OK() {
				return nil
			}
			err = errors.New(r.Fault)
			if r.Broken > 0 {
				err = fmt.Errorf("entry %d: %w", r.Broken, err)
			}
			return slipstream.Hint(fmt.Errorf("the audit log was tampered with: %w", err), "compare with a backup; everything after the broken entry is in doubt")
		},
	}
	c.Flags().StringVar(&head, "head", "", "hash of an entry that must be there, noted down earlier")
	t.serverFlags(c)
	return c
}
