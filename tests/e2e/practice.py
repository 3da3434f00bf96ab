#!/usr/bin/env python3
"""A day of a practice that works under cooperation protocols: the protocols as they are shipped, the real drivers on
simulated instruments, and people who log in with their own passwords. One function is one worked example, and its lines
say what is done and what each person then sees. TAP on standard output: a line a step.

practice.py BUILD
"""
import ctypes
import datetime
import hashlib
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from types import SimpleNamespace

sys.dont_write_bytecode = True
from bed import (EMI12, FINESS, ROOT, Api, Asaleed, Tap, can_simulate, check_problem, delegation,  # noqa: E402
                 luhn, must, request_bytes, sanitizer)

BUILD = os.path.abspath(sys.argv[1])
TODAY = datetime.date.today()
tap = Tap()


# ---- the practice's machine ----

def site_protocols(folder):
    """The protocols as they are shipped, with the site's own change: the eye's fundus is open, and the ophthalmologist
    reads it, as the comments in diabete-type2.conf tell."""
    shutil.copytree(os.path.join(ROOT, "config/protocols.d"), folder)
    path = os.path.join(folder, "diabete-type2.conf")
    with open(path, encoding="utf-8") as f:
        text = f.read()
    head, fundus = text.split("[act fundus]\n")
    for shipped, wanted in (("open = no\n", "open = yes\n"), ("#authorisation = ", "authorisation = "),
                            ("#prescribe = yes\n", "prescribe = yes\n"), ("#perform = yes\n", "perform = yes\n"),
                            ("#reader = ophthalmologist\n", "reader = ophthalmologist\n")):
        must(fundus.count(shipped) == 1, "diabete-type2.conf has no line", shipped)
        fundus = fundus.replace(shipped, wanted)
    with open(path, "w", encoding="utf-8") as f:
        f.write(head + "[act fundus]\n" + fundus)


DEVICES = """[device spiro1]
driver = contec_sp80b
label = Spiromètre
usb-serial = SPIRO1
calibration = refuse
[device retino1]
driver = ptp_camera
label = Rétinographe
usb-serial = RETINO1
"""
# The spirometer has others' blows in its memory, the camera others' pictures on its card.
INSTRUMENTS = (EMI12, "sp80b,serial=SPIRO1,records=2,speed=max",
               "ptp,serial=RETINO1,stored=4,auto=200,shots=4,size=384x256")


class Site:
    """The machine: the daemon, its configuration, its instruments, its shell."""

    def __init__(self):
        self.work = tempfile.mkdtemp(prefix="asaleed-e2e-")
        os.mkdir(os.path.join(self.work, "devices.d"))
        with open(os.path.join(self.work, "devices.d/site.conf"), "w", encoding="utf-8") as f:
            f.write(DEVICES)
        site_protocols(os.path.join(self.work, "protocols.d"))
        first, control = sanitizer(BUILD), os.path.join(self.work, "sim.sock")
        wrap = ["umockdev-wrapper", os.path.join(BUILD, "tests/sim"), "--control", control,
                *[x for i in INSTRUMENTS for x in ("--instrument", i)], *(["--preload", first] if first else []), "--"]
        self.daemon = Asaleed(BUILD, self.work, wrap=wrap, extra=("--listen", "127.0.0.1:0"), protocols=None,
                              env={"TMPDIR": os.path.realpath(self.work)})
        must(self.daemon.alive(), self.daemon.log()[-800:])
        port = int(re.search(r"listening on http://127\.0\.0\.1:(\d+)", self.daemon.log()).group(1))
        self.address = ("127.0.0.1", port)
        self.control = socket.socket(socket.AF_UNIX)
        self.control.settimeout(10)
        self.control.connect(control)
        self.answers = self.control.makefile()
        # What readers wrote, concluded, and gave as reasons: looked for at the end where it does not belong.
        self.written, self.concluded, self.reasons = [], set(), []
        self.secrets = []

    def instrument(self, words):
        """What happens at an instrument, as "sp80b blow obstructive"."""
        self.control.sendall(words.encode() + b"\n")
        answer = self.answers.readline().strip()
        must(answer.startswith("ok"), words, answer)

    def shell(self, *words, status=0, options=()):
        """A line at asaleectl by root, or with the `options` of somebody else: what it printed."""
        run = subprocess.run([os.path.join(BUILD, "asaleectl"), *(options or ("--socket", self.daemon.socket)), *words],
                             stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
        must(run.returncode == status, words, run.returncode, run.stderr.decode()[-400:])
        return run

    def root(self, *words):
        return json.loads(self.shell("--json", *words).stdout)

    def away_from_here(self, *words, status=0):
        """A line at asaleectl on a machine without the daemon."""
        return self.shell(*words, status=status, options=("--socket", "/nowhere"))

    def file(self, name, content):
        path = os.path.join(self.work, name)
        with open(path, "wb", opener=lambda p, f: os.open(p, f, 0o600)) as f:
            f.write(content if isinstance(content, bytes) else content.encode())
        return path

    def end(self):
        self.control.close()
        status = self.daemon.stop()
        shutil.rmtree(self.work, ignore_errors=True)
        return status


# ---- its people ----

class Kept:
    """A connection of which every byte that comes in is kept."""

    def __init__(self, connection, received):
        self.connection, self.received = connection, received

    def __getattr__(self, name):
        return getattr(self.connection, name)

    def recv(self, n):
        data = self.connection.recv(n)
        self.received.append(data)
        return data


class Page:
    """A page that stays open, with the events that come to it."""

    def __init__(self, person, path):
        self.got, self.path = [], path
        self.connection = person.connect(120)
        self.connection.sendall(request_bytes("GET", path, token=person.token, headers=person.sent(), close=False))
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        try:
            while data := self.connection.recv(65536):
                self.got.append(data)
        except OSError:
            pass

    def so_far(self):
        return len(b"".join(self.got))

    def says(self, what, seconds=10, after=0):
        end = time.monotonic() + seconds
        while what.encode() not in b"".join(self.got)[after:]:
            must(time.monotonic() < end, self.path, "never says", what, b"".join(self.got)[-300:])
            time.sleep(0.01)


class Person(Api):
    """Somebody with an account: at a browser, and at a shell where the browser would not do."""

    def __init__(self, site, name, role, rpps=None, token=None, acting_for=None):
        super().__init__(site.address, token, acting_for)
        self.site, self.name, self.role, self.rpps = site, name, role, rpps
        self.cookie = self.password = self.token_file = None
        self.received, self.claimed = [], {}

    def connect(self, timeout=20):
        self.received.append([])
        return Kept(super().connect(timeout), self.received[-1])

    def sent(self):
        """What a browser sends with each request of our page."""
        here = f"127.0.0.1:{self.where[1]}"
        headers = {"Host": here, "Origin": "http://" + here, "Sec-Fetch-Site": "same-origin",
                   "Content-Type": "application/json"}
        return headers | ({"Cookie": "asaleed=" + self.cookie} if self.cookie else {})

    def call(self, method, path, body=None, key=None, headers=None, timeout=20):
        a = super().call(method, path, body, key, {**self.sent(), **(headers or {})}, timeout)
        given = re.match(r"asaleed=([0-9a-f]*); ", a.headers.get("set-cookie", ""))
        if given:
            self.cookie = given.group(1) or None
            self.site.secrets += [self.cookie] if self.cookie else []
        return a

    def everything(self):
        """All that this person ever received, whole what came over one connection."""
        return b"\n".join(b"".join(parts) for parts in self.received)

    def shell(self, *words, status=0):
        run = self.site.shell(*words, status=status,
                              options=("--socket", self.site.daemon.socket, "--token-file", self.token_file))
        self.received += [[run.stdout], [run.stderr]]
        return run.stdout.decode()

    def logs_in_first_time(self, initial):
        """With the password that the administrator handed over, which opens nothing but the way to one's own."""
        self.password = f"{self.name[::-1]} lave 12 tasses"
        self.site.secrets += [initial, self.password]
        must(self.post("/v1/login", {"name": self.name, "password": initial})["must_change"])
        self.is_refused("password_to_change", "GET", "/v1/protocols")
        must(not self.post("/v1/password", {"old": initial, "new": self.password})["must_change"])
        me = self.get("/v1/me")
        must((me["name"], me["role"], me["rpps"]) == (self.name, self.role, self.rpps), me)

    def is_refused(self, code, method, path, body=None):
        """Refused with the French sentence that belongs to the code."""
        a = self.call(method, path, body)
        return check_problem(a, a.status, code)

    def sees(self, study):
        return self.get(f"/v1/studies/{study}")

    def sees_record(self, study, n=-1):
        return self.get(f"/v1/records/{self.sees(study)['records'][n]['id']}")["record"]

    def does_not_know(self, path):
        self.is_refused("not_found", "GET", path)

    def notices(self, study):
        """What of this study the person is told and has not said to have heard."""
        return [n for n in self.get("/v1/notices")["items"] if n["study"] == study and not n["heard"]]

    def heard(self, notice):
        must(self.post(f"/v1/notices/{notice['id']}/acknowledge")["heard"])

    def queue(self, mine=True):
        return [x["study"] for x in self.get("/v1/queue" + ("?mine=1" if mine else ""))["items"]]

    def tries_every_door(self, ids):
        """Asks for all that can be asked for, with every id there is ("studies" -> ids); what came back is kept. All
        but /v1/forms, the list of what can be concluded of anybody."""
        tried = 0
        for door in re.findall(r"\| GET \| `(/v1/[^`]*)`", API_REFERENCE):
            if not door.endswith("/events") and door != "/v1/forms":
                noun = door.split("/")[2]
                for path in [re.sub(r"\{[^}]*\}", i, door) for i in ids[noun]] if "{" in door else [door]:
                    while (a := self.call("GET", path)).status == 503:
                        must(a.json["code"] == "dicom_pending", path, a.body[:200])
                        time.sleep(0.05)
                    must(a.status < 500, path, a.status, a.body[:200])
                    tried += 1
        return tried


class Nurse(Person):
    def writes_down(self, patient):
        self.ok("PUT", "/v1/patients/" + patient.id, {"family": patient.family, "given": patient.given,
                                                      "birth_date": patient.birth_date, "sex": patient.sex})

    def opens_followup(self, protocol, of, with_gp):
        return self.post("/v1/followups", {"patient": of.id, "protocol": protocol, "gp": with_gp.rpps})["id"]

    def orders(self, act, of):
        """The study that is to be made."""
        return self.post("/v1/orders", {"patient": of.id, "act": act})["study"]["id"]

    def acquires(self, study, device, during=lambda: None, **more):
        """Records from an instrument, to the end."""
        self.post(f"/v1/studies/{study}/acquire", {"device": device, **more})
        during()
        end = time.monotonic() + 60
        while (seen := self.sees(study))["state"] == "acquiring":
            must(time.monotonic() < end, study, "is acquired for too long", self.site.daemon.log()[-600:])
            time.sleep(0.02)
        must(seen["state"] == "acquired" and not seen["last_failure"], study, seen["state"], seen["last_failure"])
        return seen

    def accepts(self, study, confirm=False, **more):
        seen = self.post(f"/v1/studies/{study}/accept", {**({"confirm": True} if confirm else {}), **more})
        must(seen["state"] == "to_interpret", seen["state"])

    def pages(self, study, text):
        must(self.post(f"/v1/studies/{study}/page", {"text": text})["urgent"])

    def sees_no_interpretation(self, study):
        """The study, as the nurse's page gets it once it is signed: that it is, and nothing of what was concluded."""
        seen = self.sees(study)
        must(seen["state"] == "interpreted" and "interpretation" not in seen and "aids" not in seen, sorted(seen))
        for path in ("interpretations", "proof", "draft"):
            self.is_refused("forbidden", "GET", f"/v1/studies/{study}/{path}")


class Reader(Person):
    def writes(self, findings, *texts):
        """These are this reader's words: at the end of the day they are looked for where they do not belong."""
        self.site.written += texts
        for said in findings.values():
            self.site.concluded |= {said} if isinstance(said, str) else set(said)

    def claims(self, study):
        self.claimed[study] = self.post(f"/v1/studies/{study}/claim")
        must(self.sees(study)["claim"]["by"] == self.name)

    def drafts(self, study, **so_far):
        self.writes(so_far.get("findings", {}), so_far["text"])
        known = self.call("GET", f"/v1/studies/{study}/draft").headers.get("etag")
        return self.ok("PUT", f"/v1/studies/{study}/draft", so_far, headers={"If-Match": known} if known else None)

    def previews(self, study, conclusion, findings, text):
        self.writes(findings, text)
        return self.post(f"/v1/studies/{study}/report",
                         {"conclusion": conclusion, "findings": findings, "text": text})

    def signs(self, study, conclusion, findings, text):
        self.writes(findings, text)
        claim = self.claimed.pop(study)
        seen = self.post(f"/v1/studies/{study}/sign", {"token": claim["token"], "shown": claim["study"]["shown"],
                                                       "conclusion": conclusion, "findings": findings, "text": text})
        must(seen["state"] == "interpreted" and seen["interpretation"]["text"] == text
             and seen["interpretation"]["findings"] == findings and seen["interpretation"]["by"] == self.name, seen)

    def returns(self, study, code, text):
        """The study that repeats it."""
        self.writes({}, text)
        seen = self.post(f"/v1/studies/{study}/return", {"token": self.claimed.pop(study)["token"], "code": code, "text": text})
        must(seen["state"] == "returned", seen["state"])
        return seen["returned"]["repeat"]


API_REFERENCE = subprocess.run([os.path.join(BUILD, "asaleed"), "--api-reference"], capture_output=True, text=True,
                               check=True).stdout
PATIENTS = {name: SimpleNamespace(id=f"4{n}11", family=name, given=given, birth_date=birth, sex=sex) for
            n, (name, given, birth, sex) in enumerate((
                ("Perrin", "Solange", "1957-03-02", "F"), ("Lefebvre", "Marcel", "1961-10-19", "M"),
                ("Garnier", "Yvette", "1949-06-30", "F"), ("Rousseau", "Fernand", "1953-01-27", "M"),
                ("Chevalier", "Gaston", "1950-12-08", "M"), ("Fontaine", "Odile", "1970-05-14", "F"),
                ("Bonnet", "Lucette", "1966-08-23", "F"), ("Lambert", "Simone", "1972-02-11", "F")), 1)}
PEOPLE = (("ines", "nurse", "Roux", Nurse), ("nadia", "nurse", "Petit", Nurse), ("martin", "gp", "Martin", Reader),
          ("durand", "gp", "Durand", Reader), ("olga", "ophthalmologist", "Blanc", Reader),
          ("adele", "admin", None, Person), ("aude", "auditor", None, Person), ("logiciel", "lgc", None, Person))
PROTOCOLS = ("diabete-type2", "fumeur-bpco", "risque-cardiovasculaire")
YESTERDAY = str(TODAY - datetime.timedelta(days=1))


def months_later(day, months):
    """The same day so many months later, or the last of that month where it has no such day."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    first_of_next = datetime.date(year + month // 11, (month + 1) % 12 + 1, 1)
    last = first_of_next - datetime.timedelta(days=1)
    return last if day.day > last.day else last.replace(day=day.day)


# ---- steps ----

class Steps:
    """Each step is a line of TAP, told once the next begins: until then something in it may fail."""

    def __init__(self):
        self.now = None

    def __call__(self, text):
        if self.now:
            tap.result(True, self.now)
        self.now = text

    def example(self, function, *args):
        self.now = None
        try:
            function(*args)
            self(None)
        except Exception as e:  # the other examples are still told
            trace = e.__traceback__
            lines = []
            while trace:
                if trace.tb_frame.f_code.co_filename == os.path.abspath(__file__):
                    lines.append(str(trace.tb_lineno))
                trace = trace.tb_next
            tap.result(False, self.now or function.__name__, f"line {' > '.join(lines)}: {type(e).__name__}: {e}")


step = Steps()


# ---- before the first patient ----

def opening_the_practice(site, p):
    step("root makes the accounts and registers the professionals at the shell")
    for n, (name, role, family, kind) in enumerate(PEOPLE, 1):
        rpps = luhn(f"101000000{n}") if family else None
        token = site.root("user", "add", name, "--role", role, "--display", f"Compte {name}")["token"]
        site.secrets.append(token)
        if family:
            site.root("professional", "put", rpps, "--family", family, "--given", name.capitalize(), "--role", role,
                      "--finess", FINESS)
            site.root("user", "link", name, rpps)
        person = kind(site, name, role, rpps)
        person.token_file = site.file(name + ".token", token)
        setattr(p, name, person)
    p.people = [getattr(p, name) for name, *_ in PEOPLE]

    step("Inès works with both doctors, Nadia's delegation by Dr Martin ended yesterday, that by Dr Durand holds")
    for gp in (p.martin, p.durand):
        for protocol in PROTOCOLS:
            delegate(site, p.ines, gp, protocol)
    delegate(site, p.nadia, p.martin, "diabete-type2", until=YESTERDAY)
    p.nadias = delegate(site, p.nadia, p.durand, "fumeur-bpco")

    step("the practice software may act for Inès, and for nobody else")
    site.root("user", "grant", "logiciel", "ines")
    with open(p.logiciel.token_file, encoding="ascii") as f:
        p.logiciel.token = f.read()
    p.software = Nurse(site, "logiciel", "nurse", p.ines.rpps, p.logiciel.token, "ines")
    must(p.software.get("/v1/me")["acting_for"] == "ines")
    Person(site, "logiciel", "gp", None, p.logiciel.token, "martin").is_refused("forbidden", "GET", "/v1/queue")

    step("each logs in with the password that was handed over, and must choose another before anything else")
    handed = {person: site.root("user", "password", person.name)["password"]
              for person in p.people if person.role != "lgc"}
    for person, password in handed.items():
        person.logs_in_first_time(password)

    step("Inès leaves for a coffee: only her own password lets her in again, the one handed over no longer")
    p.ines.post("/v1/logout")
    p.ines.is_refused("unauthenticated", "GET", "/v1/queue")
    p.ines.is_refused("login_refused", "POST", "/v1/login", {"name": "ines", "password": handed[p.ines]})
    must(not p.ines.post("/v1/login", {"name": "ines", "password": p.ines.password})["must_change"])

    step("Inès sees which protocols the site works under, and what each opens")
    opened = {x["id"]: set(x["acts"]) for x in p.ines.get("/v1/protocols")["items"]}
    must(opened["diabete-type2"] == {"ecg", "measurement", "fundus"} and opened["fumeur-bpco"] == {"spirometry"}
         and set(PROTOCOLS) < set(opened), opened)

    step("the administrator signs the trail's head; the site's public key is written down for who verifies elsewhere")
    site.key = p.adele.post("/v1/audit/head")["head"]["key"]

    step("all instruments are ready, and the spirometer is verified with its syringe before anybody blows")
    end = time.monotonic() + 10
    while not all(d["present"] for d in p.ines.get("/v1/devices")["items"] if d["id"] != "absent"):
        must(time.monotonic() < end, p.ines.get("/v1/devices"))
        time.sleep(0.02)
    p.ines.shell("calibrate", "spiro1", "--measured", "2.98,3.01,2.97")


def delegate(site, nurse, gp, protocol, until="2099-12-31"):
    d = delegation("ines", "martin", protocol, last=until)
    return site.root("delegation", "add", "--nurse", nurse.rpps, "--gp", gp.rpps, "--protocol", protocol,
                     "--authorisation", d["authorisation"], "--authorised", d["authorised"], "--from", d["from"],
                     "--until", until, "--nurse-adhesion", d["nurse_adhesion"], "--gp-adhesion", d["gp_adhesion"])["id"]


# ---- 1 ----

def diabetic_followup(site, p):
    ines, martin, olga, perrin = p.ines, p.martin, p.olga, PATIENTS["Perrin"]

    step("diabetes: the practice software writes Mme Perrin down for Inès, who opens her follow-up with Dr Martin")
    p.software.writes_down(perrin)
    p.perrins = ines.opens_followup("diabete-type2", of=perrin, with_gp=martin)
    must(recalls(ines, perrin) == {"ecg": (str(TODAY), "due"), "fundus": (str(TODAY), "due")}, recalls(ines, perrin))

    step("diabetes: she orders ECG and fundus, which have two readers; a spirometry is of another protocol")
    p.ecg, p.fundus = ines.orders("ecg", of=perrin), ines.orders("fundus", of=perrin)
    must((ines.sees(p.ecg)["reader"], ines.sees(p.fundus)["reader"]) == ("gp", "ophthalmologist"))
    must(recalls(ines, perrin) == {"ecg": (str(TODAY), "ordered"), "fundus": (str(TODAY), "ordered")})
    ines.is_refused("act_not_open", "POST", "/v1/orders", {"patient": perrin.id, "act": "spirometry"})

    step("diabetes: she records the ECG and looks at the traces, without what the instrument says of itself or of them")
    page = Page(ines, f"/v1/studies/{p.ecg}/events")
    ines.acquires(p.ecg, "ecg1", seconds=10)
    page.says("event: preview")
    seen = ines.sees_record(p.ecg)
    must(len(seen["acquired"]["channels"]) == 12 and not {"device", "statements", "derived"} & set(seen), sorted(seen))
    ines.accepts(p.ecg)

    step("diabetes: she takes the four pictures, says which eye and field each shows, notes the pupils, accepts")
    seen = ines.acquires(p.fundus, "retino1", seconds=20)
    must(len(seen["fundus"]["missing"]) == 4)
    ines.is_refused("pictures_unlabelled", "POST", f"/v1/studies/{p.fundus}/accept", {})
    views = (("R", "macula"), ("R", "disc"), ("L", "macula"), ("L", "disc"))
    record = seen["records"][0]["id"]
    ines.ok("PUT", f"/v1/studies/{p.fundus}/pictures",
            {"pictures": [{"record": record, "picture": n, "laterality": eye, "field": field}
                          for n, (eye, field) in enumerate(views, 1)]})
    seen = ines.ok("PUT", f"/v1/studies/{p.fundus}/pupil", {"dilated": True, "agents": ["tropicamide"]})
    must(not seen["fundus"]["missing"] and not seen["fundus"]["repeated"], seen["fundus"])
    ines.accepts(p.fundus, confirm=not seen["records"][0]["clean"])
    must(ines.call("GET", f"/v1/records/{record}/preview?n=1").body.startswith(b"\xff\xd8\xff"), "a preview made anew")
    ines.is_refused("forbidden", "GET", f"/v1/records/{record}/picture?n=1")  # the camera's own file

    step("diabetes: the ECG is in Dr Martin's queue, the fundus in the ophthalmologist's, who knows of nothing else")
    must(martin.queue() == [p.ecg] and olga.queue() == olga.queue(mine=False) == [p.fundus])
    martin.is_refused("wrong_reader", "POST", f"/v1/studies/{p.fundus}/claim", {})
    olga.does_not_know(f"/v1/studies/{p.ecg}")
    olga.does_not_know(f"/v1/records/{martin.sees(p.ecg)['records'][0]['id']}")
    must(olga.get("/v1/patients/" + perrin.id)["family"] == "Perrin", "her own patient's name")

    step("diabetes: Dr Martin claims it, and keeps a draft that nobody else sees")
    martin.claims(p.ecg)
    martin.drafts(p.ecg, text="Axe à préciser, revoir V5 et V6 au calme.")
    finding = {"rhythm": "sinus", "signs": ["left_ventricular_hypertrophy"]}
    martin.drafts(p.ecg, text="Indice de Sokolow à 41 mm.", findings=finding)
    must(martin.get(f"/v1/studies/{p.ecg}/draft")["text"] == "Indice de Sokolow à 41 mm.")
    p.durand.does_not_know(f"/v1/studies/{p.ecg}/draft")
    p.durand.is_refused("already_claimed", "POST", f"/v1/studies/{p.ecg}/claim", {})
    must(ines.sees(p.ecg)["claim"]["by"] == "martin")
    must("aids" not in ines.sees(p.ecg) and martin.sees_record(p.ecg)["device"])

    step("diabetes: he previews the report as it would stand, and signs it")
    report = ("abnormal", finding, "Hypertrophie ventriculaire gauche, à confirmer par une échographie cardiaque.")
    shown = martin.previews(p.ecg, *report)
    must(shown["body"].startswith("Conclusion : anormal\nRythme : sinusal\n") and report[2] in shown["body"]
         and shown["covers"]["records"] == [martin.sees(p.ecg)["records"][0]["sha256"]], shown)
    martin.signs(p.ecg, *report)
    martin.does_not_know(f"/v1/studies/{p.ecg}/draft")

    step("diabetes: the ophthalmologist grades the retinopathy of both eyes and signs")
    must(len(olga.sees_record(p.fundus)["acquired"]["pictures"]) == 4)
    must(olga.call("GET", f"/v1/records/{record}/picture?n=1").headers["content-type"] == "image/jpeg")
    olga.claims(p.fundus)
    olga.signs(p.fundus, "abnormal", {"right_retinopathy": "moderate_npdr", "left_retinopathy": "mild_npdr",
                                      "signs": ["hypertensive_retinopathy"]},
               "Microanévrismes et nodules cotonneux dans le champ maculaire droit.")

    step("diabetes: Inès's page says that both are read, and by the protocol nothing of what they say")
    page.says('"state":"interpreted"')
    ines.sees_no_interpretation(p.ecg)
    ines.sees_no_interpretation(p.fundus)
    p.software.sees_no_interpretation(p.ecg)

    step("diabetes: the practice software gets both reports for the patient's file, and Dr Martin reads both")
    kinds = [x["kind"] for x in p.logiciel.get("/v1/changes?limit=200")["items"]]
    must(kinds.count("interpretation") == 2, kinds)
    for who in (p.logiciel, martin):
        must(who.sees(p.ecg)["interpretation"]["text"] == report[2])
        must(who.sees(p.fundus)["interpretation"]["findings"]["right_retinopathy"] == "moderate_npdr")

    step("diabetes: both are due again in 12 months")
    again = (str(months_later(TODAY, 12)), "due")
    must(recalls(ines, perrin) == recalls(martin, perrin) == {"ecg": again, "fundus": again}, recalls(ines, perrin))

    step("diabetes: both signatures are verified far from the daemon, under the site's key; a changed word is noticed")
    for reader, study, word in ((martin, p.ecg, "Hypertrophie"), (olga, p.fundus, "Microanévrismes")):
        proof = os.path.join(site.work, study + ".proof")
        reader.shell("verify", study, "--save", proof)
        told = site.away_from_here("--json", "verify", "--file", proof, "--site-key", site.key).stdout
        must(json.loads(told)["fault"] == "holds" and json.loads(told)["site_key_given"], told)
        with open(proof, encoding="utf-8") as f:
            text = f.read()
        must(word in text, study, "is not proved by what was written")
        changed = site.file("changed.proof", text.replace(word, "Sans particularité"))
        told = site.away_from_here("verify", "--file", changed, "--site-key", site.key, status=1).stderr.decode()
        must("le texte n'est pas celui qui a été signé" in told, told)
        told = site.away_from_here("verify", "--file", proof, "--site-key", "00" * 32, status=1).stderr.decode()
        must("du site dont la clé est donnée" in told, told)


def recalls(person, patient):
    """When each act of the patient's follow-ups is due, and how it stands."""
    items = person.get(f"/v1/recalls?until={months_later(TODAY, 120)}")["items"]
    return {x["act"]: (x["due"], x["state"]) for x in items if x["patient"]["id"] == patient.id}


# ---- 2 ----

def blows(site, how):
    """The patient blows once the spirometer has been asked what it holds."""
    def requests():
        site.control.sendall(b"sp80b stats\n")
        return int(re.search(r"requests=(\d+)", site.answers.readline()).group(1))

    def during():
        end = time.monotonic() + 20
        while requests() < before + 8:
            must(time.monotonic() < end, "the spirometer is not asked", site.daemon.log()[-400:])
            time.sleep(0.02)
        site.instrument("sp80b blow " + how)
    before = requests()
    return during


def copd_spirometry(site, p):
    ines, durand, lefebvre = p.ines, p.durand, PATIENTS["Lefebvre"]

    step("COPD: Inès opens M. Lefebvre's follow-up as a smoker with Dr Durand, and orders a spirometry in her software")
    ines.writes_down(lefebvre)
    p.lefebvres = ines.opens_followup("fumeur-bpco", of=lefebvre, with_gp=durand)
    first = p.software.orders("spirometry", of=lefebvre)
    must(ines.get("/v1/orders/" + ines.sees(first)["order"])["ordered_by"] == "ines", "through the practice software")

    step("COPD: one blow with a cough; she reads what to tell the patient, and no ratio, no predicted value")
    seen = ines.acquires(first, "spiro1", blows(site, "obstructive cough"), seconds=30, height_cm="171")
    phase = seen["spirometry"]["phases"][0]
    blow, = phase["trials"]
    must(blow["fev1"] != "acceptable" and blow["coaching"]["text"].startswith("Toux pendant la première seconde"), blow)
    must("reader" not in phase and "aids" not in seen and "reader" in durand.sees(first)["spirometry"]["phases"][0])

    step("COPD: M. Lefebvre is tired: she sends it all the same, confirms that it has a point to check, and says why")
    ines.is_refused("confirmation_needed", "POST", f"/v1/studies/{first}/accept", {})
    ines.accepts(first, confirm=True, comment="Fatigué, un seul essai ce matin.")

    step("COPD: Dr Durand claims it, cannot conclude, and returns it for its quality with a word of his own")
    must(durand.queue() == [first] and durand.sees(first)["comment"] == "Fatigué, un seul essai ce matin.")
    durand.claims(first)
    again = durand.returns(first, "110531", "Toux au premier dixième, le syndrome obstructif reste incertain.")
    must(durand.queue() == [] and durand.sees(first)["returned"]["text"].startswith("Toux"))

    step("COPD: Inès is told: the coded reason in French, and not the reader's words")
    notice, = ines.notices(first)
    must((notice["kind"], notice["text"], notice["by"]) ==
         ("returned", "Qualité insuffisante pour l'interprétation", "durand"), notice)
    seen = ines.sees(first)
    must(seen["state"] == "returned" and seen["returned"]["repeat"] == again and "text" not in seen["returned"]
         and (seen["returned"]["code"], seen["returned"]["label"]) == ("110531", notice["text"]), seen["returned"])
    ines.heard(notice)
    must(not ines.notices(first) and not p.nadia.notices(first))

    step("COPD: another day he blows three times well into the study that repeats the first")
    must((ines.sees(again)["state"], ines.sees(again)["repeats"], ines.sees(again)["order"]) ==
         ("ordered", first, seen["order"]))
    for _ in range(3):
        seen = ines.acquires(again, "spiro1", blows(site, "obstructive"), seconds=30)
    phase = seen["spirometry"]["phases"][0]
    must(len(phase["trials"]) == 3 and phase["fev1"]["acceptable"] == 3 and seen["height_cm"] == "171.0", phase)
    ines.accepts(again, confirm=not seen["records"][-1]["clean"])

    step("COPD: Dr Durand signs the second one, at the shell; the nurse sees that it is read")
    must(durand.queue() == [again])
    claim = os.path.join(site.work, "claim")
    durand.shell("claim", again, "--claim-file", claim)
    shown = durand.sees(again)["shown"]
    text = "Trouble ventilatoire obstructif modéré, épreuve de réversibilité à prévoir."
    durand.writes({"pattern": "obstruction", "reversibility": "not_tested"}, text)
    durand.shell("sign", again, "pattern=obstruction", "reversibility=not_tested", "--claim-file", claim,
                 "--shown", shown, "--conclusion", "abnormal", "--text", text)
    must(durand.sees(again)["interpretation"]["findings"]["pattern"] == "obstruction")
    ines.sees_no_interpretation(again)

    step("COPD: the first is kept as it was returned, with its blow, and nothing more can be done to it")
    for who in (ines, durand):
        seen = who.sees(first)
        must(seen["state"] == "returned" and len(seen["records"]) == 1 and not seen["records"][0]["superseded"], seen)
    ines.is_refused("wrong_state", "POST", f"/v1/studies/{first}/acquire", {"device": "spiro1"})
    durand.is_refused("wrong_state", "POST", f"/v1/studies/{first}/claim", {})
    made = ines.get(f"/v1/followups/{p.lefebvres}")["studies"]
    must([(x["id"], x["state"], x["repeats"]) for x in made] ==
         [(again, "interpreted", first), (first, "returned", None)], made)
    p.returned, p.repeated = first, again


# ---- 3 ----

def chest_pain(site, p):
    ines, martin, durand, garnier = p.ines, p.martin, p.durand, PATIENTS["Garnier"]

    step("chest pain: Dr Martin is away today and Dr Durand stands in, as he says himself at the shell")
    away = martin.shell("absence", "add", "--deputy", durand.rpps, "--first", str(TODAY), "--last", str(TODAY))
    away = re.search(r"A-\d+", away).group(0)

    step("chest pain: a routine ECG of Dr Martin's waits already")
    bonnet = PATIENTS["Bonnet"]
    ines.writes_down(bonnet)
    ines.opens_followup("risque-cardiovasculaire", of=bonnet, with_gp=martin)
    routine = ines.orders("ecg", of=bonnet)
    ines.acquires(routine, "ecg1", seconds=10)
    ines.accepts(routine)

    step("chest pain: Mme Garnier feels a weight on her chest; Inès records the ECG, calls the GP and sends it")
    desk, other_desk = Page(durand, "/v1/events"), Page(martin, "/v1/events")
    ines.writes_down(garnier)
    p.garniers = ines.opens_followup("risque-cardiovasculaire", of=garnier, with_gp=martin)
    urgent = ines.orders("ecg", of=garnier)
    ines.acquires(urgent, "ecg1", seconds=10)
    screen = Page(ines, f"/v1/studies/{urgent}/events")
    ines.pages(urgent, "Oppression depuis 20 minutes, consciente, tension 15/9.")
    ines.accepts(urgent)

    step("chest pain: the call is on the deputy's screen, with Inès's words, and not among Dr Martin's notices")
    desk.says("event: notice")
    notice, = durand.notices(urgent)
    must((notice["kind"], notice["by"]) == ("page", "ines") and notice["text"].startswith("Oppression"), notice)
    must(not martin.notices(urgent) and not p.olga.notices(urgent))
    other_desk.says("event: notice")  # that there is one: whoever it is for asks what it says

    step("chest pain: he says that he has heard, which Inès sees; until then it stands on her agenda as unheard")
    unheard = lambda: [n["id"] for x in ines.get("/v1/meetings/agenda?gp=" + martin.rpps)["items"]  # noqa: E731
                       for n in x["notices"]]
    must(unheard() == [notice["id"]], unheard())
    martin.is_refused("not_found", "POST", f"/v1/notices/{notice['id']}/acknowledge", {})
    must([x["heard"] for x in ines.sees(urgent)["pages"]] == [None])
    screen.says('"state":"to_interpret"')
    before = screen.so_far()
    durand.heard(notice)
    must(unheard() == [] == durand.notices(urgent))
    screen.says('"state":"to_interpret"', after=before)
    must([x["heard"]["by"] for x in ines.sees(urgent)["pages"]] == ["durand"], ines.sees(urgent)["pages"])

    step("chest pain: it stands first in his queue, before the routine ECG that waits longer; he claims it and signs")
    must(durand.queue() == [urgent, routine] == durand.queue(mine=False), durand.queue())
    must(ines.queue(mine=False) == [urgent, routine] and ines.sees(urgent)["urgent"])
    durand.claims(urgent)
    durand.signs(urgent, "abnormal", {"rhythm": "sinus", "signs": ["st_depression"]},
                 "Sous-décalage antérieur étendu, patiente adressée aux urgences par le SAMU.")
    ines.sees_no_interpretation(urgent)
    must(durand.sees(urgent)["interpretation"]["by"] == "durand")

    step("chest pain: Dr Martin is back, and reads the routine one himself")
    must(martin.queue() == [routine])
    martin.shell("absence", "end", away)
    must(durand.queue() == [] and martin.queue() == [routine])
    martin.claims(routine)
    martin.signs(routine, "normal", {"rhythm": "sinus"}, "Tracé sans particularité, contrôle dans trois ans.")
    p.urgent = urgent


# ---- 4 ----

def wrong_patient(site, p):
    ines, martin, rousseau, chevalier = p.ines, p.martin, PATIENTS["Rousseau"], PATIENTS["Chevalier"]

    step("wrong patient: two men have an ECG ordered on the same afternoon")
    for patient in (rousseau, chevalier):
        ines.writes_down(patient)
        ines.opens_followup("risque-cardiovasculaire", of=patient, with_gp=martin)
    rousseaus, chevaliers = ines.orders("ecg", of=rousseau), ines.orders("ecg", of=chevalier)

    step("wrong patient: a recorder's file without a name comes in; it lies in the tray and is nobody's")
    opinion = "Zqxrecorder"
    run = subprocess.run([os.path.join(BUILD, "tests/file_maker"), "scp", "--seed", "7", "--marker", opinion, "-"],
                         capture_output=True, timeout=60, check=True)
    path = site.file("CHEVALIER Gaston 08121950.scp", run.stdout)
    site.written.append(opinion)
    taken = json.loads(ines.shell("--json", "import", path))
    must(taken["state"] == "unmatched" and ines.get(f"/v1/unmatched/{taken['unmatched']}")["record"]["acquired"], taken)

    step("wrong patient: it is M. Chevalier's, but Inès attaches it to M. Rousseau's order; Dr Martin signs it")
    order = ines.sees(rousseaus)["order"]
    ines.is_refused("identity_mismatch", "POST", f"/v1/unmatched/{taken['unmatched']}/attach",
                    {"order": order, "birth_date": chevalier.birth_date})
    ines.shell("attach", taken["unmatched"], "--order", order, "--birth-date", rousseau.birth_date)
    ines.is_refused("confirmation_needed", "POST", f"/v1/studies/{rousseaus}/accept", {})  # of whom, it does not say
    ines.accepts(rousseaus, confirm=True)
    must(opinion in json.dumps(martin.sees_record(rousseaus)), "the reader sees what the recorder says")
    martin.claims(rousseaus)
    martin.signs(rousseaus, "abnormal", {"rhythm": "atrial_fibrillation"},
                 "Arythmie complète, anticoagulation à discuter.")

    step("wrong patient: she notices it in the evening; the nurse may not move what is signed, Dr Martin may")
    record = ines.sees(rousseaus)["records"][0]["id"]
    move = {"order": ines.sees(chevaliers)["order"], "birth_date": chevalier.birth_date, "records": [record],
            "reason": "Tracé de l'autre patient du jour, rattaché à la mauvaise fiche."}
    site.reasons.append(move["reason"])
    ines.is_refused("forbidden", "POST", f"/v1/studies/{rousseaus}/reassign", move)
    moved = martin.post(f"/v1/studies/{rousseaus}/reassign", move)
    must((moved["from"]["state"], moved["to"]["state"]) == ("ordered", "acquired"), moved)

    step("wrong patient: the interpretation is withdrawn, not deleted, and both studies show what moved")
    must("interpretation" not in martin.sees(rousseaus))
    old, = martin.get(f"/v1/studies/{rousseaus}/interpretations")["items"]
    must(old["withdrawn"]["reason"] == move["reason"] and old["text"].startswith("Arythmie"), old)
    for study in (rousseaus, chevaliers):
        trace, = martin.sees(study)["reassigned"]
        must((trace["from"], trace["to"], trace["record"], trace["reason"]) ==
             (rousseaus, chevaliers, record, move["reason"]), trace)
        trace, = ines.sees(study)["reassigned"]
        must((trace["from"], trace["to"], trace["by"]) == (rousseaus, chevaliers, "martin") and "reason" not in trace)
    must(old["withdrawn"] == p.logiciel.get(f"/v1/studies/{rousseaus}/interpretations")["items"][0]["withdrawn"])

    step("wrong patient: the right study is accepted and signed; M. Rousseau's own ECG is recorded, and signed too")
    ines.accepts(chevaliers, confirm=True)
    martin.claims(chevaliers)
    martin.signs(chevaliers, "abnormal", {"rhythm": "atrial_fibrillation"},
                 "Arythmie complète par fibrillation, traitement anticoagulant commencé.")
    ines.acquires(rousseaus, "ecg1", seconds=10)
    ines.accepts(rousseaus)
    martin.claims(rousseaus)
    martin.signs(rousseaus, "normal", {"rhythm": "sinus"}, "Rythme régulier, pas de trouble de conduction.")
    must(martin.sees(rousseaus)["interpretation"]["version"] == 2)
    told = martin.shell("verify", rousseaus, "--site-key", site.key)
    must("Tout est valide." in told and "retirée le" in told, told)

    step("wrong patient: who saw whom: of both patients those who cared for them, the move, and nobody else")
    for patient, action in ((rousseau, "study.reassign"), (chevalier, "study.attach")):
        rows = p.aude.get(f"/v1/audit/who-saw/{patient.id}?limit=200")["items"]
        people = {row["acting_for"] or row["actor"] for row in rows} - {"asaleed"}
        must(people == {"ines", "martin"} | ({"logiciel"} if patient is rousseau else set()), people)
        must({"order", "read", "study.sign", action} <= {row["action"] for row in rows}, patient.family, rows[:5])
        row, = [row for row in rows if row["action"] == action and row["actor"] == "martin"]
        must([pair[0] for pair in row["detail"]["records"]] == [int(record[2:])], row)
    must(not p.aude.get("/v1/audit/who-saw/nobody")["items"])


# ---- 5 ----

def sodium():
    """The signatures' other half, from another hand than the daemon's code."""
    library = ctypes.CDLL("libsodium.so.23")
    must(library.sodium_init() >= 0)

    def holds(key, signature, message):
        return library.crypto_sign_verify_detached(bytes.fromhex(signature), message, ctypes.c_ulonglong(len(message)),
                                                   bytes.fromhex(key)) == 0
    return holds


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def meeting_and_month(site, p):
    ines, martin, durand, adele, aude = p.ines, p.martin, p.durand, p.adele, p.aude

    step("meeting: Inès and Dr Martin have the same patients on their agenda, those of their open follow-ups")
    hers, his = ines.get("/v1/meetings/agenda?gp=" + martin.rpps), martin.get("/v1/meetings/agenda?nurse=" + ines.rpps)
    families = ["Perrin", "Bonnet", "Garnier", "Rousseau", "Chevalier"]
    must([x["patient"]["family"] for x in hers["items"]] == [x["patient"]["family"] for x in his["items"]] == families)
    studies = lambda agenda: {y["id"]: y for x in agenda["items"] for y in x["studies"]}  # noqa: E731
    must({y["state"] for y in studies(hers).values()} == {"interpreted"} and len(studies(hers)) == 6, studies(hers))
    must(all(not x["recalls"] and not x["notices"] for x in hers["items"]), hers["items"])

    step("meeting: on his stand the conclusions, on hers that there is one")
    must(studies(his)[p.ecg]["interpretation"]["conclusion"] == "abnormal" and studies(his)[p.urgent]["urgent"])
    must(all("interpretation" in y for y in studies(his).values()))
    must(all("interpretation" not in y and y["signed"] for y in studies(hers).values()), studies(hers))

    step("meeting: with Dr Durand she talks about the spirometry that came back; nobody else looks into an agenda")
    durands = studies(ines.get("/v1/meetings/agenda?gp=" + durand.rpps))
    must(set(durands) == {p.returned, p.repeated} and durands[p.returned]["returned"]["code"] == "110531"
         and "text" not in durands[p.returned]["returned"], durands)
    durand.is_refused("forbidden", "GET", f"/v1/meetings/agenda?gp={martin.rpps}&nurse={ines.rpps}")
    for who in (p.olga, adele, aude, p.logiciel):
        who.is_refused("forbidden", "GET", f"/v1/meetings/agenda?gp={martin.rpps}&nurse={ines.rpps}")

    step("meeting: Dr Martin writes the minutes, which both read in full and nobody else does")
    minutes = {"nurse": ines.rpps, "held": str(TODAY), "minute": "Organisation des rappels de décembre.",
               "followups": [{"followup": p.perrins, "minute": "Courrier remis ; examen des pieds à revoir."}]}
    held = martin.post("/v1/meetings", minutes)["id"]
    for who in (ines, martin):
        read = who.get(f"/v1/meetings/{held}")
        must(read["minute"] == minutes["minute"] and [(x["followup"], x["minute"]) for x in read["followups"]] ==
             [(p.perrins, minutes["followups"][0]["minute"])], read)
    durand.does_not_know(f"/v1/meetings/{held}")
    adele.is_refused("forbidden", "GET", f"/v1/meetings/{held}")
    listed, = adele.get("/v1/meetings")["items"]
    must(listed["id"] == held and listed["followups"] == 1 and "minute" not in listed, listed)

    step("meeting: the next agenda begins where this one ended")
    agenda = ines.get("/v1/meetings/agenda?gp=" + martin.rpps)
    must(agenda["last"] == {"held": str(TODAY), "id": held} and agenda["since"] == str(TODAY), agenda["last"])

    step("month: what was done is counted; what is so rare that it could be somebody is not told")
    month = f"{TODAY:%Y-%m}"
    signed = aude.get("/v1/reports/monthly?month=" + month)
    figures = {(x["act"], x["protocol"]): x for x in signed["report"]["groups"]}
    must({x["finess"] for x in figures.values()} == {FINESS} and not signed["report"]["ended"], signed["report"])
    ecgs, diabetes = figures["ecg", "risque-cardiovasculaire"], figures["ecg", "diabete-type2"]
    must((ecgs["done"], ecgs["interpreted"], ecgs["returned"], ecgs["unreadable"]) == (5, 5, 0, None), ecgs)
    must((diabetes["done"], diabetes["interpreted"], diabetes["suppressed"]) == (None, None, True), diabetes)
    must(figures["spirometry", "fumeur-bpco"]["returned"] is None, figures)

    step("month: the report names nobody, and is signed with the site's key, as is its table for a spreadsheet")
    text = canonical(signed["report"])
    people = (*PATIENTS, *(x.id for x in PATIENTS.values()), "Roux", "Martin", ines.rpps, martin.rpps)
    must(not [x for x in people if x.encode() in text], text)
    holds = sodium()
    must(signed["public_key"] == site.key and holds(site.key, signed["signature"], text))
    must(not holds(site.key, signed["signature"], text.replace(b'"done":5', b'"done":6')), "a changed figure")
    table = martin.call("GET", f"/v1/reports/monthly?month={month}&format=csv")
    must(holds(site.key, table.headers["asaleed-signature"], table.body), table.headers)
    row = f"{month};ecg;risque-cardiovasculaire;{FINESS};5;0;0;5;s;0;;\r\n"
    must(row in table.body.decode("utf-8-sig"), table.body)
    ines.is_refused("forbidden", "GET", "/v1/reports/monthly?month=" + month)


# ---- 6 ----

def end_of_the_day(site, p):
    ines, nadia, martin, durand, adele, aude = p.ines, p.nadia, p.martin, p.durand, p.adele, p.aude
    fontaine, lambert = PATIENTS["Fontaine"], PATIENTS["Lambert"]

    step("delegations: Nadia's by Dr Martin ended yesterday: she opens nothing under it, and is told so in French")
    nadia.writes_down(lambert)
    told = nadia.is_refused("delegation_expired", "POST", "/v1/followups",
                            {"patient": lambert.id, "protocol": "diabete-type2", "gp": martin.rpps})["detail"]
    must(told == "La délégation de ce médecin n'est plus valable : demandez son renouvellement à l'administrateur.")
    must([d["gp"] for d in nadia.get("/v1/me")["delegations"]] == [durand.rpps])
    nadia.is_refused("delegation_missing", "POST", "/v1/followups",
                     {"patient": lambert.id, "protocol": "risque-cardiovasculaire", "gp": martin.rpps})

    step("delegations: nor does she know of Dr Martin's patients; for all she can tell they are not there")
    nadia.does_not_know("/v1/patients/" + PATIENTS["Perrin"].id)
    nadia.does_not_know(f"/v1/studies/{p.ecg}")
    nadia.is_refused("not_found", "POST", "/v1/orders", {"patient": PATIENTS["Perrin"].id, "act": "ecg"})
    must(nadia.queue(mine=False) == [] and recalls(nadia, PATIENTS["Perrin"]) == {})

    step("delegations: that by Dr Durand is ended this evening: her own patient stays hers to see, nothing new is made")
    nadia.writes_down(fontaine)
    nadia.opens_followup("fumeur-bpco", of=fontaine, with_gp=durand)
    study = nadia.orders("spirometry", of=fontaine)
    adele.post(f"/v1/delegations/{p.nadias}/end", {"reason": "Départ à la retraite"})
    nadia.is_refused("delegation_expired", "POST", "/v1/orders", {"patient": fontaine.id, "act": "spirometry"})
    nadia.is_refused("delegation_expired", "POST", f"/v1/studies/{study}/acquire", {"device": "spiro1"})
    must(nadia.sees(study)["state"] == "ordered" and not nadia.get("/v1/me")["delegations"])

    step("everybody tries every door there is, with the number of everything")
    count = range(1, 21)
    ids = {"studies": [f"S-{n}" for n in count], "records": [f"R-{n}" for n in count],
           "orders": [f"O-{n}" for n in count], "followups": [f"W-{n}" for n in count],
           "patients": [x.id for x in PATIENTS.values()], "audit": [x.id for x in PATIENTS.values()],
           "files": ["F-1"], "unmatched": ["U-1"], "meetings": ["M-1"], "media": ["sda1"],
           "devices": ["ecg1", "spiro1", "retino1"], "professionals": [ines.rpps, martin.rpps]}
    must(martin.call("GET", "/v1/studies/S-20").status == 404, "there are more: let them try these too")
    doors = sum(who.tries_every_door(ids) for who in (ines, nadia, p.software, adele, aude))
    for study in (p.ecg, p.fundus, p.returned):
        ines.shell("show", study)
    tap.note(f"{doors} doors tried")

    step("nobody's conclusion was ever in what a nurse received: no text, no finding, no code, no opinion of a device")
    nurses = b"".join(who.everything() for who in (ines, nadia, p.software))
    readers = b"".join(who.everything() for who in (martin, durand, p.olga, p.logiciel))
    parts = lambda texts: {x.encode() for text in texts for x in re.split(r"[.,;] ?", text) if len(x) > 8}  # noqa: E731
    said = parts(site.written) | {f'"{code}"'.encode() for code in site.concluded} | {
        f'"{member}":'.encode() for member in ("conclusion", "findings", "interpretation", "covers_sha256",
                                               "statements", "ratio_permille")}
    marks = said | parts(site.reasons) | {b'"device_serial":"', b"Simulated Optics", b"IMG_000"}
    must(len(parts(site.written)) > 20 and len(site.concluded) > 8, "too little was written to look for")
    must(not [m for m in marks if m in nurses], [m for m in marks if m in nurses])
    must(not [m for m in marks if m not in readers], "readers did not get", [m for m in marks if m not in readers])
    tap.note(f"{len(marks)} marks in none of {len(nurses)} bytes that nurses received")

    step("the administrator and the auditor saw numbers: no patient's name, no birth date, nothing that was concluded")
    names = [x.encode() for y in PATIENTS.values() for x in (y.family, y.given, y.birth_date)]
    for who in (adele, aude):
        got = who.everything()
        must(PATIENTS["Perrin"].id.encode() in got and len(got) > 20000, "they asked for nothing")
        must(not [x for x in (*names, *said) if x in got], who.name, [x for x in (*names, *said) if x in got])
    must(all(x in nurses + readers for x in names), "names that nobody got prove nothing")

    step("the auditor verifies the trail, and takes it away")
    must("intact" in aude.shell("audit", "verify"))
    aude.post("/v1/audit/head")
    export = aude.call("GET", "/v1/audit/export")
    must(export.headers["content-disposition"] == 'attachment; filename="audit.jsonl"', export.headers)
    aude.is_refused("forbidden", "GET", "/v1/patients/" + PATIENTS["Perrin"].id)

    step("elsewhere, from the export alone: the chain holds from the first row to the last that the site signed")
    rows = trail_holds(export.body, site.key)
    did = {(row["acting_for"] or row["actor"], row["action"]) for row in rows}
    must({("ines", "login"), ("ines", "order"), ("martin", "study.sign"), ("olga", "study.sign"),
          ("durand", "study.return"), ("durand", "notice.heard"), ("martin", "study.reassign"),
          ("adele", "delegation.end")} <= did, did)
    for word, other in ((b'"study.sign"', b'"study.claim"'), (b'"actor":"martin"', b'"actor":"durand"')):
        must(word in export.body, word)
        must(trail_holds(export.body.replace(word, other, 1), site.key) is None, "a changed row is not noticed")
    lines = export.body.split(b"\n")
    must(trail_holds(b"\n".join(lines[:40] + lines[41:]), site.key) is None, "a row that is gone is not noticed")
    must(trail_holds(export.body, "00" * 32) is None, "another site's trail is not noticed")

    step("the journal of the machine names no patient and holds no secret")
    log = site.daemon.log().encode()
    must(not [x for x in names + [s.encode() for s in site.secrets] if x in log])
    must(b"Sanitizer" not in log and b"runtime error" not in log)


def trail_holds(export, key):
    """The rows of an export of the trail when all of it fits together and was signed with this key, else None: written
    from what daemon/model/audit_line.h says of its form."""
    def column(text):
        return struct.pack("<I", 0xffffffff) if text is None else struct.pack("<I", len(text.encode())) + text.encode()

    def microseconds(text):
        since = datetime.datetime.fromisoformat(text) - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
        return since // datetime.timedelta(microseconds=1)

    holds, rows, signed_to, previous, end = sodium(), [], 0, bytes(32), None
    for n, line in enumerate(export.splitlines()):
        item = json.loads(line)
        if n == 0:
            if item != {"asaleed_audit": 1, "first": 1, "previous": "00" * 32, "public_key": key}:
                return None
        elif "head" in item:
            head = item["head"]
            said = f"asaleed audit head\nseq {head['seq']}\nhash {head['hash']}\nat {head['at']}\n".encode()
            if (head["seq"], head["hash"]) != (len(rows), previous.hex()) or not holds(key, head["signature"], said):
                return None
            signed_to = head["seq"]
        elif "end" in item:
            end = item["end"]
        else:
            columns = [item[name] for name in ("actor", "acting_for", "action", "subject")]
            columns.append(canonical(item["detail"]).decode())
            previous = hashlib.sha256(previous + struct.pack("<qq", item["seq"], microseconds(item["at"]))
                                      + b"".join(map(column, columns))).digest()
            if item["hash"] != previous.hex() or item["seq"] != len(rows) + 1:
                return None
            rows.append(item)
    whole = end and (end["rows"], end["seq"], end["hash"], end["erased"]) == (len(rows), len(rows), previous.hex(), 0)
    return rows if whole and signed_to == len(rows) else None


def main():
    if not can_simulate(BUILD):
        tap.skip("a day of a practice", "no umockdev or no simulator")
        return tap.end()
    site, p = Site(), SimpleNamespace()
    try:
        for example in (opening_the_practice, diabetic_followup, copd_spirometry, chest_pain, wrong_patient,
                        meeting_and_month, end_of_the_day):
            begun = time.monotonic()
            step.example(example, site, p)
            tap.note(f"{example.__name__}: {time.monotonic() - begun:.1f} s")
    finally:
        status = site.end()
        tap.result(status == 0, "the daemon ends well", status)
    return tap.end()


sys.exit(main())
