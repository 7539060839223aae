package trial

// story is a trace with its author's expectations.
type story struct {
	trace
	steps []storyStep
}

func tell(name, rule string, tr trace, steps ...storyStep) story {
	tr.Name, tr.Rule = name, rule
	if tr.Embedded == nil {
		tr.Embedded = map[string]string{"main": ""}
	}
	return story{trace: tr, steps: steps}
}

func stories() []story {
	out := lifeOfARelease()
	out = append(out, retries()...)
	out = append(out, officials()...)
	out = append(out, shells()...)
	return append(out, sets()...)
}

func lifeOfARelease() []story {
	two := trace{Releases: releases(rel("r1", 1), rel("r2", 2), rel("r3", 3))}
	return []story{
		tell("a release is staged, tried, confirmed", "staged → trial → official → history", two,
			storyStep{"stage main=r1", "runs embedded, staged r1 … +staged main r1"},
			storyStep{"start t1", "runs r1 … trial of main: attempt 1, points 0 … no staged … +started main r1"},
			storyStep{"confirm t1", "runs r1, anchor r1 … no trial … +confirmed main r1"},
			storyStep{"stage main=r2", "runs r1, staged r2"},
			storyStep{"start t2", "runs r2, anchor r1 … attempt 1"},
			storyStep{"confirm t2", "runs r2, history r1, anchor r2"},
		),
		tell("nothing staged switches without a cold start", "a hot start never switches", two,
			storyStep{"stage main=r1", "runs embedded, staged r1"},
			storyStep{"wait 1h", "runs embedded, staged r1"},
		),
		tell("two crashes end a trial", "crash and hang are worth 3 points; a trial ends at 3 × maxCrashes", two,
			storyStep{"stage main=r1", ""}, storyStep{"start t1", ""}, storyStep{"confirm t1", ""},
			storyStep{"stage main=r2", ""},
			storyStep{"start t2", "runs r2"},
			storyStep{"end t2 crash", "runs r2 … points 3 … +crashed main r2: crashed"},
			storyStep{"start t3", "runs r2 … attempt 2, points 3"},
			storyStep{"end t3 crash", "runs r1 … no trial … refused r2 after 1 (crashed) … +rolled_back main r2 → r1: crashed"},
			storyStep{"start t4", "runs r1"},
		),
		tell("a hang counts like a crash", "hang (watchdog) = 3 points", two,
			storyStep{"stage main=r1", ""}, storyStep{"start t1", ""},
			storyStep{"end t1 hang", "points 3 … +hung main r1: hung"},
			storyStep{"start t2", ""},
			storyStep{"end t2 hang", "runs embedded … refused r1 after 1 (hung)"},
		),
		tell("three unknown ends end a trial", "unknown (killed, power lost, swiped away) = 2 points", two,
			storyStep{"stage main=r1", ""}, storyStep{"start t1", ""}, storyStep{"kill", ""},
			storyStep{"start t2", "runs r1 … attempt 2, points 2 … +failed main r1: unknown_end"}, storyStep{"kill", ""},
			storyStep{"start t3", "runs r1 … attempt 3, points 4"}, storyStep{"kill", ""},
			storyStep{"start t4", "runs embedded … refused r1 after 1 (unknown_end) … no trial"},
		),
		tell("one crash allowed", "maxCrashes is the host's", trace{Rules: traceRules{MaxCrashes: 1}, Releases: two.Releases},
			storyStep{"stage main=r1", ""}, storyStep{"start t1", ""},
			storyStep{"end t1 crash", "runs embedded … refused r1"},
		),
		tell("a token confirms once", "a stale token is refused", two,
			storyStep{"stage main=r1", ""}, storyStep{"start t1", ""},
			storyStep{"confirm t9", "!stale_token … trial of main"},
			storyStep{"end t1 crash", "points 3"},
			storyStep{"confirm t1", "!stale_token … points 3"},
			storyStep{"start t2", ""},
			storyStep{"confirm t1", "!stale_token"},
			storyStep{"confirm t2", "runs r1, anchor r1"},
			storyStep{"confirm t2", "!stale_token … runs r1"},
		),
		tell("a trial is displaced", "at the next cold start a trial that a staged release displaces is left", two,
			storyStep{"stage main=r1", ""}, storyStep{"start t1", ""},
			storyStep{"stage main=r2", "runs r1, staged r2 … trial of main"},
			storyStep{"start t2", "runs r2 … attempt 1, points 0 … no refused … +rolled_back main r1 → embedded: displaced"},
			storyStep{"confirm t1", "!stale_token"},
			storyStep{"confirm t2", "runs r2, anchor r2"},
		),
		tell("staged twice changes nothing", "staging is idempotent", two,
			storyStep{"stage main=r1", "+staged main r1"},
			storyStep{"stage main=r1", "+no staged … runs embedded, staged r1"},
			storyStep{"start t1", ""},
			storyStep{"stage main=r1", "runs r1, anchor embedded; trial of main: attempt 1"},
			storyStep{"confirm t1", ""},
			storyStep{"stage main=r1", "runs r1, anchor r1 … no staged"},
		),
		tell("a paused rollout takes its release out of the line", "pause stops new devices; those on trial finish it", two,
			storyStep{"stage main=r1", ""},
			storyStep{"unstage main", "runs embedded … no staged"},
			storyStep{"start t1", "runs embedded … no trial"},
		),
		tell("history keeps the last three", "history: default last 3 good ones", trace{Releases: releases(rel("r1", 1), rel("r2", 2), rel("r3", 3), rel("r4", 4), rel("r5", 5))},
			storyStep{"stage main=r1", ""}, storyStep{"start a", ""}, storyStep{"confirm a", ""},
			storyStep{"stage main=r2", ""}, storyStep{"start b", ""}, storyStep{"confirm b", ""},
			storyStep{"stage main=r3", ""}, storyStep{"start c", ""}, storyStep{"confirm c", ""},
			storyStep{"stage main=r4", ""}, storyStep{"start d", ""}, storyStep{"confirm d", "history r3 r2 r1"},
			storyStep{"stage main=r5", ""}, storyStep{"start e", ""}, storyStep{"confirm e", "history r4 r3 r2, anchor r5"},
		),
	}
}

func retries() []story {
	two := trace{Releases: releases(rel("r1", 1), rel("r2", 2), rel("r3", 3))}
	fail := func(a, b string) []storyStep {
		return []storyStep{{"start " + a, ""}, {"end " + a + " crash", ""}, {"start " + b, ""}, {"end " + b + " crash", "runs embedded"}}
	}
	join := func(parts ...[]storyStep) []storyStep {
		var out []storyStep
		for _, p := range parts {
			out = append(out, p...)
		}
		return out
	}
	again := join([]storyStep{{"stage main=r1", ""}}, fail("a", "b"), []storyStep{
		{"stage main=r1", "!refused_after_crash"},
		{"wait 6h", "may retry r1 after 1"},
		{"stage main=r1", "staged r1"},
		{"start c", "runs r1 … attempt 1, points 0"},
	})
	final := join(again, []storyStep{
		{"end c crash", "points 3"},
		{"start d", ""},
		{"end d crash", "runs embedded … refused r1 after 2 … +refused main r1: refused_after_crash"},
		{"wait 1000h", "refused r1 after 2"},
		{"stage main=r1", "!refused_after_crash"},
	})
	return []story{
		tell("a failed release is tried once more", "may be tried once more after 6 h with attempts from zero", two,
			join(again, []storyStep{{"confirm c", "runs r1, anchor r1 … no refused"}})...),
		tell("after the second failure it is refused", "after that it is refused", two, final...),
		tell("a newer release lifts the refusal", "until another release appears", two,
			join(final, []storyStep{{"offer main=r1", "refused r1"}, {"offer main=r2", "no refused"}, {"stage main=r1", "staged r1"}})...),
		tell("a changed shell lifts the refusal", "until the shell's runtime changes", two,
			join(final, []storyStep{{"shell 2.0.0", "refused r1"}, {"start s", "no refused"}, {"stage main=r1", "staged r1"}})...),
		tell("a raised retry number lifts the refusal", "until the server raises the rollout's retry number", two,
			join(final, []storyStep{{"raise r1", "refused r1"}, {"stage main=r1", "staged r1 … no refused"}})...),
		tell("no further trial", "retries is the host's", trace{Rules: traceRules{Retries: -1}, Releases: two.Releases},
			join([]storyStep{{"stage main=r1", ""}}, fail("a", "b"), []storyStep{{"wait 100h", "refused r1 after 1"}, {"stage main=r1", "!refused_after_crash"}})...),
		tell("a newer release that failed itself lifts nothing", "a refusal ends with a new chance, not with an old one", two,
			join([]storyStep{{"stage main=r1", ""}}, fail("a", "b"), []storyStep{{"stage main=r2", ""}}, fail("c", "d"),
				[]storyStep{{"wait 6h", ""}, {"offer main=r2", "may retry r1 … may retry r2"}})...),
	}
}

func officials() []story {
	tr := trace{Releases: releases(rel("r1", 1), rel("r2", 2), rel("r3", 3))}
	inForce := []storyStep{
		{"stage main=r1", ""}, {"start a", ""}, {"confirm a", ""},
		{"stage main=r2", ""}, {"start b", ""}, {"confirm b", "runs r2, history r1, anchor r2"},
	}
	with := func(steps ...storyStep) []storyStep { return append(append([]storyStep{}, inForce...), steps...) }
	return []story{
		tell("an official release is left after three bad starts", "maxCrashes + 1 starts in a row with a crash or hang before confirm", tr, with(
			storyStep{"start c", ""}, storyStep{"end c crash", "runs r2 … 1 bad starts"},
			storyStep{"start d", ""}, storyStep{"end d hang", "runs r2 … 2 bad starts"},
			storyStep{"start e", ""}, storyStep{"end e crash", "runs r1 … no history … no bad starts … refused r2 … anchor r2 … +rolled_back main r2 → r1: crashed"},
		)...),
		tell("then the embedded release", "left for the newest good one in history, then embedded", tr, with(
			storyStep{"start c", ""}, storyStep{"end c crash", ""}, storyStep{"start d", ""}, storyStep{"end d crash", ""},
			storyStep{"start e", ""}, storyStep{"end e crash", "runs r1"},
			storyStep{"start f", ""}, storyStep{"end f crash", ""}, storyStep{"start g", ""}, storyStep{"end g crash", ""},
			storyStep{"start h", ""}, storyStep{"end h crash", "runs embedded, anchor r2"},
			storyStep{"start i", ""}, storyStep{"end i crash", "runs embedded"},
		)...),
		tell("a confirmed start that crashes early counts", "or within the first 30 s", tr, with(
			storyStep{"start c", ""}, storyStep{"confirm c", ""}, storyStep{"wait 29s", ""}, storyStep{"end c crash", "1 bad starts"},
			storyStep{"start d", ""}, storyStep{"confirm d", ""}, storyStep{"wait 31s", ""}, storyStep{"end d crash", "no bad starts … runs r2"},
		)...),
		tell("unknown ends never count for an official", "unknowns never count there", tr, with(
			storyStep{"start c", ""}, storyStep{"kill", ""}, storyStep{"start d", "no bad starts"}, storyStep{"kill", ""},
			storyStep{"start e", ""}, storyStep{"kill", ""}, storyStep{"start f", ""}, storyStep{"kill", ""}, storyStep{"start g", "runs r2"},
			storyStep{"end g crash", "1 bad starts"}, storyStep{"start h", ""}, storyStep{"kill", ""}, storyStep{"start i", "1 bad starts"},
		)...),
		tell("a good start breaks the row", "in a row", tr, with(
			storyStep{"start c", ""}, storyStep{"end c crash", ""}, storyStep{"start d", ""}, storyStep{"end d crash", "2 bad starts"},
			storyStep{"start e", ""}, storyStep{"confirm e", ""}, storyStep{"wait 1m", ""}, storyStep{"end e unknown", "no bad starts"},
			storyStep{"start f", ""}, storyStep{"end f crash", "runs r2 … 1 bad starts"},
		)...),
		tell("withdrawn goes back at once", "withdraw makes devices leave a release", tr, with(
			storyStep{"withdraw main r1", "runs r2, anchor r2 … no history"},
			storyStep{"rollback main", "runs embedded, anchor r2 … no history … +rolled_back main r2 → embedded: withdrawn"},
			storyStep{"rollback main r1", "!not_found"},
		)...),
		tell("back to a release in history", "a way back needs no network", tr, with(
			storyStep{"rollback main r1", "runs r1, anchor r2 … no history"},
			storyStep{"start c", "runs r1 … no trial"},
		)...),
		tell("a withdrawn trial is left and not refused", "a release withdrawn on trial is not to blame", tr, with(
			storyStep{"stage main=r3", ""}, storyStep{"start c", "runs r3"},
			storyStep{"withdraw main r3", "runs r2 … no refused … no trial … +rolled_back main r3 → r2: withdrawn"},
			storyStep{"confirm c", "!stale_token"},
			storyStep{"end c crash", "runs r2 … no bad starts"},
		)...),
		tell("a withdrawn official is left behind a trial", "a trial that fails does not lead back to a withdrawn release", tr, with(
			storyStep{"stage main=r3", ""}, storyStep{"start c", "runs r3"},
			storyStep{"withdraw main r2", "runs r3 … no history … trial of main"},
			storyStep{"end c crash", ""}, storyStep{"start d", ""}, storyStep{"end d crash", "runs r1"},
		)...),
		tell("another channel", "the anchor restarts at the embedded release when the host changes channel", tr, with(
			storyStep{"stage main=r3", ""},
			storyStep{"channel beta", "runs r2, history r1, anchor embedded … no staged"},
			storyStep{"start c", "runs r2"}, storyStep{"confirm c", "anchor embedded"},
			storyStep{"adopt main", "anchor r2"},
		)...),
		tell("a tree is gone", "a device always has something that runs", tr, with(
			storyStep{"lose r2", "runs r1 … +rolled_back main r2 → r1: storage_corrupted"},
			storyStep{"lose r1", "runs embedded"},
		)...),
		tell("a tree is gone after a bad start", "what may have damaged itself is not fetched again and again", tr, with(
			storyStep{"stage main=r3", ""}, storyStep{"start c", "runs r3"}, storyStep{"end c crash", ""},
			storyStep{"lose r3", "runs r2 … +rolled_back main r3 → r2: storage_corrupted"},
			storyStep{"stage main=r3", "!refused_after_crash"},
		)...),
		tell("a control device is judged", "a control device's next start is judged like a trial of what it already runs", tr, with(
			storyStep{"enroll main roll control", "+enrolled main embedded (control)"},
			storyStep{"enroll main roll control", "+no enrolled"},
			storyStep{"start c", "+started main r2 (control)"},
			storyStep{"end c crash", "+crashed main r2 (control): crashed"},
			storyStep{"start d", "+no started"},
			storyStep{"end d crash", "runs r2 … +failed main r2 (control): crashed"},
			storyStep{"start e", ""}, storyStep{"confirm e", "+no confirmed"},
		)...),
		tell("a control device confirms", "both arms are judged alike", tr, with(
			storyStep{"enroll main roll control", ""}, storyStep{"start c", ""}, storyStep{"confirm c", "+confirmed main r2 (control)"},
			storyStep{"start d", "+no started"},
		)...),
		tell("a control device takes something else", "what a control device does not run any more is not judged", tr, with(
			storyStep{"enroll main roll control", ""}, storyStep{"stage main=r3", ""},
			storyStep{"start c", "runs r3"}, storyStep{"confirm c", "+confirmed main r3 … +no failed"},
			storyStep{"start d", "+failed main r2 (control): displaced"},
			storyStep{"enroll main roll2 control", ""}, storyStep{"channel beta", "+failed main r3 (control): channel_changed"},
		)...),
	}
}

func shells() []story {
	old := trace{Releases: releases(forShell(rel("r1", 1), "1.0.0"), rel("r2", 2), forShell(rel("r3", 3), "1.0.0"), rel("e5", 5), rel("r6", 6))}
	return []story{
		tell("what does not fit the new shell is left", "any held release that does not fit the runtime is left", old,
			storyStep{"stage main=r2", ""}, storyStep{"start a", ""}, storyStep{"confirm a", ""},
			storyStep{"stage main=r3", ""}, storyStep{"start b", ""}, storyStep{"confirm b", "runs r3, history r2, anchor r3"},
			storyStep{"shell 2.0.0", "anchor embedded"},
			storyStep{"start c", "runs r2, anchor embedded … no history … +rolled_back main r3 → r2: runtime_changed"},
		),
		tell("a staged release that does not fit is dropped", "any held release that does not fit the runtime is left", old,
			storyStep{"stage main=r3", "staged r3"}, storyStep{"shell 2.0.0", ""}, storyStep{"start a", "runs embedded, anchor embedded"},
			storyStep{"stage main=r3", "!runtime_mismatch"},
		),
		tell("a trial that does not fit is left", "any held release that does not fit the runtime is left", old,
			storyStep{"stage main=r3", ""}, storyStep{"start a", ""}, storyStep{"shell 2.0.0", ""},
			storyStep{"start b", "runs embedded … no trial … no refused … +rolled_back main r3 → embedded: runtime_changed"},
		),
		tell("a newer embedded release wins", "or whose seq is below embedded's, is left", old,
			storyStep{"stage main=r2", ""}, storyStep{"start a", ""}, storyStep{"confirm a", "runs r2"},
			storyStep{"stage main=r3", ""},
			storyStep{"embed main=e5", ""},
			storyStep{"start b", "runs embedded, anchor embedded … no staged … +rolled_back main r2 → e5: embedded_newer"},
			storyStep{"stage main=r3", "!embedded_newer"},
			storyStep{"stage main=r6", "staged r6"},
			storyStep{"start c", "runs r6"},
		),
	}
}

func sets() []story {
	base2 := rel("b2", 12)
	two := trace{Embedded: map[string]string{"base": "", "cart": ""}, Releases: releases(rel("b1", 11), base2, rel("b3", 13),
		needing(rel("c1", 21), "base", 11), needing(rel("c2", 22), "base", 12), rel("c3", 23))}
	inForce := []storyStep{{"stage base=b1 cart=c1", ""}, {"start a", ""}, {"confirm a", "base: runs b1, anchor b1; cart: runs c1, anchor c1"}}
	with := func(steps ...storyStep) []storyStep { return append(append([]storyStep{}, inForce...), steps...) }
	return []story{
		tell("a set goes forward and back as one", "packages that need each other go as one set with one token", two, with(
			storyStep{"stage base=b2 cart=c2", ""},
			storyStep{"start b", "base: runs b2 … cart: runs c2 … trial of base+cart: attempt 1"},
			storyStep{"end b crash", ""}, storyStep{"start c", ""},
			storyStep{"end c crash", "base: runs b1 … cart: runs c1 … refused b2 … refused c2"},
		)...),
		tell("a set is confirmed as one", "with one token", two, with(
			storyStep{"stage base=b2 cart=c2", ""}, storyStep{"start b", ""},
			storyStep{"confirm b", "base: runs b2, history b1 … cart: runs c2, history c1"},
		)...),
		tell("one suspect per launch", "at most one set enters trial per launch", two, with(
			storyStep{"stage base=b2", ""}, storyStep{"stage cart=c3", ""},
			storyStep{"start b", "base: runs b2 … cart: runs c1, staged c3 … trial of base"},
			storyStep{"start c", "cart: runs c1, staged c3 … attempt 2"},
			storyStep{"confirm c", ""},
			storyStep{"start d", "base: runs b2 … cart: runs c3 … trial of cart: attempt 1"},
		)...),
		tell("an official set is left as one", "go back as one set", two, with(
			storyStep{"stage base=b2 cart=c2", ""}, storyStep{"start b", ""}, storyStep{"confirm b", ""},
			storyStep{"start c", ""}, storyStep{"end c crash", ""}, storyStep{"start d", ""}, storyStep{"end d crash", ""},
			storyStep{"start e", ""}, storyStep{"end e crash", "base: runs b1 … cart: runs c1"},
		)...),
		tell("a broken requirement is never run", "packages that need each other go back together", two, with(
			storyStep{"stage base=b2 cart=c2", ""}, storyStep{"start b", ""}, storyStep{"confirm b", ""},
			storyStep{"rollback base b1", "base: runs b1 … cart: runs c1 … +rolled_back cart c2 → c1: requires_unmet"},
		)...),
		tell("a set whose base failed meanwhile is not tried", "packages that need each other enter trial together", two, with(
			storyStep{"stage base=b2", ""}, storyStep{"start b", ""}, storyStep{"stage cart=c2", "staged c2"},
			storyStep{"end b crash", ""}, storyStep{"start c", ""}, storyStep{"end c crash", "base: runs b1"},
			storyStep{"start d", "cart: runs c1 … no staged … +failed cart c2: requires_unmet"},
		)...),
		tell("pages are blamed apart", "opening a destroyed page is a cold start", two, with(
			storyStep{"stage cart=c3", ""},
			storyStep{"start b base", "cart: runs c1, staged c3"},
			storyStep{"start c cart", "cart: runs c3 … trial of cart"},
			storyStep{"end b crash", "1 bad starts … points 0"},
			storyStep{"end c crash", "points 3"},
			storyStep{"start d cart", "attempt 2"},
			storyStep{"confirm d", "cart: runs c3, history c1"},
		)...),
		tell("a displaced set takes its companions along", "packages that need each other go as one set", two, with(
			storyStep{"stage base=b2 cart=c2", ""}, storyStep{"start b", ""},
			storyStep{"stage cart=c3", "base: runs b2, staged b2 … staged c3"},
			storyStep{"start c", "base: runs b2 … cart: runs c3 … trial of base+cart: attempt 1"},
		)...),
	}
}
