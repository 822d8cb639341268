# SPDX-License-Identifier: MIT
"""The table of tests/README.md says what there is to run."""

from __future__ import annotations

import pytest

from tests.native import matrix


@pytest.mark.native_only
def test_table_is_up_to_date() -> None:
    assert not matrix.check(matrix.collect(), [], [])
