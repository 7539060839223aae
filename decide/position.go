package decide

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/slipstream-ota/slipstream"
)

// PositionFunc places a device in [0, slipstream.FullShare).
type PositionFunc func(salt, device string) int

// Position is the first 8 bytes, big endian, of sha256(salt + ":" + device), modulo slipstream.FullShare.
func Position(salt, device string) int {
	sum := salted(salt, device)
	return int(binary.BigEndian.Uint64(sum[:8]) % slipstream.FullShare)
}

// salted is sha256(salt + ":" + value). It allocates only for texts longer than its buffer.
func salted(salt, value string) [sha256.Size]byte {
	var buf [192]byte
	b := append(buf[:0], salt...)
	b = append(b, ':')
	b = append(b, value...)
	return sha256.Sum256(b)
}

// HashValue is how a device id or a custom attribute stands in a public state: hex sha256(salt + ":" + value), salt
// being the rollout's PositionSalt.
func HashValue(salt, value string) string {
	return string(slipstream.DigestOf(salted(salt, value)))
}
