#!/usr/bin/env bash
# Apicurio Registry with its storage in Kafka topics, which are a broker of Firn's: APICURIO says where it is installed, JAVA25 is the
# home of a JDK of 21 or newer, FIRN the broker's program. Schemas are registered and fetched; the registry ends and starts anew with
# nothing but the topics, and must have them all.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
: "${APICURIO:?say where Apicurio Registry is}"
java=${JAVA25:+$JAVA25/bin/java}
if [ -z "$java" ]; then
  for j in /usr/lib/jvm/*/bin/java; do
    major=$("$j" -version 2>&1 | sed -nE '1s/.*version "([0-9]+).*/\1/p')
    if [ "${major:-0}" -ge 21 ]; then java=$j; fi
  done
fi
[ -n "$java" ] || { echo "no Java of 21 or newer below /usr/lib/jvm: set JAVA25" >&2; exit 1; }
work=$(mktemp -d "${TMPDIR:-/tmp}/firn-apicurio.XXXXXX")
source "$here/../firn.sh"
registry=
stop_registry() {
  [ -n "$registry" ] || return 0
  kill "$registry" 2>/dev/null || true
  wait "$registry" 2>/dev/null || true
  registry=
}
trap 'stop_registry; stop_firn; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
start_firn

start_registry() {
  "$java" -Xmx768m -Dquarkus.http.host=127.0.0.1 -Dquarkus.http.port=0 -Dquarkus.management.host=127.0.0.1 -Dquarkus.management.port=0 \
    -Dapicurio.storage.kind=kafkasql -Dapicurio.kafkasql.bootstrap.servers="$BOOTSTRAP" -jar "$APICURIO/quarkus-run.jar" >"$work/registry.log" 2>&1 &
  registry=$!
  local end=$((SECONDS + 180))
  until url=$(sed -nE 's#.*Listening on: (http://127.0.0.1:[0-9]+).*#\1#p' "$work/registry.log") && [ -n "$url" ] &&
    curl -sf "$url/apis/ccompat/v7/subjects" >"$work/subjects"; do
    if [ $SECONDS -ge $end ] || ! kill -0 "$registry" 2>/dev/null; then
      echo "the registry does not start:" >&2
      tail -n 40 "$work/registry.log" >&2
      exit 1
    fi
    sleep 0.5
  done
}

schemas() {
  python3 "$here/schemas.py" "$url/apis/ccompat/v7" "$1" >"$work/said" || {
    echo "the end of the registry's log:" >&2
    tail -n 20 "$work/registry.log" >&2
    exit 1
  }
}

start_registry
schemas register
stop_registry
start_registry
schemas check
echo "Apicurio Registry: $(cat "$work/said") registered, and there after a restart on the same topics"
