"""A client of asaleed's API for tests and the benchmark, and the programs as they start them."""
import hashlib
import http.client
import itertools
import json
import os
import socket
import subprocess
import time

from bed import EVERY_ACT, ROOT, Practice, can_simulate  # noqa: F401

EMI12 = "emi12,serial=EMI12SIM"  # the simulated ECG that "ecg1" is bound to
alive = []  # what has been started and not ended: for whoever must end early


class Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path, timeout=20):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Refused(Exception):
    def __init__(self, status, body):
        super().__init__(f"{status} {body}")
        self.status, self.body = status, body


class Client:
    """One account on one connection; without a token it is the local administrator (root)."""

    keys = itertools.count()

    def __init__(self, path, token=None, acting_for=None):
        self.connection, self.token, self.acting_for = Connection(path), token, acting_for
        self.headers = {}

    def call(self, method, path, body=None, key=None, headers=None):
        h = dict(headers or {})
        if self.token:
            h["Authorization"] = "Bearer " + self.token
        if self.acting_for:
            h["Asaleed-Acting-For"] = self.acting_for
        if method == "POST":
            h["Idempotency-Key"] = key or f"key-{os.getpid()}-{next(self.keys):08d}-{time.monotonic_ns()}"
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            h["Content-Type"] = "application/json"
        self.connection.request(method, path, data, h)
        answer = self.connection.getresponse()
        content = answer.read()
        self.headers = dict(answer.getheaders())
        if "json" in self.headers.get("Content-Type", ""):
            content = json.loads(content)
        if answer.status >= 300:
            raise Refused(answer.status, content)
        return content

    def ok(self, method, path, body=None):
        return self.call(method, path, body)

    def get(self, path):
        return self.call("GET", path)

    def post(self, path, body=None, key=None):
        return self.call("POST", path, body or {}, key)

    def close(self):
        self.connection.close()


class Daemon:
    """asaleed on a store, with everything else it needs in `work`; with instruments (as "sim --instrument" takes
    them) on a machine that has these."""

    def __init__(self, build, work, store, instruments=(), simulator_options=(), env=None, preload=None):
        self.build, self.work, self.store = build, work, store
        self.socket = os.path.join(work, "api.sock")
        devices = os.path.join(work, "devices.d")
        os.makedirs(devices, exist_ok=True)
        if not os.listdir(devices):
            with open(os.path.join(devices, "ecg1.conf"), "w") as f:
                f.write("[device ecg1]\ndriver = corscience_emi12\nusb-serial = EMI12SIM\n")
        os.makedirs(os.path.join(work, "protocols.d"), exist_ok=True)
        with open(os.path.join(work, "protocols.d/every_act.conf"), "w") as f:
            f.write(EVERY_ACT)
        open(os.path.join(work, "asaleed.conf"), "w").close()
        command = [os.path.join(build, "asaleed"), "--store", store, "--socket", self.socket,
                   "--devices", devices, "--messages", os.path.join(ROOT, "config/messages.fr"),
                   "--protocols", os.path.join(work, "protocols.d"),
                   "--driver-program", os.path.join(build, "asaleed-driver"),
                   "--export-program", os.path.join(build, "asaleed-export"),
                   "--config", os.path.join(work, "asaleed.conf")]
        if instruments:
            # As umockdev-wrapper does it, but with our library before its own, which passes nothing on.
            wrapper = ["env", f"LD_PRELOAD={preload}:libumockdev-preload.so.0"] if preload else ["umockdev-wrapper"]
            command = [*wrapper, os.path.join(build, "tests/sim"), *simulator_options,
                       *[x for i in instruments for x in ("--instrument", i)], "--", *command]
        if os.path.exists(self.socket):
            os.unlink(self.socket)
        # A simulator that is killed leaves its mocked machine behind: in a folder that goes with the bed.
        env = {"TMPDIR": os.path.realpath(work), **(env or {})}
        self.log = open(os.path.join(work, "asaleed.log"), "ab")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                        start_new_session=True, env={**os.environ, **env})
        alive.append(self)
        self.until_ready()

    def until_ready(self, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                c = Client(self.socket)
                health = c.get("/v1/health")
                # Drivers are loaded after the start; nothing can be acquired before.
                if c.get("/v1/drivers")["items"]:
                    c.close()
                    return health
                c.close()
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.01)
        self.kill()
        with open(self.log.name) as f:
            raise RuntimeError("asaleed did not start: " + "".join(f.readlines()[-5:]))

    def tree(self):
        """The ids of the process and all it has started."""
        found, ask = [], [self.process.pid]
        while ask:
            pid = ask.pop()
            found.append(pid)
            try:
                for task in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{task}/children") as f:
                        ask += [int(x) for x in f.read().split()]
            except OSError:
                pass
        return found

    def pid(self):
        """asaleed's own, not a wrapper's."""
        for pid in self.tree():
            try:
                if os.path.basename(os.readlink(f"/proc/{pid}/exe")).split(" ")[0] == "asaleed":
                    return pid
            except OSError:
                pass
        raise RuntimeError("asaleed is gone")

    def signal(self, number):
        for pid in self.tree():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def kill(self):
        import signal
        self.signal(signal.SIGKILL)
        self.process.wait()
        self.ended()

    def ended(self):
        self.log.close()
        if self in alive:
            alive.remove(self)

    def stop(self):
        """Ends as systemd would; returns the exit status."""
        try:
            os.kill(self.pid(), 15)
            status = self.process.wait(15)
        except (RuntimeError, subprocess.TimeoutExpired):
            self.kill()
            return -9
        self.ended()
        return status

    def practice(self):
        return Practice(self, caller=Client)


def acquire(client, study, seconds, poll=0.005, limit=60, started=lambda study: None, device="ecg1"):
    """Records the study on the simulated instrument; returns it once it is acquired, raises what it failed with."""
    started(client.post(f"/v1/studies/{study}/acquire", {"device": device, "seconds": seconds}))
    end = time.monotonic() + limit
    while time.monotonic() < end:
        s = client.get(f"/v1/studies/{study}")
        if s["state"] != "acquiring":
            if s["state"] != "acquired":
                raise Refused(0, s.get("last_failure"))
            return s
        time.sleep(poll)
    raise TimeoutError(study)


def sha256_file(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            h.update(block)
    return h.hexdigest()
