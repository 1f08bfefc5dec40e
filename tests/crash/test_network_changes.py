"""An administrator's own rules, queues and interfaces: a fault leaves them as they are, to the byte, and as they were changed
in mid fault. Of all that, only an interface of the host's that is gone takes something from the fault."""

import re

import pytest

from executor_rig import ExecutorRig
from rig import GATE_MS
from scenarios import assert_clean

FAULTS = {
    "network.block": {"cidrs": ["10.9.2.0/24", "fd00:9:2::/64"]},
    "zone.block": {"zone": "apse2-az2"},
    "network.shape": {"cidrs": ["10.9.2.0/24", "fd00:9:2::/64"], "rate_kbit": 64},
}
DURATION_MS = 2500
# An administrator's own: rules, a tuned device, and another device.
OWN = """nft add table inet admin
nft add chain inet admin out '{ type filter hook output priority 0; }'
nft add rule inet admin out ip daddr 192.0.2.77 counter drop
ip link add extra0 type veth peer name extra1; ip link set extra0 up; ip addr add 10.77.0.1/24 dev extra0
tc qdisc add dev eth0 root handle 7: htb default 1
tc class add dev eth0 parent 7: classid 7:1 htb rate 500mbit"""
SHOW = "nft list ruleset; tc qdisc; tc class show dev eth0; tc filter show dev eth0; ip -o link | cut -d: -f2"
# What somebody does in mid fault, and what is found of it.
CHANGES = {
    "nothing": (":", None),
    "rules flushed": ("nft flush ruleset || :", None),  # it passes over tables with an owner
    "rules reloaded": ("nft delete table inet admin; nft add table inet other", None),
    "an interface added": ("ip link add late0 type veth peer name late1", None),
    "an interface removed": ("ip link del extra0", "the device extra0 that was there is gone"),
    "a queue replaced": ("tc qdisc replace dev eth0 root handle 9: tbf rate 90mbit burst 20kb limit 200kb", None),
}


def of_others(rig, name):
    """What is there and not ours."""
    lines, is_ours = [], False
    for line in rig.host.sh(SHOW).stdout.splitlines():
        if line.startswith("table "):
            is_ours = "grivet-" in line
        if not is_ours and name not in line:
            lines.append(line)
        if line == "}":
            is_ours = False
    return lines


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("fault", FAULTS)
def test_changes_in_mid_fault(lab, fault, change):
    script, found = CHANGES[change]
    rig = ExecutorRig(lab)
    rig.host.sh(OWN)
    before = of_others(rig, "grivet-")
    rig.fault = fault, FAULTS[fault]
    rig.start(DURATION_MS)
    rig.courier.wait_event("fault.exercised", order=rig.order)
    name = f"grivet-{rig.order[-7:]}"
    assert of_others(rig, name) == before
    rig.host.sh(script)
    during = of_others(rig, name)
    assert rig.tables() and (during == before) == (change == "nothing")
    body = rig.told(10)
    assert body["is_interfered"] == bool(found) and re.fullmatch(found or "", body.get("interference", "")), body
    assert body["ended_by"] == "deadline" and body["revert_error_ms"] < GATE_MS
    assert rig.host.sh(SHOW).stdout.splitlines() == during
    rig.before = rig.traffic_control()
    assert_clean(rig)
