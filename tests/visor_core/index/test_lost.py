"""Files of a corpus that are gone or torn are noticed, and what they made unreadable is made again by its writer."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.visor_core.documents.writing import write_pdf
from tests.visor_core.index.conftest import ANIMALS, DOCUMENTS, FINANCE, INDEX, WORKERS, ingest
from tests.visor_core.index.tiny_retrievers import save_colpali
from visor_core.config import IndexConfig
from visor_core.errors import SearchIndexError
from visor_core.index import Corpus, PageIndex, build_index, load_embedders, register_documents, render_pages, upkeep
from visor_core.index.moving import relocate
from visor_core.index.settings import read_settings

# LanceDB's Rust side leaves sockets to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two documents and a corpus of them."""
    folder = tmp_path_factory.mktemp("lost")
    for name, texts in (("animals", ANIMALS), ("finance", FINANCE)):
        write_pdf(folder / "in" / f"{name}.pdf", texts)
    ingest(folder / "corpus", [folder / "in"])
    return folder


def _first(pattern: str) -> Callable[[Path], Path]:
    return lambda root: sorted(root.glob(pattern))[0]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


@pytest.mark.parametrize(
    ("lost", "harm"),
    [
        (_first("lancedb/images.lance/data/*.lance"), Path.unlink),
        (_first("lancedb/pages.lance/data/*.lance"), _cut),
        (_first("lancedb/pages.lance/_versions"), shutil.rmtree),
        (_first("lancedb/passages.lance"), shutil.rmtree),
        (_first("lancedb/passages.lance/_indices/*"), shutil.rmtree),
        (_first("tags/latest.json"), _cut),
        (_first("sources/*/*"), Path.unlink),
    ],
)
def test_what_is_lost_is_seen_and_made_again(
    whole: Path, tmp_path: Path, lost: Callable[[Path], Path], harm: Callable[[Path], None]
) -> None:
    corpus = Corpus(Path(shutil.copytree(whole / "corpus", tmp_path / "corpus")))
    before = upkeep.verify(corpus, deep=True)
    assert (before, corpus.lost()) == ([], ())
    version = PageIndex.open(corpus.root, "latest").data_version
    path = lost(corpus.root)
    harm(path)
    assert str(path.relative_to(corpus.root)) in corpus.lost()[0]
    kept = read_settings(corpus).documents
    assert kept is not None
    assert kept.dpi == DOCUMENTS.dpi  # the pages may be gone, what was said of them is not
    register_documents(corpus, [whole / "in"], DOCUMENTS, pool=WORKERS)
    render_pages(corpus, DOCUMENTS, pool=WORKERS)
    built = build_index(corpus, INDEX, load_embedders(INDEX))
    assert built.data_version == version
    assert (upkeep.verify(corpus, deep=True), corpus.lost()) == ([], ())
    assert PageIndex.open(corpus.root, "latest").search("zebras on the savanna", k=1, mode="text")[0].page == 2


def test_a_copy_that_is_lost_comes_back_from_its_own_file(whole: Path, tmp_path: Path) -> None:
    """Also where that file is not among the sources of the call; where it is gone too, a line says so."""
    corpus = Corpus(Path(shutil.copytree(whole / "corpus", tmp_path / "corpus")))
    copies = sorted(corpus.sources.glob("*/*"))
    copies[0].unlink()
    register_documents(corpus, [], DOCUMENTS, pool=WORKERS)
    assert copies[0].is_file()
    said: list[str] = []
    copies[0].unlink()
    hidden = (whole / "in").rename(whole / "elsewhere")
    register_documents(corpus, [], DOCUMENTS, say=said.append, pool=WORKERS)
    hidden.rename(whole / "in")
    assert ["is lost" in line for line in said] == [True]


def test_a_lost_register_of_documents_is_an_error_unless_all_are_given_again(whole: Path, tmp_path: Path) -> None:
    """It alone knows the documents by name: a call with one of them must not drop the others."""
    corpus = Corpus(Path(shutil.copytree(whole / "corpus", tmp_path / "corpus")))
    shutil.rmtree(corpus.root / "lancedb" / "documents.lance")
    with pytest.raises(SearchIndexError, match=r"has lost its register of documents .*ingest its documents again"):
        register_documents(corpus, [whole / "in" / "animals.pdf"], DOCUMENTS)
    assert register_documents(corpus, [whole / "in"], DOCUMENTS, exactly=True, pool=WORKERS).documents == 2


def test_a_corpus_that_a_killed_writer_left_is_lost_until_one_comes_to_its_end(whole: Path, tmp_path: Path) -> None:
    corpus = Corpus(Path(shutil.copytree(whole / "corpus", tmp_path / "corpus")))
    with pytest.raises(KeyboardInterrupt), corpus.writing():
        raise KeyboardInterrupt
    assert corpus.lost() == ("corpus corpus is gone, was left half written, or is being written",)
    with corpus.writing():
        pass
    assert corpus.lost() == ()


def test_a_moved_home_finds_the_retriever_inside_it(tmp_path: Path) -> None:
    """The corpus names it by the way there; one of an earlier version, by its absolute path, is mended."""
    home = tmp_path / "home"
    retriever = save_colpali(home / "assets" / "retriever" / "12ab" / "final")
    root = home / "corpora" / "animals"
    config = IndexConfig(embedders=("hash:256", f"late:{retriever}"), embed_pixels=32 * 32)
    ingest(root, [write_pdf(tmp_path / "animals.pdf", ANIMALS)], index=config)
    stated = [root / "settings.json", *sorted((root / "tags").glob("*.json"))]
    assert [str(tmp_path) in path.read_text(encoding="utf-8") for path in stated] == [False, False, False]
    held = read_settings(Corpus(root)).index
    assert held is not None
    assert held.embedders == config.embedders

    moved = home.rename(tmp_path / "moved")
    corpus = Corpus(moved / "corpora" / "animals")
    assert corpus.lost() == ()
    assert PageIndex.open(corpus.root, "latest").search("zebras", k=3, mode="vector")
    assert relocate(corpus) == {}
    for path in stated:
        now = corpus.root / path.relative_to(root)
        now.write_text(now.read_text(encoding="utf-8").replace("../..", str(home)), encoding="utf-8")
    with pytest.raises(SearchIndexError, match="there is no folder"):
        PageIndex.open(corpus.root, "latest").search("zebras", k=3, mode="vector")
    assert relocate(corpus) == {f"late:{retriever}": "late:../../assets/retriever/12ab/final"}
    assert PageIndex.open(corpus.root, "latest").search("zebras", k=3, mode="vector")
