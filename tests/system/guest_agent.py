"""Runs in the virtual machine and does what a test says by the serial port: one JSON object a line, and one as the answer.

    {"do": "run", "argv": [...], "input": text, "timeout": s}  -> {"code", "out", "error"}
    {"do": "clock"}                                            -> {"real_ns", "boot_ns"}
    {"do": "gone", "pid", "timeout": s}                        -> {}, when that process has ended
    {"do": "connect", "user": name}                            -> {"channel": id}, to the executor's socket
    {"do": "send", "channel", "bytes", "data"}                 -> {}, with `data` as a sealed memfd (both in base64)
    {"do": "receive", "channel", "timeout": s}                 -> {"bytes", "data"}; {} when the other end has closed
"""

import array
import base64
import fcntl
import json
import os
import pwd
import select
import socket
import struct
import subprocess
import time

PORT = "/dev/vport0p1"
SEALS = 0x1 | 0x2 | 0x4 | 0x8
channels = {}


def run(argv, input="", timeout=30):
    try:
        done = subprocess.run(argv, input=input, capture_output=True, text=True, errors="replace", timeout=timeout)
    except subprocess.TimeoutExpired as late:
        return {"code": None, "out": (late.stdout or b"").decode(), "error": f"not done after {timeout} s"}
    return {"code": done.returncode, "out": done.stdout, "error": done.stderr}


def clock():
    return {"real_ns": time.time_ns(), "boot_ns": time.clock_gettime_ns(time.CLOCK_BOOTTIME)}


def gone(pid, timeout):
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return {}
    is_gone = select.select([process], [], [], timeout)[0]
    os.close(process)
    if not is_gone:
        raise TimeoutError(f"process {pid} has not ended in {timeout} s")
    return {}


def connect(user):
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    os.seteuid(pwd.getpwnam(user).pw_uid)
    try:
        channel.connect("/run/grivet/agent.sock")
    finally:
        os.seteuid(0)
    channels[channel.fileno()] = channel
    return {"channel": channel.fileno()}


def send(channel, bytes, data=None):
    fds = []
    if data is not None:
        fds.append(os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
        os.write(fds[0], base64.b64decode(data))
        fcntl.fcntl(fds[0], fcntl.F_ADD_SEALS, SEALS)
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    channels[channel].sendmsg([base64.b64decode(bytes)], ancillary)
    for fd in fds:
        os.close(fd)
    return {}


def receive(channel, timeout):
    if not select.select([channels[channel]], [], [], timeout)[0]:
        raise TimeoutError(f"no message in {timeout} s")
    received, ancillary, _, _ = channels[channel].recvmsg(1 << 16, socket.CMSG_SPACE(4))
    if not received:
        return {}
    answer = {"bytes": base64.b64encode(received).decode()}
    if ancillary:
        with os.fdopen(struct.unpack("i", ancillary[0][2])[0], "rb") as file:
            file.seek(0)
            answer["data"] = base64.b64encode(file.read()).decode()
    return answer


def answer(request):
    do = {"run": run, "clock": clock, "gone": gone, "connect": connect, "send": send, "receive": receive}[request.pop("do")]
    try:
        return do(**request)
    except Exception as error:  # whatever it is, the test has to hear of it
        return {"failed": repr(error)}


def main():
    with open(PORT, "r+b", buffering=0) as port:
        port.write(b'{"is_up": true}\n')
        rest = b""
        while True:
            chunk = os.read(port.fileno(), 65536)
            if not chunk:
                select.select([], [], [], 0.05)  # nobody holds the other end
                continue
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                data = json.dumps(answer(json.loads(line))).encode() + b"\n"
                while data:
                    data = data[os.write(port.fileno(), data):]


main()
