package report

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
)

// Network names the /24 (IPv4) or /48 (IPv6) of a sender by a keyed hash: equal for neighbours, so that the guard can
// weigh a crowd behind one network, but no address in clear. An invalid address gives "".
func (in *Intake) Network(addr netip.Addr) string {
	if !addr.IsValid() {
		return ""
	}
	addr = addr.Unmap().WithZone("")
	bits := 48
	if addr.Is4() {
		bits = 24
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return ""
	}
	mac := hmac.New(sha256.New, in.cfg.Salt)
	mac.Write(prefix.Addr().AsSlice())
	return hex.EncodeToString(mac.Sum(nil)[:8])
}
