"""What the tests of faults need: two namespaces with a wire between them, and one fault by hand (fault-driver.c)."""

import contextlib
import ctypes
import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import uuid

import pytest

from lab.host import BUILD, wait_until

COURIER, OTHER = 64001, 64005
LIFELINE = {"courier_uid": COURIER, "ssh_port": 22, "coordinators": ["10.9.0.2:8443", "[fd09::2]:8443"],
            "resolvers": ["10.9.0.2"], "management": ["0.0.0.0/0", "::/0"]}
ZONES = {"az1": ["10.9.0.0/24", "fd09::/64"], "az2": ["10.8.0.0/24"]}
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)

# A parameter example for every fault of the registry: the contract test runs for each.
EXAMPLES = {
    "network.block": {"cidrs": ["10.9.0.0/24", "fd09::/64"]},
    "zone.block": {"zone": "az1"},
    "process.kill": {"exe": "*/sleep", "cmdline": "^sleep-EXAMPLE"},
    "cpu.burn": {"load_percent": 20, "cpus": 1},
    "network.shape": {"cidrs": ["10.9.0.0/24", "fd09::/64"], "rate_kbit": 1000},
}


class Net:
    """Two namespaces with a wire between them: 'here' (10.9.0.1, fd09::1) has the fault, 'there' (.2) answers."""

    def __init__(self):
        tag = f"gf{os.getpid()}{uuid.uuid4().hex[:4]}"
        self.here, self.there = f"{tag}h", f"{tag}t"
        for name in (self.here, self.there):
            self.ip("netns", "add", name)
        self.ip("-n", self.here, "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", self.there)
        for name, last in ((self.here, 1), (self.there, 2)):
            self.ip("-n", name, "link", "set", "lo", "up")
            self.ip("-n", name, "addr", "add", f"10.9.0.{last}/24", "dev", "wire")
            self.ip("-n", name, "addr", "add", f"fd09::{last}/64", "dev", "wire", "nodad")
            self.ip("-n", name, "link", "set", "wire", "up")
        self.ip("-n", self.here, "route", "add", "default", "via", "10.9.0.2")
        self.ip("-n", self.here, "route", "add", "default", "via", "fd09::2")
        wait_until(lambda: self.answers("10.9.0.2") and self.answers("fd09::2"), 5, "the wire to carry packets")

    def answers(self, address):
        try:
            return self.connects(address, 7, timeout=0.1)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False

    @staticmethod
    def ip(*arguments):
        subprocess.run(["ip", *arguments], check=True, timeout=10)

    def close(self):
        for name in (self.here, self.there):
            subprocess.run(["ip", "netns", "del", name], timeout=10)

    def nft(self, *arguments, text=None):
        done = subprocess.run(["ip", "netns", "exec", self.here, "nft", *arguments], input=text, text=True,
                              check=True, capture_output=True, timeout=10)
        return done.stdout

    def ruleset(self):
        return self.nft("list", "ruleset")

    def links(self):
        """Devices, their queueing disciplines and filters."""
        words = "tc qdisc; ip -o link | cut -d: -f2; tc filter show dev wire"
        return subprocess.run(["ip", "netns", "exec", self.here, "sh", "-c", words], text=True, check=True,
                              capture_output=True, timeout=10).stdout

    def open(self, name, family, kind, uid=None):
        """A socket that lives in namespace @name and, as the kernel sees it, belongs to @uid."""
        own, other = os.open("/proc/thread-self/ns/net", os.O_RDONLY), os.open(f"/run/netns/{name}", os.O_RDONLY)
        try:
            assert libc.setns(other, CLONE_NEWNET) == 0
            if uid is not None:
                libc.setfsuid(uid)
            made = socket.socket(family, kind)
        finally:
            libc.setfsuid(0)
            libc.setns(own, CLONE_NEWNET)
            os.close(own)
            os.close(other)
        made.settimeout(0.4)
        return made

    def listen(self, name, port, family=socket.AF_INET, kind=socket.SOCK_STREAM):
        made = self.open(name, family, kind)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
        if kind == socket.SOCK_STREAM:
            made.listen(8)
        return made

    def connects(self, address, port, name=None, uid=OTHER, timeout=0.4):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.open(name or self.here, family, socket.SOCK_STREAM, uid) as client:
            client.settimeout(timeout)
            try:
                client.connect((address, port))
                return True
            except TimeoutError:
                return False


class Driver:
    def __init__(self, net, folder, fault, parameters, duration_ms=20000, **more):
        job = {"fault": fault, "order": str(uuid.uuid4()), "duration_ms": duration_ms, "parameters": parameters,
               "zones": ZONES, "lifeline": LIFELINE, **more}
        self.order, self.folder = job["order"], folder / "active"
        self.folder.mkdir(exist_ok=True)
        (folder / "job.json").write_text(json.dumps(job))
        self.process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{net.here}", BUILD / "tests/netns/fault-driver", folder / "job.json",
             self.folder],  # not `ip netns exec`, which hides the cgroups
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self.lines = b""

    def read(self, stage, timeout=5.0):
        while b"\n" not in self.lines:
            ready, _, _ = select.select([self.process.stdout], [], [], timeout)
            data = os.read(self.process.stdout.fileno(), 1 << 20) if ready else b""
            assert data, f"no word from the driver; waited for {stage}"
            self.lines += data
        text, self.lines = self.lines.split(b"\n", 1)
        line = json.loads(text)
        assert line["stage"] == stage, line
        return line["value"]

    def arm(self):
        plan = self.read("plan")
        self.read("armed")
        return plan

    def ask(self, what):
        self.process.stdin.write(what.encode() + b"\n")
        return self.read(what)

    def end(self):
        self.process.stdin.write(b"end\n")
        self.read("reverted")
        assert self.process.wait(5) == 0

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(5)


@pytest.fixture
def net():
    made = Net()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def start(net, tmp_path):
    drivers = []

    def begin(fault, parameters, **more):
        drivers.append(Driver(net, tmp_path, fault, parameters, **more))
        return drivers[-1]

    yield begin
    for driver in drivers:
        if driver.process.poll() is None:
            driver.process.send_signal(signal.SIGCONT)
            driver.kill()
        driver.process.stdin.close()
        driver.process.stdout.close()


def undo(net, *arguments):
    """What the sweep would do with a folder of records, or with one of them: (exit code, words)."""
    done = subprocess.run(["ip", "netns", "exec", net.here, BUILD / "tests/netns/undo-driver", *arguments],
                          text=True, capture_output=True, timeout=10)
    return done.returncode, done.stdout.strip()


def spawn(count=1, comm="sleep"):
    """Processes that only wait, told apart by their own name for the command line."""
    return [subprocess.Popen([f"{comm}-EXAMPLE{os.getpid()}", "60"], executable="/usr/bin/sleep")
            for _ in range(count)]


def own_parameters(fault):
    text = json.dumps(EXAMPLES[fault]).replace("EXAMPLE", f"EXAMPLE{os.getpid()} ")
    return json.loads(text)


def burners(order):
    """Processes that burn CPU for @order and still run (state Z is dead)."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            name, state = (folder / "stat").read_text().split(" (", 1)[1].rsplit(")", 1)
            if name == f"burn-{order[-10:]}" and not state.startswith(" Z"):
                found.append(int(folder.name))
    return sorted(found)


BYSTANDER = """table inet bystander {
    chain out {
        type filter hook output priority 0; policy accept;
        ip daddr 10.200.0.0/16 counter drop
    }
}
table netdev bystander {
    chain out {
        type filter hook egress device "wire" priority 0; policy accept;
    }
}
"""
