"""The rollback matrix (scenarios.py), each cell on a lab host of its own."""

import pytest

from executor_rig import ExecutorRig
from scenarios import MATRIX, assert_clean, assert_told


@pytest.mark.parametrize("name", MATRIX)
def test_rollback(lab, name):
    scenario, has_sweep = MATRIX[name]
    rig = ExecutorRig(lab, has_sweep)
    scenario(rig)
    assert_clean(rig)
    assert_told(rig)
