"""What a folder held is compared by size, by content where it was touched, and by content on request."""

from __future__ import annotations

from pathlib import Path

from visor_core.inventory import Verified, as_json, from_json, missing, take_inventory


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


def test_a_file_that_was_touched_is_hashed_once(tmp_path: Path) -> None:
    for name in ("same", "other"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    held = take_inventory(tmp_path, [tmp_path / "same", tmp_path / "other"], hashed=True)
    kept = tmp_path / "cache" / "verified.json"
    known = Verified(kept, tmp_path)
    assert missing(tmp_path, held, verified=known) == {}
    known.keep()
    (tmp_path / "other").write_text("rehto", encoding="utf-8")
    known = Verified(kept, tmp_path)
    assert known.holds("same", held["same"].sha256)
    assert not known.holds("other", held["other"].sha256)
    assert missing(tmp_path, held) == {}
    assert missing(tmp_path, held, verified=known) == {"other": "holds other bytes than were written"}
    kept.write_text("damaged", encoding="utf-8")
    assert not Verified(kept, tmp_path).holds("same", held["same"].sha256)
