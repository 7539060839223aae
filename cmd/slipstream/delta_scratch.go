package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/slipstream-ota/slipstream/publish/delta/hermes"
)

// scratchFiles makes files for what is not held in memory. Where the system allows it they have no name any more once they
// are open, so that nothing is left of them however the process ends.
type scratchFiles struct {
	near  string // they are made beside it; empty: in the system's folder for such files
	files []*os.File
}

func (s *scratchFiles) create() (hermes.Scratch, error) {
	dir, name := "", "slipstream"
	if s.near != "" {
		dir, name = filepath.Split(filepath.Clean(s.near))
		if dir == "" {
			dir = "."
		}
	}
	f, err := os.CreateTemp(dir, "."+name+".*")
	if err != nil {
		return nil, err
	}
	_ = os.Remove(f.Name()) // where that fails close does it
	s.files = append(s.files, f)
	return f, nil
}

func (s *scratchFiles) close() error {
	var errs []error
	for _, f := range s.files {
		errs = append(errs, f.Close())
		if err := os.Remove(f.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove scratch file: %w", err))
		}
	}
	s.files = nil
	return errors.Join(errs...)
}
