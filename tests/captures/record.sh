#!/bin/bash
# make record: makes captures anew, by running the shipped daemon and worker against the simulated instruments, or with
# the files of simulated recorders, and the golden record of each. Usage: record.sh BUILD [NAME...]
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

is_asked() { [ "$only" = "  " ] || [[ $only == *" $1 "* || $only == *" $driver "* ]]; }

# daemon_with PLACE [WRAPPER...]: asaleed on an empty store, with the driver's instrument d1 in that place; ctl speaks to
# it as a nurse, who follows the patient CAPTURE under a protocol that opens every act.
daemon_with() {
  rm -rf "$D"/* && mkdir -p "$D/store" "$D/devices.d" "$D/protocols.d" "$D/folder" "$D/tokens"
  python3 tests/e2e/bed.py --every-act >"$D/protocols.d/every_act.conf"
  printf '[device d1]\ndriver = %s\n%s\ncalibration = off\n' "$driver" "$1" >"$D/devices.d/d1.conf"
  : >"$D/asaleed.conf"
  shift
  "$@" "$B/asaleed" --config "$D/asaleed.conf" --store "$D/store" --socket "$D/api.sock" --devices "$D/devices.d" \
    --protocols "$D/protocols.d" --messages config/messages.fr --driver-program "$B/asaleed-driver" \
    --export-program "$B/asaleed-export" 2>"$D/log" &
  pid=$!
  ctl=("$B/asaleectl" --socket "$D/api.sock")
  for _ in $(seq 100); do "${ctl[@]}" devices --json 2>/dev/null | grep -q '"maturity":"' && break; sleep 0.1; done
  python3 tests/e2e/bed.py "$D/api.sock" "$D/tokens" CAPTURE
  ctl+=(--token-file "$D/tokens/ines")
}

# session NAME SECONDS CANCEL_AFTER CONTROL KEYS [PICTURES]: one acquisition, its capture under NAME; KEYS are the
# simulated instrument's ("speed=4,fault=bad-crc").
session() {
  local name=$1 seconds=$2 cancel=$3 control=$4 keys=${5:+,$5}
  if ! is_asked "$name"; then return; fi
  daemon_with 'usb-serial = RECORDED' umockdev-wrapper "$B/tests/sim" \
    --instrument "$engine,serial=RECORDED,seed=7$keys" --control "$D/sim.sock" --
  "${ctl[@]}" order CAPTURE "$act" >/dev/null
  if [ -n "$control" ]; then python3 tests/captures/say.py "$D/sim.sock" "$control"; fi
  if [ -n "$cancel" ]; then (sleep "$cancel"; "${ctl[@]}" cancel S-1 >/dev/null) & fi
  "${ctl[@]}" acquire S-1 --device d1 --seconds "$seconds" ${6:+--pictures "$6"} >"$D/out" 2>&1 || true
  wait %2 2>/dev/null || true
  take_capture "$name"
}

# take_capture NAME: ends the daemon; what it captured last, with its blobs, becomes NAME's.
take_capture() {
  stop
  local sha blob
  sha=$(sqlite3 "$D/store/asaleed.db" "SELECT capture FROM acquisition ORDER BY id DESC LIMIT 1")
  if [ -z "$sha" ]; then echo "$1: nothing was captured" >&2; cat "$D/out" "$D/log" >&2; exit 1; fi
  # One start for all where that can be, so that a capture made anew differs only where the conversation does.
  sed "s/^start .*/start ${start:-&}/; s/^start start /start /" "$D/store/artefacts/${sha:0:2}/$sha" >"$out/$1.capture"
  for blob in $(blobs_of "$out/$1.capture"); do
    mkdir -p "$out/blobs"
    cp "$D/store/artefacts/${blob:0:2}/$blob" "$out/blobs/"
    chmod 644 "$out/blobs/$blob"
  done
  tail -n 1 "$out/$1.capture" | sed "s/^/$1: /"
}
blobs_of() { sed -n 's/^[#~] [0-9]* [0-9]* \([0-9a-f]*\)$/\1/p' "$@"; }

# files DRIVER FORMAT EXTENSION: of the files that follow.
files() {
  driver=$1 format=$2 extension=$3 start=2026-05-04T11:00:00.000000+02:00
  out=tests/captures/$driver
  mkdir -p "$out"
}

# file NAME [OPTION...]: the capture of a file as file_maker makes it, given to the daemon.
file() {
  local name=$1
  shift
  if ! is_asked "$name"; then return; fi
  daemon_with "folder = $D/folder"
  "$B/tests/file_maker" "$format" --seconds 1 --seed 7 "$@" "$D/file.$extension"
  "${ctl[@]}" import "$D/file.$extension" --device d1 >"$D/out" 2>&1 || true
  take_capture "$name"
  sed -i 's/^\([@#~!<]\) [0-9]* /\1 0 /' "$out/$name.capture" # a file knows no time
}

# cut_file [PREFIX]: the normal file's capture as the daemon mends what a worker leaves that is killed in the middle of the file.
cut_file() {
  if ! is_asked "${1:-}cut"; then return; fi
  local blob part
  blob=$(blobs_of "$out/${1:-}normal.capture")
  head -c $(($(wc -c <"$out/blobs/$blob") / 2)) "$out/blobs/$blob" >"$D/part"
  part=$(sha256sum "$D/part" | cut -d' ' -f1)
  cp "$D/part" "$out/blobs/$part"
  { sed '/^@/,$d' "$out/${1:-}normal.capture"
    echo "@ 0 $(wc -c <"$D/part") 0"
    echo "~ 0 $(wc -c <"$D/part") $part"
    echo "end crash"; } >"$out/${1:-}cut.capture"
}

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

whose="--family Capturé --given Zoé --id 4711 --birth-date 1960-01-01 --sex F"
said="--marker Fibrillation"
# shellcheck disable=SC2086
{
  files file_scp_ecg scp scp
  file simulated-normal
  file simulated-default-code --option code=default --option difference=2 --option version=20
  file simulated-bimodal --option code=one --option subtract=1 --option decimation=4
  file simulated-said $whose $said --option alphabet=utf16
  file simulated-unchecked --option quirk=crc-blank
  file simulated-bad-crc --option damage=section-crc
  cut_file simulated-
  files file_contec_ecg90a ecg90a ECG
  file normal
  file said --family Capture --option age=66 --option off=5
  file cut-row --option damage=cut-row
  cut_file
  files file_healforce healforce SCP
  file normal --seconds 30 --option irregular=9
  file three-leads --seconds 30 --id 4711 --option leads=3
  file said --seconds 30 $whose $said
  file bad-crc --option damage=file-crc
  cut_file
  files file_jpeg_fundus jpeg JPG
  file normal --option width=48 --option height=32
  file said --option width=48 --option height=32 --option "make=Fibrillation" --option eye=left --option centre=disc
  file exif-far --option width=48 --option height=32 --option damage=exif-far
  cut_file
  files file_hl7_aecg aecg xml
  file normal --rate 250
  file said --rate 250 $whose $said --option measurements=1 --option derived=1 --option encoding=utf-16le
  file short-lead --rate 250 --option damage=short-lead
  cut_file
  files file_philips_sierra sierra xml
  file normal
  file said $whose $said --option measurements=1 --option encoding=iso-8859-1
  file short-lead --option damage=short-lead
  cut_file
  files file_ge_muse_xml muse xml
  file normal
  file said $whose $said --option measurements=1
  file short-lead --option damage=short-lead
  cut_file
  files file_dicom dicom-ecg dcm
  file simulated-said-ecg --rate 250 $whose $said --option measurements=1
  file simulated-lead-twice --rate 250 --option damage=lead-twice
  files file_dicom dicom-fundus dcm
  file simulated-said-fundus $whose --option width=48 --option height=32
}
# Blobs that no capture names any more.
for blob in tests/captures/*/blobs/*; do
  if ! blobs_of "${blob%/blobs/*}"/*.capture | grep -q "${blob##*/}"; then rm "$blob"; fi
done

tests/captures/golden.sh "$B" --write
