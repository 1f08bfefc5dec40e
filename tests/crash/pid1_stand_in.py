"""What a holder that enters a scope of its own asks of systemd, answered by hand: D-Bus over PID 1's private socket.

Usage: pid1_stand_in.py. It starts no unit and moves nobody: tests/system has the real one.
"""

import os
import socket
import struct

SOCKET = "/run/systemd/private"
JOB = "/org/freedesktop/systemd1/job/1"
MANAGER = "/org/freedesktop/systemd1"
METHOD_RETURN, SIGNAL = 2, 4


def text(value):
    return struct.pack("<I", len(value)) + value.encode() + b"\0"


def pad(data, size):
    return data + b"\0" * (-len(data) % size)


def field(number, kind, value):
    coded = {"u": lambda: struct.pack("<I", value), "g": lambda: bytes([len(value)]) + value.encode() + b"\0"}.get(
        kind, lambda: text(value))()
    return bytes([number, 1]) + kind.encode() + b"\0" + coded


def message(kind, serial, fields, body):
    """D-Bus specification, Message Format."""
    array = b""
    for one in fields:
        array = pad(array, 8) + one
    head = struct.pack("<cBBBIII", b"l", kind, 1, 1, len(body), serial, len(array)) + array
    return pad(head, 8) + body


def serve(peer):
    while not peer.recv(4096).endswith(b"BEGIN\r\n"):
        pass
    peer.sendall(b"DATA\r\nOK 0123456789abcdef0123456789abcdef\r\nAGREE_UNIX_FD\r\n")
    serial = struct.unpack_from("<I", peer.recv(65536), 8)[0]
    peer.sendall(message(METHOD_RETURN, 1, [field(5, "u", serial), field(8, "g", "o")], text(JOB)))
    body = pad(pad(struct.pack("<I", 1) + text(JOB), 4) + text("grivet.scope"), 4) + text("done")
    peer.sendall(message(SIGNAL, 2, [field(1, "o", MANAGER), field(2, "s", "org.freedesktop.systemd1.Manager"),
                                     field(3, "s", "JobRemoved"), field(8, "g", "uoss")], body))
    peer.recv(1)


def main():
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(SOCKET)
    listener.listen()
    os.makedirs("/run/systemd/system", exist_ok=True)  # sd_booted(3)
    while True:
        serve(listener.accept()[0])


main()
