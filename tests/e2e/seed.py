"""What the tests of the policy and of leaks share: the routes as asaleed tells them, files and simulated instruments that
leave a reading of each act, a practice with every kind of study, and rows written while nobody serves the store."""
import atexit
import os
import re
import sqlite3
import subprocess
import time

from bed import Api, Asaleed, Practice, luhn, must, sanitizer

BIRTH = "1950-04-12"
ACTS = ("ecg", "spirometry", "fundus", "measurement")
# Instruments beside the daemon: one that blows, one that weighs, and more where a test asks for them.
SPIROMETER = "vitalograph,serial=VITALO1,model=b,auto=300,fev1-best=777,pef-best=888"
SCALE = "phdc,serial=PHDC1,profile=scale,auto=300"
DEVICES = """[device spiro]
driver = vitalograph_lungmonitor
label = Spiromètre
usb-serial = VITALO1
calibration = off
[device scale]
driver = ieee11073_phdc
label = Balance
usb-serial = PHDC1
[device folder]
driver = file_scp_ecg
label = Dossier ECG
folder = {work}/folder
folder-poll = 3600
[device eyes]
driver = file_jpeg_fundus
label = Dossier rétinographe
folder = {work}/eyes
folder-poll = 3600
"""
FINDINGS = {"ecg": {"rhythm": "sinus"}}
VIEW = {"laterality": "R", "field": "macula"}


def act_section(act, reader="gp", prescribe="yes", perform="yes", before="acquired", after="nothing"):
    return (f"[act {act}]\nprescribe = {prescribe}\nperform = {perform}\ndelay-hours = 72\nnurse-sees-before = {before}\n"
            f"nurse-sees-after = {after}\n"
            + (f"reader = {reader}\nauthorisation = Protocole de test\n" if act == "fundus" else ""))


def protocol(name, acts=ACTS, **more):
    """One file of protocols.d: fundus pictures are the ophthalmologist's to read."""
    return f"[protocol {name}]\nlabel = {name}\n" + "".join(
        act_section(a, "ophthalmologist" if a == "fundus" else "gp", **more) for a in acts)


def reference(build):
    """Each route that the daemon has, and who it says may use it: {("GET", "/v1/orders/{id}"): {"nurse", ...}}."""
    text = subprocess.run([os.path.join(build, "asaleed"), "--api-reference"], capture_output=True, text=True,
                          check=True).stdout
    found = {(m, p): set(roles.split()) for m, p, roles in
             re.findall(r"^\| (GET|POST|PUT|DELETE|PATCH) \| `(\S+)` \| ([^|]*) \|", text, re.M)}
    must(len(found) > 80, "the reference page", len(found))
    return found


def made(build, form, *options):
    """A file of this format, as file_maker writes it."""
    return subprocess.run([os.path.join(build, "tests/file_maker"), form, *map(str, options), "-"], capture_output=True,
                          check=True).stdout


def beside(build, *instruments, control=None):
    """The words of a command that starts the daemon on a machine with these simulated instruments."""
    first = sanitizer(build)
    return ["umockdev-wrapper", os.path.join(build, "tests/sim"), *(["--control", control] if control else []),
            *(word for i in instruments for word in ("--instrument", i)), *(["--preload", first] if first else []), "--"]


def wait_for(what, look, log=lambda: "", seconds=60):
    end = time.monotonic() + seconds
    while not (found := look()):
        must(time.monotonic() < end, "never:", what, log()[-500:])
        time.sleep(0.01)
    return found


class World:
    """A daemon, its practice, and how a study comes to be in each state. `protocols`: name -> the text of its file."""

    def __init__(self, build, work, protocols, wrap=(), devices=DEVICES):
        self.build, self.work = build, work
        for folder in ("folder", "eyes", "protocols.d", "devices.d"):
            os.makedirs(os.path.join(work, folder), exist_ok=True)
        for name, text in protocols.items():
            with open(os.path.join(work, f"protocols.d/{name}.conf"), "w", encoding="utf-8") as f:
                f.write(text)
        with open(os.path.join(work, "devices.d/seed.conf"), "w", encoding="utf-8") as f:
            f.write(devices.format(work=work))
        self.d = Asaleed(build, work, wrap=wrap, protocols=None)
        self.d.own = True  # the folder goes with it
        atexit.register(self.d.done)
        self.p = Practice(self.d)
        self.root, self.nurse, self.gp = self.p.root, self.p.nurse, self.p.gp
        self.files = 0

    def again(self, wrap=()):
        """The daemon anew; with other instruments."""
        self.d.wrap = list(wrap)
        must(self.d.start(), "it does not start:", self.d.log()[-800:])

    def patient(self, name, protocol_name, family="DUPONT", birth=BIRTH):
        """A patient and the follow-up that opens the protocol's acts."""
        self.nurse.ok("PUT", "/v1/patients/" + name, {"family": family, "given": "Zoé", "birth_date": birth, "sex": "F"})
        return self.p.follow(name, protocol_name)

    def order(self, patient, act, followup, who=None):
        o = (who or self.nurse).post("/v1/orders", {"patient": patient, "act": act, "followup": followup})
        return o["id"], o["study"]["id"]

    def taken_in(self, data, name="x", who=None):
        """An upload that was looked at: its row among the files."""
        a = (who or self.nurse).call("POST", f"/v1/files?name={name}", data)
        must(a.status in (200, 201), a.status, a.body)

        def look():
            f = self.gp.get("/v1/files/" + a.json["id"])
            return f if f["state"] not in ("waiting", "decoding") else None
        return wait_for("looked at", look, self.d.log)

    def another_ecg(self, *options):
        """A row of the tray with an ECG that nobody has sent before."""
        self.files += 1
        f = self.taken_in(made(self.build, "scp", "--seed", 1000 + self.files, "--seconds", 1, *options), "again.scp")
        must(f["state"] == "unmatched", f)
        return f["unmatched"]

    def attach(self, tray, order, birth=BIRTH, reason="Vu avec la patiente"):
        return self.nurse.post(f"/v1/unmatched/{tray}/attach",
                               {"order": order, "birth_date": birth, "confirm": True, "reason": reason})

    def acquire(self, study, device, seconds=3, **more):
        """Starts it; acquired() waits for its end."""
        self.nurse.post(f"/v1/studies/{study}/acquire", {"device": device, "seconds": seconds, **more})

    def acquired(self, study):
        y = wait_for("acquired", lambda: (s := self.gp_view(study))["state"] != "acquiring" and s, self.d.log)
        must(y["state"] == "acquired", y["state"], y["last_failure"], self.d.log()[-800:])
        return y

    def accept(self, study, **more):
        y = self.gp.get("/v1/studies/" + study)
        if y["act"] == "fundus":
            pictures = [{"record": x["record"], "picture": x["picture"], **VIEW} for x in y["fundus"]["pictures"]]
            self.nurse.ok("PUT", f"/v1/studies/{study}/pictures", {"pictures": pictures})
            self.nurse.ok("PUT", f"/v1/studies/{study}/pupil", {"dilated": False})
        return self.nurse.post(f"/v1/studies/{study}/accept", {"confirm": True, **more})

    def sign(self, study, reader):
        claim = reader.post(f"/v1/studies/{study}/claim")
        return reader.post(f"/v1/studies/{study}/sign", {"token": claim["token"], "shown": claim["study"]["shown"],
                                                         **conclusion(claim["study"]["act"])})

    def gp_view(self, study):
        return self.gp.get("/v1/studies/" + study)

    def exported(self, record, number):
        """Once its DICOM objects are made, or cannot be."""
        path = f"/v1/records/{record}/dicom" + (f"?n={number}" if number else "")
        for who in (self.gp, self.nurse):
            wait_for("a DICOM object", lambda: who.call("GET", path).status != 503, self.d.log)  # noqa: B023

    def done(self):
        self.d.done()


def conclusion(act, text="Lu."):
    return {"conclusion": "normal" if act in FINDINGS else "uninterpretable", "text": text, **(
        {"findings": FINDINGS[act]} if act in FINDINGS else {})}


def newcomer(world, name, role, number=None):
    """An account beside those of the practice; with a number it is a registered professional's."""
    token = world.root.post("/v1/users", {"name": name, "role": role})["token"]
    if number:
        rpps = world.p.rpps[name] = luhn(f"10100009{number:02d}")
        world.root.ok("PUT", "/v1/professionals/" + rpps,
                      {"family": name.upper(), "given": "Camille", "role": role, "finess": Practice.FINESS})
        world.root.post(f"/v1/users/{name}/professional", {"rpps": rpps})
    return Api(world.d.socket, token)


class Rows:
    """The database of a daemon that is stopped. Its seal does not hold afterwards, which the daemon says and bears."""

    def __init__(self, store):
        self.db = sqlite3.connect(os.path.join(store, "asaleed.db"), isolation_level=None)
        self.db.execute("BEGIN")

    def run(self, sql, *values):
        return self.db.execute(sql, values).lastrowid

    def all(self, sql, *values):
        return self.db.execute(sql, values).fetchall()

    def copy(self, table, where, **changed):
        """Copies of the rows WHERE..., with other values in these columns; the id of the last one."""
        columns = [c[1] for c in self.all(f"PRAGMA table_info({table})") if c[1] != "id"]
        values = ", ".join(f"${c}" if c in changed else c for c in columns)
        self.db.execute(f"INSERT INTO {table}({', '.join(columns)}) SELECT {values} FROM {table} WHERE {where}", changed)
        return self.all("SELECT last_insert_rowid()")[0][0]

    def close(self):
        self.db.execute("COMMIT")
        self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.db.close()
