package publish

import (
	"slices"
	"strings"

	"github.com/slipstream-ota/slipstream"
)

// Kinds of a Change.
const (
	Added   = "added"
	Changed = "changed"
	Moved   = "moved" // same content under another path
	Mode    = "mode"  // same content, only the executable bit differs
	Removed = "removed"
)

// Change is one line of a comparison of two releases.
type Change struct {
	Kind    string `json:"kind"`
	Path    string `json:"path"`
	From    string `json:"from,omitempty"` // former path of a moved file
	Size    int64  `json:"size"`           // bytes; of a removed file its former size
	OldSize int64  `json:"oldSize,omitempty"`
}

// Diff compares two releases file by file.
type Diff struct {
	Changes   []Change `json:"changes"` // by path
	Unchanged int      `json:"unchanged"`
	// Bytes of contents in the newer release that the older one does not have, each counted once: what a device has to
	// get before compression.
	Bytes int64 `json:"bytes"`
}

// Counts gives how many changes there are of each kind.
func (d *Diff) Counts() map[string]int {
	out := map[string]int{}
	for _, c := range d.Changes {
		out[c.Kind]++
	}
	return out
}

// Compare tells what leads from old to new; old may be nil. A file that is gone and whose content stands under a new
// path counts as moved, once.
func Compare(old, new *slipstream.Manifest) Diff {
	var before []slipstream.File
	if old != nil {
		before = old.Files
	}
	byPath := make(map[string]slipstream.File, len(before))
	has := make(map[slipstream.Digest]bool, len(before))
	for _, f := range before {
		byPath[f.Path] = f
		has[f.SHA256] = true
	}
	after := make(map[string]bool, len(new.Files))
	for _, f := range new.Files {
		after[f.Path] = true
	}
	gone := map[slipstream.Digest][]string{} // content → former paths that are no more
	for _, f := range before {
		if !after[f.Path] {
			gone[f.SHA256] = append(gone[f.SHA256], f.Path)
		}
	}
	var d Diff
	moved := map[string]bool{}
	for _, f := range new.Files {
		if !has[f.SHA256] {
			has[f.SHA256] = true
			d.Bytes += f.Size
		}
		o, ok := byPath[f.Path]
		switch {
		case ok && o.SHA256 == f.SHA256 && o.Exec == f.Exec:
			d.Unchanged++
		case ok && o.SHA256 == f.SHA256:
			d.Changes = append(d.Changes, Change{Kind: Mode, Path: f.Path, Size: f.Size, OldSize: o.Size})
		case ok:
			d.Changes = append(d.Changes, Change{Kind: Changed, Path: f.Path, Size: f.Size, OldSize: o.Size})
		case len(gone[f.SHA256]) > 0:
			from := gone[f.SHA256][0]
			gone[f.SHA256] = gone[f.SHA256][1:]
			moved[from] = true
			d.Changes = append(d.Changes, Change{Kind: Moved, Path: f.Path, From: from, Size: f.Size, OldSize: f.Size})
		default:
			d.Changes = append(d.Changes, Change{Kind: Added, Path: f.Path, Size: f.Size})
		}
	}
	for _, f := range before {
		if !after[f.Path] && !moved[f.Path] {
			d.Changes = append(d.Changes, Change{Kind: Removed, Path: f.Path, Size: f.Size})
		}
	}
	slices.SortStableFunc(d.Changes, func(a, b Change) int { return strings.Compare(a.Path, b.Path) })
	return d
}
