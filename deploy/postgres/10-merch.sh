#!/usr/bin/env bash
# PostgreSQL's image runs this on a new volume. Creates the store's role: owner of the database, for
# migrations, but not a superuser. The password comes from the environment or a file
# (MERCH_DATABASE_PASSWORD_FILE), never from a command line.
set -euo pipefail

if [ -n "${MERCH_DATABASE_PASSWORD_FILE:-}" ]; then
  MERCH_DATABASE_PASSWORD=$(cat "$MERCH_DATABASE_PASSWORD_FILE")
  export MERCH_DATABASE_PASSWORD
fi
: "${MERCH_DATABASE_PASSWORD:?is empty; expected the password of the role that the store logs in with, or MERCH_DATABASE_PASSWORD_FILE}"
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --host /var/run/postgresql --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
\getenv password MERCH_DATABASE_PASSWORD
CREATE ROLE merch LOGIN PASSWORD :'password';
REVOKE ALL ON DATABASE :"DBNAME" FROM PUBLIC;
ALTER DATABASE :"DBNAME" OWNER TO merch;
SQL
