// Package delta is the container codec: one stream that turns release A (or nothing) into release B. It reads and
// writes nothing but streams: where bytes come from and go to is the caller's.
//
// # Format, version 1
//
//	offset size
//	0      4     magic "SLPC"
//	4      1     format version: 1
//	5      1     codec: 0 full, 1 changed
//	6      8     tag of the base's file list (zero when full)
//	14     8     tag of the target's file list
//	22     …     one Zstandard frame (RFC 8878), window at most 8 MiB, no dictionary, then the end
//
// A tag is the first 8 bytes of SHA-256 over the lines "path NUL size NUL sha256 LF" of a file list. It only makes a
// mix-up of containers a clear refusal; what protects the device are the hashes of the signed manifest.
//
// The frame holds the operations and then the carried contents. Operations cover the target's files in manifest order,
// as runs: one byte for the operation, a uvarint for how many files it covers, and its argument.
//
//	1 keep        same path, same content in the base
//	2 carry       the content is in this container
//	3 copy        content of base files i, i+1, …; argument: i as a signed varint relative to the end of the last copy
//	4 duplicate   (covers one file) same content as target file i, which is carried; argument: i as a uvarint
//	5–31          reserved for contents rebuilt from a base file
//
// Any other operation is refused, so an older reader takes another container instead of guessing. Contents follow in
// the order of file name extension, then path, which puts alike files beside each other for the compressor.
package delta
