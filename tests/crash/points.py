"""One lab host for many points: a fault each, one of its processes killed or made to fail at a system call (tracer.py),
and afterwards nothing of ours may be left, nor may anybody have said so too early."""

import collections
import contextlib
import datetime
import os
import signal
import time

from executor_client import Channel
from executor_rig import ENDS, IRREVERSIBLE, ExecutorRig
from lab.host import LabError, wait_until
from many import Late, Spent
from netlink import NETFILTER, ROUTE, Netlink
from rig import GATE_MS, GRACE_MS, boot_ns
from tracer import Tracer

LONG_MS = 10000
WHOLE_MS = (800, 2000, 6000, 20000)  # if the fault is never armed, the next: a traced process is slow
VICTIM = "points-victim"
FAULTS = {
    "network.block": {"cidrs": ["10.9.2.0/24", "fd00:9:2::/64"]},
    "network.block, of containers": {"cidrs": ["10.9.2.0/24", "fd00:9:2::/64"], "scope": "containers"},
    "zone.block": {"zone": "apse2-az2"},
    "network.shape": {"cidrs": ["10.9.2.0/24", "fd00:9:2::/64"], "rate_kbit": 64},
    "cpu.burn": {"load_percent": 20, "cpus": 1, "mode": "contend"},
    "process.kill": {"exe": "*/sleep", "cmdline": f"^{VICTIM}"},
}
# After an executor's death the init starts one pass of the sweep, then an executor that finds what the other left.
AFTERWARDS = {"pass": 1, "next": 2}
NSEC_PER_MSEC = 1_000_000
LOST_S = 0.5  # an executor that was hit may know nothing of the order; what it knows it has written down by then

Point = collections.namedtuple("Point", "who fault call nth action")
Point.__str__ = lambda point: "/".join(map(str, point))


def usec(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1e6


class Left(AssertionError):
    """Something is left, or somebody said what is not so."""


def seldom(gate_ns):
    """How many seconds until the next look: what has to be gone by then is looked for more often towards the end."""
    return max(0.01, min(0.05, (gate_ns - boot_ns()) / 1e9 - GATE_MS / 1000))


class PointRig(ExecutorRig):
    def __init__(self, lab):
        super().__init__(lab)
        self.host.stop("meter", grace=0)
        # Where there is no folder of modules, all of it is read: thousands of calls that say nothing, each traced.
        self.host.sh("grep -E ' (ifb_xmit|netem_enqueue|tbf_enqueue)$' /proc/kallsyms >/run/kallsyms; "
                     "mount --bind /run/kallsyms /proc/kallsyms")
        self.netlink, self.processes, self.pids = Netlink(self.host.init_pid), self.host.path("/proc"), {}
        self.tracer, self.stopped, self.duration_ms = None, [], WHOLE_MS[0]
        self.seen = self.starts = 0
        self.last_left_usec = 0

    # ---- what is left

    def proc(self):
        """The names of the host's processes."""
        for pid in filter(str.isdigit, os.listdir(self.processes)):
            with contextlib.suppress(OSError), open(f"{self.processes}/{pid}/stat", "rb") as file:
                name, _, rest = file.read().partition(b"(")[2].rpartition(b")")
                if rest.split(None, 1)[0] not in (b"Z", b"X"):
                    yield name.decode()

    def tables(self):
        return [name for name in self.netlink.names(NETFILTER) if "grivet" in name]

    def interfaces(self):
        return [name for name in self.netlink.names(ROUTE) if "grivet" in name]

    def left(self):
        """What a fault is made of that is there now, and its holder."""
        at = time.time() * 1e6
        effects = [*self.tables(), *self.interfaces()]
        running = [name for name in self.proc() if name.startswith(("grivet-holder", "burn-"))]
        if effects or any(name.startswith("burn-") for name in running):
            self.last_left_usec = at
        return effects + running

    def wait_gone(self, until_ns):
        while found := self.left():
            if boot_ns() > until_ns:
                raise Late(f"left: {found}")
            time.sleep(seldom(until_ns))

    def wait_records(self):
        try:
            wait_until(lambda: not self.records(), 5)
        except LabError:
            raise Late(f"records left: {self.records()}") from None

    # ---- the processes

    def find(self, service):
        """The process id of a service, or None while it is not there."""
        inside = self.host.pid(service)
        if inside not in self.pids:
            self.pids[inside] = self.host.outside_pid(service)
        return self.pids[inside]

    def send_signal(self, pid, number):
        with contextlib.suppress(ProcessLookupError):
            if pid:
                os.kill(pid, number)

    def wait_ready(self):
        """Executor and sweep are there and hear us."""
        for service in ("grivetd", "grivet-sweep"):
            self.host.wait_active(service)
            wait_until(lambda name=service: self.find(name), 5, f"{service}'s process")

        def find():
            try:
                self.courier.events(self.seen)
                return True
            except (LabError, OSError):
                with contextlib.suppress(OSError):
                    self.courier = Channel(self.host)
                return False
        wait_until(find, 10, "an executor that answers")

    def send(self, fault, duration_ms):
        """Sends the order and returns when it ends."""
        self.use(fault, FAULTS[fault])
        if fault == "process.kill":
            self.host.service(f"victim-{boot_ns()}", ["bash", "-c", f"exec -a {VICTIM} sleep 20"], restart=False)
            wait_until(lambda: "sleep" in self.proc(), 5, "the victim")
        self.last_left_usec = 0
        with contextlib.suppress(BrokenPipeError):  # the point may lie before it
            self.send_order(duration_ms)
        return boot_ns() + duration_ms * NSEC_PER_MSEC

    # ---- what was said

    def our_events(self):
        try:
            return [event for event in self.courier.events(self.seen) if event.get("order") == self.order]
        except (LabError, OSError):
            with contextlib.suppress(OSError):
                self.courier = Channel(self.host)
            return None

    def check_said(self, may_be_lost=True):
        """An order that was accepted has one end, and that came after the last that we saw of it."""
        lost_at = time.monotonic() + LOST_S

        def find():
            events = self.our_events()
            if events is None:
                return None
            kinds = [event["kind"] for event in events]
            if not kinds:
                return [None] if may_be_lost and time.monotonic() > lost_at else None
            return events if "order.refused" in kinds or any(map(self.is_end, events)) else None
        try:
            events = wait_until(find, 2)
        except LabError:  # one that can't write its journal any more says so, and waits for a restart
            self.host.kill("grivetd")
            self.wait_ready()
            try:
                events = wait_until(find, 5)
            except LabError:
                told = [(event["kind"], event["body"]) for event in self.our_events() or ()]
                raise (Late if told else Spent)(f"no end is told: {told}") from None
        events = [event for event in events if event]
        if not all(event["boot"] for event in events):
            raise Left("an event without its boot, which no coordinator takes")
        ends = [event for event in events if self.is_end(event)]
        if len(ends) > 1:
            raise Left(f"several ends: {[(e['kind'], e['body']) for e in ends]}")
        if self.fault[0] in IRREVERSIBLE and "fault.reverted" in [event["kind"] for event in ends]:
            raise Left("said to be reverted, which it can't be")
        for event in ends:
            early_usec = self.last_left_usec - usec(event["body"].get("reverted_at") or event["at"])
            if early_usec > 0:
                raise Left(f"{event['kind']}: said to be reverted {early_usec / 1000:.1f} ms too early")
        return {event["kind"]: event["body"] for event in events}

    @staticmethod
    def check_refused(said):
        """What was done before can be why there is no fault."""
        refused = said.get("order.refused", {}).get("reason", "")
        if "quarantine" in refused or "under way" in refused:
            raise Spent(refused)

    def is_end(self, event):
        return event["kind"] in ENDS and (event["body"].get("is_reverted", True) or self.fault[0] in IRREVERSIBLE)

    def forget_events(self):
        try:
            events = self.courier.events(self.seen)
        except OSError:  # the executor had no memory for its last word to us, and hung up
            self.wait_ready()
            events = self.courier.events(self.seen)
        self.seen = events[-1]["sequence"] if events else self.seen

    # ---- points

    def wait_armed(self, deadline_ns):
        def find():
            told = {event["kind"]: event["body"] for event in self.our_events() or ()}
            if "order.refused" in told or boot_ns() > deadline_ns:
                raise Spent(f"the fault is not armed: {told}")
            return "fault.armed" in told
        wait_until(find, 15, "the fault to be armed")

    def follow(self, *arguments):
        """Whether it is there to be followed: one that comes to its end looks alive until the init has seen that."""
        tracer = Tracer(*arguments)
        if tracer.is_attached:
            self.tracer = tracer
        else:
            tracer.finish()
        return tracer.is_attached

    def find_followed(self, point):
        """A holder is followed from its birth, for which there must be none in reserve, or from its job on."""
        if point.who == "reserve":
            return self.find_reserve()
        if point.who == "holder":
            self.kill_reserve()
        return self.find("grivet-sweep" if point.who == "sweep" else "grivetd")

    def begin(self, point):
        """Starts a fault and follows the process; returns when the fault is over if the point changes nothing."""
        calls = point[2:] if point.call else None
        if point.who in AFTERWARDS:
            self.wait_armed(self.send(point.fault, LONG_MS))
            self.starts = self.host.status("grivetd")["starts"]
            self.tracer = Tracer(self.host.init_pid, AFTERWARDS[point.who], calls)
            self.send_signal(self.find("grivetd"), signal.SIGKILL)
            return boot_ns()
        wait_until(lambda: self.follow(self.find_followed(point), point.who == "holder", calls), 5, "somebody to follow")
        deadline_ns = self.send(point.fault, self.duration_ms)
        if point.who != "sweep":
            return deadline_ns
        self.wait_armed(deadline_ns)
        self.stopped = [self.find("grivetd")]  # the sweep is the only one that can end it
        for pid in (*self.stopped, self.holder_pid()):
            self.send_signal(pid, signal.SIGSTOP)
        return deadline_ns + GRACE_MS * NSEC_PER_MSEC

    @staticmethod
    def gate_ns(point, over_ns, hit_ns):
        """Until when all has to be gone: the death of who holds it ends a fault at once."""
        is_early = hit_ns and point.action == "KILL" and point.who in ("holder", "reserve", "executor")
        late_ms = GATE_MS if point.call else LONG_MS  # where nothing is made to fail, nothing is shown
        return (hit_ns if is_early else max(over_ns, hit_ns or 0)) + late_ms * NSEC_PER_MSEC

    def watch(self, point):
        """A fault's life, until nothing of it is left."""
        over_ns, hit = self.begin(point), None
        gate_ns = self.gate_ns(point, over_ns, hit)
        while not hit and boot_ns() < gate_ns and (self.left() or boot_ns() < over_ns):
            hit = self.tracer.hear(seldom(gate_ns), "hit")
        self.wait_gone(self.gate_ns(point, over_ns, hit))
        if point.who == "sweep":
            self.wait_records()
        self.go_on()
        if point.who in AFTERWARDS:
            wait_until(lambda: self.host.status("grivetd")["starts"] > self.starts, 10, "the next executor")
        self.host.wait_active("grivetd")  # it is told and written down by an executor that lives, or by the next
        if not hit and not point.call:
            wait_until(lambda: not self.records(), 5)
            time.sleep(0.1)  # the last calls, after the record's removal

    def go_on(self):
        for pid in self.stopped:
            self.send_signal(pid, signal.SIGCONT)
        self.stopped = []

    def try_point(self, point):
        """Returns whether the point was reached; raises Left."""
        return self.run_whole(point)[0]

    def list_calls(self, run):
        """The calls in their order when nothing is made to fail, and which of them are the dynamic linker's."""
        _, calls, linked = self.run_whole(run)
        if not calls:
            raise Left("nobody was followed")
        return calls, linked

    def run_whole(self, point):
        """The fault has to be there, unless the point took it away: one that never was leaves nothing."""
        may_be_lost = point.who in ("holder", "reserve", "executor")
        for self.duration_ms in WHOLE_MS[WHOLE_MS.index(self.duration_ms):]:  # a machine that was slow still is
            result, said = self.run(point, may_be_lost)
            self.check_refused(said)
            if "fault.armed" in said or (result[0] and may_be_lost):
                return result
        raise Spent(f"it was never armed: {said}")

    def run(self, point, may_be_lost):
        """Returns ((whether the point was reached, the calls in their order, the linker's), what is told)."""
        self.wait_ready()
        self.tracer, self.stopped, hit, calls, linked = None, [], None, [], []
        try:
            self.watch(point)
        finally:
            self.go_on()
            if self.tracer:
                hit, calls, linked = self.tracer.finish()
        self.wait_ready()
        said = self.check_said(hit and may_be_lost)
        self.wait_records()
        self.wait_gone(0)
        self.forget_events()
        return (hit is not None, calls, linked), said

    def check_whole(self):
        """The long look that is not taken after each point."""
        swept = self.host.run(["grivet-sweep"], check=False)
        if swept.returncode or swept.stderr:
            raise Left(f"the sweep finds something in the end: {swept.stderr}")
        if super().tables():
            raise Left(f"nft sees what we did not: {super().tables()}")
        if self.traffic_control() != self.before:
            raise Left("queues or filters are not as they were")
        self.host.run(["ping", "-c1", "-W2", "10.9.2.1"])
