"""The command line on a host alone, towards an executor that the test plays."""

import json
import re
import subprocess
import time

import pytest

from lab.host import LAB
from netns.executor_stand_in import Executor

RUN = "0190abcd-0000-7000-8000-000000000002"
STATUS, HALT_LOCAL, WAIT_READY, STATUS_IS, HALTED, READY = 32, 33, 34, 96, 97, 98


@pytest.fixture
def executor(host):
    made = Executor(host)
    yield made
    made.close()


def ask_locally(host, executor, words, request, answer, body=None, data=None):
    """Runs grivet on the host while the test answers as its executor."""
    process = host.popen([f"{LAB}/bin/grivet", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    executor.accept()
    assert executor.receive().kind == request
    executor.send(answer, body, data)
    out, error = process.communicate(timeout=5)
    executor.hang_up()
    return process.returncode, out, error


def test_on_a_host_alone(host, executor):
    fault = {"order": RUN, "run": RUN, "step": "lose-az1", "fault": "zone.block", "state": "armed",
             "deadline": "2026-01-31T12:00:20.000000Z", "seconds_left": 7.5}
    status = json.dumps({"host": "i-az1-1", "is_halted": False, "faults": [fault]}).encode()
    for words in (["status"], ["status", "--local"]):
        code, out, _ = ask_locally(host, executor, words, STATUS, STATUS_IS, data=status)
        assert code == 0 and "host: i-az1-1" in out and re.search(RUN + " +zone.block +lose-az1 +armed", out)
    status = json.dumps({"host": "i-az1-1", "faults": []}).encode()
    assert "no fault is active" in ask_locally(host, executor, ["status"], STATUS, STATUS_IS, data=status)[1]
    code, out, _ = ask_locally(host, executor, ["halt"], HALT_LOCAL, HALTED, {"ended": 2})
    assert code == 0 and out == "ended 2 fault(s) on this host\n"


def test_wait_ready(host, executor):
    words = ["wait-ready", "--timeout-s", "3"]
    ready = {"is_ready": True, "waited_ms": 12, "reason": ""}
    code, out, _ = ask_locally(host, executor, words, WAIT_READY, READY, ready)
    assert code == 0 and out == "ready after 12 ms\n"
    code, out, _ = ask_locally(host, executor, [*words, "-o", "json"], WAIT_READY, READY, ready)
    assert code == 0 and json.loads(out) == ready
    late = {"is_ready": False, "waited_ms": 15000, "reason": "no coordinator has answered"}
    code, out, _ = ask_locally(host, executor, words, WAIT_READY, READY, late)
    assert code == 1 and "NOT ready after 15000 ms: no coordinator has answered" in out
    code, _, error = ask_locally(host, executor, words, WAIT_READY, STATUS_IS, {})
    assert code == 1 and "unknown message" in error
    started = time.monotonic()
    silent = host.popen([f"{LAB}/bin/grivet", "wait-ready", "--timeout-s", "1"], stderr=subprocess.PIPE, text=True)
    executor.accept()
    assert silent.wait(5) == 1 and 0.9 < time.monotonic() - started < 3
    assert "did not answer in time" in silent.stderr.read()
