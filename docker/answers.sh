#!/bin/bash
# Starts the API inside its image's root and asks whether it lives: what the rehearsal checks.
set -euo pipefail
export WSI_DATA=/tmp/data WSI_HOST=127.0.0.1
wsi serve --port 8123 &
server=$!
for _ in $(seq 60); do
  sleep 1
  if python3 -c 'import urllib.request as u; u.urlopen("http://127.0.0.1:8123/livez")' 2>/dev/null
  then
    kill "$server"
    wait "$server" || true
    exit 0
  fi
done
exit 1
