"""Services for tests: each a process in a cgroup of its own, below one that the test has made."""

import os
import subprocess
import sys

import pytest

from lab.host import die_with_parent, find_cgroup, wait_until

TALK = """
import socket, sys
kept = []
for line in sys.stdin:
    word, address, port = line.split()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_DGRAM if word in ("send", "flood") else socket.SOCK_STREAM
    s = socket.socket(family, kind)
    s.settimeout(0.4)
    try:
        if word == "listen":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((address, int(port)))
            s.listen(8)
            kept.append(s)
        elif word == "connect":
            s.connect((address, int(port)))
        for _ in range(1 if word == "send" else 100 if word == "flood" else 0):
            s.sendto(b"x" * 1000, (address, int(port)))
        print("done", flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
"""


class Service:
    """A process of its own in a cgroup of its own: it opens sockets when it is told to."""

    def __init__(self, net, folder):
        self.folder = folder
        self.folder.mkdir(parents=True)
        self.is_stopped = False

        def enter():
            die_with_parent()
            (folder / "cgroup.procs").write_text("0")

        self.process = subprocess.Popen(["nsenter", f"--net=/run/netns/{net.here}", sys.executable, "-c", TALK],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=enter)

    def tell(self, word, address, port):
        self.process.stdin.write(f"{word} {address} {port}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def connects(self, address, port):
        return {"done": True, "TimeoutError": False}[self.tell("connect", address, port)]

    def stop(self):
        self.process.stdin.close()
        self.process.wait(5)
        self.is_stopped = True
        self.process.stdout.close()
        wait_until(lambda: not (self.folder / "cgroup.procs").read_text(), 5, "the cgroup to be empty")
        self.folder.rmdir()


@pytest.fixture
def services(net):
    """services(path) makes one; all cgroups are below one of our own, and gone with it."""
    parent = find_cgroup()
    assert parent, "no cgroup2 hierarchy to write to"
    top, made = parent / f"grivet-test-{os.urandom(4).hex()}", []
    top.mkdir()

    def make(path):
        made.append(Service(net, top / path))
        return made[-1]

    make.top = top
    yield make
    for service in reversed(made):  # a cgroup goes after those below it
        if not service.is_stopped:
            service.stop()
    for folder in sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True):
        folder.rmdir()
    top.rmdir()
