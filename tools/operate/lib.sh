# What the operator's words in this folder share. Sourced by them, never run.
# shellcheck shell=bash
# shellcheck disable=SC2034 # the scripts use these variables

. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
cd "$ROOT"
# macOS comes with 3.2.
if [ "${BASH_VERSINFO[0]}${BASH_VERSINFO[1]}" -lt 44 ]; then fail "expected bash 4.4 or newer, got $BASH_VERSION; brew install bash"; fi
case ${STORE:-} in '' | compose | embedded) ;; *) fail "STORE is \"$STORE\"; expected compose or embedded" ;; esac

# The settings of the compose stack; those that docker compose reads, wherever they are.
ENV_FILE=${MERCH_ENV_FILE:-${COMPOSE_ENV_FILES:-$ROOT/.env}}
ENV_FILE=${ENV_FILE##*,}
if [ -n "${MERCH_ENV_FILE:-}" ] && [ -z "${COMPOSE_ENV_FILES:-}" ]; then export COMPOSE_ENV_FILES=$MERCH_ENV_FILE; fi
# The services that there may be several of, in the order in which they need each other.
REPLICATED=(logging db api)
# The embedded store's folder.
DATA_DIR=${MERCH_DATA_DIR:-merch-data}

# Whether a container engine answers.
engine() { docker compose version >/dev/null 2>&1 && docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# Stops with a sentence where no container engine answers.
need_engine() {
  engine || fail "expected a container engine with Compose, but docker version or docker compose version fails; start it, or say STORE=embedded for the store in one process"
}

# The compose project that is meant.
project() {
  local name=${COMPOSE_PROJECT_NAME:-}
  # As compose does: from .env where the environment does not say.
  [ -n "$name" ] || name=$(setting COMPOSE_PROJECT_NAME)
  printf '%s\n' "${name:-merch}"
}

# `containers SERVICE…`: the ids of all containers of these services, oldest first, without those of `docker compose run`.
containers() {
  local service
  for service; do
    docker ps --all --quiet --no-trunc --filter "label=com.docker.compose.project=$(project)" --filter "label=com.docker.compose.service=$service" \
      --filter label=com.docker.compose.oneoff=False | sed '1!G;h;$!d' || return
  done
}

# `choose_store`: KIND becomes compose or embedded: what STORE says; or compose when any of its containers run, embedded when that store runs, compose when
# there are containers that do not run, and else embedded.
choose_store() {
  local engine=no
  if [ -n "${STORE:-}" ]; then
    KIND=$STORE
  else
    if engine; then engine=yes; fi
    if [ $engine = yes ] && [ -n "$(of_project)" ]; then
      KIND=compose
    elif embedded_lives; then
      KIND=embedded
    elif [ $engine = yes ] && [ -n "$(of_project --all)" ]; then
      KIND=compose
    elif [ $engine = no ] && [ -f "$ENV_FILE" ]; then
      # Most likely that stack is meant, and only its engine is away: another store in its place would be a surprise.
      fail "no container engine answers (docker version, docker compose version), and $ENV_FILE is of the compose stack; start the engine, or say STORE=embedded for the store in one process"
    else
      KIND=embedded
    fi
  fi
}

# `of_project [OPTION…]`: the ids of the project's containers that run, or of others with the options of `docker ps`.
of_project() { docker ps --quiet --filter "label=com.docker.compose.project=$(project)" --filter label=com.docker.compose.oneoff=False "$@"; }

# `setting NAME`: its value in .env, or nothing.
setting() { sed -n "s/^$1=//p" "$ENV_FILE" 2>/dev/null | tail -n 1 || true; }

# A path of .env, as compose takes it: from this checkout.
absolute() { case $1 in /*) printf '%s\n' "$1" ;; *) printf '%s\n' "$ROOT/$1" ;; esac; }

# `program`: MERCH becomes the program for the embedded store, unless it is set: what was compiled last, for release or for debugging, or what cargo compiles.
program() {
  local release=$TARGET/release/merch debug=$TARGET/debug/merch
  if [ -n "${MERCH:-}" ]; then return; fi
  if [ -x "$debug" ] && ! [ "$release" -nt "$debug" ]; then
    MERCH=$debug
  else
    [ -x "$release" ] || (cd "$ROOT" && cargo build --release) || fail "cargo could not compile merch; what is wrong stands above"
    MERCH=$release
  fi
}
merch() {
  program
  "$MERCH" "$@"
}

# Whether the embedded store is ready.
embedded_runs() { merch health --data-dir "$DATA_DIR" >/dev/null 2>&1; }

# Whether anybody has the embedded store's folder, ready or not: who starts or drains holds its locks.
embedded_lives() {
  local file
  for file in "$DATA_DIR"/*.lock; do
    if [ -e "$file" ] && ! (exec 8<"$file" && lock 8 now) 2>/dev/null; then return; fi
  done
  return 1
}

# `role SERVICE ARGUMENT…`: runs merch in a container of the service. It has the service's settings, secrets included, and so none stands on a command line.
role() {
  local service=$1 terminal=()
  shift
  [ -t 0 ] && [ -t 1 ] || terminal=(-T)
  docker compose exec "${terminal[@]}" "$service" merch "$@"
}

# `sql [OPTION…]`: psql as PostgreSQL's superuser, by the socket in its container; statements come on standard input.
sql() { docker compose exec -T postgres psql --no-psqlrc --quiet --username postgres --set ON_ERROR_STOP=1 "$@"; }

# `health CONTAINER`: healthy, unhealthy, starting; or running, exited, … where it has no check.
health() { docker inspect --format '{{if .State.Health}}{{if .State.Running}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}}{{else}}{{.State.Status}}{{end}}' "$1"; }

# `until_healthy SECONDS CONTAINER…`: waits until all of them are; fails when one is not in time.
until_healthy() {
  local deadline=$((SECONDS + $1)) container
  shift
  for container; do
    until [ "$(health "$container")" = healthy ]; do
      if [ $SECONDS -ge $deadline ]; then
        docker logs --tail 20 "$container" >&2 || true
        return 1
      fi
      sleep 0.2
    done
  done
}

# `confirm WHAT`: asks, unless YES=1.
confirm() {
  local answer
  if [ "${YES:-}" = 1 ]; then
    printf '%s\n' "$1"
    return
  fi
  [ -t 0 ] || fail "$1 Nobody can be asked here; say YES=1 if that is meant"
  read -r -p "$1 Go on? [y/N] " answer
  case $answer in y | Y | yes) ;; *) fail "nothing was done" ;; esac
}

# Stops the roles that write to the database, runs a command, and starts them again, whatever becomes of it. NGINX answers 503 meanwhile. When they cannot be
# stopped, the command is not run.
without_writers() {
  local found failed=0
  # Nothing here ends the script by itself when it fails, as its caller asks how it went.
  found=$(containers api && containers db) || return
  mapfile -t stopped < <(printf '%s' "$found" | grep .)
  if [ ${#stopped[@]} -gt 0 ]; then
    # Also after Ctrl-C, or when the terminal is lost.
    trap 'docker start "${stopped[@]}" >/dev/null' EXIT
    trap 'exit 130' INT TERM HUP
    docker stop "${stopped[@]}" >/dev/null || return
  fi
  "$@" || failed=$?
  if [ ${#stopped[@]} -gt 0 ]; then
    # db first, as api is ready only with it. Those that were there before: `up` would make others.
    found=$(containers db && containers api) || fail "the roles are still stopped, as the engine does not answer; \`make up\` starts them"
    mapfile -t stopped < <(printf '%s' "$found" | grep .)
    docker start "${stopped[@]}" >/dev/null || fail "not all of the roles could be started again; \`make up\` does, or says why not"
    trap - EXIT INT TERM HUP
    until_healthy 120 "${stopped[@]}" || fail "the roles are not healthy again; docker compose logs db api says why"
  fi
  return $failed
}
