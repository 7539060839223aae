package patch_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/slipstream-ota/slipstream/publish/delta/patch"
)

// BenchmarkApplyRich decodes an edit of this module's sources, and the pairs of single files of the corpus that
// SLIPSTREAM_CORPUS names (the layout of `slipstream delta bench`).
func BenchmarkApplyRich(b *testing.B) {
	pairs := map[string][2][]byte{}
	old := sources(b)
	r := rand.New(rand.NewPCG(7, 7))
	new := old
	for range 60 {
		new = edited(r, new, old)
	}
	pairs["sources"] = [2][]byte{old, new}
	for _, name := range []string{"js-antd-patch", "js-shop-depbump", "js-shop-oneline", "hbc-shop-depbump", "hbc-shop-depbump-based"} {
		if old, new := ofCorpus(b, name, "old"), ofCorpus(b, name, "new"); old != nil && new != nil {
			pairs[name] = [2][]byte{old, new}
		}
	}
	for name, pair := range pairs {
		p, st := diff(b, pair[0], pair[1], patch.Options{Profile: patch.ProfileRich})
		b.Run(name, func(b *testing.B) {
			limits := patch.Limits{NewSize: int64(len(pair[1]))}
			b.SetBytes(limits.NewSize)
			b.ReportMetric(float64(st.Decisions), "decisions")
			for b.Loop() {
				if err := patch.Apply(b.Context(), bytes.NewReader(pair[0]), int64(len(pair[0])), bytes.NewReader(p), io.Discard, limits); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// ofCorpus reads one side of a pair of the corpus: nil when there is none.
func ofCorpus(b *testing.B, pair, side string) []byte {
	b.Helper()
	root := os.Getenv("SLIPSTREAM_CORPUS")
	if root == "" {
		return nil
	}
	files, err := filepath.Glob(filepath.Join(root, pair, side, "*"))
	if err != nil || len(files) != 1 {
		b.Logf("%s has no pair %s", root, pair)
		return nil
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		b.Fatal(err)
	}
	return data
}
