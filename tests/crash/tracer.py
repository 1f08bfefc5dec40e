"""Follows one process by ptrace, counts its system calls by kind, and at one of them kills it or lets it fail.

A point is (call, nth, action): at the start of the nth system call of that kind the process is killed (action "KILL"), or
the call is not made and returns an error (action "EIO" and so on). close() is made nevertheless, as the kernel does.
Without a point the calls are listed in their order, those of the dynamic linker apart: main() has not begun.
"""

import contextlib
import ctypes
import errno
import functools
import json
import os
import platform
import re
import select
import signal
import subprocess
import time

CONT, DETACH, SYSCALL, GETEVENTMSG = 7, 17, 24, 0x4201
GETREGSET, SETREGSET, SEIZE, INTERRUPT, LISTEN, SYSCALL_INFO = 0x4204, 0x4205, 0x4206, 0x4207, 0x4208, 0x420e
TRACE_SYSGOOD, TRACE_CHILDREN, TRACE_EXEC = 1, 2 | 4 | 8, 16
EVENT_EXEC, EVENT_STOP = 4, 128
ENTRY, EXIT = 1, 2
WALL = 0x40000000
SYSCALL_STOP = signal.SIGTRAP | 0x80
PRSTATUS, ARM_SYSTEM_CALL = 1, 0x404
# Words of the registers, and which holds a result; where the number is that decides which call is made.
WORDS, RESULT = {"x86_64": (27, 10), "aarch64": (34, 0)}[platform.machine()]
ORIG_RAX = 15

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


@functools.cache
def call_names():
    """{number: name} as this machine's headers have it."""
    text = subprocess.run(["gcc", "-E", "-dM", "-include", "sys/syscall.h", "-x", "c", "/dev/null"], check=True,
                          capture_output=True, text=True).stdout
    return {int(number): name for name, number in re.findall(r"#define __NR_(\w+) (\d+)$", text, re.M)}


def ptrace(request, pid, address=0, data=0):
    """A process may be gone at any moment: then waitpid() tells."""
    return libc.ptrace(request, pid, address, data)


def registers(request, pid, kind, words):
    vector = (ctypes.c_size_t * 2)(ctypes.addressof(words), ctypes.sizeof(words))
    ptrace(request, pid, kind, ctypes.addressof(vector))


def set_register(pid, index, value):
    words = (ctypes.c_ulong * WORDS)()
    registers(GETREGSET, pid, PRSTATUS, words)
    words[index] = value % (1 << 64)
    registers(SETREGSET, pid, PRSTATUS, words)


def skip_call(pid):
    if platform.machine() == "x86_64":
        set_register(pid, ORIG_RAX, -1)
    else:
        registers(SETREGSET, pid, ARM_SYSTEM_CALL, ctypes.c_int(-1))


class Done(Exception):
    pass


class Follower:
    """Runs in a process of its own, which is the tracer as the kernel sees it."""

    def __init__(self, pid, child, point, tell):
        self.first, self.before, self.point, self.tell = pid, child, point, tell
        self.target = None if child else pid
        self.names = call_names()
        self.calls, self.counts = [], {}
        self.linker, self.linked = range(0), []  # its addresses, and the indices of its calls before main()
        self.is_failing = False
        options = TRACE_SYSGOOD | (TRACE_CHILDREN | TRACE_EXEC if child else 0)
        if ptrace(SEIZE, pid, 0, options) < 0:
            raise OSError(ctypes.get_errno(), f"can't trace {pid}")
        if not child:
            ptrace(INTERRUPT, pid)
            if not os.WIFSTOPPED(os.waitpid(pid, WALL)[1]):
                raise ProcessLookupError(f"{pid} has just ended")
            ptrace(SYSCALL, pid)

    def on_exec(self, pid):
        with open(f"/proc/{pid}/maps") as maps:
            where = [int(end, 16) for line in maps if "/ld-linux" in line for end in line.split()[0].split("-")]
        self.linker = range(min(where), max(where)) if where else range(0)

    def on_entry(self, pid, number, address):
        name = self.names.get(number, str(number))
        self.counts[name] = self.counts.get(name, 0) + 1
        self.calls.append(name)
        if address not in self.linker:
            self.linker = self.linker if not self.linked else range(0)
        else:
            self.linked.append(len(self.calls) - 1)
        if self.point and (name, self.counts[name]) == self.point[:2]:
            self.tell(hit=time.clock_gettime_ns(time.CLOCK_BOOTTIME))
            if self.point[2] == "KILL":
                os.kill(pid, signal.SIGKILL)
                return
            self.is_failing = True
            if name != "close":
                skip_call(pid)

    def on_exit(self, pid):
        if self.is_failing:
            set_register(pid, RESULT, -getattr(errno, self.point[2]))
            ptrace(DETACH, pid)
            raise Done

    def on_call(self, pid):
        info = (ctypes.c_uint64 * 11)()  # struct ptrace_syscall_info: its kind, then at 24 bytes the number
        ptrace(SYSCALL_INFO, pid, ctypes.sizeof(info), ctypes.addressof(info))
        if info[0] & 0xff == ENTRY:
            self.on_entry(pid, info[3], info[1])
        elif info[0] & 0xff == EXIT:
            self.on_exit(pid)
        ptrace(SYSCALL, pid)

    def on_target(self, pid, number, event):
        if event == EVENT_EXEC:
            self.on_exec(pid)
        if number == SYSCALL_STOP:
            self.on_call(pid)
        elif event == EVENT_STOP and number != signal.SIGTRAP:
            ptrace(LISTEN, pid)
        else:
            ptrace(SYSCALL, pid, 0, 0 if event else number)

    def is_wanted(self, pid, event):
        """Is it one of our programs, from its birth or since now, and the one that we wait for?"""
        if self.target or event not in (EVENT_EXEC, EVENT_STOP):
            return False
        try:
            with open(f"/proc/{pid}/comm") as file:
                is_ours = file.read().startswith("grivet")
        except OSError:
            return False  # it is gone
        self.before -= is_ours
        return is_ours and self.before == 0

    def on_stop(self, pid, number, event):
        if pid == self.first != self.target:
            ptrace(CONT, pid, 0, 0 if event else number)
            return
        if self.is_wanted(pid, event):
            self.target = pid
        if pid == self.target:
            self.on_target(pid, number, event)
        else:  # perhaps one that has yet to become what we wait for; children of the target are let go
            ptrace(DETACH if self.target else CONT, pid, 0, 0 if event else number)

    def follow(self):
        while True:
            pid, status = os.waitpid(-1, WALL)
            if os.WIFSTOPPED(status):
                self.on_stop(pid, os.WSTOPSIG(status), status >> 16)
            elif pid in (self.target, self.first):
                return


class Tracer:
    """Follows process `pid`, or with `child` the first, second... process of a program of ours that it starts from now on."""

    def __init__(self, pid, child=0, point=None):
        call_names()  # found once, here
        reader, writer = os.pipe()
        self.reader, self.buffer = reader, b""
        self.said = {"hit": None, "calls": None, "linked": []}
        self.process = os.fork()
        if self.process == 0:
            os.close(reader)
            self.live(pid, child, point, writer)
        os.close(writer)
        self.is_attached = self.hear(5, "is_attached")

    @staticmethod
    def live(pid, child, point, writer):
        def stop(*_):
            raise Done

        def tell(**words):
            os.write(writer, json.dumps(words).encode() + b"\n")

        try:
            libc.prctl(1, signal.SIGKILL, 0, 0, 0)
            signal.signal(signal.SIGTERM, stop)
            follower = Follower(pid, child, point, tell)
            tell(is_attached=True)
            with contextlib.suppress(Done, ChildProcessError):
                follower.follow()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            tell(linked=follower.linked)
            tell(calls=follower.calls)
        except OSError:
            pass  # there is nobody to follow: nothing is told
        finally:
            os._exit(0)  # the kernel lets all go that were followed

    def hear(self, timeout, word):
        """Reads on until `word` was said, or until time is up; returns what was said by it."""
        until = time.monotonic() + timeout
        while self.said.get(word) is None:
            left = until - time.monotonic()
            if left < 0 or not select.select([self.reader], [], [], left)[0]:
                return None
            data = os.read(self.reader, 1 << 16)
            if not data:
                return None
            *lines, self.buffer = (self.buffer + data).split(b"\n")
            for line in lines:
                self.said.update(json.loads(line))
        return self.said[word]

    def finish(self):
        """Ends the following; returns when the point was hit (None: never), the calls in their order, and the linker's."""
        try:
            os.kill(self.process, signal.SIGTERM)
            calls = self.hear(5, "calls")
        finally:
            os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)
            os.close(self.reader)
        return self.said["hit"], calls or [], self.said["linked"]
