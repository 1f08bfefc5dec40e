"""A courier that somebody has taken over: it carries orders and heads as it should, and lies about the events.

Usage: lying_courier.py LIE. It starts to lie with the proof that a fault has been exercised or has ended.
"""

import base64
import http.client
import json
import pathlib
import queue
import socket
import ssl
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from crash.executor_client import (ACK, ANSWER, ASK, CONTACT, EVENTS, FETCH, HALT, HEAD, NEWS, NONCE, ORDER,  # noqa: E402
                                   Channel, bundle, digest, when)
from lab.keys import Key  # noqa: E402

COORDINATOR = ("10.0.0.2", 8443)
FOLDER = "/var/lib/grivet-courier"
KINDS = {"order": ORDER, "ask": ASK, "halt": HALT}


class Executor(Channel):
    """The executor as its courier sees it; what it says is sorted by a thread of its own."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.connect("/run/grivet/agent.sock")
        self.said = {kind: queue.Queue() for kind in (EVENTS, HEAD, ANSWER, NEWS)}
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while message := self.receive(timeout=3600):
            self.said[message[0]].put(message[1])


class Coordinator:
    """One kept connection to the coordinator."""

    def __init__(self):
        context = ssl.create_default_context(cafile=f"{FOLDER}/ca.crt")
        context.load_cert_chain(f"{FOLDER}/tls.crt", f"{FOLDER}/tls.key")
        self.connection = http.client.HTTPSConnection(*COORDINATOR, context=context, timeout=60)

    def call(self, method, path, body=None):
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        self.connection.request(method, path, data)
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read() or b"{}")


def open_envelope(kind, envelope):
    """(kind, payload, signatures) as a bundle wants them."""
    return kind, base64.b64decode(envelope["payload"]), [base64.b64decode(each["sig"]) for each in envelope["signatures"]]


class Courier:
    def __init__(self, lie):
        self.lie = LIES[lie]
        self.executor = Executor()
        self.is_lying, self.is_deaf = False, lie == "deafen"  # to halts

    def poll(self):
        coordinator, body = Coordinator(), {"is_first": True, "boot": "b", "received": [], "head": None, "clock": None}
        while True:
            status, answer = coordinator.call("POST", "/v1/agent/poll", body)
            if status != 200:
                raise SystemExit(f"poll: {status} {answer}")
            self.executor.send(CONTACT, {"coordinator": "10.0.0.2:8443"})
            for item in answer["items"]:
                if item["kind"] == "halt" and self.is_deaf:
                    continue
                documents = [open_envelope(item["kind"], item["envelope"])]
                if "mandate" in item:
                    mandate = coordinator.call("GET", f"/v1/mandates/{item['mandate']}")[1]
                    documents.append(open_envelope("mandate", mandate))
                self.executor.send(KINDS[item["kind"]], data=bundle(*documents))
            self.executor.send(NONCE, {"nonce": answer["nonce"]})
            body = {**body, "is_first": False, "head": json.loads(self.executor.said[HEAD].get(timeout=10)),
                    "received": [item["id"] for item in answer["items"]]}

    def answers(self):
        coordinator = Coordinator()
        while True:
            coordinator.call("POST", "/v1/agent/answers", self.executor.said[ANSWER].get())

    def events(self):
        coordinator, cursor = Coordinator(), 0
        while True:
            self.executor.send(FETCH, {"after": cursor})
            lines = self.executor.said[EVENTS].get(timeout=10).splitlines()
            lines = self.tell(lines)
            if not lines:
                time.sleep(0.1)
                continue
            status, answer = coordinator.call("POST", "/v1/agent/events", b"\n".join(lines) + b"\n")
            if status == 200:
                ack = open_envelope("ack", answer["ack"])
                self.executor.send(ACK, data=bundle(ack))
                cursor = json.loads(ack[1])["sequence"]
            else:
                print(status, answer, flush=True)
                cursor = answer["sequence"] - 1
                time.sleep(0.1)

    def tell(self, lines):
        """The truth up to the first word of the effect; from there on what the lie makes of it."""
        effect = next((number for number, line in enumerate(lines) if b'"fault.exercised"' in line), None)
        if effect:
            return lines[:effect]
        self.is_lying = self.is_lying or effect == 0
        return self.lie(self, lines) if self.is_lying else lines

    def run(self):
        for work in (self.answers, self.events):
            threading.Thread(target=work, daemon=True).start()
        self.poll()


# ---- lies: from the lines as they are to the lines as they are told


def change(courier, lines):
    """The end of the fault, told in other words."""
    return [line.replace(b'"ended_by":"deadline"', b'"ended_by":"sweep"') for line in lines]


def invent(courier, lines):
    """An end before it came, chained as if it followed."""
    told = []
    for line in lines:
        told.append(line)
        event = json.loads(line)
        if event["kind"] == "fault.exercised":
            body = {"fault": "zone.block", "reverted_at": when(), "revert_error_ms": 0.1, "ended_by": "deadline",
                    "effect": {}, "is_interfered": False}
            told.append(json.dumps({**event, "sequence": event["sequence"] + 1, "previous": digest(line),
                                    "kind": "fault.reverted", "body": body}).encode())
    return told


def reorder(courier, lines):
    """The last first."""
    return lines[::-1] if len(lines) > 1 else []


def withhold(courier, lines):
    """Everything up to the proof of the effect, nothing of the end."""
    ends = [number for number, line in enumerate(lines) if b'"fault.reverted"' in line]
    return lines[:ends[0]] if ends else [line for line in lines if b'"fault.exercised"' in line]


def acknowledge(courier, lines):
    """Nothing more upstream; the executor gets an acknowledgement of the courier's own making."""
    if lines:
        last = json.loads(lines[-1])
        payload = {"schema": "grivet.ack/1", "host": last["host"], "sequence": last["sequence"],
                   "hash": digest(lines[-1]), "at": when()}
        courier.executor.send(ACK, data=bundle(("ack", json.dumps(payload).encode(), [Key("courier")])))
    return []


LIES = {"nothing": lambda courier, lines: lines, "change": change, "invent": invent, "deafen": invent,
        "reorder": reorder, "withhold": withhold, "acknowledge": acknowledge}

if __name__ == "__main__":
    Courier(sys.argv[1]).run()
