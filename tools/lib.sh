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
PYTHON_MINOR=3.11
GO_MINOR=1.25
JAVA_MAJOR=17

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

# `python_tools NAME`: what tools/python/NAME.txt pins, in a virtual environment of its own, $TOOLS/python/NAME. Does nothing when it is there.
python_tools() {
  local name=$1 list=$ROOT/tools/python/$1.txt home=$TOOLS/python/$1
  if [ -f "$home/stamp" ] && cmp -s "$home/stamp" "$list"; then
    return
  fi
  rm -rf "$home"
  python3 -m venv "$home" || fail "python3 could not make a virtual environment in $home; install its venv module (apt-get install python3-venv)"
  # The hashes say which packages they are; a package that had to run a script of its own to be installed is refused.
  "$home/bin/pip" install --quiet --disable-pip-version-check --no-input --require-hashes --only-binary :all: --requirement "$list" ||
    fail "pip could not install what tools/python/$name.txt names; is its registry reachable (pip download six)?"
  # Written last: an installation that was cut off is made again.
  cp "$list" "$home/stamp"
}

# `find_chromium`: prints where Chromium or Chrome is: $CHROMIUM, or what is on the path. Fails when there is none. contract-tests/tests/browser/browser.mjs looks for the same.
find_chromium() {
  local name
  if [ -n "${CHROMIUM:-}" ]; then
    [ -x "$CHROMIUM" ] || return 1
    printf '%s\n' "$CHROMIUM"
    return
  fi
  for name in chromium chromium-browser google-chrome google-chrome-stable; do
    # Only programs: a function of that name does not count.
    type -P "$name" && return
  done
  return 1
}

# Whether this machine lets us install packages of Debian.
can_apt() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null
}
