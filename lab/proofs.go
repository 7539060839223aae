package lab

// Proofs are all there are, in the order of the scoreboard. A new one is one file, and its line here.
func Proofs() []Proof {
	return []Proof{
		crashModel(),
		powerCuts(),
		killClient(),
		killServer(),
		killServerPostgres(),
		badReleases(),
		attacks(),
		protocol(),
		attacksJavaScript(),
		twins(),
		killJavaScript(),
		mutants(),
		changedBytes(),
		hostileBodies(),
		shutdown(),
		twoServers(),
		environment(),
		load(),
		fuzzers(),
		deltas(),
		adapters(),
		liars(),
		capsHold(),
		killWhileSteering(),
		twoGuards(),
		operatingPoints(),
		reportsOfADyingServer(),
	}
}
