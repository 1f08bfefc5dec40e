"""One machine for all tests of this folder but those of its whole life: each finds it as it was when it had just been installed."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from installed import Installed  # noqa: E402


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """Booted once, then saved; what a test does to it is undone by going back to that moment."""
    with Installed(tmp_path_factory.mktemp("machine")) as made:
        made.boot()
        made.wire()
        made.install()
        made.configure()
        made.start()
        made.save("fresh")
        yield made


@pytest.fixture
def machine(installed):
    """Every test leaves a machine on which executor and sweep run and no fault does."""
    installed.restore("fresh")
    installed.connect()
    yield installed
    for name in ("grivetd", "grivet-sweep"):
        assert installed.is_active(name)
    assert not installed.left() and not installed.is_cut()
