#!/usr/bin/env python3
"""A marker in every text and value that a role may not see, and everything that asaleed says, to every role: answers,
refusals, events, DICOM objects, pictures, samples and the journal, while instruments are read, before and after the
signature. None is where it must not be, and the GP finds each of them. TAP on standard output.

leak.py BUILD
"""
import base64
import collections
import os
import re
import select
import sys
import time
import tempfile

sys.dont_write_bytecode = True
from bed import RPPS, ROOT, Api, Tap, can_simulate, must, request_bytes  # noqa: E402
from seed import World, beside, made, newcomer, protocol, reference  # noqa: E402

BUILD = os.path.abspath(sys.argv[1])
# A protocol each for what the nurse sees: before the signature all that she acquired or how good it is, after it nothing,
# the conclusion, or the report. And the finding of an ECG beneath it: no other has it.
PROTOCOLS = {"rien": {}, "conclusion": {"after": "conclusion"}, "rapport": {"after": "report"},
             "qualite": {"before": "quality"}}
RHYTHM = {"rien": "atrial_flutter", "conclusion": "junctional", "rapport": "paced", "qualite": "atrial_fibrillation"}
# Formats; what file_maker is told that an instrument says of itself; whether it interprets.
MAKER = ("maker", "model", "serial", "software")
FORMATS = {"scp": ("ecg", ("manufacturer", "serial", "program"), True), "aecg": ("ecg", MAKER, True),
           "sierra": ("ecg", MAKER, True), "muse": ("ecg", MAKER[1:], True), "dicom-ecg": ("ecg", MAKER, True),
           "healforce": ("ecg", (), False), "ecg90a": ("ecg", (), False), "dicom-fundus": ("fundus", MAKER, False),
           "jpeg": ("fundus", ("make", "model"), False)}
SERIALS = {"spiro": "ZqSerialSpiro", "blow": "ZqSerialBlow", "camera": "ZqSerialCamera", "heart": "ZqSerialHeart"}
DRIVERS = {"spiro": "vitalograph_lungmonitor", "blow": "contec_sp80b", "camera": "ptp_camera", "heart": "corscience_emi12"}
DEVICES = "".join(f"[device {d}]\ndriver = {DRIVERS[d]}\nlabel = {d}\nusb-serial = {SERIALS[d]}\ncalibration = off\n"
                  for d in SERIALS)
INSTRUMENTS = (f"vitalograph,serial={SERIALS['spiro']},model=b,auto=300,id=8061729453,fev1-best=777,pef-best=888",
               f"sp80b,serial={SERIALS['blow']},records=0,auto=yes",
               f"ptp,serial={SERIALS['camera']},auto=250,shots=1,size=384x256",
               f"emi12,serial={SERIALS['heart']},speed=max")
AT_ONCE = 8  # streams that an account may have
FLAT = os.path.join(ROOT, "tests/unit/gli_table.h")  # reference values that the daemon takes

# ---- markers ----

# part: whose it is, as may() says. study, patient: which it is about, None = none yet; author: of a draft.
Marker = collections.namedtuple("Marker", "text part study patient author word")


class Markers:
    """Texts that occur nowhere else, hashes, and words that count only where they stand alone: numbers, codes."""

    def __init__(self):
        self.all = {}

    def add(self, text, part, study=None, patient=None, author=None, word=False):
        self.all.setdefault(text, Marker(text, part, study, patient, author, word))
        return text

    def new(self, part, **about):
        return self.add(f"Zq{len(self.all):04d}x", part, **about)


def base64_forms(data):
    """What is always the same of it in base64, wherever among three bytes it begins."""
    for lead in range(3):
        yield base64.b64encode(bytes(lead) + data)[-(-8 * lead // 6):8 * (lead + len(data)) // 6]


def forms(text):
    data = text.encode()
    yield from (data, text.encode("utf-16-le"), text.encode("utf-16-be"), data.hex().encode(), *base64_forms(data))


def like(words):
    """A pattern of all these words, which have one length and differ in a few places: all are looked for at once."""
    return re.compile(b"".join(b"[" + re.escape(bytes(sorted(set(place)))) + b"]" for place in zip(*words)))


CODE, HASH = re.compile("Zq[0-9]{4}x"), re.compile("[0-9a-f]{64}")
CODED = re.compile(rb"\0|[A-Za-z0-9+/]{70}")  # bytes, or what may be base64


class Finder:
    """Which of the markers are in some bytes: as they are, in UTF-16, in hexadecimal, in base64; of hashes their bytes."""

    def __init__(self, markers):
        whole = [m for m in markers if not m.word]
        self.codes, self.known = [], {}
        for shape in zip(*(forms(m.text) for m in whole if CODE.fullmatch(m.text))):
            self.codes.append(like(shape))
        self.named = {f: m for m in whole if CODE.fullmatch(m.text) for f in forms(m.text)}
        self.named |= {m.text.encode(): m for m in whole if HASH.fullmatch(m.text)}
        self.codes.append(re.compile(HASH.pattern.encode()))
        others = [m for m in whole if m.text.encode() not in self.named]
        self.plain = [(m.text.encode(), m) for m in others]
        self.coded = [(f, m) for m in others for f in forms(m.text)]
        self.coded += [(f, m) for m in whole if HASH.fullmatch(m.text)
                       for raw in (bytes.fromhex(m.text),) for f in (raw, *base64_forms(raw))]
        self.words = [(re.compile(rb"(?<![\w.,])" + re.escape(m.text.encode()) + rb"(?!\w)"), m) for m in markers if m.word]

    def find(self, where, data):
        if (found := self.known.get(data)) is None:
            found = {self.named[t] for pattern in self.codes for t in pattern.findall(data) if t in self.named}
            found |= {m for t, m in (self.coded if CODED.search(data) else self.plain) if t in data}
            text = data[:data.find(b"\0")] if b"\0" in data else data  # pictures and samples are no words
            found |= {m for pattern, m in self.words if pattern.search(text)}
            self.known[data] = found
        # The codes of all findings are what a reader chooses from.
        return {m for m in found if not m.word or "/v1/forms" not in where}


# ---- who may see what ----

SAME = {"root": "admin", "lgc for nurse": "nurse", "lgc for gp": "gp", "other gp": "gp"}
PERSON = {"gp": "martin", "lgc for gp": "martin", "other gp": "durand", "ophthalmologist": "olga"}
TOLD_ONCE = re.compile(r"POST /v1/(login|users|users/[^/]+/(token|password)|studies/[^/]+/claim)$")


def may(w, who, m, signed, where=""):
    """Whether this caller may see the marker, when these studies are signed.
    identity      the patient's traits: everybody who may know of the patient, but administrator and auditor
    said          what nurses wrote, free text: the same
    device        what an instrument says it is: readers and the administrator
    statement     what it interprets, what is predicted, the name and hash of its file, hashes over these: readers
    report        what readers wrote: readers; the practice software once it is signed, the nurse as the protocol says
    draft         its author; a GP who exports all that is kept of a patient
    secret        whoever is given it, in that answer"""
    role = SAME.get(who, who)
    if m.part == "secret":
        return bool(TOLD_ONCE.match(where)) and role in ("admin", "gp", "ophthalmologist", "nobody")
    if role == "stranger":  # the tray is any nurse's: what is in it is nobody's yet
        return m.part in ("identity", "said") and not m.study and not m.patient
    if role == "auditor":  # the trail names what was made by its hash
        return "/audit/export" in where and re.fullmatch("[0-9a-f]{64}", m.text) is not None
    if role == "nobody":
        return False
    if m.part == "draft":
        return PERSON.get(who) == m.author or (role == "gp" and where.endswith("/archive"))
    if role == "admin":
        return m.part == "device"
    if role == "gp":
        return True
    if role == "ophthalmologist":
        return m.study in w.referred if m.study else m.patient is None or m.patient in w.eyes
    if m.part in ("identity", "said"):
        return True
    if m.part == "report" and role == "lgc":
        return m.study in signed or "once " + m.study in signed  # what was withdrawn too, and that it was
    return m.part == "report" and m.study in signed and w.protocol_of[m.study] == "rapport"


# ---- what is heard ----

Heard = collections.namedtuple("Heard", "who where signed data")


class Ears:
    """Everything that asaleed says to anybody, with what was signed by then."""

    def __init__(self, w):
        self.w, self.heard, self.streams = w, {}, []

    def listen(self, who, api):
        plain = api.call

        def call(method, path, *rest, **more):
            a = plain(method, path, *rest, **more)
            headers = "".join(f"\n{k}: {v}" for k, v in a.headers.items() if k != "date")
            self.note(who, f"{method} {path}", a.body + headers.encode())
            return a

        api.call = call

    def note(self, who, where, data):
        signed = frozenset(self.w.signed)
        self.heard[who, where, signed, data] = Heard(who, where, signed, data)

    def watch(self, path, last=None):
        for who, api in self.w.callers.items():
            s = api.connect(20)
            extra = {"Asaleed-Acting-For": api.acting_for, "Last-Event-ID": last}
            s.sendall(request_bytes("GET", path, token=api.token, headers=extra, close=False))
            self.streams.append((s, who, "GET " + path))

    def take(self):
        """What the streams said: (who, where) -> bytes."""
        got, waiting = collections.defaultdict(bytes), {s: (who, where) for s, who, where in self.streams}
        while waiting and (ready := select.select(list(waiting), [], [], 0.3)[0]):
            for s in ready:
                more = s.recv(1 << 20)
                got[waiting[s]] += more
                if not more:
                    del waiting[s]
        for (who, where), data in got.items():
            self.note(who, where, data)
        for s, _, _ in self.streams:
            s.close()
        self.streams = []
        return got


# ---- the practice ----

class Bed(World):
    def __init__(self):
        self.referred, self.eyes, self.protocol_of, self.signed = set(), set(), {}, set()
        self.birth, self.family = {}, {}
        self.studies = []
        super().__init__(BUILD, tempfile.mkdtemp(prefix="asaleed-leak-"),
                         {name: protocol(name, **more) for name, more in PROTOCOLS.items()},
                         wrap=beside(BUILD, *INSTRUMENTS), devices=DEVICES)
        p, self.m, self.ears = self.p, Markers(), Ears(self)
        self.callers = {"nurse": p.nurse, "gp": p.gp, "other gp": p.gp2, "ophthalmologist": p.oph, "admin": p.admin,
                        "root": self.root, "lgc": p.lgc, "auditor": p.auditor, "lgc for nurse": p.lgc_nurse,
                        "lgc for gp": p.lgc_gp, "stranger": newcomer(self, "nora", "nurse", 1),
                        "nobody": Api(self.d.socket, "0" * 64)}
        for who, api in self.callers.items():
            self.ears.listen(who, api)
        for token in p.token.values():
            self.m.add(token, "secret")
        for serial in SERIALS.values():
            self.m.add(serial, "device")
        for name, rhythm in RHYTHM.items():
            self.m.add(rhythm, "report", study="S-" + name, word=True)  # of which study: put right by report()
        self.followups = {name: self.person(name) for name in PROTOCOLS}

    def person(self, name):
        """A patient whose every trait is a marker, under this protocol."""
        patient, number = "P-" + name, 1 + list(PROTOCOLS).index(name)
        self.family[name] = self.m.new("identity", patient=patient)
        nir = f"25704{number:02d}123456"
        self.birth[name] = self.m.add(f"1957-04-{10 + number}", "identity", patient=patient)
        self.nurse.ok("PUT", "/v1/patients/" + patient, {
            "family": self.family[name], "given": self.m.new("identity", patient=patient), "sex": "F",
            "birth_date": self.birth[name], "ins_oid": "1.2.250.1.213.1.4.8", "ins_status": "qualified",
            "ins": self.m.add(f"{nir}{97 - int(nir) % 97:02d}", "identity", patient=patient)})
        return self.p.follow(patient, name)

    def ordered(self, name, act):
        order, study = self.order("P-" + name, act, self.followups[name])
        self.protocol_of[study] = name
        self.studies.append(study)
        if act == "fundus":
            self.to_olga(study)
        return order, study

    def to_olga(self, study):
        self.referred.add(study)
        self.eyes.add("P-" + self.protocol_of[study])

    def file(self, form, study, *more):
        """A file with a marker in each of its texts and one for a name, taken in: its row of the files."""
        _, says, interprets = FORMATS[form]
        options = ["--seed", len(self.m.all), *more]
        for word in says:
            options += ["--option", f"{word}={self.m.new('device', study=study)}"]
        if interprets:
            options += ["--marker", self.m.new("statement", study=study)]
        name = self.m.new("statement", study=study) + ".dat"
        f = self.gp.get("/v1/files/" + self.taken_in(made(BUILD, form, *options), name)["id"])
        must(f["state"] == "unmatched" and f["name"] == name, form, f, self.d.log()[-500:])
        self.m.add(f["sha256"], "statement", study=study)
        return f["unmatched"]

    def attached(self, name, form):
        order, study = self.ordered(name, FORMATS[form][0])
        tray = self.file(form, study, "--family", self.family[name]) if form != "jpeg" else self.file(form, study)
        self.attach(tray, order, self.birth[name], self.m.new("said", patient="P-" + name))
        return study

    def waiting(self, name, form):
        """A study of this protocol that waits to be read, from a file of this format."""
        study = self.attached(name, form)
        self.accept(study, comment=self.m.new("said", patient="P-" + name))
        return study

    def claim(self, reader, study):
        """The token; asked for twice with one key it is not told again."""
        key = f"claim-{study}-{len(self.m.all)}"
        token = reader.post(f"/v1/studies/{study}/claim", {}, key)["token"]
        must(reader.post(f"/v1/studies/{study}/claim", {}, key)["token"] is None, "the token is told twice")
        return self.m.add(token, "secret")

    def draft(self, reader, author, study):
        text = self.m.new("draft", study=study, author=author)
        reader.ok("PUT", f"/v1/studies/{study}/draft", {"text": text})

    def report(self, study, name=None):
        """What a reader concludes; with a protocol's name also the finding that is told by it."""
        text = {"conclusion": "uninterpretable", "text": self.m.new("report", study=study)}
        if name:
            self.m.all[RHYTHM[name]] = self.m.all[RHYTHM[name]]._replace(study=study)
            text |= {"conclusion": "abnormal", "findings": {"rhythm": RHYTHM[name]}}
        return text

    def signs(self, reader, study, token, name=None):
        self.signed.add(study)
        reader.post(f"/v1/studies/{study}/sign", {"token": token, **self.report(study, name), **self.shown(reader, study)})

    @staticmethod
    def shown(reader, study):
        return {"shown": reader.get("/v1/studies/" + study)["shown"]}

    def hashes(self):
        """Those that cover what an instrument says, as the GP is told them."""
        for study in self.studies:
            y = self.gp_view(study)
            for r in y["records"]:
                x = self.gp.get("/v1/records/" + r["id"])
                pictures = x["record"]["acquired"]["pictures"]
                if y["state"] in ("to_interpret", "interpreting", "interpreted") and not r["superseded"]:
                    self.exported(r["id"], 1 if pictures else 0)
                for sha in (x["sha256"], x["provenance"]["capture_sha256"], *(p["sha256"] for p in pictures)):
                    self.m.add(sha, "statement", study=study)
            for x in self.gp_view(study)["dicom"]:
                self.m.add(x["sha256"], "statement", study=study)


# ---- looking everywhere ----

WRONG = {"studies": "S-999999", "records": "R-0", "orders": "O-999999", "files": "F-999999", "unmatched": "U-999999",
         "patients": "P-nobody", "followups": "W-999999", "devices": "nothing", "media": "sdz", "notices": "N-999999",
         "professionals": "10000000000", "delegations": "D-999999", "absences": "A-999999", "users": "nobody-here",
         "meetings": "M-999999", "audit": "P-nobody"}
# What would change something for good, or for everybody, when it is sent without a body.
QUERY = {"history": "?limit=200", "picture": "?n=1", "preview": "?n=1", "recalls": "?until=2099-12-31",
         "agenda": f"?gp={RPPS['martin']}&nurse={RPPS['ines']}&since=2000-01-01",
         "monthly": time.strftime("?month=%Y-%m")}
NOT_EMPTY = ("/v1/logout", "/v1/unmatched/{id}/redecode")


def ids(w):
    """Of each kind of thing all that there are, and one that is not there."""
    found = {k: [v] for k, v in WRONG.items()}
    found["studies"] += w.studies
    for study in w.studies:
        found["records"] += [r["id"] for r in w.gp_view(study)["records"]]
    for kind, path in (("orders", "/v1/orders"), ("followups", "/v1/followups"), ("files", "/v1/files"),
                       ("unmatched", "/v1/unmatched"), ("devices", "/v1/devices"), ("notices", "/v1/notices")):
        found[kind] += [x["id"] for x in w.gp.get(path + "?limit=200")["items"]]
    found["unmatched"] += [f["unmatched"] for f in w.gp.get("/v1/files?limit=200")["items"]]
    found["patients"] += ["P-" + name for name in PROTOCOLS]
    found["professionals"] += w.p.rpps.values()
    found["audit"] += found["patients"]
    return {k: list(dict.fromkeys(v)) for k, v in found.items()}


def pages(api, path):
    """A list to its end."""
    more = ""
    for _ in range(40):
        a = api.call("GET", f"{path}?limit=200{more}")
        if a.status != 200 or not isinstance(a.json, dict) or not a.json.get("items"):
            return
        if a.json.get("next"):
            more = f"&cursor={a.json['next']}"
        elif a.json.get("next_since"):
            more = f"&since={a.json['next_since']}"
        else:
            return


def look(w, writes=False):
    """Every route with every id: what reads by everybody, what writes by who is not to see; and all streams of events."""
    things, routes = ids(w), sorted(reference(BUILD))
    for method, route in routes:
        if route.endswith("/events"):
            continue
        paths = [route.replace("{id}", i) for i in things[route.split("/")[2]]] if "{id}" in route else [route]
        for who, api in w.callers.items():
            for path in paths:
                if method == "GET":
                    api.call(method, path + QUERY.get(path.rsplit("/")[-1], ""))
                    if "{id}" not in route:
                        pages(api, path)
                elif writes and who not in PERSON and route not in NOT_EMPTY:
                    for body in ({}, {"nothing": 1}):
                        api.call(method, path, body, headers={"If-Match": '"999999"'})
    streams = ["/v1/events", *(f"/v1/studies/{study}/events" for study in w.studies)]
    for at in range(0, len(streams), AT_ONCE):
        for path in streams[at:at + AT_ONCE]:
            w.ears.watch(path, last="1")
        w.ears.take()


# ---- the course of things ----

def test_acquire(w):
    """Four instruments beneath three protocols, while everybody watches."""
    with open(FLAT, encoding="utf-8") as f:
        blocks = re.findall(r"\{'([MF])', \"(\w+)\", \d+, (-?[\d.]+), (-?[\d.]+)\}", f.read())
    rows = [f"{sex},{index},{3 + age / 4:.2f},{m},{s},0\n" for sex, index, m, s in blocks for age in range(369)]
    w.p.admin.ok("PUT", "/v1/reference",
                 {"name": "essai", "table": "sex,index,age,Mspline,Sspline,Lspline\n" + "".join(rows)})
    w.live = {device: w.ordered(name, act)[1] for device, name, act in (
        ("spiro", "rien", "spirometry"), ("blow", "rapport", "spirometry"), ("camera", "rien", "fundus"),
        ("heart", "qualite", "ecg"))}
    w.ears.watch("/v1/events")
    for study in w.live.values():
        w.ears.watch(f"/v1/studies/{study}/events")
    w.acquire(w.live["spiro"], "spiro")
    w.acquire(w.live["blow"], "blow", seconds=60, height_cm="168.5")
    w.acquire(w.live["camera"], "camera", pictures=1)
    w.acquire(w.live["heart"], "heart", seconds=2)
    for study in w.live.values():
        w.acquired(study)
    told = w.ears.take()
    for study in w.live.values():
        w.ears.watch(f"/v1/studies/{study}/events", last="1")
        w.accept(study)
    w.ears.take()
    site = w.root.call("GET", "/v1/drivers").body.decode()
    for study in w.live.values():
        record = w.gp.get("/v1/records/" + w.gp_view(study)["records"][0]["id"])["record"]
        texts = [record["device"][k] for k in ("serial", "firmware", "make", "model")]
        for text, part in [(t, "device") for t in texts] + [(s["text"], "statement") for s in record["statements"]] + [
                (s[k], "statement") for s in record["sources"] for k in ("name", "make", "model")]:
            if len(text) > 5 and text not in site:
                w.m.add(text, part, study=study)
    w.m.add("7,77", "statement", study=w.live["spiro"], word=True)
    aids = w.gp_view(w.live["blow"])["aids"]
    values = {r[k] for r in aids["results"] for k in ("predicted", "lln", "z", "percent_predicted") if r[k]}
    must(len(values) > 8, aids)
    for word in values | {"percent_predicted", "lln"}:
        w.m.add(word, "statement", study=w.live["blow"], word=True)
    heart, camera = (f"GET /v1/studies/{w.live[d]}/events" for d in ("heart", "camera"))
    for who in ("gp", "lgc", "admin", "lgc for gp"):
        must(b"event: preview" in told[who, heart] and b"event: picture" in told[who, camera], "no previews for", who)
    for who in ("nurse", "lgc for nurse"):
        must(b"event: picture" in told[who, camera], "no pictures for", who)
        must(b"event: contacts" in told[who, heart] and b"event: state" in told[who, heart], "nothing for", who)
        must(b"event: preview" not in told[who, heart], "curves, beneath a protocol that shows quality alone, for", who)


def test_before(w):
    """Read, commented, drafted, referred, claimed: nothing is signed."""
    w.first, w.token = {}, {}
    for name in PROTOCOLS:
        y = w.first[name] = {what: w.waiting(name, form)
                             for what, form in (("sign", "scp"), ("return", "muse"), ("eye", "jpeg"))}
        study = y["sign"]
        w.draft(w.gp, "martin", study)
        w.draft(w.p.gp2, "durand", study)
        w.nurse.post(f"/v1/studies/{study}/page", {"text": w.m.new("said", patient="P-" + name)})
        w.to_olga(study)
        w.gp.post(f"/v1/studies/{study}/refer", {"reader": "ophthalmologist", "text": w.m.new("report", study=study)})
        w.draft(w.p.oph, "olga", study)
        token = w.claim(w.p.oph, study)
        w.p.oph.post(f"/v1/studies/{study}/refer",
                     {"token": token, "reader": "gp", "text": w.m.new("report", study=study)})
        for what, s in y.items():
            w.token[s] = w.claim(w.p.oph if what == "eye" else w.gp, s)
        _, cancelled = w.ordered(name, "ecg")
        w.nurse.post(f"/v1/studies/{cancelled}/cancel", {"reason": w.m.new("said", patient="P-" + name)})
    for form in FORMATS:
        w.waiting("rien", form)
    repeated = w.attached("rien", "ecg90a")
    w.nurse.post(f"/v1/studies/{repeated}/repeat", {"reason": w.m.new("said", patient="P-rien")})
    subject = ("--family", w.m.new("identity"), "--given", w.m.new("identity"), "--id", w.m.new("identity"))
    w.file("scp", None, *subject)
    tray = w.file("dicom-ecg", None, "--family", w.m.new("identity"))
    w.nurse.post(f"/v1/unmatched/{tray}/discard", {"reason": w.m.new("said")})
    w.hashes()
    look(w)


def test_after(w):
    """Signed, amended, returned, withdrawn."""
    for name, y in w.first.items():
        study = y["sign"]
        w.signs(w.gp, study, w.token[study], name)
        w.gp.post(f"/v1/studies/{study}/amend",
                  {"version": 1, "reason": w.m.new("report", study=study), **w.report(study, name),
                   **w.shown(w.gp, study)})
        w.signs(w.p.oph, y["eye"], w.token[y["eye"]])
        w.gp.post(f"/v1/studies/{y['return']}/return", {
            "token": w.token[y["return"]], "code": "110531", "text": w.m.new("report", study=y["return"])})
        w.studies.append(w.gp_view(y["return"])["returned"]["repeat"])
        w.protocol_of[w.studies[-1]] = name
    w.signs(w.gp, w.live["blow"], w.claim(w.gp, w.live["blow"]))
    # Another patient's, as it turns out: what was signed of it is withdrawn.
    wrong = w.waiting("rapport", "aecg")
    w.signs(w.gp, wrong, w.claim(w.gp, wrong))
    for api in w.callers.values():
        api.call("GET", "/v1/studies/" + wrong)
    order, right = w.ordered("conclusion", "ecg")
    w.signed = w.signed - {wrong} | {"once " + wrong}
    w.gp.post(f"/v1/studies/{wrong}/reassign", {
        "order": order, "birth_date": w.birth["conclusion"], "records": [w.gp_view(wrong)["records"][0]["id"]],
        "confirm": True, "reason": w.m.new("report", study=wrong)})
    w.accept(right)
    w.hashes()
    look(w, writes=True)


def test_passwords(w):
    """Passwords and sessions: told once, to whom they are for."""
    first = w.m.add(w.root.post("/v1/users/aude/password")["password"], "secret")
    wrong = w.m.new("secret")
    for password in (wrong, first):
        a = w.callers["nobody"].call("POST", "/v1/login", {"name": "aude", "password": password})
    must(a.status == 200, a.status, a.body)
    w.m.add(re.search(r"=([^;]+)", a.headers["set-cookie"]).group(1), "secret")
    for path in ("/v1/audit", "/v1/users", "/v1/me"):
        for api in w.callers.values():
            api.call("GET", path + "?limit=200")


def test_nothing_leaks(w):
    finder = w.finder = Finder(list(w.m.all.values()))
    wrong, hidden, n = collections.Counter(), {}, 0
    for h in w.ears.heard.values():
        key = h.who, h.signed
        if key not in hidden:
            hidden[key] = sum(not may(w, h.who, m, h.signed) for m in w.m.all.values())
        n += hidden[key]
        for m in finder.find(h.where, h.data):
            if not may(w, h.who, m, h.signed, h.where):
                wrong[f"{m.part} {m.text[:24]} in {h.where} by {h.who}"] += 1
    answers = len(w.ears.heard)
    tap.note(f"{len(w.m.all)} markers, {answers} different answers to {len(w.callers)} callers: {n} looked at (caller, answer,"
             f" marker), {sum(wrong.values())} found where they must not be")
    must(answers > 10000 and not wrong, f"{len(wrong)}:\n" + "\n".join(sorted(wrong)[:11]))


def test_everything_is_there(w):
    """The markers are found where they may be: each by somebody, and all that is a GP's by the GP."""
    seen = collections.defaultdict(set)
    for h in w.ears.heard.values():
        for m in w.finder.find(h.where, h.data):
            seen[m.text].add(h.who)
    lost = [(m.part, m.text) for m in w.m.all.values()
            if not (seen[m.text] & {w_ for w_, p in PERSON.items() if p == m.author} if m.part == "draft" else
                    m.part == "secret" or "gp" in seen[m.text])]
    must(not lost, len(lost), "never seen:", lost[:12])
    parts = collections.Counter(m.part for m in w.m.all.values())
    must(all(parts[p] >= k for p, k in (("identity", 16), ("said", 20), ("device", 40), ("statement", 90), ("report", 20),
                                        ("draft", 12), ("secret", 15))), parts)
    # What a role does get of these it gets: the test would see nothing if nothing were shown at all.
    for who, part in (("nurse", "identity"), ("nurse", "said"), ("nurse", "report"), ("lgc", "report"), ("lgc", "identity"),
                      ("admin", "device"), ("root", "device"), ("ophthalmologist", "statement"), ("lgc for gp", "draft")):
        must(any(who in seen[m.text] for m in w.m.all.values() if m.part == part), who, "sees no", part)


def test_conclusion_alone(w):
    """What the nurse gets of what was signed: nothing, the conclusion's word, all of it."""
    for who in ("nurse", "lgc for nurse"):
        for name, y in w.first.items():
            shown = w.callers[who].get("/v1/studies/" + y["sign"]).get("interpretation")
            want = {"conclusion": {"conclusion", "id", "signed", "version"},
                    "rapport": {"by", "conclusion", "covers_sha256", "findings", "id", "patient_version", "reason",
                                "signed", "text", "version"}}.get(name)
            must(shown is None if want is None else set(shown) == want and shown["conclusion"] == "abnormal", who, name,
                 shown)
    for h in w.ears.heard.values():
        role = SAME.get(h.who, h.who)
        if role not in ("gp", "ophthalmologist", "lgc") and b'"conclusion":"' in h.data:
            shown = [w.protocol_of[s] for s in h.signed if f'"{s}"'.encode() in h.data]
            must(role == "nurse" and {"conclusion", "rapport"} & set(shown), h.who, h.where, h.data[:300])


def test_quality_alone(w):
    """Beneath a protocol that shows the nurse how good a recording is: neither values nor curves nor pictures."""
    for who in ("nurse", "lgc for nurse"):
        api = w.callers[who]
        for study in w.first["qualite"].values():
            record = w.gp_view(study)["records"][0]["id"]
            shown = api.get("/v1/records/" + record)["record"]
            must("quality" in shown and "acquired" not in shown, who, sorted(shown))
            for what in ("channels", "preview", "dicom"):
                a = api.call("GET", f"/v1/records/{record}/{what}")
                must(a.status == 403 or (what, a.status) == ("preview", 404), who, what, a.status)
        for u in (f["unmatched"] for f in w.gp.get("/v1/files?limit=200")["items"]
                  if f["study"] in w.first["qualite"].values()):
            must("acquired" not in api.get("/v1/unmatched/" + u)["record"], who, u)
            must(api.call("GET", f"/v1/unmatched/{u}/channels").status == 403, who, u)
            must(api.call("GET", f"/v1/unmatched/{u}/preview").status == 403, who, u)
    must("acquired" in w.nurse.get("/v1/records/" + w.gp_view(w.first["rien"]["sign"])["records"][0]["id"])["record"])


def test_journal(w):
    log, finder = w.d.log().encode(), Finder([m for m in w.m.all.values() if not m.word])
    must(len(log) > 1000, "no journal")
    found = finder.find("journal", log)
    must(not found, "in the journal:", [(m.part, m.text) for m in found][:10])


tap = Tap()


def main():
    if not can_simulate(BUILD):
        tap.skip("leaks", "no umockdev, or the simulator is not built")
        return tap.end()
    w = Bed()
    try:
        for name, test in (("four instruments, and everybody watches", test_acquire),
                           ("everything is there, nothing is signed", test_before),
                           ("signed, amended, returned, withdrawn", test_after), ("passwords", test_passwords),
                           ("nothing is where it must not be", test_nothing_leaks),
                           ("each marker is found where it may be", test_everything_is_there),
                           ("of the report the nurse gets what the protocol says", test_conclusion_alone),
                           ("of the recording the nurse gets what the protocol says", test_quality_alone),
                           ("nothing is in the journal", test_journal)):
            tap.run(name, test, w)
        tap.run("it was alive to the end", lambda: must(w.d.alive() and w.d.stop() == 0, w.d.log()[-500:]))
    finally:
        w.done()
    return tap.end()


sys.exit(main())
