# shellcheck shell=bash disable=SC2034 # sourced by tools.sh
#
# The versions of the tools that no lock file pins. The others are pinned where their own tools look for them: npm's
# in package.json and package-lock.json, Rust crates in Cargo.lock (wasm-bindgen-cli follows the crate wasm-bindgen there).

# The same as the crate `worker` in Cargo.toml: they are released together.
worker_build_version=0.8.7

# Any cargo-nextest on PATH will do; this one is installed where there is none.
nextest_version=0.9.143

# wrangler asks for at least the first; the second is installed where the Node.js on PATH is older.
node_minimum=22.12
node_version=24.21.0

# For scripts/fuzz only, with a nightly toolchain.
cargo_fuzz_version=0.13.2
