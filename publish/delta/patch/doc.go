// Package patch makes and applies patches: what turns one byte string into another, as small as it gets. Trees are given
// as one string, their files one behind the other, so that everything can be found everywhere.
//
// # Format
//
//	offset size
//	0      1     0x50 + profile: 0 rich, 1 simple stored, 2 simple deflate, 3 simple zstd, 4 simple brotli
//	1      1     only of rich: its class of memory, the binary logarithm of the bytes of its tables
//	…      1–5   signed varint: size of new minus size of old
//	…            the body, to the end of the patch
//
// There are no hashes, no names and no dates inside: whoever ships a patch has signed the sizes and hashes of both sides,
// and a one-line change stays as small as it is.
//
// The body of rich is defined in package rich; it is for less than 1 GiB of old and of new. The body of simple is one stream (stored, RFC 1951, RFC 8878 without a
// dictionary, RFC 7932) of steps, until new is complete:
//
//	uvarint  number of covers, at least 1
//	uvarint  bytes of gaps
//	uvarint  bytes of changes
//	uvarint  bytes of new text
//	…        for every cover, a uvarint: bytes of new text in front of it
//	…        for every cover, a signed varint: its place in old, relative to the end of the cover before
//	…        for every cover, a uvarint: its length; text and length are not both zero
//	…        gaps: for every changed byte, a uvarint: bytes between it and the one before, counted over the step's covers
//	…        changes: for every changed byte, the new one minus the old one, modulo 256
//	…        new text
//
// A step has at most 512 KiB of columns, so that memory is bounded whatever the size of a file; a compressed stream
// has a window of at most 2 MiB.
package patch
