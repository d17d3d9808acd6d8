"""The report is one safe, self-contained file that says what it was given."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.visor_core.evaluation.episodes import QUESTION, episode
from tests.visor_core.trajectories.test_viewer import elements
from visor_core.evaluation.benchmarks.resolve import LeftOut
from visor_core.evaluation.charts import Series, line_chart, ticks
from visor_core.evaluation.explorer import SCRIPT
from visor_core.evaluation.question_rows import Places, question_rows
from visor_core.evaluation.report import Curve, Report, SampleEpisode, Stage, report_html, write_report
from visor_core.evaluation.results import BenchmarkResult, score_episode

HOSTILE = "</style><script>alert(1)</script>\"'"


def _result() -> BenchmarkResult:
    rows = (score_episode(episode("47")), score_episode(episode("12")))
    return BenchmarkResult("nano", "development", "p", "c", "visor", "tag-1", 0, 0.0, "v", 1.0, rows)


class _Tags(HTMLParser):
    """Collects element names."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)


def test_report_shows_its_parts(tmp_path: Path) -> None:
    report = Report(
        title="Run",
        stages=[Stage("documents", 1.25, {"documents": "48"}), Stage("pages")],
        results={"SFT": _result()},
        curves=[Curve("loss", (Series("train", ((0, 2.0), (10, 1.0))),))],
        episodes=[SampleEpisode("acme staff q3", "<p>episode</p>")],
        notes=["measured here"],
    )
    text = write_report(tmp_path / "reports" / "run.html", report).read_text(encoding="utf-8")
    for words in ("documents 48", "1.2", "0.500", "tag-1", "polyline", "acme staff q3", "measured here", "srcdoc="):
        assert words in text
    assert not re.search(r"(src|href)=.?https?:", text)
    assert not list((tmp_path / "reports").glob("*.partial"))


def test_report_says_the_rule_and_what_was_left_out() -> None:
    shown = replace(QUESTION, benchmark="vidoseek")
    unscored = BenchmarkResult(
        "vidoseek", "", "p", "c", "visor", "t", 0, 0.0, "v", 1.0, (score_episode(episode("47", question=shown)),)
    )
    left_out = (LeftOut("q7", "page not there", f"page 121 of 2 {HOSTILE}"),)
    text = report_html(Report(title="Run", results={"SFT": replace(_result(), left_out=left_out), "other": unscored}))
    assert "SFT: answers scored by the rule MMLongBench-Doc." in text
    assert "other: no published rule for answers of vidoseek." in text
    assert len(re.findall(r"<td class=n[^>]*>no published rule</td>", text)) == 3
    assert "SFT: 1 left out (page not there 1)" in text
    cells = '<th scope=row>q7</th><td data-label="reason">page not there</td><td data-label="what is the case">page 121'
    assert cells in text
    assert HOSTILE not in text


def test_hostile_text_stays_text() -> None:
    report = Report(
        title=HOSTILE,
        subtitle=HOSTILE,
        stages=[Stage(HOSTILE, 1.0, {HOSTILE: HOSTILE})],
        results={HOSTILE: _result()},
        curves=[Curve(HOSTILE, (Series(HOSTILE, ((0, 1), (1, 2))),), HOSTILE)],
        episodes=[SampleEpisode(HOSTILE, HOSTILE)],
        notes=[HOSTILE],
    )
    tags = _Tags()
    tags.feed(report_html(report))
    assert "script" not in tags.names
    assert tags.names.count("style") == 1


def test_questions_are_listed_with_what_is_known_of_each() -> None:
    """A column that no row fills is left out; what a row holds is data, not markup."""
    result = replace(_result(), identity={"questions": [["q1", HOSTILE, ""]]})
    rows = question_rows(HOSTILE, result, {}, Places(episode_page=lambda name: f"{name}.html"))
    assert [row["outcome"] for row in rows] == ["right", "wrong"]
    html = report_html(Report("Run", results={"SFT": result}, questions=rows))
    seen = elements(html)
    data = json.loads(seen.scripts[0])
    assert seen.scripts[1:] == [SCRIPT.read_text(encoding="utf-8")]
    names = [column["name"] for column in data["columns"]]
    assert {"expected", "kind", "cited pages", "error"}.isdisjoint(names)
    first, second = (dict(zip(names, row, strict=True)) for row in data["rows"])
    assert (first["diagnosis"], bool(second["diagnosis"])) == ("", True)
    assert (first["question"], first["benchmark"], first["questions"]) == (HOSTILE, "nano development", 2)
    assert first["episode"] == [["look", "t-q1.html"]]
    assert HOSTILE not in html


def test_an_empty_report_is_a_page() -> None:
    assert "<h1>nothing yet</h1>" in report_html(Report("nothing yet"))


def test_ticks_are_round() -> None:
    assert ticks(0, 1) == [0.0, 0.5, 1.0]
    assert ticks(0, 38) == [0.0, 10.0, 20.0, 30.0]
    assert ticks(3, 3) == [3]


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_stay_inside(low: float, span: float) -> None:
    found = ticks(low, low + span)
    slack = 1e-6 * (abs(low) + span)
    assert 1 <= len(found) <= 12
    assert all(low - slack <= t <= low + span + slack for t in found)


@pytest.mark.parametrize("points", [(), ((float("nan"), 1.0),), ((0.0, float("inf")),)])
def test_a_chart_without_points_says_so(points: tuple[tuple[float, float], ...]) -> None:
    assert "no points" in line_chart([Series("a", points)])


def test_single_and_constant_points_are_drawn() -> None:
    assert "circle" in line_chart([Series("a", ((1.0, 2.0),))])
    assert "nan" not in line_chart([Series("a", ((0.0, 2.0), (1.0, 2.0)))])
