#!/usr/bin/env bash
# Exits 0 when every role of the node in the data dir serves: `/ready` of each of its HTTP listeners
# answers 200, over TLS where it has that. What a role waits for goes to stdout. Needs bash and sed,
# which every Debian has, and openssl for TLS, which comes with ca-certificates.
set -euo pipefail

ports="${TANNIN_NODE__DATA_DIR:-/var/lib/tannin}/ports.json"
if [[ ! -r "$ports" ]]; then
  echo "$ports is not there: the node has not started"
  exit 1
fi
# "broker_http":"0.0.0.0:8099" → 0.0.0.0:8099
mapfile -t listeners < <(grep -o '"[a-z]*_http": *"[^"]*"' "$ports" | sed 's/.*: *"\(.*\)"$/\1/')

failed=0
for listener in "${listeners[@]}"; do
  host="${listener%:*}" port="${listener##*:}"
  case "$host" in
    0.0.0.0 | "[::]") host=127.0.0.1 ;;
    # bash wants IPv6 without brackets
    "["*"]") host="${host:1:-1}" ;;
  esac
  request='GET /ready HTTP/1.0\r\nHost: localhost\r\n\r\n'
  exec 3<>"/dev/tcp/$host/$port"
  printf '%b' "$request" >&3
  # What speaks TLS says nothing that is text.
  answer="$(cat <&3 | tr -d '\000')"
  exec 3<&- 3>&-
  if [[ "$answer" != "HTTP/1."* ]]; then
    answer="$(printf '%b' "$request" | openssl s_client -quiet -connect "$host:$port" 2>/dev/null || true)"
  fi
  if [[ "$answer" != "HTTP/1."?" 200 "* ]]; then
    echo "$listener: ${answer##*$'\n'}"
    failed=1
  fi
done
exit "$failed"
