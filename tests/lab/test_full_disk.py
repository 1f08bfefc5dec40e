"""A coordinator whose disk is full: a halt still gets through, nothing that isn't durable is confirmed."""

import json
import time

import pytest

from lab.fleet import GRIVET
from lab.host import USERS, Lab, wait_until
from lab.small import Small, events, local_status, wait_event
from lab.zones import COORDINATOR_PORT

STATE = "/var/lib/grivet-coordinator"
SAYS_FULL = "nothing is stored; halts go out"


class Cramped(Small):
    def init_coordinator(self):
        user = USERS["grivet-coordinator"]
        self.coordinator.run(["mount", "-t", "tmpfs", "-o", f"size=4m,mode=700,uid={user},gid={user}", "tmpfs", STATE])
        return super().init_coordinator()

    def fill(self):
        self.coordinator.sh(f"cat /dev/zero >{STATE}/ballast 2>/dev/null; true")

    def free(self):
        self.coordinator.path(f"{STATE}/ballast").unlink()

    def last_seen(self, name):
        hosts = json.loads(self.cli("hosts", "-o", "json").stdout)
        return next(host["last_seen"] for host in hosts if host["host"] == name)

    def log(self):
        return self.coordinator.log("grivet-coordinator")


@pytest.fixture
def fleet(tmp_path):
    with Lab(logs=tmp_path / "logs") as lab:
        made = Cramped(lab)
        made.add_agent("web-1", 1, 11)
        made.add_agent("web-2", 2, 11)
        made.wait_ready()
        yield made


def halt_gets_through(fleet, run):
    """From the operator's command to the end of the fault on its host, in seconds."""
    watching = fleet.operator.popen([GRIVET, "halt", "--fleet"], stdout=-1, stderr=-1, text=True)
    at = time.monotonic()
    active = fleet.hosts["web-1"].path("/run/grivet/active")
    wait_until(lambda: not list(active.iterdir()), 5, "the end of the fault")
    took = time.monotonic() - at
    watching.kill()
    watching.communicate()
    assert wait_event(fleet.hosts["web-1"], run, "fault.reverted")["body"]["ended_by"] == "halt"
    return took


def test_halt_with_a_full_disk(fleet):
    web = fleet.hosts["web-1"]
    mandate = fleet.plan(seconds=50)
    run = fleet.operator.run([GRIVET, "run", mandate, "--detach"]).stdout.strip()
    wait_event(web, run, "fault.exercised")
    wait_until(lambda: local_status(web)["journal"]["acknowledged"] >= events(web, run)[-1]["sequence"], 10,
               "the coordinator to know")
    fleet.fill()
    refused = fleet.cli("token", "new", "--label", "group=web")
    assert refused.returncode == 1 and "database or disk is full" in refused.stderr, refused.stderr
    for words in (["run", mandate], ["plan", fleet.write_experiment()], ["token", "new", "--label", "group=web"]):
        refused = fleet.cli(*words)
        assert refused.returncode != 0 and "only halts are taken" in refused.stderr, (words, refused.stderr)
    acknowledged = local_status(web)["journal"]["acknowledged"]
    assert halt_gets_through(fleet, run) < 1
    # Still the same process, that says what it does once; the events of the halt were not confirmed.
    assert fleet.coordinator.status("grivet-coordinator")["starts"] == 1
    assert fleet.log().count(SAYS_FULL) == 1, fleet.log()
    assert local_status(web)["journal"]["acknowledged"] == acknowledged < events(web, run)[-1]["sequence"]
    # With room again it begins anew, hears all that happened, and takes orders.
    fleet.free()
    fleet.coordinator.wait_for(lambda: fleet.coordinator.status("grivet-coordinator")["starts"] == 2, 10,
                               "the coordinator's next life")
    assert "the store works again" in fleet.log()
    fleet.coordinator.wait_listening(COORDINATOR_PORT)
    wait_until(lambda: local_status(web)["journal"]["acknowledged"] >= events(web, run)[-1]["sequence"], 15,
               "the events to arrive")
    wait_until(lambda: json.loads(fleet.cli("status", run, "-o", "json").stdout)["state"] == "halted", 15,
               "the run to be halted")


def test_halt_after_a_start_with_a_full_disk(fleet):
    run = fleet.begin(seconds=50)
    wait_event(fleet.hosts["web-1"], run, "fault.exercised")
    before = fleet.last_seen("web-1")
    fleet.fill()
    fleet.coordinator.kill("grivet-coordinator")
    fleet.coordinator.wait_for(lambda: fleet.coordinator.status("grivet-coordinator")["starts"] == 2, 10, "its next life")
    fleet.coordinator.wait_listening(COORDINATOR_PORT)
    wait_until(lambda: fleet.last_seen("web-1") > before, 15, "web-1 to poll again")
    assert halt_gets_through(fleet, run) < 1
