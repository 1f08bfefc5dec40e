"""A host that loses a zone, a far host in that zone, and a stream of packets between them that says when it is lost.

Times are nanoseconds of CLOCK_BOOTTIME: all namespaces share it, and deadlines count by it.
"""

import contextlib
import json
import os
import signal
import time

from lab.host import LAB, PYTHON, wait_until

GRACE_MS = 2000  # RECORD_GRACE_NSEC of common/record.h
GATE_MS = 1000  # how late anything may be here; what it really took is printed
ZONES = {"apse2-az1": ["10.9.1.0/24", "fd00:9:1::/64"], "apse2-az2": ["10.9.2.0/24", "fd00:9:2::/64"]}
ECHO = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 7))
while True:
    s.sendto(*s.recvfrom(64))
"""
# Prints when each answered packet was sent and when it came back.
METER = """
import select, socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
now = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME)
due = now()
while True:
    try:
        s.sendto(str(now()).encode(), (sys.argv[1], 7))
    except OSError:
        pass  # a drop in the output hook says so to the sender
    due += 2000000
    while True:
        left = (due - now()) / 1e9
        if left <= 0 or not select.select([s], [], [], left)[0]:
            break
        try:
            print(s.recv(64).decode(), now(), flush=True)
        except OSError:
            pass
"""


def boot_ns():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def mandate(duration_ms, host="victim", fault="zone.block", parameters=None):
    return {"schema": "grivet.mandate/1", "id": "01900000-0000-7000-8000-000000000001", "experiment": "crash",
            "environment": "lab", "created_at": "2026-01-01T00:00:00Z", "not_before": "2026-01-01T00:00:00Z",
            "not_after": "2100-01-01T00:00:00Z", "max_runs": 1, "require_percent": 100, "warmup_ms": 0, "settle_ms": 0,
            "expect": {"hosts": 1, "max_share_of_group_percent": 100}, "zones": ZONES,
            "steps": [{"name": "lose-az2", "fault": fault, "parameters": parameters or {"zone": "apse2-az2"},
                       "duration_ms": duration_ms, "hosts": [host], "late_joiners": False}]}


class Rig:
    """The executor's part is played by tests/crash/holder-parent.c, as service `parent`."""

    def __init__(self, lab, has_sweep=True):
        self.host, self.far = lab.host("victim"), lab.host("far")
        lab.wire(self.host, "eth0", self.far, "eth0")
        self.host.ip("addr add 10.9.1.1/16 dev eth0", "addr add fd00:9:1::1/32 dev eth0 nodad")
        self.far.ip("addr add 10.9.2.1/16 dev eth0", "addr add fd00:9:2::1/32 dev eth0 nodad")
        self.far.service("echo", [PYTHON, "-c", ECHO])
        self.host.service("meter", [PYTHON, "-c", METER, "10.9.2.1"])
        if has_sweep:
            self.host.service("sweep", ["grivet-sweep", "--watch"])
        self.holder = self.order = self.deadline = None
        self.wait_back(boot_ns(), 5)

    # ---- the fault

    def start(self, duration_ms, prefix=(), is_waiting=True):
        """Starts the fault and waits until it is armed; returns when that was."""
        self.host.write("/run/mandate.json", json.dumps(mandate(max(duration_ms, 100))))
        self.host.sh("rm -f /run/parent.in; mkfifo /run/parent.in")
        command = f"exec {LAB}/build/tests/crash/holder-parent /run/mandate.json lose-az2 victim apse2-az1 " \
                  f"{duration_ms} {' '.join(prefix)} <>/run/parent.in"
        (self.host.logs / "parent.log").unlink(missing_ok=True)
        self.host.service("parent", ["sh", "-c", command], restart=False)
        if is_waiting:
            self.wait_state("armed")
            self.holder = self.holder_pid()
        self.order = self.said("order")
        self.deadline = self.said("deadline_boot_nsec")
        return boot_ns()

    def lines(self):
        lines = self.host.log("parent").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def said(self, key):
        return next((line[key] for line in self.lines() if key in line), None)

    def state(self, name):
        return next((line for line in self.lines() if line.get("state") == name), None)

    def wait_state(self, name, timeout=5):
        def has_state():
            failed = self.state("failed")
            assert name == "failed" or failed is None, failed
            return self.state(name)
        return wait_until(has_state, timeout, f"state {name}; so far:\n{self.host.log('parent')}")

    def halt(self):
        at = boot_ns()
        self.host.path("/run/parent.in").write_text("end\n")
        return at

    # ---- processes

    def holder_pid(self):
        return next((process["pid"] for process in self.host.processes() if process["name"] == "grivet-holder"), None)

    def signal(self, *names, number=signal.SIGKILL):
        """Sends a signal to "executor", "holder", "sweep"; returns when."""
        pids = {"executor": lambda: self.host.outside_pid("parent"), "holder": lambda: self.holder,
                "sweep": lambda: self.host.outside_pid("sweep")}
        found = [pids[name]() for name in names]
        if "sweep" in names and number == signal.SIGKILL:
            self.host.set_restart("sweep", False)
        at = boot_ns()
        for pid in found:
            with contextlib.suppress(ProcessLookupError):  # the one before may have taken it along
                os.kill(pid, number)
        return at

    # ---- what is left

    def tables(self):
        return [line for line in self.host.run(["nft", "list", "tables"]).stdout.splitlines() if "grivet" in line]

    def records(self):
        return sorted(os.listdir(self.host.path("/run/grivet/active")))

    def wait_result(self):
        """What the sweep wrote down about our order."""
        path = self.host.path(f"/run/grivet/results/{self.order}")
        wait_until(path.exists, 2, "the sweep's result")
        return dict(line.partition(" ")[::2] for line in path.read_text().splitlines())

    # ---- the stream

    def answered(self):
        """When each answered packet was sent."""
        lines = self.host.log("meter").splitlines(keepends=True)
        return [int(line.split()[0]) for line in lines if line.endswith("\n")]

    def wait_back(self, since, timeout):
        """Milliseconds from `since` to the first packet sent after it that is answered; None = not in time."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            sent = next((at for at in self.answered() if at >= since), None)
            if sent is not None:
                return (sent - since) / 1e6
            time.sleep(0.01)
        return None

    def assert_cut(self, since, until):
        through = [at for at in self.answered() if since <= at < until]
        assert not through, f"{len(through)} packets went through while the zone was blocked"

    def watch_cut(self, since, seconds=0.2):
        time.sleep(seconds)  # that nothing comes can only be seen by letting time pass
        self.assert_cut(since + 5_000_000, boot_ns())
