"""The power-cut test: what asaleed acknowledged is there after the current fails.

What a cut is. The store is on ext4, on a loop device, whose backing file is on a second ext4, on a second loop device:

    asaleed -> ext4 -> loop -> inner.img -> ext4 -> loop -> outer.img
               (the store's)   (the "drive")       (what the drive has truly kept)

Dirty pages of the store's file system are in neither image: only what it has sent to its block device is in inner.img.
A loop device writes to its backing file's page cache and syncs that file when it is sent a flush. So inner.img, read
through the outer file system, is a drive whose write cache survives ("kept"); and outer.img holds of inner.img only
what was flushed: a drive that loses its whole cache, whatever it had told the kernel ("lost"). (The outer kernel thread
writes pages back by itself after 5 to 30 s; a round is shorter, so nothing unflushed gets there by chance.)

A round: clients write; at a random moment every process of the daemon gets SIGSTOP; once all are stopped and neither
device has anything in flight, both images are copied, so each copy is one instant. Each copy is mounted (journal
replay), asaleed is started on it, and every answer that a client has had is looked for: rows, states, artefacts by
their hash, tokens, the answers to repeated keys. The next round goes on from the "lost" copy, and the last checks the
acknowledged of all rounds. What it cannot show: a cut within one system call of the kernel (a half-done flush) is as
good as ext4's journal and SQLite's checksums.

The test also tests itself: in each round a file written without fsync must not be in the copies, one with it must be,
and a block written past the page cache but never flushed must be in "kept" and not in "lost".
"""
import http.client
import mmap
import os
import random
import signal
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../e2e"))
from bed import RPPS, signature  # noqa: E402
from client import EMI12, Client, Daemon, Refused, acquire, alive, can_simulate, sha256_file  # noqa: E402

OUTER_MB, INNER_MB = 640, 512
CUTS = ("kept", "lost")


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def mount(image, at):
    os.makedirs(at, exist_ok=True)
    run("mount", "-o", "loop", image, at)


def loop_of(at):
    """The name of the loop device that is mounted there."""
    with open("/proc/self/mountinfo") as f:
        for line in f:
            fields = line.split()
            if fields[4] == at:
                return os.path.basename(fields[fields.index("-") + 2])
    raise RuntimeError(f"{at} is not mounted")


def io_counters(loops):
    """Requests done and in flight: the same twice, and none in flight, means that nothing happened in between."""
    out = []
    for loop in loops:
        with open(f"/sys/block/{loop}/stat") as f:
            fields = f.read().split()
        out.append((fields[0], fields[4], fields[15] if len(fields) > 15 else "", int(fields[8])))
    return out


class Acknowledged:
    """What clients were told, kept outside the image."""

    def __init__(self, path):
        self.file, self.lock = open(path, "a"), threading.Lock()
        self.all, self.round_start = [], 0

    def add(self, kind, *what):
        with self.lock:
            self.all.append((kind, *what))
            self.file.write(repr((kind, *what)) + "\n")
            self.file.flush()

    def study(self, s):
        self.add("study", s["id"], s["version"], s["state"])
        for r in s["records"]:
            self.add("record", r["id"], r["sha256"])
        if "interpretation" in s:
            self.add("signed", s["id"], s["interpretation"]["text"])


class Writer(threading.Thread):
    """A client that works until the daemon does not answer any more."""

    def __init__(self, name, work, daemon, tokens, told):
        super().__init__(name=name, daemon=True)
        self.work, self.told, self.error, self.n = work, told, None, 0
        self.nurse, self.gp = Client(daemon.socket, tokens["nurse"]), Client(daemon.socket, tokens["gp"])
        self.admin = Client(daemon.socket)

    def run(self):
        try:
            while True:
                self.work(self)
                self.n += 1
        except (OSError, http.client.HTTPException):
            pass
        except Exception as e:
            self.error = e

    def patient(self):
        patient = f"{self.name}.{time.monotonic_ns()}"
        body = {"family": "Famille", "given": "Prénom", "birth_date": "1950-02-03", "sex": "U"}
        p = self.nurse.call("PUT", f"/v1/patients/{patient}", body)
        self.told.add("patient", patient, p["version"], p["given"])
        f = self.nurse.post("/v1/followups", {"patient": patient, "protocol": "tous", "gp": RPPS["martin"]})
        self.told.add("followup", f["id"], patient)
        return patient, body

    def order(self, patient):
        key, body = f"{self.name}-{time.monotonic_ns()}", {"patient": patient, "act": "ecg"}
        o = self.nurse.post("/v1/orders", body, key)
        self.told.add("order", o["id"], patient)
        self.told.add("replay", "/v1/orders", body, key, o)
        return o["study"]["id"]


def work_rows(w):
    patient, body = w.patient()
    for i in range(5):
        study = w.order(patient)
    p = w.nurse.call("PUT", f"/v1/patients/{patient}", {**body, "given": "Autre"}, headers={"If-Match": '"1"'})
    w.told.add("patient", patient, p["version"], p["given"])
    w.told.study(w.nurse.post(f"/v1/studies/{study}/cancel", {"reason": "Erreur de saisie"}))


def work_acquisitions(w):
    study = w.order(w.patient()[0])
    w.told.study(acquire(w.nurse, study, 1, started=w.told.study))
    w.told.study(w.nurse.post(f"/v1/studies/{study}/accept", {"confirm": True}))
    claim = w.gp.post(f"/v1/studies/{study}/claim")
    w.told.study(claim["study"])
    text = f"Lecture de {study}, {time.monotonic_ns()}"
    w.told.study(w.gp.post(f"/v1/studies/{study}/sign", signature(claim, text)))


def work_accounts(w):
    name = f"u{time.monotonic_ns()}"
    answer = w.admin.post("/v1/users", {"name": name, "role": "nurse", "display": "Infirmière"})
    w.told.add("token", name, answer["token"])
    time.sleep(0.02)


class Cut:
    """What is found on one copy."""

    def __init__(self, build, work, store, told, tokens):
        self.build, self.work, self.store, self.told, self.tokens = build, work, store, told, tokens
        self.lost, self.artefacts, self.audit, self.integrity = [], [], [], []

    def look(self, whole):
        d = Daemon(self.build, self.work, self.store)
        try:
            self.nurse, self.gp = Client(d.socket, self.tokens["nurse"]), Client(d.socket, self.tokens["gp"])
            self.socket = d.socket
            for told in self.told.all if whole else self.told.all[self.told.round_start:]:
                try:
                    wrong = getattr(self, "look_" + told[0])(*told[1:])
                except Refused as e:
                    wrong = str(e)
                if wrong:
                    self.lost.append(f"{told[:3]}: {wrong}"[:300])
            audit = Client(d.socket).get("/v1/audit/verify")
            if not audit["ok"] or not audit["rows"]:
                self.audit.append(str(audit))
        finally:
            status = d.stop()
        if status != 0:
            self.integrity.append(f"asaleed ended with status {status}")
        self.look_at_files()

    def look_patient(self, patient, version, given):
        p = self.gp.get(f"/v1/patients/{patient}")
        if p["version"] < version or (p["version"] == version and p["given"] != given):
            return f"is {p['version']} {p['given']}"

    def look_followup(self, followup, patient):
        f = self.gp.get(f"/v1/followups/{followup}")
        if f["patient"] != patient:
            return f"is of {f['patient']}"

    def look_order(self, order, patient):
        o = self.gp.get(f"/v1/orders/{order}")
        if o["patient"] != patient:
            return f"is for {o['patient']}"

    def look_replay(self, path, body, key, answer):
        again = self.nurse.post(path, body, key)
        if self.nurse.headers.get("Idempotency-Replayed") != "true" or again != answer:
            return "the same key does not give the same answer"

    def look_study(self, study, version, state):
        s = self.gp.get(f"/v1/studies/{study}")
        if s["version"] < version or (s["version"] == version and s["state"] != state):
            return f"is {s['version']} {s['state']}, was {version} {state}"
        if s["state"] == "acquiring":
            return "still says acquiring after a start"

    def look_record(self, record, sha256):
        r = self.gp.get(f"/v1/records/{record}")
        if sha256 and r["sha256"] != sha256:  # a nurse was told the number, a reader the hash too
            return f"is {r['sha256']}"
        if len(self.gp.get(f"/v1/records/{record}/channels")) < 1000:
            return "has no samples"

    def look_signed(self, study, text):
        s = self.gp.get(f"/v1/studies/{study}")
        if s.get("interpretation", {}).get("text") != text:
            return "another interpretation, or none"

    def look_token(self, name, token):
        Client(self.socket, token).get("/v1/devices")

    def look_at_files(self):
        db = os.path.join(self.store, "asaleed.db")
        for pragma, good in (("integrity_check", "ok"), ("foreign_key_check", "")):
            said = run("sqlite3", db, f"PRAGMA {pragma}").strip()
            if said != good:
                self.integrity.append(f"{pragma}: {said}"[:300])
        for line in run("sqlite3", db, "SELECT sha256, bytes FROM artefact").split():
            sha256, size = line.split("|")
            path = os.path.join(self.store, "artefacts", sha256[:2], sha256)
            if not os.path.exists(path):
                self.artefacts.append(f"{sha256} is missing")
            elif os.path.getsize(path) != int(size) or sha256_file(path) != sha256:
                self.artefacts.append(f"{sha256} is damaged")


def block(text):
    memory = mmap.mmap(-1, 4096)  # aligned, for O_DIRECT
    memory.write(text.encode().ljust(4096, b"."))
    return memory


def write_direct(path, text, sync):
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    os.pwritev(fd, [block(text)], 0)
    if sync:
        os.fsync(fd)
    os.close(fd)


def content(path):
    try:
        with open(path, "rb") as f:
            return f.read().rstrip(b".\0").decode()
    except OSError:
        return ""


def main():
    build, work, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    simulate = can_simulate(build)
    told = Acknowledged(os.path.join(work, "acknowledged"))
    seed = int(os.environ.get("SEED", time.time_ns() % 1000000))
    choose = random.Random(seed)
    print(f"# seed {seed}; {'with' if simulate else 'WITHOUT (no simulator)'} acquisitions")
    outer, at_outer, at_store = work + "/outer.img", work + "/outer", work + "/store"
    run("truncate", "-s", f"{OUTER_MB}M", outer)
    run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", outer)
    mount(outer, at_outer)
    run("truncate", "-s", f"{INNER_MB}M", at_outer + "/inner.img")
    run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", at_outer + "/inner.img")
    tokens, cuts, blind, acquiring, per_round = None, [], [], 0, []

    for n in range(1, rounds + 1):
        mount(at_outer + "/inner.img", at_store)
        loops = [loop_of(at_outer), loop_of(at_store)]
        for loop in loops:
            with open(f"/sys/block/{loop}/queue/write_cache") as f:
                if f.read().strip() != "write back":
                    blind.append(f"round {n}: {loop} has no write cache to lose")
        store = at_store + "/asaleed"
        os.makedirs(store, exist_ok=True)
        os.sync()
        told.round_start = len(told.all)
        for name, sync in (("dirty", False), ("synced", True)):
            with open(f"{at_store}/{name}{n}", "w") as f:
                f.write(f"round {n}")
                f.flush()
                if sync:
                    os.fsync(f.fileno())
        write_direct(at_store + "/direct", "old", True)
        speed = choose.choice(["max", "20", "4"])
        d = Daemon(build, work, store, instruments=[f"{EMI12},speed={speed}"] if simulate else [])
        if not tokens:
            made = d.practice().token
            tokens = {"nurse": made["ines"], "gp": made["martin"]}
            for who in ("ines", "martin", "durand"):
                told.add("token", who, made[who])
        writers = [Writer(f"rows{i}.{n}", work_rows, d, tokens, told) for i in range(2)]
        writers.append(Writer(f"accounts.{n}", work_accounts, d, tokens, told))
        if simulate:
            writers.append(Writer(f"ecg.{n}", work_acquisitions, d, tokens, told))
        for w in writers:
            w.start()
        time.sleep(choose.uniform(0.05, 1.5))
        before = len(told.all)

        # The cut.
        pids = d.tree()
        d.signal(signal.SIGSTOP)
        for pid in set(pids + d.tree()):
            for _ in range(1000):
                try:
                    with open(f"/proc/{pid}/stat") as f:
                        if f.read().rsplit(")", 1)[1].split()[0] in "TtZX":
                            break
                except OSError:
                    break
                time.sleep(0.005)
        acquiring += len(pids) > (2 if simulate else 1)
        write_direct(at_store + "/direct", "new", False)
        for _ in range(50):
            now = io_counters(loops)
            for image, copy in ((at_outer + "/inner.img", "kept"), (outer, "lost")):
                run("cp", "--sparse=always", image, f"{work}/{copy}.img")
            if io_counters(loops) == now and not any(c[3] for c in now):
                break
            time.sleep(0.02)
        else:
            raise RuntimeError("the devices do not come to rest")
        d.kill()
        for w in writers:
            w.join(20)
            if w.error:
                raise w.error
        run("umount", at_store)
        run("umount", at_outer)
        os.unlink(outer)

        # What is left.
        for name in CUTS:
            if name == "kept":
                mount(f"{work}/kept.img", at_store)
            else:
                os.rename(f"{work}/lost.img", outer)
                mount(outer, at_outer)
                mount(at_outer + "/inner.img", at_store)
            dirty, synced, direct = (content(f"{at_store}/{f}") for f in (f"dirty{n}", f"synced{n}", "direct"))
            expected = "new" if name == "kept" else "old"
            if dirty == f"round {n}" or synced != f"round {n}" or direct != expected:
                blind.append(f"round {n}, {name}: dirty \"{dirty}\", synced \"{synced}\", direct \"{direct}\"")
            cut = Cut(build, work, store, told, tokens)
            cut.look(whole=n == rounds)
            cuts.append((n, name, cut))
            if name == "kept":
                run("umount", at_store)
                os.unlink(f"{work}/kept.img")
        run("umount", at_store)
        per_round.append(before - told.round_start)

    run("umount", at_outer)
    results = [
        ("the cuts lose what was not synced and keep what was", blind),
        ("every acknowledged row is there", [f"round {n}, {name}: {x}" for n, name, c in cuts for x in c.lost]),
        ("every artefact is there and whole", [f"round {n}, {name}: {x}" for n, name, c in cuts for x in c.artefacts]),
        ("the audit trail verifies", [f"round {n}, {name}: {x}" for n, name, c in cuts for x in c.audit]),
        ("the database is whole", [f"round {n}, {name}: {x}" for n, name, c in cuts for x in c.integrity]),
        ("every round was cut amid work", [f"round {i + 1} had acknowledged nothing" for i, k in enumerate(per_round) if not k]),
    ]
    if simulate and rounds >= 10:
        results.append(("some rounds were cut while an instrument was read", [] if acquiring else ["none was"]))
    kinds = {}
    for what in told.all:
        kinds[what[0]] = kinds.get(what[0], 0) + 1
    lost = sum(len(c.lost) + len(c.artefacts) for _, _, c in cuts)
    print(f"# rounds {rounds}, cuts {len(cuts)}, acknowledged {len(told.all)}, lost {lost}; "
          f"{acquiring} rounds cut while an instrument was read")
    print("# acknowledged: " + ", ".join(f"{k} {v}" for k, v in sorted(kinds.items())))
    for i, (name, wrong) in enumerate(results, 1):
        print(f"{'not ok' if wrong else 'ok'} {i} - {name}")
        for line in wrong[:10]:
            print(f"#   {line}")
    print(f"1..{len(results)}")
    return any(wrong for _, wrong in results)


if __name__ == "__main__":
    try:
        status = main()
    finally:
        for program in list(alive):
            program.kill()
    sys.exit(status)
