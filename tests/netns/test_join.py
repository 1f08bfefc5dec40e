"""grivet join: a host becomes a member whole or not at all, and believes nobody but its pins."""

import base64
import hashlib
import json
import ssl
import stat
import subprocess

import pytest

from lab.host import LAB, PYTHON, USERS
from lab.keys import Key

PORT = 8443
URL = f"https://127.0.0.1:{PORT}"
FOLDER = "/run/coordinator"
MADE = ["/etc/grivet/agent.yaml", "/etc/grivet/roots.json", "/var/lib/grivet/host.key", "/var/lib/grivet/replay",
        "/var/lib/grivet-courier/tls.key", "/var/lib/grivet-courier/tls.crt", "/var/lib/grivet-courier/ca.crt"]
CA = """set -e; cd "$1"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -keyout ca.key -out ca.crt -subj /CN=ca
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key -out server.csr -subj /CN=server
printf 'subjectAltName=IP:%s\n' "$2" >extensions
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -days 30 -extfile extensions -out server.one
cat server.one ca.crt >server.crt"""


class Coordinator:
    """The stand-in, running inside the host."""

    def __init__(self, host, address="127.0.0.1"):
        self.host = host
        folder = host.path(FOLDER)
        folder.mkdir()
        subprocess.run(["sh", "-c", CA, "ca", folder, address], check=True, capture_output=True)
        roots = {"schema": "grivet.roots/1", "version": 1, "expires_at": "2099-01-01T00:00:00Z",
                 "keys": [{"public": Key("alice").public_text, "person": "alice", "roles": ["approve", "halt"]}]}
        self.roots = json.dumps(roots)
        host.write(f"{FOLDER}/roots.json", self.roots)
        self.behave("well")
        host.service("coordinator", [PYTHON, f"{LAB}/source/tests/netns/join_server.py", FOLDER, PORT], restart=False)
        host.wait_listening(PORT)
        self.ca_text = (folder / "ca.crt").read_text()
        self.ca = "sha256:" + hashlib.sha256(ssl.PEM_cert_to_DER_cert(self.ca_text)).hexdigest()
        self.roots_pin = "sha256:" + hashlib.sha256(self.roots.encode()).hexdigest()

    def behave(self, how):
        self.host.write(f"{FOLDER}/behaviour", how)

    def has_been_asked(self):
        return self.host.path(f"{FOLDER}/request.json").exists()


@pytest.fixture
def coordinator(host):
    return Coordinator(host)


def join(coordinator, *more, ca=None, roots=None, name="i-1", environment="lab"):
    words = ["grivet", "join", URL, "--token", "secret", "--ca", ca or coordinator.ca, "--roots",
             roots or coordinator.roots_pin, "--name", name, *more]
    return coordinator.host.run(words + (["--environment", environment] if environment else []), check=False)


def made(host):
    return [path for path in MADE if host.path(path).exists()]


def test_joins_whole(coordinator):
    host = coordinator.host
    result = join(coordinator, "--label", "zone=apse2-az1", "--label", "group=web", "--address", "10.1.0.11")
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"i-1 has joined {URL}\n"
    assert made(host) == MADE
    for path, mode, user in ((MADE[0], 0o644, 0), (MADE[1], 0o644, 0), (MADE[2], 0o600, 0), (MADE[3], 0o600, 0),
                             (MADE[4], 0o600, USERS["grivet-courier"]), (MADE[5], 0o600, USERS["grivet-courier"]),
                             (MADE[6], 0o600, USERS["grivet-courier"])):
        status = host.path(path).stat()
        assert (stat.S_IMODE(status.st_mode), status.st_uid) == (mode, user), path
    assert host.read(MADE[1]) == coordinator.roots
    assert host.read(MADE[6]).strip() == coordinator.ca_text.strip()
    request = json.loads(host.read(f"{FOLDER}/request.json"))
    assert (request["token"], request["host"], request["address"]) == ("secret", "i-1", "10.1.0.11")
    assert request["labels"] == {"zone": "apse2-az1", "group": "web"}
    assert json.loads(host.read(MADE[2]))["public"] == request["public"]
    assert len(base64.b64decode(request["public"])) == 32
    policy = host.read(MADE[0])
    assert 'host: "i-1"' in policy and 'zone: "apse2-az1"' in policy and f'coordinators: ["{URL}"]' in policy

    before = {path: host.read(path) for path in MADE}
    again = join(coordinator)
    assert (again.returncode, again.stdout) == (0, "i-1 has joined already\n")
    assert json.loads(join(coordinator, "-o", "json").stdout) == {"host": "i-1", "is_new": False}
    other = join(coordinator, name="i-2")
    assert other.returncode == 1 and "joined already, as i-1" in other.stderr
    assert {path: host.read(path) for path in MADE} == before


def test_keeps_the_policy_that_is_there(coordinator):
    host = coordinator.host
    policy = f"host: i-1\nenvironment: lab\nlabels: {{zone: apse2-az2}}\naddress: 10.2.0.11\ncoordinators: ['{URL}']\n"
    host.write("/etc/grivet/agent.yaml", policy)
    refused = join(coordinator, name="i-2")
    assert refused.returncode == 1 and "is for host i-1, not i-2" in refused.stderr
    refused = join(coordinator, environment="production")
    assert refused.returncode == 1 and "says environment lab, not production" in refused.stderr
    assert not coordinator.has_been_asked()
    result = join(coordinator, "-o", "json", environment=None)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == {"host": "i-1", "is_new": True}
    assert host.read("/etc/grivet/agent.yaml") == policy
    request = json.loads(host.read(f"{FOLDER}/request.json"))
    assert (request["labels"], request["address"]) == ({"zone": "apse2-az2"}, "10.2.0.11")


def test_wrong_ca_pin_sends_nothing(coordinator):
    result = join(coordinator, ca="sha256:" + "0" * 64)
    assert result.returncode == 1
    assert f"--ca: the pin is sha256:{'0' * 64}, but the coordinator has {coordinator.ca}" in result.stderr
    assert not coordinator.has_been_asked() and made(coordinator.host) == []


def test_wrong_server_name_sends_nothing(host):
    coordinator = Coordinator(host, address="127.0.0.2")
    result = join(coordinator)
    assert result.returncode == 1 and "127.0.0.1" in result.stderr, result.stderr
    assert not coordinator.has_been_asked() and made(host) == []


def test_pinned_leaf_is_no_ca(coordinator):
    leaf = coordinator.host.read(f"{FOLDER}/server.one")
    result = join(coordinator, ca="sha256:" + hashlib.sha256(ssl.PEM_cert_to_DER_cert(leaf)).hexdigest())
    assert result.returncode == 1 and not coordinator.has_been_asked()


@pytest.mark.parametrize("behaviour, words", [
    ("refuse", "the coordinator refuses: the token is used up"),
    ("other roots", "--roots: the pin is sha256:"),
    ("other certificate", "the coordinator's answer: the certificate is for another key"),
])
def test_nothing_is_left_of_a_refusal(coordinator, behaviour, words):
    coordinator.behave(behaviour)
    result = join(coordinator)
    assert result.returncode == 1 and words in result.stderr, result.stderr
    assert made(coordinator.host) == []


def test_what_was_made_goes_when_the_rest_fails(coordinator):
    """The last file can't be written: its folder is a file."""
    host = coordinator.host
    host.sh("mount -t tmpfs -o size=4k,nr_inodes=2 none /var/lib/grivet")
    result = join(coordinator)
    assert result.returncode == 1 and "/var/lib/grivet/" in result.stderr, result.stderr
    assert made(host) == []
    host.sh("umount /var/lib/grivet")
    assert join(coordinator).returncode == 0


@pytest.mark.parametrize("words, code, text", [
    (["join"], 2, "usage: grivet join URL"),
    (["join", "http://a", "--token", "t", "--ca", "sha256:" + "0" * 64, "--roots", "sha256:" + "0" * 64, "--name", "a"],
     2, "http://a: expected a URL such as https://"),
    (["join", URL, "--token", "t", "--ca", "0" * 64, "--roots", "sha256:" + "0" * 64, "--name", "a"], 2,
     "expected sha256: and 64 hexadecimal digits"),
    (["join", URL, "--token", "t", "--ca", "sha256:" + "0" * 64, "--roots", "sha256:" + "0" * 64, "--name", "A b"], 2,
     "--name A b: expected lower-case letters"),
    (["join", URL, "--token", "t", "--ca", "sha256:" + "0" * 64, "--roots", "sha256:" + "0" * 64, "--name", "a",
      "--label", "zone"], 2, "--label zone: expected KEY=VALUE"),
    (["join", URL, "--token", "t", "--ca", "sha256:" + "0" * 64, "--roots", "sha256:" + "0" * 64, "--name", "a"], 2,
     "--environment is needed"),
])
def test_bad_options(host, words, code, text):
    result = host.run(["grivet", *words], check=False)
    assert result.returncode == code and text in result.stderr, result.stderr
    assert made(host) == []
