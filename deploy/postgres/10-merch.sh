#!/usr/bin/env bash
# Run by PostgreSQL's image when its volume is new: the role that the store logs in with. It owns the database, so that it may migrate it, and it is no
# superuser. Its password comes by the environment, or by a file (MERCH_DATABASE_PASSWORD_FILE), and stands on no command line.
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
