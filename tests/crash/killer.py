"""Kills holders at their system calls: killer.py EXECUTOR CALL... attaches to an executor, by ptrace, and kills the
first holder that it starts from then on at its CALL-th system call (0 = never), the second at the next one's, and so on.
Prints `attached`, and when all are gone a line for each: how many system calls it made."""

import ctypes
import os
import signal
import sys

CONT, SYSCALL, SEIZE = 7, 24, 0x4206
TRACE_SYSGOOD, TRACE_FORK, TRACE_VFORK, TRACE_CLONE, TRACE_EXEC = 1, 2, 4, 8, 16
EVENT_EXEC = 4
WALL = 0x40000000
SYSCALL_STOP = signal.SIGTRAP | 0x80

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def ptrace(request, pid, data=0):
    """A process may be gone at any moment: then waitpid() tells."""
    return libc.ptrace(request, pid, None, data)


class Holder:
    def __init__(self, last):
        self.last, self.stops = last, 0

    def count(self, pid):
        """Called at the start and at the end of each system call."""
        self.stops += 1
        if self.stops == 2 * self.last - 1:
            os.kill(pid, signal.SIGKILL)


def main(executor, points):
    assert ptrace(SEIZE, executor, TRACE_SYSGOOD | TRACE_FORK | TRACE_VFORK | TRACE_CLONE | TRACE_EXEC) == 0, \
        os.strerror(ctypes.get_errno())
    signal.alarm(60)  # an order that was refused starts no holder
    print("attached", flush=True)
    started, holders = [], {}  # all of them, and those that live
    while points or holders:
        pid, status = os.waitpid(-1, WALL)
        if not os.WIFSTOPPED(status):
            holders.pop(pid, None)
            continue
        number, event = os.WSTOPSIG(status), status >> 16
        if event == EVENT_EXEC and pid != executor:
            holders[pid] = Holder(points.pop(0))
            started.append(holders[pid])
        elif number == SYSCALL_STOP:
            holders[pid].count(pid)
        delivered = number if not event and number != SYSCALL_STOP else 0
        ptrace(SYSCALL if pid in holders else CONT, pid, delivered)
    for holder in started:
        print(holder.stops // 2)


if __name__ == "__main__":
    main(int(sys.argv[1]), [int(point) for point in sys.argv[2:]])
