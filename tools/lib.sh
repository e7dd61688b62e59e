# What the scripts in this folder share. Sourced by them, never run.
# shellcheck shell=bash
# shellcheck disable=SC2034 # the scripts use these variables

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Everything that is installed or made stands in cargo's target folder, so that removing it removes all.
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
TOOLS=$TARGET/tools
NODE_TOOLS=$TOOLS/node
# Versions that are not in tools/package.json.
CARGO_DENY_VERSION=0.20.2
NODE_MAJOR=20

# Ends the script with a sentence that says what was expected, what came, and what to do.
fail() {
  printf '\nerror: %s\n' "$*" >&2
  exit 1
}

# `stage NAME COMMAND…` runs a command under a headline and says how long it took; when it fails, so does the script, and says which stage it was.
stage() {
  local name=$1 start=$SECONDS
  shift
  printf '\n==> %s\n' "$name"
  "$@" || fail "the stage \"$name\" failed (after $((SECONDS - start)) s); what is wrong stands above"
  printf '    %s: %d s\n' "$name" "$((SECONDS - start))"
}

# `at_least WANTED FOUND`: whether a version is high enough.
at_least() {
  [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]
}
