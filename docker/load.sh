#!/bin/sh
# The profile "load" of docker/compose.yaml: pgbench's tables on both sides, dual_write, and a load through the proxy.
set -eu
PGPASSWORD="$(cat /run/secrets/app_password)"
export PGPASSWORD
for side in old new; do
    psql -qAt "postgres://app@$side/app" -c "SELECT 1 FROM pgbench_accounts LIMIT 1" >/dev/null 2>&1 || pgbench -i -q -s 5 "postgres://app@$side/app"
done
psql -q "postgres://app@proxy:6440/pgduet" -c "SET phase = 'dual_write'" -c "SET shadow_sample_percent = 5" -c "SET read_percent = 25"
exec pgbench -n -M prepared -c 8 -j 2 -T 86400 -P 10 --rate="${LOAD_RATE:-200}" -b tpcb-like@2 -b select-only@8 "postgres://app@proxy:6440/app"
