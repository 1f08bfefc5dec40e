"""What a packet pays for 10,000 blocked networks that it does not go to: UDP there and back between two namespaces."""

import pathlib
import socket
import statistics
import subprocess
import tempfile
import time

from bench.cidrs import CIDRS, IPTABLES, script
from netns.fault_rig import Driver, Net

ROUNDS, PACKETS = 9, 3000


def ping_pong(net):
    """Microseconds for a datagram there and back, the best tenth of many: the rest is the scheduler's."""
    with net.listen(net.there, 9000, kind=socket.SOCK_DGRAM) as far, \
            net.open(net.here, socket.AF_INET, socket.SOCK_DGRAM) as near:
        near.connect(("10.9.0.2", 9000))
        taken = []
        for _ in range(PACKETS):
            at = time.perf_counter_ns()
            near.send(b"x")
            far.sendto(*far.recvfrom(8))
            near.recv(8)
            taken.append(time.perf_counter_ns() - at)
    return statistics.mean(sorted(taken)[:PACKETS // 10]) / 1000


def measure():
    net = Net()
    plain, ours, rules = [], [], []
    try:
        with tempfile.TemporaryDirectory(prefix="grivet-bench-") as folder:
            for _ in range(ROUNDS):
                plain.append(ping_pong(net))
                driver = Driver(net, pathlib.Path(folder), "network.block", {"cidrs": CIDRS})
                driver.arm()
                ours.append(ping_pong(net))
                driver.end()
                script(net, IPTABLES, "iptables-restore")
                rules.append(ping_pong(net))
                subprocess.run(["ip", "netns", "exec", net.here, "iptables", "-F"], check=True)
    finally:
        net.close()
    yield {"what": f"a datagram there and back, {len(CIDRS)} networks blocked", "unit": "us",
           "ours": statistics.median(ours), "others": {"nothing blocked": statistics.median(plain),
                                                       "iptables rules": statistics.median(rules)}}
