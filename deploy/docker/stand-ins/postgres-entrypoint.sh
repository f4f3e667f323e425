#!/bin/sh
# What compose.yaml asks of the official image's entrypoint: a cluster with a user, a password and a database, made at the
# first start, and a list of who may come that lets anybody in who has the password.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  # shellcheck disable=SC2086 # several arguments in one variable
  initdb --username "$POSTGRES_USER" --pwfile "$POSTGRES_PASSWORD_FILE" $POSTGRES_INITDB_ARGS
  echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
  pg_ctl start --wait --options "-c listen_addresses='' -c unix_socket_directories=/run/postgresql"
  createdb --host /run/postgresql --username "$POSTGRES_USER" "$POSTGRES_DB"
  pg_ctl stop --mode fast
fi
exec "$@"
