// Package slipstream holds the words of the system in plain types: no I/O, no clock, nothing of ours imported.
//
// # The life of a release
//
// A publisher walks a tree of files into a [Manifest], signs it offline, and uploads the blobs the server lacks
// (package publish). The manifest's [Digest] is the release's name for ever. The server keeps it (store, blob) and
// a [Rollout] offers it on a channel (rollout, the only writer of epochs). Every change of a channel is signed at
// once into a short-lived [State] per platform and served verbatim from memory (deliver). A device takes the state,
// checks it against the [Root] that was shipped inside its app (sign), decides by itself whether it is meant
// (decide), downloads one container (publish/delta), stages the tree, and at its next cold start tries it
// (client, client/trial). Confirmed, it becomes official; crashing, it is left again without any network. What
// happened is told in an [Event] (report), and the guard (halt) judges from those events whether to hold the rollout.
//
// publish → store → decide → deliver → trial → report → halt: the folders bear these names.
//
// # Documents
//
// [Root], [Manifest], [State] and [Decision] travel as JSON payloads in a DSSE envelope (package sign). The json
// tags here are the wire names. A field without omitempty must be present; the extra tag strict:"optional" marks a
// field that is always written but may be absent when read, and then has the value [Defaulter] gives it.
package slipstream
