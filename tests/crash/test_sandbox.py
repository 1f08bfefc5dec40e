"""The lists of system calls (agent/sandbox.c) are enough and not more: other tests run again with each program under
strace. A call that is not listed kills its program; one that is listed and never made is found here. What those tests
say of times is not asked: strace takes its own."""

import collections
import json
import os
import re
import signal
import socket
import subprocess

import pytest

from lab.host import BUILD, PROGRAMS, PYTHON, SOURCE, die_with_parent

CONFINED = ["grivet-sweep", "grivet-prober", "grivet-courier"]
# Run at the same time.
RUNS = {
    "prober": ["tests/netns/test_prober.py", "tests/netns/test_names.py"],
    "courier": ["tests/netns/test_courier.py"],
    "sweep": ["tests/crash/test_sweep.py"],
}
# strace -D: the program stays the process that its starter knows.
TRACED = """#!/bin/sh
name=$(basename "$0")
exec strace -D -ff -qq -s 16 -o "/run/lab/logs/calls.$name.$$.$(date +%N)" "$(dirname "$(readlink -f "$0")")/real/$name" "$@"
"""
ENTERED = re.compile(r"seccomp\(SECCOMP_SET_MODE_FILTER, 0, \{len=.* = 0$")
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


def read_trace(path, calls):
    """Adds what was called after the filter, or by a thread or a child that was born with it."""
    program = path.name.split(".")[1]
    lines = path.read_text(errors="replace").splitlines()
    assert not any("SIGSYS" in line for line in lines), f"{program} was killed for its last call:\n" + lines[-2]
    entered = [number for number, line in enumerate(lines) if ENTERED.match(line)]
    is_born_with_it = not any(line.startswith("execve(") for line in lines[:1])
    if not entered and not is_born_with_it:
        return
    for line in lines[entered[-1] + 1 if entered else 0:]:
        if match := CALL.match(line):
            calls[program].add(match.group(1))


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
        read_trace(path, made)
    return made


@pytest.mark.parametrize("program", CONFINED)
def test_nothing_is_listed_that_is_not_needed(rows, calls, program):
    listed = {call for call, parts, spare in rows if program in parts and not spare}
    spare = {call for call, parts, why in rows if program in parts and why}
    print(f"{program}: {len(calls[program])} system calls made, {len(listed | spare)} allowed, {len(spare)} of them spare")
    assert listed - calls[program] == set(), "listed, and never made"
    assert calls[program] - listed - spare - {"clone3"} == set(), "made, and not listed"


def attempt(*words):
    """What a confined program sees of one system call; None = it was killed for it."""
    done = subprocess.run([BUILD / "tests/netns/sandbox-driver", *map(str, words)], capture_output=True, text=True)
    assert done.returncode in (0, -signal.SIGSYS), done.stderr
    return done.stdout.strip() if done.returncode == 0 else None


@pytest.mark.parametrize("program", CONFINED)
@pytest.mark.parametrize("call", ["execve", "ptrace", "setuid", "mount", "kill", "bpf", "process_vm_writev", "io_uring_setup"])
def test_a_call_that_is_not_listed_kills(rows, program, call):
    assert attempt(program, call) is None


CLONE_NEWUSER, AF_NETLINK, AF_PACKET, AF_ALG = 0x10000000, 16, 17, 38


def test_arguments_are_limited_where_a_call_is_listed(rows):
    for program in ("grivet-prober", "grivet-courier"):
        assert attempt(program, "clone", CLONE_NEWUSER) is None and attempt(program, "clone3") == "ENOSYS"
        assert attempt(program, "socket", socket.AF_INET, socket.SOCK_STREAM) == "done"
        assert attempt(program, "socket", AF_PACKET, socket.SOCK_RAW) is None
        assert attempt(program, "socket", AF_ALG, socket.SOCK_SEQPACKET) is None
    assert attempt("grivet-sweep", "socket", AF_NETLINK, socket.SOCK_RAW) == "done"
    assert attempt("grivet-sweep", "socket", socket.AF_INET, socket.SOCK_STREAM) is None

