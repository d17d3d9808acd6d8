"""Filters over metadata, access tags past which nothing is seen, and folders that a corpus mirrors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.visor_core.documents.writing import write_pdf
from tests.visor_core.index.conftest import DOCUMENTS, INDEX, WORKERS
from visor_core.agent.environment import Environment
from visor_core.agent.episode import run_reference
from visor_core.config import AgentConfig, IndexConfig
from visor_core.errors import ConfigError, SearchIndexError
from visor_core.index import (
    Corpus,
    DocumentsReport,
    PageIndex,
    build_index,
    load_embedders,
    register_documents,
    render_pages,
)
from visor_core.index.explain import Explanation, page_html
from visor_core.index.page_links import PageLinks
from visor_core.policies.base import ImageRef
from visor_core.policies.reader import ReaderPolicy
from visor_core.questions import Question

SECRET = "zebra"


def _ingest(corpus: Corpus, sources: list[Path], **given: object) -> tuple[DocumentsReport, str]:
    report = register_documents(corpus, sources, DOCUMENTS, pool=WORKERS, **given)  # type: ignore[arg-type]
    render_pages(corpus, DOCUMENTS, pool=WORKERS)
    return report, build_index(corpus, INDEX, load_embedders(INDEX)).index_tag


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    base = tmp_path_factory.mktemp("access")
    files = base / "files"
    for number in range(4):
        folder = files / ("open" if number % 2 else "closed")
        # Both folders have a report.pdf: only who sees both is shown the folders.
        write_pdf(folder / ("report.pdf" if number < 2 else f"{number}.pdf"), [f"common words {number}", "second page"])
    write_pdf(files / "closed" / "secret.pdf", [f"common {SECRET} revenue 4711"])
    (files / "open" / "meta.yaml").write_text("access: [public, staff]\ndate: 2024-05-01\n")
    (files / "closed" / "meta.yaml").write_text("access: staff\ndate: 2023-01-31\n")
    write_pdf(files / "untagged.pdf", [f"common {SECRET} of nobody"])
    corpus = Corpus(base / "corpus")
    _ingest(corpus, [files], metadata=["team=finance"])
    return corpus


@pytest.fixture
def whole(corpus: Corpus) -> Iterator[PageIndex]:
    with closing(PageIndex.open(corpus.root)) as index:
        yield index


def _found(index: PageIndex, query: str = "common words", **filters: object) -> set[str]:
    return {hit.filename for hit in index.search(query, k=20, **filters)}  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["text", "vector", "hybrid"])
def test_searches_hold_to_conditions(whole: PageIndex, mode: str) -> None:
    everything = _found(whole, mode=mode)
    assert _found(whole, mode=mode, where=["team=finance"]) == everything
    assert _found(whole, mode=mode, where=["folder=open"]) == {"open/report.pdf", "3.pdf"}
    assert _found(whole, mode=mode, where=["date<2024", "folder!=open"]) == {"closed/report.pdf", "2.pdf", "secret.pdf"}
    assert _found(whole, mode=mode, where=["team=legal"]) == set()
    assert _found(whole, mode=mode, where=["date>=2024"], document="report.pdf") == {"open/report.pdf"}
    with pytest.raises(ConfigError, match="is no condition"):
        whole.search("common", where=["date>>2"])


def test_an_agent_holds_to_its_conditions(whole: PageIndex) -> None:
    config = AgentConfig(max_turns=5)
    for where, seen in (((), True), (("folder=open",), False)):
        policy = ReaderPolicy(lambda page_id: whole.page(page_id).words, config)
        environment = Environment(whole, config, IndexConfig(where=where))
        question = Question("q", f"Which common words, {SECRET} or revenue?", (), benchmark="ask")
        (episode,) = run_reference(environment, policy, [question])
        names = {whole.page(page_id).filename for turn in episode.turns for page_id in turn.observation.ranking}
        assert ("secret.pdf" in names) is seen
        assert names


def test_nothing_leaks_past_an_access_tag(corpus: Corpus, whole: PageIndex) -> None:
    hidden = {d.document_id for d in whole.documents() if not {"access=public"} & {*d.metadata}}
    assert len(hidden) == 4
    page_ids = {page_id for page_id in whole.page_ids() if page_id.partition("/")[0] in hidden}
    with closing(PageIndex.open(corpus.root, access=["public"])) as index:
        assert {d.name for d in index.documents()} == {"report.pdf", "3.pdf"}, "no folder tells of the other report"
        assert not page_ids & {*index.page_ids()}
        assert not page_ids & {page.page_id for page in index.pages()}
        assert not page_ids & {text.page_id for text in index.texts()}
        assert index.words(page_ids) == {}
        assert index.vectors(index.manifest.vectors[0], "true").keys() == {*index.page_ids()}
        for mode in ("text", "vector", "hybrid"):
            assert not page_ids & {hit.page_id for hit in index.search(SECRET, k=50, mode=mode)}
            assert not page_ids & {hit.page_id for hit in index.search("secret revenue 4711", k=50, mode=mode)}
            found = index.candidates("common", 50, mode)
            assert not page_ids & {page_id for scored in found.values() for page_id, _ in scored}
        (vector,) = index.manifest.vectors
        query = next(iter(whole.vectors(vector, "true").values()))
        assert not page_ids & {page_id for page_id, _ in index.nearest(vector, query, 50, exhaustive=True)}
        assert index.unread_pages() == 0
        links = PageLinks(index)
        for page_id in page_ids:
            assert links(page_id) == ""
            for look in (index.page, index.raster, index.embedded_picture, lambda i: index(ImageRef(i, 32, 32))):
                with pytest.raises(SearchIndexError, match="is not in index"):
                    look(page_id)
        with pytest.raises(SearchIndexError, match=r"no document 'secret\.pdf'"):
            index.search("common", document="secret.pdf")
        hits = index.search("common", k=20)
        page = page_html(index, "common", [Explanation(hit, index.page(hit.page_id), None) for hit in hits])
        assert not any(name in page for name in ("secret.pdf", "untagged", SECRET, *hidden))
        config = AgentConfig(max_turns=6)
        policy = ReaderPolicy(lambda page_id: index.page(page_id).words, config)
        question = Question("q", f"What is the {SECRET} revenue in secret.pdf?", (), benchmark="ask")
        (episode,) = run_reference(Environment(index, config, IndexConfig(access=("public",))), policy, [question])
        said = repr(episode)
        assert not any(document_id in said for document_id in hidden)
        assert "4711" not in "".join(turn.completion.text for turn in episode.turns)
    with closing(PageIndex.open(corpus.root, access=["nobody"])) as index:
        assert (index.documents(), index.page_ids(), index.search("common")) == ([], [], [])
    with closing(PageIndex.open(corpus.root, access=["nobody", "staff"])) as index:
        assert len(index.documents()) == 5


def test_what_was_said_stays_until_something_else_is(tmp_path: Path) -> None:
    source = write_pdf(tmp_path / "files" / "a.pdf", ["one"])
    corpus = Corpus(tmp_path / "corpus")

    def said(**given: object) -> tuple[str, ...]:
        report, tag = _ingest(corpus, [source.parent], **given)
        tags.append((report.data_version, tag))
        with closing(PageIndex.open(corpus.root)) as index:
            return index.documents()[0].metadata

    tags: list[tuple[str, str]] = []
    assert said() == ()
    assert said(metadata=["team=a", "year=2024"]) == ("team=a", "year=2024")
    assert said() == ("team=a", "year=2024")
    (tmp_path / "files" / "a.pdf.meta.yaml").write_text("team: b\nkind: report\n")
    assert said() == ("kind=report", "team=a", "year=2024")
    assert said(metadata=["team="]) == ("kind=report", "team=b", "year=2024")
    (tmp_path / "files" / "a.pdf.meta.yaml").write_text("kind: [")
    report, _ = _ingest(corpus, [source.parent])
    assert [r.filename for r in report.quarantined] == ["a.pdf.meta.yaml"]
    (tmp_path / "files" / "a.pdf.meta.yaml").unlink()
    assert said(metadata=["year="]) == ()
    assert tags[0] == tags[-1]
    assert len({version for version, _ in tags}) == len({tag for _, tag in tags}) == 4
    with pytest.raises(ConfigError, match="'team' is no metadata"):
        _ingest(corpus, [source.parent], metadata=["team"])


def test_a_corpus_without_the_columns_is_brought_up_to_date(tmp_path: Path) -> None:
    source, corpus = write_pdf(tmp_path / "a.pdf", ["one"]), Corpus(tmp_path / "corpus")
    _ingest(corpus, [source])
    corpus.connect().open_table("documents").drop_columns(["given", "metadata"])
    manifest = json.loads((corpus.tags / "latest.json").read_text())
    manifest["tables"]["documents"] = corpus.connect().open_table("documents").version
    (corpus.tags / "latest.json").write_text(json.dumps(manifest))
    with pytest.raises(SearchIndexError, match="by an earlier version of visor: `visor ingest --corpus corpus` brings"):
        PageIndex.open(corpus.root)
    report, _ = _ingest(corpus, [])
    assert report.documents == 1
    with closing(PageIndex.open(corpus.root)) as index:
        assert [d.metadata for d in index.documents()] == [()]
        assert _found(index, "one") == {"a.pdf"}
    _ingest(corpus, [source], metadata=["team=a"])
    with closing(PageIndex.open(corpus.root)) as index:
        assert _found(index, "one", where=["team=a"]) == {"a.pdf"}


def test_a_mirrored_folder_loses_few_and_never_all_by_mistake(tmp_path: Path) -> None:
    files, corpus, said = tmp_path / "files", Corpus(tmp_path / "corpus"), []
    for number in range(10):
        write_pdf(files / f"{number}.pdf", [f"page {number}"])

    def sync(**given: object) -> int:
        said.clear()
        report = register_documents(
            corpus, [files], DOCUMENTS, mirrored=[files], pool=WORKERS, say=said.append, **given
        )
        return report.documents

    assert sync() == 10
    for number in (0, 1):
        (files / f"{number}.pdf").unlink()
    assert (sync(), said[0].startswith("retires 2 documents")) == (8, True)
    for number in (2, 3):
        (files / f"{number}.pdf").unlink()
    assert sync() == 8
    assert "changes nothing, as 2 of 8 documents are gone from it" in said[0]
    assert "--remove-many" in said[0]
    assert sync(remove_many=True) == 6
    hidden = files.rename(tmp_path / "elsewhere")
    assert sync() == 6
    assert "it is empty or not there" in said[0]
    files.mkdir()
    assert sync() == 6
    assert "it is empty or not there" in said[0]
    files.rmdir()
    hidden.rename(files)
    assert sync() == 6
    for path in files.glob("*.pdf"):
        path.unlink()
    (files / "notes.txt").write_text("x")
    assert sync() == 6
    assert sync(remove_many=True) == 0
