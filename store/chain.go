package store

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// ChainHash is the hash of e over e.Prev and its own fields, each preceded by its length, so that no two different
// entries hash alike.
func ChainHash(e AuditEntry) string {
	h := sha256.New()
	field := func(b []byte) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
	var seq, at [8]byte
	binary.BigEndian.PutUint64(seq[:], uint64(e.Seq))
	binary.BigEndian.PutUint64(at[:], uint64(e.At.UnixMicro()))
	field([]byte(e.Prev))
	field(seq[:])
	field(at[:])
	for _, s := range []string{e.Actor, e.Action, e.App, e.Target} {
		field([]byte(s))
	}
	field(e.Detail)
	return hex.EncodeToString(h.Sum(nil))
}
