#!/bin/bash
# Succeeds when the proxy says that it is ready. The image has no HTTP client, and this needs none.
set -euo pipefail
exec 3<>"/dev/tcp/127.0.0.1/${PGDUET_ADMIN_PORT:-6441}"
printf 'GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
read -r _ status _ <&3
[ "$status" = 200 ]
