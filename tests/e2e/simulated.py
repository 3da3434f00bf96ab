"""What the end-to-end tests of instruments share: the daemon beside simulated instruments, on serial lines through the
real libserialport and on USB through the real libusb. TAP on standard output."""
import collections
import concurrent.futures
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

from bed import RPPS
from client import Client, Daemon, Refused

BUILD = os.path.abspath(sys.argv[1])
PULLED = {"device_unplugged", "device_absent", "device_open"}
DRIVERS = {"vitalograph": "vitalograph_lungmonitor", "sp80b": "contec_sp80b", "phdc": "ieee11073_phdc",
           "ptp": "ptp_camera"}

count = failures = 0
speaking = threading.Lock()  # parts may run beside each other


def result(ok, name, why=""):
    global count, failures
    with speaking:
        count += 1
        failures += not ok
        print(f"{'ok' if ok else 'not ok'} {count} - {name}", flush=True)
        if why and not ok:
            print("# " + str(why).replace("\n", "\n# "), flush=True)


def skip(name, why):
    global count
    with speaking:
        count += 1
        print(f"ok {count} - {name} # SKIP {why}", flush=True)


class Bed:
    """A daemon beside simulated instruments: NAME -> the engine's keys. Each is the device of the same name. `conf` adds
    lines to its declaration."""

    def __init__(self, instruments, conf=None):
        self.work = tempfile.mkdtemp(prefix="asaleed-e2e-")
        self.names = list(instruments)
        self.addresses = {}  # the simulator's own names
        devices = os.path.join(self.work, "devices.d")
        os.mkdir(devices)
        specs = []
        for name, keys in instruments.items():
            kind = name.split("_")[0]
            same = sum(other.split("_")[0] == kind for other in self.addresses)
            self.addresses[name] = f"{kind}#{same + 1}" if same else kind
            specs.append(f"{kind},serial={name.upper()}{',' + keys if keys else ''}")
            with open(os.path.join(devices, f"{name}.conf"), "w") as f:
                f.write(f"[device {name}]\ndriver = {DRIVERS[kind]}\nusb-serial = {name.upper()}\n"
                        + (conf or {}).get(name, "calibration = off\n"))
        store = os.path.join(self.work, "store")
        os.mkdir(store, 0o700)
        self.control_path = os.path.join(self.work, "sim.sock")
        try:
            self.daemon = Daemon(BUILD, self.work, store, instruments=specs,
                                 simulator_options=("--control", self.control_path))
        except RuntimeError:
            shutil.rmtree(self.work, ignore_errors=True)
            raise
        self.practice = self.daemon.practice()
        self.nurse, self.gp, self.admin = self.practice.nurse, self.practice.gp, self.practice.root
        self.practice.admit("P-1", birth_date="1981-04-12")
        self.control = socket.socket(socket.AF_UNIX)
        self.control.settimeout(10)
        self.control.connect(self.control_path)
        self.answers = self.control.makefile()
        for name in self.names:
            self.present(name, True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.control.close()
        status = self.daemon.stop()
        if status:
            result(False, "the daemon ends well", f"status {status}: {self.log()[-3000:]}")
        self.look_back()
        shutil.rmtree(self.work, ignore_errors=True)

    def look_back(self):
        """What a test looks at once the daemon has ended."""

    def say(self, command, name=None):
        line = command if len(self.names) == 1 else f"{self.addresses[name]} {command}"
        self.control.sendall(line.encode() + b"\n")
        answer = self.answers.readline().strip()
        if not answer.startswith("ok"):
            raise RuntimeError(f"simulator: {line}: {answer}")
        return answer

    def stats(self, name=None):
        return dict(p.split("=") for p in self.say("stats", name).split()[1:])

    def order(self, act):
        return self.practice.order("P-1", act)

    def present(self, name, wanted, seconds=5):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if next(d for d in self.nurse.get("/v1/devices")["items"] if d["id"] == name)["present"] == wanted:
                return True
            time.sleep(0.002)
        return False

    def acquire(self, study, device, seconds=15, limit=60, during=None, **more):
        """The code an acquisition ended with, "ok" when it made a record; during() is called once it runs."""
        try:
            self.nurse.post(f"/v1/studies/{study}/acquire", {"device": device, "seconds": seconds, **more})
            if during:
                during()
            end = time.monotonic() + limit
            while time.monotonic() < end:
                s = self.nurse.get(f"/v1/studies/{study}")
                if s["state"] != "acquiring":
                    return "ok" if s["state"] == "acquired" and not s["last_failure"] else s["last_failure"]["code"]
                time.sleep(0.005)
            raise TimeoutError(study)
        except Refused as e:
            return e.body["code"]

    def record(self, study, client=None):
        records = (client or self.nurse).get(f"/v1/studies/{study}")["records"]
        if not records:
            raise RuntimeError("no record: " + self.log()[-2000:])
        record = records[-1]["id"]
        return (client or self.nurse).get(f"/v1/records/{record}")["record"]

    def log(self):
        with open(self.daemon.log.name) as f:
            return f.read()


def events_of(bed, study):
    """Listens to a study's events; call what it returns for all that came until then."""
    client = Client(bed.daemon.socket, bed.nurse.token)
    client.connection.request("GET", f"/v1/studies/{study}/events", headers={"Authorization": "Bearer " + client.token})
    answer = client.connection.getresponse()

    def take():
        events = b""
        client.connection.sock.settimeout(1)
        try:
            while chunk := answer.read1(65536):
                events += chunk
        except OSError:
            pass
        client.close()
        return events.decode()

    return take


def within_reach(bed, client, ids):
    """Each GET route's answer as a text, with the ids of each kind of thing ("studies"); and the journal."""
    reference = subprocess.run([os.path.join(BUILD, "asaleed"), "--api-reference"], capture_output=True, text=True,
                               check=True).stdout
    ids = {"files": ["F-1"], "media": ["sdb1"], "followups": ["W-1"], "professionals": [RPPS["ines"]], **ids}
    paths = set()
    for path in re.findall(r"\| GET \| `(/v1/[^`]*)`", reference):
        if not path.endswith("/events"):
            noun = path.split("/")[2]
            paths |= {re.sub(r"\{[^}]*\}", i, path) for i in ids.get(noun, ["M-1"])} if "{" in path else {path}
    texts = {}
    for path in sorted(paths):
        try:
            body = client.get(path)
            texts[path] = body.decode("latin-1") if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False)
        except Refused as e:
            texts[path] = json.dumps(e.body, ensure_ascii=False)
    texts["journal"] = bed.log()
    return texts


def unplug(bed, name, act, points_of, **order):
    """The cable pulled at many bytes of a session, those that points_of(how many a whole one has) gives: a clear error
    each time, and the next session works."""
    before = int(bed.stats(name)["bytes_out"])
    if bed.acquire(bed.order(act), name, **order) != "ok":
        return result(False, f"{name}: a session without a fault works", bed.log()[-2000:])
    total = int(bed.stats(name)["bytes_out"]) - before
    points = points_of(total)
    bad, slowest, codes = [], 0.0, collections.Counter()
    study = bed.order(act)
    for n in points:
        bed.say(f"unplug-after {n}", name)
        start = time.monotonic()
        code = bed.acquire(study, name, **order)
        slowest = max(slowest, time.monotonic() - start)
        codes[code] += 1
        if code == "ok":
            study = bed.order(act)
        elif code not in PULLED:
            bad.append((n, code))
        bed.say("reset", name)
        if bed.stats(name)["plugged"] == "0":
            bed.say("replug", name)
        if not bed.present(name, True):
            bad.append((n, "did not come back"))
    code = bed.acquire(bed.order(act), name, **order)
    result(not bad and code == "ok" and codes["device_unplugged"] > 0,
           f"{name}: unplug at {len(points)} of {total} bytes: a clear error each time ({dict(codes)}), slowest"
           f" {slowest:.2f} s, the next one works", f"{bad[:10]} then {code}: {bed.log()[-1500:]}")


def run_parts(parts, only, at_once=1):
    """Each part is a function that calls result(); what it raises is its failure."""
    def run(part):
        try:
            part()
        except Exception as e:  # whatever it is, the other parts go on
            lines = [f"line {t.tb_lineno}" for t in walk(e.__traceback__)]
            result(False, part.__name__, f"{e!r} at {' '.join(lines)}".replace("\\n", "\n"))

    def walk(trace):
        while trace:
            yield trace
            trace = trace.tb_next

    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        list(pool.map(run, [p for p in parts if not only or p.__name__ in only]))


def end():
    print(f"1..{count}", flush=True)
    return 1 if failures else 0
