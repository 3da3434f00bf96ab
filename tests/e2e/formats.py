#!/usr/bin/env python3
"""Files of every format that file_maker writes, uploaded to the real daemon: who reads them, whom their own
interpretation reaches, and what DICOM objects they become; a real SCP-ECG file beside what others make of it. TAP on
standard output.

formats.py BUILD
"""
import csv
import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from decimal import Decimal

sys.dont_write_bytecode = True
from bed import ROOT, RPPS, Asaleed, Practice, Tap, check_problem, must, request_bytes  # noqa: E402

BUILD = os.path.abspath(sys.argv[1])
SAMPLES = os.environ.get("ASALEED_SAMPLES", os.path.join(ROOT, "../shared/samples"))
SCP = os.path.join(SAMPLES, "scp_ecg/Example.scp")
DCM = os.path.join(SAMPLES, "dicom_ecg/ECGToolkit_Example.dcm")
BIRTH = "1950-04-12"
WHO = ["--family", "DUPONT", "--given", "Zoé", "--id", "P1", "--birth-date", BIRTH, "--sex", "F"]
ROLES = {"nurse": "ines", "gp": "martin", "ophthalmologist": "olga", "admin": "adele", "auditor": "aude", "lgc": "logiciel"}
# Format, the names such files have, driver, act, what else file_maker is told; MARKER is where an instrument interprets.
FORMATS = (
    ("scp", ("ECG1.SCP", "no-extension"), "file_scp_ecg", "ecg", [*WHO, "--marker", "MARKER", "--option", "alphabet=utf16"]),
    ("ecg90a", ("0000050.ECG", "0000050"), "file_contec_ecg90a", "ecg", ["--family", "DUPONT"]),
    ("healforce", ("20260504.SCP", "x.bin"), "file_healforce", "ecg", ["--seconds", "30", "--id", "P1"]),
    ("aecg", ("e.xml", "e.aecg", "e"), "file_hl7_aecg", "ecg",
     [*WHO, "--marker", "MARKER", "--option", "measurements=1"]),
    ("sierra", ("s.xml", "s"), "file_philips_sierra", "ecg",
     [*WHO, "--marker", "MARKER", "--option", "measurements=1"]),
    ("muse", ("m.XML", "m"), "file_ge_muse_xml", "ecg", [*WHO, "--marker", "MARKER", "--option", "measurements=1"]),
    ("dicom-ecg", ("IM000001", "e.dcm", "e.txt"), "file_dicom", "ecg",
     [*WHO, "--marker", "MARKER", "--option", "measurements=1"]),
    ("dicom-fundus", ("f.dcm", "f"), "file_dicom", "fundus", [*WHO, "--option", "maker=MARKER"]),
    ("jpeg", ("IMG_0001.JPG", "picture"), "file_jpeg_fundus", "fundus", ["--option", "make=MARKER"]),
)
tap = Tap()


def make(form, seed, options):
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "file")
        subprocess.run([os.path.join(BUILD, "tests/file_maker"), form, "--seed", str(seed), *options, path], check=True)
        with open(path, "rb") as f:
            return f.read()


class World:
    """A daemon, a practice and a patient."""

    def __init__(self):
        self.d = Asaleed(BUILD)
        self.practice = Practice(self.d)
        self.role = {role: self.practice.of(name, "ines" if role == "lgc" else None) for role, name in ROLES.items()}
        self.nurse, self.gp = self.role["nurse"], self.role["gp"]
        self.followup = self.practice.admit("P1", "DUPONT", "Zoé", BIRTH)
        self.events = []

    def settled(self, data, name):
        """Taken in, and looked at: its row of the files, and of the tray."""
        a = self.nurse.call("POST", f"/v1/files?name={name}", data)
        must(a.status == 201, a.status, a.body)
        end = time.monotonic() + 60
        while (f := self.gp.get("/v1/files/" + a.json["id"]))["state"] in ("waiting", "decoding"):
            must(time.monotonic() < end, "never looked at", f, self.d.log()[-500:])
            time.sleep(0.01)
        must(f["state"] == "unmatched", f)
        return f, self.gp.get("/v1/unmatched/" + f["unmatched"])

    def watch(self, study):
        """Keeps what each role is told of a study while it happens."""
        for role in ROLES:
            s = self.role[role].connect(20)
            s.sendall(request_bytes("GET", f"/v1/studies/{study}/events", token=self.role[role].token, close=False))
            s.setblocking(False)
            self.events.append((role, s))

    def told(self, role):
        """All of it."""
        got = b""
        for whose, s in self.events:
            try:
                while whose == role and (part := s.recv(1 << 16)):
                    got += part
            except BlockingIOError:
                pass
        return got

    def accepted(self, tray, act):
        """Attached to a new order and accepted; the study and its record."""
        o = self.nurse.post("/v1/orders", {"patient": "P1", "act": act})
        study = o["study"]["id"]
        self.watch(study)
        y = self.nurse.post(f"/v1/unmatched/{tray}/attach", {"order": o["id"], "birth_date": BIRTH})
        record = y["records"][0]["id"]
        if act == "fundus":
            self.nurse.ok("PUT", f"/v1/studies/{study}/pictures", {"pictures": [
                {"record": record, "picture": 1, "laterality": "R", "field": "macula"}]})
            self.nurse.ok("PUT", f"/v1/studies/{study}/pupil", {"dilated": False})
        self.nurse.post(f"/v1/studies/{study}/accept", {"confirm": True})
        return study, record

    def dicom(self, who, record, picture):
        end = time.monotonic() + 60
        while True:
            a = self.role[who].call("GET", f"/v1/records/{record}/dicom" + ("?n=1" if picture else ""))
            if a.status == 200:
                return a.body
            must(a.status == 503 and time.monotonic() < end, a.status, a.body[:300], self.d.log()[-500:])
            time.sleep(0.05)


# ---- what each role can get ----

def routes():
    """Every GET that there is."""
    text = subprocess.run([os.path.join(BUILD, "asaleed"), "--api-reference"], capture_output=True, text=True,
                          check=True).stdout
    found = [r for r in re.findall(r"^\| GET \| `(\S+)` \|", text, re.M) if not r.endswith("/events")]
    must(len(found) > 20, found)
    return found


def paths(w):
    """Each of them for each thing that there is, its numbers and pages too."""
    root = w.d.api
    files = [f["id"] for f in root.get("/v1/files?limit=200")["items"]]
    unmatched = [f["unmatched"] for f in (w.gp.get("/v1/files/" + i) for i in files) if f.get("unmatched")]
    ids = {"files": files, "unmatched": unmatched, "studies": w.studies, "records": w.records, "patients": ["P1"],
           "orders": [o["id"] for o in w.nurse.get("/v1/orders?limit=200")["items"]], "devices": ["ecg1"], "media": ["sdb1"],
           "followups": [w.followup], "professionals": [RPPS["ines"]]}
    for route in routes():
        kind = route.split("/")[2]
        for i in ids.get(kind, ["M-1"]) if "{id}" in route else [""]:
            path = route.replace("{id}", i)
            yield path
            if path.count("/") == 4:
                yield path + "?n=1"
        if "{id}" not in route:
            yield route + "?limit=200"


def test_masked(w):
    """The instrument's own words, and the file's name, are the GP's."""
    seen = {role: b"" for role in ROLES}
    n = 0
    for path in paths(w):
        for role in ROLES:
            a = w.role[role].call("GET", path)
            must(a.status < 500 or a.json["code"] == "dicom_pending", path, role, a.status, a.body[:200])
            seen[role] += a.body
            n += a.status == 200
    must(n > 300, n)
    for role in ROLES:
        seen[role] += w.told(role)
        must(b"event: " in seen[role] or role in ("admin", "auditor", "ophthalmologist"), "nothing was told to the", role)
    for marker, roles in w.markers.items():
        for form in (marker.encode(), marker.encode("utf-16-le"), marker.encode("utf-16-be")):
            for role in roles:
                at = seen[role].find(form)
                must(at < 0, role, "gets", marker, seen[role][max(0, at - 200):at + 50])
        must(marker.encode() in seen["gp"], "the GP does not get", marker)
        must(marker not in w.d.log(), "in the journal:", marker)
    must("DUPONT" not in w.d.log() and "Zoé" not in w.d.log(), "a name in the journal")


# ---- each format ----

def test_format(w, seed, form, names, driver, act, options):
    marker, name_marker = f"Zqx{form}Fibrillation".replace("-", ""), f"Zqxname{seed}"
    u = None
    for i, name in enumerate(names):
        data = make(form, 100 * seed + i, [o.replace("MARKER", marker) for o in options])
        f, u = w.settled(data, name_marker + name if i else name)
        must(u["driver"] == driver and u["act"] == act, name, u["driver"], u["act"])
        must(w.gp.call("GET", f"/v1/files/{f['id']}/content").body == data, "another file")
    # What it says of itself is the administrator's too, who looks after it.
    if "MARKER" in "".join(options):
        w.markers[marker] = ("nurse", "ophthalmologist", "lgc", "admin", "auditor") if "--marker" in options else\
            ("nurse", "ophthalmologist", "lgc", "auditor")
    w.markers[name_marker] = ("nurse", "ophthalmologist", "lgc", "admin", "auditor")
    study, record = w.accepted(u["id"], act)
    w.studies.append(study)
    w.records.append(record)
    r = w.gp.get("/v1/records/" + record)["record"]
    if "--marker" in options:
        must(sum(marker in s["text"] for s in r["statements"]) >= 1, r["statements"])
    if form == "healforce":  # 150 Hz, less than an ECG object may have
        end = time.monotonic() + 60
        while (a := w.gp.call("GET", f"/v1/records/{record}/dicom")).status == 503 and time.monotonic() < end:
            time.sleep(0.05)
        check_problem(a, 409, "dicom_refused")
        return
    whole, part = w.dicom("gp", record, act == "fundus"), w.dicom("nurse", record, act == "fundus")
    must(w.dicom("lgc", record, act == "fundus") == part and whole != part)
    check_problem(w.role["admin"].call("GET", f"/v1/records/{record}/dicom"), 403, "forbidden")
    for body in (whole, part):
        valid(body)
    must(marker.encode() not in part, "in the nurse's object")
    if "--marker" in options:
        must(marker.encode() in whole, "not in the GP's object")


def valid(body):
    with tempfile.NamedTemporaryFile(suffix=".dcm") as f:
        f.write(body)
        f.flush()
        if shutil.which("dciodvfy"):
            out = subprocess.run(["dciodvfy", "-new", f.name], capture_output=True, text=True, check=False)
            must(out.returncode == 0 and "Error" not in out.stderr, out.stderr)
        check = subprocess.run([os.path.join(BUILD, "asaleed-export"), "check", f.name], capture_output=True, check=False)
        must(check.returncode == 0, check.stderr)


# ---- a real file, beside what others make of it ----

SEQUENCES = {0x54000100, 0x003a0200, 0x003a0208, 0x003a0211}
LONG = (b"OB", b"OW", b"OF", b"OD", b"OL", b"SQ", b"UC", b"UN", b"UR", b"UT")


def elements(data, at, end, explicit):
    """The elements of a data set, little endian: tag, and its bytes or its items. And where they end."""
    found = {}
    while at < end:
        group, element = struct.unpack_from("<HH", data, at)
        tag, at = group << 16 | element, at + 4
        if tag == 0xfffee00d:
            return found, at + 4
        vr = data[at:at + 2] if explicit else b"SQ" if tag in SEQUENCES else b"??"
        if explicit and vr not in LONG:
            size, at = struct.unpack_from("<H", data, at + 2)[0], at + 4
        else:
            at += 4 if explicit else 0
            size, at = struct.unpack_from("<I", data, at)[0], at + 4
        if vr == b"SQ" or size == 0xffffffff:
            found[tag], at = items(data, at, end if size == 0xffffffff else at + size, explicit)
        else:
            found[tag], at = data[at:at + size], at + size
    return found, at


def items(data, at, end, explicit):
    found = []
    while at < end:
        tag, size = struct.unpack_from("<II", data, at)
        at += 8
        if tag == 0xe0ddfffe:
            break
        one, at = elements(data, at, end if size == 0xffffffff else at + size, explicit)
        found.append(one)
    return found, at


def text(value):
    return value.decode("latin-1").strip(" \0")


def waveform(body):
    """Of an ECG object's first group: the rate, and each lead's values in microvolts, exact."""
    must(body[128:132] == b"DICM")
    meta, _ = elements(body, 132, 144, True)
    start = 144 + struct.unpack("<I", meta[0x00020000])[0]
    syntax = text(elements(body, 144, start, True)[0][0x00020010])
    must(syntax in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1"), syntax)
    group = elements(body, start, len(body), syntax.endswith(".2.1"))[0][0x54000100][0]
    n, = struct.unpack("<I", group[0x003a0010])
    leads = group[0x003a0200]
    values = struct.unpack(f"<{n * len(leads)}h", group[0x54001010])
    got = {}
    for i, lead in enumerate(leads):
        name = text(lead[0x003a0208][0][0x00080104]).replace("Lead ", "").split(" ")[0]
        unit = text(lead[0x003a0211][0][0x00080100])
        must(unit in ("uV", "mV"), unit)
        step = Decimal(text(lead[0x003a0210])) * Decimal(text(lead.get(0x003a0212, b"1")) or "1") * (1 if unit == "uV" else 1000)
        got[name] = [v * step for v in values[i::len(leads)]]
    must(len(got) == len(leads), [lead[0x003a0208] for lead in leads])
    return Decimal(text(group[0x003a001a])), got


def channels(body):
    """Of the API's samples: each lead's values in microvolts."""
    n, = struct.unpack_from("<I", body)
    head = json.loads(body[4:4 + n])
    start = (4 + n + 3) // 4 * 4
    got = {}
    for c in head["channels"]:
        at = start + 2 * c["first"]
        values = struct.unpack_from(f"<{c['samples']}h", body, at)
        got[c["label"]] = [v * Decimal(c["scale"]) for v in values]
    return got


def real_record(w):
    with open(SCP, "rb") as f:
        data = f.read()
    path = os.path.join(w.d.work, "token")
    with open(path, "w", encoding="ascii", opener=lambda p, flags: os.open(p, flags, 0o600)) as f:
        f.write(w.nurse.token)
    a = subprocess.run([os.path.join(BUILD, "asaleectl"), "--socket", w.d.socket, "--token-file", path, "import", SCP],
                       capture_output=True, text=True, check=False)
    must(a.returncode == 0 and "à attribuer" in a.stdout, a)
    sha = hashlib.sha256(data).hexdigest()
    f = next(f for f in w.gp.get("/v1/files?limit=200")["items"] if f["sha256"] == sha)
    u = w.gp.get("/v1/unmatched/" + f["unmatched"])
    must(u["driver"] == "file_scp_ecg" and u["subject"]["family"] == "Clark", u["driver"])
    o = w.nurse.post("/v1/orders", {"patient": "P1", "act": "ecg"})
    body = {"order": o["id"], "birth_date": BIRTH}
    check_problem(w.nurse.call("POST", f"/v1/unmatched/{u['id']}/attach", body), 409, "subject_differs")
    y = w.nurse.post(f"/v1/unmatched/{u['id']}/attach", {**body, "confirm": True, "reason": "Fichier d'essai"})
    w.nurse.post(f"/v1/studies/{y['id']}/accept", {"confirm": True})
    return y["records"][0]["id"]


def test_same_as_dicom(w):
    """What the ECG Toolkit made of the same recording: each sample of each lead, in microvolts."""
    w.real = real_record(w)
    body = w.dicom("gp", w.real, False)
    valid(body)
    ours, theirs = waveform(body), None
    with open(DCM, "rb") as f:
        theirs = waveform(f.read())
    must(ours[0] == theirs[0], "rates", ours[0], theirs[0])
    must(len(theirs[1]) >= 8 and set(theirs[1]) <= set(ours[1]), sorted(theirs[1]), sorted(ours[1]))
    for lead, values in theirs[1].items():
        must(len(values) > 1000 and len(values) == len(ours[1][lead]), lead, len(values), len(ours[1][lead]))
        must(ours[1][lead] == values, lead, "differs:",
             [(i, ours[1][lead][i], v) for i, v in enumerate(values) if ours[1][lead][i] != v][:3])
    api = channels(w.gp.call("GET", f"/v1/records/{w.real}/channels").body)
    must(all(api[lead] == values for lead, values in ours[1].items()), "the object is not the record")


def test_same_as_biosig(w):
    """What biosig makes of the same file."""
    with tempfile.TemporaryDirectory() as d:
        subprocess.run(["save2gdf", "-f=CSV", SCP, os.path.join(d, "e.csv")], check=True, capture_output=True)
        with open(os.path.join(d, "e.csv"), encoding="utf-8", newline="") as f:
            rows = list(csv.reader(f))
    ours = channels(w.gp.call("GET", f"/v1/records/{w.real}/channels").body)
    names = [n.split(" ")[0] for n in rows[0]]
    must(all(n.endswith("[uV]") for n in rows[0]) and set(names) == set(ours), rows[0], sorted(ours))
    for i, name in enumerate(names):
        theirs = [Decimal(r[i]) for r in rows[1:]]
        must(len(theirs) == len(ours[name]), name, len(theirs), len(ours[name]))
        different = [k for k, v in enumerate(theirs) if v != ours[name][k]]
        must(not different, name, "differs at", different[:3], [(theirs[k], ours[name][k]) for k in different[:3]])


def main():
    if not os.path.exists(os.path.join(BUILD, "tests/file_maker")):
        tap.skip("formats", "file_maker is not built")
        return tap.end()
    w = World()
    w.studies, w.records, w.markers = [], [], {}
    for i, row in enumerate(FORMATS):
        tap.run(f"{row[0]}: read by {row[2]} whatever its name, accepted, a DICOM object", test_format, w, i + 1, *row)
    tap.run("what the instruments say reaches nobody but the GP", test_masked, w)
    if not os.path.exists(SCP) or not os.path.exists(DCM):
        tap.skip("a real file has the samples of its DICOM twin", "no sample recordings")
        tap.skip("... and those that biosig reads", "no sample recordings")
    else:
        tap.run("a real file has the samples of its DICOM twin", test_same_as_dicom, w)
        if shutil.which("save2gdf"):
            tap.run("... and those that biosig reads", test_same_as_biosig, w)
        else:
            tap.skip("... and those that biosig reads", "biosig-tools is not installed")
    w.d.done()
    return tap.end()


sys.exit(main())
