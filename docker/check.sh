#!/bin/sh
# Checks compose.yaml as far as it can be without an engine. Says so when even that is not possible.
set -eu
cd "$(dirname "$0")"
for script in ready.sh roles.sh secrets.sh load.sh steps.sh debian/build.sh; do
    bash -n "$script"
done
if docker compose version >/dev/null 2>&1; then
    compose="docker compose"
elif command -v docker-compose >/dev/null 2>&1; then
    compose="docker-compose"
else
    echo "SKIPPED: docker/compose.yaml was not checked: neither \"docker compose\" nor docker-compose is installed" >&2
    exit 0
fi
$compose -f compose.yaml --profile watch --profile load --profile traces config -q
echo "docker/compose.yaml is valid ($compose)"
