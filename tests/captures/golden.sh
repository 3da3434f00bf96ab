#!/bin/bash
# Every capture decodes to the record beside it. golden.sh BUILD [--write]: compares (TAP), or writes them anew.
# A capture that holds no reading has the refusal as its record.
set -u
cd "$(dirname "$0")/../.."
B=$1 n=0 failed=0
for capture in tests/captures/*/*.capture; do
  driver=$(basename "$(dirname "$capture")")
  golden=${capture%.capture}.json
  got=$("$B/asaleed-driver" decode "$driver" "$capture" 2>&1 | sed "s|$capture|CAPTURE|")
  if [ "${2:-}" = --write ]; then
    printf '%s\n' "$got" >"$golden"
    continue
  fi
  n=$((n + 1))
  # The language of the machine must not reach a record.
  french=$(LOCPATH="$B/locale" LC_ALL=fr_FR.UTF-8 "$B/asaleed-driver" decode "$driver" "$capture" 2>&1 | sed "s|$capture|CAPTURE|")
  if [ "$got" = "$(cat "$golden" 2>/dev/null)" ] && [ "$got" = "$french" ]; then
    echo "ok $n - golden $capture"
  else
    echo "not ok $n - golden $capture"
    diff <(cat "$golden" 2>/dev/null | tr ',' '\n') <(tr ',' '\n' <<<"$got") | head -20 | sed 's/^/# /'
    failed=1
  fi
done
[ "${2:-}" = --write ] || echo "1..$n"
exit $failed
