"""What a folder held is compared by size, and by content on request."""

from __future__ import annotations

from pathlib import Path

from visor_core.inventory import as_json, from_json, missing, take_inventory


def test_gone_torn_and_changed_files_are_told_apart(tmp_path: Path) -> None:
    for name in ("a/one", "a/two", "a/three", "b/four"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name, encoding="utf-8")
    (tmp_path / "a" / "held.lock").touch()
    (tmp_path / "a" / "half.partial").touch()
    held = from_json(as_json(take_inventory(tmp_path, [tmp_path / "a", tmp_path / "b" / "four"], hashed=True)))
    assert sorted(held) == ["a/one", "a/three", "a/two", "b/four"]
    assert missing(tmp_path, held, deep=True) == {}
    (tmp_path / "a/one").unlink()
    (tmp_path / "a/two").write_text("tw", encoding="utf-8")
    (tmp_path / "a/three").write_text("A/THREE", encoding="utf-8")
    (tmp_path / "b" / "new").touch()
    assert missing(tmp_path, held) == {"a/one": "is gone", "a/two": "has 2 bytes instead of 5"}
    assert missing(tmp_path, held, deep=True)["a/three"] == "holds other bytes than were written"
