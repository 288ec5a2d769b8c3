#!/usr/bin/env bash
# An Apache Kafka to compare with: serve.sh PORT DIR serves on 127.0.0.1:PORT until a signal, with its data and its log
# (DIR/server.log) in DIR, which is formatted unless it was before. Prints "ready 127.0.0.1:PORT" once it serves.
# KAFKA_HOME says which Kafka. The controller takes the next free port above PORT.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
port=${1:?usage: serve.sh PORT DIR} dir=${2:?usage: serve.sh PORT DIR}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

answers() { (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
if answers "$port"; then
  echo "serve.sh: port $port is taken" >&2
  exit 1
fi
controller=$((port + 1))
while answers "$controller"; do controller=$((controller + 1)); done

{
  cat "$here/server.properties"
  echo "listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller"
  echo "advertised.listeners=PLAINTEXT://127.0.0.1:$port"
  echo "controller.quorum.voters=1@127.0.0.1:$controller"
  echo "log.dirs=$dir/data"
} >"$dir/server.properties"
if [ ! -e "$dir/data/meta.properties" ]; then
  "$here/tool.sh" kafka-storage format -t "$("$here/tool.sh" kafka-storage random-uuid)" -c "$dir/server.properties" >"$dir/format.log" 2>&1 || {
    cat "$dir/format.log" >&2
    exit 1
  }
fi

KAFKA_HEAP_OPTS=${KAFKA_HEAP_OPTS:--Xms512M -Xmx1G} "$here/tool.sh" kafka-server-start "$dir/server.properties" >"$dir/server.log" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null || true' INT TERM EXIT
until grep -q 'Kafka Server started' "$dir/server.log"; do
  if ! kill -0 "$server" 2>/dev/null; then
    echo "serve.sh: Kafka did not start:" >&2
    cat "$dir/server.log" >&2
    exit 1
  fi
  sleep 0.2
done
echo "ready 127.0.0.1:$port"
# A signal ends the first wait; the second one waits until the server has closed its log.
wait "$server" || wait "$server" || true
