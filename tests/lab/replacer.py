"""The replacer: stands in for an Auto Scaling group, and is nothing more than that.

When the balancer has held an instance unhealthy for longer than a grace period, it starts a new one in another zone and
puts it into a free slot of the balancer once it has an address. A real group also waits for deregistration, checks the
machine itself and ends the old instance; none of that happens here (docs/lab.md).
"""

import csv
import time

GRACE_S = 2.0
BACKEND = "web"


class Balancer:
    """HAProxy's statistics socket."""

    def __init__(self, host, port=9999):
        self.host = host
        self.port = port

    def command(self, text):
        with self.host.connect("127.0.0.1", self.port, timeout=2) as connection:
            connection.sendall(text.encode() + b"\n")
            parts = []
            while part := connection.recv(65536):
                parts.append(part)
        return b"".join(parts).decode().strip()

    def servers(self):
        """[{"name", "address", "status", "is_in_service", "is_free"}] of the backend."""
        found = []
        for row in csv.DictReader(self.command("show stat").lstrip("# ").splitlines()):
            if row["pxname"] == BACKEND and row["svname"] != "BACKEND":
                found.append({"name": row["svname"], "address": row["addr"].rpartition(":")[0], "status": row["status"],
                              "is_in_service": row["status"].startswith("UP") and
                              row["check_status"].removeprefix("* ") == "L7OK",  # "* " = a check is under way
                              "is_free": row["status"].startswith("MAINT")})
        return found

    def fill(self, slot, address):
        """Puts an address into a slot as *down*: it comes into service by its own checks, never before."""
        for line in (f"set server {BACKEND}/{slot} addr {address} port 80",
                     f"enable health {BACKEND}/{slot}; set server {BACKEND}/{slot} health down; "
                     f"set server {BACKEND}/{slot} state ready; set server {BACKEND}/{slot} health down"):
            self.command(line)


class Replacer:
    """Call step() often; it never waits."""

    def __init__(self, zones, grace_s=GRACE_S, say=lambda text: None):
        self.zones = zones
        self.balancer = Balancer(zones.balancer)
        self.grace_s = grace_s
        self.say = say
        self.down_since = {}
        self.replaced = {}  # name of the instance given up -> its replacement

    def step(self):
        now = time.monotonic()
        servers = self.balancer.servers()
        slots = [server["name"] for server in servers if server["is_free"]]
        for server in servers:
            name = server["name"]
            if name not in self.zones.instances or name in self.replaced:
                continue
            if not server["status"].startswith("DOWN"):
                self.down_since.pop(name, None)
            elif now - self.down_since.setdefault(name, now) > self.grace_s and slots:
                self.replace(name, slots.pop(0))

    def replace(self, name, slot):
        lost = self.zones.instances[name].zone
        others = [zone for zone in self.zones.routers if zone != lost]
        zone = min(others, key=lambda number: sum(i.zone == number for i in self.zones.instances.values()))
        instance = self.zones.add_instance(zone)
        self.replaced[name] = instance
        self.balancer.fill(slot, instance.address)
        self.say(f"replacer: {name} was unhealthy for {self.grace_s:g} s: {instance.name} started ({slot})")
