package codepush

import (
	"unicode/utf16"

	"github.com/slipstream-ota/slipstream/decide"
)

// bucket is where the original places a client for a release: 0 to 99.
func bucket(client, label string) int {
	h := spread(client+"-"+label) % 100
	if h < 0 {
		h = -h
	}
	return int(h)
}

// spread is the original's hash of a text, by its UTF-16 code units: shifted in 32 bits, subtracted in more.
func spread(text string) int64 {
	var h int64
	for _, unit := range utf16.Encode([]rune(text)) {
		h = int64(int32(uint32(h))<<5) - h + int64(unit)
	}
	return h
}

// position places a client as the original would by the label that a rollout had first: the hundredth is the original's,
// what lies below is ours. So a share of whole percents means the same devices as on the original. A rollout with a salt
// of its own is placed by our own function, as for all other devices: that is what its salt was chosen for.
func (d *deployment) position(client string) decide.PositionFunc {
	return func(salt, device string) int {
		own := decide.Position(salt, device)
		label := d.placed[salt]
		if label == "" {
			return own
		}
		return bucket(client, label)*100 + own%100
	}
}
