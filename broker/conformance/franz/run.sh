#!/usr/bin/env bash
# The integration tests of franz-go's client against a broker of Firn: run.sh STEP…. FRANZ is what build.sh has built, FIRN the broker's
# program, with an empty store for each step. The steps:
#
#   others   every test but those of the other steps, of transactions and of share groups
#   etl      TestGroupETL in all its variants: chains of groups whose members come and go, over 500,000 records
#   etl10    the same with 50,000 records, ten times
#
# Prints what passed, was skipped and failed of each step, and ends with 1 after a failure.
set -uo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
: "${FRANZ:?say where the tests are}"
source "$here/../firn.sh"
root=$(mktemp -d "${TMPDIR:-/tmp}/firn-franz.XXXXXX")
trap 'stop_firn; rm -rf "$root"' EXIT
trap 'exit 130' INT TERM
given=${BOOTSTRAP:-} failed=0

# tests NAME FLAG… runs them against a broker of their own.
tests() {
  local name=$1 begun=$SECONDS log=$root/$1.log rc=0
  shift
  work=$root/$name BOOTSTRAP=$given
  mkdir -p "$work"
  start_firn
  (cd "$FRANZ/pkg/kgo" && KGO_SEEDS=$BOOTSTRAP KGO_TEST_RF=1 KGO_LOG_LEVEL=none "$FRANZ/kgo.test" -test.v -test.timeout 60m "$@") >"$log" 2>&1 || rc=$?
  stop_firn
  echo "$name: $((SECONDS - begun)) s, $(grep -c '^ *--- PASS: Test' "$log") passed, $(grep -c '^ *--- SKIP' "$log") skipped, $(grep -c '^ *--- FAIL' "$log") failed"
  grep -hE '^ *--- (SKIP|FAIL)' "$log" | sed 's/^ */    /'
  if grep -q 'testing: warning: no tests to run' "$log"; then echo "    no test ran"; rc=1; fi
  if [ "$rc" != 0 ]; then
    cp "$log" "$FRANZ/$name.log"
    echo "    FAILED with $rc: $FRANZ/$name.log has what it printed"
    failed=1
  fi
}

for step in "$@"; do
  case $step in
  others) tests others -test.skip '^(TestGroupETL|TestTxnEtl|TestShareGroup.*)$' ;;
  etl) tests etl -test.run '^TestGroupETL$' ;;
  etl10) for i in $(seq 10); do KGO_TEST_RECORDS=50000 tests "etl-50000-$i" -test.run '^TestGroupETL$'; done ;;
  *) echo "no step is called $step" >&2; exit 2 ;;
  esac
done
exit $failed
