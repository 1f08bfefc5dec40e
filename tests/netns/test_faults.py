"""The contract of every fault, in a network namespace of its own: check, plan, inject, verify, exercise, then the
driver is killed, stopped or asked to end, and the host has to be as before."""

import pathlib
import signal
import socket
import subprocess
import time
import uuid

import pytest

from lab.host import BUILD, wait_until
from netns.fault_rig import (BYSTANDER, COURIER, EXAMPLES, LIFELINE, OTHER, ZONES, burners, own_parameters,  # noqa: F401
                             spawn, undo, net, start)


def registry():
    return sorted(EXAMPLES)


def test_every_fault_has_an_example():
    words = (pathlib.Path(__file__).parents[2] / "faults/meson.build").read_text().split("[")[1].split("]")[0]
    assert sorted(EXAMPLES) == sorted(word.strip(" '\n").replace("-", ".") for word in words.split(","))


@pytest.mark.parametrize("fault", registry())
@pytest.mark.parametrize("way", ["end", "kill"])
def test_contract(net, start, fault, way):
    """Armed, exercised, over: what others have on the host is the same to the byte, and nothing of ours is left."""
    net.nft("-f", "-", text=BYSTANDER)
    before = net.ruleset(), net.links()
    victims = spawn()
    driver = start(fault, own_parameters(fault))
    try:
        plan = driver.arm()
        assert plan["summary"] and "error" not in driver.ask("verify")
        effect = wait_until(lambda: (e := driver.ask("exercise")) and "error" not in e and e, 3)
        if fault == "process.kill":
            assert effect["processes"] == [{"pid": victims[0].pid, "exe": "/usr/bin/sleep", "is_gone": True}]
            assert victims[0].wait(1) == -signal.SIGKILL
        elif fault == "cpu.burn":
            assert effect["cpus"] == 1 and burners(driver.order)
        else:
            assert effect["directions"]["out"] == "exercised" and effect.get("waiting", []) == []
            assert "grivet-" in net.ruleset() and ("grivet-" in net.links()) == (fault == "network.shape")
        if fault != "process.kill":
            driver.end() if way == "end" else driver.kill()
    finally:
        for victim in victims:
            victim.kill()
            victim.wait()
    assert net.ruleset() == before[0], "what its holder owns goes with it"
    if net.links() != before[1]:
        assert way == "kill" and undo(net, driver.folder, driver.order) == (0, "done")
    assert net.links() == before[1]
    wait_until(lambda: not burners(driver.order), 1, "the burners to die with their holder")


@pytest.mark.parametrize("address", ["10.9.0.2", "fd09::2"])
def test_blocks_tcp_both_ways_and_lets_it_resume(net, start, address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    own = "fd09::1" if ":" in address else "10.9.0.1"
    with net.listen(net.there, 80, family) as server, net.listen(net.here, 81, family), \
            net.open(net.here, family, socket.SOCK_STREAM, OTHER) as client:
        client.connect((address, 80))
        held, _ = server.accept()
        driver = start("zone.block", {"zone": "az1"})
        driver.arm()
        assert not net.connects(address, 80)
        assert not net.connects(own, 81, net.there)
        client.send(b"late")
        held.settimeout(0.3)
        with pytest.raises(TimeoutError):
            held.recv(10)
        effect = driver.ask("measure")
        shown = f"[{address}]:80" if ":" in address else f"{address}:80"
        assert shown in effect["waiting"]
        assert effect["view"] == "outside" and effect["in_packets"] >= 1 and effect["out_packets"] >= 2
        assert effect["directions"]["in"] == "exercised"
        driver.end()
        assert net.connects(address, 80)
        held.settimeout(5)
        assert held.recv(10) == b"late"
        held.close()


@pytest.mark.parametrize("address", ["10.9.0.2", "fd09::2"])
def test_udp_is_lost_in_silence(net, start, address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with net.listen(net.there, 5000, family, socket.SOCK_DGRAM) as server, \
            net.open(net.here, family, socket.SOCK_DGRAM, OTHER) as client:
        client.sendto(b"before", (address, 5000))
        assert server.recv(10) == b"before"
        driver = start("network.block", {"cidrs": ZONES["az1"], "protocol": "udp"})
        driver.arm()
        assert "error" not in driver.ask("exercise")
        client.sendto(b"during", (address, 5000))  # EPERM would be raised here
        client.connect((address, 5000))
        client.send(b"during")
        with pytest.raises(TimeoutError):
            server.recv(10)
        driver.end()
        client.send(b"after")
        assert server.recv(10) == b"after"


def exchange(client, held, text):
    """Can @text go there and back?"""
    for one, other in ((client, held), (held, client)):
        one.send(text)
        other.settimeout(0.3)
        try:
            if other.recv(20) != text:
                return False
        except TimeoutError:
            return False
    return True


@pytest.mark.parametrize("address", ["10.9.0.2", "fd09::2"])
def test_lifeline_of_the_courier_survives_a_dead_zone(net, start, address):
    """A poll held since before the fault goes on both ways; nobody else's does, and the prober's neither."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    pairs = {}
    with net.listen(net.there, 8443, family) as server:
        for uid in (COURIER, OTHER):
            client = net.open(net.here, family, socket.SOCK_STREAM, uid)
            client.connect((address, 8443))
            pairs[uid] = client, server.accept()[0]
        driver = start("zone.block", {"zone": "az1"}, zone="az1")
        plan = driver.arm()
        assert plan["is_victim"] and "az1" in plan["summary"][0]
        assert exchange(*pairs[COURIER], b"held")
        assert not exchange(*pairs[OTHER], b"held")
        assert net.connects(address, 8443, uid=COURIER)
        assert not net.connects(address, 8443, uid=OTHER)
        assert driver.ask("exercise")["view"] == "inside"
        driver.end()
        for pair in pairs.values():
            for one in pair:
                one.close()


def test_lifeline_ssh_dns_and_loopback(net, start):
    with net.listen(net.here, 22), net.listen(net.here, 2222), net.listen(net.there, 53), \
            net.listen(net.there, 54), net.listen(net.there, 53, kind=socket.SOCK_DGRAM) as resolver, \
            net.open(net.here, socket.AF_INET, socket.SOCK_DGRAM, OTHER) as client:
        driver = start("zone.block", {"zone": "az1"}, zone="az1")
        driver.arm()
        assert net.connects("10.9.0.1", 22, net.there)
        assert not net.connects("10.9.0.1", 2222, net.there)
        assert net.connects("127.0.0.1", 2222) and net.connects("10.9.0.1", 2222)
        assert net.connects("10.9.0.2", 53) and not net.connects("10.9.0.2", 54)
        client.sendto(b"query", ("10.9.0.2", 53))
        data, sender = resolver.recvfrom(10)
        resolver.sendto(data, sender)
        assert client.recv(10) == b"query"
        driver.end()


def test_lifeline_of_any_time_server(net, start):
    """Both ways, whoever asks, and nothing beside it: the port next to it stays silent."""
    lifeline = {**LIFELINE, "time_servers": ["0.0.0.0/0", "::/0"]}
    with net.open(net.there, socket.AF_INET, socket.SOCK_DGRAM) as server, \
            net.open(net.there, socket.AF_INET, socket.SOCK_DGRAM) as other, \
            net.open(net.here, socket.AF_INET, socket.SOCK_DGRAM, OTHER) as client:
        server.bind(("10.9.0.2", 123))
        other.bind(("10.9.0.2", 124))
        driver = start("zone.block", {"zone": "az1"}, zone="az1", lifeline=lifeline)
        driver.arm()
        client.sendto(b"what time is it?", ("10.9.0.2", 123))
        data, sender = server.recvfrom(20)
        server.sendto(data, sender)
        assert client.recv(20) == b"what time is it?"
        client.sendto(b"lost", ("10.9.0.2", 124))
        with pytest.raises(TimeoutError):
            other.recv(20)
        driver.end()


def test_protected_addresses_and_ports(net, start):
    with net.listen(net.there, 80), net.listen(net.there, 81), net.listen(net.there, 90):
        driver = start("network.block", {"cidrs": ["10.0.0.0/8", "10.9.0.0/16"], "ports": [80, "82-89", 81]})
        driver.arm()
        assert "error" not in driver.ask("verify")
        assert not net.connects("10.9.0.2", 80) and not net.connects("10.9.0.2", 81)
        assert net.connects("10.9.0.2", 90)
        driver.end()
        driver = start("network.block", {"cidrs": ["10.0.0.0/8"]}, protected_cidrs=["10.9.0.2/32"])
        driver.arm()
        assert net.connects("10.9.0.2", 80)
        driver.end()


@pytest.mark.parametrize("block", ["10.9.0.2", "10.9.0.2/31", "fd09::2"])
def test_a_block_of_one_host_shows_its_effect(net, start, block):
    driver = start("network.block", {"cidrs": [block], "ports": [80], "direction": "out"})
    driver.arm()
    effect = driver.ask("exercise")
    assert effect["directions"] == {"out": "exercised"} and effect["waiting"] == []
    driver.end()


@pytest.mark.parametrize("direction", ["in", "out"])
def test_one_direction(net, start, direction):
    with net.listen(net.there, 80), net.listen(net.here, 81), \
            net.listen(net.there, 5000, kind=socket.SOCK_DGRAM) as server, \
            net.open(net.here, socket.AF_INET, socket.SOCK_DGRAM) as client:
        driver = start("network.block", {"cidrs": ["10.9.0.0/24"], "direction": direction})
        driver.arm()
        effect = driver.ask("exercise")
        if direction == "in":
            assert effect["error"] == "nothing has come in yet"
            assert effect["directions"] == {"in": "armed"}
            client.sendto(b"out", ("10.9.0.2", 5000))
            assert server.recv(10) == b"out"
            assert not net.connects("10.9.0.1", 81, net.there)
            assert driver.ask("exercise")["directions"] == {"in": "exercised"}
        else:
            assert effect["directions"] == {"out": "exercised"}
            client.bind(("10.9.0.1", 5001))
            server.sendto(b"in", ("10.9.0.1", 5001))
            assert client.recv(10) == b"in"
            assert not net.connects("10.9.0.2", 80)
        driver.end()


def test_kernel_ends_it_when_the_driver_is_killed(net, start):
    """The OWNER flag: the tables go with the socket. (-Dmutations=owner turns this red.)"""
    with net.listen(net.there, 80):
        driver = start("zone.block", {"zone": "az1"})
        driver.arm()
        assert not net.connects("10.9.0.2", 80)
        driver.kill()
        assert "grivet-" not in net.ruleset()
        assert net.connects("10.9.0.2", 80)


@pytest.mark.parametrize("zone", [None, "az1"])
def test_kernel_ends_it_when_the_driver_is_stopped(net, start, zone):
    """The elements' timeouts: the driver can do nothing, and at the deadline packets flow. (-Dmutations=timeout)"""
    with net.listen(net.there, 80), net.listen(net.there, 80, socket.AF_INET6), \
            net.listen(net.there, 5000, kind=socket.SOCK_DGRAM) as server, \
            net.open(net.here, socket.AF_INET, socket.SOCK_DGRAM) as client:
        began = time.monotonic()
        driver = start("zone.block", {"zone": "az1"}, duration_ms=1200, zone=zone)
        driver.arm()
        driver.process.send_signal(signal.SIGSTOP)
        assert not net.connects("10.9.0.2", 80) and not net.connects("fd09::2", 80, timeout=0.2)
        wait_until(lambda: time.monotonic() > began + 1.3, 3)
        assert "grivet-" in net.ruleset()
        assert net.connects("10.9.0.2", 80) and net.connects("fd09::2", 80)
        client.sendto(b"after", ("10.9.0.2", 5000))
        assert server.recv(10) == b"after"


def test_many_blocks(net, start):
    cidrs = [f"11.{i // 256}.{i % 256}.0/25" for i in range(3000)] + [f"fd11:{i:x}::/64" for i in range(1, 3000)]
    driver = start("network.block", {"cidrs": [*cidrs, "10.9.0.0/24"]})
    driver.arm()
    assert "error" not in driver.ask("verify")
    assert not net.connects("10.9.0.2", 80)
    driver.end()


def test_waiting_list_overflows_without_a_leak(net, start):
    driver = start("network.block", {"cidrs": ["10.9.0.0/24"]})
    driver.arm()
    clients = []
    for port in range(1000, 1300):
        client = net.open(net.here, socket.AF_INET, socket.SOCK_STREAM, OTHER)
        client.setblocking(False)
        client.connect_ex(("10.9.0.2", port))
        clients.append(client)
    effect = driver.ask("measure")
    assert effect["out_packets"] >= 300 and 200 <= len(effect["waiting"]) <= 256
    for client in clients:
        client.close()
    driver.end()


def test_undo_by_name(net, start):
    driver = start("zone.block", {"zone": "az1"})
    driver.arm()
    code, words = undo(net, driver.folder, driver.order)
    assert code == 1 and "a table with an owner goes only with the process that owns it" in words
    assert "error" not in driver.ask("verify")
    driver.kill()
    assert undo(net, driver.folder, driver.order) == (0, "done")
    name = "grivet-" + driver.order[-12:]
    net.nft("add", "table", "inet", name)
    net.nft("add", "table", "inet", "grivetter")
    net.nft("add", "table", "netdev", name)
    assert undo(net, driver.folder, driver.order) == (0, "done")
    assert net.ruleset() == "table inet grivetter {\n}\n"


def test_strays_are_what_no_record_explains(net, start):
    driver = start("zone.block", {"zone": "az1"})
    driver.arm()
    for name in ("grivet-0123456789ab", "grivet-firewall"):  # a name of ours, and one that only begins so
        net.nft("add", "table", "inet", name)
    assert undo(net, driver.folder) == (0, "1 strays")
    assert "grivet-0123456789ab" not in net.ruleset() and "grivet-firewall" in net.ruleset() and "error" not in driver.ask("verify")
    driver.end()


def test_a_table_of_the_same_name_is_an_error(net, start):
    order = str(uuid.uuid4())
    net.nft("add", "table", "inet", "grivet-" + order[-12:])
    driver = start("zone.block", {"zone": "az1"}, order=order)
    driver.read("plan")
    assert "new table: a table of this name is there already" in driver.read("error")
    assert net.ruleset().count("table") == 1


def test_a_host_without_a_route_is_not_exercised(net, start):
    driver = start("network.block", {"cidrs": ["10.200.0.0/24"]})
    net.ip("-n", net.here, "route", "del", "default")
    driver.arm()
    assert "is there a route to them?" in driver.ask("exercise")["error"]
    driver.end()


def test_a_deadline_in_the_past_is_refused(net, start):
    driver = start("zone.block", {"zone": "az1"}, duration_ms=0)
    driver.read("plan")
    assert "less than a millisecond" in driver.read("error")
    assert net.ruleset() == ""


def test_tcp_does_not_show_that_udp_is_blocked(net, start):
    """UDP is met only at the devices, which it reaches when somebody answers for its address."""
    driver = start("network.block", {"cidrs": ["10.9.0.2", "10.9.0.77"]})
    driver.arm()
    assert driver.ask("exercise")["protocols"]["tcp"] == "exercised"
    wait_until(lambda: driver.ask("measure")["protocols"] == {"tcp": "exercised", "udp": "exercised"}, 5, "UDP to be met")
    driver.end()
    driver = start("network.block", {"cidrs": ["10.9.0.77"]})
    driver.arm()
    assert driver.ask("exercise")["directions"]["out"] == "exercised"
    assert [driver.ask("measure")["protocols"] for _ in range(5)] == 5 * [{"tcp": "exercised", "udp": "armed"}]
    driver.end()
