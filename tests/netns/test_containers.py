"""scope of network faults: the host's own packets, those that it forwards for a container on a bridge, or both; and that an
own packet shows what happens to forwarded ones."""

import json
import os
import signal
import socket
import subprocess
import time

import pytest

from lab.host import BUILD, wait_until
from netns.fault_rig import BYSTANDER, COURIER, OTHER, ZONES, net, start, undo  # noqa: F401
from netns.test_network_shape import family_of, measure

ADDRESSES = pytest.mark.parametrize("address", ["10.9.0.2", "fd09::2"])
SCOPES = pytest.mark.parametrize("scope", ["host", "containers", "all"])
TARGETS = ["10.9.0.0/24", "fd09::/64"]


class Box:
    """A container: a namespace on a bridge of `here`, which forwards for it."""

    def __init__(self, net):
        self.net, self.name = net, net.here + "b"
        net.ip("netns", "add", self.name)
        self.here("ip link add br0 type bridge; ip link set br0 up; ip addr add 172.30.0.1/24 dev br0;"
                  "ip addr add fd30::1/64 dev br0 nodad; ip link add port type veth peer name eth netns " + self.name + ";"
                  "ip link set port master br0 up; echo 1 >/proc/sys/net/ipv4/ip_forward;"
                  "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding")
        self.run(self.name, "ip link set lo up; ip addr add 172.30.0.2/24 dev eth; ip addr add fd30::2/64 dev eth nodad;"
                            "ip link set eth up; ip route add default via 172.30.0.1; ip route add default via fd30::1")
        self.run(net.there, "ip route add 172.30.0.0/24 via 10.9.0.1; ip route add fd30::/64 via fd09::1")
        wait_until(lambda: self.reaches("10.9.0.2") and self.reaches("fd09::2"), 10, "the box to reach the other side")

    def reaches(self, address):
        try:
            return self.connects(address, 7)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False

    def run(self, name, words):
        self.net.ip("netns", "exec", name, "sh", "-ec", words)

    def here(self, words):
        self.run(self.net.here, words)

    def own(self, address):
        return "fd30::2" if ":" in address else "172.30.0.2"

    def connects(self, address, port):
        return self.net.connects(address, port, self.name)

    def datagram_passes(self, address, port, direction="out"):
        family = family_of(address)
        with self.net.open(self.name, family, socket.SOCK_DGRAM) as near, \
                self.net.open(self.net.there, family, socket.SOCK_DGRAM) as far:
            sender, receiver, to = (near, far, address) if direction == "out" else (far, near, self.own(address))
            receiver.bind((to, port))
            sender.sendto(b"one", (to, port))
            try:
                return receiver.recv(10) == b"one"
            except TimeoutError:
                return False

    def forward(self, word):
        self.here(f"echo {word} >/proc/sys/net/ipv4/ip_forward; echo {word} >/proc/sys/net/ipv6/conf/all/forwarding")


@pytest.fixture
def box(net):
    made = Box(net)
    yield made
    net.ip("netns", "del", made.name)


def routes(net):
    """But for those that a device makes by itself some time after it was brought up."""
    lines = "".join(os.popen(f"ip -n {net.here} {family} route show table all").read() for family in ("-4", "-6")).splitlines()
    return [line for line in lines if "grivet-" in line or ("fe80:" not in line and "ff00:" not in line)]


@SCOPES
@ADDRESSES
def test_whose_connections_are_cut(net, start, box, scope, address):
    """Out and in; what is not in the scope goes on, and a list tells what forwarded packets wanted to reach."""
    family, is_host, is_box = family_of(address), scope != "containers", scope != "host"
    own = "fd09::1" if ":" in address else "10.9.0.1"
    with net.listen(net.there, 80, family), net.listen(net.there, 90, family), net.listen(net.here, 81, family), \
            net.listen(box.name, 82, family):
        driver = start("network.block", {"cidrs": TARGETS, "scope": scope})
        driver.arm()
        assert "error" not in driver.ask("verify")
        assert net.connects(address, 80) != is_host and net.connects(own, 81, net.there) != is_host
        assert box.connects(address, 90) != is_box and net.connects(box.own(address), 82, net.there) != is_box
        assert box.datagram_passes(address, 5000, "out") != is_box and box.datagram_passes(address, 5000, "in") != is_box
        effect = driver.ask("measure")
        shown = "[{}]:{}" if ":" in address else "{}:{}"
        assert (shown.format(address, 80) in effect["waiting"]) == is_host
        assert (shown.format(address, 90) in effect["waiting"]) == is_box
        assert effect["directions"]["in"] == "exercised" and effect.get("forwarded") == ("exercised" if is_box else None)
        driver.end()
        assert net.connects(address, 80) and box.connects(address, 90) and net.connects(box.own(address), 82, net.there)


@pytest.mark.parametrize("scope", ["containers", "all"])
@pytest.mark.parametrize("more", [{}, {"protocol": "udp"}, {"protocol": "tcp", "ports": [443]}, {"cidrs": ["10.9.0.0/24"]},
                                  {"cidrs": ["fd09::/64"]}])
def test_an_own_packet_shows_it(net, start, box, scope, more):
    """Nobody sends anything; reverse paths are checked, and the host's firewall forwards nothing and lets nothing of its own out."""
    box.here("echo 1 >/proc/sys/net/ipv4/conf/all/rp_filter; echo 1 >/proc/sys/net/ipv4/conf/default/rp_filter;"
             "nft add table inet strict; nft 'add chain inet strict f { type filter hook forward priority 0; policy drop; }'")
    if scope == "containers":
        box.here("nft 'add chain inet strict o { type filter hook output priority 0; policy drop; }'; nft add rule inet strict o oif lo accept")
    driver = start("network.block", {"cidrs": TARGETS, "scope": scope, "direction": "out", **more})
    driver.arm()
    effect = driver.ask("exercise")
    assert "error" not in effect and effect["directions"] == {"out": "exercised"}
    assert effect["forwarded"] == "exercised" and effect["forwarded_packets"] >= 1 and effect["waiting"] == []
    driver.end()


def test_without_the_probe_it_is_a_failure(net, start, box):
    """What keeps own packets from being forwarded is not overlooked."""
    box.here("nft add table ip early; nft 'add chain ip early p { type filter hook prerouting priority -300; }';"
             "nft add rule ip early p ip saddr 198.18.0.0/15 drop")
    driver = start("network.block", {"cidrs": ["10.9.0.0/24"], "scope": "all"})
    driver.arm()
    effect = driver.ask("exercise")
    assert effect["error"].startswith("none of 3 own packets to the addresses was forwarded and dropped")
    driver.end()


@pytest.mark.parametrize("fault, more", [
    ("network.block", {}), ("network.block", {"direction": "in"}), ("network.shape", {"rate_kbit": 1000}),
    ("network.shape", {"rate_kbit": 1000, "direction": "in"})])
@pytest.mark.parametrize("way", ["end", "kill"])
def test_contract(net, start, box, fault, more, way):
    """What others have on the host is the same to the byte, routes included, and nothing of ours is left."""
    net.nft("-f", "-", text=BYSTANDER)
    before = net.ruleset(), net.links(), routes(net)
    driver = start(fault, {"cidrs": TARGETS, "scope": "containers", **more})
    driver.arm()
    effect = driver.ask("exercise")
    if "direction" in more:
        assert effect["error"] == "nothing has come in yet" and effect["directions"] == {"in": "armed"}
        box.datagram_passes("10.9.0.2", 5000, "in")
        effect = driver.ask("exercise")
        assert effect["directions"] == {"in": "exercised"}
    else:
        assert effect["directions"] == {"in": "armed", "out": "exercised"} and "grivet-" in net.links()
    assert "error" not in effect and "error" not in driver.ask("verify")
    driver.end() if way == "end" else driver.kill()
    assert net.ruleset() == before[0], "what its holder owns goes with it"
    if way == "kill" and net.links() != before[1]:
        assert undo(net, driver.folder) == (0, "0 strays"), "a record explains them"
        assert undo(net, driver.folder, driver.order) == (0, "done")
    assert net.links() == before[1] and routes(net) == before[2]


def test_the_deadline_ends_it(net, start, box):
    """The driver can do nothing: the elements' timeouts."""
    began = time.monotonic()
    with net.listen(net.there, 80), net.listen(net.there, 80, socket.AF_INET6):
        driver = start("network.block", {"cidrs": TARGETS, "scope": "containers"}, duration_ms=3000)
        driver.arm()
        driver.process.send_signal(signal.SIGSTOP)
        assert not box.connects("10.9.0.2", 80) and not box.connects("fd09::2", 80)
        wait_until(lambda: time.monotonic() > began + 3.2, 5)
        assert "grivet-" in net.ruleset() and box.connects("10.9.0.2", 80) and box.connects("fd09::2", 80)


def test_only_what_was_named(net, start, box):
    """One direction, one protocol, one port."""
    with net.listen(net.there, 80), net.listen(net.there, 81):
        driver = start("network.block", {"cidrs": TARGETS, "scope": "containers", "ports": [80, 5000]})
        driver.arm()
        assert not box.connects("10.9.0.2", 80) and box.connects("10.9.0.2", 81)
        assert not box.datagram_passes("10.9.0.2", 5000) and box.datagram_passes("10.9.0.2", 5001)
        driver.end()
        driver = start("network.block", {"cidrs": TARGETS, "scope": "containers", "direction": "in", "protocol": "udp"})
        driver.arm()
        assert box.datagram_passes("10.9.0.2", 5000, "out") and not box.datagram_passes("10.9.0.2", 5000, "in")
        assert box.connects("10.9.0.2", 80)
        driver.end()


def test_a_dead_zone_with_its_containers(net, start, box):
    """Everything but the lifeline: the host's own, and in forward the coordinators, SSH and what is protected. Not DNS."""
    with net.listen(net.there, 8443), net.listen(net.there, 53), net.listen(net.there, 80), net.listen(box.name, 22), \
            net.listen(box.name, 2222), net.listen(net.there, 443):
        driver = start("zone.block", {"zone": "az1", "scope": "all"}, zone="az1")
        plan = driver.arm()
        assert plan["summary"][0].endswith(", of the host and of what it forwards") and plan["is_victim"]
        assert net.connects("10.9.0.2", 8443, uid=COURIER) and not net.connects("10.9.0.2", 8443, uid=OTHER)
        assert net.connects("10.9.0.2", 53) and not net.connects("10.9.0.2", 80)
        assert box.connects("10.9.0.2", 8443) and not box.connects("10.9.0.2", 53) and not box.connects("10.9.0.2", 80)
        assert net.connects("172.30.0.2", 22, net.there) and not net.connects("172.30.0.2", 2222, net.there)
        effect = driver.ask("exercise")
        assert "error" not in effect and effect["directions"]["out"] == effect["forwarded"] == "exercised"
        driver.end()
        driver = start("zone.block", {"zone": "az1", "scope": "all", "isolate": "full"}, zone="az1")
        driver.arm()
        assert not box.connects("10.9.0.2", 8443) and not net.connects("172.30.0.2", 22, net.there)
        driver.end()
        driver = start("zone.block", {"zone": "az1", "scope": "containers"}, zone="az1", protected_cidrs=["10.9.0.2"])
        driver.arm()
        assert box.connects("10.9.0.2", 80) and net.connects("172.30.0.2", 2222, net.there)
        driver.end()


@SCOPES
@pytest.mark.parametrize("direction", ["out", "in"])
@ADDRESSES
def test_whose_packets_are_shaped(net, start, box, scope, direction, address):
    driver = start("network.shape", {"cidrs": TARGETS, "rate_kbit": 400, "scope": scope})
    driver.arm()
    effect = driver.ask("exercise")
    assert "error" not in effect and effect["directions"]["out"] == "exercised"
    before = driver.ask("measure")[f"{direction}_packets"]
    of_box = measure(net, address, direction, seconds=1, near=(box.name, box.own(address)))
    between = driver.ask("measure")[f"{direction}_packets"]
    of_host = measure(net, address, direction, seconds=1)
    print(f"400 kbit/s {direction} of {scope}: the box {of_box:.0f}, the host {of_host:.0f}")
    assert (360 < of_box < 440) if scope != "host" else of_box > 800
    assert (360 < of_host < 440) if scope != "containers" else of_host > 800
    assert (between == before) == (scope == "host")
    assert (driver.ask("measure")[f"{direction}_packets"] == between) == (scope == "containers")
    driver.end()


def test_a_packet_is_shaped_once(net, start, box):
    """At the bridge, and not at its port again."""
    driver = start("network.shape", {"cidrs": TARGETS, "rate_kbit": 8000, "scope": "containers", "direction": "in"})
    driver.arm()
    for _ in range(20):
        assert box.datagram_passes("10.9.0.2", 5000, "in")
    assert driver.ask("measure")["in_packets"] == 20
    driver.end()


def test_where_nothing_is_forwarded(net, start, box):
    """`containers` is refused, `all` says it and does the rest; half of it is said as well."""
    box.forward(0)
    assert "this host forwards no packets to such addresses" in \
        start("network.block", {"cidrs": TARGETS, "scope": "containers"}).read("error")
    driver = start("network.block", {"cidrs": TARGETS, "scope": "all", "direction": "out"})
    limits = " ".join(driver.arm()["limits"])
    assert "IPv4 is not forwarded on this host" in limits and "IPv6 is not forwarded on this host" in limits
    effect = driver.ask("exercise")
    assert effect["directions"] == {"out": "exercised"} and effect["forwarded"] == "armed" and "grivet-" not in net.links()
    driver.end()
    box.here("echo 1 >/proc/sys/net/ipv6/conf/all/forwarding")
    assert "forwards no packets" in start("network.block", {"cidrs": ["10.9.0.0/24"], "scope": "containers"}).read("error")
    driver = start("network.block", {"cidrs": TARGETS, "scope": "containers", "direction": "out"})
    limits = " ".join(driver.arm()["limits"])
    assert "IPv4 is not forwarded on this host" in limits and "IPv6 is not" not in limits
    assert driver.ask("exercise")["forwarded"] == "exercised"
    driver.end()


def test_one_device_may_forward(net, start, box):
    """Forwarding is of single devices in IPv4, and off for new ones."""
    box.here("echo 0 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv4/conf/br0/forwarding")
    driver = start("network.block", {"cidrs": ["10.9.0.0/24"], "scope": "containers", "direction": "out"})
    driver.arm()
    assert driver.ask("exercise")["forwarded"] == "exercised"
    driver.end()


def test_two_at_once_and_loopback(net, start, box):
    """Each takes its own packets from loopback, and nobody else's."""
    with net.listen(net.here, 80), net.listen(net.here, 80, socket.AF_INET6):
        drivers = []
        for address in ("10.9.0.2", "10.9.0.3"):
            drivers.append(start("network.block", {"cidrs": [address], "scope": "containers", "direction": "out", "ports": [80]}))
            drivers[-1].arm()
        assert [driver.ask("exercise")["forwarded"] for driver in drivers] == ["exercised"] * 2
        assert net.connects("127.0.0.1", 80) and net.connects("::1", 80)
        for driver in drivers:
            driver.end()


def test_a_wire_that_somebody_cut(net, start, box):
    driver = start("network.block", {"cidrs": TARGETS, "scope": "containers"})
    driver.arm()
    net.ip("-n", net.here, "link", "del", f"grivet-{driver.order[-7:]}q")
    assert "error" not in driver.ask("verify") and not box.connects("10.9.0.2", 80)
    driver.end()
    assert "grivet-" not in net.links()


@pytest.mark.parametrize("fault, parameters, words", [
    ("network.block", {"cgroup": "a.service"}, "goes with scope: host alone"),
    ("network.shape", {"cgroup": "a.service", "direction": "out", "rate_kbit": 100}, "goes with scope: host alone"),
    ("network.block", {"isolate": "full"}, "isolate: full is of the host itself"),
])
def test_refused(net, start, fault, parameters, words):
    assert words in start(fault, {"cidrs": TARGETS, "scope": "containers", **parameters}).read("error")


def test_doctor_says_what_is_forwarded(net, box):
    def says():
        done = subprocess.run(["ip", "netns", "exec", net.here, BUILD / "cli/grivet", "doctor", "-o", "json"],
                              capture_output=True, text=True, timeout=20)
        return next((check["level"], check["text"]) for check in json.loads(done.stdout) if check["check"] == "containers")

    net.ip("-n", net.here, "link", "add", "docker0", "type", "bridge")
    assert says() == ("ok", "docker0: IPv4 and IPv6 are forwarded here, and reached by scope: containers or all")
    box.forward(0)
    assert says() == ("warn", "docker0: nothing is forwarded here: scope: containers reaches nothing, and is refused")
