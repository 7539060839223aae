// Package source makes one file of the sources that changed between two commits of a git repository: it asks git for the
// files, hands them to a compiler that somebody else wrote, and checks what the compiler left.
//
// Nothing of it goes through a shell unless that is asked for, names may hold anything that git allows, and a file that was
// there before is replaced only by one that the compiler has just made.
package source
