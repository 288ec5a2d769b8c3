#!/usr/bin/env bash
# Kafka Connect, standalone, from a file to a topic to a file: run.sh [LINES]. KAFKA_HOME says which Kafka, FIRN the broker's program.
# The worker is stopped half way and started again: source and sink go on where their offsets say, and the files must be equal.
# A sink that is killed may write lines twice; this one is stopped, and commits before it ends.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
source "$here/../firn.sh"
lines=${1:-2000}
work=$(mktemp -d "${TMPDIR:-/tmp}/firn-connect.XXXXXX")
worker=
stop_worker() {
  [ -n "$worker" ] || return 0
  kill "$worker" 2>/dev/null || true
  wait "$worker" 2>/dev/null || true
  worker=
}
trap 'stop_worker; stop_firn; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
start_firn

cat >"$work/worker.properties" <<TXT
bootstrap.servers=$BOOTSTRAP
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.storage.StringConverter
offset.storage.file.filename=$work/offsets
offset.flush.interval.ms=1000
listeners=http://127.0.0.1:0
TXT
cat >"$work/source.properties" <<TXT
name=file-source
connector.class=org.apache.kafka.connect.file.FileStreamSourceConnector
tasks.max=1
file=$work/in
topic=connect-file
TXT
cat >"$work/sink.properties" <<TXT
name=file-sink
connector.class=org.apache.kafka.connect.file.FileStreamSinkConnector
tasks.max=1
file=$work/out
topics=connect-file
consumer.override.auto.offset.reset=earliest
TXT

# work_until COUNT runs a worker until the sink has so many lines, and then a little longer, lest more come.
work_until() {
  "$here/../kafka/tool.sh" connect-standalone "$work/worker.properties" "$work/source.properties" "$work/sink.properties" >"$work/worker.log" 2>&1 &
  worker=$!
  local end=$((SECONDS + 120))
  until [ "$(wc -l <"$work/out")" -ge "$1" ]; do
    if [ $SECONDS -ge $end ] || ! kill -0 "$worker" 2>/dev/null; then
      echo "the sink has $(wc -l <"$work/out") lines of $1; the worker says:" >&2
      tail -n 30 "$work/worker.log" >&2
      exit 1
    fi
    sleep 0.5
  done
  sleep 3
  stop_worker
}

# One partition, so that the lines stay in order.
"$here/../kafka/tool.sh" kafka-topics --bootstrap-server "$BOOTSTRAP" --create --topic connect-file --partitions 1 >"$work/topic.log" 2>&1 ||
  { cat "$work/topic.log" >&2; exit 1; }
touch "$work/out"
half=$((lines / 2))
seq 1 $half | sed 's/^/line /' >"$work/in"
work_until $half
seq $((half + 1)) "$lines" | sed 's/^/line /' >>"$work/in"
work_until "$lines"
cmp "$work/in" "$work/out" || { echo "the files differ: $(wc -l <"$work/in") and $(wc -l <"$work/out") lines" >&2; exit 1; }
echo "Kafka Connect: $lines lines from a file to a topic to a file, with a restart of the worker between them: the files are equal"
