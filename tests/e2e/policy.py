#!/usr/bin/env python3
"""The written policy against asaleed: every route by every caller, and of a study in each of its states and of each act.
The table is what the practice decided, not what the program does; what is not in it is refused. TAP on standard output.

policy.py BUILD
"""
import collections
import dataclasses
import hashlib
import os
import sys
import tempfile
import time

sys.dont_write_bytecode = True
from bed import Api, Practice, Tap, can_simulate, must, parse, request_bytes  # noqa: E402
from seed import (ACTS, BIRTH, SCALE, SPIROMETER, VIEW, Rows, World, act_section, beside, conclusion, made,  # noqa: E402
                  newcomer, protocol, reference, wait_for)

BUILD = os.path.abspath(sys.argv[1])
STATES = ("ordered", "acquiring", "acquired", "to_interpret", "interpreting", "interpreted", "returned", "cancelled")
ALLOWED = "allowed"
DAY = 86400 * 1000000

# ---- who calls, and what there is ----

# The caller, the role it has, the person it is. root is known by the kernel; a stranger is a nurse whom nobody delegates
# anything to; nobody has a token that is no account's.
CALLERS = (("nurse", "nurse", "ines"), ("gp", "gp", "martin"), ("other gp", "gp", "durand"),
           ("ophthalmologist", "ophthalmologist", "olga"), ("admin", "admin", None), ("root", "admin", None),
           ("lgc", "lgc", None), ("auditor", "auditor", None), ("lgc for nurse", "nurse", "ines"),
           ("lgc for gp", "gp", "martin"), ("stranger", "nurse", "nora"), ("nobody", None, None))

# What a study may be besides its state: who reads it, whether that was changed (referred), under which protocol.
Kind = collections.namedtuple("Kind", "name act reader referred protocol states")
LATE = ("to_interpret", "interpreting", "interpreted", "returned")
KINDS = (Kind("ecg", "ecg", "gp", False, "tous", STATES), Kind("spirometry", "spirometry", "gp", False, "tous", STATES),
         Kind("fundus", "fundus", "ophthalmologist", False, "tous", STATES),
         Kind("measurement", "measurement", "gp", False, "tous", STATES),
         Kind("ecg referred to the ophthalmologist", "ecg", "ophthalmologist", True, "tous", LATE),
         Kind("fundus referred to the gp", "fundus", "gp", True, "tous", LATE),
         Kind("ecg that the gp performs", "ecg", "gp", False, "medecin", ("ordered", "acquired")))


def claimer(kind):
    return "martin" if kind.reader == "gp" else "olga"


def sees(caller, role, kind):
    """Whether the caller may know that the study is there."""
    return caller != "stranger" and (role != "ophthalmologist" or kind.act == "fundus" or kind.referred)


# ---- the policy: studies ----

@dataclasses.dataclass
class Rule:
    """Of a study.
    who       "roles: states; roles: states"; without states: all
    name      tells two rules of one route apart
    reads     the study's reader only; state_first: where that is told only of a study in the right state
    own       in interpreting only who holds the claim
    waiting   needs no token while the study waits to be read, and lacks one in every other state
    performs  a nurse only if the protocol lets her
    to        the state that an allowed act leaves, "" = the same; changes: whether the study becomes another version
    missing   the problems that say "allowed, but something else is missing", by act ("" = any)"""
    method: str
    path: str
    who: str
    body: object = None
    name: str = ""
    acts: tuple = ACTS
    reads: bool = False
    waiting: bool = False
    state_first: bool = False
    own: bool = False
    performs: bool = False
    to: str = ""
    changes: bool = True
    missing: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        self.by_role = collections.defaultdict(set)
        for part in self.who.split(";"):
            roles, _, states = part.partition(":")
            for role in roles.split():
                self.by_role[role] |= set(states.split() or STATES)
        self.changes &= self.method != "GET"

    def expected(self, caller, role, person, kind, state):
        if role is None:
            return 401
        if role not in self.by_role:
            return 403
        if not sees(caller, role, kind):
            return 404
        if self.reads and not self.state_first and role != kind.reader:
            return 403
        if self.waiting and state != "to_interpret":
            return 409 if role == kind.reader else 403
        here = {r for r, states in self.by_role.items() if state in states and kind.act in self.acts}
        if not here:
            return 409
        if role not in here or (self.reads and role != kind.reader):
            return 403
        if self.performs and role == "nurse" and kind.protocol == "medecin":
            return 403
        if self.own and state == "interpreting" and person != claimer(kind):
            return 409
        return ALLOWED


def shown(w, x):
    """What a reader sees of it, where there is something to sign."""
    return {"shown": w.gp.get("/v1/studies/" + x.id).get("shown", "0" * 64)}


def with_token(**more):
    return lambda w, x: {"token": x.token, **more}


def other_reader(x):
    return "gp" if x.kind.reader == "ophthalmologist" else "ophthalmologist"


DEVICE = {"ecg": "folder", "fundus": "eyes", "spirometry": "spiro", "measurement": "scale"}
KNOWS = "nurse gp ophthalmologist admin lgc"
READERS = "gp ophthalmologist"
LIVE = "the running acquisition"
S, R = "/v1/studies/{id}", "/v1/records/{id}"
STUDY = (
    Rule("GET", S, KNOWS),
    Rule("GET", S + "/events", KNOWS),
    Rule("POST", S + "/acquire", "nurse gp: ordered acquired", lambda w, x: {"device": DEVICE[x.kind.act], "seconds": 30},
         performs=True, to="acquiring", missing={"spirometry": "device_absent", "measurement": "device_absent"}),
    Rule("POST", S + "/cancel", "nurse gp: ordered acquired; gp: to_interpret", lambda w, x: {"reason": "Annulé"},
         to="cancelled"),
    # Of an instrument that runs: here those of files do, the others are not plugged in.
    Rule("POST", S + "/cancel", "nurse gp: acquiring", lambda w, x: {}, name=LIVE,
         missing={"spirometry": "wrong_state", "measurement": "wrong_state"}),
    Rule("POST", S + "/finish", "nurse gp: acquiring", lambda w, x: {}, name=LIVE, acts=("fundus",)),
    Rule("PUT", S + "/pictures", "nurse gp: acquired",
         lambda w, x: {"pictures": [{"record": x.record, "picture": 1, **VIEW}]}, acts=("fundus",)),
    Rule("PUT", S + "/pupil", "nurse gp: acquired", lambda w, x: {"dilated": False}, acts=("fundus",)),
    Rule("POST", S + "/repeat", "nurse gp: acquired", lambda w, x: {"reason": "À refaire"}, to="ordered"),
    Rule("POST", S + "/accept", "nurse gp: acquired", lambda w, x: {"confirm": True}, to="to_interpret"),
    Rule("POST", S + "/claim", f"{READERS}: to_interpret interpreting", lambda w, x: {}, reads=True, own=True,
         to="interpreting"),
    Rule("POST", S + "/release", f"{READERS}: interpreting", with_token(), reads=True, own=True, to="to_interpret"),
    Rule("POST", S + "/sign", f"{READERS}: interpreting", lambda w, x: {"token": x.token, **shown(w, x), **conclusion(x.kind.act)},
         reads=True, own=True, to="interpreted"),
    Rule("POST", S + "/return", f"{READERS}: interpreting", with_token(code="110531", text="Flou"), reads=True, own=True,
         to="returned"),
    Rule("POST", S + "/refer", f"{READERS}: interpreting",
         lambda w, x: {"token": x.token, "reader": other_reader(x), "text": "Votre avis ?"}, name="with a token",
         reads=True, own=True, to="to_interpret"),
    Rule("POST", S + "/refer", "gp: to_interpret; ophthalmologist: interpreting", lambda w, x: {"reader": other_reader(x)},
         name="without a token", waiting=True, to="to_interpret"),
    Rule("POST", S + "/amend", f"{READERS}: interpreted",
         lambda w, x: {"version": 1, "reason": "Relu", **shown(w, x), **conclusion(x.kind.act)}, reads=True, state_first=True,
         to="interpreted"),
    Rule("PUT", S + "/draft", f"{READERS}: to_interpret interpreting interpreted", lambda w, x: conclusion(x.kind.act)),
    Rule("GET", S + "/draft", READERS),
    Rule("POST", S + "/report", READERS, lambda w, x: conclusion(x.kind.act), changes=False),
    Rule("GET", S + "/interpretations", f"{READERS} lgc"),
    Rule("GET", S + "/proof", READERS, missing={"": "not_signed"}),
    Rule("POST", S + "/page", "nurse gp: ordered acquiring acquired to_interpret interpreting", lambda w, x: {}),
    # What was signed, and what a reader has before him, stays what it is.
    Rule("POST", S + "/redecode", "gp admin: acquired to_interpret", lambda w, x: {}),
    Rule("POST", S + "/reassign", "gp admin: acquired to_interpret interpreting interpreted returned",
         lambda w, x: {"order": w.targets[x.kind.act], "birth_date": BIRTH, "records": [x.record], "confirm": True,
                       "reason": "Une autre patiente"}, to=lambda state: "returned" if state == "returned" else "ordered"),
    Rule("GET", R, KNOWS),
    Rule("GET", R + "/channels", KNOWS, missing={a: "not_found" for a in ACTS if a != "ecg"}),
    Rule("GET", R + "/preview", KNOWS, missing={a: "not_found" for a in ACTS if a != "fundus"}),
    Rule("GET", R + "/picture", READERS, missing={a: "not_found" for a in ACTS if a != "fundus"}),
    Rule("GET", R + "/dicom", "nurse gp ophthalmologist lgc", missing={"": "not_accepted wrong_state dicom_refused"}),
)

# ---- the policy: everything else, by role alone ----

EVERYBODY = "nurse gp ophthalmologist admin lgc auditor"
ANYONE = "anyone"
ACTING = {"lgc for nurse": 403, "lgc for gp": 403}
UNSEEN, UNDELEGATED = {"stranger": 404}, {"stranger": 403}


@dataclasses.dataclass
class Plain:
    """Of nothing that has a state. make(w, caller): the path's id or None, and the body, with all that the request needs
    made before. but: callers for whom it is another answer than for their role."""
    method: str
    path: str
    who: str
    make: object = lambda w, caller: (None, None)
    missing: str = ""
    but: dict = dataclasses.field(default_factory=dict)

    def expected(self, caller, role):
        if self.who == ANYONE:
            return ALLOWED
        if role is None:
            return 401
        if role not in self.who.split():
            return 403
        return self.but.get(caller, ALLOWED)


def of(thing):
    return lambda w, caller: (getattr(w, thing), None)


def body(value):
    return lambda w, caller: (None, dict(value))


def fresh_patient(w, caller):
    return w.name("patient"), {"family": "NEUF", "given": "Ana", "birth_date": BIRTH, "sex": "F"}


def fresh_followup(w, caller):
    patient = w.name("patient")
    w.nurse.ok("PUT", "/v1/patients/" + patient, {"family": "NEUF", "given": "Ana", "birth_date": BIRTH, "sex": "F"})
    team = {"gp": w.p.rpps["martin"], "nurse": w.p.rpps["nora" if caller == "stranger" else "ines"]}
    return None, {"patient": patient, "protocol": "tous", **team}


def open_followup(w, caller):
    return w.nurse.post("/v1/followups", fresh_followup(w, "nurse")[1])["id"], {"reason": "Terminé"}


def fresh_delegation(w, caller):
    year = 2100 + w.number()
    return None, {"nurse": w.p.rpps["nina"], "gp": w.p.rpps["martin"], "protocol": "tous", "authorisation": "Arrêté",
                  "authorised": "2012-06-18", "from": f"{year}-01-01", "until": f"{year}-12-31",
                  "nurse_adhesion": "2019-10-01", "gp_adhesion": "2019-09-01"}


def ended_delegation(w, caller):
    return w.root.post("/v1/delegations", fresh_delegation(w, caller)[1])["id"], {"reason": "Fin"}


def fresh_absence(w, caller):
    year, gp = 2100 + w.number(), "durand" if caller == "other gp" else "martin"
    return None, {"gp": w.p.rpps[gp], "deputy": w.p.rpps["martin" if gp == "durand" else "durand"],
                  "first": f"{year}-01-01", "last": f"{year}-01-31"}


def ended_absence(w, caller):
    return w.root.post("/v1/absences", fresh_absence(w, caller)[1])["id"], {}


def fresh_account(w, caller):
    name = w.name("compte")
    w.root.post("/v1/users", {"name": name, "role": "nurse"})
    return name, {}


def tray_row(value=None):
    return lambda w, caller: (w.another_ecg(), dict(value or {}))


def attached(w, caller):
    return w.another_ecg(), {"order": w.targets["ecg"], "birth_date": BIRTH, "confirm": True, "reason": "Vu"}


MARTIN = {"family": "Martin", "given": "Dominique", "role": "gp", "finess": Practice.FINESS}
CARERS = "nurse gp ophthalmologist"
OTHER = (
    Plain("GET", "/v1/health", ANYONE),
    Plain("GET", "/v1/drivers", "nurse gp ophthalmologist admin lgc"),
    Plain("GET", "/v1/devices", "nurse gp ophthalmologist admin lgc"),
    Plain("PUT", "/v1/patients/{id}", "nurse gp lgc", fresh_patient),
    Plain("POST", "/v1/patients/lookup", "nurse gp lgc", body({"datamatrix": "IS01"}), "ins_unreadable"),
    Plain("GET", "/v1/patients/{id}", "nurse gp ophthalmologist lgc", of("main_patient"), but=UNSEEN),
    Plain("GET", "/v1/patients/{id}/history", "gp admin", of("main_patient")),
    Plain("POST", "/v1/orders", "nurse gp",
          lambda w, c: (None, {"patient": "P1", "act": "ecg", "followup": w.followup["tous"]}), but=UNSEEN),
    # The protocol lets the GP alone prescribe and perform: a nurse's order is refused.
    Plain("POST", "/v1/orders", "nurse gp",
          lambda w, c: (None, {"patient": "P1", "act": "ecg", "followup": w.followup["medecin"]}),
          but={"nurse": 403, "lgc for nurse": 403, **UNSEEN}),
    Plain("GET", "/v1/orders", "nurse gp lgc"),
    Plain("GET", "/v1/orders/{id}", "nurse gp ophthalmologist lgc", of("main_order"), but=UNSEEN),
    Plain("GET", "/v1/forms", "nurse gp ophthalmologist lgc"),
    Plain("GET", "/v1/notices", CARERS),
    Plain("POST", "/v1/notices/{id}/acknowledge", CARERS, lambda w, c: ("N-999999", {}), "not_found"),
    Plain("GET", "/v1/events", "gp"),
    Plain("GET", "/v1/followups", "nurse gp lgc"),
    Plain("POST", "/v1/followups", "nurse gp", fresh_followup, but=UNDELEGATED),
    Plain("GET", "/v1/followups/{id}", "nurse gp lgc", lambda w, c: (w.followup["tous"], None), but=UNSEEN),
    Plain("POST", "/v1/followups/{id}/transfer", "gp admin",
          lambda w, c: (open_followup(w, c)[0], {"gp": w.p.rpps["durand"], "reason": "Déménagement"})),
    Plain("POST", "/v1/followups/{id}/close", "nurse gp", open_followup, but=UNSEEN),
    Plain("GET", "/v1/recalls", "nurse gp lgc"),
    # Of whom the agenda is, is asked by RPPS numbers: who has none must say both.
    Plain("GET", "/v1/meetings/agenda", "nurse gp", lambda w, c: (None, None), "missing_field invalid_field"),
    Plain("POST", "/v1/meetings", "nurse gp", body({}), "missing_field"),
    Plain("GET", "/v1/meetings", "nurse gp admin"),
    Plain("GET", "/v1/meetings/{id}", "nurse gp", lambda w, c: ("M-999999", None), "not_found"),
    Plain("GET", "/v1/reports/monthly", "gp admin auditor", lambda w, c: (None, None), "missing_field invalid_field"),
    Plain("GET", "/v1/retention", "gp admin"),
    Plain("GET", "/v1/patients/{id}/archive", "gp", of("main_patient")),
    Plain("POST", "/v1/patients/{id}/erase", "gp", lambda w, c: (w.main_patient, {"archive": "0" * 64}),
          "retention_not_due"),
    Plain("GET", "/v1/protocols", EVERYBODY),
    Plain("GET", "/v1/professionals", EVERYBODY),
    Plain("GET", "/v1/professionals/{id}", EVERYBODY, lambda w, c: (w.p.rpps["martin"], None)),
    Plain("PUT", "/v1/professionals/{id}", "admin", lambda w, c: (w.p.rpps["martin"], MARTIN)),
    Plain("GET", "/v1/delegations", "nurse gp ophthalmologist admin auditor"),
    Plain("POST", "/v1/delegations", "admin", fresh_delegation),
    Plain("POST", "/v1/delegations/{id}/end", "admin", ended_delegation),
    Plain("GET", "/v1/absences", "nurse gp ophthalmologist admin auditor"),
    Plain("POST", "/v1/absences", "gp admin", fresh_absence),
    Plain("POST", "/v1/absences/{id}/end", "gp admin", ended_absence),
    Plain("GET", "/v1/queue", CARERS),
    Plain("GET", "/v1/unmatched", "nurse gp admin"),
    Plain("GET", "/v1/unmatched/{id}", "nurse gp admin", of("tray")),
    Plain("GET", "/v1/unmatched/{id}/channels", "nurse gp admin", of("tray")),
    Plain("GET", "/v1/unmatched/{id}/preview", "nurse gp admin", of("tray_picture")),
    Plain("POST", "/v1/unmatched/{id}/attach", "nurse gp", attached, but=UNSEEN),
    Plain("POST", "/v1/unmatched/{id}/discard", "nurse gp", tray_row({"reason": "Essai"})),
    Plain("POST", "/v1/unmatched/{id}/redecode", "gp admin", tray_row()),
    Plain("POST", "/v1/files", "nurse gp admin lgc", lambda w, c: (None, w.name("octets").encode())),
    Plain("GET", "/v1/files", "nurse gp admin lgc"),
    Plain("GET", "/v1/files/{id}", "nurse gp admin lgc", of("file")),
    Plain("GET", "/v1/files/{id}/content", "gp", of("file")),
    Plain("GET", "/v1/media/{id}", "admin", lambda w, c: ("sdz", None), "not_found"),
    Plain("POST", "/v1/media", "admin", body({"name": "sdz"}), "not_found device_unknown"),
    Plain("GET", "/v1/devices/{id}/calibrations", "nurse gp admin", lambda w, c: ("spiro", None)),
    Plain("POST", "/v1/devices/{id}/calibrations", "nurse gp admin",
          lambda w, c: ("spiro", {"measured_ml": [2980, 3010, 2990]})),
    Plain("GET", "/v1/reference", "gp admin"),
    Plain("PUT", "/v1/reference", "admin", body({"name": "essai", "table": "x"}), "invalid_field"),
    Plain("GET", "/v1/changes", "gp admin lgc"),
    Plain("GET", "/v1/audit", "admin auditor"),
    Plain("GET", "/v1/audit/verify", "admin auditor"),
    Plain("GET", "/v1/audit/who-saw/{id}", "admin auditor", of("main_patient")),
    Plain("GET", "/v1/audit/head", "admin auditor", lambda w, c: (None, None), "not_found"),
    Plain("POST", "/v1/audit/head", "admin auditor", body({})),
    Plain("GET", "/v1/audit/export", "auditor"),
    Plain("POST", "/v1/audit/erase", "admin", body({})),
    # The copies of studies were written past the daemon: it sees that, and puts nothing away.
    Plain("POST", "/v1/audit/archive", "admin", body({"before": "2000-01-01T00:00:00Z"}), "artefact_corrupt"),
    Plain("GET", "/v1/users", "admin"),
    Plain("POST", "/v1/users", "admin", lambda w, c: (None, {"name": w.name("compte"), "role": "gp"})),
    Plain("POST", "/v1/users/{id}/password", "admin", fresh_account),
    Plain("POST", "/v1/users/{id}/professional", "admin", lambda w, c: ("nina", {"rpps": w.p.rpps["nina"]})),
    Plain("POST", "/v1/users/{id}/grant", "admin", lambda w, c: ("logiciel", {"person": "nina"})),
    Plain("POST", "/v1/users/{id}/revoke", "admin", lambda w, c: ("logiciel", {"person": "nina"})),
    Plain("POST", "/v1/users/{id}/token", "admin", fresh_account),
    Plain("POST", "/v1/users/{id}/disable", "admin", fresh_account),
    Plain("POST", "/v1/login", ANYONE, lambda w, c: (None, {"name": w.name("inconnu"), "password": "x"}),
          "login_refused"),
    Plain("POST", "/v1/unlock", ANYONE, body({}), "missing_field"),
    # Nobody changes a person's password for that person; who has none yet has no old one.
    Plain("POST", "/v1/password", "nurse gp ophthalmologist admin auditor",
          body({"old": "x", "new": "cinq mots que personne ne devine"}), "login_refused", ACTING),
    Plain("POST", "/v1/logout", EVERYBODY, body({})),
    Plain("GET", "/v1/me", EVERYBODY),
)

# ---- a store with every kind of study ----

Study = collections.namedtuple("Study", "id record kind state token")


class Bed(World):
    """Four real studies, one an act, acquired, read and signed; then, while the daemon is stopped, as many copies of each
    in each state as the table has acts that are allowed, and one for what is refused."""

    def __init__(self):
        work = tempfile.mkdtemp(prefix="asaleed-policy-")
        gp_only = "[protocol medecin]\nlabel = Médecin\n" + act_section("ecg", prescribe="no", perform="no")
        super().__init__(BUILD, work, {"tous": protocol("tous"), "medecin": gp_only},
                         wrap=beside(BUILD, SPIROMETER, SCALE))
        self.count = self.seen = 0
        p = self.p
        self.callers = {"nurse": p.nurse, "gp": p.gp, "other gp": p.gp2, "ophthalmologist": p.oph, "admin": p.admin,
                        "root": p.root, "lgc": p.lgc, "auditor": p.auditor, "lgc for nurse": p.lgc_nurse,
                        "lgc for gp": p.lgc_gp, "stranger": newcomer(self, "nora", "nurse", 1),
                        "nobody": Api(self.d.socket, "0" * 64)}
        newcomer(self, "nina", "nurse", 2)
        self.main_patient = "P1"
        self.followup = {name: None for name in ("tous", "medecin")}
        self.followup["tous"] = self.patient("P1", "tous")
        self.followup["medecin"] = self.p.follow("P1", "medecin")
        self.others = self.patient("P2", "tous")
        started = {act: self.started(act) for act in ("spirometry", "measurement", "ecg", "fundus")}
        self.real = {act: self.finished(act, *x) for act, x in started.items()}
        self.main_order = self.real["fundus"][0]
        f = self.taken_in(made(BUILD, "ecg90a", "--seconds", 2), "a.ecg")
        self.file, self.tray = f["id"], f["unmatched"]
        self.tray_picture = self.taken_in(made(BUILD, "jpeg", "--seed", 3), "b.jpg")["unmatched"]
        ordered = {act: self.order("P2", act, self.others) for act in ACTS}
        self.targets = {act: order for act, (order, _) in ordered.items()}
        must(self.d.stop() == 0, self.d.log()[-800:])
        self.copies()
        self.again()

    def number(self):
        self.count += 1
        return self.count

    def name(self, what):
        return f"{what}-{self.number()}"

    def started(self, act):
        """An order whose reading is there, or on its way."""
        order, study = self.order("P1", act, self.followup["tous"])
        if act in ("ecg", "fundus"):
            data = made(BUILD, "scp" if act == "ecg" else "jpeg", "--seed", 1)
            self.attach(self.taken_in(data)["unmatched"], order)
        else:
            self.acquire(study, DEVICE[act])
        return order, study

    def finished(self, act, order, study):
        self.acquired(study)
        self.accept(study)
        record = self.gp_view(study)["records"][0]["id"]
        self.exported(record, 1 if act == "fundus" else 0)
        self.sign(study, self.p.oph if act == "fundus" else self.gp)
        return order, study, record

    def needed(self, kind, state):
        """How many studies the allowed acts of one cell of the table use up."""
        n = sum(rule.expected(*c, kind, state) == ALLOWED for rule in STUDY if rule.changes for c in CALLERS)
        return n + (12 if state == "ordered" and kind.protocol == "tous" else 0)  # to be acquiring for rules of LIVE

    def copies(self):
        rows = Rows(self.d.store)
        self.still, self.pool = {}, {}
        for kind in KINDS:
            for state in kind.states:
                self.still[kind, state] = self.copy(rows, kind, state, True)
                self.pool[kind, state] = collections.deque(
                    self.copy(rows, kind, state, False) for _ in range(self.needed(kind, state)))
        rows.close()

    def copy(self, rows, kind, state, still):
        order, study, record = (int(x[2:]) for x in self.real[kind.act])
        now = time.time_ns() // 1000
        token = os.urandom(32)
        claim = {"claim": hashlib.sha256(token).digest(), "claim_by": claimer(kind), "claim_expires": now + DAY} \
            if state == "interpreting" else {"claim": None, "claim_by": None, "claim_expires": None}
        late = state in LATE
        order = rows.copy("orders", f"id = {order}", followup=int(self.followup[kind.protocol][2:]))
        new = rows.copy("study", f"id = {study}", orders=order, state=state, reader=kind.reader,
                        accepted=now if late else None, due=now + 10 * DAY if late else None, **claim)
        mine = rows.copy("record", f"id = {record}", study=new)
        for table in ("picture", "picture_label") + (("dicom",) if late or not still else ()):
            rows.copy(table, f"record = {record}", record=mine)
        for table in ("pupil", "assessment") + (("interpretation",) if state == "interpreted" else ()):
            rows.copy(table, f"study = {study}", study=new)
        if state in ("ordered", "acquiring"):
            rows.run("INSERT INTO supersession VALUES(?,?,'ines','À refaire')", mine, now)
        if kind.referred:
            rows.run("INSERT INTO referral(study, reader, text, at, by) VALUES(?,?,'Votre avis ?',?,?)", new, kind.reader,
                     now, "martin" if kind.reader == "ophthalmologist" else "olga")
        if state == "returned":
            rows.run("INSERT INTO study_return VALUES(?,'110531','Flou',?,?)", new, now, claimer(kind))
        for reader in ("martin", "durand", "olga") if still else ():
            rows.run("INSERT INTO draft VALUES(?,?,1,'{\"text\":\"Vu\"}',?)", new, reader, now)
        return Study(f"S-{new}", f"R-{mine}", kind, state, token.hex())

    # ---- while it serves ----

    def call(self, caller, method, path, value):
        """The answer; of a stream of events its beginning."""
        api = self.callers[caller]
        if not path.endswith("/events"):
            return api.call(method, path, value, headers={"Content-Type": "application/json"})
        s = api.connect()
        try:
            extra = {"Asaleed-Acting-For": api.acting_for} if api.acting_for else {}
            s.sendall(request_bytes(method, path, None, api.token, headers=extra))
            got = b""
            while b"\r\n\r\n" not in got:
                got += s.recv(65536)
            head, _, rest = got.partition(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                while not (whole := parse(got)):
                    got += s.recv(65536)
                return whole[0]
            return parse(b"\r\n".join(h for h in head.split(b"\r\n") if not h.lower().startswith(b"content-length"))
                         + b"\r\n\r\n" + rest)[0]
        finally:
            s.close()

    def row(self, study):
        y = self.gp.get("/v1/studies/" + study)
        return y["version"], y["state"], y["updated"]

    def changes(self):
        """The number of the newest change."""
        while (a := self.root.get(f"/v1/changes?since={self.seen}&limit=200"))["items"]:
            self.seen = a["next_since"]
        return self.seen

    def live(self, kind):
        """A study that an instrument of files waits for."""
        x = self.pool[kind, "ordered"].popleft()
        self.nurse.post(f"/v1/studies/{x.id}/acquire", {"device": DEVICE[kind.act], "seconds": 60})
        return x

    def rest(self, study):
        """Until the instrument is free again."""
        if self.root.get("/v1/studies/" + study)["state"] == "acquiring":
            self.nurse.call("POST", f"/v1/studies/{study}/cancel", {})
        wait_for("at rest", lambda: self.root.get("/v1/studies/" + study)["state"] != "acquiring", self.d.log)


# ---- the tests ----

class Count:
    def __init__(self):
        self.allowed = self.refused = 0
        self.wrong = []

    def say(self, *what):
        self.wrong.append(" ".join(str(w) for w in what))

    def judge(self, what, expected, a, missing):
        """Whether the answer is the table's; for what is allowed also whether it was done."""
        code = a.json["code"] if a.status >= 400 else ""
        if expected == ALLOWED:
            self.allowed += 1
            if 200 <= a.status < 300 or code in missing:
                return True
        else:
            self.refused += 1
            if a.status == expected:
                return True
        self.say(*what, "expected", expected, "got", a.status, code)
        return False

    def end(self):
        must(not self.wrong, f"{len(self.wrong)} of {self.allowed + self.refused}:\n" + "\n".join(self.wrong[:11]))


def test_routes():
    """The table has the daemon's routes, each with the roles that the reference page names."""
    told = reference(BUILD)
    written = collections.defaultdict(set)
    for rule in STUDY:
        written[rule.method, rule.path] |= set(rule.by_role)
    for plain in OTHER:
        written[plain.method, plain.path] |= set(plain.who.split())
    must(not set(told) - set(written), "routes without a policy:", sorted(set(told) - set(written)))
    must(not set(written) - set(told), "not in the daemon:", sorted(set(written) - set(told)))
    differ = [(r, sorted(told[r] ^ written[r])) for r in told if told[r] != written[r]]
    must(not differ, "other roles:", differ)


def one(w, count, rule, kind, state, caller):
    name, role, person = caller
    expected = rule.expected(name, role, person, kind, state)
    x, missing = w.still[kind, state], rule.missing.get(kind.act, rule.missing.get("", "")).split()
    runs = expected == ALLOWED and rule.name == LIVE and kind.act in ("ecg", "fundus")
    if runs:
        x = w.live(kind)
    elif expected == ALLOWED and rule.changes and not missing:
        x = w.pool[kind, state].popleft()
    path = rule.path.replace("{id}", x.record if rule.path.startswith(R) else x.id)
    before = w.row(x.id) if rule.method != "GET" else None
    a = w.call(name, rule.method, path, rule.body(w, x) if rule.body else None)
    what = (rule.method, rule.path, rule.name, kind.name, state, "by", name, x.id)
    right = count.judge(what, expected, a, missing)
    if rule.method == "GET":
        return
    if expected != ALLOWED or not rule.changes or not 200 <= a.status < 300:
        if w.row(x.id) != before:
            count.say(*what, a.status, "but changed:", before, w.row(x.id))
    elif right and not runs and rule.path != S + "/redecode" and rule.path != S + "/draft":
        after = w.row(x.id)
        if after[0] == before[0] or after[1] != (rule.to(before[1]) if callable(rule.to) else rule.to or before[1]):
            count.say(*what, "leaves", after, "of", before)
    if runs or (rule.to == "acquiring" and a.status == 202):
        w.rest(x.id)


def test_studies(w, count):
    for kind in KINDS:
        for state in kind.states:
            for rule in STUDY:
                for caller in CALLERS:
                    one(w, count, rule, kind, state, caller)
    count.end()


def test_others(w, count):
    for plain in OTHER:
        for name, role, _ in CALLERS:
            expected = plain.expected(name, role)
            thing, value = plain.make(w, name)
            wait_for("every file looked at", lambda: not w.root.get("/v1/files?state=waiting")["items"], w.d.log)
            before = w.changes()
            a = w.call(name, plain.method, plain.path.replace("{id}", thing or ""), value)
            what = (plain.method, plain.path, "by", name)
            count.judge(what, expected, a, plain.missing.split())
            if expected != ALLOWED and plain.method != "GET" and w.changes() != before:
                count.say(*what, a.status, "but something changed")
    count.end()


def main():
    tap = Tap()
    if not can_simulate(BUILD):
        tap.skip("the policy", "no umockdev, or the simulator is not built")
        return tap.end()
    w, count = None, Count()
    tap.run("the table names every route and its roles, and no other", test_routes)
    try:
        w = Bed()
        studies = sum(len(x) + 1 for x in w.pool.values())
        tap.note(f"{studies} studies of {len(w.pool)} kinds and states, {len(STUDY)} rules of studies,"
                 f" {len(OTHER)} others, {len(CALLERS)} callers")
        tap.run("what is not of a study, by each caller", test_others, w, count)
        tap.run("each rule of studies, by each caller, in each state, of each act", test_studies, w, count)
        tap.note(f"{count.allowed + count.refused} combinations: {count.allowed} allowed, {count.refused} refused")
        tap.run("it was alive to the end", lambda: must(w.d.alive() and w.d.stop() == 0, w.d.log()[-500:]))
    finally:
        if w:
            w.done()
    return tap.end()


sys.exit(main())
