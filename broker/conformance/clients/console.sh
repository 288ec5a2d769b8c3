#!/usr/bin/env bash
# The round trip with the console tools of Apache Kafka, which are its Java clients: console.sh BOOTSTRAP. KAFKA_HOME says which
# Kafka, GROUP_PROTOCOL how the group is led, classic or consumer. The producer is idempotent, as Java's is by default.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
bootstrap=$1
kafka=$(basename "$(echo "$KAFKA_HOME"/lib/kafka-clients-[0-9]*.jar)" .jar)
version=${kafka#kafka-clients-}
protocol=${GROUP_PROTOCOL:-classic}
topic=console-$version-$protocol
group=$topic-readers
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "console tools: $*" >&2; exit 1; }
tool() {
  timeout 120 "$here/../kafka/tool.sh" "$1" --bootstrap-server "$bootstrap" "${@:2}" 2>>"$work/log" || { cat "$work/log" >&2; fail "$1 ends with $?"; }
}

# Kafka 4 has other names for some options.
reads=--property formats=--property consumes=--consumer-property
case $version in 4.*) reads=--reader-property formats=--formatter-property consumes=--command-property ;; esac

tool kafka-topics --create --topic "$topic" --partitions 3 >"$work/out"
tool kafka-topics --describe --topic "$topic" >"$work/out"
grep -q 'PartitionCount: 3' "$work/out" || { cat "$work/out" >&2; fail "the topic does not have 3 partitions"; }
for codec in none gzip snappy lz4 zstd; do
  for i in $(seq 40); do printf 'codec:%s\t%s-%d\t%s %d snow snow snow snow snow\n' "$codec" "$codec" "$i" "$codec" "$i"; done >"$work/$codec"
  tool kafka-console-producer --topic "$topic" --compression-codec "$codec" $reads parse.key=true $reads parse.headers=true <"$work/$codec" >"$work/out"
  cat "$work/$codec" >>"$work/want"
done
all=$(wc -l <"$work/want")

consume() {
  tool kafka-console-consumer --topic "$topic" --group "$group" --max-messages "$1" --timeout-ms 60000 $formats print.key=true $formats print.headers=true \
    $consumes auto.offset.reset=earliest $consumes group.protocol="$protocol"
}
consume 70 >"$work/got"
[ "$(wc -l <"$work/got")" = 70 ] || fail "the first member reads $(wc -l <"$work/got") records, not 70"
consume $((all - 70)) >>"$work/got"
diff <(sort "$work/got") <(sort "$work/want") >"$work/diff" || { head "$work/diff" >&2; fail "what was read (<) differs from what was written (>)"; }

tool kafka-consumer-groups --describe --group "$group" >"$work/out"
awk -v topic="$topic" -v all="$all" '$2 == topic { committed += $4; behind += $6 } END { exit !(committed == all && behind == 0) }' "$work/out" ||
  { cat "$work/out" >&2; fail "the group has not committed all $all records"; }
# A tool that asks for transactions is told that there are none.
if timeout 60 "$here/../kafka/tool.sh" kafka-transactions --bootstrap-server "$bootstrap" list >"$work/out" 2>&1; then fail "transactions are listed"; fi
grep -q 'does not support LIST_TRANSACTIONS' "$work/out" || { cat "$work/out" >&2; fail "it does not say that transactions are not supported"; }
printf '%s\tfive codecs, idempotent, a %s group resumes; transactions: kafka-transactions says that the node does not support them\n' "$version" "$protocol"
