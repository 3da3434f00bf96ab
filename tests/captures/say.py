#!/usr/bin/env python3
"""say.py SOCKET COMMAND: one command to a simulator's control socket; prints its answer."""
import socket
import sys

with socket.socket(socket.AF_UNIX) as s:
    s.settimeout(5)
    s.connect(sys.argv[1])
    s.sendall(sys.argv[2].encode() + b"\n")
    answer = s.makefile().readline().strip()
if not answer.startswith("ok"):
    sys.exit(answer)
