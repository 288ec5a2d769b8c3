#!/usr/bin/env bash
# A REST catalog that is not ours, to test with: serve.sh DIR COMMAND… serves tables in DIR, runs the command with FIRN_TEST_REST_URI set, and
# ends with it. ICEBERG_REST is the folder with the jars: make .tools/iceberg-rest-1.10.1/ok.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
dir=${1:?usage: serve.sh DIR COMMAND…}
shift
: "${ICEBERG_REST:?the folder with the jars of the REST catalog}"
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
javac -cp "$ICEBERG_REST/lib/*" -d "$dir/classes" "$here/RestServer.java"
java -Xmx512m -cp "$dir/classes:$ICEBERG_REST/lib/*" org.apache.iceberg.rest.RestServer 0 "$dir" >"$dir/out" 2>"$dir/log" &
server=$!
trap 'kill "$server" 2>/dev/null || true' EXIT
until uri=$(grep -m1 -oP '^ready \K.*?(?=/?$)' "$dir/out" 2>/dev/null); do
  if ! kill -0 "$server" 2>/dev/null; then
    echo "serve.sh: the REST catalog did not start:" >&2
    tail -20 "$dir/log" >&2
    exit 1
  fi
  sleep 0.2
done
FIRN_TEST_REST_URI=$uri "$@"
