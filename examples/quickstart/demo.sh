#!/usr/bin/env bash
# The whole path on one machine: start firn dev on a temporary folder and free ports, produce one week of real earthquakes with a
# stock Kafka client, wait until they are rows of an Iceberg table, and query it. Leaves nothing behind.
set -euo pipefail
cd "$(dirname "$0")/../.."
events=examples/quickstart/earthquakes.jsonl
data=$(mktemp -d "${TMPDIR:-/tmp}/firn-demo.XXXXXX")
firn=
cleanup() {
  if [ -n "$firn" ]; then kill "$firn" 2>/dev/null || true; wait "$firn" 2>/dev/null || true; fi
  rm -rf "$data"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

echo "== firn dev, everything in one process"
bin/firn dev --data "$data" --kafka 127.0.0.1:0 --http 127.0.0.1:0 >"$data/out" 2>"$data/log" &
firn=$!
until grep -q '^ready' "$data/out"; do
  kill -0 "$firn" 2>/dev/null || { echo "firn dev did not start:"; cat "$data/out" "$data/log"; exit 1; }
  sleep 0.1
done
sed -n '1,/^ready/p' "$data/out"
kafka=$(awk '$1 == "kafka" {print $2}' "$data/out")

records=$(wc -l <"$events")
echo
if command -v kcat >/dev/null; then
  echo "== kcat produces $((records)) earthquakes to $kafka"
  kcat -b "$kafka" -t earthquakes -P -X acks=all -l "$events"
else
  echo "== a small Go client produces $((records)) earthquakes to $kafka"
  bin/produce -brokers "$kafka" -topic earthquakes "$events"
fi
acknowledged=$(($(date +%s) * 1000 + 10#$(date +%N | sed 's/N/000000000/' | cut -c1-3)))

echo
echo "== the Iceberg table default.earthquakes, read without Firn"
bin/query -data "$data" -wait "$((records))" -since "$acknowledged"

cat <<'TXT'

What to try next: start it for yourself with

    bin/firn dev

produce to 127.0.0.1:9092 with any Kafka client, for example

    kcat -b 127.0.0.1:9092 -t earthquakes -P -l examples/quickstart/earthquakes.jsonl

and read firn-data with any Iceberg engine: examples/quickstart/README.md has lines for DuckDB and pyiceberg.
TXT
