"""isolate: full: with it nothing but loopback passes, from outside or inside, until the deadline; without it the lifeline does."""

import signal
import socket

import pytest

from lab.host import wait_until
from netns.fault_rig import COURIER, LIFELINE, OTHER, net, start  # noqa: F401

FAULTS = pytest.mark.parametrize("fault, parameters", [
    ("zone.block", {"zone": "az1"}), ("network.block", {"cidrs": ["0.0.0.0/0", "::/0"]})])


class Lifeline:
    """Servers for every part of it that can be seen from outside or from a program; passing() says what gets through."""

    def __init__(self, net):
        self.net = net
        self.servers = [net.listen(net.there, port, family) for port in (8443, 53)
                        for family in (socket.AF_INET, socket.AF_INET6)]
        self.servers += [net.listen(net.here, 22, family) for family in (socket.AF_INET, socket.AF_INET6)]
        self.udp = {port: net.listen(net.there, port, kind=socket.SOCK_DGRAM) for port in (53, 67, 123)}
        self.held = net.open(net.here, socket.AF_INET, socket.SOCK_STREAM, COURIER)
        self.held.connect(("10.9.0.2", 8443))
        self.servers += [self.held, *self.udp.values()]

    def datagram_passes(self, port):
        with self.net.open(self.net.here, socket.AF_INET, socket.SOCK_DGRAM, OTHER) as client:
            if port == 67:
                client.bind(("10.9.0.1", 68))
            client.sendto(b"query", ("10.9.0.2", port))
            self.udp[port].settimeout(0.2)
            try:
                return self.udp[port].recv(10) == b"query"
            except TimeoutError:
                return False

    def passing(self):
        connects = self.net.connects
        ways = {"poll": connects("10.9.0.2", 8443, uid=COURIER), "poll6": connects("fd09::2", 8443, uid=COURIER),
                "dns tcp": connects("10.9.0.2", 53), "ssh": connects("10.9.0.1", 22, self.net.there),
                "ssh6": connects("fd09::1", 22, self.net.there)}
        ways |= {f"udp {port}": self.datagram_passes(port) for port in self.udp}
        return {name for name, passes in ways.items() if passes}

    def close(self):
        for server in self.servers:
            server.close()


@pytest.fixture
def lifeline(net):
    made = Lifeline(net)
    yield made
    made.close()


ALL = {"poll", "poll6", "dns tcp", "ssh", "ssh6", "udp 53", "udp 67", "udp 123"}
SERVED = {**LIFELINE, "time_servers": ["0.0.0.0/0"]}


@FAULTS
def test_without_it_the_lifeline_stays(net, start, lifeline, fault, parameters):
    assert lifeline.passing() == ALL
    driver = start(fault, {**parameters, "isolate": "none"}, zone="az1", lifeline=SERVED)
    plan = driver.arm()
    assert lifeline.passing() == ALL and "ISOLATION" not in str(plan)
    driver.end()


@FAULTS
def test_with_it_nothing_passes_until_the_deadline(net, start, lifeline, fault, parameters):
    """The driver can do nothing at the deadline: the kernel gives the lifeline back."""
    driver = start(fault, {**parameters, "isolate": "full"}, zone="az1", lifeline=SERVED, duration_ms=6000)
    plan = driver.arm()
    assert plan["summary"][0].startswith("ISOLATION: THE LIFELINE IS CUT TOO.") and "but for the lifeline" not in str(plan)
    assert "error" not in driver.ask("verify") and driver.ask("exercise")["directions"]["out"] == "exercised"
    driver.process.send_signal(signal.SIGSTOP)
    assert lifeline.passing() == set()
    assert net.connects("127.0.0.1", 22) and net.connects("10.9.0.1", 22) and net.connects("fd09::1", 22)
    lifeline.held.send(b"late")
    wait_until(lambda: net.connects("10.9.0.2", 8443, uid=COURIER, timeout=0.1), 8, "the end at the deadline")
    assert lifeline.passing() == ALL and "grivet-" in net.ruleset()


def test_it_ends_with_its_holder(net, start, lifeline):
    driver = start("zone.block", {"zone": "az1", "isolate": "full"}, zone="az1", lifeline=SERVED)
    driver.arm()
    assert lifeline.passing() == set()
    driver.kill()
    assert lifeline.passing() == ALL


def test_only_towards_the_zone_and_not_what_is_protected(net, start, lifeline):
    """A host outside loses what the zone has of its lifeline. What the policy protects stays even so."""
    driver = start("zone.block", {"zone": "az1", "isolate": "full"}, lifeline=SERVED)
    driver.arm()
    assert lifeline.passing() == set()
    driver.end()
    driver = start("zone.block", {"zone": "az2", "isolate": "full"}, lifeline=SERVED)
    driver.arm()
    assert lifeline.passing() == ALL
    driver.end()
    driver = start("zone.block", {"zone": "az1", "isolate": "full"}, lifeline=SERVED, protected_cidrs=["10.9.0.2/32"])
    driver.arm()
    assert lifeline.passing() == {way for way in ALL if "6" not in way or "udp" in way}
    driver.end()
