package rich

import "testing"

func TestBytesOfWords(t *testing.T) {
	for i := range 256 {
		b := byte(i)
		want := b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '_' || b == '$' || b >= 128
		if wordByte(b) != want {
			t.Errorf("%q: %v", b, !want)
		}
	}
}
