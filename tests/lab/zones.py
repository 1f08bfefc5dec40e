"""The lab of three zones: six instances behind a balancer, a client and an observer, and what they need to boot.

    core (a switch, 10.0.0.0/24, fd00::/64): coordinator, client, observer, balancer, operator
    r-az1..3 (routers): each with its zone's subnet, 10.N.0.0/24 and fd00:N::/64, behind it
"""

import dataclasses
import json

from lab.host import LAB, PYTHON, SOURCE, wait_until

ZONES = {number: f"apse2-az{number}" for number in (1, 2, 3)}
OUTSIDE = {"coordinator": 2, "client": 3, "observer": 4, "balancer": 5, "operator": 6}
COORDINATOR_PORT, STATISTICS_PORT, SYSLOG_PORT = 8443, 9999, 5514
SLOTS = 4
HAPROXY = "build/lab/haproxy/usr/sbin/haproxy"  # in the source tree
CUSTOMERS = 57

HAPROXY_CONFIG = """global
    log {coordinator}:{syslog} local0
    stats socket ipv4@0.0.0.0:{statistics} level admin
defaults
    mode http
    log global
    option dontlog-normal
    option redispatch
    retries 2
    timeout connect 500ms
    timeout client 10s
    timeout server 2s
    timeout check 500ms
frontend shop
    bind :80
    bind :::80 v6only
    default_backend web
backend web
    balance roundrobin
    option httpchk GET /health
    http-check expect status 200
    default-server check inter 500ms fall 2 rise 2
{servers}
    server-template slot {slots} 0.0.0.0:80 disabled
"""


@dataclasses.dataclass
class Instance:
    host: object
    zone: int
    number: int

    @property
    def name(self):
        return f"i-az{self.zone}-{self.number}"

    @property
    def address(self):
        return f"10.{self.zone}.0.{10 + self.number}"

    @property
    def address6(self):
        return f"fd00:{self.zone}::{10 + self.number}"


class Zones:
    """Builds the network and its plain machines; start() adds what runs on it."""

    def __init__(self, lab, deployment_zones=(1, 2)):
        self.lab = lab
        self.boot = None
        self.deployment = [f"10.{zone}.0.9" for zone in deployment_zones]
        self.instances = {}
        self.core = lab.host("core")
        self.core.ip("link add br0 type bridge", "link set br0 up")
        self.routers = {zone: self.add_router(zone) for zone in ZONES}
        for name, number in OUTSIDE.items():
            setattr(self, name, self.add_outside(name, number))
        for zone in deployment_zones:
            self.add_deployment(zone)

    def start(self, boot=lambda instance: []):
        """Two instances in each zone, then the balancer in front of them.

        boot(instance) is called for each instance, now and later, when its network is there; it returns the names of
        the services that have to be active before the instance fetches its release.
        """
        self.boot = boot
        for zone in ZONES:
            for _ in range(2):
                self.add_instance(zone)
        self.start_balancer()

    # ---- network

    def attach(self, host, switch, address, address6):
        """A cable from the host's eth0 to a port of the switch."""
        self.lab.wire(host, "eth0", switch, f"p-{host.name}"[:15])
        switch.ip(f"link set p-{host.name}"[:24] + " master br0")
        host.ip(f"addr add {address}/24 dev eth0", f"addr add {address6}/64 dev eth0 nodad")

    def add_router(self, zone):
        router = self.lab.host(f"r-az{zone}")
        self.attach(router, self.core, f"10.0.0.{100 + zone}", f"fd00::{100 + zone}")
        router.sh("echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding")
        router.ip("link add br0 type bridge", "link set br0 up", f"addr add 10.{zone}.0.1/24 dev br0",
                  f"addr add fd00:{zone}::1/64 dev br0 nodad", *self.routes(other for other in ZONES if other != zone))
        return router

    @staticmethod
    def routes(zones):
        lines = []
        for zone in zones:
            lines += [f"route add 10.{zone}.0.0/24 via 10.0.0.{100 + zone}",
                      f"route add fd00:{zone}::/64 via fd00::{100 + zone}"]
        return lines

    def add_outside(self, name, number):
        host = self.lab.host(name)
        self.attach(host, self.core, f"10.0.0.{number}", f"fd00::{number}")
        host.ip(*self.routes(ZONES))
        return host

    def add_inside(self, name, zone, number):
        host = self.lab.host(name)
        self.attach(host, self.routers[zone], f"10.{zone}.0.{number}", f"fd00:{zone}::{number}")
        host.ip(f"route add default via 10.{zone}.0.1", f"route add default via fd00:{zone}::1")
        return host

    # ---- machines

    def add_deployment(self, zone):
        """A plain machine without an agent, which serves the release to whoever boots."""
        host = self.add_inside(f"deploy-az{zone}", zone, 9)
        host.write("/run/release/version", "1.0.0\n")
        host.write("/run/release/customers.json", json.dumps([f"customer {n}" for n in range(CUSTOMERS)]))
        host.write("/run/release/service.py", (SOURCE / "tests/lab/service.py").read_text())
        host.service("deployment", [PYTHON, "-m", "http.server", "80", "--bind", "::", "--directory", "/run/release"])
        return host

    def add_instance(self, zone):
        """A new instance: its agent first, then its release, only then its service. Does not wait for any of it."""
        number = 1 + sum(instance.zone == zone for instance in self.instances.values())
        instance = Instance(None, zone, number)
        instance.host = self.add_inside(instance.name, zone, 10 + number)
        self.instances[instance.name] = instance
        script = f"{LAB}/source/tests/lab/fetch.py"
        instance.host.service("fetch", [PYTHON, script, "/run/release", *self.deployment], is_oneshot=True,
                              after=self.boot(instance), wait=False)
        instance.host.service("web", [PYTHON, "/run/release/service.py", "80", "/run/release"], after=["fetch"],
                              wait=False)
        return instance

    def start_balancer(self):
        servers = "\n".join(f"    server {instance.name} {instance.address}:80"
                            for instance in self.instances.values())
        self.balancer.write("/run/haproxy.cfg", HAPROXY_CONFIG.format(
            coordinator="10.0.0.2", syslog=SYSLOG_PORT, statistics=STATISTICS_PORT, servers=servers, slots=SLOTS))
        assert (SOURCE / HAPROXY).exists(), "no haproxy: run scripts/unpack-haproxy.sh build/lab/haproxy"
        self.balancer.service("haproxy", [f"{LAB}/source/{HAPROXY}", "-db", "-f", "/run/haproxy.cfg"])
        self.balancer.wait_listening(STATISTICS_PORT)

    def wait_in_service(self, count=6, timeout=30):
        """Until the balancer holds so many instances healthy, by checks that passed."""
        from lab.replacer import Balancer
        balancer = Balancer(self.balancer)

        def is_ready():
            return sum(server["is_in_service"] for server in balancer.servers()) >= count
        wait_until(is_ready, timeout, f"{count} instances in service", interval=0.1)
