"""The names of a lab host's nftables tables and interfaces, asked of the kernel without a process for each look."""

import socket
import struct

from lab.host import set_namespace

NETFILTER, ROUTE = 12, 0
# Protocol: (what to ask, bytes of its own head, number of the attribute that is the name); <linux/netfilter/nf_tables.h>
ASKS = {NETFILTER: (10 << 8 | 1, 4, 1), ROUTE: (18, 16, 3)}
REQUEST_DUMP, INTERRUPTED, DONE = 0x301, 0x10, 3
HEAD = struct.Struct("=IHHII")


def attribute(data, wanted):
    """A text attribute among those of a message."""
    while len(data) >= 4:
        size, kind = struct.unpack_from("=HH", data)
        if kind == wanted:
            return data[4:size].rstrip(b"\0").decode()
        data = data[size + 3 & ~3:]
    return ""


class Netlink:
    """Sockets that were born in a host's network, and look at it from wherever we are."""

    def __init__(self, init_pid):
        self.sockets = {}
        with open("/proc/self/ns/net") as ours, open(f"/proc/{init_pid}/ns/net") as theirs:
            set_namespace(theirs.fileno())
            try:
                for protocol in ASKS:
                    self.sockets[protocol] = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
                    self.sockets[protocol].settimeout(10)
            finally:
                set_namespace(ours.fileno())

    def messages(self, protocol):
        """(flags, payload) of each answer."""
        ask, size, _ = ASKS[protocol]
        self.sockets[protocol].send(HEAD.pack(HEAD.size + size, ask, REQUEST_DUMP, 0, 0) + bytes(size))
        while True:
            data = self.sockets[protocol].recv(1 << 16)
            while data:
                length, kind, flags, _, _ = HEAD.unpack_from(data)
                if kind == DONE:
                    return
                yield flags, data[HEAD.size:length]
                data = data[length + 3 & ~3:]

    def names(self, protocol):
        _, size, name = ASKS[protocol]
        while True:
            answers = list(self.messages(protocol))
            if not any(flags & INTERRUPTED for flags, _ in answers):  # else what changed meanwhile may be missing
                return [attribute(payload[size:], name) for _, payload in answers]
