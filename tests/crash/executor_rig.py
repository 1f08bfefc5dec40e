"""The whole agent but its courier, which the test plays: executor, holders and sweep as the units describe them."""

import base64
import contextlib
import json
import os
import signal

from executor_client import ANSWER, ASK, HALT, ORDER, Channel, Papers, digest, uuid
from lab import agent
from lab.host import LabError, wait_until
from rig import Rig, boot_ns, mandate

SERVICES = {"executor": "grivetd", "sweep": "grivet-sweep"}
IRREVERSIBLE = ("process.kill",)
ENDS = ("fault.reverted", "fault.failed", "fault.ended")


class ExecutorRig(Rig):
    """Without a sweep nothing of it runs, not even after the executor's end, and an executor that ends stays away."""

    def __init__(self, lab, has_sweep=True, prepare=None, **policy):
        super().__init__(lab)
        if prepare:
            prepare(self.host)
        self.has_sweep = has_sweep
        self.fault = "zone.block", {"zone": "apse2-az2"}
        self.papers = Papers("victim")
        agent.write_policy(self.host, zone="apse2-az1", **policy)
        self.host.write("/etc/grivet/roots.json", self.papers.roots())
        self.host.write("/var/lib/grivet/host.key", self.papers.host.file_text(), 0o600)
        self.host.write("/var/lib/grivet/replay", f"grivet-replay/1 {digest(self.papers.host.public)} 0\n", 0o600)
        if has_sweep:
            agent.unit_service(self.host, "grivet-sweep")
        options = {} if has_sweep else {"stop_post": None, "restart": False}
        agent.unit_service(self.host, "grivetd", **options)
        self.courier = Channel(self.host)

    def use(self, name, parameters):
        """The fault of the orders to come, and a host that it can be on. What stands behind a comma is for the reader."""
        self.fault = name.partition(",")[0], parameters
        if "scope" in parameters:
            self.host.sh("echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding")

    def mandate(self, duration_ms):
        return json.dumps({**mandate(duration_ms, "victim", *self.fault), "id": uuid()}).encode()

    def ask(self, duration_ms):
        """What the host would do."""
        people = [self.papers.alice, self.papers.bob]
        self.courier.send(ASK, data=self.papers.ask_bundle(self.mandate(duration_ms), people, "start"))
        return json.loads(base64.b64decode(json.loads(self.courier.expect(ANSWER))["payload"]))["steps"][0]

    def send_order(self, duration_ms, people=None, length_ms=None):
        """An order of a mandate of its own, for all of its duration or for `length_ms`."""
        signed = self.mandate(duration_ms)
        order = self.papers.order_payload(signed, length_s=(length_ms or duration_ms) / 1000, step="lose-az2")
        self.courier.send(ORDER, data=self.papers.order_bundle(signed, order, people))
        self.order = json.loads(order)["id"]

    def start(self, duration_ms):
        """Starts the fault and waits until it is armed; returns when that was."""
        self.send_order(duration_ms)
        self.courier.wait_event("fault.armed", order=self.order)
        self.holder = self.holder_pid()
        record = self.host.read(f"/run/grivet/active/{self.order}").splitlines()
        self.deadline = int(dict(line.partition(" ")[::2] for line in record)["deadline_boot_nsec"])
        return boot_ns()

    def halt(self):
        at = boot_ns()
        self.courier.send(HALT, data=self.papers.halt_bundle())
        return at

    def signal(self, *names, number=signal.SIGKILL):
        """Sends a signal to "executor", "holder", "sweep"; returns when."""
        pids = [self.holder if name == "holder" else self.host.outside_pid(SERVICES[name]) for name in names]
        if "sweep" in names and number == signal.SIGKILL:
            self.host.set_restart("grivet-sweep", False)
        # Several die as one: stopped first, none of them sees the others go and helps.
        for step in ([signal.SIGSTOP] if len(names) > 1 and number == signal.SIGKILL else []) + [number]:
            at = boot_ns()
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):  # the one before may have taken it along
                    os.kill(pid, step)
        return at

    def find_reserve(self):
        """The holder that waits for a job, or None."""
        return next((process["pid"] for process in self.host.processes() if process["name"] == "grivet-reserve"), None)

    def kill_reserve(self):
        """The next order has to start a holder."""
        while pid := self.find_reserve():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def has_executor(self):
        """Is there one, or will there be, that can tell?"""
        pid = self.host.outside_pid("grivetd")
        if pid is None:
            return self.has_sweep
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "T"

    def told(self, timeout=5):
        """The body of the only end that the executor, perhaps in another life, wrote about our order: fault.reverted, which
        what can't be undone never is."""
        can_revert = self.fault[0] not in IRREVERSIBLE

        def find():
            try:
                events = self.courier.events()
            except (LabError, OSError):
                with contextlib.suppress(OSError):
                    self.courier = Channel(self.host)
                return None
            ends = [event for event in events if event["kind"] in (ENDS[:1] if can_revert else ENDS)
                    and event.get("order") == self.order]
            assert len(ends) <= 1, ends
            return ends
        end = wait_until(find, timeout, "the executor's word that the fault is over", 0.05)[0]
        assert can_revert or not (end["kind"] == "fault.reverted" or end["body"].get("is_reverted")), end
        return end["body"]
