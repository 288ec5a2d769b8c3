#!/usr/bin/env bash
# Plays sequences to Firn and to an Apache Kafka that it starts: run.sh SEEDS FIRST. FIRST 0 draws one, and the log says which.
# KAFKA_HOME says which Kafka.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
seeds=${1:?usage: run.sh SEEDS FIRST} first=${2:?usage: run.sh SEEDS FIRST}
port=${PORT:-29192}
dir=$(mktemp -d)
"$here/../kafka/serve.sh" "$port" "$dir" >"$dir/ready" &
kafka=$!
trap 'kill "$kafka" 2>/dev/null && wait "$kafka" || true; rm -rf "$dir"' EXIT
until grep -q ready "$dir/ready"; do
  kill -0 "$kafka" || exit 1
  sleep 0.2
done
cd "$here"
${GO:-go} test -count=1 -timeout 60m -v -run '^TestAgainstKafka$' . -kafka "127.0.0.1:$port" -seeds "$seeds" -seed "$first" |
  grep -v -E '^ *(=== |--- PASS)'
