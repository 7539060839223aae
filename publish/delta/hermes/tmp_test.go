package hermes

import (
	"os"
	"os/exec"
	"testing"
)

func TestTmp(t *testing.T) {
	H := "/tmp/w/bin/hermesc"
	src := "/tmp/corpus/cache/build/shop-base/index.android.bundle"
	base := "/tmp/w/hm/old.hbc"
	d := t.TempDir()
	for _, a := range [][]string{{"-out", d + "/p"}, {"-out", d + "/b", "-base-bytecode=" + base}} {
		out, err := exec.Command(H, append(append([]string{"-emit-binary", "-O", "-w", "-output-source-map"}, a...), src)...).CombinedOutput()
		if err != nil {
			t.Fatal(err, string(out))
		}
	}
	p, _ := os.ReadFile(d + "/p")
	b, _ := os.ReadFile(d + "/b")
	t.Log(Same(p, b))
	rd := func(s string) []byte { b, _ := os.ReadFile(s); return b }
	t.Log(Same(rd("/tmp/w/hm/new.hbc"), rd("/tmp/w/hm/based.hbc")))
}
