"""An endpoint for test_prober.py. Usage: probed_server.py PORT; /connections says how many there have been,
/asked how many requests for "/"."""

import http.server
import json
import sys
import time


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    connections, asked, hesitations = 0, 0, 0

    def setup(self):
        Handler.connections += 1
        super().setup()

    def do_GET(self):
        status, body, location = 200, json.dumps({"DatabaseConnectivity": True}), None
        if self.path == "/":
            Handler.asked += 1
        elif self.path == "/slow":
            time.sleep(0.45)
        elif self.path == "/hesitant":
            Handler.hesitations += 1
            time.sleep(0.45 if Handler.hesitations == 3 else 0)
        elif self.path == "/connections":
            body = str(Handler.connections - 1)  # this one does not count
        elif self.path == "/asked":
            body = str(Handler.asked)
        elif self.path == "/moved":
            status, location = 302, "/"
        elif self.path == "/big":
            body = " " * 100_000 + body
        elif self.path == "/broken":
            body = json.dumps({"DatabaseConnectivity": False})
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
