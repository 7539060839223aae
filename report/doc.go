// Package report takes in what devices tell: it parses events strictly enough to trust their shape, and stores them
// durably in grouped commits, so that many devices share the cost of one.
package report
