package build

import (
	"cmp"
	"slices"

	"github.com/slipstream-ota/slipstream"
)

// Share says how many devices run a release.
type Share struct {
	Release slipstream.Digest
	Devices int64
}

// Bounds say how many bases a release gets containers from. Zero fields mean the defaults.
type Bounds struct {
	Previous int     // the newest releases before it, whatever runs; default 5
	Cover    float64 // and the most run ones, until this part of the fleet is covered; default 0.95
	Most     int     // but never more than this many; default 16
}

func (b Bounds) withDefaults() Bounds {
	if b.Previous <= 0 {
		b.Previous = 5
	}
	if b.Cover <= 0 || b.Cover > 1 {
		b.Cover = 0.95
	}
	if b.Most <= 0 {
		b.Most = 16
	}
	return b
}

// Bases chooses what target gets containers from, the most useful first: what half of the fleet or more runs; the first
// of earlier, which a fleet that follows runs even while nobody has told; then what else most devices run; then the other
// earlier ones. earlier are the releases before it, the last one in force first, then newest first; running may name
// later ones too, from which devices go back.
func Bases(target slipstream.Digest, earlier []slipstream.Digest, running []Share, b Bounds) []slipstream.Digest {
	b = b.withDefaults()
	running = slices.DeleteFunc(slices.Clone(running), func(s Share) bool { return s.Devices <= 0 || s.Release == target })
	slices.SortFunc(running, func(x, y Share) int {
		return cmp.Or(cmp.Compare(y.Devices, x.Devices), cmp.Compare(x.Release, y.Release))
	})
	var fleet, covered int64
	for _, s := range running {
		fleet += s.Devices
	}
	var wanted []slipstream.Digest
	if len(running) > 0 && 2*running[0].Devices >= fleet {
		wanted = append(wanted, running[0].Release)
	}
	wanted = append(wanted, earlier[:min(1, len(earlier))]...)
	for _, s := range running {
		if float64(covered) >= b.Cover*float64(fleet) {
			break
		}
		covered += s.Devices
		wanted = append(wanted, s.Release)
	}
	wanted = append(wanted, earlier[:min(b.Previous, len(earlier))]...)
	var out []slipstream.Digest
	for _, d := range wanted {
		if len(out) < b.Most && !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	return out
}
