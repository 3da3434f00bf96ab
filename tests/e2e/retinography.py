#!/usr/bin/env python3
"""The daemon and simulated cameras, end to end through the real libusb: every picture, byte for byte, and none too many.
TAP on standard output.

retinography.py BUILD [--every] [PART...]: with --every the cable is pulled at every byte of a session, else at a spread
of places, and the faults that take long are tried too.
"""
import base64
import collections
import hashlib
import json
import os
import re
import shutil
import sqlite3
import struct
import sys
import time
import zlib

sys.dont_write_bytecode = True
from client import Client, Refused, sha256_file  # noqa: E402
from simulated import Bed, end, events_of, result, run_parts, skip, unplug, within_reach  # noqa: E402

EVERY = "--every" in sys.argv
SMALL = "size=384x256"
VIEWS = [("R", "macula"), ("R", "disc"), ("L", "macula"), ("L", "disc")]


# ---- what came and what is kept ----

def sha_of(answer, key="sha"):
    return re.search(rf" {key}=([0-9a-f]{{64}})", answer).group(1)


def shoot(bed, words="", name=None):
    return sha_of(bed.say(f"shoot {words}".strip(), name))


def shots(bed, first, last, name=None):
    return [sha_of(bed.say(f"sha {n}", name)) for n in range(first, last + 1)]


def waiting(bed, study, name="ptp", seconds=8):
    """Until the camera is asked for nothing more: the driver waits for pictures."""
    limit, before = time.monotonic() + seconds, None
    while time.monotonic() < limit:
        now = bed.stats(name)
        if now["session"] != "0" and int(now["commands"]) >= 5 and before == now["commands"]:
            return
        before = now["commands"]
        time.sleep(0.2)
    raise TimeoutError(f"{name} is not waited for: {bed.log()[-800:]}")


def record_id(bed, study):
    return bed.nurse.get(f"/v1/studies/{study}")["records"][-1]["id"]


def qualities(bed, study):
    return {q["code"]: q["subject"] for q in bed.record(study)["quality"]}


def kept(bed, study):
    """The hashes of the newest record's pictures, each one compared with the artefact and with what the GP gets."""
    ref = record_id(bed, study)
    gp = Client(bed.daemon.socket, bed.gp.token)
    pictures = gp.get(f"/v1/records/{ref}")["record"]["acquired"]["pictures"]
    for n, p in enumerate(pictures, 1):
        sent = gp.get(f"/v1/records/{ref}/picture?n={n}")
        stored = os.path.join(bed.daemon.store, "artefacts", p["sha256"][:2], p["sha256"])
        if p["number"] != n or p["bytes"] != len(sent) or hashlib.sha256(sent).hexdigest() != p["sha256"] or \
                sha256_file(stored) != p["sha256"]:
            raise RuntimeError(f"{ref}: picture {n} is not what its hash says")
    gp.close()
    return [p["sha256"] for p in pictures]


class Cameras(Bed):
    def look_back(self):
        """All that the database and the captures name is there and is itself."""
        db = sqlite3.connect(os.path.join(self.daemon.store, "asaleed.db"))
        rows = db.execute("SELECT sha256, kind, bytes FROM artefact").fetchall()
        db.close()
        named, wrong = {sha for sha, _, _ in rows}, []
        for sha, kind, n in rows:
            path = os.path.join(self.daemon.store, "artefacts", sha[:2], sha)
            if not os.path.exists(path) or os.path.getsize(path) != n or sha256_file(path) != sha:
                wrong.append((kind, sha))
            elif kind == "capture":
                with open(path) as f:
                    wrong += [("a blob of", sha) for line in f if line[0] in "#~" and line.split()[3] not in named]
        kinds = collections.Counter(kind for _, kind, _ in rows)
        if wrong or not self.quiet:
            result(not wrong, f"nothing half-stored is named: {dict(kinds)}", wrong)

    quiet = False


def file_of(bed, name, content):
    path = os.path.join(bed.work, name)
    with open(path, "wb") as f:
        f.write(content)
    return path


def png(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + bytes((x * 5 + y * 3 + c * 40) % 200 + 20 for x in range(width) for c in range(3))
                    for y in range(height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + \
        chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(width, height):
    pixels = bytes((i * 7) % 200 + 20 for i in range(width * height * 3))
    bits = 8 + len(pixels)
    entries = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, bits), (259, 3, 1, 1), (262, 3, 1, 2),
               (273, 4, 1, 8), (277, 3, 1, 3), (278, 3, 1, height), (279, 4, 1, len(pixels))]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *e) for e in entries) + bytes(4)
    return struct.pack("<2sHI", b"II", 42, bits + 6) + pixels + struct.pack("<HHH", 8, 8, 8) + directory


# ---- the parts ----

def session():
    """Four shots, these four and no other."""
    with Cameras({"ptp": f"auto=250,shots=4,stored=7,storages=2,{SMALL}"}) as bed:
        study = bed.order("fundus")
        take = events_of(bed, study)
        code = bed.acquire(study, "ptp", seconds=20)
        if code != "ok":
            return result(False, "a retinography of four pictures", f"{code} {bed.log()[-1500:]}")
        said, got, stats = shots(bed, 1, 4), kept(bed, study), bed.stats()
        result(got == said, "four shots: these four, byte for byte, in the record, the store and what the GP gets",
               f"{said} {got}")
        result(stats["objects"] == "4" and stats["deletes"] == "0" and stats["session"] == "0",
               "seven older pictures on two cards stay there untouched; nothing is deleted; the session is closed", stats)
        events = [json.loads(e) for e in re.findall(r"event: picture\ndata: (.*)", take())]
        result([e["number"] for e in events] == [1, 2, 3, 4]
               and all(base64.b64decode(e["jpeg"]).startswith(b"\xff\xd8\xff") and e["width"] > 0 for e in events),
               "a preview of each comes as an event while it is taken", [e["number"] for e in events])
        ref = record_id(bed, study)
        previews = [bed.nurse.get(f"/v1/records/{ref}/preview?n={n}") for n in range(1, 5)]
        result(all(p.startswith(b"\xff\xd8\xff") and b"Exif" not in p for p in previews) and len(set(previews)) == 4,
               "the nurse sees a preview of each, made anew")
        fields = bed.record(study)["acquired"]["pictures"]
        result(all(p["format"] == "jpeg" and (p["width"], p["height"]) == (384, 256) and p["quality"] for p in fields),
               "format, size and technical quality of each", fields)


def bodies():
    """Bodies that tell of a picture in their own way, and one that tells nothing."""
    kinds = {"ptp": "storages=2", "ptp_eos": "eos=yes", "ptp_eos64": "eos=64", "ptp_host": "eos=host",
             "ptp_deaf": "interrupt=no", "ptp_storm": "fault=event-storm:300"}
    with Cameras({k: f"auto=250,shots=2,{SMALL},{keys}" for k, keys in kinds.items()}) as bed:
        for name, keys in kinds.items():
            study = bed.order("fundus")
            code = bed.acquire(study, name, seconds=15, pictures=2)
            got = kept(bed, study) if code == "ok" else []
            result(code == "ok" and got == shots(bed, 1, 2, name) and bed.stats(name)["deletes"] == "0"
                   and bed.stats(name)["remote"] == "0", f"{keys}: two shots, these two",
                   f"{code} {got} {bed.stats(name)} {bed.log()[-1000:]}")
        study = bed.order("fundus")
        said = []
        bed.acquire(study, "ptp", seconds=15, pictures=2, during=lambda: (
            waiting(bed, study), said.append(shoot(bed, "card2", "ptp")), said.append(shoot(bed, "", "ptp"))))
        result(sorted(kept(bed, study)) == sorted(said), "one shot on each of two cards", bed.stats("ptp"))


def lost_event():
    """A picture of which nothing was said is found when the nurse has finished."""
    with Cameras({"ptp": SMALL}) as bed:
        study = bed.order("fundus")
        said = []

        def during():
            waiting(bed, study)
            bed.say("fault lost-event:1")
            said.extend([shoot(bed), shoot(bed)])
            time.sleep(1.2)
            bed.nurse.post(f"/v1/studies/{study}/finish")
        code = bed.acquire(study, "ptp", seconds=60, pictures=4, during=during)
        result(code == "ok" and sorted(kept(bed, study)) == sorted(said)
               and qualities(bed, study).get("pictures_missing") == "2",
               "finish with two of four, one of them unannounced: both are taken, the record says that two are missing",
               f"{code} {bed.log()[-800:]}")
        study = bed.order("fundus")
        bed.say("fault lost-event:1")
        start = time.monotonic()
        code = bed.acquire(study, "ptp", seconds=60, pictures=1, during=lambda: (waiting(bed, study), shoot(bed)))
        result(code == "ok" and kept(bed, study) == [sha_of(bed.say("sha 3"))],
               f"without finish too, after {time.monotonic() - start:.0f} s", f"{code} {bed.log()[-800:]}")


def formats():
    with Cameras({"ptp": SMALL}) as bed:
        study = bed.order("fundus")
        same = file_of(bed, "Œil d’essai 1 €.png", png(120, 90))
        wide = file_of(bed, "b.tif", tiff(90, 60))
        other = file_of(bed, "c.bmp", b"BM" + bytes(500))
        said = []

        def during():
            waiting(bed, study)
            bed.say("shoot file " + other)
            for words in ("progressive", "raw+jpeg", f"file {same}", f"file {wide}", f"file {same}", "6000 4000"):
                said.append(shoot(bed, words))
        start = time.monotonic()
        code = bed.acquire(study, "ptp", seconds=30, pictures=6, during=during)
        got = kept(bed, study) if code == "ok" else []
        repeated = qualities(bed, study).get("picture_repeated")
        result(code == "ok" and got == list(dict.fromkeys(said)) and len(got) == 5 and repeated,
               "progressive JPEG, RAW+JPEG, PNG, TIFF, the same bytes twice, 24 megapixels: five pictures byte for byte,"
               f" no raw file, no bitmap, the double named, {time.monotonic() - start:.1f} s",
               f"{code} {repeated} {bed.log()[-1200:]}")
        pictures = bed.record(study)["acquired"]["pictures"]
        result([p["format"] for p in pictures] == ["jpeg-progressive", "jpeg", "png", "tiff", "jpeg"]
               and (pictures[4]["width"], pictures[4]["height"]) == (6000, 4000), "each with its format",
               [(p["format"], p["width"]) for p in pictures])
        ref = record_id(bed, study)
        previews = [try_get(bed.nurse, f"/v1/records/{ref}/preview?n={n}")[:1] == "\xff" for n in range(1, 6)]
        result(previews == [True, True, True, False, True] and qualities(bed, study).get("picture_not_judged") == "4",
               "a preview of each but the TIFF, which is said to be not judged", f"{previews} {qualities(bed, study)}")
        names = [s["name"] for s in bed.gp.get(f"/v1/records/{ref}")["record"]["sources"]]
        result(names[2] == "Œil d’essai 1 €.png", "a name with œ, ’ and €, for the GP", names)
        whole = bed.gp.get(f"/v1/records/{ref}/picture?n=2")
        cut = file_of(bed, "cut.jpg", whole[:len(whole) * 2 // 3])
        study = bed.order("fundus")
        code = bed.acquire(study, "ptp", seconds=30, pictures=1,
                           during=lambda: (waiting(bed, study), shoot(bed, f"file {cut}")))
        result(code == "ok" and kept(bed, study) == [sha256_file(cut)] and "picture_damaged" in qualities(bed, study),
               "a JPEG that was cut on the card is kept as it is and flagged", f"{code} {bed.log()[-800:]}")


def clocks():
    with Cameras({"ptp": f"slow=3600,{SMALL}", "ptp_right": SMALL}) as bed:
        study = bed.order("fundus")
        code = bed.acquire(study, "ptp", seconds=15, pictures=1,
                           during=lambda: (waiting(bed, study), shoot(bed, name="ptp")))
        record = bed.record(study)
        trial = record["acquired"]["trials"][0]
        result(code == "ok" and kept(bed, study) == shots(bed, 1, 1, "ptp") and record["complete"]
               and trial["device_time"][:16] != trial["time"][:16],
               "a camera whose clock is an hour slow: its picture is this patient's, with both times", record)
        study = bed.order("fundus")
        said = []
        code = bed.acquire(study, "ptp_right", seconds=15, pictures=2, during=lambda: (
            waiting(bed, study, "ptp_right"), shoot(bed, "ago=600", "ptp_right"),
            said.append(shoot(bed, "", "ptp_right"))))
        tray = bed.nurse.get("/v1/unmatched")["items"]
        result(code == "ok" and kept(bed, study) == said and len(tray) == 1 and "readings_stray" in qualities(bed, study),
               "a picture that was made before the acquisition is put aside, the other one is the patient's",
               f"{code} {tray} {bed.log()[-800:]}")
        study = bed.order("fundus")
        code = bed.acquire(study, "ptp_right", seconds=15, pictures=1, during=lambda: (
            waiting(bed, study, "ptp_right"), shoot(bed, "ago=600", "ptp_right")))
        tray = bed.nurse.get("/v1/unmatched")["items"]
        result(code == "reading_stray" and len(tray) == 2 and bed.nurse.get(f"/v1/studies/{study}")["state"] == "ordered"
              , "and where it is the only one, the study is as before", f"{code} {len(tray)}")


def ends():
    """An acquisition that ends before all of its pictures came."""
    with Cameras({"ptp": SMALL}) as bed:
        study = bed.order("fundus")
        code = bed.acquire(study, "ptp", seconds=2)
        failure = bed.nurse.get(f"/v1/studies/{study}")["last_failure"]
        result(code == "device_no_result" and "mesure" in failure["detail"], "time over without a picture: an error",
               f"{code} {failure}")
        code = bed.acquire(study, "ptp", seconds=3, during=lambda: (waiting(bed, study), shoot(bed)))
        result(code == "ok" and len(kept(bed, study)) == 1 and qualities(bed, study).get("pictures_missing") == "3",
               "time over with one of four: a record that says so", f"{code} {bed.log()[-800:]}")
        study = bed.order("fundus")
        code = bed.acquire(study, "ptp", seconds=30, during=lambda: (
            waiting(bed, study), bed.nurse.post(f"/v1/studies/{study}/finish")))
        result(code == "device_no_result", "finish without a picture: an error", code)
        bed.say("fault slow:300")
        started = []

        def cancel():
            waiting(bed, study)
            before = int(bed.stats()["bytes"])
            shoot(bed, "3000 2000")
            while int(bed.stats()["bytes"]) < before + 100000:
                time.sleep(0.01)
            started.append(time.monotonic())
            bed.nurse.post(f"/v1/studies/{study}/cancel")
        code = bed.acquire(study, "ptp", seconds=30, during=cancel)
        took = time.monotonic() - started[0]
        stats = bed.stats()
        result(code == "acquisition_cancelled" and took < 3 and stats["cancels"] == "1" and stats["session"] == "0",
               f"cancelled in the middle of a picture: over after {took:.1f} s, the camera is told", f"{code} {stats}")
        bed.say("fault none")
        code = bed.acquire(study, "ptp", seconds=15, pictures=1, during=lambda: (waiting(bed, study), shoot(bed)))
        result(code == "ok" and len(kept(bed, study)) == 1,
               "and the next acquisition takes what is shot then, not what was cancelled", code)


def broken_off():
    """Pictures that cannot be had, behind one that could."""
    with Cameras({"ptp": SMALL}) as bed:
        study = bed.order("fundus")
        said = []

        def spoil():
            waiting(bed, study)
            before = int(bed.stats()["objects"])
            said.append(shoot(bed))
            while int(bed.stats()["objects"]) == before:
                time.sleep(0.01)
            bed.say("fault short-object")
            shoot(bed), shoot(bed)
        code = bed.acquire(study, "ptp", seconds=30, during=spoil)
        stats = bed.stats()
        result(code == "ok" and kept(bed, study) == said and qualities(bed, study).get("pictures_missing") == "3"
               and stats["session"] == "0", "two of three that always break off: the first one is kept, the record says"
               " that three of four are missing", f"{code} {stats} {bed.log()[-800:]}")


# What an acquisition of two pictures ends with under each fault of the simulator, within so many seconds.
QUICK = {"busy:1": "ok", "busy:7": "ok", "slow:500": "ok", "vanish:1": "ok", "short-object:1": "ok",
         "short-object": "device_protocol", "long-object:1000": "device_protocol", "long-object:1": "device_protocol",
         "wrong-length:0": "device_protocol", "wrong-length:100": "device_protocol",
         "wrong-length:4294967295": "device_protocol", "wrong-data-length:0": "device_protocol",
         "wrong-data-length:11": "device_protocol", "wrong-data-length:4294967295": "device_protocol",
         "wrong-transaction:1": "ok", "wrong-transaction": "device_protocol", "stall:1": "ok", "no-zlp": "ok",
         "split-header": "ok"}
SLOW = {"vanish": ("device_no_result", 8), "huge": ("device_overrun", 8), "no-response:1": ("device_silent", 9),
        "wrong-data-length:5000": ("device_protocol", 9), "hang": ("ok", 12), "hang:100": ("device_silent", 18)}
SLOWEST = {"hang:400": ("device_silent", 30), "hang:20000": ("device_silent", 60)}


def suffer(bed, name, fault, wanted, within, seconds):
    study = bed.order("fundus")
    bed.say(f"fault {fault}", name)
    start = time.monotonic()
    code = bed.acquire(study, name, seconds=seconds, pictures=2, limit=within + 60)
    took = time.monotonic() - start
    s = bed.nurse.get(f"/v1/studies/{study}")
    clear = code == "ok" and len(kept(bed, study)) == 2 or \
        code != "ok" and s["state"] == "ordered" and s["last_failure"]["detail"].endswith(".")
    bed.say("fault none", name)
    study = bed.order("fundus")
    then = bed.acquire(study, name, seconds=15, pictures=1)
    good = then == "ok" and len(kept(bed, study)) == 1 and bed.stats(name)["deletes"] == "0"
    result(code == wanted and clear and took < within and good, f"{fault}: {code} after {took:.1f} s, the next one works",
           f"wanted {wanted} within {within} s; {s['last_failure']} then {then}; {bed.log()[-1200:]}")


def faults():
    with Cameras({"ptp": f"auto=200,shots=9999,{SMALL}"}) as bed:
        for fault, wanted in QUICK.items():
            suffer(bed, "ptp", fault, wanted, 4, 10)


def slow_fault(fault, wanted, within):
    def part():
        with Cameras({"ptp": f"auto=200,shots=9999,{SMALL}"}) as bed:
            bed.quiet = True
            suffer(bed, "ptp", fault, wanted, within, 6)
    part.__name__ = fault
    return part


def pulled():
    """At every transfer: before the first picture they are short, each one with something else in it."""
    def points(total):
        return sorted({*range(1, 1200, 1 if EVERY else 48), *range(1200, total, 512 if EVERY else total // 8)})

    with Cameras({"ptp": f"auto=120,shots=9999,stored=2,{SMALL}", "ptp_eos": f"auto=120,shots=9999,eos=yes,{SMALL}"}) as bed:
        for name in ("ptp", "ptp_eos"):
            unplug(bed, name, "fundus", points, seconds=15, pictures=2)


def labels():
    """From labels to the signature; and what the reader alone may see, looked for in all that the nurse can reach."""
    with Cameras({"ptp": f"stored=3,{SMALL}"}) as bed:
        study = bed.order("fundus")
        s = f"/v1/studies/{study}"
        take = events_of(bed, study)
        code = bed.acquire(study, "ptp", seconds=15, pictures=1, during=lambda: (waiting(bed, study), shoot(bed)))
        first = record_id(bed, study)
        # A camera's file with texts of our own in the place of the camera's.
        marked = bed.gp.get(f"/v1/records/{first}/picture").replace(b"Simulated Optics", b"ZqxMakeOfCamera0") \
            .replace(b"SO-45 Retinograph", b"ZqxModelOfCamera0")
        path = file_of(bed, "ZqxName œil’€.jpg", marked)
        study = bed.order("fundus")
        s = f"/v1/studies/{study}"
        take = events_of(bed, study)
        code = bed.acquire(study, "ptp", seconds=30, during=lambda: (
            waiting(bed, study), shoot(bed, f"file {path}"), [shoot(bed) for _ in range(3)]))
        ref = record_id(bed, study)
        result(code == "ok" and len(kept(bed, study)) == 4, "four pictures to label", f"{code} {bed.log()[-800:]}")

        def refused(method, path, body):
            try:
                bed.nurse.call(method, path, body)
                return "accepted"
            except Refused as e:
                return e.body["code"] if e.body["detail"].endswith(".") else "no sentence"

        def label(*views):
            return bed.nurse.call("PUT", s + "/pictures", {"pictures": [
                {"record": ref, "picture": n, "laterality": eye, "field": field} if field else
                {"record": ref, "picture": n, "exclude": eye} for n, eye, field in views]})["fundus"]

        confirm = {"confirm": True}
        result(refused("POST", s + "/accept", confirm) == "pictures_unlabelled", "unlabelled pictures are not accepted")
        f = label((1, "R", "macula"), (2, "R", "macula"), (3, "L", "macula"), (4, "paupière fermée", None))
        result(f["missing"] == ["Œil droit, papille", "Œil gauche, papille"]
               and f["repeated"] == [f"Œil droit, macula : {ref}/1, {ref}/2"] and f["pictures"][3]["label"] ==
               "Laissée de côté", "a view given twice, two missing, one picture left out", f)
        result(refused("POST", s + "/accept", confirm) == "pupil_missing", "nor without the pupil")
        bed.nurse.call("PUT", s + "/pupil", {"dilated": False, "agents": []})
        result(refused("POST", s + "/accept", {}) == "confirmation_needed", "nor as it is without being confirmed")
        more = bed.acquire(study, "ptp", seconds=15, during=lambda: (waiting(bed, study), shoot(bed), shoot(bed)))
        ref, old = record_id(bed, study), ref
        f = label((1, "R", "disc"), (2, "L", "disc"))
        result(more == "ok" and len(kept(bed, study)) == 2 and not f["missing"],
               "a second acquisition takes the two missing views", f"{more} {f}")
        ref = old
        f = label((2, "double", None))
        result(not f["missing"] and not f["repeated"], "the newest label counts: each view is there once", f)
        accepted = bed.nurse.post(s + "/accept", confirm)
        result(accepted["state"] == "to_interpret", "accepted with what was to be confirmed", accepted["state"])
        signed = bed.practice.sign(study, "ZqxSigned", "fundus")
        result(signed["state"] == "interpreted" and len(signed["records"]) == 2, "claimed and signed", signed["state"])

        markers = ["Zqx", "Simulated Optics", "SO-45", "IMG_000", ".JPG", "RETINA", "100RETIN"]
        own = json.dumps(bed.gp.get(f"/v1/records/{old}"), ensure_ascii=False) + \
            bed.gp.get(f"/v1/records/{old}/picture").decode("latin-1")
        result(all(m in own for m in ("ZqxName œil’€.jpg", "ZqxMakeOfCamera0", "ZqxModelOfCamera0", "Simulated Optics")),
               "the GP sees what the camera and the file say of themselves", own[:600])
        ids = {"studies": ["S-1", study], "records": ["R-1", "R-2", "R-3"], "orders": ["O-1", "O-2"],
               "patients": ["P-1"], "devices": ["ptp"], "unmatched": ["U-1"], "users": ["ines"]}
        texts = within_reach(bed, bed.nurse, ids)
        for r in ("R-1", "R-2", "R-3"):
            for n in range(1, 5):
                for what in ("picture", "preview"):
                    texts[f"{what} {n} of {r}"] = refused("GET", f"/v1/records/{r}/picture?n={n}", None) \
                        if what == "picture" else try_get(bed.nurse, f"/v1/records/{r}/preview?n={n}")
        texts["events"] = take()
        texts["their previews"] = "".join(base64.b64decode(json.loads(e)["jpeg"]).decode("latin-1") for e in
                                          re.findall(r"event: picture\ndata: (.*)", texts["events"]))
        found = [f"{m} in {where}" for where, text in texts.items() for m in markers if m in text]
        result(len(texts) > 40 and "their previews" in texts and texts["their previews"] and not found,
               f"{len(markers)} markers of the reader's in none of {len(texts)} answers, events, previews and the journal",
               found)
        result(Client(bed.daemon.socket).get("/v1/audit/verify")["ok"], "the trail is whole")


def try_get(client, path):
    try:
        return client.get(path).decode("latin-1")
    except Refused as e:
        return json.dumps(e.body)


def main():
    if not shutil.which("umockdev-wrapper"):
        skip("retinography end to end", "no umockdev")
        return end()
    only = [a for a in sys.argv[2:] if not a.startswith("-")]
    slow = SLOW | (SLOWEST if EVERY else {})
    run_parts([pulled, faults, *(slow_fault(f, *v) for f, v in slow.items()), lost_event, formats, bodies, labels, ends,
               broken_off, clocks, session], only, at_once=6)
    return end()


sys.exit(main())
