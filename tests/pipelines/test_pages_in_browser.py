"""Every page a person opens, in a real browser at desktop and phone width, light and dark, with hostile text in it.

Needs node, Chromium and the folders of the packages playwright-core and axe-core in the variables VISOR_PLAYWRIGHT and
VISOR_AXE. Pictures stay in the folder that VISOR_PICTURES names, else in pytest's own.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.cli.comparing import arms_of
from pipelines.comparing import write_comparison
from pipelines.reporting import gather_report
from pipelines.screenshots import browser
from tests.pipelines.compared_home import compared_home
from tests.visor_core.evaluation.results_by_hand import HOSTILE, result
from tests.visor_core.nano.test_ablations import figures_of
from visor_core.config import Home
from visor_core.evaluation.benchmarks.resolve import LeftOut
from visor_core.evaluation.comparison import compare
from visor_core.evaluation.report import report_html, write_report
from visor_core.evaluation.statistics import Interval
from visor_core.files import write_text
from visor_core.nano.ablations_table import ablations_html
from visor_core.stress.counterfactuals import Faithfulness, Row
from visor_core.stress.curves import Curve, Point
from visor_core.stress.pages import write_curve, write_faithfulness

PLAYWRIGHT, AXE = os.environ.get("VISOR_PLAYWRIGHT", ""), os.environ.get("VISOR_AXE", "")
BROWSER = browser() or ""
pytestmark = [
    pytest.mark.slow_walk,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        not (PLAYWRIGHT and AXE and BROWSER and shutil.which("node")), reason="no browser, or no axe, to look with"
    ),
]
DOCUMENT = "<script>window.hostile=3<script><img src=x onerror=window.hostile=4>.pdf"
WINDOWS = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
MANY = 3000
LISTED = ("report", "comparison")
"""Pages with a list that is searched, filtered and sorted."""
NARROW = ("ablations", "debug", "stress", "counterfactual")


@dataclass(frozen=True)
class Shown:
    """The pages of one home with hostile text in every free field, and where pictures go."""

    pages: dict[str, Path]
    pictures: Path

    def look(self, name: str, width: int, scheme: str, step: str = "") -> dict[str, Any]:
        """What the browser sees; what holds for every page is checked here."""
        script = Path(__file__).with_name("look_at_page.mjs")
        page, picture = self.pages[name], self.pictures / f"{name}-{width}-{scheme}.png"
        command = ["node", str(script), PLAYWRIGHT, BROWSER, AXE, str(page), str(width), scheme, str(picture), step]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr
        seen = dict(json.loads(done.stdout))
        assert seen["violations"] == []
        assert (seen["errors"], seen["dialogs"], seen["marks"]) == ([], [], 0)
        assert [request for request in seen["requests"] if not request.startswith(("file:", "data:", "about:"))] == []
        assert seen["wider"] <= 0
        return seen


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    root = tmp_path_factory.mktemp("pages")
    answers = {"q1": "47", "q2": HOSTILE, HOSTILE: "12"}
    labels = ("first", f"second {HOSTILE}")
    home = compared_home(root / "home", {labels[0]: answers, labels[1]: {**answers, "q2": "47"}}, document=DOCUMENT)
    report = home.reports / "report.html"
    write_report(report, gather_report(home, beside=report, pages=9))
    arms, _ = arms_of(home, list(labels))
    written = write_comparison(compare(arms), [home], home.root / "out")
    questions = sorted((home.root / "out" / "questions").glob("*.html"))
    episodes = sorted(p for p in (home.reports / "episodes").glob("*.html") if p.name != "index.html")
    write_text(root / "ablations.html", ablations_html([figures_of(0)], "inference", "development", HOSTILE))
    write_curve(root / "stress.html", _curve())
    write_faithfulness(root / "counterfactual.html", _faithfulness())
    pages = {
        "report": report,
        "gallery": home.reports / "episodes" / "index.html",
        "episode": episodes[0],
        "comparison": written.page,
        "side-by-side": questions[0],
        "ablations": root / "ablations.html",
        "debug": _debugged(home),
        "stress": root / "stress.html",
        "counterfactual": root / "counterfactual.html",
    }
    pictures = Path(os.environ.get("VISOR_PICTURES") or root / "pictures")
    pictures.mkdir(parents=True, exist_ok=True)
    return Shown(pages, pictures)


def _debugged(home: Home) -> Path:
    """The page of `visor debug` for the question with hostile text in its answer."""
    command = [sys.executable, "-c", "from pipelines.cli import main; main()", "--home", str(home.root), "debug", "q2"]
    done = subprocess.run([*command, "--result", "first"], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    (page,) = home.reports.glob("debug-q2*.html")
    return page


def _curve() -> Curve:
    """A stress whose figures are all the same, one of them not known."""
    one = Interval(1.0, 0.9, 1.0, 30)
    points = [
        Point(f"{degree} {HOSTILE}", degree, "c", "tag", 30, 1, one, one, one, 3.5, one, {HOSTILE: HOSTILE})
        for degree in (0.0, 2.0, 8.0)
    ]
    unknown = replace(points[-1], x=9.0, obeyed=Interval(math.nan, 0.0, 1.0, 0), unedited={})
    left_out = (LeftOut(HOSTILE, HOSTILE, HOSTILE),)
    return Curve("blur", HOSTILE, HOSTILE, "c", "own", "rule", HOSTILE, 0, (*points, unknown), left_out)


def _faithfulness() -> Faithfulness:
    """A counterfactual measurement with hostile text in every field of a row."""
    row = Row("q", HOSTILE, "Int", ("a/00001",), "47", HOSTILE, "47", HOSTILE, True, "followed")
    left_out = (LeftOut(HOSTILE, HOSTILE, HOSTILE),)
    return Faithfulness(HOSTILE, "c", "own", "rule", HOSTILE, "c2", 0, 3, 2, 1, (row,), 0, left_out)


@pytest.mark.parametrize(("width", "scheme"), WINDOWS)
@pytest.mark.parametrize("name", [*LISTED, "gallery", "episode", "side-by-side", *NARROW])
def test_pages_are_accessible_fit_their_window_and_show_hostile_text_as_text(
    shown: Shown, name: str, width: int, scheme: str
) -> None:
    seen = shown.look(name, width, scheme)
    if name != "ablations":
        assert "window.hostile" in seen["text"]
    if name == "stress":
        assert "0.5" in seen["text"]  # the axis of shares is whole, though all of them are 1


@pytest.mark.parametrize("name", LISTED)
@pytest.mark.parametrize("width", [1280, 390])
def test_lists_are_searched_filtered_and_sorted(shown: Shown, name: str, width: int) -> None:
    done = shown.look(name, width, "light", "list")["done"]
    total = {"report": 6, "comparison": 3}[name]
    assert (done["before"], done["nothing"]) == (f"{total} of {total} rows", f"0 of {total} rows")
    assert done["filtered"] not in (done["before"], done["nothing"])
    if width == 1280:
        assert done["sorted"] == "ascending"


def test_the_gallery_is_filtered_by_outcome(shown: Shown) -> None:
    done = shown.look("gallery", 390, "light", "gallery")["done"]
    assert done["before"] == "6 of 6 episodes"
    assert done["filtered"] == f"{done['shown']} of 6 episodes"
    assert 0 < done["shown"] < 6


def test_a_list_of_thousands_stays_quick(shown: Shown, tmp_path: Path) -> None:
    """A hundred rows are drawn at a time; searching, filtering and sorting 3,000 takes seconds on a busy machine."""
    home = Home(tmp_path)
    answers = {f"question {n}": "47" if n % 3 else "12" for n in range(MANY)}
    result(answers).save(home.evaluations / "many.json")
    write_text(tmp_path / "many.html", report_html(gather_report(home)))
    many = Shown({"many": tmp_path / "many.html"}, shown.pictures)
    seen = many.look("many", 390, "light", "list")
    assert seen["done"]["before"] == f"{MANY:d} of {MANY:d} rows, the first 100 shown"
    assert (seen["done"]["first"], seen["done"]["then"]) == (100, 200)
    assert seen["done"]["took"] < 15_000
