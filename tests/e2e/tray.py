#!/usr/bin/env python3
"""Files that are taken in, the tray, and readings that change patients: through the API of the real programs, with two
clients at once, and with kill -9 at the calls by which asaleed changes its store. TAP on standard output.

tray.py BUILD [--every]

--every tries each such call, else about POINTS of them, evenly.
"""
import json
import os
import re
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime, timedelta
from types import SimpleNamespace

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from bed import (PEOPLE, RPPS, Api, Asaleed, Practice, Tap, check_problem, enrolment, must, new_key,  # noqa: E402
                 request_bytes, sanitizer, signature)
from seed import newcomer  # noqa: E402

BUILD = os.path.abspath(sys.argv[1])
PRELOAD = os.path.join(BUILD, "tests/crash_point.so")
POINTS = 48
MARKER = "Fibrillation"


UNSET = "2026-00-00 00:00:00"


def ecg90a(name="", when=None, rows=800, step=0):
    """A recording of an ECG90A (protocol: 43 bytes of header, rows of 8 u16, a footer of 37 after a row of zeros).
    when UNSET: by a clock that nobody has set."""
    clock = when if when == UNSET else (when or datetime.now()).strftime("%Y-%m-%d %H:%M:%S")
    head = b"00000001"[:7] + b"\0" + b"\0\0" + clock.encode() + b"\0" + b"\0\0"
    head += name.encode()[:8].ljust(8, b"\0") + bytes([255, 0, 0])
    must(len(head) == 43, len(head))
    body = b"".join(struct.pack("<8H", *[2048 + (i * 7 + lead * 31 + step) % 200 - 100 for lead in range(8)])
                    for i in range(rows))
    return head + body + bytes(16) + bytes(37 - 16)


def jpeg_of(n):
    """A whole JPEG, 16 x 16, grey, another for each n."""
    tables = bytes.fromhex("ffd8ffdb004300") + bytes([16 + n % 100, 16 + n // 100] * 32)
    frame = bytes.fromhex("ffc0000b080010001001011100")
    huffman = bytes.fromhex("ffc4001f0000010501010101010100000000000000000102030405060708090a0b")
    huffman += bytes.fromhex("ffc40014100100000000000000000000000000000000")
    scan = bytes.fromhex("ffda0008010100003f00") + bytes([0b00000000, 0b00000000]) + b"\xff\xd9"
    return tables + frame + huffman + scan


class World:
    """A daemon, a practice and two patients."""

    def __init__(self, work=None, env=None, devices=""):
        self.work = work or tempfile.mkdtemp(prefix="asaleed-tray-")
        for folder in ("folder", "eyes", "shared"):
            os.makedirs(os.path.join(self.work, folder), exist_ok=True)
        os.makedirs(os.path.join(self.work, "devices.d"), exist_ok=True)
        with open(os.path.join(self.work, "devices.d/files.conf"), "w") as f:
            f.write(f"[device ecg90]\ndriver = file_contec_ecg90a\nlabel = ECG Contec\nfolder = {self.work}/folder\n"
                    "folder-poll = 1\n"
                    f"[device eyes]\ndriver = file_jpeg_fundus\nlabel = Rétinographe\nfolder = {self.work}/eyes\n"
                    "folder-poll = 1\n" + "".join(
                        f"[device shared{n}]\ndriver = {driver}\nfolder = {self.work}/shared\nfolder-poll = 1\n"
                        for n, driver in ((1, "file_scp_ecg"), (2, "file_contec_ecg90a"))) + devices)
        self.d = Asaleed(BUILD, self.work, env=env)
        p = self.practice = Practice(self.d)
        self.root, self.nurse, self.gp, self.gp2, self.admin, self.lgc = p.root, p.nurse, p.gp, p.gp2, p.admin, p.lgc
        self.followups = [p.admit("P1", "DUPONT", "Marie", "1950-04-12"), p.admit("P2", "MARTIN", "Marie", "1948-01-31")]

    def order(self, patient="P1", act="ecg"):
        o = self.nurse.post("/v1/orders", {"patient": patient, "act": act})
        return o["id"], o["study"]["id"]

    def upload(self, data, name="a.ecg", device=None, who=None):
        path = f"/v1/files?name={name}" + (f"&device={device}" if device else "")
        a = (who or self.nurse).call("POST", path, data)
        must(a.status in (200, 201), a.status, a.body)
        return a.json

    def settle(self, file, seconds=20):
        end = time.monotonic() + seconds
        while (f := self.gp.get("/v1/files/" + file))["state"] in ("waiting", "decoding"):
            must(time.monotonic() < end, "never looked at:", f, self.d.log()[-500:])
            time.sleep(0.01)
        return f

    def tray(self, data, **more):
        """Takes it in; its row in the tray."""
        return self.settle(self.upload(data, **more)["id"])["unmatched"]

    def attach(self, tray, order, birth="1950-04-12", who=None, **more):
        return (who or self.nurse).call("POST", f"/v1/unmatched/{tray}/attach", {"order": order, "birth_date": birth, **more})

    def study(self, s):
        return self.gp.get("/v1/studies/" + s)

    def done(self):
        self.d.stop()
        self.d.own = True
        self.d.done()


def at_once(*calls):
    """All of them at the same moment; their answers."""
    gate, out = threading.Barrier(len(calls)), [None] * len(calls)

    def one(i, call):
        gate.wait()
        out[i] = call()

    threads = [threading.Thread(target=one, args=(i, c)) for i, c in enumerate(calls)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    return out


# ---- taking files in ----

def test_upload(w):
    data = ecg90a("DUPONT", step=1)
    first = w.upload(data, "un.ecg")
    must(first["known"] is False and first["state"] == "waiting" and "name" not in first, first)
    again = w.upload(data, "deux.ecg")
    must(again["known"] is True and again["id"] == first["id"], again)
    f = w.settle(first["id"])
    must(f["state"] == "unmatched" and f["name"] == "un.ecg" and f["source"] == "upload" and f["by"] == "ines", f)
    u = w.nurse.get("/v1/unmatched/" + f["unmatched"])
    must(u["act"] == "ecg" and u["why"] == "no_order" and u["end"] is None, u)
    must(u["subject"]["family"] == "DUPONT" and u["summary"]["channels"] == 12, u["subject"], u["summary"])
    must(u["record"]["stray"] is True and "statements" not in u["record"], u["record"].keys())
    must(w.gp.call("GET", f"/v1/files/{f['id']}/content").body == data, "its bytes")
    samples = w.nurse.call("GET", f"/v1/unmatched/{f['unmatched']}/channels")
    n = struct.unpack("<I", samples.body[:4])[0]
    must(len(json.loads(samples.body[4:4 + n])["channels"]) == 12 and len(samples.body) > 12 * 800 * 2, samples.status)
    check_problem(w.nurse.call("GET", f"/v1/unmatched/{f['unmatched']}/preview"), 404, "not_found")
    for who in (w.nurse, w.admin):
        check_problem(who.call("GET", f"/v1/files/{f['id']}/content"), 403, "forbidden")
    must("subject" not in w.admin.get("/v1/unmatched/" + f["unmatched"]), "names for the administrator")


def test_bad_uploads(w):
    check_problem(w.nurse.call("POST", "/v1/files?name=x", b""), 409, "file_no_reading")
    check_problem(w.nurse.call("POST", "/v1/files?name=x&device=nobody", b"x"), 404, "device_unknown")
    check_problem(w.nurse.call("POST", "/v1/files?name=x&device=ecg1", b"x"), 400, "invalid_field", "device")
    check_problem(w.nurse.call("POST", "/v1/files?name=a%0Ab", b"x"), 400, "invalid_field", "name")
    check_problem(w.nurse.call("POST", "/v1/files?name=" + "n" * 300, b"x"), 400, "invalid_field", "name")
    check_problem(Api(w.d.socket, "0" * 64).call("POST", "/v1/files?name=x", b"x" * 100000), 401, "unauthenticated")
    big = b"x" * (64 << 20)
    check_problem(w.nurse.call("POST", "/v1/files?name=big", big, timeout=60), 409, "file_too_large")
    f = w.settle(w.upload(ecg90a(step=219), "renamed.dcm")["id"])
    must(f["state"] == "unmatched", "a name of another format", f)
    f = w.settle(w.upload(b"no such format at all", "x.bin")["id"])
    must(f["state"] == "refused" and f["failure"]["code"] == "file_format", f)
    f = w.settle(w.upload(os.urandom(3 << 20), "noise.scp")["id"])
    must(f["failure"]["code"] == "file_format", f)
    f = w.settle(w.upload(ecg90a()[:1000], "cut.ecg", device="ecg90")["id"])
    must(f["state"] == "refused" and f["failure"]["detail"], f)
    u = w.nurse.get("/v1/unmatched/" + f["unmatched"])
    must(u["record"] is None and u["why"] == "unreadable" and u["failure"] == f["failure"], u)
    order, _ = w.order()
    check_problem(w.attach(f["unmatched"], order), 409, "wrong_state")
    a = w.gp.post(f"/v1/unmatched/{f['unmatched']}/redecode")
    must(a["end"]["what"] == "decoded_again", a)
    g = w.settle(f["id"])
    must(g["unmatched"] != f["unmatched"] and g["state"] == "refused", g)
    ids = [i["id"] for i in w.nurse.get("/v1/unmatched")["items"]]
    must(g["unmatched"] in ids and f["unmatched"] not in ids, ids)
    check_problem(w.gp.call("POST", f"/v1/unmatched/{f['unmatched']}/redecode", {}), 409, "wrong_state")


def test_names_are_masked(w):
    """Names of files are texts that instruments choose: a conclusion may stand in them."""
    f = w.settle(w.upload(ecg90a(step=2), f"{MARKER}_auriculaire.ecg")["id"])
    must(MARKER in json.dumps(w.gp.get("/v1/files/" + f["id"])), "the reader")
    order, study = w.order()
    must(w.attach(f["unmatched"], order).status == 200)
    record = w.study(study)["records"][0]["id"]
    paths = ["/v1/files", "/v1/files/" + f["id"], "/v1/unmatched", "/v1/unmatched/" + f["unmatched"],
             "/v1/studies/" + study, "/v1/records/" + record, "/v1/orders", "/v1/devices"]
    for path in paths:
        for who in (w.nurse, w.admin):
            a = who.call("GET", path)
            must(MARKER.encode() not in a.body, path, a.body)
    must(MARKER not in w.d.log(), "the journal")
    must("DUPONT" not in w.d.log() and "MARTIN" not in w.d.log(), "a name in the journal")


def everything(w, who, ids):
    """What each GET route answers, but that of events."""
    reference = subprocess.run([os.path.join(BUILD, "asaleed"), "--api-reference"], capture_output=True, text=True,
                               check=True).stdout
    for path in re.findall(r"\| GET \| `(/v1/[^`]*)`", reference):
        if path.endswith("/events"):
            continue
        for i in ids.get(path.split("/")[2], ["M-1"]) if "{" in path else [""]:
            yield path.replace("{id}", i), who.call("GET", path.replace("{id}", i))


def test_interpretations_are_masked(w):
    """What a file of each format concludes is the reader's, from the tray to the DICOM object, and after it moved."""
    maker = os.path.join(BUILD, "tests/file_maker")
    for form, name, act in (("scp", "scp", "ecg"), ("aecg", "xml", "ecg"), ("sierra", "xml", "ecg"),
                            ("muse", "xml", "ecg"), ("dicom-ecg", "dcm", "ecg"), ("jpeg", "jpg", "fundus"),
                            ("dicom-fundus", "dcm", "fundus")):
        data = subprocess.run([maker, form, "--marker", MARKER, "-"], capture_output=True, check=True).stdout
        f = w.settle(w.upload(data, f"{MARKER}.{name}")["id"])
        must(f["state"] == "unmatched", form, f, w.d.log()[-500:])
        (o1, s1), (o2, s2) = w.order("P1", act), w.order("P2", act)
        must(w.attach(f["unmatched"], o1).status == 200, form)
        if act == "ecg":
            advance(w, s1, "interpreting")
        first = w.study(s1)["records"][0]["id"]
        w.gp.post(f"/v1/studies/{s1}/reassign",
                  {"order": o2, "birth_date": "1948-01-31", "records": [first], "reason": "Mauvais patient"})
        second = w.study(s2)["records"][0]["id"]
        if act == "ecg":
            advance(w, s2, "to_interpret")
            dicom_of(w, second)
        ids = {"files": [f["id"]], "unmatched": [f["unmatched"]], "studies": [s1, s2], "records": [first, second],
               "orders": [o1, o2], "patients": ["P1", "P2"], "devices": ["ecg90"], "media": ["sda1"],
               "followups": w.followups, "professionals": [RPPS["ines"]]}
        seen = [p for p, a in everything(w, w.gp, ids) if MARKER.encode() in a.body]
        must(f"/v1/files/{f['id']}/content" in seen and f"/v1/files/{f['id']}" in seen, form, seen)
        must(act == "fundus" or f"/v1/records/{second}/dicom" in seen, form, seen)
        for who in (w.nurse, w.admin, w.lgc, w.practice.oph, w.practice.auditor):
            leaks = [p for p, a in everything(w, who, ids) if MARKER.encode() in a.body or MARKER[:9].encode() in a.body]
            must(not leaks, form, leaks)
        must(MARKER not in w.d.log(), form, "the journal")


# ---- attaching ----

def test_attach(w):
    order, study = w.order()
    fundus, _ = w.order(act="fundus")
    tray = w.tray(ecg90a(step=3))
    check_problem(w.attach(tray, order, "1950-04-13"), 409, "identity_mismatch")
    check_problem(w.attach(tray, order, ""), 400)
    check_problem(w.attach(tray, "O-999"), 404, "not_found")
    check_problem(w.attach(tray, fundus), 409, "wrong_act")
    check_problem(w.attach("U-999", order), 404, "not_found")
    check_problem(w.admin.call("POST", f"/v1/unmatched/{tray}/attach", {"order": order, "birth_date": "1950-04-12"}),
                  403, "forbidden")
    must(w.study(study)["state"] == "ordered", "nothing was attached")
    a = w.attach(tray, order)
    must(a.status == 200 and a.json["state"] == "acquired" and len(a.json["records"]) == 1, a.body)
    check_problem(w.attach(tray, order), 409, "wrong_state")
    u = w.nurse.get("/v1/unmatched/" + tray)
    must(u["end"]["what"] == "attached" and u["end"]["record"] == a.json["records"][0]["id"], u["end"])
    check_problem(w.nurse.call("POST", f"/v1/unmatched/{tray}/discard", {"reason": "x"}), 409, "wrong_state")
    check_problem(w.nurse.call("POST", f"/v1/studies/{study}/accept", {}), 409, "confirmation_needed")  # nobody's name in it
    w.nurse.post(f"/v1/studies/{study}/accept", {"confirm": True})
    check_problem(w.attach(w.tray(ecg90a(step=4)), order), 409, "wrong_state")
    w.practice.sign(study, "Sinusal.")
    end = time.monotonic() + 20
    while not w.study(study)["dicom"]:
        must(time.monotonic() < end, "no DICOM object", w.d.log()[-400:])
        time.sleep(0.05)


def test_other_name(w):
    order, study = w.order()
    tray = w.tray(ecg90a("MARTIN", step=5))
    check_problem(w.attach(tray, order), 409, "subject_differs")
    check_problem(w.attach(tray, order, confirm=True), 409, "subject_differs")
    check_problem(w.attach(tray, order, reason="x"), 409, "subject_differs")
    must(w.study(study)["state"] == "ordered")
    a = w.attach(tray, order, confirm=True, reason="Nom saisi par erreur sur l'appareil")
    must(a.status == 200, a.body)
    must(a.json["records"][0]["clean"] is False, "another name needs no confirmation", a.json["records"])
    must(a.json["records"][0]["subject_differs"] is True and "confirmed" not in a.json["records"][0], a.json["records"])
    seen = w.gp.get("/v1/studies/" + study)["records"][0]
    must(seen["subject_differs"] is True and seen["confirmed"]["by"] == "ines" and
         seen["confirmed"]["reason"] == "Nom saisi par erreur sur l'appareil" and seen["taken"], seen)
    must("subject_differs" not in w.root.get("/v1/studies/" + study)["records"][0], "the administrator")
    trail = [x for x in w.root.get("/v1/audit?limit=50")["items"] if x["action"] == "study.attach" and x["subject"] == study]
    must(len(trail) == 1 and trail[0]["detail"]["identity"]["name"] == "differs" and trail[0]["detail"]["confirmed"], trail)
    w.gp.post(f"/v1/studies/{study}/redecode")
    end = time.monotonic() + 20
    while len(records := w.gp.get("/v1/studies/" + study)["records"]) < 2:
        must(time.monotonic() < end, "the redecode never ended")
        time.sleep(0.05)
    must([(r["subject_differs"], r["superseded"]) for r in records] == [(True, True), (True, False)] and
         records[1]["confirmed"] == seen["confirmed"], "decoded again", records)
    path = f"{w.d.store}/artefacts/{records[1]['sha256'][:2]}/{records[1]['sha256']}"
    os.rename(path, path + ".apart")
    gone = w.gp.get("/v1/studies/" + study)["records"][1]
    os.rename(path + ".apart", path)
    must(gone["subject_differs"] is None and gone["confirmed"] == seen["confirmed"], "a file that is gone", gone)
    other, there = w.order("P2")
    w.gp.post(f"/v1/studies/{study}/reassign", {"order": other, "birth_date": "1948-01-31", "records": [records[1]["id"]],
                                                "reason": "C'est M. Martin"})
    moved = w.gp.get("/v1/studies/" + there)["records"][0]
    must(moved["subject_differs"] is False and moved["confirmed"] is None, "it is his", moved)
    order, _ = w.order()
    a = w.attach(w.tray(ecg90a("dupont", step=6)), order)
    must(a.status == 200 and a.json["records"][0]["subject_differs"] is False, "case alone does not differ", a.body)


def test_discard(w):
    tray = w.tray(ecg90a(step=7))
    check_problem(w.nurse.call("POST", f"/v1/unmatched/{tray}/discard", {}), 400, "missing_field", "reason")
    u = w.nurse.post(f"/v1/unmatched/{tray}/discard", {"reason": "Essai de l'appareil"})
    must(u["end"]["what"] == "discarded", u)
    must(tray not in [i["id"] for i in w.nurse.get("/v1/unmatched")["items"]])
    f = w.gp.get("/v1/files/" + u["file"])
    must(f["state"] == "discarded" and w.gp.call("GET", f"/v1/files/{f['id']}/content").status == 200, "kept")
    must(w.upload(ecg90a(step=7)).get("known") in (True, False))
    again = w.gp.post(f"/v1/unmatched/{tray}/redecode")
    f = w.settle(again["file"])
    must(f["state"] == "unmatched" and f["unmatched"] != tray, "discarded by mistake", f)


def test_two_at_once(w):
    """Whoever is second learns it, and nothing is there twice."""
    for i in range(6):
        tray = w.tray(ecg90a(step=20 + i))
        (o1, s1), (o2, s2) = w.order("P1"), w.order("P2")
        a, b = at_once(lambda: w.attach(tray, o1), lambda: w.attach(tray, o2, "1948-01-31", who=w.gp))
        must(sorted((a.status, b.status)) == [200, 409], a.body, b.body)
        must(len(w.study(s1)["records"]) + len(w.study(s2)["records"]) == 1, "twice")
    for i in range(4):
        tray = w.tray(ecg90a(step=30 + i))
        o, s = w.order()
        a, b = at_once(lambda: w.attach(tray, o),
                       lambda: w.gp.call("POST", f"/v1/unmatched/{tray}/discard", {"reason": "x"}))
        must(sorted((a.status, b.status)) == [200, 409], a.body, b.body)
        must(len(w.study(s)["records"]) == (a.status == 200), "attached and discarded")
    key, tray, (o, s) = new_key(), w.tray(ecg90a(step=40)), w.order()
    body = {"order": o, "birth_date": "1950-04-12"}
    a, b = at_once(*[lambda: w.nurse.call("POST", f"/v1/unmatched/{tray}/attach", body, key)] * 2)
    must(a.status == b.status == 200 and len(w.study(s)["records"]) == 1, a.body, b.body)
    same = ecg90a(step=41)
    ups = at_once(*[lambda: w.nurse.call("POST", "/v1/files?name=same.ecg", same)] * 4)
    must(len({u.json["id"] for u in ups}) == 1 and sum(u.status == 201 for u in ups) == 1, [u.body for u in ups])


# ---- reassigning ----

def advance(w, study, state):
    """To that state; the claim."""
    claim = None
    if state != "acquired":
        w.nurse.post(f"/v1/studies/{study}/accept", {"confirm": True})
    if state in ("interpreting", "interpreted"):
        claim = w.gp.post(f"/v1/studies/{study}/claim")
    if state == "interpreted":
        w.gp.post(f"/v1/studies/{study}/sign", signature(claim, MARKER, conclusion="abnormal"))
    return claim


def test_reassign(w):
    for i, state in enumerate(("acquired", "to_interpret", "interpreting", "interpreted")):
        (o1, s1), (o2, s2) = w.order("P1"), w.order("P2")
        must(w.attach(w.tray(ecg90a(step=50 + i)), o1).status == 200)
        claim = advance(w, s1, state)
        records = [w.study(s1)["records"][0]["id"]]
        body = {"order": o2, "birth_date": "1948-01-31", "records": records, "reason": "Mauvais patient"}
        path = f"/v1/studies/{s1}/reassign"
        check_problem(w.nurse.call("POST", path, body), 403, "forbidden")
        check_problem(w.gp.call("POST", path, {**body, "birth_date": "1950-04-12"}), 409, "identity_mismatch")
        check_problem(w.gp.call("POST", path, {**body, "records": ["R-9999"]}), 400, "invalid_field")
        check_problem(w.gp.call("POST", path, {**body, "records": []}), 400)
        check_problem(w.gp.call("POST", path, {k: v for k, v in body.items() if k != "reason"}), 400, "missing_field", "reason")
        check_problem(w.gp.call("POST", path, {**body, "order": o1, "birth_date": "1950-04-12"}), 400, "invalid_field")
        must(w.study(s1)["state"] == state and not w.study(s2)["records"], "refusals changed something")
        a = (w.admin if i % 2 else w.gp).post(path, body)
        must(a["from"]["state"] == "ordered" and a["to"]["state"] == "acquired", a)
        y1, y2 = w.study(s1), w.study(s2)
        must(all(r["superseded"] for r in y1["records"]) and len(y2["records"]) == 1, y1["records"], y2["records"])
        must("interpretation" not in y1 or y1["interpretation"] is None, "an interpretation of another patient", y1)
        for y in (y1, y2):
            must([(r["from"], r["to"], r["record"]) for r in y["reassigned"]] == [(s1, s2, records[0])], y["reassigned"])
            must(y["reassigned"][0]["reason"] == "Mauvais patient")
        must("reason" not in w.nurse.get("/v1/studies/" + s1)["reassigned"][0], "a reason for the nurse")
        for pid, study in (("P1", s1), ("P2", s2)):
            history = w.gp.get(f"/v1/patients/{pid}/history?limit=200")["items"]
            must(any(h["study"] == study and h["action"] in ("study.reassign", "study.attach") and "records" in h["detail"]
                     for h in history), pid, history[:3])
        if claim:
            check_problem(w.gp.call("POST", f"/v1/studies/{s1}/sign", signature(claim, "x")), 409, "stale_token")
        advance(w, s2, "interpreted")
        must(w.attach(w.tray(ecg90a(step=60 + i)), o1).status == 200, "the first patient's own, later")
        advance(w, s1, "interpreted")
        must(w.study(s1)["interpretation"]["version"] == (2 if state == "interpreted" else 1))


def test_reassign_part(w):
    (o1, s1), (o2, s2) = w.order("P1"), w.order("P2")
    for i in range(2):
        must(w.attach(w.tray(ecg90a(step=70 + i)), o1).status == 200)
    first, second = [r["id"] for r in w.study(s1)["records"]]
    body = {"order": o2, "birth_date": "1948-01-31", "records": [second], "reason": "Mauvais patient"}
    check_problem(w.gp.call("POST", f"/v1/studies/{s1}/reassign", {**body, "records": [second, second]}), 400)
    a = w.gp.post(f"/v1/studies/{s1}/reassign", body)
    must(a["from"]["state"] == "acquired" and [r["superseded"] for r in a["from"]["records"]] == [False, True], a["from"])
    check_problem(w.gp.call("POST", f"/v1/studies/{s1}/reassign", body), 400, "invalid_field")


def test_reassign_at_once(w):
    for i in range(4):
        (o1, s1), (o2, s2), (o3, s3) = w.order("P1"), w.order("P2"), w.order("P2")
        must(w.attach(w.tray(ecg90a(step=80 + i)), o1).status == 200)
        record = w.study(s1)["records"][0]["id"]
        body = lambda o: {"order": o, "birth_date": "1948-01-31", "records": [record], "reason": "x"}  # noqa: E731
        answers = at_once(lambda: w.gp.call("POST", f"/v1/studies/{s1}/reassign", body(o2)),
                          lambda: w.gp2.call("POST", f"/v1/studies/{s1}/reassign", body(o3)),
                          lambda: w.nurse.call("POST", f"/v1/studies/{s1}/accept", {"confirm": True}))
        must([a.status for a in answers[:2]].count(200) == 1, [a.body for a in answers])
        standing = [r["id"] for s in (s1, s2, s3) for r in w.study(s)["records"] if not r["superseded"]]
        must(len(standing) == 1, "a reading in two places", standing)


def test_redecode_of_what_moved(w):
    """A redecode that ends after its reading went to another patient brings nothing back."""
    for i in range(4):
        (o1, s1), (o2, s2) = w.order("P1"), w.order("P2")
        for k in range(2):
            must(w.attach(w.tray(ecg90a(step=110 + 2 * i + k)), o1).status == 200)
        last = w.study(s1)["records"][-1]["id"]
        body = {"order": o2, "birth_date": "1948-01-31", "records": [last], "reason": "Mauvais patient"}
        answers, _ = w.gp.raw(request_bytes("POST", f"/v1/studies/{s1}/redecode", {}, w.gp.token, close=False) +
                              request_bytes("POST", f"/v1/studies/{s1}/reassign", body, w.gp.token), answers=2)
        must([a.status for a in answers] == [202, 200], answers)
        end = time.monotonic() + 20
        while not any(h["action"] == "study.redecode" for h in w.gp.get("/v1/patients/P1/history?limit=9")["items"]
                      if h["study"] == s1):
            must(time.monotonic() < end, "the redecode never ended")
            time.sleep(0.02)
        standing = [[r["id"] for r in w.study(s)["records"] if not r["superseded"]] for s in (s1, s2)]
        must([len(r) for r in standing] == [1, 1], "a reading came back to whom it was taken from", standing)


class Rows:
    """What the trail says of one call: (person, action, subject, patients)."""

    def __init__(self, w):
        self.w, self.newest = w, w.root.get("/v1/audit?limit=1")["items"][0]["seq"]

    def since(self):
        rows = [r for r in self.w.root.get("/v1/audit?limit=100")["items"] if r["seq"] > self.newest]
        self.newest = max([r["seq"] for r in rows] + [self.newest])
        return [(r.get("acting_for") or r["actor"], r["action"], r["subject"],
                 r["detail"].get("patients", [r["detail"]["patient"]] if "patient" in r["detail"] else []))
                for r in reversed(rows)]


def test_whose(w):
    """A reading is its patient's by whichever way one comes to it: a row of the tray that was decoded again, a record
    that was moved, the file, an answer given once more. Each look is written, under whose it is now."""
    p = w.practice
    nora = newcomer(SimpleNamespace(root=w.root, p=p, d=w.d), "nora", "nurse", 1)
    p.delegate("nora", "durand", "tous")
    w.gp.ok("PUT", "/v1/patients/P3", {"family": "PETIT", "given": "Zoé", "birth_date": "1961-07-08", "sex": "F"})
    hers = nora.post("/v1/followups", {"patient": "P3", "protocol": "tous", "gp": RPPS["durand"]})["id"]
    check_problem(nora.call("GET", "/v1/patients/P1"), 404)
    rows = Rows(w)

    def all_refused(who, *paths):
        for path in paths:
            check_problem(who.call("GET", path), 404, "not_found")
        must(not rows.since(), "a row of what nobody saw")

    # In the tray it is nobody's: that she looked is written all the same.
    data = ecg90a(step=900)
    file = w.upload(data, who=nora)
    must(("nora", "file.add", file["id"], []) in rows.since(), "an upload is an act")
    u1 = w.settle(file["id"])["unmatched"]
    must(nora.call("GET", f"/v1/unmatched/{u1}").status == 200 and nora.call("GET", "/v1/unmatched").status == 200)
    must(rows.since() == [("nora", "read", u1, []), ("nora", "read", "list", [])], "looks at the tray")
    # Decoded again, then attached: the first row shows it no more than the second.
    w.gp.post(f"/v1/unmatched/{u1}/redecode")
    u2 = w.settle(file["id"])["unmatched"]
    order, study = w.order("P1")
    must(u1 != u2 and w.attach(u2, order).status == 200)
    rows.since()
    all_refused(nora, *(f"/v1/unmatched/{u}{part}" for u in (u1, u2) for part in ("", "/channels")))
    for u in (u1, u2):
        must(w.nurse.call("GET", f"/v1/unmatched/{u}/channels").status == 200)
        must(rows.since() == [("ines", "read", u, ["P1"])], u)
    # The file: its bytes, and whose it became.
    must(w.gp.call("GET", f"/v1/files/{file['id']}/content").status == 200)
    must(rows.since() == [("martin", "read", file["id"], ["P1"])], "the whole original")
    listed = {name: next(f for f in who.get("/v1/files")["items"] if f["id"] == file["id"])["study"]
              for name, who in (("nora", nora), ("ines", w.nurse))}
    must(listed == {"nora": None, "ines": study}, listed)
    must(w.upload(data, who=nora)["study"] is None and nora.get("/v1/files/" + file["id"])["study"] is None)
    # From her patient to another: it is not hers any more, wherever it was.
    o3 = nora.post("/v1/orders", {"patient": "P3", "act": "ecg"})
    s3 = o3["study"]["id"]
    u3 = w.tray(ecg90a(step=901))
    must(w.attach(u3, o3["id"], "1961-07-08", who=nora).status == 200)
    r3 = w.study(s3)["records"][0]["id"]
    must(nora.call("GET", "/v1/records/" + r3).status == 200)
    other, _ = w.order("P1")
    w.gp.post(f"/v1/studies/{s3}/reassign", {"order": other, "birth_date": "1950-04-12", "records": [r3],
                                             "reason": "Mauvaise patiente"})
    rows.since()
    all_refused(nora, f"/v1/records/{r3}", f"/v1/records/{r3}/channels", f"/v1/unmatched/{u3}")
    must(w.nurse.call("GET", "/v1/records/" + r3).status == 200)
    must(rows.since() == [("ines", "read", r3, ["P1"])], "under whose it is")
    # What a reader writes and previews is of a patient, too.
    u4 = w.tray(ecg90a(step=902))
    must(w.attach(u4, o3["id"], "1961-07-08", who=nora).status == 200)
    nora.post(f"/v1/studies/{s3}/accept", {"confirm": True})
    rows.since()
    w.gp2.ok("PUT", f"/v1/studies/{s3}/draft", {"text": "Rythme"})
    w.gp2.post(f"/v1/studies/{s3}/report", {"conclusion": "normal", "findings": {"rhythm": "sinus"}, "text": "x"})
    must([r[1:] for r in rows.since()] == [("read", s3, ["P3"])] * 2, "a draft, a preview")
    claim = w.gp2.post(f"/v1/studies/{s3}/claim")
    w.gp2.post(f"/v1/studies/{s3}/return", {"token": claim["token"], "code": "110523"})
    told = [n["id"] for n in nora.get("/v1/notices")["items"] if n["study"] == s3]
    must(len(told) == 1, "she is told that it came back")
    # She had the follow-up: what she was told is for her successor, and her answers are not given again.
    key = new_key()
    again = {"patient": "P3", "act": "ecg"}
    nora.post("/v1/orders", again, key)
    must(nora.call("POST", "/v1/orders", again, key=key).headers.get("idempotency-replayed") == "true")
    p.delegate("ines", "durand", "tous") if ("ines", "durand", "tous") not in p.delegation else None
    w.gp2.post(f"/v1/followups/{hers}/transfer", {"nurse": RPPS["ines"], "reason": "Relais"})
    w.root.post(f"/v1/delegations/{p.delegation['nora', 'durand', 'tous']}/end", {"reason": "Départ"})
    rows.since()
    check_problem(nora.call("POST", "/v1/orders", again, key=key), 404, "not_found")
    must(not nora.get("/v1/notices")["items"], "of a patient who is not hers")
    check_problem(nora.call("POST", f"/v1/notices/{told[0]}/acknowledge", {}), 404, "not_found")
    must(any(n["study"] == s3 and n["kind"] == "returned" for n in w.nurse.get("/v1/notices")["items"]), "nobody is told")
    check_problem(nora.call("POST", "/v1/meetings", {"gp": RPPS["durand"], "held": "2026-01-05", "minute": "Vu", "followups": [
        {"followup": hers, "minute": "Vu"}]}), 404, "not_found", "followups[0].followup")
    must(rows.since() == [("ines", "read", "list", ["P3"])], "a row of what was refused")


def dicom_of(w, record):
    """Its object's bytes, once it is made."""
    end = time.monotonic() + 20
    while (a := w.gp.call("GET", f"/v1/records/{record}/dicom")).status != 200:
        must(time.monotonic() < end and a.json["code"] == "dicom_pending", a.body, w.d.log()[-300:])
        time.sleep(0.05)
    return a.body


def test_dicom_of_what_moved(w):
    """No object goes out any more under the name of the patient whose reading it was not."""
    (o1, s1), (o2, s2) = w.order("P1"), w.order("P2")
    must(w.attach(w.tray(ecg90a(step=119)), o1).status == 200)
    advance(w, s1, "interpreted")
    record = w.study(s1)["records"][0]["id"]
    must(b"DUPONT" in dicom_of(w, record))
    w.gp.post(f"/v1/studies/{s1}/reassign",
              {"order": o2, "birth_date": "1948-01-31", "records": [record], "reason": "Mauvais patient"})
    for who in (w.gp, w.nurse):
        check_problem(who.call("GET", f"/v1/records/{record}/dicom"), 409, "wrong_state")
    advance(w, s2, "to_interpret")
    moved = dicom_of(w, w.study(s2)["records"][0]["id"])
    must(b"MARTIN" in moved and b"DUPONT" not in moved and b"1.2.840.10008" in moved)
    check_problem(w.gp.call("GET", f"/v1/records/{record}/dicom"), 409, "wrong_state")


# ---- an order that waits ----

def wait_for(w, study, state, seconds=15):
    end = time.monotonic() + seconds
    while (y := w.study(study))["state"] != state:
        must(time.monotonic() < end, "waits for", state, "is", y["state"], w.d.log()[-600:])
        time.sleep(0.02)
    return y


def test_waiting_order(w):
    order, study = w.order("P1")
    w.nurse.post(f"/v1/studies/{study}/acquire", {"device": "ecg90", "seconds": 600})
    wait_for(w, study, "acquiring")
    busy = w.order("P2")[1]
    check_problem(w.nurse.call("POST", f"/v1/studies/{busy}/acquire", {"device": "ecg90"}), 409, "device_busy")
    for data, why in ((ecg90a("MARTIN", step=90), "identity"),
                      (ecg90a("DUPONT", datetime.now() - timedelta(hours=2), step=91), "time"),
                      (ecg90a("DUPONT", datetime.now() + timedelta(hours=2), step=92), "time")):
        u = w.nurse.get("/v1/unmatched/" + w.tray(data, device="ecg90"))
        must(u["why"] == why and u["end"] is None, why, u)
        must(w.study(study)["state"] == "acquiring", "somebody else's reading was taken")
    tray = w.tray(ecg90a("DUPONT", step=93), device="ecg90")
    y = wait_for(w, study, "acquired")
    must(len(y["records"]) == 1, y["records"])
    u = w.nurse.get("/v1/unmatched/" + tray)
    must(u["end"]["what"] == "attached" and u["end"]["by"] == "asaleed", u["end"])
    must(w.tray(ecg90a("DUPONT", step=94), device="ecg90"), "the next one waits for people")
    w.nurse.post(f"/v1/studies/{study}/accept", {"confirm": True})


def test_waiting_ends(w):
    order, study = w.order("P1")
    w.nurse.post(f"/v1/studies/{study}/acquire", {"device": "ecg90", "seconds": 1})
    y = wait_for(w, study, "ordered")
    must(y["last_failure"]["code"] == "device_silent", y["last_failure"])
    w.nurse.post(f"/v1/studies/{study}/acquire", {"device": "ecg90", "seconds": 2})
    wait_for(w, study, "acquiring")
    must(w.tray(ecg90a("MARTIN", step=230), device="ecg90"))
    y = wait_for(w, study, "ordered")
    must(y["last_failure"]["code"] == "reading_other", y["last_failure"])  # and not that nothing came
    w.nurse.post(f"/v1/studies/{study}/acquire", {"device": "ecg90", "seconds": 600})
    wait_for(w, study, "acquiring")
    w.nurse.post(f"/v1/studies/{study}/cancel", {})
    y = wait_for(w, study, "ordered")
    must(y["last_failure"]["code"] == "acquisition_cancelled", y["last_failure"])
    w.nurse.post(f"/v1/studies/{study}/acquire", {"device": "ecg90", "seconds": 600})
    wait_for(w, study, "acquiring")
    w.d.kill()
    w.d.start()
    y = wait_for(w, study, "ordered")
    must(y["last_failure"]["code"] == "acquisition_interrupted", y["last_failure"])
    w.nurse.post(f"/v1/studies/{study}/acquire", {"device": "ecg90", "seconds": 600})
    begin = time.monotonic()
    must(w.d.stop() == 0 and time.monotonic() - begin < 4, "a waiting order holds the end up")
    w.d.start()


def put(path, data, age=0):
    """Into a watched folder at once, as old as that."""
    with open(path + ".part", "wb") as f:
        f.write(data)
    os.utime(path + ".part", (time.time() - age, time.time() - age))
    os.rename(path + ".part", path)


def taken(w, name):
    """The file of that name, once it was taken in."""
    end = time.monotonic() + 20
    while not (found := [f["id"] for f in w.gp.get("/v1/files?limit=5")["items"] if f["name"] == name]):
        must(time.monotonic() < end, "never taken", w.d.log()[-300:])
        time.sleep(0.05)
    return found[0]


def test_waiting_for_what_comes(w):
    """A file that does not tell when its reading was made is what an order waits for only if it came, and was written,
    while the order waited."""
    old = w.tray(ecg90a("DUPONT", UNSET, step=120), device="ecg90")
    order, study = w.order("P1")
    w.nurse.post(f"/v1/studies/{study}/acquire", {"device": "ecg90", "seconds": 600})
    wait_for(w, study, "acquiring")
    file = w.nurse.get("/v1/unmatched/" + old)["file"]
    w.gp.post(f"/v1/unmatched/{old}/redecode")
    u = w.nurse.get("/v1/unmatched/" + w.settle(file)["unmatched"])
    must(u["id"] != old and u["why"] == "no_order" and u["end"] is None, u)
    put(os.path.join(w.work, "folder", "copied.ecg"), ecg90a("DUPONT", UNSET, step=121), 86400)
    u = w.nurse.get("/v1/unmatched/" + w.settle(taken(w, "copied.ecg"))["unmatched"])
    must(u["why"] == "time" and u["end"] is None, u)
    must(w.study(study)["state"] == "acquiring", "a reading of another day was taken")
    u = w.nurse.get("/v1/unmatched/" + w.tray(ecg90a("DUPONT", UNSET, step=122), device="ecg90"))
    must(u["end"] and u["end"]["by"] == "asaleed", u)
    check_problem(w.nurse.call("POST", f"/v1/studies/{study}/accept", {}), 409, "confirmation_needed")


def test_waiting_pictures(w):
    """An order waits for as many files as it asked for pictures; what it has when it is finished is what it gets."""
    for wanted, come in ((3, 3), (6, 2)):
        order, study = w.order("P1", "fundus")
        w.nurse.post(f"/v1/studies/{study}/acquire", {"device": "eyes", "seconds": 600, "pictures": wanted})
        wait_for(w, study, "acquiring")
        for i in range(come):
            put(os.path.join(w.work, "eyes", f"{study}-{i}.jpg"), jpeg_of(10 * wanted + i))
        end = time.monotonic() + 30
        while len(w.study(study)["records"]) < come:
            must(time.monotonic() < end, w.study(study), w.d.log()[-600:])
            time.sleep(0.05)
        if come < wanted:
            must(w.study(study)["state"] == "acquiring")
            w.nurse.post(f"/v1/studies/{study}/finish")
        y = wait_for(w, study, "acquired")
        must(len(y["records"]) == come and len(y["fundus"]["pictures"]) == come and not y["last_failure"], y)


def test_shared_folder(w):
    """Two instruments whose files have such names put them into one folder: each driver looks at it, and as nobody can
    say whose a file is, no order gets it by itself."""
    order, study = w.order("P1")
    w.nurse.post(f"/v1/studies/{study}/acquire", {"device": "shared1", "seconds": 600})
    wait_for(w, study, "acquiring")
    put(os.path.join(w.work, "shared", "either.ecg"), ecg90a("DUPONT", step=130))
    f = w.settle(taken(w, "either.ecg"))
    must(f["device"] is None and f["state"] == "unmatched" and w.study(study)["state"] == "acquiring", f)
    w.nurse.post(f"/v1/studies/{study}/cancel", {})
    wait_for(w, study, "ordered")


def test_reconfigured(w):
    """A file of an instrument that has since become one without files keeps no other file waiting."""
    conf = os.path.join(w.work, "devices.d/changing.conf")
    with open(conf, "w") as f:
        f.write(f"[device changing]\ndriver = file_contec_ecg90a\nfolder = {w.work}/none\n")
    must(w.d.stop() == 0)
    w.d.start()
    tray = w.tray(ecg90a(step=140), device="changing")
    with open(conf, "w") as f:
        f.write("[device changing]\ndriver = corscience_emi12\nusb-serial = OTHER\n")
    must(w.d.stop() == 0)
    w.d.start()
    file = w.nurse.get("/v1/unmatched/" + tray)["file"]
    w.gp.post(f"/v1/unmatched/{tray}/redecode")
    must(w.tray(ecg90a(step=141)), "another")
    must(w.settle(file)["unmatched"] != tray, "the file itself")
    os.unlink(conf)
    must(w.d.stop() == 0)
    w.d.start()


def test_machine_fails(w):
    """What is the machine's fault is no fault of the file: it is looked at later, and keeps no other waiting."""
    program = os.path.join(w.work, "driver")
    os.symlink(os.path.join(BUILD, "asaleed-driver"), program)
    w.d.extra += ["--driver-program", program]
    must(w.d.stop() == 0)
    w.d.start()
    os.unlink(program)
    lost = [w.gp.get("/v1/files/" + w.upload(b"lost %d" % i, f"{i}.dcm")["id"]) for i in range(3)]
    last = w.upload(ecg90a(step=150))["id"]
    time.sleep(0.5)
    must(all(w.gp.get("/v1/files/" + f)["state"] in ("waiting", "decoding") for f in (lost[0]["id"], last)))
    paths = [f"{w.d.store}/artefacts/{f['sha256'][:2]}/{f['sha256']}" for f in lost]
    for path in paths:
        os.rename(path, path + ".away")
    os.symlink(os.path.join(BUILD, "asaleed-driver"), program)
    must(w.settle(last, 40)["state"] == "unmatched")
    for path in paths:
        os.rename(path + ".away", path)
    ends = [w.settle(f["id"], 40)["failure"] for f in lost]
    must(all(e["code"] == "file_format" for e in ends), ends, w.d.log()[-600:])


def test_folder(w):
    """What is put into a watched folder: half-written, renamed in, with a bad name, twice under two names."""
    folder = os.path.join(w.work, "folder")
    before = {f["id"] for f in w.gp.get("/v1/files?limit=200")["items"]}
    data = ecg90a(step=100)
    with open(os.path.join(folder, "slow.ecg"), "wb") as f:
        for i in range(0, len(data), len(data) // 8):
            f.write(data[i:i + len(data) // 8])
            f.flush()
            time.sleep(0.1)
    with open(os.path.join(w.work, "other.tmp"), "wb") as f:
        f.write(ecg90a(step=101))
    os.rename(os.path.join(w.work, "other.tmp"), os.path.join(folder, "new\nline.ECG"))
    with open(os.path.join(folder, "again.ecg"), "wb") as f:
        f.write(data)
    os.symlink("/etc/passwd", os.path.join(folder, "link.ecg"))
    os.mkfifo(os.path.join(folder, "pipe.ecg"))
    with open(os.path.join(folder, "notes.txt"), "w") as f:
        f.write("not an ECG")
    end = time.monotonic() + 30
    while True:
        new = [f for f in w.gp.get("/v1/files?limit=200")["items"] if f["id"] not in before]
        if len(new) == 2 and all(f["state"] == "unmatched" for f in new):
            break
        must(time.monotonic() < end and len(new) <= 2, [(f["name"], f["state"], f["failure"]) for f in new], w.d.log()[-600:])
        time.sleep(0.05)
    must(all(f["source"] == "folder" and f["device"] == "ecg90" for f in new), new)
    time.sleep(2.5)  # two more passes
    must(len([f for f in w.gp.get("/v1/files?limit=200")["items"] if f["id"] not in before]) == 2, "taken twice")
    for name in ("link.ecg", "pipe.ecg"):
        os.unlink(os.path.join(folder, name))


def test_picture(w):
    """A picture in the tray can be looked at; the eye that its file says comes with it."""
    data = subprocess.run([os.path.join(BUILD, "tests/file_maker"), "dicom-fundus", "--option", "eye=left", "-"],
                          check=True, capture_output=True).stdout
    tray = w.tray(data, name="IM1.dcm")
    preview = w.nurse.call("GET", f"/v1/unmatched/{tray}/preview")
    must(preview.status == 200 and preview.headers["content-type"] == "image/jpeg" and preview.body[:2] == b"\xff\xd8",
         preview.status, preview.headers)
    check_problem(w.nurse.call("GET", f"/v1/unmatched/{tray}/preview?n=2"), 404, "not_found")
    check_problem(w.nurse.call("GET", f"/v1/unmatched/{tray}/preview?n=0"), 400, "invalid_field", "n")
    check_problem(w.nurse.call("GET", f"/v1/unmatched/{tray}/channels"), 404, "not_found")
    order, study = w.order(act="fundus")
    must(w.attach(tray, order).status == 200)
    must(w.study(study)["fundus"]["pictures"][0]["instrument"] == "L", w.study(study)["fundus"])


STICKS = [f"sd{letter}" for letter in "abcdefghij"]
USB = "/devices/pci0000:00/0000:00:14.0/usb1"


def test_sticks(w):
    """Ten sticks, one after another; one twice, one that is pulled out, two that are looked at while they are copied."""
    machine, media = os.path.join(w.work, "sticks.umockdev"), os.path.join(w.work, "media")
    with open(machine, "w") as f:
        f.write(f"P: {USB}\nE: SUBSYSTEM=usb\nE: DEVTYPE=usb_device\n\n"
                f"P: {USB}/1-2\nE: SUBSYSTEM=usb\nE: DEVTYPE=usb_device\nA: serial=STICK\n\n")
        for name in STICKS:
            f.write(f"P: {USB}/1-2/1-2:1.0/host0/target0:0:0/0:0:0:0/block/{name}\nN: {name}\nE: SUBSYSTEM=block\n"
                    f"E: DEVTYPE=disk\nE: DEVNAME=/dev/{name}\n\n")
    with open(os.path.join(w.work, "asaleed.conf"), "w") as f:
        f.write(f"[daemon]\nmedia = {media}\n")
    with open(os.path.join(w.work, "devices.d/stick.conf"), "w") as f:
        f.write("[device card]\ndriver = file_contec_ecg90a\nstick = yes\nusb-serial = STICK\n")
    w.d.wrap = ["umockdev-run", "-d", machine, "--"]
    must(w.d.stop() == 0)
    w.d.start()

    def copied(name, state="done"):
        end = time.monotonic() + 20
        while (m := w.admin.get("/v1/media/" + name))["state"] == "copying":
            must(time.monotonic() < end, m)
            time.sleep(0.02)
        must(m["state"] == state, m, w.d.log()[-400:])
        return m

    check_problem(w.admin.call("POST", "/v1/media", {"name": "sdz"}), 404, "not_found")
    for name in ("../sda", "", "sda/..", "-a", "SDA", "sda\n"):
        must(w.admin.call("POST", "/v1/media", {"name": name}).status in (400, 404), name)
    check_problem(w.nurse.call("POST", "/v1/media", {"name": "sda"}), 403, "forbidden")
    for i, name in enumerate(STICKS):
        os.makedirs(f"{media}/{name}/ECG")
        with open(f"{media}/{name}/ECG/1.ECG", "wb") as f:
            f.write(ecg90a(step=170 + i))
        must(w.admin.call("POST", "/v1/media", {"name": name}).status == 202, name)
        must(w.admin.call("POST", "/v1/media", {"name": name}).status == 202, name, "twice")
        m = copied(name)
        must(m["devices"] == ["card"] and m["taken"] + m["known"] == 1, m)
        f = w.settle(taken(w, "ECG/1.ECG"))
        must(f["source"] == "stick" and f["device"] == "card" and f["state"] == "unmatched", f)
    w.admin.post("/v1/media", {"name": "sdj"})
    m = copied("sdj")
    must(m["known"] == 1 and m["taken"] == 0, m)
    os.rename(f"{media}/sda", f"{media}/gone")
    w.admin.post("/v1/media", {"name": "sda"})
    must(copied("sda", "failed")["failure"]["code"], "no such folder")
    os.unlink(os.path.join(w.work, "devices.d/stick.conf"))
    w.d.wrap = []
    must(w.d.stop() == 0)
    w.d.start()


# A collector that lies: the next of the folder's files lies/0, lies/1... says how.
LIAR = """#!/usr/bin/env python3
import os, socket, struct, sys
REAL, FOLDER = {real!r}, {folder!r}
if sys.argv[1] != "collect":
    os.execv(REAL, [REAL] + sys.argv[1:])
s = socket.socket(fileno=3)
if FOLDER.encode() not in s.recv(65536, socket.MSG_PEEK):
    os.execv(REAL, [REAL, "collect"])
s.recv(65536)
def put(number, data):
    fd = os.open(str(number), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o400, dir_fd=4)
    os.write(fd, data)
    os.close(fd)
def tell(number, sha, size, pattern=0, name="x.ecg"):
    s.send(struct.pack("<BIIIQ", 15, number, pattern, size, 0) + bytes.fromhex(sha) + bytes([len(name)]) + name.encode())
def batch(n):
    s.send(struct.pack("<BI", 16, n))
done = os.path.join(FOLDER, "done")
turn = len(os.listdir(done))
open(os.path.join(done, str(turn)), "w").close()
exec(open(os.path.join(FOLDER, "lies", str(turn))).read() if turn < len(os.listdir(os.path.join(FOLDER, "lies"))) else "")
while s.recv(65536):
    pass
"""


def test_liar(w):
    """A collector that was taken over spoils nothing that is there, and brings nothing in that is not a file."""
    folder = os.path.join(w.work, "lying")
    os.makedirs(folder + "/lies")
    os.makedirs(folder + "/done")
    data = ecg90a(step=160)
    there = w.gp.get("/v1/files/" + w.upload(data)["id"])
    must(w.settle(there["id"])["state"] == "unmatched")
    paths = [os.path.join(at, n) for at, _, names in os.walk(f"{w.d.store}/artefacts") for n in names]
    path = next(p for p in paths if there["sha256"] not in p)  # its capture, its record or its samples
    victim, size, before = os.path.basename(path), os.path.getsize(path), open(path, "rb").read()
    lies = [f"put(1, b'z' * {size}); tell(1, {victim!r}, {size}); batch(1)",
            "put(1, b'short'); tell(1, '11' * 32, 6000); batch(1)",
            "tell(7, '22' * 32, 5); batch(1)",
            "put(1, b'twice'); tell(1, '33' * 32, 5); tell(1, '44' * 32, 5); batch(2)",
            "os.symlink('/etc/passwd', '1', dir_fd=4); tell(1, '55' * 32, 11); batch(1)",
            "os.mkdir('1', dir_fd=4); tell(1, '66' * 32, 4096); batch(1)",
            "batch(1)", "tell(1, '77' * 32, 5, 9); batch(1)", "s.send(bytes(9))", "s.send(bytes([2]))",
            "[s.send(struct.pack('<BII', 7, 1, 1)) for _ in range(20000)]; batch(3)"]
    for i, lie in enumerate(lies):
        with open(f"{folder}/lies/{i}", "w") as f:
            f.write(lie)
    program = os.path.join(w.work, "liar")
    with open(program, "w") as f:
        f.write(LIAR.format(real=os.path.join(BUILD, "asaleed-driver"), folder=folder))
    os.chmod(program, 0o755)
    with open(os.path.join(w.work, "devices.d/lying.conf"), "w") as f:
        f.write(f"[device lying]\ndriver = file_contec_ecg90a\nfolder = {folder}\nfolder-poll = 1\n")
    w.d.extra += ["--driver-program", program]
    for i in range(len(lies)):
        must(w.d.stop() == 0)
        w.d.start()
        end = time.monotonic() + 20
        while len(os.listdir(folder + "/done")) <= i:
            must(time.monotonic() < end, "not started", i, w.d.log()[-300:])
            time.sleep(0.02)
        end = time.monotonic() + 20
        while i and "said what none may say" not in w.d.log().split("ready: ")[-1]:
            must(time.monotonic() < end, "not ended:", lies[i], w.d.log()[-500:])
            time.sleep(0.02)
    time.sleep(0.3)
    must(open(path, "rb").read() == before, "an artefact was written over")
    names = {f["sha256"][:4] for f in w.gp.get("/v1/files?limit=200")["items"]}
    must(not names & {f"{i}{i}{i}{i}" for i in range(1, 8)}, names)
    os.unlink(os.path.join(w.work, "devices.d/lying.conf"))
    w.d.extra = w.d.extra[:-2]
    must(w.d.stop() == 0)
    w.d.start()


def test_folders_at_once(w):
    """What one collector writes is not in another's way."""
    places = (("folder", ecg90a, "ecg"), ("eyes", jpeg_of, "jpg"), ("shared", ecg90a, "ecg"))
    for folder, make, end in places:
        for k in range(40):
            put(os.path.join(w.work, folder, f"{folder}-{k}.{end}"), make(5000 + k) if make is jpeg_of else
                ecg90a(folder, step=k))
    end = time.monotonic() + 20
    wanted = {f"{folder}-{k}.{end}" for folder, _, end in places for k in range(40)}
    while wanted - {f["name"] for f in w.gp.get("/v1/files?limit=200")["items"]}:
        must(time.monotonic() < end, len(wanted - {f["name"] for f in w.gp.get("/v1/files?limit=200")["items"]}),
             "never taken", w.d.log()[-400:])
        time.sleep(0.05)
    for f in w.gp.get("/v1/files?limit=120")["items"]:
        must(w.gp.call("GET", f"/v1/files/{f['id']}/content").status == 200, f)
    must("cannot be gone through" not in w.d.log().split("ready: ")[-1], w.d.log()[-400:])


# ---- kill -9 ----

class Gone(Exception):
    pass


class CrashJob:
    """A file, attached, accepted, signed, reassigned, accepted and signed again; can go on from wherever it is."""

    def __init__(self):
        self.tokens, self.acknowledged = {}, {}

    def call(self, who, method, path, body=None, key=None):
        try:
            a = Api(self.d.socket, self.tokens.get(who)).call(method, path, body, key)
        except (OSError, AssertionError):
            raise Gone() from None
        must(a.status < 300, method, path, a.status, a.body[:300])
        return a.json

    def people(self):
        for name, role in PEOPLE[:2]:
            if name not in self.tokens:
                u = self.call(None, "POST", "/v1/users", {"name": name, "role": role, "display": name}, f"user-{name}-1")
                self.tokens[name] = u["token"] or self.call(None, "POST", f"/v1/users/{name}/token", {})["token"]
        for n, (method, path, body) in enumerate(enrolment(PEOPLE[:2])):
            self.call(None, method, path, body, f"enrolment-{n}")
        for pid, birth in (("P1", "1950-04-12"), ("P2", "1948-01-31")):
            self.call("ines", "PUT", "/v1/patients/" + pid, {"family": "ESSAI" + pid, "given": "M", "birth_date": birth, "sex": "F"})
            self.call("ines", "POST", "/v1/followups", {"patient": pid, "protocol": "tous", "gp": RPPS["martin"]},
                      "followup-of-" + pid)

    def study(self, n):
        o = self.call("ines", "POST", "/v1/orders", {"patient": f"P{n}", "act": "ecg"}, f"order-key-{n}")
        return o["id"], o["study"]["id"]

    def finish(self, study):
        """From acquired to interpreted."""
        while (state := self.call("martin", "GET", "/v1/studies/" + study)["state"]) != "interpreted":
            if state == "acquired":
                self.call("ines", "POST", f"/v1/studies/{study}/accept", {"confirm": True})
            else:
                claim = self.call("martin", "POST", f"/v1/studies/{study}/claim", {})
                self.call("martin", "POST", f"/v1/studies/{study}/sign", signature(claim, "x"))

    def run(self, d):
        self.d = d
        self.people()
        (o1, s1), (o2, s2) = self.study(1), self.study(2)
        f = self.call("ines", "POST", "/v1/files?name=a.ecg", ecg90a(when=datetime(2026, 1, 2, 3, 4, 5)))
        self.acknowledged["file"] = f["id"]
        end = time.monotonic() + 20
        while (g := self.call("martin", "GET", "/v1/files/" + f["id"]))["state"] in ("waiting", "decoding"):
            must(time.monotonic() < end, "never decoded", d.log()[-300:])
            time.sleep(0.005)
        y = self.call("martin", "GET", "/v1/studies/" + s2)
        if not y["records"]:
            if g["state"] == "unmatched":
                self.call("ines", "POST", f"/v1/unmatched/{g['unmatched']}/attach", {"order": o1, "birth_date": "1950-04-12"})
                self.acknowledged["attached"] = s1
            self.finish(s1)
            record = [r["id"] for r in self.call("martin", "GET", "/v1/studies/" + s1)["records"]]
            self.call("martin", "POST", f"/v1/studies/{s1}/reassign",
                      {"order": o2, "birth_date": "1948-01-31", "records": record, "reason": "x"})
            self.acknowledged["moved"] = s2
        self.finish(s2)
        self.acknowledged["signed"] = s2

    def compare(self, d):
        """What was acknowledged is there."""
        self.d = d
        root = Api(d.socket)
        must(root.get("/v1/audit/verify")["ok"], "audit")
        if "file" in self.acknowledged:
            must(root.get("/v1/files/" + self.acknowledged["file"])["state"], "the file")
        if "moved" in self.acknowledged:
            must(root.get("/v1/studies/" + self.acknowledged["moved"])["records"], "moved")
        if "signed" in self.acknowledged:
            must(root.get("/v1/studies/" + self.acknowledged["signed"])["state"] == "interpreted", "signed")


def check_store(work, whole):
    db = sqlite3.connect(f"{work}/store/asaleed.db")
    one = lambda sql: db.execute(sql).fetchone()[0]  # noqa: E731
    must(one("PRAGMA integrity_check") == "ok" and not db.execute("PRAGMA foreign_key_check").fetchall(), "integrity")
    standing = "SELECT count(*) FROM record WHERE id NOT IN (SELECT record FROM supersession)"
    must(one(standing) == one("SELECT count(*) FROM unmatched_end WHERE what = 'attached'"), "a reading in two places")
    must(one("SELECT count(*) FROM reassignment") == one("SELECT count(*) FROM supersession"), "moved without a trace")
    must(one("SELECT count(*) FROM unmatched") == one("SELECT count(*) FROM acquisition"), "a decoding without a row")
    for sha, size in db.execute("SELECT sha256, bytes FROM artefact"):
        must(os.path.getsize(f"{work}/store/artefacts/{sha[:2]}/{sha}") == size, "artefact", sha)
    if whole:
        must(one("SELECT count(*) FROM file") == 1 and one("SELECT count(*) FROM unmatched") == 1, "decoded twice")
        must(one("SELECT count(*) FROM interpretation WHERE id NOT IN (SELECT interpretation FROM withdrawal)") == 1)
        must(one("SELECT count(*) FROM record") == 2 and one("SELECT count(*) FROM withdrawal") == 1, "records")
    db.close()


def environment(work, **more):
    return {"LD_PRELOAD": PRELOAD, "ASALEED_CRASH_STORE": os.path.realpath(os.path.join(work, "store")), **more}


def crash(point):
    work = tempfile.mkdtemp(prefix="asaleed-tray-")
    os.makedirs(os.path.join(work, "store"), mode=0o700)
    job, d = CrashJob(), None
    try:
        d = Asaleed(BUILD, work, env=environment(work, ASALEED_CRASH_AT=point), wait=False)
        try:
            if d.ready():
                job.run(d)
                d.stop()
        except Gone:
            pass  # it is ending, or has
        hit = d.process.wait(20) == -signal.SIGKILL
        d.start(env={})
        job.compare(d)
        job.run(d)
        must(d.stop() == 0)
        check_store(work, True)
        return hit
    finally:
        if d:
            d.kill()
            d.own = True
            d.done()


def count():
    work = tempfile.mkdtemp(prefix="asaleed-tray-")
    os.makedirs(os.path.join(work, "store"), mode=0o700)
    log = os.path.join(work, "calls")
    d = Asaleed(BUILD, work, env=environment(work, ASALEED_CRASH_LOG=log))
    CrashJob().run(d)
    must(d.stop() == 0)
    check_store(work, True)
    with open(log) as f:
        n = len(f.readlines())
    d.own = True
    d.done()
    return n


def test_crashes(tap, every):
    total = count()
    points = list(range(1, total + 1)) if every else sorted({1 + i * (total - 1) // (POINTS - 1) for i in range(POINTS)})
    tasks = [f"{n}:{'after' if n % 2 else 'before'}" for n in points]
    struck, bad, lock = [0], [], threading.Lock()

    def work():
        while True:
            with lock:
                if not tasks:
                    return
                task = tasks.pop()
            try:
                hit = crash(task)
                with lock:
                    struck[0] += hit
            except Exception as e:
                with lock:
                    bad.append(f"{task}: {type(e).__name__}: {e}")

    threads = [threading.Thread(target=work) for _ in range(2 * (os.cpu_count() or 1))]
    [t.start() for t in threads]
    [t.join() for t in threads]
    tap.note(f"{struck[0]} kills at {len(points)} of {total} calls")
    must(not bad, "\n".join(bad[:6]))
    must(struck[0] > len(points) * 3 // 4, "few kills struck", struck[0])


def main():
    tap = Tap()
    w = World()
    try:
        for name, test in (("a file is taken in, once", test_upload), ("bad uploads", test_bad_uploads),
                           ("names of files are the reader's", test_names_are_masked),
                           ("what files conclude is the reader's", test_interpretations_are_masked),
                           ("attaching needs an order and a second factor", test_attach),
                           ("a file that says another patient", test_other_name), ("discarding", test_discard),
                           ("two clients at once", test_two_at_once), ("reassigning, from every state", test_reassign),
                           ("reassigning one of two", test_reassign_part),
                           ("reassigning, two at once", test_reassign_at_once),
                           ("a redecode of what went elsewhere", test_redecode_of_what_moved),
                           ("whose a reading is, by whichever way", test_whose),
                           ("DICOM objects of what went elsewhere", test_dicom_of_what_moved),
                           ("an order that waits for its file", test_waiting_order),
                           ("how the waiting ends", test_waiting_ends),
                           ("an order waits for what comes, not for what was there", test_waiting_for_what_comes),
                           ("an order that waits for pictures", test_waiting_pictures),
                           ("a folder of two instruments", test_shared_folder),
                           ("an instrument that has no files any more", test_reconfigured),
                           ("a machine that fails", test_machine_fails),
                           ("a picture in the tray", test_picture), ("a collector that lies", test_liar),
                           ("several folders at once", test_folders_at_once),
                           ("a watched folder", test_folder)):
            tap.run(name, test, w)
        if shutil.which("umockdev-run") and not sanitizer(BUILD):
            tap.run("sticks", test_sticks, w)
        else:
            tap.skip("sticks", "no umockdev, or a sanitizer that must come before it")
        tap.run("it was alive to the end", lambda: must(w.d.alive() and w.d.stop() == 0, w.d.log()[-500:]))
    finally:
        w.done()
    if sanitizer(BUILD):
        tap.skip("kill -9 at every step", "a build with sanitizers: its calls are the same, its time is not")
    else:
        tap.run("kill -9 at every step", test_crashes, tap, "--every" in sys.argv)
    return tap.end()


sys.exit(main())
