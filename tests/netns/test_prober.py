"""grivet-prober against real HTTP servers in a network of its own; the test plays the executor."""

import contextlib
import json
import pathlib
import re
import socket
import statistics
import struct
import time
import uuid

import pytest

from lab.host import LAB, PYTHON, wait_until
from netns.executor_stand_in import SAMPLES, UNWATCH, WATCH, Executor

PORT = 8080


def new_order():
    return str(uuid.uuid4())


def probe(name, path="/", **more):
    return {"name": name, "kind": "http", "url": f"http://127.0.0.1:{PORT}{path}", "interval_ms": 100,
            "timeout_ms": 600, **more}


class Watch:
    """What one prober says to one executor."""

    def __init__(self, host):
        self.host = host
        self.executor = Executor(host)
        self.samples = {}
        host.service("prober", ["grivet-prober"], user="grivet-prober",
                     environment={"http_proxy": "http://127.0.0.1:1", "ALL_PROXY": "http://127.0.0.1:1"})
        self.executor.accept()

    def start(self, *probes, seconds=60):
        order = new_order()
        text = {"order": order, "run": new_order(), "until_usec": time.time_ns() // 1000 + int(seconds * 1e6),
                "probes": list(probes)}
        self.executor.send(WATCH, data=json.dumps(text).encode())
        return order

    def take(self, timeout=3):
        body = self.executor.receive_until(SAMPLES, timeout).json()
        self.samples.setdefault(body["probe"], []).extend(body["samples"])
        return body

    def take_until(self, is_enough, timeout=10):
        deadline = time.monotonic() + timeout
        while not is_enough():
            assert time.monotonic() < deadline, f"in vain: {self.samples}"
            self.take()

    def count(self, name):
        return len(self.samples.get(name, []))


def serve(host):
    host.service("server", [PYTHON, f"{LAB}/source/tests/netns/probed_server.py", PORT], restart=False)
    host.wait_listening(PORT)


def ask_server(host, what):
    return int(host.run([PYTHON, "-c", "import urllib.request as u; "
                         f"print(u.urlopen('http://127.0.0.1:{PORT}/{what}').read().decode())"]).stdout)


@pytest.fixture
def watch(host):
    serve(host)
    made = Watch(host)
    yield made
    made.executor.close()


def test_schedule_is_kept_by_absolute_time(watch):
    watch.start(probe("quick", interval_ms=50), probe("slow", "/slow"))
    watch.take_until(lambda: watch.count("quick") >= 60 and watch.count("slow") >= 25)
    for name, interval_usec in (("quick", 50_000), ("slow", 100_000)):
        times = [sample[0] for sample in watch.samples[name]]
        assert times == sorted(times)
        slots = [round((at - times[0]) / interval_usec) for at in times]
        errors = [abs(at - times[0] - slot * interval_usec) / 1000 for at, slot in zip(times, slots)]
        print(f"{name}: {len(times)} requests, off schedule by {statistics.median(errors):.2f} ms at the median, "
              f"{max(errors):.2f} ms at most, {slots[-1] + 1 - len(times)} slots missed")
        assert len(set(slots)) == len(slots) and len(times) >= 0.9 * (slots[-1] + 1)
        assert statistics.median(errors) < 5 and errors[-1] < 25  # the errors do not add up
    assert all(sample[2:] == [200, 1] for sample in watch.samples["quick"])
    assert statistics.median(sample[1] for sample in watch.samples["slow"]) > 440_000


def test_an_open_request_holds_back_later_ones(watch):
    watch.start(probe("hesitant", "/hesitant"))
    watch.take_until(lambda: watch.count("hesitant") >= 10)
    times = [sample[0] for sample in watch.samples["hesitant"]]
    assert times == sorted(times)
    assert [sample[1] > 440_000 for sample in watch.samples["hesitant"][:5]] == [False, False, True, False, False]


def test_server_stops_and_starts(watch):
    watch.start(probe("shop"))
    watch.take_until(lambda: watch.count("shop") >= 5)
    assert all(sample[2:] == [200, 1] for sample in watch.samples["shop"])
    watch.host.stop("server", grace=0.5)
    watch.take_until(lambda: [0, 0] in [sample[2:] for sample in watch.samples["shop"]])
    watch.host.start("server")
    watch.take_until(lambda: watch.samples["shop"][-1][2:] == [200, 1])
    answers = [sample[3] for sample in watch.samples["shop"]]
    lost = [i for i, answer in enumerate(answers) if not answer]
    assert answers[lost[0]:lost[-1] + 1] == [0] * len(lost), "one outage"


def test_silence_lasts_as_long_as_the_timeout(watch):
    watch.host.sh("""nft 'table inet test { chain in { type filter hook input priority 0; tcp dport 8080 drop; }; }'""")
    watch.start(probe("shop", timeout_ms=300))
    watch.take_until(lambda: watch.count("shop") >= 5)
    assert all(sample[2:] == [0, 0] and 295_000 <= sample[1] < 450_000 for sample in watch.samples["shop"])


def test_survives_the_executor(watch):
    order = watch.start(probe("shop", interval_ms=50))
    watch.take_until(lambda: watch.count("shop") >= 5)
    watch.executor.close()
    watch.host.wait_for(lambda: "the executor is gone" in watch.host.log("prober"), what="the loss to be noticed")
    before = ask_server(watch.host, "asked")
    watch.host.wait_for(lambda: ask_server(watch.host, "asked") > before + 70, what="more samples than fit a message")
    watch.executor = Executor(watch.host)
    watch.executor.accept()
    first = watch.take()
    assert first["order"] == order and len(first["samples"]) == 64
    watch.take_until(lambda: watch.count("shop") >= 100)
    times = [sample[0] for sample in watch.samples["shop"]]
    gaps = [b - a for a, b in zip(times, times[1:])]
    assert 0 < min(gaps) and max(gaps) < 250_000, "nothing is lost or doubled while the executor is away"


def test_what_counts_as_an_answer(watch):
    expect = {"status": 200, "json": {"/DatabaseConnectivity": True}}
    watch.start(probe("good", expect=expect), probe("broken", "/broken", expect=expect), probe("moved", "/moved"),
                probe("big", "/big"), probe("big-json", "/big", expect=expect),
                probe("any", "/moved", expect={"status": "200-399"}))
    watch.take_until(lambda: len(watch.samples) == 6)
    answers = {name: samples[0][2:] for name, samples in watch.samples.items()}
    assert answers == {"good": [200, 1], "broken": [200, 0], "moved": [302, 0], "big": [200, 1],
                       "big-json": [200, 0], "any": [302, 1]}


def test_fresh_and_kept_connections(watch):
    before = ask_server(watch.host, "connections")
    watch.start(probe("kept", connection="kept"), seconds=1.5)
    watch.take_until(lambda: watch.count("kept") >= 10)
    kept = ask_server(watch.host, "connections")
    assert kept - before == 2  # one is of the asking before
    watch.start(probe("fresh", connection="fresh"), seconds=1.5)
    watch.take_until(lambda: watch.count("fresh") >= 10)
    assert ask_server(watch.host, "connections") - kept >= 11


def test_ends_by_time_and_by_word(watch):
    watch.start(probe("short"), seconds=0.95)
    watch.host.wait_for(lambda: "watched to the end" in watch.host.log("prober"), what="the end")
    order = watch.start(probe("long"))
    watch.take_until(lambda: watch.count("long") >= 2)
    assert 9 <= watch.count("short") <= 11
    watch.executor.send(UNWATCH, {"order": order})
    watch.host.wait_for(lambda: watch.host.log("prober").count("watched to the end") == 2, what="the second end")


@pytest.mark.parametrize("probes, words", [
    ([probe("a", expect={"status": 99})], "probes[0].expect.status"),
    ([], "probes"),
    ([probe("a", url="file:///etc/passwd")], "expected a URL that starts with http"),
    ([probe("a", interval_ms=1)], "interval_ms"),
])
def test_bad_watch_is_said_and_left(watch, probes, words):
    watch.start(*probes)
    watch.host.wait_for(lambda: words in watch.host.log("prober"), what=words)
    assert "not watched: watch:1:" in watch.host.log("prober")
    watch.start(probe("shop"))
    watch.take_until(lambda: watch.count("shop") >= 1)


def test_gives_back_what_it_needed_to_start(host):
    executor = Executor(host)
    host.service("prober", ["grivet-prober"], user="grivet-prober")
    executor.accept()

    def mapped():
        status = pathlib.Path(f"/proc/{host.outside_pid('prober')}/status").read_text()
        return int(re.search(r"RssFile:\s+(\d+)", status)[1])
    first = mapped()
    wait_until(lambda: mapped() < 0.6 * first, 10, "less of its libraries in memory")


LOGS_TO_JOURNAL = ["sh", "-c", "JOURNAL_STREAM=$(stat -Lc %d:%i /proc/self/fd/2) exec grivet-prober"]


@contextlib.contextmanager
def journal_socket(host):
    path = host.path("/run/systemd/journal/socket")
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(path))
        path.chmod(0o666)
        journal.settimeout(5)
        yield journal


def test_tells_the_journal(host):
    executor = Executor(host)
    with journal_socket(host) as journal:
        host.service("prober", LOGS_TO_JOURNAL, user="grivet-prober")
        executor.accept()
        text = b"connected to the executor"
        assert journal.recv(4096) == (b"MESSAGE\n" + struct.pack("<Q", len(text)) + text +
                                      b"\nPRIORITY=6\nSYSLOG_IDENTIFIER=grivet-prober\n")


def test_waits_for_no_journal_that_hangs(host):
    executor = Executor(host)
    with journal_socket(host) as journal, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        with pytest.raises(BlockingIOError):
            while True:
                other.sendto(b"MESSAGE=full", socket.MSG_DONTWAIT, journal.getsockname())
        host.service("prober", LOGS_TO_JOURNAL, user="grivet-prober")
        for _ in range(2):  # what it says of the first keeps it from no second
            executor.accept()
            executor.peer.close()
