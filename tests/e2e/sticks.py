#!/usr/bin/env python3
"""Memory sticks and watched folders: the real daemon, collector and asaleectl on a machine that has a stick (umockdev),
with what sticks have on them, sticks that are pulled out, kill -9, and full disks. TAP on standard output.

sticks.py BUILD [--every]

The stick's block device is made up; the folder where the system would have mounted it is a folder of the test.
--every puts 10000 files on it, else 2000.
"""
import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
from bed import Asaleed, Practice, Tap, check_problem, command_of, must, sanitizer, tree  # noqa: E402

BUILD = os.path.abspath(sys.argv[1])
EVERY = "--every" in sys.argv
PRELOAD = os.path.join(BUILD, "tests/crash_point.so")
MIB = 1 << 20
FILE_MAX = 64 * MIB  # a file of that length is too long
USB = "/devices/pci0000:00/0000:00:14.0/usb1/1-2"
DISK = USB + "/1-2:1.0/host6/target6:0:0/6:0:0:0/block/sdb"
# A stick with a partition, in a port; and a disk that is on no USB.
MACHINE = f"""P: {USB}
E: SUBSYSTEM=usb
E: DEVTYPE=usb_device
E: DEVNAME=/dev/bus/usb/001/005
A: serial=STICK0001\\n

P: {DISK}
E: SUBSYSTEM=block
E: DEVTYPE=disk

P: {DISK}/sdb1
E: SUBSYSTEM=block
E: DEVTYPE=partition

P: /devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda/sda1
E: SUBSYSTEM=block
E: DEVTYPE=partition
"""
tap = Tap()


def recording(number, rows=4):
    """An ECG90A's file, another for each number."""
    head = b"0000000\0" + b"\0\0" + b"2026-05-04 10:30:00\0" + b"\0\0" + bytes(8) + bytes([255, 0, 0])
    body = b"".join(struct.pack("<8H", *[2048 + (number >> (2 * lead)) % 4 + i % 3 for lead in range(8)])
                    for i in range(rows))
    return head + body + bytes(16) + bytes(37 - 16)


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)


class Stick:
    """A daemon on a machine with the stick sdb1, whose files are in self.path."""

    def __init__(self, wrap=(), preload=(), user=None):
        self.work = tempfile.mkdtemp(prefix="asaleed-sticks-")
        self.path = os.path.join(self.work, "media/sdb1")
        os.makedirs(self.path)
        os.makedirs(os.path.join(self.work, "store"), mode=0o700)
        os.makedirs(os.path.join(self.work, "devices.d"))
        with open(os.path.join(self.work, "stick.umockdev"), "w", encoding="ascii") as f:
            f.write(MACHINE)
        with open(os.path.join(self.work, "asaleed.conf"), "w", encoding="utf-8") as f:
            f.write(f"[daemon]\nmedia = {self.work}/media\n")
        with open(os.path.join(self.work, "devices.d/stick.conf"), "w", encoding="utf-8") as f:
            f.write("[device ecg-stick]\ndriver = file_contec_ecg90a\nstick = yes\nusb-serial = STICK0001\n")
        if user:
            shutil.chown(self.work, user, "nogroup")
            shutil.chown(os.path.join(self.work, "store"), user, "nogroup")
            os.chmod(self.work, 0o755)
        # A sanitizer's library must come before umockdev's, and not into umockdev-run.
        libraries = [x for x in (sanitizer(BUILD), "libumockdev-preload.so.0", *preload) if x]
        self.wrap = [*wrap, "umockdev-run", "--device", os.path.join(self.work, "stick.umockdev"), "--",
                     "env", "LD_PRELOAD=" + ":".join(libraries)]
        self.d = Asaleed(BUILD, self.work, env=self.environment(), wrap=self.wrap, wait=False)
        try:
            must(self.d.ready(), "it does not start", self.d.log()[-500:])
        except AssertionError:
            for pid in tree(self.d.process.pid):
                with contextlib.suppress(ProcessLookupError):  # it has ended
                    os.kill(pid, signal.SIGKILL)
            self.d.process.wait()
            raise

    def environment(self, env=None):
        return {"TMPDIR": os.path.realpath(self.work), **(env or {})}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.d.stop()
        shutil.rmtree(self.work, ignore_errors=True)

    def fill(self, n, first=0, rows=4):
        for i in range(first, first + n):
            write(os.path.join(self.path, f"ECG{i // 500:03}/{i:05}.ECG"), recording(i, rows))

    def ctl(self, *words):
        return subprocess.run([os.path.join(BUILD, "asaleectl"), "--socket", self.d.socket, *words], capture_output=True,
                              text=True, check=False)

    def post(self, name="sdb1"):
        return self.d.api.call("POST", "/v1/media", {"name": name})

    def state(self):
        return self.d.api.get("/v1/media/sdb1")

    def copy(self, seconds=120):
        """Copies; what the daemon says of it in the end."""
        must(self.post().status < 300)
        return self.end(seconds)

    def end(self, seconds=120):
        until = time.monotonic() + seconds
        while (m := self.state())["state"] == "copying":
            must(time.monotonic() < until, "still copying", m, self.d.log()[-500:])
            time.sleep(0.01)
        return m

    def collector(self):
        """The id of the process that copies; None."""
        for pid in tree(self.d.process.pid):
            words = command_of(pid)
            if os.path.basename(words[0]) == "asaleed-driver" and words[1:2] == ["collect"]:
                return pid
        return None

    def made(self):
        """How many copies there are that no row names yet. What the daemon itself writes there has no number as name."""
        return sum(n.isdigit() for at, _, names in os.walk(os.path.join(self.d.store, "artefacts/incoming")) for n in names)

    def begun(self, seconds=60):
        """Begins a copy and stops the daemon: the process that copies goes on until nobody takes what it says, and waits
        there, in the middle. Its id; None: it was faster."""
        daemon = self.d.pid()
        must(self.post().status < 300)
        os.kill(daemon, signal.SIGSTOP)
        until, before, same = time.monotonic() + seconds, -1, 0
        while same < 20:
            made = self.made()
            same = same + 1 if made == before else 0
            before = made
            pid = self.collector()
            must(time.monotonic() < until, "it never waits", made)
            time.sleep(0.005)
        if pid and 0 < made < N:
            return pid
        self.go_on()
        return None

    def go_on(self):
        os.kill(self.d.pid(), signal.SIGCONT)

    def restart(self, env=None):
        must(self.d.start(self.environment(env)), "it does not start again", self.d.log()[-500:])

    def check(self, expected, left=0):
        """Ends the daemon: the store has exactly these files, each once and whole, and no more than that is left over,
        which is gone when it starts again."""
        must(self.d.stop() == 0, self.d.log()[-800:])
        db = sqlite3.connect(os.path.join(self.d.store, "asaleed.db"))
        rows = db.execute("SELECT f.sha256, a.bytes FROM file f JOIN artefact a USING(sha256)").fetchall()
        must(db.execute("PRAGMA integrity_check").fetchone() == ("ok",))
        db.close()
        got = []
        for sha, size in rows:
            with open(os.path.join(self.d.store, "artefacts", sha[:2], sha), "rb") as f:
                got.append(f.read())
            must(len(got[-1]) == size, "cut:", sha)
        must(len(got) == len(set(got)), "a file is there twice")
        must(set(got) == set(expected), "files:", len(got), "expected:", len(set(expected)), "missing:",
             len(set(expected) - set(got)), "unknown:", len(set(got) - set(expected)))
        must(self.made() <= left, self.made(), "left over")
        names = [n for _, _, files in os.walk(os.path.join(self.d.store, "artefacts")) for n in files]
        must(len(names) == len(set(names)))
        self.restart()
        must(self.made() == 0 and self.d.api.get("/v1/audit/verify")["ok"])


# ---- the command ----

def test_command():
    with Stick() as s:
        a = s.ctl("media", "--check", "sdb1")
        must(a.returncode == 0 and "ecg-stick" in a.stdout and not a.stderr, a)
        s.fill(3)
        write(os.path.join(s.path, "notes.txt"), b"no recording")
        a = s.ctl("media", "sdb1")
        must(a.returncode == 0 and "3 sur la clé, 3 copiés, 0 déjà connus" in a.stdout and "retirée" in a.stdout, a)
        a = s.ctl("media", "sdb1", "--json")
        must(a.returncode == 0 and json.loads(a.stdout.splitlines()[-1])["known"] == 3, a)
        for name in ("sda1", "sdc1", "nothing"):
            a = s.ctl("media", "--check", name)
            must(a.returncode == 1 and not a.stdout, a)
            a = s.ctl("media", name)
            must(a.returncode == 1 and "not_found" in a.stderr, a)
        for name in ("..", "../media/sdb1", "sdb1/../sdb1", "SDB1", "-", "s" * 100):
            must(s.post(name).status in (400, 404), name, s.post(name).body)
        check_problem(s.post("sdc1"), 404, "not_found")
        check_problem(s.d.api.call("POST", "/v1/media", {}), 400, "missing_field", "name")
        nurse = Practice(s.d).nurse
        check_problem(nurse.call("POST", "/v1/media", {"name": "sdb1"}), 403, "forbidden")
        check_problem(nurse.call("GET", "/v1/media/sdb1"), 403, "forbidden")
        f = nurse.get("/v1/files")["items"]
        must(len(f) == 3 and all(x["source"] == "stick" and x["device"] == "ecg-stick" for x in f), f)
        os.rename(s.path, s.path + "-gone")
        a = s.ctl("media", "sdb1")
        must(a.returncode == 1 and "device_absent" in a.stderr, a)
        s.check([recording(i) for i in range(3)])


# ---- what sticks have on them ----

def test_many():
    n = 10000 if EVERY else 2000
    with Stick() as s:
        s.fill(n)
        start = time.monotonic()
        m = s.copy(600)
        took = time.monotonic() - start
        tap.note(f"{n} files are copied and durable in {took:.2f} s ({n / took:.0f} a second)")
        must((m["state"], m["matching"], m["taken"], m["known"]) == ("done", n, n, 0), m)
        start = time.monotonic()
        m = s.copy(600)
        tap.note(f"... and found to be known in {time.monotonic() - start:.2f} s")
        must((m["state"], m["matching"], m["taken"], m["known"]) == ("done", n, 0, n), m)
        must(s.d.api.get("/v1/health"), "it serves")
        s.check([recording(i) for i in range(n)])


def not_root():
    """Words that run a command as nobody, who cannot read everything. None: not possible here."""
    if os.getuid() != 0:
        return []
    words = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]
    # Through env: what setpriv runs itself still has root's capabilities.
    probe = subprocess.run([*words, "env", os.path.join(BUILD, "asaleed"), "--version"], capture_output=True,
                           check=False)
    return words if probe.returncode == 0 else None


def test_strange(words):
    with Stick(wrap=words, user="nobody" if words else None) as s:
        p, taken = s.path, []

        def put(name, data, kept=True):
            write(os.path.join(p.encode(), name) if isinstance(name, bytes) else os.path.join(p, name), data)
            taken.extend([data] * kept)

        put("plain.ECG", recording(1))
        put("lower.ecg", recording(2))
        put("new\nline.ecg", recording(3))
        put(b"not\xff\xfeutf8.ecg", recording(4))
        put("Fibrillation d'Émile\x1b[31m.ecg", recording(5))
        put("one/SAME.ECG", recording(6))
        put("two/SAME.ECG", recording(7))
        put("zcopy.ecg", recording(7))
        put("n" * 251 + ".ecg", recording(8))
        put("/".join(["deep"] * 10) + "/x.ecg", recording(9))
        put("hidden/.ecg", recording(10), kept=False)
        put("not.scp", recording(11), kept=False)
        put("empty.ecg", b"", kept=False)
        put("broken.ecg", b"no ECG at all")
        put("closed.ecg", recording(12), kept=False)
        os.chmod(os.path.join(p, "closed.ecg"), 0)
        put("shut/x.ecg", recording(13), kept=False)
        os.chmod(os.path.join(p, "shut"), 0)
        with open(os.path.join(p, "large.ecg"), "wb") as f:
            f.truncate(70 * MIB)
        with open(os.path.join(p, "larger.ecg"), "wb") as f:
            f.truncate(FILE_MAX)
        secret = os.path.join(s.work, "secret.ecg")
        write(secret, recording(99))
        os.chmod(secret, 0o644)
        os.symlink(secret, os.path.join(p, "link.ecg"))
        os.symlink("plain.ECG", os.path.join(p, "inner.ecg"))
        os.symlink("/etc", os.path.join(p, "folder.ecg"))
        os.symlink("..", os.path.join(p, "round"))
        os.symlink("/proc/self/environ", os.path.join(p, "proc.ecg"))
        os.mkfifo(os.path.join(p, "fifo.ecg"))
        os.mkdir(os.path.join(p, "a-folder.ecg"))
        with socket.socket(socket.AF_UNIX) as u:
            u.bind(os.path.join(p, "socket.ecg"))
        if os.getuid() == 0:
            os.mknod(os.path.join(p, "zero.ecg"), 0o666 | stat.S_IFCHR, os.makedev(1, 5))
            os.mknod(os.path.join(p, "disk.ecg"), 0o666 | stat.S_IFBLK, os.makedev(7, 0))
        m = s.copy()
        must(m["state"] == "done", m, s.d.log()[-500:])
        must(m["taken"] == len(set(taken)) and m["known"] == 1, m, len(taken), s.d.log()[-500:])
        names = [f["name"] for f in Practice(s.d).gp.get("/v1/files?limit=200")["items"]]
        must(not any(c < " " for n in names for c in n), "a control character in a name", names)
        must(sum("SAME.ECG" in n for n in names) == 2, names)
        must("Fibrillation" not in s.d.log(), "a file's name in the journal")
        os.chmod(os.path.join(p, "shut"), 0o755)
        os.chmod(os.path.join(p, "closed.ecg"), 0o644)
        m = s.copy()
        must(m["taken"] == 2, "what can be read by now", m)
        s.check([*taken, recording(12), recording(13)])


# ---- what happens in the middle ----

N = 600


def all_of(s, left=0):
    """Once more, to the end; then nothing is missing and nothing is there twice."""
    m = s.copy()
    must(m["state"] == "done" and m["matching"] == N, m, s.d.log()[-500:])
    s.check([recording(i) for i in range(N)], left)


def test_pulled():
    with Stick() as s:
        s.fill(N)
        pid = s.begun()
        made = s.made()
        shutil.rmtree(s.path)
        s.go_on()
        m = s.end()
        must(m["state"] == "failed" and m["failure"]["code"] == "media_unplugged" if pid else m["state"] == "done", m)
        must(m["taken"] >= made - 1 and (m["taken"] < N or not pid), "what was copied was thrown away", m, made)
        tap.note(f"pulled out when {made} of {N} files were copied: {m['taken']} were kept")
        must(s.collector() is None, "the collector stays")
        a = s.ctl("media", "sdb1")
        must(a.returncode == 1 and "device_absent" in a.stderr, a)
        s.fill(N)
        all_of(s)


def test_removed():
    """Files go, and change, while they are copied."""
    with Stick() as s:
        s.fill(N)
        pid = s.begun()
        for i in range(N - 10, N):
            os.unlink(os.path.join(s.path, f"ECG001/{i:05}.ECG"))
        for i in range(N - 20, N - 10):
            write(os.path.join(s.path, f"ECG001/{i:05}.ECG"), recording(N + i, rows=5))
        s.go_on()
        m = s.end()
        # One that grew meanwhile is not taken this time.
        must(m["state"] == "done" and m["taken"] == (N - 20 if pid else N), m)
        m = s.copy()
        must(m["state"] == "done" and m["matching"] == N - 10, m)
        s.fill(10, first=N - 10)
        m = s.copy()
        must(m["state"] == "done" and m["matching"] == N, m)
        s.check([recording(i) for i in range(N) if not (pid and N - 20 <= i < N - 10)] +
                [recording(N + i, rows=5) for i in range(N - 20, N - 10)])


def test_twice_at_once():
    with Stick() as s:
        s.fill(N)
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(s.post().status)) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        must(len(answers) == 4 and all(a < 300 for a in answers), answers)
        must(s.end()["taken"] == N, s.state())
        all_of(s)


def test_killed():
    """kill -9 of the daemon, then of the collector, in the middle; then again."""
    with Stick() as s:
        s.fill(N)
        for _ in range(2):
            pid = s.begun()
            s.d.kill()
            until = time.monotonic() + 20
            while pid and "collect" in command_of(pid):
                must(time.monotonic() < until, "the collector outlives the daemon")
                time.sleep(0.01)
            s.restart()
            must(s.state()["state"] == "idle" and s.made() == 0, s.state(), s.made())
        pid = s.begun()
        if pid:
            os.kill(pid, signal.SIGKILL)
        s.go_on()
        m = s.end()
        must(m["state"] == "failed" and m["failure"]["code"] == "worker_crashed" if pid else m["state"] == "done", m)
        all_of(s, left=1)  # that which it was writing


# ---- disks that are full ----

def test_store_full():
    """The daemon cannot store for a while: it goes on by itself."""
    work = tempfile.mkdtemp(prefix="asaleed-full-")
    flag = os.path.join(work, "full")
    with Stick(preload=[PRELOAD]) as s:
        s.d.stop()
        s.restart({"ASALEED_CRASH_STORE": os.path.realpath(s.d.store), "ASALEED_FAIL_AT": "1:ENOSPC",
                   "ASALEED_FAIL_WHILE": flag})
        s.fill(N)
        s.post()
        open(flag, "w", encoding="ascii").close()  # long before the first batch is there
        until = time.monotonic() + 30
        while "cannot be stored" not in s.d.log():
            must(time.monotonic() < until and s.d.alive(), "not noticed", s.d.log()[-500:])
            time.sleep(0.02)
        must(s.state()["state"] == "copying" and s.state()["taken"] == 0, s.state())
        os.unlink(flag)
        m = s.end()
        must(m["state"] == "done" and m["taken"] == N, m, s.d.log()[-500:])
        all_of(s)
    shutil.rmtree(work)


def small_disk(store, mib):
    """Words that run a command where the store is on a disk of its own, of that size. None: not possible here."""
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-c",
             f"mount -t tmpfs -o size={mib}m,mode=700 tmpfs {store} && exec \"$@\"", "sh"]
    with tempfile.TemporaryDirectory() as d:
        probe = ["unshare", "--mount", "--propagation", "private", "mount", "-t", "tmpfs", "tmpfs", d]
        return words if subprocess.run(probe, capture_output=True, check=False).returncode == 0 else None


class SmallStick(Stick):
    def __init__(self, mib):
        self.mib = mib
        super().__init__()

    def environment(self, env=None):
        store = os.path.join(self.work, "store")
        self.wrap[:0] = small_disk(store, self.mib)
        return super().environment(env)


def test_disk_full():
    """The disk is full while the collector writes; there is room again, and it is asked again."""
    with SmallStick(24) as s:
        inside = f"/proc/{s.d.pid()}/root{s.d.store}"
        filler = os.path.join(inside, "filler")
        files = [os.urandom(256 << 10) for _ in range(24)]
        for i, data in enumerate(files):
            write(os.path.join(s.path, f"{i:05}.ecg"), data)
        with open(filler, "wb") as f:
            f.write(bytes(18 * MIB))
        m = s.copy()
        must(m["state"] == "failed" and m["failure"]["code"] in ("disk_full", "store_full", "storage_full"), m,
             s.d.log()[-500:])
        left = os.listdir(os.path.join(inside, "artefacts/incoming"))
        must(not any(n.isdigit() for n in left), "what was not stored is in the way", left)
        must(s.d.api.get("/v1/audit/verify")["ok"], "it serves")
        before = len(s.d.api.get("/v1/files?limit=200")["items"])
        os.unlink(filler)
        m = s.copy()
        must(m["state"] == "done" and m["taken"] + before == 24 and m["known"] == before, m, before)
        rows = s.d.api.get("/v1/files?limit=200")["items"]
        must(len(rows) == 24, len(rows))
        for data in files:
            must(any(f["bytes"] == len(data) for f in rows))


# ---- folders ----

def no_inotify():
    """Words that run a command where the kernel tells of no changes, as it does not of a share."""
    words = ["unshare", "--user", "--map-root-user", "sh", "-c",
             "echo 0 >/proc/sys/user/max_inotify_instances && exec \"$@\"", "sh"]
    return words if subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0 else None


def test_polled():
    work = tempfile.mkdtemp(prefix="asaleed-sticks-")
    folder = os.path.join(work, "share")
    os.makedirs(os.path.join(work, "devices.d"))
    os.mkdir(folder)
    with open(os.path.join(work, "devices.d/share.conf"), "w", encoding="utf-8") as f:
        f.write(f"[device share]\ndriver = file_contec_ecg90a\nfolder = {folder}\nfolder-poll = 1\n")
    d = Asaleed(BUILD, work, wrap=no_inotify())
    try:
        def wait_for(n, seconds=30):
            until = time.monotonic() + seconds
            while len(items := d.api.get("/v1/files?limit=200")["items"]) < n:
                must(time.monotonic() < until, n, "not found", items, d.log()[-500:])
                time.sleep(0.05)
            must(len(items) == n, items)
            return items

        write(os.path.join(folder, "first.ecg"), recording(1))
        wait_for(1)
        must("only polled" in d.log(), "the kernel tells of changes all the same", d.log()[-500:])
        past = time.time() - 400 * 86400
        write(os.path.join(folder, "below/old.ecg"), recording(2))
        os.utime(os.path.join(folder, "below/old.ecg"), (past, past))
        wait_for(2)
        write(os.path.join(folder, "first.ecg"), recording(3))  # another reading under a name that was there
        os.utime(os.path.join(folder, "first.ecg"), (past, past))
        wait_for(3)
        must(d.stop() == 0, d.log()[-500:])
    finally:
        d.kill()
        shutil.rmtree(work, ignore_errors=True)


def main():
    if not shutil.which("umockdev-run"):
        tap.skip("sticks", "no umockdev")
        return tap.end()
    tap.run("asaleectl media; names that are declared, and not", test_command)
    tap.run("many files", test_many)
    words = not_root()
    if words is None:
        tap.skip("what is no file, unreadable or too large", "nobody may run the programs here")
    else:
        tap.run("what is no file, unreadable or too large", test_strange, words)
    tap.run("the stick is pulled out in the middle", test_pulled)
    tap.run("files go while they are copied", test_removed)
    tap.run("announced four times at once", test_twice_at_once)
    tap.run("kill -9 in the middle, twice, then of the collector", test_killed)
    tap.run("the store is full for a while", test_store_full)
    if small_disk("/", 1):
        tap.run("the disk is full in the middle", test_disk_full)
    else:
        tap.skip("the disk is full in the middle", "no right to mount a small one")
    if no_inotify():
        tap.run("a folder that the kernel says nothing of", test_polled)
    else:
        tap.skip("a folder that the kernel says nothing of", "no user namespaces")
    return tap.end()


sys.exit(main())
