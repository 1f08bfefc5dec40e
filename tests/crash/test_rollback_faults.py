"""The rollback matrix for every other fault: network.shape leaves devices that have no lifetime, as does the wire by which own
packets are forwarded, so that an undo record, the executor and the sweep are all that ends them; what network.block and
process.kill are made of goes with their holder; cpu.burn is processes that end by themselves.

Nothing of ours may be left one second after the moment that the cell names.
"""

import os
import signal
import time

import pytest

from executor_rig import IRREVERSIBLE, ExecutorRig
from rig import GATE_MS, GRACE_MS, boot_ns
from scenarios import assert_clean, assert_told

VICTIM = "rollback-victim"  # it does not die of the signal: the holder waits until the deadline
FAULTS = {
    "network.shape": {"cidrs": ["10.9.2.0/24", "fd00:9:2::/64"], "rate_kbit": 64},
    "network.block, of containers": {"cidrs": ["10.9.2.0/24", "fd00:9:2::/64"], "scope": "containers"},
    "cpu.burn": {"load_percent": 20, "cpus": 1, "mode": "contend"},
}
HELD = {
    "network.block": {"cidrs": ["10.9.2.0/24", "fd00:9:2::/64"]},
    "process.kill": {"cmdline": f"^{VICTIM}", "signal": "TERM"},
}
SHORT_MS, LONG_MS = 1500, 20000
AT_ONCE, DEADLINE, GRACE = "at once", "at the deadline", "after the grace"

# name: (killed, stopped, halted?, when all of it is gone: devices, cpu.burn, HELD)
CELLS = {
    "nothing fails": ((), (), False, DEADLINE, DEADLINE, DEADLINE),
    "halt": ((), (), True, AT_ONCE, AT_ONCE, AT_ONCE),
    "holder killed": (("holder",), (), False, AT_ONCE, AT_ONCE, AT_ONCE),
    "executor killed": (("executor",), (), False, AT_ONCE, AT_ONCE, AT_ONCE),
    "executor and holder killed": (("executor", "holder"), (), False, AT_ONCE, AT_ONCE, AT_ONCE),
    "holder and sweep killed": (("holder", "sweep"), (), False, AT_ONCE, AT_ONCE, AT_ONCE),
    "executor, holder and sweep killed": (("executor", "holder", "sweep"), (), False, AT_ONCE, AT_ONCE, AT_ONCE),
    "holder stopped": ((), ("holder",), False, GRACE, DEADLINE, GRACE),
    "executor stopped": ((), ("executor",), False, DEADLINE, DEADLINE, DEADLINE),
    "executor and holder stopped": ((), ("executor", "holder"), False, GRACE, DEADLINE, GRACE),
    "executor and sweep stopped, holder killed": (("holder",), ("executor", "sweep"), False, None, AT_ONCE, AT_ONCE),
    "all stopped": ((), ("executor", "holder", "sweep"), False, None, DEADLINE, GRACE),
}


def left(rig):
    """What is there of ours: tables, devices, processes that burn; of process.kill, its holder."""
    ours = "grivet-holder" if rig.fault[0] in IRREVERSIBLE else "burn-"
    processes = [process["name"] for process in rig.host.processes() if process["name"].startswith(ours)]
    devices = [line for line in rig.traffic_control().splitlines() if "grivet-" in line]
    return rig.tables() + devices + processes


def wait_gone(rig, name, since_ns):
    """Waits until nothing is left, GATE_MS after @since_ns at most."""
    while found := left(rig):
        assert boot_ns() < since_ns + GATE_MS * 1_000_000, f"{name}: left {GATE_MS} ms later: {found}"
        time.sleep(0.01)
    print(f"{name}: all gone {(boot_ns() - since_ns) / 1e6:.0f} ms after the moment")


def send_all(rig, names, number):
    for name in names:
        pid = rig.holder if name == "holder" else rig.host.outside_pid({"executor": "grivetd", "sweep": "grivet-sweep"}[name])
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            assert name == "holder", f"{name} is gone"  # its executor took it along


def cell(rig, fault, name):
    killed, stopped, is_halted, *when = CELLS[name]
    when = when[2 if fault in HELD else fault == "cpu.burn"]
    rig.use(fault, {**FAULTS, **HELD}[fault])
    if fault == "process.kill":
        rig.host.service("victim", ["bash", "-c", f"trap '' TERM; exec -a {VICTIM} sleep 60"])
        rig.host.wait_for(lambda: any(process["argv"][:1] == [VICTIM] for process in rig.host.processes()))
    rig.start(SHORT_MS if when in (DEADLINE, GRACE, None) else LONG_MS)
    assert left(rig), "armed, but nothing is there"
    send_all(rig, stopped, signal.SIGSTOP)
    at = rig.halt() if is_halted else boot_ns()
    # Killed in one go: stopped first, none of them sees the others go and helps. systemd would start them again.
    send_all(rig, killed, signal.SIGSTOP)
    send_all(rig, killed, signal.SIGKILL)
    if when:
        wait_gone(rig, f"{fault}, {name}", {AT_ONCE: at, DEADLINE: rig.deadline,
                                            GRACE: rig.deadline + GRACE_MS * 1_000_000}[when])
    else:
        while boot_ns() < rig.deadline + GRACE_MS * 1_000_000:
            time.sleep(0.05)
        assert not rig.tables() and rig.holder_pid() is None, "what the kernel ends is left"
        send_all(rig, ("sweep",), signal.SIGCONT)
        wait_gone(rig, f"{fault}, {name}, when the sweep goes on", boot_ns())
    send_all(rig, [one for one in stopped if one != "holder"], signal.SIGCONT)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("fault", [*FAULTS, *HELD])
def test_rollback(lab, fault, name):
    rig = ExecutorRig(lab)
    cell(rig, fault, name)
    assert_clean(rig)
    assert_told(rig)


def test_burners_without_a_record_are_found(lab):
    """Nothing names them but themselves: a pass that says nothing would be no proof."""
    rig = ExecutorRig(lab)
    rig.use("cpu.burn", FAULTS["cpu.burn"])
    rig.start(LONG_MS)
    rig.host.path(f"/run/grivet/active/{rig.order}").unlink()
    swept = rig.host.run(["grivet-sweep"])
    assert not left(rig) and "had no record" in swept.stderr
    assert_told(rig)


@pytest.mark.parametrize("has_sweep", [True, False])
def test_halt_by_root_when_nobody_is_left_to_hear_of_it(lab, has_sweep):
    """Devices stay when their holder dies: `grivet halt` counts what has a record, and the sweep hears of the file."""
    rig = ExecutorRig(lab, has_sweep)
    rig.use("network.shape", FAULTS["network.shape"])
    rig.start(LONG_MS)
    rig.signal("executor", number=signal.SIGSTOP)
    rig.signal("holder")
    said = rig.host.run(["grivet", "halt"], check=False)
    if has_sweep:
        assert (said.returncode, said.stdout) == (0, "ended 1 fault(s) on this host\n") and not left(rig)
    else:
        assert said.returncode == 1 and "1 of 1 faults have left traces: `grivet-sweep`" in said.stderr
        assert said.stdout == "" and left(rig)
        rig.host.run(["grivet-sweep"])
    rig.signal("executor", number=signal.SIGCONT)
    assert_clean(rig)
    assert_told(rig)


def test_nobody_knows_when_it_was_due(lab):
    """The sweep ends it before its deadline, and the executor never heard of the file: no figure is better than a wrong one."""
    rig = ExecutorRig(lab)
    rig.use("network.shape", FAULTS["network.shape"])
    rig.start(LONG_MS)
    rig.signal("executor", "holder", number=signal.SIGSTOP)
    rig.host.write("/run/grivet/halt", "")
    rig.host.wait_for(lambda: not left(rig), 5, "what the sweep does")
    rig.host.run(["rm", "/run/grivet/halt"])
    rig.signal("executor", number=signal.SIGCONT)
    told = rig.told()
    assert (told["ended_by"], told["revert_error_ms"]) == ("sweep", None)
