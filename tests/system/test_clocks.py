"""The machine's own clocks are set, or stop with it, in mid fault: whichever says first that the fault is over ends it. And it
wakes up as the copy of itself that was saved earlier, which knows of nothing since."""

import pytest

from executor_client import ORDER
from installed import FAR

SECOND = 1_000_000_000
EARLY = 20_000_000  # timed elements of nftables are that exact
YEAR_S = 365 * 86400
# Suspends to memory until the hardware clock rings, and says for how long MONOTONIC stood still.
SUSPEND = """
import time
stood = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)
before = stood()
rtc = "/sys/class/rtc/rtc0/"
open(rtc + "wakealarm", "w").write("0")
open(rtc + "wakealarm", "w").write(str(int(open(rtc + "since_epoch").read()) + {seconds}))
open("/sys/power/state", "w").write("mem")
print(stood() - before)
"""
# What an NTP client tells the kernel: struct timex of adjtimex(2) with ADJ_MAXERROR | ADJ_STATUS, 1 ms, STA_PLL.
SYNCHRONISE = """
import ctypes, struct
timex = ctypes.create_string_buffer(struct.pack("@Illlli", 0x0004 | 0x0010, 0, 0, 1000, 0, 1), 512)
assert ctypes.CDLL(None).adjtimex(timex) >= 0
"""


def set_clock(machine, seconds):
    """Returns when it was done, in ns of CLOCK_BOOTTIME, not too late."""
    at = machine.now()
    machine.run(["date", "--set", f"{seconds} seconds"])
    return at


def test_a_year_ahead(machine):
    machine.block(60)
    at = set_clock(machine, YEAR_S)
    assert machine.opened_at() < at + SECOND
    (told,) = machine.told()
    # For the sweep the grace is over as well: the holder was first, or the sweep that killed it, and can't tell when it was due.
    assert told["ended_by"] in ("deadline", "kernel", "sweep")
    assert told["ended_by"] == "sweep" and told["revert_error_ms"] is None or 0 <= told["revert_error_ms"] < 1000


def test_a_year_back(machine):
    machine.block(6)
    set_clock(machine, -YEAR_S)
    assert machine.is_cut()
    (told,) = machine.told()
    assert told["ended_by"] == "deadline" and 0 <= told["revert_error_ms"] < 1000
    assert -EARLY < machine.opened_at() - machine.deadline < SECOND


def test_a_year_ahead_while_executor_and_holder_hang(machine):
    """The sweep sees it too."""
    machine.block(60)
    machine.signal("STOP", "grivetd", "holder")
    at = set_clock(machine, YEAR_S)
    assert machine.opened_at() < at + SECOND
    machine.wait_for(lambda: not machine.left(), what="what the sweep does")
    machine.signal("CONT", "grivetd")
    assert [body["ended_by"] for body in machine.told()] == ["sweep"]


def test_suspend_over_the_deadline(machine):
    machine.block(4)
    stood = int(machine.run(["python3", "-c", SUSPEND.format(seconds=12)]).stdout)
    woke = machine.now()
    assert stood > 5 * SECOND and woke > machine.deadline + 2 * SECOND, "it did not sleep long enough"
    assert machine.opened_at() < woke + SECOND
    machine.wait_for(lambda: not machine.left(), what="the end of all that was left")
    assert len(machine.told()) == 1


@pytest.fixture
def strict(machine):
    """The default policy: a clock that has to be synchronised, and is."""
    wish = "sed -i 's/require_synchronised_clock: .*/require_synchronised_clock: {}/' /etc/grivet/agent.yaml; systemctl restart grivetd"
    machine.run(["python3", "-c", SYNCHRONISE])
    machine.sh(wish.format("true"))
    machine.connect()
    yield
    machine.sh("systemctl kill --signal=CONT dbus")
    machine.sh(wish.format("false"))


def test_a_bus_that_hangs(machine, strict):
    """The executor may not ask the kernel about the clock (ProtectClock=). Nothing but the order that needs the answer
    waits for whom it asks instead."""
    machine.block(60)
    machine.sh("systemctl kill --signal=STOP dbus")
    machine.signal("KILL", "grivetd")
    machine.wait_restarted("grivetd", 1)
    machine.connect()
    assert len(machine.told()) == 1
    machine.send_order("network.block", {"cidrs": [f"{FAR}/32"]}, 30)
    at = machine.now()
    machine.run(["grivet", "halt"])
    print(f"a halt beside an order that waits for the bus: {(machine.now() - at) / 1e6:.0f} ms")
    assert machine.now() - at < 5 * SECOND
    machine.wait_for(lambda: machine.seen("order.refused"), 30, "the order's refusal")
    assert "clock" in machine.seen("order.refused")[0]["reason"]
    assert machine.unit("grivetd", "NRestarts") == {"NRestarts": "1"} and not machine.is_cut()


def test_saved_in_mid_fault_and_restored(machine):
    """It was over when the copy woke up, which can't know that: its own clocks, which stood still, end the fault again."""
    machine.block(5)
    machine.save("cut")
    deadline, cut_at = machine.deadline, machine.cut_at
    assert [body["ended_by"] for body in machine.told()] == ["deadline"]
    machine.restore("cut")
    assert machine.now() < deadline and machine.is_cut() and not machine.seen("fault.reverted")
    assert [body["ended_by"] for body in machine.told()] == ["deadline"]
    assert -EARLY < machine.opened_at() - deadline < SECOND and cut_at == machine.cut_at


def test_restored_copy_is_told_the_time(machine):
    """As by NTP, or by the hypervisor's agent: REALTIME jumps to what it really is."""
    machine.block(60)
    machine.save("cut")
    machine.run(["grivet", "halt"])
    assert [body["ended_by"] for body in machine.told()] == ["halt"]
    machine.restore("cut")
    assert machine.is_cut()
    at = set_clock(machine, 3600)
    assert machine.opened_at() < at + SECOND
    (told,) = machine.told()
    assert told["ended_by"] in ("deadline", "kernel", "sweep")


def test_restored_to_before_an_order(machine):
    """The copy has no memory of it. What it can know is the time, once it is told: then the order is too old. Until then it
    is taken, as if for the first time, and once."""
    bundle = machine.bundle("network.block", {"cidrs": [f"{FAR}/32"]}, 30)
    machine.save("before")
    for _ in ("the first life", "the restored one"):
        machine.restore("before")
        machine.courier.send(ORDER, data=bundle)
        machine.wait_for(machine.is_cut, what="the fault")
        machine.run(["grivet", "halt"])
        assert len(machine.told()) == 1
        machine.courier.send(ORDER, data=bundle)
        assert len(machine.seen("order.accepted")) == 1 and not machine.left()
    machine.restore("before")
    set_clock(machine, 61)
    machine.courier.send(ORDER, data=bundle)
    (refused,) = machine.wait_for(lambda: machine.seen("order.refused"), what="the refusal")
    assert "start_before: expired" in refused["reason"]
    assert not machine.left() and not machine.is_cut()
