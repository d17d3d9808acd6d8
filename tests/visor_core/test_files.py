"""Files that are there whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from visor_core.files import whole_file, write_json, write_text


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "figures.json"
    write_json(path, {"step": 1})
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(path, {"step": object()})
    with pytest.raises(UnicodeEncodeError):
        write_text(path, '{"step": \ud800')
    assert json.loads(path.read_text()) == {"step": 1}
    assert list(path.parent.iterdir()) == [path]


def test_nobody_sees_a_file_that_is_half_written(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_text(path, "old")
    with whole_file(path) as partial:
        partial.write_text("ne")
        assert path.read_text() == "old"
        partial.write_text("new")
    assert path.read_text() == "new"


def test_what_a_killed_writer_left_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "state.partial").write_text("torn")
    write_text(tmp_path / "state", "ä")
    assert [p.name for p in tmp_path.iterdir()] == ["state"]
    assert (tmp_path / "state").read_bytes() == "ä".encode()


def test_several_writers_do_not_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "crop.png"
    with whole_file(path, several_writers=True) as ours, whole_file(path) as theirs:
        assert ours != theirs
        ours.write_text("same")
        theirs.write_text("same")
    assert path.read_text() == "same"
