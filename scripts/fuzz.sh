#!/bin/sh
# Runs every fuzz target of the module for a bounded time each. Usage: fuzz.sh GO TIME
set -eu
go=$1 time=$2
"$go" list ./... | while read -r pkg; do
	"$go" test -list '^Fuzz' "$pkg" | grep '^Fuzz' | while read -r target; do
		echo "$pkg $target"
		"$go" test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$pkg"
	done
done
