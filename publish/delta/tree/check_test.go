package tree

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish/delta/patch"
)

func TestAPatchIsCheckedWithoutWhatItIsFor(t *testing.T) {
	t.Parallel()
	a, b := text(1, 300), text(2, 300)
	for name, p := range map[string][2]Tree{
		"trees":        {contents{"a": a, "b": b}.tree(), contents{"a": a + "more", "c": b, "d*": "new"}.tree()},
		"empty trees":  {contents{}.tree(), contents{}.tree()},
		"from nothing": {contents{}.tree(), contents{"a": a, "b": ""}.tree()},
		"to nothing":   {contents{"a": a}.tree(), contents{}.tree()},
		"files":        {single(a), single(a + b)},
		"the same":     {single(a), single(a)},
		"empty files":  {single(""), single("")},
	} {
		for _, profile := range []string{patch.ProfileSimple, patch.ProfileRich} {
			made, _, err := Diff(t.Context(), p[0], p[1], patch.Options{Profile: profile, Workers: 1})
			if err != nil {
				t.Fatal(err)
			}
			o, err := Check(t.Context(), bytes.NewReader(made), patch.MaxMemory)
			if err != nil {
				t.Errorf("%s, %s: %v", name, profile, err)
			}
			h := hashList(p[1].Files, p[1].Single)
			if o.Single != p[0].Single || o.Hash != hex.EncodeToString(h[:]) || o.Patch.Profile != profile || o.Whole != (profile == patch.ProfileSimple) {
				t.Errorf("%s, %s: outline %+v", name, profile, o)
			}
		}
	}
}

func TestADamagedPatchIsRefusedWithoutWhatItIsFor(t *testing.T) {
	t.Parallel()
	p, _ := made(t, contents{"a": text(1, 30), "b": text(2, 30)}.tree(), contents{"a": text(1, 31), "c": text(2, 30), "d": "new"}.tree())
	check := func(name string, p []byte, memory int) {
		t.Helper()
		if _, err := Check(t.Context(), bytes.NewReader(p), memory); slipstream.ReasonOf(err, "") != slipstream.ReasonContainerInvalid {
			t.Errorf("%s: error is %v", name, err)
		}
	}
	for n := range p {
		check(fmt.Sprintf("cut to %d bytes", n), p[:n], 0)
	}
	check("one byte more", append(bytes.Clone(p), 0), 0)
	rich, _, err := Diff(t.Context(), single(text(1, 30)), single(text(1, 31)), patch.Options{Profile: patch.ProfileRich, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	check("more memory than is allowed", rich, 1)
}
