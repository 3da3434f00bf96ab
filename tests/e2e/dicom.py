#!/usr/bin/env python3
"""From simulated instruments to DICOM objects, with the daemon, the drivers and asaleed-export as they are. TAP.

dicom.py BUILD
"""
import hashlib
import http.client
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from bed import PEOPLE, Tap, must  # noqa: E402
from client import EMI12, ROOT, Daemon, Refused, acquire, can_simulate  # noqa: E402

BUILD = os.path.abspath(sys.argv[1])
PROGRAM = os.path.join(BUILD, "asaleed-export")
tap = Tap()

# Parts of texts that must reach no journal and no command line.
IDENTITY = {"family": "Zqxfamille-Œ’", "given": "Zqxprénom", "birth_date": "1931-07-23", "sex": "F"}
PATIENT = "Zqx-P1"


class Bed:
    """A daemon beside a simulated ECG, two spirometers and a camera, and the people of a practice."""

    def __init__(self):
        self.work = tempfile.mkdtemp(prefix="asaleed-e2e-")
        self.store = os.path.join(self.work, "store")
        devices = os.path.join(self.work, "devices.d")
        os.mkdir(self.store, 0o700)
        os.mkdir(devices)
        for name, driver, serial in (("ecg1", "corscience_emi12", "EMI12SIM"), ("sp80b", "contec_sp80b", "SP80B"),
                                     ("vitalograph", "vitalograph_lungmonitor", "VITALOGRAPH"),
                                     ("camera", "ptp_camera", "CAMERA")):
            with open(os.path.join(devices, f"{name}.conf"), "w") as f:
                f.write(f"[device {name}]\ndriver = {driver}\nusb-serial = {serial}\nlabel = Salle 2, {name}\n"
                        + ("" if name == "ecg1" else "calibration = off\n"))
        self.start()
        self.practice = self.daemon.practice()
        self.nurse, self.gp = self.client("nurse"), self.client("gp")
        self.practice.admit(PATIENT, **IDENTITY)

    def start(self):
        self.daemon = Daemon(BUILD, self.work, self.store,
                             instruments=(EMI12, "sp80b,serial=SP80B,records=1,auto=yes",
                                          "vitalograph,serial=VITALOGRAPH,model=b,records=1,auto=1500,fev1-best=777,"
                                          "pef-best=888", "ptp,serial=CAMERA,auto=200,shots=4,size=1200x800"))

    def client(self, role):
        return self.practice.of(next(name for name, r in PEOPLE if r == role))

    def restart(self):
        self.daemon.kill()
        self.start()
        self.nurse, self.gp = self.client("nurse"), self.client("gp")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        status = self.daemon.stop()
        if status:
            tap.result(False, "the daemon ends well", f"status {status}: {self.log()[-3000:]}")
        shutil.rmtree(self.work, ignore_errors=True)

    def log(self):
        with open(os.path.join(self.work, "asaleed.log"), encoding="utf-8", errors="replace") as f:
            return f.read()

    def acquired(self, act, device, **more):
        study = self.nurse.post("/v1/orders", {"patient": PATIENT, "act": act})["study"]["id"]
        if more:
            self.nurse.post(f"/v1/studies/{study}/acquire", {"device": device, "seconds": 60, **more})
            end = time.monotonic() + 60
            while self.nurse.get(f"/v1/studies/{study}")["state"] == "acquiring" and time.monotonic() < end:
                time.sleep(0.01)
            y = self.nurse.get(f"/v1/studies/{study}")
            must(y["state"] == "acquired", y["last_failure"])
        else:
            y = acquire(self.nurse, study, 2, device=device)
        return study, y["records"][0]["id"]

    def accept(self, study):
        self.nurse.post(f"/v1/studies/{study}/accept", {"confirm": True})

    def objects(self):
        copy = tempfile.mkdtemp(dir=self.work)  # the daemon lets nobody else into its own
        for name in ("asaleed.db", "asaleed.db-wal"):
            shutil.copy(os.path.join(self.store, name), copy)
        db = sqlite3.connect(os.path.join(copy, "asaleed.db"))
        rows = db.execute("SELECT record, whole, sha256 FROM dicom ORDER BY id").fetchall()
        db.close()
        return rows


def refused(client, path, status, code):
    try:
        client.get(path)
    except Refused as e:
        must(e.status == status and e.body["code"] == code, path, e)
        return client.headers
    raise AssertionError(f"{path} was given")


def fetch(client, record, seconds=30, picture=None):
    """The object, asked for until it is there."""
    end = time.monotonic() + seconds
    while True:
        try:
            body = client.get(f"/v1/records/{record}/dicom" + (f"?n={picture}" if picture else ""))
            must(client.headers["Content-Type"] == "application/dicom", client.headers)
            name = f"{record}-{picture}" if picture else record
            must(client.headers["Content-Disposition"] == f'attachment; filename="{name}.dcm"', client.headers)
            must(int(client.headers["Content-Length"]) == len(body), client.headers)
            return body
        except Refused as e:
            must(e.status == 503 and e.body["code"] == "dicom_pending", e)
            must(client.headers["Retry-After"] == "2", client.headers)
            must(time.monotonic() < end, "never made")
            time.sleep(0.05)


def valid(work, body):
    must(body[128:132] == b"DICM", body[:140])
    path = os.path.join(work, "object.dcm")
    with open(path, "wb") as f:
        f.write(body)
    if shutil.which("dciodvfy"):
        out = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True, check=False)
        must(out.returncode == 0 and "Error" not in out.stderr, out.stderr)


def texts(value):
    """Every text of the instrument's own in a part of a record."""
    if isinstance(value, str):
        return {value} if len(value) > 3 else set()
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return set().union(*map(texts, parts))


def roles(bed, act, device):
    study, record = bed.acquired(act, device, **({"height_cm": "168"} if act == "spirometry" else {}))
    path = f"/v1/records/{record}/dicom"
    for role in ("nurse", "gp", "lgc"):
        refused(bed.client(role), path, 409, "not_accepted")
    refused(bed.client("ophthalmologist"), path, 404, "not_found")  # nobody has referred it
    for role in ("admin", "auditor"):
        refused(bed.client(role), path, 403, "forbidden")
    bed.accept(study)
    whole, part = fetch(bed.gp, record), fetch(bed.nurse, record)
    must(fetch(bed.client("lgc"), record) == part and whole != part)
    refused(bed.client("admin"), path, 403, "forbidden")
    refused(bed.gp, path + "?n=1", 404, "not_found")
    refused(bed.gp, path + "?n=x", 400, "invalid_field")
    for body in (whole, part):
        valid(bed.work, body)
        must(PATIENT.encode() in body and "Zqxfamille-Œ’".encode() in body, "whose is it?")
    # The study names what each role gets.
    for role, body in (("gp", whole), ("nurse", part), ("lgc", part), ("admin", None)):
        listed = bed.client(role).get(f"/v1/studies/{study}")["dicom"]
        must(listed == (body and [{"bytes": len(body), "picture": None, "record": record,
                                   "sha256": hashlib.sha256(body).hexdigest()}]), role, listed)
    # What the instrument states, and what it says of itself, is in the GP's and in no other.
    got = bed.gp.get(f"/v1/records/{record}")["record"]
    stated = {s["text"] for s in got["statements"]}
    device_texts = texts(got["device"])
    must(device_texts and (act == "ecg" or stated), got["device"], stated)
    for text in stated | device_texts:
        must(text.encode() not in part, "in the nurse's object:", text)
    must(all(text.encode() in whole for text in stated), "not in the GP's:", stated)
    serial = got["device"]["serial"]
    must(not serial or serial.encode() in whole, serial)


def less_application_segments(jpeg):
    """A JPEG without its APPn segments and comments, up to its EOI."""
    out, at = jpeg[:2], 2
    while jpeg[at + 1] != 0xda:
        end = at + 2 + int.from_bytes(jpeg[at + 2:at + 4], "big")
        if not (0xe0 <= jpeg[at + 1] <= 0xef or jpeg[at + 1] == 0xfe):
            out += jpeg[at:end]
        at = end
    return out + jpeg[at:jpeg.rindex(b"\xff\xd9") + 2]


def fragment(body):
    """The one fragment of an encapsulated object: after the pixel data's tag an empty offset table, then it."""
    at = body.index(bytes.fromhex("e07f10004f420000ffffffff") + bytes.fromhex("feff00e0") + bytes(4)) + 20
    must(body[at:at + 4] == bytes.fromhex("feff00e0"), body[at:at + 8])
    n = int.from_bytes(body[at + 4:at + 8], "little")
    must(body[at + 8 + n:] == bytes.fromhex("feffdde0") + bytes(4), "more than one fragment")
    return body[at + 8:at + 8 + n].rstrip(b"\0")


def test_fundus(bed):
    """Four pictures from the wire: an object each, the camera's own JPEG in it, for each role what it may see."""
    study, record = bed.acquired("fundus", "camera", pictures=4)
    views = [("R", "macula"), ("R", "disc"), ("L", "macula"), ("L", "disc")]
    bed.nurse.call("PUT", f"/v1/studies/{study}/pictures", {"pictures": [
        {"record": record, "picture": i + 1, "laterality": eye, "field": field} for i, (eye, field) in enumerate(views)]})
    bed.nurse.call("PUT", f"/v1/studies/{study}/pupil", {"dilated": True, "agents": ["tropicamide"], "degree_mm": "6.5"})
    refused(bed.gp, f"/v1/records/{record}/dicom?n=1", 409, "not_accepted")
    bed.accept(study)
    got = bed.gp.get(f"/v1/records/{record}")["record"]
    device_texts = texts(got["device"]) | {t for source in got["sources"] for t in texts(source)}
    must(len(got["acquired"]["pictures"]) == 4 and len(device_texts) >= 6, got["sources"])
    for number, (eye, field) in enumerate(views, 1):
        whole, part = fetch(bed.gp, record, picture=number), fetch(bed.nurse, record, picture=number)
        camera = bed.gp.get(f"/v1/records/{record}/picture?n={number}")
        must(hashlib.sha256(camera).hexdigest() == got["acquired"]["pictures"][number - 1]["sha256"])
        for body in (whole, part):
            valid(bed.work, body)
            must(fragment(body) == less_application_segments(camera), f"picture {number}: another JPEG")
            must(subprocess.run([PROGRAM, "check", os.path.join(bed.work, "object.dcm")], check=False).returncode == 0)
            dump = subprocess.run(["dcmdump", "-q", os.path.join(bed.work, "object.dcm")], capture_output=True, text=True,
                                  check=True).stdout
            must(f"(0020,0062) CS [{eye}]" in dump and "(0022,000d) CS [YES]" in dump and "9190005" in dump, dump)
            must(("111900" if field == "macula" else "111901") in dump, dump)
        must(whole != part and all(t.encode() not in part for t in device_texts), "the camera's texts are the GP's")
        must(got["device"]["model"].encode() in whole)
    listed = bed.nurse.get(f"/v1/studies/{study}")["dicom"]
    must([o["picture"] for o in listed] == [1, 2, 3, 4], listed)


def test_client(bed):
    """asaleectl writes the same bytes, once."""
    token, out = os.path.join(bed.work, "token"), os.path.join(bed.work, "R-1.dcm")
    with open(token, "w", opener=lambda p, f: os.open(p, f, 0o600)) as f:
        f.write(bed.practice.token["martin"])
    command = [os.path.join(BUILD, "asaleectl"), "--socket", bed.daemon.socket, "--token-file", token, "dicom", "R-1",
               "--out", out]
    must(subprocess.run(command, capture_output=True, check=False).returncode == 0)
    with open(out, "rb") as f:
        must(f.read() == fetch(bed.gp, "R-1"))
    must(os.stat(out).st_mode & 0o777 == 0o600)
    must(subprocess.run(command, capture_output=True, check=False).returncode == 2, "written over")
    must(subprocess.run([*command, "--force"], capture_output=True, check=False).returncode == 0)


def test_check_config(bed):
    """A site whose objects can never be made is told so before it starts."""
    def check(program):
        return subprocess.run([os.path.join(BUILD, "asaleed"), "--check-config", "--config", "/dev/null", "--devices",
                               os.path.join(bed.work, "devices.d"), "--protocols",
                               os.path.join(bed.work, "protocols.d"), "--messages",
                               os.path.join(ROOT, "config/messages.fr"), "--driver-program",
                               os.path.join(BUILD, "asaleed-driver"), "--export-program", program],
                              capture_output=True, text=True, check=False)
    must(check(PROGRAM).returncode == 0, check(PROGRAM).stderr)
    bad = check(os.path.join(bed.work, "asaleed-export"))
    must(bad.returncode == 1 and "export-program" in bad.stderr and not bad.stdout, bad)


def test_killed(bed):
    """The daemon is killed as a study is accepted: the next run makes its objects, each once."""
    for _ in range(3):
        study, record = bed.acquired("ecg", "ecg1")
        bed.accept(study)
        bed.restart()
        fetch(bed.gp, record)
        fetch(bed.nurse, record)
        rows = [r for r in bed.objects() if r[0] == int(record[2:])]
        must(sorted(r[1] for r in rows) == [0, 1] and all(r[2] for r in rows), rows)


def test_redecoded(bed):
    study, old = bed.acquired("ecg", "ecg1")
    bed.accept(study)
    fetch(bed.gp, old)
    bed.gp.post(f"/v1/studies/{study}/redecode")
    end = time.monotonic() + 30
    while len(records := bed.gp.get(f"/v1/studies/{study}")["records"]) < 2:
        must(time.monotonic() < end, "never decoded")
        time.sleep(0.02)
    fetch(bed.gp, records[1]["id"])
    fetch(bed.gp, old)  # made once, it stays; but it is not what the study is now
    must([o["record"] for o in bed.gp.get(f"/v1/studies/{study}")["dicom"]] == [records[1]["id"]])


def test_damaged(bed):
    """An object that is no longer what was stored never arrives whole."""
    body = fetch(bed.gp, "R-1")
    sha = hashlib.sha256(body).hexdigest()
    path = os.path.join(bed.store, "artefacts", sha[:2], sha)
    os.chmod(path, 0o600)
    with open(path, "r+b") as f:
        f.seek(-1, os.SEEK_END)
        f.write(bytes([body[-1] ^ 1]))
    try:
        bed.client("gp").get("/v1/records/R-1/dicom")
        raise AssertionError("given")
    except http.client.IncompleteRead as e:
        must(len(e.partial) < len(body))
    with open(path, "r+b") as f:
        f.truncate(len(body) - 1)
    refused(bed.client("gp"), "/v1/records/R-1/dicom", 500, "artefact_corrupt")
    with open(path, "wb") as f:
        f.write(body)
    must(fetch(bed.client("gp"), "R-1") == body)


def test_journal(bed):
    log = bed.log()
    for mark in ("Zqx", *(IDENTITY[k] for k in ("family", "given", "birth_date"))):
        must(mark not in log, "in the journal:", mark)
    must(bed.client("admin").get("/v1/audit/verify")["ok"])
    must(json.dumps(bed.objects()).count('null') == 0)


def main():
    if not can_simulate(BUILD):
        tap.skip("dicom", "no umockdev or no simulator")
        return tap.end()
    if not os.path.exists(PROGRAM):
        tap.skip("dicom", "asaleed-export is not built")
        return tap.end()
    with Bed() as bed:
        tap.run("an ECG: by role, valid, listed", roles, bed, "ecg", "ecg1")
        tap.run("a spirometry with curves and statements", roles, bed, "spirometry", "sp80b")
        tap.run("a spirometry of values", roles, bed, "spirometry", "vitalograph")
        tap.run("fundus pictures, from the wire", test_fundus, bed)
        tap.run("asaleectl dicom", test_client, bed)
        tap.run("a configuration without the program", test_check_config, bed)
        tap.run("kill -9 after acceptance", test_killed, bed)
        tap.run("a record that was decoded again", test_redecoded, bed)
        tap.run("a damaged object", test_damaged, bed)
        tap.run("the journal has no identity, the trail holds", test_journal, bed)
    return tap.end()


sys.exit(main())
