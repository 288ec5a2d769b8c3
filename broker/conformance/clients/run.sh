#!/usr/bin/env bash
# Round trips of clients that are not ours against a broker of Firn: run.sh CLIENT…, as make clients calls it, which installs what they
# need below TOOLS and says FIRN, the program. Starts a broker on an empty store, runs one client after the other, prints a table
# and ends with 1 if any of them failed. With BOOTSTRAP it runs against that broker instead, Kafka for instance.
set -uo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
: "${TOOLS:?say where the clients are installed}"
source ../firn.sh
work=$(mktemp -d "${TMPDIR:-/tmp}/firn-clients.XXXXXX")
trap 'stop_firn; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
start_firn

# names of the runs of a client.
runs() {
  case $1 in
  # these also with the group protocol of KIP-848
  confluent-kafka-python | console-4.3.0) echo "$1" "$1/consumer" ;;
  sarama) echo sarama-2.1 sarama-2.8 sarama-3.6 sarama-newest ;;
  *) echo "$1" ;;
  esac
}

# client NAME prints the version and what passed, with a tab between, or fails.
client() {
  case $1 in
  */consumer) GROUP_PROTOCOL=consumer client "${1%/consumer}" ;;
  kcat) ./kcat.sh "$BOOTSTRAP" ;;
  console-*) KAFKA_HOME=$TOOLS/kafka-${1#console-} ./console.sh "$BOOTSTRAP" ;;
  confluent-kafka-python) "$TOOLS/clients/python/bin/python" python/confluent.py "$BOOTSTRAP" ;;
  kafka-python) "$TOOLS/clients/python/bin/python" python/kafka_python.py "$BOOTSTRAP" ;;
  kafka-python-ng) "$TOOLS/clients/python-ng/bin/python" python/kafka_python.py "$BOOTSTRAP" ;;
  aiokafka) "$TOOLS/clients/python/bin/python" python/aio.py "$BOOTSTRAP" ;;
  kafkajs) NODE_PATH=$TOOLS/clients/node/node_modules node node/kafkajs.js "$BOOTSTRAP" ;;
  kafka-javascript) NODE_PATH=$TOOLS/clients/node/node_modules node node/confluent.js "$BOOTSTRAP" ;;
  sarama-* | kafka-go | franz-go) "$TOOLS/clients/go" "$1" "$BOOTSTRAP" ;;
  rskafka) "$TOOLS/clients/rskafka/debug/roundtrip" "$BOOTSTRAP" ;;
  *) echo "no client is called $1" >&2; return 2 ;;
  esac
}

export PYTHONDONTWRITEBYTECODE=1
failed=0
printf '%-31s %-25s %-7s %5s  %s\n' CLIENT VERSION RESULT TIME WHAT
for name in $(for c in "$@"; do runs "$c"; done); do
  begun=$SECONDS
  if client "$name" >"$work/said" 2>"$work/log"; then
    IFS=$'\t' read -r version what <"$work/said"
    printf '%-31s %-25s %-7s %4ds  %s\n' "$name" "$version" passed $((SECONDS - begun)) "$what"
  else
    printf '%-31s %-25s %-7s %4ds\n' "$name" - FAILED $((SECONDS - begun))
    sed 's/^/    /' "$work/said" "$work/log" | tail -n 20
    failed=$((failed + 1))
  fi
done
if [ "$failed" != 0 ]; then
  echo "$failed failed"
  [ -z "$firn_broker" ] || { echo "the end of the broker's log:"; tail -n 20 "$work/firn.log"; }
  exit 1
fi
