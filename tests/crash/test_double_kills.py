"""Two of executor, holder and sweep taken away at moments of chance in a fault's life: nothing of ours is left, one second
after the deadline where the holder lives, one second after deadline and grace otherwise, and nobody says so too early.

A sample, or with GRIVET_FULL=1 (./verify --full) 500; GRIVET_SEED brings the same again."""

import collections
import signal
import time

from many import IS_FULL, chance, do_surely
from points import FAULTS, NSEC_PER_MSEC, PointRig
from rig import GATE_MS, GRACE_MS, boot_ns

DURATION_MS = 1000
COUNT = 500 if IS_FULL else 15
PAIRS = (("executor", "holder"), ("executor", "sweep"), ("holder", "sweep"))
# Of each of the two what it gets: the one that is only stopped stays so, and is there as far as anybody can tell.
WAYS = {"killed": ((signal.SIGKILL,), (signal.SIGKILL,)),
        "stopped, then killed": ((signal.SIGSTOP, signal.SIGKILL), (signal.SIGSTOP, signal.SIGKILL)),
        "one stopped, one killed": ((signal.SIGSTOP,), (signal.SIGKILL,))}

Double = collections.namedtuple("Double", "fault names way at_ms")


def choose(random):
    names = list(random.choice(PAIRS))
    random.shuffle(names)
    first = random.uniform(0, DURATION_MS + 50)
    second = first if random.random() < 0.5 else random.uniform(0, DURATION_MS + 50)
    return Double(random.choice(sorted(FAULTS)), tuple(names), random.choice(sorted(WAYS)), (first, second))


def pid_of(rig, name):
    return rig.holder_pid() if name == "holder" else rig.find({"executor": "grivetd", "sweep": "grivet-sweep"}[name])


def strike(rig, double, sent_ns):
    """Sends the signals, each at its moment; returns who is only stopped."""
    steps = sorted((at, step, name) for name, at, numbers in zip(double.names, double.at_ms, WAYS[double.way])
                   for step in range(len(numbers)))
    pids = {}
    for at, step, name in steps:
        while boot_ns() < sent_ns + at * NSEC_PER_MSEC:
            rig.left()
            time.sleep(max(0, min(0.02, (sent_ns - boot_ns()) / 1e9 + at / 1000)))
        # By then somebody else may stand in its place: what is killed is what was stopped.
        pids[name] = pids.get(name) or pid_of(rig, name)
        rig.send_signal(pids[name], WAYS[double.way][double.names.index(name)][step])
    return [pids[name] for name, numbers in zip(double.names, WAYS[double.way])
            if signal.SIGKILL not in numbers and name != "holder"]


def run(rig, double):
    rig.wait_ready()
    deadline_ns = rig.send(double.fault, DURATION_MS)
    stopped = []
    try:
        stopped = strike(rig, double, deadline_ns - DURATION_MS * NSEC_PER_MSEC)
        late_ms = GATE_MS + (GRACE_MS if "holder" in double.names else 0)
        while rig.left() and boot_ns() < deadline_ns:
            time.sleep(0.02)
        rig.wait_gone(max(deadline_ns, boot_ns()) + late_ms * NSEC_PER_MSEC)
    finally:
        for pid in stopped:
            rig.send_signal(pid, signal.SIGCONT)
    rig.wait_ready()
    rig.check_said()
    rig.wait_records()
    rig.forget_events()


def test_double_kills(tmp_path, capsys):
    random, seed = chance()
    failures, ways = [], collections.Counter()
    for double, _, failure in do_surely([choose(random) for _ in range(COUNT)], tmp_path, PointRig, run):
        if failure:
            failures.append(f"{double}: {failure}")
            print("FAILED", failures[-1], flush=True)
        elif double:
            ways[double.way] += 1
    with capsys.disabled():
        print(f"\n{COUNT} double kills (GRIVET_SEED={seed}): {dict(ways)}, {len(failures)} left something")
    assert not failures, "\n".join(failures)
