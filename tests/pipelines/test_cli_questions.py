"""`visor questions import` and `visor fetch`: a benchmark in a corpus, its splits, and what training reads of it."""

from __future__ import annotations

import io
import json
import re
import shutil
import zipfile
from pathlib import Path

import polars as pl
import pymupdf
import pytest
from huggingface_hub import constants
from PIL import Image

from pipelines.cli.question_sets import read_benchmark
from tests.pipelines.conftest import Visor
from tests.pipelines.materializing import InProcess
from tests.pipelines.test_cli_corpus import write_pdf
from tests.visor_core.documents.hub_server import HubServer, hub_server
from tests.visor_core.evaluation.model_server import model_server
from tests.visor_core.evaluation.test_benchmarks import Document
from visor_core.config import Home
from visor_core.evaluation.benchmarks import READERS
from visor_core.evaluation.benchmarks.resolve import NOT_IN_CORPUS, PageResolver
from visor_core.evaluation.published import PUBLISHED, prepare
from visor_core.evaluation.results import read_result
from visor_core.files import whole_file
from visor_core.questions import read_questions

pytestmark = [
    # All from inside MLflow 3.17 (https://github.com/mlflow/mlflow) and alembic 1.20, as in test_cli_eval.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]
NAMES = ("acme", "borel", "cantor", "delta", "euler")


def _item(name: str, answer: str = "47", **more: object) -> dict[str, object]:
    return {
        "doc_id": f"{name}.pdf", "doc_type": "Report", "question": f"{name} staff?", "answer": answer,
        "evidence_pages": "[1]", "evidence_sources": "['Table']", "answer_format": "Int", **more,
    }  # fmt: skip


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the corpus `documents` of five documents."""
    from visor_core.config import DocumentsConfig, IndexConfig
    from visor_core.documents.pool import WorkerPool
    from visor_core.index import Corpus, build_index, load_embedders, register_documents, render_pages

    root = tmp_path_factory.mktemp("ingested")
    for number, name in enumerate(NAMES):
        write_pdf(root / f"{name}.pdf", (f"{name} staff {number}",))
    corpus, config = Corpus(root / "home" / "corpora" / "documents"), DocumentsConfig(ocr="never", workers=1)
    with WorkerPool(1) as pool:
        register_documents(corpus, [root], config, pool=pool)
        render_pages(corpus, config, pool=pool)
    build_index(corpus, IndexConfig(), load_embedders(IndexConfig()))
    return root / "home"


def _corpus(ingested: Path, tmp_path: Path) -> Path:
    shutil.copytree(ingested, tmp_path / "home")
    items = [_item(name) for name in NAMES] + [_item("gone"), _item("acme", evidence_pages="[7]"), {"doc_id": 3}]
    (tmp_path / "samples.json").write_text(json.dumps(items), encoding="utf-8")
    return tmp_path / "home"


def test_a_benchmark_becomes_the_questions_of_a_corpus_once(visor: Visor, ingested: Path, tmp_path: Path) -> None:
    home = _corpus(ingested, tmp_path)
    first = visor("questions", "import", str(tmp_path / "samples.json"))
    assert first.code == 0, first.err
    assert (
        "5 questions of mmlongbench in corpus documents: 5 with evidence pages, 5 answerable, 3 left out" in first.out
    )
    for reason in ("document gone.pdf is not in the corpus", "names page 7 of acme.pdf", "it lacks question"):
        assert reason in first.out
    path, record = home / "inbox/documents.questions.parquet", home / "inbox/documents.import.json"
    before = [(each.read_bytes(), each.stat().st_mtime_ns) for each in (path, record)]
    assert visor("questions", "import", str(tmp_path / "samples.json"), "--format", "mmlongbench").code == 0
    assert [(each.read_bytes(), each.stat().st_mtime_ns) for each in (path, record)] == before
    own = tmp_path / "mine.jsonl"
    own.write_text('{"question": "Who?", "answer": "x", "document": "acme.pdf", "pages": [1]}\n', encoding="utf-8")
    assert visor("questions", "import", str(own)).code == 0
    assert sorted({q.benchmark for q in read_questions(path)}) == ["mmlongbench", "own"]
    listed = visor("questions", "list", "--left-out")
    assert "left out: document not in the corpus 1, evidence page outside the document 1" in listed.out
    assert "single-page 5" in listed.out
    made = json.loads(record.read_text(encoding="utf-8"))["imports"]["mmlongbench"]
    assert (made["questions"], len(made["left_out"]), len(made["sha256"][0])) == (5, 3, 64)
    left_out = read_benchmark(Home(home), "mmlongbench", None, "", "documents", None).left_out  # type: ignore[arg-type]
    assert len(left_out) == 3


def test_another_file_takes_no_questions_away(visor: Visor, ingested: Path, tmp_path: Path) -> None:
    home = _corpus(ingested, tmp_path)
    line = '{{"question": "Who of {0}?", "answer": "x", "document": "{0}.pdf", "pages": [1]}}'
    first, second, clash = (tmp_path / name for name in ("first.jsonl", "second one.jsonl", "third.jsonl"))
    first.write_text("\n".join(line.format(name) for name in NAMES[:2]), encoding="utf-8")
    second.write_text(line.format(NAMES[2]), encoding="utf-8")
    clash.write_text(line.format(NAMES[0]).replace('"x"', '"y"'), encoding="utf-8")
    assert visor("questions", "import", str(first)).code == 0
    refused = visor("questions", "import", str(second))
    assert refused.code == 2
    assert "the corpus has 2 questions of 2 from first.jsonl that second one.jsonl does not hold" in refused.err
    assert f"(`visor questions import {first} '{second}'`), or --replace" in refused.err
    path = home / "inbox" / "documents.questions.parquet"
    assert len(read_questions(path)) == 2

    both = visor("questions", "import", str(first), str(second), str(clash))
    assert "3 questions of own in corpus documents" in both.out
    assert "third.jsonl: own-" in both.out
    assert "an earlier file expects 'x'" in both.out
    assert len(read_questions(path)) == 3
    assert visor("questions", "import", str(first), str(second), str(clash)).code == 0
    assert visor("questions", "import", str(first)).code == 2
    shutil.copy(first, tmp_path / "moved.jsonl")
    first.write_text(line.format(NAMES[3]), encoding="utf-8")
    assert visor("questions", "import", str(first), "--replace").code == 0
    assert [q.question for q in read_questions(path)] == [f"Who of {NAMES[3]}?"]
    first.write_text(line.format(NAMES[4]), encoding="utf-8")
    assert visor("questions", "import", str(first)).code == 0, "the file itself was corrected"
    assert len(read_questions(path)) == 1


def test_what_is_kept_and_can_count_for_nothing_is_said(visor: Visor, ingested: Path, tmp_path: Path) -> None:
    _corpus(ingested, tmp_path)
    items = [_item(NAMES[0], answer="21%"), _item(NAMES[1], evidence_pages="[0, 1]"), _item(NAMES[2])]
    (tmp_path / "some.json").write_text(json.dumps(items), encoding="utf-8")
    for arguments in (("import", str(tmp_path / "some.json")), ("list",)):
        told = visor("questions", *arguments)
        assert "1 name an evidence page that no document has (page 0): their evidence is not judged" in told.out
        assert "1 have a gold answer that is not of its own format" in told.out
        assert "mmlongbench-0000" in told.out


def test_the_benchmark_is_that_of_the_import_where_none_is_named(visor: Visor, ingested: Path, tmp_path: Path) -> None:
    home = _corpus(ingested, tmp_path)
    nothing = visor("eval", "--corpus", "documents", "--policy", "reader")
    assert nothing.code == 2
    assert "corpus 'documents' has no questions: `visor questions import FILE --corpus documents`" in nothing.err
    assert "no corpus 'docs'" in visor("eval", "--corpus", "docs", "--policy", "reader").err
    tag = visor("eval", "--corpus", "documents", "--policy", "reader", "--tag", "zz", "--benchmark", "mmlongbench")
    assert "has no index tag 'zz': give --tag one of " in tag.err
    assert "latest, as `visor index tags --corpus documents` lists them" in tag.err
    vectors = visor("recall", str(tmp_path / "samples.json"), "--corpus", "documents", "--mode", "vector")
    assert "has no vectors to search by: search it with the mode hybrid, or give it some" in vectors.err

    assert visor("questions", "import", str(tmp_path / "samples.json")).code == 0
    done = visor("eval", "--corpus", "documents", "--policy", "reader", "--label", "a")
    assert done.code == 0, done.err
    assert "rule MMLongBench-Doc" in done.out
    own = tmp_path / "mine.jsonl"
    own.write_text('{"question": "Who?", "answer": "x", "document": "acme.pdf", "pages": [1]}\n', encoding="utf-8")
    assert visor("questions", "import", str(own)).code == 0
    both = visor("eval", "--corpus", "documents", "--policy", "reader")
    assert "corpus 'documents' has questions of mmlongbench, own: name one by --benchmark" in both.err
    alone = visor("eval", "--corpus", "documents", "--questions", str(own), "--policy", "reader", "--label", "b")
    assert alone.code == 0, alone.err

    # One question of two results: each has its page.
    again = ("eval", "--corpus", "documents", "--benchmark", "mmlongbench", "--policy", "oracle-pages", "--label", "c")
    assert visor(*again).code == 0
    results = [path for path in (home / "evaluations").glob("*.json") if read_result(path).benchmark == "mmlongbench"]
    pages = set()
    for path in results:
        shown = visor("debug", "mmlongbench-0000", "--result", path.stem)
        assert shown.code == 0, shown.err
        pages.add(shown.out.split("page with the pictures: ")[1].strip())
    assert len(pages) == len(results) == 2


@pytest.mark.slow_walk
def test_an_imported_benchmark_is_measured_without_its_file(visor: Visor, ingested: Path, tmp_path: Path) -> None:
    home = _corpus(ingested, tmp_path)
    assert visor("questions", "import", str(tmp_path / "samples.json")).code == 0
    with model_server(answer="47") as server:
        asked = visor(
            "eval", "--benchmark", "mmlongbench", "--corpus", "documents", "--endpoint", server.url, "--model", "toy"
        )
    assert "3 questions left out: document not in the corpus 1, " in asked.out
    assert "(`visor questions list --left-out --corpus documents` names them)" in asked.out
    assert "gone.pdf" not in asked.out
    (result,) = [json.loads(each.read_text()) for each in (home / "evaluations").glob("*.json")]
    assert len(result["left_out"]) == 3
    assert {(row["kind"], row["document_type"], row["answer_format"]) for row in result["episodes"]} == {
        ("single-page", "Report", "Int")
    }
    assert result["episodes"][0]["evidence_sources"] == ["Table"]
    (lineage,) = [json.loads(each.read_text()) for each in (home / "evaluations" / "lineage").glob("*.json")]
    assert lineage["call"]["questions"] == str(home / "inbox" / "documents.questions.parquet")
    assert len(lineage["from_outside"]["questions"]) == 64


def test_what_cannot_be_imported_is_one_line(visor: Visor, ingested: Path, tmp_path: Path) -> None:
    home = _corpus(ingested, tmp_path)
    refusals = {
        ("--format", "squad"): "--format 'squad' is not one of mmlongbench",
        ("--split-by", "page"): "--split-by 'page' is neither document nor none",
        ("--split-by", "document", "--shares", "1,1"): "--shares '1,1' is not three numbers, as 0.8,0.1,0.1",
        ("--split-by", "document", "--shares", "1,1,1"): "does not add up to 1",
        ("--corpus", "none"): "no corpus 'none'",
    }
    for options, message in refusals.items():
        outcome = visor("questions", "import", str(tmp_path / "samples.json"), *options)
        assert outcome.code == 2
        assert message in outcome.err
        assert len(outcome.err.strip().splitlines()) == 1
    assert not (home / "inbox").exists()


def test_splits_are_corpora_with_documents_of_their_own(visor: Visor, ingested: Path, tmp_path: Path) -> None:
    """Training reads an imported benchmark: documents and questions of a split go through the graph, and no document is
    in two of them, also when more questions come later."""
    home = _corpus(ingested, tmp_path)
    split = ("questions", "import", str(tmp_path / "samples.json"), "--split-by", "document", "--shares", "0.6,0.4,0")
    outcome = visor(*split)
    assert outcome.code == 0, outcome.err
    assert "--set corpora.train=documents-train --set corpora.development=documents-development" in outcome.out
    inboxes = {name: sorted(p.name for p in (home / "inbox" / name).rglob("*.pdf")) for name in _split_names()}
    assert sorted(name for files in inboxes.values() for name in files) == sorted(f"{name}.pdf" for name in NAMES)
    assert [len(files) for files in inboxes.values()] == [3, 2]
    state = {p: p.stat().st_mtime_ns for p in (home / "inbox").rglob("*") if p.is_file()}
    assert visor(*split).code == 0
    assert {p: p.stat().st_mtime_ns for p in (home / "inbox").rglob("*") if p.is_file()} == state

    torn = home / "inbox" / "documents-train" / inboxes["documents-train"][0]
    torn.write_bytes(b"half")
    own = tmp_path / "mine.jsonl"
    one, other = (files[0] for files in inboxes.values())
    lines = [
        {"id": "a", "question": "Both?", "answer": "x", "evidence": [
            {"document": name, "page": 1} for name in (one, other)
        ]},
        {"id": "b", "question": "Which?", "answer": "x"},
        {"id": "c", "question": "Who?", "answer": "x", "document": other, "pages": [1]},
    ]  # fmt: skip
    own.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    later = visor("questions", "import", str(own))
    assert "documents in different splits 1, no document is known, so it belongs to no split 1" in later.out
    assert {name: sorted(p.name for p in (home / "inbox" / name).rglob("*.pdf")) for name in _split_names()} == inboxes
    assert torn.stat().st_size > 4

    from pipelines.choice import Choice
    from pipelines.run import run_graph

    choice = Choice("nano", {"documents.ocr": "never"})
    place = Home(home)
    summary = run_graph(choice, place, ["questions"], corpus="documents-train", engine=InProcess)
    (made,) = [result for result in summary.results if result.node.stage == "questions"]
    assert made.figures["questions"] == 3
    assert not any(result.warnings for result in summary.results)


@pytest.mark.parametrize("stopped_at", [1, 3, 7, 8])
def test_an_import_that_is_stopped_ends_as_an_undisturbed_one(
    ingested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_at: int
) -> None:
    """Whichever write it is stopped at, the same call again leaves the same files, and no half one in between."""
    from pipelines import importing
    from visor_core.index import PageIndex

    def tree(home: Path) -> dict[str, bytes]:
        files = (path for path in (home / "inbox").rglob("*") if path.is_file())
        record = re.compile(rb'"imported": "[^"]*"')
        return {path.relative_to(home).as_posix(): record.sub(b"", path.read_bytes()) for path in files}

    wholes: list[dict[str, bytes]] = []
    for name in ("whole", "stopped"):
        home = _corpus(ingested, tmp_path / name)
        index = PageIndex.open(home / "corpora" / "documents", "latest")
        call = (Home(home), "documents", index, [tmp_path / name / "samples.json"], "", importing.Split("document"))
        if name == "stopped":
            writes = 0

            def failing(path: Path, several_writers: bool = False) -> object:
                nonlocal writes
                writes += 1
                if writes == stopped_at:
                    raise KeyboardInterrupt
                return whole_file(path, several_writers=several_writers)

            for module in ("pipelines.importing", "visor_core.questions", "visor_core.files"):
                monkeypatch.setattr(f"{module}.whole_file", failing)
            with pytest.raises(KeyboardInterrupt):
                importing.import_questions(*call)
            assert importing.read_record(Home(home), "documents")["imports"] == {}
            assert list(home.rglob("*.partial")) == []
            monkeypatch.undo()
        importing.import_questions(*call)
        index.close()
        wholes.append({key: data.replace(str(tmp_path / name).encode(), b"") for key, data in tree(home).items()})
    assert wholes[0] == wholes[1]


def _split_names() -> tuple[str, str]:
    return "documents-train", "documents-development"


def _pdf(folder: Path, name: str, words: str) -> bytes:
    write_pdf(folder / name, (words,))
    return (folder / name).read_bytes()


def test_a_benchmark_is_fetched_into_a_corpus(visor: Visor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "train.parquet"
    pl.DataFrame([_item("acme"), _item("borel"), _item("gone"), _item("euler")]).write_parquet(table)
    files = {f"documents/{name}.pdf": _pdf(tmp_path, f"{name}.pdf", f"{name} staff 47") for name in NAMES}
    files["data/train-00000-of-00001.parquet"] = table.read_bytes()
    with hub_server("yubo2333/MMLongBench-Doc", files) as server:
        _as_hub(server, monkeypatch)
        fetch = ("fetch", "mmlongbench", "--set", "documents.ocr=never")
        told = visor(*fetch, "--dry-run")
        assert "documents at most: those that the questions name: 5 files" in told.out
        assert not any("/cdn/" in line for line in server.asked)
        server.wrong = {"documents/euler.pdf"}
        outcome = visor(*fetch)
        assert outcome.code == 1
        assert "left out: gone.pdf: no file of that name is offered" in outcome.err
        assert "left out: documents/euler.pdf: the hub serves other bytes than its listing says" in outcome.err
        assert "2 questions of mmlongbench in corpus mmlongbench" in outcome.out
        assert not any("delta" in line for line in server.asked)  # no question names it
        server.wrong = set()
        asked = len(server.asked)
        again = visor(*fetch)
        assert again.code == 1  # gone.pdf is nowhere
        assert "3 questions of mmlongbench in corpus mmlongbench" in again.out
        assert [line for line in server.asked[asked:] if "/cdn/" in line] == ["GET /cdn/documents/euler.pdf"]


def _as_hub(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server as the hub of the pinned commit."""
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    server.commit = next(p.revision for p in PUBLISHED.values() if p.repository == server.repository)


def test_a_zip_of_documents_is_unpacked_by_name_alone(tmp_path: Path) -> None:
    archive = tmp_path / "vidoseek_pdf_document.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("pdf/acme.pdf", b"%PDF-1")
        file.writestr("../../borel.pdf", b"%PDF-2")
        file.writestr("__MACOSX/._acme.pdf", b"junk")
        file.writestr("other/acme.pdf", b"%PDF-3")
    made = prepare(PUBLISHED["vidoseek"], tmp_path / "made", [tmp_path / "vidoseek.json"], [archive])
    assert [path.relative_to(tmp_path / "made" / archive.stem).as_posix() for path in made.documents] == [
        "acme.pdf", "borel.pdf",
    ]  # fmt: skip
    assert made.left_out == (("other/acme.pdf", "another file of the archive has its name"),)
    times = [path.stat().st_mtime_ns for path in made.documents]
    again = prepare(PUBLISHED["vidoseek"], tmp_path / "made", [tmp_path / "vidoseek.json"], [archive])
    assert [path.stat().st_mtime_ns for path in again.documents] == times


def test_decks_of_pictures_become_documents(tmp_path: Path) -> None:
    def picture(shade: int) -> dict[str, object]:
        data = io.BytesIO()
        Image.new("RGB", (96, 72), (shade, shade, 9)).save(data, "JPEG")
        return {"bytes": data.getvalue(), "path": "x.jpg"}

    def row(deck: str, number: int) -> dict[str, object]:
        pages = {f"page_{page}": picture(page * 10) for page in range(1, 21)}
        return {"deck_name": deck, "deck_url": "", **pages, "qa_id": number, "question": f"q{number}?", "answer": "4",
                "arithmetic_expression": "None", "evidence_pages": [3]}  # fmt: skip

    rows = [row("deck one", 1), row("deck one", 2), row("deck two", 3) | {"page_7": None}, row("../up", 4)]
    table = tmp_path / "val-00000-of-00001.parquet"
    pl.DataFrame(rows).write_parquet(table)
    made = prepare(PUBLISHED["slidevqa"], tmp_path / "made", [table], [])
    (deck,) = made.documents
    assert deck.name == "deck one.pdf"
    with pymupdf.open(deck) as document:
        assert (len(document), document[2].rect.width) == (20, 72.0)
        assert document.extract_image(document[2].get_images()[0][0])["image"] == rows[0]["page_3"]["bytes"]  # type: ignore[index]
    assert made.left_out == (("deck two", "19 of its 20 slides have a picture"), ("../up", "its name is no file name"))
    assert [json.loads(line)["qa_id"] for line in made.questions.read_text().splitlines()] == [1, 2, 3, 4]
    bytes_before = deck.read_bytes()
    deck.unlink()
    assert prepare(PUBLISHED["slidevqa"], tmp_path / "made", [table], []).documents[0].read_bytes() == bytes_before


def test_pages_in_a_table_become_picture_files_that_judgements_name(tmp_path: Path) -> None:
    """ViDoRe V1 and V2: hyphens in the names of columns, pages without a document or a number."""
    data = io.BytesIO()
    Image.new("RGB", (96, 72), (9, 99, 9)).save(data, "PNG")
    tables: dict[str, list[dict[str, object]]] = {
        "corpus": [
            {"corpus-id": 0, "image": {"bytes": data.getvalue(), "path": "x"}, "doc-id": "d"},
            {"corpus-id": 7, "image": {"bytes": b"GIF89a", "path": "y"}, "doc-id": "d"},
        ],
        "queries": [{"query-id": 3, "query": "Who?", "language": "english"}, {"query-id": 4, "query": "Where?"}],
        "qrels": [
            {"query-id": 3, "corpus-id": 0, "score": 1},
            {"query-id": 4, "corpus-id": 7, "score": 1},
            {"query-id": 4, "corpus-id": 0, "score": 0},
        ],
    }
    for name, rows in tables.items():
        (tmp_path / name).mkdir()
        pl.DataFrame(rows).write_parquet(tmp_path / name / "test-00000-of-00001.parquet")
    made = prepare(PUBLISHED["vidore-v2-esg"], tmp_path, sorted(tmp_path.glob("*/*.parquet")), [])
    (page,) = made.documents
    assert (page.name, page.read_bytes()) == ("0.png", data.getvalue())
    assert made.left_out == (("7", "its page is no PNG or JPEG picture"),)
    found = READERS["vidore"](made.questions, PageResolver([Document("aa", page.name, num_pages=1)]))
    assert [(q.question_id, q.gold_pages) for q in found.questions] == [("vidore-3", ("aa/00001",))]
    assert [(item.item, item.reason) for item in found.left_out] == [("vidore-4", NOT_IN_CORPUS)]


def test_what_cannot_be_fetched_is_one_line(visor: Visor) -> None:
    refusals = {
        ("squad",): "no benchmark 'squad': choose one of mmlongbench",
        ("madqa",): "madqa is not fetched: its PDFs lie on many servers",
        ("docscope",): "the commit of MiliLab/DocScope is not known here: give --revision",
        ("mmlongbench", "--revision", "main"): "is no commit of 40 digits: a branch moves",
        ("slidevqa", "--split", "dev"): "slidevqa has no split 'dev' (it has: test, val, train)",
        ("vidore-hr", "--from", "/nowhere"): "/nowhere is no folder",
        ("mmlongbench", "--from", "/sys/kernel", "--dry-run"): "/sys/kernel holds no questions of yubo2333",
    }
    for arguments, message in refusals.items():
        outcome = visor("fetch", *arguments)
        assert outcome.code == 2
        assert message in outcome.err
        assert len(outcome.err.strip().splitlines()) == 1
