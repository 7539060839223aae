// Package lab proves the promises of the system against the real code: that nothing is lost, forged or bricked.
//
// A [Proof] is one claim and the code that tries to break it. All of them stand in one list, [Proofs]; a new one is one
// new file and one line there. [Run] runs them and gives a [Scoreboard]. A proof that cannot run here (no FUSE, no
// source) says so by name and counts as not run, never as passed.
//
// The parts: [Repository] is the device side of a server, in memory, with every key in the hands of the test. A life
// (life.go) is what happens to one device from its first install on. What a disk is worth after a power cut, whatever it
// was made of, is judged in one place (verdict.go).
package lab
