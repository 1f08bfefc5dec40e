"""The rollback matrix (scenarios.py), each cell on a lab host of its own."""

import pytest

from rig import Rig
from scenarios import MATRIX, assert_clean


@pytest.mark.parametrize("name", MATRIX)
def test_rollback(lab, name):
    scenario, has_sweep = MATRIX[name]
    rig = Rig(lab, has_sweep)
    scenario(rig)
    assert_clean(rig)
