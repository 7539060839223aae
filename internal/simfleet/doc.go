// Package simfleet runs thousands of devices in one process against a real server. Every device is the real client, with
// its decisions and its state machine, on a file system in memory; only what the app does once it is started is made up:
// it confirms, crashes, hangs or is never heard of again, in shares that the caller sets per release.
//
// A device costs about 40 KiB and, for one update, about 3 ms of a core, because what is the same on all of them, such as
// the bytes of a release, is there once. Devices wait in the heaps of a few workers and need no goroutine of their own.
//
// What a device does in its life: it arrives with the release that shipped with its app, checks, and then checks again
// and again. When something is staged, or when it finds itself in a control group, it is started anew some time later.
// That start, and those after a crash, have the fate that the seed gives to this device and this trial. The same seed
// makes the same devices, in the same places of every rollout, with the same fates.
//
// Liars are senders that are no devices: they report failures without ever having been enrolled, or enrol and fail by the
// hundred from one network.
package simfleet
