#!/bin/sh
# Builds the JavaScript workspace, which the lab attacks too, or runs its tests; when all tests are asked for.
# Usage: test-js.sh build|test PACKAGES…
set -eu
what=$1
shift
[ "$*" = "./..." ] || exit 0
for tool in node npm; do
	if ! command -v "$tool" >/dev/null 2>&1; then
		echo "MISSING on this machine, not run: $tool (the JavaScript client's tests)" >&2
		exit 0
	fi
done
cd "$(dirname "$0")/../sdk/js"
# npm ci is skipped where what it would install is there already.
if ! cmp -s package-lock.json node_modules/.installed-lock; then
	npm ci --no-audit --no-fund
	cp package-lock.json node_modules/.installed-lock
fi
case $what in
build) npm run build --silent ;;
test) npm test ;;
esac
