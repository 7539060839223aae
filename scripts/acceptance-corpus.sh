#!/usr/bin/env bash
# Builds a corpus of consecutive releases for `slipstream delta bench` from exact versions of npm packages.
#
#   scripts/acceptance-corpus.sh DIR
#
# The engine was developed on other packages; this set tells whether its figures hold elsewhere. Writes DIR/manifest.tsv
# (name, kind, old, new and sizes) and a folder old/ and new/ for each pair. DIR/cache keeps what was downloaded, about
# 150 MB, and what was built of it, about 700 MB.
#
# Needs npm, node, zip, GNU tar and find, and hermesc (HERMESC, or the one on PATH) for the bytecode.
set -euo pipefail
[ $# = 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
out=$(mkdir -p "$1" && cd "$1" && pwd)
cache=$out/cache
app=$(cd "$(dirname "$0")/acceptance-app" && pwd)
hermesc=${HERMESC:-hermesc}
for need in npm node zip "$hermesc"; do
	command -v "$need" >/dev/null || { echo "$0: $need is missing: install it first" >&2; exit 3; }
done
mkdir -p "$cache"
export TZ=UTC LC_ALL=C

# pack NAME VERSION: the folder of an unpacked package
pack() {
	local dir=$cache/${1//\//+}@$2 tgz
	if [ ! -e "$dir.done" ]; then
		rm -rf "$dir" && mkdir -p "$dir"
		tgz=$(cd "$dir" && npm pack --silent "$1@$2" | tail -1)
		tar -xzf "$dir/$tgz" -C "$dir" --strip-components=1 --no-same-owner
		rm -f "$dir/$tgz" && touch "$dir.done"
	fi
	echo "$dir"
}

bytes() { find "$1" -type f -printf '%s\n' | awk '{s+=$1} END{print s+0}'; }
count() { find "$1" -type f | wc -l; }

# pair NAME KIND OLD NEW: two files or folders become a pair
pair() {
	local base=$out/$1 o=old n=new
	rm -rf "$base" && mkdir -p "$base/old" "$base/new"
	if [ -d "$3" ]; then
		cp -r "$3/." "$base/old/" && cp -r "$4/." "$base/new/"
	else
		o=old/$(basename "$3") n=new/$(basename "$3")
		cp "$3" "$base/$o" && cp "$4" "$base/$n"
	fi
	printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$1/$o" "$1/$n" "$(bytes "$base/old")" "$(bytes "$base/new")" \
		"$(count "$base/old")" "$(count "$base/new")" >>"$out/manifest.tsv"
}

# released NAME KIND PACKAGE OLD NEW PATH: a file or folder of two releases of a package
released() {
	local old new
	old=$(pack "$3" "$4") new=$(pack "$3" "$5")
	pair "$1" "$2" "$old/$6" "$new/$6"
}

# archive DIR FILE: a zip whose bytes depend on what is in DIR only
archive() {
	rm -f "$2"
	find "$1" -exec touch -h -d '2025-01-01 00:00:00' {} +
	(cd "$1" && find . -type f | sed 's|^\./||' | sort | zip -X -9 -q "$2" -@)
}

# zipped NAME PACKAGE OLD NEW PATH: a folder of two releases, each as a zip
zipped() {
	local v tree
	for v in "$3" "$4"; do
		tree=$cache/zip-$1-$v
		rm -rf "$tree" && mkdir -p "$tree"
		cp -r "$(pack "$2" "$v")/$5" "$tree/content"
		archive "$tree/content" "$tree/app.zip"
	done
	pair "$1" zip "$cache/zip-$1-$3/app.zip" "$cache/zip-$1-$4/app.zip"
}

# workspace: the small React Native app beside this script with the dependencies of its lock file
workspace() {
	[ -e "$cache/app.done" ] && return
	rm -rf "$cache/app" && cp -r "$app" "$cache/app"
	(cd "$cache/app" && npm ci --silent --no-audit --no-fund --ignore-scripts --legacy-peer-deps)
	touch "$cache/app.done"
}

# bundle VARIANT: the app as it stands: minified, and as bytecode of the bundle that is not, as release builds make it
bundle() {
	local to=$cache/build/$1
	[ -e "$to.done" ] && return
	rm -rf "$to" && mkdir -p "$to/plain" "$to/dist/assets"
	metro true "$to/index.android.bundle"
	metro false "$to/plain/index.android.bundle"
	compile "$to/index.hbc" "$to/plain/index.android.bundle"
	cp "$to/index.hbc" "$to/dist/index.android.bundle"
	cp "$cache"/app/node_modules/react-native-vector-icons/Fonts/{Feather,AntDesign}.ttf "$to/dist/assets/"
	archive "$to/dist" "$to/app.zip"
	touch "$to.done"
}
metro() {
	(cd "$cache/app" && mkdir -p "$cache/tmp" && TMPDIR=$cache/tmp npx metro build index.js --config metro.config.js --platform android \
		--dev false --minify "$1" --max-workers 1 --out "$2" >"$cache/metro.log" 2>&1) || { tail -20 "$cache/metro.log" >&2; return 1; }
	if [ -e "$2.js" ]; then mv "$2.js" "$2"; fi
}
compile() { # OUT BUNDLE [arguments]
	"$hermesc" -emit-binary -O -w -output-source-map -out "$1" "${@:3}" "$2"
	rm -f "$1.map"
}

# variants builds the app as shipped, with a constant changed, with a screen more, and with a newer component kit
variants() {
	local b=$cache/build kit=$cache/app/node_modules/@ui-kitten/components
	workspace
	fresh() { rm -rf "$cache/app/src" "$cache/app/App.js" && cp -r "$app/src" "$app/App.js" "$cache/app/"; }
	fresh && bundle base
	sed -i 's/DAYS_KEPT = 30/DAYS_KEPT = 45/' "$cache/app/src/store.js" && bundle oneline
	sed -i -e "s|^//+import|import {Archive} from './src/Archive';|" \
		-e 's|{/\*+screen\*/}|<Stack.Screen name="Archive" component={Archive} />|' "$cache/app/App.js" && bundle feature
	fresh
	mv "$kit" "$kit.kept" && cp -r "$(pack @ui-kitten/components 5.3.1)" "$kit"
	bundle depbump
	rm -rf "$kit" && mv "$kit.kept" "$kit"
	[ -e "$b/based.hbc" ] || compile "$b/based.hbc" "$b/depbump/plain/index.android.bundle" -base-bytecode "$b/base/index.hbc"
}

printf 'name\tkind\told\tnew\told_bytes\tnew_bytes\told_files\tnew_files\n' >"$out/manifest.tsv"
b=$cache/build
variants
released js-vue-patch js vue 3.5.12 3.5.13 dist/vue.global.prod.js
released js-three-release js three 0.169.0 0.170.0 build/three.module.min.js
released js-react-dom-minor js react-dom 18.2.0 18.3.1 umd/react-dom.production.min.js
released js-lodash-patch js lodash 4.17.20 4.17.21 lodash.min.js
pair js-notes-oneline js "$b/base/index.android.bundle" "$b/oneline/index.android.bundle"
pair js-notes-depbump js "$b/base/index.android.bundle" "$b/depbump/index.android.bundle"
pair hbc-notes-oneline hbc "$b/base/index.hbc" "$b/oneline/index.hbc"
pair hbc-notes-feature hbc "$b/base/index.hbc" "$b/feature/index.hbc"
pair hbc-notes-depbump hbc "$b/base/index.hbc" "$b/depbump/index.hbc"
pair hbc-notes-depbump-based hbc "$b/base/index.hbc" "$b/based.hbc"
released tree-vant tree vant 4.9.8 4.9.9 lib
released tree-tinymce tree tinymce 7.4.1 7.5.0 .
pair zip-notes-feature zip "$b/base/app.zip" "$b/feature/app.zip"
zipped zip-weapp @vant/weapp 1.11.6 1.11.7 dist
released bin-sqljs-wasm bin sql.js 1.10.3 1.11.0 dist/sql-wasm.wasm
released bin-rollup-node bin @rollup/rollup-linux-x64-gnu 4.26.0 4.27.0 rollup.linux-x64-gnu.node
released bin-esbuild-executable bin @esbuild/linux-x64 0.24.0 0.24.1 bin/esbuild
