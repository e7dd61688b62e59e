# Functions of the operations commands; sourced by them.
# shellcheck shell=bash
# shellcheck disable=SC2034 # the scripts use these variables

. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
cd "$ROOT"
# macOS ships 3.2.
if [ "${BASH_VERSINFO[0]}${BASH_VERSINFO[1]}" -lt 44 ]; then fail "expected bash 4.4 or newer, got $BASH_VERSION; brew install bash"; fi
case ${STORE:-} in '' | compose | embedded) ;; *) fail "STORE is \"$STORE\"; expected compose or embedded" ;; esac

# The .env file that docker compose reads.
ENV_FILE=${MERCH_ENV_FILE:-${COMPOSE_ENV_FILES:-$ROOT/.env}}
ENV_FILE=${ENV_FILE##*,}
if [ -n "${MERCH_ENV_FILE:-}" ] && [ -z "${COMPOSE_ENV_FILES:-}" ]; then export COMPOSE_ENV_FILES=$MERCH_ENV_FILE; fi
# The services with replicas, in start order.
REPLICATED=(logging db api)
# The embedded store's data directory.
DATA_DIR=${MERCH_DATA_DIR:-merch-data}

engine() { docker compose version >/dev/null 2>&1 && docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# Fails without a container engine.
need_engine() {
  engine || fail "expected a container engine with Compose, but docker version or docker compose version fails; start it, or set STORE=embedded for the store in one process"
}

# Prints the name of the compose project.
project() {
  local name=${COMPOSE_PROJECT_NAME:-}
  # Like compose: from .env, unless the environment sets it.
  [ -n "$name" ] || name=$(setting COMPOSE_PROJECT_NAME)
  printf '%s\n' "${name:-merch}"
}

# `containers SERVICE…`: prints the ids of all containers of these services, oldest first, without
# those of `docker compose run`.
containers() {
  local service
  for service; do
    docker ps --all --quiet --no-trunc --filter "label=com.docker.compose.project=$(project)" --filter "label=com.docker.compose.service=$service" \
      --filter label=com.docker.compose.oneoff=False | sed '1!G;h;$!d' || return
  done
}

# `choose_store`: sets MODE to compose or embedded: STORE, or compose if any of its containers run,
# embedded if that store runs, compose if it has stopped containers, otherwise embedded.
choose_store() {
  local engine=no
  if [ -n "${STORE:-}" ]; then
    MODE=$STORE
  else
    if engine; then engine=yes; fi
    if [ $engine = yes ] && [ -n "$(project_containers)" ]; then
      MODE=compose
    elif embedded_locked; then
      MODE=embedded
    elif [ $engine = yes ] && [ -n "$(project_containers --all)" ]; then
      MODE=compose
    elif [ $engine = no ] && [ -f "$ENV_FILE" ]; then
      # The operator most likely means the compose stack; changing another store would be a
      # surprise.
      fail "no container engine answers (docker version, docker compose version), and $ENV_FILE belongs to the compose stack; start the engine, or set STORE=embedded for the store in one process"
    else
      MODE=embedded
    fi
  fi
}

# `project_containers [OPTION…]`: prints the ids of the project's running containers; options of
# `docker ps` select others.
project_containers() { docker ps --quiet --filter "label=com.docker.compose.project=$(project)" --filter label=com.docker.compose.oneoff=False "$@"; }

# `setting NAME`: prints its value in .env.
setting() { sed -n "s/^$1=//p" "$ENV_FILE" 2>/dev/null | tail -n 1 || true; }

# Resolves a path of .env like compose: relative to this checkout.
absolute() { case $1 in /*) printf '%s\n' "$1" ;; *) printf '%s\n' "$ROOT/$1" ;; esac; }

# `program`: sets MERCH to the newest compiled program, unless it is set; compiles one if there is
# none.
program() {
  local release=$TARGET/release/merch debug=$TARGET/debug/merch
  if [ -n "${MERCH:-}" ]; then return; fi
  if [ -x "$debug" ] && ! [ "$release" -nt "$debug" ]; then
    MERCH=$debug
  else
    [ -x "$release" ] || (cd "$ROOT" && cargo build --release) || fail "cargo failed to compile merch; see the errors above"
    MERCH=$release
  fi
}
merch() {
  program
  "$MERCH" "$@"
}

embedded_ready() { merch health --data-dir "$DATA_DIR" >/dev/null 2>&1; }

# Succeeds if a process holds the embedded store's locks, also while it starts or drains.
embedded_locked() {
  local file
  for file in "$DATA_DIR"/*.lock; do
    if [ -e "$file" ] && ! (exec 8<"$file" && lock 8 now) 2>/dev/null; then return; fi
  done
  return 1
}

# `exec_merch SERVICE ARGUMENT…`: runs merch in a container of the service, with its settings and
# secrets.
exec_merch() {
  local service=$1 terminal=()
  shift
  [ -t 0 ] && [ -t 1 ] || terminal=(-T)
  docker compose exec "${terminal[@]}" "$service" merch "$@"
}

# `sql [OPTION…]`: runs psql as superuser, over the socket in the container; statements come from
# standard input.
sql() { docker compose exec -T postgres psql --no-psqlrc --quiet --username postgres --set ON_ERROR_STOP=1 "$@"; }

# `health CONTAINER`: prints healthy, unhealthy or starting; without a health check running, exited,
# …
health() { docker inspect --format '{{if .State.Health}}{{if .State.Running}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}}{{else}}{{.State.Status}}{{end}}' "$1"; }

# `until_healthy SECONDS CONTAINER…`: waits until all are healthy.
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

# `confirm WHAT`: asks for confirmation, unless YES=1.
confirm() {
  local answer
  if [ "${YES:-}" = 1 ]; then
    printf '%s\n' "$1"
    return
  fi
  [ -t 0 ] || fail "$1 There is no terminal to confirm this; set YES=1"
  read -r -p "$1 Continue? [y/N] " answer
  case $answer in y | Y | yes) ;; *) fail "nothing was changed" ;; esac
}

# Stops the roles that write to the database, runs a command, and starts them again in any case.
# NGINX returns 503 meanwhile. Does not run the command if the roles cannot be stopped.
with_writers_stopped() {
  local found failed=0
  # `set -e` has no effect here: the caller checks the status.
  found=$(containers api && containers db) || return
  mapfile -t stopped < <(printf '%s' "$found" | grep .)
  if [ ${#stopped[@]} -gt 0 ]; then
    # Also after Ctrl-C or a lost terminal.
    trap 'docker start "${stopped[@]}" >/dev/null' EXIT
    trap 'exit 130' INT TERM HUP
    docker stop "${stopped[@]}" >/dev/null || return
  fi
  "$@" || failed=$?
  if [ ${#stopped[@]} -gt 0 ]; then
    # db first, because api needs it to become ready. `up` would create new containers.
    found=$(containers db && containers api) || fail "the engine does not answer and the roles are still stopped; run \`make up\`"
    mapfile -t stopped < <(printf '%s' "$found" | grep .)
    docker start "${stopped[@]}" >/dev/null || fail "failed to restart all roles; run \`make up\`"
    trap - EXIT INT TERM HUP
    until_healthy 120 "${stopped[@]}" || fail "the roles did not become healthy; see docker compose logs db api"
  fi
  return $failed
}
