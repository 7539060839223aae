// Package tree makes and applies patch files between two trees, or two files, that stand alone: no manifest names what
// they turn into what, so they carry it themselves. Between releases use package delta, whose containers leave all hashes
// to the signed manifest.
//
// # Format, version 1
//
//	offset size
//	0      4     magic "SLPT"
//	4      1     format version: 1
//	5      1     1: one file whose name is not kept; 0: a tree
//	6      16    tag of the old list: the first half of its hash
//	22     32    hash of the new list
//	54     …     uvarint: files of the old list that are left out of the base, then each as a uvarint, the distance to
//	             the one before
//	…      …     uvarint: pairs of an old and a carried file that are rewritten (package hermes), then each as two
//	             uvarints, the distances to the pair before
//	…      …     uvarint: bytes of the operations
//	…      …     uvarint: bytes of the operations and the carried contents together
//	…      …     one patch of package patch, to the end
//
// The hash of a list is SHA-256 over the lines "path NUL mode NUL size NUL sha256 LF", mode "x" for a file that may be
// run, else "-", sorted by path. The patch makes the operations, followed by the carried contents in their order, of the
// base: the contents of the old list, one after another. In a pair that is rewritten both have their rewritten form, which
// is as long, in the base and among the carried contents; there its last 20 bytes, a hash, may be those of the file: when
// they are not all zero.
//
// Operations walk over the old list and write the new one. Each is a uvarint n·8 + operation and what it needs:
//
//	0 keep    the next n old files as they are
//	1 drop    the next n old files are gone
//	2 change  the next n old files have carried contents; for each the size, a signed varint relative to the old one
//	3 mode    the next n old files may be run now if they could not, and the other way round
//	4 add     n new paths with carried contents; for each path and size
//	5 copy    n new paths; for each path and the old file (uvarint) that has the content
//	6 repeat  n new paths; for each path and the carried content (uvarint, counted from 0) that it has
//
// A path is a uvarint of bytes it begins with like the path written before, a uvarint of bytes that follow, those bytes, and
// a byte: 1 when the file may be run. A size behind it is a uvarint.
package tree
