#!/usr/bin/env python3
"""The simulator program with several instruments on one machine, file_maker: program.py BUILD. TAP on standard output.

The hosts here are as small as can be: that the bytes are right is for the engines' own tests.
"""
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time

BUILD = os.path.abspath(sys.argv[1])
SIM = os.path.join(BUILD, "tests/sim")
FILE_MAKER = os.path.join(BUILD, "tests/file_maker")
count = failures = 0


def result(ok, name, why=""):
    global count, failures
    count += 1
    failures += not ok
    print(f"{'ok' if ok else 'not ok'} {count} - {name}", flush=True)
    if why and not ok:
        print(f"# {why}", flush=True)


# ---- inside: the program under test ----

class Control:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        self.socket.connect(path)
        self.answers = self.socket.makefile()

    def say(self, command):
        self.socket.sendall(command.encode() + b"\n")
        return self.answers.readline().strip()

    def stats(self, who):
        return dict(p.split("=") for p in self.say(f"{who} stats").split()[1:])


class Port:
    def __init__(self, number):
        self.fd = os.open(f"/dev/ttyUSB{number}", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)

    def read(self, n, seconds=5):
        """At most n bytes, fewer when no more come in time or the line hangs up."""
        got, end = b"", time.monotonic() + seconds
        while len(got) < n and select.select([self.fd], [], [], max(0, end - time.monotonic()))[0]:
            try:
                part = os.read(self.fd, n - len(got))
            except OSError:
                break
            if not part:
                break
            got += part
        return got

    def ask(self, request, n, seconds=5):
        os.write(self.fd, request)
        return self.read(n, seconds)

    def close(self):
        os.close(self.fd)


def vitalograph(payload):
    """The frame around a payload."""
    frame, x = b"\2" + payload + b"\3", 0
    for byte in frame:
        x ^= byte
    return frame + bytes([x])


IDENTITY = bytes.fromhex("fc000008000508e8fd")  # of an EMI12
COUNT = b"\x90\x10"  # of the records of an SP80B


def inside(control):
    c = Control(control)
    serial = [open(f"/sys/class/tty/ttyUSB{i}/device/../../serial").read().strip() for i in range(4)]
    result(serial == ["SIM00001", "SIM00002", "SECOND", "SIM00004"], "each has a port and a serial number of its own", serial)
    result(c.say("stats").startswith("error") and c.say("emi12#2 stats").startswith("error") and
           c.say("vitalograph#3 stats").startswith("error") and c.say("vitalograph#1 stats").startswith("ok"),
           "with several instruments a command names one that is there")
    answers = [c.say(x) for x in ("emi12 blow", "sp80b start", "vitalograph blow nonsense", "sp80b blow cough",
                                  "vitalograph fault garbage", "vitalograph fault noise:0", "sp80b stats")]
    result([a.split()[0] for a in answers] == ["error", "error", "error", "ok", "error", "ok", "ok"] and
           "stored=4" in answers[-1], "each has its own commands and faults", answers)
    c.say("vitalograph reset")

    ecg, first, second, stored = (Port(i) for i in range(4))
    got = ecg.ask(IDENTITY, 17), stored.ask(COUNT, 10)
    result(len(got[0]) == 17 and got[1][:3] == b"\xe0\x04\0", "each answers on its own port", got)
    got = second.read(71, seconds=3)
    result(len(got) == 71 and got[-1:] == vitalograph(got[1:-2])[-1:], "a blow comes by itself where it was asked for", got)
    result(c.stats("vitalograph")["blows"] == "0" and first.read(1, seconds=0.1) == b"", "and only there")
    result(c.say("vitalograph result fev1=250 fev6=310") == "ok" and len(first.read(59)) == 59, "a blow that was told")
    request = b"\6" + vitalograph(b"GVGT")  # acknowledges the blow before it
    got = first.ask(request, 1, seconds=0.3), second.ask(request, 20)
    result(got[0] == b"" and got[1].startswith(b"\6\2GVST") and
           abs(time.mktime(time.strptime(got[1][6:18].decode(), "%y%m%d%H%M%S")) - time.time()) < 5,
           "two of a kind are two models, and the second has the time of this machine", got)

    c.say("vitalograph#2 unplug")
    gone = not os.path.exists("/dev/ttyUSB2") and second.read(1, seconds=0.2) == b""
    stats = [c.stats(x)["plugged"] for x in ("emi12", "vitalograph", "vitalograph#2", "sp80b")]
    result(gone and stats == ["1", "1", "0", "1"] and len(ecg.ask(IDENTITY, 17)) == 17, "one is unplugged, the others stay", stats)
    second.close()
    result(c.say("vitalograph#2 replug") == "ok" and c.say("vitalograph#2 replug") == "error plugged" and
           os.path.exists("/dev/ttyUSB2"), "and comes back")
    c.say("sp80b unplug-after 30")
    stored.close()
    stored = Port(3)
    got = stored.ask(b"\x91\0\1\x12", 44)
    result(len(got) == 30 and not os.path.exists("/dev/ttyUSB3"), "the cable goes after so many bytes", got)
    for port in (ecg, first, stored):
        port.close()
    print(f"# inside {count} {failures}")
    return 7


# ---- around it ----

def run_sim(*args, wrapper=("umockdev-wrapper",), **more):
    return subprocess.run([*wrapper, SIM, *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False, **more)


def several():
    global count, failures
    work = tempfile.mkdtemp(prefix="asaleed-sim-")
    control = os.path.join(work, "control")
    r = run_sim("--control", control, "--instrument", "emi12", "--instrument", "vitalograph,speed=max", "--instrument",
                "vitalograph,serial=SECOND,model=b,auto=100", "--instrument", "sp80b", "--", sys.executable,
                os.path.abspath(__file__), BUILD, control)
    out = r.stdout.decode().splitlines()
    print("\n".join(out))
    told = [line.split() for line in out if line.startswith("# inside")]
    if told:
        count, failures = int(told[0][2]), int(told[0][3])
    result(r.returncode == 7 and told, "the program's status is the simulator's", f"{r.returncode} {r.stderr.decode()[-800:]}")
    os.rmdir(work)


def statuses():
    emi12 = ("--instrument", "emi12")
    wrong = [(), ("--instrument", "emi13"), ("--instrument", "emi12,colour=red"), ("--instrument", "vitalograph,stream=" + SIM),
             ("--instrument", "sp80b,fault=lost-frame"), (*emi12, "--speed", "0"), ("--instrument", "emi12,plugged=maybe"),
             (*emi12, "--colour", "red")]
    codes = [run_sim(*args, "--", "true").returncode for args in wrong]
    result(codes == [2] * len(wrong), "what it does not understand it refuses", codes)
    clash = run_sim(*emi12, "--instrument", "sp80b,port=ttyUSB0", "--", "true")
    result(clash.returncode == 1 and b"sp80b" in clash.stderr, "two instruments cannot have one port", clash.stderr)
    plain = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    result(run_sim(*emi12, "--", "true", wrapper=(), env=plain).returncode == 77, "without umockdev it says so")
    result(run_sim(*emi12, "--", "/nowhere").returncode == 127, "a program that is not there")
    killed = run_sim(*emi12, "--", "sh", "-c", "kill -TERM $$").returncode
    result(killed == 128 + signal.SIGTERM, "a program that dies of a signal", killed)
    gone = run_sim("--instrument", "emi12,plugged=no", "--", "test", "-e", "/dev/ttyUSB0").returncode
    result(gone == 1, "an instrument that is not plugged in yet", gone)


def generate():
    emi12 = ("--generate", "2", "--instrument", "emi12,seed=3")
    a, b = (run_sim(*emi12, *extra, wrapper=()) for extra in ((), ("--speed", "8")))
    result(a.returncode == 0 and a.stdout == b.stdout and a.stdout.count(b"\xfc") == 94, "a session to a file has its own time",
           f"{len(a.stdout)} bytes")
    codes = [run_sim("--generate", "2", "--instrument", "sp80b", wrapper=()).returncode,
             run_sim(*emi12, "--instrument", "emi12", wrapper=()).returncode]
    result(codes == [2, 2], "one instrument, which can start by itself", codes)


def make_file(*args):
    return subprocess.run([FILE_MAKER, *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)


def files():
    told = make_file("--help")
    formats = [line.split(":")[0] for line in told.stdout.decode().split("\n\n")[2:]]
    result(told.returncode == 0 and {"scp", "ecg90a", "healforce", "jpeg"} <= set(formats), "file_maker says what it makes", formats)
    person = ("--family", "Durand", "--given", "Eve", "--id", "4711", "--birth-date", "1950-02-28", "--sex", "F",
              "--time", "2026-01-02T03:04:05")
    for name in formats:
        a, b, c = (make_file(name, *person, "--seed", seed, "-") for seed in "112")
        result(a.returncode == 0 and a.stdout and a.stdout == b.stdout != c.stdout, f"{name}: the same seed, the same file",
               a.stderr)
    marked, plain = (make_file("scp", *args, "-").stdout for args in (("--marker", "MARK"), ()))
    result(marked.count(b"MARK") == 10 and b"MARK" not in plain, "an interpretation's texts hold the marker", marked.count(b"MARK"))
    wrong = [(), ("scp",), ("tar", "-"), ("scp", "-", "-"), ("scp", "-", "--colour", "red"), ("scp", "-", "--still=yes"),
             ("scp", "-", "--rate"), ("scp", "-", "--rate", "0"), ("scp", "-", "--time", "noon"), ("scp", "-", "--sex", "X")]
    codes = [make_file(*args).returncode for args in wrong]
    result(codes == [2] * len(wrong), "file_maker refuses what it does not understand", codes)
    wrong = [("--option", "code=morse"), ("--option", "avm=3000"), ("--rate", "300"), ("--seconds", "3600"), ("--family", "Zoé")]
    codes = [make_file("scp", "-", *args).returncode for args in wrong]
    result(codes == [1] * len(wrong), "... and what cannot be", codes)


if len(sys.argv) > 2:
    sys.exit(inside(sys.argv[2]))
for test in (several, statuses, generate, files):
    try:
        test()
    except Exception as e:  # the others still run
        result(False, test.__name__, repr(e))
print(f"1..{count}")
sys.exit(failures > 0)
