// Package sign is the trust core: envelopes, keys, the chain of roots, and the order in which a client checks the four
// signed documents. It is pure: no I/O and no clock of its own.
//
// # Envelope
//
// A document is the payload of a DSSE envelope (https://github.com/secure-systems-lab/dsse). [ParseEnvelope] opens one
// and [Trust] verifies it over the exact payload bytes; nothing is ever serialised again in order to be verified.
// [Seal] and [Envelope.Sign] make one.
//
// # Trust
//
// [OpenRoot] opens the root that shipped inside the app, [Trust.Next] walks to the following version. A Trust then
// opens states, decisions and manifests. [Trust.State], [Trust.Decision] and [Trust.Manifest] check a document by
// itself; [Trust.AcceptState], [Trust.AcceptDecision] and [Trust.AcceptManifest] also check it against what the device
// asked for and remembers, in the one order that the format prescribes. Every refusal is a *[slipstream.Refusal].
//
// # JSON
//
// [Decode] is stricter than encoding/json: names are case-sensitive and never repeated, null, floats, integers beyond
// 2^53-1 and text that is not UTF-8 are refused. Other readers of the format must refuse the same bytes: the cases of
// testdata/vectors say which.
package sign
