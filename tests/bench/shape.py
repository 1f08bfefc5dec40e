"""A rate for one network and back again: Grivet's fault, proof included, beside the commands that a script would fork."""

import pathlib
import statistics
import tempfile
import time

from bench.cidrs import script
from netns.fault_rig import Driver, Net

ROUNDS = 15
TC = """ip link add shaper type ifb && ip link set shaper up
tc qdisc add dev shaper root tbf rate 1mbit burst 3100 limit 30000
tc qdisc add dev wire clsact
tc filter add dev wire egress protocol ip u32 match ip dst 10.9.0.0/24 action mirred egress redirect dev shaper"""
UNDO = "tc qdisc del dev wire clsact; ip link del shaper"


def ours(net, folder):
    driver = Driver(net, folder, "network.shape", {"cidrs": ["10.9.0.0/24"], "rate_kbit": 1000, "direction": "out"})
    driver.read("plan")
    at = time.monotonic()
    driver.read("armed")
    armed = time.monotonic() - at
    at = time.monotonic()
    driver.end()
    return armed, time.monotonic() - at


def measure():
    net = Net()
    figures = {"ours": [], "ip and tc": []}
    try:
        with tempfile.TemporaryDirectory(prefix="grivet-bench-") as folder:
            for _ in range(ROUNDS):
                figures["ours"].append(ours(net, pathlib.Path(folder)))
                figures["ip and tc"].append((script(net, "", "sh", "-ec", TC), script(net, "", "sh", "-ec", UNDO)))
    finally:
        net.close()
    for index, what in enumerate(("shape", "undo it")):
        medians = {name: statistics.median(pair[index] for pair in pairs) * 1000 for name, pairs in figures.items()}
        yield {"what": f"{what}, median of {ROUNDS}", "unit": "ms", "ours": medians.pop("ours"), "others": medians}
