// Package hermes rewrites bytecode of the Hermes engine before it is diffed, so that what changes at every compile for
// reasons of layout alone stays the same, and takes the rewriting back after the patch is applied.
//
// A compile numbers its strings anew: a few new ones change the operands of most instructions. Offsets of functions and
// strings are absolute: one longer function changes thousands of them. And hashes of identifiers and of the file follow
// from what is there already. So in the rewritten form
//
//   - string ids in instructions, literals and function headers are those of the old file, for strings it has too,
//   - offsets of strings and functions are distances to the one before, and so are ids of functions and places of
//     literals in instructions,
//   - hashes are zero.
//
// Nothing moves: the rewritten form is as long as the file. Both are rewritten, the old one with its own ids, and the
// reader of a patch, who has the old file, can undo it for the new one. What a version of the bytecode looks like is data
// (see versions.go); of an instruction that the data does not know, nothing behind it in the same function is rewritten.
// The versions are 89, 90, 94 and 96, what React Native 0.70 to 0.83 comes with, and 98 and 99, what the newer engine of
// 0.84 and later writes. Same compares programs of all of them, as far as their instructions are known.
package hermes
