#!/usr/bin/env python3
"""Recalls, meetings and the month's figures, end to end. TAP on standard output.

cooperation.py BUILD"""
import datetime
import json
import os
import subprocess
import sys
import time

sys.dont_write_bytecode = True
from bed import Api, Asaleed, Practice, Tap, can_simulate, check_problem, luhn, must, request_bytes, signature  # noqa: E402

BUILD = os.path.abspath(sys.argv[1])
PROTOCOL = """[protocol suivi]
label = Suivi
[act ecg]
prescribe = yes
perform = yes
delay-hours = 24
recall-months = 12
"""
tap = Tap()
TODAY = datetime.date.today()


def put_patient(p, id):
    p.nurse.ok("PUT", f"/v1/patients/{id}", {"family": "Nom" + id, "given": "Ada", "birth_date": "1950-02-03", "sex": "F"})


def ctl(d, p, who, *args):
    path = os.path.join(d.work, "token-" + who)
    with open(path, "w", opener=lambda f, flags: os.open(f, flags, 0o600)) as f:
        f.write(p.token[who])
    return subprocess.run([os.path.join(BUILD, "asaleectl"), "--socket", d.socket, "--token-file", path, *args],
                          capture_output=True, timeout=60, check=False)


def states(p, who):
    return [(x["followup"], x["act"], x["state"]) for x in who.get("/v1/recalls")["items"]]


def test_recalls(d, p):
    must(states(p, p.nurse) == [], states(p, p.nurse))
    for id in ("P1", "P2"):
        put_patient(p, id)
        p.follow(id, "suivi")
    for who in (p.nurse, p.gp, p.gp2, p.lgc, p.lgc_nurse):
        must(states(p, who) == [("W-1", "ecg", "due"), ("W-2", "ecg", "due")], states(p, who))
    x = p.gp.get("/v1/recalls")["items"][0]
    must(x["due"] == TODAY.isoformat() and x["patient"]["family"] == "NomP1" and x["gp"] == p.rpps["martin"], x)
    page = p.gp.get("/v1/recalls?limit=1")
    must([i["followup"] for i in page["items"]] == ["W-1"] and page["next"], page)
    page = p.gp.get("/v1/recalls?limit=1&cursor=" + page["next"])
    must([i["followup"] for i in page["items"]] == ["W-2"] and not page["next"], page)
    must(p.gp.get("/v1/recalls?until=2020-01-01")["items"] == [], "before")
    check_problem(p.gp.call("GET", "/v1/recalls?until=demain"), 400, "invalid_field", "until")
    check_problem(p.gp.call("GET", "/v1/recalls?cursor=W-1"), 400, "invalid_field", "cursor")
    p.nurse.post("/v1/orders", {"patient": "P1", "act": "ecg"})
    must(states(p, p.nurse)[0] == ("W-1", "ecg", "ordered"), states(p, p.nurse))
    shown = ctl(d, p, "ines", "recalls").stdout.decode()
    must("prescrit" in shown and "NOMP1" in shown.upper(), shown)


def test_others(d, p):
    """Another nurse: no recall, no follow-up in any list, no meeting."""
    token = p.root.post("/v1/users", {"name": "nora", "role": "nurse", "display": "nora"})["token"]
    p.rpps["nora"] = luhn("1020000001")
    p.root.ok("PUT", "/v1/professionals/" + p.rpps["nora"],
              {"family": "Nora", "given": "C", "role": "nurse", "finess": p.FINESS})
    p.root.post("/v1/users/nora/professional", {"rpps": p.rpps["nora"]})
    nora = Api(d.socket, token)
    must(nora.get("/v1/recalls")["items"] == [], "recalls")
    p.delegate("nora", "durand", "suivi")
    put_patient(p, "P3")
    nora.post("/v1/followups", {"patient": "P3", "protocol": "suivi", "gp": p.rpps["durand"]})
    must(states(p, nora) == [("W-3", "ecg", "due")], states(p, nora))
    must([f["id"] for f in nora.get("/v1/followups")["items"]] == ["W-3"], "followups")
    pair = f"gp={p.rpps['martin']}&nurse={p.rpps['ines']}"
    for who in (nora, p.gp2):
        check_problem(who.call("GET", "/v1/meetings/agenda?" + pair), 403, "forbidden")
    check_problem(p.admin.call("GET", "/v1/meetings/agenda?" + pair), 403, "forbidden")
    p.nora = nora


def make_study(p, patient, conclusion=None):
    """Acquired and accepted, and signed when there is a conclusion."""
    open_orders = [o for o in p.nurse.get(f"/v1/orders?patient={patient}")["items"] if o["study"]["state"] == "ordered"]
    order = open_orders[0] if open_orders else p.nurse.post("/v1/orders", {"patient": patient, "act": "ecg"})
    s = "/v1/studies/" + order["study"]["id"]
    p.nurse.post(s + "/acquire", {"device": "ecg1", "seconds": 1})
    end = time.monotonic() + 30
    while p.nurse.get(s)["state"] == "acquiring" and time.monotonic() < end:
        time.sleep(0.02)
    must(p.nurse.get(s)["state"] == "acquired", p.nurse.get(s))
    p.nurse.post(s + "/accept", {"confirm": True})
    if conclusion:
        p.gp.post(s + "/sign", signature(p.gp.post(s + "/claim"), "TEXTE SIGNÉ", conclusion=conclusion))
    return order["study"]["id"]


def test_agenda(d, p):
    made = make_study(p, "P1", "abnormal")
    must(states(p, p.nurse) == [("W-2", "ecg", "due"), ("W-3", "ecg", "due")], states(p, p.nurse))  # durand's she may
    mine, his = (who.get(f"/v1/meetings/agenda?{other}") for who, other in
                 ((p.nurse, "gp=" + p.rpps["martin"]), (p.gp, "nurse=" + p.rpps["ines"])))
    for x in (mine, his):
        must([i["followup"] for i in x["items"]] == ["W-1", "W-2"] and x["since"] is None, x)
        must([(y["id"], y["state"]) for y in x["items"][0]["studies"]] == [(made, "interpreted")], x)
    must("abnormal" in json.dumps(his) and "abnormal" not in json.dumps(mine), mine)
    must("TEXTE" not in json.dumps(mine), mine)
    check_problem(p.nurse.call("GET", "/v1/meetings/agenda"), 400, "missing_field", "gp")
    shown = ctl(d, p, "ines", "meeting", "agenda", "--gp", p.rpps["martin"]).stdout.decode()
    must("interprété" in shown and "anormal" not in shown, shown)
    shown = ctl(d, p, "martin", "meeting", "agenda", "--nurse", p.rpps["ines"]).stdout.decode()
    must("interprété : anormal" in shown, shown)


def test_meetings(d, p):
    body = {"gp": p.rpps["martin"], "held": TODAY.isoformat(), "minute": "DIT DE TOUT",
            "followups": [{"followup": "W-1", "minute": "DIT DE P1"}, {"followup": "W-2", "minute": "DIT DE P2"}]}
    a = p.nurse.call("POST", "/v1/meetings", body)
    must(a.status == 201 and a.json["id"] == "M-1" and a.json["minute"] == "DIT DE TOUT", a)
    must(p.lgc_gp.post("/v1/meetings", {"nurse": p.rpps["ines"], "held": "2024-01-01", "minute": "m"})["by"] == "martin", "lgc")
    for who in (p.gp, p.nurse, p.lgc_gp):
        x = who.get("/v1/meetings/M-1")
        must([f["minute"] for f in x["followups"]] == ["DIT DE P1", "DIT DE P2"], x)
    for who in (p.gp2, p.nora):
        check_problem(who.call("GET", "/v1/meetings/M-1"), 404, "not_found")
        must(who.get("/v1/meetings")["items"] == [], "list")
    for who in (p.admin, p.auditor, p.oph, p.lgc):
        check_problem(who.call("GET", "/v1/meetings/M-1"), 403, "forbidden")
    for who in (p.gp, p.nurse, p.admin):
        a = who.call("GET", "/v1/meetings")
        must([m["id"] for m in a.json["items"]] == ["M-2", "M-1"] and b"DIT" not in a.body, a)
    must(p.gp.get(f"/v1/meetings/agenda?nurse={p.rpps['ines']}")["last"]["id"] == "M-1", "last")
    for change, code, field in (({"held": "2999-01-01"}, "invalid_field", "held"), ({"minute": ""}, "invalid_field", "minute"),
                                ({"minute": None}, "missing_field", "minute"),
                                ({"minute": "a\u0007"}, "bad_request", None),
                                ({"gp": p.rpps["ines"]}, "invalid_field", "gp"),
                                ({"followups": [{"followup": "W-1", "minute": "a"}, {"followup": "W-1", "minute": "b"}]},
                                 "invalid_field", "followups[1].followup"),
                                ({"followups": [{"followup": "X-1", "minute": "a"}]}, "invalid_field", "followups[0].followup"),
                                ({"followups": [{"followup": "W-1"}]}, "missing_field", "followups[0].minute"),
                                ({"followups": [{"followup": "W-1", "minute": "a", "x": 1}]}, "unknown_field", "followups[0].x")):
        check_problem(p.nurse.call("POST", "/v1/meetings", {**body, **change}), 400, code, field)
    check_problem(p.nurse.call("POST", "/v1/meetings", {**body, "followups": [{"followup": "W-3", "minute": "a"}]}), 404,
                  "not_found", "followups[0].followup")
    check_problem(p.nora.call("POST", "/v1/meetings", {**body, "nurse": p.rpps["ines"]}), 403, "forbidden")
    must(len(p.admin.get("/v1/meetings")["items"]) == 2, "nothing was kept of what was refused")
    must("DIT DE P2" in ctl(d, p, "martin", "meeting", "show", "M-1").stdout.decode(), "show")


def test_report(d, p):
    for _ in range(4):
        make_study(p, "P2", "normal")
    month = TODAY.strftime("%Y-%m")
    answers = [who.get("/v1/reports/monthly?month=" + month) for who in (p.gp, p.admin, p.auditor)]
    must(answers[0] == answers[1] == answers[2], answers)
    group = answers[0]["report"]["groups"][0]
    must((group["done"], group["interpreted"], group["overdue"], group["finess"], group["unreadable"],
          group["hours_p90"]) == (5, 5, 0, p.FINESS, None, None), group)
    must(not any(number in json.dumps(answers[0]) for number in p.rpps.values()), "a person's number")
    path = os.path.join(d.work, "report.json")
    a = ctl(d, p, "adele", "report", "--month", month, "--out", path)
    must(a.returncode == 0, a)
    verify = [os.path.join(BUILD, "asaleectl"), "report", "verify", path]
    a = subprocess.run(verify, capture_output=True, timeout=20, check=False)
    must(a.returncode == 0 and answers[0]["public_key"] in a.stdout.decode(), a)
    with open(path, encoding="utf-8") as f:
        text = f.read()
    with open(path, "w", encoding="utf-8") as f:
        f.write(text.replace('"done":5', '"done":6'))
    must(subprocess.run(verify, capture_output=True, timeout=20, check=False).returncode == 1, "a changed report")
    a = p.auditor.call("GET", f"/v1/reports/monthly?month={month}&format=csv")
    must(a.status == 200 and a.headers["content-type"] == "text/csv; charset=utf-8", a)
    must(a.headers["content-disposition"] == f'attachment; filename="asaleed-{month}.csv"', a.headers)
    must(a.body.startswith(b"\xef\xbb\xbfmois;acte;") and len(a.headers["asaleed-signature"]) == 128, a)
    must(ctl(d, p, "adele", "report", "--month", month, "--csv").stdout == a.body, "csv")
    for query, code, field in (("month=2999-01", "invalid_field", "month"), ("month=2026-13", "invalid_field", "month"),
                               ("", "missing_field", "month"), (f"month={month}&format=xml", "invalid_field", "format")):
        check_problem(p.gp.call("GET", "/v1/reports/monthly?" + query), 400, code, field)
    for who in (p.nurse, p.oph, p.lgc):
        check_problem(who.call("GET", "/v1/reports/monthly?month=" + month), 403, "forbidden")


def test_acceptances(d, p):
    """Each acceptance has its row, with the delay of the protocol whatever is urgent."""
    order = p.nurse.post("/v1/orders", {"patient": "P1", "act": "ecg"})["study"]["id"]
    p.nurse.post(f"/v1/studies/{order}/page", {"text": "douleur"})
    study = make_study(p, "P1")
    must(study == order, study, order)
    d.stop()
    rows = subprocess.run(["sqlite3", os.path.join(d.store, "asaleed.db"), "SELECT count(*), sum(due - at = 24 * 3600 * 1000000),"
                           " (SELECT count(*) FROM study WHERE accepted IS NOT NULL) FROM acceptance"],
                          capture_output=True, text=True, check=True).stdout.strip()
    d.start()
    must(rows == "6|6|6", rows)


def test_unseen(d, p):
    """That readers asked each other, or corrected themselves, is told to nobody who is not told what was signed."""
    study = make_study(p, "P1", "abnormal")
    s = "/v1/studies/" + study
    before = p.nurse.call("GET", s)
    p.gp.post(s + "/amend", {"version": 1, "reason": "Relu", "conclusion": "normal", "text": "RELU",
                             "findings": {"rhythm": "sinus"}, "shown": p.gp.get(s)["shown"]})
    after = p.nurse.call("GET", s)
    must(p.gp.get(s)["interpretation"]["version"] == 2 and p.gp.get(s)["version"] > after.json["version"])
    must(after.body == before.body and after.headers["etag"] == before.headers["etag"], before.body, after.body)
    s_ = p.nurse.connect(5)
    s_.sendall(request_bytes("GET", s + "/events", token=p.nurse.token, close=False))
    got = b""
    while b'"version"' not in got:
        got += s_.recv(65536)
    s_.close()
    must(b'"version":%d' % before.json["version"] in got, got)
    agenda = [y for x in p.nurse.get(f"/v1/meetings/agenda?gp={p.rpps['martin']}")["items"] for y in x["studies"]
              if y["id"] == study]
    must([y["signed"] for y in agenda] == [p.gp.get(s + "/interpretations")["items"][0]["signed"]], agenda)
    # The tag that an administrator gets is one that he can act upon.
    tag = p.admin.call("GET", s).headers["etag"]
    a = p.admin.call("POST", s + "/reassign", {"order": "O-999", "birth_date": "1950-01-01", "records": ["R-999"], "reason": "x"},
                     headers={"If-Match": tag})
    must(a.status != 412, a)
    waiting = make_study(p, "P1")
    w, order = "/v1/studies/" + waiting, "/v1/orders/" + p.nurse.get("/v1/studies/" + waiting)["order"]
    check_problem(p.oph.call("GET", order), 404, "not_found")
    p.gp.post(w + "/refer", {"reader": "ophthalmologist"})
    must(p.oph.get(order)["study"]["id"] == waiting, "what was referred")
    p.oph.post(w + "/claim")
    seen = p.nurse.get(w)
    must(seen["claim"]["by"] is None and p.gp.get(w)["claim"]["by"] == "olga", "who was asked")
    queued = next(q for q in p.nurse.get("/v1/queue?state=interpreting")["items"] if q["study"] == waiting)
    must(queued["claim"]["by"] is None, queued)
    listed = next(y for y in p.nurse.get("/v1/followups/" + seen["followup"])["studies"] if y["id"] == waiting)
    must((seen["referrals"], seen["reader"], queued["reader"], listed["reader"]) == ([], "gp", "gp", "gp"), seen)
    seen = p.gp.get(w)
    must((len(seen["referrals"]), seen["reader"]) == (1, "ophthalmologist"), seen)


def test_reads(d, p):
    """Who saw whom is in the trail."""
    seen = [(r["actor"], r["detail"]["route"], tuple(r["detail"]["patients"])) for r in
            p.admin.get("/v1/audit?limit=200")["items"] if r["action"] == "read"]
    must(("ines", "GET /v1/recalls", ("P1", "P2")) in seen, seen)
    for route, who in (("GET /v1/meetings/agenda", "ines"), ("GET /v1/meetings/{}", "martin")):
        must((who, route, ("P1", "P2")) in seen, route, seen)


def main():
    simulate = can_simulate(BUILD)
    d = Asaleed(BUILD, simulate=simulate, protocols=PROTOCOL)
    try:
        p = Practice(d)
        tap.run("recalls: due, ordered, who sees them, pages", test_recalls, d, p)
        tap.run("another nurse learns of nobody else's follow-up", test_others, d, p)
        if simulate:
            tap.run("agenda: what is shown of a signed study, to whom", test_agenda, d, p)
        tap.run("meetings: minutes, who reads them, what is refused", test_meetings, d, p)
        if simulate:
            tap.run("who saw whom is in the audit trail", test_reads, d, p)
            tap.run("the month's figures: signed, verified, as a table", test_report, d, p)
            tap.run("each acceptance is a row", test_acceptances, d, p)
            tap.run("what readers do beside signing", test_unseen, d, p)
        else:
            tap.skip("agenda, reads, figures, acceptances, readers", "no umockdev-wrapper")
    finally:
        d.done()
    return tap.end()


sys.exit(main())
