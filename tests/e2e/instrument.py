#!/usr/bin/env python3
"""The daemon and the simulated EMI12, end to end, through the real serial library. TAP on standard output.

instrument.py BUILD [--every]: with --every the cable is pulled at every single byte (long), else at every byte of the
set-up and at a spread of places in the stream.
"""
import collections
import json
import os
import shutil
import socket
import sys
import tempfile
import time

sys.dont_write_bytecode = True
from client import EMI12, Client, Daemon, Refused, acquire  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.abspath(sys.argv[1])
EVERY = "--every" in sys.argv
SAMPLE = os.path.join(os.environ.get("ASALEED_SAMPLES", os.path.join(HERE, "../../../shared/samples")),
                      "corscience_emi12/emi12_12lead_500Hz_serial_capture.bin")
# Codes that may come of a pulled cable: gone under way, or before or at the opening.
PULLED = {"device_unplugged", "device_absent", "device_open"}

count = failures = 0


def result(ok, name, why=""):
    global count, failures
    count += 1
    failures += not ok
    print(f"{'ok' if ok else 'not ok'} {count} - {name}", flush=True)
    if why and not ok:
        print(f"# {why}", flush=True)


def skip(name, why):
    global count
    count += 1
    print(f"ok {count} - {name} # SKIP {why}", flush=True)


class Bed:
    """A daemon beside a simulated EMI12 with these options, a practice, and a patient."""

    def __init__(self, *options):
        self.work = tempfile.mkdtemp(prefix="asaleed-e2e-")
        self.store = os.path.join(self.work, "store")
        os.mkdir(self.store, 0o700)
        self.control_path = os.path.join(self.work, "sim.sock")
        try:
            self.daemon = Daemon(BUILD, self.work, self.store, instruments=[",".join([EMI12, *options])],
                                 simulator_options=("--control", self.control_path))
        except RuntimeError:
            shutil.rmtree(self.work, ignore_errors=True)
            raise
        self.practice = self.daemon.practice()
        self.nurse = self.practice.nurse
        self.practice.admit("P-1")
        self.control = socket.socket(socket.AF_UNIX)
        self.control.settimeout(10)
        self.control.connect(self.control_path)
        self.answers = self.control.makefile()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.control.close()
        status = self.daemon.stop()
        if status:  # a sanitizer's findings come out here
            result(False, "the daemon ends well", f"status {status}: {self.log()[-3000:]}")
        shutil.rmtree(self.work, ignore_errors=True)

    def say(self, command):
        self.control.sendall(command.encode() + b"\n")
        answer = self.answers.readline().strip()
        if not answer.startswith("ok"):
            raise RuntimeError(f"simulator: {command}: {answer}")
        return answer

    def order(self):
        return self.practice.order("P-1")

    def present(self, wanted, seconds=5):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if next(d for d in self.nurse.get("/v1/devices")["items"] if d["id"] == "ecg1")["present"] == wanted:
                return True
            time.sleep(0.002)
        return False

    def attempt(self, study, seconds=1, limit=60):
        """The code an acquisition ended with, "ok" when it made a record."""
        try:
            acquire(self.nurse, study, seconds, poll=0.002, limit=limit)
            return "ok"
        except Refused as e:
            return e.body["code"]

    def record(self, study):
        record = self.nurse.get(f"/v1/studies/{study}")["records"][-1]["id"]
        return self.nurse.get(f"/v1/records/{record}")["record"]

    def log(self):
        with open(self.daemon.log.name) as f:
            return f.read()


def unplug_everywhere():
    with Bed("speed=max") as bed:
        study = bed.order()
        if bed.attempt(study) != "ok":
            return result(False, "unplug: a session without a fault works", bed.log())
        stats = dict(p.split("=") for p in bed.say("stats").split()[1:] if "=" in p)
        total = int(stats["sent"])
        setup = 400  # bytes until the stream runs, by a margin
        points = range(1, total + 1) if EVERY else [*range(1, setup), *range(setup, total + 1, max(1, total // 60))]
        bad, slowest, tried, codes = [], 0.0, 0, collections.Counter()
        study = bed.order()
        for n in points:
            bed.say(f"unplug-after {n}")
            start = time.monotonic()
            code = bed.attempt(study)
            slowest = max(slowest, time.monotonic() - start)
            tried += 1
            codes[code] += 1
            if code == "ok":  # the reading was whole before the cable went
                study = bed.order()
            elif code not in PULLED:
                bad.append((n, code))
            bed.say("reset")
            if "plugged=0" in bed.say("stats"):
                bed.say("replug")
            if not bed.present(True):
                bad.append((n, "did not come back"))
        again = bed.order()
        code = bed.attempt(again)
        result(not bad and code == "ok" and codes["device_unplugged"] > 0.9 * tried,
               f"unplug at {tried} of {total} bytes of a session: a clear error each time ({dict(codes)}), slowest"
               f" {slowest:.2f} s, the daemon lives, the next one works",
               f"{bad[:10]} then {code}")


def faults():
    expected = [
        ("silence", "device_silent"), ("babble", "device_wrong"), ("wrong-device", "device_wrong"),
        ("self-test-fail", "device_fault"), ("wrong-rate", "device_protocol"), ("no-start", "device_silent"),
        ("no-stop", "ok"), ("no-ack", None), ("wrong-ack", None), ("lost-frame:20", "ok"), ("bad-crc:20", "ok"),
        ("duplicate-pn:20", "ok"), ("duplicate-frame:20", "ok"), ("truncated-frame:20", "ok"),
        ("counter-skip:20", "ok"), ("noise:8", "ok"), ("long-frame:3000", "ok"), ("rate-drift:80", "ok"),
    ]
    with Bed("speed=8") as bed:
        for fault, code in expected:
            bed.say("fault none")
            bed.say("reset")
            bed.say(f"fault {fault}")
            study = bed.order()
            start = time.monotonic()
            got = bed.attempt(study, seconds=2)
            took = time.monotonic() - start
            why = f"got {got} after {took:.1f} s"
            if got == "ok":
                record = bed.record(study)
                codes = {q["code"] for q in record["quality"]}
                lost = fault.split(":")[0] in ("lost-frame", "bad-crc", "truncated-frame")
                gaps = record["acquired"]["channels"][0]["gaps"]
                ok = code in ("ok", None) and (not lost or (gaps and "samples_missing" in codes))
                why = f"{why}: {codes}, {gaps}"
            else:
                failure = bed.nurse.get(f"/v1/studies/{study}")["last_failure"]
                ok = (code is None or got == code) and failure["detail"].endswith(".")
            result(ok, f"fault {fault}: {got} in {took:.1f} s", why)
        bed.say("fault none")
        bed.say("reset")
        result(bed.attempt(bed.order(), seconds=2) == "ok", "after every fault the next acquisition works")


def lead_off():
    with Bed("speed=8", "fault=lead-off:2") as bed:
        study = bed.order()
        code = bed.attempt(study, seconds=2)
        texts = [q["text"] for q in bed.record(study)["quality"] if q["code"] == "electrode_off"]
        result(code == "ok" and len(texts) == 1 and "blanche et verte (C3, V3)" in texts[0],
               "an electrode that is off is named in French with its colour", f"{code} {texts}")
        try:
            bed.nurse.post(f"/v1/studies/{study}/accept", {})
            result(False, "a recording with points to check needs the nurse's confirmation")
        except Refused as e:
            result(e.body["code"] == "confirmation_needed",
                   "a recording with points to check needs the nurse's confirmation", str(e))


def cancel_and_events():
    """The events of one acquisition, read as a page reads them, and a cancel under way."""
    with Bed() as bed:
        study = bed.order()
        stream = Client(bed.daemon.socket, bed.nurse.token)
        stream.connection.request("GET", f"/v1/studies/{study}/events", headers={"Authorization": "Bearer " + stream.token})
        answer = stream.connection.getresponse()
        bed.nurse.post(f"/v1/studies/{study}/acquire", {"device": "ecg1", "seconds": 60})
        seen, cancelled, last_id, ids = {}, None, None, []
        start = time.monotonic()
        while time.monotonic() < start + 20:
            line = answer.readline().decode().rstrip("\n")
            if line.startswith("id: "):
                last_id = int(line[4:])
                ids.append(last_id)
            elif line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                seen.setdefault(name, []).append(json.loads(line[6:]))
                if name == "preview" and len(seen["preview"]) == 5:
                    cancelled = time.monotonic()
                    bed.nurse.post(f"/v1/studies/{study}/cancel", {})
                if name == "state" and cancelled and seen["state"][-1]["state"] == "ordered":
                    break
        took = time.monotonic() - (cancelled or start)
        result(set(seen) >= {"state", "identity", "progress", "contacts", "preview", "failure"} and ids == sorted(ids),
               "the events of an acquisition: state, identity, progress, contacts, preview, failure", f"{list(seen)}")
        preview = seen["preview"][0]
        result([c["label"] for c in preview["channels"]] ==
               ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"] and preview["scale"] == "2.63",
               "the preview has the twelve leads and their scale", json.dumps(preview)[:200])
        result(seen["failure"][-1]["code"] == "acquisition_cancelled" and took < 3,
               f"a cancel ends the acquisition within {took:.2f} s, and the study can start again", str(seen["failure"]))
        stream.close()
        # A reader that comes back gets what it missed, from the ring.
        again = Client(bed.daemon.socket, bed.nurse.token)
        bed.nurse.post(f"/v1/studies/{study}/acquire", {"device": "ecg1", "seconds": 2})
        time.sleep(1.0)
        again.connection.request("GET", f"/v1/studies/{study}/events",
                                 headers={"Authorization": "Bearer " + again.token, "Last-Event-ID": str(last_id)})
        answer = again.connection.getresponse()
        back = []
        while len(back) < 5:
            line = answer.readline().decode().rstrip("\n")
            if line.startswith("id: "):
                back.append(int(line[4:]))
        result(back == sorted(back) and back[0] > last_id, "a reader that comes back resumes after its last event",
               f"{last_id} {back}")
        again.close()


def real_recording():
    name = "the real EMI12 recording through simulator and serial library gives the record of its plain bytes"
    if not os.path.exists(SAMPLE):
        return skip(name, "no samples")
    import subprocess
    plain = json.loads(subprocess.run([os.path.join(BUILD, "asaleed-driver"), "decode", "--raw", "corscience_emi12",
                                       SAMPLE], capture_output=True, text=True, check=True).stdout)
    channels = plain["acquired"]["channels"]
    result(len(channels) == 12 and sum(not c["derived"] for c in channels) == 8 and
           all(c["samples"] == 10545 and c["rate"] == "500" and not c["gaps"] for c in channels),
           "the real recording: 8 measured and 4 derived leads of 10545 samples at 500 Hz, no gap")
    with Bed("speed=max", f"stream={SAMPLE}") as bed:
        study = bed.order()
        code = bed.attempt(study, seconds=21)
        live = bed.record(study) if code == "ok" else {}
        result(code == "ok" and live["acquired"] == plain["acquired"], name,
               f"{code} {json.dumps(live)[:300]}")


def wrong_requests():
    with Bed("speed=8") as bed:
        study = bed.order()
        for body, code in [({"device": "nowhere"}, "device_unknown"), ({"device": "ecg1", "seconds": 301}, "invalid_field"),
                           ({"device": "ecg1", "seconds": 0}, "invalid_field")]:
            try:
                bed.nurse.post(f"/v1/studies/{study}/acquire", body)
                result(False, f"{body} is refused")
            except Refused as e:
                result(e.body["code"] == code, f"acquire {body}: {code}", str(e))
        bed.say("unplug")
        bed.present(False)
        result(bed_code(bed, study) == "device_absent", "an unplugged instrument is refused before anything starts")
        bed.say("replug")
        bed.present(True)
        bed.nurse.post(f"/v1/studies/{study}/acquire", {"device": "ecg1", "seconds": 5})
        result(bed_code(bed, bed.order()) == "device_busy", "one instrument serves one study at a time")
        result(bed_code(bed, study) == "wrong_state", "a study that is acquiring does not start twice")


def bed_code(bed, study):
    try:
        bed.nurse.post(f"/v1/studies/{study}/acquire", {"device": "ecg1", "seconds": 5})
        return "ok"
    except Refused as e:
        return e.body["code"]


if EVERY:
    unplug_everywhere()
else:
    for test in (real_recording, faults, lead_off, cancel_and_events, wrong_requests, unplug_everywhere):
        try:
            test()
        except Exception as e:  # a broken bed is a failed test, and the others still run
            result(False, test.__name__, repr(e))
print(f"1..{count}")
sys.exit(failures > 0)
