"""The report gathers what stages and evaluations left under a VISOR_HOME."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from assets_defs.machinery.builds import Record, write_build
from pipelines.cli.evaluating import result_table
from pipelines.cli.session import document_settings
from pipelines.reporting import gather_report
from tests.pipelines.conftest import Visor
from tests.visor_core.documents.writing import write_pdf
from tests.visor_core.evaluation.episodes import QUESTION, episode, turn
from visor_core.agent.trajectory import Action, Observation
from visor_core.config import Home, IndexConfig
from visor_core.documents.sources import document_id_of
from visor_core.errors import DataError
from visor_core.evaluation.report import report_html
from visor_core.evaluation.results import BenchmarkResult, score_episode
from visor_core.index import Corpus, build_index, keep_settings, register_documents, render_pages
from visor_core.index.records import page_id_of
from visor_core.policies.base import ImageRef
from visor_core.trajectories.store import TrajectoryWriter


def _record(stage: str, seconds: float, partition: str = "", **figures: int | float | str) -> Record:
    build = f"assets/{stage}/{partition + '/' if partition else ''}f00d"
    return Record(
        stage, partition, "f00d", "c0de", "da7a", build, {}, 0, "", seconds, dict(figures), "2026-01-02T03:04"
    )


def _result() -> BenchmarkResult:
    rows = (score_episode(episode("47")), score_episode(episode("12")))
    return BenchmarkResult("nano", "development", "p", "c", "visor", "tag-1", 0, 0.0, "v", 1.0, rows)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with three stages in force, curves, and two results."""
    home = Home(tmp_path)
    write_build(home, _record("grpo_checkpoint", 12.5, steps=2, final_reward=0.512345), {})
    write_build(home, _record("documents", 1.5, "nano-train", documents=8), {})
    write_build(home, _record("benchmark_results", 3.0), {})
    lines = [{"step": step, "reward": 0.1 * step, "loss": 1.0 - 0.1 * step} for step in range(3)]
    build = home.asset("grpo_checkpoint", "f00d")
    build.mkdir(parents=True, exist_ok=True)
    (build / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    _result().save(home.asset("benchmark_results", "f00d", "sft.json"))
    _result().save(home.root / "evaluations" / "mine.json")
    (home.root / "evaluations" / "other.json").write_text("{}", encoding="utf-8")
    return home


def test_everything_in_force_is_gathered(home: Home) -> None:
    report = gather_report(home)
    assert [stage.name for stage in report.stages] == ["documents (nano-train)", "grpo_checkpoint", "benchmark_results"]
    assert report.stages[1].figures == {"steps": "2", "final reward": "0.512"}
    assert list(report.results) == ["sft", "mine"]
    (unread,) = report.unread
    assert "other.json is not an evaluation" in unread
    curves = {curve.caption: curve.series[0].points for curve in report.curves}
    assert curves["grpo_checkpoint: reward"] == ((0.0, 0.0), (1.0, 0.1), (2.0, 0.2))
    assert "grpo_checkpoint: loss" not in curves  # a surrogate: its value says nothing
    assert "2026-01-02" in report.subtitle
    assert "documents (nano-train)" in report_html(report)


def test_encrypted_pages_are_shown_with_their_password_and_named_without(tmp_path: Path, visor: Visor) -> None:
    home = Home(tmp_path / "home")
    source = write_pdf(tmp_path / "acme.pdf", ["acme staff q3 47"], password="sesame")
    (tmp_path / "secret").write_text("sesame")
    setting = f"documents.passwords={{acme.pdf: 'file:{tmp_path / 'secret'}'}}"
    documents = document_settings("", [setting]).documents
    corpus = Corpus(home.corpus("documents"))
    register_documents(corpus, [source], documents)
    render_pages(corpus, documents)
    tag = build_index(corpus, IndexConfig(embedders=()), []).index_tag
    page = ImageRef(page_id_of(document_id_of(source), 1), 64, 64)
    played = replace(
        episode("47"),
        corpus="documents",
        index_tag=tag,
        turns=(turn(0, Action("search", "acme staff"), Observation("page", (page,))),),
        evidence=(),
        citations=(),
    )
    with TrajectoryWriter(home.asset("asked")) as store:
        store.append(played)
    (home.root / "evaluations").mkdir()
    _result().save(home.root / "evaluations" / "mine.json")
    output = tmp_path / "report.html"
    without = documents.model_copy(update={"passwords": {}})
    for kept, settings, shown, said in (
        (without, [], False, True),
        (without, ["--set", setting], True, False),
        (documents, [], True, False),  # the corpus keeps where its passwords are
    ):
        keep_settings(corpus, documents=kept)
        assert visor("report", "--output", str(output), *settings).code == 0
        html = output.read_text(encoding="utf-8")
        assert ("data:image/webp" in html) == shown
        assert ("acme.pdf: the PDF is encrypted: give its password under documents.passwords" in html) == said


def test_nothing_made_yet_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="visor run"):
        gather_report(Home(tmp_path))


def test_the_table_of_an_evaluation_names_the_rule_of_its_scores() -> None:
    asked = replace(QUESTION, benchmark="vidoseek")
    rows = (score_episode(episode("47", question=asked)),)
    console = Console(width=200, record=True, file=StringIO())
    unscored = BenchmarkResult("vidoseek", "", "p", "c", "visor", "t", 0, 0.0, "v", 1.0, rows)
    scored = BenchmarkResult("nano", "", "p", "c", "visor", "t", 0, 0.0, "v", 1.0, (score_episode(episode("47")),))
    console.print(result_table({"one": unscored, "two": scored}))
    text = console.export_text()
    (line,) = (line for line in text.splitlines() if line.lstrip("│ ").startswith("one "))
    assert line.count("no published rule") == 3
    assert "one: no published rule for answers of vidoseek" in text
    assert "two: answers scored by the rule MMLongBench-Doc" in text
