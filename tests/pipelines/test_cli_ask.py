"""`visor ask` and `replay` through a real server, with a canary secret that may appear nowhere."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.chat_server import scripted_reader, serving
from tests.pipelines.conftest import Visor
from tests.pipelines.test_cli_corpus import write_pdf
from tests.tiny_model import build_model, build_processor
from visor_core.trajectories.store import read_trajectories

CANARY = "canary-51c0ffee-never-written"


def _files_with(text: str, folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file() and text.encode() in p.read_bytes()]


@pytest.fixture
def corpus(visor: Visor, tmp_path: Path) -> Path:
    """An ingested corpus with a page about the English Channel."""
    folder = tmp_path / "in"
    folder.mkdir()
    write_pdf(
        folder / "coast.pdf", ("English Channel coast areas: Kent, Normandy", "Nothing of note <answer>x</answer>")
    )
    assert visor("ingest", str(folder), "--set", "documents.ocr=never").code == 0
    return tmp_path / "home"


def test_a_served_models_family_says_its_frame_and_what_contradicts_it_is_said(visor: Visor, corpus: Path) -> None:
    seen: list[dict[str, Any]] = []
    asked = ("ask", "Which areas lie on the coast?", "--model", "Qwen/Qwen3-VL-8B-Instruct")
    with serving(scripted_reader, seen) as url:
        fitting = visor(*asked, "--endpoint", url)
        pixels = visor(*asked, "--endpoint", url, "--set", "agent.coordinates=pixels")
    assert (fitting.code, pixels.code) == (0, 0), fitting.err + pixels.err
    assert "note:" not in fitting.err
    assert "as integers from 0 to 1000" in str(seen[0]["body"]["messages"][0])
    assert "in pixels of the page image" in str(seen[-1]["body"]["messages"][0])
    assert "note: Qwen/Qwen3-VL-8B-Instruct is of the family Qwen3-VL" in pixels.err
    assert "use --set agent.coordinates=thousand" in pixels.err


def test_ask_an_endpoint_and_replay(visor: Visor, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISOR_TEST_KEY", CANARY)
    seen: list[dict[str, Any]] = []
    with serving(scripted_reader, seen) as url:
        outcome = visor(
            "ask", "Which areas lie on the English Channel coast?",
            "--endpoint", url, "--model", "scripted", "--api-key", "env:VISOR_TEST_KEY",
        )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert seen[0]["headers"]["Authorization"] == f"Bearer {CANARY}"
    assert "1 search “English Channel coast areas” → page shown" in outcome.out
    assert "2 crop [20.0, 40.0, 300.0, 300.0] → region shown" in outcome.out
    assert "Kent, Normandy" in outcome.out
    assert "coast.pdf, page 1, box " in outcome.out
    assert "spent on ask: 3 calls, " in outcome.out
    (page,) = (corpus / "reports").glob("ask-*.html")
    assert "data:image/" in page.read_text(encoding="utf-8")
    assert str(page) in outcome.out

    replayed = visor("replay", "--corpus", "documents")
    assert replayed.code == 0, replayed.err
    assert "1 of 1 trajectories identical (3 contexts rebuilt, tokens not compared: give --check" in replayed.out
    assert CANARY not in outcome.out + outcome.err + replayed.out
    assert _files_with(CANARY, corpus) == []
    assert _files_with("Kent, Normandy", corpus) != []


def test_a_locked_document_is_asked_and_replayed(visor: Visor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pdf(tmp_path / "coast.pdf", ("Kent and Normandy lie on the English Channel coast",), password="x")
    monkeypatch.setenv("VISOR_TEST_PASSWORD", "x")
    password = ("--set", "documents.passwords={coast.pdf: env:VISOR_TEST_PASSWORD}", "--set", "documents.ocr=never")
    assert visor("ingest", str(tmp_path / "coast.pdf"), *password).code == 0
    with serving(scripted_reader) as url:
        asked = ("ask", "Which areas lie on the English Channel coast?", "--endpoint", url, "--model", "scripted")
        assert visor(*asked, *password).code == 0
    assert visor("replay", "--corpus", "documents", *password).code == 0


def test_replay_compares_tokens_and_writes_pages(visor: Visor, corpus: Path, tmp_path: Path) -> None:
    checkpoint, pages = tmp_path / "tiny", tmp_path / "pages"
    build_model().save_pretrained(checkpoint)
    build_processor().save_pretrained(checkpoint)
    settings = [
        "agent.prompts=compact", "agent.first_search=question", "agent.max_turns=3", "agent.max_new_tokens=8",
        "agent.image.min_pixels=1024", "agent.image.max_pixels=1024", "agent.image.multiple=32",
    ]  # fmt: skip
    chosen = [word for setting in settings for word in ("--set", setting)]
    asked = visor("ask", "English Channel coast", "--checkpoint", str(checkpoint), *chosen)
    assert asked.code == 0, asked.err
    assert "is estimated at 1 tokens, this model's processor makes 4" in asked.err
    replayed = visor("replay", "--checkpoint", str(checkpoint), "--corpus", "documents", "--html", str(pages))
    assert replayed.code == 0, replayed.err
    (tokens,) = re.findall(r"1 of 1 trajectories identical \(4 contexts rebuilt, (\d+) prompt tokens", replayed.out)
    (episode,) = read_trajectories(corpus / "assets" / "asked")
    assert int(tokens) == sum(len(turn.completion.prompt_ids) for turn in episode.turns) > 0
    assert f'href="{episode.trajectory_id}.html"' in (pages / "index.html").read_text(encoding="utf-8")
    assert "data:image/" in (pages / f"{episode.trajectory_id}.html").read_text(encoding="utf-8")
    assert visor("replay", "--html", str(pages)).code == 0


def test_a_key_given_as_itself_is_refused_unprinted(visor: Visor, corpus: Path) -> None:
    outcome = visor("ask", "x?", "--endpoint", "http://127.0.0.1:9/v1", "--model", "m", "--api-key", CANARY)
    assert outcome.code == 2
    assert CANARY not in outcome.err
    assert "env:NAME" in outcome.err


def test_a_key_that_is_not_set_is_one_line(visor: Visor, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VISOR_TEST_UNSET", raising=False)
    with serving(scripted_reader) as url:
        asked = visor("ask", "x?", "--endpoint", url, "--model", "m", "--api-key", "env:VISOR_TEST_UNSET")
    assert (asked.code, asked.err.strip()) == (
        2, "visor: the secret env:VISOR_TEST_UNSET is not set: export VISOR_TEST_UNSET first",
    )  # fmt: skip


@pytest.mark.parametrize("given", ["itself", "reference"])
def test_a_password_in_an_address_is_sent_and_never_shown(
    visor: Visor, corpus: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    seen: list[dict[str, Any]] = []
    with serving(scripted_reader, seen) as url:
        address = url.replace("http://", f"http://me:{CANARY}@") + f"?key={CANARY}"
        monkeypatch.setenv("VISOR_TEST_ADDRESS", address)
        endpoint = address if given == "itself" else "env:VISOR_TEST_ADDRESS"
        question = ("Which areas lie on the English Channel coast?", "--endpoint", endpoint, "--model", "scripted")
        asked = visor("ask", *question)
    refused = visor("ask", *question)
    assert (asked.code, refused.code) == (0, 2), asked.err
    assert seen[0]["headers"]["Authorization"].startswith("Basic ")
    assert "…@127.0.0.1" in refused.err
    assert CANARY not in asked.out + asked.err + refused.out + refused.err
    assert _files_with(CANARY, corpus) == []


def test_an_empty_reply_is_said_with_its_reason(visor: Visor, corpus: Path) -> None:
    filtered = {"message": {"role": "assistant", "content": ""}, "finish_reason": "content_filter"}
    said: list[str | dict[str, Any]] = [
        "<think>I look.</think><search>Channel coast</search>", filtered, "<think>a</think><answer>Kent</answer>",
    ]  # fmt: skip
    with serving(lambda messages: said.pop(0)) as url:
        asked = visor("ask", "Which areas?", "--endpoint", url, "--model", "scripted")
    assert asked.code == 0, asked.err
    assert "2 an empty reply (finish reason content_filter) → asked to retry" in asked.out
    (page,) = (corpus / "reports").glob("ask-*.html")
    assert "an empty reply (finish reason content_filter)" in page.read_text(encoding="utf-8")
    (episode,) = read_trajectories(corpus / "assets" / "asked")
    assert [turn.completion.finish_reason for turn in episode.turns] == ["stop", "content_filter", "stop"]

    with serving(lambda messages: filtered) as url:
        failed = visor("ask", "Which areas?", "--endpoint", url, "--model", "scripted")
    assert failed.code == 2
    assert failed.err.strip() == (
        "visor: 3 replies in a row said nothing; the last: an empty reply (finish reason content_filter)"
    )


def test_tokens_that_a_server_does_not_count_are_not_printed(visor: Visor, corpus: Path) -> None:
    message = {"role": "assistant", "content": "<think>a</think><answer>b</answer>"}
    with serving(lambda messages: {"message": message, "finish_reason": "stop", "usage": None}) as url:
        asked = visor("ask", "Which areas?", "--endpoint", url, "--model", "scripted")
    assert asked.code == 0, asked.err
    assert "\n1 turns, 0." in asked.out
    assert "prompt tokens" not in asked.out


def test_a_dead_endpoint_is_one_line(visor: Visor, corpus: Path) -> None:
    with serving(scripted_reader) as url:
        pass
    outcome = visor("ask", "x?", "--endpoint", url, "--model", "m")
    assert outcome.code == 2
    assert len(outcome.err.strip().splitlines()) == 1
    assert "does not answer after 3 tries" in outcome.err
    settled = visor("ask", "x?", "--endpoint", url, "--model", "m", "--set", "server.retries=0")
    assert "does not answer after 1 tries" in settled.err


def test_the_profile_says_what_a_server_costs_and_what_it_may_cost(visor: Visor, corpus: Path, tmp_path: Path) -> None:
    """Each reply is of 100 prompt and 10 completion tokens: at 20 and 200 a million, 0.004."""
    profile = tmp_path / "mine.yaml"
    profile.write_text(
        "name: mine\nserver: {prompt_price: 20, completion_price: 200, requests_per_minute: 6000}\n", encoding="utf-8"
    )
    seen: list[dict[str, Any]] = []
    with serving(scripted_reader, seen) as url:
        command = ("ask", "Which?", "--endpoint", url, "--model", "scripted", "--profile", str(profile))
        whole = visor(*command, "--set", "server.extra_body={top_k: 1}")
        assert seen[0]["body"]["top_k"] == 1
        seen.clear()
        cut = visor(*command, "--set", "server.max_cost=0.006")
    assert whole.code == 0, whole.err
    assert ", 300 prompt tokens, cost 0.012, " in whole.out
    assert cut.code == 2
    assert "scripted has cost 0.008: the limit 0.006 is reached" in cut.err
    assert len(seen) == 2


def test_eval_an_endpoint_resumes_and_reports(visor: Visor, corpus: Path, tmp_path: Path) -> None:
    questions = tmp_path / "questions.json"
    questions.write_text(
        '[{"doc_id": "coast.pdf", "question": "Which areas?", "answer": "Kent, Normandy", "evidence_pages": "[1]",'
        ' "evidence_sources": "[]", "answer_format": "Str"}, {"doc_id": "coast.pdf", "question": "Which page?",'
        ' "answer": "x", "evidence_pages": "[1418]", "evidence_sources": "[]", "answer_format": "Str"}]',
        encoding="utf-8",
    )
    command = ["eval", "--benchmark", "mmlongbench", "--questions", str(questions), "--corpus", "documents"]
    command += ["--set", "server.prompt_price=10"]
    seen: list[dict[str, Any]] = []
    with serving(scripted_reader, seen) as url:
        first = visor(*command, "--endpoint", url, "--model", "scripted", "--label", "toy run")
        asked = len(seen)
        again = visor(*command, "--endpoint", url, "--model", "scripted", "--label", "toy run")
    assert first.code == again.code == 0, first.err + again.err
    assert len(seen) == asked == 3
    assert "1.000" in first.out
    assert "cost 0.003" in first.out
    assert "1 questions left out: evidence page outside the document 1" in first.out
    assert "mmlongbench-0001: it names page 1418 of coast.pdf" in first.out
    assert "toy run: answers scored by the rule MMLongBench-Doc: accuracy 1.000, F1 1.000" in " ".join(
        first.out.split()
    )
    (result,) = (corpus / "evaluations").glob("toy-run-*.json")
    assert visor("report").code == 0
    assert result.stem in (corpus / "reports" / "report.html").read_text(encoding="utf-8")


def test_asking_twice_in_two_modes_keeps_both_episodes_and_both_replay(visor: Visor, corpus: Path) -> None:
    """What the README says: ask, then replay, with nothing to repeat."""
    with serving(scripted_reader) as url:
        command = ("ask", "Which areas lie on the Channel?", "--endpoint", url, "--model", "scripted")
        for settings in (("index.mode=text",), ("index.mode=hybrid", "index.top_k=1")):
            chosen = [word for setting in settings for word in ("--set", setting)]
            assert visor(*command, *chosen).code == 0
    assert len(list((corpus / "reports").glob("ask-*.html"))) == 2
    modes = [json.loads(t.index_config)["mode"] for t in read_trajectories(corpus / "assets" / "asked")]
    assert modes == ["text", "hybrid"]
    replayed = visor("replay")
    assert replayed.code == 0, replayed.err
    assert "2 of 2 trajectories identical" in replayed.out


def test_episodes_on_two_corpora_replay_each_on_its_own(visor: Visor, corpus: Path, tmp_path: Path) -> None:
    write_pdf(tmp_path / "hills.pdf", ("English Channel coast areas seen from the hills", "nothing", "coast areas"))
    ingested = visor("ingest", str(tmp_path / "hills.pdf"), "--corpus", "hills", "--set", "documents.ocr=never")
    assert ingested.code == 0
    with serving(scripted_reader) as url:
        for name in ("documents", "hills"):
            asked = visor("ask", "Which areas?", "--corpus", name, "--endpoint", url, "--model", "scripted")
            assert asked.code == 0
    replayed = visor("replay", "--html", str(tmp_path / "pages"))
    assert "2 of 2 trajectories identical" in replayed.out, replayed.err
    assert "picture not available" not in (tmp_path / "pages" / "index.html").read_text(encoding="utf-8")
    stood_in = visor("replay", "--corpus", "documents")  # the tag of the other is not there
    assert stood_in.code == 2
    shutil.rmtree(corpus / "corpora" / "hills")
    gone = visor("replay")
    assert gone.code == 0
    assert "1 of 2 trajectories not played again, their contexts alone compared: no corpus hills" in gone.err
