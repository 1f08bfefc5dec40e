"""The lab without Grivet: a zone cut off at its router, what the balancer and the replacer make of it."""

import json

import pytest

from lab.host import LabError, wait_until
from lab.replacer import Balancer, Replacer
from lab.zones import Zones

CUT = "add table inet cut; add chain inet cut f { type filter hook forward priority 0; policy drop; }"


def get(host, url):
    return json.loads(host.run(["curl", "-sS", "--max-time", "3", url]).stdout)


def lose_zone(zones):
    """Cuts zone 1 off at its router until two replacements are there; returns them."""
    zones.start()
    zones.wait_in_service()
    zones.routers[1].run(["nft", CUT])
    replacer = Replacer(zones, grace_s=0.5)

    def has_replaced():
        replacer.step()
        return len(replacer.replaced) == 2
    wait_until(has_replaced, 10, "two replacements", interval=0.1)
    return list(replacer.replaced.values())


def test_service_answers_as_operators_expect(lab):
    zones = Zones(lab)
    zones.start()
    zones.wait_in_service()
    assert get(zones.client, "http://10.0.0.5/health") == {
        "BuildVersion": "1.0.0", "DatabaseConnectivity": True, "MaintenanceMode": False}
    tests = get(zones.observer, "http://[fd00:3::12]/test")
    assert [test["Success"] for test in tests["Tests"]] == [True, True]
    assert set(tests["Tests"][0]) == {"Name", "Description", "Endpoint", "Success", "Error"}
    assert get(zones.client, "http://10.1.0.11/statistics") == {"data": {"customers": {"count": 57}}}

    victim = zones.instances["i-az1-1"].host
    victim.write("/run/release/customers.json", "[]")
    answer = zones.client.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://10.1.0.11/health"])
    assert answer.stdout == "503"
    balancer = Balancer(zones.balancer)
    wait_until(lambda: balancer.servers()[0]["status"] == "DOWN", 5, "the balancer to notice")


def test_replacements_come_into_service(lab):
    zones = Zones(lab, deployment_zones=(1, 2))
    replacements = lose_zone(zones)
    assert {instance.zone for instance in replacements} == {2, 3}
    zones.wait_in_service(6, timeout=10)
    slots = {server["address"]: server["is_in_service"] for server in Balancer(zones.balancer).servers()}
    assert all(slots[instance.address] for instance in replacements)


def test_replacements_wait_for_the_dead_zone(lab):
    zones = Zones(lab, deployment_zones=(1,))
    replacements = lose_zone(zones)
    for instance in replacements:
        instance.host.wait_for(lambda host=instance.host: "10.1.0.9" in host.log("fetch"), what="a failed fetch")
    with pytest.raises(LabError):
        zones.wait_in_service(5, timeout=2)
    zones.routers[1].run(["nft", "delete", "table", "inet", "cut"])
    zones.wait_in_service(8, timeout=10)
