"""Courier and prober with names instead of addresses: libcurl asks a resolver, in threads of its own; and HTTPS."""

import pytest

from lab.host import PYTHON
from netns.executor_stand_in import NONCE
from netns.test_courier import Courier
from netns.test_prober import PORT, Watch, probe, serve

STATUS = 2  # of a sample
NAME = "coordinator.test"  # as in the stand-in's certificate
# Every name has the address 127.0.0.1, and no IPv6 address.
RESOLVER = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 53))
while True:
    query, asker = s.recvfrom(512)
    end = query.index(b"\\0", 12) + 5
    is_a = query[end - 4:end - 2] == b"\\0\\1"
    answer = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4\\x7f\\0\\0\\1" if is_a else b""
    s.sendto(query[:2] + b"\\x81\\x80\\0\\1" + (b"\\0\\1" if is_a else b"\\0\\0") + b"\\0\\0\\0\\0" + query[12:end] + answer, asker)
"""


@pytest.fixture
def named(host):
    host.write("/etc/resolv.conf", "nameserver 127.0.0.1\n")
    host.service("resolver", [PYTHON, "-c", RESOLVER])
    host.wait_for(lambda: host.run(["getent", "hosts", NAME], check=False).returncode == 0, what="the resolver")
    return host


def test_courier_finds_its_coordinator_by_name(named, tmp_path):
    courier = Courier(named, tmp_path, urls=(f"https://{NAME}:8443",))
    courier.begin()
    courier.sign_head(courier.go_on(NONCE))
    assert courier.coordinator.polls.get(timeout=5)["is_first"]
    courier.coordinator.close()


def test_prober_asks_by_name_and_by_https(named, tmp_path):
    serve(named)
    watch = Watch(named)
    watch.start(*(probe(name, url=f"{scheme}://{NAME}:{PORT}/", interval_ms=100, timeout_ms=2000)
                  for name, scheme in (("plain", "http"), ("closed", "https"))))
    watch.take_until(lambda: watch.count("plain") > 2 and watch.count("closed") > 2)
    assert all(sample[STATUS] == 200 for sample in watch.samples["plain"])
    assert not any(sample[STATUS] for sample in watch.samples["closed"])  # a server that speaks no TLS
