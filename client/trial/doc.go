// Package trial decides what runs on a device: which release is staged, tried, in force or kept to fall back to, and
// what a start that ended badly means for it. It is pure: every transition takes a [State], an [Env] with the clock's
// time, and gives the new state and the events to report. Nothing here touches a disk; package client persists the
// state before it acts on it.
//
// # The life of a release
//
// [Stage] puts a verified set of releases in line. The next [ColdStart] takes one waiting set into trial, at most one
// per launch, so that a crash has one suspect. [Confirm] with the launch's token makes it official and moves the former
// official into history. [End] without a confirm is evidence: a crash or hang is worth 3 points, an unknown end 2; at
// three times [Rules.MaxCrashes] the trial is over, the official runs again at once, and the release is refused for
// [Rules.RetryAfter], then tried [Rules.Retries] more times, then refused until a newer release is offered, the shell's
// runtime changes or the rollout's retry number is raised. An official release is left for the newest good one in
// history, then for the embedded one, after MaxCrashes + 1 starts in a row with a crash or hang before the confirm or
// within [Rules.Early]; unknown ends never count there.
//
// Packages that need each other are one [Set]: staged, tried, confirmed and left together with one token.
package trial
