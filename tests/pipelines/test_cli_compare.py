"""`visor compare` and `visor report` on a home with a real corpus: names, refusals, pages, MLflow."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from mlflow.artifacts import load_dict

from pipelines.evaluation_lineage import EvaluationCall, keep_lineage
from tests.pipelines.compared_home import compared_home
from tests.pipelines.conftest import Visor
from tests.visor_core.evaluation.results_by_hand import result
from tests.visor_core.trajectories.test_viewer import elements
from visor_core.config import Home, Profile
from visor_core.evaluation.results import read_result
from visor_core.tracking import Tracker, project_name

# All from inside MLflow 3.17 (https://github.com/mlflow/mlflow) and alembic 1.20.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"),
]
ANSWERS = {"one": {"q1": "47", "q2": "12", "q3": "47"}, "two words": {"q1": "47", "q2": "47", "q3": "8"}}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return compared_home(tmp_path / "home", ANSWERS)


def test_a_comparison_is_a_page_json_markdown_and_a_run(visor: Visor, home: Home) -> None:
    done = visor("compare", "one", "two words", "--output", str(home.root / "out"))
    assert done.code == 0, done.err
    folder = home.root / "out"
    told = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    assert told["verdicts"] == {"both right": 1, "lost": 1, "won": 1}
    page = elements((folder / "index.html").read_text(encoding="utf-8"))
    rows = json.loads(page.scripts[0])["rows"]
    beside = sorted(link[1] for row in rows for link in row[-1])
    assert beside == ["questions/0001.html", "questions/0002.html"]
    side = (folder / beside[0]).read_text(encoding="utf-8")
    assert {"../index.html", "0002.html"} <= set(elements(side).addresses)
    assert '<section aria-label="one">' in side
    assert '<section aria-label="two words">' in side
    linked = [address for address in elements(side).addresses if address.startswith("file:")]
    assert {re.sub(r".*/", "", address) for address in linked} == {f"acme%20report.pdf#page={n}" for n in (1, 2, 3)}

    tracker = Tracker(home, project_name("documents"))
    (run,) = tracker.client.search_runs([tracker.experiment_id], "tags.`visor.kind` = 'comparison'")
    assert run.data.metrics["1 two words/answers_right_difference"] == 0.0
    assert load_dict(f"{run.info.artifact_uri}/comparison/comparison.json")["questions"] == 3
    assert run.info.run_id in done.out


def test_results_are_known_by_label_file_and_build_and_refused_with_a_reason(visor: Visor, home: Home) -> None:
    file, quiet = str(home.evaluations / "one.json"), ("--no-mlflow", "--pages", "0")
    (lineage,) = (path for path in home.evaluations.glob("lineage/*.json") if '"two words"' in path.read_text())
    assert visor("compare", file, lineage.stem, *quiet).code == 0
    assert visor("compare", "one", "two-words", *quiet).code == 0
    for name in ("three", "two wrods T=0"):
        unknown = visor("compare", "one", name, *quiet)
        assert unknown.code == 2
        assert f"no result {name!r}" in unknown.err
        assert (
            "there are 'two words', 'one'; give" in unknown.err or "there are 'one', 'two words'; give" in unknown.err
        )
    result({"q1": "47"}, benchmark="slidevqa").save(home.root / "evaluations" / "slides.json")
    refused = visor("compare", "one", str(home.evaluations / "slides.json"), *quiet)
    assert refused.code == 2
    assert "one is of nano, slides of slidevqa: only evaluations of the same question set are compared" in refused.err
    judged = visor("compare", "one", "two words", "--protocol", "judge", *quiet)
    assert (judged.code, "has no scores by the protocol 'judge'" in judged.err) == (2, True)


def test_seeds_of_one_thing_are_one_arm(visor: Visor, home: Home) -> None:
    first = read_result(home.evaluations / "one.json")
    for name in ("a1", "b1"):
        result(dict.fromkeys(ANSWERS["one"], "47"), seed=1).save(home.evaluations / f"{name}.json")
    first.save(home.evaluations / "a0.json")
    first.save(home.evaluations / "b0.json")
    files = {name: str(home.evaluations / f"{name}.json") for name in ("a0", "a1", "b0", "b1")}
    arms = (f"{files['a0']},{files['a1']}", f"mine={files['b0']},{files['b1']}")
    done = visor("compare", *arms, "--no-mlflow", "--output", str(home.root / "out"))
    assert done.code == 0, done.err
    told = json.loads((home.root / "out" / "comparison.json").read_text(encoding="utf-8"))
    assert [(arm["label"], arm["seeds"]) for arm in told["arms"]] == [("a0, a1", [0, 1]), ("mine", [0, 1])]
    assert told["questions"] == 6


def test_a_label_may_hold_what_marks_a_name(visor: Visor, home: Home) -> None:
    """As those that `visor eval` makes up, which end in `T=0`; and a file is known by its name without a lineage."""
    first = read_result(home.evaluations / "one.json")
    first.save(home.evaluations / "one-T=0.json")
    result(dict.fromkeys(ANSWERS["one"], "47"), seed=1).save(home.evaluations / "one-T=1.json")
    seeds = ("one-T=0,one-T=1", "mine=one-T=0,one-T=1")
    done = visor("compare", *seeds, "--no-mlflow", "--output", str(home.root / "out"))
    assert done.code == 0, done.err
    told = json.loads((home.root / "out" / "comparison.json").read_text(encoding="utf-8"))
    assert [(arm["label"], arm["seeds"]) for arm in told["arms"]] == [("one-T=0, one-T=1", [0, 1]), ("mine", [0, 1])]


def test_the_same_episodes_under_two_labels_are_two_results(home: Home) -> None:
    lineages = home.evaluations / "lineage"
    before = len(list(lineages.glob("*.json")))
    found = read_result(home.evaluations / "one.json")
    call = EvaluationCall("nano", "development", "documents", "", "", "transformers", 0.0, None, "another")
    keep_lineage(home, home.evaluations / "one.json", found, Profile.model_validate({"name": "documents"}), None, call)
    assert len(list(lineages.glob("*.json"))) == before + 1


def test_a_torn_result_is_named_and_the_others_are_shown(visor: Visor, home: Home) -> None:
    whole = (home.evaluations / "one.json").read_text(encoding="utf-8")
    (home.evaluations / "torn.json").write_text(whole[: len(whole) // 2], encoding="utf-8")
    done = visor("report")
    assert done.code == 0
    assert "Result not shown" in done.err
    assert "torn.json is not an evaluation of this version" in done.err
    page = (home.reports / "report.html").read_text(encoding="utf-8")
    assert "torn.json is not an evaluation" in page
    assert "two-words" in page


def test_the_report_lists_every_question_and_links_pages_of_episodes(visor: Visor, home: Home) -> None:
    assert visor("report", "--pages", "3").code == 0
    page = elements((home.reports / "report.html").read_text(encoding="utf-8"))
    data = json.loads(page.scripts[0])
    names = [column["name"] for column in data["columns"]]
    rows = [dict(zip(names, row, strict=True)) for row in data["rows"]]
    assert len(rows) == 6
    assert {(row["benchmark"], row["questions"]) for row in rows} == {("nano development", 3)}
    wrong = {(row["result"], row["question"]) for row in rows if row["outcome"] == "wrong"}
    assert wrong == {("one", "q2"), ("two-words", "q3")}
    assert all(bool(row["diagnosis"]) == (row["outcome"] == "wrong") for row in rows)
    # Those that went wrong get a page first; the link in the list leads there, and its page to its neighbours.
    paged = {(row["result"], row["question"]): row["episode"] for row in rows if row["episode"]}
    assert wrong <= set(paged)
    assert len(paged) == 3
    episode = home.reports / paged["one", "q2"][0][1]
    around = elements(episode.read_text(encoding="utf-8")).addresses
    assert {"../report.html", "index.html"} <= set(around)
    assert any(address.endswith("acme%20report.pdf#page=2") for address in around)
    gallery = (episode.parent / "index.html").read_text(encoding="utf-8")
    assert "expected <bdi>47</bdi>" in gallery
    assert 'data-filter="not-correct"' in gallery
    assert "episodes/index.html" in page.addresses
