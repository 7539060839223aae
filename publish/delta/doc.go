// Package delta is the container codec: one stream that turns release A (or nothing) into release B. It reads and
// writes nothing but streams: where bytes come from and go to is the caller's.
//
// A container begins with
//
//	offset size
//	0      4     magic "SLPC"
//	4      1     format version: 1 or 2
//	5      1     codec: 0 full, 1 changed (version 1); 2 patch, 3 patch over rewritten bytecode (version 2)
//	6      8     tag of the base's file list (zero when full)
//	14     8     tag of the target's file list
//
// A tag is the first 8 bytes of SHA-256 over the lines "path NUL size NUL sha256 LF" of a file list. It only makes a
// mix-up of containers a clear refusal; what protects the device are the hashes of the signed manifest.
//
// # Version 1: full/1 and changed/1
//
// One Zstandard frame (RFC 8878) follows, window at most 8 MiB, no dictionary, then the end. The frame holds the
// operations and then the carried contents. Operations cover the target's files in manifest order, as runs: one byte for
// the operation, a uvarint for how many files it covers, and its argument.
//
//	1 keep        same path, same content in the base
//	2 carry       the content is in this container
//	3 copy        content of base files i, i+1, …; argument: i as a signed varint relative to the end of the last copy
//	4 duplicate   (covers one file) same content as target file i, which is carried; argument: i as a uvarint
//
// Any other operation is refused, so an older reader takes another container instead of guessing. Contents follow in
// the order of file name extension, then path, which puts alike files beside each other for the compressor.
//
// # Version 2: rich/1 and simple/1
//
// There are no operations: which file is kept, copied, carried or a duplicate follows from the two signed lists alone.
// For each target file in manifest order, the first of these that holds: keep, when the base has the same path with the
// same content; copy from the first base file with the content; duplicate of the first carried file with the content;
// carry. Content is the same when size and SHA-256 are.
//
// One patch follows (package patch), then the end. Its old side is the contents of all base files in manifest order, its
// new side the carried contents in the order of version 1, both without anything in between. So a piece of a file may
// come from any file of the base, and a renamed or split file costs a few bytes.
//
// In codec 3 a list stands in front of the patch: a uvarint, how many carried files are rewritten (at least one), and for
// each of them, in the order of the carried ones, a uvarint, how many carried files lie between it and the one before,
// and a uvarint, the index of the base file that it is rewritten against. Both are Hermes bytecode and have their
// rewritten form (package hermes), which is as long as the file, in the old and the new side of the patch. The reader
// holds what undoes that in memory: 3/2 of the size of every base file in the list, and 5/2 of the largest carried one.
// That and the tables together are the memory of the codec; a container that needs more is refused.
//
//	rich/1             any profile of patch, tables of at most 16 MiB
//	rich/1+js          rich/1 with a patch of profile rich that takes at most 1 Mi (1<<20) coded decisions, those of the
//	                   16 bits at its end not counted, or of profile simple with the stream stored
//	rich/1+64m, +192m  the same with tables of at most 64 and 192 MiB
//	rich/1+hbc         rich/1, or codec 3 in 16 MiB
//	rich/1+hbc+64m     the same in 64 MiB
//	simple/1+X         profile simple, stored or in the stream X: deflate, zstd, brotli
//	simple/1+zstd+hbc       simple/1+zstd, or codec 3 with such a patch and 16 MiB for bytecode
//	simple/1+zstd+hbc+64m   the same with 64 MiB
//
// rich/1+js is for readers that interpret their program. It is never another container than that of rich/1: where that
// asks no more, it stands in the list under both names, with the same hash, so it costs no storage; where it asks more,
// there is none of rich/1+js and such a reader takes a simple one. A decision is one call of the arithmetic coder. A
// reader counts them and refuses the container when there are more; it may look now and then, at the latest after every
// 64 KiB of content.
//
// simple/1+zstd+hbc is for readers that interpret their program too: the steps of a simple patch are light work, and so is
// undoing the rewriting. There is one in the list only where it is smaller than simple/1+zstd. In its patch the last 20
// bytes of a rewritten file, the SHA-1 of all before, stand as they are in the file, where the rewritten form has zeros; a
// reader may leave them so or compute them. 16 MiB are enough for a bundle of just under 4 MiB that becomes one of the same
// size, 64 MiB for one of just under 16 MiB.
package delta
