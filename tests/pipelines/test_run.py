"""`run_graph` on a tiny world: what is stale is built, what is not stays, a failed check stops the run."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path

import dagster as dg
import pytest

from assets_defs.machinery.builds import Builds, find_record, read_record
from assets_defs.machinery.graph import is_current
from assets_defs.machinery.stage import Node
from pipelines.definitions import definitions
from pipelines.instance import open_instance
from pipelines.run import RunSummary, foresee
from tests.pipelines.conftest import Visor
from tests.pipelines.materializing import TINY, materialize, tiny_choice, tiny_profile
from visor_core.config import Home
from visor_core.errors import ConfigError, DataError
from visor_core.index import PageIndex
from visor_core.inventory import as_json, take_inventory
from visor_core.questions import read_questions

# LanceDB's Rust side and Dagster's SQLite storage leave sockets and cursors to the collector.
pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning"), pytest.mark.slow]


def _from_the_page(home: Home, asset: str, corpus: str) -> dg.ExecuteInProcessResult:
    """One asset of a corpus as Dagster itself runs it, its checks included."""
    job = definitions(home, tiny_profile()).resolve_implicit_global_asset_job_def()
    with open_instance(home) as instance:
        return job.execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey(asset)], partition_key=corpus, raise_on_error=False
        )


def _built(summary: RunSummary) -> set[str]:
    return {str(result.node) for result in summary.results if result.state == "built"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with both corpora up to their questions."""
    home = Home(tmp_path_factory.mktemp("home"))
    summary = materialize(tiny_choice(), home, ["questions"])
    assert summary.built == len(summary.results) == 9
    return home.root


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Home:
    """A copy of that home for tests that change it."""
    return Home(Path(shutil.copytree(made, tmp_path / "home")))


def test_a_second_run_builds_nothing(made: Path) -> None:
    summary = materialize(tiny_choice(), Home(made), ["questions"])
    assert summary.built == 0
    assert summary.figures("questions", "nano-train")["questions"] == 6


def test_a_removed_dagster_history_is_written_again(home: Home) -> None:
    shutil.rmtree(home.dagster)
    summary = materialize(tiny_choice(), home, ["nano_corpus"])
    assert [result.state for result in summary.results] == ["reused"]
    assert materialize(tiny_choice(), home, ["nano_corpus"]).built == 0


def test_gold_pages_are_pages_of_the_index(made: Path) -> None:
    home = Home(made)
    record = read_record(home, Node("page_index", "nano-train"))
    index = PageIndex.open(record.folder(home), record.index_tag)
    known = {page.page_id for page in index.pages()}
    index.close()
    questions = read_questions(read_record(home, Node("questions", "nano-train")).folder(home) / "questions.parquet")
    assert questions
    assert all(set(question.gold_pages) <= known for question in questions)


def test_only_what_a_setting_touches_is_built_again(home: Home) -> None:
    summary = materialize(tiny_choice(index__passage_words=60), home, ["questions"])
    assert {name.partition("[")[0] for name in _built(summary)} <= {"page_index", "questions"}
    assert {"page_index[nano-train]", "page_index[nano-development]"} <= _built(summary)


def test_what_is_stale_is_said_before_a_run(home: Home, visor: Visor) -> None:
    """With the reason, of the selected stages and what they need alone."""

    def stale(*select: str, force: bool = False, corpus: str = "", **overrides: object) -> dict[str, str]:
        found = foresee(tiny_profile(**overrides), home, select, corpus=corpus, force=force)
        return {str(node): why for node, why in found.items() if why}

    assert stale("questions") == {}
    changed = stale("questions", corpus="nano-train", index__passage_words=60)
    assert changed["page_index[nano-train]"] == "its configuration changed"
    assert changed["questions[nano-train]"].startswith("page_index[nano-train] is made first")
    assert set(changed) == {"page_index[nano-train]", "questions[nano-train]"}
    assert stale("nano_corpus", index__passage_words=60) == {}
    assert stale("nano_corpus", force=True) == {"nano_corpus": "asked for by --force"}
    assert stale("base_model") == {"base_model": "there is no build in force"}
    (read_record(home, Node("nano_corpus")).folder(home) / "train.parquet").unlink()
    settings = [argument for key, value in TINY.items() for argument in ("--set", f"{key}={value}")]
    said = visor("run", "--dry-run", "--select", "nano_corpus", *settings, home=home.root)
    assert said.code == 0, said.err
    assert "Stale: 1 of 1 stages\n  nano_corpus: it has lost files: " in said.out
    assert "grpo_checkpoint, CPU time" not in said.out


def test_an_unchanged_result_stops_the_rebuilding(home: Home) -> None:
    """More workers are another configuration of pages, but the pages are the same: the index is not built again."""
    summary = materialize(tiny_choice(documents__workers=1), home, ["questions"])
    assert _built(summary) == {
        f"{stage}[{corpus}]" for stage in ("documents", "pages") for corpus in ("nano-train", "nano-development")
    }


def test_another_world_replaces_the_old_one_in_its_corpus_and_nowhere_else(home: Home) -> None:
    """Two seeds in one home: each finds its own world, its own questions and its own index again."""

    def world_of(seed: int) -> tuple[str, str, str]:
        builds = Builds(home, tiny_profile(seed=seed))
        asked = read_questions(builds.read(Node("questions", "nano-train")).folder(home) / "questions.parquet")
        index = builds.read(Node("page_index", "nano-train"))
        return builds.read(Node("nano_corpus")).data_version, asked[0].question_id, index.index_tag

    first = world_of(0)
    with pytest.raises(DataError, match="with these settings"):
        world_of(1)
    summary = materialize(tiny_choice(seed=1), home, ["questions"])
    assert summary.figures("pages", "nano-train")["pages"] == summary.figures("nano_corpus")["train_pages"]
    assert summary.figures("documents", "nano-train")["retired"] == 3
    second = world_of(1)
    assert world_of(0) == first
    assert not set(first) & set(second)
    # What the corpus holds now is the other world's: the index of the first is made again from the first's documents.
    again = materialize(tiny_choice(), home, ["questions"])
    assert world_of(0) == first
    assert "nano_corpus" not in _built(again)
    assert {"documents[nano-train]", "pages[nano-train]", "page_index[nano-train]"} <= _built(again)


def test_what_an_unchanged_run_asks_for_is_in_force_again(home: Home) -> None:
    """`visor ask` and the report read the builds of the last run, also where that run found nothing stale."""
    first = read_record(home, Node("nano_corpus"))
    materialize(tiny_choice(seed=1), home, ["nano_corpus"])
    assert read_record(home, Node("nano_corpus")) != first
    assert materialize(tiny_choice(), home, ["nano_corpus"]).built == 0
    assert read_record(home, Node("nano_corpus")) == first


def test_a_stage_refuses_a_corpus_that_other_settings_have_changed(home: Home) -> None:
    materialize(tiny_choice(seed=1), home, ["documents"])
    result = _from_the_page(home, "pages", "nano-train")
    assert not result.success
    said = str(result.get_step_failure_events()[0].event_specific_data)
    assert "holds other data than these settings asked for" in said


def test_force_builds_the_selected_asset_again(home: Home) -> None:
    assert _built(materialize(tiny_choice(), home, ["nano_corpus"], force=True)) == {"nano_corpus"}


def test_a_failed_check_stops_the_run_and_is_not_forgotten(home: Home) -> None:
    """Development questions that are about training documents: their gold pages are in no development index."""
    record = read_record(home, Node("nano_corpus"))
    world, lineage = record.folder(home), record.build_folder(home) / "lineage.json"
    shutil.copyfile(world / "train.parquet", world / "development.parquet")
    told = json.loads(lineage.read_text(encoding="utf-8"))  # else the world has lost a file, and is built again
    told["files"] = as_json(take_inventory(home.root, [home.root / name for name in told["files"]], hashed=True))
    lineage.write_text(json.dumps(told), encoding="utf-8")
    shutil.rmtree(home.asset("questions", "nano-development"))
    # The same from the page first: Dagster's own run builds the asset, and its check fails.
    result = _from_the_page(home, "questions", "nano-development")
    assert not result.success
    assert not is_current(Node("questions", "nano-development"), tiny_profile(), home)
    for _ in range(2):
        with pytest.raises(DataError, match="gold_pages_are_indexed"):
            materialize(tiny_choice(), home, ["questions"])
        assert find_record(home, Node("questions", "nano-development")) is None


def test_the_checks_of_a_corpus_are_made_again_by_a_job(home: Home) -> None:
    """A build is taken out of force by a check alone, and comes back by it."""
    node = Node("questions", "nano-development")
    job = definitions(home, tiny_profile()).resolve_job_def("check_corpus")
    questions = read_record(home, node).folder(home) / "questions.parquet"
    asked = questions.read_bytes()
    other = read_record(home, Node("questions", "nano-train")).folder(home) / "questions.parquet"
    key = dg.AssetCheckKey(dg.AssetKey("questions"), "gold_pages_are_indexed")
    for content, passed in ((other.read_bytes(), False), (asked, True)):
        questions.write_bytes(content)
        with open_instance(home) as instance:
            result = job.execute_in_process(instance=instance, partition_key="nano-development", raise_on_error=False)
            (said,) = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
        assert result.success is passed
        assert said.event is not None
        assert said.event.dagster_event is not None
        evaluation = said.event.dagster_event.asset_check_evaluation_data
        assert (evaluation.passed, evaluation.partition) == (passed, "nano-development")
        assert (find_record(home, node) is not None) is passed


def test_a_users_documents_go_through_the_same_assets(home: Home) -> None:
    inbox = home.root / "inbox" / "mine"
    inbox.mkdir(parents=True)
    world = read_record(home, Node("nano_corpus")).folder(home)
    for pdf in (world / "train").rglob("*.pdf"):
        shutil.copyfile(pdf, inbox / pdf.name)
    summary = materialize(tiny_choice(), home, ["page_index"], corpus="mine")
    assert _built(summary) == {"documents[mine]", "pages[mine]", "page_index[mine]"}
    assert summary.figures("documents", "mine")["documents"] == 3
    again = materialize(tiny_choice(), home, ["page_index"], corpus="mine")
    assert {str(r.node): r.state for r in again.results} == dict.fromkeys(_built(summary), "reused")


def test_an_unreadable_inbox_is_refused_by_the_check(home: Home) -> None:
    inbox = home.root / "inbox" / "bad"
    inbox.mkdir(parents=True)
    (inbox / "a.pdf").write_text("no PDF", encoding="utf-8")
    with pytest.raises(DataError, match="most_documents_are_readable"):
        materialize(tiny_choice(), home, ["pages"], corpus="bad")


def test_an_unknown_asset_is_one_clear_line(home: Home) -> None:
    with pytest.raises(ConfigError, match="no asset 'teacher'"):
        materialize(tiny_choice(), home, ["teacher"])


def test_the_teachers_episodes_replay_on_the_corpus_they_name(home: Home, visor: Visor) -> None:
    """They were played under the profile's index settings, which are not the defaults."""
    with suppress(DataError):  # so small a world may fail the check on how many are kept
        materialize(tiny_choice(), home, ["teacher_trajectories"])
    (store,) = {path.parent for path in home.asset("teacher_trajectories").glob("**/episodes/*/segments")}
    replayed = visor("replay", str(store), "--corpus", "nano-train", home=home.root)
    assert "6 of 6 trajectories identical" in replayed.out
    assert visor("replay", str(store), home=home.root).out == replayed.out
