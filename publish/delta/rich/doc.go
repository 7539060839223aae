// Package rich codes one byte string as the difference to another by context mixing, in integers only, so that every
// machine gives and takes the same bits. It is made for residues: what is left when the covers of package suffix have
// said where the pieces of the old string went.
//
// # How it works
//
// Writer and reader walk through new side by side with an aligned place in old. At every place one of these is coded:
//
//   - the byte is that of old. At most places nothing is coded for that: gaps tell how many "quiet" places there are
//     before the next change at one. A place is not quiet when a change is likely there (see tracker): just behind
//     another change, or where the same word of old, or the same three bytes, changed lately. There a flag is coded.
//   - the byte is another one. It is guessed from what the same old byte, word or neighbourhood became before, or from
//     the number by which words grew, and one flag tells whether that is right; else the byte is coded.
//   - the alignment changes: n bytes of new text, and where in old it goes on. The text is coded with what preceded it,
//     with what follows in old on both sides, and with matches in all of old, which was read once before.
//
// Every decision is coded with a probability that is mixed from many contexts. A context has a checked slot in a table
// with a counter (12 bits of probability, 4 of experience); what a counter of some value and experience really means is
// learnt for each context. Three sets of weights, chosen by small facts, mix these opinions in the logistic domain; a
// second layer mixes the three.
//
// # Format
//
// One stream of an arithmetic coder: 32 bits, most significant byte first, probabilities of 16 bits. It begins with the
// first gap and ends with the low 16 bits of the CRC-32 (IEEE) of new, from the lowest, and the shortest number within
// the last interval, without its zeros at the end. The length of new is known from outside. What the model does in
// detail is defined by this package: any change of it is a new format.
//
// A class of memory, part of the patch, sets the size of the tables; TableBytes tells how much that is.
package rich
