// Package deliver answers devices: signed states, roots and manifests, immutable bytes, decisions, and the intake of
// reports.
//
// Everything that a check needs stands in one immutable snapshot in memory, swapped whole when the store tells of a
// change. So a check does no I/O, and devices are answered while the database is away, until their states expire.
// Signed documents are served byte for byte as they are stored.
package deliver
