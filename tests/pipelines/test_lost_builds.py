"""What is gone of a build is seen and built again, to the same versions; a home can be moved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._serdes import serialize_value

from assets_defs.machinery.builds import Builds, read_record
from assets_defs.machinery.graph import is_built, plan, stages
from assets_defs.machinery.losses import losses, lost
from assets_defs.machinery.stage import Node
from assets_defs.machinery.workspace import Work
from pipelines.choice import Choice
from pipelines.estimates import gpu_hours
from pipelines.instance import open_instance, place_instance
from pipelines.run import RunSummary
from tests.pipelines.conftest import Visor
from tests.pipelines.materializing import materialize, tiny_choice, tiny_profile
from visor_core import inventory
from visor_core.config import Home
from visor_core.errors import ConfigError, DataError
from visor_core.index import PageIndex

# LanceDB's Rust side and Dagster's SQLite storage leave sockets and cursors to the collector.
pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning"), pytest.mark.slow]

WORLD = Node("nano_corpus")


def _run(home: Home, **overrides: object) -> RunSummary:
    return materialize(tiny_choice(**overrides), home, ["questions"])


def _built(summary: RunSummary) -> set[str]:
    return {str(result.node) for result in summary.results if result.state == "built"}


def _versions(home: Home, **overrides: object) -> dict[str, str]:
    builds = Builds(home, tiny_profile(**overrides))
    return {str(node): builds.read(node).data_version for node in plan(tiny_profile(**overrides), ["questions"])}


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with both corpora up to their questions."""
    home = Home(tmp_path_factory.mktemp("home"))
    _run(home)
    return home.root


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Home:
    """A copy of that home for tests that change it."""
    return Home(Path(shutil.copytree(made, tmp_path / "home")))


def test_what_is_lost_is_built_again_and_nothing_else(home: Home) -> None:
    before = _versions(home)
    world = read_record(home, WORLD)
    next((world.folder(home) / "train").rglob("*.pdf")).unlink()
    _cut(read_record(home, Node("questions", "nano-train")).folder(home) / "questions.parquet")
    next((home.corpus("nano-train") / "lancedb" / "images.lance" / "data").glob("*.lance")).unlink()
    assert set(map(str, losses(plan(tiny_profile(), ["questions"]), tiny_profile(), home))) == {
        "nano_corpus",
        "questions[nano-train]",
        "pages[nano-train]",
        "page_index[nano-train]",
    }
    summary = _run(home)
    assert _built(summary) == {
        "nano_corpus",
        "pages[nano-train]",
        "page_index[nano-train]",
        "questions[nano-train]",
    }
    assert _versions(home) == before
    assert _run(home).built == 0


@pytest.mark.slow_walk
def test_a_lost_corpus_is_filled_again(home: Home) -> None:
    before = _versions(home)
    shutil.rmtree(home.corpus("nano-development"))
    built = {f"{stage}[nano-development]" for stage in ("documents", "pages", "page_index")}
    assert _built(_run(home)) == built
    assert _versions(home) == before


@pytest.mark.slow_walk
def test_a_new_history_is_told_of_every_build(home: Home) -> None:
    """Removed and begun anew by the page, it is as good as lost."""
    shutil.rmtree(home.dagster)
    place_instance(home)
    summary = _run(home)
    assert {result.state for result in summary.results} == {"reused"}
    assert {result.state for result in _run(home).results} == {"unchanged"}


def test_other_content_of_the_same_size_is_lost_too(home: Home, visor: Visor) -> None:
    before = _versions(home)
    record = read_record(home, WORLD)
    path = record.folder(home) / "train.parquet"
    path.write_bytes(path.read_bytes()[::-1])
    fault = f"{record.path}/train.parquet holds other bytes than were written"
    assert lost(home, record) == (fault,)
    assert fault in visor("doctor", home=home.root).out
    assert visor("doctor", "--deep", home=home.root).code == 2
    assert _built(_run(home)) == {"nano_corpus"}
    assert _versions(home) == before
    assert lost(home, read_record(home, WORLD)) == ()


def test_what_was_touched_and_is_the_same_is_read_once(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copied home has other times: its files are hashed at the first look, and at no later one."""
    record, hashed = read_record(home, WORLD), list[str]()

    def counting(path: Path) -> str:
        hashed.append(path.name)
        return hashing(path)

    hashing = inventory.sha256_of
    monkeypatch.setattr(inventory, "sha256_of", counting)
    assert lost(home, record) == ()
    assert len(hashed) == len(record.files) > 0
    assert lost(home, record) == ()
    assert len(hashed) == len(record.files)


def test_a_stage_does_not_start_on_an_input_that_has_lost_files(home: Home) -> None:
    (read_record(home, WORLD).folder(home) / "train.parquet").unlink()
    node = Node("questions", "nano-train")
    with pytest.raises(DataError, match=r"nano_corpus has lost files .*train\.parquet is gone.*--select nano_corpus"):
        Work(stages()[node.stage], node, tiny_profile(), home, rebuild=False)


def test_what_costs_many_gpu_hours_is_built_again_only_on_request(home: Home, visor: Visor) -> None:
    (read_record(home, WORLD).folder(home) / "train.parquet").unlink()
    hours = {WORLD.stage: 20.0}
    with pytest.raises(ConfigError, match=r"about 20\.0 GPU hours.*`visor run --profile nano --rebuild-lost`"):
        Work(stages()[WORLD.stage], WORLD, tiny_profile(), home, rebuild=False, gpu_hours=hours)
    asked = Work(
        stages()[WORLD.stage], WORLD, tiny_profile(rebuild__confirm_gpu_hours=21), home, rebuild=False, gpu_hours=hours
    )
    assert (asked.complete, len(asked.lost)) == (False, 1)
    asked.close()
    assert gpu_hours(Choice("qwen2.5-vl-7b").resolve())["sft_checkpoint"] > 1
    outcome = visor("run", "--profile", "qwen2.5-vl-7b", "--rebuild-lost", "--dry-run")
    assert yaml.safe_load(outcome.out.partition("\nStale:")[0])["rebuild"] == {"confirm_gpu_hours": None}


def test_a_moved_home_has_lost_nothing(made: Path, tmp_path: Path, visor: Visor) -> None:
    first = Path(shutil.copytree(made, tmp_path / "first"))
    second = Path(shutil.copytree(first, tmp_path / "second"))
    shutil.rmtree(first)
    home = Home(second)
    assert _run(home).built == 0
    record = read_record(home, Node("page_index", "nano-train"))
    index = PageIndex.open(record.folder(home), record.index_tag)
    page = next(iter(index.pages()))
    assert page.page_id in {hit.page_id for hit in index.search(" ".join(page.text.split()[:12]), k=10, mode="text")}
    assert visor("report", home=second).code == 0
    # Nor does the page of the new place show the old one.
    with open_instance(home) as instance:
        shown = [
            serialize_value(entry.dagster_event)
            for run in instance.get_runs()
            for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
            if entry.dagster_event is not None
        ]
    assert len(shown) > 5
    assert [text for text in shown if str(made) in text] == []
    # Of the former place only that a document came from there is still said.
    held = {path: json.loads(path.read_text(encoding="utf-8")) for path in second.rglob("*.json")}
    stated = {p: {k: v for k, v in held[p].items() if k != "documents"} for p in held if p.name == "lineage.json"}
    assert [p for p, said in (held | stated).items() if str(made) in json.dumps(said)] == []


@pytest.mark.slow_walk
def test_two_settings_read_one_corpus_of_the_user_and_none_disturbs_the_other(home: Home) -> None:
    inbox = home.inbox("mine")
    inbox.mkdir(parents=True)
    for pdf in (read_record(home, WORLD).folder(home) / "train").rglob("*.pdf"):
        shutil.copyfile(pdf, inbox / pdf.name)

    def run(seed: int) -> set[str]:
        return _built(materialize(tiny_choice(seed=seed), home, ["page_index"], corpus="mine"))

    assert run(0) == {"documents[mine]", "pages[mine]", "page_index[mine]"}
    assert run(1) == {"documents[mine]", "pages[mine]", "page_index[mine]"}  # other builds of the same content
    assert (run(0), run(1)) == (set(), set())
    versions = [Builds(home, tiny_profile(seed=seed)).read(Node("page_index", "mine")).data_version for seed in (0, 1)]
    assert versions[0] == versions[1]
    assert all(is_built(Node("page_index", "mine"), tiny_profile(seed=seed), home) for seed in (0, 1))
