"""A coordinator for test_join.py that can also be wrong: answers POST /v1/join over TLS 1.3 and notes what it was sent.

Usage: join_server.py FOLDER PORT: FOLDER holds ca.crt, ca.key, server.crt (chain), server.key, roots.json, behaviour.
"""

import base64
import hashlib
import http.server
import json
import pathlib
import ssl
import subprocess
import sys
import tempfile

FOLDER = pathlib.Path(sys.argv[1])
ED25519_PREFIX = bytes.fromhex("302a300506032b6570032100")


def openssl(*arguments, data=None):
    return subprocess.run(["openssl", *map(str, arguments)], input=data, capture_output=True, check=True).stdout


def check_proof(request):
    digest = hashlib.sha256(request["csr"].encode()).hexdigest()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "message").write_text(f"grivet-join\n{request['host']}\n{digest}")
        (folder / "signature").write_bytes(base64.b64decode(request["proof"]))
        (folder / "key").write_bytes(ED25519_PREFIX + base64.b64decode(request["public"]))
        openssl("pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", folder / "key", "-rawin", "-in",
                folder / "message", "-sigfile", folder / "signature")


def certify(csr):
    return openssl("x509", "-req", "-days", "30", "-CA", FOLDER / "ca.crt", "-CAkey", FOLDER / "ca.key",
                   data=csr.encode()).decode()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        (FOLDER / "request.json").write_text(json.dumps(request))
        behaviour = (FOLDER / "behaviour").read_text()
        status, answer = 403, {"error": "the token is used up"}
        if behaviour != "refuse":
            check_proof(request)
            status, answer = 200, {"certificate": certify(request["csr"]), "ca": (FOLDER / "ca.crt").read_text(),
                                   "roots": (FOLDER / "roots.json").read_text()}
        if behaviour == "other roots":
            answer["roots"] += " "
        if behaviour == "other certificate":
            answer["certificate"] = (FOLDER / "ca.crt").read_text()
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.minimum_version = ssl.TLSVersion.TLSv1_3
context.load_cert_chain(FOLDER / "server.crt", FOLDER / "server.key")
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[2])), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
