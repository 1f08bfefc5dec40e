"""The service of a lab instance: /health for the balancer, /test for outside monitoring, /statistics for counting.

Usage: service.py PORT RELEASE-FOLDER. Its data are the release's customers.json.
"""

import http.server
import json
import pathlib
import socket
import sys


class Service(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6  # takes IPv4 too
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port, folder):
        self.folder = pathlib.Path(folder)
        self.version = (self.folder / "version").read_text().strip()
        super().__init__(("::", port), Handler)

    def handle_error(self, request, client_address):
        pass  # a client that went away, as clients do in an outage

    def count_customers(self):
        return len(json.loads((self.folder / "customers.json").read_text()))

    def health(self):
        try:
            is_connected = self.count_customers() > 0
        except (OSError, ValueError):
            is_connected = False
        return {"BuildVersion": self.version, "DatabaseConnectivity": is_connected, "MaintenanceMode": False}

    def smoke_test(self, name, description, endpoint, act):
        try:
            act()
            return {"Name": name, "Description": description, "Endpoint": endpoint, "Success": True, "Error": None}
        except (OSError, ValueError, LookupError) as error:
            return {"Name": name, "Description": description, "Endpoint": endpoint, "Success": False,
                    "Error": str(error)}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    disable_nagle_algorithm = True

    def do_GET(self):
        handlers = {"/health": self.get_health, "/test": self.get_test, "/statistics": self.get_statistics}
        handler = handlers.get(self.path)
        status, body = handler() if handler else (404, {"Error": "not found"})
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def get_health(self):
        health = self.server.health()
        return 200 if health["DatabaseConnectivity"] else 503, health

    def get_test(self):
        health = self.server.health()
        tests = [
            self.server.smoke_test("customers", "customers can be read", "/statistics", self.server.count_customers),
            self.server.smoke_test("release", "what runs is the release on disk", "/health", self.check_release),
        ]
        is_good = health["DatabaseConnectivity"] and all(test["Success"] for test in tests)
        return 200 if is_good else 503, {"Health": health, "Tests": tests}

    def get_statistics(self):
        return 200, {"data": {"customers": {"count": self.server.count_customers()}}}

    def check_release(self):
        on_disk = (self.server.folder / "version").read_text().strip()
        if on_disk != self.server.version:
            raise ValueError(f"{self.server.version} runs, {on_disk} is on disk")

    def log_message(self, *_):
        pass  # a line for each health check would only fill the disk


if __name__ == "__main__":
    Service(int(sys.argv[1]), sys.argv[2]).serve_forever()
