package suffix

import (
	"bytes"
	"context"
	"fmt"
	"index/suffixarray"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

var _ = suffixarray.New

func TestSuffixesComeOutInOrder(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	texts := map[string][]byte{
		"empty": nil, "one byte": []byte("a"), "two falling": []byte("ba"), "two rising": []byte("ab"),
		"banana": []byte("banana"), "mississippi": []byte("mmiissiissiippii"),
		"zeros": make([]byte, 3000), "high bytes": bytes.Repeat([]byte{255, 254, 255}, 700),
		"saw": []byte(strings.Repeat("abcdefgh", 300)), "rising": {0, 1, 2, 3, 4, 5, 6}, "falling": {6, 5, 4, 3, 2, 1, 0},
	}
	fib, prev := []byte("ab"), []byte("a")
	for range 12 {
		fib, prev = append(slices.Clone(fib), prev...), fib
	}
	texts["Fibonacci word"] = fib
	for i := range 60 {
		b := make([]byte, r.IntN(2000))
		for j := range b {
			b[j] = byte(r.IntN(1 + i*4))
		}
		texts[fmt.Sprintf("random %d", i)] = b
	}
	for name, text := range texts {
		got, err := Sort(context.Background(), text)
		if err != nil {
			t.Fatal(err)
		}
		want := make([]int32, len(text))
		for i := range want {
			want[i] = int32(i)
		}
		slices.SortFunc(want, func(a, b int32) int { return bytes.Compare(text[a:], text[b:]) })
		if !slices.Equal(got, want) {
			t.Errorf("%s: wrong order", name)
		}
	}
}
func TestTmpSpeed(t *testing.T) {
	for _, f := range []string{"/tmp/corpus/dev/js-antd-patch/old/antd.min.js", "/tmp/corpus/dev/bin-esbuild-wasm/old/esbuild.wasm"} {
		b, _ := os.ReadFile(f)
		t0 := time.Now()
		Sort(context.Background(), b)
		t1 := time.Now()
		suffixarray.New(b)
		t.Log(len(b), t1.Sub(t0), time.Since(t1))
	}
}
