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

# `stage NAME COMMAND…` runs a command under a headline and says how long it took; when it fails, so does the script, and says which stage it was. Each stage
# is a line in the file MERCH_STAGES, if that is set: when it started, its seconds, its result, its name.
stage() {
  local name=$1 start=$SECONDS status=0
  shift
  printf '\n==> %s\n' "$name"
  # In a subshell, so that a command that ends the script is recorded as well. `set -e` counts inside only if no condition tests the result.
  set +e
  (
    set -e
    "$@"
  )
  status=$?
  set -e
  record_stage "$name" "$((SECONDS - start))" "$status"
  [ "$status" = 0 ] || fail "the stage \"$name\" failed (after $((SECONDS - start)) s); what is wrong stands above"
  printf '    %s: %d s\n' "$name" "$((SECONDS - start))"
}

# `record_stage NAME SECONDS STATUS`
record_stage() {
  local result=ok
  [ "$3" = 0 ] || result=FAILED
  if [ -n "${MERCH_STAGES:-}" ]; then
    printf '%d\t%s\t%s\n' "$2" "$result" "$1" >>"$MERCH_STAGES"
  fi
}

# Prints the stages so far as a table. Stages that ran side by side overlap in time.
print_stages() {
  [ -s "${MERCH_STAGES:-}" ] || return 0
  printf '\n  seconds  result  stage\n'
  awk -F '\t' '{ printf "  %7d  %-6s  %s\n", $1, $2, $3 }' "$MERCH_STAGES"
}

# `lane NAME COMMAND…` runs a command beside the script. Its output is printed when it has ended, by `join_lanes`, so that lines of two do not mix.
LANES=()
lane() {
  local name=$1 log
  shift
  log=$(mktemp "${TMPDIR:-/tmp}/merch-lane.XXXXXX")
  # A process group of its own, so that `end_lanes` reaches all that the command has started.
  set -m
  (
    set -e
    "$@"
  ) >"$log" 2>&1 </dev/null &
  LANES+=("$! $log $name")
  set +m
}

# Waits for every lane, prints what each said, and fails when one has failed.
join_lanes() {
  local entry pid log name failed=''
  for entry in ${LANES[@]+"${LANES[@]}"}; do
    IFS=' ' read -r pid log name <<<"$entry"
    wait "$pid" || failed="$failed, $name"
    printf '\n==> beside the stages above: %s\n' "$name"
    cat "$log"
    rm -f "$log"
  done
  LANES=()
  [ -z "$failed" ] || fail "failed beside the stages above: ${failed#, }"
}

# Ends the lanes that still run. For traps.
end_lanes() {
  local entry pid log name
  for entry in ${LANES[@]+"${LANES[@]}"}; do
    IFS=' ' read -r pid log name <<<"$entry"
    kill -TERM -- "-$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    rm -f "$log"
  done
  LANES=()
}

# What needs a tool that a machine may lack, a line each: the tool, what tools/install brings for it, the clients of tools/clients, and the suite in words.
# Rust tests that need a tool are in a module `needs_TOOL`.
OPTIONAL_SUITES='
python    | schemathesis |             | Schemathesis against the REST API
python    |              | python      | the Python client
python    |              | grpc-python | the gRPC client in Python
go        |              | go          | the Go client
go        |              | grpc-go     | the gRPC client in Go
java      |              | java        | the Java client
python    |              | java        | the Java client, whose generator Python brings
java      | kafka        |             | log events over Apache Kafka
java      |              | kafka-java  | the topic read by the console consumer of Kafka
python    |              | kafka-python | the topic read by kafka-python
go        |              | kafka-go    | the topic read by franz-go
pgbouncer | pooler       |             | the db service behind PgBouncer
chromium  | browser      |             | the pages of the documentation, in a browser
curl      |              |             | the samples of openapi.yaml, pasted into a shell
'

# Whether every suite has to run: in CI, and with REQUIRE_ALL=1.
all_required() { [ -n "${CI:-}" ] || [ "${REQUIRE_ALL:-0}" = 1 ]; }

# From here on, cargo compiles the packages of this workspace with clippy's driver, and every warning is an error: one build lints and compiles. (`cargo clippy`
# sets the same two variables, but for a build that makes no programs, after which the tests would compile everything once more.) Other packages are compiled as
# ever, so that a build without this finds them compiled. clippy's driver optimises less, so it is for tests alone, never for what people run.
lint_while_compiling() {
  local driver
  driver=$(rustc --print sysroot)/bin/clippy-driver
  [ -x "$driver" ] || driver=$(command -v clippy-driver) || fail "clippy-driver was not found beside rustc; rustup component add clippy"
  export RUSTC_WORKSPACE_WRAPPER=$driver CLIPPY_ARGS=-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__
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

# `sha256_list FOLDER`: a line for each file in it, in the order of names, as sha256sum writes it. macOS has no sha256sum.
sha256_list() {
  node -e '
    const { readdirSync, readFileSync } = require("fs");
    const { createHash } = require("crypto");
    for (const name of readdirSync(process.argv[1]).sort()) {
      const sum = createHash("sha256").update(readFileSync(`${process.argv[1]}/${name}`)).digest("hex");
      console.log(`${sum}  ${name}`);
    }
  ' "$1"
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
    perl -MFcntl=:flock -e 'open my $file, "+<&=", $ARGV[0] or exit 1; flock $file, LOCK_EX | (@ARGV > 1 ? LOCK_NB : 0) or exit 1' "$@"
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
