#!/bin/bash
# Runs test programs and adds up what they say. Usage: run.sh LOGDIR NAME=COMMAND...
# A COMMAND is one shell word list that speaks TAP; with NAME! it is one test whose verdict is its exit status and whose
# last line says what it did. Each log is kept in LOGDIR. The last line printed is "N passed, N failed".
set -u
logs=$1
shift
mkdir -p "$logs"
passed=0 failed=0 skipped=0
for test in "$@"; do
  name=${test%%=*} command=${test#*=}
  tap=1
  case $name in *!) tap= name=${name%!} ;; esac
  log=$logs/$name.log
  start=$(date +%s.%N)
  CMOCKA_MESSAGE_OUTPUT=TAP timeout -k 5 "${TEST_SECONDS:-240}" bash -c "$command" >"$log" 2>&1 </dev/null
  status=$?
  # A skipped test is "ok" in TAP; cmocka says "not ok".
  bad=$(grep '^not ok' "$log" | grep -civ '# skip')
  skip=$(grep -ciE '^(not )?ok.*# skip' "$log")
  good=$(grep '^ok' "$log" | grep -civ '# skip')
  if [ -z "$tap" ]; then
    skip=0 good=$((status == 0)) bad=$((status != 0))
    note=$(tail -n 1 "$log")
  else
    note=$(grep -E '^# ' "$log" | grep -vE '^# (not )?ok' | tail -n 3)
  fi
  # A program that dies, or that runs no test at all, has failed whatever it printed.
  if [ $status -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
  if [ $((good + bad + skip)) -eq 0 ]; then bad=1; fi
  passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + skip))
  printf '  %-44s %4d passed %3d failed %3d skipped  %5.1f s\n' "$name" $good $bad $skip \
    "$(echo "$(date +%s.%N) $start" | awk '{print $1-$2}')"
  { grep -iE '^(not )?ok.*# skip' "$log" | sed -E 's/^(not )?ok/skipped/I'; if [ -n "$note" ]; then echo "${note#\# }"; fi; } | sed 's/^/    /'
  if [ "$bad" -gt 0 ]; then
    echo "  ---- $log (exit $status)"
    grep -vE '^ok' "$log" | tail -40 | sed 's/^/    /'
  fi
done
if [ $skipped -gt 0 ]; then echo "$passed passed, $failed failed, $skipped skipped"; else echo "$passed passed, $failed failed"; fi
[ $failed -eq 0 ]
