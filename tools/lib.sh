# Functions and variables of the scripts in this directory, which source it.
# shellcheck shell=bash
# shellcheck disable=SC2034 # the scripts use these variables

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# All installed tools and generated files are in cargo's target directory.
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
# A relative path is relative to the working directory, as for cargo.
case $TARGET in /*) ;; *) TARGET=$PWD/$TARGET ;; esac
TOOLS=$TARGET/tools
NODE_TOOLS=$TOOLS/node
# Versions that are not in tools/package.json.
CARGO_DENY_VERSION=0.20.2
CARGO_FUZZ_VERSION=0.13.2
NODE_MAJOR=20
PYTHON_MINOR=3.11
GO_MINOR=1.26
JAVA_MAJOR=17
# PostgreSQL's majors in tools/package.json: all tests run on the first, a suite runs on the others.
POSTGRES_MAJOR=17
POSTGRES_OTHERS="15 16 18"
# The profiles of tools/kafka/pom.xml: all tests run on the first; the second has ZooKeeper.
KAFKA_VERSIONS="4.1.1 3.7.2"

# Ends the script with an error message.
fail() {
  printf '\nerror: %s\n' "$*" >&2
  exit 1
}

# `stage NAME COMMAND…` runs a command under a headline and prints its time. If it fails, the script
# fails. Writes a line to the file MERCH_STAGES, if set: seconds, result, name.
stage() {
  local name=$1 start=$SECONDS status=0
  shift
  printf '\n==> %s\n' "$name"
  # The subshell records a command that exits, too. `set -e` has an effect in it only if no condition
  # tests the result.
  set +e
  (
    set -e
    "$@"
  )
  status=$?
  set -e
  record_stage "$name" "$((SECONDS - start))" "$status"
  [ "$status" = 0 ] || fail "the stage \"$name\" failed after $((SECONDS - start)) s; see the error above"
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

# Prints the stages so far as a table. Parallel stages overlap in time.
print_stages() {
  [ -s "${MERCH_STAGES:-}" ] || return 0
  printf '\n  seconds  result  stage\n'
  awk -F '\t' '{ printf "  %7d  %-6s  %s\n", $1, $2, $3 }' "$MERCH_STAGES"
}

# `lane NAME COMMAND…` runs a command in the background. `join_lanes` prints its output.
LANES=()
lane() {
  local name=$1 log
  shift
  log=$(mktemp "${TMPDIR:-/tmp}/merch-lane.XXXXXX")
  # A process group, so that `end_lanes` ends the children, too.
  set -m
  (
    set -e
    "$@"
  ) >"$log" 2>&1 </dev/null &
  LANES+=("$! $log $name")
  set +m
}

# Waits for all lanes, prints their output, and fails if one has failed.
join_lanes() {
  local entry pid log name failed=''
  for entry in ${LANES[@]+"${LANES[@]}"}; do
    IFS=' ' read -r pid log name <<<"$entry"
    wait "$pid" || failed="$failed, $name"
    printf '\n==> in parallel with the stages above: %s\n' "$name"
    cat "$log"
    rm -f "$log"
  done
  LANES=()
  [ -z "$failed" ] || fail "failed in parallel with the stages above: ${failed#, }"
}

# Ends the running lanes. For traps.
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

# Suites that need an optional tool: the tool, the part of tools/install, the client of
# tools/clients, and the suite. Rust tests that need a tool are in a module `needs_TOOL`.
OPTIONAL_SUITES='
python    | schemathesis |             | Schemathesis against the REST API
python    |              | python      | the Python client
python    |              | grpc-python | the gRPC client in Python
go        | oasdiff      |             | openapi.yaml against its last release, by oasdiff
go        |              | go          | the Go client
go        |              | grpc-go     | the gRPC client in Go
java      |              | java        | the Java client
python    |              | java        | the Java client, whose generator Python brings
java      | kafka        |             | log events over Apache Kafka
java      |              | kafka-java  | the topic read by the console consumer of Kafka
python    |              | kafka-python | the topic read by kafka-python
go        |              | kafka-go    | the topic read by franz-go
pgbouncer | pooler       |             | the db service behind PgBouncer
faketime  | faketime     |             | wrong clocks in the runs of chaos
chromium  | browser      |             | the pages of the documentation, in a browser
curl      |              |             | the samples of openapi.yaml, pasted into a shell
'

# Whether a missing tool is an error: in CI, and with REQUIRE_ALL=1.
all_required() { [ -n "${CI:-}" ] || [ "${REQUIRE_ALL:-0}" = 1 ]; }

# Makes cargo compile the packages of this workspace with clippy's driver, with warnings as errors:
# one build lints and compiles. (`cargo clippy` sets the same two variables, but builds no programs.)
# clippy's driver optimises less, so use it for tests only.
lint_while_compiling() {
  local driver
  driver=$(rustc --print sysroot)/bin/clippy-driver
  [ -x "$driver" ] || driver=$(command -v clippy-driver) || fail "clippy-driver was not found beside rustc; rustup component add clippy"
  export RUSTC_WORKSPACE_WRAPPER=$driver CLIPPY_ARGS=-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__
}

# `at_least WANTED FOUND`
at_least() {
  [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]
}

# Whether Go is on the path, in a version that builds the tools and clients.
has_go() {
  local version
  command -v go >/dev/null && version=$(go env GOVERSION) && at_least "$GO_MINOR" "${version#go}"
}

# `python_tools NAME` installs tools/python/NAME.txt into the virtual environment $TOOLS/python/NAME,
# unless it is up to date.
python_tools() {
  local name=$1 list=$ROOT/tools/python/$1.txt home=$TOOLS/python/$1
  if [ -f "$home/stamp" ] && cmp -s "$home/stamp" "$list"; then
    return
  fi
  rm -rf "$home"
  python3 -m venv "$home" || fail "python3 could not make a virtual environment in $home; install its venv module (apt-get install python3-venv)"
  # The hashes pin the packages; packages that run scripts at installation are refused.
  "$home/bin/pip" install --quiet --disable-pip-version-check --no-input --require-hashes --only-binary :all: --requirement "$list" ||
    fail "pip could not install what tools/python/$name.txt names; is its registry reachable (pip download six)?"
  # Written last, so that an interrupted installation is repeated.
  cp "$list" "$home/stamp"
}

# `sha256_list DIRECTORY` prints the checksums of its files in the format of sha256sum, which macOS
# lacks.
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

# `one_at_a_time NAME` holds the lock NAME until the script ends. Start background programs with
# `9>&-`, or they keep the lock.
one_at_a_time() {
  mkdir -p "$TARGET"
  exec 9>"$TARGET/$1.lock"
  lock 9 || fail "$TARGET/$1.lock could not be locked; does its file system support locks?"
}

# `lock NUMBER [now]` locks an open file. With `now` it fails instead of waiting. macOS has no flock.
lock() {
  if command -v flock >/dev/null; then
    flock ${2:+--nonblock} "$1"
  else
    perl -MFcntl=:flock -e 'open my $file, "+<&=", $ARGV[0] or exit 1; flock $file, LOCK_EX | (@ARGV > 1 ? LOCK_NB : 0) or exit 1' "$@"
  fi
}

# `npm_install DIRECTORY FROM [COMMAND…]` installs FROM/package-lock.json into DIRECTORY and runs
# the command, unless DIRECTORY is up to date.
npm_install() {
  # The stamp is written last, so that an interrupted installation is repeated.
  if [ -f "$1/stamp" ] && cmp -s "$1/stamp" "$2/package-lock.json"; then
    return
  fi
  mkdir -p "$1"
  rm -f "$1/stamp"
  cp "$2/package.json" "$2/package-lock.json" "$2/.npmrc" "$1/"
  # Packages may not run scripts at installation.
  # `install` follows the lock file like `ci`, and accepts a registry that lacks an optional package
  # for another system.
  npm --prefix "$1" install --ignore-scripts --no-progress --loglevel=error ||
    fail "npm could not install what ${2#"$ROOT/"}/package-lock.json names; is its registry reachable (npm ping)?"
  local home=$1 from=$2
  shift 2
  "$@"
  cp "$from/package-lock.json" "$home/stamp"
}

# Prints the path of Chromium or Chrome: $CHROMIUM, or the first on the path. Fails if there is none.
# contract-tests/tests/browser/browser.mjs uses the same names.
find_chromium() {
  local name
  if [ -n "${CHROMIUM:-}" ]; then
    [ -x "$CHROMIUM" ] || return 1
    printf '%s\n' "$CHROMIUM"
    return
  fi
  for name in chromium chromium-browser google-chrome google-chrome-stable; do
    # `type -P` ignores functions.
    type -P "$name" && return
  done
  return 1
}

# Prints the path of PgBouncer: $PGBOUNCER, or the first on the path. Fails if there is none.
find_pgbouncer() {
  if [ -n "${PGBOUNCER:-}" ]; then
    [ -x "$PGBOUNCER" ] || return 1
    printf '%s\n' "$PGBOUNCER"
    return
  fi
  # Debian installs it in /usr/sbin, which is not on every user's path.
  PATH=$PATH:/usr/sbin type -P pgbouncer
}

# Prints the path of libfaketime: $FAKETIME_LIBRARY, or Debian's. Fails if there is none.
find_faketime() {
  local library
  for library in ${FAKETIME_LIBRARY:-/usr/lib/*/faketime/libfaketimeMT.so.1}; do
    if [ -f "$library" ]; then
      printf '%s\n' "$library"
      return
    fi
  done
  return 1
}

# Whether this machine and user can install packages with apt-get.
can_apt() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null
}
