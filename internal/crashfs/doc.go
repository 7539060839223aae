// Package crashfs is a file system in memory that knows what a power cut can do to it.
//
// A program runs on an [FS], which writes down every operation as a [Trace]. A [Cursor] walks the trace and, at any
// prefix of it, gives every disk that a power cut at that instant could leave behind, as far as [Bounds] allow: each an
// [Image] that opens as a fresh FS, on which the program can be started again.
//
// # What a power cut can do
//
// The content of a file is kept in pages of 4 KiB. Each page written since the file's last Sync is old, new, or torn
// between two sectors of 512 bytes; the file's size is old, new or anything in between. Names are another matter than
// content: every creation, rename and removal since the directory's last SyncDir is in force or not. A rename is atomic,
// and operations on the same name keep their order. Syncing a file does not make its name durable.
//
// With [Reordered] nothing else is promised, which is all that POSIX gives. With [Journaled] names come back as some
// prefix of what was done, and any sync makes all names before it durable, as on ext4 with ordered data.
//
// Symbolic links are not known here.
package crashfs
