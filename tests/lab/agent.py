"""Puts an agent on a lab host: the services as systemd's unit files describe them, and the files that they live by.

join() is the real way (a token, `grivet join`); install() is the quick one, for tests that need no coordinator: the
test makes every key itself.
"""

import hashlib
import json
import pathlib

from lab.host import LAB, SOURCE, USERS
from lab.keys import Key

CLASSES = {name: {"is_allowed": True, "signatures": 2, "longest_duration_s": 300, "concurrency": 1, "cool_down_s": 0}
           for name in ("network", "process", "cpu")}
CLASSES["observe"] = {"is_allowed": True, "signatures": 1, "longest_duration_s": 3600, "concurrency": 4,
                      "cool_down_s": 0}
SERVICES = ("grivet-sweep", "grivetd", "grivet-courier", "grivet-prober")


def read_unit(name):
    """{key: [values]} of the [Service] and [Unit] sections."""
    settings = {}
    for line in (SOURCE / "systemd" / f"{name}.service").read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            settings.setdefault(key, []).append(value)
    return settings


def to_argv(command, unit):
    """ExecStart= as a command of the lab: our build's program, the unit's user and capabilities."""
    words = command.lstrip("-").split()
    words[0] = f"{LAB}/bin/{pathlib.PurePath(words[0]).name}"
    prefix = ["setpriv", "--no-new-privs"] if unit.get("NoNewPrivileges") == ["yes"] else ["setpriv"]
    if "CapabilityBoundingSet" in unit:
        kept = [name.removeprefix("CAP_").lower() for name in unit["CapabilityBoundingSet"][0].split()]
        prefix.append("--bounding-set=" + ",".join(["-all", *("+" + name for name in kept)]))
    if "User" in unit:
        number = str(USERS[unit["User"][0]])
        prefix += ["--reuid", number, "--regid", number, "--clear-groups"]
    if command.startswith("-"):  # its failure does not count
        prefix = ["sh", "-c", '"$@" || true', "sh", *prefix]
    return [*prefix, "--", *words]


def unit_service(host, name, after=(), argv=None, **options):
    """Defines a service on the host as systemd/NAME.service says; what the lab's init can't do, it leaves out."""
    unit = read_unit(name)
    kind = unit.get("Type", ["simple"])[0]
    restart = unit.get("RestartSec", ["100ms"])[0]
    score = unit.get("OOMScoreAdjust")
    stop_post = [to_argv(command, unit) for command in unit.get("ExecStopPost", [])]
    settings = {"is_notify": kind == "notify", "is_oneshot": kind == "oneshot",
                "restart": unit.get("Restart") == ["always"], "restart_ms": int(restart.removesuffix("ms")),
                "oom_score_adjust": int(score[0]) if score else None, "stop_post": stop_post[0] if stop_post else None}
    host.service(name, argv or to_argv(unit["ExecStart"][0], unit), after=after, **{**settings, **options})


def write_policy(host, zone=None, labels=None, address=None, coordinators=("https://10.0.0.2:8443",), **changes):
    """agent.yaml of a lab host (JSON is YAML enough): every class allowed, an unsynchronised clock accepted."""
    policy = {"host": host.name, "environment": "lab", "labels": {**({"zone": zone} if zone else {}), **(labels or {})},
              "coordinators": list(coordinators), "require_synchronised_clock": False, "lost_contact_after_s": 60,
              "classes": CLASSES, "protected": {"processes": ["sshd"], "cidrs": []}}
    if address:
        policy["address"] = address
    host.write("/etc/grivet/agent.yaml", json.dumps({**policy, **changes}, indent=1))


def write_roots(host, order_key, people, version=1):
    """roots.json: who may approve and halt, and whose orders count."""
    keys = [{"public": key.public_text, "person": name, "roles": ["approve", "halt"]} for name, key in people.items()]
    keys.append({"public": order_key.public_text, "person": "coordinator", "roles": ["order"]})
    host.write("/etc/grivet/roots.json", json.dumps({"schema": "grivet.roots/1", "version": version,
                                                     "expires_at": "2099-01-01T00:00:00.000000Z", "keys": keys}))


def install(host, order_key, people, zone=None, labels=None, services=("grivet-sweep", "grivetd"), **changes):
    """The quick way: policy, roots and a host key as `grivet join` would leave them. Returns the host's key."""
    write_policy(host, zone, labels, **changes)
    write_roots(host, order_key, people)
    key = Key(host.name)
    host.write("/var/lib/grivet/host.key", key.file_text(), mode=0o600)
    digest = hashlib.blake2b(key.public, digest_size=32).hexdigest()
    host.write("/var/lib/grivet/replay", f"grivet-replay/1 {digest} 0\n", mode=0o600)
    start(host, services)
    return key


def join(host, enrolment, labels, address, after=(), wait=True):
    """The real way. `enrolment` = {"url", "token", "ca", "roots"}; the policy is the lab's, written before."""
    write_policy(host, labels.get("zone"), labels, address, [enrolment["url"]])
    argv = [f"{LAB}/bin/grivet", "join", enrolment["url"], "--token", enrolment["token"], "--ca", enrolment["ca"],
            "--roots", enrolment["roots"], "--name", host.name]
    host.service("grivet-join", argv, is_oneshot=True, after=after, wait=wait)
    start(host, after=["grivet-join"], wait=wait)
    unit_service(host, "grivet-ready", after=["grivetd", "grivet-courier"], wait=wait)


def start(host, services=SERVICES, after=(), wait=True):
    """Boot: the sweep's pass, then what is wanted, in the order of the units."""
    unit_service(host, "grivet-sweep-boot", after=after, wait=wait)
    for name in services:
        needs = ["grivet-sweep-boot"] if name in ("grivet-sweep", "grivetd") else ["grivetd"]
        unit_service(host, name, after=needs, wait=wait)
