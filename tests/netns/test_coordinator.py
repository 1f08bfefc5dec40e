"""The real coordinator over real TLS, in a network namespace of its own: join, poll, refuse, die, come back."""
import base64
import ctypes
import hashlib
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import time

import pytest

BUILD = pathlib.Path(os.environ.get("GRIVET_BUILD", pathlib.Path(__file__).parents[2] / "build"))
PROGRAM = pathlib.Path(os.environ.get("GRIVET_COORDINATOR", BUILD / "coordinator" / "grivet-coordinator"))
PORT = 8443
CLONE_NEWNET = 0x40000000
ZERO = "0" * 64


@pytest.fixture(scope="module", autouse=True)
def namespace():
    """All of this module runs in a network namespace where only loopback exists."""
    before = os.open("/proc/self/ns/net", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    yield
    assert libc.setns(before, CLONE_NEWNET) == 0
    os.close(before)


def wait_for(condition, seconds=5):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("nothing came of it in time")


def openssl(*argv, **more):
    return subprocess.run(["openssl", *argv], check=True, capture_output=True, **more).stdout


class Coordinator:
    def __init__(self, folder):
        self.folder, self.state, self.operator = folder, folder / "state", folder / "alice"
        self.process = None
        key = openssl("genpkey", "-algorithm", "ed25519")
        public = openssl("pkey", "-pubout", "-outform", "DER", input=key)[-32:]
        (folder / "alice.pub").write_text(f"grivet-ed25519 {base64.b64encode(public).decode()} alice\n")
        self.run("init", "--person", str(folder / "alice.pub"), "--name", "127.0.0.1", "--environment", "lab",
                 "--zone", "apse2-az1=10.1.0.0/24,fd00:1::/64", "--listen", f"127.0.0.1:{PORT}")
        self.run("operator", "add", "alice", "--out", str(self.operator))

    def argv(self, *argv):
        return [str(PROGRAM), "--config", str(self.folder / "coordinator.yaml"), "--folder", str(self.state), *argv]

    def run(self, *argv, check=True):
        return subprocess.run(self.argv(*argv), check=check, capture_output=True, text=True)

    def start(self):
        self.process = subprocess.Popen(self.argv("serve"), stderr=subprocess.DEVNULL)
        wait_for(self.is_up)

    def is_up(self):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", PORT)) == 0

    def stop(self, number=signal.SIGTERM):
        if self.process:
            self.process.send_signal(number)
            self.process.wait(5)
            self.process = None

    def context(self, certificate=None, key=None):
        context = ssl.create_default_context(cafile=str(self.state / "ca.crt"))
        if certificate:
            context.load_cert_chain(certificate, key)
        return context

    def alice(self):
        return self.operator / "alice.crt", self.operator / "alice.tls.key"

    def connect(self, who=(), timeout=10):
        return http.client.HTTPSConnection("127.0.0.1", PORT, context=self.context(*who), timeout=timeout)

    def ask(self, method, path, body=None, who=()):
        connection = self.connect(who)
        connection.request(method, path, body if isinstance(body, (bytes, str, type(None))) else json.dumps(body))
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text)

    def token(self, uses=10, expires_in_s=600):
        wish = {"labels": {"group": "web"}, "expires_in_s": expires_in_s, "max_uses": uses}
        status, body = self.ask("POST", "/v1/tokens", wish, self.alice())
        assert status == 200
        return body["token"]


class Host:
    def __init__(self, folder, name):
        self.name, self.key, self.tls = name, folder / f"{name}.key", folder / f"{name}.tls.key"
        self.crt = folder / f"{name}.crt"
        openssl("genpkey", "-algorithm", "ed25519", "-out", str(self.key))
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(self.tls))
        self.csr = openssl("req", "-new", "-key", str(self.tls), "-subj", "/OU=operator/CN=root").decode()
        self.sequence, self.previous = 0, ZERO

    def public(self):
        return base64.b64encode(openssl("pkey", "-in", str(self.key), "-pubout", "-outform", "DER")[-32:]).decode()

    def sign(self, text):
        path = self.key.with_suffix(".text")
        path.write_text(text)
        signature = openssl("pkeyutl", "-sign", "-rawin", "-inkey", str(self.key), "-in", str(path))
        return base64.b64encode(signature).decode()

    def wish(self, token, more=None):
        proof = self.sign(f"grivet-join\n{self.name}\n{hashlib.sha256(self.csr.encode()).hexdigest()}")
        return {"token": token, "host": self.name, "labels": {"group": "web"}, "public": self.public(),
                "proof": proof, "csr": self.csr, **(more or {})}

    def join(self, coordinator, token):
        status, body = coordinator.ask("POST", "/v1/join", self.wish(token))
        if status == 200:
            self.crt.write_text(body["certificate"])
        return status, body

    def who(self):
        return self.crt, self.tls

    def line(self):
        self.sequence += 1
        line = json.dumps({"schema": "grivet.event/1", "host": self.name, "boot": "b", "sequence": self.sequence,
                           "previous": self.previous, "at": "2026-01-01T00:00:00.000000Z", "boot_nsec": 1, "clock": None,
                           "kind": "agent.ready", "body": {}})
        self.previous = hashlib.blake2b(line.encode(), digest_size=32).hexdigest()
        return line + "\n"


POLL = {"is_first": False, "boot": "b", "received": [], "head": None, "clock": {"offset_usec": -7, "bound_usec": 9}}


@pytest.fixture
def coordinator(tmp_path):
    it = Coordinator(tmp_path)
    it.start()
    yield it
    it.stop()


@pytest.fixture
def host(coordinator, tmp_path):
    it = Host(tmp_path, "web-1")
    assert it.join(coordinator, coordinator.token())[0] == 200
    return it


def test_init_overwrites_nothing(coordinator):
    before = {p.name: p.read_bytes() for p in coordinator.state.iterdir() if p.suffix in (".key", ".crt", ".json")}
    again = coordinator.run("init", "--person", str(coordinator.folder / "alice.pub"), check=False)
    assert again.returncode == 1 and "is there already" in again.stderr
    assert before == {p.name: p.read_bytes() for p in coordinator.state.iterdir() if p.name in before}
    assert all((p.stat().st_mode & 0o77) == 0 for p in coordinator.state.glob("*.key"))


ALL_OR_NOTHING = """set -u; mkdir small; program=$1 n=$2; shift 2
mount -t tmpfs -o nr_blocks=$n,mode=700 none small; "$program" "$@"; echo "code $?"; ls -A small
mount -o remount,nr_blocks=64 small; "$program" "$@" >said && ls -A small | wc -l"""


def all_or_nothing(tmp_path, blocks, *words):
    """Runs `words` twice: where so many blocks are free that it fails, which must leave nothing, and where there is room."""
    said = subprocess.run(["unshare", "--mount", "sh", "-c", ALL_OR_NOTHING, "sh", *map(str, [words[0], blocks, *words[1:]])],
                          cwd=tmp_path, capture_output=True, text=True)
    return said.stdout.split("\n"), said.stderr


@pytest.mark.parametrize("blocks", range(1, 8))
def test_init_on_a_full_disk_leaves_nothing(tmp_path, blocks):
    (tmp_path / "alice.pub").write_text(f"grivet-ed25519 {base64.b64encode(os.urandom(32)).decode()} alice\n")
    said, why = all_or_nothing(tmp_path, blocks, PROGRAM, "--config", "small/c.yaml", "--folder", "small/state", "init",
                               "--person", "alice.pub")
    assert said == ["code 1", "2", ""] and "No space left on device" in why


@pytest.mark.parametrize("blocks", range(1, 6))
def test_operator_add_on_a_full_disk_leaves_nothing(coordinator, tmp_path, blocks):
    said, why = all_or_nothing(tmp_path, blocks, *coordinator.argv("operator", "add", "bob", "--out", "small/bob"))
    assert said == ["code 1", "1", ""] and "No space left on device" in why


def test_init_without_a_place_for_its_configuration(tmp_path):
    (tmp_path / "alice.pub").write_text(f"grivet-ed25519 {base64.b64encode(os.urandom(32)).decode()} alice\n")

    def init():
        return subprocess.run([str(PROGRAM), "--config", "etc/c.yaml", "--folder", "state", "init", "--person", "alice.pub"],
                              capture_output=True, text=True, cwd=tmp_path)
    assert "etc/c.yaml: can't make it" in init().stderr
    assert [p.name for p in tmp_path.iterdir()] == ["alice.pub"]
    (tmp_path / "etc").mkdir()
    assert init().returncode == 0
    (tmp_path / "etc/c.yaml").unlink()
    assert "ca.crt is there already, but no etc/c.yaml" in init().stderr


def test_init_and_operator_in_json(coordinator, tmp_path):
    state = ["--config", str(tmp_path / "other.yaml"), "--folder", str(tmp_path / "other")]
    said = subprocess.run([str(PROGRAM), *state, "init", "--person", str(tmp_path / "alice.pub"), "--name", "a.test", "-o", "json"],
                          capture_output=True, text=True, check=True)
    der = openssl("x509", "-in", str(tmp_path / "other/ca.crt"), "-outform", "DER")
    assert json.loads(said.stdout) == {
        "folder": str(tmp_path / "other"), "coordinator": "https://a.test:8443", "ca": f"sha256:{hashlib.sha256(der).hexdigest()}",
        "roots": f"sha256:{hashlib.sha256((tmp_path / 'other/roots.json').read_bytes()).hexdigest()}"}
    said = coordinator.run("operator", "add", "bob", "--out", str(tmp_path / "bob"), "--output", "json")
    assert json.loads(said.stdout) == {
        "operator": "bob", "folder": str(tmp_path / "bob"), "coordinator": f"https://127.0.0.1:{PORT}"}


@pytest.mark.parametrize("options,text", [
    ([], "needs --person"),
    (["--people", "alice.pub"], "init: --people: no such option"),
    (["-o", "xml"], "-o xml: expected text or json"),
    (["--person", "alice.pub", "--zone", "z"], "expected ID=CIDR"),
    (["--person", "alice.pub", "--zone", "z=10.1.0.1/24"], "zones.z[0]: '10.1.0.1/24' has host bits set"),
    (["--person", "alice.pub", "--name", "a,DNS:b"], "names[0]: expected a host name"),
    (["--person", "alice.pub", "--environment", "a/b"], "environment: 'a/b' is not a name"),
])
def test_init_refused(tmp_path, options, text):
    (tmp_path / "alice.pub").write_text(f"grivet-ed25519 {base64.b64encode(os.urandom(32)).decode()} alice\n")
    said = subprocess.run([str(PROGRAM), "--config", "c.yaml", "--folder", "state", "init", *options],
                          capture_output=True, text=True, cwd=tmp_path)
    assert said.returncode == 2 and text in said.stderr and said.stderr.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["alice.pub"]  # nothing half-done


def test_join(coordinator, tmp_path):
    token = coordinator.token(uses=2)
    host = Host(tmp_path, "web-1")
    status, body = host.join(coordinator, token)
    assert status == 200 and body["roots"] == (coordinator.state / "roots.json").read_text()
    subject = openssl("x509", "-noout", "-subject", "-in", str(host.crt)).decode()
    assert "OU = agent, CN = web-1" in subject  # whatever the CSR asked for
    assert host.join(coordinator, token)[0] == 200  # again, with the same key
    status, body = Host(tmp_path, "web-2").join(coordinator, token)
    assert status == 403 and "used up" in body["error"]
    stranger = Host(tmp_path / ".", "web-1")
    token = coordinator.token(uses=1)
    status, body = stranger.join(coordinator, token)
    assert status == 409 and "another key" in body["error"]
    assert Host(tmp_path, "web-3").join(coordinator, token)[0] == 200  # a name that is taken costs nothing


@pytest.mark.parametrize("more,status,text", [
    ({"token": "no.such"}, 403, "not known"),
    ({"labels": {"group": "db"}}, 403, "group=web"),
    ({"labels": {}}, 403, "group=web"),
    ({"proof": "A" * 86 + "=="}, 403, "proof"),
    ({"csr": "x"}, 403, "proof"),
    ({"host": "../x"}, 400, "host"),
    ({"extra": 1}, 400, "extra"),
    ({"public": "AAAA"}, 400, "public"),
])
def test_join_refused(coordinator, tmp_path, more, status, text):
    got, body = coordinator.ask("POST", "/v1/join", Host(tmp_path, "web-1").wish(coordinator.token(), more))
    assert got == status and text in body["error"]
    assert coordinator.ask("GET", "/v1/hosts", who=coordinator.alice()) == (200, [])


def test_token_expires_and_is_revoked(coordinator, tmp_path):
    host = Host(tmp_path, "web-1")
    short = coordinator.token(uses=100000, expires_in_s=1)
    revoked = coordinator.token()
    assert coordinator.ask("DELETE", "/v1/tokens/" + revoked.split(".")[0], who=coordinator.alice())[0] == 200
    assert "revoked" in host.join(coordinator, revoked)[1]["error"]
    listed = coordinator.ask("GET", "/v1/tokens", who=coordinator.alice())[1]
    assert [(t["id"], t["is_revoked"]) for t in listed] == [(short.split(".")[0], False), (revoked.split(".")[0], True)]
    assert listed[0]["labels"] == {"group": "web"} and listed[0]["uses_left"] == 100000 and listed[0]["by"] == "alice"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", listed[0]["expires_at"])
    wait_for(lambda: host.join(coordinator, short)[0] == 403)
    assert "expired" in host.join(coordinator, short)[1]["error"]


def test_roles(coordinator, host):
    assert coordinator.ask("GET", "/v1/agent/time")[0] == 401
    assert coordinator.ask("GET", "/v1/agent/time", who=coordinator.alice())[0] == 403
    assert coordinator.ask("GET", "/v1/hosts", who=host.who())[0] == 403
    assert coordinator.ask("GET", "/v1/agent/time", who=host.who())[0] == 200
    other = ssl.create_default_context(cafile=str(coordinator.state / "ca.crt"))
    other.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        other.wrap_socket(socket.create_connection(("127.0.0.1", PORT)), server_hostname="127.0.0.1")


def test_poll(coordinator, host):
    status, first = coordinator.ask("POST", "/v1/agent/poll", {**POLL, "is_first": True}, host.who())
    assert status == 200 and first["items"] == [] and len(first["nonce"]) == 32
    hosts = coordinator.ask("GET", "/v1/hosts", who=coordinator.alice())[1]
    assert hosts[0]["clock"] == {"offset_usec": -7, "bound_usec": 9} and hosts[0]["is_in_contact"]
    held = coordinator.connect(host.who())
    held.request("POST", "/v1/agent/poll", json.dumps(POLL))
    second = coordinator.connect(host.who())  # a courier that starts over: the first poll is answered
    second.request("POST", "/v1/agent/poll", json.dumps(POLL))
    assert held.getresponse().status == 200
    coordinator.stop()
    assert second.getresponse().status == 503


def test_client_vanishes_while_held(coordinator, host):
    for how in ("close", "reset", "pipeline"):
        held = coordinator.connect(host.who())
        held.request("POST", "/v1/agent/poll", json.dumps(POLL))
        if how == "reset":
            held.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        if how == "pipeline":
            held.sock.sendall(b"POST /v1/agent/poll HTTP/1.1\r\nHost: a\r\n\r\n")
            assert held.sock.recv(1) == b""
        held.close()
        wait_for(lambda: established() == 0)
        assert coordinator.process.poll() is None
    assert coordinator.ask("POST", "/v1/agent/poll", {**POLL, "is_first": True}, host.who())[0] == 200


def established():
    table = subprocess.run(["ss", "-Htn", "state", "established", "sport", f":{PORT}"], capture_output=True, text=True)
    return len(table.stdout.splitlines())


def raw(coordinator, request):
    with coordinator.context().wrap_socket(socket.create_connection(("127.0.0.1", PORT), 5),
                                           server_hostname="127.0.0.1") as s:
        try:
            s.sendall(request)
        except (BrokenPipeError, ConnectionResetError):
            pass
        answer = b""
        while chunk := s.recv(65536):
            answer += chunk
        return answer


HEAD = b"POST /v1/join HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize("request_,status", [
    (HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", 400),
    (HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
    (HEAD + b"Content-Length : 5\r\n\r\nhello", 400),
    (HEAD + b"X: a\0b\r\n\r\n", 400),
    (HEAD + b"Content-Length: -1\r\n\r\n", 400),
    (HEAD + b"X: " + b"y" * 65536 + b"\r\n\r\n", 431),
    (HEAD + b"A: b\r\n" * 100000 + b"\r\n", 431),
    (HEAD + b"Content-Length: 1073741824\r\n\r\n", 413),
    (b"GET /\r\n\r\n", 400),
    (b"GET /v1/nothing HTTP/1.1\r\nHost: a\r\n\r\n", 404),
])
def test_malformed(coordinator, request_, status):
    assert raw(coordinator, request_).startswith(b"HTTP/1.1 %d " % status)
    assert coordinator.ask("GET", "/v1/hosts", who=coordinator.alice())[0] == 200


def test_100_mb_are_refused_before_they_are_read(coordinator):
    before = time.monotonic()
    answer = raw(coordinator, HEAD + b"Content-Length: 100000000\r\nExpect: 100-continue\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413") and time.monotonic() - before < 4
    resident = int(pathlib.Path(f"/proc/{coordinator.process.pid}/statm").read_text().split()[1]) * 4096
    assert resident < 64 * 1024 * 1024


def test_nothing_acknowledged_is_lost(coordinator, host):
    acked = 0
    for _ in range(5):
        lines = [host.line() for _ in range(3)]
        for _ in range(2):  # an answer that was lost on the way makes the courier repeat
            status, body = coordinator.ask("POST", "/v1/agent/events", "".join(lines), host.who())
            assert status == 200
        acked = json.loads(base64.b64decode(body["ack"]["payload"]))
        coordinator.stop(signal.SIGKILL)
        coordinator.start()
    assert acked["sequence"] == 15 and acked["hash"] == host.previous
    skipped = [host.line(), host.line()][1]
    status, body = coordinator.ask("POST", "/v1/agent/events", skipped, host.who())
    assert status == 409 and body["sequence"] == 16
    coordinator.stop()
    rows = subprocess.run(["sqlite3", str(coordinator.state / "store.db"), "SELECT count(*), max(sequence) FROM events"],
                          check=True, capture_output=True, text=True).stdout
    assert rows.strip() == "15|15"
