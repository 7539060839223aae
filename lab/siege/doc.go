// Package siege attacks a client of any language through a driver (package driver). It plays the server, the network
// and whoever stole which keys: an [Attack] is one named thing that somebody does to one device, what must come of it,
// and that the device still updates from the honest server afterwards. [Attacks] lists them all, [Theft] tries every
// combination of stolen keys, [Mutants] says which steps of verification the attacks watch over, and bytes.go flips,
// cuts and floods what a device reads.
package siege
