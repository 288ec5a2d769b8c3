# Sourced by the scripts here that need a broker of Firn: start_firn starts FIRN on an empty store below $work, which its caller has
# made, and sets BOOTSTRAP; stop_firn ends it. With BOOTSTRAP set before, that broker is taken instead, Kafka for instance.
firn_broker=

start_firn() {
  [ -z "${BOOTSTRAP:-}" ] || return 0
  "${FIRN:?say where firn is}" broker --store "file://$work/store" --kafka 127.0.0.1:0 >"$work/firn.out" 2>"$work/firn.log" &
  firn_broker=$!
  until grep -qs '^ready' "$work/firn.out"; do
    kill -0 "$firn_broker" 2>/dev/null || { echo "firn broker did not start:" >&2; cat "$work/firn.out" "$work/firn.log" >&2; exit 1; }
    sleep 0.1
  done
  BOOTSTRAP=$(awk '$1 == "kafka" {print $2}' "$work/firn.out")
}

stop_firn() {
  [ -n "$firn_broker" ] || return 0
  kill "$firn_broker" 2>/dev/null || true
  wait "$firn_broker" 2>/dev/null || true
}
