"""network.shape: what it slows down and what not, and that nothing of it stays. Where the kernel has no netem, rates only."""

import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

from lab.host import wait_until
from netns.fault_rig import COURIER, LIFELINE, OTHER, net, start, undo  # noqa: F401

SIZE = 1000  # bytes of a datagram, to which come the headers
HEADERS = {socket.AF_INET: 14 + 20 + 8, socket.AF_INET6: 14 + 40 + 8}
FAMILIES = pytest.mark.parametrize("address", ["10.9.0.2", "fd09::2"])


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def flood(sender, address, seconds, port=5000):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            sender.sendto(b"x" * SIZE, (address, port))
        except (BlockingIOError, TimeoutError):
            pass
        time.sleep(0.0005)  # some 16 Mbit/s: more than is let through


def kbit_received(receiver, family, seconds):
    """An independent meter: what arrives after the first burst, by the clock of arrival."""
    receiver.settimeout(2)
    receiver.recv(2 * SIZE)
    begun = time.monotonic()
    while time.monotonic() < begun + 0.5:
        receiver.recv(2 * SIZE)
    first, last, count = time.monotonic(), 0, 0
    while last < first + seconds:
        receiver.recv(2 * SIZE)
        last, count = time.monotonic(), count + 1
    return count * (SIZE + HEADERS[family]) * 8 / 1000 / (last - first)


def measure(net, address, direction, uid=OTHER, seconds=2.0, near=None):
    """kbit/s of UDP in one direction of the wire; the target's side is always `there`, the other `here` or `near` (name, address)."""
    family = family_of(address)
    name, here = near or (net.here, "fd09::1" if ":" in address else "10.9.0.1")
    near, far = net.open(name, family, socket.SOCK_DGRAM, uid), net.open(net.there, family, socket.SOCK_DGRAM, OTHER)
    with near, far:
        sender, receiver, to = (near, far, address) if direction == "out" else (far, near, here)
        receiver.bind((to, 5000))
        thread = threading.Thread(target=flood, args=(sender, to, seconds + 1.5))
        thread.start()
        try:
            return kbit_received(receiver, family, seconds)
        finally:
            thread.join()


@pytest.mark.parametrize("direction", ["out", "in"])
def test_a_device_above_another_does_not_shape_again(net, start, direction):
    """A bridge above its port: half the rate, and twice the delay, if both did."""
    net.ip("-n", net.here, "link", "add", "br0", "up", "type", "bridge")
    net.ip("-n", net.here, "addr", "flush", "dev", "wire")
    net.ip("-n", net.here, "addr", "add", "10.9.0.1/24", "dev", "br0")
    net.ip("-n", net.here, "link", "set", "wire", "master", "br0")
    net.ip("-n", net.here, "route", "add", "default", "via", "10.9.0.2")
    wait_until(lambda: net.answers("10.9.0.2"), 5, "the bridge to carry packets")
    driver = start("network.shape", {"cidrs": ["10.9.0.0/24"], "rate_kbit": 2000})
    driver.arm()
    rate = measure(net, "10.9.0.2", direction)
    print(f"2000 kbit/s ordered, {rate:.0f} measured {direction} over a bridge")
    assert 2000 * 0.97 < rate < 2000 * 1.03
    driver.end()


def test_two_orders_do_not_shape_each_others_packets(net, start):
    """One at a time; the one that is refused leaves the other as it is."""
    first = start("network.shape", {"cidrs": ["10.9.0.0/24"], "rate_kbit": 2000, "ports": [5000], "protocol": "udp"})
    first.arm()
    refused = start("network.shape", {"cidrs": ["10.9.0.0/24"], "rate_kbit": 64, "ports": [5001], "protocol": "udp"})
    refused.read("plan")
    assert "another network.shape is under way on this host" in refused.read("error")
    rate = measure(net, "10.9.0.2", "out")
    assert 2000 * 0.97 < rate < 2000 * 1.03
    first.end()


def test_orders_whose_devices_would_have_one_name(net, start):
    """Names are short: the order that is refused does not take the other's devices with it."""
    first = start("network.shape", {"cidrs": ["10.9.0.0/24"], "rate_kbit": 2000})
    first.arm()
    device = f"grivet-{first.order[-7:]}o"
    refused = start("network.shape", {"cidrs": ["10.9.0.0/24"], "rate_kbit": 64},
                    order=f"01900000-0000-7000-8000-00000{first.order[-7:]}")
    refused.read("plan")
    assert "another network.shape is under way on this host" in refused.read("error")
    assert undo(net, str(first.folder), refused.order)[0] == 0
    assert device in subprocess.run(["ip", "-n", net.here, "-o", "link"], capture_output=True, text=True, check=True).stdout
    first.end()


@FAMILIES
@pytest.mark.parametrize("direction", ["out", "in"])
def test_rate_is_held(net, start, address, direction):
    driver = start("network.shape", {"cidrs": ["10.9.0.0/24", "fd09::/64"], "rate_kbit": 2000})
    plan = driver.arm()
    assert plan["summary"][0].startswith("pass at most 2000 kbit/s: shape all protocols to and from 10.9.0.0/24")
    rate = measure(net, address, direction)
    print(f"2000 kbit/s ordered, {rate:.0f} measured {direction}")
    assert 2000 * 0.97 < rate < 2000 * 1.03
    effect = driver.ask("exercise")
    assert effect[f"{direction}_packets"] > 500 and effect["directions"][direction] == "exercised"
    driver.end()
    assert measure(net, address, direction, seconds=0.5) > 5000


def test_only_what_was_named_is_shaped(net, start):
    """Another port, another protocol, the other direction, and whoever is not a target."""
    driver = start("network.shape", {"cidrs": ["10.9.0.2"], "ports": [5001], "protocol": "udp", "direction": "out",
                                     "rate_kbit": 100})
    driver.arm()
    assert measure(net, "10.9.0.2", "out", seconds=0.5) > 5000
    assert measure(net, "10.9.0.2", "in", seconds=0.5) > 5000
    assert measure(net, "fd09::2", "out", seconds=0.5) > 5000
    assert driver.ask("measure")["out_packets"] == 0


def test_lifeline_is_not_shaped(net, start):
    """The courier's connection to a coordinator and SSH are as quick as ever; another user's is not."""
    def round_trip(uid, port):
        with net.open(net.here, socket.AF_INET, socket.SOCK_STREAM, uid) as client:
            client.settimeout(8)
            client.connect(("10.9.0.2", port))
            begun = time.monotonic()
            client.sendall(b"x" * 20000)
            assert client.recv(1) == b"."
            return time.monotonic() - begun

    def serve(server):
        while True:
            try:
                accepted, _ = server.accept()
            except OSError:
                return
            with accepted:
                accepted.settimeout(8)
                left = 20000
                while left:
                    left -= len(accepted.recv(left))
                accepted.sendall(b".")

    with net.listen(net.there, 8443) as server:
        server.settimeout(20)
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        assert "10.9.0.2:8443" in LIFELINE["coordinators"]
        driver = start("network.shape", {"cidrs": ["0.0.0.0/0"], "rate_kbit": 80})
        driver.arm()
        quick, slow = round_trip(COURIER, 8443), round_trip(OTHER, 8443)
        print(f"20 kB: the courier {quick * 1000:.0f} ms, another user {slow * 1000:.0f} ms")
        assert quick < 0.5 < 1.2 < slow
        driver.end()
        server.shutdown(socket.SHUT_RDWR)


def test_queues_of_the_host_stay_as_they_are(net, start):
    """A tuned device is the same before, during and after."""
    for words in ("qdisc add dev wire root handle 7: htb default 1", "class add dev wire parent 7: classid 7:1 htb rate 500mbit",
                  "qdisc add dev wire parent 7:1 handle 8: tbf rate 400mbit burst 20kb limit 200kb"):
        net.ip("netns", "exec", net.here, "tc", *words.split())
    before = net.links()
    driver = start("network.shape", {"cidrs": ["10.9.0.0/24"], "rate_kbit": 1000})
    driver.arm()
    name = "grivet-" + driver.order[-7:]
    during = [line for line in net.links().splitlines() if name not in line]
    assert during == before.splitlines() and name + "o" in net.links() and name + "i" in net.links()
    driver.end()
    assert net.links() == before


def test_rules_end_at_the_deadline_and_what_stays_is_in_the_record(net, start):
    """Whoever could end it is stopped, then killed: its devices lose their meaning first, and go by the record."""
    before = net.links()
    driver = start("network.shape", {"cidrs": ["10.9.0.0/24"], "rate_kbit": 500}, duration_ms=4000)
    driver.arm()
    os.kill(driver.process.pid, signal.SIGSTOP)
    assert measure(net, "10.9.0.2", "out", seconds=1) < 600
    wait_until(lambda: measure(net, "10.9.0.2", "out", seconds=0.3) > 5000, 5, "the rate's end at the deadline")
    driver.kill()
    assert net.ruleset() == "" and "grivet-" in net.links()
    assert undo(net, driver.folder) == (0, "0 strays"), "a record explains them"
    assert undo(net, driver.folder, driver.order) == (0, "done")
    assert net.links() == before


def test_devices_of_an_order_go_at_once(net, start):
    """Each removal keeps the kernel waiting: the first takes all of the order's, also one that is not in the record."""
    before = net.links()
    driver = start("network.shape", {"cidrs": ["10.9.0.0/24"], "rate_kbit": 500})
    driver.arm()
    driver.kill()
    record = driver.folder / driver.order
    lines = record.read_text().splitlines(keepends=True)
    record.write_text("".join(line for line in lines if not re.fullmatch("undo link .*i\n", line)))
    assert len(record.read_text().splitlines()) == len(lines) - 1 and net.links() != before
    assert undo(net, driver.folder, driver.order) == (0, "done")
    assert net.links() == before


def test_devices_without_a_record_are_strays(net, start):
    net.ip("-n", net.here, "link", "add", "grivet-1234567o", "type", "ifb")
    net.ip("-n", net.here, "link", "add", "grivetter", "type", "ifb")
    (folder := start("cpu.burn", {"load_percent": 1, "cpus": 1}).folder)
    assert undo(net, folder) == (0, "1 strays")
    assert "grivet-1234567o" not in net.links() and "grivetter" in net.links()


@pytest.mark.parametrize("change", ["tc qdisc replace dev {o} root tbf rate 9mbit burst 20kb limit 200kb", "ip link del {o}",
                                    "tc qdisc del dev {o} root"])
def test_interference_is_seen_and_survived(net, start, change):
    driver = start("network.shape", {"cidrs": ["10.9.0.0/24"], "rate_kbit": 1000})
    driver.arm()
    before = {line for line in net.links().splitlines() if "grivet-" not in line}
    net.ip("netns", "exec", net.here, *change.format(o="grivet-" + driver.order[-7:] + "o").split())
    assert re.search("grivet-.*(rate|no tbf|is gone)", driver.ask("verify")["error"])
    driver.end()
    assert set(net.links().splitlines()) == before


@pytest.mark.parametrize("parameters, words", [
    ({}, "needs delay_ms, loss_ppm, duplicate_ppm, corrupt_ppm or rate_kbit"),
    ({"delay_ms": 10, "jitter_ms": 11}, "no packet can come early"),
    ({"rate_kbit": 100, "reorder_ppm": 1}, "give delay_ms"),
    ({"rate_kbit": 7}, "rate_kbit: at least 8"),
    ({"loss_ppm": 1000001}, "loss_ppm"),
])
def test_bad_parameters(net, start, parameters, words):
    assert words in start("network.shape", {"cidrs": ["10.9.0.0/24"], **parameters}).read("error")


def test_more_devices_than_a_chain_takes(net, start):
    """Said before anything is begun; what needs no devices goes on."""
    batch = "".join(f"link add many{number} type veth peer name more{number}\n" for number in range(128))
    subprocess.run(["ip", "-n", net.here, "-batch", "-"], input=batch, text=True, check=True, timeout=60)
    words = "this host has 257 network devices, and the kernel takes 255 in a chain"
    assert words in start("network.shape", {"cidrs": ["10.9.0.0/24"], "rate_kbit": 64}).read("error")
    assert words + "; `protocol: tcp` needs none" in start("network.block", {"cidrs": ["10.9.0.0/24"]}).read("error")
    driver = start("network.block", {"cidrs": ["10.9.0.0/24"], "protocol": "tcp"})
    driver.arm()
    driver.end()
    net.ip("-n", net.here, "link", "del", "many0")
    driver = start("network.shape", {"cidrs": ["10.9.0.0/24"], "rate_kbit": 64})
    driver.arm()
    driver.end()


def test_delay_where_there_is_netem(net, start):
    driver = start("network.shape", {"cidrs": ["10.9.0.0/24"], "delay_ms": 40, "direction": "out"})
    if not os.path.exists("/sys/module/sch_netem"):
        assert driver.read("error") == "this kernel has no module sch_netem"
        return
    driver.arm()
    with net.listen(net.there, 80), net.open(net.here, socket.AF_INET, socket.SOCK_STREAM) as client:
        begun = time.monotonic()
        client.connect(("10.9.0.2", 80))
        assert 0.039 < time.monotonic() - begun < 0.06
    driver.end()
