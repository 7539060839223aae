// Package publish is the publisher's half of the way: it walks a tree of files into a manifest, compares it with what
// the channel has, signs it, uploads what the server lacks and commits it. It also builds, for the server, the
// containers that devices download.
//
// The order is one sentence: [Open] a tree → [Prepare] a plan → [Plan.Seal] it with the release keys → [Push] it.
// Nothing but the tree's files is read and nothing but a temporary spool of [BuildContainers] is written; the server is
// reached through [Server] alone. The private release key stays here.
package publish
