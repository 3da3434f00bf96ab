#!/bin/bash
# The power-cut test (power_cut.py says what it does); root, loop devices. Usage: power_cut.sh BUILD [ROUNDS]. TAP.
set -u
cd "$(dirname "$0")/../.."
build=$(realpath "${1:-build}")
skip() {
  echo "ok 1 - power cut # SKIP $1"
  echo 1..1
  exit 0
}
[ "$(id -u)" = 0 ] || skip "needs root"
for program in python3 mkfs.ext4 mount unshare sqlite3; do
  command -v $program >/dev/null || skip "$program is not installed"
done
work=$(mktemp -d) || exit 1
# One try of all it needs: a mount namespace, a loop device, ext4. The namespace takes the mounts with it.
truncate -s 8M "$work/try" && mkfs.ext4 -q "$work/try" && mkdir "$work/mnt"
if ! said=$(unshare -m --propagation private mount -o loop "$work/try" "$work/mnt" 2>&1); then
  rm -rf "$work"
  skip "no ext4 loop mount here ($said)"
fi
unshare -m --propagation private python3 tests/system/power_cut.py "$build" "$work" "${2:-20}" </dev/null
status=$?
rm -rf --one-file-system "$work"
exit $status
