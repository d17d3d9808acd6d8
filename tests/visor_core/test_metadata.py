"""What is said of documents: lines, sidecar files, conditions."""

from __future__ import annotations

from pathlib import Path

import pytest

from visor_core.config import IndexConfig
from visor_core.documents.sources import expand
from visor_core.errors import ConfigError, DocumentError
from visor_core.metadata import Sidecars, lines_of, parse_condition, parse_metadata, read_sidecar

ABOUT = ("access=staff", "access=board", "date=2024-05-01", "pages=9", "team=finance")
URI = "file:///srv/reports/2023/Q%201/a.pdf"


def test_lines_are_parsed_and_an_empty_value_takes_away() -> None:
    found = parse_metadata(["team = finance ", "access=staff", "access=board", "note=", "x.y-z_1=a=b"])
    assert found == {"team": ("finance",), "access": ("board", "staff"), "note": (), "x.y-z_1": ("a=b",)}
    assert lines_of(found) == ["access=board", "access=staff", "team=finance", "x.y-z_1=a=b"]
    for line in ("team", "=x", "1a=x", "a b=x", f"a={'x' * 201}", "folder=x"):
        with pytest.raises(ConfigError, match="is no metadata: give key=value"):
            parse_metadata([line])


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("team=finance", True),
        ("team = finance", True),
        ("team=fin", False),
        ("team!=legal", True),
        ("access=board", True),
        ("access!=board", False),
        ("nothing!=x", True),
        ("date>=2024", True),
        ("date<2024-05-02", True),
        ("date>2024-05-01", False),
        ("pages<10", True),
        ("pages>=9.0", True),
        ("pages>10", False),
        ("team", True),
        ("nothing", False),
        ("folder=2023", True),
        ("folder=reports/2023", True),
        ("folder=Q 1", True),
        ("folder=202", False),
        ("folder!=2022", True),
    ],
)
def test_conditions(condition: str, holds: bool) -> None:
    assert parse_condition(condition).holds(ABOUT, URI) is holds


def test_what_is_no_condition_is_refused() -> None:
    for text in ("", "=x", "team=", "a b", "folder>2", "1=2"):
        with pytest.raises(ConfigError, match="is no condition"):
            parse_condition(text)
    with pytest.raises(ValueError, match="'a b' is no condition"):
        IndexConfig(where=("a b",))


def test_sidecars_of_folders_and_files_add_up(tmp_path: Path) -> None:
    inner = tmp_path / "root" / "2023"
    inner.mkdir(parents=True)
    (tmp_path / "meta.yaml").write_text("outside: true\n")
    (tmp_path / "root" / "meta.yaml").write_text("team: finance\naccess: [staff, board]\n")
    (inner / "meta.yaml").write_text("date: 2023-12-31\naccess: staff\n")
    (inner / "a.pdf.meta.yaml").write_text("draft: true\nteam: ''\nversion: 2\n")
    sidecars = Sidecars([tmp_path / "root"])
    assert lines_of(sidecars.of(inner / "a.pdf")) == ["access=staff", "date=2023-12-31", "draft=true", "version=2"]
    assert lines_of(sidecars.of(inner / "b.pdf")) == ["access=staff", "date=2023-12-31", "team=finance"]
    assert lines_of(Sidecars([]).of(inner / "b.pdf")) == ["access=staff", "date=2023-12-31"]
    assert sidecars.faults == {}
    (inner / "b.pdf").write_bytes(b"%PDF")
    assert [s.filename for s in expand([tmp_path / "root"]).found] == ["b.pdf"]
    assert expand([tmp_path / "root"]).skipped == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [", "is no YAML"),
        ("- a", "is no mapping"),
        ("a: {b: c}", "'a' is neither a value nor a list"),
        ("a b: c", "is no metadata"),
        ("a: " + "x" * 70_000, "more than 65,536 bytes"),
        ("a: [" + "1, " * 300 + "1]", "more than 200 things"),
        ("!!python/object/apply:os.system [ls]", "is no YAML"),
    ],
)
def test_a_sidecar_that_says_nothing_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "meta.yaml").write_text(text)
    with pytest.raises(DocumentError, match=reason):
        read_sidecar(tmp_path / "meta.yaml")
