package trial

import (
	"maps"
	"slices"

	"github.com/slipstream-ota/slipstream"
)

// Group splits the releases that a device should take into the sets that must go together because one needs the other,
// beside what runs now. unmet says of the packages that cannot go at all what is missing.
func Group(s State, env Env, targets map[string]Release) (sets []map[string]Release, unmet map[string]error) {
	g := &grouping{step: begin(s, env), targets: maps.Clone(targets), unmet: map[string]error{}}
	for g.prune() {
	}
	parent := map[string]string{}
	for pkg := range g.targets {
		parent[pkg] = pkg
	}
	root := func(pkg string) string {
		for parent[pkg] != pkg {
			pkg = parent[pkg]
		}
		return pkg
	}
	for _, pkg := range slices.Sorted(maps.Keys(g.targets)) {
		for _, with := range g.company(pkg) {
			a, b := root(pkg), root(with)
			parent[max(a, b)] = min(a, b)
		}
	}
	bySet := map[string]map[string]Release{}
	for pkg, r := range g.targets {
		first := root(pkg)
		if bySet[first] == nil {
			bySet[first] = map[string]Release{}
		}
		bySet[first][pkg] = r
	}
	for _, first := range slices.Sorted(maps.Keys(bySet)) {
		sets = append(sets, bySet[first])
	}
	return sets, g.unmet
}

type grouping struct {
	*step
	targets map[string]Release
	unmet   map[string]error
}

func (g *grouping) running(pkg string) Release { return g.Running(g.env, pkg) }

// planned is what would run of pkg after everything went through.
func (g *grouping) planned(pkg string) Release {
	if r, ok := g.targets[pkg]; ok {
		return r
	}
	return g.running(pkg)
}

// prune takes out targets that cannot go and reports whether it found one.
func (g *grouping) prune() bool {
	for _, pkg := range slices.Sorted(maps.Keys(g.targets)) {
		at := func(dep string) Release {
			if now := g.running(dep); g.targets[pkg].Requires[dep].Met(now.Seq, now.Digest) {
				return now
			}
			return g.planned(dep)
		}
		err := broken(pkg, g.targets[pkg], at)
		for _, other := range g.packages() {
			if err == nil && other != pkg && !g.bears(other, g.running(other), pkg) && !g.bears(other, g.planned(other), pkg) {
				err = slipstream.Refuse(slipstream.ReasonRequires, "release of "+pkg, "%s %s needs another one", other, g.running(other).Version)
			}
		}
		if err != nil {
			g.unmet[pkg] = err
			delete(g.targets, pkg)
			return true
		}
	}
	return false
}

// bears reports whether release r of other can live with the target of pkg.
func (g *grouping) bears(other string, r Release, pkg string) bool {
	req, needs := r.Requires[pkg]
	return other == pkg || !needs || req.Met(g.targets[pkg].Seq, g.targets[pkg].Digest)
}

// company names the other targets that must go at the same time as pkg's.
func (g *grouping) company(pkg string) []string {
	var with []string
	for _, other := range slices.Sorted(maps.Keys(g.targets)) {
		now := g.running(other)
		req, needs := g.targets[pkg].Requires[other]
		if other != pkg && (needs && !req.Met(now.Seq, now.Digest) || !g.bears(other, now, pkg)) {
			with = append(with, other)
		}
	}
	return with
}

// Names gives every release whose tree the state may still need: all roles, open starts, and failed releases that will
// be tried again.
func (s State) Names() []slipstream.Digest {
	all := map[slipstream.Digest]bool{}
	for _, p := range s.Packages {
		if p.Official != nil {
			all[p.Official.Digest] = true
		}
		for _, r := range p.History {
			all[r.Digest] = true
		}
	}
	sets := slices.Clone(s.Staged)
	if s.Trial != nil {
		sets = append(sets, s.Trial.Set)
	}
	for _, set := range sets {
		for _, r := range set.Members {
			all[r.Digest] = true
		}
	}
	for _, st := range s.Starts {
		for _, d := range st.Runs {
			all[d] = true
		}
	}
	for _, f := range s.Refusals {
		if f.RetryAt != 0 {
			all[f.Digest] = true
		}
	}
	delete(all, "")
	return slices.Sorted(maps.Keys(all))
}

// Garbage gives the trees on disk that may be deleted at a cold start: those that no generation of the state names and
// no live process leases.
func Garbage(onDisk, leased []slipstream.Digest, generations ...State) []slipstream.Digest {
	keep := map[slipstream.Digest]bool{}
	for _, d := range leased {
		keep[d] = true
	}
	for _, s := range generations {
		for _, d := range s.Names() {
			keep[d] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(onDisk), func(d slipstream.Digest) bool { return keep[d] })
}
