"""make bench: what asaleed can do, beside the physical limit and its peers, in one run on one machine.

    bench.py BUILD

Runs alternate (A B A B ...), so that what else the machine does falls on both alike; each figure is the median with the
least and the greatest. A peer that is not installed is said to be missing. BENCH_FULL=1 also fills Orthanc with
100 000 studies (many minutes); BENCH_ONLY=writes,queue,... takes some parts.
"""
import fcntl
import json
import os
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../e2e"))
from bed import RPPS  # noqa: E402
from client import EMI12, ROOT, Client, Daemon, Refused, acquire, alive, can_simulate  # noqa: E402

BUILD = os.path.abspath(sys.argv[1])
FULL = bool(os.environ.get("BENCH_FULL"))
ONLY = [x for x in os.environ.get("BENCH_ONLY", "").split(",") if x]
RUNS = int(os.environ.get("BENCH_RUNS", "5"))
NEW_ID = "0000000000"  # stands in a body where each request has its own number
LINE_BYTES_S = 230400 / 10

rows = []  # (what, figure, of what, other figure, ratio, target, met)


# ---- the table ----

def plain(x):
    return f"{x:.0f}" if abs(x) >= 100 else f"{x:.1f}" if abs(x) >= 10 else f"{x:.2f}" if abs(x) >= 0.1 else f"{x:.4f}"


class Figure:
    def __init__(self, values, unit="", digits=None):
        self.values, self.unit, self.digits = list(values), unit, digits

    @property
    def median(self):
        return statistics.median(self.values)

    def text(self, x):
        return f"{x:.{self.digits}f}" if self.digits is not None else plain(x)

    def __str__(self):
        spread = f" ({self.text(min(self.values))}-{self.text(max(self.values))})" if len(self.values) > 1 else ""
        return f"{self.text(self.median)}{spread} {self.unit}".strip()


def ratio_of(a, b):
    """The median of the quotients run by run; where the runs are not as many, the quotient of the medians."""
    if len(a.values) == len(b.values):
        return float(statistics.median(x / y for x, y in zip(a.values, b.values)))
    return a.median / b.median


def row(what, figure, beside="", other=None, ratio=None, target="", met=None):
    """ratio "a/b": see ratio_of()."""
    if ratio == "a/b" and isinstance(other, Figure):
        ratio = ratio_of(figure, other)
    rows.append((what, str(figure), beside, "missing" if other is None and beside else str(other or ""),
                 plain(ratio) if isinstance(ratio, float) else "", target, {None: "", True: "met", False: "NOT MET"}[met]))
    say(f"  {what}: {rows[-1][1]}" + (f" | {beside}: {rows[-1][3]}" if beside else "") +
        (f" | ratio {rows[-1][4]}" if rows[-1][4] else ""))


def missing(what, why):
    rows.append((what, why, "", "", "", "", ""))


def print_table():
    head = ("what", "asaleed: median (min-max)", "beside", "median (min-max)", "ratio", "target", "")
    widths = [max(len(r[i]) for r in [head, *rows]) for i in range(len(head))]
    for i, r in enumerate([head, *rows]):
        print("  ".join(c.ljust(w) for c, w in zip(r, widths)).rstrip())
        if i == 0:
            print("  ".join("-" * w for w in widths).rstrip())


def say(text):
    print(text, file=sys.stderr, flush=True)


# ---- programs ----

def load(*options):
    """Runs the load client; (requests per second, p50 us, p99 us)."""
    out = subprocess.run([os.path.join(BUILD, "bench/load"), *map(str, options)], capture_output=True, text=True)
    if out.returncode:
        raise RuntimeError(f"load {options}: {out.stderr}")
    n, _, seconds, p50, p99, _, _ = out.stdout.split()
    return int(n) / float(seconds), float(p50), float(p99)


class Bare:
    """The loop that writes the same rows and does nothing else."""

    def __init__(self, store):
        self.store = store

    def rate(self, seconds, group, files=""):
        out = subprocess.run([os.path.join(BUILD, "bench/bare_store"), self.store, str(seconds), str(group)] +
                             ([files] if files else []), capture_output=True, text=True)
        if out.returncode:
            raise RuntimeError(out.stderr)
        n, took = out.stdout.split()
        return int(n) / float(took)


class Peer:
    """A peer's server, asked on a loopback port until it answers."""

    def __init__(self, command, port, env=None):
        start = time.monotonic()
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, env=env)
        alive.append(self)
        self.port, self.pid = port, self.process.pid
        while True:
            try:
                self.ask(port)
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() > start + 30:
                    raise RuntimeError(f"{command[0]} does not start")
                time.sleep(0.0005)
        self.started_ms = (time.monotonic() - start) * 1000

    def ask(self, port):
        with socket.create_connection(("127.0.0.1", port), 5) as s:
            s.settimeout(5)
            if not s.recv(1):
                raise OSError

    def kill(self):
        self.process.kill()
        self.process.wait()
        if self in alive:
            alive.remove(self)

    stop = kill


class Gpsd(Peer):
    name = "gpsd"

    @staticmethod
    def installed():
        return shutil.which("gpsd") or os.path.exists("/usr/sbin/gpsd")

    def __init__(self, work):
        port = free_port()
        super().__init__([shutil.which("gpsd") or "/usr/sbin/gpsd", "-N", "-n", "-S", str(port), "-F",
                          os.path.join(work, "gpsd.ctl")], port)


class Orthanc(Peer):
    name = "Orthanc"

    @staticmethod
    def installed():
        return shutil.which("Orthanc") or os.path.exists("/usr/sbin/Orthanc")

    def __init__(self, work):
        os.makedirs(work, exist_ok=True)
        port = free_port()
        conf = os.path.join(work, "orthanc.json")
        with open(conf, "w") as f:
            json.dump({"HttpPort": port, "StorageDirectory": work + "/db", "IndexDirectory": work + "/db",
                       "DicomServerEnabled": False, "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
                       "KeepAlive": True, "Plugins": []}, f)
        super().__init__([self.installed(), conf], port)

    def ask(self, port):
        with socket.create_connection(("127.0.0.1", port), 5) as s:
            s.settimeout(5)
            s.sendall(b"GET /system HTTP/1.0\r\n\r\n")
            if not s.recv(12).endswith(b"200"):
                raise OSError


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def dicom(waveform):
    """A DICOM instance (explicit VR, little endian) that is new wherever NEW_ID stands: a 12-lead ECG of 10 s at 500 Hz,
    or without its samples."""
    def element(group, number, vr, value):
        value = value.encode() if isinstance(value, str) else value
        if len(value) % 2:
            value += b"\0" if vr in ("UI", "OB") else b" "
        if vr in ("OB", "OW", "SQ", "UN"):
            return struct.pack("<HH2sHI", group, number, vr.encode(), 0, len(value)) + value
        return struct.pack("<HH2sH", group, number, vr.encode(), len(value)) + value

    def item(content):
        return struct.pack("<HHI", 0xfffe, 0xe000, len(content)) + content

    def us(x):
        return struct.pack("<H", x)

    def ul(x):
        return struct.pack("<I", x)

    kind = "1.2.840.10008.5.1.4.1.1.9.1.1"
    uid = "1.2.826.0.1.3680043.2.1.{}.1" + NEW_ID  # a number there never begins with 0
    meta = (element(2, 1, "OB", b"\0\1") + element(2, 2, "UI", kind) + element(2, 3, "UI", uid.format(3)) +
            element(2, 0x10, "UI", "1.2.840.10008.1.2.1") + element(2, 0x12, "UI", "1.2.826.0.1.3680043.2.1"))
    body = (element(8, 0x16, "UI", kind) + element(8, 0x18, "UI", uid.format(3)) + element(8, 0x20, "DA", "20260101") +
            element(8, 0x30, "TM", "101112") + element(8, 0x50, "SH", "A" + NEW_ID) + element(8, 0x60, "CS", "ECG") +
            element(0x10, 0x10, "PN", "Exemple" + NEW_ID + "^Camille") + element(0x10, 0x20, "LO", "P" + NEW_ID) +
            element(0x10, 0x30, "DA", "19580412") + element(0x10, 0x40, "CS", "F") +
            element(0x20, 0x0d, "UI", uid.format(1)) + element(0x20, 0x0e, "UI", uid.format(2)) +
            element(0x20, 0x10, "SH", "S" + NEW_ID) + element(0x20, 0x11, "IS", "1") + element(0x20, 0x13, "IS", "1"))
    if waveform:
        channel = element(0x3a, 0x21a, "US", us(16))
        group = (element(0x3a, 4, "CS", "ORIGINAL") + element(0x3a, 5, "US", us(12)) + element(0x3a, 0x10, "UL", ul(5000)) +
                 element(0x3a, 0x1a, "DS", "500") + element(0x3a, 0x200, "SQ", item(channel) * 12) +
                 element(0x5400, 0x1004, "US", us(16)) + element(0x5400, 0x1006, "CS", "SS") +
                 element(0x5400, 0x1010, "OW", struct.pack("<h", -123) * 60000))
        body += element(0x5400, 0x100, "SQ", item(group))
    return b"\0" * 128 + b"DICM" + element(2, 0, "UL", ul(len(meta))) + meta + body


def ordered(daemon, act):
    """The nurse and a GP of a new practice, and the study of an order of hers."""
    practice = daemon.practice()
    practice.admit("P-1")
    return practice.nurse, practice.gp, practice.order("P-1", act)


class Orders:
    """POST /v1/orders from so many clients."""

    def __init__(self, work, name, simulate=False):
        self.work = os.path.join(work, name)
        os.makedirs(self.work + "/store")
        self.daemon = Daemon(BUILD, self.work, self.work + "/store", instruments=[EMI12 + ",speed=max"] if simulate else [])
        practice = self.daemon.practice()
        self.nurse, self.gp = practice.nurse, practice.gp
        practice.admit("B-1")
        practice.order("B-1")
        self.body = os.path.join(self.work, "order.json")
        with open(self.body, "w") as f:
            f.write('{"patient":"B-1","act":"ecg"}')
        self.number = 1

    def load(self, clients, seconds=None, count=None):
        self.number += 10000000
        return load("--unix", self.daemon.socket, "--header", "Authorization: Bearer " + self.nurse.token, "--header",
                    "Content-Type: application/json", "--method", "POST", "--path", "/v1/orders", "--body", self.body,
                    "--key", "bench-", "--first", self.number, "--clients", clients,
                    *(["--count", count] if count else ["--seconds", seconds]))


# ---- 1: durable writes ----

def bench_writes(work):
    seconds, runs = 0.4, 2 * RUNS  # short and many: what else the disk does comes in waves
    orders = Orders(work, "writes", simulate=can_simulate(BUILD))
    seed = Orders(work, "bare")  # makes a store whose first order the bare loop writes again
    seed.daemon.stop()
    bare = Bare(seed.daemon.store)
    orthanc = Orthanc(work + "/orthanc") if Orthanc.installed() else None
    ecg = os.path.join(work, "ecg.dcm")
    with open(ecg, "wb") as f:
        f.write(dicom(True))
    figures = {k: [] for k in ("bare1", "asked", "ours1", "bare4", "ours4", "orthanc1", "orthanc4", "study", "bare_study")}
    number = 1000000000
    study_ms, sizes = [], ""
    if can_simulate(BUILD):
        study_ms, sizes = whole_study(orders)
    for _ in range(runs):
        figures["bare1"].append(bare.rate(seconds, 1))
        figures["ours1"].append(orders.load(1, seconds)[0])
        figures["asked"].append(bare.rate(seconds, 1, "ask"))
        figures["bare4"].append(bare.rate(seconds, 4))
        figures["ours4"].append(orders.load(4, seconds)[0])
        if orthanc:
            for clients in (1, 4):
                number += 1000000
                figures[f"orthanc{clients}"].append(
                    load("--tcp", orthanc.port, "--method", "POST", "--path", "/instances", "--body", ecg, "--unique",
                         NEW_ID, "--first", number, "--clients", clients, "--seconds", seconds)[0])
        if sizes:
            figures["bare_study"].append(bare.rate(seconds, 1, sizes))
    f = {k: Figure(v, "/s") for k, v in figures.items() if v}
    # A client is another process: what is asked and answered over a socket cannot reach the loop that nobody waits
    # for. The second row is the limit for one client, the third how far below the disk's own that limit lies.
    row("durable orders, 1 client", f["ours1"], "bare loop, same rows, 1 a commit", f["bare1"], "a/b")
    enough = ratio_of(f["ours1"], f["asked"]) >= 0.8
    row("  the same", f["ours1"], "bare loop asked by another process", f["asked"], "a/b", ">= 0.80", enough)
    row("  (bare loop asked by another process)", f["asked"], "bare loop, 1 a commit", f["bare1"], "a/b")
    enough = ratio_of(f["ours4"], f["bare1"]) >= 0.8
    row("durable orders, 4 clients", f["ours4"], "bare loop, 1 a commit", f["bare1"], "a/b", ">= 0.80", enough)
    row("  the same", f["ours4"], "bare loop, 4 a commit", f["bare4"], "a/b")
    row("  1 client", f["ours1"], "Orthanc, REST store of an ECG, 1 client", f.get("orthanc1"), "a/b")
    row("  4 clients", f["ours4"], "Orthanc, REST store of an ECG, 4 clients", f.get("orthanc4"), "a/b")
    if sizes:
        row("an ECG of 10 s, order to acquired, instrument at full speed", Figure(study_ms, "ms"),
            "bare loop: its 3 files and rows", Figure([1000 / x for x in figures["bare_study"]], "ms"))
    else:
        missing("an ECG of 10 s, order to acquired", "missing: build/tests/sim")
    if orthanc:
        orthanc.stop()
    orders.daemon.stop()


def whole_study(orders):
    """Milliseconds from the order to the acquired study, several times; and the sizes of its artefacts."""
    ms = []
    for _ in range(RUNS):
        start = time.monotonic()
        study = orders.nurse.post("/v1/orders", {"patient": "B-1", "act": "ecg"})["study"]["id"]
        acquire(orders.nurse, study, 10, poll=0.001)
        ms.append((time.monotonic() - start) * 1000)
    said = sqlite(orders.daemon.store, "SELECT kind, max(bytes) FROM artefact GROUP BY kind", readonly=True)
    return ms, ",".join("=".join(line.split("|")) for line in said.split())


def sqlite(store, sql, readonly=False):
    """On a store that no daemon holds; readonly: on a copy of one that is held."""
    db = os.path.join(store, "asaleed.db")
    if readonly:
        copy = tempfile.mkdtemp(dir=os.path.dirname(store))
        for suffix in ("", "-wal"):
            if os.path.exists(db + suffix):
                shutil.copy(db + suffix, copy)
        db = os.path.join(copy, "asaleed.db")
    return subprocess.run(["sqlite3", db], input=sql, check=True, capture_output=True, text=True).stdout


# ---- 2: the queue ----

def seed_queue(store, n):
    """n patients with a follow-up and an accepted ECG each, straight into the schema that the daemon has made. They are
    due so late that nobody is reminded yet."""
    now = time.time_ns() // 1000
    hour = 3600 * 1000000
    series = f"WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < {n}) "
    sqlite(store, f"""
        PRAGMA synchronous = OFF; PRAGMA foreign_keys = ON; BEGIN;
        {series} INSERT INTO patient_version(patient, version, family, given, birth_date, sex, at)
          SELECT 'Q-' || i, 1, 'Famille' || (i * 7919 % 100003), 'Prénom' || i, '1950-02-03', 'F', {now} FROM n;
        {series} INSERT INTO patient SELECT 'Q-' || i, 1 FROM n;
        {series} INSERT INTO followup(patient, protocol, at, by) SELECT 'Q-' || i, 'tous', {now}, 'ines' FROM n;
        INSERT INTO followup_team(followup, gp, nurse, at, by) SELECT id, '{RPPS["martin"]}', '{RPPS["ines"]}', at, by
          FROM followup WHERE id NOT IN (SELECT followup FROM followup_team);
        INSERT INTO orders(patient, act, ordered_by, at, followup, delegation) SELECT patient, 'ecg', by, at - id, id, 1
          FROM followup WHERE patient LIKE 'Q-%';
        INSERT INTO study(orders, state, version, attempts, created, updated, accepted, due, clean)
          SELECT id, 'to_interpret', 4, 1, at, at, at, at + 5 * {hour} + (id * 7919 % 100003) * {hour} / 4000, 1 FROM orders
          WHERE id NOT IN (SELECT orders FROM study);
        COMMIT;""")


def bench_queue(work):
    sizes, daemons = (100, 10000, 100000), {}
    for n in sizes:
        o = Orders(work, f"queue{n}")
        o.daemon.stop()
        seed_queue(o.daemon.store, n)
        daemons[n] = o
        o.daemon = Daemon(BUILD, o.work, o.daemon.store)
        o.gp = Client(o.daemon.socket, o.gp.token)
        items, cursor, pages = 0, "", 0
        while cursor is not None and pages < 3:  # it is the queue that is measured: three full pages, or all
            page = o.gp.get("/v1/queue?limit=50" + (f"&cursor={cursor}" if cursor else ""))
            items, cursor, pages = items + len(page["items"]), page["next"], pages + 1
        if items != min(n, 150):
            raise RuntimeError(f"the queue of {n} shows {items}")
        o.middle = sqlite(o.daemon.store, "SELECT (due + (urgent IS NULL) * 288230376151711744) || '.' || id "
                          "FROM study WHERE state = 'to_interpret' "
                          f"ORDER BY due, id LIMIT 1 OFFSET {n // 2}", readonly=True).strip()
    ours = {n: ([], []) for n in (*sizes, "middle")}

    def page(n, cursor, into, count):
        o = daemons[n]
        _, p50, p99 = load("--unix", o.daemon.socket, "--header", "Authorization: Bearer " + o.gp.token, "--path",
                           "/v1/queue?limit=50" + cursor, "--count", count)
        into[0].append(p50 / 1000)
        into[1].append(p99 / 1000)

    orthanc, theirs = {}, {}
    if Orthanc.installed():
        for n in (100, 10000, 100000) if FULL else (100, 10000):
            orthanc[n] = seed_orthanc(work, n)
            theirs[n] = ([], [])
    find = os.path.join(work, "find.json")
    with open(find, "w") as f:
        json.dump({"Level": "Study", "Query": {}, "Limit": 50, "Expand": True}, f)
    for n in sizes:
        page(n, "", ([], []), 200)
    for _ in range(RUNS):
        for n in sizes:
            page(n, "", ours[n], 1500)
        page(100000, "&cursor=" + daemons[100000].middle, ours["middle"], 1500)
        for n, o in orthanc.items():
            _, p50, p99 = load("--tcp", o.port, "--method", "POST", "--path", "/tools/find", "--body", find, "--count",
                               40 if n <= 10000 else 10)
            theirs[n][0].append(p50 / 1000)
            theirs[n][1].append(p99 / 1000)
    for n in sizes:
        for i, p in enumerate(("p50", "p99")):
            a = Figure(ours[n][i], "ms", 3)
            b = Figure(theirs[n][i], "ms") if n in theirs else None
            beside = "Orthanc /tools/find, 50 of as many"
            if b is None and Orthanc.installed():
                b, beside = "not run (BENCH_FULL=1)", "Orthanc"
            target, met = ("<= 1 ms", a.median <= 1) if (n, p) == (100000, "p99") else ("", None)
            row(f"queue page, 50 of {n}, {p}", a, beside, b, "a/b", target, met)
    flat = Figure([a / b for a, b in zip(ours[100000][0], ours[100][0])], "x")
    row("queue page, p50 at 100000 over p50 at 100", flat, target="<= 1.5", met=flat.median <= 1.5)
    row("queue page from the middle of 100000, p50", Figure(ours["middle"][0], "ms", 3))
    for o in orthanc.values():
        o.stop()
    for o in daemons.values():
        o.daemon.stop()


def seed_orthanc(work, n):
    """Small instances, one study each; on memory, as only the index is asked."""
    at = tempfile.mkdtemp(prefix="orthanc", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else work)
    scratch.append(at)
    o = Orthanc(at)
    small = os.path.join(work, "small.dcm")
    with open(small, "wb") as f:
        f.write(dicom(False))
    start = time.monotonic()
    load("--tcp", o.port, "--method", "POST", "--path", "/instances", "--body", small, "--unique", NEW_ID, "--first",
         1000000000, "--clients", 4, "--count", n)
    say(f"  Orthanc filled with {n} in {time.monotonic() - start:.0f} s")
    return o


# ---- 3: decoding ----

def bench_decode(work):
    sample = os.path.join(os.environ.get("ASALEED_SAMPLES", ""),
                          "corscience_emi12/emi12_12lead_500Hz_serial_capture.bin")
    what = "a real stream"
    if not os.path.exists(sample):
        if not can_simulate(BUILD):
            return missing("EMI12 stream decode", "missing: no sample and no build/tests/sim")
        sample, what = os.path.join(work, "stream.bin"), "a simulated stream"
        with open(sample, "wb") as f:
            subprocess.run([os.path.join(BUILD, "tests/sim"), "--generate", "20", "--instrument", "emi12"], stdout=f, check=True)
    out = subprocess.run([os.path.join(BUILD, "bench/decode_rate"), "corscience_emi12", sample, str(RUNS)], check=True,
                         capture_output=True, text=True).stdout
    copy, frames, record, _ = zip(*([float(x) / 1e6 for x in line.split()] for line in out.splitlines()))
    copy, frames, record = Figure(copy, "MB/s"), Figure(frames, "MB/s"), Figure(record, "MB/s")
    row(f"EMI12 frames and samples, {what}", frames, "memcpy", copy, "a/b")
    row("  the same", frames, "the line, 230 400 baud", Figure([LINE_BYTES_S / 1e6], "MB/s", 3), "a/b")
    row("EMI12 to record and JSON", record, "the line, 230 400 baud", Figure([LINE_BYTES_S / 1e6], "MB/s", 3), "a/b")


def bulk_bytes(capture):
    """What came through the bulk endpoint: without the answers to control requests, whose eight set-up bytes stand
    before them."""
    control = False
    for line in capture.splitlines():
        kind, _, *rest = line.split(" ", 2)
        if kind == ">":
            control = len(rest[0]) == 16 and int(rest[0][:2], 16) < 0xe2
        elif kind == "<" and not control:
            yield bytes.fromhex(rest[0])
        else:
            control = False


def bench_apdu(work):
    if not can_simulate(BUILD):
        return missing("ISO/IEEE 11073 APDUs", "missing: no build/tests/sim")
    devices = os.path.join(work, "devices.d")
    os.makedirs(devices)
    with open(os.path.join(devices, "phdc.conf"), "w") as f:
        f.write("[device phdc]\ndriver = ieee11073_phdc\nusb-serial = PHDC\n")
    store = os.path.join(work, "store")
    os.mkdir(store, 0o700)
    daemon = Daemon(BUILD, work, store, instruments=["phdc,serial=PHDC,profile=ecg,auto=100,speed=max"])
    nurse, _, study = ordered(daemon, "ecg")
    while not nurse.get("/v1/devices")["items"][0]["present"]:
        time.sleep(0.01)
    acquire(nurse, study, 10, device="phdc")
    record = nurse.get(f"/v1/studies/{study}")["records"][-1]["id"]
    sha = nurse.get(f"/v1/records/{record}")["provenance"]["capture_sha256"]
    daemon.stop()
    found = [os.path.join(at, name) for at, _, names in os.walk(store) for name in names if sha.endswith(name)]
    stream = os.path.join(work, "apdus.bin")
    with open(found[0]) as f, open(stream, "wb") as g:
        g.writelines(bulk_bytes(f.read()))
    out = subprocess.run([os.path.join(BUILD, "bench/decode_rate"), "ieee11073_phdc", stream, str(RUNS)], check=True,
                         capture_output=True, text=True).stdout
    copy, frames, record, count = zip(*([float(x) / 1e6 for x in line.split()] for line in out.splitlines()))
    copy, frames, record = Figure(copy, "MB/s"), Figure(frames, "MB/s"), Figure(record, "MB/s")
    row("ISO/IEEE 11073 APDUs and events", frames, "memcpy", copy, "a/b")
    row("  the same, APDUs", Figure(count, "M/s", 2))
    row("ISO/IEEE 11073 to record and JSON", record, "full-speed USB, 1.2 MB/s", Figure([1.216], "MB/s", 3), "a/b")


def bench_usb(work):
    if not can_simulate(BUILD):
        return missing("USB round trip", "missing: no umockdev-wrapper")
    for size, trips in ((64, 1000), (4096, 500)):
        out = subprocess.run(["umockdev-wrapper", os.path.join(BUILD, "bench/usb_rate"), str(size), str(trips), str(RUNS)],
                             check=True, capture_output=True, text=True).stdout
        bare, ours = zip(*([float(x) for x in line.split()] for line in out.splitlines()))
        row(f"USB round trip of {size} bytes, recorded", Figure(ours, "us", 1), "bare libusb, same device",
            Figure(bare, "us", 1), "a/b")


# ---- pictures of 24 megapixels from a simulated camera ----

CAMERA = "ptp,serial=BENCHCAM,stored=0"
PICTURES = 4


def control(path, text):
    with socket.socket(socket.AF_UNIX) as c:
        c.settimeout(30)
        c.connect(path)
        c.sendall(text.encode() + b"\n")
        answer = c.makefile().readline()
    if not answer.startswith("ok"):
        raise RuntimeError(f"simulator: {text}: {answer}")


def bare_pictures(work, options):
    """MB/s of each picture through the bare loop."""
    sim = os.path.join(work, "bare.sock")
    p = subprocess.Popen(["umockdev-wrapper", os.path.join(BUILD, "tests/sim"), "--control", sim, "--instrument",
                          CAMERA + options, "--", os.path.join(BUILD, "bench/bare_pictures"), "/dev/bus/usb/002/002",
                          str(PICTURES), "1048576"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert p.stdout.readline() == "open\n"
    for _ in range(PICTURES):
        control(sim, "shoot 6000 4000")
    out = [[float(x) for x in line.split()] for line in p.stdout]
    if p.wait() or len(out) != PICTURES:
        raise RuntimeError("bare_pictures failed")
    return [n / us for n, us in out]


def capture_rates(text):
    """MB/s of each blob: from the command that asked for its first part to its end."""
    asked = first = None
    for line in text.splitlines():
        kind, *rest = line.split()
        if kind == ">":
            asked = int(rest[0])
        elif kind == "@" and first is None:
            first = asked
        elif kind == "#":
            yield int(rest[1]) / 1000 / max(int(rest[0]) - first, 1)
            first = None


def peak_kb(pid):
    with open(f"/proc/{pid}/status") as f:
        status = dict(line.split(":", 1) for line in f)
    return int(status["VmHWM"].split()[0])


def our_pictures(work, options):
    """(MB/s of each picture, peak resident kB of the worker until all were there, the pictures' bytes)."""
    os.makedirs(os.path.join(work, "devices.d"))
    with open(os.path.join(work, "devices.d/camera.conf"), "w") as f:
        f.write("[device camera]\ndriver = ptp_camera\nusb-serial = BENCHCAM\n")
    store = os.path.join(work, "store")
    os.mkdir(store, 0o700)
    daemon = Daemon(BUILD, work, store, instruments=[CAMERA + options],
                    simulator_options=["--control", os.path.join(work, "sim.sock")])
    nurse, _, study = ordered(daemon, "fundus")
    while not nurse.get("/v1/devices")["items"][0]["present"]:
        time.sleep(0.01)
    nurse.post(f"/v1/studies/{study}/acquire", {"device": "camera", "pictures": PICTURES + 1, "seconds": 120})
    sim, peak = os.path.join(work, "sim.sock"), 0
    time.sleep(1)
    for _ in range(PICTURES):
        control(sim, "shoot 6000 4000")
        time.sleep(0.6)
    workers = [int(p) for p in os.listdir("/proc") if p.isdigit() and worker_of(p, daemon.pid())]
    peak = max(peak_kb(p) for p in workers)
    nurse.post(f"/v1/studies/{study}/finish", {})
    while (answer := nurse.get(f"/v1/studies/{study}"))["state"] == "acquiring":
        time.sleep(0.05)
    if answer["state"] != "acquired":
        raise RuntimeError(f"no pictures: {answer['last_failure']}")
    record = nurse.get("/v1/records/" + answer["records"][-1]["id"])
    sizes = [p["bytes"] for p in record["record"]["acquired"]["pictures"]]
    sha = record["provenance"]["capture_sha256"]
    daemon.stop()
    with open(os.path.join(store, "artefacts", sha[:2], sha)) as f:
        rates = list(capture_rates(f.read()))
    if len(rates) != PICTURES or len(sizes) != PICTURES:
        raise RuntimeError(f"{len(rates)} blobs, {len(sizes)} pictures")
    shutil.rmtree(work)
    return rates, peak, sizes


def worker_of(pid, parent):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return int(f.read().rsplit(") ", 1)[1].split()[1]) == parent
    except OSError:
        return False


def bench_pictures(work):
    if not can_simulate(BUILD):
        return missing("pictures over USB", "missing: no umockdev-wrapper")
    for what, options, target in (("at high speed's pace, 40 MB/s", ",fault=slow:40000", ">= 0.9"),
                                  ("as fast as the simulator goes", "", "")):
        bare, ours, peaks = [], [], []
        for i in range(RUNS):
            bare.append(statistics.median(bare_pictures(work, options)))
            rates, peak, sizes = our_pictures(os.path.join(work, f"run{i}"), options)
            ours.append(statistics.median(rates))
            peaks.append(peak / 1024)
        ours, bare = Figure(ours, "MB/s", 1), Figure(bare, "MB/s", 1)
        row(f"24 Mpx pictures, {what}", ours, "bare libusb loop, same camera", bare, "a/b", target,
            ratio_of(ours, bare) >= 0.9 if target else None)
        row("  the worker's peak memory meanwhile", Figure(peaks, "MB", 1), f"the {PICTURES} pictures",
            Figure([sum(sizes) / 1e6], "MB", 1), "a/b")


# ---- records as DICOM objects ----

JOB = {"accepted": "2026-01-05T10:00:00.000000+01:00", "act": "ecg", "fundus": None, "height_cm": None,
       "instance": {"number": 1, "uid": "2.25.1001"}, "order": "O-1", "parts": {"device": True, "statements": True},
       "patient": {"birth_date": "1958-04-12", "family": "Exemple", "given": "Camille", "id": "B-1", "sex": "F"},
       "schema": "asaleed-export-1", "series": {"number": 1, "uid": "2.25.1002"}, "station": "Salle 1",
       "study": {"id": "S-1", "ordered": "2026-01-05T09:00:00.000000+01:00", "uid": "2.25.1003"}}
FUNDUS = {"dilation": {"agents": [], "degree_mm": None, "dilated": False}, "field": "macula", "laterality": "R", "picture": 1}


def reading(work, act, driver, instrument, seconds):
    """The record, and its samples or first picture, of an acquisition on a simulated instrument: two files."""
    os.makedirs(os.path.join(work, "devices.d"))
    with open(os.path.join(work, "devices.d/d.conf"), "w") as f:
        f.write(f"[device d]\ndriver = {driver}\nusb-serial = BENCHDEV\n")
    store = os.path.join(work, "store")
    os.mkdir(store, 0o700)
    daemon = Daemon(BUILD, work, store, instruments=[instrument + ",serial=BENCHDEV"])
    nurse, gp, study = ordered(daemon, act)
    while not nurse.get("/v1/devices")["items"][0]["present"]:
        time.sleep(0.01)
    record = gp.get("/v1/records/" + acquire(nurse, study, seconds, device="d")["records"][-1]["id"])
    daemon.stop()
    acquired = record["record"]["acquired"]
    shas = record["sha256"], acquired["pictures"][0]["sha256"] if act == "fundus" else acquired["data"]["sha256"]
    return [os.path.join(store, "artefacts", sha[:2], sha) for sha in shas]


def timed(argv, descriptors=(), sync=-1):
    """Milliseconds of a process, with the syncing of one of its descriptors, and its peak resident megabytes."""
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in descriptors]
    read, write = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, write, 1)] + [(os.POSIX_SPAWN_DUP2, fd, 3 + i) for i, fd in enumerate(moved)]
    pid = os.posix_spawn(os.path.join(BUILD, "bench/measure"), ["measure", str(sync), *argv], os.environ, file_actions=actions)
    os.close(write)
    with open(read) as f:
        out = f.read().split()
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError(f"{argv[0]} failed")
    for fd in moved:
        os.close(fd)
    return int(out[0]) / 1000, int(out[1]) / 1024


def encoded(work, job, record, data, out):
    """One object as the daemon has it made, down to the disk."""
    path = os.path.join(work, "job.json")
    with open(path, "w") as f:
        json.dump(job, f, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    fds = [os.open(p, os.O_RDONLY) for p in (path, record, data)] + [os.open(out, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)]
    try:
        return timed([os.path.join(BUILD, "asaleed-export"), "encode"], fds, 6)
    finally:
        for fd in fds:
            os.close(fd)


def bench_encode(work):
    if not can_simulate(BUILD) or not shutil.which("img2dcm") or not shutil.which("dump2dcm"):
        return missing("DICOM objects", "missing: no build/tests/sim, or no dcmtk")
    ours, theirs = os.path.join(work, "ours.dcm"), os.path.join(work, "theirs.dcm")
    ecg = reading(os.path.join(work, "ecg"), "ecg", "corscience_emi12", "emi12,speed=max", 10)
    encoded(work, JOB, *ecg, ours)
    dump = os.path.join(work, "ecg.dump")
    with open(dump, "w") as f:
        subprocess.run(["dcmdump", "+L", ours], stdout=f, check=True)
    picture = reading(os.path.join(work, "fundus"), "fundus", "ptp_camera", "ptp,stored=0,size=6000x4000,auto=300,shots=1", 3)
    job = {**JOB, "act": "fundus", "fundus": FUNDUS}
    for what, a, peer, argv in (
            ("ECG of 12 leads, 10 s", (JOB, *ecg), "dump2dcm", ["dump2dcm", dump, theirs]),
            ("24 Mpx fundus picture", (job, *picture), "img2dcm", ["img2dcm", "-oph", "--no-checks", picture[1], theirs])):
        runs = [(encoded(work, *a, ours), timed(argv)) for _ in range(4 * RUNS)]
        mine, other = (Figure([r[i][0] for r in runs], "ms", 1) for i in (0, 1))
        row(f"{what} to a DICOM object on the disk", mine, f"{peer}, not synced", other, "a/b", "<= 0.7",
            ratio_of(mine, other) <= 0.7)
        mine, other = (Figure([r[i][1] for r in runs], "MB", 1) for i in (0, 1))
        row("  peak memory", mine, peer, other, "a/b")


# ---- files that recorders left ----

def recorders(build, work):
    """(driver, what, path) of the files that are decoded: made up ones, and those of the samples that are there."""
    samples = os.environ.get("ASALEED_SAMPLES", "")
    for driver, kind, name, real in (("file_scp_ecg", "scp", "SCP-ECG", "scp_ecg/Example.scp"),
                                     ("file_hl7_aecg", "aecg", "aECG", "hl7_aecg/ECGToolkit_Example.xml")):
        path = os.path.join(work, kind)
        subprocess.run([os.path.join(build, "tests/file_maker"), kind, path], check=True)
        yield driver, f"{name} to record and JSON, 12 leads, 10 s, made up", path
        if os.path.exists(os.path.join(samples, real)):
            yield driver, f"{name} to record and JSON, {os.path.basename(real)}", os.path.join(samples, real)


def bench_files(work):
    for driver, what, path in recorders(BUILD, work):
        out = subprocess.run([os.path.join(BUILD, "bench/file_rate"), driver, path, str(2 * RUNS)], check=True,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.split()
        size, ours, peer, numbers = int(out[0]), *([float(x) for x in out[k::3]] for k in (1, 2, 3))
        if driver == "file_scp_ecg":
            a, b = Figure(ours, "files/s"), Figure(peer, "files/s") if all(peer) else None
            row(what, a, "libbiosig, sopen and sread", b, "a/b", ">= 5", ratio_of(a, b) >= 5 if b else None)
        else:
            a, b, c = (Figure([1000 / x for x in rates], "ms") for rates in (ours, peer, numbers))
            row(what, a, "libxml2, SAX to nothing", b, "a/b", "<= 1.5", ratio_of(a, b) <= 1.5)
            row("  the same", a, "libxml2, SAX and strtol()", c, "a/b")
        b = Figure([x * size / 1e6 for x in peer], "MB/s") if all(peer) else None
        row("  the same", Figure([x * size / 1e6 for x in ours], "MB/s"), "the first peer", b)


IMPORTED = 1000
DECODED = 400  # of them are waited for
SETTLE_S = 1  # SETTLE_MS of collector.c: so long a folder's file must stay the same


class Stick:
    """The files on an image that is mounted anew for each run; on a machine that mounts none, in a folder."""

    def __init__(self, work):
        self.at, self.image = os.path.join(work, "stick"), os.path.join(work, "stick.img")
        os.makedirs(self.at)
        self.made = os.path.join(work, "made")
        os.makedirs(self.made)
        makers = [subprocess.Popen(["sh", "-c", f"for i in $(seq {k} {os.cpu_count()} {IMPORTED}); do \"$0\" scp --seed $i "
                                    "\"$1/ECG_$i.scp\" || exit 1; done", os.path.join(BUILD, "tests/file_maker"),
                                    self.made]) for k in range(1, os.cpu_count() + 1)]
        if any([m.wait() for m in makers]):
            raise RuntimeError("file_maker failed")
        self.size = sum(e.stat().st_size for e in os.scandir(self.made)) / IMPORTED / 1000
        self.kind = next((k for k in ("vfat", "ext4") if shutil.which("mkfs." + k) and self.image_of(k)), None)

    def image_of(self, kind):
        with open(self.image, "wb") as f:
            f.truncate(128 << 20)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        made = subprocess.run(["mkfs." + kind, *(["-q"] if kind == "ext4" else []), self.image], **quiet)
        self.kind = kind
        if made.returncode or subprocess.run(["mount", "-o", "loop", self.image, self.at], **quiet).returncode:
            return False
        copied = subprocess.run(["cp", "-r", self.made, self.at]).returncode == 0
        self.out()
        return copied

    def into(self):
        if self.kind:
            subprocess.run(["mount", "-o", "loop,ro", self.image, self.at], check=True)
        return self.at if self.kind else self.made

    def out(self):
        if self.kind:
            subprocess.run(["umount", self.at], check=True)

    def __str__(self):
        return f"a stick of {self.kind}" if self.kind else "a folder of the same disk"


def collector_start(d):
    """By time.monotonic(), as exactly as the kernel keeps it (10 ms)."""
    while True:
        for pid in d.tree():
            with open(f"/proc/{pid}/cmdline", "rb") as f, open(f"/proc/{pid}/stat") as g:
                if f.read().endswith(b"collect\0"):
                    since_boot = int(g.read().rsplit(")", 1)[1].split()[19]) / os.sysconf("SC_CLK_TCK")
                    return time.monotonic() - (time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot)


def import_once(work, stick, whole):
    """Seconds until all are safe, and until DECODED are in the tray (0 where nobody waits for that), counted from the start
    of the collecting process; and the longest that the queue took meanwhile, in ms."""
    os.makedirs(work + "/devices.d")
    os.makedirs(work + "/store")
    folder = stick.into()
    with open(work + "/devices.d/scp.conf", "w") as f:
        f.write(f"[device scp]\ndriver = file_scp_ecg\nfolder = {folder}\n")
    d = Daemon(BUILD, work, work + "/store")
    start = collector_start(d)
    practice = d.practice()
    gp, admin, worst, over = practice.gp, practice.root, [0.0], threading.Event()

    def ask():
        while not over.wait(0.002):
            t = time.monotonic()
            gp.get("/v1/queue?limit=50")
            worst.append((time.monotonic() - t) * 1000)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()

    def until(path, wanted):
        while time.monotonic() < start + 300:
            try:
                if wanted(admin.get(path)):
                    return time.monotonic() - start
            except Refused as e:
                if e.status != 404:
                    raise
            time.sleep(0.01)
        raise TimeoutError(path)

    try:
        safe = until(f"/v1/files/F-{IMPORTED}", lambda _: True)
        tray = until(f"/v1/files/F-{DECODED}", lambda f: f["unmatched"]) if whole else 0
        if admin.get("/v1/files?state=refused&limit=1")["items"]:
            raise RuntimeError("files were refused")
    finally:
        over.set()
        asking.join()
        d.stop()
        stick.out()
    return safe, tray, max(worst)


def copied_once(work, stick):
    """Seconds that cp -r and the disk take."""
    folder = stick.into()
    os.makedirs(work)
    start = time.monotonic()
    subprocess.run(["cp", "-r", folder, work + "/copy"], check=True)
    subprocess.run(["sync", "-f", work + "/copy"], check=True)
    took = time.monotonic() - start
    stick.out()
    return took


def bench_import(work):
    stick = Stick(work)
    runs = 3
    copied, safe, queue = [], [], []
    for i in range(runs):
        copied.append(copied_once(f"{work}/copied{i}", stick))
        s, tray, worst = import_once(f"{work}/import{i}", stick, i == runs - 1)
        safe.append(s - SETTLE_S)
        queue.append(worst)
    what = f"{IMPORTED} SCP files of {stick.size:.0f} kB on {stick}: to safe, less 1 s of rest"
    row(what, Figure(safe, "s"), "cp -r and syncfs", Figure(copied, "s"), "a/b")
    row("  the same", Figure([IMPORTED / s for s in safe], "files/s"))
    row(f"  to the tray, the first {DECODED} decoded", Figure([DECODED / (tray - SETTLE_S)], "files/s"))
    row("  a queue page meanwhile, the slowest of a run", Figure(queue, "ms"))


# ---- who gets what, and the trail of it ----

def bench_access(work):
    """The same request by nobody, by the GP and by the nurse, whose answer is looked up by patient and masked."""
    o = Orders(work, "access", simulate=True)
    study = o.nurse.get("/v1/orders")["items"][0]["study"]["id"]
    acquire(o.nurse, study, 10)
    record = o.nurse.get("/v1/studies/" + study)["records"][0]["id"]
    figures = {}
    ways = {"nobody": ("/v1/health", None)}
    for what, path in (("study", "/v1/studies/" + study), ("record", "/v1/records/" + record)):
        ways |= {f"gp {what}": (path, o.gp), f"nurse {what}": (path, o.nurse)}
    for _ in range(2 * RUNS):
        for way, (path, who) in ways.items():
            token = ["--header", "Authorization: Bearer " + who.token] if who else []
            figures.setdefault(way, []).append(
                load("--unix", o.daemon.socket, *token, "--path", path, "--count", 1000)[1] / 1000)
    f = {way: Figure(values, "ms", 3) for way, values in figures.items()}
    for what in ("study", "record"):
        row(f"a {what} by the nurse, looked up and masked, p50", f["nurse " + what], "by the GP, unmasked",
            f["gp " + what], "a/b")
    row("a study by the GP, p50", f["gp study"], "/v1/health by nobody", f["nobody"], "a/b")


AUDITED = 100000


def health(daemon):
    """One answer's time at the 99th percentile, ms."""
    return load("--unix", daemon.socket, "--path", "/v1/health", "--count", 2000)[2] / 1000


def bench_audit_beside(work, store):
    """Somebody asks for health while all of the trail is verified."""
    d = Daemon(BUILD, work, store)
    alone, beside = [], []
    for _ in range(RUNS):
        alone.append(health(d))
        asked = threading.Thread(target=Client(d.socket).get, args=("/v1/audit/verify",))
        asked.start()
        beside.append(health(d))
        asked.join()
    d.stop()
    row("/v1/health while it is verified, p99", Figure(beside, "ms", 3), "at rest", Figure(alone, "ms", 3), "a/b")


def bench_audit(work):
    store = os.path.join(work, "store")
    os.makedirs(store, mode=0o700)
    out = subprocess.run([os.path.join(BUILD, "bench/audit_rate"), store, str(AUDITED), str(RUNS)], check=True,
                         stdout=subprocess.PIPE, text=True).stdout.split()
    size, lines, whole, bare = int(out[0]), *([float(x) for x in out[k::3]] for k in (1, 2, 3))
    b = Figure(bare, "rows/s")
    row(f"audit trail of {AUDITED} rows verified, chain, heads, seal and all", Figure(whole, "rows/s"),
        "SHA-256 of as many bytes", b, "a/b")
    row("  an export of it, without a daemon", Figure(lines, "rows/s"), "SHA-256 of as many bytes", b, "a/b")
    row("  SHA-256 alone", Figure([x * size / AUDITED / 1e6 for x in bare], "MB/s"))
    bench_audit_beside(work, store)


# ---- 4 and 6: an acquisition, from the wire ----

def stamps(path):
    with open(path) as f:
        for line in f:
            fields = line.split()
            yield int(fields[0]), fields[1], fields[2] if len(fields) > 2 else ""


def wire_times(path):
    """For each ECG frame that the simulator sent: (sample sets sent up to and with it, when its last byte was written).
    The frames are read as frame.h of the driver describes them."""
    frame, inside, escaped, total, out = bytearray(), False, False, 0, []
    for at, what, data in stamps(path):
        for byte in bytes.fromhex(data) if what == "tx" else b"":
            if byte == 0xfc:
                frame, inside, escaped = bytearray(), True, False
            elif inside and byte == 0xfd:
                inside = False
                if len(frame) > 14 and frame[1] | frame[2] << 8 == 0x0724:
                    samples, values, i = frame[3 + 5:-6], 0, 0
                    while i < len(samples):
                        i += 2 if samples[i] & 1 else 1
                        values += 1
                    total += values // 8
                    out.append((total, at))
            elif inside and byte == 0xfe:
                escaped = True
            elif inside:
                frame.append(byte - 0xdc + 0xfc if escaped else byte)
                escaped = False
    return out


def bench_preview(work):
    if not can_simulate(BUILD):
        missing("preview, wire to event", "missing: build/tests/sim")
        return missing("spawn to first byte", "missing: build/tests/sim")
    w = os.path.join(work, "preview")
    os.makedirs(w + "/store")
    env = {"STAMP": os.path.join(w, "stamps")}
    d = Daemon(BUILD, w, w + "/store", instruments=[EMI12], env=env, preload=os.path.join(BUILD, "bench/stamp.so"))
    practice = d.practice()
    nurse = practice.nurse
    practice.admit("B-1")
    latencies, oldest = [], []
    for seconds in (5, 5):
        study = nurse.post("/v1/orders", {"patient": "B-1", "act": "ecg"})["study"]["id"]
        events = []
        reader = Client(d.socket, nurse.token)
        reader.connection.request("GET", f"/v1/studies/{study}/events", headers={"Authorization": "Bearer " + nurse.token})
        answer = reader.connection.getresponse()

        def listen():
            name = ""
            try:
                for line in answer:
                    now = time.monotonic_ns()
                    if line.startswith(b"event:"):
                        name = line[6:].strip().decode()
                    elif line.startswith(b"data:") and name == "preview":
                        events.append((now, json.loads(line[5:])))
            except (OSError, ValueError):
                pass

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        open(env["STAMP"], "w").close()
        acquire(nurse, study, seconds, poll=0.05)
        time.sleep(0.1)
        ends = wire_times(env["STAMP"])
        for now, p in events[:-1]:  # the last is what was left when the instrument was told to stop
            newest = p["first"] + len(p["channels"][0]["values"])
            sent = [at for total, at in ends if total >= newest]
            begun = [at for total, at in ends if total > p["first"]]
            if sent:
                latencies.append((now - sent[0]) / 1e6)
                oldest.append((now - begun[0]) / 1e6)
        answer.fp.raw._sock.shutdown(socket.SHUT_RDWR)
        listener.join(5)
        reader.close()
    if latencies:
        row(f"preview, wire to event: its newest sample ({len(latencies)} events)", Figure(latencies, "ms"))
        row("  its oldest sample, which waits for 0.1 s of signal", Figure(oldest, "ms"))
    else:
        missing("preview: wire to event", "no event could be matched")
    bench_first_byte(d, nurse, env["STAMP"])
    d.stop()


def bench_first_byte(d, nurse, path):
    total, port = [], []
    for _ in range(max(RUNS, 7)):
        study = nurse.post("/v1/orders", {"patient": "B-1", "act": "ecg"})["study"]["id"]
        open(path, "w").close()
        nurse.post(f"/v1/studies/{study}/acquire", {"device": "ecg1", "seconds": 1})
        when, end = {}, time.monotonic() + 5
        while "first" not in when and time.monotonic() < end:
            time.sleep(0.02)
            when = {}
            for at, what, _ in stamps(path):
                when.setdefault(what, at)
        nurse.post(f"/v1/studies/{study}/cancel", {})
        while nurse.get(f"/v1/studies/{study}")["state"] == "acquiring":
            time.sleep(0.01)
        if "first" in when:
            total.append((when["first"] - when["spawn"]) / 1e6)
            port.append((when["opened"] - when["port"]) / 1e6)
    above = Figure([a - b for a, b in zip(total, port)], "ms")
    row("spawn to first byte", Figure(total, "ms"), "opening the port alone", Figure(port, "ms"))
    row("  above the port's own time", above, target="<= 10 ms", met=above.median <= 10)


# ---- 5: start and rest ----

def start_ready(work, store, name):
    """Milliseconds from exec to READY=1."""
    path = os.path.join(work, name + ".notify")
    if os.path.exists(path):
        os.unlink(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(path)
        s.settimeout(20)
        d = Rest(work, store, name, {"NOTIFY_SOCKET": path})
        while b"READY=1" not in s.recv(4096):
            pass
        ms = (time.monotonic() - d.start) * 1000
    d.stop()
    return ms


class Rest:
    """asaleed alone, as systemd starts it."""

    def __init__(self, work, store, name, env):
        self.start = time.monotonic()
        devices = os.path.join(work, name + ".d")
        os.makedirs(devices, exist_ok=True)
        self.start = time.monotonic()
        self.process = subprocess.Popen(
            [BUILD + "/asaleed", "--config", "/dev/null", "--store", store, "--socket", f"{work}/{name}.sock",
             "--devices", devices, "--protocols", devices, "--messages", ROOT + "/config/messages.fr", "--driver-program",
             BUILD + "/asaleed-driver"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, **env})
        self.pid = self.process.pid
        alive.append(self)

    def kill(self):
        self.process.kill()
        self.stop()

    def stop(self):
        self.process.terminate()
        self.process.wait()
        if self in alive:
            alive.remove(self)


def rss_mb(pid):
    with open(f"/proc/{pid}/status") as f:
        for line in f:
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024 / 1e6


def switches(pid):
    """How often its threads have slept and been woken."""
    n = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status") as f:
            n += sum(int(line.split()[1]) for line in f if line.startswith("voluntary_ctxt"))
    return n


def bench_rest(work):
    fresh = os.path.join(work, "rest")
    os.makedirs(fresh)
    busy = Orders(work, "busy")
    used_store = busy.daemon.store
    busy.load(4, count=3000)
    busy.daemon.stop()
    seed_queue(used_store, 3000)
    start_ready(work, fresh, "first")  # makes the store
    ready = {"fresh": [], "used": [], "Orthanc": [], "gpsd": []}
    for i in range(max(RUNS, 7)):
        ready["fresh"].append(start_ready(work, fresh, "ready"))
        ready["used"].append(start_ready(work, used_store, "ready"))
        for peer in (Gpsd, Orthanc):
            if peer.installed() and i < 3:
                p = peer(os.path.join(work, peer.name)) if peer is Orthanc else peer(work)
                ready[peer.name].append(p.started_ms)
                p.stop()
    a = Figure(ready["fresh"], "ms")
    row("start to READY", a, "gpsd, first answer", Figure(ready["gpsd"], "ms") if ready["gpsd"] else None,
        target="<= 25 ms", met=a.median <= 25)
    a = Figure(ready["used"], "ms")
    row("  with 3 000 studies waiting", a, "Orthanc, first answer",
        Figure(ready["Orthanc"], "ms") if ready["Orthanc"] else None, target="<= 25 ms", met=a.median <= 25)

    # At rest, all at once: one daemon new, one that has just taken 3 000 orders and shown the queue, the peers.
    watchdog_s, window_s = 8, 20
    path = os.path.join(work, "watchdog")
    pings = 0
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(path)
    idle = Rest(work, fresh, "idle", {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": str(watchdog_s * 1000000)})
    worked = Orders(work, "worked")
    worked.load(4, count=3000)
    for _ in range(50):
        worked.gp.get("/v1/queue?limit=50")
        worked.gp.get("/v1/studies/S-7")
    worked.nurse.close()
    worked.gp.close()
    peers = {p.name: p(work + "/idle" + p.name) if p is Orthanc else p(work) for p in (Gpsd, Orthanc) if p.installed()}
    pids = {"idle": idle.pid, "worked": worked.daemon.pid(), **{k: p.pid for k, p in peers.items()}}
    time.sleep(8)  # to come to rest
    notify.setblocking(False)

    def drain():
        n = 0
        try:
            while True:
                n += b"WATCHDOG=1" in notify.recv(4096)
        except BlockingIOError:
            return n

    drain()
    before = {k: switches(p) for k, p in pids.items()}
    start = time.monotonic()
    time.sleep(window_s)
    took = time.monotonic() - start
    pings = drain()
    woken = {k: switches(p) - before[k] for k, p in pids.items()}
    rss = {k: rss_mb(p) for k, p in pids.items()}

    def other(values, name, unit):
        return Figure([values[name]], unit) if name in peers else None

    row("resident memory at rest", Figure([rss["idle"]], "MB"), "gpsd", other(rss, "gpsd", "MB"), "a/b", "<= 8 MB",
        rss["idle"] <= 8)
    row("  after 3 000 orders", Figure([rss["worked"]], "MB"), "Orthanc, empty", other(rss, "Orthanc", "MB"), "a/b")
    beyond = (woken["idle"] - pings) / took
    rate = {k: n / took for k, n in woken.items()}
    row(f"wake-ups at rest, {pings} of them the watchdog's", Figure([rate["idle"]], "/s"), "gpsd", other(rate, "gpsd", "/s"))
    row("  beyond the watchdog's", Figure([beyond], "/s"), target="0", met=beyond <= 0)
    row("  after 3 000 orders, no watchdog", Figure([rate["worked"]], "/s"), "Orthanc, empty", other(rate, "Orthanc", "/s"),
        target="0", met=rate["worked"] == 0)
    idle.stop()
    worked.daemon.stop()
    for p in peers.values():
        p.stop()


PARTS = {"writes": bench_writes, "queue": bench_queue, "decode": bench_decode, "apdu": bench_apdu, "usb": bench_usb,
         "pictures": bench_pictures, "encode": bench_encode, "files": bench_files, "import": bench_import,
         "access": bench_access, "audit": bench_audit, "preview": bench_preview, "rest": bench_rest}
scratch = []


def main():
    start = time.monotonic()
    work = tempfile.mkdtemp(prefix="asaleed-bench")
    scratch.append(work)
    failed = False
    try:
        for name, part in PARTS.items():
            if ONLY and name not in ONLY:
                continue
            say(f"{name} ...")
            at = os.path.join(work, name)
            os.makedirs(at)
            try:
                part(at)
            except Exception as e:  # one part that fails does not hide the others
                failed = True
                missing(name, f"FAILED: {e}"[:70])
                say(f"  {type(e).__name__}: {e}")
                if os.environ.get("BENCH_DEBUG"):
                    raise
            finally:
                for program in list(alive):
                    program.kill()
    finally:
        for at in scratch:
            shutil.rmtree(at, ignore_errors=True)
    print()
    print_table()
    with open("/proc/loadavg") as f:
        print(f"\n{os.cpu_count()} processors, load {f.read().split()[0]}, store on {os.path.dirname(work)}, "
              f"{RUNS} alternated runs, {time.monotonic() - start:.0f} s")
    return failed


if __name__ == "__main__":
    sys.exit(main())
