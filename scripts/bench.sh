#!/bin/sh
# Measures every figure of docs/benchmarks.md in one run and writes them there. Loopback only, bounded in count and time.
# Usage: bench.sh GO
set -eu
go=$1
out=$(mktemp)
trap 'rm -f "$out"' EXIT
"$go" test -run '^$' -bench . -benchtime "${BENCHTIME:-2s}" -timeout 30m \
	./decide ./halt ./halt/compare ./deliver ./deliver/live ./protocol/easyclick ./protocol/ocrunner ./protocol/codepush ./protocol/capgo ./store/sqlite ./store/postgres ./publish ./cmd/slipstream | tee "$out"
"$go" run ./scripts/benchreport docs/benchmarks.md <"$out"
