"""The computer runs out of something in mid fault: processor time, descriptors, memory, processes, disk. The fault ends at its
deadline all the same, and is told."""

import itertools
import json
import os
import re
import resource
import signal
import subprocess
import time

import pytest

from executor_client import CONTACT, READY, STATUS, STATUS_IS, WAIT_READY, Channel
from executor_rig import ExecutorRig
from lab.host import die_with_parent, wait_until
from rig import GATE_MS, GRACE_MS, boot_ns
from scenarios import assert_clean
from test_rollback_faults import FAULTS as OTHERS
from test_rollback_faults import wait_gone

FAULTS = {"zone.block": {"zone": "apse2-az2"}, **OTHERS}
DURATION_MS = 2500
FULL = ("/var/lib/grivet", "/run/grivet")


@pytest.fixture(params=FAULTS)
def rig(lab, request):
    made = ExecutorRig(lab)
    made.use(request.param, FAULTS[request.param])
    return made


def limit(rig, what, value):
    """For the holder, whatever it has already. Its own user may do that; root needs CAP_SYS_RESOURCE for it."""
    status = dict(line.split(":\t", 1) for line in open(f"/proc/{rig.holder}/status").read().splitlines() if ":\t" in line)
    words = [f"--reuid={status['Uid'].split()[0]}", f"--regid={status['Gid'].split()[0]}", "--clear-groups"]
    subprocess.run(["setpriv", *words, "prlimit", f"--pid={rig.holder}", f"--{what}={value}:{value}"], check=True)


def lowest_free(pid):
    taken = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    return next(number for number in itertools.count() if number not in taken)


def ends_at_deadline(rig, what):
    wait_until(lambda: boot_ns() > rig.deadline, 10, "the deadline")
    wait_gone(rig, f"{rig.fault[0]}, {what}", rig.deadline)
    body = rig.told()
    print(f"revert error {body['revert_error_ms']:.1f} ms, by {body['ended_by']}")
    assert body["ended_by"] == "deadline" and body["revert_error_ms"] < GATE_MS
    return body


def start(rig):
    """Until its effect was measured: a fault whose effect can't be is no fault, and says so."""
    rig.start(DURATION_MS)
    rig.courier.wait_event("fault.exercised", order=rig.order)


def test_no_descriptors(rig):
    start(rig)
    free = lowest_free(rig.holder)
    assert free > 4, "poll(2) takes no more descriptors than the limit"
    limit(rig, "nofile", free)
    ends_at_deadline(rig, "the holder can open nothing")
    assert_clean(rig)


def test_no_memory(rig):
    start(rig)
    limit(rig, "as", 0)
    ends_at_deadline(rig, "the holder gets no memory")
    assert_clean(rig)


def trace(rig, pids, *words):
    """strace on processes of ours until they are gone; returns when it is attached."""
    log = rig.host.logs / "strace.log"
    argv = ["strace", "-qq", "-ttt", "-s", "100", "-o", log, *words, *(word for pid in pids for word in ("-p", str(pid)))]
    process = subprocess.Popen(list(map(str, argv)), stderr=subprocess.PIPE, preexec_fn=die_with_parent)

    def is_attached():
        assert process.poll() is None, process.stderr.read()
        return all(re.search(rf"^TracerPid:\t{process.pid}$", open(f"/proc/{pid}/status").read(), re.M) for pid in pids)
    wait_until(is_attached, 5, "strace to be attached")
    return process, log


def test_no_processes(rig):
    """A call of this kind fails for executor and holder from now on: a limit would not bind root."""
    start(rig)
    calls = "fork,vfork,clone,clone3"
    tracer, _ = trace(rig, [rig.holder, rig.host.outside_pid("grivetd")], "-e", f"inject={calls}:error=EAGAIN")
    ends_at_deadline(rig, "nobody can fork")
    rig.kill_reserve()
    rig.send_order(20000)  # however slow the disk is
    failed = rig.courier.wait_event("fault.failed", order=rig.order)["body"]
    assert failed["is_reverted"] and "can't start a holder" in failed["reason"]
    tracer.terminate()
    tracer.wait()
    assert_clean(rig)


def fill(rig):
    """Nothing can be written where we keep what lasts, nor where records are."""
    rig.host.sh(";".join(f"cat /dev/zero >{folder}/ballast" for folder in FULL), check=False)


def free(rig):
    for folder in FULL:
        rig.host.path(f"{folder}/ballast").unlink()


def make_small(host):
    host.sh("; ".join(f"mkdir -p {folder}; mount -t tmpfs -o size=1m,mode=755 tmpfs {folder}" for folder in FULL))


@pytest.mark.parametrize("who", ["holder", "executor", "sweep"])
@pytest.mark.parametrize("fault", ["zone.block", "network.shape"])
def test_full_disks(lab, fault, who):
    """Whoever undoes it."""
    rig = ExecutorRig(lab, prepare=make_small)
    rig.fault = fault, FAULTS[fault]
    rig.start(DURATION_MS)
    fill(rig)
    if who == "executor":
        at = rig.signal("holder")
        wait_gone(rig, f"{fault}, undone by the executor with full disks", at)
    elif who == "sweep":
        rig.signal("executor", "holder", number=signal.SIGSTOP)
        wait_gone(rig, f"{fault}, undone by the sweep with full disks", rig.deadline + GRACE_MS * 1_000_000)
        rig.signal("executor", number=signal.SIGCONT)
    else:
        wait_gone(rig, f"{fault}, with full disks", rig.deadline)
    wait_until(lambda: not rig.records(), 5, "the record's removal")
    free(rig)
    print(rig.told())
    assert_clean(rig)


FORBIDDEN = re.compile(r"(brk|mmap|mremap|fsync|fdatasync|sync|write|pwrite64|writev|ftruncate|rename\w*)\("
                       r"|open(at)?\(.*O_(WRONLY|RDWR|CREAT)")


@pytest.mark.parametrize("end", ["deadline", "halt"])
def test_nothing_stands_before_the_undo(rig, end):
    """From the last wait of the holder to its word that it is over: no memory is asked for, no file is written."""
    start(rig)
    tracer, log = trace(rig, [rig.holder])
    if end == "halt":
        rig.halt()
    tracer.wait(15)  # both have ended
    calls = [line.split(maxsplit=1)[1] for line in log.read_text().splitlines()]
    last_wait = max(number for number, call in enumerate(calls) if call.startswith("ppoll("))
    word = next(number for number, call in enumerate(calls) if number > last_wait and "reverted_at" in call)
    between = calls[last_wait + 1:word]
    assert [call for call in between if FORBIDDEN.match(call)] == []
    print(f"{rig.fault[0]}, {end}: {len(between)} system calls until it is undone and that is seen")
    assert between and rig.told()["ended_by"] == end


def test_all_processors_burn(lab):
    """By a fault of ours, beside the one that has to end."""
    rig = ExecutorRig(lab)
    rig.fault = "cpu.burn", {"load_percent": 100, "cpus": os.cpu_count(), "mode": "contend"}
    rig.start(8000)
    rig.fault = "zone.block", FAULTS["zone.block"]
    rig.watch_cut(rig.start(DURATION_MS))
    body = rig.told(10)
    back = rig.wait_back(rig.deadline - 50_000_000, GATE_MS / 1000)
    print(f"with all processors burned: revert error {body['revert_error_ms']:.1f} ms, traffic back {back - 50:.1f} ms after the deadline")
    assert body["ended_by"] == "deadline" and body["revert_error_ms"] < GATE_MS
    rig.halt()
    assert_clean(rig)


def test_executor_without_descriptors(lab):
    """What a killed holder leaves is undone by the sweep then; the executor says nothing of it before it has seen that."""
    rig = ExecutorRig(lab)
    rig.fault = "network.shape", FAULTS["network.shape"]
    start(rig)
    executor = rig.host.outside_pid("grivetd")
    before = resource.prlimit(executor, resource.RLIMIT_NOFILE)
    resource.prlimit(executor, resource.RLIMIT_NOFILE, (lowest_free(executor), before[1]))
    rig.signal("holder")
    wait_until(lambda: boot_ns() > rig.deadline, 10, "the deadline")
    wait_gone(rig, "network.shape, by the sweep", rig.deadline + GRACE_MS * 1_000_000)
    resource.prlimit(executor, resource.RLIMIT_NOFILE, before)
    assert rig.told()["ended_by"] in ("executor", "sweep")
    assert_clean(rig)


def test_halt_of_an_executor_without_descriptors(lab):
    """It comes as a descriptor."""
    rig = ExecutorRig(lab)
    rig.start(20000)
    executor = rig.host.outside_pid("grivetd")
    before = resource.prlimit(executor, resource.RLIMIT_NOFILE)
    resource.prlimit(executor, resource.RLIMIT_NOFILE, (lowest_free(executor), before[1]))
    wait_gone(rig, "zone.block, halted", rig.halt())
    resource.prlimit(executor, resource.RLIMIT_NOFILE, before)
    assert rig.told()["ended_by"] == "halt"
    assert_clean(rig)


@pytest.fixture
def exhausted(lab):
    """A fault, and an executor that can't have one more descriptor."""
    rig = ExecutorRig(lab)
    rig.start(20000)
    executor = rig.host.outside_pid("grivetd")
    before = resource.prlimit(executor, resource.RLIMIT_NOFILE)
    resource.prlimit(executor, resource.RLIMIT_NOFILE, (lowest_free(executor), before[1]))
    yield rig
    resource.prlimit(executor, resource.RLIMIT_NOFILE, before)
    assert rig.told()["ended_by"] == "halt"
    assert_clean(rig)


def test_halt_by_root_of_an_executor_without_descriptors(exhausted):
    """Root comes on a connection of its own."""
    at = boot_ns()
    said = exhausted.host.run(["grivet", "halt"])
    assert "ended 1 fault" in said.stdout and said.stderr == ""
    wait_gone(exhausted, "zone.block, halted by root", at)


def test_signed_halt_beside_who_took_the_last_descriptor(exhausted):
    exhausted.courier.send(CONTACT, {})
    callers = [Channel(exhausted.host, "root") for _ in range(3)]
    callers[0].send(WAIT_READY)
    assert callers[0].expect(READY, 1)["is_ready"]
    wait_gone(exhausted, "zone.block, halted by the courier", exhausted.halt())


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_an_executor_without_descriptors_rests(lab):
    """Whoever wants to be let in waits, and gets in as soon as there is a descriptor; nobody turns in a circle for them."""
    rig = ExecutorRig(lab)
    executor = rig.host.outside_pid("grivetd")
    before = resource.prlimit(executor, resource.RLIMIT_NOFILE)
    resource.prlimit(executor, resource.RLIMIT_NOFILE, (0, before[1]))  # what it has in reserve can't be had either
    caller = Channel(rig.host, "root")
    spent = cpu_seconds(executor)
    time.sleep(1)  # that nothing is done can only be seen by letting time pass
    spent = cpu_seconds(executor) - spent
    resource.prlimit(executor, resource.RLIMIT_NOFILE, before)
    assert spent < 0.2
    caller.send(STATUS)
    assert json.loads(caller.expect(STATUS_IS, 1))["host"] == "victim"
