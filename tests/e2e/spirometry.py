#!/usr/bin/env python3
"""The daemon and simulated spirometers and other measuring instruments, end to end, serial through the real
libserialport and USB through the real libusb. TAP on standard output.

spirometry.py BUILD [--every]: with --every the cable is pulled at every single byte, else at a spread of places.
"""
import collections
import json
import os
import re
import shutil
import sys
import time

sys.dont_write_bytecode = True
from bed import ROOT, signature  # noqa: E402
from simulated import Bed, end, events_of, result, run_parts, skip, unplug, within_reach  # noqa: E402

EVERY = "--every" in sys.argv
SAMPLES = os.environ.get("ASALEED_SAMPLES", os.path.join(ROOT, "../shared/samples"))
TABLE = os.path.join(SAMPLES, "gli/gli_global_2022_splines.csv")


def measures(record, trial=None):
    return {m["code"]: (m["value"], m["unit"]) for m in record["acquired"]["measures"] if trial in (None, m["trial"])}


def vitalograph():
    with Bed({"vitalograph": "model=b,auto=1500,fev1-best=777,pef-best=888"}) as bed:
        study = bed.order("spirometry")
        code = bed.acquire(study, "vitalograph")
        record = bed.record(study)
        values = measures(record)
        result(code == "ok" and {"fev1", "fev6", "fev1_fev6", "pef"} <= set(values) and values["pef"][1] == "L/min",
               "Lung Monitor: a blow becomes a record of exact values", f"{code} {values} {bed.log()[-1500:]}")
        trial = record["acquired"]["trials"]
        result(len(trial) == 1 and trial[0]["time"] and trial[0]["phase"] == "baseline",
               "its time is told on the instrument's clock and on ours", str(trial))
        nurses, readers = json.dumps(record), json.dumps(bed.record(study, bed.gp))
        result("7,77" not in nurses and "888" not in nurses and "7,77" in readers and "888" in readers,
               "personal bests are the reader's", nurses[:500])
        study_json = bed.nurse.get(f"/v1/studies/{study}")
        phase = study_json["spirometry"]["phases"][0]
        result(phase["fev1"]["grade"] == "not_judged" and phase["trials"][0]["fev1"] == "not_judged",
               "values without a curve are not judged", json.dumps(study_json["spirometry"])[:500])


def stray():
    """The instrument's clock stands in 2013, or it sends what it had in its memory."""
    with Bed({"vitalograph": "model=a,clock=2013-05-28T10:44:00"}) as bed:
        study = bed.order("spirometry")
        code = bed.acquire(study, "vitalograph", seconds=5,
                           during=lambda: (time.sleep(0.5), bed.say("result fev1=363 fev6=399 ratio=091 fef=404")))
        y = bed.nurse.get(f"/v1/studies/{study}")
        tray = bed.nurse.get("/v1/unmatched")["items"]
        result(code == "reading_stray" and y["state"] == "ordered" and not y["records"] and len(tray) == 1,
               "a blow dated 2013 is put aside, and the study goes on", f"{code} {y} {tray} {bed.log()[-1500:]}")
        kept = bed.nurse.get(f"/v1/unmatched/{tray[0]['id']}")["record"]
        result(kept["stray"] and measures(kept)["fev1"] == ("3.63", "L")
               and kept["acquired"]["trials"][0]["device_time"].startswith("2013-05-28T10:44"),
               "nothing of it is lost", json.dumps(kept)[:600])
        result("P-1" not in json.dumps(tray) and "P-1" not in json.dumps(kept),
               "the tray does not say whose order it came with")
    with Bed({"vitalograph": "model=b,records=2,auto=1500"}) as bed:
        study = bed.order("spirometry")
        code = bed.acquire(study, "vitalograph", seconds=10)
        tray = bed.nurse.get("/v1/unmatched")["items"]
        own = bed.record(study)["acquired"]["trials"] if code == "ok" else []
        strays = bed.nurse.get(f"/v1/unmatched/{tray[0]['id']}")["record"]["acquired"]["trials"] if tray else []
        result(len(own) == 1 and len(strays) == 2 and all(t["time"] for t in own + strays),
               f"blows from its memory: {len(own)} of this acquisition, {len(strays)} put aside",
               f"{code} {own} {strays} {bed.log()[-1500:]}")
        y = bed.nurse.get(f"/v1/studies/{study}")
        bed.nurse.post(f"/v1/unmatched/{tray[0]['id']}/attach",
                       {"order": y["order"], "birth_date": y["patient"]["birth_date"], "confirm": True, "reason": "essai"})
        for turn in range(2):
            bed.gp.post(f"/v1/studies/{study}/redecode")
            standing = lambda: [r["id"] for r in bed.gp.get(f"/v1/studies/{study}")["records"]  # noqa: E731
                                if not r["superseded"]]
            limit = time.monotonic() + 20
            while len(bed.gp.get(f"/v1/studies/{study}")["records"]) < 3 + turn and time.monotonic() < limit:
                time.sleep(0.02)
            trials = sorted(len(bed.gp.get(f"/v1/records/{r}")["record"]["acquired"]["trials"]) for r in standing())
            result(trials == [1, 2], f"own and attached from one capture, decoded again ({turn + 1}): both stand",
                   f"{trials} {bed.log()[-800:]}")


def next_patient():
    """A blow made just before the next patient's order is nobody's."""
    with Bed({"vitalograph": "model=b"}) as bed:
        bed.say("blow")
        time.sleep(8)
        bed.practice.admit("P-2", "Autre", "Dominique", "1970-01-01", "M")
        study = bed.practice.order("P-2", "spirometry")
        code = bed.acquire(study, "vitalograph", seconds=10)
        tray = bed.nurse.get("/v1/unmatched")["items"]
        result(code == "reading_stray" and len(tray) == 1 and not bed.nurse.get(f"/v1/studies/{study}")["records"],
               "a blow made seconds before the next patient's acquisition is put aside", f"{code} {tray}"
               f" {bed.log()[-800:]}")


def curves():
    """Three blows with curves, judged; a fourth that coughs is named."""
    with Bed({"sp80b": "records=2,auto=yes"}) as bed:
        study = bed.order("spirometry")
        codes = [bed.acquire(study, "sp80b", seconds=60, height_cm="168.5") for _ in range(3)]
        y = bed.nurse.get(f"/v1/studies/{study}")
        phase = (y["spirometry"] or {"phases": [{}]})["phases"][0]
        trials = phase.get("trials", [])
        result(codes == ["ok"] * 3 and len(trials) == 3 and all(t["source"] == "curve" for t in trials)
               and phase["fev1"]["grade"] in "ABC" and y["height_cm"] == "168.5",
               f"SP80B: three blows with curves, grades {phase.get('fev1', {}).get('grade')} and"
               f" {phase.get('fvc', {}).get('grade')}", f"{codes} {json.dumps(y)[:1500]} {bed.log()[-1500:]}")
        device = measures(bed.record(study))
        last = trials[-1] if trials else {"fev1_ml": 0, "fvc_ml": 0}
        result(bool(trials) and abs(float(device["fev1"][0]) * 1000 - last["fev1_ml"]) <= 15
               and abs(float(device["fvc"][0]) * 1000 - last["fvc_ml"]) <= 15,
               "what we compute from the curve is what the instrument computed", f"{device} {last}")
        kept = [q["code"] for q in bed.record(study)["quality"]]
        result(not bed.nurse.get("/v1/unmatched")["items"] and "readings_kept_by_device" in kept,
               "what was in its memory before stays there, and the nurse is told", str(kept))
        result(all(t["coaching"]["text"] for t in trials) and phase["advice"]["text"].endswith("."),
               "each blow has a sentence for the nurse, and the phase an advice", json.dumps(phase)[:500])


def leaks():
    """What is the reader's, looked for in everything that the nurse can reach."""
    if not os.path.exists(TABLE):
        return skip("leak test over every route with a reference table", "no sample table")
    with Bed({"sp80b": "records=1,auto=yes",
              "vitalograph": "model=b,records=1,auto=1500,fev1-best=777,pef-best=888"}) as bed:
        with open(TABLE) as f:
            bed.admin.call("PUT", "/v1/reference", {"name": "sample", "table": f.read()})
        seen = []
        for device in ("sp80b", "vitalograph"):
            study = bed.order("spirometry")
            take = events_of(bed, study)
            code = bed.acquire(study, device, seconds=60, height_cm="168")
            if code != "ok":
                return result(False, "leak test: the acquisitions", f"{device} {code} {bed.log()[-1500:]}")
            bed.nurse.post(f"/v1/studies/{study}/accept", {"confirm": True})
            claim = bed.gp.post(f"/v1/studies/{study}/claim")
            seen.append((study, take()))
            if device == "sp80b":
                bed.gp.post(f"/v1/studies/{study}/sign", signature(claim, "Zqxlu", "spirometry"))
        aids = bed.gp.get(f"/v1/studies/{seen[0][0]}")["aids"]
        markers = {"7.77", "7,77", "888", "Zqxlu", "percent_predicted", "below_lln", "lln", "predicted", "z-score", "aids",
                   "ratio_permille", "GLI"}
        for r in aids["results"]:
            markers |= {r[k] for k in ("predicted", "lln", "z", "percent_predicted") if r[k]}
        result(aids["reference"]["set"] == "GLI-Global-2022" and len(aids["results"]) == 3
               and all(r["z"] and r["lln"] for r in aids["results"]),
               "the reader has predicted values, limits and z-scores", json.dumps(aids)[:800])
        ids = {"studies": [s for s, _ in seen], "records": ["R-1", "R-2"], "orders": ["O-1", "O-2"],
               "patients": ["P-1"], "devices": ["sp80b", "vitalograph"], "unmatched": ["U-1"], "users": ["ines"]}
        texts = within_reach(bed, bed.nurse, ids)
        texts |= {f"events of {s}": e for s, e in seen}
        found = collections.Counter()
        for where, text in texts.items():
            if where.endswith("/channels"):
                text = text[:text.rfind("}") + 1]  # samples are no text
            for m in markers:
                if re.search(rf"(?<![\w.,]){re.escape(m)}(?!\w)", text) and not (where == "journal" and m in ("aids", "GLI")):
                    found[f"{m} in {where}"] += 1
        result(len(texts) >= 17 and "/v1/unmatched/U-1" in texts and '"record"' in texts["/v1/unmatched/U-1"]
               and not found,
               f"{len(markers)} markers of the reader's in none of {len(texts)} answers, events and the journal",
               f"{dict(found)} {sorted(texts)}")


def calibration():
    with Bed({"vitalograph": "model=b,auto=1500"}, conf={"vitalograph": "calibration = refuse\n"}) as bed:
        study = bed.order("spirometry")
        code = bed.acquire(study, "vitalograph")
        result(code == "calibration_due" and bed.nurse.get(f"/v1/studies/{study}")["state"] == "ordered",
               "a spirometer that was never verified is refused where the site says so", code)
        answer = bed.nurse.post("/v1/devices/vitalograph/calibrations", {"measured_ml": [2980, 3010, 2890]})
        result(answer["state"]["state"] == "failed" and bed.acquire(study, "vitalograph") == "calibration_due",
               "a verification that fails does not open it", str(answer["state"]))
        bed.nurse.post("/v1/devices/vitalograph/calibrations", {"measured_ml": [2980, 3010, 2990]})
        code = bed.acquire(study, "vitalograph")
        provenance = bed.nurse.get(f"/v1/records/{bed.nurse.get(f'/v1/studies/{study}')['records'][-1]['id']}")[
            "provenance"]
        result(code == "ok" and provenance["calibration"] == "C-2" and provenance["calibration_state"] == "valid"
               and provenance["operator"] == "ines", "one that passes does, and the record names it",
               f"{code} {provenance}")
    with Bed({"vitalograph": "model=b,auto=1500"}, conf={"vitalograph": "calibration = warn\n"}) as bed:
        study = bed.order("spirometry")
        code = bed.acquire(study, "vitalograph")
        result(code == "ok" and bed.nurse.get(f"/v1/studies/{study}")["calibration"] == "missing",
               "where the site only warns, the study says so", code)


def peak_flow_meter():
    with Bed({"phdc": "profile=pefm,auto=300"}) as bed:
        study = bed.order("spirometry")
        code = bed.acquire(study, "phdc")
        values = measures(bed.record(study)) if code == "ok" else {}
        result(code == "ok" and {"pef", "fev1"} <= set(values),
               "a peak-flow meter over the real libusb: association, configuration, blow", f"{code} {values} "
               f"{bed.log()[-1500:]}")


def spirometer_with_curves():
    with Bed({"phdc": "profile=spirometer,auto=300"}) as bed:
        study = bed.order("spirometry")
        code = bed.acquire(study, "phdc", seconds=60)
        y = bed.nurse.get(f"/v1/studies/{study}")
        trials = y["spirometry"]["phases"][0]["trials"] if code == "ok" else []
        result(code == "ok" and trials and trials[0]["source"] == "curve",
               "a spirometer over USB with its curves, judged", f"{code} {json.dumps(y)[:800]} {bed.log()[-1500:]}")


def scale():
    with Bed({"phdc": "profile=scale,auto=300"}) as bed:
        study = bed.order("measurement")
        code = bed.acquire(study, "phdc")
        values = measures(bed.record(study)) if code == "ok" else {}
        result(code == "ok" and "body_weight" in values, "a scale gives a measurement", f"{code} {values}"
               f" {bed.log()[-1500:]}")
        wrong = bed.acquire(bed.order("spirometry"), "phdc")
        result(wrong == "device_wrong", "the same scale is the wrong instrument for a spirometry", wrong)


def ecg_recorder():
    with Bed({"phdc": "profile=ecg,auto=300"}) as bed:
        study = bed.order("ecg")
        code = bed.acquire(study, "phdc", seconds=10)
        channels = bed.record(study)["acquired"]["channels"] if code == "ok" else []
        result(code == "ok" and channels and channels[0]["code"].startswith("lead_"),
               "a basic ECG recorder gives an ECG", f"{code} {channels} {bed.log()[-1500:]}")


def measuring(profile, code_wanted):
    with Bed({"phdc": f"profile={profile},auto=300"}) as bed:
        study = bed.order("measurement")
        code = bed.acquire(study, "phdc")
        values = measures(bed.record(study)) if code == "ok" else {}
        result(code == "ok" and any(v.startswith(code_wanted) for v in values), f"{profile}: {values}",
               f"{code} {bed.log()[-1500:]}")


def blood_pressure_monitor():
    measuring("bp", "systolic_pressure")


def pulse_oximeter():
    measuring("spo2", "spo2")


def glucose_meter():
    measuring("glucose", "glucose_capillary")


def points(total):
    return range(1, total + 1, 1 if EVERY else max(1, total // 40))


def unplug_serial():
    with Bed({"vitalograph": "model=b,auto=100,speed=8"}) as bed:
        unplug(bed, "vitalograph", "spirometry", points, seconds=20)


def unplug_usb():
    with Bed({"phdc": "profile=pefm,auto=100,speed=8"}) as bed:
        unplug(bed, "phdc", "spirometry", points, seconds=20)


def sample_session():
    """The sample peak-flow session over the simulated USB and the real libusb: the same agent, configuration and report."""
    path = os.path.join(SAMPLES, "phd_11073/synthetic_peakflow_session.txt")
    if not os.path.exists(path):
        return skip("the sample peak-flow session", "no sample")
    with open(path) as f:
        apdus = [line.strip() for line in f if line[:1] in "e"]
    with Bed({"phdc": "profile=pefm,system-id=0011223344556677,clock=2026-03-17T09:30:00"}) as bed:
        study = bed.order("spirometry")
        code = bed.acquire(study, "phdc", seconds=20,
                           during=lambda: (time.sleep(1), bed.say("measure pef=432 fev1=3.63 fev6=3.99 status=0")))
        if code != "ok":
            return result(False, "the sample peak-flow session", f"{code} {bed.log()[-1500:]}")
        values = measures(bed.record(study))
        record = bed.nurse.get(f"/v1/studies/{study}")["records"][-1]["id"]
        sha = bed.gp.get(f"/v1/records/{record}")["provenance"]["capture_sha256"]
        with open(next(os.path.join(at, sha) for at, _, names in os.walk(bed.daemon.store) if sha in names)) as f:
            lines = f.read().splitlines()
        received = "".join(line.split(" ", 2)[2] for line in lines if line.startswith("< "))
        # Of the report: the values; its invoke id and times are of this run.
        same = apdus[0] in received and apdus[2] in received and all(
            v in received for v in ("000a01b02026031709", "000a" + "e16b2026031709", "000a" + "e18f2026031709"))
        result(values == {"pef": ("432", "L/min"), "fev1": ("3.63", "L"), "fev6": ("3.99", "L")} and same,
               "the sample peak-flow session: association and configuration byte for byte, PEF 432 L/min, FEV1 3.63 L,"
               " FEV6 3.99 L", f"{values} {same} {received[:1200]}")


def main():
    if not shutil.which("umockdev-wrapper"):
        skip("spirometers end to end", "no umockdev")
    else:
        only = [a for a in sys.argv[2:] if not a.startswith("-")]
        # The longest first; most of the time is the instruments' own.
        run_parts((unplug_usb, next_patient, unplug_serial, ecg_recorder, spirometer_with_curves, scale, peak_flow_meter,
                   blood_pressure_monitor, pulse_oximeter, glucose_meter, sample_session, stray, leaks, curves, calibration,
                   vitalograph), only, at_once=6)
    return end()


sys.exit(main())
