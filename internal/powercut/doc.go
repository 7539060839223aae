// Package powercut is a disk that can be cut off from its power: a file of a FUSE file system in this process, with an
// ext4 on it that is mounted as a loop device. Every write and every flush that reaches the disk is logged. A crash
// image has everything that was written before a flush, and of what came after it, up to the cut, a random half.
//
// Linux only; it needs root, /dev/fuse and loop devices. See [Supported].
package powercut
