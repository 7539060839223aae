package lab

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestParsersOfStrangersBytesAreFuzzed names every parser of bytes that strangers send.
func TestParsersOfStrangersBytesAreFuzzed(t *testing.T) {
	t.Parallel()
	targets, err := fuzzTargets("..")
	if err != nil {
		t.Fatal(err)
	}
	for what, where := range map[string][2]string{
		"envelopes":                    {"./sign", "FuzzParseEnvelope"},
		"roots":                        {"./sign", "FuzzOpenRoot"},
		"manifests":                    {"./sign", "FuzzManifest"},
		"states":                       {"./sign", "FuzzState"},
		"decisions":                    {"./sign", "FuzzDecision"},
		"strict JSON":                  {"./sign", "FuzzDecode"},
		"keys":                         {"./sign", "FuzzParseKey"},
		"paths":                        {"./sign", "FuzzCheckPath"},
		"ranges":                       {"./decide", "FuzzRange"},
		"conditions":                   {"./decide", "FuzzCondition"},
		"containers":                   {"./publish/delta", "FuzzApply"},
		"streams of containers":        {"./publish/delta", "FuzzStream"},
		"lists of containers":          {"./client", "FuzzContainerList"},
		"zip archives":                 {"./publish", "FuzzZip"},
		"bodies of checks":             {"./deliver", "FuzzParseCheck"},
		"bodies of reports":            {"./report", "FuzzParseEvents"},
		"bodies of the management API": {"./api", "FuzzBodies"},
	} {
		if !slices.Contains(targets[where[0]], where[1]) {
			t.Errorf("%s: there is no %s in %s", what, where[1], where[0])
		}
	}
}

func TestChangedInputsAreTheSameForASeed(t *testing.T) {
	t.Parallel()
	seeds, err := readInputs("../decide/testdata/fuzz/FuzzCondition")
	if err != nil || len(seeds) == 0 {
		t.Fatal(len(seeds), err)
	}
	draw := func(seed uint64) (out []input) {
		random := rand.New(rand.NewPCG(seed, 7))
		for range 200 {
			out = append(out, changedInput(seeds, random))
		}
		return out
	}
	same := func(a, b []input) bool {
		return slices.EqualFunc(a, b, func(a, b input) bool { return slices.Equal(a, b) })
	}
	first := draw(1)
	if !same(first, draw(1)) || same(first, draw(2)) {
		t.Error("inputs do not follow the seed")
	}
	different := 0
	for _, in := range first {
		if len(in) != len(seeds[0]) {
			t.Fatalf("%d arguments instead of %d", len(in), len(seeds[0]))
		}
		if !slices.ContainsFunc(seeds, func(s input) bool { return slices.Equal(s, in) }) {
			different++
		}
	}
	if different < len(first)/2 {
		t.Errorf("only %d of %d inputs are changed", different, len(first))
	}
}
