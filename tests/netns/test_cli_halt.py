"""grivet halt and Ctrl-C against a coordinator that a test plays."""

import base64
import json
import os
import pty
import select
import signal
import subprocess
import time

from lab.keys import Key, envelope
from netns.test_cli import GRIVET, RUN, certificates, coordinator, grivet, mandate, report, serve_run  # noqa: F401


def read_until(fd, wanted, timeout=8):
    seen, until = "", time.monotonic() + timeout
    while wanted not in seen:
        assert select.select([fd], [], [], until - time.monotonic())[0], seen
        seen += os.read(fd, 4096).decode()
    return seen


def halt_of(body, key):
    """The payload of a halt that `key` signed."""
    made = json.loads(body)
    payload = base64.b64decode(made["payload"])
    assert made == envelope("halt", payload, key)
    return json.loads(payload)


def write_halt_key(folder):
    key = Key("halt")
    (folder / "halt.key").write_text(key.file_text())
    (folder / "halt.key").chmod(0o600)
    return key


def test_control_c_asks_and_halts(coordinator, certificates, tmp_path):
    (tmp_path / "m.json").write_text(json.dumps(mandate()))
    key, halts = write_halt_key(certificates), []
    serve_run(coordinator, report("unknown", "halted"), lambda: bool(halts))
    coordinator.replies["POST", "/v1/halt"] = lambda body: halts.append(body) or {"hosts": 2, "gone": 2, "unreachable": []}
    ours, theirs = pty.openpty()
    process = subprocess.Popen([GRIVET, "run", "m.json"], cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs,
                               start_new_session=True, env={"GRIVET_CONFIG": str(certificates / "config.yaml")})
    try:
        read_until(ours, "ends in")
        process.send_signal(signal.SIGINT)
        read_until(ours, "halt this run? [y/N]")
        os.write(ours, b"n\n")
        read_until(ours, "armed")
        assert not halts
        process.send_signal(signal.SIGINT)
        read_until(ours, "halt this run? [y/N]")
        os.write(ours, b"y\n")
        read_until(ours, "all gone on 2 of 2 hosts")
        read_until(ours, "unknown: Zone")
        assert process.wait(5) == 6
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)
    payload = halt_of(halts[0], key)
    assert payload["scope"] == "run" and payload["run"] == RUN


def test_halt(grivet, coordinator, certificates):
    key = write_halt_key(certificates)
    coordinator.replies["POST", "/v1/halt"] = {"hosts": 6, "gone": 5, "unreachable": [
        {"host": "i-az1-2", "ends_at": "2026-01-31T12:00:20.000000Z"}]}
    assert grivet("halt", "--fleet", code=1).stdout == (
        "all gone on 5 of 6 hosts; unreachable: i-az1-2, ends by itself at 2026-01-31T12:00:20.000000Z\n")
    assert not coordinator.has_certificate  # a halt has to work when that has expired
    payload = halt_of(coordinator.asked[-1][2], key)
    assert payload["scope"] == "fleet" and "run" not in payload and "host" not in payload
    coordinator.replies["POST", "/v1/halt"] = {"hosts": 1, "gone": 1, "unreachable": []}
    assert grivet("halt", "--host", "i-az1-1").stdout == "all gone on 1 of 1 hosts\n"
    assert halt_of(coordinator.asked[-1][2], key)["host"] == "i-az1-1"
    assert "one of --run" in grivet("halt", "--fleet", "--host", "a", code=2).stderr
    for words, expected in ((("--run", "zone-outage"), "--run zone-outage: expected the id of a run; grivet status"),
                            (("--host", "A"), "--host A: expected the name of a host"), (("--run", ""), "expected the id")):
        assert expected in grivet("halt", *words, code=2).stderr
    assert "agent.sock" in grivet("halt", code=1).stderr  # as root, on this host: there is no executor


def test_halt_of_an_experiment(grivet, coordinator, certificates):
    write_halt_key(certificates)
    other = "0190abcd-0000-7000-8000-000000000003"
    coordinator.replies["GET", "/v1/runs"] = [
        {"run": RUN, "experiment": "a", "state": "running"}, {"run": other, "experiment": "a", "state": "starting"},
        {"run": RUN[:-1] + "9", "experiment": "a", "state": "done", "verdict": "met"},
        {"run": RUN[:-1] + "8", "experiment": "b", "state": "running"}]
    coordinator.replies["POST", "/v1/halt"] = {"hosts": 2, "gone": 1, "unreachable": [{"host": "i-1", "ends_at": None}]}
    said = json.loads(grivet("halt", "--experiment", "a", "-o", "json", code=1).stdout)
    assert said == {"hosts": 4, "gone": 2, "unreachable": [{"host": "i-1", "ends_at": None}] * 2}
    halts = [json.loads(base64.b64decode(json.loads(body)["payload"])) for _, path, body in coordinator.asked if path == "/v1/halt"]
    assert [(halt["scope"], halt["run"]) for halt in halts] == [("run", RUN), ("run", other)]
    assert "no run of c is under way" in grivet("halt", "--experiment", "c", code=1).stderr

    answers = [(404, {"error": "no run is under way"}), {"hosts": 2, "gone": 2, "unreachable": []}]
    coordinator.replies["POST", "/v1/halt"] = lambda body: answers.pop(0)
    assert grivet("halt", "--experiment", "a").stdout == "all gone on 2 of 2 hosts\n", "one ended by itself meanwhile"
    answers = [(500, {"error": "the disk is full"}), {"hosts": 2, "gone": 2, "unreachable": []}]
    said = grivet("halt", "--experiment", "a", code=1)
    assert not answers and "halted on 2 hosts, but: the disk is full" in said.stderr
