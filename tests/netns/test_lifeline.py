"""The lifeline with real clients and servers, from outside, in every network fault that is about all addresses.

For network.shape whoever is not exempt waits for half a minute: its queues are full before anything is tried.
"""

import contextlib
import os
import pathlib
import re
import select
import signal
import socket
import struct
import subprocess
import threading

import pytest

from lab.host import USERS, die_with_parent, wait_until
from netns.fault_rig import COURIER, LIFELINE, OTHER, net, start  # noqa: F401

ALL = {"cidrs": ["0.0.0.0/0", "::/0"]}
FAULTS = {"network.block": ALL, "zone.block": {"zone": "az1"}, "network.shape": {**ALL, "rate_kbit": 8}}
ETH_P_IPV6 = 0x86DD
PROBER = USERS["grivet-prober"]
METADATA = {socket.AF_INET: "169.254.169.254", socket.AF_INET6: "fd00:ec2::254"}
ADDRESSES = {socket.AF_INET: ("10.9.0.1", "10.9.0.2"), socket.AF_INET6: ("fd09::1", "fd09::2")}  # here, there
FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
IN_TIME_S = 4  # what others get in the way of costs more
DROPBEAR = """mount -t tmpfs -o mode=0700 tmpfs /root && mkdir -m 0700 /root/.ssh && cp {folder}/client.pub /root/.ssh/authorized_keys &&
    exec dropbear -F -E -m -s -p 22 -r {folder}/server -P {folder}/pid"""
DHCP_SERVER = """start 10.9.0.1
end 10.9.0.1
interface wire
max_leases 1
lease_file {folder}/leases
pidfile {folder}/pid
option lease 3600
"""


@pytest.fixture(params=FAULTS)
def arm(net, start, request):
    """Begins the fault, once everything that has to outlive it is there."""
    def begin():
        lifeline = {**LIFELINE, "time_servers": ["0.0.0.0/0"]}
        driver = start(request.param, FAULTS[request.param], zone="az1", lifeline=lifeline)
        driver.arm()
        if request.param == "network.shape":
            fill_queues(net)
        return driver

    return begin


def fill_queues(net):
    for name, to in ((net.here, "10.9.0.2"), (net.there, "10.9.0.1")):
        with net.open(name, socket.AF_INET, socket.SOCK_DGRAM, OTHER) as sender:
            for _ in range(60):
                sender.sendto(b"x" * 1000, (to, 9))


@pytest.fixture
def run(net, tmp_path):
    """Starts a program in a namespace; it ends with the test."""
    with contextlib.ExitStack() as stack:
        def begin(name, *argv, **options):
            process = stack.enter_context(subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{name}", *map(str, argv)], preexec_fn=die_with_parent,
                stderr=open(tmp_path / f"{os.path.basename(str(argv[0]))}.log", "ab"), **options))
            stack.callback(process.kill)
            return process

        yield begin


# ---- SSH

def ssh(run, net, folder, family, *words, **options):
    """A client's session, from there."""
    here = ADDRESSES[family][0]
    return run(net.there, "dbclient", "-y", "-y", "-T", "-i", folder / "client", f"root@{here}", *words, **options)


@pytest.fixture
def keys(run, net, tmp_path):
    for name in ("server", "client"):
        said = subprocess.run(["dropbearkey", "-t", "ed25519", "-f", tmp_path / name], capture_output=True, text=True, check=True)
        (tmp_path / f"{name}.pub").write_text(re.search("^ssh-.*$", said.stdout, re.M)[0] + "\n")
    run(net.here, "unshare", "--mount", "sh", "-c", DROPBEAR.format(folder=tmp_path))
    wait_until(lambda: listens(net), 5, "the SSH server")
    return tmp_path


def listens(net):
    try:
        return net.connects("10.9.0.1", 22, net.there)
    except ConnectionRefusedError:
        return False


def echoes(session, line):
    session.stdin.write(line)
    session.stdin.flush()
    return select.select([session.stdout], [], [], IN_TIME_S)[0] and os.read(session.stdout.fileno(), 100) == line


@FAMILIES
def test_ssh(net, run, keys, arm, family):
    """The session that is open goes on, and another one can be opened; nothing else of this host answers."""
    held = ssh(run, net, keys, family, "cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert echoes(held, b"before\n")
    with net.listen(net.here, 23, family):
        assert net.connects(ADDRESSES[family][0], 23, net.there)
        driver = arm()
        assert echoes(held, b"during\n")
        assert ssh(run, net, keys, family, "true").wait(IN_TIME_S) == 0
        assert not net.connects(ADDRESSES[family][0], 23, net.there)
        driver.end()
    held.stdin.close()


# ---- DHCP

def test_dhcp(net, run, tmp_path, arm):
    """A lease is renewed by unicast (T1), and asked for anew by broadcast."""
    (tmp_path / "dhcpd.conf").write_text(DHCP_SERVER.format(folder=tmp_path))
    (tmp_path / "leases").touch()
    (tmp_path / "event").write_text(f'#!/bin/sh\necho "$1 $ip" >>{tmp_path}/events\n')
    (tmp_path / "event").chmod(0o755)

    def said():
        path = tmp_path / "events"
        return path.read_text().split("\n")[:-1] if path.exists() else []

    def wait_for(event, count):
        wait_until(lambda: said().count(f"{event} 10.9.0.1") == count, IN_TIME_S, f"{event}, there was {said()}")

    net.ip("-n", net.here, "route", "add", "255.255.255.255", "dev", "wire")
    run(net.there, "busybox", "udhcpd", "-f", "-I", "10.9.0.2", tmp_path / "dhcpd.conf")
    # -T: long before it would try otherwise, it has to be answered.
    client = run(net.here, "busybox", "udhcpc", "-f", "-T", "20", "-i", "wire", "-s", tmp_path / "event")
    wait_for("bound", 1)
    driver = arm()
    client.send_signal(signal.SIGUSR1)
    wait_for("renew", 1)
    client.send_signal(signal.SIGUSR2)
    wait_until(lambda: said()[-1].startswith("deconfig"), IN_TIME_S, "the release")
    client.send_signal(signal.SIGUSR1)
    wait_for("bound", 2)
    driver.end()


# ---- what a host asks others

def answer(servers):
    """Sends each datagram back to its sender, until the sockets are closed."""
    while all(server.fileno() >= 0 for server in servers):
        for server in select.select(servers, [], [], 0.1)[0]:
            with contextlib.suppress(OSError):
                server.sendto(*server.recvfrom(100))


def is_answered(net, to, port, uid=OTHER, own_port=0):
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    with net.open(net.here, family, socket.SOCK_DGRAM, uid) as client:
        client.settimeout(0.5)
        client.bind(("", own_port))
        client.sendto(b"query", (to, port))
        try:
            return client.recv(100) == b"query"
        except TimeoutError:
            return False


def passing(net):
    """Names of what gets through, with what must not: another's port, and the prober to whom it may be."""
    far, far6 = ADDRESSES[socket.AF_INET][1], ADDRESSES[socket.AF_INET6][1]
    ways = {f"UDP {port}": is_answered(net, far, port) for port in (53, 123, 124)}
    ways |= {f"DHCPv6 from {port}": is_answered(net, far6, 547, own_port=port) for port in (545, 546)}
    ways |= {f"TCP {port}": net.connects(far, port) for port in (53, 8443)}
    ways |= {f"metadata {address}": net.connects(address, 80) for address in METADATA.values()}
    for who, uid in (("courier", COURIER), ("prober", PROBER)):
        ways |= {f"{who} {port}": net.connects(far, port, uid=uid) for port in (80, 8443)}
        ways |= {f"{who} {port} by IPv6": net.connects(far6, port, uid=uid) for port in (80, 8443)}
    return {name for name, passes in ways.items() if passes}


def test_what_passes(net, arm):
    for family, address in METADATA.items():
        net.ip("-n", net.there, "addr", "add", address, "dev", "wire", *(["nodad"] if family == socket.AF_INET6 else []))
    servers = [net.listen(net.there, port, kind=socket.SOCK_DGRAM) for port in (53, 123, 124)]
    servers.append(net.listen(net.there, 547, socket.AF_INET6, socket.SOCK_DGRAM))
    doors = [net.listen(net.there, port, family) for port in (53, 80, 8443) for family in ADDRESSES]
    echo = threading.Thread(target=answer, args=(servers,))
    echo.start()
    try:
        assert {"UDP 124", "DHCPv6 from 545", "TCP 8443", "prober 80", "prober 8443 by IPv6"} < passing(net)
        driver = arm()
        assert passing(net) == {"UDP 53", "UDP 123", "DHCPv6 from 546", "TCP 53", "courier 8443", "courier 8443 by IPv6",
                                *(f"metadata {address}" for address in METADATA.values())}
        driver.end()
    finally:
        for one in servers + doors:
            one.close()
        echo.join()


@FAMILIES
def test_neighbours_are_found_anew(net, arm, family):
    """Whom nobody has spoken to for a while has to be asked for its address (ARP, ND) in mid fault."""
    here, there = ADDRESSES[family]
    with net.listen(net.here, 22, family), net.listen(net.there, 8443, family):
        driver = arm()
        for name in (net.here, net.there):
            net.ip("-n", name, "neigh", "flush", "dev", "wire")
        assert net.connects(here, 22, net.there)
        for name in (net.here, net.there):
            net.ip("-n", name, "neigh", "flush", "dev", "wire")
        assert net.connects(there, 8443, uid=COURIER)
        driver.end()


def test_multicast_groups_are_reported(net, arm):
    """To the switch, which would else send this host no neighbour's question (MLDv2, RFC 3810)."""
    group = socket.inet_pton(socket.AF_INET6, "ff02::1:ff00:77")
    with net.open(net.there, socket.AF_PACKET, socket.SOCK_DGRAM) as wire, \
            net.open(net.here, socket.AF_INET6, socket.SOCK_DGRAM) as member:
        wire.bind(("wire", ETH_P_IPV6))
        driver = arm()
        devices = pathlib.Path(f"/proc/{driver.process.pid}/net/dev_mcast").read_text()
        device = int(re.search(r"^(\d+)\s+wire\s", devices, re.M)[1])
        member.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group + struct.pack("@i", device))
        wire.settimeout(IN_TIME_S)
        while group not in wire.recv(1500):
            pass
        driver.end()
