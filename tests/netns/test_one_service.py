"""Network faults for one service: by the cgroup of the socket that a packet belongs to. Everybody else's packets pass."""

import socket

import pytest

from netns.fault_rig import OTHER, net, start  # noqa: F401
from netns.services import services  # noqa: F401
from netns.test_network_shape import measure

ADDRESSES = pytest.mark.parametrize("address", ["10.9.0.2", "fd09::2"])


@ADDRESSES
def test_only_the_service_loses_its_connections(net, start, services, address):
    """Out and in; another cgroup beside it, and whoever has none, go on."""
    family, own = (socket.AF_INET6, "fd09::1") if ":" in address else (socket.AF_INET, "10.9.0.1")
    nginx, other = services("system.slice/nginx.service"), services("system.slice/other.service")
    assert nginx.tell("listen", own, 81) == other.tell("listen", own, 82) == "done"
    with net.listen(net.there, 80, family):
        assert nginx.connects(address, 80)
        driver = start("network.block", {"cidrs": ["10.9.0.0/24", "fd09::/64"], "cgroup": f"{services.top.name}/system.slice/nginx.service"})
        plan = driver.arm()
        path = f"/{services.top.name}/system.slice/nginx.service"
        assert plan["summary"][0].endswith(f", only of the cgroup {path}")
        assert any("the new cgroup is not reached" in words for words in plan["limits"])
        effect = driver.ask("exercise")
        assert effect["error"] == "no packet of the service was met yet"
        assert effect["directions"] == {"in": "armed", "out": "armed"} and "error" not in driver.ask("verify")
        assert net.connects(address, 80) and other.connects(address, 80) and net.connects(own, 82, net.there)
        assert driver.ask("measure")["out_packets"] == 0
        assert not nginx.connects(address, 80)
        effect = driver.ask("exercise")
        assert "error" not in effect and effect["directions"] == {"in": "armed", "out": "exercised"}
        assert effect["cgroup"] == path and not effect["cgroup_is_gone"]
        assert (f"[{address}]:80" if ":" in address else f"{address}:80") in effect["waiting"]
        assert not net.connects(own, 81, net.there)
        assert driver.ask("exercise")["directions"]["in"] == "exercised"
        driver.end()
        assert nginx.connects(address, 80) and net.connects(own, 81, net.there)


def test_a_cgroup_below_is_the_service_too(net, start, services):
    worker, name = services("web.service/workers/1"), f"{services.top.name}/web.service"
    with net.listen(net.there, 80):
        driver = start("zone.block", {"zone": "az1", "cgroup": name})
        driver.arm()
        assert driver.ask("exercise")["error"] and net.connects("10.9.0.2", 80)
        assert not worker.connects("10.9.0.2", 80)
        assert driver.ask("exercise")["view"] == "outside"
        driver.kill()
        assert worker.connects("10.9.0.2", 80) and "grivet-" not in net.ruleset()


@ADDRESSES
def test_udp_of_the_service_is_lost_in_silence(net, start, services, address):
    """Chosen in output, dropped at the device: the sender hears of nothing (no EPERM)."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    service = services("dns.service")
    with net.listen(net.there, 5000, family, socket.SOCK_DGRAM) as server, \
            net.open(net.here, family, socket.SOCK_DGRAM, OTHER) as client:
        driver = start("network.block", {"cidrs": ["10.9.0.0/24", "fd09::/64"], "protocol": "udp",
                                         "cgroup": f"{services.top.name}/dns.service"})
        driver.arm()
        assert service.tell("send", address, 5000) == "done"
        with pytest.raises(TimeoutError):
            server.recv(2000)
        client.sendto(b"other", (address, 5000))
        assert server.recv(2000) == b"other"
        assert driver.ask("exercise")["directions"]["out"] == "exercised"
        driver.end()


def test_only_the_service_is_shaped(net, start, services):
    service = services("slow.service")
    driver = start("network.shape", {"cidrs": ["10.9.0.0/24"], "direction": "out", "rate_kbit": 100,
                                     "cgroup": f"/{services.top.name}/slow.service"})
    driver.arm()
    assert measure(net, "10.9.0.2", "out", seconds=0.5) > 5000
    assert driver.ask("exercise")["error"] and driver.ask("measure")["out_packets"] == 0
    assert service.tell("flood", "10.9.0.2", 5000) == "done"
    effect = driver.ask("exercise")
    assert effect["out_packets"] >= 90 and effect["directions"] == {"out": "exercised"}
    driver.end()


def test_a_restarted_service_is_not_reached_and_the_report_says_so(net, start, services):
    service = services("again.service")
    with net.listen(net.there, 80):
        driver = start("network.block", {"cidrs": ["10.9.0.0/24"], "cgroup": f"{services.top.name}/again.service"})
        driver.arm()
        assert not service.connects("10.9.0.2", 80) and not driver.ask("measure")["cgroup_is_gone"]
        service.stop()
        assert driver.ask("measure")["cgroup_is_gone"]
        service = services("again.service")
        assert driver.ask("measure")["cgroup_is_gone"], "another of the same name"
        assert service.connects("10.9.0.2", 80) and "error" not in driver.ask("verify")
        driver.end()


def test_lifeline_outweighs_the_service(net, start, services):
    service = services("ssh.service")
    assert service.tell("listen", "10.9.0.1", 22) == service.tell("listen", "10.9.0.1", 23) == "done"
    driver = start("zone.block", {"zone": "az1", "cgroup": f"{services.top.name}/ssh.service"}, zone="az1")
    driver.arm()
    assert net.connects("10.9.0.1", 22, net.there) and not net.connects("10.9.0.1", 23, net.there)
    driver.end()


@pytest.mark.parametrize("fault, parameters, words", [
    ("network.block", {"cgroup": "absent.service"}, "no cgroup's path ends in absent.service: is the service running?"),
    ("network.block", {"cgroup": "wice-of-ours.service"}, "no cgroup's path ends in wice-of-ours.service"),
    ("network.block", {"cgroup": "twice-of-ours.service"}, "the paths of 2 cgroups end in twice-of-ours.service, one of them /"),
    ("network.shape", {"cgroup": "b/twice-of-ours.service", "rate_kbit": 100}, "give direction: out"),
    ("network.shape", {"cgroup": "b/twice-of-ours.service", "rate_kbit": 100, "direction": "in"}, "give direction: out"),
])
def test_refused(net, start, services, fault, parameters, words):
    for path in ("a/twice-of-ours.service", "b/twice-of-ours.service", "c"):
        services(path)
    assert words in start(fault, {"cidrs": ["10.9.0.0/24"], **parameters}).read("error")
    assert net.ruleset() == ""
