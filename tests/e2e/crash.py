#!/usr/bin/env python3
"""kill -9 and a full disk at every point of the main job, on the simulated instrument. TAP on standard output.

crash.py BUILD [--every | --sample] [--jobs N]

The job is: two accounts, of a nurse and of a GP who delegates to her, a patient and the follow-up, an order, an
acquisition, its acceptance, the DICOM objects that are made of it in the background, a claim, a signature.
crash_point.so counts the calls by which asaleed changes files under its store. For each chosen call asaleed is killed
there (before the call, and after the calls that make something durable), started again, compared with what it had
acknowledged and with whom it had shown what, and the job is taken to its end. The same with a disk that is full from
that call on for a while, with one call that fails, and with the worker killed.

Of consecutive writes to one file (one commit's pages) only the first, middle and last are tried until what the
instrument gave is stored; with --sample always, with --every never. The output says how many points there were and how
many were tried.
"""
import hashlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from bed import (EMI12, PEOPLE, RPPS, Api, Asaleed, Tap, can_simulate, enrolment, must, sanitizer,  # noqa: E402
                 signature)

BUILD = os.path.abspath(sys.argv[1])
PRELOAD = os.path.join(BUILD, "tests/crash_point.so")
EXPORTS = os.path.exists(os.path.join(BUILD, "asaleed-export"))
RANK = {"ordered": 0, "acquiring": 1, "acquired": 2, "to_interpret": 3, "interpreting": 4, "interpreted": 5}
TEXT = "Rythme sinusal."
STEPS = list(enrolment(PEOPLE[:2]))
# The states a study may pass through, as the trail tells them.
LEGAL = {("start", "ordered", "acquiring"), ("start", "acquired", "acquiring"), ("record", "acquiring", "acquired"),
         ("fail", "acquiring", "ordered"), ("fail_again", "acquiring", "acquired"),
         ("accept", "acquired", "to_interpret"), ("claim", "to_interpret", "interpreting"),
         ("release", "interpreting", "to_interpret"), ("sign", "interpreting", "interpreted")}


class Gone(Exception):
    """No whole answer: asaleed was killed."""


class Full(Exception):
    """The store could not take it."""


class Job:
    """The main job, resumable from whatever is there; remembers what was acknowledged."""

    def __init__(self, daemon):
        self.d = daemon
        self.tokens, self.users, self.patient, self.order, self.study = {}, set(), None, None, None
        self.enrolled, self.followup, self.seen = 0, None, set()
        self.rank, self.records, self.refused, self.n = -1, {}, [], 0
        self.acquisitions, self.signed = 0, False

    def call(self, method, path, body=None, who=None, key=None):
        self.n += 1
        try:
            a = Api(self.d.socket, self.tokens.get(who)).call(method, path, body, key or f"crash-{os.getpid()}-{self.n}")
        except (OSError, AssertionError):
            raise Gone() from None
        if a.status >= 500:
            must(a.json and a.json["type"].startswith("urn:asaleed:problem:"), a.body[:200])
            self.refused.append((path, a.json["code"]))
            raise Full(a.json["code"])
        must(a.status < 300, method, path, a.status, a.body[:300])
        if method == "GET" and who and path.startswith("/v1/studies/"):
            self.seen.add((who, path[12:]))
        return a.json

    def look(self):
        y = self.call("GET", f"/v1/studies/{self.study}", who="martin")
        self.saw(y)
        return y

    def saw(self, y):
        self.rank = max(self.rank, RANK[y["state"]]) if self.rank != RANK["acquiring"] else RANK[y["state"]]
        for r in y["records"]:
            if r["sha256"]:  # the nurse is not told
                self.records[r["id"]] = r["sha256"]

    def prepare(self):
        for name, role in PEOPLE[:2]:
            if name not in self.users:
                u = self.call("POST", "/v1/users", {"name": name, "role": role, "display": name}, key=f"user-{name}-1")
                self.users.add(name)
                self.tokens[name] = u["token"]
            if not self.tokens.get(name):
                self.tokens[name] = self.call("POST", f"/v1/users/{name}/token", {})["token"]
        for n, (method, path, body) in enumerate(STEPS[self.enrolled:], self.enrolled):
            self.call(method, path, body, key=f"enrolment-{n}")
            self.enrolled = n + 1
        if not self.patient:
            self.patient = self.call("PUT", "/v1/patients/P-1", {"family": "Essai", "given": "Camille", "sex": "F",
                                                                 "birth_date": "1958-04-12"}, "ines")["version"]
        if not self.followup:
            body = {"patient": "P-1", "protocol": "tous", "gp": RPPS["martin"]}
            self.followup = self.call("POST", "/v1/followups", body, "ines", "followup-key-1")["id"]
        if not self.study:
            o = self.call("POST", "/v1/orders", {"patient": "P-1", "act": "ecg"}, "ines", "order-key-1")
            self.order, self.study = o["id"], o["study"]["id"]

    def step(self, y):
        s = f"/v1/studies/{self.study}"
        if y["state"] == "ordered":
            a = self.call("POST", s + "/acquire", {"device": "ecg1", "seconds": 1}, "ines")
            self.acquisitions += 1
            self.saw(a)
        elif y["state"] == "acquiring":
            time.sleep(0.005)
        elif y["state"] == "acquired":
            self.saw(self.call("POST", s + "/accept", {"confirm": True}, "ines", "accept-key-1"))
        elif EXPORTS and y["state"] == "to_interpret" and not self.objects():
            time.sleep(0.005)
        else:
            claim = self.call("POST", s + "/claim", {}, "martin")
            self.rank = RANK["interpreting"]
            self.saw(self.call("POST", s + "/sign", signature(claim, TEXT), "martin"))
            self.signed = True

    def objects(self):
        """Both variants are made: so their calls come before those of the claim."""
        return all(self.call("GET", f"/v1/studies/{self.study}", who=who)["dicom"] for who in ("martin", "ines"))

    def run(self, seconds=40):
        end = time.monotonic() + seconds
        self.prepare()
        while (y := self.look())["state"] != "interpreted":
            must(time.monotonic() < end, "stuck:", y["state"], y["last_failure"], self.d.log()[-300:])
            self.step(y)
        self.signed = True

    def compare(self):
        """What was acknowledged is there, once; what is there is consistent."""
        root = self.d.api
        users = [u["name"] for u in root.get("/v1/users")["items"]]
        must(self.users <= set(users) and len(users) == len(set(users)), "users", users, self.users)
        v = root.get("/v1/audit/verify")
        must(v["ok"], "audit", v)
        trail = {(r["actor"], r["subject"]) for r in root.get("/v1/audit?limit=200")["items"] if r["action"] == "read"}
        must(self.seen <= trail, "who was shown what is not in the trail", self.seen - trail)
        people = root.get("/v1/professionals")["items"]
        there = ["/v1/professionals/" + p["rpps"] for p in people] + [f"/v1/users/{p['account']}/professional" for p in people]
        there += ["/v1/delegations" for _ in root.get("/v1/delegations")["items"]]
        must(there.count("/v1/delegations") <= 1, "delegated twice")
        must({path for _, path, _ in STEPS[:self.enrolled]} <= set(there), "enrolled", there, self.enrolled)
        if self.followup:
            must(self.call("GET", "/v1/followups", who="ines")["items"][0]["id"] == self.followup, "follow-up")
        orders = self.all_orders(root)
        must(len(orders) <= 1, "orders", orders)
        if self.order:
            must(orders == [self.order], "order", orders, self.order)
            y = root.get(f"/v1/studies/{self.study}")
            must(y["state"] in RANK, y["state"])
            must(RANK[y["state"]] >= self.rank or (self.rank == RANK["acquiring"] and y["state"] == "ordered"),
                 "state went back: acknowledged", self.rank, "is", y["state"])
            if self.records:  # with their hashes, which only a reader is told
                y = self.call("GET", f"/v1/studies/{self.study}", who="martin")
                there = {r["id"]: r["sha256"] for r in y["records"]}
                must(self.records.items() <= there.items(), "records", self.records, there)

    @staticmethod
    def all_orders(root):
        return ["O-" + c["id"][2:] for c in root.get("/v1/changes?limit=200")["items"] if c["kind"] == "order"]


def check_files(store, whole):
    """The database and the artefacts as they lie on the disk. whole: the job went to its end."""
    db = sqlite3.connect(f"file:{store}/asaleed.db?mode=ro" if not os.path.exists(f"{store}/asaleed.db-wal")
                         else f"file:{store}/asaleed.db", uri=True)
    one = lambda sql: db.execute(sql).fetchone()[0]  # noqa: E731
    must(one("PRAGMA integrity_check") == "ok", "integrity")
    must(not db.execute("PRAGMA foreign_key_check").fetchall(), "references")
    for sha, size in db.execute("SELECT sha256, bytes FROM artefact"):
        path = f"{store}/artefacts/{sha[:2]}/{sha}"
        must(os.path.exists(path), "artefact missing", sha)
        with open(path, "rb") as f:
            data = f.read()
        must(len(data) == size and hashlib.sha256(data).hexdigest() == sha, "artefact damaged", sha)
    for action, detail in db.execute("SELECT action, detail FROM audit WHERE action LIKE 'study.%'"):
        d = json.loads(detail)
        must((action[6:], d["from"], d["to"]) in LEGAL, "illegal step", action, detail)
    moves = one("SELECT count(*) FROM audit WHERE action LIKE 'study.%'")
    must(one("SELECT coalesce(sum(version - 1), 0) FROM study") == moves, "versions and trail")
    starts = one("SELECT count(*) FROM audit WHERE action = 'study.start'")
    must(one("SELECT count(*) FROM acquisition") == starts, "acquisitions and trail")
    must(one("SELECT count(*) FROM record") == one("SELECT count(*) FROM audit WHERE action = 'study.record'"), "records")
    must(one("SELECT count(*) FROM interpretation") == one("SELECT count(*) FROM audit WHERE action = 'study.sign'"),
         "interpretations")
    for table, action in (("user", "user.add"), ("patient", "patient.add"), ("orders", "order"),
                          ("professional", "professional.add"), ("delegation", "delegation.add"),
                          ("followup", "followup.open"), ("followup_team", "followup.open"), ("signing_key", "key.made")):
        must(one(f"SELECT count(*) FROM {table}") == one(f"SELECT count(*) FROM audit WHERE action = '{action}'"), table)
    if whole:
        must(one("SELECT count(*) FROM acquisition WHERE ended IS NULL") == 0, "an acquisition that never ended")
        must(one("SELECT count(*) FROM interpretation") == 1, "not one interpretation")
        must(one("SELECT count(*) FROM record") == 1, "not one record")
        must(one("SELECT count(*) FROM orders") == 1 and one("SELECT count(*) FROM user") == 2, "somebody twice")
        must(one("SELECT count(*) FROM interpretation JOIN signing_key ON public = key") == 1
             == one("SELECT count(*) FROM signing_key"), "not one key that signed")
        must(one("SELECT count(*) FROM acquisition WHERE outcome = 'ok'") == 1, "outcomes")
        must(one("SELECT count(*) FROM dicom WHERE sha256 IS NOT NULL") == one("SELECT count(*) FROM dicom")
             == 2 * EXPORTS, "not each object once")
    acquisitions = one("SELECT count(*) FROM acquisition")
    db.close()
    return acquisitions


def environment(store, **more):
    preload = os.environ.get("LD_PRELOAD", "")
    return {"LD_PRELOAD": f"{PRELOAD} {preload}".strip(), "ASALEED_CRASH_STORE": os.path.realpath(store), **more}


class Place:
    """A folder for one point."""

    def __init__(self, sim):
        self.work = tempfile.mkdtemp(prefix="asaleed-crash-")
        self.store = os.path.join(self.work, "store")
        self.sim, self.started = sim, []
        os.mkdir(self.store, 0o700)

    def __enter__(self):
        self.sim("reset")
        return self

    def __exit__(self, *_):
        for d in self.started:
            d.kill()
        shutil.rmtree(self.work, ignore_errors=True)

    def start(self, **env):
        d = Asaleed(BUILD, self.work, env=environment(self.store, **env), wait=False)
        self.started.append(d)
        try:
            d.up = d.ready()
        except AssertionError:
            d.up = False
            if d.alive():
                raise
        return d


def finish(place, job, d):
    job.d = d
    job.run()
    must(d.stop() == 0, "exit status", d.log()[-300:])
    must("reads could not be written" not in d.log(), "reads are lost")
    return check_files(place.store, True)


def try_count(sim, log):
    with Place(sim) as place:
        d = place.start(ASALEED_CRASH_LOG=log)
        must(d.up, d.log()[-500:])
        finish(place, Job(d), d)


def try_crash(sim, n, when):
    with Place(sim) as place:
        d = place.start(ASALEED_CRASH_AT=f"{n}:{when}")
        job = Job(d)
        if d.up:
            try:
                job.run()
                d.stop()
            except Gone:
                pass
        status = d.process.wait(20)
        hit = status == -signal.SIGKILL
        must(hit or status == 0, "ended by itself:", status, d.log()[-300:])
        check_files_copy(place)
        d = place.start()
        must(d.up, "does not start again:", d.log()[-500:])
        job.d = d
        job.compare()
        finish(place, job, d)
        return hit


def check_files_copy(place):
    """As a recovering reader sees it, without folding the WAL of the real one in."""
    copy = os.path.join(place.work, "copy")
    shutil.copytree(place.store, copy)
    if os.path.exists(os.path.join(copy, "asaleed.db")) and sqlite_has_schema(copy):
        check_files(copy, False)
    shutil.rmtree(copy)


def sqlite_has_schema(store):
    db = sqlite3.connect(f"{store}/asaleed.db")
    n = db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'professional'").fetchone()[0]
    db.close()
    return n == 1


def try_full(sim, n, error):
    """From the nth call on nothing can be written, for a while."""
    with Place(sim) as place:
        flag = os.path.join(place.work, "full")
        open(flag, "w").close()
        d = place.start(ASALEED_FAIL_AT=f"{n}:{error}", ASALEED_FAIL_WHILE=flag)
        job = Job(d)
        code = "store_full" if error == "ENOSPC" else "store_read_only"
        if not d.up:
            must(d.process.wait(20) == 1 and "cannot" in d.log(), "no clean refusal to start", d.log()[-300:])
            os.unlink(flag)
            d = place.start()
            must(d.up, d.log()[-500:])
            finish(place, job, d)
            return True
        stuck = time.monotonic() + 1.0
        try:
            job.prepare()
            while time.monotonic() < stuck and (y := job.look())["state"] != "interpreted":
                job.step(y)
            job.signed = y["state"] == "interpreted"
        except Full:
            pass
        if job.signed:  # only its end meets the full disk
            must(d.stop() == 0, d.log()[-300:])
            check_files(place.store, True)
            return False
        for _ in range(3):  # nothing is taken, what is there can be read
            try:
                job.call("POST", "/v1/users", {"name": "extra", "role": "gp", "display": "x"})
                must(False, "taken on a full disk")
            except Full:
                pass
        if job.study:
            job.look()
        must(job.call("GET", "/v1/health")["store"] == ("full" if error == "ENOSPC" else "read_only"), "health")
        must(all(c == code for _, c in job.refused), "problems", job.refused)
        was_acquired = job.acquisitions
        os.unlink(flag)
        acquisitions = finish(place, job, d)
        must(acquisitions == was_acquired or was_acquired == 0, "the reading was not kept:", was_acquired, acquisitions)
        return True


def try_full_restart(sim, n):
    """The disk fills, asaleed is killed and starts again while it is still full: the queue stays readable."""
    with Place(sim) as place:
        flag = os.path.join(place.work, "full")
        d = place.start()
        job = Job(d)
        job.prepare()
        job.call("POST", f"/v1/studies/{job.study}/acquire", {"device": "ecg1", "seconds": 300}, "ines")
        job.rank = RANK["acquiring"]
        d.kill()
        open(flag, "w").close()
        d = place.start(ASALEED_FAIL_AT="1:ENOSPC", ASALEED_FAIL_WHILE=flag)
        must(d.up, "does not start on a full disk:", d.log()[-300:])
        job.d = d
        must(job.call("GET", "/v1/queue", who="martin")["items"] == [])
        must(job.look()["state"] == "acquiring")
        os.unlink(flag)
        end = time.monotonic() + 15
        while job.look()["state"] != "ordered":
            must(time.monotonic() < end, "never recovered")
            time.sleep(0.1)
        finish(place, job, d)
        return True


def try_once(sim, n, error):
    """Exactly one call fails."""
    with Place(sim) as place:
        d = place.start(ASALEED_FAIL_AT=f"{n}:{error}")
        job = Job(d)
        struck = not d.up
        if struck:
            must(d.process.wait(20) == 1, d.log()[-300:])
            d = place.start()
            must(d.up, d.log()[-500:])
            job.d = d
        end = time.monotonic() + 40
        while not job.signed:
            must(time.monotonic() < end, "stuck")
            try:
                job.run()
            except Full:
                pass
        must(len(job.refused) <= 2, "one failure, many refusals", job.refused)
        must(d.stop() == 0, d.log()[-300:])
        check_files(place.store, True)
        return struck or bool(job.refused) or "cannot" in d.log()


def try_worker(sim, n):
    """The worker is killed at its nth write."""
    with Place(sim) as place:
        d = place.start(ASALEED_WORKER_CRASH_AT=str(n))
        job = Job(d)
        job.prepare()
        job.step(job.look())
        while (y := job.look())["state"] == "acquiring":
            time.sleep(0.005)
        hit = y["state"] == "ordered"
        if hit:
            must(y["last_failure"]["code"] == "worker_crashed", y["last_failure"])
            must(d.alive() and not job.call("GET", "/v1/devices", who="ines")["items"][0]["busy"])
            db_rows = captures(place, d)
            d = place.start()
            job.d = d
            job.compare()
            job.run()
            must(d.stop() == 0)
            must(db_rows == (n > 1), "the bytes did not survive the worker", n)
        else:
            finish(place, job, d)
        return hit


def captures(place, d):
    """Ends the daemon; whether the crashed acquisition kept its capture, which says how it ended."""
    must(d.stop() == 0)
    db = sqlite3.connect(f"{place.store}/asaleed.db")
    rows = db.execute("SELECT capture FROM acquisition WHERE outcome = 'worker_crashed'").fetchall()
    db.close()
    must(len(rows) == 1, rows)
    if rows[0][0] is None:
        return False
    with open(f"{place.store}/artefacts/{rows[0][0][:2]}/{rows[0][0]}", "rb") as f:
        data = f.read()
    # Killed in the conversation, or when that was over and the record was being written.
    must(data.startswith(b"asaleed-capture 1\n") and data.endswith((b"\nend crash\n", b"\nend ok\n")), data[-80:])
    must(data.count(b"\nend ") == 1 and (data.endswith(b"\nend crash\n") or b" release\n" in data), data[-80:])
    return True


TRIES = {"crash": try_crash, "full": try_full, "restart": try_full_restart, "once": try_once, "worker": try_worker}


# ---- in the bed ----

def inside(control, tasks_path, results_path):
    s = socket.socket(socket.AF_UNIX)
    s.connect(control)
    lines = s.makefile()

    def sim(command):
        s.sendall(command.encode() + b"\n")
        must(lines.readline().startswith("ok"), "simulator:", command)

    with open(tasks_path) as f:
        tasks = json.load(f)
    with open(results_path, "w", buffering=1) as out:
        for task in tasks:
            start, hit, why = time.monotonic(), None, None
            try:
                if task[0] == "count":
                    try_count(sim, task[1])
                else:
                    hit = TRIES[task[0]](sim, *task[1:])
            except Exception as e:
                trace = e.__traceback__
                while trace.tb_next and trace.tb_next.tb_frame.f_code.co_filename == __file__:
                    trace = trace.tb_next
                why = f"line {trace.tb_lineno}: {type(e).__name__}: {e}"
            print(json.dumps([task, hit, why, time.monotonic() - start]), file=out)
    return 0


# ---- around it ----

def beds(jobs, tasks):
    """Runs the tasks in so many beds at once; returns their results."""
    work = tempfile.mkdtemp(prefix="asaleed-beds-")
    running = []
    for j in range(min(jobs, len(tasks))):
        base = os.path.join(work, str(j))
        with open(base + ".tasks", "w") as f:
            json.dump(tasks[j::jobs], f)
        command = ["umockdev-wrapper", os.path.join(BUILD, "tests/sim"), "--instrument", EMI12,
                   "--control", base + ".sock", "--", sys.executable, os.path.abspath(__file__), BUILD, "--inside",
                   base + ".sock", base + ".tasks", base + ".results"]
        with open(base + ".log", "w") as log:
            running.append((subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log), base))
    results, broken = [], []
    for process, base in running:
        if process.wait() != 0:
            with open(base + ".log") as f:
                broken.append(f"bed ended with {process.returncode}: {f.read()[-800:]}")
        if os.path.exists(base + ".results"):
            with open(base + ".results") as f:
                results += [json.loads(line) for line in f]
    shutil.rmtree(work, ignore_errors=True)
    return results, broken


def choose(calls, every_from):
    """Numbers of the calls to try; from that one on all. A run of writes to one file is one commit's pages."""
    chosen, run = [], []

    def end_run():
        if run:
            chosen.extend(run if run[-1] >= every_from else sorted({run[0], run[len(run) // 2], run[-1]}))
            run.clear()

    for n, what, path in calls:
        if what in ("write", "pwrite"):
            if run and calls[run[-1] - 1][2] != path:
                end_run()
            run.append(n)
        else:
            end_run()
            chosen.append(n)
    end_run()
    return chosen


def main():
    tap = Tap()
    if not can_simulate(BUILD) or not os.path.exists(PRELOAD):
        tap.skip("crash", "no umockdev, no simulator or no crash_point.so")
        return tap.end()
    if sanitizer(BUILD):
        tap.skip("crash", "a build with sanitizers: its calls are the same, its time is not")
        return tap.end()
    jobs = int(sys.argv[sys.argv.index("--jobs") + 1]) if "--jobs" in sys.argv else 2 * (os.cpu_count() or 1)
    begin = time.monotonic()
    fd, log = tempfile.mkstemp()
    os.close(fd)
    results, broken = beds(1, [["count", log]])
    with open(log) as f:
        calls = [(int(a), b, c) for a, b, c in (line.rstrip("\n").split(" ", 2) for line in f)]
    os.unlink(log)
    good = not broken and results and results[0][2] is None and len(calls) > 100
    tap.result(good, f"the whole job: {len(calls)} durable calls", broken or results)
    if not good:
        return tap.end()
    stored = next(n for n, what, path in calls if "write" in what and "/artefacts/" in path)
    points = choose(calls, 1 if "--every" in sys.argv else len(calls) + 1 if "--sample" in sys.argv else stored)
    durable = ("fsync", "fdatasync", "rename", "create", "mkdir", "unlink")
    firsts = [n for n in points if calls[n - 1][1] in durable or n == 1 or calls[n - 2][1] != calls[n - 1][1]]
    tasks = [["crash", n, "before"] for n in points]
    tasks += [["crash", n, "after"] for n in points if calls[n - 1][1] in durable]
    crash_n = len(tasks)
    # The disk: where writing begins, and each call of another kind; the last few are of the shutdown.
    tasks += [["full", n, "ENOSPC"] for n in firsts] + [["full", n, "EROFS"] for n in firsts[3::9]]
    tasks += [["restart", 0]]
    tasks += [["once", n, "EIO"] for n in firsts[::2]] + [["once", n, "ENOSPC"] for n in firsts[1::2]]
    tasks += [["worker", n] for n in (1, 2, 3, 4, 5, 7, 10, 14, 20, 28, 40, 56, 80, 110, 150, 200)]
    results, broken = beds(jobs, tasks)
    for text in broken:
        tap.result(False, "a bed", text)
    for kind, title in (("crash", "kill -9 of asaleed: nothing acknowledged lost or twice, the job goes on"),
                        ("full", "disk full or read only for a while: refused, kept, and on again"),
                        ("restart", "started again on a full disk"), ("once", "one call fails"),
                        ("worker", "kill -9 of the worker: its bytes are kept")):
        mine = [r for r in results if r[0][0] == kind]
        bad = [r for r in mine if r[2]]
        asked = sum(t[0] == kind for t in tasks)
        seconds = sum(r[3] for r in mine)
        detail = f"{len(mine)} points" + (f" on {len(points)} of {len(calls)} calls" if kind == "crash" else "")
        tap.result(not bad and len(mine) == asked, f"{title}: {detail}",
                   "\n".join(f"{r[0][1:]} {calls[r[0][1] - 1][1:] if kind not in ('worker', 'restart') else ''}: {r[2]}"
                             for r in bad[:8]) + f"\n{len(bad)} of {asked} failed")
        tap.note(f"{kind}: {sum(bool(r[1]) for r in mine)} of {len(mine)} struck, {seconds:.0f} s of work")
    tap.note(f"{crash_n} kills; {len(calls) - len(points)} of {len(calls)} calls not tried (writes inside a commit); "
             f"{time.monotonic() - begin:.0f} s in {jobs} beds")
    return tap.end()


if "--inside" in sys.argv:
    at = sys.argv.index("--inside")
    sys.exit(inside(*sys.argv[at + 1:at + 4]))
sys.exit(main())
