"""The units under a real systemd: they start, and whatever happens to the executor, its fault ends."""

import pytest

from installed import Installed

SECOND = 1_000_000_000
EARLY = 20_000_000  # how exact timed elements of nftables are under emulation


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    with Installed(tmp_path_factory.mktemp("units")) as made:
        made.boot()
        made.wire()
        made.install()
        made.configure()
        made.start()
        yield made


@pytest.fixture(autouse=True)
def is_clean(machine):
    """Every test leaves a machine on which the executor runs and no fault does."""
    yield
    assert machine.is_active("grivetd") and machine.is_active("grivet-sweep")
    assert not machine.left() and not machine.is_cut()


def test_units_are_well_formed(machine):
    said = machine.run(["systemd-analyze", "verify", "--man=no", "grivetd.service", "grivet-sweep.service",
                        "grivet-sweep-boot.service", "grivet-courier.service", "grivet-prober.service",
                        "grivet-ready.service", "grivet-coordinator.service", "grivet.slice"])
    assert not said.stdout + said.stderr


def test_units_start(machine):
    for name in ("grivetd", "grivet-sweep", "grivet-prober"):
        machine.wait_for(lambda name=name: machine.is_active(name), what=f"{name} to be active")
        assert machine.unit(name, "NRestarts") == {"NRestarts": "0"}
    assert machine.unit("grivet-sweep-boot", "Result", "ExecMainStatus") == {"Result": "success", "ExecMainStatus": "0"}


def test_fault_ends_at_its_deadline(machine):
    machine.block(3)
    assert [body["ended_by"] for body in machine.told()] == ["deadline"]
    assert -EARLY < machine.opened_at() - machine.deadline < SECOND
