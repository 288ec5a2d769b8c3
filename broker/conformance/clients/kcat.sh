#!/usr/bin/env bash
# The round trip with kcat: kcat.sh BOOTSTRAP. It has no admin calls: the topic is created by asking for it. It writes an empty value
# as an empty one or, with -Z, as null.
set -euo pipefail
bootstrap=$1 topic=kcat
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "kcat: $*" >&2; exit 1; }

# A line is KEY<tab>VALUE; a record of each codec has no value.
for codec in none gzip snappy lz4 zstd; do
  for i in $(seq 0 39); do
    if [ "$i" = 0 ]; then printf '%s-0\t\n' "$codec"; else printf '%s-%d\t%s %d snow snow snow snow snow snow\n' "$codec" "$i" "$codec" "$i"; fi
  done >"$work/$codec"
  for idempotent in false true; do
    kcat -b "$bootstrap" -t $topic -P -Z -K '\t' -z "$codec" -H "codec=$codec" -X acks=all -X enable.idempotence=$idempotent -l "$work/$codec"
    cat "$work/$codec" >>"$work/want"
  done
done
sed -E 's/^(([a-z0-9]+)-.*)$/\1\tcodec=\2/; s/\t\t/\tNULL\t/' "$work/want" | sort >"$work/want.sorted"
all=$(wc -l <"$work/want")

# consume COUNT reads as a member of the group; what it has read is committed as it leaves.
consume() {
  timeout 60 kcat -b "$bootstrap" -G kcat-readers -q -c "$1" -Z -f '%k\t%s\t%h\n' -X auto.offset.reset=earliest $topic
}
consume 150 >"$work/got"
[ "$(wc -l <"$work/got")" = 150 ] || fail "the first member reads $(wc -l <"$work/got") records, not 150"
consume $((all - 150)) >>"$work/got"
sort "$work/got" | diff - "$work/want.sorted" >"$work/diff" || { head "$work/diff" >&2; fail "what was read (<) differs from what was written (>)"; }

# A transactional producer must be told why not.
if echo x | timeout 60 kcat -b "$bootstrap" -t $topic -P -X transactional.id=kcat 2>"$work/refused"; then fail "a transactional producer is not refused"; fi
grep -q 'no transactions' "$work/refused" || { cat "$work/refused" >&2; fail "it does not say that there are no transactions"; }

version=$(kcat -V | sed -nE 's/.*Version ([0-9.]+).*librdkafka ([0-9.]+).*/\1, librdkafka \2/p')
printf '%s\tfive codecs, idempotent and not, a group resumes; transactions: refused, and it says why\n' "$version"
