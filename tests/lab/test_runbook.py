"""docs/runbook.md, each command as it is written there, on hosts that are in the trouble it is for."""

import os
import re
import signal

import pytest

from lab.fleet import FOLDER, GRIVET
from lab.host import SOURCE, Lab, wait_until
from lab.small import Small, wait_event

RUNBOOK = (SOURCE / "docs/runbook.md").read_text()
SHAPE = """schema: grivet.experiment/1
name: slow
environment: lab
expect: {hosts: 1}
steps:
  - {name: slow, fault: network.shape, parameters: {cidrs: [10.0.0.6/32], rate_kbit: 64}, duration_s: 60,
     hosts: {labels: {group: web}}}
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    with Lab(logs=tmp_path_factory.mktemp("runbook") / "logs") as lab:
        made = Small(lab)
        made.add_agent("web-1", 1, 11)
        made.wait_ready()
        made.web = made.hosts["web-1"]
        yield made


def begin(fleet, is_shape=False):
    """A fault of a minute on web-1, in force. Returns the run."""
    if is_shape:
        fleet.operator.write(f"{FOLDER}/slow.yaml", SHAPE)
        fleet.operator.run([GRIVET, "plan", f"{FOLDER}/slow.yaml", "--file", f"{FOLDER}/mandate.json"])
        for person in ("alice", "bob"):
            fleet.operator.run([GRIVET, "sign", f"{FOLDER}/mandate.json", "--key", f"{FOLDER}/{person}.key", "--hosts", "1"])
        run = fleet.operator.run([GRIVET, "run", f"{FOLDER}/mandate.json", "--detach"]).stdout.strip()
    else:
        run = fleet.begin(hosts=1, seconds=60)
    wait_event(fleet.web, run, "fault.exercised")
    return run


def written(host, command, ok=True, **places):
    """Runs a command of the runbook, with its placeholders filled in."""
    assert re.search(rf"[`\n ]{re.escape(command)}[`\n ]", RUNBOOK), f"the runbook does not say: {command}"
    for name, value in places.items():
        command = command.replace(name, value)
    said = host.sh(command, check=False)
    assert (said.returncode == 0) == ok, (command, said)
    return said.stdout + said.stderr


def stop_all(host):
    for process in host.processes():
        if process["name"] in ("grivetd", "grivet-holder"):
            os.kill(process["pid"], signal.SIGSTOP)


def resume(host):
    for process in host.processes():
        if process["name"] == "grivetd":
            os.kill(process["pid"], signal.SIGCONT)


def is_gone(host):
    return not re.search("grivet", host.sh("nft list tables; ip link").stdout)


def by_halt(host):
    assert written(host, "grivet halt") == "ended 1 fault(s) on this host\n"


def by_file(host):
    written(host, "touch /run/grivet/halt")
    wait_until(lambda: is_gone(host), 5, "the end by the file")
    written(host, "rm /run/grivet/halt")


def by_sweep(host):
    stop_all(host)
    assert re.fullmatch(r"grivet-sweep: \S+: ended \S+ \(swept\)\n", written(host, "grivet-sweep"))


def by_kill(host):
    stop_all(host)
    written(host, "pkill -KILL -x grivet-holder")
    wait_until(lambda: not re.search("grivet", host.sh("nft list tables").stdout), 5, "the tables to die with their owner")
    written(host, "grivet-sweep")


@pytest.mark.parametrize("is_shape", [False, True], ids=["block", "shape"])
@pytest.mark.parametrize("way", [by_halt, by_file, by_sweep, by_kill])
def test_ways_to_end_everything(fleet, way, is_shape):
    run = begin(fleet, is_shape)
    way(fleet.web)
    assert is_gone(fleet.web)
    resume(fleet.web)
    wait_event(fleet.web, run, "fault.reverted")
    assert written(fleet.web, "grivet-sweep") == ""
    wait_until(lambda: not os.listdir(fleet.web.path("/run/grivet/active")), 5, "the record's end")


def test_halt_with_the_key_alone(fleet):
    run = begin(fleet)
    fleet.operator.sh("cp ~/.config/grivet/halt.key . && mv ~/.config/grivet/alice.crt ~/.config/grivet/away")
    try:
        assert written(fleet.operator, "grivet halt --fleet --key halt.key") == "all gone on 1 of 1 hosts\n"
    finally:
        fleet.operator.sh("mv ~/.config/grivet/away ~/.config/grivet/alice.crt")
    assert wait_event(fleet.web, run, "fault.reverted")["body"]["ended_by"] == "halt"


def test_is_it_us_and_what_the_table_says(fleet):
    run = begin(fleet, is_shape=True)
    web = fleet.web
    assert "network.shape" in written(web, "grivet status")
    tables = written(web, "nft list tables | grep grivet").splitlines()
    assert "grivet" in written(web, "ip link | grep grivet")
    order = written(web, "ls /run/grivet/active").strip()
    record = written(web, "cat /run/grivet/active/ID", ID=order)
    assert re.search(r"undo nft-table netdev grivet-\w{12}\n", record) and re.search(r"undo link grivet-\w{8}\n", record)
    _, family, name = tables[0].split()
    assert "Operation not permitted" in written(web, "nft delete table FAMILY NAME", False, FAMILY=family, NAME=name)
    written(web, "nft flush ruleset")
    assert web.sh("nft list tables | grep grivet").stdout.splitlines() == tables
    pid = re.search(r"holder_pid (\d+)", written(web, "grep holder_pid /run/grivet/active/*"))[1]
    web.sh(f"kill -9 {pid}")
    wait_event(web, run, "fault.reverted")
    assert is_gone(web)


def test_a_suspect_joins_anew(fleet):
    """Last: the host changes its name."""
    web, enrolment = fleet.web, fleet.enrol("web")
    join = (f"grivet join {enrolment['url']} --token {enrolment['token']} --ca {enrolment['ca']} --roots {enrolment['roots']} "
            "--name ")
    for service in ("grivetd", "grivet-courier", "grivet-prober"):
        web.stop(service)
    written(web, "rm -r /var/lib/grivet /var/lib/grivet-courier")
    said = web.sh(join + "web-1", check=False)
    assert said.returncode == 1 and "has joined with another key: choose another name" in said.stderr
    web.write("/etc/grivet/agent.yaml", web.read("/etc/grivet/agent.yaml").replace('"web-1"', '"web-1b"'))
    assert "web-1b has joined" in web.sh(join + "web-1b").stdout
    for service in ("grivetd", "grivet-courier", "grivet-prober"):
        web.start(service)
    wait_until(lambda: re.search(r"web-1b +yes +no", fleet.cli("hosts").stdout), 15, "its contact", 0.1)
