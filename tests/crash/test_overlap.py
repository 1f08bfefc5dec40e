"""Two network faults of one host that are about the same packets: what the answers promise, the orders keep."""

import pytest

from executor_rig import ExecutorRig
from lab.agent import CLASSES
from scenarios import assert_clean

CIDRS = ["10.9.2.0/24", "fd00:9:2::/64"]
POLICY = {**CLASSES, "network": {**CLASSES["network"], "concurrency": 2}}


@pytest.mark.parametrize("second", [("network.block", {"cidrs": CIDRS}), ("network.shape", {"cidrs": CIDRS, "rate_kbit": 64})])
def test_both_are_accepted_exercised_and_end(lab, second):
    rig, orders = ExecutorRig(lab, classes=POLICY), []
    for rig.fault in (("zone.block", {"zone": "apse2-az2"}), second):
        assert rig.ask(3000)["is_accepted"]
        rig.start(3000)
        orders.append(rig.order)
    for rig.order in orders:
        rig.courier.wait_event("fault.exercised", order=rig.order)
        assert rig.told()["ended_by"] == "deadline"
    assert_clean(rig)
