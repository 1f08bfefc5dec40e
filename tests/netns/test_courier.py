"""grivet-courier between an executor and a coordinator that the test plays, over the real socket and real TLS."""

import hashlib
import json
import struct
import subprocess
import threading
import time
import uuid

import pytest

from lab.keys import Key, envelope
from netns.coordinator_stand_in import Coordinator, make_certificates
from netns.executor_stand_in import (ACK, ANSWER, ASK, CLOCK, CONTACT, EVENTS, FETCH, HALT, HEAD, NEWS, NONCE, ORDER,
                                     Executor)

KEY = Key("order")
STATE = "/var/lib/grivet-courier"


def hash_of(payload):
    return hashlib.blake2b(payload, digest_size=32).hexdigest()


def item(kind, mandate=None, payload=b'{"some": "order"}'):
    made = {"id": str(uuid.uuid4()), "kind": kind, "envelope": envelope(kind, payload, KEY)}
    return {**made, "mandate": mandate} if mandate else made


def unbundle(data):
    """common/bundle.c: [(kind, payload, signatures)]"""
    magic, count = struct.unpack_from("<4sI", data)
    assert magic == b"GVB2"
    at, documents = 8 + 2 * 1036, []
    for number in range(count):
        kind, length, signatures = struct.unpack_from("<III", data, 8 + 1036 * number)
        documents.append((kind, data[at:at + length], signatures))
        at += length
    assert at == len(data)
    return documents


class SlowMandates(dict):
    def __init__(self, released, mandates):
        super().__init__(mandates)
        self.asked, self.released, self.n_asked = threading.Event(), released, 0

    def get(self, key, default=None):
        self.n_asked += 1
        self.asked.set()
        self.released.wait(9)
        return super().get(key, default)


class Courier:
    def __init__(self, host, folder, days=30, urls=("https://127.0.0.1:8443",)):
        self.host = host
        self.executor = Executor(host)
        make_certificates(folder, days)
        for name, source in (("ca.crt", "ca.crt"), ("tls.crt", "agent.crt"), ("tls.key", "agent.key")):
            host.write(f"{STATE}/{name}", (folder / source).read_text(), 0o600, "grivet-courier")
        host.write("/etc/grivet/agent.yaml", f"host: i-1\nenvironment: lab\ncoordinators: {json.dumps(urls)}\n")
        self.coordinator = Coordinator(host, folder, 8443)
        self.folder = folder

    def begin(self):
        self.host.service("courier", ["grivet-courier"], user="grivet-courier", restart_ms=100)
        self.executor.accept()

    def sign_head(self, nonce):
        self.executor.send(HEAD, data=json.dumps(envelope("head", nonce.body, KEY)).encode())

    def go_on(self, *kinds):
        """Answers fetches with nothing and nonces with heads until one of `kinds` comes; returns it."""
        until = time.monotonic() + 30
        while True:
            assert time.monotonic() < until, f"none of {kinds} comes"
            message = self.executor.receive()
            assert message, "the courier is gone"
            if message.kind in kinds:
                return message
            if message.kind == FETCH:
                self.executor.send(EVENTS, data=b"")
            elif message.kind == NONCE:
                self.sign_head(message)


@pytest.fixture
def courier(host, tmp_path):
    made = Courier(host, tmp_path)
    yield made
    made.coordinator.close()
    made.executor.close()


def test_order_is_delivered_and_then_reported(courier):
    mandate = b'{"some": "mandate"}'
    courier.coordinator.mandates[hash_of(mandate)] = envelope("mandate", mandate, KEY, Key("bob"))
    order, ask = item("order", hash_of(mandate)), item("ask", hash_of(mandate))
    courier.coordinator.items.put([order, ask])
    courier.begin()
    clock = courier.go_on(CLOCK).json()
    assert abs(clock["offset_usec"]) <= clock["bound_usec"] + 1000 and clock["bound_usec"] < 200_000
    for kind, number in ((ORDER, 1), (ASK, 2)):
        documents = unbundle(courier.go_on(kind, CONTACT).data)
        assert documents == [(number, b'{"some": "order"}', 1), (0, mandate, 2)]
    assert courier.go_on(CONTACT).json() == {"coordinator": "127.0.0.1:8443"}
    first = courier.coordinator.polls.get(timeout=5)
    assert first["clock"] == clock
    assert first["is_first"] and first["received"] == [] and first["head"] is None and len(first["boot"]) == 36
    courier.go_on(CLOCK)  # the nonce was signed on the way here
    second = courier.coordinator.polls.get(timeout=5)
    assert not second["is_first"] and second["received"] == [order["id"], ask["id"]]
    assert second["head"]["payloadType"] == "application/vnd.grivet.head+json"
    courier.go_on(CLOCK)
    assert courier.coordinator.polls.get(timeout=5)["received"] == []


def test_halt_goes_first_and_needs_nothing(courier):
    order, halt = item("order", "0" * 64), item("halt", payload=b'{"some": "halt"}')
    courier.coordinator.items.put([order, halt])
    courier.begin()
    assert unbundle(courier.go_on(HALT, ORDER, CONTACT).data) == [(4, b'{"some": "halt"}', 1)]
    assert courier.go_on(CONTACT, CLOCK).kind == CLOCK, "no contact while an order could not be handed over"
    courier.coordinator.polls.get(timeout=5)
    assert courier.coordinator.polls.get(timeout=5)["received"] == [halt["id"]]
    assert "status 404: {\"error\": \"no such mandate\"}" in courier.host.log("courier").replace("\\", "")


def test_halt_overtakes_a_slow_mandate(courier):
    """While a mandate is on its way, polls go on, so that a halt arrives within a second; then the order follows."""
    mandate, released = b'{"some": "mandate"}', threading.Event()
    courier.coordinator.mandates = SlowMandates(released, {hash_of(mandate): envelope("mandate", mandate, KEY)})
    order, halt = item("order", hash_of(mandate)), item("halt", payload=b'{"some": "halt"}')
    courier.coordinator.items.put([order])
    courier.begin()
    try:
        assert courier.coordinator.mandates.asked.wait(5)
        courier.coordinator.items.put([order, halt])
        since = time.monotonic()
        assert unbundle(courier.go_on(HALT, ORDER, CONTACT).data) == [(4, b'{"some": "halt"}', 1)]
        assert time.monotonic() - since < 1
    finally:
        released.set()
    assert courier.go_on(ORDER, CONTACT).kind == ORDER
    received = []
    while order["id"] not in received:
        courier.go_on(CLOCK)
        received += courier.coordinator.polls.get(timeout=5)["received"]
    assert received == [halt["id"], order["id"]]


def test_few_mandates_are_fetched_at_once(courier):
    """However many a coordinator names: each may be 8 MiB. The others follow."""
    mandates, released = [b'{"mandate": %d}' % n for n in range(7)], threading.Event()
    slow = SlowMandates(released, {hash_of(each): envelope("mandate", each, KEY) for each in mandates})
    courier.coordinator.mandates = slow
    orders = [item("order", hash_of(each)) for each in mandates]
    for _ in range(30):
        courier.coordinator.items.put(orders)
    courier.begin()
    try:
        for _ in range(3):  # a head has answered each, though nothing could be handed over
            assert courier.go_on(CLOCK, ORDER).kind == CLOCK
        assert slow.n_asked == 4
    finally:
        released.set()
    assert sorted(unbundle(courier.go_on(ORDER).data)[1][1] for _ in mandates) == mandates
    assert "more than 4 mandates at once" in courier.host.log("courier")


def test_the_largest_mandate(courier):
    mandates = [b"x" * ((8 << 20) + more) for more in (0, 1)]
    for each in mandates:
        courier.coordinator.mandates[hash_of(each)] = envelope("mandate", each, KEY)
    courier.coordinator.items.put([item("order", hash_of(each)) for each in mandates])
    courier.begin()
    assert unbundle(courier.go_on(ORDER).data)[1] == (0, mandates[0], 1)
    assert courier.go_on(ORDER, CLOCK).kind == CLOCK
    courier.host.wait_for(lambda: "8388609 bytes; at most 8388608 are taken" in courier.host.log("courier"), what="the refusal")


def test_another_mandate_is_not_passed_on(courier):
    courier.coordinator.mandates["0" * 64] = envelope("mandate", b'{"other": 1}', KEY)
    courier.coordinator.items.put([item("order", "0" * 64)])
    courier.begin()
    assert courier.go_on(ORDER, CONTACT, NONCE).kind == NONCE
    assert "mandate 000000000000: the coordinator sent another one" in courier.host.log("courier")


def test_a_late_head_proves_nothing(courier):
    halt = item("halt")
    courier.coordinator.items.put([halt])
    courier.begin()
    courier.go_on(HALT)
    courier.go_on(CONTACT)
    nonce = courier.go_on(NONCE)
    courier.executor.send(HEAD, data=json.dumps(envelope("head", b'{"nonce": "an earlier one"}', KEY)).encode())
    assert courier.coordinator.polls.get(timeout=5)["received"] == []
    courier.sign_head(nonce)
    courier.go_on(CLOCK)
    assert courier.coordinator.polls.get(timeout=5)["received"] == [halt["id"]]


def test_malformed_items_are_said_and_dropped(courier):
    bad = item("halt")
    bad["envelope"]["payload"] = "!"
    courier.coordinator.items.put([bad, item("halt", payload=b"good")])
    courier.begin()
    assert unbundle(courier.go_on(HALT).data) == [(4, b"good", 1)]
    courier.go_on(CONTACT)


def test_item_is_handed_over_again_when_the_executor_dies(courier):
    halt = item("halt")
    courier.coordinator.items.put([halt])
    courier.begin()
    courier.go_on(HALT)
    courier.executor.close()  # before it signed the nonce: it may never have read the halt
    courier.coordinator.items.put([halt])
    courier.executor = Executor(courier.host)
    courier.executor.accept()
    courier.go_on(HALT)
    courier.coordinator.polls.get(timeout=5)
    assert courier.coordinator.polls.get(timeout=5)["is_first"], "readiness of the new executor waits for the answer"


def test_courier_is_killed(courier):
    halt = item("halt")
    courier.begin()
    courier.go_on(CONTACT)
    assert courier.coordinator.polls.get(timeout=5)["is_first"]
    courier.host.kill("courier")
    courier.coordinator.items.put([halt])
    courier.executor.accept()
    courier.go_on(HALT)
    while not courier.coordinator.polls.get(timeout=5)["is_first"]:
        pass  # a poll of the courier that died


def ack(sequence):
    return {"ack": envelope("ack", {"schema": "grivet.ack/1", "host": "i-1", "sequence": sequence, "hash": "0" * 64,
                                    "at": "2026-01-01T00:00:00.000000Z"}, KEY)}


def line(sequence):
    return json.dumps({"sequence": sequence}).encode() + b"\n"


def test_events_until_they_are_acknowledged(courier):
    answers = iter([(503, {"error": "the disk is full"}), (409, {"error": "a break", "sequence": 2}), (200, ack(3))])
    courier.coordinator.replies["/v1/agent/events"] = lambda lines: next(answers)
    courier.begin()
    assert courier.go_on(FETCH, ACK).json() == {"after": 0}
    courier.executor.send(EVENTS, data=line(1) + line(2))
    assert courier.go_on(FETCH, ACK).json() == {"after": 0}, "a failure is tried again"
    courier.executor.send(EVENTS, data=line(1) + line(2))
    assert courier.go_on(FETCH, ACK).json() == {"after": 1}, "a 409 says where to go on"
    courier.executor.send(EVENTS, data=line(2) + line(3))
    message = courier.go_on(FETCH, ACK)
    assert message.kind == ACK and json.loads(unbundle(message.data)[0][1])["sequence"] == 3
    assert courier.go_on(FETCH).json() == {"after": 3}
    courier.executor.send(NEWS, {"last": 4})
    courier.executor.send(EVENTS, data=b"")
    assert courier.go_on(FETCH).json() == {"after": 3}, "news that came in between are not forgotten"
    posted = [courier.coordinator.posts.get(timeout=5)[1] for _ in range(3)]
    assert [[event["sequence"] for event in lines] for lines in posted] == [[1, 2], [1, 2], [2, 3]]


def test_many_events_are_cut_at_a_line(courier):
    courier.coordinator.replies["/v1/agent/events"] = lambda lines: (200, ack(lines[-1]["sequence"]))
    courier.begin()
    courier.go_on(FETCH)
    lines = [json.dumps({"sequence": n, "fill": "x" * 30000}).encode() + b"\n" for n in range(1, 51)]
    courier.executor.send(EVENTS, data=b"".join(lines))
    courier.go_on(ACK)
    _, posted = courier.coordinator.posts.get(timeout=5)
    assert posted[-1]["sequence"] == len(posted) == (1 << 20) // len(lines[-1])
    assert courier.go_on(FETCH).json() == {"after": len(posted)}


def test_answers_are_retried(courier):
    replies = {0: [(200, {}), (503, {"error": "busy"})], 1: [(400, {"error": "not yours"})], 2: [(200, {})]}
    courier.coordinator.replies["/v1/agent/answers"] = lambda body: replies[body["answer"]].pop()
    courier.begin()
    for number in range(3):
        courier.executor.send(ANSWER, data=json.dumps({"answer": number}).encode())
    posted = [courier.coordinator.posts.get(timeout=5)[1]["answer"] for _ in range(4)]
    assert sorted(posted) == [0, 0, 1, 2] and not any(replies.values())
    courier.host.wait_for(lambda: "not yours" in courier.host.log("courier"), what="the refusal in the log")


def test_next_coordinator_when_one_is_dead(host, tmp_path):
    courier = Courier(host, tmp_path, urls=["https://127.0.0.1:8444", "https://127.0.0.1:8443"])
    courier.begin()
    assert courier.go_on(CONTACT).json() == {"coordinator": "127.0.0.1:8443"}
    assert "127.0.0.1 port 8444" in host.log("courier")
    courier.coordinator.close()
    courier.executor.close()


def test_certificate_is_renewed(host, tmp_path):
    courier = Courier(host, tmp_path, days=9)
    before = host.read(f"{STATE}/tls.crt")

    def renew(body):
        (tmp_path / "new.csr").write_text(body["csr"])
        make = "openssl x509 -req -in new.csr -CA ca.crt -CAkey ca.key -days 30"
        text = subprocess.run(make.split(), cwd=tmp_path, check=True, capture_output=True, text=True).stdout
        return 200, {"certificate": text}
    courier.coordinator.replies["/v1/agent/renew"] = renew
    courier.begin()
    host.wait_for(lambda: host.read(f"{STATE}/tls.crt") != before, what="a new certificate")
    assert host.path(f"{STATE}/tls.crt").stat().st_mode & 0o777 == 0o600
    courier.go_on(CONTACT)
    courier.coordinator.close()
    courier.executor.close()


@pytest.mark.parametrize("text, words", [
    ("host: i-1\ncoordinators: [http://10.0.0.2]\n", "agent.yaml:2:16: coordinators[0]: expected a URL"),
    ("host: i-1\ncoordinators: [https://10.0.0.2/v1]\n", "expected scheme, host and port only"),
    ("host: i-1\n", "coordinators: expected a list of 1 to 16 URLs"),
    ("coordinators: [https://10.0.0.2]\n", "host: expected this host's id"),
])
def test_bad_configuration(host, text, words):
    host.write("/etc/grivet/agent.yaml", text)
    result = host.run(["grivet-courier"], check=False)
    assert result.returncode == 1 and words in result.stderr, result.stderr
