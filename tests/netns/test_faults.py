"""The contract of every fault, in a network namespace of its own: check, plan, inject, verify, exercise, then the
driver is killed, stopped or asked to end, and the host has to be as before."""

import ctypes
import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import time
import uuid

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lab.host import BUILD, wait_until  # noqa: E402

COURIER, OTHER = 64001, 64005
LIFELINE = {"courier_uid": COURIER, "ssh_port": 22, "coordinators": ["10.9.0.2:8443", "[fd09::2]:8443"],
            "resolvers": ["10.9.0.2"], "management": ["0.0.0.0/0", "::/0"]}
ZONES = {"az1": ["10.9.0.0/24", "fd09::/64"], "az2": ["10.8.0.0/24"]}
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)

# A parameter example for every fault of the registry: the contract test runs for each.
EXAMPLES = {
    "network.block": {"cidrs": ["10.9.0.0/24", "fd09::/64"]},
    "zone.block": {"zone": "az1"},
    "process.kill": {"exe": "*/sleep", "cmdline": "^sleep-EXAMPLE"},
}


class Net:
    """Two namespaces with a wire between them: 'here' (10.9.0.1, fd09::1) has the fault, 'there' (.2) answers."""

    def __init__(self):
        tag = f"gf{os.getpid()}{uuid.uuid4().hex[:4]}"
        self.here, self.there = f"{tag}h", f"{tag}t"
        for name in (self.here, self.there):
            self.ip("netns", "add", name)
        self.ip("-n", self.here, "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", self.there)
        for name, last in ((self.here, 1), (self.there, 2)):
            self.ip("-n", name, "link", "set", "lo", "up")
            self.ip("-n", name, "addr", "add", f"10.9.0.{last}/24", "dev", "wire")
            self.ip("-n", name, "addr", "add", f"fd09::{last}/64", "dev", "wire", "nodad")
            self.ip("-n", name, "link", "set", "wire", "up")
        self.ip("-n", self.here, "route", "add", "default", "via", "10.9.0.2")
        self.ip("-n", self.here, "route", "add", "default", "via", "fd09::2")
        wait_until(lambda: self.answers("10.9.0.2") and self.answers("fd09::2"), 5, "the wire to carry packets")

    def answers(self, address):
        try:
            return self.connects(address, 7, timeout=0.1)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False

    @staticmethod
    def ip(*arguments):
        subprocess.run(["ip", *arguments], check=True, timeout=10)

    def close(self):
        for name in (self.here, self.there):
            subprocess.run(["ip", "netns", "del", name], timeout=10)

    def nft(self, *arguments, text=None):
        done = subprocess.run(["ip", "netns", "exec", self.here, "nft", *arguments], input=text, text=True,
                              check=True, capture_output=True, timeout=10)
        return done.stdout

    def ruleset(self):
        return self.nft("list", "ruleset")

    def open(self, name, family, kind, uid=None):
        """A socket that lives in namespace @name and, as the kernel sees it, belongs to @uid."""
        own, other = os.open("/proc/thread-self/ns/net", os.O_RDONLY), os.open(f"/run/netns/{name}", os.O_RDONLY)
        try:
            assert libc.setns(other, CLONE_NEWNET) == 0
            if uid is not None:
                libc.setfsuid(uid)
            made = socket.socket(family, kind)
        finally:
            libc.setfsuid(0)
            libc.setns(own, CLONE_NEWNET)
            os.close(own)
            os.close(other)
        made.settimeout(0.4)
        return made

    def listen(self, name, port, family=socket.AF_INET, kind=socket.SOCK_STREAM):
        made = self.open(name, family, kind)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
        if kind == socket.SOCK_STREAM:
            made.listen(8)
        return made

    def connects(self, address, port, name=None, uid=OTHER, timeout=0.4):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.open(name or self.here, family, socket.SOCK_STREAM, uid) as client:
            client.settimeout(timeout)
            try:
                client.connect((address, port))
                return True
            except TimeoutError:
                return False


class Driver:
    def __init__(self, net, folder, fault, parameters, duration_ms=20000, **more):
        job = {"fault": fault, "order": str(uuid.uuid4()), "duration_ms": duration_ms, "parameters": parameters,
               "zones": ZONES, "lifeline": LIFELINE, **more}
        self.order, self.folder = job["order"], folder / "active"
        self.folder.mkdir(exist_ok=True)
        (folder / "job.json").write_text(json.dumps(job))
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", net.here, BUILD / "tests/netns/fault-driver", folder / "job.json", self.folder],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self.lines = b""

    def read(self, stage, timeout=5.0):
        while b"\n" not in self.lines:
            ready, _, _ = select.select([self.process.stdout], [], [], timeout)
            data = os.read(self.process.stdout.fileno(), 1 << 20) if ready else b""
            assert data, f"no word from the driver; waited for {stage}"
            self.lines += data
        text, self.lines = self.lines.split(b"\n", 1)
        line = json.loads(text)
        assert line["stage"] == stage, line
        return line["value"]

    def arm(self):
        plan = self.read("plan")
        self.read("armed")
        return plan

    def ask(self, what):
        self.process.stdin.write(what.encode() + b"\n")
        return self.read(what)

    def end(self):
        self.process.stdin.write(b"end\n")
        self.read("reverted")
        assert self.process.wait(5) == 0

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(5)


@pytest.fixture
def net():
    made = Net()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def start(net, tmp_path):
    drivers = []

    def begin(fault, parameters, **more):
        drivers.append(Driver(net, tmp_path, fault, parameters, **more))
        return drivers[-1]

    yield begin
    for driver in drivers:
        if driver.process.poll() is None:
            driver.process.send_signal(signal.SIGCONT)
            driver.kill()
        driver.process.stdin.close()
        driver.process.stdout.close()


def spawn(count=1, comm="sleep"):
    """Processes that only wait, told apart by their own name for the command line."""
    return [subprocess.Popen([f"{comm}-EXAMPLE{os.getpid()}", "60"], executable="/usr/bin/sleep")
            for _ in range(count)]


def own_parameters(fault):
    text = json.dumps(EXAMPLES[fault]).replace("EXAMPLE", f"EXAMPLE{os.getpid()} ")
    return json.loads(text)


BYSTANDER = """table inet bystander {
    chain out {
        type filter hook output priority 0; policy accept;
        ip daddr 10.200.0.0/16 counter drop
    }
}
table netdev bystander {
    chain out {
        type filter hook egress device "wire" priority 0; policy accept;
    }
}
"""


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
    before = net.ruleset()
    victims = spawn()
    driver = start(fault, own_parameters(fault))
    try:
        plan = driver.arm()
        assert plan["summary"] and "error" not in driver.ask("verify")
        effect = wait_until(lambda: (e := driver.ask("exercise")) and "error" not in e and e, 3)
        if fault == "process.kill":
            assert effect["processes"] == [{"pid": victims[0].pid, "exe": "/usr/bin/sleep", "is_gone": True}]
            assert victims[0].wait(1) == -signal.SIGKILL
        else:
            assert effect["directions"]["out"] == "exercised" and effect["waiting"] == []
            assert "grivet-" in net.ruleset()
            driver.end() if way == "end" else driver.kill()
    finally:
        for victim in victims:
            victim.kill()
            victim.wait()
    assert net.ruleset() == before


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


def undo(net, *arguments):
    done = subprocess.run(["ip", "netns", "exec", net.here, BUILD / "tests/netns/undo-driver", *arguments],
                          text=True, capture_output=True, timeout=10)
    return done.returncode, done.stdout.strip()


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
    net.nft("add", "table", "inet", "grivet-stray")
    assert undo(net, driver.folder) == (0, "1 strays")
    assert "grivet-stray" not in net.ruleset() and "error" not in driver.ask("verify")
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


@pytest.mark.parametrize("pick, count, killed", [("one", None, 1), ("n", 2, 2), ("all", None, 3)])
def test_kills_as_many_as_asked(net, start, pick, count, killed):
    victims = spawn(3)
    parameters = {**own_parameters("process.kill"), "pick": pick, "signal": "TERM"}
    driver = start("process.kill", parameters | ({"count": count} if count else {}))
    try:
        plan = driver.arm()
        assert plan["summary"][0] == f"send SIGTERM to {killed} of 3 matching processes"
        effect = wait_until(lambda: (e := driver.ask("exercise")) and "error" not in e and e, 3)
        pids = {process["pid"] for process in effect["processes"]}
        assert len(pids) == killed and all(process["is_gone"] for process in effect["processes"])
        assert {victim.pid for victim in victims if victim.poll() is not None} == pids
    finally:
        for victim in victims:
            victim.kill()
            victim.wait()


def test_protected_processes_survive_a_kill_of_all(net, start, tmp_path):
    """By the name of the program: a sshd, a grivetd and one that the policy names stay; the fourth goes."""
    names = ["sshd", "grivetd", "database", "worker"]
    processes = {}
    for name in names:
        (tmp_path / name).write_bytes(pathlib.Path("/usr/bin/sleep").read_bytes())
        (tmp_path / name).chmod(0o755)
        processes[name] = subprocess.Popen([tmp_path / name, "60"])
    driver = start("process.kill", {"exe": f"{tmp_path}/*", "pick": "all"}, protected_processes=["database"])
    try:
        plan = driver.arm()
        assert "3 matching processes are protected and stay" in plan["limits"]
        wait_until(lambda: "error" not in driver.ask("exercise"), 3)
        assert [name for name in names if processes[name].poll() is not None] == ["worker"]
    finally:
        for process in processes.values():
            process.kill()
            process.wait()


def test_a_signal_that_ends_nobody_is_not_exercised(net, start):
    victim = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(signal.SIGHUP, "
                               "signal.SIG_IGN); print(1, flush=True); time.sleep(60)", "EXAMPLE" + str(os.getpid())],
                              stdout=subprocess.PIPE)
    try:
        victim.stdout.readline()
        driver = start("process.kill", {"cmdline": f"EXAMPLE{os.getpid()}$", "signal": "HUP"})
        driver.arm()
        assert driver.ask("exercise")["error"] == "0 of 1 processes have ended"
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()
        victim.stdout.close()


def test_nothing_matches(net, start):
    driver = start("process.kill", {"exe": "/nowhere/*"})
    assert "no process matches" in driver.read("error")
