"""A build is made again from its recorded lineage alone: identical, or it says what is missing or differs.

The chain is real and tiny. What trains takes minutes, and is among the long walks (`make test-slow`).
"""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from assets_defs.machinery.builds import read_record
from assets_defs.machinery.stage import Node
from pipelines.choice import Choice
from tests.pipelines.conftest import Visor
from tests.pipelines.materializing import TINY, materialize
from visor_core.config import Home
from visor_core.errors import DataError
from visor_core.lineage import ancestry, find_build, read_builds

# LanceDB's Rust side and Dagster's SQLite storage leave sockets and cursors to the collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # inside MLflow 3.17 and alembic 1.20
    pytest.mark.slow,
]

TRAINED = TINY | {
    "accelerate": "cpu.yaml",
    "threads": 1,
    "nano.train_corpora": 1,
    "nano.primer_corpora": 1,
    "nano.train_questions": 24,
    "nano.vision_steps": 2,
    "nano.alignment_steps": 2,
    "nano.batch_size": 4,
    **dict.fromkeys(("nano.closing_lessons", "nano.pair_lessons", "nano.reckoning_lessons"), 0),
    "nano.arithmetic_lessons": 0,
    "index.mode": "text",
    "teacher.questions": 20,
    "teacher.trajectories": 16,
    "sft.steps": 6,
    "sft.batch_size": 8,
    "sft.micro_batch_size": 8,
    "grpo.steps": 1,
    "grpo.questions_per_step": 2,
    "grpo.group_size": 2,
    "grpo.save_steps": 1,
    # So short a training earns no rewards: the bonus moves the weights all the same.
    "grpo.dynamic_sampling": "keep",
    "grpo.entropy_coefficient": 0.05,
}


SMALL = Choice("nano", TINY | {"nano.primer_corpora": 1})


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with the training corpus and its questions."""
    home = Home(tmp_path_factory.mktemp("home"))
    materialize(SMALL, home, ["page_index"], corpus="nano-train")
    return home


def test_an_index_is_rebuilt_from_its_lineage_alone(indexed: Home, visor: Visor, tmp_path: Path) -> None:
    """It is named by the run of Dagster's that made it."""
    recorded = find_build(indexed, "page_index[nano-train]")
    run_id = recorded.stored["dagster"]["run"]
    done = visor("reproduce", run_id, "--home", str(tmp_path / "new"), home=indexed.root)
    assert "the same kind of machine" in done.out
    assert done.code == 0, done.out + done.err
    assert f"page_index[nano-train]: identical, data {recorded.data_version}" in done.out
    assert "identical: every data version" in done.out
    # The new home stands on its own.
    new = Home(tmp_path / "new")
    rebuilt = ancestry(new, find_build(new, "page_index"))
    assert [b.data_version for b in rebuilt.builds] == [b.data_version for b in ancestry(indexed, recorded).builds]


def test_what_was_recorded_otherwise_differs_where_it_begins(indexed: Home, visor: Visor, tmp_path: Path) -> None:
    """A lineage that claims another world than its settings make: the first stage of it is named."""
    home = Home(Path(shutil.copytree(indexed.root, tmp_path / "home")))
    for build in read_builds(home).values():
        stored = {**build.stored, "upstream": dict(build.stored["upstream"])}
        if build.stage == "nano_corpus":
            stored["data_version"] = "another"
        elif "nano_corpus" in stored["upstream"]:
            stored["upstream"]["nano_corpus"] = "another"
        build.file.write_text(json.dumps(stored), encoding="utf-8")
    done = visor("reproduce", "documents", "--home", str(tmp_path / "new"), home=home.root)
    assert done.code == 1, done.out + done.err
    assert "differs, first in nano_corpus" in done.out


def test_a_home_that_is_in_use_and_a_lineage_that_is_not_whole_cannot_start(
    indexed: Home, visor: Visor, tmp_path: Path
) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    refused = visor("reproduce", "page_index", "--home", str(tmp_path / "used"), home=indexed.root)
    assert (refused.code, "is not empty: give --home a new folder" in refused.err) == (2, True)
    home = Home(Path(shutil.copytree(indexed.root, tmp_path / "home")))
    find_build(home, "nano_corpus").file.unlink()
    refused = visor("reproduce", "page_index", home=home.root)
    assert (refused.code, "is not whole" in refused.err) == (2, True)
    assert not home.rebuilt.exists()


@pytest.mark.slow_walk
def test_a_users_corpus_is_rebuilt_from_the_bytes_by_hash(indexed: Home, visor: Visor, tmp_path: Path) -> None:
    """Also an earlier state of it, whose documents have been replaced since; what is gone is named first."""
    home = Home(Path(shutil.copytree(indexed.root, tmp_path / "home")))
    visor("adopt", home=home.root)
    inbox = home.root / "inbox" / "mine"
    inbox.mkdir(parents=True)
    world = read_record(home, Node("nano_corpus")).folder(home) / "train"
    first, second = sorted(world.rglob("*.pdf"))[:2]
    shutil.copyfile(first, inbox / "report.pdf")
    materialize(SMALL, home, ["page_index"], corpus="mine")
    earlier = find_build(home, "page_index[mine]")
    shutil.copyfile(second, inbox / "report.pdf")
    materialize(SMALL, home, ["page_index"], corpus="mine")
    assert find_build(home, "page_index[mine]").data_version != earlier.data_version
    shutil.rmtree(inbox)
    done = visor("reproduce", earlier.fingerprint, "--home", str(tmp_path / "new"), home=home.root)
    assert done.code == 0, done.out + done.err
    kept = home.corpus("mine") / "sources"
    shutil.rmtree(kept)
    refused = visor("reproduce", "page_index[mine]", "--home", str(tmp_path / "other"), home=home.root)
    assert refused.code == 2
    assert "missing: report.pdf of corpus mine (SHA-256" in refused.err
    assert not (tmp_path / "other").exists()


@pytest.mark.slow_walk
@pytest.mark.timeout(7200)
def test_a_checkpoint_after_grpo_is_rebuilt_with_the_same_weights(visor: Visor, tmp_path: Path) -> None:
    """Build once, reproduce once; then it is carried to another home, and answers there."""
    home = Home(tmp_path / "home")
    with suppress(DataError):  # its check on rewards fails in so small a world, after it was built
        materialize(Choice("nano", TRAINED), home, ["grpo_checkpoint"])
    trained = next(build for build in read_builds(home).values() if build.stage == "grpo_checkpoint")
    before = find_build(home, "sft_checkpoint")
    assert trained.stored["weights"] != before.stored["weights"]
    assert trained.stored["in_effect"]["threads"] == 1
    done = visor("reproduce", trained.fingerprint, "--home", str(tmp_path / "new"), home=home.root)
    assert done.code == 0, done.out + done.err
    assert f"weights {trained.stored['weights'][:16]}" in done.out
    _carried_to_another_home(visor, home, trained.fingerprint, tmp_path)
    _evaluated_and_rebuilt(visor, home, trained.fingerprint, tmp_path)


def _carried_to_another_home(visor: Visor, home: Home, fingerprint: str, tmp_path: Path) -> None:
    exported, other = tmp_path / "carried", tmp_path / "other"
    assert visor("export", fingerprint, str(exported), home=home.root).code == 0
    assert visor("import", str(exported), home=other).code == 0
    assert fingerprint in visor("lineage", fingerprint, home=other).out
    pdf = next((read_record(home, Node("nano_corpus")).folder(home) / "train").rglob("*.pdf"))
    assert visor("ingest", str(pdf), home=other).code == 0
    asked = visor("ask", "what is the revenue", "--checkpoint", fingerprint[:8], home=other)
    assert asked.code == 0, asked.err


def _evaluated_and_rebuilt(visor: Visor, home: Home, fingerprint: str, tmp_path: Path) -> None:
    evaluated = visor(
        *("eval", "--checkpoint", fingerprint, "--split", "train", "--corpus", "nano-train", "--limit", "4"),
        home=home.root,
    )
    (result,) = home.evaluations.glob("*.json")
    assert evaluated.code in (0, 1), evaluated.err
    done = visor("reproduce", str(result), "--home", str(tmp_path / "again"), home=home.root)
    assert done.code == 0, done.out + done.err
    assert "evaluation: identical" in done.out
