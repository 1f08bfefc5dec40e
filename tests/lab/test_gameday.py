"""./gameday as a user runs it: verdicts, sentences, reports, looking around, and nothing left afterwards."""

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import subprocess
import termios

import pytest

from lab.host import SOURCE, wait_until

REPORT = {"schema", "verdict", "sentence", "t0", "start_skew_ms", "steps", "faults", "endpoints", "balancer", "replacements",
          "objectives"}
FAULT = {"host", "fault", "state", "armed_at", "exercised_at", "deadline", "reverted_at", "revert_error_ms", "effect",
         "verdict"}
ENDPOINT = {"name", "from", "detect_ms", "recover_ms", "requests", "lost", "transitions"}
REPLACEMENT = {"instance", "started_at", "in_service_at", "waiting_for"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
TIMEOUT_S = 180


class Gameday:
    """One run of ./gameday in the background, its output in a file."""

    def __init__(self, folder, *options):
        self.folder = folder
        self.output = folder / "output"
        with open(self.output, "w") as output:
            self.process = subprocess.Popen(["./gameday", "--output", folder, *options], cwd=SOURCE, stdout=output,
                                            stderr=output, stdin=subprocess.DEVNULL, start_new_session=True)

    def text(self):
        return self.output.read_text()

    def wait_for_line(self, word):
        def is_there():
            assert self.process.poll() is None, self.text()
            return word in self.text()
        wait_until(is_there, TIMEOUT_S, repr(word), interval=0.1)

    def wait(self):
        return self.process.wait(TIMEOUT_S)

    def enter(self, host, *command):
        return subprocess.run([SOURCE / "gameday", "--output", self.folder, "enter", host, *command],
                              capture_output=True, text=True, timeout=20, check=True).stdout

    def interrupt(self):
        os.killpg(self.process.pid, signal.SIGINT)

    def report(self):
        return json.loads((self.folder / "report.json").read_text())

    def leavings(self):
        """Processes that have this run's folder on their command line: every init has."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if str(self.folder) in open(f"/proc/{pid}/cmdline").read():
                    found.append(pid)
            except OSError:
                pass
        return found


@pytest.fixture
def start(tmp_path):
    runs = []

    def make(*options):
        runs.append(Gameday(tmp_path, *options))
        return runs[-1]
    yield make
    for run in runs:
        if run.process.poll() is None:
            os.killpg(run.process.pid, signal.SIGTERM)
            run.wait()


def check_form(report):
    assert REPORT <= set(report)
    assert report["schema"] == "grivet.report/1"
    assert TIME.fullmatch(report["t0"])
    for fault in report["faults"]:
        assert FAULT <= set(fault)
        assert fault["state"] == "reverted", fault
        assert TIME.fullmatch(fault["reverted_at"])
        assert abs(fault["revert_error_ms"]) < 1000, fault
    for endpoint in report["endpoints"]:
        assert ENDPOINT <= set(endpoint)
    for replacement in report["replacements"]:
        assert REPLACEMENT <= set(replacement)


def test_zone_outage_is_met_and_leaves_nothing(start):
    gameday = start("--experiment", "zone-outage", "--keep")
    gameday.wait_for_line("The lab is up:")
    for host in ("i-az1-1", "i-az2-1", "i-az2-3"):
        assert gameday.enter(host, "nft", "list", "ruleset") == ""
        assert gameday.enter(host, "ls", "/run/grivet/active") == ""
    namespace = gameday.enter("client", "readlink", "/proc/self/ns/net")
    assert namespace.strip() != os.readlink("/proc/self/ns/net")
    gameday.interrupt()
    assert gameday.wait() == 0
    assert not gameday.leavings()
    with pytest.raises(subprocess.CalledProcessError):
        gameday.enter("client", "true")

    report = gameday.report()
    check_form(report)
    assert report["verdict"] == "met", report["sentence"]
    assert report["sentence"] in gameday.text()
    assert len(report["faults"]) == 8  # six instances and two replacements
    assert all(replacement["in_service_at"] for replacement in report["replacements"])
    assert {objective["verdict"] for objective in report["objectives"]} == {"met"}
    inside = next(endpoint for endpoint in report["endpoints"] if endpoint["name"] == "i-az1-1-health")
    assert inside["detect_ms"] and inside["lost"] > 10
    assert any("i-az1-1" in json.dumps(entry) for entry in report["balancer"])


def test_single_deployment_server_is_missed(start):
    gameday = start("--experiment", "zone-outage-single-deployment")
    assert gameday.wait() == 3, gameday.text()
    report = gameday.report()
    check_form(report)
    assert report["verdict"] == "missed"
    assert "2 replacements started, 0 in service, waiting for 10.1.0.9:80" in report["sentence"]
    assert report["sentence"] in gameday.text()
    assert [replacement["waiting_for"] for replacement in report["replacements"]] == [["10.1.0.9:80"]] * 2
    assert not gameday.leavings()


def test_process_kill_is_met(start):
    gameday = start("--experiment", "process-kill")
    assert gameday.wait() == 0, gameday.text()
    report = gameday.report()
    assert report["verdict"] == "met"
    assert [fault["fault"] for fault in report["faults"]] == ["process.kill"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killed_in_the_middle_leaves_nothing(start, number):
    gameday = start()
    gameday.wait_for_line("zone.block armed")
    os.killpg(gameday.process.pid, number)
    gameday.wait()
    wait_until(lambda: not gameday.leavings(), 10, "the end of every host")


def test_usage_errors_change_nothing(start, tmp_path):
    for options, word in ((["--experiment", "nonesuch"], "there is no experiments/nonesuch.yaml"),
                          (["--nonsense"], "unknown word '--nonsense'"), (["--output"], "--output needs a value")):
        refused = subprocess.run([SOURCE / "gameday", *options], capture_output=True, text=True, check=False)
        assert refused.returncode == 2 and word in refused.stderr
    helped = subprocess.run([SOURCE / "gameday", "--help"], capture_output=True, text=True, check=True)
    assert "zone-outage-single-deployment" in helped.stdout


def test_ctrl_c_on_a_terminal_asks(tmp_path):
    """n goes on, y halts: the answer is for `grivet run`, and what is around it waits for its end."""
    controller, terminal = pty.openpty()
    process = subprocess.Popen(["./gameday", "--output", tmp_path], cwd=SOURCE, stdin=terminal, stdout=terminal,
                               stderr=terminal, start_new_session=True,
                               preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    os.close(terminal)
    os.set_blocking(controller, False)
    seen = bytearray()

    def wait_for(words, timeout=60):
        def has_come():
            with contextlib.suppress(BlockingIOError, OSError):
                seen.extend(os.read(controller, 1 << 16))
            return words in seen
        wait_until(has_come, timeout, words.decode(), interval=0.05)
        del seen[:seen.index(words) + len(words)]
    try:
        wait_for(b"zone.block exercised")
        for answer in (b"n", b"y"):
            os.write(controller, b"\x03")
            wait_for(b"[y/N]", 10)
            os.write(controller, answer + b"\n")
            if answer == b"n":
                wait_for(b"running", 10)
        wait_for(b"halted", 20)
        assert process.wait(30) == 6
        assert json.loads((tmp_path / "report.json").read_text())["state"] == "halted"
    finally:
        os.close(controller)
        process.terminate()
        process.wait(30)
