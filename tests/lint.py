#!/usr/bin/env python3
"""The rules that a compiler does not check. Silent when all hold; else one "file:line: what" a finding, exit 1.

Floors: a file includes its own folder's headers, include/asalee/, and lower floors' headers.
Third-party headers: each belongs to one named file.
Banned calls: each has a better one in daemon/base, or has no place here.
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
    "systemd/sd-event.h": ["daemon/core/" + f for f in ("blobs.h", "device.h", "http.h", "reads.h", "worker.h")],
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


def main():
    out = []
    names = sources()
    for name in names:
        check(name, out)
    check_format(names, out)
    for line in out:
        print(line)
    return 1 if out else 0


sys.exit(main())
