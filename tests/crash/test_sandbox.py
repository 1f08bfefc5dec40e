"""The lists of system calls (agent/sandbox.c) are enough and not more: other tests run again with each program under
strace. A call that is not listed kills its program; one that is listed and never made is found here. What those tests
say of times is not asked: strace takes its own."""

import collections
import errno
import fcntl
import json
import os
import pathlib
import re
import signal
import socket
import subprocess

import pytest

import test_every_fault
import test_pressure
from lab import agent
from lab.host import BUILD, LAB, PROGRAMS, PYTHON, SOURCE, die_with_parent, wait_until

CONFINED = ["grivet-sweep", "grivet-prober", "grivet-courier", "grivetd"]
FAULTS = [name for name in test_every_fault.CASES if "," not in name]
AT_FDCWD = -100
MECHANISMS = {"network": "netlink", "zone": "netlink", "process": "process", "cpu": "burner"}  # by a fault's first word
# Each part of the table, and the parts that are allowed with it.
PARTS = {**{program: [program] for program in CONFINED}, "syncer": ["syncer"], "answer": ["answer"], "start of a holder": ["start of a holder"],
         **{name: ["holder", name] for name in MECHANISMS.values()}}
# Run at the same time.
RUNS = {
    "prober": ["tests/netns/test_prober.py", "tests/netns/test_names.py"],
    "courier": ["tests/netns/test_courier.py"],
    "sweep": ["tests/crash/test_sweep.py"],
    "executor": ["tests/crash/test_executor.py", "tests/crash/test_executor_files.py", "tests/crash/test_every_fault.py",
                 "tests/crash/test_cool_down.py"],
}
# strace -D: the program stays the process that its starter knows.
TRACED = """#!/bin/sh
name=$(basename "$0")
exec strace -D -ff -qq -s 16 -o "/run/lab/logs/calls.$name.$$.$(date +%N)" "$(dirname "$(readlink -f "$0")")/real/$name" "$@"
"""
MARKS = {"entered": r"seccomp\(SECCOMP_SET_MODE_FILTER, 0, \{len=.* = 0$", "execve": r"execve\(",
         "holder": r"execve\(.*--holder", "answer": r"setresuid\(65534", "syncer": r'prctl\(PR_SET_NAME, "grivetd-sync', "burner": r'prctl\(PR_SET_NAME, "burn-'}
CALL = re.compile(r"(\w+)\(")


def table():
    return subprocess.run([BUILD / "tests/netns/sandbox-driver"], capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def rows():
    made = json.loads(table())
    if not made:
        pytest.skip("this build limits no system calls")
    return made


def make_traced(folder):
    """A build folder whose agent programs are traced."""
    for program, place in PROGRAMS.items():
        (folder / place / "real").mkdir(parents=True, exist_ok=True)
        is_traced = program in CONFINED
        real = folder / place / ("real" if is_traced else "") / program
        real.write_bytes((BUILD / place / program).read_bytes())
        real.chmod(0o755)
        if is_traced:
            (folder / place / program).write_text(TRACED)
            (folder / place / program).chmod(0o755)


def start(folder, logs, words):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    return subprocess.Popen([PYTHON, "-m", "pytest", "-q", "-c", "tests/pytest.ini", "-p", "no:cacheprovider",
                             "--basetemp", logs, *words], cwd=SOURCE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True, env={**environment, "GRIVET_BUILD": str(folder)}, preexec_fn=die_with_parent)


def calls_in(lines):
    return {match.group(1) for line in lines if (match := CALL.match(line))}


def read_trace(path):
    """[(part, its calls)] of a process or a thread."""
    program = path.name.split(".")[1]
    lines = path.read_text(errors="replace").splitlines()
    assert not any(line.startswith("+++ killed by SIGSYS") for line in lines), f"{path}: was killed for {lines[-2]}"
    last = {what: max((number for number, line in enumerate(lines) if re.match(pattern, line)), default=None)
            for what, pattern in MARKS.items()}
    entered = last["entered"] or 0
    fault = next((part for word, part in MECHANISMS.items() if f"whole_life_{word}_" in str(path)), None)
    if last["syncer"] is not None:
        return [("syncer", calls_in(lines[entered + 1:]))]
    if last["answer"] is not None:
        return [(program, calls_in(lines[:entered + 1])), ("answer", calls_in(lines[entered + 1:]))]
    if last["burner"] is not None:
        return [("burner", calls_in(lines))]
    if last["holder"] is not None:
        start = [("start of a holder", calls_in(lines[last["holder"] + 1:entered + 1]))]
        before = [(program, calls_in(lines[:last["holder"] + 1]))]
        return before + start + ([(fault, calls_in(lines[entered + 1:]))] if fault and entered else [])
    if last["entered"] is None and last["execve"] is not None:
        return []
    return [(program, calls_in(lines[entered + 1 if entered else 0:]))]  # or born with it: a thread, a child


@pytest.fixture(scope="module")
def calls(rows, tmp_path_factory):
    """What each program called once it was confined."""
    folder = tmp_path_factory.mktemp("traced")
    make_traced(folder / "build")
    runs = {name: start(folder / "build", folder / name, words) for name, words in RUNS.items()}
    for name, run in runs.items():
        print(f"{name}:", run.communicate(timeout=300)[0][-1000:])
    made = collections.defaultdict(set)
    for path in folder.glob("*/**/calls.*"):
        for part, names in read_trace(path):
            made[part] |= names
    return made


@pytest.mark.parametrize("part", PARTS)
def test_nothing_is_listed_that_is_not_needed(rows, calls, part):
    """"holder" is what all faults need: each of them is asked."""
    listed = {call for call, parts, spare in rows if not spare and set(PARTS[part]) & set(parts)}
    spare = {call for call, parts, why in rows if why and set(PARTS[part]) & set(parts)}
    print(f"{part}: {len(calls[part])} system calls made, {len(listed | spare)} allowed, {len(spare - listed)} of them spare")
    assert listed - calls[part] == set(), "listed, and never made"
    if part != "start of a holder":  # whose filter is the executor's
        assert calls[part] - listed - spare - {"clone3"} == set(), "made, and not listed"


def attempt(name, *words, host=None, **options):
    """What a confined program or holder sees of one system call: "done", the name of its error, or None: killed for it."""
    driver = f"{LAB}/build/tests/netns/sandbox-driver" if host else BUILD / "tests/netns/sandbox-driver"
    argv = [*(host.enter() if host else []), driver, name, *words]
    done = subprocess.run([str(word) for word in argv], stderr=subprocess.PIPE, text=True, check=False, **options)
    assert done.stderr == "", done.stderr
    if done.returncode in (-signal.SIGSYS, 128 + signal.SIGSYS):  # nsenter passes it on in its own way
        return None
    return errno.errorcode[done.returncode] if done.returncode else "done"


@pytest.mark.parametrize("call", ["ptrace", "setuid", "mount", "bpf", "process_vm_writev", "io_uring_setup", "unshare", "setns"])
@pytest.mark.parametrize("name", [*CONFINED, "syncer", "answer", *FAULTS])
def test_a_call_that_is_not_listed_kills(rows, name, call):
    assert attempt(name, call) is None


CLONE_NEWUSER, AF_NETLINK, AF_PACKET, AF_ALG = 0x10000000, 16, 17, 38


def test_arguments_are_limited_where_a_call_is_listed(rows):
    for name in ("grivet-prober", "grivet-courier"):
        assert attempt(name, "clone", CLONE_NEWUSER) is None and attempt(name, "clone3") == "ENOSYS"
        assert attempt(name, "socket", socket.AF_INET, socket.SOCK_STREAM) == "done"
        assert attempt(name, "socket", AF_PACKET, socket.SOCK_RAW) is None
        assert attempt(name, "socket", AF_ALG, socket.SOCK_SEQPACKET) is None
    assert attempt("grivet-sweep", "socket", AF_NETLINK, socket.SOCK_RAW) == "done"
    for name in ("grivet-sweep", "grivetd"):
        assert attempt(name, "socket", socket.AF_INET, socket.SOCK_STREAM) is None
    assert attempt("network.block", "socket", AF_PACKET, socket.SOCK_RAW) is None
    for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6):
        assert attempt("answer", "socket", family, socket.SOCK_STREAM) is None
    assert attempt("answer", "openat", AT_FDCWD, "/dev/null", os.O_WRONLY) is None
    assert [attempt("answer", call, 0) for call in ("connect", "execve", "kill", "clone", "unlink", "setresuid")] == [None] * 6
    assert attempt("cpu.burn", "clone", CLONE_NEWUSER) is None


PR_SET_NAME, PR_SET_DUMPABLE, F_SETSIG, F_SETLEASE, F_NOTIFY = 15, 4, 10, 1024, 1026
STDERR, SCHED_OTHER = 2, 0
# A call and its arguments, to whom it is allowed, and why others don't get it.
BORDERS = [
    ("fcntl", [STDERR, fcntl.F_DUPFD_CLOEXEC, 0], FAULTS),
    ("fcntl", [STDERR, fcntl.F_SETFL, 0], []),  # would take O_APPEND from the record
    ("fcntl", [STDERR, fcntl.F_SETOWN, 1], []),  # has the kernel send signals
    ("fcntl", [STDERR, F_SETSIG, signal.SIGKILL], []),
    ("fcntl", [STDERR, F_SETLEASE, fcntl.F_RDLCK], []),
    ("fcntl", [STDERR, F_NOTIFY, 1], []),
    ("fcntl", [STDERR, fcntl.F_SETLK, 0], []),
    ("socket", [socket.AF_UNIX, socket.SOCK_SEQPACKET, 0], []),  # to the executor's socket, or PID 1's
    ("socketpair", [socket.AF_UNIX, socket.SOCK_STREAM, 0, 0], ["process.kill"]),  # EFAULT: there is no place for two numbers
    ("socketpair", [socket.AF_UNIX, socket.SOCK_DGRAM, 0, 0], []),  # sendmsg() would reach any other
    ("prctl", [PR_SET_NAME, "/name"], ["cpu.burn"]),
    ("prctl", [PR_SET_DUMPABLE, 1], []),
    ("sched_setaffinity", [0, 0, 0], ["cpu.burn"]),  # EFAULT or EINVAL
    ("sched_setaffinity", [1, 0, 0], []),
    ("sched_setscheduler", [0, SCHED_OTHER, 0], ["cpu.burn"]),
    ("sched_setscheduler", [1, SCHED_OTHER, 0], []),
    ("timer_create", [0, 0, 0], ["cpu.burn"]),
    *((call, [STDERR, 0, 0, 0], []) for call in ["lseek", "dup", "dup2", "dup3", "flock", "fallocate", "pwrite64", "writev", "pwritev2",
                                                 "sendfile", "splice", "vmsplice", "copy_file_range", "ioctl", "fchmod", "fchown"]),
]


@pytest.mark.parametrize("fault", FAULTS)
def test_holder_stays_within_its_borders(rows, fault):
    """What is left over of calls of which a holder needs one use, and what could write to a descriptor that it has."""
    for call, arguments, allowed in BORDERS:
        is_alive = attempt(fault, call, *arguments, stdin=subprocess.DEVNULL) is not None
        assert is_alive == (fault in allowed), (call, arguments)


@pytest.mark.parametrize("fault", FAULTS)
def test_holder_can_not_read_the_signing_key(rows, host, fault):
    """Neither from its file nor through the process that has it, though who kills may look into processes of others."""
    host.sh("install -d -m 700 /var/lib/grivet; install -m 600 /dev/null /var/lib/grivet/host.key")
    host.service("victim", ["/usr/bin/sleep", "12345"], restart=False)
    victim = f"/proc/{host.pid('victim')}"
    paths = ["/var/lib/grivet/host.key", *(f"{victim}/{name}" for name in ("mem", "environ", "fd", "fd/0", "map_files"))]
    opened = {path: attempt(fault, "openat", AT_FDCWD, path, os.O_RDONLY, host=host) for path in paths}
    assert opened == dict.fromkeys(paths, "EACCES")
    others = attempt(fault, "openat", AT_FDCWD, f"{victim}/fdinfo", os.O_RDONLY, host=host)
    assert others == ("done" if fault == "process.kill" else "EACCES")  # which socket is whose


RECORD_BYTES = 16384  # RECORD_BYTES_MAX of common/record.h


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if MECHANISMS[fault.partition(".")[0]] == "netlink"])
def test_holder_can_not_fill_the_folder_of_records(rows, tmp_path, fault):
    """Who appends to a record can append so much, and is killed for more."""
    def append(to_bytes):
        path = tmp_path / "record"
        path.write_bytes(bytes(to_bytes))
        driver = BUILD / "tests/netns/sandbox-driver"
        with path.open("ab") as record:
            return subprocess.run([driver, fault, "write", "0", "/undo", "5"], stdin=record, check=False).returncode
    assert append(RECORD_BYTES - 5) == 0 and append(RECORD_BYTES) == -signal.SIGXFSZ


rig = test_pressure.rig


def test_holder_has_no_room_but_its_record(rows, rig):
    """Nor have its burners."""
    test_pressure.start(rig)
    children = pathlib.Path(f"/proc/{rig.holder}/task/{rig.holder}/children").read_text().split()
    assert (len(children) > 0) == (rig.fault[0] == "cpu.burn")
    limits = [pathlib.Path(f"/proc/{pid}/limits").read_text() for pid in (rig.holder, *children)]
    assert all(re.search(rf"^Max file size +{RECORD_BYTES} +{RECORD_BYTES} +bytes", text, re.M) for text in limits)
    test_pressure.ends_at_deadline(rig, "with a limit to its files")


def caught(pid):
    """The signals for which it has handlers, as a mask."""
    return int(re.search(r"SigCgt:\t(\w+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1), 16)


def test_a_program_that_is_asked_to_end_ends_well(host):
    """SIGTERM is heard in a handler, which returns by a system call of its own."""
    agent.unit_service(host, "grivet-prober")
    pid = wait_until(lambda: next((process["pid"] for process in host.processes() if process["name"] == "grivet-prober"), None), 5)
    wait_until(lambda: caught(pid) >> signal.SIGTERM - 1 & 1, 5, "the handler")  # it comes after the filter
    host.set_restart("grivet-prober", False)
    os.kill(pid, signal.SIGTERM)
    assert wait_until(lambda: (status := host.status("grivet-prober"))["state"] == "exited" and status, 5)["status"] == 0
