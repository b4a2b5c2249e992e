#!/bin/sh
# Builds every guest in this repository, byte for byte as committed:
# `examples/build.sh` writes them, `examples/build.sh --check` compares.
# Needs clang 19 and lld 19 (Debian: clang-19, lld-19); CC names another clang 19.
set -eu
cd "$(dirname "$0")/.."
cc=${CC:-clang-19}
check=${1:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/bindings" "$work/page/bindings" "$work/page/wit"

generators=${CARGO_TARGET_DIR:-target}/generators
cargo build --quiet --locked --manifest-path tests/generators/Cargo.toml --target-dir "$generators" --bin guest
guest=$generators/debug/guest
"$guest" bindings examples/sdk/wit function "$work/bindings"
"$guest" bindings examples/sdk/wit program "$work/bindings"
cp -r examples/sdk/wit/deps tests/guests/page.wit "$work/page/wit"
"$guest" bindings "$work/page/wit" function "$work/page/bindings"

# build WORLD SOURCE [FOLDER]: the component beside the source, with the bindings in that folder.
build() {
  out=${2%.c}.wasm
  bound=${3:-$work}
  "$cc" --target=wasm32-unknown-unknown -fuse-ld=lld -O2 -ffreestanding -mbulk-memory -w \
    -fno-builtin-malloc -fno-builtin-memset -nostdlib -nostdlibinc -fno-ident \
    -Iexamples/sdk/include -I"$bound" -ffile-prefix-map="$work"=. \
    -Wl,--no-entry -Wl,--gc-sections -Wl,--strip-all -Wl,-z,stack-size=65536 \
    "$2" "examples/sdk/$1.c" examples/sdk/guest.c "$bound/bindings/$1.c" \
    "$bound/bindings/$1_component_type.o" -o "$work/core.wasm"
  "$guest" component "$work/core.wasm" "$work/out.wasm"
  if [ "$check" = --check ]; then
    cmp "$work/out.wasm" "$out" || { echo "$out is not what its source builds to" >&2; exit 1; }
  else
    cp "$work/out.wasm" "$out"
  fi
  echo "$out $(wc -c < "$out") bytes"
}

build function examples/hello/hello.c
build function examples/greeting/greeter.c
build function examples/greeting/frontend.c
build program examples/ticker/ticker.c
build function tests/guests/prober.c
build function tests/guests/page.c "$work/page"
build program tests/guests/toolbox.c
