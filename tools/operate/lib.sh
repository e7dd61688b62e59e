# What the operator's words in this folder share. Sourced by them, never run.
# shellcheck shell=bash
# shellcheck disable=SC2034 # the scripts use these variables

. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
cd "$ROOT"

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
  [ -n "$name" ] || name=$(sed -n 's/^COMPOSE_PROJECT_NAME=//p' "$ENV_FILE" 2>/dev/null | tail -n 1) || true
  printf '%s\n' "${name:-merch}"
}

# `containers SERVICE…`: the ids of all containers of these services, oldest first, without those of `docker compose run`.
containers() {
  local service
  for service; do
    docker ps --all --quiet --no-trunc --filter "label=com.docker.compose.project=$(project)" --filter "label=com.docker.compose.service=$service" \
      --filter label=com.docker.compose.oneoff=False | tac
  done
}

# Which store is meant, compose or embedded: $STORE, or compose when any of its containers run.
store() {
  case ${STORE:-} in
    compose | embedded) printf '%s\n' "$STORE" ;;
    '')
      if engine && [ -n "$(docker ps --quiet --filter "label=com.docker.compose.project=$(project)" | head -n 1)" ]; then
        echo compose
      else
        echo embedded
      fi
      ;;
    *) fail "STORE is \"$STORE\"; expected compose or embedded" ;;
  esac
}

# `merch ARGUMENT…` for the embedded store: $MERCH, or what was compiled last for release or for debugging, or cargo compiles it.
merch() {
  if [ -n "${MERCH:-}" ]; then
    "$MERCH" "$@"
  elif [ -x "$TARGET/release/merch" ]; then
    "$TARGET/release/merch" "$@"
  elif [ -x "$TARGET/debug/merch" ]; then
    "$TARGET/debug/merch" "$@"
  else
    cargo run --quiet --release -- "$@"
  fi
}

# Whether the embedded store runs.
embedded_runs() { merch health --data-dir "$DATA_DIR" >/dev/null 2>&1; }

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
  if [ "${YES:-}" = 1 ]; then return; fi
  [ -t 0 ] || fail "$1 Nobody can be asked here; say YES=1 if that is meant"
  read -r -p "$1 Go on? [y/N] " answer
  case $answer in y | Y | yes) ;; *) fail "nothing was done" ;; esac
}

# Stops the roles that write to the database, runs a command, and starts them again, whatever becomes of it. NGINX answers 503 meanwhile.
without_writers() {
  local writers failed=0
  mapfile -t writers < <(containers api; containers db)
  if [ ${#writers[@]} -gt 0 ]; then
    # Also after Ctrl-C, or when the terminal is lost.
    stopped=("${writers[@]}")
    trap 'docker start "${stopped[@]}" >/dev/null' EXIT
    trap 'exit 130' INT TERM HUP
    docker stop "${writers[@]}" >/dev/null
  fi
  "$@" || failed=$?
  trap - EXIT INT TERM HUP
  if [ ${#writers[@]} -gt 0 ]; then
    # db first, as api is ready only with it.
    mapfile -t writers < <(containers db; containers api)
    docker start "${writers[@]}" >/dev/null
    until_healthy 120 "${writers[@]}" || fail "the roles are not healthy again; docker compose logs db api says why"
  fi
  return $failed
}
