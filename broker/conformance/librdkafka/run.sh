#!/usr/bin/env bash
# librdkafka's own tests against a broker, one process for each id: run.sh [ID…], all that need a broker without arguments.
#
#   LIBRDKAFKA  the folder that build.sh made
#   KAFKA_HOME  an Apache Kafka, of which some tests run the tools
#   FIRN        the program under test; it is started on a fresh store, with the defaults of firn broker
#   BOOTSTRAP   a broker to test instead, host:port
#   OUT         a folder for the logs (default a new temporary one)
#   MULTIPLIER  of all time limits of the tests, for busy machines (default 3)
#   TEST_CONSUMER_GROUP_PROTOCOL=consumer  for the groups of KIP-848 in place of classic ones
#
# Tests of a broker that creates no topics by itself come last, against a Firn of its own. Prints a line for each id. lacking.txt lists the ids that need what Firn does not have; any other failure makes the exit status 1.
# Ids whose tests are all for something else, such as a mock, are left out.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
tests=$(cd "${LIBRDKAFKA:?}/librdkafka/tests" && pwd)
KAFKA_HOME=$(cd "${KAFKA_HOME:?}" && pwd)
out=${OUT:-$(mktemp -d "${TMPDIR:-/tmp}/firn-conformance.XXXXXX")}
mkdir -p "$out/bin"
out=$(cd "$out" && pwd)
# Of one process. The slowest id takes three minutes on an idle machine.
limit=600

firn=
stop() {
  [ -n "$firn" ] || return 0
  kill "$firn" 2>/dev/null || true
  wait "$firn" 2>/dev/null || true
  firn=
  rm -rf "$out/store"
}
trap stop EXIT
trap 'exit 130' INT TERM

# serve FLAG… starts a Firn in place of the one before.
serve() {
  stop
  rm -rf "$out/store"
  : >"$out/firn.out"
  "${FIRN:?}" broker --store "file://$out/store" --kafka 127.0.0.1:0 "$@" >"$out/firn.out" 2>>"$out/firn.log" &
  firn=$!
  until grep -q '^ready' "$out/firn.out"; do
    kill -0 "$firn" 2>/dev/null || {
      cat "$out/firn.out" "$out/firn.log" >&2
      exit 1
    }
    sleep 0.1
  done
  use "$(awk '$1 == "kafka" {print $2}' "$out/firn.out")"
}

# use ADDRESS makes it the broker that the tests talk to.
use() {
  export BROKERS=$1
  printf 'bootstrap.servers=%s\ntest.timeout.multiplier=%s\n' "$1" "${MULTIPLIER:-3}" >"$out/test.conf"
}

# The tests look for Kafka's tools by these names. Those of share groups need a newer Kafka.
for tool in kafka-topics kafka-configs kafka-acls; do ln -sf "$here/../kafka/tool.sh" "$out/bin/$tool.sh"; done
export KAFKA_HOME KAFKA_PATH=$out PATH="$out/bin:$PATH" RDKAFKA_TEST_CONF=$out/test.conf TEST_KAFKA_VERSION=3.9.1
export LD_LIBRARY_PATH=$tests/../src:$tests/../src-cpp

# runner ID LOG FLAG… runs the tests of an id, but for those that need no broker (-L).
runner() {
  local id=$1 log=$2
  shift 2
  (cd "$tests" && TESTS=$id timeout -k 5 "$limit" ./test-runner -L -p1 "$@" || true) 2>&1 | sed 's/\x1b\[[0-9;]*m//g' >"$log"
}

# results LOG gives a line for each test that was not filtered out: name, result, seconds.
results() {
  { grep -aE '^\| *[0-9]{4}_' "$1" || true; } | grep -av 'Filtered due to' | tr -d '|' | awk '{print $1, $2, $3 + 0}'
}

# verdict LOG gives one word, and the seconds of all tests. A test that fails while it holds a client ends the process before there
# is a summary, as does one that does not end in time.
verdict() {
  if grep -qa 'TEST FAILURE' "$1"; then
    echo FAILED -
  elif grep -qaE '^\| <MAIN>' "$1"; then
    # A test for another scenario is in the summary, but it has not said why it is skipped.
    results "$1" | awk -v skipped="$(grep -a 'SKIPPING TEST' "$1" | grep -cv 'Filtered due to')" '{n[$2]++; s += $3} END {
      r = n["FAILED"] ? "FAILED" : n["PASSED"] ? "PASSED" : skipped ? "SKIPPED" : "NONE"
      printf "%s %.1f\n", r, s}'
  else
    echo TIMEOUT -
  fi
}

# cause LOG gives what a failed test says first.
cause() {
  { grep -a -m1 -A1 '^### Test "[0-9].*failed at' "$1" || true; } |
    sed -E 's/^### Test .* failed at //; s/\(\) at [A-Z][a-z]{2} [A-Z][a-z]{2} .*//' | paste -sd: | cut -c1-160
}

# whole ID sets result, seconds, mode and note.
whole() {
  local log=$out/$1${TEST_SCENARIO:+-$TEST_SCENARIO}.log
  mode=quick
  runner "$1" "$log" -Q
  # What has nothing to do in quick mode passes in no time, or is skipped: that says nothing.
  if results "$log" | grep -q ' PASSED 0$' || grep -qa 'SKIPPING TEST: .*quick mode' "$log"; then
    log=${log%.log}-full.log mode=full
    runner "$1" "$log"
  fi
  read -r result seconds < <(verdict "$log")
  note=$(cause "$log")
}

# parts ID PARTS is whole for some subtests, by parts of their names, or for another version of Kafka. A part that is not there fails.
parts() {
  local part log one all=0
  result=PASSED mode=quick note=
  while IFS= read -r part; do
    log=$out/$1-$(tr -c 'A-Za-z0-9\n' - <<<"$part").log
    case $part in
    'as Kafka '*) TEST_KAFKA_VERSION=${part#as Kafka } runner "$1" "$log" -Q ;;
    *) SUBTESTS=$part runner "$1" "$log" -Q ;;
    esac
    read -r one seconds < <(verdict "$log")
    all=$(awk -v a="$all" -v b="$seconds" 'BEGIN {printf "%.1f", a + b}')
    if [ "$one" != PASSED ] || results "$log" | grep -q ' PASSED 0$'; then
      result=FAILED note="$part: $(cause "$log") $note"
    fi
  done < <(tr ',' '\n' <<<"$2" | sed 's/^ *//; s/ *$//')
  seconds=$all
}

declare -A total=([PASSED]=0 [PARTLY]=0 [SKIPPED]=0 [LACKING]=0 [FAILED]=0 [TIMEOUT]=0 [NONE]=0)
unexpected=() surprising=()

# judge ID runs it, counts the result and prints it.
judge() {
  local id=$1 listed needs failing some
  IFS='|' read -r listed needs failing some < <(grep "^$id " "$here/lacking.txt" | sed 's/ *| */|/g' || echo '|||')
  if [ -n "$some" ]; then parts "$id" "$some"; else whole "$id"; fi
  case $result in
  FAILED | TIMEOUT)
    if [ -n "$failing" ] && [[ $note == *"$failing"* ]]; then
      result=LACKING note="needs $needs"
    else
      unexpected+=("$id")
    fi
    ;;
  PASSED)
    if [ -n "$some" ]; then
      result=PARTLY note="but for what needs $needs"
    elif [ -n "$listed" ]; then
      surprising+=("$id")
    fi
    ;;
  esac
  total[$result]=$((total[$result] + 1))
  [ "$result" = NONE ] || printf '%s  %-7s  %6s s  %-5s  %s\n' "$id" "$result" "$seconds" "$mode" "${TEST_SCENARIO:+$TEST_SCENARIO }$note"
}

if [ $# -eq 0 ]; then
  # shellcheck disable=SC2046 # ids are words
  set -- $(cd "$tests" && printf '%s\n' 0*.c 0*.cpp | cut -c1-4 | sort -u)
fi
if [ -n "${BOOTSTRAP:-}" ]; then use "$BOOTSTRAP"; else serve; fi
for id in "$@"; do judge "$id"; done

creating=$(awk '/_TEST\(0/ {id = substr($1, 7, 4)} /scenario = "noautocreate"/ {print id}' "$tests/test.c" | sort -u)
creating=$(comm -12 <(printf '%s\n' "$@" | sort -u) <(echo "$creating"))
if [ -z "${BOOTSTRAP:-}" ] && [ -n "$creating" ]; then
  serve --auto-create=false
  export TEST_SCENARIO=noautocreate
  for id in $creating; do judge "$id"; done
fi

echo "passed ${total[PASSED]}, partly ${total[PARTLY]}, lacking ${total[LACKING]}, skipped ${total[SKIPPED]}," \
  "failed $((total[FAILED] + total[TIMEOUT])); logs in $out"
[ ${#surprising[@]} -eq 0 ] || echo "passed, though lacking.txt says that it cannot: ${surprising[*]}"
if [ ${#unexpected[@]} -gt 0 ]; then
  echo "failed: ${unexpected[*]}"
  exit 1
fi
