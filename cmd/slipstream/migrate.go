//go:build !device

package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/store/postgres"
	"github.com/slipstream-ota/slipstream/store/sqlite"
	"github.com/slipstream-ota/slipstream/store/sqlstore"
)

// schema is what migrate prints with --json.
type schema struct {
	Version int64    `json:"version"`
	Latest  int64    `json:"latest"`
	Pending []string `json:"pending"`
}

func newMigrateCommand(t *tool) *cobra.Command {
	var data, database string
	var status bool
	c := &cobra.Command{
		Use: "migrate", Short: "Bring the database to this program's schema", Args: exactly(0, "no argument"),
		Long: `Migrate does what serve does at its start. Run it by itself to see beforehand what is pending (--status), or to migrate
with a database user of more rights than the server has.`,
		RunE: func(c *cobra.Command, _ []string) error {
			p := place{data: first(data, t.env.Get("data", defaultData)), database: first(database, t.env.Get("database", "")), environ: t.environ}
			if !status {
				st, err := p.openStore(c.Context(), true)
				if err != nil {
					return err
				}
				if err := st.Close(); err != nil {
					return err
				}
			}
			var s sqlstore.Schema
			var err error
			if path := p.sqlitePath(); path != "" {
				s, err = sqlite.Status(c.Context(), path)
			} else {
				s, err = postgres.Status(c.Context(), p.database)
			}
			if err != nil {
				return fmt.Errorf("read schema: %w", err)
			}
			err = t.print(schema{s.Version, s.Latest, append([]string{}, s.Pending...)}, func(w io.Writer) {
				fmt.Fprintf(w, "schema %d of %d\n", s.Version, s.Latest)
				for _, name := range s.Pending {
					fmt.Fprintf(w, "  pending: %s\n", name)
				}
			})
			if err == nil && s.Newer() {
				err = slipstream.Hint(fmt.Errorf("the database was used by a newer program (schema %d, this one knows %d)", s.Version, s.Latest), "install the newer program")
			}
			return err
		},
	}
	c.Flags().StringVar(&database, "database", "", "postgres://… or sqlite:PATH (default: a SQLite file in the data folder)")
	c.Flags().BoolVar(&status, "status", false, "only say how far the schema is")
	t.dataFlag(c, &data)
	return c
}

func newOpenAPICommand(t *tool) *cobra.Command {
	return &cobra.Command{
		Use: "openapi", Short: "Print the OpenAPI document of the management API", Args: exactly(0, "no argument"),
		RunE: func(*cobra.Command, []string) error {
			doc, err := api.New(api.Config{Version: version, Members: auth.NewMembers(auth.MembersConfig{})}).OpenAPI()
			if err != nil {
				return fmt.Errorf("describe API: %w", err)
			}
			_, err = fmt.Fprintf(t.stdout, "%s\n", doc)
			return err
		},
	}
}
