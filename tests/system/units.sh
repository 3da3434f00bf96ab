#!/bin/bash
# The systemd pieces as "make install" lays them out: verified without a word on standard error, hardened, and the
# installed configuration is what the program would do without one. No root needed. Speaks TAP.
set -u
cd "$(dirname "$0")/../.."
unset MAKEFLAGS MFLAGS MAKELEVEL
EXPOSURE_MAX=1.5

if ! command -v systemd-analyze >/dev/null; then
  echo "ok 1 - units # SKIP systemd-analyze is not installed (Debian: systemd)"
  echo 1..1
  exit 0
fi
root=$(mktemp -d) || exit 1
trap 'rm -rf "$root"' EXIT
n=0
# check NAME OUTPUT: passes when OUTPUT is empty, else shows it.
check() {
  n=$((n + 1))
  if [ -z "$2" ]; then
    echo "ok $n - $1"
  else
    echo "not ok $n - $1"
    sed 's/^/# /' <<<"$2"
  fi
}

check "installs into DESTDIR" "$(said=$(${MAKE:-make} -s install DESTDIR="$root" 2>&1) || echo "$said")"
installed=(usr/sbin/asaleed usr/libexec/asaleed/asaleed-{driver,export} usr/bin/asaleectl usr/share/asaleed/messages.fr
  etc/asaleed/asaleed.conf etc/asaleed/devices.d/example.conf
  etc/asaleed/protocols.d/{diabete-type2,risque-cardiovasculaire,fumeur-bpco,cognition}.conf
  usr/lib/systemd/system/asaleed.{service,socket} usr/lib/systemd/system/asaleed-{tcp.socket,media@.service}
  usr/lib/{sysusers,tmpfiles}.d/asaleed.conf usr/lib/udev/rules.d/70-asaleed.rules usr/share/man/man1/asaleectl.1
  usr/share/man/man5/asaleed.conf.5 usr/share/man/man8/asaleed.8 usr/share/bash-completion/completions/asaleectl
  usr/share/doc/asaleed/api.md)
check "installs everything" "$(for f in "${installed[@]}"; do
  [ -s "$root/$f" ] || echo "$f is missing or empty"
done)"
echo "# a change of the site" >>"$root/etc/asaleed/asaleed.conf"
mv "$root/etc/asaleed/protocols.d/cognition.conf" "$root/etc/asaleed/protocols.d/memoire.conf"
check "a second installation keeps the configuration" "$(${MAKE:-make} -s install DESTDIR="$root" >/dev/null 2>&1
  tail -1 "$root/etc/asaleed/asaleed.conf" | grep -v 'a change of the site'
  ls "$root/etc/asaleed/protocols.d" | grep cognition)"
check "bash reads the completion" "$(bash -n "$root/usr/share/bash-completion/completions/asaleectl" 2>&1)"

if command -v man >/dev/null; then
  check "man reads the pages without a word" "$(for page in "$root"/usr/share/man/man*/*; do
    LC_ALL=C man --warnings -E UTF-8 -l "$page" 2>&1 >/dev/null
  done)"
fi

# The tree gets this system's own units beside ours, so that what ours depend on is found, and ExecStart= is looked
# for where it was installed.
cp -an /usr/lib/systemd/system/. "$root/usr/lib/systemd/system/"
mkdir -p "$root/bin" && cp -a /usr/bin/{mkdir,mount} "$root/usr/bin/" && cp -aL /bin/sh "$root/bin/"
units="asaleed.service asaleed.socket asaleed-tcp.socket asaleed-media@sda1.service"
check "systemd-analyze verify has nothing to say" "$(systemd-analyze verify --root="$root" $units 2>&1 || echo "exit $?")"
for unit in asaleed.service asaleed-media@.service; do
  exposure=$(systemd-analyze security --offline=yes --no-pager systemd/$unit 2>/dev/null |
    sed -n 's/.*Overall exposure level for .*: \([0-9.]*\).*/\1/p')
  check "$unit: exposure ${exposure:-unknown} is at most $EXPOSURE_MAX" \
    "$(awk -v e="${exposure:-99}" -v m=$EXPOSURE_MAX 'BEGIN { if (e > m) print "exposure " e }')"
done

# The rule starts a unit for the very types that the unit mounts (udev's name of ntfs3 is ntfs).
check "udev starts what the unit mounts" "$(diff \
  <(sed -n 's/.*ID_FS_TYPE}=="\([^"]*\)".*SYSTEMD_WANTS.*/\1/p' "$root/usr/lib/udev/rules.d/70-asaleed.rules" | tr '|' '\n') \
  <(sed -n 's/^ExecStartPre=.*mount -N 1 -t \([^ ]*\) .*/\1/p' 'systemd/asaleed-media@.service' | sed s/ntfs3/ntfs/ | tr , '\n'))"

touch "$root/etc/passwd" "$root/etc/group"
check "sysusers makes user and group asaleed" "$(systemd-sysusers --root="$root" 2>&1 | grep -v '^Creating'
  grep -q '^asaleed:.*:/var/lib/asaleed:' "$root/etc/passwd" || echo "no user"
  grep -q '^asaleed:' "$root/etc/group" || echo "no group")"
check "tmpfiles reads its file" "$(systemd-tmpfiles --root="$root" --dry-run --create asaleed.conf 2>&1 |
  grep -iE 'fail|unknown|invalid|ignor' | grep -v -- --dry-run)"

# Every line of the example configuration, of the example instrument and of the protocols is one the program knows.
settings=(--messages "$root/usr/share/asaleed/messages.fr" --driver-program "$root/usr/libexec/asaleed/asaleed-driver"
  --export-program "$root/usr/libexec/asaleed/asaleed-export")
mkdir "$root/try" "$root/try-protocols"
sed 's/^#\([a-z-]* =\)/\1/' config/asaleed.conf >"$root/try.conf"
sed 's/^# \(\[device\|[a-z-]* = \)/\1/' config/devices.d/example.conf >"$root/try/all.conf"
for f in config/protocols.d/*.conf; do
  sed 's/^#\([a-z-]* =\)/\1/; s/^open = no$/open = yes/' "$f" >"$root/try-protocols/${f##*/}"
done
check "asaleed.conf, example.conf and the protocols are right as installed and with every line taken in" "$(
  etc=$root/etc/asaleed
  for c in "$etc/asaleed.conf $etc/devices.d $etc/protocols.d" "$root/try.conf $root/try $root/try-protocols"; do
    set -- $c
    "$root/usr/sbin/asaleed" --config "$1" --devices "$2" --protocols "$3" "${settings[@]}" --check-config 2>&1 |
      grep -v '^configuration is correct: [0-9]* instrument(s), 4 protocol(s)$'
  done)"
check "without protocols the configuration is correct, and it is said that nothing can be ordered" "$(
  "$root/usr/sbin/asaleed" --config "$root/etc/asaleed/asaleed.conf" --devices "$root/etc/asaleed/devices.d" \
    --protocols "$root/none" "${settings[@]}" --check-config >"$root/said" 2>&1 || echo "exit $?"
  grep -q "no protocol in $root/none opens an act: nothing can be ordered" "$root/said" || cat "$root/said")"
check "every option that --help tells stands in asaleed.8, and no other" "$(diff \
  <("$root/usr/sbin/asaleed" --help | grep -oE -- '--[a-z-]+' | sort -u) \
  <(sed -n 's/^\.B \(\\-\\-[a-z\\-]*\).*/\1/p' "$root/usr/share/man/man8/asaleed.8" | tr -d '\\' | sort -u))"
check "uninstall takes the programs away and leaves the configuration" "$(
  ${MAKE:-make} -s uninstall DESTDIR="$root" 2>&1 || echo "exit $?"
  for f in "${installed[@]}"; do
    case $f in
    */cognition.conf) ;; # taken away above
    etc/*) [ -e "$root/$f" ] || echo "$f is gone" ;;
    *) [ ! -e "$root/$f" ] || echo "$f is still there" ;;
    esac
  done)"
echo "1..$n"
