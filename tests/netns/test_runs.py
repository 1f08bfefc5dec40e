"""An operator's way through the real coordinator, with one made-up host: plan, sign, run, kill -9, halt, report."""
import base64
import concurrent.futures
import datetime
import hashlib
import json
import pathlib
import signal
import sys
import uuid

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from test_coordinator import POLL, Coordinator, Host, namespace, openssl, wait_for  # noqa: E402,F401

EXPERIMENT = """schema: grivet.experiment/1
name: zone-outage
environment: lab
expect: {hosts: %d}
settle_s: 0
steps:
  - name: lose-az1
    fault: zone.block
    parameters: {zone: apse2-az1}
    hosts: {labels: {group: web}}
    duration_s: 30
"""


def now(seconds=0):
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seal(kind, payload, key):
    """`payload` (bytes) as an envelope signed with the openssl key file `key` (DSSE 1.0.2)"""
    type_ = f"application/vnd.grivet.{kind}+json"
    path = key.with_suffix(".pae")
    path.write_bytes(b"DSSEv1 %d %s %d %s" % (len(type_), type_.encode(), len(payload), payload))
    signature = openssl("pkeyutl", "-sign", "-rawin", "-inkey", str(key), "-in", str(path))
    return {"payloadType": type_, "payload": base64.b64encode(payload).decode(),
            "signatures": [{"keyid": "", "sig": base64.b64encode(signature).decode()}]}


class Signing(Coordinator):
    """a coordinator whose only person's key is at hand"""

    def __init__(self, folder):
        self.person = folder / "alice.pem"
        super().__init__(folder)
        openssl("genpkey", "-algorithm", "ed25519", "-out", str(self.person))
        public = openssl("pkey", "-in", str(self.person), "-pubout", "-outform", "DER")[-32:]
        roots = json.loads((self.state / "roots.json").read_text())
        for key in roots["keys"]:
            if key["person"] == "alice":
                key["public"] = base64.b64encode(public).decode()
        (self.state / "roots.json").write_text(json.dumps(roots))

    def operator_ask(self, method, path, body=None):
        return self.ask(method, path, body, self.alice())


class Agent(Host):
    boot, received = "b", []

    nonce = None

    def head(self):
        if not self.nonce:
            return None
        payload = {"schema": "grivet.head/1", "host": self.name, "boot": self.boot, "nonce": self.nonce,
                   "sequence": self.sequence, "hash": self.previous, "at": now()}
        return seal("head", json.dumps(payload).encode(), self.key)

    def poll(self, coordinator, is_first=False):
        body = {**POLL, "is_first": is_first, "received": self.received, "head": self.head()}
        status, body = coordinator.ask("POST", "/v1/agent/poll", body, self.who())
        assert status == 200, body
        self.nonce = body["nonce"]
        self.received = [item["id"] for item in body["items"]]
        return [(item["kind"], json.loads(base64.b64decode(item["envelope"]["payload"]))) for item in body["items"]]

    def next(self, coordinator, kind):
        for _ in range(5):
            for got, payload in self.poll(coordinator):
                if got == kind:
                    return payload
        raise AssertionError(f"no {kind} came")

    def answer(self, coordinator, ask, is_accepted=True):
        step = {"step": "lose-az1", "is_accepted": is_accepted, "is_victim": True, "summary": [], "limits": []}
        if not is_accepted:
            step["reason"] = "cool-down"
        payload = {"schema": "grivet.answer/1", "ask": ask["id"], "host": self.name, "mandate": ask["mandate"],
                   "at": now(), "is_accepted": is_accepted, "boot": self.boot, "steps": [step], "lifeline": [],
                   "clock": None}
        envelope = seal("answer", json.dumps(payload).encode(), self.key)
        assert coordinator.ask("POST", "/v1/agent/answers", envelope, self.who()) == (200, {})

    def says(self, coordinator, order, kind, body):
        self.sequence += 1
        line = json.dumps({"schema": "grivet.event/1", "host": self.name, "boot": "b", "sequence": self.sequence,
                           "previous": self.previous, "at": now(), "boot_nsec": 1, "clock": None, "kind": kind,
                           "run": order["run"], "order": order["id"], "step": order["step"], "body": body})
        self.previous = hashlib.blake2b(line.encode(), digest_size=32).hexdigest()
        status, body = coordinator.ask("POST", "/v1/agent/events", line + "\n", self.who())
        assert status == 200, body


@pytest.fixture
def coordinator(tmp_path):
    it = Signing(tmp_path)
    it.start()
    yield it
    it.stop()


@pytest.fixture
def host(coordinator, tmp_path):
    it = Agent(tmp_path, "web-1")
    assert it.join(coordinator, coordinator.token())[0] == 200
    it.poll(coordinator, is_first=True)
    return it


def plan(coordinator, host, is_accepted=True):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        planned = pool.submit(coordinator.operator_ask, "POST", "/v1/plan", EXPERIMENT % 1)
        host.answer(coordinator, host.next(coordinator, "ask"), is_accepted)
        return planned.result()


def start(coordinator, host):
    mandate = base64.b64decode(plan(coordinator, host)[1]["mandate"]["payload"])
    envelope = seal("mandate", mandate, coordinator.person)
    status, body = coordinator.operator_ask("POST", "/v1/runs", envelope)
    assert status == 200, body
    host.answer(coordinator, host.next(coordinator, "ask"))
    return body["run"], host.next(coordinator, "order"), envelope


def state(coordinator, run):
    return coordinator.operator_ask("GET", f"/v1/runs/{run}")[1]["state"]


def halt(coordinator, run, key):
    payload = {"schema": "grivet.halt/1", "id": str(uuid.UUID(int=7 << 76 | 2 << 62)), "scope": "run", "run": run,
               "issued_at": now(), "expires_at": now(60)}
    return coordinator.ask("POST", "/v1/halt", seal("halt", json.dumps(payload).encode(), key))


def test_plan(coordinator, host):
    status, body = plan(coordinator, host)
    assert status == 200 and body["refused"] == [] and len(body["answers"]) == 1
    mandate = json.loads(base64.b64decode(body["mandate"]["payload"]))
    assert mandate["steps"][0]["hosts"] == ["web-1"] and mandate["zones"]["apse2-az1"][0] == "10.1.0.0/24"
    assert plan(coordinator, host, is_accepted=False)[1]["refused"] == [{"host": "web-1", "reason": "cool-down"}]


@pytest.mark.parametrize("text,place", [
    (EXPERIMENT % 2, "experiment:4:10: expect.hosts: 1 hosts would get a fault, 2 are expected"),
    ((EXPERIMENT % 1).replace("az1}", "az9}"), "experiment:9:"),
    ((EXPERIMENT % 1).replace("zone.block", "zone.explode"), "experiment:8:"),
    ((EXPERIMENT % 1).replace("environment: lab", "environment: live"), "experiment:3:1: environment"),
])
def test_plan_refused(coordinator, host, text, place):
    status, body = coordinator.operator_ask("POST", "/v1/plan", text)
    assert status == 400 and body["error"].startswith(place), body


def test_run_killed_and_halted(coordinator, host):
    run, order, envelope = start(coordinator, host)
    assert order["step"] == "lose-az1" and order["run"] == run
    host.says(coordinator, order, "fault.armed", {"fault": "zone.block", "armed_at": now(), "deadline": order["end_at"]})
    assert state(coordinator, run) == "running"
    coordinator.stop(signal.SIGKILL)
    coordinator.start()
    assert state(coordinator, run) == "running"
    assert coordinator.operator_ask("POST", "/v1/runs", envelope)[0] == 409  # max_runs
    assert coordinator.operator_ask("GET", f"/v1/runs/{run}/report")[0] == 409
    assert halt(coordinator, run, host.key)[0] == 403
    with concurrent.futures.ThreadPoolExecutor() as pool:
        halted = pool.submit(halt, coordinator, run, coordinator.person)
        assert host.next(coordinator, "halt")["run"] == run
        host.says(coordinator, order, "fault.reverted", {"fault": "zone.block", "reverted_at": now(), "revert_error_ms": 2.5,
                                                         "ended_by": "halt", "is_interfered": False, "effect": {}})
        assert not halted.done()  # an event is not proof enough
        host.poll(coordinator)
        assert halted.result() == (200, {"hosts": 1, "gone": 1, "unreachable": []})
    wait_for(lambda: coordinator.operator_ask("GET", f"/v1/runs/{run}/report")[0] == 200)
    report = coordinator.operator_ask("GET", f"/v1/runs/{run}/report")[1]
    assert report["state"] == "halted" and report["verdict"] == "unknown"
    assert report["faults"][0]["revert_error_ms"] == 2.5
    body = coordinator.operator_ask("GET", f"/v1/runs/{run}/progress?after=0")[1]
    assert body["is_over"] and [line["n"] for line in body["lines"]] == list(range(1, len(body["lines"]) + 1))
    assert any("web-1 zone.block armed" in line["text"] for line in body["lines"])


def test_run_refused(coordinator, host):
    mandate = base64.b64decode(plan(coordinator, host)[1]["mandate"]["payload"])
    status, body = coordinator.operator_ask("POST", "/v1/runs", seal("mandate", mandate, host.key))
    assert status == 403 and "signed by 0 of 1 people" in body["error"]
    assert coordinator.operator_ask("GET", "/v1/runs") == (200, [])
