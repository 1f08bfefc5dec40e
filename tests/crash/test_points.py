"""kill -9 and errors of the kernel at the system calls of holder, executor and sweep, while a fault begins, holds and ends:
nothing of ours is left, and nobody says so while it is not so.

A sample of the points is tried, or with GRIVET_FULL=1 (./verify --full) all; GRIVET_SEED brings a sample again,
GRIVET_SLICE=3/8 tries the third of eight parts of all, and GRIVET_POINT=who/fault/call/nth/action just that one.

All is each of ACTIONS at each system call, but for four foldings; the number of points that they leave out is printed:
- a row of the same call (the capabilities given up one by one, /proc/kallsyms read to its end): its first and last ROW;
- what the dynamic linker does before main(), the same few calls for each library: one of the actions in turn at each;
- a holder out of the reserve, from its job on, makes the calls of one that is born for it: the kill and one error in turn;
- calls that can't fail by their manual page (ENDLESS): only the kill.

A point that is not reached shows nothing: one is missed when a run makes fewer calls, or has no time to make them. Of each
process and fault at least one has to be reached, with a sample of its own if need be, of all together more than half.
"""

import collections
import itertools
import os
import zlib

from many import IS_FULL, chance, do_all, do_surely
from points import AFTERWARDS, FAULTS, Point, PointRig

PROCESSES = ("holder", "reserve", "executor", "sweep", *AFTERWARDS)
ACTIONS = ("KILL", "EIO", "ENOSPC", "EINTR", "EMFILE", "ENOMEM")
SAMPLE = int(os.environ.get("GRIVET_SAMPLE") or 150)
ROW = 3
ENDLESS = ("exit_group", "rt_sigreturn", "getpid", "getppid", "getuid", "geteuid", "getgid", "getegid")
# Points that once left something, or told a lie.
REGRESSIONS = ("sweep/cpu.burn/openat/2/ENOMEM", "sweep/cpu.burn/read/3/EIO", "executor/cpu.burn/read/3/EMFILE",
               "executor/cpu.burn/read/4/EMFILE", "executor/network.block/sendmsg/7/EMFILE",
               "sweep/cpu.burn/getdents64/3/EMFILE", "holder/cpu.burn/wait4/1/EIO")


def choose_actions(call, is_linked, is_reserve, turn, errors):
    if is_linked:
        return [next(turn)]
    if call in ENDLESS:
        return ["KILL"]
    return ["KILL", next(errors)] if is_reserve else ACTIONS


def choose(who, calls, linked):
    """(call, nth, actions) of one run, without what is folded."""
    counts, turn, errors = collections.Counter(), itertools.cycle(ACTIONS), itertools.cycle(ACTIONS[1:])
    index, linked = 0, set(linked)
    for name, row in itertools.groupby(calls):
        length = len(list(row))
        for place in range(length):
            counts[name] += 1
            if place < ROW or place >= length - ROW:
                yield name, counts[name], choose_actions(name, index in linked, who == "reserve", turn, errors)
            index += 1


def list_points(folder):
    """{(process, fault): [Point...]}, from a run of each in which nothing fails, and how many are left out."""
    runs = [Point(who, fault, None, 0, None) for who in PROCESSES for fault in FAULTS]
    points, everywhere = {}, 0
    for run, result, failure in do_all(runs, folder, PointRig, PointRig.list_calls):
        assert failure is None, f"nothing fails, and yet {run or 'in the end'}: {failure}"
        if run:
            points[run[:2]] = [Point(*run[:2], call, nth, action)
                               for call, nth, actions in choose(run.who, *result) for action in actions]
            everywhere += len(result[0]) * len(ACTIONS)
    return points, everywhere - sum(map(len, points.values()))


def sample(points, random):
    """As many of each process and fault, half of them kills."""
    chosen, groups = [], sorted(points)
    for number in range(SAMPLE):
        group = points[groups[number % len(groups)]]
        is_kill = number // len(groups) % 2 == 0
        chosen.append(random.choice([point for point in group if (point.action == "KILL") == is_kill]))
    return sorted(set(chosen), key=lambda point: (point.who != "sweep", point))  # the longest first


def is_ours(point):
    """Is it in the slice that is asked for? By its name: another listing may find a call more."""
    number, _, count = os.environ.get("GRIVET_SLICE", "1/1").partition("/")
    return zlib.crc32(str(point).encode()) % int(count) == int(number) - 1


def try_all(points, folder, tell, words):
    """Returns how many points were reached of each process and fault."""
    reached, failures = collections.Counter(), []
    for count, (point, result, failure) in enumerate(do_surely(points, folder, PointRig, PointRig.try_point), 1):
        if failure:
            failures.append(f"{point}: {failure}" if point else f"after all: {failure}")
        elif point and result:
            reached[point[:2]] += 1
        if failure:
            tell(f"FAILED {failures[-1]}")
        if count % 1000 == 0:
            tell(f"{count} of {len(points)} points, {len(failures)} left something")
    each = [f"{who} {sum(reached[group] for group in reached if group[0] == who)}" for who in PROCESSES]
    tell(f"{len(points)} points tried {words}, {reached.total()} reached ({', '.join(each)}), {len(failures)} left something")
    assert not failures, "\n".join(failures)
    return reached


def parse(text):
    who, fault, call, nth, action = text.split("/")
    return Point(who, fault, call, int(nth), action)


def test_points(tmp_path, tell):
    if "GRIVET_POINT" in os.environ:
        assert try_all([parse(os.environ["GRIVET_POINT"])], tmp_path, tell, "as asked")
        return
    random, seed = chance()
    points, folded = list_points(tmp_path)
    total = sum(map(len, points.values()))
    chosen = [point for point in sum(points.values(), []) if is_ours(point)] if IS_FULL else sample(points, random)
    if IS_FULL:
        random.shuffle(chosen)
    chosen += [point for point in map(parse, REGRESSIONS) if point not in chosen]
    reached = try_all(chosen, tmp_path, tell, f"of {total} (and {folded} folded; GRIVET_SEED={seed})")
    assert reached.total() > 0.85 * len(chosen), "too many points were never reached"
    groups = {point[:2] for point in chosen}
    if silent := groups - reached.keys():
        more = sample({group: points[group] for group in silent}, random)
        reached += try_all(more, tmp_path, tell, f"of {sorted(silent)}, of which none was reached")
    assert groups <= reached.keys(), f"no point was reached of {sorted(groups - reached.keys())}"
