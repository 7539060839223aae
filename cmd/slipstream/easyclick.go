package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream/protocol/easyclick/device"
)

// easyclickUpdate is what easyclick prints with --json.
type easyclickUpdate struct {
	Update   bool             `json:"update"`
	Response *device.Response `json:"response,omitempty"`
	File     string           `json:"file,omitempty"`
}

func newEasyclickCommand(t *tool) *cobra.Command {
	var info device.Info
	var dir string
	var only bool
	c := &cobra.Command{
		Use: "easyclick UPDATE.JSON", Short: "Ask for an update as an EasyClick host does", Args: exactly(1, "the update.json of a project"),
		Long: `Easyclick reads a project's update.json, asks the server that it names (ours or any other that follows the document) with the
parameters that a host appends, downloads the compiled script when there is one, and checks its MD5. The last line on
standard output is the file's path; nothing is printed when there is no update.`,
		Example: `  slipstream easyclick update.json --android-id 82a3b055470ebe1a
  slipstream easyclick update.json --check`,
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := device.ReadConfig(args[0])
			if err != nil {
				return err
			}
			u := &device.Updater{Config: cfg, Info: info, Dir: dir}
			var out easyclickUpdate
			if out.Update = u.UpdateReq(c.Context(), device.Request{}); !out.Update {
				if err := u.Err(); !errors.Is(err, device.ErrNoUpdate) {
					return err
				}
				return t.print(out, func(io.Writer) { fmt.Fprintln(t.stderr, "No update") })
			}
			if out.Response = u.Response(); !only {
				if out.File = u.UpdateDownload(c.Context()); out.File == "" {
					return u.Err()
				}
			}
			return t.print(out, func(w io.Writer) {
				fmt.Fprintf(t.stderr, "Version %s is there for version %s\n", out.Response.Version, cfg.Version)
				if out.Response.Msg != "" {
					fmt.Fprintf(t.stderr, "  %s\n", out.Response.Msg)
				}
				if out.File != "" {
					fmt.Fprintln(w, out.File)
				}
			})
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "dir", ".", "folder for the download")
	f.BoolVar(&only, "check", false, "ask only, download nothing")
	f.StringVar(&info.AndroidID, "android-id", "", "what the host tells of the device, when appendDeviceInfo is true")
	f.StringVar(&info.DeviceID, "device-id", "", "the same")
	f.StringVar(&info.ApkVersion, "apk-version", "", "the same")
	f.StringVar(&info.OSVersion, "os-version", "", "the same")
	f.StringVar(&info.ECVersion, "ec-version", "", "the same")
	f.StringVar(&info.PkgName, "pkg-name", "", "the same")
	f.StringVar(&info.Model, "model", "", "the same")
	f.StringVar(&info.Brand, "brand", "", "the same")
	return c
}
