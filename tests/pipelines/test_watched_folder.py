"""A PDF dropped into a watched folder leads, untouched, to a new index tag, and with questions to a new champion.

The real daemon, webserver and code server run, sensors and automation are switched on as the page does it, and from
then on nothing is done but to put files into folders.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from assets_defs.machinery.builds import Builds, Record
from assets_defs.machinery.stage import Node
from tests.pipelines.chat_server import serving
from tests.pipelines.opened_page import Page, opened
from tests.pipelines.test_teacher_frame import thousandths
from tests.tiny_model import build_model, build_processor
from tests.visor_core.documents.writing import write_pdf
from visor_core.config import Home, Profile, load_profile
from visor_core.index import PageIndex
from visor_core.questions import Question, write_questions

# LanceDB's Rust side and Dagster's SQLite storage leave sockets and cursors to the collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.slow_walk,
    pytest.mark.timeout(3000),
]

WAIT_SECONDS = 900.0


def tiny_profile(folder: Path, teacher: str, corpora: Mapping[str, str]) -> Path:
    """A user's profile: a model of some ten thousand weights, two corpora, a few steps."""
    model = folder / "model"
    build_model(0).save_pretrained(model)
    build_processor().save_pretrained(model)
    brief = {"save_steps": 2, "micro_batch_tokens": 4096, "optimizer": {"learning_rate": 1.0e-3}}
    sections: dict[str, Any] = {
        "name": "mine",
        "threads": 1,
        "accelerate": "cpu.yaml",
        "corpora": dict(corpora),
        "documents": {"ocr": "never", "workers": 1, "dpi": 72},
        "index": {"embedders": ["hash"], "mode": "text"},
        "model": {"name": str(model), "dtype": "float32", "engine": "transformers"},
        "agent": {"coordinates": "thousand", "max_turns": 3, "max_new_tokens": 8},
        "teacher": {"endpoint": teacher, "model": "tester"},
        "sft": {**brief, "steps": 4, "batch_size": 2, "max_length": 8192},
        "grpo": {
            **brief,
            "steps": 1,
            "questions_per_step": 1,
            "group_size": 2,
            "max_prompt_tokens": 8192,
            "max_completion_tokens": 8,
            # A model of noise earns nothing: it is moved by the entropy of its groups alone.
            "dynamic_sampling": "keep",
            "entropy_coefficient": 0.1,
            "beta": 0.0,
        },
        # All pages say the same, and the teacher looks at one of them, whichever is asked about.
        "checks": {"useful_groups": 0.0, "loss_ratio": 5.0, "teacher_kept": 0.2},
        "retraining": {"settle_seconds": 1.0},
    }
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(sections), encoding="utf-8")
    return path


def _until(happened: Callable[[], Any], what: str, page: Page | None = None) -> Any:
    """Wait for something; its value once it is true."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        if found := happened():
            return found
        time.sleep(2)
    raise AssertionError(f"waited in vain for {what}: {page.runs() if page else ''}")


def _build(home: Home, profile: Profile, stage: str, corpus: str = "", *, other_than: str = "") -> Record | None:
    """What is in force of a node, if it is another build than that."""
    record = Builds(home, profile).find(Node(stage, corpus))
    return record if record is not None and record.data_version != other_than else None


def _ask_about(home: Home, corpus: str, record: Record) -> None:
    """Questions about every page of a corpus, put beside its inbox."""
    index = PageIndex.open(record.folder(home), record.index_tag)
    pages = [page.page_id for page in index.pages()]
    index.close()
    asked = [Question(f"{corpus}-{n}", "acme staff", ("47",), gold_pages=(page,)) for n, page in enumerate(pages * 2)]
    write_questions(home.root / "inbox" / f"{corpus}.questions.parquet", asked)


def test_a_dropped_pdf_becomes_an_index_and_with_questions_a_champion(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with serving(thousandths) as teacher:
        path = tiny_profile(tmp_path, teacher, {"train": "mine", "development": "others"})
        profile = load_profile(path)
        with opened(home, "--profile", str(path)) as page:
            for sensor in ("inbox", "retrain_when_changed"):
                page.switch_on(sensor)
            lines = "\n".join(["acme staff 47 people " * 2] * 9)
            for corpus in ("mine", "others"):
                write_pdf(home.inbox(corpus) / "acme.pdf", [lines], title=corpus)
            indexed = {
                corpus: _until(lambda c=corpus: _build(home, profile, "page_index", c), f"an index of {corpus}", page)
                for corpus in ("mine", "others")
            }
            # Without questions nothing is trained.
            assert _build(home, profile, "teacher_trajectories") is None
            for corpus, record in indexed.items():
                _ask_about(home, corpus, record)
            champion = _until(lambda: _build(home, profile, "champion_model"), "a champion", page)
            assert _build(home, profile, "benchmark_results") is not None
            # One more document, and one more question about it: a new index tag, and a new evaluation of new weights.
            first = indexed["mine"]
            write_pdf(home.inbox("mine") / "more.pdf", [lines, lines], title="more")
            again = _until(
                lambda: _build(home, profile, "page_index", "mine", other_than=first.data_version), "an index", page
            )
            assert again.index_tag != first.index_tag
            _ask_about(home, "mine", again)
            _until(
                lambda: (
                    (found := _build(home, profile, "champion_model")) and found.fingerprint != champion.fingerprint
                ),
                "another champion gate",
                page,
            )
