"""A host that loses a zone, a far host in that zone, and a stream of packets between them that says when it is lost.

Times are nanoseconds of CLOCK_BOOTTIME: all namespaces share it, and deadlines count by it.
"""

import os
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
# Prints when each answered packet was sent and when it came back. Arguments: to whom, and how often in nanoseconds.
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
    due = max(due + int(sys.argv[2]), now())
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
    """The two hosts, the stream, and looking for what is left."""

    def __init__(self, lab):
        self.host, self.far = lab.host("victim"), lab.host("far")
        lab.wire(self.host, "eth0", self.far, "eth0")
        self.host.ip("addr add 10.9.1.1/16 dev eth0", "addr add fd00:9:1::1/32 dev eth0 nodad")
        self.far.ip("addr add 10.9.2.1/16 dev eth0", "addr add fd00:9:2::1/32 dev eth0 nodad")
        self.far.service("echo", [PYTHON, "-c", ECHO])
        self.start_meter(2_000_000)
        self.holder = self.order = self.deadline = None
        self.before = self.traffic_control()
        self.wait_back(boot_ns(), 5)

    def holder_pid(self):
        return next((process["pid"] for process in self.host.processes() if process["name"] == "grivet-holder"), None)

    # ---- what is left

    def tables(self):
        return [line for line in self.host.run(["nft", "list", "tables"]).stdout.splitlines() if "grivet" in line]

    def traffic_control(self):
        """Queues, filters and interfaces as `tc` and `ip` name them."""
        return self.host.sh("tc qdisc; tc filter show dev eth0; ip -o link | cut -d: -f2").stdout

    def records(self):
        return sorted(os.listdir(self.host.path("/run/grivet/active")))

    def wait_result(self):
        """What the sweep wrote down about our order."""
        path = self.host.path(f"/run/grivet/results/{self.order}")
        wait_until(path.exists, 2, "the sweep's result")
        return dict(line.partition(" ")[::2] for line in path.read_text().splitlines())

    # ---- the stream

    def start_meter(self, every_ns):
        self.host.service("meter", [PYTHON, "-c", METER, "10.9.2.1", str(every_ns)])

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
