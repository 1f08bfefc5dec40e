"""A virtual machine with Grivet installed as README.md says, and the test as its courier."""

import base64
import datetime
import functools
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "crash"))

from executor_client import ANSWER, ASK, CONTACT, ORDER, VERSION, Channel, Papers, when  # noqa: E402
from lab.host import BUILD, LabError  # noqa: E402
from machine import Machine  # noqa: E402

FAR = "10.1.0.1"  # in the zone that is lost; nobody answers there, but packets leave
POLICY = """  process: {is_allowed: true, signatures: 2, longest_duration_s: 60, concurrency: 1, cool_down_s: 0}
  cpu: {is_allowed: true, signatures: 2, longest_duration_s: 60, concurrency: 1, cool_down_s: 0}
"""
# Sends packets to FAR and looks at the other end of the cable: writes down each change of whether they arrive, and when
# (CLOCK_BOOTTIME) the first one was sent that fared otherwise than the one before.
METER = """
import socket, sys, time
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
far_end = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
far_end.bind(("v1", 0x0800))
far_end.setblocking(False)
was = None
while True:
    has_arrived, at = False, time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    try:
        sender.sendto(b"x", (sys.argv[1], 7))
    except OSError:
        pass
    time.sleep(0.025)
    try:
        while far_end.recv(64):
            has_arrived = True
    except BlockingIOError:
        pass
    if has_arrived != was:
        print("open" if has_arrived else "cut", at, flush=True)
        was = has_arrived
"""


@functools.cache
def installed_tree():
    """What `meson install` would put into /usr."""
    folder = tempfile.TemporaryDirectory(prefix="grivet-installed-")
    subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--strip", "--quiet", "--destdir", folder.name],
                   check=True, stdout=subprocess.DEVNULL)
    options = json.loads(subprocess.run(["meson", "introspect", "--buildoptions", BUILD], check=True,
                                        stdout=subprocess.PIPE).stdout)
    prefix = next(option["value"] for option in options if option["name"] == "prefix")
    for path in pathlib.Path(folder.name).rglob("*"):
        os.chown(path, 0, 0, follow_symlinks=False)
    return folder, pathlib.Path(folder.name + prefix)


def strip(program, path):
    """A copy without what only a debugger reads."""
    pathlib.Path(path).parent.mkdir(exist_ok=True)
    subprocess.run(["strip", "-o", path, program], check=True)


class GuestChannel(Channel):
    """A connection to the guest's executor."""

    def __init__(self, machine, user="grivet-courier"):
        self.machine = machine
        self.id = machine.ask("connect", user=user)["channel"]

    def send(self, kind, body=None, data=None):
        text = json.dumps(body).encode() if body is not None else b""
        message = struct.pack("=HHI", VERSION, kind, len(text)) + text
        self.machine.ask("send", channel=self.id, bytes=base64.b64encode(message).decode(),
                         data=base64.b64encode(data).decode() if data is not None else None)

    def receive(self, timeout=10):
        answer = self.machine.ask("receive", channel=self.id, timeout=timeout)
        if not answer:
            return None
        received = base64.b64decode(answer["bytes"])
        if "data" in answer:
            return struct.unpack("=HHI", received[:8])[1], base64.b64decode(answer["data"])
        return struct.unpack("=HHI", received[:8])[1], json.loads(received[8:]) if received[8:] else None


class Installed(Machine):
    """One fault at a time: its methods are about the last order."""

    def __init__(self, folder, **options):
        with tempfile.TemporaryDirectory(dir=folder) as tree:
            shutil.copytree(installed_tree()[1], f"{tree}/usr", symlinks=True)
            for name in ("grivetd", "grivet-sweep"):
                strip(BUILD / "tests/system" / name, f"{tree}/next/{name}")
            super().__init__(folder, tree, **options)
        self.papers = Papers()

    # ---- setting up

    def wire(self):
        """An interface of this machine's own, and the stream of packets whose loss the meter sees."""
        self.sh(f"""ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v1 up
            ip addr add 10.1.0.11/24 dev v0; ip route add default via {FAR} dev v0
            ip neigh add {FAR} lladdr 02:00:00:00:00:01 dev v0 nud permanent""")
        self.write("/run/meter.py", METER)
        self.run(["systemd-run", "--quiet", "--unit=meter", "--property=StandardOutput=file:/run/meter.log",
                  "/usr/bin/python3", "/run/meter.py", FAR])

    def install(self):
        """As README.md says."""
        self.sh("cp -R --remove-destination /run/carried/usr/. /usr; systemd-sysusers; systemd-tmpfiles --create; systemctl daemon-reload")

    def upgrade(self):
        """The same with the agent of another version; what runs goes on."""
        self.sh("cp -R --remove-destination /run/carried/next/. /usr/sbin; systemctl daemon-reload")

    def configure(self):
        """Our own policy and keys: the test is the coordinator."""
        self.papers.install(self, policy=POLICY)

    def start(self):
        self.run(["systemctl", "enable", "--quiet", "--now", "grivet-sweep", "grivetd", "grivet-prober"])

    def connect(self):
        self.courier = GuestChannel(self)

    def tell_contact(self):
        """A coordinator has answered the courier."""
        self.courier.send(CONTACT, {"coordinator": "10.0.0.2:8443"})

    # ---- the fault

    def mandate(self, fault, parameters, length_s):
        """The mandate, and its start by this machine's clock."""
        now = datetime.datetime.fromtimestamp(self.ask("clock")["real_ns"] / 1e9, datetime.timezone.utc)
        step = {"fault": fault, "parameters": parameters, "duration_ms": length_s * 1000}
        return self.papers.mandate(step=step, created_at=when(0, now), not_before=when(-60, now), not_after=when(600, now)), now

    def answer(self, fault, parameters, length_s=3):
        """What the host says that it would do."""
        mandate, now = self.mandate(fault, parameters, length_s)
        self.courier.send(ASK, data=self.papers.ask_bundle(mandate, [self.papers.alice, self.papers.bob], "start",
                                                           issued_at=when(0, now), expires_at=when(300, now)))
        return json.loads(base64.b64decode(json.loads(self.courier.expect(ANSWER))["payload"]))["steps"][0]

    def bundle(self, fault, parameters, length_s):
        """An order for a fault that starts now, with its mandate."""
        mandate, now = self.mandate(fault, parameters, length_s)
        order = self.papers.order_payload(mandate, step_started_at=when(0, now), start_before=when(60, now),
                                          end_at=when(length_s, now))
        self.order = json.loads(order)["id"]
        return self.papers.order_bundle(mandate, order)

    def send_order(self, fault, parameters, length_s):
        self.courier.send(ORDER, data=self.bundle(fault, parameters, length_s))

    def begin(self, fault, parameters, length_s):
        """Orders a fault and waits until its effect is proved."""
        self.send_order(fault, parameters, length_s)
        self.wait_for(lambda: self.seen("fault.exercised", "order.refused", "fault.failed"), what="the fault's effect")
        assert self.seen("fault.exercised"), self.courier.events()

    def block(self, length_s):
        """Cuts this machine off from FAR and waits until no packet arrives."""
        self.begin("network.block", {"cidrs": [f"{FAR}/32"]}, length_s)
        self.deadline = self.record_deadline()
        self.wait_for(self.is_cut, 30, "the packets to be lost")
        self.cut_at = self.meter()[-1][1]

    def record_deadline(self):
        """In ns of CLOCK_BOOTTIME, as the undo record says it."""
        record = dict(line.partition(" ")[::2] for line in self.sh(f"cat /run/grivet/active/{self.order}").splitlines())
        return int(record["deadline_boot_nsec"])

    def told(self, timeout=90):
        """How the executor says that the fault ended; it says so once."""
        self.wait_for(lambda: self.seen("fault.reverted"), timeout, "the word that the fault is reverted")
        return self.seen("fault.reverted")

    def seen(self, *kinds):
        """The bodies of our order's events of these kinds."""
        return [event["body"] for event in self.courier.events() if event["kind"] in kinds and event.get("order") == self.order]

    def signal(self, number, *names):
        """Sends a signal to the main processes of units and to `holder`; returns when, not too late."""
        at = self.now()
        pids = [self.sh("pgrep -x grivet-holder").strip() if name == "holder" else self.pid(name) for name in names]
        self.run(["kill", f"-{number}", *pids])
        return at

    def wait_for_watchdog(self, name):
        """Until systemd has ended a unit that hangs, and it is active again."""
        self.wait_end(self.pid(name))
        self.wait_restarted(name, 1)

    def wait_restarted(self, name, restarts, timeout=90):
        """Until systemd has started the unit anew that often, and it is active."""
        def is_restarted():
            shown = self.unit(name, "NRestarts", "ActiveState")
            return shown == {"NRestarts": str(restarts), "ActiveState": "active"}
        self.wait_for(is_restarted, timeout, f"life {restarts + 1} of {name}")

    def meter(self):
        """[(is cut, when in ns of CLOCK_BOOTTIME), ...]"""
        lines = self.sh("cat /run/meter.log").splitlines()
        return [(word == "cut", int(at)) for word, at in map(str.split, lines)]

    def is_cut(self):
        return self.meter()[-1][0]

    def opened_at(self, timeout=90):
        """When the first packet got through again, in ns of CLOCK_BOOTTIME."""
        def find():
            return next((at for is_cut, at in self.meter() if not is_cut and at > self.cut_at), None)
        return self.wait_for(find, timeout, "a packet to get through")

    # ---- what is there

    def unit(self, name, *properties):
        """What systemd says of a unit: a dictionary."""
        shown = self.run(["systemctl", "show", f"--property={','.join(properties)}", name]).stdout
        return dict(line.partition("=")[::2] for line in shown.splitlines())

    def is_active(self, name):
        return self.unit(name, "ActiveState")["ActiveState"] == "active"

    def pid(self, name):
        return int(self.unit(name, "MainPID")["MainPID"])

    def left(self):
        """What a fault leaves behind: tables of ours, undo records, holders and burners (dead ones are their parent's business)."""
        return self.sh("nft list tables | grep grivet || :; ls /run/grivet/active; ip -br link | grep -o '^gr[^ ]*' || :; "
                       "pgrep -x --runstates R,S,D,T 'grivet-holder|burn-.*' || :").split()
