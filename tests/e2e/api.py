#!/usr/bin/env python3
"""The API as whoever wants to break it: every route by every role, every body that does not fit, connections that do
not behave, and marker names that must never reach the journal. TAP on standard output.

api.py BUILD
"""
import datetime
import hashlib
import itertools
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from bed import (EVERY_ACT, FINESS, NO_CLAIM, RPPS, Api, Asaleed, Practice, Tap, can_simulate, check_problem,  # noqa: E402
                 command_of, delegation, luhn, must, new_key, parse, preload, request_bytes, signature, tree)

BUILD = os.path.abspath(sys.argv[1])
tap = Tap()
SIMULATE = can_simulate(BUILD)

# What must never be in the journal: each is part of a name, an id, a text or a secret that a caller sent.
MARK = "Zqx"
FAMILY, GIVEN = f"{MARK}Famille-É", f"{MARK}Prénom"
PATIENT = f"{MARK}-patient-1"
TEXT = f"{MARK} texte libre"
BIRTH = "1931-07-23"

# method, path, roles that get in (None: whoever it is), body members: "!" a required text. Written from the contract.
N, G, O, A, L, U = "nurse", "gp", "ophthalmologist", "admin", "lgc", "auditor"
ALL = (N, G, O, A, L, U)
CLINIC = (N, G, O, A, L)
JSON = {"Content-Type": "application/json"}
REPORT = {"conclusion": "!", "findings": {}, "text": "!"}
ROUTES = [
    ("GET", "/v1/health", None, None),
    ("GET", "/v1/drivers", CLINIC, None),
    ("GET", "/v1/devices", CLINIC, None),
    ("PUT", "/v1/patients/{P}", (N, G, L), {"family": "!", "given": "!", "birth_date": "!", "sex": "!", "ins": "x",
                                            "ins_oid": "x", "ins_status": "x"}),
    ("POST", "/v1/patients/lookup", (N, G, L), {"datamatrix": "!"}),
    ("GET", "/v1/patients/{P}", (N, G, O, L), None),
    ("GET", "/v1/patients/{P}/history", (G, A), None),
    ("POST", "/v1/orders", (N, G), {"patient": "!", "act": "!", "followup": "x"}),
    ("GET", "/v1/orders", (N, G, L), None),
    ("GET", "/v1/orders/O-999", (N, G, O, L), None),
    ("GET", "/v1/studies/S-999", CLINIC, None),
    ("POST", "/v1/studies/S-999/acquire", (N, G), {"device": "!", "seconds": 10, "phase": "x", "height_cm": "x", "datamatrix": "x",
                                                   "pictures": 1}),
    ("POST", "/v1/studies/S-999/finish", (N, G), {}),
    ("PUT", "/v1/studies/S-999/pictures", (N, G), {"pictures": []}),
    ("PUT", "/v1/studies/S-999/pupil", (N, G), {"dilated": True, "agents": [], "degree_mm": "x"}),
    ("POST", "/v1/studies/S-999/cancel", (N, G), {"reason": "!"}),
    ("POST", "/v1/studies/S-999/repeat", (N, G), {"reason": "!"}),
    ("POST", "/v1/studies/S-999/accept", (N, G), {"confirm": True, "comment": "x", "height_cm": "x"}),
    ("POST", "/v1/studies/S-999/claim", (G, O), {}),
    ("POST", "/v1/studies/S-999/release", (G, O), {"token": "!"}),
    ("POST", "/v1/studies/S-999/sign", (G, O), {"token": "!", "shown": "!", **REPORT}),
    ("POST", "/v1/studies/S-999/amend", (G, O), {"version": 1, "reason": "!", "shown": "!", **REPORT}),
    ("POST", "/v1/studies/S-999/report", (G, O), REPORT),
    ("GET", "/v1/studies/S-999/draft", (G, O), None),
    ("PUT", "/v1/studies/S-999/draft", (G, O), {"conclusion": "x", "findings": {}, "text": "x"}),
    ("POST", "/v1/studies/S-999/return", (G, O), {"token": "!", "code": "!", "text": "x"}),
    ("POST", "/v1/studies/S-999/refer", (G, O), {"token": "x", "reader": "!", "text": "x"}),
    ("GET", "/v1/studies/S-999/interpretations", (G, O, L), None),
    ("GET", "/v1/studies/S-999/proof", (G, O), None),
    ("POST", "/v1/studies/S-999/page", (N, G), {"text": "x"}),
    ("GET", "/v1/forms", (N, G, O, L), None),
    ("GET", "/v1/notices", (N, G, O), None),
    ("POST", "/v1/notices/N-999/acknowledge", (N, G, O), {}),
    ("GET", "/v1/events", (G,), None),
    ("GET", "/v1/recalls", (N, G, L), None),
    ("GET", "/v1/meetings/agenda", (N, G), None),
    ("POST", "/v1/meetings", (N, G), {"gp": "!", "nurse": "x", "held": "!", "minute": "!", "followups": []}),
    ("GET", "/v1/meetings", (N, G, A), None),
    ("GET", "/v1/meetings/M-999", (N, G), None),
    ("GET", "/v1/reports/monthly", (G, A, U), None),
    ("GET", "/v1/retention", (G, A), None),
    ("GET", "/v1/patients/{P}/archive", (G,), None),
    ("POST", "/v1/patients/{P}/erase", (G,), {"archive": "!"}),
    ("GET", "/v1/audit/who-saw/{P}", (A, U), None),
    ("GET", "/v1/audit/head", (A, U), None),
    ("POST", "/v1/audit/head", (A, U), {}),
    ("GET", "/v1/audit/export", (U,), None),
    ("POST", "/v1/audit/erase", (A,), {}),
    ("GET", "/v1/followups", (N, G, L), None),
    ("POST", "/v1/followups", (N, G), {"patient": "!", "protocol": "!", "gp": "!", "nurse": "x"}),
    ("GET", "/v1/followups/W-999", (N, G, L), None),
    ("POST", "/v1/followups/W-999/transfer", (G, A), {"gp": "x", "nurse": "x", "reason": "!"}),
    ("POST", "/v1/followups/W-999/close", (N, G), {"reason": "!"}),
    ("GET", "/v1/protocols", ALL, None),
    ("GET", "/v1/professionals", ALL, None),
    ("GET", "/v1/professionals/" + RPPS["martin"], ALL, None),
    ("PUT", "/v1/professionals/" + RPPS["martin"], (A,), {"family": "!", "given": "!", "role": "!", "finess": "!"}),
    ("GET", "/v1/delegations", (N, G, O, A, U), None),
    ("POST", "/v1/delegations", (A,), {name: "!" for name in delegation("ines", "martin", "tous")}),
    ("POST", "/v1/delegations/D-999/end", (A,), {"reason": "!"}),
    ("GET", "/v1/absences", (N, G, O, A, U), None),
    ("POST", "/v1/absences", (A, G), {"gp": "!", "deputy": "!", "first": "!", "last": "!"}),
    ("POST", "/v1/absences/A-999/end", (G, A), {}),
    ("POST", "/v1/studies/S-999/redecode", (G, A), {}),
    ("GET", "/v1/studies/S-999/events", CLINIC, None),
    ("GET", "/v1/queue", (N, G, O), None),
    ("GET", "/v1/records/R-999", CLINIC, None),
    ("GET", "/v1/records/R-999/channels", CLINIC, None),
    ("GET", "/v1/records/R-999/preview", CLINIC, None),
    ("GET", "/v1/records/R-999/picture", (G, O), None),
    ("GET", "/v1/records/R-999/dicom", (N, G, O, L), None),
    ("GET", "/v1/unmatched", (N, G, A), None),
    ("GET", "/v1/unmatched/U-999", (N, G, A), None),
    ("GET", "/v1/unmatched/U-999/channels", (N, G, A), None),
    ("GET", "/v1/unmatched/U-999/preview", (N, G, A), None),
    ("POST", "/v1/unmatched/U-999/attach", (N, G), {"order": "!", "birth_date": "x", "datamatrix": "x", "confirm": True, "reason": "x"}),
    ("POST", "/v1/unmatched/U-999/discard", (N, G), {"reason": "!"}),
    ("POST", "/v1/unmatched/U-999/redecode", (G, A), {}),
    ("POST", "/v1/studies/S-999/reassign", (G, A), {"order": "!", "birth_date": "x", "datamatrix": "x", "records": [], "confirm": True,
                                                    "reason": "!"}),
    ("POST", "/v1/files", (N, G, A, L), None),
    ("GET", "/v1/files", (N, G, A, L), None),
    ("GET", "/v1/files/F-999", (N, G, A, L), None),
    ("GET", "/v1/files/F-999/content", (G,), None),
    ("GET", "/v1/media/sdz9", (A,), None),
    ("POST", "/v1/media", (A,), {"name": "!"}),
    ("GET", "/v1/devices/none/calibrations", (N, G, A), None),
    ("POST", "/v1/devices/none/calibrations", (N, G, A), {"syringe_ml": 3000, "measured_ml": [], "comment": "x"}),
    ("GET", "/v1/reference", (G, A), None),
    ("PUT", "/v1/reference", (A,), {"name": "!", "table": "x"}),
    ("GET", "/v1/changes", (G, A, L), None),
    ("GET", "/v1/audit", (A, U), None),
    ("GET", "/v1/audit/verify", (A, U), None),
    ("POST", "/v1/audit/archive", (A,), {"before": "!"}),
    ("GET", "/v1/users", (A,), None),
    ("POST", "/v1/users", (A,), {"name": "!", "role": "!", "display": "x"}),
    ("POST", "/v1/users/nobody/password", (A,), {}),
    ("POST", "/v1/users/nobody/professional", (A,), {"rpps": "!"}),
    ("POST", "/v1/users/nobody/grant", (A,), {"person": "!"}),
    ("POST", "/v1/users/nobody/revoke", (A,), {"person": "!"}),
    ("POST", "/v1/users/nobody/token", (A,), {}),
    ("POST", "/v1/users/nobody/disable", (A,), {}),
    ("POST", "/v1/login", None, {"name": "!", "password": "!"}),
    ("POST", "/v1/unlock", None, {"password": "!"}),
    ("POST", "/v1/password", (N, G, O, A, U), {"old": "!", "new": "!"}),
    ("POST", "/v1/logout", ALL, {}),
    ("GET", "/v1/me", ALL, None),
]


def with_key(digits):
    """A matricule, of its 13 characters."""
    return digits + f"{97 - int(digits.replace('2A', '19').replace('2B', '18')) % 97:02}"


# What whoever it is gets: nobody is logged in, and after some tries as nobody must wait.
ANYBODY = {"/v1/health": (200,), "/v1/login": (401, 429), "/v1/unlock": (401,)}
INS = with_key("231072A004123")  # of Corsica
NIR, TEST = "1.2.250.1.213.1.4.8", "1.2.250.1.213.1.4.10"
VALUES = {"family": FAMILY, "given": GIVEN, "birth_date": BIRTH, "sex": "F", "patient": PATIENT, "act": "ecg",
          "ins": INS, "ins_oid": NIR, "ins_status": "validated", "datamatrix": TEXT, "followup": "W-1",
          "device": "ecg1", "seconds": 10, "phase": "pre", "height_cm": "168", "reason": TEXT, "confirm": True,
          "comment": TEXT, "token": "0" * 64, "conclusion": "normal", "findings": {}, "text": TEXT, "version": 1,
          "code": "110531", "reader": "ophthalmologist", "protocol": "tous", "rpps": RPPS["martin"], "finess": FINESS,
          "deputy": RPPS["durand"], "first": "2030-01-01", "last": "2030-01-02", "order": "O-999", "records": ["R-999"],
          "syringe_ml": 3000, "measured_ml": [3000], "table": TEXT, "person": "martin", "password": TEXT, "old": TEXT,
          "new": "short", "before": "2000-01-01T00:00:00Z", "name": "someone", "role": "gp", "display": FAMILY,
          "pictures": [{"record": "R-1", "picture": 1, "laterality": "R", "field": "disc"}],
          "held": "2026-01-01", "minute": TEXT, "followups": [], "archive": "0" * 64,
          "shown": "0" * 64, "dilated": True, "agents": ["tropicamide"], "degree_mm": "6.5", **delegation("ines", "martin", "tous")}
IDENTITY = {name: VALUES[name] for name in ("family", "given", "birth_date", "sex")}


def body_of(fields):
    return {name: VALUES[name] for name in fields or {}}


def path_of(path):
    return path.replace("{P}", PATIENT)


def admitted(d):
    """The people of a practice, all with the marked name, and the patient."""
    p = Practice(d, display=FAMILY, mark=MARK)
    p.secrets = list(p.token.values())
    p.admit(PATIENT, **IDENTITY)
    return p


# ---- routes, roles, methods ----

def test_contract(_d, _p):
    """What the program says of its routes is what this file knows of them."""
    text = subprocess.run([os.path.join(BUILD, "asaleed"), "--api-reference"], capture_output=True, text=True,
                          check=True).stdout
    told = re.findall(r"^\| (GET|POST|PUT) \| `(\S+)` \| ([a-z ]+) \| ([a-z_ ]*) \|", text, re.M)
    must(len(told) > 80, told)
    plain = {path for _, path, _, _ in told}
    for method, path, roles, fields in told:
        known = [r for r in ROUTES if r[0] == method and re.fullmatch(path.replace("{id}", "[^/]+"), path_of(r[1]))
                 and (path_of(r[1]) == path or path_of(r[1]) not in plain)]
        must(len(known) == 1, "not in ROUTES once:", method, path, known)
        must(set(known[0][2] or ["anyone"]) == set(roles.split()), method, path, roles)
        must(set(known[0][3] or {}) == set(fields.split()), method, path, fields)
    must(len(told) == len(ROUTES), "no longer a route:", len(told), len(ROUTES))


def test_roles(d, p):
    n = 0
    for method, path, roles, fields in ROUTES:
        body = None if fields is None else body_of(fields)
        typed = JSON if roles is None and fields else None  # whoever it is says what comes with a password
        for caller, role in p.callers:
            if path == "/v1/users" and method == "POST":
                body["name"] = f"user{n}"
            a = caller.call(method, path_of(path), body, headers=typed)
            n += 1
            if roles is None:
                must(a.status in ANYBODY[path], method, path, role, a.status, a.body[:200])
            elif role in roles:
                must(a.status not in (401, 403, 405, 500), method, path, role, a.status, a.body[:200])
                if a.status >= 400:
                    check_problem(a, a.status)
            else:
                check_problem(a, 403, "forbidden")
        for token in ("0" * 64, "x", "0" * 63, p.token["ines"].upper() + "0"):
            a = Api(d.socket, token).call(method, path_of(path), body)
            n += 1
            if roles is None:
                must(a.status in ANYBODY[path], path, a.status)
            else:
                check_problem(a, 401, "unauthenticated")
                must(a.headers.get("www-authenticate") == "Bearer", a.headers)
        if roles is not None:  # over TCP nobody is known by the kernel's word
            a = Api(d.tcp).call(method, path_of(path), body)
            n += 1
            check_problem(a, 401, "unauthenticated")
        for scheme in ("Basic abc", "Bearer", "Bearer  ", ""):
            a = Api(d.socket).call(method, path_of(path), body, headers={"Authorization": scheme})
            n += 1
            if roles is not None:
                check_problem(a, 401, "unauthenticated")
    tap.note(f"{n} requests of route x caller")


def test_acting_for(d, p):
    for whom in ("adele", "logiciel", "nobody", "root", "asaleed", "", "x" * 500, "ines' OR 1=1 --", "in\xe9s"):
        a = Api(d.socket, p.token["logiciel"], whom or None).call(
            "GET", "/v1/queue", headers={} if whom else {"Asaleed-Acting-For": ""})
        check_problem(a, 403, "forbidden")
    for caller in (p.nurse, p.gp, p.admin, p.root):  # nobody else may act for anybody
        a = caller.call("GET", "/v1/queue", headers={"Asaleed-Acting-For": "ines"})
        check_problem(a, 403, "forbidden")
    check_problem(p.of("logiciel", "aude").call("GET", "/v1/queue"), 403, "forbidden")
    must(p.lgc_nurse.call("GET", "/v1/queue").status == 200)
    # Each person for whom it may is granted to each software, and can be taken back.
    other = Api(d.socket, p.root.post("/v1/users", {"name": "other", "role": L})["token"], "ines")
    p.secrets.append(other.token)
    check_problem(other.call("GET", "/v1/queue"), 403, "forbidden")
    for lgc, person, status in (("other", "adele", 404), ("other", "nobody", 404), ("martin", "ines", 404),
                                ("nobody", "ines", 404), ("other", "ines", 200), ("other", "ines", 200)):
        must(p.root.call("POST", f"/v1/users/{lgc}/grant", {"person": person}).status == status, lgc, person)
    must(other.call("GET", "/v1/queue").status == 200)
    check_problem(p.gp.call("POST", "/v1/users/other/grant", {"person": "martin"}), 403, "forbidden")
    p.root.post("/v1/users/other/revoke", {"person": "ines"})
    check_problem(other.call("GET", "/v1/queue"), 403, "forbidden")
    must(p.lgc_nurse.call("GET", "/v1/queue").status == 200, "the other software's grant")
    order = p.lgc_gp.post("/v1/orders", {"patient": PATIENT, "act": "ecg"})
    must(order["ordered_by"] == "martin", order)
    row = p.root.get("/v1/audit?limit=1")["items"][0]
    must(row["actor"] == "logiciel" and row["acting_for"] == "martin", row)


def test_methods(d, p):
    paths = {}
    for method, path, _, _ in ROUTES:
        paths.setdefault(path_of(path), []).append(method)
    paths["/v1/patients/lookup"] += ["GET", "PUT"]  # it can be a patient's id
    n = 0
    for path, allowed in paths.items():
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get", "FOO", "HEAD"):
            if method in allowed:
                continue
            n += 1
            found, closed = p.root.raw(request_bytes(method, path), answers=1) if method != "HEAD" else ([], True)
            if method == "HEAD":  # its answer has a length and no body
                s = d.api.connect()
                s.sendall(request_bytes(method, path))
                must(s.recv(4096).startswith(b"HTTP/1.1 405 "), path)
                s.close()
                continue
            check_problem(found[0], 405, "method_not_allowed")
            must(sorted(found[0].headers["allow"].split(", ")) == sorted(allowed), method, path, found[0].headers)
    for path in ("/", "/v1", "/v1/", "/v2/health", "/v1/health/", "//v1/health", "/v1/Health", "/v1/orders/O-1/x",
                 "/v1/patients/", "/v1/patients/a/b", "/v1/studies/S-1/", "/v1/studies//claim", "/v1/" + "x" * 3000,
                 "/v1/patients/" + "x" * 65, "/%2e%2e/%2e%2e/etc/passwd", "/v1/../v1/healt", "*"):
        check_problem(p.root.call("GET", path), 404, "not_found")
    for path in ("O-0", "O-01", "O-", "o-1", "S-1", "O-99999999999999999999", "O--1", "O-1%20", "O-1%00", "%4f-1a"):
        a = p.gp.call("GET", "/v1/orders/" + path)
        must(a.status in (404, 200) if "%00" in path else a.status == 404, path, a.status)
    tap.note(f"{n} wrong methods")


# ---- bodies ----

def deep(n):
    return b'{"reason":' + b"[" * n + b"]" * n + b"}"


def test_bodies(d, p):
    n = 0
    by_role = {N: p.nurse, G: p.gp, O: p.oph, A: p.admin, L: p.lgc, U: p.auditor}
    for method, path, roles, fields in ROUTES:
        if fields is None:
            continue
        caller, path = by_role[roles[0]] if roles else Api(d.tcp), path_of(path)
        good = json.dumps(body_of(fields)).encode()

        def refused(data, code="bad_request", status=400, field=None, headers=None if roles else JSON):
            nonlocal n
            n += 1
            a = caller.call(method, path, data, headers=headers)
            try:
                return check_problem(a, status, code, field)
            except AssertionError as e:
                raise AssertionError(f"{method} {path} {data[:80]}: {e}")

        refused(json.dumps({**body_of(fields), f"{MARK}unknown": 1}).encode(), "unknown_field", field=f"{MARK}unknown")
        refused(json.dumps({**body_of(fields), "": 1}).encode(), "unknown_field")
        if len(fields) > 1:
            refused(json.dumps({**body_of(fields), " ".join(list(fields)[:2]): 1}).encode(), "unknown_field")
        for bad in (b"[]", b'"x"', b"1", b"null", b"{", b"{}{}", b"{} x", b'{"a":}', b"\xff\xfe", b"\x00", good + b"\x00",
                    b'{"reason":"\xc3\x28"}', b'{"reason":"\xed\xa0\x80"}', b'{"reason":"a\\u0000b"}',
                    b'{"reason":"\\ud800"}', b'{"reason":"a\x01b"}', b'{"reason":"\\u0007"}', b'{"x\\n":1}',
                    b'{"reason":"a","reason":"b"}', b'{"seconds":1.5}', b'{"seconds":1e3}',
                    b'{"seconds":99999999999999999999999}', b"\xef\xbb\xbf{}", deep(17), deep(1000), deep(100000),
                    b'{"reason":"' + b"x" * 200000, b"<xml/>", b"reason=x"):
            refused(bad)
        refused(b'{"reason":"' + b"x" * (300 << 10) + b'"}', "body_too_large", 413)
        refused(b" " * (300 << 10), "body_too_large", 413)
        if good != b"{}":
            refused(good, headers={"Content-Type": "text/plain"})
        # At the limit it is read: whitespace up to 256 KiB is still this body, and refused for what it says.
        a = caller.call(method, path, b" " * ((256 << 10) - 2) + b"{}")
        must(a.status != 413, path)
        exists = not path.startswith(("/v1/studies/S-999", "/v1/followups/W-999", "/v1/devices/none"))
        for name, what in fields.items():
            if exists and what == "!":
                missing = {k: v for k, v in body_of(fields).items() if k != name}
                refused(json.dumps(missing).encode(), "missing_field", field=name)
                refused(json.dumps({**missing, name: None}).encode(), "missing_field", field=name)
                for wrong in (1, True, [], {}, "", "x" * 70000):
                    refused(json.dumps({**missing, name: wrong}).encode(), "invalid_field", field=name)
    tap.note(f"{n} bodies refused")


def test_fields(d, p):
    """Values that are of the right type and still wrong, where the study is there."""
    study = p.nurse.post("/v1/orders", {"patient": PATIENT, "act": "ecg"})["study"]["id"]

    def refused(path, body, code, status=400, caller=p.gp, field=None, method="POST"):
        check_problem(caller.call(method, path, body), status, code, field)

    s = f"/v1/studies/{study}"
    for body, code, status, field in (
            ({}, "missing_field", 400, "device"), ({"device": 1}, "invalid_field", 400, "device"),
            ({"device": "ecg1", "seconds": 0}, "invalid_field", 400, "seconds"),
            ({"device": "ecg1", "seconds": "10"}, "invalid_field", 400, "seconds"),
            ({"device": "ecg1", "seconds": 86401}, "invalid_field", 400, "seconds"),
            ({"device": "ecg1", "seconds": None}, "invalid_field", 400, "seconds"),
            ({"device": f"{MARK}none"}, "device_unknown", 404, None), ({"device": "absent"}, "device_absent", 409, None)):
        refused(s + "/acquire", body, code, status, p.nurse, field)
    refused(s + "/cancel", {}, "wrong_state", 409)  # without a reason it is a running acquisition that is meant
    refused(s + "/cancel", {"reason": ""}, "invalid_field", field="reason")
    refused(s + "/cancel", {"reason": "x" * 501}, "invalid_field", field="reason")
    refused(s + "/repeat", {"reason": "x"}, "wrong_state", 409)
    refused(s + "/accept", {"confirm": "yes"}, "invalid_field", field="confirm")
    refused(s + "/accept", {"confirm": True}, "wrong_state", 409)
    refused(s + "/claim", {}, "wrong_state", 409)
    refused(s + "/release", {"token": "0" * 64}, "stale_token", 409)
    refused(s + "/release", {"token": "0" * 65}, "invalid_field", field="token")
    none = signature(NO_CLAIM, "x")
    refused(s + "/sign", {**none, "conclusion": "fine"}, "invalid_field", field="conclusion")
    refused(s + "/sign", {**none, "text": "x" * 20001}, "invalid_field", field="text")
    refused(s + "/sign", {**none, "shown": "x" * 64}, "invalid_field", field="shown")
    refused(s + "/sign", {n: v for n, v in none.items() if n != "shown"}, "missing_field", field="shown")
    refused(s + "/sign", none, "stale_token", 409)
    refused(s + "/return", {"token": "0" * 64, "code": "1"}, "invalid_field", field="code")
    refused(s + "/return", {"token": "0" * 64, "code": "110531"}, "stale_token", 409)
    for reader in ("gp", "nurse", "king"):  # a GP is to read it already
        refused(s + "/refer", {"reader": reader}, "invalid_field", field="reader")
    refused(s + "/amend", {**none, "version": 1, "reason": "x"}, "unknown_field", field="token")
    amended = {name: value for name, value in none.items() if name != "token"}
    refused(s + "/amend", {**amended, "version": 0, "reason": "x"}, "invalid_field", field="version")
    refused(s + "/amend", {**amended, "version": 1, "reason": "x"}, "wrong_state", 409)
    check_problem(p.gp.call("PUT", s + "/draft", {"text": "x"}), 409, "wrong_state")
    refused(s + "/draft", {}, "method_not_allowed", 405)
    check_problem(p.gp.call("GET", s + "/draft"), 404, "not_found")
    check_problem(p.gp.call("GET", s + "/proof"), 409, "not_signed")
    must(p.gp.get(s + "/interpretations")["items"] == [])
    refused(s + "/redecode", {}, "wrong_state", 409)
    refused("/v1/orders", {"patient": "nobody", "act": "ecg"}, "not_found", 404)
    refused("/v1/orders", {"patient": PATIENT, "act": "mri"}, "invalid_field", field="act")
    for bad in ("O-1", "W-", "1", ""):
        refused("/v1/orders", {"patient": PATIENT, "act": "ecg", "followup": bad}, "invalid_field", field="followup")
    refused("/v1/orders", {"patient": PATIENT, "act": "ecg", "followup": "W-999"}, "followup_missing", 409)
    followup = {"patient": PATIENT, "protocol": "tous", "gp": RPPS["martin"]}
    refused("/v1/followups", followup, "already_exists", 409, p.nurse)
    refused("/v1/followups", {**followup, "protocol": "none"}, "protocol_unknown", 400, p.nurse)
    refused("/v1/followups", {**followup, "gp": RPPS["olga"]}, "delegation_missing", 403, p.nurse)
    refused("/v1/followups", {**followup, "nurse": RPPS["martin"]}, "forbidden", 403, p.nurse)
    refused("/v1/followups", {**followup, "patient": "nobody"}, "not_found", 404, p.nurse)
    refused("/v1/followups/W-1/transfer", {"nurse": RPPS["durand"], "reason": "x"}, "delegation_missing", 403)
    for name, value in (("finess", "750000012"), ("finess", "x"), ("role", "admin"), ("family", "a\nb")):
        body = {**body_of(("family", "given", "role", "finess")), name: value}
        check_problem(p.root.call("PUT", "/v1/professionals/" + RPPS["martin"], body), 400, "invalid_field", name)
    body = body_of(("family", "given", "role", "finess"))
    for bad in ("10100000010", "1", "x", "1010000001%20"):
        check_problem(p.root.call("PUT", "/v1/professionals/" + bad, body), 400, "invalid_field", "rpps")
    check_problem(p.root.call("PUT", "/v1/professionals/" + RPPS["ines"], body), 400, "invalid_field", "role")
    grants = delegation("ines", "martin", "tous")
    for name, value in (("nurse", RPPS["martin"]), ("gp", RPPS["ines"]), ("from", "2026-02-30"), ("until", "2019-01-01"),
                        ("nurse_adhesion", "2020-01-02"), ("gp_adhesion", "2020-01-02"), ("authorised", "2020-01-02")):
        check_problem(p.root.call("POST", "/v1/delegations", {**grants, name: value}), 400, "invalid_field", name)
    check_problem(p.root.call("POST", "/v1/delegations", grants), 409, "delegation_overlaps")
    check_problem(p.root.call("POST", "/v1/delegations", {**grants, "protocol": "none"}), 400, "protocol_unknown")
    check_problem(p.root.call("POST", "/v1/delegations/D-999/end", {"reason": "x"}), 404)
    away = {"deputy": RPPS["durand"], "first": "2031-01-01", "last": "2031-01-02"}
    for name, value in (("deputy", RPPS["martin"]), ("deputy", RPPS["ines"]), ("first", "x"), ("last", "2030-12-31")):
        refused("/v1/absences", {**away, name: value}, "invalid_field", field=name)
    refused("/v1/absences", {**away, "gp": RPPS["durand"]}, "forbidden", 403)  # not one's own
    away = p.gp.post("/v1/absences", away)["id"]
    check_problem(p.gp2.call("POST", f"/v1/absences/{away}/end", {}), 404)
    p.gp.post(f"/v1/absences/{away}/end")
    for rpps, code in (("1", "professional_unknown"), (RPPS["martin"], "professional_unknown")):
        check_problem(p.root.call("POST", "/v1/users/ines/professional", {"rpps": rpps}), 409, code)
    for bad in ({"sex": "X"}, {"sex": "f"}, {"birth_date": "1931-02-29"}, {"birth_date": "31-07-23"},
                {"birth_date": "1849-12-31"}, {"birth_date": "1850-01-01"}, {"birth_date": "1879-12-31"},
                {"birth_date": (datetime.date.today() + datetime.timedelta(2)).isoformat()},
                {"family": "a\nb"}, {"family": "x" * 128}, {"given": "\t"}):
        body = {**IDENTITY, **bad}
        refused("/v1/patients/other", body, "invalid_field", field=next(iter(bad)), method="PUT")
    body = IDENTITY
    for bad in ("a%20b", "%C3%A9", "a%0ab", "x%27"):
        refused("/v1/patients/" + bad, body, "invalid_field", field="id", method="PUT")
    for bad in ({"name": "root"}, {"name": "asaleed"}, {"name": "unknown"}, {"name": "uid-0"}, {"name": "a b"}, {"role": "king"},
                {"role": "system"}, {"name": "é"}):
        check_problem(p.root.call("POST", "/v1/users", {**body_of(("name", "role")), **bad}), 400, "invalid_field",
                      next(iter(bad)))
    for bad in ("yesterday", "2026-13-01T00:00:00Z", "2026-01-01", "2026-01-01 00:00:00Z", "2100-01-01T00:00:00Z"):
        check_problem(p.root.call("POST", "/v1/audit/archive", {"before": bad}), 400, "invalid_field", "before")
    p.gp.post(s + "/cancel", {"reason": TEXT})
    refused(s + "/cancel", {"reason": TEXT}, "wrong_state", 409)
    refused(s + "/acquire", {"device": "ecg1"}, "wrong_state", 409)


# ---- retinography ----

def put_pictures(d, study, pictures):
    """A record with these pictures (format, bytes, preview or None), as an acquisition leaves it, while nobody serves.
    What is marked is the camera's own text: it is in the picture and in the record's sources."""
    d.stop()
    db = sqlite3.connect(os.path.join(d.store, "asaleed.db"))

    def artefact(kind, data):
        sha = hashlib.sha256(data).hexdigest()
        folder = os.path.join(d.store, "artefacts", sha[:2])
        os.makedirs(folder, mode=0o700, exist_ok=True)
        with open(os.path.join(folder, sha), "wb") as f:
            f.write(data)
        db.execute("INSERT INTO artefact VALUES(?,?,?,1) ON CONFLICT DO NOTHING", (sha, kind, len(data)))
        return sha

    rows, shown, n = [], [], int(study[2:])
    for i, (form, data, preview) in enumerate(pictures, 1):
        rows.append((i, artefact("blob", data), artefact("preview", preview) if preview else None))
        shown.append({"number": i, "format": form, "sha256": rows[-1][1]})
    record = {"acquired": {"pictures": shown}, "quality": [], "schema": "asaleed-record-3", "statements": [],
              "sources": [{"make": f"{MARK}Camera", "name": f"{MARK}IMG.JPG", "picture": 1}]}
    at = db.execute("INSERT INTO acquisition(study, device, driver, driver_version, program, node, seconds, started,"
                    " offset_minutes, by, ended, capture) VALUES(?,'r','d','1','1','n',1,1,0,'ines',2,?)",
                    (n, artefact("capture", b"x"))).lastrowid
    made = db.execute("INSERT INTO record(study, acquisition, sha256, driver, driver_version, program, complete, clean,"
                      " at) VALUES(?,?,?,'d','1','1',1,1,1)",
                      (n, at, artefact("record", json.dumps(record).encode()))).lastrowid
    db.executemany(f"INSERT INTO picture(record, number, sha256, preview) VALUES({made},?,?,?)", rows)
    db.execute("UPDATE study SET state = 'acquired', clean = 1 WHERE id = ?", (n,))
    db.commit()
    db.close()
    must(d.start(), d.log()[-500:])
    return f"R-{made}"


def test_fundus(_d, _p):
    d = Asaleed(BUILD)
    try:
        fundus(d, admitted(d))
    finally:
        d.done()


def fundus(d, p):
    other = p.nurse.post("/v1/orders", {"patient": PATIENT, "act": "ecg"})["study"]["id"]
    study = p.nurse.post("/v1/orders", {"patient": PATIENT, "act": "fundus"})["study"]["id"]
    s = f"/v1/studies/{study}"

    def refused(method, path, body, code, status, field=None, caller=p.nurse):
        check_problem(caller.call(method, path, body), status, code, field)

    for n in (0, 33, "4", None):
        refused("POST", s + "/acquire", {"device": "absent", "pictures": n}, "invalid_field", 400, "pictures")
    refused("POST", f"/v1/studies/{other}/acquire", {"device": "absent", "pictures": 4}, "invalid_field", 400, "pictures")
    refused("POST", s + "/acquire", {"device": "absent", "pictures": 32}, "device_absent", 409)
    refused("POST", s + "/finish", {}, "wrong_state", 409)
    label = {"record": "R-1", "picture": 1, "laterality": "R", "field": "macula"}
    refused("PUT", s + "/pictures", {"pictures": [label]}, "wrong_state", 409)
    refused("PUT", s + "/pupil", {"dilated": False}, "wrong_state", 409)
    must("fundus" not in p.nurse.get(f"/v1/studies/{other}"))
    must(len(p.nurse.get(s)["fundus"]["missing"]) == 4)

    jpeg = b"\xff\xd8" + f"{MARK}Camera".encode() + bytes(3 << 20)
    files = [("jpeg", jpeg, b"\xff\xd8small"), ("jpeg-progressive", jpeg + b"2", None), ("png", b"PNG", b"p"),
             ("tiff", b"TIFF", b"t"), ("unknown", b"<html>", None)]
    r = put_pictures(d, study, files)
    refused("POST", s + "/finish", {}, "wrong_state", 409)
    # The pictures: made anew for all, as they came for the GP alone.
    for caller, role in p.callers:
        a = caller.call("GET", f"/v1/records/{r}/preview")
        if role in (O, U):  # nobody has referred it
            check_problem(a, 404 if role == O else 403)
            check_problem(caller.call("GET", f"/v1/records/{r}/picture"), 404 if role == O else 403)
            continue
        must(a.status == 200 and a.headers["content-type"] == "image/jpeg" and a.body == files[0][2], role, a.status)
        must(a.headers["x-content-type-options"] == "nosniff" and "content-disposition" not in a.headers, a.headers)
        must(len(a.headers["etag"]) == 30, a.headers["etag"])
        check_problem(caller.call("GET", f"/v1/records/{r}/preview?n=2"), 404)
        for i, (form, data, _) in enumerate(files, 1):
            a = caller.call("GET", f"/v1/records/{r}/picture?n={i}")
            if role != G:
                check_problem(a, 403)
                continue
            kind, end = {"jpeg": ("image/jpeg", "jpg"), "jpeg-progressive": ("image/jpeg", "jpg"),
                         "png": ("image/png", "png"), "tiff": ("image/tiff", "tif"),
                         "unknown": ("application/octet-stream", "bin")}[form]
            must(a.status == 200 and a.body == data and a.headers["content-type"] == kind, form, a.status, a.headers)
            must(a.headers["content-disposition"] == f'attachment; filename="{r}-{i}.{end}"', a.headers)
            must(a.headers["x-content-type-options"] == "nosniff", a.headers)
    for n in ("0", "33", "x", "", "1.5"):
        check_problem(p.gp.call("GET", f"/v1/records/{r}/picture?n={n}"), 400, "invalid_field", "n")
    check_problem(p.gp.call("GET", f"/v1/records/{r}/picture?n=6"), 404)
    # What the camera says reaches nobody but the GP.
    for caller, role in p.callers:
        for path in (s, f"/v1/records/{r}", f"/v1/records/{r}/preview"):
            must(f"{MARK}Camera".encode() not in caller.call("GET", path).body or role == G, role, path)
    must(f"{MARK}Camera".encode() in p.gp.call("GET", f"/v1/records/{r}").body)

    # Labels: what does not fit is named with its place in the list, and then none of them counts.
    label["record"] = r
    for bad, code, field in (
            ({}, "missing_field", "pictures"), ({"pictures": None}, "missing_field", "pictures"),
            ({"pictures": []}, "invalid_field", "pictures"), ({"pictures": label}, "invalid_field", "pictures"),
            ({"pictures": [label] * 129}, "invalid_field", "pictures"),
            ({"pictures": [label, 1]}, "invalid_field", "pictures[1]"),
            ({"pictures": [label, {**label, "x": 1}]}, "unknown_field", "pictures[1].x"),
            ({"pictures": [label, {**label, "picture": 6}]}, "invalid_field", "pictures[1].picture"),
            ({"pictures": [label, label]}, "invalid_field", "pictures[1].picture"),
            ({"pictures": [label, {**label, "record": "R-99"}]}, "invalid_field", "pictures[1].record")):
        refused("PUT", s + "/pictures", bad, code, 400, field)
    for name, values, code in (
            ("record", (1, "S-1", "R-0", "", "R-" + "9" * 40), "invalid_field"), ("record", (None,), "missing_field"),
            ("picture", (0, 33, "1", None), "invalid_field"), ("laterality", ("B", "r", "", 1, []), "invalid_field"),
            ("laterality", (None,), "missing_field"), ("field", ("nose", "", 1, "x" * 99), "invalid_field"),
            ("field", (None,), "missing_field"), ("exclude", ("", 1, "x" * 501), "invalid_field")):
        for value in values:
            body = {"pictures": [{**label, name: value}]}
            refused("PUT", s + "/pictures", body, code, 400, f"pictures[0].{name}")
    refused("PUT", s + "/pictures", {"pictures": [{k: v for k, v in label.items() if k != "picture"}]},
            "missing_field", 400, "pictures[0].picture")
    refused("PUT", s + "/pictures", {"pictures": [{**label, "exclude": TEXT}]}, "invalid_field", 400,
            "pictures[0].laterality")
    must(all(x["label"] is None for x in p.nurse.get(s)["fundus"]["pictures"]))
    refused("POST", s + "/accept", {"confirm": True}, "pictures_unlabelled", 409)

    tag = p.nurse.call("GET", s).headers["etag"]
    views = [("R", "macula"), ("R", "disc"), ("L", "macula"), ("R", "macula")]
    y = p.nurse.ok("PUT", s + "/pictures", {"pictures": [
        {"record": r, "picture": i, "laterality": eye, "field": field} for i, (eye, field) in enumerate(views, 1)] +
        [{"record": r, "picture": 5, "exclude": TEXT}]})
    must(y["fundus"]["missing"] == ["Œil gauche, papille"], y["fundus"])
    must(y["fundus"]["repeated"] == [f"Œil droit, macula : {r}/1, {r}/4"], y["fundus"])
    must(p.nurse.call("GET", s).headers["etag"] != tag, "another label, the same tag")
    a = p.nurse.call("POST", s + "/accept", {"confirm": True}, headers={"If-Match": tag})
    check_problem(a, 412, "precondition_failed")
    for caller, role in p.callers:
        if role in (O, U):
            continue
        shown = caller.get(s)["fundus"]["pictures"][4]
        must(shown["label"] == "Laissée de côté" and shown["excluded"] == ("" if role == A else TEXT), role, shown)
    refused("POST", s + "/accept", {"confirm": True}, "pupil_missing", 409)

    for bad, code, field in (
            ({}, "missing_field", "dilated"), ({"dilated": 1}, "invalid_field", "dilated"),
            ({"dilated": None}, "invalid_field", "dilated"), ({"dilated": True}, "missing_field", "agents"),
            ({"dilated": True, "agents": []}, "missing_field", "agents"),
            ({"dilated": True, "agents": "tropicamide"}, "invalid_field", "agents"),
            ({"dilated": True, "agents": [1]}, "invalid_field", "agents"),
            ({"dilated": True, "agents": ["coffee"]}, "invalid_field", "agents"),
            ({"dilated": True, "agents": ["atropine"] * 9}, "invalid_field", "agents"),
            ({"dilated": False, "agents": ["atropine"]}, "invalid_field", "agents"),
            ({"dilated": True, "agents": ["atropine"], "degree_mm": 6}, "invalid_field", "degree_mm"),
            ({"dilated": True, "agents": ["atropine"], "degree_mm": "13"}, "invalid_field", "degree_mm")):
        refused("PUT", s + "/pupil", bad, code, 400, field)
    pupil = {"dilated": True, "agents": ["tropicamide"], "degree_mm": "6.5"}
    must(p.gp.ok("PUT", s + "/pupil", pupil)["fundus"]["pupil"] == pupil)
    refused("POST", s + "/accept", {}, "confirmation_needed", 409)
    p.nurse.post(s + "/accept", {"confirm": True})
    refused("PUT", s + "/pictures", {"pictures": [label]}, "wrong_state", 409)

    claim = p.gp.post(s + "/claim")
    check_problem(p.gp.call("POST", s + "/sign", {**signature(claim, TEXT), "findings": {}}), 400, "invalid_field",
                  "right_retinopathy")
    signed = p.gp.post(s + "/sign", signature(claim, TEXT, "fundus"))
    said = [{"excluded": None, "field": field, "laterality": eye, "picture": i, "record": r,
             "sha256": hashlib.sha256(files[i - 1][1]).hexdigest()} for i, (eye, field) in enumerate(views, 1)]
    said.append({"excluded": TEXT, "field": None, "laterality": None, "picture": 5, "record": r,
                 "sha256": hashlib.sha256(files[4][1]).hexdigest()})
    statement = signed_statement(p, study, signed)
    must(statement["fundus"] == {"pictures": said, "pupil": pupil}, statement)
    must(statement["records"] == [x["sha256"] for x in signed["records"]], statement)
    v = p.root.get("/v1/audit/verify")  # the trail is whole; what the test wrote past the daemon is seen
    must(v["broken_at"] is None and v["consistent"] and not v["sealed"] and v["table"] == "acquisition", "audit", v)
    log = d.log()
    for mark in (MARK, "floue"):
        must(mark not in log, "the journal holds", mark)


# A driver program with one camera and no picture: it writes down what it is told, and is gone when no more will come.
CAMERA = """#!/usr/bin/python3
import json, os, socket, sys, time
if sys.argv[1] == "list":
    print(json.dumps([{"abi": 3, "integrity": "none", "label": "R", "maturity": "simulated", "modalities": ["fundus"],
                       "limits": {"default_seconds": 60, "grace_ms": 5000, "idle_ms": 1000, "max_bytes": 1000,
                                  "max_seconds": 600},
                       "match": [{"baud": 230400, "bus": "serial", "class": 0, "generic": True, "parity": "none",
                                  "pattern": "", "product": 24577, "vendor": 1027}],
                       "name": "retino", "version": "1"}]))
    sys.exit()
work = os.path.dirname(sys.argv[0])
daemon = socket.socket(fileno=3)
daemon.recv(8192)  # the order
daemon.send(bytes([5]))  # opened
while not os.path.exists(work + "/on"):
    time.sleep(0.005)
daemon.send(bytes([6]) + bytes(5))  # identity
while True:
    told = daemon.recv(8192)
    with open(work + "/told", "a") as f:
        f.write({2: "start ", 3: "cancel ", 4: "finish "}[told[0]] if told else "gone ")
    if not told or told[0] != 2:
        sys.exit(1)
"""


def test_finish(_d, _p):
    views = "[act fundus]\nviews = R:disc L:disc R:other\n"
    d = Asaleed(BUILD, simulate=True, protocols=EVERY_ACT.replace("[act fundus]\n", views))
    try:
        d.stop()
        with open(os.path.join(d.work, "camera"), "w") as f:
            f.write(CAMERA)
        os.chmod(os.path.join(d.work, "camera"), 0o755)
        with open(os.path.join(d.work, "devices.d/ecg.conf")) as f:
            conf = f.read().replace("[device ecg1]\ndriver = corscience_emi12", "[device retino]\ndriver = retino")
        with open(os.path.join(d.work, "devices.d/ecg.conf"), "w") as f:
            f.write(conf)
        d.extra = ["--driver-program", os.path.join(d.work, "camera")]
        # An interpreter does not give all its memory back.
        must(d.start(env={"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}), d.log()[-500:])
        finish(d, admitted(d))
    finally:
        d.done()


def finish(d, p):
    told, on = os.path.join(d.work, "told"), os.path.join(d.work, "on")
    study = p.nurse.post("/v1/orders", {"patient": PATIENT, "act": "fundus"})["study"]["id"]
    s = f"/v1/studies/{study}"
    must([v["text"] for v in p.nurse.get(s)["fundus"]["views"]] ==
         ["Œil droit, papille", "Œil gauche, papille", "Œil droit, autre champ"])

    def heard(what):
        end = time.monotonic() + 20
        while not os.path.exists(told) or open(told).read() != what:
            must(time.monotonic() < end, "told", open(told).read() if os.path.exists(told) else None)
            time.sleep(0.01)

    # Before the camera is known: it learns it right after the start. And while it waits for pictures.
    for early, more in ((True, {}), (False, {"pictures": 7}), (False, {})):
        for name in (told, on):
            if os.path.exists(name):
                os.unlink(name)
        p.nurse.post(s + "/acquire", {"device": "retino", **more})
        check_problem(p.admin.call("POST", s + "/finish", {}), 403)
        if early:
            must(p.nurse.post(s + "/finish")["state"] == "acquiring")
        open(on, "w").close()
        if not early:
            heard("start ")
            p.gp.post(s + "/finish")
        heard("start finish ")
        must(wait_state(p.nurse, study, "ordered")["last_failure"]["code"] == "worker_crashed")
    check_problem(p.nurse.call("POST", s + "/finish", {}), 409, "wrong_state")
    rows = [r for r in p.root.get("/v1/audit?limit=200")["items"] if r["action"] == "acquisition.finish"]
    must([r["actor"] for r in rows] == ["martin", "martin", "ines"] and rows[0]["subject"] == study, rows)
    d.stop()
    db = sqlite3.connect(os.path.join(d.store, "asaleed.db"))
    wanted = [n for n, in db.execute("SELECT pictures FROM acquisition ORDER BY id")]
    db.close()
    must(wanted == [3, 7, 3], wanted)


# ---- idempotency, preconditions ----

def test_idempotency(d, p):
    body = {"patient": PATIENT, "act": "ecg"}
    for key in ("", "seven77", "x" * 65, "has space in", "caf\xe9caf\xe9", "tab\tabcdefg"):
        check_problem(p.nurse.call("POST", "/v1/orders", body, key=key), 400, "idempotency_key_missing")
    before = len(p.root.get("/v1/changes?limit=200")["items"])
    key = new_key()
    first = p.nurse.call("POST", "/v1/orders", body, key=key)
    must(first.status == 201 and "idempotency-replayed" not in first.headers, first)
    for _ in range(3):
        again = p.nurse.call("POST", "/v1/orders", body, key=key)
        must(again.status == 201 and again.body == first.body, again.body, first.body)
        must(again.headers.get("idempotency-replayed") == "true", again.headers)
    check_problem(p.nurse.call("POST", "/v1/orders", {**body, "patient": "x"}, key=key), 422, "idempotency_key_reused")
    check_problem(p.nurse.call("POST", "/v1/orders", json.dumps(body).encode() + b" ", key=key), 422)
    check_problem(p.nurse.call("POST", f"/v1/studies/{first.json['study']['id']}/cancel", {"reason": "x"}, key=key), 422)
    other = p.gp.call("POST", "/v1/orders", body, key=key)  # another person's key is another key
    must(other.status == 201 and other.json["id"] != first.json["id"], other.json)
    # Two who act through the same practice software do not get each other's answers.
    key = new_key()
    must(p.lgc_nurse.call("POST", "/v1/orders", body, key=key).status == 201)
    check_problem(p.lgc_gp.call("POST", "/v1/orders", body, key=key), 422, "idempotency_key_reused")
    # What was refused is not remembered.
    key = new_key()
    check_problem(p.nurse.call("POST", "/v1/orders", {"patient": "later", "act": "ecg"}, key=key), 404)
    p.admit("later", **IDENTITY)
    must(p.nurse.call("POST", "/v1/orders", {"patient": "later", "act": "ecg"}, key=key).status == 201)
    # The same request five times in one packet makes one order.
    key = new_key()
    one = request_bytes("POST", "/v1/orders", body, p.nurse.token, key, close=False)
    found, _ = p.nurse.raw(one * 5, answers=5)
    must([a.status for a in found] == [201] * 5, [a.status for a in found])
    must(len({a.json["id"] for a in found}) == 1, [a.json["id"] for a in found])
    # A secret is shown once.
    key = new_key()
    user = {"name": "once", "role": "gp", "display": "x"}
    must(len(p.root.post("/v1/users", user, key)["token"]) == 64)
    must(p.root.post("/v1/users", user, key)["token"] is None)
    key = new_key()
    token = p.root.post("/v1/users/once/token", {}, key)["token"]
    must(p.root.post("/v1/users/once/token", {}, key)["token"] is None)
    must(Api(d.socket, token).call("GET", "/v1/queue").status == 200)  # the repeated request made no newer token
    check_problem(p.root.call("POST", "/v1/users", user), 409, "already_exists")
    p.root.post("/v1/users/once/disable")
    check_problem(Api(d.socket, token).call("GET", "/v1/queue"), 401)
    must(p.root.call("POST", "/v1/users/once/token", {}).status == 404)
    orders = len(p.root.get("/v1/changes?limit=200")["items"]) - before
    must(orders > 0)


def test_preconditions(d, p):
    path = f"/v1/patients/{MARK}-etag"
    body = IDENTITY
    check_problem(p.nurse.call("GET", path), 404, "not_found")
    for tag in ('"1"', "*"):
        check_problem(p.nurse.call("PUT", path, body, headers={"If-Match": tag}), 412, "precondition_failed")
    a = p.nurse.call("PUT", path, body)
    must(a.status == 201 and a.headers["etag"] == '"1"' and a.json["version"] == 1, a)
    a = p.nurse.call("PUT", path, body)
    must(a.status == 200 and a.headers["etag"] == '"1"', a)
    a = p.nurse.call("GET", path)
    must(a.headers["etag"] == '"1"' and a.json["family"] == FAMILY and a.json["id"] == f"{MARK}-etag", a)
    changed = {**body, "given": GIVEN + "2"}
    check_problem(p.nurse.call("PUT", path, changed), 428, "precondition_required")
    for tag in ('"2"', '"0"', "1", '"x"', 'W/"1"', '"1", "2"', '"', '""', '"' + "9" * 40 + '"'):
        check_problem(p.nurse.call("PUT", path, changed, headers={"If-Match": tag}), 412, "precondition_failed")
    a = p.nurse.call("PUT", path, changed, headers={"If-Match": '"1"'})
    must(a.status == 200 and a.headers["etag"] == '"2"', a)
    check_problem(p.gp.call("PUT", path, {**changed, "sex": "M"}, headers={"If-Match": '"1"'}), 412)
    a = p.gp.call("PUT", path, {**changed, "sex": "M"}, headers={"If-Match": "*"})
    must(a.status == 200 and a.headers["etag"] == '"3"', a)
    study = p.nurse.post("/v1/orders", {"patient": PATIENT, "act": "ecg"})["study"]["id"]
    a = p.nurse.call("GET", f"/v1/studies/{study}")
    must(a.headers["etag"] == '"1"' and a.json["version"] == 1, a.headers)
    cancel = f"/v1/studies/{study}/cancel"
    for tag in ('"2"', "garbage"):
        check_problem(p.nurse.call("POST", cancel, {"reason": "x"}, headers={"If-Match": tag}), 412)
    a = p.nurse.call("POST", cancel, {"reason": "x"}, headers={"If-Match": '"1"'})
    must(a.status == 200 and a.headers["etag"] == '"2"', a)


# ---- lists ----

def pages(caller, path, limit, key):
    seen, cursor, n = [], "", 0
    while True:
        sep = "&" if "?" in path else "?"
        page = caller.get(f"{path}{sep}limit={limit}" + (f"&cursor={cursor}" if cursor else ""))
        must(len(page["items"]) <= limit)
        seen += [item[key] for item in page["items"]]
        n += 1
        if page["next"] is None:
            return seen
        cursor = page["next"]
        must(n < 2000, "endless")


def test_lists(d, p):
    one = request_bytes
    batch = b"".join(one("POST", "/v1/orders", {"patient": PATIENT, "act": "ecg"}, p.nurse.token, close=False)
                     for _ in range(120))
    found, _ = p.nurse.raw(batch, answers=120)
    must([a.status for a in found] == [201] * 120)
    whole = pages(p.gp, "/v1/orders", 200, "id")
    must(len(set(whole)) == len(whole) >= 120 and whole == sorted(whole, key=lambda o: -int(o[2:])), "order")
    for limit in (1, 7, 50, 199):
        must(pages(p.gp, "/v1/orders", limit, "id") == whole, "limit", limit)
    mine = pages(p.gp, f"/v1/orders?patient={PATIENT}", 9, "id")
    must(len(mine) >= 120 and set(mine) <= set(whole))
    must(pages(p.gp, "/v1/orders?patient=nobody", 9, "id") == [])
    rows = pages(p.admin, "/v1/audit", 150, "seq")
    must(rows == list(range(rows[0], 0, -1)), "audit", rows[:5], rows[-5:])
    seen, since = [], 0
    while True:
        page = p.gp.get(f"/v1/changes?since={since}&limit=33")
        if not page["items"]:
            must(page["next_since"] == since)
            break
        seen += [item["seq"] for item in page["items"]]
        since = page["next_since"]
    must(seen == list(range(1, len(seen) + 1)), "changes")
    for path in ("/v1/orders", "/v1/queue", "/v1/changes", "/v1/audit"):
        caller = p.admin if path == "/v1/audit" else p.gp
        for limit in ("0", "201", "-1", "x", "", "1e2", "99999999999999999999", "%00"):
            check_problem(caller.call("GET", f"{path}?limit={limit}"), 400, "invalid_field", "limit")
        name = "since" if path == "/v1/changes" else "cursor"
        for cursor in ("x", "-1", "1.2.3", "O-", "99999999999999999999", "%27", "%ff", "1%20"):
            check_problem(caller.call("GET", f"{path}?{name}={cursor}"), 400, "invalid_field", name)
    check_problem(p.gp.call("GET", "/v1/queue?state=ordered"), 400, "invalid_field", "state")
    for bad in ("foo", "none", "", "ECG", "%27"):
        check_problem(p.gp.call("GET", "/v1/queue?act=" + bad), 400, "invalid_field", "act")
    must(p.gp.get("/v1/queue?act=measurement")["items"] == [])


# ---- events ----

class Stream:
    """Of a study's events, or without one of the notices."""

    def __init__(self, caller, study=None, last=None, cookie=None):
        self.s = caller.connect(10)
        self.again = lambda: caller.call("GET", path, headers={"Cookie": cookie} if cookie else {})
        path = f"/v1/studies/{study}/events" if study else "/v1/events"
        head = {"Last-Event-ID": last, "Cookie": cookie, "Asaleed-Acting-For": caller.acting_for}
        self.s.sendall(request_bytes("GET", path, token=caller.token, headers=head))
        self.data, self.closed = b"", False

    def fill(self, seconds):
        self.s.settimeout(seconds)
        try:
            more = self.s.recv(65536)
        except (socket.timeout, TimeoutError):
            return False
        self.data += more
        self.closed = self.closed or not more
        return bool(more)

    def status(self):
        """200 where it is open."""
        end = time.monotonic() + 10
        while b"\r\n\r\n" not in self.data:
            must(time.monotonic() < end and not self.closed, "no answer", self.data)
            self.fill(0.2)
        return int(self.data.split(b" ", 2)[1])

    def ended(self):
        return self.closed or self.data.endswith(b"\r\n0\r\n\r\n")

    def wait_end(self, what, seconds=5):
        end = time.monotonic() + seconds
        while not self.ended():
            must(time.monotonic() < end, "it goes on:", what, self.data[-300:])
            self.fill(0.1)

    def wait(self, needle, seconds=15):
        end = time.monotonic() + seconds
        while needle not in self.data:
            must(time.monotonic() < end, "never came:", needle, self.data[-300:])
            self.fill(0.2)

    def events(self):
        text = self.data.partition(b"\r\n\r\n")[2].decode()
        text = re.sub(r"(?:^|\r\n)[0-9a-fA-F]+\r\n", "", text)  # the chunks' lengths
        return text

    def close(self):
        self.s.close()


def test_events(d, p):
    study = p.nurse.post("/v1/orders", {"patient": PATIENT, "act": "ecg"})["study"]["id"]
    check_problem(p.nurse.call("GET", "/v1/studies/S-99999/events"), 404)
    watchers = [Stream(caller, study) for caller in (p.nurse, p.gp, p.admin, p.lgc) for _ in range(3)]
    for last in ("0", "1", "garbage", "", "18446744073709551615", "18446744073709551614", "-1", "9" * 50):
        watchers.append(Stream(p.gp2, study, last))
    for w in watchers:
        w.wait(b'"state":"ordered"', 5)
        must(b"text/event-stream" in w.data)
    watchers[0].close()
    watchers[5].s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    watchers[5].close()  # a reset
    p.nurse.post(f"/v1/studies/{study}/cancel", {"reason": TEXT})
    for i, w in enumerate(watchers):
        if i not in (0, 5):
            w.wait(b'"state":"cancelled"', 5)
            must(MARK.encode() not in w.data, "identity in the stream")
            w.close()
    must(d.alive())


# ---- sessions of browsers ----

PAGE = "localhost:8430"
CHOSEN = f"{MARK} correct battery staple"


class Browser:
    """A page of ours, and the cookie that it has."""

    def __init__(self, where, cookie=None):
        self.api, self.cookie = Api(where), cookie

    def sent(self, headers):
        """Headers with _ for -; None: without it."""
        sent = {"Host": PAGE, "Origin": "http://" + PAGE, "Sec-Fetch-Site": "same-origin", **JSON}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookie and "Cookie" not in sent:
            sent["Cookie"] = "asaleed=" + self.cookie
        return sent

    def call(self, method, path, body=None, **headers):
        return self.took(self.api.call(method, path, body, headers=self.sent(headers)))

    def took(self, a):
        given = re.match(r"asaleed=([0-9a-f]*); ", a.headers.get("set-cookie", ""))
        if given:
            self.cookie = given.group(1) or None
        return a

    def login(self, name, password, **headers):
        return self.call("POST", "/v1/login", {"name": name, "password": password}, **headers)


class Held:
    """Passwords are computed one after the other: meanwhile the first of them is not done, and what is sent waits behind
    it in the order in which it was sent."""

    def __init__(self, d):
        self.d, self.child, self.waiting, self.answers = d, None, [], []

    def __enter__(self):
        end = time.monotonic() + 20
        while not self.child:
            must(time.monotonic() < end, "no password is computed")
            waiting = len(self.waiting)
            self.send(Browser(self.d.tcp), "POST", "/v1/login", {"name": f"held-{new_key()}", "password": "x"})
            while not self.child and self.of_daemon():
                for pid in self.of_daemon():
                    os.kill(pid, signal.SIGSTOP)
                    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
                        self.child = pid if f.read().rpartition(")")[2].split()[0] in "tT" else None
            must(self.child or len(self.waiting) == waiting + 1)
        return self

    def of_daemon(self):
        """The processes that it has made of itself."""
        own = [pid for pid in tree(self.d.process.pid) if os.path.basename(command_of(pid)[0]) == "asaleed"]
        return own[1:]

    def send(self, who, method, path, body):
        """who: a Browser or an Api. The answer's place in self.answers, once this is over."""
        api, headers = (who.api, who.sent({})) if isinstance(who, Browser) else (who, {})
        s = api.connect()
        s.sendall(request_bytes(method, path, body, api.token, headers=headers))
        self.waiting.append((who, s))
        for _ in range(3):  # what was sent before is looked at before the last of these is answered
            Api(api.where).call("GET", "/v1/health")
        return len(self.waiting) - 1

    def __exit__(self, *_):
        if self.child:
            os.kill(self.child, signal.SIGCONT)
        for who, s in self.waiting:
            got = b""
            while not (found := parse(got)):
                more = s.recv(65536)
                must(more, "no answer")
                got += more
            s.close()
            self.answers.append(who.took(found[0]) if isinstance(who, Browser) else found[0])


def first_password(p, name):
    given = p.root.post(f"/v1/users/{name}/password")["password"]
    p.secrets.append(given)
    return given


def test_sessions(d, p):
    p.secrets.append(CHOSEN)
    order = {"patient": PATIENT, "act": "ecg"}
    given = first_password(p, "ines")
    must(re.fullmatch("[a-z]{5}(-[a-z]{5}){3}", given), "not what can be read out")
    b = Browser(d.tcp)
    refused = [b.login(name, password) for name, password in (("ines", "wrong"), ("nobody", given), ("logiciel", given),
                                                              ("martin", given), ("ines' --", given))]
    for a in refused:
        check_problem(a, 401, "login_refused")
        must(a.body == refused[0].body and "set-cookie" not in a.headers, "which of them is told", a.body)
    # The first password opens nothing but the way to another.
    a = b.login("ines", given)
    must(a.status == 200 and a.json == {"must_change": True, "name": "ines", "role": "nurse"}, a)
    must(a.headers["set-cookie"] == f"asaleed={b.cookie}; Path=/; HttpOnly; SameSite=Strict" and len(b.cookie) == 64, a)
    p.secrets.append(b.cookie)
    for method, path, body in (("GET", "/v1/queue", None), ("GET", f"/v1/patients/{PATIENT}", None),
                               ("POST", "/v1/orders", order)):
        check_problem(b.call(method, path, body), 403, "password_to_change")
    must(b.call("GET", "/v1/me").json["must_change"] is True)
    for old, new, status, code in ((given, "short", 400, "password_weak"), (given, "ines ines ines", 400, "password_weak"),
                                   (given, given, 400, "password_weak"), ("wrong", CHOSEN, 401, "login_refused")):
        check_problem(b.call("POST", "/v1/password", {"old": old, "new": new}), status, code)
    must(b.call("GET", "/v1/me").status == 200, "a wrong old password ends nothing")
    before = b.cookie
    a = b.call("POST", "/v1/password", {"old": given, "new": CHOSEN})
    must(a.status == 200 and b.cookie != before, a)
    check_problem(Browser(d.tcp, before).call("GET", "/v1/me"), 401, "unauthenticated")
    p.secrets.append(b.cookie)
    must(b.call("GET", "/v1/queue").status == 200 and b.call("GET", "/v1/me").json["rpps"] == RPPS["ines"])
    check_problem(Browser(d.tcp).login("ines", given), 401, "login_refused")
    # Elsewhere than on this machine the cookie is for TLS alone.
    a = Browser(d.tcp).login("ines", CHOSEN, Host="practice.example", Origin="https://practice.example")
    must(a.status == 200 and a.headers["set-cookie"].endswith("; Secure"), a.headers)
    # What a session does is in the trail under its person.
    made = b.call("POST", "/v1/orders", order)
    must(made.status == 201 and made.json["ordered_by"] == "ines", made)
    rows = p.root.get("/v1/audit?limit=50")["items"]
    must({("login", "ines"), ("login.refused", "ines"), ("login.refused", "unknown"), ("user.password", "ines"),
          ("order", made.json["study"]["id"])} <= {(r["action"], r["subject"]) for r in rows}, "the trail", rows)
    must(not any("nobody" in json.dumps(r) for r in rows), "a name that somebody typed")
    check_problem(b.call("GET", "/v1/queue", Asaleed_Acting_For="martin"), 403, "forbidden")
    check_problem(b.call("GET", "/v1/users"), 403, "forbidden")
    # A token goes before a cookie, and needs no page.
    a = Api(d.tcp, p.token["martin"]).call("GET", "/v1/me", headers={"Cookie": "asaleed=" + b.cookie})
    must(a.json["name"] == "martin", a.body)
    check_problem(Api(d.tcp, "0" * 64).call("GET", "/v1/me", headers={"Cookie": "asaleed=" + b.cookie}), 401)


def test_cookies(d, p):
    """Forged, doubled, ended."""
    b = Browser(d.tcp)
    must(b.login("ines", CHOSEN).status == 200)
    p.secrets.append(b.cookie)
    good, other = b.cookie, hashlib.sha256(b"x").hexdigest()
    for where in (d.tcp, d.socket):  # on the socket, whoever has one is no administrator
        for cookie in (f"asaleed={other}", f"asaleed={good[:-1]}", f"asaleed={good}0", f"asaleed={good.upper()}",
                       "asaleed=", "asaleed", f'asaleed="{good}"', f"asaleed={good}; asaleed={good}",
                       f"asaleed={other}; asaleed={good}", f"a=b; asaleed={'0' * 64}", f"asaleed={good}, c=d"):
            must(cookie.count(good) != 1 or cookie != f"asaleed={good}")
            check_problem(Browser(where).call("GET", "/v1/me", Cookie=cookie), 401, "unauthenticated")
        for cookie in (f"asaleed={good}", f"a=b; asaleed={good}; c=d", f"xasaleed={other};asaleed={good}"):
            a = Browser(where).call("GET", "/v1/me", Cookie=cookie)
            must(a.status == 200 and a.json["name"] == "ines", cookie, a.body)
    check_problem(Browser(d.tcp).call("GET", "/v1/me", Cookie=f"xasaleed={good}"), 401)
    # Fixation: a login takes over nobody's cookie, and the one that it came with has ended.
    b = Browser(d.tcp, other)
    must(b.login("ines", CHOSEN).status == 200 and b.cookie != other)
    check_problem(Browser(d.tcp, other).call("GET", "/v1/me"), 401)
    before = b.cookie
    must(b.login("ines", CHOSEN).status == 200 and b.cookie != before)
    check_problem(Browser(d.tcp, before).call("GET", "/v1/me"), 401)
    must(Browser(d.tcp, good).call("GET", "/v1/me").status == 200, "another of hers goes on")
    # The end.
    a = b.call("POST", "/v1/logout", {})
    must(a.status == 200 and a.headers["set-cookie"].startswith("asaleed=; ") and "Max-Age=0" in a.headers["set-cookie"], a)
    must(b.cookie is None)
    check_problem(b.call("POST", "/v1/unlock", {"password": CHOSEN}), 401, "unauthenticated")
    given = first_password(p, "ines")
    check_problem(Browser(d.tcp, good).call("GET", "/v1/me"), 401, "unauthenticated")
    b = Browser(d.tcp)
    must(b.login("ines", given).status == 200 and b.call("POST", "/v1/password", {"old": given, "new": CHOSEN}).status == 200)
    p.root.post("/v1/users", {"name": "leaves", "role": "nurse"})
    leaves = Browser(d.tcp)
    must(leaves.login("leaves", first_password(p, "leaves")).status == 200 and leaves.call("GET", "/v1/me").status == 200)
    p.root.post("/v1/users/leaves/disable")
    check_problem(leaves.call("GET", "/v1/me"), 401, "unauthenticated")
    p.secrets.extend(x.cookie for x in (b, leaves))


def test_races(d, p):
    """Between the moment a password is given and the moment it has been compared the account becomes another."""
    def keep(old, reached):
        """A session of martin's, once his password was made the chosen one."""
        b = Browser(d.tcp)
        must(b.login("martin", old).status == 200)
        if old != reached:
            must(b.call("POST", "/v1/password", {"old": old, "new": reached}).status == 200)
        must(b.call("GET", "/v1/queue").status == 200)
        p.secrets.append(b.cookie)
        return b

    def refused(a):
        check_problem(a, 401, "login_refused")
        must("set-cookie" not in a.headers, a.headers)

    def is_the_initial(given, *others):
        """What the administrator has handed over opens the way to another password, and nothing else does."""
        p.secrets.append(given)
        for password in others:
            refused(Browser(d.tcp).login("martin", password))
        b = Browser(d.tcp)
        a = b.login("martin", given)
        must(a.status == 200 and a.json["must_change"] is True, a)
        p.secrets.append(b.cookie)
        check_problem(b.call("GET", "/v1/queue"), 403, "password_to_change")

    mine, thief = CHOSEN + " 1", CHOSEN + " 2"
    reset, change = "/v1/users/martin/password", {"old": mine, "new": thief}
    # Who knows the old password logs in just when the administrator sets a new one, after it and before it.
    stolen = keep(first_password(p, "martin"), mine)
    with Held(d) as held:
        set_anew = held.send(p.root, "POST", reset, {})
        late = held.send(Browser(d.tcp), "POST", "/v1/login", {"name": "martin", "password": mine})
        unlock = held.send(stolen, "POST", "/v1/unlock", {"password": mine})
    refused(held.answers[late])
    refused(held.answers[unlock])
    is_the_initial(held.answers[set_anew].json["password"], mine)
    keep(held.answers[set_anew].json["password"], mine)
    early = Browser(d.tcp)
    with Held(d) as held:
        before = held.send(early, "POST", "/v1/login", {"name": "martin", "password": mine})
        set_anew = held.send(p.root, "POST", reset, {})
    must(held.answers[before].status == 200)
    check_problem(early.call("GET", "/v1/me"), 401, "unauthenticated")
    is_the_initial(held.answers[set_anew].json["password"], mine)
    # A session that somebody has stolen changes the password just then: compared after it was set anew, and before.
    for first in ("reset", "change"):
        stolen = keep(held.answers[set_anew].json["password"], mine)
        with Held(d) as held:
            if first == "change":
                changed = held.send(stolen, "POST", "/v1/password", change)
            set_anew = held.send(p.root, "POST", reset, {})
            if first == "reset":
                changed = held.send(stolen, "POST", "/v1/password", change)
        must(held.answers[set_anew].status == 200, held.answers[set_anew])
        refused(held.answers[changed])
        check_problem(stolen.call("GET", "/v1/me"), 401, "unauthenticated")
        is_the_initial(held.answers[set_anew].json["password"], mine, thief)
    # Of two who change it at once one does.
    mine_too, theirs = (keep(held.answers[set_anew].json["password"], mine), keep(mine, mine))
    with Held(d) as held:
        one = held.send(mine_too, "POST", "/v1/password", {"old": mine, "new": mine + " 3"})
        other = held.send(theirs, "POST", "/v1/password", change)
    must(held.answers[one].status == 200 and mine_too.call("GET", "/v1/queue").status == 200, held.answers[one])
    refused(held.answers[other])
    check_problem(theirs.call("GET", "/v1/me"), 401, "unauthenticated")
    refused(Browser(d.tcp).login("martin", thief))
    # The account is closed, or the session left.
    p.secrets.append(p.root.post("/v1/users", {"name": "closed", "role": "nurse"})["token"])
    given = first_password(p, "closed")
    with Held(d) as held:
        late = held.send(Browser(d.tcp), "POST", "/v1/login", {"name": "closed", "password": given})
        p.root.post("/v1/users/closed/disable")
    refused(held.answers[late])
    b = keep(mine + " 3", mine + " 3")
    with Held(d) as held:
        late = held.send(Browser(d.tcp, b.cookie), "POST", "/v1/unlock", {"password": mine + " 3"})
        must(b.call("POST", "/v1/logout", {}).status == 200)
    check_problem(held.answers[late], 401, "unauthenticated")
    rows = [(r["action"], r["actor"]) for r in p.root.get("/v1/audit?limit=200")["items"]]
    must(("login.refused", "closed") in rows and ("login.unlock", "martin") not in rows, "the trail", rows)


def test_other_pages(d, p):
    """A page of somebody else's sends what its user's browser has."""
    b = Browser(d.tcp)
    must(b.login("ines", CHOSEN).status == 200)
    p.secrets.append(b.cookie)
    order, n = {"patient": PATIENT, "act": "ecg"}, 0
    bad = [{"Origin": None, "Sec_Fetch_Site": None}, {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": ""},
           {"Origin": "http://localhost:8431"}, {"Origin": "http://localhost"}, {"Origin": f"ftp://{PAGE}"},
           {"Origin": f"http://{PAGE}.evil.example"}, {"Origin": f"http://evil.example/{PAGE}"}, {"Origin": PAGE},
           {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"}, {"Sec_Fetch_Site": "none"},
           {"Origin": None, "Sec_Fetch_Site": "cross-site"}, {"Origin": "http://evil.example", "Sec_Fetch_Site": None}]
    orders = pages(p.gp, "/v1/orders", 200, "id")
    for headers in bad:
        for method, path, body in (("POST", "/v1/orders", order), ("POST", "/v1/logout", {}), ("POST", "/v1/files", b"x"),
                                   ("POST", "/v1/unlock", {"password": CHOSEN}),
                                   ("PUT", f"/v1/patients/{PATIENT}", IDENTITY),
                                   ("POST", "/v1/password", {"old": CHOSEN, "new": CHOSEN + "2"})):
            check_problem(b.call(method, path, body, **headers), 403, "origin_refused")
            n += 1
        must(b.call("GET", "/v1/me", **headers).status == 200, "reading is the browser's to keep from them")
    must(pages(p.gp, "/v1/orders", 200, "id") == orders, "it was ordered")
    for headers in ({"Origin": None}, {"Sec_Fetch_Site": None}, {"Origin": "http://LOCALHOST:8430"}):
        must(b.call("POST", "/v1/orders", order, **headers).status == 201, headers)
    # What needs no cookie: they cannot try a password, nor have somebody wait for their tries.
    for headers in bad[1:]:
        check_problem(Browser(d.tcp).login("ines", "wrong", **headers), 403, "origin_refused")
        a = Api(d.tcp, p.token["ines"]).call("POST", "/v1/password", {"old": "wrong", "new": CHOSEN + "2"},
                                             headers=b.sent({"Cookie": None, **headers}))
        check_problem(a, 403, "origin_refused")
        n += 2
    # Nor do those under a name of their own that leads here.
    names = ["evil.example", "practice.example.evil.example", "localhost.evil.example", "example", "practice", "x", "",
             "practice.example cabinet.example", "192.168.1.20"]
    for name in names + [name + ":8430" for name in names]:
        here = {"Host": name, "Origin": "http://" + name}
        check_problem(Browser(d.tcp).login("ines", "wrong", **here), 403, "origin_refused")
        for method, path, body in (("GET", "/v1/me", None), ("POST", "/v1/orders", order),
                                   ("POST", "/v1/unlock", {"password": "wrong"}), ("POST", "/v1/logout", {})):
            check_problem(b.call(method, path, body, **here), 403, "origin_refused")
            n += 1
        a = Api(d.tcp, p.token["ines"]).call("GET", "/v1/me", headers={"Host": name})
        must(a.status == 200, "a token is good under any name", name, a.body)
    for name in ("practice.example", "Cabinet.Example:443", "cabinet.example:8430", "127.0.0.1:8430", "[::1]:8430"):
        must(b.call("POST", "/v1/orders", order, Host=name, Origin="https://" + name).status == 201, name)
    must(Browser(d.socket, b.cookie).call("GET", "/v1/me", Host="evil.example").status == 200, "no name leads to the socket")
    # Nor does what a form or a beacon can send become JSON.
    for said in (None, "text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded",
                 "multipart/form-data; boundary=application/json", "text/plain; x=application/json", ""):
        for page in ({}, {"Origin": None, "Sec_Fetch_Site": None}):
            a = Browser(d.tcp).login("ines", "wrong", Content_Type=said, **page)
            check_problem(a, 400, "bad_request")
        for method, path, body in (("POST", "/v1/orders", order), ("POST", "/v1/unlock", {"password": "wrong"}),
                                   ("PUT", f"/v1/patients/{PATIENT}", IDENTITY), ("POST", "/v1/logout", {}),
                                   ("POST", "/v1/password", {"old": "wrong", "new": CHOSEN + "2"})):
            check_problem(b.call(method, path, body, Content_Type=said), 400, "bad_request")
            n += 1
    for headers in ({}, {"Origin": None, "Sec_Fetch_Site": None}, {"Content_Type": "application/json; charset=utf-8"}):
        must(Browser(d.tcp).login("ines", CHOSEN, **headers).status == 200, "she waits for others' tries", headers)
    must(b.call("POST", "/v1/unlock", {"password": CHOSEN}).status == 200)
    p.secrets.append(b.cookie)
    # Whoever has a token has it from nobody's page.
    a = Api(d.tcp, p.token["aude"]).call("POST", "/v1/password", {"old": "wrong", "new": CHOSEN})
    check_problem(a, 401, "login_refused")
    must(p.root.call("POST", "/v1/users/aude/password", {}).status == 200, "on the socket root needs none")
    tap.note(f"{n} requests of other pages")


class Clocks:
    """Of an asaleed that is started with .env: both may be moved while it runs."""

    def __init__(self, work):
        self.path = os.path.join(work, "clocks")
        self.env = preload(BUILD, "clock_step.so", ASALEED_CLOCK_FILE=self.path)
        self.wall = self.boot = 0
        self.forward()

    def forward(self, wall=0, boot=0):
        self.wall, self.boot = self.wall + wall, self.boot + boot
        with open(self.path, "r+b" if os.path.exists(self.path) else "wb") as f:
            f.write(struct.pack("=qq", self.wall, self.boot))


# What a session that is locked gets at all, and what: its end, or a password for it; and what needs no session.
WHILE_LOCKED = {"/v1/health": 200, "/v1/login": 401, "/v1/unlock": 401, "/v1/logout": 200}


def test_locked(_d, _p):
    """A session that nobody used for a while: its owner's password opens it again, and anybody may end it."""
    work = tempfile.mkdtemp(prefix="asaleed-locked-")
    clocks = Clocks(work)
    d = Asaleed(BUILD, work, env=clocks.env, conf="[accounts]\nidle-minutes = 10\nlogin-hours = 2\n")

    def pass_(minutes):
        """So many minutes after the beginning."""
        clocks.forward(boot=60 * minutes - clocks.boot)

    try:
        p = Practice(d)
        b, other, page = Browser(d.socket), Browser(d.socket), Browser(d.socket)
        given = p.root.post("/v1/users/martin/password")["password"]
        must(b.login("martin", given).status == 200)
        must(b.call("POST", "/v1/password", {"old": given, "new": CHOSEN}).status == 200)
        must(other.login("martin", CHOSEN).status == 200 and page.login("martin", CHOSEN).status == 200)
        pass_(9)
        must(other.call("GET", "/v1/me").status == 200)
        must(page.call("GET", "/v1/queue", Asaleed_Background="1").status == 200, "by itself it asks for what it may")
        pass_(18)
        must(other.call("GET", "/v1/me").status == 200)
        check_problem(page.call("GET", "/v1/queue", Asaleed_Background="1"), 401, "session_locked")
        cookie, n = b.cookie, 0
        for method, path, _roles, fields in ROUTES:
            if path == "/v1/logout":
                continue
            a = b.call(method, path_of(path), None if fields is None else body_of(fields))
            n += 1
            if path in WHILE_LOCKED:
                must(a.status == WHILE_LOCKED[path], method, path, a)
            else:
                check_problem(a, 401, "session_locked")
            must(b.cookie == cookie, path)
        tap.note(f"{n} requests of a locked session")
        check_problem(b.call("GET", "/v1/queue", Asaleed_Acting_For="ines"), 401, "session_locked")
        check_problem(b.call("POST", "/v1/logout", {}, Origin="http://evil.example"), 403, "origin_refused")
        a = b.call("POST", "/v1/unlock", {"password": CHOSEN})
        must(a.status == 200 and b.cookie != cookie and b.call("GET", "/v1/queue").status == 200, a)
        check_problem(Browser(d.socket, cookie).call("GET", "/v1/queue"), 401, "unauthenticated")
        # The lock screen's other way out.
        pass_(40)
        cookie = b.cookie
        check_problem(b.call("GET", "/v1/me"), 401, "session_locked")
        a = b.call("POST", "/v1/logout", {})
        must(a.status == 200 and a.json == {"ended": True} and b.cookie is None and "Max-Age=0" in a.headers["set-cookie"], a)
        row = p.root.get("/v1/audit?limit=1")["items"][0]
        must((row["action"], row["actor"], row["subject"]) == ("logout", "martin", "martin"), row)
        left = Browser(d.socket, cookie)
        for method, path, body in (("GET", "/v1/me", None), ("POST", "/v1/unlock", {"password": CHOSEN}),
                                   ("POST", "/v1/logout", {})):
            check_problem(left.call(method, path, body), 401, "unauthenticated")
        check_problem(other.call("GET", "/v1/me"), 401, "session_locked")
        must(other.call("POST", "/v1/unlock", {"password": CHOSEN}).status == 200, "the other of his goes on")
        # One that was handed out for a first password, and one whose time is over.
        first = Browser(d.socket)
        must(first.login("ines", p.root.post("/v1/users/ines/password")["password"]).status == 200)
        pass_(55)
        check_problem(first.call("GET", "/v1/me"), 401, "session_locked")
        must(first.call("POST", "/v1/logout", {}).status == 200)
        pass_(121)
        check_problem(other.call("POST", "/v1/logout", {}), 401, "unauthenticated")
    finally:
        d.done()
        shutil.rmtree(work, ignore_errors=True)


def test_lock_out(d, p):
    """After five failures it takes longer and longer, whether there is such a name or not."""
    first_password(p, "durand")
    for name in ("durand", "nobody-at-all"):
        b = Browser(d.tcp)
        for _ in range(5):
            check_problem(b.login(name, "wrong"), 401, "login_refused")
        a = b.login(name, "wrong")
        check_problem(a, 429, "login_wait")
        must(a.headers["retry-after"] in ("1", "2"), a.headers)
    given = first_password(p, "durand")
    check_problem(Browser(d.tcp).login("durand", given), 429, "login_wait")
    must(Browser(d.tcp).login("ines", CHOSEN).status == 200, "somebody else")
    time.sleep(2.1)
    must(Browser(d.tcp).login("durand", given).status == 200)
    # Many at once are no way around.
    statuses = []
    threads = [threading.Thread(target=lambda: statuses.append(Browser(d.tcp).login("adele", "wrong").status))
               for _ in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    must(sorted(statuses) == [401] * 5 + [429] * 7, statuses)


def test_restart(_d, _p):
    """Sessions end with the daemon."""
    d = Asaleed(BUILD)
    try:
        p = Practice(d)
        b = Browser(d.socket)
        given = p.root.post("/v1/users/martin/password")["password"]
        must(b.login("martin", given).status == 200 and b.call("GET", "/v1/me").status == 200)
        d.stop()
        must(d.start(), d.log()[-500:])
        check_problem(b.call("GET", "/v1/me"), 401, "unauthenticated")
        must(Browser(d.socket).login("martin", given).status == 200)
    finally:
        d.done()


# ---- streams, and the right to them ----

class Watched:
    """A practice of its own, people who come and go, and studies whose events they watch."""

    def __init__(self):
        self.work = tempfile.mkdtemp(prefix="asaleed-e2e-")
        self.clocks = Clocks(self.work)
        self.d = Asaleed(BUILD, self.work, env=self.clocks.env)
        self.p = Practice(self.d)
        self.p.admit("P1")
        self.n = 0

    def done(self):
        self.d.done()
        shutil.rmtree(self.work, ignore_errors=True)

    def new(self, role, registered=True):
        """Another person with an account."""
        self.n += 1
        name, p = f"{role}{self.n}", self.p
        p.token[name] = p.root.post("/v1/users", {"name": name, "role": role})["token"]
        if registered and role != "lgc":
            RPPS[name] = luhn(f"10100001{self.n:02}")
            p.root.ok("PUT", "/v1/professionals/" + RPPS[name],
                      {"family": name, "given": name, "role": role, "finess": FINESS})
            p.root.post(f"/v1/users/{name}/professional", {"rpps": RPPS[name]})
        return name

    def nurse(self):
        """One who is delegated to."""
        name = self.new("nurse")
        self.p.delegate(name, "martin", "tous")
        return name

    def browser(self, name):
        b, given = Browser(self.d.socket), self.p.root.post(f"/v1/users/{name}/password")["password"]
        must(b.login(name, given).status == 200)
        a = b.call("POST", "/v1/password", {"old": given, "new": CHOSEN})
        must(a.status == 200, a.body)
        return b

    def study(self, patient="P1"):
        return self.p.gp.post("/v1/orders", {"patient": patient, "act": "ecg"})["study"]["id"]

    def watch(self, caller, study, cookie=None):
        s = Stream(caller, study, cookie=cookie)
        s.wait(b'"state":"ordered"')
        return s

    def watch_as(self, browser, study):
        return self.watch(browser.api, study, "asaleed=" + browser.cookie)

    def happens(self, study):
        """Something that a stream of the study would tell."""
        self.p.gp.post(f"/v1/studies/{study}/cancel", {"reason": TEXT})


def must_end(stream, status, what, seconds=5):
    """It ends, has told nothing since it was opened, and is not opened again."""
    stream.wait_end(what, seconds)
    must(b"cancelled" not in stream.data, "told all the same:", what)
    a = stream.again()
    must(a.status == status, what, a.status, a.body[:200])
    stream.close()


def test_rights(_d, _p):
    """Whoever may no longer open a stream has none: it ends at once, and tells nothing after."""
    w = Watched()
    try:
        p, post = w.p, w.p.root.post

        def by_token(act, status):
            name = w.nurse()
            return p.of(name), None, lambda: act(name), status

        def by_cookie(act, status=401):
            name = w.nurse()
            b = w.browser(name)
            return b.api, "asaleed=" + b.cookie, lambda: act(name, b), status

        def acting(act, status):
            lgc, person = w.new("lgc"), w.nurse()
            post(f"/v1/users/{lgc}/grant", {"person": person})
            return p.of(lgc, person), None, lambda: act(lgc, person), status

        def changes(name, _b):
            other = Browser(w.d.socket)
            must(other.login(name, CHOSEN).status == 200)
            must(other.call("POST", "/v1/password", {"old": CHOSEN, "new": CHOSEN + " 2"}).status == 200)

        cases = [
            ("she logs out", by_cookie(lambda name, b: b.call("POST", "/v1/logout", {}))),
            ("disabled, by cookie", by_cookie(lambda name, b: post(f"/v1/users/{name}/disable"))),
            ("an initial password", by_cookie(lambda name, b: post(f"/v1/users/{name}/password"))),
            ("her password changed elsewhere", by_cookie(changes)),
            ("unlocked: another cookie", by_cookie(lambda name, b: b.call("POST", "/v1/unlock", {"password": CHOSEN}))),
            ("disabled, by token", by_token(lambda name: post(f"/v1/users/{name}/disable"), 401)),
            ("another token", by_token(lambda name: post(f"/v1/users/{name}/token"), 401)),
            ("the delegation ends",
             by_token(lambda name: post(f"/v1/delegations/{p.delegation[name, 'martin', 'tous']}/end", {"reason": "x"}), 404)),
            ("the grant ends", acting(lambda lgc, person: post(f"/v1/users/{lgc}/revoke", {"person": person}), 403)),
            ("the person is disabled", acting(lambda lgc, person: post(f"/v1/users/{person}/disable"), 403)),
            ("the software is disabled", acting(lambda lgc, person: post(f"/v1/users/{lgc}/disable"), 401)),
            ("the software's other token", acting(lambda lgc, person: post(f"/v1/users/{lgc}/token"), 401)),
        ]
        for what, (caller, cookie, act, status) in cases:
            study = w.study()
            s, stays = w.watch(caller, study, cookie), [w.watch(p.nurse, study), w.watch(p.gp, study)]
            act()
            must_end(s, status, what)
            w.happens(study)
            for other in stays:
                other.wait(b'"state":"cancelled"', 5)
                other.close()
            must(b"cancelled" not in s.data)
        # Whose patient it is: the follow-up goes to a GP who delegates nothing to her.
        p.nurse.ok("PUT", "/v1/patients/P2", {"family": "X", "given": "Y", "birth_date": BIRTH, "sex": "F"})
        followup, name = p.follow("P2"), w.nurse()
        s = w.watch(p.of(name), w.study("P2"))
        p.gp.post(f"/v1/followups/{followup}/transfer", {"gp": RPPS["durand"], "nurse": RPPS["ines"], "reason": "x"})
        must_end(s, 404, "transferred")
        # Notices.
        desk, gp = Stream(p.of("durand")), w.new("gp")
        leaves = Stream(p.of(gp))
        must(desk.status() == leaves.status() == 200)
        post(f"/v1/users/{gp}/disable")
        must_end(leaves, 401, "a GP who left")
        study = w.study()
        p.nurse.post(f"/v1/studies/{study}/page", {"text": "x"})
        desk.wait(b"event: notice", 5)
        must(b"notice" not in leaves.data)
        desk.close()
    finally:
        w.done()


def test_rights_by_the_clock(_d, _p):
    """What ends with time ends without anybody's act; a stream does not keep its session in use."""
    w = Watched()
    try:
        p, name = w.p, w.nurse()
        b, token = w.browser(name), p.of(name)
        # Ten minutes, an event, six more: nobody has touched the page for 16.
        streams = [(study, w.watch_as(b, study)) for study in (w.study(), w.study(), w.study())]
        untouched = w.watch(token, streams[1][0])
        w.clocks.forward(boot=600)
        w.happens(streams[0][0])
        streams[0][1].wait(b'"state":"cancelled"', 5)
        streams[0][1].close()
        w.clocks.forward(boot=360)
        must_end(streams[2][1], 401, "locked, and nothing to tell", 20)
        w.happens(streams[1][0])
        must_end(streams[1][1], 401, "locked")
        untouched.wait(b'"state":"cancelled"', 5)
        # The session's end, though it was never left alone.
        must(b.call("POST", "/v1/unlock", {"password": CHOSEN}).status == 200)
        for _ in range(11 * 6 + 4):
            w.clocks.forward(boot=600)
            must(b.call("GET", "/v1/me").status == 200)
        study = w.study()
        s = w.watch_as(b, study)
        w.clocks.forward(boot=600)
        w.happens(study)
        must_end(s, 401, "the session's end")
        # The last day of a delegation.
        for last, status in ((0, 404), (1, 200)):
            name = w.new("nurse")
            day = time.strftime("%Y-%m-%d", time.localtime(time.time() + w.clocks.wall + last * 86400))
            p.delegate(name, "martin", "tous", last=day)
            study = w.study()
            s = w.watch(p.of(name), study)
            w.clocks.forward(wall=86400)
            w.happens(study)
            if status == 404:
                must_end(s, status, "the delegation's last day has passed")
            else:
                s.wait(b'"state":"cancelled"', 5)
    finally:
        w.done()


def test_rights_live(d, p):
    """While curves arrive."""
    nurse = Api(d.socket, p.root.post("/v1/users", {"name": "passing", "role": N})["token"])
    b = Browser(d.socket)
    p.secrets.append(nurse.token)
    p.root.ok("PUT", "/v1/professionals/" + luhn("1010000008"),
              {"family": MARK, "given": MARK, "role": "nurse", "finess": FINESS})
    p.root.post("/v1/users/passing/professional", {"rpps": luhn("1010000008")})
    p.rpps["passing"] = luhn("1010000008")
    p.delegate("passing", "martin", "tous")
    del p.rpps["passing"]
    given = first_password(p, "passing")
    must(b.login("passing", given).status == 200)
    must(b.call("POST", "/v1/password", {"old": given, "new": CHOSEN}).status == 200)
    p.secrets.append(b.cookie)
    study = p.nurse.post("/v1/orders", {"patient": PATIENT, "act": "ecg"})["study"]["id"]
    streams = [Stream(nurse, study), Stream(b.api, study, cookie="asaleed=" + b.cookie)]
    stays = Stream(p.nurse, study)
    p.nurse.post(f"/v1/studies/{study}/acquire", {"device": "ecg1", "seconds": 60})
    stays.wait(b"event: preview")
    worker, = [pid for pid in tree(d.process.pid) if command_of(pid)[0].endswith("/asaleed-driver")]
    os.kill(worker, signal.SIGSTOP)  # the simulated instrument is faster than any: it must not be done meanwhile
    try:
        for s in streams:
            s.wait(b"event: preview")
        p.root.post("/v1/users/passing/disable")
        for s in streams:
            s.wait_end("disabled")
            must(s.again().status == 401 and b'"state":"acquired"' not in s.data)
    finally:
        os.kill(worker, signal.SIGCONT)
    stays.wait(b'"state":"acquired"', 20)
    stays.close()


def test_streams_of_one(_d, _p):
    """Nobody has so many that others have none, nor all together so many that nothing else is answered."""
    w = Watched()
    try:
        p, study, opened = w.p, w.study(), []

        def opens(caller, n, wanted):
            got = [Stream(caller, study) for _ in range(n)]
            must([s.status() for s in got].count(200) == wanted, caller.token, [s.status() for s in got])
            for s in got:
                if s.status() != 200:
                    while not (a := parse(s.data)):
                        must(s.fill(5), "half an answer", s.data)
                    check_problem(a[0], 503, "overloaded")
                    must(a[0].headers["retry-after"] == "5", a[0].headers)
                    s.close()
            return [s for s in got if s.status() == 200]

        opened += opens(p.nurse, 520, 8)
        for caller in (p.gp, p.lgc, p.lgc_nurse, p.lgc_gp):
            must(caller.call("GET", f"/v1/studies/{study}").status == 200)
            opened += opens(caller, 9, 8)
        # A page that is loaded again has let its streams go, though nothing was said on them since.
        for s in opened[:8]:
            s.close()
        opened[:8] = opens(p.nurse, 9, 8)
        # All together: half of the connections.
        for _ in range((256 - len(opened)) // 8):
            opened += opens(p.of(w.nurse()), 8, 8)
        must(len(opened) == 256)
        opens(p.gp2, 2, 0)
        for caller in (p.gp2, p.nurse, p.root):
            must(caller.call("GET", f"/v1/studies/{study}").status == 200)
        opened.pop().close()
        opened += opens(p.gp2, 2, 1)
        w.happens(study)
        for s in opened:
            s.wait(b'"state":"cancelled"')
            s.close()
        healthy(w.d)
    finally:
        w.done()


# ---- who is known to whom ----

def test_enumeration(d, p):
    """What lies outside is answered as if it were not there."""
    outside = f"{MARK}-outside"
    p.nurse.ok("PUT", "/v1/patients/" + outside, IDENTITY)
    p.root.ok("PUT", "/v1/professionals/" + luhn("1010000009"),
              {"family": MARK, "given": MARK, "role": "nurse", "finess": FINESS})
    stranger = Api(d.socket, p.root.post("/v1/users", {"name": "stranger", "role": N})["token"])
    unregistered = Api(d.socket, p.root.post("/v1/users", {"name": "unregistered", "role": N})["token"])
    p.secrets += [stranger.token, unregistered.token]
    p.root.post("/v1/users/stranger/professional", {"rpps": luhn("1010000009")})
    followup = p.follow(outside)
    order = p.nurse.post("/v1/orders", {"patient": outside, "act": "ecg"})
    study = order["study"]["id"]
    # The same route with what is there, and with what is not.
    there = {"P": outside, "O": order["id"], "S": study, "W": followup}
    missing = {"P": f"{MARK}-nobody", "O": "O-99999", "S": "S-99999", "W": "W-99999"}
    n = 0
    for caller, role in ((stranger, N), (unregistered, N), (p.oph, O)):
        for method, path, roles, fields in ROUTES:
            letter = {"O-999": "O", "S-999": "S", "W-999": "W", "{P}": "P"}.get(path.split("/")[3] if path.count("/") > 2 else "")
            if not letter or role not in roles or path.endswith("{P}") and method == "PUT":
                continue
            answers = []
            for ids in (there, missing):
                body = None if fields is None else {**body_of(fields), **({"patient": ids["P"]} if "patient" in fields else {})}
                at = re.sub(r"\{P\}|[OSW]-999", ids[letter], path)
                answers.append(caller.call(method, at, body))
                n += 1
            must(answers[0].status == answers[1].status == 404 and answers[0].body == answers[1].body, method, path, role,
                 [a.body[:200] for a in answers])
        for path in ("/v1/orders?limit=200", "/v1/followups?limit=200", "/v1/queue?limit=200",
                     f"/v1/orders?patient={outside}", f"/v1/followups?patient={outside}"):
            if role == N or "queue" in path:
                must(outside.encode() not in caller.call("GET", path).body, path)
    for caller in (stranger, unregistered):
        for path, body in (("/v1/orders", {"act": "ecg"}), ("/v1/followups", {"protocol": "tous", "gp": RPPS["martin"]})):
            a, b = (caller.call("POST", path, {**body, "patient": i}) for i in (outside, f"{MARK}-nobody"))
            must(a.status == b.status and a.body == b.body, path, a.body, b.body)
            n += 2
        check_problem(caller.call("PUT", "/v1/patients/" + outside, IDENTITY), 404, "not_found")
    must(p.nurse.get(f"/v1/studies/{study}")["state"] == "ordered")
    for caller in (p.gp2, p.lgc, p.nurse):
        must(caller.call("GET", f"/v1/studies/{study}").status == 200)
    # Once a delegation is hers, so are its patients; and until it ends.
    p.rpps["stranger"] = luhn("1010000009")
    p.delegate("stranger", "martin", "tous")
    must(stranger.call("GET", f"/v1/studies/{study}").status == 200)
    p.root.post(f"/v1/delegations/{p.delegation['stranger', 'martin', 'tous']}/end", {"reason": "x"})
    check_problem(stranger.call("GET", f"/v1/studies/{study}"), 404, "not_found")
    del p.rpps["stranger"]
    # What the ophthalmologist is asked to read is known from then on.
    check_problem(p.oph.call("GET", f"/v1/patients/{outside}"), 404)
    tap.note(f"{n} ids tried")


# ---- the national identity ----

def sheet(matricule, oid=NIR, family="DUPONT", given="ZOE", sex="F", birth="23-07-1931"):
    """The text of an INS DataMatrix; its separators as the API takes them."""
    end = "\u241d" if len(oid) < 20 else ""
    return (f"IS01{'0' * 22}S1{matricule}S2{oid}{end}S3{given}\u241dS4{family}\u241dS5{sex}S6{birth}S72A004")


def test_ins(d, p):
    path, n = f"/v1/patients/{MARK}-ins", itertools.count()

    def put(caller=p.nurse, **ins):
        return caller.call("PUT", f"{path}{next(n)}", {**IDENTITY, **ins})

    whole = {"ins": INS, "ins_oid": NIR, "ins_status": "validated"}
    wrong = f"{(int(INS[13:]) + 1) % 97:02}"
    for bad in (INS[:13] + wrong, INS[:14], INS + "0", INS.replace("2A", "2C"), INS.replace("2A", "2a"), "x" * 15,
                with_key("231139900412 3".replace(" ", ""))):
        check_problem(put(**{**whole, "ins": bad}), 400, "invalid_field", "ins")
    for missing in ("ins_oid", "ins_status"):
        check_problem(put(**{k: v for k, v in whole.items() if k != missing}), 400, "missing_field", missing)
    for alone in ("ins_oid", "ins_status"):
        check_problem(put(**{alone: whole[alone]}), 400, "invalid_field", alone)
    for bad in ("1.2.250.1.213.1.4", "1.2.3", TEST + "0"):
        check_problem(put(**{**whole, "ins_oid": bad}), 400, "invalid_field", "ins_oid")
    for bad in ("qualifiée", "Validated", "x"):
        check_problem(put(**{**whole, "ins_status": bad}), 400, "invalid_field", "ins_status")
    for oid in (TEST, "1.2.250.1.213.1.4.11"):  # of tests and demonstrations
        check_problem(put(**{**whole, "ins_oid": oid}), 409, "ins_fictitious")
        check_problem(p.nurse.call("POST", "/v1/patients/lookup", {"datamatrix": sheet(INS, oid)}), 409, "ins_fictitious")
    for matricule in (INS, with_key("2310799004123"), with_key("192022B123456")):
        a = put(ins=matricule, ins_oid=NIR, ins_status="qualified")
        must(a.status == 201 and a.json["ins"] == {"matricule": matricule, "may_be_sent": True, "oid": NIR, "status": "qualified"}, a.body)
    must(put().json["ins"] is None)
    # Whose sheet is it?
    lookup = lambda caller, text: caller.call("POST", "/v1/patients/lookup", {"datamatrix": text})  # noqa: E731
    one = with_key("231072A004124")
    p.nurse.ok("PUT", path, {"family": "Dupont", "given": "Zoé", "birth_date": BIRTH, "sex": "F", "ins": one, "ins_oid": NIR,
                             "ins_status": "validated"})
    for caller in (p.nurse, p.gp, p.lgc):
        a = lookup(caller, sheet(one))
        must(a.status == 200 and a.json["patient"]["id"] == f"{MARK}-ins" and not a.json["differs"], a.body)
    must(lookup(p.nurse, sheet(one, family="MARTIN")).json["differs"] is True, "another name")
    must(lookup(p.nurse, sheet(one, birth="24-07-1931")).json["differs"] is True, "another birth date")
    check_problem(lookup(p.nurse, sheet(with_key("231072A004125"))), 404, "not_found")
    p.nurse.ok("PUT", path + "twin", {**IDENTITY, **whole, "ins": one})
    check_problem(lookup(p.nurse, sheet(one)), 409, "ins_ambiguous")
    good = sheet(one)
    for bad in (good[:-1], good[:40], good[4:], "IS02" + good[4:], good.replace("\u241d", ""), good.replace("\u241d", " "),
                sheet(one[:13] + wrong), good + "S1" + one, sheet(one, sex="X"), sheet(one, birth="31-02-1931"),
                sheet(one, family="DUPONT\u241dS8"), "x"):
        check_problem(lookup(p.nurse, bad), 400, "ins_unreadable")
    check_problem(lookup(p.nurse, "x" * 401), 400, "invalid_field", "datamatrix")
    row = next(r for r in p.root.get("/v1/audit?limit=50")["items"] if r["action"] == "patient.lookup")
    must(row["subject"] == f"{MARK}-ins" and one not in json.dumps(row), row)
    # On a machine for tests those of tests are taken.
    other = Asaleed(BUILD, wait=False)
    try:
        other.kill()
        with open(os.path.join(other.work, "asaleed.conf"), "w") as f:
            f.write("[daemon]\nproduction = no\n")
        must(other.start(), other.log()[-500:])
        q = Practice(other)
        a = q.nurse.call("PUT", "/v1/patients/1", {**IDENTITY, **whole, "ins_oid": TEST})
        must(a.status == 201 and a.json["ins"]["oid"] == TEST, a.body)
        must(lookup(q.nurse, sheet(INS, TEST)).status == 200)
    finally:
        other.done()


# ---- connections that do not behave ----

def healthy(d, seconds=5):
    start = time.monotonic()
    must(Api(d.socket).call("GET", "/v1/health", timeout=seconds).status == 200)
    must(time.monotonic() - start < seconds)


GARBAGE = [
    b"\r\n", b"\x00" * 100, b"\xff" * 5000, b"GET\r\n\r\n", b"GET / \r\n\r\n", b"GET  HTTP/1.1\r\n\r\n",
    b"GET /v1/health HTTP/9.9\r\nHost: x\r\n\r\n", b"GET /v1/health HTTP/1.1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 500,
    b"GET /v1/health HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
    b"GET /v1/health HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100000 + b"\r\n\r\n",
    b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v1/health?" + b"a=b&" * 20000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n{}",
    b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n{}",
    b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n",
    b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}\r\n",
    b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n{}",
    b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nExpect: the-spanish-inquisition\r\nContent-Length: 2\r\n\r\n{}",
    b"GET /v1/health HTTP/1.1\r\nHost: x\r\n folded: header\r\n\r\n", b"GET /v1/health HTTP/1.1\nHost: x\n\n",
    b"GET /v1/health HTTP/1.1\r\nHost: x\r\nNo colon here\r\n\r\n", b"GET /v1/health HTTP/1.1\r\n: empty\r\n\r\n",
    b"GET /v1/health HTTP/1.1\r\nHost: x\r\nA\x00B: c\r\n\r\n", b"GET /v1/he\x00alth HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET http://elsewhere/v1/health HTTP/1.1\r\nHost: x\r\n\r\n", b"CONNECT a:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v1/health HTTP/1.0\r\n\r\n", b"GET /%zz%1 HTTP/1.1\r\nHost: x\r\n\r\n",
    f"GET /v1/patients/{PATIENT} HTTP/1.1\r\nHost: {MARK}\r\n{MARK}\r\n\r\n".encode(),
    f"{MARK} /{MARK}?{MARK}={MARK} HTTP/1.1\r\nHost: {MARK}\r\nCookie: {MARK}\r\n\r\n".encode(),
]


def test_garbage(d, p):
    for data in GARBAGE:
        for chop in (None, 1):
            s = d.api.connect(0.5)
            try:
                if chop:
                    for at in range(0, min(len(data), 300)):
                        s.send(data[at:at + 1])
                    s.sendall(data[300:])
                else:
                    s.sendall(data)
                s.shutdown(socket.SHUT_WR)
                got = b""
                while True:
                    more = s.recv(65536)
                    if not more:
                        break
                    got += more
            except (OSError, TimeoutError):
                got = b""
            s.close()
            if got:
                must(got.startswith(b"HTTP/1."), data[:60], got[:100])
                must(b" 500 " not in got.split(b"\r\n")[0], data[:60], got[:200])
            must(d.alive(), "crash:", data[:100])
    healthy(d)
    tap.note(f"{2 * len(GARBAGE)} requests that are none")


def test_cut(d, p):
    """A whole request, cut at every byte and then gone; and one that stops and stays."""
    whole = request_bytes("POST", "/v1/orders", {"patient": PATIENT, "act": "ecg"}, p.nurse.token, close=False)
    before = len(pages(p.gp, "/v1/orders", 200, "id"))
    for at in range(len(whole)):
        s = d.api.connect()
        s.sendall(whole[:at])
        s.close()
    must(len(pages(p.gp, "/v1/orders", 200, "id")) == before, "an order from half a request")
    idle = []
    for at in (0, 1, 20, len(whole) - 30, len(whole) - 1):
        s = d.api.connect()
        s.sendall(whole[:at])
        idle.append(s)
    healthy(d)
    idle[-1].sendall(whole[-1:])
    must(idle[-1].recv(100).startswith(b"HTTP/1.1 201"), "the slow one is answered in the end")
    for s in idle:
        s.close()
    # Whoever leaves before the answer harms nobody.
    s = d.api.connect()
    s.sendall(request_bytes("POST", "/v1/orders", {"patient": PATIENT, "act": "ecg"}, p.nurse.token))
    s.close()
    time.sleep(0.1)
    must(len(pages(p.gp, "/v1/orders", 200, "id")) - before in (1, 2), "what nobody was told may have happened, or not")


def test_crowd(d, p):
    """200 connections at once, half of them silent; then 200 requests at once."""
    silent = []
    for _ in range(100):
        silent.append(d.api.connect())
    wrong = []

    def ask(i):
        try:
            a = p.gp.call("GET", "/v1/queue", timeout=60)
            if a.status != 200:
                wrong.append(a.status)
        except Exception as e:
            wrong.append(repr(e))

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(100)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    must(not wrong, wrong[:5])
    for s in silent:
        s.close()
    threads = [threading.Thread(target=ask, args=(i,)) for i in range(200)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    must(not wrong, wrong[:5])
    healthy(d)


def test_slow_reader(d, p):
    """Answers that nobody fetches hold up nobody else."""
    slow = []
    for _ in range(20):
        s = d.api.connect()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        s.sendall(request_bytes("GET", "/v1/orders?limit=200", token=p.gp.token, close=False) * 20)
        slow.append(s)
    for _ in range(20):
        healthy(d, 2)
    got = b""
    slow[0].settimeout(5)
    while got.count(b"HTTP/1.1 200") < 20:
        got += slow[0].recv(1024)
    for s in slow:
        s.close()


def test_pipeline(d, p):
    n = 300
    found, _ = p.gp.raw(request_bytes("GET", "/v1/queue", token=p.gp.token, close=False) * n, answers=n)
    must([a.status for a in found] == [200] * n)
    mixed = [("GET", "/v1/queue", 200), ("GET", "/v1/none", 404), ("POST", "/v1/health", 405), ("GET", "/v1/users", 403)]
    data = b"".join(request_bytes(m, path, token=p.gp.token, close=False) for m, path, _ in mixed) * 10
    found, _ = p.gp.raw(data, answers=40)
    must([a.status for a in found] == [status for _, _, status in mixed] * 10, [a.status for a in found])


# ---- the whole flow ----

def wait_state(caller, study, *states, seconds=30):
    end = time.monotonic() + seconds
    while True:
        s = caller.get(f"/v1/studies/{study}")
        if s["state"] in states:
            return s
        must(time.monotonic() < end, study, "is", s["state"], s["last_failure"])
        time.sleep(0.01)


def signed_statement(p, study, signed):
    """What the newest signature covers, from the proof; its hash is what the interpretation says."""
    whole = p.gp.get(f"/v1/studies/{study}/proof")
    proof = whole["interpretations"][-1]
    text = json.dumps(proof["statement"], separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    must(signed["interpretation"]["covers_sha256"] == hashlib.sha256(text.encode()).hexdigest(), "what was signed")
    must(len(proof["signature"]) == 128 and len(proof["public_key"]) == 64, proof)
    key = next(k for k in whole["keys"] if k["public_key"] == proof["public_key"])
    must(key["rpps"] == RPPS["martin"] and key["since"] <= proof["statement"]["signed"], "before its key", key)
    return proof["statement"]


def record(p):
    study = p.nurse.post("/v1/orders", {"patient": PATIENT, "act": "ecg"})["study"]["id"]
    a = p.nurse.call("POST", f"/v1/studies/{study}/acquire", {"device": "ecg1", "seconds": 2})
    must(a.status == 202 and a.json["state"] == "acquiring", a.status, a.body[:200])
    wait_state(p.nurse, study, "acquired")
    return study


def test_flow(d, p):
    study = p.nurse.post("/v1/orders", {"patient": PATIENT, "act": "ecg"})["study"]["id"]
    s = f"/v1/studies/{study}"
    stream = Stream(p.nurse, study)
    stream.wait(b'"state":"ordered"')
    a = p.nurse.call("POST", s + "/acquire", {"device": "ecg1", "seconds": 2})
    must(a.status == 202 and a.json["state"] == "acquiring" and a.json["acquisition"]["device"] == "ecg1", a.body)
    check_problem(p.gp.call("POST", s + "/acquire", {"device": "ecg1"}), 409, "wrong_state")
    stream.wait(b'"state":"acquired"')
    text = stream.events()
    for name in ("identity", "progress", "preview", "contacts"):
        must(f"event: {name}\n" in text, name, "never came")
    stream.close()
    y = wait_state(p.nurse, study, "acquired")
    must(len(y["records"]) == 1 and y["attempts"] == 1 and y["acquisition"] is None, y)
    r = y["records"][0]
    must(r["sha256"] is None, r)
    whole = p.gp.get(f"/v1/studies/{study}")["records"][0]
    for caller, role in p.callers:
        if role in (O, U):
            continue
        got = caller.get(f"/v1/records/{r['id']}")
        # A hash that covers the statements, and what the instrument says of itself, are not for the nurse.
        must(got["sha256"] == (whole["sha256"] if role == G else None), role, got["sha256"])
        must(got["provenance"]["driver"] == "corscience_emi12", got["provenance"])
        must(("device" in got["record"]) == (role in (G, A)), role)
        must((got["provenance"]["device_serial"] is not None) == (role in (G, A)), role)
        must(("statements" in got["record"]) == (role == G) and ("derived" in got["record"]) == (role == G), role)
        got = caller.call("GET", f"/v1/records/{r['id']}/channels")
        n = int.from_bytes(got.body[:4], "little")
        header = json.loads(got.body[4:4 + n])
        at = (4 + n + 3) // 4 * 4
        values = sum(c["samples"] for c in header["channels"] if not c.get("derived") or "first" in c)
        must(header["encoding"] == "int16-le" and header["gap"] == -32768 and (len(got.body) - at) % 2 == 0, header)
        must((len(got.body) - at) // 2 >= values > 0 or values > 0, len(got.body), values)
        names = caller.get(s)["patient"]
        must(("family" in names) == (role != A), role, names)
    # Add, repeat, accept.
    p.nurse.post(s + "/acquire", {"device": "ecg1", "seconds": 1})
    y = wait_state(p.nurse, study, "acquired")
    must(len(y["records"]) == 2, y["records"])
    p.nurse.post(s + "/repeat", {"reason": TEXT})
    y = p.nurse.get(s)
    must(y["state"] == "ordered" and all(x["superseded"] for x in y["records"]), y)
    p.nurse.post(s + "/acquire", {"device": "ecg1", "seconds": 1})
    y = wait_state(p.nurse, study, "acquired")
    newest = [x for x in y["records"] if not x["superseded"]]
    must(len(newest) == 1, y["records"])
    if not newest[0]["clean"]:
        check_problem(p.nurse.call("POST", s + "/accept", {}), 409, "confirmation_needed")
    p.nurse.post(s + "/accept", {"confirm": True, "comment": TEXT})
    check_problem(p.nurse.call("POST", s + "/cancel", {"reason": TEXT}), 403, "forbidden")
    queue = p.nurse.get("/v1/queue")["items"]
    must([q["study"] for q in queue] == [study] and queue[0]["patient"]["family"] == FAMILY, queue)
    # Claim, race, release, claim, sign.
    claim = p.gp.post(s + "/claim")
    must(len(claim["token"]) == 64 and claim["study"]["claim"]["by"] == "martin", claim)
    check_problem(p.gp2.call("POST", s + "/claim", {}), 409, "already_claimed")
    check_problem(p.gp2.call("POST", s + "/sign", signature(claim, TEXT)), 409, "stale_token")
    again = p.gp.post(s + "/claim")
    check_problem(p.gp.call("POST", s + "/release", {"token": claim["token"]}), 409, "stale_token")
    p.gp.post(s + "/release", {"token": again["token"]})
    claim = p.lgc_gp.post(s + "/claim")
    must(p.nurse.get("/v1/queue?state=interpreting")["items"][0]["claim"]["by"] == "martin")
    key = new_key()
    sign = signature(claim, TEXT + "\nligne 2", conclusion="abnormal")
    for bad, field in (({}, "rhythm"), ({"rhythm": "fast"}, "rhythm"), ({"rhythm": "sinus", "x": "y"}, "x"),
                       ({"rhythm": "sinus", "signs": "rbbb"}, "signs"), ({"rhythm": ["sinus"]}, "rhythm"), ([], "findings"),
                       ("sinus", "findings")):
        check_problem(p.gp.call("POST", s + "/sign", {**sign, "findings": bad}), 400, "invalid_field", field)
    signed = p.gp.post(s + "/sign", sign, key)
    must(signed["state"] == "interpreted" and signed["interpretation"]["text"] == sign["text"], signed)
    must(p.gp.call("POST", s + "/sign", sign, key=key).headers.get("idempotency-replayed") == "true")
    check_problem(p.gp.call("POST", s + "/sign", sign), 409, "stale_token")
    for caller, role in p.callers:
        a = caller.call("GET", s)
        must(a.status == {O: 404, U: 403}.get(role, 200) and (b'"interpretation"' in a.body) == (role in (G, L)), role, a)
        must(TEXT.encode() + b"\\nligne 2" not in a.body or role in (G, L), role)
    statement = signed_statement(p, study, signed)
    must(statement["records"] == [x["sha256"] for x in signed["records"] if not x["superseded"]], statement)
    must(statement["signer"]["rpps"] == RPPS["martin"] and statement["signer"]["family"] == FAMILY, statement)
    must(statement["patient"]["id"] == PATIENT and statement["conclusion"] == "abnormal", statement)
    for path in (s + "/repeat", s + "/cancel"):
        check_problem(p.gp.call("POST", path, {"reason": TEXT}), 409, "wrong_state")
    kinds = {c["kind"] for c in p.gp.get("/v1/changes?limit=200")["items"]}
    must({"patient", "order", "study"} <= kinds, kinds)


def test_redecode(d, p):
    study = record(p)
    s = f"/v1/studies/{study}"
    for caller in (p.nurse, p.lgc):
        check_problem(caller.call("POST", s + "/redecode", {}), 403)
    tag = p.gp.call("GET", s).headers["etag"]
    key = new_key()
    first = p.gp.call("POST", s + "/redecode", {}, key=key)
    must(first.status == 202, first.status)
    must(p.gp.call("POST", s + "/redecode", {}, key=key).headers.get("idempotency-replayed") == "true")
    end = time.monotonic() + 20
    while len(p.gp.get(s)["records"]) < 2:
        must(time.monotonic() < end, "no second record")
        time.sleep(0.01)
    y = p.gp.get(s)
    must([r["superseded"] for r in y["records"]] == [True, False] and y["state"] == "acquired", y["records"])
    must(y["records"][0]["sha256"] == y["records"][1]["sha256"], "the same driver decodes the same")
    must(p.gp.call("GET", s).headers["etag"] != tag, "another version, the same tag")
    # Decoded again while a reader takes the study: whatever wins, what was signed is what stands.
    p.nurse.post(s + "/accept", {"confirm": True})
    batch = (request_bytes("POST", s + "/redecode", {}, p.gp.token, close=False) +
             request_bytes("POST", s + "/claim", {}, p.gp.token, close=False))
    found, _ = p.gp.raw(batch, answers=2)
    must([a.status for a in found] == [202, 200], [a.status for a in found])
    seen = [r["id"] for r in p.gp.get(s)["records"] if not r["superseded"]]
    end = time.monotonic() + 20
    while not any(r["action"] == "study.redecode" and "wrong_state" in json.dumps(r["detail"])
                  for r in p.root.get("/v1/audit?limit=5")["items"]):
        must(time.monotonic() < end, "the refused redecode is in the trail")
        time.sleep(0.01)
    now = [r["id"] for r in p.gp.get(s)["records"] if not r["superseded"]]
    must(now == seen, "the record changed under the reader:", seen, now)
    p.gp.post(s + "/sign", signature(found[1].json, TEXT))
    check_problem(p.gp.call("POST", s + "/redecode", {}), 409, "wrong_state")


def test_cancel(d, p):
    """Cancelled while acquiring, at once and a moment later; the instrument is free for the next."""
    for pause in (None, 0.0, 0.02, 0.1):
        study = p.nurse.post("/v1/orders", {"patient": PATIENT, "act": "ecg"})["study"]["id"]
        s = f"/v1/studies/{study}"
        start = request_bytes("POST", s + "/acquire", {"device": "ecg1", "seconds": 300}, p.nurse.token, close=False)
        cancel = request_bytes("POST", s + "/cancel", {}, p.nurse.token, close=False)
        if pause is None:  # in one packet
            found, _ = p.nurse.raw(start + cancel, answers=2)
        else:
            found, _ = p.nurse.raw(start)
            time.sleep(pause)
            found += p.nurse.raw(cancel)[0]
        must([a.status for a in found] == [202, 200], pause, [a.status for a in found], found[-1].body[:200])
        y = wait_state(p.nurse, study, "ordered", "acquired")
        must(y["state"] == "ordered" and y["last_failure"]["code"] == "acquisition_cancelled", pause, y["last_failure"])
    study, other = (p.nurse.post("/v1/orders", {"patient": PATIENT, "act": "ecg"})["study"]["id"] for _ in range(2))
    p.nurse.post(f"/v1/studies/{study}/acquire", {"device": "ecg1", "seconds": 300})
    check_problem(p.nurse.call("POST", f"/v1/studies/{other}/acquire", {"device": "ecg1"}), 409, "device_busy")
    must(p.nurse.get("/v1/devices")["items"][0]["busy"])
    p.gp.post(f"/v1/studies/{study}/cancel")
    wait_state(p.nurse, study, "ordered")
    must(not p.nurse.get("/v1/devices")["items"][0]["busy"])


def ids_of(stream):
    return [int(line[4:]) for line in stream.events().split("\n") if line.startswith("id: ")]


def test_resume(d, p):
    """Whoever comes back with the last id that he had gets exactly what came after it."""
    study = p.nurse.post("/v1/orders", {"patient": PATIENT, "act": "ecg"})["study"]["id"]
    whole = Stream(p.nurse, study)
    whole.wait(b'"state":"ordered"')
    p.nurse.post(f"/v1/studies/{study}/acquire", {"device": "ecg1", "seconds": 3})
    whole.wait(b'"state":"acquired"')
    ids = ids_of(whole)
    must(len(ids) > 5 and ids == sorted(set(ids)), ids)
    must(len(ids) <= 256, "more than is kept: this test needs fewer")
    for at in (0, 1, len(ids) // 2, len(ids) - 2, len(ids) - 1):
        again = Stream(p.nurse, study, str(ids[at]))
        if at < len(ids) - 1:
            again.wait(f"id: {ids[-1]}\n".encode())
        else:
            again.wait(b'"state":"acquired"')
        must(ids_of(again) == ids[at + 1:], at, ids_of(again)[:3], ids[at + 1:][:3])
        again.close()
    whole.close()


# ---- what is left behind ----

def test_audit(d, p):
    v = p.root.get("/v1/audit/verify")
    must(v["ok"] and v["sealed"] and v["rows"] > 100 and v["broken_at"] is None and "table" not in v, v)
    a = p.root.post("/v1/audit/archive", {"before": "2001-01-01T00:00:00Z"})
    must(a == {"artefact": None, "more": False, "rows": 0}, a)
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="microseconds")
    a = p.root.post("/v1/audit/archive", {"before": now})
    must(a["rows"] >= v["rows"] and len(a["artefact"]) == 64 and not a["more"], a)
    v = p.root.get("/v1/audit/verify")
    must(v["ok"] and v["rows"] == 1, v)
    text = json.dumps(p.root.get("/v1/audit"))
    must(FAMILY not in text and GIVEN not in text)


def test_stop_under_fire(d, p):
    """SIGTERM while requests keep coming: no crash, and every answer that came is true."""
    stop, acknowledged = threading.Event(), []

    def fire():
        while not stop.is_set():
            try:
                batch = request_bytes("POST", "/v1/orders", {"patient": PATIENT, "act": "ecg"}, p.nurse.token,
                                      close=False) + request_bytes("GET", "/v1/queue", token=p.gp.token, close=False) * 5
                found, _ = p.nurse.raw(batch, answers=6, timeout=5)
                acknowledged.extend(a.json["id"] for a in found if a.status == 201)
            except (OSError, AssertionError):
                pass

    threads = [threading.Thread(target=fire) for _ in range(6)]
    streams = [Stream(p.gp, "S-1") for _ in range(10)]
    for t in threads:
        t.start()
    time.sleep(0.5)
    status = d.stop()
    stop.set()
    for t in threads:
        t.join()
    for s in streams:
        s.close()
    must(status == 0, "exit status", status, d.log()[-300:])
    db = sqlite3.connect(os.path.join(d.store, "asaleed.db"))
    there = {f"O-{row[0]}" for row in db.execute("SELECT id FROM orders")}
    db.close()
    must(acknowledged and set(acknowledged) <= there, "acknowledged and gone:", set(acknowledged) - there)


def test_journal(d, p):
    log = d.log()
    for line in log.splitlines():
        must(MARK not in line and "Famille" not in line and BIRTH not in line, "identity in the journal:", line)
        for secret in p.secrets:
            must(secret not in line, "a secret in the journal")
    must("ready" in log and "Sanitizer" not in log and "runtime error" not in log, log[-400:])


def test_store(d, p):
    for folder, _, names in os.walk(d.store):
        for name in names:
            with open(os.path.join(folder, name), "rb") as f:
                data = f.read()
            for secret in p.secrets:
                must(secret.encode() not in data, "a secret in", name)
                must(not re.fullmatch("[0-9a-f]{64}", secret) or bytes.fromhex(secret) not in data, "a token in", name)


def main():
    d = Asaleed(BUILD, simulate=SIMULATE, extra=("--listen", "127.0.0.1:0"),
                conf="[daemon]\nhosts = practice.example cabinet.example\n")
    try:
        port = int(re.search(r"listening on http://127\.0\.0\.1:(\d+)", d.log()).group(1))
        d.tcp = ("127.0.0.1", port)
        p = admitted(d)
        tests = [test_contract, test_roles, test_acting_for, test_methods, test_bodies, test_fields, test_idempotency,
                 test_preconditions, test_events, test_sessions, test_cookies, test_races, test_other_pages, test_locked,
                 test_lock_out, test_restart, test_enumeration, test_ins, test_fundus, test_rights, test_rights_by_the_clock,
                 test_streams_of_one]
        needs = [test_finish, test_flow, test_redecode, test_cancel, test_resume, test_rights_live]
        more = [test_lists, test_garbage, test_cut, test_crowd, test_slow_reader, test_pipeline, test_audit]
        for test in tests + needs + more:
            name = "api: " + test.__name__[5:].replace("_", " ")
            if test in needs and not SIMULATE:
                tap.skip(name, "no umockdev or no simulator")
            elif d.alive():
                tap.run(name, test, d, p)
            else:
                tap.result(False, name, "asaleed has ended: " + d.log()[-800:])
        tap.run("api: stop under fire", test_stop_under_fire, d, p)
        tap.run("api: the journal holds no identity and no secret", test_journal, d, p)
        tap.run("api: the store holds no token", test_store, d, p)
    finally:
        d.done()
    return tap.end()


sys.exit(main())
