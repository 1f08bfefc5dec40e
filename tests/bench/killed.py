"""SIGKILL of the whole agent while a zone is blocked, to the next packet that comes through."""

import statistics

from executor_rig import ExecutorRig
from lab.host import Lab
from rig import boot_ns

COUNT = 15
EVERY_NS = 200_000


def measure():
    taken = []
    for _ in range(COUNT):
        with Lab() as lab:
            rig = ExecutorRig(lab)
            rig.host.stop("meter", grace=0)
            rig.start_meter(EVERY_NS)
            rig.wait_back(boot_ns(), 5)
            rig.start(20000)
            at = rig.signal("executor", "holder", "sweep")
            taken.append(rig.wait_back(at, 5))
    yield {"what": f"traffic restored (a packet every {EVERY_NS / 1e6:g} ms), median of {COUNT}", "unit": "ms",
           "ours": statistics.median(taken), "goal": 1}
    yield {"what": "worst", "unit": "ms", "ours": max(taken)}
