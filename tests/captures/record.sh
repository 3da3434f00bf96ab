#!/bin/bash
# make record: makes captures anew, by running the shipped daemon and worker against the simulated instruments, and the
# golden record of each. Usage: record.sh BUILD [NAME...]
#
# Captures of spirometers that are named for bytes no simulator sends were written by hand and stay as they are.
set -eu
cd "$(dirname "$0")/../.."
B=$(realpath "$1")
shift
only=" $* "
D=$(mktemp -d)
pid=
stop() { if [ -n "$pid" ]; then kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; pid=; fi; }
trap 'stop; rm -rf "$D"' EXIT

# instrument DRIVER ENGINE ACT START: of the sessions that follow. START "" keeps the start of each capture: a driver that
# sets the instrument's clock said it on the wire.
instrument() {
  driver=$1 engine=$2 act=$3 start=$4
  out=tests/captures/$driver
  mkdir -p "$out"
}

# session NAME SECONDS CANCEL_AFTER CONTROL KEYS [PICTURES]: one acquisition, its capture under NAME; KEYS are the
# simulated instrument's ("speed=4,fault=bad-crc").
session() {
  local name=$1 seconds=$2 cancel=$3 control=$4 keys=${5:+,$5}
  if [ "$only" != "  " ] && [[ $only != *" $name "* && $only != *" $driver "* ]]; then return; fi
  rm -rf "$D"/* && mkdir -p "$D/store" "$D/devices.d"
  printf '[device d1]\ndriver = %s\nusb-serial = RECORDED\ncalibration = off\n' "$driver" >"$D/devices.d/d1.conf"
  : >"$D/asaleed.conf"
  umockdev-wrapper "$B/tests/sim" --instrument "$engine,serial=RECORDED,seed=7$keys" --control "$D/sim.sock" -- \
    "$B/asaleed" --config "$D/asaleed.conf" --store "$D/store" --socket "$D/api.sock" --devices "$D/devices.d" \
    --messages config/messages.fr --driver-program "$B/asaleed-driver" 2>"$D/log" &
  pid=$!
  local ctl=("$B/asaleectl" --socket "$D/api.sock")
  for _ in $(seq 100); do "${ctl[@]}" devices --json 2>/dev/null | grep -q '"maturity":"' && break; sleep 0.1; done
  (umask 077; "${ctl[@]}" user add ines --role nurse --json | sed -n 's/.*"token":"\([0-9a-f]*\)".*/\1/p' >"$D/token")
  ctl+=(--token-file "$D/token")
  "${ctl[@]}" patient put CAPTURE --family Capture --given Essai --birth-date 1960-01-01 --sex F >/dev/null
  "${ctl[@]}" order CAPTURE "$act" >/dev/null
  if [ -n "$control" ]; then python3 tests/captures/say.py "$D/sim.sock" "$control"; fi
  if [ -n "$cancel" ]; then (sleep "$cancel"; "${ctl[@]}" cancel S-1 >/dev/null) & fi
  "${ctl[@]}" acquire S-1 --device d1 --seconds "$seconds" ${6:+--pictures "$6"} >"$D/out" 2>&1 || true
  wait %2 2>/dev/null || true
  stop
  local sha
  sha=$(sqlite3 "$D/store/asaleed.db" "SELECT capture FROM acquisition ORDER BY id DESC LIMIT 1")
  if [ -z "$sha" ]; then echo "$name: nothing was captured" >&2; cat "$D/out" "$D/log" >&2; exit 1; fi
  # One start for all where that can be, so that a capture made anew differs only where the conversation does.
  sed "s/^start .*/start ${start:-&}/; s/^start start /start /" "$D/store/artefacts/${sha:0:2}/$sha" >"$out/$name.capture"
  local blob
  for blob in $(blobs_of "$out/$name.capture"); do
    mkdir -p "$out/blobs"
    cp "$D/store/artefacts/${blob:0:2}/$blob" "$out/blobs/"
    chmod 644 "$out/blobs/$blob"
  done
  tail -n 1 "$out/$name.capture" | sed "s/^/$name: /"
}
blobs_of() { sed -n 's/^[#~] [0-9]* [0-9]* \([0-9a-f]*\)$/\1/p' "$@"; }

instrument corscience_emi12 emi12 ecg 2026-01-05T09:30:00.000000+01:00
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

instrument vitalograph_lungmonitor vitalograph spirometry ''
session simulated-a 20 '' '' model=a,auto=1200
session simulated-b 20 '' '' model=b,auto=1200,fev1-best=401,pef-best=512
session simulated-memory 20 '' '' model=b,records=2,auto=1500
session simulated-2013 20 '' '' model=a,clock=2013-05-28T10:44:00,auto=1200

instrument contec_sp80b sp80b spirometry ''
session simulated-normal 60 '' '' records=2,auto=yes
session simulated-cough 60 '' '' 'records=1,auto=yes,manner=obstructive cough'
session simulated-cut-wave 60 '' '' records=1,auto=yes,fault=cut-wave:1

instrument ieee11073_phdc phdc spirometry ''
session simulated-pefm 20 '' '' profile=pefm,auto=300
session simulated-spirometer 20 '' '' profile=spirometer,auto=300
session simulated-split 20 '' '' profile=pefm,auto=300,fault=split:7
session simulated-nan 20 '' '' profile=pefm,auto=300,fault=nan:2
session simulated-2013 20 '' '' profile=pefm,auto=300,fault=clock-2013
session simulated-store 20 '' '' profile=pmstore,stored=3,auto=300
instrument ieee11073_phdc phdc measurement ''
session simulated-bp 20 '' '' profile=bp,auto=300
instrument ieee11073_phdc phdc ecg ''
session simulated-ecg 2 '' '' profile=ecg,auto=300

small="size=32x32,auto=300"
instrument ptp_camera ptp fundus ''
session simulated-normal 20 '' '' "$small" 2
session simulated-two-cards 20 '' '' "$small,storages=2,stored=3" 1
session simulated-eos 20 '' '' "$small,eos=yes" 1
session simulated-eos-host 20 '' '' "$small,eos=host" 1
session simulated-deaf 20 '' '' "$small,interrupt=no" 1
session simulated-busy 20 '' '' "$small,fault=busy:3" 1
session simulated-stall 20 '' '' "$small,fault=stall:1" 1
session simulated-cut-object 20 '' '' "$small,fault=short-object:1" 1
session simulated-long-object 20 '' '' "$small,fault=long-object:700" 1
session simulated-vanished 20 '' '' "$small,fault=vanish:1" 1
session simulated-wrong-transaction 20 '' '' "$small,fault=wrong-transaction:1" 1
session simulated-time-over 3 '' '' "$small,shots=1"
session simulated-none 1 '' '' ''
session simulated-cancelled 20 4 '' "$small,fault=slow:2"
session simulated-unplugged 20 '' 'unplug-after 12000' "$small" 2
# Blobs that no capture names any more.
for blob in tests/captures/ptp_camera/blobs/*; do
  if ! blobs_of tests/captures/ptp_camera/*.capture | grep -q "${blob##*/}"; then rm "$blob"; fi
done

tests/captures/golden.sh "$B" --write
