package capgo

import (
	"testing"

	"github.com/slipstream-ota/slipstream/protocol/protocoltest"
)

// TestEveryRuleHasItsTest: what Capgo's clients rely on, and what would fail if a rule were broken.
func TestEveryRuleHasItsTest(t *testing.T) {
	t.Parallel()
	protocoltest.Rules(t, map[string]string{
		"an update holds neither error nor kind, an absolute url and an empty session key when it is not encrypted": "available.txt FuzzRequests",
		"what is no update has an error and a kind of three":                                                        "TestEveryReasonHasWords missing-info.txt conditions.txt runtime.txt",
		"a newer app is told of to the host":                                                                        "runtime.txt",
		"fields are read whatever their type: the updater of Electron sends null and 0.0.1":                         "electron.txt TestTheRealUpdater FuzzRequests",
		"back to the bundle that ships in the app is a version without an error, and already there is said":         "back-to-builtin.txt TestTheRealUpdater",
		"clients decide by name: no name stands for two releases":                                                   "runtimes.txt platforms.txt TestNamesAreNeverTakenTwice",
		"a release that is offered again has a new name, for clients never take one again that failed":              "retry.txt back-to-former.txt withdrawn.txt TestTheRealUpdater",
		"who has the release under any name has it":                                                                 "back-to-former.txt withdrawn.txt two-names.txt",
		"a full rollback is obeyed by devices that hold the former release as failed":                               "withdrawn.txt TestNamesAreNeverTakenTwice",
		"devices of an app that is not here are slowed down, by header and body":                                    "not-enabled.txt",
		"the answer is JSON also where something is wrong":                                                          "methods.txt missing-info.txt FuzzRequests",
		"a preview of sizes":                      "manifest-size.txt",
		"stats come as an array or as one object": "stats.txt stats-single.txt TestTheRealUpdater",
		"a batch that can be read is never refused, and answered event by event":                     "stats.txt stats-unreadable.txt TestALongBatch",
		"stats that come again change nothing":                                                       "TestStatsCountOnce",
		"the name of a failed file has its file behind it":                                           "TestFailuresOfSomethingElse",
		"failures that name what runs are not held against it":                                       "TestFailuresOfSomethingElse",
		"to be set is no proof on phones, and is one on Electron":                                    "TestStatsCountOnce TestOlderUpdatersConfirm",
		"channels: chosen, refused with a success, unset, listed by number or as an object":          "channel-set.txt channel-get.txt channel-list.txt TestTheRealUpdater",
		"a channel that is gone is a 400 with its code":                                              "channel-get.txt",
		"the channel that a device chose decides":                                                    "channel-self-assigned.txt channels.txt TestTheRealUpdater",
		"checksums, key ids and session keys are those of Capgo's own tool":                          "TestTheOwnToolSignsTheSame",
		"checksums in hex, and in base64 of something else for older updaters":                       "TestTheOwnToolSignsTheSame TestASignedBundle",
		"the checksum is of the zip before it is encrypted":                                          "TestASignedBundle",
		"no checksum for updaters that compare something else":                                       "older-updaters.txt",
		"another key, no key and no signature are told apart":                                        "TestKeysMustFit TestWhatUpdatersKnow TestASignedAppTakesOnlyWhatIsSigned TestASignatureOfAnotherZip",
		"signed bundles are never listed file by file":                                               "TestASignedBundle",
		"zips are the same wherever they are packed":                                                 "TestZipsStayTheSame TestTheBundleIsTheTree",
		"a listed file has the hash of its plain content, and a name that says when it is in Brotli": "manifest.txt TestThePiecesAreTheTree",
		"only updaters that know lists get one":                                                      "manifest.txt TestWhatUpdatersKnow",
		"names that clients cannot take are refused when they are published":                         "TestWhatFits",
		"downloads go on by ranges, under addresses that never change":                               "download.txt manifest-files.txt TestThePiecesAreTheTree",
	}, ".")
}
