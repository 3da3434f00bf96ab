#!/bin/bash
# The service under a real systemd, booted in a container: notification, socket activation, watchdog, and that the
# sandbox of the unit breaks nothing of what the daemon does. Root; nothing outside a temporary folder is changed.
#
# The container's root is made of mounts in a namespace of this script's own: /usr is this system's with "make install
# DESTDIR=" laid over it, /etc and /var are new. What cannot be seen here, for want of cgroup controllers and udev:
# DeviceAllow=, IPAddressDeny=, hot-plug. With the simulator a reading is taken before, outside, and decoded again by a
# worker inside: its own sandbox within the unit's. Usage: nspawn.sh BUILD. Speaks TAP.
set -u
cd "$(dirname "$0")/../.."
unset MAKEFLAGS MFLAGS MAKELEVEL
build=$(realpath "${1:-build}")

skip() {
  echo "ok 1 - nspawn # SKIP $1"
  echo 1..1
  exit 0
}
[ "$(id -u)" = 0 ] || skip "needs root"
for program in systemd-nspawn systemd-analyze nsenter unshare; do
  command -v $program >/dev/null || skip "$program is not installed (Debian: systemd-container)"
done
if [ -z "${IN_NAMESPACE:-}" ]; then
  work=$(mktemp -d) || exit 1
  unshare -m true 2>/dev/null || skip "no mount namespaces here"
  # In the background with its own input, and stopped by its own id: a container must never outlive the test.
  IN_NAMESPACE=$work timeout -k 5 150 unshare -m --propagation private bash "$0" "$build" </dev/null
  status=$?
  rm -rf --one-file-system "$work"
  exit $status
fi

work=$IN_NAMESPACE
root=$work/root
mount -t tmpfs -o mode=755 tmpfs "$work" || skip "cannot mount a tmpfs"
mkdir -p "$work"/{tree,upper,over,root}
${MAKE:-make} -s install DESTDIR="$work/tree" >"$work/install.log" 2>&1 || { cat "$work/install.log"; exit 1; }
mkdir -p "$root"/{usr,etc/systemd/system/sockets.target.wants,etc/asaleed,var/lib,var/log,root,tmp,proc,sys,dev,run}
for link in bin sbin lib lib64; do ln -s usr/$link "$root/$link"; done
mount -t overlay -o ro,lowerdir="$work/tree/usr:/usr" overlay "$root/usr" || skip "no overlay filesystem here"
cp -a "$work/tree/etc/asaleed/." "$root/etc/asaleed/"
cp -a /etc/ld.so.cache /etc/ld.so.conf "$root/etc/" 2>/dev/null
[ -d /etc/ld.so.conf.d ] && cp -a /etc/ld.so.conf.d "$root/etc/"
echo "passwd: files" >"$root/etc/nsswitch.conf"
echo "0123456789abcdef0123456789abcdef" >"$root/etc/machine-id" # not the first boot: no unit is enabled by itself
ln -s ../usr/lib/os-release "$root/etc/os-release"
touch "$root/etc/"{passwd,group,shadow,gshadow}
systemd-sysusers --root="$root" basic.conf asaleed.conf >/dev/null 2>&1
grep -q ^dialout: "$root/etc/group" || echo "dialout:x:20:" >>"$root/etc/group"
ln -s /usr/lib/systemd/system/asaleed.socket "$root/etc/systemd/system/sockets.target.wants/"
ln -s /usr/lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
mkdir -p "$root/etc/systemd/system/asaleed.service.d"
printf '[Service]\nWatchdogSec=2\n' >"$root/etc/systemd/system/asaleed.service.d/test.conf"

# A folder that an instrument leaves files in.
mkdir -p "$root/srv/ecg"
printf '[device folder1]\ndriver = file_scp_ecg\nfolder = /srv/ecg\n' >"$root/etc/asaleed/devices.d/folder1.conf"

# A store made outside, with the people of a practice, the follow-up of P0, and with the simulator one acquired study; the
# unit hands it to its user.
outside() { "$build/asaleectl" --socket "$work/out.sock" --token-file "$work/tokens/ines" "$@"; }
make_a_store() { # [WRAPPER...]
  local pid status
  mkdir -p "$work/devices.d" "$work/tokens" "$root/var/lib/asaleed"
  python3 tests/e2e/bed.py --every-act >"$root/etc/asaleed/protocols.d/every_act.conf"
  printf '[device ecg1]\ndriver = corscience_emi12\nusb-serial = SIM\n' >"$work/devices.d/ecg1.conf"
  "$@" "$build/asaleed" --config /dev/null \
    --store "$root/var/lib/asaleed" --socket "$work/out.sock" --devices "$work/devices.d" \
    --protocols "$root/etc/asaleed/protocols.d" --messages config/messages.fr \
    --driver-program "$build/asaleed-driver" >"$work/out.log" 2>&1 &
  pid=$!
  for _ in $(seq 100); do
    "$build/asaleectl" --socket "$work/out.sock" drivers --json 2>/dev/null | grep -q corscience_emi12 && break
    sleep 0.1
  done
  python3 tests/e2e/bed.py "$work/out.sock" "$work/tokens" P0 &&
    { [ $# = 0 ] || { outside order P0 ecg && outside acquire S-1 --device ecg1 --seconds 1; }; }
  status=$?
  kill $pid
  wait $pid
  return $status
}
reading=
if [ -x "$build/tests/sim" ] && command -v umockdev-wrapper >/dev/null; then
  make_a_store umockdev-wrapper "$build/tests/sim" --instrument emi12,serial=SIM,speed=max -- \
    >"$work/reading.log" 2>&1 && reading=yes
else
  make_a_store >"$work/reading.log" 2>&1
fi || sed 's/^/# /' "$work/reading.log"
install -m 600 "$work/tokens/martin" "$root/root/gp.token"

SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn -D "$root" --register=no --keep-unit --private-network -b \
  </dev/null >"$work/console" 2>&1 &
nspawn=$!
leader=
trap '[ -n "$leader" ] && kill -KILL "$leader" 2>/dev/null; kill -KILL $nspawn 2>/dev/null; wait' EXIT
inside() { timeout 20 nsenter -t "$leader" -a "$@"; }
prop() { inside systemctl show -P "$1" "${2:-asaleed.service}"; }
# until SECONDS COMMAND...
until_() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -ge $end ] && return 1
    sleep 0.1
  done
}
find_leader() { leader=$(cat /proc/$nspawn/task/$nspawn/children 2>/dev/null | tr -d ' ') && [ -n "$leader" ]; }
booted() { case $(inside systemctl is-system-running 2>/dev/null) in running | degraded) ;; *) false ;; esac; }
if ! until_ 10 find_leader || ! until_ 30 booted; then
  tail -5 "$work/console" | sed 's/^/# /'
  skip "no container boots here"
fi

n=0 bad=0
check() { # NAME COMMAND...: passes when it succeeds, else shows what it said
  local name=$1 said
  shift
  n=$((n + 1))
  if said=$("$@" 2>&1); then
    echo "ok $n - $name"
  else
    echo "not ok $n - $name"
    bad=1
    sed 's/^/# /' <<<"$said"
  fi
}
is() { [ "$1" = "$2" ] || { echo "got \"$1\", expected \"$2\""; false; }; }
has() { grep -q -- "$2" <<<"$1" || { echo "no \"$2\" in: $1"; false; }; }
active_as_new() { [ "$(prop ActiveState)" = active ] && [ "$(prop MainPID)" != "$1" ]; }
ctl() { inside asaleectl "$@"; }

check "the socket waits and the service sleeps" is "$(prop ActiveState asaleed.socket) $(prop ActiveState)" \
  "active inactive"
check "the first request starts the service" has "$(ctl status --json 2>&1)" '"status":"ok"'
check "the service is active by its own notification" is "$(prop ActiveState) $(prop Type)" "active notify"
check "its status is the daemon's" has "$(prop StatusText)" "instrument"
pid=$(prop MainPID)
status=$(inside cat /proc/"$pid"/status)
check "it runs without root" is "$(awk '/^Uid:/ { print ($2 > 0 && $2 == $3) }' <<<"$status")" 1
check "it has no capability" is "$(awk '/^Cap(Eff|Prm|Bnd|Amb):/ { print $2 }' <<<"$status" | sort -u)" 0000000000000000
check "it gains no privilege and has a filter" is \
  "$(awk '/^(NoNewPrivs|Seccomp):/ { printf "%s ", $2 }' <<<"$status")" "1 2 "
check "it leaves no core file" has "$(inside grep 'Max core' /proc/"$pid"/limits)" "core file size *0 *0"
check "its store is its own" is "$(inside stat -c '%a %U' /var/lib/asaleed)" "700 asaleed"
check "its socket is for root and its group" is "$(inside stat -c '%a %U %G' /run/asaleed/api.sock)" "660 root asaleed"
# Its view of the files: nothing can be written but the store and the folder of its socket. The trial has its user.
check "the unit's view is read-only but for its folders" is "$(inside nsenter -t "$pid" -m -S 0 sh -c '
  for d in /etc /usr /var /home /var/lib/asaleed /run/asaleed; do [ -d $d ] && [ -w $d ] && echo $d; done' | tr '\n' ' ')" \
  "/var/lib/asaleed /run/asaleed "

gp() { inside env ASALEED_TOKEN_FILE=/root/gp.token asaleectl "$@"; }
check "an account is made" has "$(ctl user add secretariat --role admin --json 2>&1; ctl user list)" secretariat
check "a patient is written" gp patient put P1 --family Durand --given Anne --birth-date 1950-01-31 --sex F
check "an act is ordered" has "$(gp order P0 ecg 2>&1)" 'S-[12]'
drivers() { ctl drivers 2>/dev/null | grep -q corscience_emi12; }
check "the worker program runs inside the sandbox" until_ 5 drivers
second_record() { gp show S-1 --json 2>/dev/null | grep -q '"R-2"'; }
decode_again() { ctl redecode S-1 && until_ 10 second_record && gp show R-2; }
object() { gp dicom R-2 --out - | head -c 132 | tail -c 4 | grep -q DICM; }
export_it() { gp accept S-1 --confirm && until_ 10 object; }
if [ -n "$reading" ]; then
  check "a worker decodes in its own sandbox inside the unit's" decode_again
  check "a DICOM object is made in a sandbox inside the unit's" export_it
else
  for what in "a worker decodes in its own" "a DICOM object is made in a"; do
    n=$((n + 1))
    echo "ok $n - $what sandbox inside the unit's # SKIP no reading: needs build/tests/sim"
  done
fi
check "the audit trail is whole" ctl audit verify

echo "no ECG at all" >"$root/srv/ecg/a.scp"
chmod 644 "$root/srv/ecg/a.scp"
taken() { ctl files 2>/dev/null | grep -q 'F-1'; }
check "a collector copies what comes into a folder, inside the unit's sandbox" until_ 15 taken

# The unit of a memory stick: as it is for one that nobody declared, then with a file system in memory for the stick's,
# a condition that holds and a command that does not end. What is mounted later must reach the daemon that runs already.
stick_unit() { # NAME SED...: an instance's own unit, without the device that is not here
  local name=$1
  shift
  sed '/dev-%i.device/d' "$work/tree/usr/lib/systemd/system/asaleed-media@.service" | sed "$@" \
    >"$root/etc/systemd/system/asaleed-media@$name.service" && inside systemctl daemon-reload
}
stick() { prop "$1" asaleed-media@"$2".service; }
seen_by() { inside nsenter -t "$1" -m ${2:+-S "$2" -G "$2"} sh -c 'mountpoint -q /run/asaleed-media/sdy && ls /run/asaleed-media/sdy'; }
not_seen_by() { ! seen_by "$@" >/dev/null 2>&1; }
user=$(inside id -u asaleed)
stick_unit sdx '' && inside systemctl start asaleed-media@sdx.service >/dev/null 2>&1
check "a stick that nobody declared is not mounted" has "$(inside journalctl -u asaleed-media@sdx --no-pager -o cat 2>&1)" \
  "Skipped due to 'exec-condition'"
check "the unit for it left nothing" is "$(inside ls /run/asaleed-media)" ""
stick_unit sdy -e 's/^ExecCondition=.*/ExecCondition=true/' -e 's/^ExecStart=.*/ExecStart=sleep infinity/' \
  -e 's/-t [^ ]*/-t tmpfs/' -e 's/umask=.*utf8/mode=0500/'
inside systemctl start --no-block asaleed-media@sdy.service
check "a stick that is declared reaches the running daemon's namespace" until_ 10 seen_by "$pid"
check "the daemon's user may read it" seen_by "$pid" "$user"
check "it is mounted with nothing that a stick may bring" is "$(inside findmnt -no OPTIONS /run/asaleed-media/sdy |
  tr , '\n' | grep -cxE 'ro|nosuid|nodev|noexec')" 4
inside systemctl stop asaleed-media@sdy.service
check "its end takes it from the daemon" until_ 5 not_seen_by "$pid"
check "and leaves no folder" is "$(inside ls /run/asaleed-media)" ""

inside kill -STOP "$pid"
check "the watchdog restarts a daemon that hangs" until_ 15 active_as_new "$pid"
check "the watchdog was the reason" has "$(inside journalctl -u asaleed --no-pager -o cat 2>&1)" "[Ww]atchdog"
check "what was acknowledged is there" has "$(gp order list 2>&1)" 'O-[12]'
pid=$(prop MainPID)
inside kill -KILL "$pid"
check "a killed daemon comes back" until_ 15 active_as_new "$pid"

inside systemctl stop asaleed.service >/dev/null 2>&1
check "it stops cleanly" is "$(prop Result) $(prop ActiveState) $(prop ActiveState asaleed.socket)" \
  "success inactive active"
inside systemctl start asaleed-tcp.socket asaleed.service
tcp() { inside bash -c 'exec 3<>/dev/tcp/127.0.0.1/8430; printf "GET /v1/health HTTP/1.0\r\n\r\n" >&3; cat <&3' 2>&1; }
check "loopback TCP is served by its own socket unit" has "$(tcp)" '"status":"ok"'
check "and the Unix socket with it" has "$(ctl status --json 2>&1)" '"status":"ok"'
post() { # PATH BODY, as an administrator
  inside bash -c 'exec 3<>/dev/tcp/127.0.0.1/8430
    printf "POST %s HTTP/1.0\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s" "$1" "$2" ${#3} "$3" >&3
    cat <&3' - "$1" "$(cat "$work/tokens/adele")" "$2" 2>&1
}
password=$(post /v1/users/ines/password '{}' | sed -n 's/.*"password":"\([a-z-]*\)".*/\1/p')
check "passwords are computed in a sandbox inside the unit's" has \
  "$(post /v1/login "{\"name\":\"ines\",\"password\":\"$password\"}")" '"must_change":true'

if [ $bad = 1 ]; then
  inside journalctl -u asaleed --no-pager -o short-monotonic 2>&1 | tail -40 | sed 's/^/# /'
fi
inside systemctl --no-block poweroff >/dev/null 2>&1
gone() { ! kill -0 $nspawn 2>/dev/null; }
until_ 8 gone
echo "1..$n"
exit $bad
