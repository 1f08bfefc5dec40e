"""A holder killed at its system calls, from before its injection until after its undo: nothing is left."""

import json

from lab.host import LAB
from holder_rig import HolderRig
from rig import mandate
from scenarios import assert_clean

DURATION_MS = 700
POINTS, BATCH = 64, 8


def holder(prefix):
    return f"{LAB}/build/tests/crash/holder-parent /run/mandate.json lose-az2 victim apse2-az1 {DURATION_MS} {prefix}"


def find_points(trace):
    """[(system call, which time)] from the first word on disk on; strace counts each kind of call for itself."""
    counts, points = {}, []
    for line in trace:
        call = line.partition("(")[0]
        if not call.isidentifier():
            continue
        counts[call] = counts.get(call, 0) + 1
        if points or line.startswith("openat(5,"):
            points.append((call, counts[call]))
    return points


def test_killed_at_each_system_call(lab):
    rig = HolderRig(lab)
    rig.host.write("/run/mandate.json", json.dumps(mandate(DURATION_MS)))
    whole = rig.host.sh(holder("strace -D -qq -o /run/trace") + " </dev/null").stdout
    assert '"state":"reverted"' in whole.replace(" ", ""), whole
    points = find_points(rig.host.read("/run/trace").splitlines())
    chosen = points[::max(1, len(points) // POINTS)]
    killed = 0
    for start in range(0, len(chosen), BATCH):
        batch = list(enumerate(chosen))[start:start + BATCH]
        inject = "strace -D -qq -o /dev/null -e inject={}:signal=KILL:when={}"
        script = "".join(f"{holder(inject.format(*point))} </dev/null >/run/out.{number} 2>&1 &\n" for number, point in batch)
        rig.host.sh(script + "wait")
        killed += sum('"exit": -9' in rig.host.read(f"/run/out.{number}") for number, _ in batch)
        assert_clean(rig)
    print(f"killed at {killed} of {len(chosen)} chosen points ({len(points)} in all), nothing left")
    assert killed > len(chosen) * 0.8  # a point is missed when a run takes fewer looks at the kernel than the first
