"""A disk that fills up at any stage of an ingest: a clear message, and after making room the same tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.visor_core.index.filling import faults_of_full_disks


def test_a_full_disk_says_so_and_loses_nothing(tmp_path: Path) -> None:
    found = faults_of_full_disks(tmp_path, [0.03, 0.2, 1.0])
    if None in found.values():
        pytest.skip("this machine may not mount a tmpfs")
    assert [faults for _, faults in filter(None, found.values())] == [[], [], []]
