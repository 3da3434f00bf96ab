#!/bin/bash
# make run: the main job from end to end on an instrument, printed step by step.
#   demo.sh BUILD          a simulated EMI12 behind the real driver and the real serial library
#   REAL=/dev/ttyUSB0      the instrument on that port instead
#   ONCE=1                 end after the steps (else the daemon stays up until Ctrl-C)
set -eu
umask 077
cd "$(dirname "$0")/../.."
B=$(realpath "$1")
D=$(realpath -m "${RUN_DIR:-build/run}")
rm -rf "$D"
mkdir -p "$D/store" "$D/devices.d" "$D/tokens"
step() { printf '\n\033[1m%s\033[0m\n' "$*" | if [ -t 1 ]; then cat; else sed 's/\x1b\[[0-9]*m//g'; fi; }
ctl() { "$B/asaleectl" --socket "$D/api.sock" "$@"; }
as() { local who=$1; shift; "$B/asaleectl" --socket "$D/api.sock" --token-file "$D/tokens/$who" "$@"; }

daemon_args=(--store "$D/store" --socket "$D/api.sock" --listen 127.0.0.1:0 --devices "$D/devices.d"
  --messages config/messages.fr --driver-program "$B/asaleed-driver" --config "$D/asaleed.conf")
: >"$D/asaleed.conf"
# In a session of its own: Ctrl-C is for the step that runs (asaleectl cancels the acquisition), and the daemon, which
# must outlive that step, ends with this script however it ends.
start() {
  setsid setpriv --pdeathsig TERM "$@" 2>"$D/asaleed.log" &
  pid=$!
}
if [ -n "${REAL:-}" ]; then
  printf '[device ecg1]\ndriver = corscience_emi12\nlabel = ECG salle 1\nnode = %s\n' "$REAL" >"$D/devices.d/ecg1.conf"
  start "$B/asaleed" "${daemon_args[@]}"
else
  printf '[device ecg1]\ndriver = corscience_emi12\nlabel = ECG salle 1 (simulé)\nusb-serial = EMI12SIM\n' \
    >"$D/devices.d/ecg1.conf"
  start umockdev-wrapper "$B/tests/sim" --instrument emi12,serial=EMI12SIM --control "$D/sim.sock" -- "$B/asaleed" "${daemon_args[@]}"
fi
stop() {
  local status=$?
  kill "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  if [ $status -ne 0 ] && [ $status -ne 130 ]; then echo "It did not go through: see $D/asaleed.log" >&2; fi
}
trap stop EXIT
trap 'exit 130' INT TERM HUP
for _ in $(seq 100); do
  ctl devices --json 2>/dev/null | grep -q '"maturity":"' && break
  kill -0 "$pid" 2>/dev/null || { echo "asaleed did not start:" >&2; cat "$D/asaleed.log" >&2; exit 1; }
  sleep 0.1
done

step "1. The instruments"
ctl devices
step "2. A nurse, a GP, a patient"
for who in nurse:ines gp:martin; do
  ctl user add "${who#*:}" --role "${who%:*}" --json | sed -n 's/.*"token":"\([0-9a-f]*\)".*/\1/p' >"$D/tokens/${who#*:}"
done
as ines patient put DEMO-1 --family Exemple --given Camille --birth-date 1958-04-12 --sex F
step "3. The nurse orders an ECG and records it"
study=$(as ines order DEMO-1 ecg --json | sed -n 's/.*"study":{"id":"\(S-[0-9]*\)".*/\1/p')
as ines acquire "$study" --device ecg1 --seconds "${SECONDS_OF_ECG:-10}"
step "4. She looks at its technical quality and sends it to the GP"
as ines show "$study"
as ines accept "$study" --confirm
step "5. The GP's queue"
as martin queue
step "6. The GP claims it, reads it, signs"
as martin claim "$study" --claim-file "$D/claim"
as martin sign "$study" --claim-file "$D/claim" --conclusion normal --text "Rythme sinusal régulier, pas d'anomalie de repolarisation."
as martin show "$study"
step "7. What the nurse sees now: the state, not the interpretation"
as ines show "$study"
step "8. The proof"
ctl audit verify
record=$(as martin show "$study" --json | grep -o '"R-[0-9]*"' | head -1 | tr -d '"')
as martin show "$record" --channels "$D/channels.bin"
echo
echo "Kept in $D: store/ (database and artefacts), asaleed.log, channels.bin; tokens/ines and tokens/martin are the accounts."
if [ -n "${ONCE:-}" ]; then exit 0; fi
echo "The daemon is up at $(sed -n 's/.*listening on //p' "$D/asaleed.log"), socket $D/api.sock. Try:"
echo "  $B/asaleectl --socket $D/api.sock --token-file $D/tokens/martin show $study"
echo "Ctrl-C ends it."
wait "$pid"
