#!/usr/bin/env python3
"""What looks at the whole trail (verify, export, archive) does so in a process of its own, while the daemon goes on.
TAP on standard output.

trail.py BUILD

An archive's file that is a pipe nobody writes into keeps that process waiting for as long as a test wants.
"""
import datetime
import json
import os
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from bed import Asaleed, Practice, Tap, check_problem, must, new_key, request_bytes, tree  # noqa: E402

BUILD = os.path.abspath(sys.argv[1])
tap = Tap()


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat()


class Held:
    """The inspector's process waits while this is open."""

    def __init__(self, d, p):
        self.d = d
        a = p.root.post("/v1/audit/archive", {"before": now()})
        must(a["rows"] > 0 and not a["more"], a)
        self.path = f"{d.store}/artefacts/{a['artefact'][:2]}/{a['artefact']}"
        os.rename(self.path, self.path + ".apart")
        os.mkfifo(self.path)

    def begin(self, api, method="GET", path="/v1/audit/verify", body=None):
        """Sends the request, and waits until the process does nothing any more; its id and the connection."""
        s = api.connect()
        s.sendall(request_bytes(method, path, body, api.token))
        end = time.monotonic() + 10
        while time.monotonic() < end:
            for pid in tree(self.d.process.pid)[1:]:
                try:
                    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
                        state = f.read().rpartition(")")[2].split()[0]
                    with open(f"/proc/{pid}/comm", encoding="ascii") as f:
                        if f.read() == "asaleed\n" and state == "S":
                            return pid, s
                except OSError:
                    pass
            time.sleep(0.002)
        raise AssertionError("no process waits: " + self.d.log()[-300:])

    def let_go(self):
        os.rename(self.path + ".apart", self.path)


def answer(s):
    got = b""
    while more := s.recv(65536):
        got += more
    s.close()
    head, _, body = got.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def log_bytes(d):
    return os.path.getsize(os.path.join(d.store, "asaleed.db-wal"))


def gone(pid, reaped=False, seconds=5):
    """reaped: by the daemon, which is free again then. Who else inherits it may not have looked after it yet."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
                if f.read().rpartition(")")[2].split()[0] == "Z" and not reaped:
                    return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


def check_whole(p):
    a = p.root.call("GET", "/v1/audit/verify", timeout=60)
    while a.status == 503:  # what a client asked for who then went away
        time.sleep(0.05)
        a = p.root.call("GET", "/v1/audit/verify", timeout=60)
    v = a.json
    must(a.status == 200 and v["ok"] and v["sealed"] and v["consistent"], v)
    return v


def work(p, n):
    for i in range(n):
        p.nurse.ok("PUT", f"/v1/patients/N-{time.monotonic_ns()}-{i}", {"family": "Essai", "given": "Camille", "sex": "F",
                                                                     "birth_date": "1958-04-12"})


def test_meanwhile(d, p):
    """The daemon goes on; a second one, and erasing, are refused with what to do."""
    held = Held(d, p)
    pid, s = held.begin(p.auditor)
    worst = 0
    for _ in range(200):
        at = time.monotonic()
        must(p.root.get("/v1/health"))
        worst = max(worst, time.monotonic() - at)
    must(worst < 1, worst)
    work(p, 100)
    for caller, method, path, body in ((p.root, "GET", "/v1/audit/verify", None),
                                       (p.auditor, "GET", "/v1/audit/export", None),
                                       (p.root, "POST", "/v1/audit/archive", {"before": now()}),
                                       (p.root, "POST", "/v1/audit/erase", {})):
        a = caller.call(method, path, body)
        check_problem(a, 503, "audit_busy")
        must(int(a.headers["retry-after"]) > 0, a.headers)
    must(log_bytes(d) > 500000, "the log is kept meanwhile", log_bytes(d))
    os.kill(pid, signal.SIGKILL)
    status, body = answer(s)
    must(status == 500 and body["code"] == "internal", status, body)
    held.let_go()
    must(log_bytes(d) < 100000, log_bytes(d))
    check_whole(p)
    must(p.root.post("/v1/audit/erase") == {"rows": 0})


def test_damage(d, p):
    """What is found is told: to the waiting one, and to who would put it away."""
    held = Held(d, p)
    for caller, method, path, body in ((p.root, "GET", "/v1/audit/verify", None),
                                       (p.root, "POST", "/v1/audit/archive", {"before": now()}),
                                       (p.auditor, "GET", "/v1/audit/export", None)):
        _, s = held.begin(caller, method, path, body)
        os.close(os.open(held.path, os.O_WRONLY))  # it reads on, and this is no file
        status, found = answer(s)
        if path.endswith("verify"):
            must(status == 200 and not found["ok"] and found["broken_at"] >= 1 and found["sealed"], found)
        else:
            must(status == 500 and found["code"] == "artefact_corrupt", status, found)
    held.let_go()
    check_whole(p)


def test_gone(d, p):
    """A client that does not wait for the end."""
    held = Held(d, p)
    for path in ("/v1/audit/verify", "/v1/audit/export"):
        pid, s = held.begin(p.auditor, path=path)
        s.close()
        work(p, 3)
        check_problem(p.root.call("GET", "/v1/audit/verify"), 503, "audit_busy")
        os.kill(pid, signal.SIGKILL)
        must(gone(pid, reaped=True))
    held.let_go()
    check_whole(p)
    s = p.auditor.connect()
    s.sendall(request_bytes("GET", "/v1/audit/export", token=p.auditor.token))
    s.close()
    work(p, 3)
    check_whole(p)


def test_stop(d, p):
    """The daemon ends at once, and says so to who waits."""
    held = Held(d, p)
    for caller, method, path, body in ((p.root, "GET", "/v1/audit/verify", None),
                                       (p.root, "POST", "/v1/audit/archive", {"before": now()}),
                                       (p.auditor, "GET", "/v1/audit/export", None)):
        pid, s = held.begin(caller, method, path, body)
        work(p, 20)
        at = time.monotonic()
        d.process.send_signal(signal.SIGTERM)
        status, found = answer(s)
        must(status == 503 and found["code"] == "overloaded", status, found)
        must(d.process.wait(10) == 0 and time.monotonic() - at < 4 and gone(pid))
        must(not os.path.exists(d.store + "/asaleed.db-wal"), "the log is in the database")
        must(d.start(), d.log()[-500:])
    held.let_go()
    check_whole(p)


def test_killed(d, p):
    """kill -9 of the daemon: its process goes too, and nothing that was acknowledged is lost."""
    held = Held(d, p)
    for i in range(5):
        pid, s = held.begin(p.root)
        work(p, 10 * i + 1)
        newest = p.root.get("/v1/audit?limit=1")["items"][0]["seq"]
        d.process.kill()
        d.process.wait()
        s.close()
        must(gone(pid), "outlives the daemon")
        must(d.start(), d.log()[-500:])
        must(p.root.get("/v1/audit?limit=1")["items"][0]["seq"] >= newest)
    held.let_go()
    check_whole(p)


def test_start(d, p):
    """Asked for while the daemon has only just begun, with its own children about."""
    for _ in range(12):
        d.kill()
        d.start(wait=False)
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            try:
                must(p.root.call("GET", "/v1/audit/verify").status in (200, 503))
            except OSError:
                pass
        must(d.ready() and d.alive(), d.log()[-500:])
    check_whole(p)


def test_again(_d, p):
    """An archive is the same when it is asked for with the same key, however long it took."""
    work(p, 5)
    key = new_key()
    body = {"before": now()}
    first = p.root.call("POST", "/v1/audit/archive", body, key)
    again = p.root.call("POST", "/v1/audit/archive", body, key)
    must(first.status == again.status == 200 and first.body == again.body and first.json["rows"] >= 5, first, again)
    must(again.headers.get("idempotency-replayed") == "true", again.headers)
    v = check_whole(p)
    must(v["rows"] == 1, v)


def test_beside(d, p):
    """All of it again and again while others write."""
    stop, failed = threading.Event(), []

    def write():
        try:
            while not stop.is_set():
                work(p, 5)
        except Exception as e:  # told at the end
            failed.append(e)

    threads = [threading.Thread(target=write) for _ in range(2)]
    for t in threads:
        t.start()
    try:
        for i in range(9):
            before = p.root.get("/v1/audit?limit=1")["items"][0]["seq"]
            v = check_whole(p)
            must(v["last"] >= before, "what was acknowledged is in it", v["last"], before)
            lines = p.auditor.call("GET", "/v1/audit/export", timeout=60).body.splitlines()
            must(len(lines) >= v["rows"] + v["archived"] and b'"end"' in lines[-1], len(lines), v, lines[-1])
            if i % 3 == 2:
                must(p.root.post("/v1/audit/archive", {"before": now()})["rows"] > 0)
    finally:
        stop.set()
        for t in threads:
            t.join()
    must(not failed, failed)
    check_whole(p)
    must(log_bytes(d) < 5000000, log_bytes(d))


def main():
    d = Asaleed(BUILD)
    try:
        p = Practice(d)
        for test in (test_meanwhile, test_damage, test_gone, test_stop, test_killed, test_start, test_again, test_beside):
            name = "trail: " + test.__name__[5:].replace("_", " ")
            if d.alive():
                tap.run(name, test, d, p)
            else:
                tap.result(False, name, "asaleed has ended: " + d.log()[-800:])
    finally:
        d.done()
    return tap.end()


sys.exit(main())
