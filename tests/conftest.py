"""What every test of the lab kind can ask for: a host, a lab. GRIVET_BUILD names the build folder (build/ without)."""

import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from lab.host import BUILD, Host, Lab  # noqa: E402


@pytest.hookimpl(tryfirst=True)  # before the groups are read
def pytest_collection_modifyitems(items):
    if items and os.geteuid() != 0:
        raise pytest.UsageError("these tests make namespaces: run them as root")
    for item in items:
        shared = [made for each in item._fixtureinfo.name2fixturedefs.values() for made in each if made.scope == "module"]
        if shared:  # what shares a fleet stays with it, in order, where tests run side by side
            item.add_marker(pytest.mark.xdist_group(item.location[0]))


def pytest_make_parametrize_id(val):
    """Keeps names short: pytest puts them into the environment, and a long one is refused by exec."""
    return repr(val)[:60] + "..." if isinstance(val, (str, bytes)) and len(val) > 60 else None


@pytest.fixture
def tell(capsys, record_property):
    """Says it on the terminal, or at the end of ./verify, whose tests side by side have none."""
    def say(text):
        record_property("told", text)
        with capsys.disabled():
            print(f"\n{text}", flush=True)
    return say


@pytest.fixture(scope="session")
def build():
    return BUILD


@pytest.fixture
def lab(tmp_path):
    with Lab(logs=tmp_path / "logs") as made:
        yield made


@pytest.fixture
def host(lab):
    yield Host("host", lab=lab)
