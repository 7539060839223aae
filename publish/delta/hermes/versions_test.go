package hermes

import (
	"strings"
	"testing"
)

// A compiler writes the short form of a jump where it can, so that one which was only seen long has a short one too.
func TestJumpsHaveAShortAndALongForm(t *testing.T) {
	for _, n := range []uint32{89, 90, 94, 96} {
		v := versionOf(n)
		for code, name := range v.names {
			if len(v.operands[code]) == 0 || v.operands[code][0].kind != target {
				continue
			}
			other, want := code+1, name+"Long"
			if short, long := strings.CutSuffix(name, "Long"); long {
				other, want = code-1, short
			}
			if v.names[other] != want {
				t.Errorf("version %d: beside %d %s is %q", n, code, name, v.names[other])
			}
		}
	}
}
