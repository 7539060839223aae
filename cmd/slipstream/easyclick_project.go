//go:build !device

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/protocol"
	"github.com/slipstream-ota/slipstream/protocol/easyclick/device"
)

// checkEasyclickProject compares the version that a project's update.json names with the one that is to be published:
// where they differ, devices would ask with another version than they were given, and update again and again.
func checkEasyclickProject(dir, version string) error {
	path := filepath.Join(dir, "update.json")
	cfg, err := device.ReadConfig(path)
	if errors.Is(err, os.ErrNotExist) {
		return slipstream.Hint(err, "give the folder of the EasyClick project, in which update.json lies")
	}
	if err != nil {
		return err
	}
	if cfg.Version != version {
		same := ""
		if protocol.Compare(cfg.Version, version) == 0 {
			same = " (equal, but written otherwise)"
		}
		return slipstream.Hint(fmt.Errorf("%s says version %q, to be published is %q%s", path, cfg.Version, version, same),
			"set the version in update.json, compile again and publish with the same --version")
	}
	return nil
}
