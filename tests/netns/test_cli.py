"""The operator's command line against a coordinator that a test plays: what it asks, says, and returns."""

import datetime
import json
import re
import ssl
import subprocess
import threading
import time

import pytest

from lab import agent
from lab.host import BUILD, LAB
from lab.keys import envelope
from netns.coordinator_stand_in import Handler, Server, make_certificates

GRIVET = str(BUILD / "cli/grivet")
RUN = "0190abcd-0000-7000-8000-000000000002"
HOSTS = ["i-az1-1", "i-az1-2"]


def text_time(seconds):
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def mandate(*keys):
    return envelope("mandate", {
        "schema": "grivet.mandate/1", "id": "0190abcd-0000-7000-8000-000000000001", "experiment": "zone-outage",
        "environment": "lab", "created_at": text_time(0), "not_before": text_time(0), "not_after": text_time(3600),
        "max_runs": 1, "require_percent": 100, "warmup_ms": 0, "settle_ms": 0, "expect": {"hosts": 2},
        "zones": {"apse2-az1": ["10.1.0.0/24"]},
        "steps": [{"name": "lose-az1", "fault": "zone.block", "parameters": {"zone": "apse2-az1"}, "duration_ms": 20000,
                   "hosts": HOSTS, "late_joiners": False}]}, *keys)


def report(verdict="met", state="done", t0=True):
    facts = [{"at": text_time(at), "balancer": "shop", "backend": "web", "server": "slot1", "state": state, "text": text}
             for at, state, text in ((-3, "UP", "L7OK"), (1.5, "DOWN", "Layer4 timeout"), (1.6, "DOWN", "INI"))]
    return {"schema": "grivet.report/1", "verdict": verdict, "sentence": "Zone apse2-az1 was lost for 20.0 s.", "run": RUN,
            "experiment": "zone-outage", "state": state, "t0": text_time(0) if t0 else None, "start_skew_ms": 1.5,
            "faults": [], "endpoints": [], "balancer": facts, "budgets": [], "clocks": [],
            "objectives": [{"name": "replacements serve", "kind": "replacements", "verdict": verdict, "why": "never",
                            "objective": {"name": "replacements serve", "kind": "replacements", "within_s": 5},
                            "measured": {"started": 2, "in_service": 0}}],
            "replacements": [{"instance": "i-new", "started_at": text_time(0), "in_service_at": None,
                              "waiting_for": ["10.1.0.9:80"]}]}


class Operators(Handler):
    def handle_one(self):
        self.server.coordinator.has_certificate = bool(self.connection.getpeercert())
        super().handle_one()

    do_GET = do_POST = do_DELETE = handle_one


class Coordinator:
    """replies[(method, path)] is an answer, (status, answer) or a function of the body; the query is left out of path."""

    def __init__(self, folder):
        self.replies, self.asked = {}, []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(folder / "server.crt", folder / "server.key")
        context.load_verify_locations(folder / "ca.crt")
        context.verify_mode = ssl.CERT_OPTIONAL
        self.server = Server(("127.0.0.1", 0), Operators)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.server.coordinator = self
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        (folder / "config.yaml").write_text(
            f"coordinator: https://127.0.0.1:{self.server.server_address[1]}\n"
            "ca: ca.crt\ncertificate: agent.crt\nkey: agent.key\n")

    def answer(self, method, path, body):
        assert self.has_certificate or path == "/v1/halt"
        self.asked.append((method, path, body))
        reply = self.replies.get((method, path.split("?")[0]), (404, {"error": "no such thing"}))
        reply = reply(body) if callable(reply) else reply
        return reply if isinstance(reply, tuple) else (200, reply)

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("operator")
    make_certificates(folder)
    return folder


@pytest.fixture
def coordinator(certificates):
    made = Coordinator(certificates)
    yield made
    made.close()


@pytest.fixture
def grivet(certificates, tmp_path):
    def run(*words, code=0, **options):
        done = subprocess.run([GRIVET, *map(str, words)], cwd=tmp_path, capture_output=True, text=True, timeout=10,
                              stdin=subprocess.DEVNULL, env={"GRIVET_CONFIG": str(certificates / "config.yaml")}, **options)
        assert code in (None, done.returncode), done.stdout + done.stderr
        assert "\x1b" not in done.stdout
        return done
    return run


def test_usage(grivet):
    assert "sign" in grivet("--help").stdout
    assert "--passphrase-file" in grivet("sign", "--help").stdout
    assert "'A.yaml' names no experiment" in grivet("init", "A.yaml", code=2).stderr
    assert "unknown command 'explode'" in grivet("explode", code=2).stderr
    assert "usage: grivet plan" in grivet("plan", code=2).stderr
    assert "-o takes text or json" in grivet("status", "-o", "xml", code=2).stderr
    for words in (("verify", "m", "--people", "0"), ("token", "list", "--max-uses", "2x"), ("wait-ready", "--timeout-s", "")):
        assert "expected a number from 1 to" in grivet(*words, code=2).stderr
    script = grivet("completion", "bash").stdout + "COMP_WORDS=(grivet sig) COMP_CWORD=1; _grivet; echo $COMPREPLY"
    assert subprocess.run(["bash", "-c", script], capture_output=True, text=True).stdout == "sign\n"


def test_keys(grivet, tmp_path):
    (tmp_path / "words").write_text("correct horse\n")
    shown = grivet("key", "new", "alice", "--passphrase-file", "words").stdout
    assert re.fullmatch(r"grivet-ed25519 [\w+/]{43}= alice\n", shown)
    assert grivet("key", "show", "alice.key").stdout == grivet("key", "show", "alice.pub").stdout == shown
    assert "secret" not in json.loads((tmp_path / "alice.key").read_text())
    assert "File exists" in grivet("key", "new", "alice", "--no-passphrase", code=1).stderr
    assert "no name" in grivet("key", "new", "../alice", "--no-passphrase", code=2).stderr
    assert "no terminal" in grivet("key", "new", "bob", code=1).stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alice.key", "alice.pub", "words"]


def test_what_is_made_is_whole_or_not_there(grivet, tmp_path):
    (tmp_path / "alice.pub").write_text("somebody else's\n")
    assert "alice.pub: can't make it: File exists" in grivet("key", "new", "alice", "--no-passphrase", code=1).stderr
    assert (tmp_path / "alice.pub").read_text() == "somebody else's\n"
    assert [path.name for path in tmp_path.iterdir()] == ["alice.pub"]
    limit = 'ulimit -f 1; trap "" XFSZ; exec "$@"'  # a disk that is full, played by a limit on the length of files
    done = subprocess.run(["sh", "-c", limit, "sh", GRIVET, "init", "a.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "a.yaml: can't write: File too large" in done.stderr
    assert not (tmp_path / "a.yaml").exists()
    grivet("init", "a.yaml")


def test_sign_and_verify(grivet, tmp_path):
    (tmp_path / "words").write_text("correct horse\n")
    (tmp_path / "m.json").write_text(json.dumps(mandate()))
    alice = grivet("key", "new", "alice", "--no-passphrase").stdout.split()[1]
    bob = grivet("key", "new", "bob", "--passphrase-file", "words").stdout.split()[1]
    (tmp_path / "roots.json").write_text(json.dumps({
        "schema": "grivet.roots/1", "version": 1, "expires_at": text_time(3600),
        "keys": [{"public": key, "person": name, "roles": ["approve"]} for key, name in ((alice, "alice"), (bob, "bob"))]}))
    verify = ("verify", "m.json", "--roots", "roots.json", "--people", "2")
    assert "signed by 0 of 2 people" in grivet(*verify, code=5).stderr
    assert "for 2 hosts, not 3; nothing was signed" in grivet("sign", "m.json", "--key", "alice.key", "--hosts", 3, code=5).stderr
    assert "no terminal" in grivet("sign", "m.json", "--key", "alice.key", code=1).stderr
    said = grivet("sign", "m.json", "--key", "alice.key", "--hosts", 2).stdout
    assert "hosts: i-az1-1, i-az1-2\n" in said and "m.json has 1 signature now" in said and "duration_ms: 20000\n" in said
    assert "has signed it already" in grivet("sign", "m.json", "--key", "alice.key", "--hosts", 2, code=1).stderr
    assert "signed by 1 of 2 people" in grivet(*verify, code=5).stderr
    grivet("sign", "m.json", "--key", "bob.key", "--hosts", 2, "--passphrase-file", "words")
    assert "signed by 2 people: alice, bob" in grivet(*verify).stdout
    (tmp_path / "m.json").write_text("{}")
    assert "m.json:1:1: 'payloadType' is missing" in grivet(*verify, code=1).stderr


def test_plan(grivet, coordinator, tmp_path):
    path = tmp_path / "a.yaml"
    grivet("init", "a.yaml")
    answer = {"host": "i-az1-1", "lifeline": ["DNS to 10.0.0.3"], "steps": [
        {"step": "lose-zone", "is_accepted": True, "is_victim": True, "summary": ["drop everything\x1b[2J"], "limits": []}]}
    plan = {"mandate": mandate(), "answers": [answer], "refused": [], "budgets": [
        {"balancer": "shop", "backend": "web", "take_out_ms": {"least": 5, "most": 9}, "return_ms": {"least": 1, "most": 2}}]}
    coordinator.replies["POST", "/v1/plan"] = plan
    said = grivet("plan", "a.yaml", "-f", "m.json").stdout
    assert "lose-zone: would do, and fails itself" in said and "drop everything?[2J" in said
    assert re.search("shop +web +5 to 9 +1 to 2\n", said)
    assert json.loads((tmp_path / "m.json").read_text()) == plan["mandate"]
    assert coordinator.asked[-1][2] == path.read_bytes()
    plan["refused"] = [{"host": "i-az1-2", "reason": "its clock is not synchronised"}]
    assert "REFUSED by i-az1-2: its clock" in grivet("plan", "a.yaml", code=5).stdout
    coordinator.replies["POST", "/v1/plan"] = 422, {"error": "experiment:7:3: expect.hosts: 5 hosts, 6 expected"}
    assert grivet("plan", "a.yaml", code=1).stderr == "grivet: a.yaml:7:3: expect.hosts: 5 hosts, 6 expected\n"


def serve_run(coordinator, made, is_over=lambda: True):
    coordinator.replies["POST", "/v1/runs"] = {"run": RUN}
    coordinator.replies["GET", f"/v1/runs/{RUN}/report"] = made
    coordinator.replies["GET", f"/v1/runs/{RUN}"] = {
        "run": RUN, "experiment": "zone-outage", "state": "running", "ends_at": text_time(20),
        "hosts": [{"host": HOSTS[0], "step": "lose-az1", "state": "armed", "deadline": text_time(20)}],
        "endpoints": [{"name": "shop", "from": "client", "state": "healthy"}]}

    def progress(_):
        time.sleep(0 if is_over() else 0.2)
        return {"lines": [{"n": 1, "at": text_time(0), "text": "all hosts accept"}], "state": "running", "is_over": is_over()}
    coordinator.replies["GET", f"/v1/runs/{RUN}/progress"] = progress


@pytest.mark.parametrize("made, code", [
    (report(), 0), (report("missed"), 3), (report("unknown"), 4), (report("unknown", "halted"), 6)])
def test_run(grivet, coordinator, tmp_path, made, code):
    (tmp_path / "m.json").write_text(json.dumps(mandate()))
    serve_run(coordinator, made)
    said = grivet("run", "m.json", code=code).stdout
    assert "all hosts accept" in said and f"{made['verdict']}: Zone apse2-az1 was lost" in said
    assert re.search(r"\n\+1.5 s +slot1 +DOWN +Layer4 timeout\n", said)
    assert "INI" not in said and "L7OK" not in said
    assert re.search("replacements serve +replacements within_s=5 +started=2 in_service=0 +never", said)
    assert re.search(r"\ni-new +\+0\.0 s +NEVER +10\.1\.0\.9:80\n", said)
    assert json.loads(grivet("report", RUN, "-o", "json").stdout) == made


def test_a_report_names_what_somebody_interfered_with(grivet, coordinator):
    made = report("unknown")
    made["faults"] = [{"host": host, "fault": "cpu.burn", "state": "reverted", "is_interfered": said, "why": why}
                      for host, said, why in ((HOSTS[0], True, "interfered: CPU 0"), (HOSTS[1], False, None), ("z", None, None))]
    serve_run(coordinator, made)
    said = grivet("report", RUN).stdout
    assert re.search(rf" INTERFERED .*\n{HOSTS[0]} .* YES .* interfered: CPU 0\n{HOSTS[1]} .* no .*\nz .* not known ", said), said


def test_a_run_that_never_began_shows_only_why(grivet, coordinator, tmp_path):
    (tmp_path / "m.json").write_text(json.dumps(mandate()))
    made = report("unknown", "failed", t0=False)
    made["sentence"] = "Nothing was rehearsed: the run failed: a1: mandate: signed by 1 of 2."
    made["faults"] = [{"host": HOSTS[0], "fault": "zone.block", "state": "refused", "why": "signed by 1 of 2"}]
    made["refused"] = [{"host": HOSTS[1], "reason": "too soon"}]
    serve_run(coordinator, made)
    wanted = f"{made['sentence']}\n  {HOSTS[1]} refuses: too soon\n  {HOSTS[0]}: refused: signed by 1 of 2\n"
    assert grivet("run", "m.json", code=5).stdout.endswith("all hosts accept\n\n" + wanted)
    assert grivet("report", RUN).stdout == wanted


def test_run_is_refused_or_detached(grivet, coordinator, tmp_path):
    (tmp_path / "m.json").write_text(json.dumps(mandate()))
    coordinator.replies["POST", "/v1/runs"] = 403, {"error": "mandate: signed by 0 of 2 people with role approve"}
    assert "refused: mandate: signed by 0 of 2" in grivet("run", "m.json", code=5).stderr
    serve_run(coordinator, report())
    assert grivet("run", "m.json", "--detach").stdout == RUN + "\n"


def test_status_hosts_and_tokens(grivet, coordinator):
    run = {"run": RUN, "experiment": "zone-outage", "state": "done", "since": text_time(0), "verdict": "met", "reason": ""}
    coordinator.replies["GET", "/v1/runs"] = [run]
    assert RUN in grivet("status").stdout
    assert json.loads(grivet("status", "-o", "json").stdout) == [run]
    assert "no run" in grivet("status", "x", code=2).stderr
    assert "no such thing" in grivet("status", RUN, code=1).stderr
    serve_run(coordinator, report())
    assert "SUSPECT" not in grivet("status", RUN).stdout
    coordinator.replies["GET", f"/v1/runs/{RUN}"]["suspects"] = ["i-az1-2"]
    assert re.search("i-az1-2 +SUSPECT: its events contradict", grivet("status", RUN).stdout)
    coordinator.replies["GET", "/v1/hosts"] = [
        {"host": "i-az1-1", "labels": {"zone": "apse2-az1"}, "address": "10.1.0.11", "last_seen": text_time(0),
         "is_in_contact": False, "is_suspect": True, "clock": {"offset_usec": -1500, "bound_usec": 200}}]
    assert re.search(r"i-az1-1 +NO +YES .* -1.500 ± 0.200 +zone=apse2-az1", grivet("hosts").stdout)
    coordinator.replies["POST", "/v1/tokens"] = {"id": "7", "token": "secret"}
    assert grivet("token", "new", "--label", "group=web,zone=a", "--max-uses", 4).stdout == "secret\n"
    assert json.loads(coordinator.asked[-1][2]) == {"labels": {"group": "web", "zone": "a"}, "expires_in_s": 3600, "max_uses": 4}
    coordinator.replies["DELETE", "/v1/tokens/7"] = {}
    assert grivet("token", "revoke", "7").stdout == "revoked\n"
    assert "expected KEY=VALUE" in grivet("token", "new", "--label", "web", code=2).stderr


def test_with_the_real_coordinator(host):
    """What it says is what we read: names of fields, words of errors, paths in the config that it writes."""
    control = f"{LAB}/bin/grivet-coordinator"
    host.run(["mkdir", "/root/keys"])
    for person in ("alice", "mallory"):
        host.run([f"{LAB}/bin/grivet", "key", "new", person, "--folder", "/root/keys", "--no-passphrase"])
    host.run([control, "init", "--environment", "staging", "--name", "127.0.0.1", "--person", "/root/keys/alice.pub",
              "--zone", "apse2-az1=10.1.0.0/24"])
    host.run([control, "operator", "add", "alice", "--out", "/root/operator", "--coordinator", "https://127.0.0.1:8443"])
    agent.unit_service(host, "grivet-coordinator")
    host.wait_listening(8443)

    def run(*words, code=0):
        done = host.run([f"{LAB}/bin/grivet", "--config", "/root/operator/config.yaml", *words], check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    token = run("token", "new", "--label", "group=web").split(".")[0]
    assert re.search(f"{token} .* 1 +group=web", run("token", "list"))
    run("token", "revoke", token)
    assert re.search(f"{token} .* revoked +group=web", run("token", "list"))
    assert run("hosts").splitlines()[1:] == run("status").splitlines()[1:] == []
    run("init", "/root/a.yaml")
    assert re.match(r"grivet: /root/a\.yaml:\d+:\d+: steps\[0\]", run("plan", "/root/a.yaml", code=1))
    key = "/var/lib/grivet-coordinator/halt.key"
    assert run("halt", "--fleet", "--key", key) == "all gone on 0 of 0 hosts\n"
    assert "no host nobody" in run("halt", "--host", "nobody", "--key", key, code=1)
    assert "halt: signed by 0 of 1 people with role halt" in run("halt", "--fleet", "--key", "/root/keys/mallory.key", code=1)
    assert f"no run {RUN}" in run("report", RUN, code=1)
    # The CA of the configuration is the only one that counts: not what the system believes besides.
    host.sh("""mount -t tmpfs none /etc/ssl/certs; cd /root/operator
        cp ca.crt /etc/ssl/certs/$(openssl x509 -hash -noout -in ca.crt).0
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout other.key -out ca.crt -subj /CN=other""")
    assert "SSL" in run("hosts", code=1)


def test_no_coordinator(grivet, coordinator, certificates, tmp_path):
    coordinator.close()
    assert "https://127.0.0.1" in grivet("status", code=1).stderr
    (tmp_path / "bad.yaml").write_text("coordinator: http://127.0.0.1:1\nca: a\ncertificate: b\nkey: c\n")
    assert "bad.yaml:1:1: coordinator: expected a URL such as https" in grivet("status", "-c", "bad.yaml", code=1).stderr
    assert "No such file" in grivet("status", "-c", "none.yaml", code=1).stderr


def test_reports_from_files(grivet, tmp_path):
    (tmp_path / "r.json").write_text(json.dumps(report("missed") | {"sentence": "a\x1b[2Jb"}))
    assert "missed: a?[2Jb" in grivet("report", "r.json").stdout
    fault = {"host": "web-1", "fault": "network.block", "step": "cut", "effect": {"out_packets": 3, "in_packets": 0, "forwarded": "exercised"}}
    (tmp_path / "r.json").write_text(json.dumps(report() | {"faults": [fault]}))
    assert "dropped 3 out, 0 in, forwarded ones included" in grivet("report", "r.json").stdout
    (tmp_path / "r.json").write_text("{")
    assert "r.json:1:1:" in grivet("report", "r.json", code=1).stderr
    (tmp_path / "r.json").write_text("{}")
    assert "expected grivet.report/1" in grivet("report", "r.json", code=1).stderr


def test_doctor_and_faults(grivet):
    checks = json.loads(subprocess.run([GRIVET, "doctor", "-o", "json"], capture_output=True, text=True).stdout)
    assert {"kernel", "clock", "cgroups", "policy", "network.block"} <= {check["check"] for check in checks}
    assert {check["level"] for check in checks} <= {"ok", "warn", "fail"}
    faults = json.loads(grivet("faults", "-o", "json").stdout)
    assert {"network.block", "zone.block", "process.kill"} <= {fault["name"] for fault in faults}
    assert "required" in grivet("faults", "zone.block").stdout
    assert "no fault 'x'" in grivet("faults", "x", code=1).stderr
