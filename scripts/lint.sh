#!/bin/sh
# go vet, gofmt, staticcheck, shellcheck, and the deploy files. Usage: lint.sh GO
set -eu
go=$1
bad=$(git ls-files '*.go' | xargs gofmt -l)
if [ -n "$bad" ]; then
	echo "not gofmt-ed:" "$bad" >&2
	exit 1
fi
"$go" vet ./...
"$go" vet -tags device ./cmd/slipstream
missing=""
bin=$("$go" env GOPATH)/bin
if command -v staticcheck >/dev/null 2>&1; then
	staticcheck ./...
elif [ -x "$bin/staticcheck" ]; then
	"$bin/staticcheck" ./...
else
	missing="$missing staticcheck"
fi
if command -v shellcheck >/dev/null 2>&1; then
	shellcheck scripts/*.sh .ci/run
else
	missing="$missing shellcheck"
fi
"$go" test -count=1 -run 'TestDeploy' ./deploy
for m in $missing; do
	echo "MISSING on this machine, not run: $m" >&2
done
