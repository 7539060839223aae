#!/bin/sh
# Runs every Go test, then names what was missing on this machine. Usage: test.sh GO TIMEOUT PACKAGES…
set -u
go=$1 timeout=$2
shift 2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
"$go" vet "$@" || exit 1
"$go" test -timeout "$timeout" -json "$@" >"$log"
code=$?
"$go" run ./scripts/testsummary <"$log" || code=1
exit "$code"
