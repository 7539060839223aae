package sign

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/slipstream-ota/slipstream"
)

// MaxVersionBytes bounds a release's free-text version, and the id of a rollout.
const MaxVersionBytes = 128

// Caps on what a device remembers of a document, so that no signer can fill its memory. All of them are far above what
// the tools write.
const (
	maxFallback     = 256 // releases that one may be left for
	maxRequired     = 256 // packages that a release needs, and releases named for each
	maxRuntimeBytes = 1 << 10
	maxReasonBytes  = 64
	maxMessageBytes = 4 << 10 // for the user, in apply
	maxModeBytes    = 32
	maxPackages     = 256 // in one decision
)

func malformed(what string, err error) error {
	if err == nil {
		return nil
	}
	return &slipstream.Refusal{Reason: slipstream.ReasonMalformed, What: what, Err: err}
}

// CheckManifest checks the rules that a manifest keeps by itself. Ranges are parsed by package decide.
func CheckManifest(m *slipstream.Manifest) error { return malformed("manifest", checkManifest(m)) }

func checkManifest(m *slipstream.Manifest) error {
	err := errors.Join(slipstream.CheckName("app", m.App), slipstream.CheckName("package", m.Package),
		slipstream.CheckName("platform", m.Platform), checkRuntime(m.Runtime), checkVersion(m.Version))
	switch {
	case err != nil:
		return err
	case m.Seq < 1 || m.Seq > slipstream.MaxSafeInteger:
		return fmt.Errorf("seq %d is out of range", m.Seq)
	}
	if err := checkFiles(m.Files); err != nil {
		return err
	}
	if m.Entry != "" && !slices.ContainsFunc(m.Files, func(f slipstream.File) bool { return f.Path == m.Entry }) {
		return fmt.Errorf("entry %q is not one of the files", m.Entry)
	}
	if len(m.Fallback) > maxFallback || len(m.Requires) > maxRequired {
		return fmt.Errorf("more than %d fallback edges or requirements", maxFallback)
	}
	if err := checkDigests("fallback", m.Fallback); err != nil {
		return err
	}
	for _, pkg := range slices.Sorted(maps.Keys(m.Requires)) {
		if err := checkRequirement(m.Package, pkg, m.Requires[pkg]); err != nil {
			return fmt.Errorf("requires %q: %w", pkg, err)
		}
	}
	return nil
}

func checkFiles(files []slipstream.File) error {
	if errs := CheckPaths(files); len(errs) > 0 {
		return errors.Join(errs...)
	}
	var total int64
	for i, f := range files {
		switch {
		case i > 0 && files[i-1].Path >= f.Path:
			return fmt.Errorf("file %q is not sorted by bytes", f.Path)
		case !f.SHA256.Valid():
			return fmt.Errorf("file %q: sha256 is not 64 lower-case hex digits", f.Path)
		case f.Size < 0 || f.Size > slipstream.MaxSafeInteger-total:
			return fmt.Errorf("file %q: size %d is out of range", f.Path, f.Size)
		}
		total += f.Size
	}
	return nil
}

func checkRequirement(self, pkg string, r slipstream.Requirement) error {
	switch {
	case pkg == self:
		return errors.New("a package cannot require itself")
	case r.Digests != nil && len(r.Digests) == 0:
		return errors.New("no release can satisfy an empty list")
	case len(r.Digests) > maxRequired:
		return fmt.Errorf("more than %d releases are named", maxRequired)
	case r.MinSeq < 0:
		return fmt.Errorf("seq %d is out of range", r.MinSeq)
	}
	return errors.Join(slipstream.CheckName("package", pkg), checkDigests("release", r.Digests))
}

func checkRuntime(r slipstream.Runtime) error {
	if (r.Range == "") == (r.Fingerprint == "") {
		return errors.New("runtime: exactly one of range and fingerprint is needed")
	}
	if len(r.Range)+len(r.Fingerprint) > maxRuntimeBytes {
		return fmt.Errorf("runtime: more than %d bytes", maxRuntimeBytes)
	}
	return nil
}

func checkVersion(v string) error {
	if v == "" || len(v) > MaxVersionBytes || !utf8.ValidString(v) {
		return fmt.Errorf("version %.140q: 1 to %d bytes are needed", v, MaxVersionBytes)
	}
	return nil
}

func checkDigests(what string, digests []slipstream.Digest) error {
	for _, d := range digests {
		if !d.Valid() {
			return fmt.Errorf("%s %q is not 64 lower-case hex digits", what, d)
		}
	}
	return nil
}

// CheckRoot checks the rules that a root keeps by itself: names, version, key ids that match their keys, and roles whose
// thresholds their keys can reach. A key of an algorithm that this version does not know is skipped, as if it were not
// listed.
func CheckRoot(r *slipstream.Root) error {
	_, err := checkRoot(r)
	return err
}

func checkRoot(r *slipstream.Root) (roleSets, error) {
	sets, err := rootSets(r)
	return sets, malformed("root", err)
}

func rootSets(r *slipstream.Root) (sets roleSets, err error) {
	if err := slipstream.CheckName("app", r.App); err != nil {
		return sets, err
	}
	if r.Version < 1 || r.Version > slipstream.MaxSafeInteger {
		return sets, fmt.Errorf("version %d is out of range", r.Version)
	}
	usable := keySet{keys: map[string]publicKey{}}
	for _, id := range slices.Sorted(maps.Keys(r.Keys)) {
		k := r.Keys[id]
		if k.Alg != AlgEd25519 {
			continue
		}
		pub, err := ParsePublic(k.Public)
		if err != nil {
			return sets, fmt.Errorf("key %q: %w", id, err)
		}
		if KeyID(pub) != id {
			return sets, fmt.Errorf("key %q has the id %s", id, KeyID(pub))
		}
		usable.keys[id] = pub
	}
	for _, role := range []struct {
		name string
		role slipstream.Role
		set  *keySet
	}{
		{"root", r.Roles.Root, &sets.root}, {"release", r.Roles.Release, &sets.release}, {"state", r.Roles.State, &sets.state},
	} {
		if *role.set, err = roleSet(role.role, r, usable); err != nil {
			return sets, fmt.Errorf("role %s: %w", role.name, err)
		}
	}
	return sets, nil
}

func roleSet(role slipstream.Role, r *slipstream.Root, usable keySet) (keySet, error) {
	set := keySet{keys: map[string]publicKey{}, threshold: role.Threshold}
	listed := map[string]bool{}
	for _, id := range role.Keys {
		if listed[id] {
			return set, fmt.Errorf("key %q is listed twice", id)
		}
		listed[id] = true
		if _, defined := r.Keys[id]; !defined {
			return set, fmt.Errorf("key %q is not among the keys", id)
		}
		if pub, ok := usable.keys[id]; ok {
			set.keys[id] = pub
		}
	}
	switch {
	case role.Threshold < 1:
		return set, fmt.Errorf("threshold %d is below 1", role.Threshold)
	case role.Threshold > len(set.keys):
		return set, fmt.Errorf("threshold %d cannot be reached by %d keys", role.Threshold, len(set.keys))
	}
	return set, nil
}

// CheckState checks the rules that a state keeps by itself. Ranges and conditions are parsed by package decide.
func CheckState(s *slipstream.State) error { return malformed("state", checkState(s)) }

func checkState(s *slipstream.State) error {
	err := errors.Join(slipstream.CheckName("app", s.App), slipstream.CheckName("channel", s.Channel), slipstream.CheckName("platform", s.Platform))
	switch {
	case err != nil:
		return err
	case s.Epoch < 1 || s.Epoch > slipstream.MaxSafeInteger:
		return fmt.Errorf("epoch %d is out of range", s.Epoch)
	case !s.Issued.Before(s.Expires.Time):
		return errors.New("expires is not after issued")
	case s.RootVersion < 1:
		return fmt.Errorf("rootVersion %d is out of range", s.RootVersion)
	case s.CheckAfter < 0 || s.Jitter < 0:
		return errors.New("checkAfter and jitter may not be negative")
	}
	for _, name := range slices.Sorted(maps.Keys(s.Packages)) {
		if err := checkPackageState(name, s.Packages[name]); err != nil {
			return fmt.Errorf("package %q: %w", name, err)
		}
	}
	return nil
}

func checkPackageState(name string, p slipstream.PackageState) error {
	if err := slipstream.CheckName("package", name); err != nil {
		return err
	}
	ids := map[string]bool{}
	for i := range p.Rollouts {
		r := &p.Rollouts[i]
		if err := checkRollout(r); err != nil {
			return fmt.Errorf("rollout %q: %w", r.ID, err)
		}
		if ids[r.ID] {
			return fmt.Errorf("rollout %q is listed twice", r.ID)
		}
		ids[r.ID] = true
	}
	if err := checkDigests("withdrawn", p.Withdrawn); err != nil {
		return err
	}
	for _, f := range p.Floors {
		if err := checkRuntime(f.Runtime); err != nil {
			return fmt.Errorf("floor: %w", err)
		}
		if f.Seq < 0 {
			return fmt.Errorf("floor: seq %d is out of range", f.Seq)
		}
	}
	return nil
}

func checkRollout(r *slipstream.Rollout) error {
	switch {
	case r.ID == "" || len(r.ID) > MaxVersionBytes:
		return fmt.Errorf("an id of 1 to %d bytes is needed", MaxVersionBytes)
	case !r.Manifest.Valid():
		return errors.New("manifest is not 64 lower-case hex digits")
	case r.Seq < 1:
		return fmt.Errorf("seq %d is out of range", r.Seq)
	case r.Size < 0:
		return fmt.Errorf("size %d is out of range", r.Size)
	case r.From < 0 || r.From > r.To || r.To > slipstream.FullShare:
		return fmt.Errorf("share [%d, %d) is not within [0, %d)", r.From, r.To, slipstream.FullShare)
	case r.Control < 0 || r.Control > slipstream.FullShare:
		return fmt.Errorf("control %d is out of range", r.Control)
	case r.Retry < 0 || r.Apply.Timeout < 0:
		return errors.New("retry and timeout may not be negative")
	}
	return errors.Join(checkRuntime(r.Runtime), checkVersion(r.Version), checkApply(r.Apply))
}

func checkApply(a slipstream.Apply) error {
	if len(a.Message) > maxMessageBytes || len(a.Mode) > maxModeBytes || len(a.Priority) > maxModeBytes || a.Timeout < 0 {
		return errors.New("apply: a message, mode or priority is too long, or the timeout negative")
	}
	return nil
}

// CheckDecision checks the rules that a decision keeps by itself.
func CheckDecision(d *slipstream.Decision) error { return malformed("decision", checkDecision(d)) }

func checkDecision(d *slipstream.Decision) error {
	err := errors.Join(slipstream.CheckName("app", d.App), slipstream.CheckName("channel", d.Channel))
	switch {
	case err != nil:
		return err
	case d.Epoch < 1 || d.Epoch > slipstream.MaxSafeInteger:
		return fmt.Errorf("epoch %d is out of range", d.Epoch)
	case !d.Issued.Before(d.Expires.Time):
		return errors.New("expires is not after issued")
	case d.CheckAfter < 0:
		return errors.New("checkAfter may not be negative")
	case len(d.Packages) > maxPackages:
		return fmt.Errorf("more than %d packages", maxPackages)
	}
	for _, name := range slices.Sorted(maps.Keys(d.Packages)) {
		if err := slipstream.CheckName("package", name); err != nil {
			return err
		}
		if err := checkPackageDecision(d.Packages[name]); err != nil {
			return fmt.Errorf("package %q: %w", name, err)
		}
	}
	return nil
}

func checkPackageDecision(p slipstream.PackageDecision) error {
	switch {
	case len(p.Rollout) > MaxVersionBytes:
		return fmt.Errorf("a rollout's id has at most %d bytes", MaxVersionBytes)
	case len(p.Reason) > maxReasonBytes || len(p.Verdict) > maxReasonBytes:
		return fmt.Errorf("verdict and reason have at most %d bytes", maxReasonBytes)
	case p.Retry < 0:
		return errors.New("retry may not be negative")
	case p.Release == nil && p.Verdict == slipstream.VerdictUpdate:
		return errors.New("an update without a release")
	case p.Release != nil && (!p.Release.Digest.Valid() || p.Release.Seq < 0 || p.Release.Size < 0 || len(p.Release.Version) > MaxVersionBytes):
		return errors.New("the release is not well named")
	}
	if p.Apply != nil {
		return checkApply(*p.Apply)
	}
	return nil
}
