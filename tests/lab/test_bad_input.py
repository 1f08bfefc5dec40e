"""What a user can get wrong, as the user meets it: refused whole, with one line that names the place, and nothing done."""

import base64
import json

import pytest

from lab.fleet import CONFIG, FOLDER, GRIVET, URL
from lab.host import Lab
from lab.keys import Key, envelope
from lab.small import Small, events, local_status

BAD, MANDATE = f"{FOLDER}/bad.yaml", f"{FOLDER}/bad.json"
BLOCK = ("fault: zone.block\n    parameters: {zone: apse2-az1}", "fault: network.block\n    parameters: ")
BOMB = "".join(f"{chr(97 + n)}: &{chr(97 + n)} [{', '.join([f'*{chr(96 + n)}'] * 9) if n else 'x'}]\n" for n in range(9))

# What is changed in a good experiment, and the place and words of the complaint.
EXPERIMENTS = {
    "unknown field": ("environment: lab", "environment: lab\ncolour: red", ":4:1: colour: unknown field"),
    "unknown field of a step": ("duration_s: 4", "duration_s: 4\n    colour: red", ":16:5: steps[0].colour: unknown field"),
    "duplicate key": ("environment: lab", "environment: lab\nname: again", ":4:1: name: given twice, first in line 2"),
    "zero duration": ("duration_s: 4", "duration_s: 0", ":15:5: steps[0].duration_s: 0 is out of range"),
    "negative duration": ("duration_s: 4", "duration_s: -4", ":15:5: steps[0].duration_s: -4 is out of range"),
    "huge duration": ("duration_s: 4", "duration_s: 86401", ":15:5: steps[0].duration_s: 86401 is out of range"),
    "no number of any machine": ("duration_s: 4", "duration_s: " + "9" * 20, ":15:5: steps[0].duration_s: 99999"),
    "a part of a second": ("duration_s: 4", "duration_s: 4.5", ":15:5: steps[0].duration_s: expected an integer"),
    "host bits": (BLOCK[0], BLOCK[1] + "{cidrs: [10.1.0.1/24]}", ":13:26: steps[0].parameters.cidrs[0]: '10.1.0.1/24' has"),
    "port out of range": (BLOCK[0], BLOCK[1] + "{cidrs: [10.1.0.0/24], ports: [70000]}", ":13:48: steps[0].parameters.ports"),
    "unknown parameter": ("{zone: apse2-az1}", "{zone: apse2-az1, colour: red}", ":13:35: steps[0].parameters.colour: unknown"),
    "unknown zone": ("parameters: {zone: apse2-az1}", "parameters: {zone: apse2-az9}", ":13:18: steps[0].parameters.zone: unk"),
    "unknown fault": ("zone.block", "zone.explode", ":12:5: steps[0].fault: there is no fault zone.explode"),
    "wrong environment": ("environment: lab", "environment: live", ":3:1: environment: this coordinator's environment is lab"),
    "more hosts than expected": ("{hosts: 2}", "{hosts: 1}", ":4:10: expect.hosts: 2 hosts would get a fault, 1 are"),
    "fewer hosts than expected": ("{hosts: 2}", "{hosts: 3}", ":4:10: expect.hosts: 2 hosts would get a fault, 3 are"),
    "too large a share": ("{hosts: 2}", "{hosts: 2, max_share_of_group_percent: 10}", "1 of 2 hosts of group web would fail"),
    "a tab": ("    fault:", "\tfault:", ":12:1: a tab can't indent"),
    "an alias bomb": ("schema:", BOMB + "schema:", ":1:4: anchors and tags are not taken"),
    "two documents": ("objectives:", "---\nobjectives:", "a second document"),
    "a probe that is not there": ("kind: rollback, within_ms: 1000", "kind: detect, probe: nix, within_s: 1",
                                  "objectives[0].probe: there is no probe nix"),
}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    with Lab(logs=tmp_path_factory.mktemp("bad") / "logs") as lab:
        made = Small(lab)
        made.add_agent("web-1", 1, 11)
        made.add_agent("web-2", 2, 11)
        made.wait_ready()
        made.people = [Key.load(made.operator.read(f"{FOLDER}/{name}.key")) for name in ("alice", "bob")]
        yield made
        check_nothing_was_done(made)


def check_nothing_was_done(fleet):
    for host in fleet.hosts.values():
        assert not [event for event in events(host) if event["kind"].startswith("fault.")]
        assert not list(host.path("/run/grivet/active").iterdir()) and not local_status(host)["faults"]


def refused(said, code, words):
    assert said.returncode == code and words in said.stderr and said.stderr.count("\n") == 1, said


@pytest.mark.parametrize("what", EXPERIMENTS)
def test_experiment(fleet, what):
    old, new, words = EXPERIMENTS[what]
    good = fleet.operator.read(fleet.write_experiment())
    assert good.count(old) == 1
    fleet.operator.write(BAD, good.replace(old, new))
    said = fleet.cli("plan", BAD, "--file", MANDATE)
    refused(said, 1, words)
    assert said.stderr.startswith(f"grivet: {BAD}:") and said.stdout == ""
    assert not fleet.operator.path(MANDATE).exists()


@pytest.mark.parametrize("data, words", [
    (b"", ":1:1: the document is empty"), (b"schema: \xff\n", "invalid leading UTF-8 octet"),
    (b"schema: a\0b\n", "control characters are not allowed"), (b"#" * 100_000_000, "larger than 262144 bytes")],
    ids=["empty", "not UTF-8", "NUL", "100 MB"])
def test_file(fleet, data, words):
    fleet.operator.path(BAD).write_bytes(data)
    refused(fleet.cli("plan", BAD, "--file", MANDATE), 1, words)
    assert not fleet.operator.path(MANDATE).exists()


def test_hosts_refuse_at_the_plan(fleet):
    """Only a host knows its policy: the plan shows its reason, and says so by its exit code."""
    said = fleet.cli("plan", fleet.write_experiment(seconds=301), "--file", MANDATE)
    assert said.returncode == 5 and said.stderr.startswith("grivet: the plan is refused by 2 host(s)\n"), said
    for name in fleet.hosts:
        assert f"REFUSED by {name}: policy: classes.network.longest_duration_s:" in said.stdout
    fleet.operator.path(MANDATE).unlink(missing_ok=True)


# ---- mandates: nothing starts without the right signatures under the right words


def start(fleet, made):
    fleet.operator.write(MANDATE, json.dumps(made))
    try:
        return fleet.cli("run", MANDATE)
    finally:
        fleet.operator.path(MANDATE).unlink()


def planned(fleet):
    """A good mandate's payload as a dictionary."""
    made = json.loads(fleet.operator.read(fleet.plan(signers=())))
    return json.loads(base64.b64decode(made["payload"]))


def test_signatures(fleet):
    mandate, (alice, bob), stranger = planned(fleet), fleet.people, Key("mallory")
    refused(start(fleet, envelope("mandate", mandate)), 5, "refused: mandate: signed by 0 of 1 people with role approve")
    refused(start(fleet, envelope("mandate", mandate, stranger, stranger)), 5, "signed by 0 of 1 people")
    moved = envelope("mandate", mandate, alice, bob)
    mandate["steps"][0]["duration_ms"] = 9000
    moved["payload"] = envelope("mandate", mandate)["payload"]
    refused(start(fleet, moved), 5, "signed by 0 of 1 people")
    again = envelope("mandate", planned(fleet), alice, alice)
    again["signatures"][1]["keyid"] = "another"
    for made in (envelope("mandate", planned(fleet), alice), again, envelope("mandate", planned(fleet), alice, stranger)):
        said = start(fleet, made)  # the coordinator believes one person, the hosts' policy wants two
        assert said.returncode == 5 and "would refuse: mandate: signed by 1 of 2 people with role approve" in said.stdout, said


DAYS = [f"{day}T00:00:00.000000Z" for day in ("2026-01-01", "2026-01-02", "2098-01-01", "2098-01-02")]

# The exit code (1: the file is wrong by itself), what is changed, and words of the complaint.
CONTENTS = {
    "expired": (5, lambda m: m.update(not_before=DAYS[0], not_after=DAYS[1]), f"the mandate was valid until {DAYS[1]}"),
    "early": (5, lambda m: m.update(not_before=DAYS[2], not_after=DAYS[3]), f"the mandate is valid from {DAYS[2]} on"),
    "wrong environment": (5, lambda m: m.update(environment="live"), "environment"),
    "more hosts than expected": (1, lambda m: m["expect"].update(hosts=1), "expect.hosts"),
    "a host that nobody knows": (5, lambda m: m["steps"][0].update(hosts=["web-1", "web-9"]), "web-9"),
    "unknown field": (1, lambda m: m.update(colour="red"), "colour: unknown field"),
    "zero duration": (1, lambda m: m["steps"][0].update(duration_ms=0), "steps[0].duration_ms: 0 is out of range"),
    "negative duration": (1, lambda m: m["steps"][0].update(duration_ms=-1), "steps[0].duration_ms: -1 is out of range"),
    "huge duration": (1, lambda m: m["steps"][0].update(duration_ms=2 ** 62), "steps[0].duration_ms"),
    "unknown zone": (5, lambda m: m["steps"][0]["parameters"].update(zone="apse2-az9"), "unknown zone 'apse2-az9'"),
    "unknown fault": (5, lambda m: m["steps"][0].update(fault="zone.explode"), "zone.explode"),
    "unknown parameter": (5, lambda m: m["steps"][0]["parameters"].update(colour="red"), "colour"),
    "host bits in a zone": (1, lambda m: m["zones"].update({"apse2-az1": ["10.1.0.1/24"]}), "has host bits set"),
}


@pytest.mark.parametrize("what", CONTENTS)
def test_signed_nonsense(fleet, what):
    """People signed it, and still nobody does it."""
    mandate = planned(fleet)
    code, change, words = CONTENTS[what]
    change(mandate)
    said = start(fleet, envelope("mandate", mandate, *fleet.people))
    assert said.returncode == code and words in said.stdout + said.stderr, said


def test_mandate_files(fleet):
    good = envelope("mandate", planned(fleet), *fleet.people)
    for made, words in ((good | {"payloadType": "application/vnd.grivet.order+json"}, "payloadType is"),
                        (good | {"payload": "!"}, "base64"), ({}, "'payloadType' is"), ([], MANDATE)):
        refused(start(fleet, made), 1, words)
    said = fleet.operator.run([GRIVET, "sign", fleet.plan(signers=()), "--key", f"{FOLDER}/alice.key", "--hosts", "3"],
                              check=False)
    refused(said, 5, "the mandate is for 2 hosts, not 3; nothing was signed")


def test_100_mb_from_an_operator(fleet):
    """Past the CLI, which refuses to read such a file: the coordinator does not read it either, and goes on."""
    fleet.operator.path(MANDATE).write_bytes(b'{"payload":"' + b"A" * 100_000_000 + b'"}')
    refused(fleet.cli("run", MANDATE), 1, "larger than 16777216 bytes")
    for path in ("runs", "plan", "halt"):
        said = fleet.operator.run(["curl", "-s", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}",
                                   "--cacert", f"{CONFIG}/ca.crt", "--cert", f"{CONFIG}/alice.crt", "--key", f"{CONFIG}/alice.tls.key",
                                   "--data-binary", f"@{MANDATE}", f"{URL}/v1/{path}"], check=False)
        assert said.stdout == "413", said
    fleet.operator.path(MANDATE).unlink()
    assert fleet.coordinator.status("grivet-coordinator")["starts"] == 1
    assert json.loads(fleet.cli("hosts", "-o", "json").stdout)


@pytest.mark.parametrize("words, complaint", [
    (["plan"], "EXPERIMENT"), (["plan", "a", "b"], "usage: grivet plan"), (["run", "x", "--colour"], "colour"),
    (["nonsense"], "unknown command"), (["halt"], "halt what?"), (["halt", "--host", "x", "--fleet"], "one of --run"), (["sign", "x"], "--key FILE is missing")])
def test_usage(fleet, words, complaint):
    said = fleet.operator.run(["setpriv", "--reuid", "64001", "--clear-groups", GRIVET, *words], check=False)
    assert said.returncode == 2 and complaint in said.stderr, said
