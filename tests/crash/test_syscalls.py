"""A holder killed at its system calls, from its first until after its undo: nothing is left, and the executor tells it."""

import pathlib
import subprocess

from executor_rig import ExecutorRig
from lab.agent import CLASSES
from lab.host import PYTHON
from scenarios import assert_clean

KILLER = pathlib.Path(__file__).with_name("killer.py")
DURATION_MS = 700
POINTS, BATCH = 160, 8


def run_orders(rig, points):
    """Starts a fault for each point; returns how many system calls each holder made."""
    executor = str(rig.host.outside_pid("grivetd"))
    with subprocess.Popen([PYTHON, KILLER, executor, *map(str, points)], stdout=subprocess.PIPE, text=True) as killer:
        assert killer.stdout.readline() == "attached\n"
        rig.orders = []
        for _ in points:
            rig.send_order(DURATION_MS)
            rig.orders.append(rig.order)
        return [int(line) for line in killer.stdout]


def assert_told(rig, seen):
    """Each order has one end, and that is a good one. Returns the last event."""
    events = rig.courier.events(seen)
    for order in rig.orders:
        told = [event for event in events if event.get("order") == order and
                event["kind"] in ("fault.reverted", "fault.failed")]
        assert len(told) == 1 and (told[0]["kind"] == "fault.reverted" or told[0]["body"]["is_reverted"]), (order, told)
    return events[-1]["sequence"]


def test_killed_at_each_system_call(lab):
    network = {**CLASSES["network"], "concurrency": BATCH}
    rig = ExecutorRig(lab, classes={**CLASSES, "network": network})
    calls = run_orders(rig, [0])[0]
    points = range(1, calls, max(1, calls // POINTS))
    killed, seen = 0, assert_told(rig, 0)
    for start in range(0, len(points), BATCH):
        batch = points[start:start + BATCH]
        made = run_orders(rig, batch)
        killed += sum(count < point for count, point in zip(made, batch))
        assert_clean(rig)
        seen = assert_told(rig, seen)
    print(f"killed at {killed} of {len(points)} chosen points ({calls} in all), nothing left")
    assert killed > len(points) * 0.8  # a point is missed when a run takes fewer looks at the kernel than the first
