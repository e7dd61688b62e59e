# What the scripts in this folder share. Sourced by them, never run.
# shellcheck shell=bash
# shellcheck disable=SC2034 # the scripts use these variables

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Everything that is installed or made stands in cargo's target folder, so that removing it removes all.
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
# Absolute, as cargo takes it: from the folder that it is started in.
case $TARGET in /*) ;; *) TARGET=$PWD/$TARGET ;; esac
TOOLS=$TARGET/tools
NODE_TOOLS=$TOOLS/node
# Versions that are not in tools/package.json.
CARGO_DENY_VERSION=0.20.2
NODE_MAJOR=20
PYTHON_MINOR=3.11
GO_MINOR=1.25
JAVA_MAJOR=17
# PostgreSQL's majors in tools/package.json: the one that all tests run on, and those that people have as well.
POSTGRES_MAJOR=17
POSTGRES_OTHERS="15 16 18"
# The profiles of tools/kafka/pom.xml: the one that all tests run on, and the one with ZooKeeper.
KAFKA_VERSIONS="4.1.1 3.7.2"

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

# `one_at_a_time NAME`: waits until no other script holds NAME, and holds it until this one ends. What it starts in the background gets `9>&-`, or it would
# go on holding it.
one_at_a_time() {
  mkdir -p "$TARGET"
  exec 9>"$TARGET/$1.lock"
  lock 9 || fail "$TARGET/$1.lock could not be locked; is it on a file system that knows locks?"
}

# `lock NUMBER [now]`: locks the open file of that number, and waits for it, or fails when it is locked. macOS has no flock.
lock() {
  if command -v flock >/dev/null; then
    flock ${2:+--nonblock} "$1"
  else
    python3 -c 'import fcntl, sys; fcntl.flock(int(sys.argv[1]), fcntl.LOCK_EX | (fcntl.LOCK_NB if sys.argv[2:] else 0))' "$@"
  fi
}

# `npm_install FOLDER FROM [COMMAND…]`: what FROM/package-lock.json names, in FOLDER, and then the command. Does nothing when it is there; fails when npm does.
npm_install() {
  # The stamp is written last: an installation that was cut off is made again.
  if [ -f "$1/stamp" ] && cmp -s "$1/stamp" "$2/package-lock.json"; then
    return
  fi
  mkdir -p "$1"
  rm -f "$1/stamp"
  cp "$2/package.json" "$2/package-lock.json" "$2/.npmrc" "$1/"
  # No package may run a script of its own at installation.
  # `install` and not `ci`: it keeps to the lock file as well, and forgives a registry that lacks an optional package for another system.
  npm --prefix "$1" install --ignore-scripts --no-progress --loglevel=error ||
    fail "npm could not install what ${2#"$ROOT/"}/package-lock.json names; is its registry reachable (npm ping)?"
  local home=$1 from=$2
  shift 2
  "$@"
  cp "$from/package-lock.json" "$home/stamp"
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

# `find_pgbouncer`: prints where PgBouncer is: $PGBOUNCER, or what is on the path or where Debian puts it. Fails when there is none.
find_pgbouncer() {
  if [ -n "${PGBOUNCER:-}" ]; then
    [ -x "$PGBOUNCER" ] || return 1
    printf '%s\n' "$PGBOUNCER"
    return
  fi
  # Not every user's path has /usr/sbin.
  PATH=$PATH:/usr/sbin type -P pgbouncer
}

# Whether this machine lets us install packages of Debian.
can_apt() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null
}
