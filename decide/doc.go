// Package decide answers the one question of the system: what should this device run of this package now? It is pure:
// a signed state, a device's facts, what it holds and the time go in, a [Decision] comes out. Every protocol, the
// server's own check and the client use this one function; testdata/vectors pins it for other languages.
//
// # The walk
//
// [Plan.Decide] walks a package's rollouts from the top. The first whose runtime and conditions fit, whose share holds
// the device's position, and whose release may run here gives the target. Explanations ([Plan.Explain]) come from the
// very same walk.
//
// # Ranges
//
// A range is alternatives joined by "||"; an alternative is comparators joined by spaces, all of which must hold:
//
//	=1.2.3 1.2.3   the same precedence
//	< <= > >=      SemVer 2 precedence
//	~1.2.3         at least 1.2.3, with major and minor 1.2
//	^1.2.3         at least 1.2.3, with the same parts up to the first that is not zero
//	1.x 1.2.* =1.x versions with these parts
//	*              everything, even what does not parse as a version
//
// Versions are one to three numbers up to 2^53-1, padded with zeros, with an optional leading "v", prerelease and build.
// The build is ignored, and a prerelease is an ordinary version: <2.0.0 holds for 2.0.0-rc.1, 2.x holds too.
package decide
