// Package auth says who may do what on the management API: bearer tokens with one of four roles, for one app or for
// all, and a walk over the audit log that proves nothing was taken out of it.
package auth
