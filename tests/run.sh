#!/bin/bash
# Runs test programs and adds up what they say. Usage: run.sh LOGDIR NAME=COMMAND...
# A COMMAND is one shell word list that speaks TAP; with NAME! it is one test whose verdict is its exit status and whose
# last line says what it did. Each log is kept in LOGDIR. The last line printed is "N passed, N failed". Two run at a time
# (TEST_JOBS), and are told of in the order given.
set -u
logs=$1
shift
mkdir -p "$logs"
jobs=${TEST_JOBS:-2}

# One test; its numbers go to NAME.count, what is printed of it to NAME.report.
run() {
  local name=${1%%=*} command=${1#*=} tap=1 start status bad skip good note log
  case $name in *!) tap= name=${name%!} ;; esac
  log=$logs/$name.log
  start=$(date +%s.%N)
  CMOCKA_MESSAGE_OUTPUT=TAP timeout -k 5 "${TEST_SECONDS:-420}" bash -c "$command" >"$log" 2>&1 </dev/null
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
  {
    printf '  %-44s %4d passed %3d failed %3d skipped  %5.1f s\n' "$name" "$good" "$bad" "$skip" \
      "$(echo "$(date +%s.%N) $start" | awk '{print $1-$2}')"
    { grep -iE '^(not )?ok.*# skip' "$log" | sed -E 's/^(not )?ok/skipped/I'; if [ -n "$note" ]; then echo "${note#\# }"; fi; } | sed 's/^/    /'
    if [ "$bad" -gt 0 ]; then
      echo "  ---- $log (exit $status)"
      grep -vE '^ok' "$log" | tail -40 | sed 's/^/    /'
    fi
  } >"$logs/$name.report"
  echo "$good $bad $skip" >"$logs/$name.count"
}

passed=0 failed=0 skipped=0
declare -a names pids
told=0

# Tells of the next one that was begun, once it has ended.
tell() {
  wait "${pids[told]}"
  read -r good bad skip <"$logs/${names[told]}.count"
  passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + skip))
  cat "$logs/${names[told]}.report"
  rm -f "$logs/${names[told]}.report" "$logs/${names[told]}.count"
  told=$((told + 1))
}

for test in "$@"; do
  name=${test%%=*}
  while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do
    if [ -n "${pids[told]:-}" ] && ! kill -0 "${pids[told]}" 2>/dev/null; then tell; else wait -n; fi
  done
  rm -f "$logs/${name%!}.count"
  echo "0 1 0" >"$logs/${name%!}.count"
  run "$test" &
  names+=("${name%!}") pids+=($!)
done
while [ $told -lt ${#pids[@]} ]; do tell; done
if [ $skipped -gt 0 ]; then echo "$passed passed, $failed failed, $skipped skipped"; else echo "$passed passed, $failed failed"; fi
[ $failed -eq 0 ]
