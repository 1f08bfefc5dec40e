"""What courier, prober and root can say to the executor, and everything that somebody with keys can forge."""

import array
import datetime
import fcntl
import hashlib
import json
import os
import pathlib
import select
import socket
import struct
import time

from lab.host import USERS, LabError, wait_until
from lab.keys import Key, pre_authentication

VERSION = 1
ORDER, ASK, HALT, ACK, NONCE, CLOCK, CONTACT, FETCH, SAMPLES = 1, 2, 3, 4, 5, 6, 7, 8, 16
STATUS, HALT_LOCAL, WAIT_READY = 32, 33, 34
EVENTS, NEWS, ANSWER, HEAD, WATCH, UNWATCH, STATUS_IS, HALTED, READY = 64, 65, 66, 67, 80, 81, 96, 97, 98
SEALS = 0x1 | 0x2 | 0x4 | 0x8
KINDS = ["mandate", "order", "ask", "answer", "halt", "head", "ack"]


def clock():
    return datetime.datetime.now(datetime.timezone.utc)


def when(seconds=0.0, start=None):
    """RFC 3339 in UTC, `seconds` from now or from `start`."""
    now = (start or clock()) + datetime.timedelta(seconds=seconds)
    return now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def uuid():
    data = bytearray(int(time.time() * 1000).to_bytes(6, "big") + os.urandom(10))
    data[6] = data[6] & 0x0F | 0x70
    data[8] = data[8] & 0x3F | 0x80
    text = data.hex()
    return "-".join([text[:8], text[8:12], text[12:16], text[16:20], text[20:]])


def digest(payload):
    return hashlib.blake2b(payload, digest_size=32).hexdigest()


def bundle(*documents):
    """Documents are (kind, payload, [key...]); the head has places for two, with 16 signatures each (common/bundle.c)."""
    head, payloads = b"GVB2" + struct.pack("<I", len(documents)), b""
    for kind, payload, keys in documents:
        signatures = b"".join(key if isinstance(key, bytes) else key.sign(pre_authentication(kind, payload)) for key in keys)
        head += struct.pack("<III1024s", KINDS.index(kind), len(payload), len(signatures) // 64, signatures)
        payloads += payload
    return head.ljust(8 + 2 * 1036, b"\0") + payloads


class Channel:
    """A connection to a host's executor, with the user id of `user`."""

    def __init__(self, host, user="grivet-courier"):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.news = []
        here = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
        os.chdir(host.path("/run/grivet"))
        try:
            os.seteuid(USERS.get(user, 0))
            self.socket.connect("agent.sock")
        finally:
            os.seteuid(0)
            os.fchdir(here)
            os.close(here)

    def send(self, kind, body=None, data=None, seals=SEALS):
        """Returns the time at which the message, made whole, was handed to the kernel."""
        text = json.dumps(body).encode() if body is not None else b""
        fds = []
        if data is not None:
            fds.append(os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
            os.write(fds[0], data)
            fcntl.fcntl(fds[0], fcntl.F_ADD_SEALS, seals)
        try:
            parts = [struct.pack("=HHI", VERSION, kind, len(text)) + text]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            at = time.time()
            self.socket.sendmsg(parts, rights)
            return at
        finally:
            for fd in fds:
                os.close(fd)

    def receive(self, timeout=10):
        """(kind, body or data); None when the executor has closed the channel."""
        if not select.select([self.socket], [], [], timeout)[0]:
            raise LabError(f"no message in {timeout} s")
        data, ancillary, _, _ = self.socket.recvmsg(1 << 16, socket.CMSG_SPACE(4))
        if not data:
            return None
        _, kind, _ = struct.unpack("=HHI", data[:8])
        if not ancillary:
            return kind, json.loads(data[8:]) if data[8:] else None
        fd = struct.unpack("i", ancillary[0][2])[0]
        with os.fdopen(fd, "rb") as file:
            file.seek(0)
            return kind, file.read()

    def expect(self, wanted, timeout=10):
        """The next message of that kind; what comes before it is skipped."""
        deadline = time.monotonic() + timeout
        while True:
            message = self.receive(max(0.0, deadline - time.monotonic()))
            if message is None:
                raise LabError(f"closed while waiting for message {wanted}")
            if message[0] == wanted:
                return message[1]

    def is_closed(self, timeout=5):
        while True:
            try:
                if self.receive(timeout) is None:
                    return True
            except ConnectionResetError:
                return True

    def events(self, after=0):
        """Every durable event after that number, the chain checked."""
        self.send(FETCH, {"after": after})
        lines = self.expect(EVENTS).splitlines()
        events = [json.loads(line) for line in lines]
        for line, event in zip(lines, events[1:]):
            assert event["previous"] == digest(line)
        return events

    def wait_event(self, kind, timeout=10, **wanted):
        """The first event of that kind whose fields (also of its body) are as wanted."""
        def find():
            for event in self.events():
                fields = {**event["body"], **event}
                if event["kind"] == kind and all(fields.get(key) == value for key, value in wanted.items()):
                    return event
            return None
        try:
            return wait_until(find, timeout, f"event {kind} {wanted}", 0.05)
        except LabError as error:
            raise LabError(f"{error}; there are {[(e['kind'], e['body']) for e in self.events()]}") from None


POLICY = """host: {name}
environment: lab
labels: {{zone: z1, group: web}}
coordinators: ["https://10.0.0.2:8443"]
require_synchronised_clock: false
lost_contact_after_s: {lost}
classes:
  network: {{is_allowed: true, signatures: 2, longest_duration_s: 60, concurrency: 1, cool_down_s: 0}}
"""


class Papers:
    """Keys of people and of a coordinator, and the documents that they sign for one host."""

    def __init__(self, name="host"):
        self.name = name
        self.alice, self.bob, self.order, self.halt, self.stranger, self.host = map(
            Key, ["alice", "bob", "coordinator", "halt", "mallory", name])
        self.alice_again = Key("alice-2")

    def roots(self, expires_s=86400):
        keys = [(self.alice, "alice", ["approve"]), (self.alice_again, "alice", ["approve"]),
                (self.bob, "bob", ["approve"]), (self.order, "coordinator", ["order"]), (self.halt, "halt", ["halt"])]
        return json.dumps({"schema": "grivet.roots/1", "version": 1, "expires_at": when(expires_s), "keys": [
            {"public": key.public_text, "person": person, "roles": roles} for key, person, roles in keys]})

    def install(self, host, lost=60, policy=""):
        host.write("/etc/grivet/agent.yaml", POLICY.format(name=self.name, lost=lost) + policy)
        host.write("/etc/grivet/roots.json", self.roots())
        host.write("/var/lib/grivet/host.key", self.host.file_text(), 0o600)
        host.write("/var/lib/grivet/replay", f"grivet-replay/1 {digest(self.host.public)} 0\n", 0o600)

    def mandate(self, **changes):
        step = {"name": "lose", "fault": "zone.block", "parameters": {"zone": "z1"}, "duration_ms": 1500,
                "hosts": [self.name], "late_joiners": False, **changes.pop("step", {})}
        return json.dumps({"schema": "grivet.mandate/1", "id": uuid(), "experiment": "test", "environment": "lab",
                           "created_at": when(), "not_before": when(-60), "not_after": when(600), "max_runs": 1,
                           "require_percent": 100, "warmup_ms": 0, "settle_ms": 0, "expect": {"hosts": 1},
                           "zones": {"z1": ["10.1.0.0/24"]}, "steps": [step], **changes}).encode()

    def order_payload(self, mandate, length_s=1.5, started_s=0.0, window_s=60, **changes):
        now = clock()
        return json.dumps({"schema": "grivet.order/1", "id": uuid(), "mandate": digest(mandate), "step": "lose",
                           "run": uuid(), "host": self.name, "step_started_at": when(started_s, now),
                           "start_before": when(started_s + window_s, now), "end_at": when(started_s + length_s, now),
                           **changes}).encode()

    def order_bundle(self, mandate, order, people=None, keys=None):
        return bundle(("order", order, [self.order] if keys is None else keys),
                      ("mandate", mandate, [self.alice, self.bob] if people is None else people))

    def halt_bundle(self, expires_s=60, keys=None, **changes):
        halt = {"schema": "grivet.halt/1", "id": uuid(), "scope": "fleet", "issued_at": when(expires_s - 60),
                "expires_at": when(expires_s), **changes}
        return bundle(("halt", json.dumps(halt).encode(), keys or [self.halt]))

    def ask_bundle(self, mandate, people=(), purpose="plan", keys=None, **changes):
        ask = {"schema": "grivet.ask/1", "id": uuid(), "purpose": purpose, "mandate": digest(mandate),
               "host": self.name, "issued_at": when(), "expires_at": when(300), **changes}
        return bundle(("ask", json.dumps(ask).encode(), keys or [self.order]), ("mandate", mandate, list(people)))

    def ack_bundle(self, sequence, line_hash, keys=None):
        ack = {"schema": "grivet.ack/1", "host": self.name, "sequence": sequence, "hash": line_hash, "at": when()}
        return bundle(("ack", json.dumps(ack).encode(), keys or [self.order]))
