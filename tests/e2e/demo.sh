#!/bin/bash
# make run: the main job from end to end on instruments, printed step by step.
#   demo.sh BUILD          simulated instruments behind the real drivers and the real serial and USB libraries
#   REAL=/dev/ttyUSB0      an ECG with the EMI12 on that port instead
#   ONCE=1                 end after the steps (else the daemon stays up until Ctrl-C)
set -eu
umask 077
cd "$(dirname "$0")/../.."
B=$(realpath "$1")
D=$(realpath -m "${RUN_DIR:-build/run}")
rm -rf "$D"
mkdir -p "$D/store" "$D/devices.d" "$D/protocols.d" "$D/tokens"
steps=0
step() {
  steps=$((steps + 1))
  printf '\n\033[1m%d. %s\033[0m\n' "$steps" "$*" | if [ -t 1 ]; then cat; else sed 's/\x1b\[[0-9]*m//g'; fi; }
ctl() { "$B/asaleectl" --socket "$D/api.sock" "$@"; }
as() { local who=$1; shift; "$B/asaleectl" --socket "$D/api.sock" --token-file "$D/tokens/$who" "$@"; }

daemon_args=(--store "$D/store" --socket "$D/api.sock" --listen 127.0.0.1:0 --devices "$D/devices.d"
  --protocols "$D/protocols.d" --messages config/messages.fr --driver-program "$B/asaleed-driver"
  --export-program "$B/asaleed-export" --config "$D/asaleed.conf")
: >"$D/asaleed.conf"
# A protocol that exists nowhere: it opens all that the simulated instruments show.
cat >"$D/protocols.d/exemple.conf" <<'END'
[protocol exemple]
label = Protocole d'exemple
[act ecg]
prescribe = yes
perform = yes
delay-hours = 24
[act spirometry]
prescribe = yes
perform = yes
delay-hours = 72
[act fundus]
prescribe = yes
perform = yes
delay-hours = 72
authorisation = Exemple, sans autorisation réelle
END
# In a session of its own: Ctrl-C is for the step that runs (asaleectl cancels the acquisition), and the daemon, which
# must outlive that step, ends with this script however it ends.
start() {
  setsid setpriv --pdeathsig TERM "$@" 2>"$D/asaleed.log" &
  pid=$!
}
device() { printf '[device %s]\ndriver = %s\nlabel = %s\n%s\n' "$@" >"$D/devices.d/$1.conf"; }
if [ -n "${REAL:-}" ]; then
  device ecg1 corscience_emi12 "ECG salle 1" "node = $REAL"
  start "$B/asaleed" "${daemon_args[@]}"
else
  device ecg1 corscience_emi12 "ECG salle 1 (simulé)" "usb-serial = EMI12SIM"
  device souffle1 vitalograph_lungmonitor "Spiromètre de poche (simulé)" "usb-serial = LUNGSIM"
  device spiro1 ieee11073_phdc "Spiromètre USB (simulé)" "usb-serial = PHDCSIM"
  device retino1 ptp_camera "Rétinographe (simulé)" "usb-serial = RETINSIM"
  start umockdev-wrapper "$B/tests/sim" --control "$D/sim.sock" --instrument emi12,serial=EMI12SIM \
    --instrument vitalograph,serial=LUNGSIM,model=b,auto=1500 \
    --instrument phdc,serial=PHDCSIM,profile=spirometer,auto=500 \
    --instrument ptp,serial=RETINSIM,auto=700,shots=9999 -- "$B/asaleed" "${daemon_args[@]}"
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

step "The instruments"
ctl devices
step "The people: a nurse and a GP, as the RPPS has them, and whose account is whose"
nurse=10100000016 gp=10100000024
# person ACCOUNT ROLE RPPS FAMILY GIVEN
person() {
  ctl user add "$1" --role "$2" --json | sed -n 's/.*"token":"\([0-9a-f]*\)".*/\1/p' >"$D/tokens/$1"
  ctl professional put "$3" --family "$4" --given "$5" --role "$2" --finess 750000010 >/dev/null
  ctl user link "$1" "$3" >/dev/null
}
person ines nurse $nurse Exemple Inès
person martin gp $gp Exemple Martin
ctl professional list
step "The GP delegates the protocol to her: who, what, under which authorisation, from when to when"
ctl delegation add --nurse $nurse --gp $gp --protocol exemple --authorisation "Exemple, sans autorisation réelle" \
  --authorised 2020-01-01 --from "$(date +%Y)-01-01" --until "$(($(date +%Y) + 1))-12-31" --nurse-adhesion 2020-01-01 \
  --gp-adhesion 2020-01-01 >/dev/null
ctl delegation list
step "A patient, and the follow-up under the protocol"
as ines patient put DEMO-1 --family Exemple --given Camille --birth-date 1958-04-12 --sex F
as ines followup open DEMO-1 exemple --gp $gp
# order ACT: the study's id
order() { as ines order DEMO-1 "$1" --json | sed -n 's/.*"study":{"id":"\(S-[0-9]*\)".*/\1/p'; }
# record_of STUDY: its newest record's id
record_of() { as martin show "$1" --json | grep -o '"R-[0-9]*"' | tail -1 | tr -d '"'; }
step "The nurse orders an ECG and records it"
study=$(order ecg)
as ines acquire "$study" --device ecg1 --seconds "${SECONDS_OF_ECG:-10}"
step "She looks at its technical quality and sends it to the GP"
as ines show "$study"
as ines accept "$study" --confirm
if [ -z "${REAL:-}" ]; then
  step "A spirometry with curves over USB: the syringe, then three blows, each judged"
  as ines calibrate spiro1 --measured 2.98,3.01,2.97
  blown=$(order spirometry)
  for _ in 1 2 3; do as ines acquire "$blown" --device spiro1 --seconds 60 --height 168.5; done
  as ines show "$blown"
  as ines accept "$blown" --confirm
  step "A spirometry of values alone, over the serial line: they are kept, and not judged"
  pocket=$(order spirometry)
  as ines acquire "$pocket" --device souffle1 --seconds 30
  as ines show "$pocket"
  as ines accept "$pocket" --confirm
  step "A retinography: the camera shoots both fields of both eyes, the pictures come over USB as they are made"
  eyes=$(order fundus)
  as ines acquire "$eyes" --device retino1 --seconds 60
  fundus=$(record_of "$eyes")
  as ines picture "$fundus" 1 --preview --out "$D/preview.jpg"
  step "The nurse says which eye and field each one shows, and that the pupil was not dilated; she sees previews alone"
  n=0
  for view in "droit macula" "droit disc" "gauche macula" "gauche disc"; do
    # shellcheck disable=SC2086
    as ines label "$eyes" "$fundus/$((n += 1))" $view >/dev/null
  done
  as ines pupil "$eyes" --undilated >/dev/null
  as ines show "$eyes"
  as ines accept "$eyes" --confirm
  step "An ECG that another recorder left as a file, with an opinion of its own: it lies in the tray and is nobody's"
  "$B/tests/file_maker" scp --family Exemple --given Camille --id DEMO-1 --birth-date 1958-04-12 --sex F --seed 3 \
    --time "$(date +%Y-%m-%dT%H:%M:%S)" --marker "Fibrillation auriculaire possible" "$D/recorder.scp"
  as ines import "$D/recorder.scp"
  tray=$(as ines unmatched list --json | sed -n 's/.*"id":"\(U-[0-9]*\)".*/\1/p' | head -1)
  as ines unmatched show "$tray"
  step "The nurse says whose it is, with the date of birth as proof: its leads show in the study, its opinion does not"
  ordered=$(as ines order DEMO-1 ecg --json)
  filed=$(sed -n 's/.*"study":{"id":"\(S-[0-9]*\)".*/\1/p' <<<"$ordered")
  as ines attach "$tray" --order "$(grep -o '"O-[0-9]*"' <<<"$ordered" | head -1 | tr -d '"')" --birth-date 1958-04-12
  as ines show "$filed"
  as ines accept "$filed" --confirm
fi
step "The GP's queue"
as martin queue
step "The GP claims the ECG, reads it, signs; likewise the others"
# signs STUDY TEXT FINDING...
signs() {
  as martin claim "$1" --claim-file "$D/claim"
  as martin show "$1" | tee "$D/read"
  as martin sign "$1" "${@:3}" --claim-file "$D/claim" --shown "$(sed -n 's/^Lecture *: //p' "$D/read")" \
    --conclusion normal --text "$2"
}
signs "$study" "Rythme sinusal régulier, pas d'anomalie de repolarisation." rhythm=sinus
if [ -z "${REAL:-}" ]; then
  signs "$blown" "Spirométrie sans particularité." pattern=normal
  signs "$pocket" "Spirométrie sans particularité." pattern=normal
  as martin picture "$fundus" 1 --out "$D/picture.jpg"
  signs "$eyes" "Pas de rétinopathie diabétique visible." right_retinopathy=none left_retinopathy=none
  as martin show "$(record_of "$filed")"
  signs "$filed" "Rythme sinusal ; la fibrillation auriculaire que propose l'appareil n'est pas retenue." rhythm=sinus
fi
as martin show "$study"
step "What the nurse sees now: the state, and as the protocol says not the interpretation"
as ines show "$study"
step "The readings as DICOM objects"
# dicom STUDY NAME [PICTURE]
dicom() { as martin dicom "$(record_of "$1")" ${3:+"$3"} --out "$D/$2.dcm"; }
dicom "$study" ecg
if [ -z "${REAL:-}" ]; then
  dicom "$blown" spirometry
  dicom "$eyes" fundus 1
  dicom "$filed" file
fi
step "The proof"
as martin verify "$study" --save "$D/proof.json"
ctl audit verify
as martin show "$(record_of "$study")" --channels "$D/channels.bin"
echo
echo "Kept in $D: store/ (database and artefacts), asaleed.log; tokens/ines and tokens/martin are the accounts. To look at:"
(cd "$D" && stat -c '  %9s bytes  %n' ./*.bin ./*.jpg ./*.dcm 2>/dev/null) || true
if [ -n "${ONCE:-}" ]; then exit 0; fi
echo "The daemon is up at $(sed -n 's/.*listening on //p' "$D/asaleed.log"). In another shell, what README.md shows works once"
echo "  export PATH=$B:\$PATH ASALEED_SOCKET=$D/api.sock ASALEED_TOKEN_FILE=$D/tokens/ines"
echo "(tokens/martin for the GP; the protocol is called exemple here). Ctrl-C ends it."
wait "$pid"
