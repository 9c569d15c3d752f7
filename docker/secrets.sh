#!/bin/sh
# Makes the passwords of docker/compose.yaml, once. They stay in docker/secrets/, which is not committed.
set -eu
cd "$(dirname "$0")"
mkdir -p secrets
# The containers' users read the files, through mounts of their own; on this machine the directory keeps others out.
chmod 700 secrets
for name in postgres_password pgduet_password app_password admin_token; do
    [ -s "secrets/$name" ] || head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n' >"secrets/$name"
done
printf '*:*:*:pgduet:%s\n' "$(cat secrets/pgduet_password)" >secrets/pgpass
chmod 644 secrets/*
