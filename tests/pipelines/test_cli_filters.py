"""Filters, access tags and mirrored folders as they are typed."""

from __future__ import annotations

from pathlib import Path

from tests.pipelines.conftest import Visor
from tests.pipelines.test_cli_corpus import write_pdf


def test_conditions_and_access_hold_for_search_ask_and_replay(visor: Visor, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, team in (("a.pdf", "finance"), ("b.pdf", "legal")):
        write_pdf(tmp_path / "in" / name, (f"Revenue of the {team} team was 4711",))
        outcome = visor("ingest", str(tmp_path / "in" / name), "--meta", f"team={team}", "--meta", f"access={team}")
        assert outcome.code == 0, outcome.err

    def found(*options: str) -> set[str]:
        outcome = visor("search", "revenue team", *options)
        assert outcome.code == 0, outcome.err
        return {name for name in ("a.pdf", "b.pdf") if name in outcome.out}

    assert found() == {"a.pdf", "b.pdf"}
    assert found("--where", "team=legal") == {"b.pdf"}
    assert found("--where", "team!=legal", "--where", "team") == {"a.pdf"}
    assert found("--set", "index.access=[finance]") == {"a.pdf"}
    assert found("--set", "index.where=['team=legal']", "--set", "index.access=[finance]") == set()
    refused = visor("search", "revenue", "--where", "team=")
    assert refused.code == 2
    assert "'team=' is no condition" in refused.err
    refused = visor("ask", "revenue?", "--policy", "reader", "--set", "index.where=['team=']")
    assert refused.code == 2
    assert "is no condition" in refused.err

    question = "What was the revenue of the legal team?"
    for options in (("--where", "team=finance"), ("--set", "index.access=[finance]"), ()):
        outcome = visor("ask", question, "--policy", "reader", *options)
        assert outcome.code == 0, outcome.err
        assert ("b.pdf" in outcome.out) is not bool(options)
    assert "3 of 3 trajectories identical" in visor("replay").out


def test_a_folder_is_mirrored_with_care(visor: Visor, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    files = [write_pdf(tmp_path / "in" / f"{number}.pdf", (f"page {number}",)) for number in range(4)]
    folder = str(tmp_path / "in")
    assert visor("ingest", folder, "--sync").code == 0
    files[0].unlink()
    assert "3 documents (0 new, 3 unchanged, 1 retired" in visor("ingest", folder, "--sync").out
    for file in files[1:3]:
        file.unlink()
    outcome = visor("ingest", folder, "--sync")
    assert "3 documents (0 new, 1 unchanged, 0 retired" in outcome.out
    assert "changes nothing, as 2 of 3 documents are gone from it; --remove-many" in outcome.err
    assert "1 documents (0 new, 1 unchanged, 2 retired" in visor("ingest", folder, "--sync", "--remove-many").out
    assert "--sync needs the folders" in visor("ingest", "--sync").err
    assert "--remove-many goes with --sync" in visor("ingest", folder, "--remove-many").err
