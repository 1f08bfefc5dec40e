"""Two of executor, holder and sweep taken away at moments of chance in a fault's life: nothing of ours is left, one second
after the deadline where the holder lives, one second after deadline and grace otherwise, and nobody says so too early.

A sample, or with GRIVET_FULL=1 (./verify --full) 500; GRIVET_SEED brings the same again. Counted are those that found both,
and who was struck later than BEGUN_MS was so in a fault that was armed."""

import collections
import itertools
import signal
import time

from many import IS_FULL, chance, do_surely
from points import FAULTS, IRREVERSIBLE, NSEC_PER_MSEC, Left, PointRig, usec
from rig import GATE_MS, GRACE_MS, boot_ns

DURATION_MS = 1000
BEGUN_MS = 150
COUNT = 500 if IS_FULL else 15
PAIRS = (("executor", "holder"), ("executor", "sweep"), ("holder", "sweep"))
# Of each of the two what it gets: the one that is only stopped stays so, and is there as far as anybody can tell.
WAYS = {"killed": ((signal.SIGKILL,), (signal.SIGKILL,)),
        "stopped, then killed": ((signal.SIGSTOP, signal.SIGKILL), (signal.SIGSTOP, signal.SIGKILL)),
        "one stopped, one killed": ((signal.SIGSTOP,), (signal.SIGKILL,))}

Double = collections.namedtuple("Double", "fault names way at_ms")


def choose(random):
    fault = random.choice(sorted(FAULTS))
    pairs = [pair for pair in PAIRS if "holder" not in pair or fault not in IRREVERSIBLE]  # whose holder is gone at once
    names = random.sample(random.choice(pairs), 2)
    first = random.uniform(0, DURATION_MS + 50)
    second = first if random.random() < 0.5 else random.uniform(0, DURATION_MS + 50)
    at_ms, way = dict(zip(names, (first, second))), random.choice(sorted(WAYS))
    if set(names) == {"executor", "holder"} and signal.SIGKILL in WAYS[way][names.index("executor")]:
        at_ms["holder"], at_ms["executor"] = sorted(at_ms.values())  # afterwards there is no holder
    return Double(fault, tuple(names), way, tuple(map(at_ms.get, names)))


def pid_of(rig, name):
    return rig.holder_pid() if name == "holder" else rig.find({"executor": "grivetd", "sweep": "grivet-sweep"}[name])


def strike(rig, double, sent_ns):
    """Sends the signals, each at its moment; returns who got them, {name: process id or None}, and since when."""
    pids, since_usec = {}, None
    for at in sorted(set(double.at_ms)):
        while boot_ns() < sent_ns + at * NSEC_PER_MSEC:
            rig.left()
            time.sleep(max(0, min(0.02, (sent_ns - boot_ns()) / 1e9 + at / 1000)))
        # By then somebody else may stand in its place: what is killed is what was stopped.
        now = [name for name, its in zip(double.names, double.at_ms) if its == at]
        pids.update((name, pid_of(rig, name)) for name in now)
        since_usec = since_usec or time.time() * 1e6
        for numbers in itertools.zip_longest(*(WAYS[double.way][double.names.index(name)] for name in now)):
            for name, number in zip(now, numbers):
                if number:
                    rig.send_signal(pids[name], number)
    return pids, since_usec


def run(rig, double):
    """Returns whether both were there, and whether the fault was."""
    rig.wait_ready()
    deadline_ns = rig.send(double.fault, DURATION_MS)
    has_begun, pids = min(double.at_ms) > BEGUN_MS, {}
    try:
        if has_begun:
            rig.wait_armed(deadline_ns)
        pids, since_usec = strike(rig, double, deadline_ns - DURATION_MS * NSEC_PER_MSEC)
        late_ms = GATE_MS + (GRACE_MS if "holder" in double.names else 0)
        while rig.left() and boot_ns() < deadline_ns:
            time.sleep(0.02)
        rig.wait_gone(max(deadline_ns, boot_ns()) + late_ms * NSEC_PER_MSEC)
    finally:
        for name, numbers in zip(double.names, WAYS[double.way]):
            if signal.SIGKILL not in numbers and name != "holder":
                rig.send_signal(pids.get(name), signal.SIGCONT)
    rig.wait_ready()
    said = rig.check_said(not has_begun)
    rig.check_refused(said)
    for event in rig.our_events() or ():
        if event["kind"] == "order.refused" and usec(event["at"]) < since_usec:
            raise Left(f"refused before anybody was struck: {event['body']}")
    rig.wait_records()
    rig.forget_events()
    return all(pids.values()), "fault.armed" in said


def test_double_kills(tmp_path, tell):
    random, seed = chance()
    failures, ways, armed, missed = [], collections.Counter(), 0, 0
    while (left := COUNT - sum(ways.values()) - len(failures)) > 0:
        for double, result, failure in do_surely([choose(random) for _ in range(left)], tmp_path, PointRig, run):
            if failure:
                failures.append(f"{double}: {failure}")
                print("FAILED", failures[-1], flush=True)
            elif double and result[0]:
                ways[double.way] += 1
                armed += result[1]
            elif double:
                missed += 1
    tell(f"{COUNT} double kills (GRIVET_SEED={seed}): {dict(ways)}, {armed} of a fault that was armed, "
         f"{missed} more did not find both, {len(failures)} left something")
    assert not failures, "\n".join(failures)
    assert missed < COUNT / 2
