"""Blocking 10,000 networks, and unblocking them: Grivet's fault beside the tools that an operator would script."""

import pathlib
import statistics
import subprocess
import tempfile
import time

from netns.fault_rig import Driver, Net

COUNT, ROUNDS = 10000, 7
# with a gap after each: neighbours would be merged into one
CIDRS = [f"10.{200 + n // 4096}.{n // 16 % 256}.{n % 16 * 16}/29" for n in range(COUNT)]


def ours(net, folder):
    """Sends the whole fault: check, plan, table, read back; then its end, read back."""
    driver = Driver(net, folder, "network.block", {"cidrs": ["198.51.100.0/24"], "direction": "out"})
    driver.arm()
    driver.end()
    driver = Driver(net, folder, "network.block", {"cidrs": CIDRS, "direction": "out"})
    driver.read("plan", 30)
    at = time.monotonic()
    driver.read("armed", 30)
    armed = time.monotonic() - at
    at = time.monotonic()
    driver.end()
    return armed, time.monotonic() - at


def script(net, text, *argv):
    at = time.monotonic()
    subprocess.run(["ip", "netns", "exec", net.here, *argv], input=text, text=True, check=True, timeout=120)
    return time.monotonic() - at


SETS = "\n".join(["create b hash:net maxelem 65536", *[f"add b {cidr}" for cidr in CIDRS]]) + "\n"
NFT = ("table inet b { set s { type ipv4_addr; flags interval; elements = { " + ", ".join(CIDRS) + " } }\n"
       "chain o { type filter hook output priority 0; ip daddr @s counter drop; }\n}\n")
IPTABLES = "\n".join(["*filter", *[f"-A OUTPUT -d {cidr} -j DROP" for cidr in CIDRS], "COMMIT"]) + "\n"


def by_nft(net):
    return script(net, NFT, "nft", "-f", "-"), script(net, "", "nft", "delete", "table", "inet", "b")


def by_iptables(net):
    return script(net, IPTABLES, "iptables-restore"), script(net, "", "iptables", "-F", "OUTPUT")


def by_ipset(net):
    made = script(net, SETS, "ipset", "restore") + script(net, "", "iptables", "-A", "OUTPUT", "-m", "set",
                                                          "--match-set", "b", "dst", "-j", "DROP")
    return made, script(net, "", "iptables", "-F", "OUTPUT") + script(net, "", "ipset", "destroy", "b")


def measure():
    net = Net()
    figures = {}
    try:
        with tempfile.TemporaryDirectory(prefix="grivet-bench-") as folder:
            for _ in range(ROUNDS):
                for name, block in (("ours", lambda: ours(net, pathlib.Path(folder))), ("nft -f", lambda: by_nft(net)),
                                    ("iptables-restore", lambda: by_iptables(net)), ("ipset", lambda: by_ipset(net))):
                    figures.setdefault(name, []).append(block())
    finally:
        net.close()
    for index, what in enumerate(("block", "unblock")):
        medians = {name: statistics.median(pair[index] for pair in pairs) * 1000 for name, pairs in figures.items()}
        yield {"what": f"{what} {COUNT} networks, median of {ROUNDS}", "unit": "ms", "ours": medians.pop("ours"),
               "others": medians}
