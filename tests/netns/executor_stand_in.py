"""The executor's socket as courier and prober see it, played by a test: common/channel.h in Python."""

import array
import fcntl
import json
import os
import select
import socket
import struct
import time

from lab.host import LabError

SOCKET = "/run/grivet/agent.sock"
VERSION = 1
ORDER, ASK, HALT, ACK, NONCE, CLOCK, CONTACT, FETCH, SAMPLES = 1, 2, 3, 4, 5, 6, 7, 8, 16
EVENTS, NEWS, ANSWER, HEAD, WATCH, UNWATCH = 64, 65, 66, 67, 80, 81
SEALS = 0x1 | 0x2 | 0x4 | 0x8


class Message:
    def __init__(self, kind, body, data):
        self.kind, self.body, self.data = kind, body, data

    def json(self):
        return json.loads(self.body)


def memfd(data):
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    return fd


class Executor:
    def __init__(self, host):
        path = host.path(SOCKET)
        path.unlink(missing_ok=True)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(str(path))
        path.chmod(0o666)
        self.listener.listen()
        self.peer = None

    def accept(self, timeout=10):
        self.listener.settimeout(timeout)
        self.peer, _ = self.listener.accept()

    def send(self, kind, body=None, data=None):
        text = json.dumps(body).encode() if body is not None else b""
        fds = [memfd(data)] if data is not None else []
        self.peer.sendmsg([struct.pack("=HHI", VERSION, kind, len(text)) + text],
                          [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])
        for fd in fds:
            os.close(fd)

    def receive(self, timeout=30):
        """One message, or None when the peer is gone; its memfd is read into `data`."""
        if not select.select([self.peer], [], [], timeout)[0]:
            raise LabError(f"no message within {timeout} s")
        raw, fds, _, _ = socket.recv_fds(self.peer, 1 << 16, 4)
        if not raw:
            return None
        version, kind, length = struct.unpack_from("=HHI", raw)
        assert version == VERSION and length == len(raw) - 8
        data = None
        for fd in fds:
            data = os.pread(fd, 1 << 24, 0)
            assert fcntl.fcntl(fd, fcntl.F_GET_SEALS) & SEALS == SEALS
            os.close(fd)
        return Message(kind, raw[8:], data)

    def receive_until(self, kind, timeout=10):
        deadline = time.monotonic() + timeout
        while True:
            message = self.receive(max(0.0, deadline - time.monotonic()))
            assert message, "the peer is gone"
            if message.kind == kind:
                return message

    def hang_up(self):
        self.peer.close()
        self.peer = None

    def close(self):
        if self.peer:
            self.hang_up()
        self.listener.close()
