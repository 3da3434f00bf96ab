#!/usr/bin/env python3
"""Patients whose time is over, by asaleectl and the API of the real programs: what was done years ago by a clock that was
set back is due now, exported, erased; with a file that is damaged, and with kill -9 at the calls by which asaleed changes
its store. TAP on standard output.

retention.py BUILD [--every]

--every tries each such call of an erasure, else about POINTS of them, evenly.
"""
import hashlib
import io
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from bed import Api, Asaleed, Practice, Tap, check_problem, must, preload, signature  # noqa: E402

BUILD = os.path.abspath(sys.argv[1])
CLOCK, CRASH = "clock_step.so", "crash_point.so"
LONG_AGO = -62 * 31 * 86400
POINTS = 24
PEOPLE = (("P1", "Zqalpha", "1950-04-12"), ("P2", "Zqbravo", "1948-01-31"))


def ecg90a(name, step):
    """A recording of an ECG90A (43 bytes of header, rows of 8 u16, a footer of 37 after a row of zeros)."""
    head = b"0000000" + b"\0" * 3 + b"2021-03-04 10:00:00" + b"\0" * 3 + name.encode().ljust(8, b"\0") + bytes([255, 0, 0])
    rows = (struct.pack("<8H", *[2048 + (i * 7 + lead * 31 + step) % 200 - 100 for lead in range(8)]) for i in range(800))
    return head + b"".join(rows) + bytes(16 + 21)


def until(what, seconds=20):
    end = time.monotonic() + seconds
    while not (found := what()):
        must(time.monotonic() < end, "in vain")
        time.sleep(0.02)
    return found


class World:
    """Two patients of long ago: an ECG from a file each, accepted, signed, exported; a second order."""

    def __init__(self):
        self.work = tempfile.mkdtemp(prefix="asaleed-retention-")
        self.d = Asaleed(BUILD, self.work, env=preload(BUILD, CLOCK, ASALEED_CLOCK_STEP=str(LONG_AGO)))
        p = self.p = Practice(self.d)
        self.studies, self.records = {}, {}
        for n, (pid, mark, birth) in enumerate(PEOPLE):
            p.lgc.ok("PUT", "/v1/patients/" + pid, {"family": mark, "given": mark, "birth_date": birth, "sex": "F"})
            p.follow(pid)
            order = p.nurse.post("/v1/orders", {"patient": pid, "act": "ecg"})
            s = self.studies[pid] = order["study"]["id"]
            f = p.nurse.call("POST", f"/v1/files?name={mark}.ecg", ecg90a(mark[:8], step=n + 1)).json["id"]
            row = until(lambda f=f: p.gp.get("/v1/files/" + f)["unmatched"])
            p.nurse.post(f"/v1/unmatched/{row}/attach", {"order": order["id"], "birth_date": birth, "confirm": True,
                                                         "reason": mark})
            p.nurse.post(f"/v1/studies/{s}/accept", {"confirm": True, "comment": mark})
            claim = p.gp.post(f"/v1/studies/{s}/claim")
            p.gp.ok("PUT", f"/v1/studies/{s}/draft", {"text": mark})
            p.gp.post(f"/v1/studies/{s}/sign", signature(claim, mark))
            p.nurse.post(f"/v1/studies/{p.nurse.post('/v1/orders', {'patient': pid, 'act': 'ecg'})['study']['id']}/page",
                         {"text": mark})
            r = self.records[pid] = p.gp.get("/v1/studies/" + s)["records"][0]["id"]
            for who in (p.gp, p.lgc):
                until(lambda who=who, r=r: who.call("GET", f"/v1/records/{r}/dicom").status == 200)
        self.d.stop()
        self.tokens = {}
        for name in ("martin", "ines", "adele"):
            self.tokens[name] = os.path.join(self.work, name)
            with open(os.open(self.tokens[name], os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
                f.write(p.token[name] + "\n")
        self.d.start()

    def ctl(self, *args, who="martin"):
        r = subprocess.run([os.path.join(BUILD, "asaleectl"), "--socket", self.d.socket, "--token-file", self.tokens[who],
                            *args], capture_output=True, text=True, timeout=60)
        return r.returncode, r.stdout, r.stderr

    def archive(self, pid):
        """Exported; its SHA-256 and its bytes."""
        path = os.path.join(self.work, "out.tar")
        code, out, err = self.ctl("patient", "archive", pid, "--out", path, "--force", "--json")
        must(code == 0, err, self.d.log()[-500:])
        with open(path, "rb") as f:
            data = f.read()
        os.unlink(path)
        said = json.loads(out)
        must(said["bytes"] == len(data) and said["sha256"] == hashlib.sha256(data).hexdigest(), out)
        return said["sha256"], data

    def holding(self, mark):
        """The artefacts in which a mark is."""
        found = []
        for folder, _, names in os.walk(os.path.join(self.d.store, "artefacts")):
            for name in names:
                with open(os.path.join(folder, name), "rb") as f:
                    data = f.read()
                if mark.encode() in data:
                    found.append(os.path.join(folder, name))
        return found

    def copy(self):
        """The same practice on a copy of the store, not started."""
        other = World.__new__(World)
        other.work = tempfile.mkdtemp(prefix="asaleed-retention-")
        for name in ("store", "devices.d", "protocols.d"):
            shutil.copytree(os.path.join(self.work, name), os.path.join(other.work, name))
        for name in ("asaleed.conf", "martin", "ines", "adele"):
            shutil.copy(os.path.join(self.work, name), os.path.join(other.work, name))
        other.studies, other.records = self.studies, self.records
        other.tokens = {name: os.path.join(other.work, name) for name in self.tokens}
        other.d = None
        return other

    def start(self, env=None):
        self.d = Asaleed(BUILD, self.work, env=env)
        self.gp = Api(self.d.socket, open(self.tokens["martin"]).read().strip())

    def done(self):
        if self.d.alive():
            self.d.kill()
        shutil.rmtree(self.work, ignore_errors=True)


def test_due(w):
    due = w.p.gp.get("/v1/retention")
    must([x["patient"] for x in due["due"]] == ["P1", "P2"] and not due["erased"], due)
    must(w.p.admin.get("/v1/retention") == due)
    for who in (w.p.nurse, w.p.lgc, w.p.oph, w.p.auditor):
        check_problem(who.call("GET", "/v1/retention"), 403, "forbidden")
        check_problem(who.call("GET", "/v1/patients/P1/archive"), 403, "forbidden")
        check_problem(who.call("POST", "/v1/patients/P1/erase", {"archive": "0" * 64}), 403, "forbidden")
    code, out, _ = w.ctl("retention", "list", who="adele")
    must(code == 0 and "P1" in out and "P2" in out, out)


def test_archive(w):
    _, data = w.archive("P1")
    with tarfile.open(fileobj=io.BytesIO(data)) as t:
        names = t.getnames()
        rows = [json.loads(line) for line in t.extractfile("patient.jsonl").read().decode().splitlines()]
        for name in names[1:]:
            must(hashlib.sha256(t.extractfile(name).read()).hexdigest() == os.path.basename(name), name)
    held = {"artefacts/" + os.path.basename(path) for path in w.holding("Zqalpha")}
    must(held and held <= set(names), held - set(names))
    must(not any("Zqbravo" in json.dumps(row) for row in rows))
    tables = {row["table"] for row in rows}
    must({"patient_version", "followup", "orders", "study", "file", "acquisition", "record", "unmatched", "notice",
          "interpretation", "signing_key", "dicom"} <= tables, tables)
    must("secret" not in next(row["row"] for row in rows if row["table"] == "signing_key"))
    check_problem(w.p.gp.call("GET", "/v1/patients/nobody/archive"), 404, "not_found")


def test_damaged(w):
    """Whatever is damaged, nothing counts as exported, and there is no file."""
    before = w.root_audit("patient.archive")
    for path in w.holding("Zqbravo"):
        os.rename(path, path + ".kept")
        with open(path + ".kept", "rb") as f:
            data = bytearray(f.read())
        data[-1] ^= 1
        with open(path, "wb") as f:
            f.write(data)
        out = os.path.join(w.work, "out.tar")
        code, _, err = w.ctl("patient", "archive", "P2", "--out", out)
        must(code in (1, 3) and err and not [n for n in os.listdir(w.work) if n.startswith("out.tar")], code, err)
        os.rename(path + ".kept", path)
    must(w.root_audit("patient.archive") == before, "counted as exported")
    w.archive("P2")


def test_refused(w):
    sha, _ = w.archive("P1")
    other, _ = w.archive("P2")
    for archive in ("0" * 64, other):
        code, _, err = w.ctl("patient", "erase", "P1", "--archive", archive)
        must(code == 1 and "archive_missing" in err, err)
    check_problem(w.p.gp.call("POST", "/v1/patients/P1/erase", {}), 400, "missing_field", field="archive")
    check_problem(w.p.gp.call("POST", "/v1/patients/nobody/erase", {"archive": sha}), 404, "not_found")
    w.p.lgc.ok("PUT", "/v1/patients/P3", {"family": "Zqnew", "given": "Zqnew", "birth_date": "1960-01-01", "sex": "M"})
    sha, _ = w.archive("P3")
    code, _, err = w.ctl("patient", "erase", "P3", "--archive", sha)
    must(code == 1 and "retention_not_due" in err, err)


def must_work(w, api, pid):
    """What is left of an erased patient can be asked for like any other."""
    s = api.get("/v1/studies/" + w.studies[pid])
    must(s["state"] == "interpreted" and not s["records"] and s["comment"] is None, s)
    must(api.get(f"/v1/studies/{w.studies[pid]}/interpretations")["items"] == [])
    must(api.call("GET", "/v1/records/" + w.records[pid]).status == 404)
    must(api.call("GET", f"/v1/studies/{w.studies[pid]}/draft").status == 404)
    for path in (f"/v1/orders?patient={pid}", f"/v1/followups?patient={pid}", "/v1/queue", "/v1/notices", "/v1/unmatched",
                 "/v1/files", f"/v1/patients/{pid}/history", "/v1/changes"):
        api.get(path)


def test_erase(w):
    files = len(w.holding("Zqalpha"))
    must(files >= 3, files)
    before = {path: w.p.gp.call("GET", path).body for path in (
        f"/v1/studies/{w.studies['P2']}", f"/v1/records/{w.records['P2']}", f"/v1/records/{w.records['P2']}/dicom",
        "/v1/patients/P2", f"/v1/studies/{w.studies['P2']}/proof")}
    sha, _ = w.archive("P1")
    code, out, err = w.ctl("patient", "erase", "P1", "--archive", sha, "--json")
    must(code == 0, err)
    must(json.loads(out)["artefacts"] >= files, out)
    must(not w.holding("Zqalpha"), w.holding("Zqalpha"))
    known = w.p.gp.get("/v1/patients/P1")
    must(known["family"] == known["given"] == "" and known["ins"] is None, known)
    must_work(w, w.p.gp, "P1")
    for path, body in before.items():
        must(w.p.gp.call("GET", path).body == body, path)
    must(w.root.get("/v1/audit/verify")["ok"] is True)
    listed = w.p.gp.get("/v1/retention")
    must([x["patient"] for x in listed["due"]] == ["P2"], listed)
    must(listed["erased"][0]["archive"] == sha and listed["erased"][0]["by"] == "martin", listed)
    must(sha in w.ctl("retention", "list")[1])
    code, _, err = w.ctl("patient", "erase", "P1", "--archive", sha)
    must(code == 1 and "not_found" in err, err)
    # And once more a patient.
    check_problem(w.p.lgc.call("PUT", "/v1/patients/P1", {"family": "A", "given": "B", "birth_date": "1950-04-12", "sex": "F"}),
                  428, "precondition_required")
    again = w.p.lgc.call("PUT", "/v1/patients/P1", {"family": "A", "given": "B", "birth_date": "1950-04-12", "sex": "F"},
                         headers={"If-Match": f"\"{known['version']}\""})
    must(again.status == 200, again.status)
    w.p.follow("P1")
    w.p.nurse.post("/v1/orders", {"patient": "P1", "act": "ecg"})
    w.d.stop()
    must(w.d.start(), w.d.log()[-500:])
    must(w.p.gp.get("/v1/patients/P1")["family"] == "A" and w.root.get("/v1/audit/verify")["ok"] is True)


def calls_of_erasure(w):
    """The numbers of the durable calls that an erasure makes."""
    c = w.copy()
    log = os.path.join(c.work, "calls")
    try:
        c.start(preload(BUILD, CRASH, ASALEED_CRASH_STORE=os.path.realpath(os.path.join(c.work, "store")),
                        ASALEED_CRASH_LOG=log))
        sha, _ = c.archive("P2")
        first = sum(1 for _ in open(log))
        c.gp.post("/v1/patients/P2/erase", {"archive": sha})
        lines = open(log).read().splitlines()
        return first + 1, len(lines), [line for line in lines[first:] if " unlink " in line]
    finally:
        c.done()


def test_killed(w, tap):
    """At whichever call asaleed is killed: all of the patient is there, or after the next start nothing is."""
    w.d.stop()
    first, last, unlinks = calls_of_erasure(w)
    must(len(unlinks) >= 3, unlinks)
    step = 1 if "--every" in sys.argv else max(1, (last - first + 1) // POINTS)
    erased = kept = between = 0
    for at in range(first, last + 1, step):
        c = w.copy()
        try:
            c.start(preload(BUILD, CRASH, ASALEED_CRASH_STORE=os.path.realpath(os.path.join(c.work, "store")),
                            ASALEED_CRASH_AT=str(at)))
            files = len(c.holding("Zqbravo"))
            sha, _ = c.archive("P2")
            try:
                c.gp.call("POST", "/v1/patients/P2/erase", {"archive": sha})
            except (OSError, AssertionError):
                pass
            if c.d.alive():  # grouped otherwise this time: killed all the same
                os.kill(c.d.pid(), signal.SIGKILL)
            c.d.process.wait(20)
            left = len(c.holding("Zqbravo"))
            must(c.d.start(), c.d.log()[-500:])
            gone = c.gp.get("/v1/patients/P2")["family"] == ""
            erased += gone
            kept += not gone
            between += gone and left > 0
            must(len(c.holding("Zqbravo")) == (0 if gone else files), f"call {at}:", c.holding("Zqbravo"))
            must(c.d.api.get("/v1/audit/verify")["ok"] is True, f"call {at}")
            if gone:
                must_work(c, c.gp, "P2")
            else:
                sha, _ = c.archive("P2")
                c.gp.post("/v1/patients/P2/erase", {"archive": sha})
                must(not c.holding("Zqbravo"), f"call {at}")
        finally:
            c.done()
    tap.note(f"killed at {erased + kept} of {last - first + 1} calls: {kept} times before it was durable, {between} times"
             f" with files still there")
    must(erased and kept and between, erased, kept, between)


def main():
    tap = Tap()
    w = World()
    w.root = w.d.api

    def root_audit(action):
        return sum(row["action"] == action for row in w.root.get("/v1/audit?limit=200")["items"])

    w.root_audit = root_audit
    try:
        for name, test in (("patients of long ago are due, for GP and administrator", test_due),
                           ("the archive has the rows and the files", test_archive),
                           ("a damaged file breaks it off", test_damaged),
                           ("an erasure without its archive, or before its time, is refused", test_refused),
                           ("an erasure takes the patient, leaves the other and the skeleton", test_erase)):
            tap.run(name, test, w)
        tap.run("kill -9 during an erasure", test_killed, w, tap)
    finally:
        w.done()
    return tap.end()


if __name__ == "__main__":
    sys.exit(main())
