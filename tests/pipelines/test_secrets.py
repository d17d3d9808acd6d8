"""Canary secrets planted where a run meets them appear in nothing that the run writes or prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from pipelines.workers.session import Session
from tests.pipelines.conftest import Visor
from tests.pipelines.test_cli_corpus import write_pdf
from visor_core.config import Profile
from visor_core.policies.base import ImageRef

# LanceDB's Rust side and Dagster's SQLite storage leave sockets and cursors to the collector.
pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning"), pytest.mark.slow]

IN_ENVIRONMENT = "canary-environment-8d1f"
IN_FILE = "canary-file-2b77"
UNRELATED = "canary-unrelated-token-90ce"


def _holding(text: str, folder: Path) -> list[str]:
    return [str(p) for p in folder.rglob("*") if p.is_file() and text.encode() in p.read_bytes()]


def test_a_run_writes_no_secret(visor: Visor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    inbox = home / "inbox" / "mine"
    inbox.mkdir(parents=True)
    write_pdf(inbox / "first.pdf", ("the vault holds nine keys",), password=IN_ENVIRONMENT)
    write_pdf(inbox / "second.pdf", ("the cellar holds two barrels",), password=IN_FILE)
    monkeypatch.setenv("VISOR_TEST_PASSWORD", IN_ENVIRONMENT)
    monkeypatch.setenv("HF_TOKEN", UNRELATED)
    monkeypatch.setenv("OPENAI_API_KEY", UNRELATED)
    secret = tmp_path / "secret.txt"
    secret.write_text(IN_FILE, encoding="utf-8")
    profile = tmp_path / "mine.yaml"
    passwords = {"first.pdf": "env:VISOR_TEST_PASSWORD", "second.pdf": f"file:{secret}"}
    settings = {"name": "mine", "documents": {"passwords": passwords, "ocr": "never"}}
    profile.write_text(yaml.safe_dump(settings), encoding="utf-8")

    run = visor("run", "--profile", str(profile), "--select", "page_index", "--corpus", "mine")
    assert run.code == 0, run.err
    dry = visor("run", "--profile", str(profile), "--dry-run")
    found = visor("search", "vault keys", "--corpus", "mine", "--explain", "--profile", str(profile))
    assert "first.pdf" in found.out, found.err
    assert visor("report").code == 0

    said = "".join(outcome.out + outcome.err for outcome in (run, dry, found))
    for canary in (IN_ENVIRONMENT, IN_FILE, UNRELATED):
        assert canary not in said
        assert _holding(canary, home) == []
    assert _holding("env:VISOR_TEST_PASSWORD", home) != []  # the reference itself is kept with the run


def test_a_missing_secret_stops_at_its_document(visor: Visor, tmp_path: Path) -> None:
    write_pdf(tmp_path / "locked.pdf", password="x")
    write_pdf(tmp_path / "open.pdf")
    outcome = visor(
        "ingest", str(tmp_path / "locked.pdf"), str(tmp_path / "open.pdf"),
        "--set", "documents.passwords={locked.pdf: env:VISOR_NOT_SET}", "--set", "documents.ocr=never",
    )  # fmt: skip
    assert outcome.code == 0
    assert "quarantined: locked.pdf: the secret env:VISOR_NOT_SET is not set" in outcome.err


def test_a_training_worker_draws_a_locked_document(
    visor: Visor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pdf(tmp_path / "locked.pdf", password=IN_ENVIRONMENT)
    monkeypatch.setenv("VISOR_TEST_PASSWORD", IN_ENVIRONMENT)
    documents = {"passwords": {"locked.pdf": "env:VISOR_TEST_PASSWORD"}, "ocr": "never"}
    given = [f"--set=documents.{key}={json.dumps(value)}" for key, value in documents.items()]
    assert visor("ingest", str(tmp_path / "locked.pdf"), *given).code == 0
    order = {
        "home": str(tmp_path / "home"),
        "folder": str(tmp_path / "stage"),
        "stage": "sft_checkpoint",
        "profile": Profile.model_validate({"name": "mine", "documents": documents}).model_dump(mode="json"),
        "inputs": {"corpus": str(tmp_path / "home" / "corpora" / "documents"), "index_tag": "latest"},
        "experiment": "",
    }
    index = Session(order, None).open_index()
    assert index(ImageRef(index.page_ids()[0], 30, 20)).size == (30, 20)
    index.close()
