#!/bin/bash
# make record: makes the captures of tests/captures/corscience_emi12 anew, by running the shipped daemon and worker against
# the simulated module, and the golden record of each. Usage: record.sh BUILD [NAME...]
set -eu
cd "$(dirname "$0")/../.."
B=$(realpath "$1")
shift
only=" $* "
out=tests/captures/corscience_emi12
mkdir -p "$out"
D=$(mktemp -d)
pid=
stop() { if [ -n "$pid" ]; then kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; pid=; fi; }
trap 'stop; rm -rf "$D"' EXIT

# session NAME SECONDS CANCEL_AFTER CONTROL KEYS: one acquisition, its capture under NAME; KEYS are the simulated
# module's ("speed=4,fault=bad-crc").
session() {
  local name=$1 seconds=$2 cancel=$3 control=$4 keys=${5:+,$5}
  if [ "$only" != "  " ] && [[ $only != *" $name "* ]]; then return; fi
  rm -rf "$D"/* && mkdir -p "$D/store" "$D/devices.d"
  printf '[device ecg1]\ndriver = corscience_emi12\nusb-serial = EMI12SIM\n' >"$D/devices.d/ecg1.conf"
  : >"$D/asaleed.conf"
  umockdev-wrapper "$B/tests/sim" --instrument "emi12,serial=EMI12SIM,seed=7$keys" --control "$D/sim.sock" -- \
    "$B/asaleed" --config "$D/asaleed.conf" --store "$D/store" --socket "$D/api.sock" --devices "$D/devices.d" \
    --messages config/messages.fr --driver-program "$B/asaleed-driver" 2>"$D/log" &
  pid=$!
  local ctl=("$B/asaleectl" --socket "$D/api.sock")
  for _ in $(seq 100); do "${ctl[@]}" devices --json 2>/dev/null | grep -q '"maturity":"' && break; sleep 0.1; done
  (umask 077; "${ctl[@]}" user add ines --role nurse --json | sed -n 's/.*"token":"\([0-9a-f]*\)".*/\1/p' >"$D/token")
  ctl+=(--token-file "$D/token")
  "${ctl[@]}" patient put CAPTURE --family Capture --given Essai --birth-date 1960-01-01 --sex F >/dev/null
  "${ctl[@]}" order CAPTURE ecg >/dev/null
  if [ -n "$control" ]; then python3 tests/captures/say.py "$D/sim.sock" "$control"; fi
  if [ -n "$cancel" ]; then (sleep "$cancel"; "${ctl[@]}" cancel S-1 >/dev/null) & fi
  "${ctl[@]}" acquire S-1 --device ecg1 --seconds "$seconds" >"$D/out" 2>&1 || true
  wait %2 2>/dev/null || true
  stop
  local sha
  sha=$(sqlite3 "$D/store/asaleed.db" "SELECT capture FROM acquisition ORDER BY id DESC LIMIT 1")
  if [ -z "$sha" ]; then echo "$name: nothing was captured" >&2; cat "$D/out" "$D/log" >&2; exit 1; fi
  # One start for all, so that a capture made anew differs only where the conversation does.
  sed 's/^start .*/start 2026-01-05T09:30:00.000000+01:00/' "$D/store/artefacts/${sha:0:2}/$sha" >"$out/$name.capture"
  tail -n 1 "$out/$name.capture" | sed "s/^/$name: /"
}

session normal 2 '' '' speed=4
session lost-frame 2 '' '' speed=4,fault=lost-frame:40
session bad-crc 2 '' '' speed=4,fault=bad-crc:35
session lead-off 2 '' '' speed=4,fault=lead-off:2
session duplicate-frame 2 '' '' speed=4,fault=duplicate-frame:30
session wrap 2 '' '' speed=4,packet=200,block=65535
session wrong-device 2 '' '' fault=wrong-device
session self-test-fail 2 '' '' fault=self-test-fail
session silence 4 '' '' fault=silence:60
session babble 2 '' '' fault=babble
session wrong-rate 2 '' '' fault=wrong-rate
session cancelled 60 4 ''
session unplugged 4 '' 'unplug-after 9000'
head -c $(($(wc -c <"$out/normal.capture") / 2)) "$out/normal.capture" >"$out/cut.capture"
tests/captures/golden.sh "$B" --write
