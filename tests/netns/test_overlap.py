"""Two network faults at once that are about the same packets: each shows its own effect, and goes on when the other ends."""

import socket

import pytest

from netns.fault_rig import net, start  # noqa: F401
from netns.test_containers import TARGETS, box  # noqa: F401

ALL, TCP, UDP = ({"cidrs": TARGETS, "direction": "out", "protocol": protocol} for protocol in ("any", "tcp", "udp"))
PAIRS = {
    "two blocks": (("network.block", ALL), ("network.block", ALL)),
    "of UDP": (("network.block", UDP), ("network.block", UDP)),
    "one of TCP": (("network.block", TCP), ("network.block", ALL)),
    "a zone and a block": (("zone.block", {"zone": "az1"}), ("network.block", ALL)),
    "a block and a shape": (("network.block", ALL), ("network.shape", {**ALL, "rate_kbit": 1000})),
    "UDP and a shape": (("network.block", UDP), ("network.shape", {**ALL, "rate_kbit": 1000})),
}


def armed(start, faults):  # noqa: F811
    drivers = []
    for fault, parameters in faults:
        drivers.append(start(fault, parameters))
        drivers[-1].arm()
    return drivers


def exercised(driver):
    effect = driver.ask("exercise")
    assert "error" not in effect and effect["directions"]["out"] == "exercised", effect
    return effect


@pytest.mark.parametrize("is_turned", [False, True])
@pytest.mark.parametrize("pair", PAIRS)
def test_each_shows_its_own_effect(net, start, pair, is_turned):  # noqa: F811
    """Whichever the kernel asks first. Nobody waits for what the other's own packets tried to reach."""
    drivers = armed(start, reversed(PAIRS[pair]) if is_turned else PAIRS[pair])
    for driver in drivers:
        assert not exercised(driver).get("waiting")
        assert "error" not in driver.ask("verify")
    for driver in drivers:
        driver.end()


def test_what_is_left_blocks_by_itself(net, start):  # noqa: F811
    with net.listen(net.there, 80), net.open(net.there, socket.AF_INET, socket.SOCK_DGRAM) as far:
        far.bind(("10.9.0.2", 5000))
        for driver in armed(start, PAIRS["a zone and a block"]):
            assert not net.connects("10.9.0.2", 80)
            exercised(driver)
            with net.open(net.here, socket.AF_INET, socket.SOCK_DGRAM) as near, pytest.raises(TimeoutError):
                near.sendto(b"one", ("10.9.0.2", 5000))
                far.recv(10)  # not even an own packet of the other
            driver.end()
        assert net.connects("10.9.0.2", 80)


@pytest.mark.parametrize("pair", ["two blocks", "a block and a shape"])
def test_what_is_forwarded(net, start, box, pair):  # noqa: F811
    """The own packets that come in again show each order's effect as well."""
    drivers = armed(start, [(fault, {**parameters, "scope": "all"}) for fault, parameters in PAIRS[pair]])
    for driver in drivers:
        assert exercised(driver)["forwarded"] == "exercised"
    for driver in drivers:
        driver.end()
