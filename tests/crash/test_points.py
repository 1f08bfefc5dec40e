"""kill -9 and errors of the kernel at the system calls of holder, executor and sweep, while a fault begins, holds and ends:
nothing of ours is left, and nobody says so while it is not so.

A sample of the points is tried, or with GRIVET_FULL=1 (./verify --full) all; GRIVET_SEED brings a sample again, and
GRIVET_POINT=who/fault/call/nth/action tries just that one."""

import collections
import itertools
import os

from many import IS_FULL, chance, do_all
from points import AFTERWARDS, FAULTS, Point, PointRig

PROCESSES = ("holder", "executor", "sweep", *AFTERWARDS)
ACTIONS = ("KILL", "EIO", "ENOSPC", "EINTR", "EMFILE", "ENOMEM")
SAMPLE = int(os.environ.get("GRIVET_SAMPLE") or 150)
ROW = 8
ENDLESS = ("exit_group", "rt_sigreturn")  # can't fail; they can be where one is killed
# Points that once left something, or told a lie.
REGRESSIONS = ("sweep/cpu.burn/openat/2/ENOMEM", "sweep/cpu.burn/read/3/EIO", "executor/cpu.burn/read/3/EMFILE",
               "executor/cpu.burn/read/4/EMFILE", "executor/network.block/sendmsg/7/EMFILE")


def choose(calls):
    """(call, nth) of one run; of a long row of the same call its beginning and its end."""
    counts = collections.Counter()
    for name, row in itertools.groupby(calls):
        numbers = range(counts[name] + 1, counts[name] + len(list(row)) + 1)
        counts[name] += len(numbers)
        for nth in numbers if len(numbers) <= 2 * ROW else [*numbers[:ROW], *numbers[-ROW:]]:
            yield name, nth


def list_points(folder):
    """{(process, fault): [Point...]}, from a run of each in which nothing fails."""
    runs = [Point(who, fault, None, 0, None) for who in PROCESSES for fault in FAULTS]
    points = {}
    for run, calls, failure in do_all(runs, folder, PointRig, PointRig.list_calls):
        assert failure is None, f"nothing fails, and yet {run}: {failure}"
        points[run[:2]] = [Point(*run[:2], call, nth, action) for call, nth in choose(calls) for action in ACTIONS
                           if action == "KILL" or call not in ENDLESS]
    return points


def sample(points, random):
    """As many of each process and fault, half of them kills."""
    chosen, groups = [], sorted(points)
    for number in range(SAMPLE):
        group = points[groups[number % len(groups)]]
        is_kill = number // len(groups) % 2 == 0
        chosen.append(random.choice([point for point in group if (point.action == "KILL") == is_kill]))
    return sorted(set(chosen), key=lambda point: (point.who != "sweep", point))  # the longest first


def try_all(points, folder, capsys, words):
    tried, failures = collections.Counter(), []
    for count, (point, result, failure) in enumerate(do_all(points, folder, PointRig, PointRig.try_point), 1):
        if count % 1000 == 0:
            with capsys.disabled():
                print(f"{count} of {len(points)} points, {len(failures)} left something", flush=True)
        if failure:
            failures.append(f"{point}: {failure}" if point else f"after all: {failure}")
            print("FAILED", failures[-1], flush=True)
        elif point and result[0]:
            tried[point.who] += 1
    words = (f"{len(points)} points tried {words}, {sum(tried.values())} reached "
          f"({', '.join(f'{who} {count}' for who, count in sorted(tried.items()))}), {len(failures)} left something")
    with capsys.disabled():
        print(f"\n{words}")
    assert not failures, "\n".join(failures)
    return sum(tried.values())


def parse(text):
    who, fault, call, nth, action = text.split("/")
    return Point(who, fault, call, int(nth), action)


def test_points(tmp_path, capsys):
    if "GRIVET_POINT" in os.environ:
        assert try_all([parse(os.environ["GRIVET_POINT"])], tmp_path, capsys, "as asked")
        return
    random, seed = chance()
    points = list_points(tmp_path)
    total = sum(map(len, points.values()))
    chosen = sum(points.values(), []) if IS_FULL else sample(points, random)
    if IS_FULL:
        random.shuffle(chosen)
    chosen += [point for point in map(parse, REGRESSIONS) if point not in chosen]
    reached = try_all(chosen, tmp_path, capsys, f"of {total} (GRIVET_SEED={seed})")
    assert reached > len(chosen) / 2  # one is missed when a run makes fewer calls, or has no time to make them
