package lab

import (
	"slices"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream/lab/siege"
)

// TestKnownAttacksAreTried names what is known to have been done to update systems, and what stands for it here: attacks
// by the beginning of their names, or a proof.
func TestKnownAttacksAreTried(t *testing.T) {
	t.Parallel()
	var names []string
	for _, c := range append(siege.Cases(), siege.Bodies()...) {
		names = append(names, c.Name)
	}
	for _, p := range Proofs() {
		names = append(names, "proof: "+p.Name)
	}
	for class, tried := range map[string][]string{
		// What The Update Framework lists.
		"arbitrary software installation": {"manifest: unsigned", "manifest: signed by strangers", "manifest: one signature of two", "network: every container and file replaced", "stolen: the network, release keys, state keys: to run own code"},
		"rollback":                        {"state of the epoch before", "an old state, replayed", "a downgrade, named by a state", "decision of a downgrade", "root of the version that is trusted already"},
		"indefinite freeze":               {"one state for ever: it expires", "one state for ever, said to be unchanged", "rotation hidden for a day", "root on the device expired"},
		"fast-forward":                    {"rotation of the state key: epochs start again", "manifest of a lower seq than its rollout says", "stolen: the network, state keys: to use up the epochs"},
		"mix and match":                   {"network: the manifest of another release, signed", "network: the container of another release", "network: containers of another release", "network: the manifest of a twin"},
		"endless data":                    {"network: state that never ends", "network: next root that never ends", "network: manifest that never ends", "network: container that never ends", "network: decision that never ends", "network: answer to reports that never ends", "a state longer than the cap"},
		"slow retrieval":                  {"network: state that comes a byte at a time", "network: container that is announced and never comes", "network: next root that is never answered"},
		"extraneous dependencies":         {"a package that the app does not have", "a release that requires a package that the app does not have", "manifest that requires itself"},
		"wrong software":                  {"manifest of another app", "manifest of another package", "manifest for another platform", "manifest for a shell that this one is not", "manifest whose entry is not among its files", "state of another channel"},
		"malicious mirrors":               {"a mirror before the right server", "network: everything redirected to a host of the attacker's", "network: a download that goes on with other bytes"},
		"key compromise":                  {"stolen: the network, root keys:", "stolen: the network, one of two release keys:", "rotation: the release key before is worth nothing", "rotation: what was staged under the release key before"},
		"wrong clocks":                    {"an expired state, with the device's clock set back", "proof: environment"},
		"crash during an update":          {"proof: crash model", "proof: power cuts", "proof: kill -9 of the client"},
		"false reports of failures":       {"proof: lying devices"},
		// What was found in clients of other systems.
		"a threshold of 0 (CVE-2026-23992)":               {"root with threshold 0 for the root role", "root with threshold 0 for the release role", "root with threshold 0 for the state role", "shipped root with threshold 0"},
		"one key under two ids, counted twice":            {"root with one public key under two ids", "state: one key's signature twice", "manifest: one key's signature under another key's id"},
		"null where something must be":                    {"state that says null in place of an object", "root that says null in place of its keys", "manifest that says null in place of its files", "decision that says null in place of its packages", "state: signatures null", "state: a signature null"},
		"a key of wrong length":                           {"root with a key a byte short", "root with a key a byte long", "root with a key that is empty", "manifest: signatures cut by a byte"},
		"a file without a hash":                           {"manifest with a file without a hash", "manifest with a hash of another kind"},
		"a path in a name (CVE-2026-24686)":               {"root of an app that is a path", "state that says a package that is a path", "decision for a package that is a path", "state that says a digest that is a path", "manifest with a path above the tree"},
		"a malformed id of a key":                         {"root with an id that is a path", "state: strangers under an id that is a path", "manifest: strangers under an empty id", "root: strangers under an id with a zero byte"},
		"the wrong order of delegations (CVE-2024-47534)": {"manifest: signed by keys of other roles", "state: signed by keys of other roles"},
		"a name that is not escaped in a URL":             {"state that says a package of spaces and quotes"},
		"a signature checked by the wrong algorithm":      {"root whose keys are of an algorithm nobody knows", "state: signatures over another type", "state: S raised"},
		"what was kept is not verified again":             {"rotation: what was staged under the release key before", "rotation: the state key before is worth nothing", "a state that was accepted and not acted upon"},
		"a redirect to another host":                      {"network: everything redirected to another host", "network: state: redirected for ever"},
		"a wrong length":                                  {"network: state: cut in half, announced as whole", "network: container: whole, announced as half"},
		"a chain of roots":                                {"nine rotations", "rotations: 64 steps", "rotations through a root that expired", "root that leaves a version out"},
		"an artifact that was replaced":                   {"network: container: one bit changed", "body: container: a byte longer", "proof: bytes"},
	} {
		for _, want := range tried {
			if !slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, want) }) {
				t.Errorf("%s: nothing that begins with %q is tried", class, want)
			}
		}
	}
}

// TestEveryCombinationOfStolenKeysTriesEveryHarm: three roles, of which nought, one or both of two needed keys are stolen.
func TestEveryCombinationOfStolenKeysTriesEveryHarm(t *testing.T) {
	t.Parallel()
	harms := map[string]map[string]bool{}
	for _, c := range siege.Cases() {
		if rest, is := strings.CutPrefix(c.Name, theft); is {
			loot, harm, _ := strings.Cut(rest, ": to ")
			if harms[loot] == nil {
				harms[loot] = map[string]bool{}
			}
			harms[loot][harm] = true
		}
	}
	if len(harms) != 27 {
		t.Errorf("%d combinations instead of 27", len(harms))
	}
	for loot, tried := range harms {
		if len(tried) != 10 {
			t.Errorf("with %s only %d harms are tried", loot, len(tried))
		}
	}
}
