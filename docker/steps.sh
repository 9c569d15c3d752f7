#!/bin/bash
# Runs the steps of the Dockerfile's second stage without an engine, so that they are not merely prose: what it copies is there, the binary
# runs as nobody, on a read-only file system where that can be had, and the health check says what it should.
#   bash docker/steps.sh BINARY
set -euo pipefail
cd "$(dirname "$0")/.."
binary="$(realpath "${1:-target/release/pgduet}")"
root="$(mktemp -d)"
trap 'rm -rf "$root"; [ -z "${proxy:-}" ] || kill "$proxy" 2>/dev/null || true' EXIT
chmod 755 "$root"

# Every COPY from the context names something that is there.
grep '^COPY' docker/Dockerfile | grep -v -- '--from' | while read -r _ line; do
    for source in $(echo "$line" | awk '{ for (i = 1; i < NF; i++) print $i }'); do
        [ -e "$source" ] || { echo "docker/Dockerfile copies $source, which is not there" >&2; exit 1; }
    done
done
# Everything that the build needs is copied: no include of the sources leads out of them but to what is named.
for file in $(grep -rhoE 'include_(str|bytes)!\("(\.\./)+[^"]*"' src | sed -E 's/.*"(\.\.\/)+//; s/"$//' | sort -u); do
    case "$file" in
        proxy.yaml) grep -q '^COPY.*proxy.yaml' docker/Dockerfile || { echo "docker/Dockerfile does not copy $file" >&2; exit 1; } ;;
    esac
done

install -D -m 755 "$binary" "$root/usr/local/bin/pgduet"
install -D -m 755 docker/ready.sh "$root/usr/local/bin/pgduet-ready"
port=$((20000 + RANDOM % 10000))
cat >"$root/proxy.yaml" <<YAML
listen: 127.0.0.1:$port
admin: { listen: "127.0.0.1:$((port + 1))" }
backends:
  old: { url: "postgres://pgduet@127.0.0.1:1/app" }
  new: { url: "postgres://pgduet@127.0.0.1:1/app" }
clients: { auth: trust }
YAML
chmod 644 "$root/proxy.yaml"
as_nobody=()
[ "$(id -u)" != 0 ] || as_nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set -all --no-new-privs)
"${as_nobody[@]}" "$root/usr/local/bin/pgduet" serve --config "$root/proxy.yaml" 2>/dev/null &
proxy=$!
for _ in $(seq 100); do
    (exec 3<>"/dev/tcp/127.0.0.1/$((port + 1))") 2>/dev/null && break
    kill -0 "$proxy" || { echo "it does not start" >&2; exit 1; }
    sleep 0.1
done
# Without its databases it lives, and is not ready.
if PGDUET_ADMIN_PORT=$((port + 1)) bash "$root/usr/local/bin/pgduet-ready"; then
    echo "the health check says yes without a database" >&2
    exit 1
fi
kill -TERM "$proxy"
wait "$proxy"
proxy=
echo "docker/Dockerfile: its files are there, the binary runs without root, the health check tells ready from not, SIGTERM ends it in order"
