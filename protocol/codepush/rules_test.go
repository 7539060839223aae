package codepush

import (
	"testing"

	"github.com/slipstream-ota/slipstream/protocol/protocoltest"
)

// TestEveryRuleHasItsTest: what clients of CodePush rely on, and what would fail if a rule were broken.
func TestEveryRuleHasItsTest(t *testing.T) {
	t.Parallel()
	protocoltest.Rules(t, map[string]string{
		"both dialects": "available.txt available-legacy.txt TestTheRealSDKs",
		"either spelling of each parameter on either path":                                                        "mixed-spellings.txt",
		"empty texts count as absent":                                                                             "available-legacy.txt TestTheClientIsFound",
		"line ends around the key are ignored":                                                                    "key-with-line-end.txt TestTheRealSDKs",
		"1, 1.0, 1.0-rc and 1.0+m are versions, and are echoed as they came":                                      "echo.txt semver/TestPad TestTheRealSDKs",
		"01.2.3 and latest are no versions":                                                                       "no-version.txt semver/TestWhatIsNoVersion",
		"ranges are those of npm's semver":                                                                        "semver/TestRanges semver/TestCasesOfThePackage prerelease.txt",
		"an app that is too old or too new for the newest release is told so":                                     "runtime-older.txt runtime-above.txt older-for-older-binary.txt",
		"an app that shows others is asked for no version":                                                        "companion.txt",
		"a mandatory release that is passed over makes the next one mandatory":                                    "mandatory-carried.txt TestTheClientIsFound manage/TestALongHistory",
		"and no other does":                                                                                       "mandatory-withdrawn.txt manage/TestDisabledReleases",
		"disabled releases are skipped":                                                                           "manage/TestDisabledReleases paused.txt withdrawn.txt",
		"a label goes before a hash":                                                                              "TestTheClientIsFound",
		"the same contents are no update, under whatever label":                                                   "same-content.txt rollback.txt TestTheClientIsFound",
		"more than fifty releases":                                                                                "TestLabelsOnlyRise manage/TestALongHistory",
		"a share means the devices that it means on the original":                                                 "TestPlacesOfTheOriginal share.txt",
		"who is outside of a share sees what was there before":                                                    "share-older.txt",
		"a client without an id is outside of every share":                                                        "share.txt",
		"an unfinished rollout stands in the way of the next release":                                             "manage/TestUnfinishedRollouts",
		"promotes and rollbacks tell their origin":                                                                "manage/TestWhereReleasesComeFrom",
		"the same contents are refused for the same versions of the app":                                          "manage/TestTheSameContents",
		"package hashes are the original's":                                                                       "TestPackageHashes manage/TestTheRealTool",
		"a difference gives the package":                                                                          "TestADifferenceGivesThePackage difference.txt",
		"a difference is only for the hash that the client sent":                                                  "TestADifferenceGivesThePackage difference.txt",
		"each difference is applied and hashed before it is offered":                                              "TestADifferenceIsProved",
		"downloads have a length and no coding":                                                                   "download-head.txt TestTheRealSDKs",
		"parallel releases to two deployments keep their contents":                                                "manage/TestParallelReleases",
		"a deployment without a release, and one that was cleared, has no update; labels from before say nothing": "manage/testdata/nothing-released.txt manage/testdata/history-clear.txt",
		"parallel releases to one deployment give two labels":                                                     "manage/TestParallelReleases TestParallelReleases",
		"reports that come again change nothing":                                                                  "TestReportsCountOnce manage/TestCountsAreRight",
		"malformed reports are refused as such":                                                                   "reports-malformed.txt",
		"reports for unknown keys are not stored":                                                                 "TestUnknownKeysGrowNothing",
		"a signed app is offered nothing unsigned":                                                                "TestASignedAppTakesOnlyWhatIsSigned",
	}, ".", "semver", "manage")
}
