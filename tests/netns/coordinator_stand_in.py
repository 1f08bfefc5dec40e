"""A coordinator played by a test, over real TLS 1.3 with client certificates, listening in the network of a lab host."""

import datetime
import http.server
import json
import queue
import socket
import ssl
import subprocess
import threading
import uuid

from lab.host import set_namespace

CA = """set -e; cd "$1"
new() { openssl req "$@" -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes; }
new -x509 -days 30 -keyout ca.key -out ca.crt -subj /CN=ca
for name in server agent; do
    new -keyout $name.key -out $name.csr -subj "/OU=agent/CN=i-1"; printf 'subjectAltName=IP:127.0.0.1,DNS:coordinator.test\n' >extensions
    openssl x509 -req -in $name.csr -CA ca.crt -CAkey ca.key -days "$2" -extfile extensions -out $name.crt
done"""


def make_certificates(folder, days=30):
    subprocess.run(["sh", "-c", CA, "ca", folder, str(days)], check=True, capture_output=True)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_one(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, answer = self.server.coordinator.answer(self.command, self.path, body)
        raw = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_POST = handle_one

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # the courier was killed, or we are closing


class Coordinator:
    """Answers polls from a queue; what else was asked is kept in `posts` and answered by `replies[path]` (a function)."""

    def __init__(self, host, folder, port, address="127.0.0.1"):
        self.items, self.polls, self.posts = queue.Queue(), queue.Queue(), queue.Queue()
        self.mandates, self.replies = {}, {}
        self.raw_events = None  # a function of the lines as they came, instead of replies
        with open("/proc/self/ns/net") as ours, open(f"/proc/{host.init_pid}/ns/net") as theirs:
            set_namespace(theirs.fileno())
            try:
                listener = socket.socket()
            finally:
                set_namespace(ours.fileno())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(16)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(folder / "server.crt", folder / "server.key")
        context.load_verify_locations(folder / "ca.crt")
        context.verify_mode = ssl.CERT_REQUIRED
        self.server = Server(("127.0.0.1", port), Handler, bind_and_activate=False)
        self.server.socket.close()
        self.server.socket = context.wrap_socket(listener, server_side=True, do_handshake_on_connect=False)
        self.server.coordinator = self
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def answer(self, method, path, body):
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        if path == "/v1/agent/time":
            return 200, {"now": now}
        if path.startswith("/v1/mandates/"):
            mandate = self.mandates.get(path.rsplit("/", 1)[1])
            return (200, mandate) if mandate else (404, {"error": "no such mandate"})
        if path == "/v1/agent/events" and self.raw_events:
            return self.raw_events(body.splitlines())
        asked = json.loads(body) if path != "/v1/agent/events" else [json.loads(line) for line in body.splitlines()]
        if path != "/v1/agent/poll":
            self.posts.put((path, asked))
            return self.replies[path](asked)
        self.polls.put(asked)
        try:
            items = self.items.get(timeout=0.01 if asked["is_first"] else 2)
        except queue.Empty:
            items = []
        return 200, {"now": now, "nonce": str(uuid.uuid4()), "items": items}

    def close(self):
        self.server.shutdown()
        self.server.server_close()
