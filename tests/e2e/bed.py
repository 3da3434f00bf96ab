"""What the end-to-end tests share: asaleed in a folder of its own, the people of a practice, raw HTTP, TAP lines."""
import collections
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MESSAGES = os.path.join(ROOT, "config/messages.fr")
SERIAL = "EMI12SIM0001"
EMI12 = f"emi12,serial={SERIAL},speed=max"


class Tap:
    def __init__(self):
        self.n = self.failed = 0

    def result(self, ok, name, why=""):
        self.n += 1
        self.failed += not ok
        print(f"{'ok' if ok else 'not ok'} {self.n} - {name}", flush=True)
        if not ok and why:
            print("\n".join("# " + line for line in str(why).splitlines()[:12]), flush=True)
        return ok

    def skip(self, name, why):
        self.n += 1
        print(f"ok {self.n} - {name} # SKIP {why}", flush=True)

    def note(self, text):
        print(f"# {text}", flush=True)

    def run(self, name, function, *args):
        """A test is a function that raises when something is not as it should be."""
        try:
            function(*args)
        except Exception as e:  # whatever it is, the other tests go on
            trace = e.__traceback__
            while trace.tb_next and trace.tb_next.tb_frame.f_code.co_filename == function.__code__.co_filename:
                trace = trace.tb_next
            return self.result(False, name, f"line {trace.tb_lineno}: {type(e).__name__}: {e}")
        return self.result(True, name)

    def end(self):
        print(f"1..{self.n}", flush=True)
        return 1 if self.failed else 0


def must(condition, *why):
    if not condition:
        raise AssertionError(" ".join(str(w)[:600] for w in why))


Answer = collections.namedtuple("Answer", "status headers body json")
keys = itertools.count()


def new_key():
    return f"key-{os.getpid()}-{next(keys)}"


def parse(data):
    """One whole answer from the front of data, and what follows it; None while it is not whole."""
    head, sep, rest = data.partition(b"\r\n\r\n")
    if not sep:
        return None
    lines = head.decode("latin-1").split("\r\n")
    match = re.match(r"HTTP/1\.[01] (\d{3})", lines[0])
    must(match, "not an answer:", data[:100])
    status = int(match.group(1))
    if status == 100:
        return parse(rest)
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    n = int(headers.get("content-length", "0"))
    if len(rest) < n:
        return None
    body = rest[:n]
    value = None
    if headers.get("content-type", "").endswith(("/json", "+json")) and body:  # lines of JSON are none
        value = json.loads(body.decode("utf-8"))
    return Answer(status, headers, body, value), rest[n:]


def request_bytes(method, path, body=None, token=None, key=None, headers=None, close=True):
    """key None: a fresh one for a POST; "" = none."""
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    extra = dict(headers or {})
    lines = [f"{method} {path} HTTP/1.1", "Host: " + extra.pop("Host", "x")]
    if close:
        lines.append("Connection: close")
    if token:
        lines.append(f"Authorization: Bearer {token}")
    if key is None and method == "POST":
        key = new_key()
    if key:
        lines.append(f"Idempotency-Key: {key}")
    if body is not None or method in ("POST", "PUT"):
        extra.setdefault("Content-Length", str(len(data)))
    lines += [f"{name}: {value}" for name, value in extra.items() if value is not None]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + data


class Api:
    """One caller. token None on the Unix socket is the machine's own administrator."""

    def __init__(self, where, token=None, acting_for=None):
        self.where, self.token, self.acting_for = where, token, acting_for

    def connect(self, timeout=20):
        s = socket.socket(socket.AF_INET if isinstance(self.where, tuple) else socket.AF_UNIX)
        s.settimeout(timeout)
        s.connect(self.where)
        return s

    def raw(self, data, timeout=20, answers=1, half_close=False):
        """Sends bytes, returns the answers that came before the end, and whether the other side closed."""
        s = self.connect(timeout)
        try:
            try:
                s.sendall(data)
                if half_close:
                    s.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            got, found = b"", []
            while len(found) < answers:
                try:
                    more = s.recv(65536)
                except ConnectionResetError:
                    return found, True
                got += more
                while len(found) < answers:
                    one = parse(got)
                    if not one:
                        break
                    found.append(one[0])
                    got = one[1]
                if not more:
                    return found, True
            return found, False
        finally:
            s.close()

    def call(self, method, path, body=None, key=None, headers=None, timeout=20):
        extra = dict(headers or {})
        if self.acting_for:
            extra["Asaleed-Acting-For"] = self.acting_for
        found, _ = self.raw(request_bytes(method, path, body, self.token, key, extra), timeout)
        must(found, method, path, "no answer")
        return found[0]

    def ok(self, method, path, body=None, key=None, headers=None):
        a = self.call(method, path, body, key, headers)
        must(200 <= a.status < 300, method, path, a.status, a.body[:400])
        return a.json

    def get(self, path):
        return self.ok("GET", path)

    def post(self, path, body=None, key=None):
        return self.ok("POST", path, {} if body is None else body, key)


def read_messages():
    found = {}
    with open(MESSAGES, encoding="utf-8") as f:
        for line in f:
            code, sep, sentence = line.rstrip("\n").partition(" = ")
            if sep and not line.startswith("#"):
                found[code] = sentence
    return found


SENTENCES = read_messages()


def check_problem(a, status, code=None, field=None):
    must(a.status == status, "status", a.status, "expected", status, a.body[:300])
    must(a.headers.get("content-type") == "application/problem+json", "type", a.headers.get("content-type"))
    p = a.json
    must(set(p) - {"field"} == {"code", "detail", "status", "title", "type"}, "members", sorted(p))
    must(p["status"] == status, "status inside", p["status"])
    must(p["type"] == "urn:asaleed:problem:" + p["code"], "type", p["type"])
    must(p["detail"] == SENTENCES[p["code"]], "detail", p["detail"])
    if code:
        must(p["code"] == code, "code", p["code"], "expected", code)
    if field:
        must(p.get("field") == field, "field", p.get("field"), "expected", field)
    return p


def luhn(digits):
    """The number with its check digit."""
    total = 0
    for i, c in enumerate(reversed(digits)):
        d = int(c) * (2 if i % 2 == 0 else 1)
        total += d - 9 if d > 9 else d
    return digits + str(-total % 10)


PEOPLE = (("ines", "nurse"), ("martin", "gp"), ("durand", "gp"), ("olga", "ophthalmologist"), ("adele", "admin"),
          ("aude", "auditor"), ("logiciel", "lgc"))
RPPS = {name: luhn(f"101000000{i}") for i, name in enumerate(("ines", "martin", "durand", "olga"), 1)}
FINESS = luhn("75000001")
# What a reader says at the least of an act where nothing is wrong.
FINDINGS = {"ecg": {"rhythm": "sinus"}, "spirometry": {"pattern": "normal"},
            "fundus": {"right_retinopathy": "none", "left_retinopathy": "none"}, "measurement": {}}


def delegation(nurse, gp, protocol, first="2020-01-01", last="2099-12-31"):
    return {"nurse": RPPS[nurse], "gp": RPPS[gp], "protocol": protocol, "authorisation": "Arrêté ARS 2012/000623",
            "authorised": "2012-06-18", "from": first, "until": last, "nurse_adhesion": "2019-10-01",
            "gp_adhesion": "2019-09-01"}


def enrolment(people, protocols=("tous",), mark=""):
    """What the administrator asks for, as (method, path, body), once these people have accounts: professionals, whose
    account is whose, each GP's delegation to each nurse, and for whom the practice software may act."""
    of = lambda role: [name for name, r in people if r == role]  # noqa: E731
    for name, role in people:
        if name in RPPS:
            yield "PUT", "/v1/professionals/" + RPPS[name], {"family": mark + name.capitalize(), "given": "Dominique",
                                                             "role": role, "finess": FINESS}
            yield "POST", f"/v1/users/{name}/professional", {"rpps": RPPS[name]}
    for nurse in of("nurse"):
        for gp in of("gp"):
            for protocol in protocols:
                yield "POST", "/v1/delegations", delegation(nurse, gp, protocol)
    for lgc in of("lgc"):
        for name, _ in people:
            if name in RPPS:
                yield "POST", f"/v1/users/{lgc}/grant", {"person": name}


def signature(claim, text, act="ecg", conclusion="normal"):
    """What a reader signs who claimed a study, having read what came with the claim."""
    return {"token": claim["token"], "shown": claim["study"]["shown"], "conclusion": conclusion,
            "findings": FINDINGS[act], "text": text}


NO_CLAIM = {"token": "0" * 64, "study": {"shown": "0" * 64}}


class Practice:
    """The people of a practice, registered and with accounts: a nurse who holds both GPs' delegations for every
    protocol, two GPs, an ophthalmologist, an administrator, an auditor, and a practice software that acts for the
    first four. `caller` is Api or one like it; `mark` begins every name."""
    FINESS = FINESS

    def __init__(self, daemon, display=None, mark="", caller=Api):
        self.where, self.caller = daemon.socket, caller
        self.root = caller(self.where)
        self.rpps = RPPS
        self.token = {name: self.root.post("/v1/users", {"name": name, "role": role, "display": display or name})["token"]
                      for name, role in PEOPLE}
        self.delegation = {}
        for method, path, body in enrolment(PEOPLE, [p["id"] for p in self.root.get("/v1/protocols")["items"]], mark):
            made = self.root.ok(method, path, body)
            if path == "/v1/delegations":
                whose = {rpps: name for name, rpps in RPPS.items()}
                self.delegation[whose[body["nurse"]], whose[body["gp"]], body["protocol"]] = made["id"]
        self.nurse, self.gp, self.gp2, self.oph, self.admin, self.auditor, self.lgc = (
            self.of(name) for name, _ in PEOPLE)
        self.lgc_nurse, self.lgc_gp = self.of("logiciel", "ines"), self.of("logiciel", "martin")
        # One of each kind, and the role that counts.
        self.callers = [(self.of(name), role) for name, role in PEOPLE if name != "durand"] + [
            (self.root, "admin"), (self.lgc_nurse, "nurse"), (self.lgc_gp, "gp")]

    def of(self, name, acting_for=None):
        return self.caller(self.where, self.token[name], acting_for)

    def delegate(self, nurse, gp, protocol, first="2020-01-01", last="2099-12-31"):
        self.delegation[nurse, gp, protocol] = self.root.post(
            "/v1/delegations", delegation(nurse, gp, protocol, first, last))["id"]

    def follow(self, patient, protocol="tous", gp="martin"):
        """Opens a follow-up of a patient who is known."""
        return self.nurse.post("/v1/followups", {"patient": patient, "protocol": protocol, "gp": RPPS[gp]})["id"]

    def admit(self, patient, family="Essai", given="Camille", birth_date="1958-04-12", sex="F"):
        """Writes a patient down and opens the follow-up."""
        self.nurse.ok("PUT", "/v1/patients/" + patient,
                      {"family": family, "given": given, "birth_date": birth_date, "sex": sex})
        return self.follow(patient)

    def order(self, patient, act="ecg"):
        """The id of the study to acquire."""
        return self.nurse.post("/v1/orders", {"patient": patient, "act": act})["study"]["id"]

    def sign(self, study, text, act="ecg", conclusion="normal"):
        """Claims and signs; the study as it is then."""
        claim = self.gp.post(f"/v1/studies/{study}/claim")
        return self.gp.post(f"/v1/studies/{study}/sign", signature(claim, text, act, conclusion))


# A protocol that opens every act, for tests of other things; those of the practice are config/protocols.d.
EVERY_ACT = """[protocol tous]
label = Tous les actes
[act ecg]
prescribe = yes
perform = yes
delay-hours = 24
[act spirometry]
prescribe = yes
perform = yes
delay-hours = 72
[act fundus]
prescribe = yes
perform = yes
delay-hours = 72
authorisation = Protocole de test
[act measurement]
prescribe = yes
perform = yes
delay-hours = 72
"""


def can_simulate(build):
    return os.path.exists(os.path.join(build, "tests/sim")) and shutil.which("umockdev-wrapper") is not None


def sanitizer(build):
    """The run-time library of a build with a sanitizer: it must come before umockdev's."""
    out = subprocess.run(["ldd", os.path.join(build, "asaleed")], capture_output=True, text=True, check=False).stdout
    found = re.search(r"libasan\S+ => (\S+)", out)
    return found.group(1) if found else None


def preload(build, library, **env):
    """The environment in which a program runs with one of the tests' libraries."""
    first = sanitizer(build)
    return {"LD_PRELOAD": " ".join(x for x in (first, os.path.join(build, "tests", library)) if x), **env}


def tree(pid):
    """A process and all that it and they have started."""
    found, ask = [], [pid]
    while ask:
        found.append(ask.pop())
        try:
            for task in os.listdir(f"/proc/{found[-1]}/task"):
                with open(f"/proc/{found[-1]}/task/{task}/children", encoding="ascii") as f:
                    ask += [int(x) for x in f.read().split()]
        except OSError:
            pass
    return found


def command_of(pid):
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as f:
            return f.read().split("\0")
    except OSError:
        return [""]


class Asaleed:
    """The daemon on <work>/store. simulate: on a machine with an EMI12; wrap: the words of a command that starts it."""

    def __init__(self, build, work=None, simulate=False, extra=(), env=None, wait=True, wrap=(),
                 protocols=EVERY_ACT, conf=""):
        self.build = os.path.abspath(build)
        self.own = work is None
        self.work = work or tempfile.mkdtemp(prefix="asaleed-e2e-")
        self.store = os.path.join(self.work, "store")
        self.socket = os.path.join(self.work, "api.sock")
        self.log_path = os.path.join(self.work, "log")
        self.simulate, self.extra, self.wrap = simulate, list(extra), list(wrap)
        os.makedirs(self.store, mode=0o700, exist_ok=True)
        os.makedirs(os.path.join(self.work, "devices.d"), exist_ok=True)
        with open(os.path.join(self.work, "devices.d/ecg.conf"), "w") as f:
            f.write(f"[device ecg1]\ndriver = corscience_emi12\nlabel = ECG\nusb-serial = {SERIAL}\n"
                    "[device absent]\ndriver = corscience_emi12\nusb-serial = NONE\n")
        os.makedirs(os.path.join(self.work, "protocols.d"), exist_ok=True)
        if protocols is not None:
            with open(os.path.join(self.work, "protocols.d/every_act.conf"), "w") as f:
                f.write(protocols)
        with open(os.path.join(self.work, "asaleed.conf"), "a") as f:
            f.write(conf)
        self.process = None
        self.start(env, wait)

    def start(self, env=None, wait=True):
        command = [os.path.join(self.build, "asaleed"), "--store", self.store, "--socket", self.socket,
                   "--devices", os.path.join(self.work, "devices.d"), "--messages", MESSAGES,
                   "--protocols", os.path.join(self.work, "protocols.d"),
                   "--driver-program", os.path.join(self.build, "asaleed-driver"),
                   "--export-program", os.path.join(self.build, "asaleed-export"),
                   "--config", os.path.join(self.work, "asaleed.conf"), *self.extra]
        if self.simulate:
            first = sanitizer(self.build)
            command = ["umockdev-wrapper", os.path.join(self.build, "tests/sim"), "--instrument", EMI12,
                       *(["--preload", first] if first else []), "--", *command]
        command = self.wrap + command
        if os.path.exists(self.socket):
            os.unlink(self.socket)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={**os.environ, **(env or {})})
        self.api = Api(self.socket)
        return self.ready() if wait else False

    def ready(self, seconds=30):
        """Serves, and knows its drivers. False when it ended instead."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                return False
            try:
                if self.api.get("/v1/drivers")["items"]:
                    return True
            except (OSError, AssertionError):
                pass
            time.sleep(0.005)
        raise AssertionError("asaleed did not become ready: " + self.log()[-500:])

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def alive(self):
        return self.process.poll() is None

    def pid(self):
        """asaleed's own, not that of what wraps it."""
        if not self.wrap:
            return self.process.pid
        found = [p for p in tree(self.process.pid) if os.path.basename(command_of(p)[0]) == "asaleed"]
        return found[0] if found else self.process.pid

    def stop(self, seconds=20):
        if self.alive():
            os.kill(self.pid(), signal.SIGTERM)
        return self.process.wait(seconds)

    def kill(self):
        if self.alive():
            os.kill(self.pid(), signal.SIGKILL)
        return self.process.wait()

    def done(self):
        if self.alive():
            self.stop()
        if self.own:
            shutil.rmtree(self.work, ignore_errors=True)


# For scripts. bed.py --every-act: that protocol; bed.py SOCKET FOLDER PATIENT: a practice that follows the patient, and
# a file a person with the token.
if __name__ == "__main__":
    if sys.argv[1:] == ["--every-act"]:
        print(EVERY_ACT)
    else:
        made = Practice(collections.namedtuple("Daemon", "socket")(sys.argv[1]))
        for person, secret in made.token.items():
            with open(os.path.join(sys.argv[2], person), "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as out:
                out.write(secret)
        made.admit(sys.argv[3])
