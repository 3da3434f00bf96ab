#!/usr/bin/env python3
"""The rules that a compiler does not check. Silent when all hold; else one "file:line: what" a finding, exit 1.

Floors: a file includes its own folder's headers, include/asalee/, and lower floors' headers.
Third-party headers: each belongs to one named file.
Banned calls: each has a better one in daemon/base, or has no place here.
Man pages: asaleed.conf.5 has the keys of conf.c with their values, ranges and defaults; asaleed.8 the options of main.c.
"""
import os
import re
import subprocess
import sys

# folder -> the folders whose headers it may include with "..."
FLOORS = {
    "daemon/base": [],
    "daemon/model": ["daemon/base"],
    "daemon/core": ["daemon/base", "daemon/model"],
    "daemon/ctl": ["daemon/base", "daemon/model"],
    "daemon/export": ["daemon/base", "daemon/model"],
    "drivers/worker": ["daemon/base", "daemon/model"],
    "drivers": [],
}
DRIVER_MAY = ["crc.h", "text.h", "xml_in.h"]  # of drivers/worker: what a driver's folder may include beside asalee/

# header (prefix) -> the files that may include it
THIRD_PARTY = {
    "jansson.h": ["daemon/model/json.h"],
    "sodium.h": ["daemon/model/hash.c", "daemon/model/signature.c", "daemon/core/password.c"],
    "nettle/": ["daemon/model/hash.c"],
    "sqlite3.h": ["daemon/core/store.c"],
    "microhttpd.h": ["daemon/core/http.c"],
    "systemd/sd-device.h": ["daemon/core/device.c"],
    "systemd/sd-daemon.h": ["daemon/core/main.c"],
    "systemd/sd-event.h": ["daemon/core/" + f for f in ("blobs.h", "device.h", "http.h", "inspect.h", "reads.h", "worker.h")],
    "libusb.h": ["drivers/worker/transport_usb.c"],
    "libserialport.h": ["drivers/worker/transport_serial.c"],
    "seccomp.h": ["drivers/worker/sandbox.c"],
    "linux/seccomp.h": ["daemon/export/sandbox.c"],
    "jpeglib.h": ["drivers/worker/picture_judge.c", "daemon/export/pixels_jpeg.c"],
    "jerror.h": ["drivers/worker/picture_judge.c", "daemon/export/pixels_jpeg.c"],
    "png.h": ["drivers/worker/picture_judge.c", "daemon/export/pixels_png.c"],
    "libxml/": ["drivers/worker/xml_in.c"],
    "dcmtk/": ["daemon/export/dicom.cc"],
    "tiffio.h": ["daemon/export/pixels_tiff.c"],
}

BANNED = {
    "strcpy": "str_copy()",
    "strcat": "a struct buf",
    "sprintf": "snprintf() or buf_format()",
    "vsprintf": "vsnprintf()",
    "gets": "fgets()",
    "atoi": "str_to_u64()",
    "atol": "str_to_u64()",
    "atof": "dec_parse()",
    "strtod": "dec_parse(): numbers are exact decimals",
    "strtof": "dec_parse(): numbers are exact decimals",
    "scanf": "a cursor or str_to_u64()",
    "sscanf": "a cursor or str_to_u64()",
    "system": "posix_spawn()",
    "popen": "posix_spawn()",
    "setlocale": "nothing: a decimal comma must never reach a record",
}
IN_DRIVERS = {"malloc": "", "calloc": "", "realloc": "", "strdup": "", "fopen": "", "open": "", "printf": "", "log_line": ""}


def sources():
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.c", "*.h", "*.cc"], capture_output=True,
                           text=True, check=True).stdout.split()
    return sorted(n for n in names if os.path.exists(n))


def strip(text):
    """The code without comments and literals, line numbers kept."""
    keep_lines = lambda m: re.sub(r"[^\n]", " ", m.group(0))
    text = re.sub(r"/\*.*?\*/", keep_lines, text, flags=re.S)
    text = re.sub(r"//[^\n]*", keep_lines, text)
    return re.sub(r'"(?:\\.|[^"\\\n])*"', '""', text)


def check(path, out):
    with open(path, encoding="utf-8") as f:
        text = f.read()
    folder = os.path.dirname(path)
    shipped = not path.startswith("tests/")
    is_driver = folder.startswith("drivers/") and folder != "drivers/worker"
    allowed = FLOORS.get("drivers" if is_driver else folder, []) + [folder]
    for n, line in enumerate(text.split("\n"), 1):
        m = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if not m or not shipped:
            continue
        quoted, name = m.group(1) == '"', m.group(2)
        if quoted and not any(os.path.exists(os.path.join(d, name)) for d in allowed):
            if not (is_driver and name in DRIVER_MAY):
                out.append(f"{path}:{n}: includes {name}, which is not on its floor or below")
        for header, files in THIRD_PARTY.items():
            if not quoted and (name == header or (name.endswith("/" + header) and name not in THIRD_PARTY) or
                               (header.endswith("/") and name.startswith(header))) and path not in files:
                out.append(f"{path}:{n}: <{name}> belongs to {', '.join(files)}")
    code = strip(text)
    banned = dict(BANNED, **(IN_DRIVERS if is_driver else {}))
    for n, line in enumerate(code.split("\n"), 1):
        for m in re.finditer(r"(?<![\w.>])([a-z]\w*)\s*\(", line):
            name = m.group(1)
            if shipped and name in banned:
                hint = banned[name]
                out.append(f"{path}:{n}: {name}() is not used here" + (f": {hint}" if hint else ""))
        if is_driver and re.search(r"\b(float|double)\b", line):
            out.append(f"{path}:{n}: no binary floating point in a driver")


def check_format(names, out):
    for name in names:
        want = subprocess.run(["clang-format", name], capture_output=True, text=True, check=True).stdout
        with open(name, encoding="utf-8") as f:
            if want != f.read():
                out.append(f"{name}:1: clang-format would change it")


CONF, CONF_PAGE = "daemon/core/conf.c", "config/asaleed.conf.5"
MAIN, MAIN_PAGE = "daemon/core/main.c", "daemon/core/asaleed.8"


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def entries(path):
    """(subsection or section, tag, text behind it, line) of each .TP of a man page, without the markup."""
    found, section = [], ""
    lines = [re.sub(r"\\f.", "", line).replace("\\-", "-").replace("\\ ", " ") for line in read(path).split("\n")]
    for n, line in enumerate(lines):
        if line.startswith((".SH ", ".SS ")):
            section = line[4:]
        elif line == ".TP":
            end = next(i for i in range(n + 1, len(lines) + 1) if i == len(lines) or re.match(r"\.(TP|SH|SS)\b", lines[i]))
            body = " ".join(re.sub(r"^\.[BI]R? ", "", text) for text in lines[n + 2:end])
            found.append((section, re.sub(r"^\.[BI]+ ", "", lines[n + 1]), body, n + 2))
    return found


def conf_defaults(text, words):
    """{(struct, member): what it says in the page}; zero-initialised members are not in it."""
    found = {}
    for function, struct in ("conf_defaults", "conf"), ("begin_device", "conf_device"), ("begin_act", "conf_act"):
        body = re.search(rf"^(?:static )?void {function}\(.*?^}}", text, re.M | re.S).group(0)
        for member, value in re.findall(r"\.(\w+) = (\w+)", body) + re.findall(r'str_copy\(\w+->(\w+), [^"]*?"(.*?)"\)', body):
            word = value.rsplit("_", 1)[-1].lower()
            found[struct, member] = "yes" if value == "true" else word if word in words else value
    return found


def check_conf_page(out):
    text, page = read(CONF), [entry for entry in entries(CONF_PAGE) if entry[0][0] == "["]
    kinds = {kind: re.findall(r'"(\w+)"', rest) for kind, rest in re.findall(r"\[(\w+)\] = \{(\".*?)\}", text)}
    words = {word for kind in kinds.values() for word in kind}
    defaults = conf_defaults(text, words)
    keys = re.findall(r'\{"(\w+)", "([\w-]+)", (\w+), FIELD\(struct (\w+), (\w+)\), ([^,]+), ([^}]+)\}', text)
    told = [(section[1:].split("]")[0].split()[0], tag.split(" = ")[0]) for section, tag, _, _ in page]
    if told != [key[:2] for key in keys]:
        out.append(f"{CONF_PAGE}:1: its keys are not those of {CONF}, in that order: {set(told) ^ {k[:2] for k in keys}}")
        return
    for (_, name, kind, struct, member, low, high), (_, tag, body, line) in zip(keys, page):
        if kind in kinds and tag != f"{name} = {'|'.join(kinds[kind])}":
            out.append(f"{CONF_PAGE}:{line}: {name} is one of {'|'.join(kinds[kind])}")
        number = [eval(bound, {}) for bound in (low, high)] if kind == "NUMBER" else None
        if number and f", {number[0]} to {number[1]}" not in body:
            out.append(f"{CONF_PAGE}:{line}: {name} is {number[0]} to {number[1]}")
        zero = kinds[kind][0] if kind in kinds else "0" if number and not number[0] else None if low != "0" else "none"
        default = defaults.get((struct, member), zero)
        if kind != "VIEWS" and default is not None and f"Default: {default}." not in body:
            out.append(f"{CONF_PAGE}:{line}: what holds without {name} is {default}")


def check_main_page(out):
    text = read(MAIN)
    known = [name for name in re.findall(r'^    \{"([\w-]+)", \w+_argument,', text, re.M)]
    value = dict(re.findall(r'"  --([\w-]+) ([A-Z:]+) ', text))
    want = [f"--{name} {value[name]}" if name in value else f"--{name}" for name in known]
    told = [tag for section, tag, _, _ in entries(MAIN_PAGE) if section == "OPTIONS"]
    if told != want:
        out.append(f"{MAIN_PAGE}:1: its options are not those of {MAIN}, in that order: {set(told) ^ set(want)}")


def main():
    out = []
    names = sources()
    for name in names:
        check(name, out)
    check_format(names, out)
    check_conf_page(out)
    check_main_page(out)
    for line in out:
        print(line)
    return 1 if out else 0


sys.exit(main())
