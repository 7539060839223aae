// Package client keeps the packages of an app up to date on a device and says what to run: the device side of the
// system, on the standard library and the container codec.
//
// [Open] takes a directory and a trusted root. [Client.Start] is a cold start: it says which directories to run and
// gives a token, which [Launch.Confirm] uses up when the app works. [Client.Update] checks, fetches and stages;
// [Client.Run] does so again and again. Apps made of pages that open one by one use [Client.OpenPackage],
// [Client.Background] and [Client.Foreground] instead of Start.
//
// # On disk
//
//	device.json                      install id
//	lock                             held by the process that may change anything
//	trust/root.json                  newest root, verbatim, for people and tools
//	trust/roots/<version>.json       the chain that leads there from the shipped root, checked at every start
//	trust/state-<channel>.json       last accepted state, verbatim
//	state.json, state.previous.json  two generations of everything that changes in place, each with a checksum
//	releases/<digest>/               immutable trees; visible by one rename of a fully fsynced directory
//	releases/<digest>.manifest.json  the tree's signed manifest
//	packages/<package>/{official,trial}  links for people, derived, never read
//	fetch/                           partial downloads
//	leases/                          one locked file per tree that a live process runs
//
// Everything durable goes through [disk.write]: temporary file, fsync, rename, fsync of the directory. After any crash a
// device is exactly on the old release or exactly on the new one.
//
// A cold start reads every file of what it is about to run: a disk forgets, and a program may have written into its own
// directory. A tree that is not as it was signed is left for the release before it and fetched again, or refused when
// the release had a bad start just before; a file that nobody signed is removed. So a program keeps what it writes
// elsewhere. Links are never followed when something is deleted.
//
// # Seams
//
// [FS], [Locks], [Clock], the transport (http.RoundTripper) and the source of randomness are in [Config], so that a
// test can enumerate every write, tear every download and turn every clock.
package client
