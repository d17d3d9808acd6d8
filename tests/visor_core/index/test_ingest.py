"""Registration, rendering and building: quarantine, incremental runs, identity by content, versions and tags."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, ClassVar

import fsspec
import lancedb
import numpy as np
import pyarrow as pa
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry
from PIL import Image

from tests.visor_core.documents.writing import write_pdf, write_picture
from tests.visor_core.index.conftest import ANIMALS, DOCUMENTS, FINANCE, INDEX, ingest
from visor_core.config import IndexConfig, SecretReference
from visor_core.documents import sources
from visor_core.documents.messages import Failed, Message
from visor_core.documents.pool import WorkerPool
from visor_core.documents.worker import Task
from visor_core.errors import DocumentError, SearchIndexError
from visor_core.index import (
    Corpus,
    PageIndex,
    build_index,
    keep_settings,
    load_embedders,
    register,
    register_documents,
    render_pages,
)
from visor_core.index.columns import key_column
from visor_core.index.corpus import SCHEMAS, rows, upsert
from visor_core.index.embedders.base import PageInput, Vector, column_of
from visor_core.index.upkeep import compact, delete_tag, difference, verify
from visor_core.policies.base import ImageRef


def test_bad_input_is_quarantined_and_the_rest_goes_on(tmp_path: Path) -> None:
    files = tmp_path / "files"
    good = write_pdf(files / "good.pdf", ANIMALS)
    (files / "text.pdf").write_text("this is no PDF")
    write_pdf(files / "locked.pdf", ANIMALS, password="x")
    (files / "cut.pdf").write_bytes(good.read_bytes()[:40])
    (files / "empty.pdf").write_bytes(b"")
    (files / "nopages.pdf").write_bytes(
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n"
        b"trailer<</Root 1 0 R>>"
    )
    write_pdf(files / "huge.pdf", [""], size=(14_400, 100))
    (files / "bomb.png").write_bytes(write_picture(files / "ok.png").read_bytes()[:30])
    (tmp_path / "nothing").mkdir()
    registered, rendered, built = ingest(tmp_path / "corpus", [files, tmp_path / "nothing", tmp_path / "missing.pdf"])
    reasons = {r.filename: r.reason for r in registered.quarantined}
    assert set(reasons) == {
        "text.pdf",
        "locked.pdf",
        "cut.pdf",
        "empty.pdf",
        "nopages.pdf",
        "huge.pdf",
        "bomb.png",
        "nothing",
        "missing.pdf",
    }
    for name, words in {
        "text.pdf": "none of those that are read",
        "locked.pdf": "encrypted",
        "empty.pdf": "empty (0 bytes)",
        "nopages.pdf": "no pages",
        "huge.pdf": "200 inches",
        "bomb.png": "damaged",
        "nothing": "holds no document",
        "missing.pdf": "no such file",
    }.items():
        assert words in reasons[name], (name, reasons[name])
    assert "damaged" in reasons["cut.pdf"] or "no pages" in reasons["cut.pdf"]
    assert not any("\n" in reason or str(tmp_path) in reason for reason in reasons.values())
    assert (registered.documents, rendered.pages, built.pages) == (2, 4, 4)
    index = PageIndex.open(tmp_path / "corpus")
    assert sum(d.status == "quarantined" for d in index.documents()) == 7
    assert index.search("zebras")[0].filename == "good.pdf"
    assert verify(index.corpus, deep=True) == []


def test_a_rerun_renders_nothing_and_writes_nothing(tmp_path: Path) -> None:
    source = write_pdf(tmp_path / "files" / "a.pdf", ANIMALS)
    first = ingest(tmp_path / "corpus", [source])
    tables = {
        name: Corpus(tmp_path / "corpus").table(name).version for name in ("documents", "pages", "images", "passages")
    }
    second = ingest(tmp_path / "corpus", [source])
    assert (second[0].added, second[0].unchanged, second[1].rendered, second[2].embedded) == (0, 1, 0, 0)
    assert not second[2].changed
    assert second[2].data_version == first[2].data_version
    assert tables == {name: Corpus(tmp_path / "corpus").table(name).version for name in tables}


def test_a_changed_file_retires_its_old_pages(tmp_path: Path) -> None:
    files = tmp_path / "files"
    write_pdf(files / "a.pdf", ANIMALS)
    write_pdf(files / "b.pdf", FINANCE)
    _, _, before = ingest(tmp_path / "corpus", [files])
    old = PageIndex.open(tmp_path / "corpus", before.index_tag)
    write_pdf(files / "a.pdf", ["Giraffes eat acacia leaves."])
    registered, rendered, after = ingest(tmp_path / "corpus", [files])
    assert (registered.added, registered.retired, rendered.rendered, rendered.removed) == (1, 1, 1, 3)
    assert after.pages == 4
    new = PageIndex.open(tmp_path / "corpus")
    assert new.search("giraffes")[0].filename == "a.pdf"
    assert all(h.filename == "b.pdf" for h in new.search("zebras savanna herds"))
    # The old tag is still what it was, pictures included.
    hit = old.search("zebras")[0]
    assert old(ImageRef(hit.page_id, 50, 40)).size == (50, 40)
    changes = difference(new.corpus, before.index_tag, after.index_tag)
    assert (changes.documents_added, changes.documents_removed) == (("a.pdf",), ("a.pdf",))
    assert (changes.pages_added, changes.pages_removed, changes.pages_changed) == (1, 3, 0)
    assert verify(new.corpus) == verify(new.corpus, before.index_tag) == []


def test_compaction_keeps_every_tag_readable(tmp_path: Path) -> None:
    files = tmp_path / "files"
    write_pdf(files / "a.pdf", ANIMALS)
    ingest(tmp_path / "corpus", [files], tag="first")
    write_pdf(files / "a.pdf", FINANCE)
    ingest(tmp_path / "corpus", [files], tag="second")
    corpus = Corpus(tmp_path / "corpus")
    done = compact(corpus, keep=10)
    assert (done.sources_removed, set(done.tags)) == (0, {"first", "second", "latest"})
    assert PageIndex.open(corpus.root, "first").search("zebras")[0].page == 2
    assert PageIndex.open(corpus.root, "second").search("revenue")[0].page == 2
    assert verify(corpus, "first", deep=True) == verify(corpus, "second", deep=True) == []
    delete_tag(corpus, "first")
    done = compact(corpus, keep=10)
    assert done.sources_removed == 1
    assert done.bytes_after < done.bytes_before
    assert PageIndex.open(corpus.root).search("revenue")[0].page == 2
    assert verify(corpus) == []
    with pytest.raises(SearchIndexError, match="no index tag 'first'"):
        PageIndex.open(corpus.root, "first")
    with pytest.raises(SearchIndexError, match="`latest`"):
        delete_tag(corpus, "latest")


def test_removed_files_are_retired_on_prune_only(tmp_path: Path) -> None:
    files = tmp_path / "files"
    write_pdf(files / "a.pdf", ANIMALS)
    other = write_pdf(tmp_path / "elsewhere" / "b.pdf", FINANCE)
    ingest(tmp_path / "corpus", [files, other])
    (files / "a.pdf").unlink()
    write_pdf(files / "c.pdf", ["Cats."])
    kept, _, _ = ingest(tmp_path / "corpus", [files])
    assert (kept.documents, kept.retired) == (3, 0)
    pruned, rendered, _ = ingest(tmp_path / "corpus", [files], prune=True)
    assert (pruned.documents, pruned.retired, rendered.removed) == (2, 1, 3)
    assert [d.filename for d in PageIndex.open(tmp_path / "corpus").documents()] == ["b.pdf", "c.pdf"]


def test_the_same_bytes_are_one_document_and_outlive_one_of_their_names(tmp_path: Path) -> None:
    files = tmp_path / "files"
    write_pdf(files / "a.pdf", ANIMALS)
    shutil.copy(files / "a.pdf", files / "A.pdf")
    registered, rendered, _ = ingest(tmp_path / "corpus", [files])
    assert (registered.documents, registered.duplicates, rendered.pages) == (1, 1, 3)
    write_pdf(files / "A.pdf", FINANCE)
    registered, rendered, _ = ingest(tmp_path / "corpus", [files])
    assert (registered.documents, registered.retired, rendered.rendered) == (2, 0, 3)


def test_versions_depend_on_content_not_on_place_time_or_order(tmp_path: Path) -> None:
    write_pdf(tmp_path / "x" / "a.pdf", ANIMALS)
    write_pdf(tmp_path / "x" / "b.pdf", FINANCE)
    one = ingest(tmp_path / "corpus1", [tmp_path / "x"])
    shutil.copytree(tmp_path / "x", tmp_path / "y")
    ingest(tmp_path / "corpus2", [tmp_path / "y" / "b.pdf"])
    two = ingest(tmp_path / "corpus2", [tmp_path / "y" / "b.pdf", tmp_path / "y" / "a.pdf"])
    assert [r.data_version for r in one] == [r.data_version for r in two]
    assert one[2].index_tag == two[2].index_tag
    query = "revenue of zebras"
    hits = [PageIndex.open(tmp_path / name).search(query) for name in ("corpus1", "corpus2")]
    assert hits[0] == hits[1]
    write_pdf(tmp_path / "y" / "a.pdf", [*ANIMALS, "one more"])
    three = ingest(tmp_path / "corpus2", [tmp_path / "y"])
    assert all(a.data_version != b.data_version for a, b in zip(two, three, strict=True))


def test_another_rendering_renders_again_and_leaves_no_stale_vector(tmp_path: Path) -> None:
    source = write_pdf(tmp_path / "a.pdf", ANIMALS)
    ingest(tmp_path / "corpus", [source])
    _, rendered, built = ingest(tmp_path / "corpus", [source], documents=DOCUMENTS.model_copy(update={"dpi": 36}))
    assert (rendered.rendered, rendered.pages, built.embedded) == (3, 3, 3)
    assert (
        PageIndex.open(tmp_path / "corpus").page(PageIndex.open(tmp_path / "corpus").search("fox")[0].page_id).dpi == 36
    )


def test_adding_an_embedder_adds_a_column_without_rendering(tmp_path: Path) -> None:
    source = write_pdf(tmp_path / "a.pdf", ANIMALS)
    ingest(tmp_path / "corpus", [source])
    more = IndexConfig(**(INDEX.model_dump() | {"embedders": ("hash:512",)}))
    _, rendered, built = ingest(tmp_path / "corpus", [source], index=more)
    assert (rendered.rendered, built.embedded) == (0, 3)
    columns = [n for n in Corpus(tmp_path / "corpus").table("pages").schema.names if "__" in n]
    assert columns == [column_of(load_embedders(more)[0]), key_column(column_of(load_embedders(more)[0]))]
    assert columns[0] in built.vectors
    assert PageIndex.open(tmp_path / "corpus").search("zebras", mode="vector")[0].page == 2


def test_passwords_come_from_references(tmp_path: Path) -> None:
    source = write_pdf(tmp_path / "a.pdf", ANIMALS, password="sesame")
    assert ingest(tmp_path / "corpus", [source])[0].documents == 0
    (tmp_path / "password").write_text("sesame\n")
    passwords = {"a.pdf": SecretReference(reference=f"file:{tmp_path / 'password'}")}
    config = DOCUMENTS.model_copy(update={"passwords": passwords})
    registered, rendered, _ = ingest(tmp_path / "corpus", [source], documents=config)
    assert (registered.documents, rendered.pages) == (1, 3)
    index = PageIndex.open(tmp_path / "corpus", documents=config)
    assert index(ImageRef(index.search("zebras")[0].page_id, 20, 20)).size == (20, 20)
    assert not any(b"sesame" in p.read_bytes() for p in (tmp_path / "corpus").rglob("*") if p.is_file())


def test_a_password_that_is_set_right_lifts_the_quarantine(tmp_path: Path) -> None:
    source = write_pdf(tmp_path / "a.pdf", ANIMALS, password="sesame")
    secret = tmp_path / "password"
    config = DOCUMENTS.model_copy(update={"passwords": {"a.pdf": SecretReference(reference=f"file:{secret}")}})
    corpus = Corpus(tmp_path / "corpus")

    def reasons() -> list[str]:
        return [r.reason for r in register_documents(corpus, [source], config).quarantined]

    assert "encrypted: give its password" in register_documents(corpus, [source], DOCUMENTS).quarantined[0].reason
    assert "create the file" in reasons()[0]
    secret.write_text("simsalabim")
    assert "is wrong" in reasons()[0]
    version = corpus.table("documents").version
    assert "is wrong" in reasons()[0]
    assert corpus.table("documents").version == version
    secret.write_text("sesame")
    assert reasons() == []
    # The same for a password that is missing when the pages are rendered.
    secret.unlink()
    assert "create the file" in render_pages(corpus, config).quarantined[0].reason
    secret.write_text("sesame")
    assert reasons() == []
    assert render_pages(corpus, config).pages == 3


def test_what_was_opened_once_stays_without_its_password(tmp_path: Path) -> None:
    """Neither a later ingest nor other settings lose a document whose password is not there now, and it is told."""
    source = write_pdf(tmp_path / "a.pdf", ANIMALS, password="sesame")
    secret = tmp_path / "password"
    secret.write_text("sesame")
    config = DOCUMENTS.model_copy(update={"passwords": {"a.pdf": SecretReference(reference=f"file:{secret}")}})
    corpus = Corpus(tmp_path / "corpus")
    register_documents(corpus, [source], config)
    assert render_pages(corpus, config).rendered == 3
    finer = {"dpi": config.dpi + 9, "max_pages": 77}
    secret.unlink()
    # A reference that leads nowhere, and none at all.
    for later in (config.model_copy(update=finer), DOCUMENTS.model_copy(update=finer)):
        registered = register_documents(corpus, [source], later)
        assert (registered.documents, registered.quarantined) == (1, ())
        keep_settings(corpus, documents=later)
        rendered = render_pages(corpus, later)
        assert (rendered.pages, rendered.rendered, rendered.quarantined) == (3, 0, ())
        assert [(item.filename, "password" in item.reason) for item in rendered.locked] == [("a.pdf", True)]
    secret.write_text("sesame")
    later = config.model_copy(update=finer)
    register_documents(corpus, [source], later)
    assert (render_pages(corpus, later).rendered, render_pages(corpus, later).locked) == (3, ())


def test_other_limits_lift_the_quarantine_of_a_document_that_could_not_be_rendered(tmp_path: Path) -> None:
    source = write_pdf(tmp_path / "a.pdf", ANIMALS)

    class ImpatientPool(WorkerPool):
        """Stops at once what has less than a minute."""

        def run(self, tasks: Sequence[tuple[Task, float]]) -> Iterator[Message]:
            patient = [(task, seconds) for task, seconds in tasks if seconds >= 60]
            yield from super().run(patient)
            yield from (Failed(task.key, "it took too long") for task, seconds in tasks if seconds < 60)
            self.spent |= {task.key: 0.0 for task, _ in tasks}

    corpus = Corpus(tmp_path / "corpus")
    hasty = DOCUMENTS.model_copy(update={"timeout_seconds": 30.0, "page_seconds": 0.0})
    with ImpatientPool(1) as pool:
        for _ in range(2):
            registered = register_documents(corpus, [source], hasty)
            rendered = render_pages(corpus, hasty, pool=pool)
            assert ([r.reason for r in rendered.quarantined], rendered.pages) == (["it took too long"], 0)
        assert registered.unchanged == 1
        patient = hasty.model_copy(update={"page_seconds": 20.0})
        registered = register_documents(corpus, [source], patient)
        rendered = render_pages(corpus, patient, pool=pool)
    assert (registered.quarantined, rendered.quarantined, rendered.pages) == ((), (), 3)


class CloudError(Exception):
    """What the libraries of object stores raise: no OSError."""


class FaultyStore(MemoryFileSystem):
    """A bucket in memory whose objects fail as their names say."""

    protocol = "gs"
    store: ClassVar[dict[str, object]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("gs://"))

    def find(self, path: str, *arguments: object, **options: object) -> list[str]:
        if "hidden" in path:
            raise CloudError(f"no permission\nto list {path}")
        return super().find(path, *arguments, **options)

    def _open(self, path: str, mode: str = "rb", **options: object) -> IO[bytes]:
        if mode == "rb" and "locked" in path:
            raise CloudError("no credentials were found")
        file = super()._open(path, mode, **options)
        if mode == "rb" and "torn" in path:
            file.read = lambda *_: (_ for _ in ()).throw(CloudError("the connection was reset"))
        return file


def test_faults_of_an_object_store_name_the_address_and_stop_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_registry, "gs", FaultyStore)
    store = fsspec.filesystem("gs")
    for name in ("good.pdf", "sub/locked.pdf", "sub/torn.pdf"):
        store.pipe(f"/shelf/{name}", write_pdf(tmp_path / "a.pdf", [name]).read_bytes())
    store.pipe("/hidden/a.pdf", b"%PDF-1.4")
    sources = ["gs://shelf", "gs://hidden/", "gs://shelf/missing.pdf"]
    corpus = Corpus(tmp_path / "corpus")
    registered = register_documents(corpus, sources, DOCUMENTS)
    assert registered.documents == 1
    faults = {
        "gs://shelf/sub/locked.pdf": "CloudError no credentials were found",
        "gs://shelf/sub/torn.pdf": "CloudError the connection was reset",
        "gs://shelf/missing.pdf": "FileNotFoundError /shelf/missing.pdf",
        "gs://hidden/": "CloudError no permission to list /hidden",
    }
    reasons = {r.uri: r.reason for r in registered.quarantined}
    assert reasons == {uri: f"{uri} cannot be fetched: {fault}" for uri, fault in faults.items()}
    # What is gone from a folder is retired on prune; what cannot be looked at stays.
    store.pipe("/other/b.pdf", write_pdf(tmp_path / "b.pdf", ["other"]).read_bytes())
    assert register_documents(corpus, ["gs://other"], DOCUMENTS, prune=True).documents == 2
    store.rm("/shelf/good.pdf")
    store.mv("/other", "/hidden-other", recursive=True)
    assert register_documents(corpus, ["gs://shelf"], DOCUMENTS, prune=True).documents == 1
    monkeypatch.setattr(FaultyStore, "isdir", lambda self, path: (_ for _ in ()).throw(CloudError("who are you")))
    assert register_documents(corpus, ["gs://other"], DOCUMENTS, prune=True).documents == 1


class SlowStore(FaultyStore):
    """An object store that hangs or drips, as the path says, until it is let go."""

    store: ClassVar[dict[str, object]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    let_go: ClassVar[threading.Event] = threading.Event()

    def isdir(self, path: str) -> bool:
        if "unlisted" in path:
            self.let_go.wait()
        return super().isdir(path)

    def _open(self, path: str, mode: str = "rb", **options: object) -> IO[bytes]:
        if mode == "rb" and "closed" in path:
            self.let_go.wait()
        file = super()._open(path, mode, **options)
        if mode == "rb" and "hung" in path:
            file.read = lambda *_: (self.let_go.wait(), b"late")[1]
        if mode == "rb" and "drip" in path:
            file.read = lambda *_: b"" if self.let_go.wait(0.02) else b"x"
        return file


def test_an_object_store_that_hangs_or_drips_costs_its_time_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_registry, "gs", SlowStore)
    store = fsspec.filesystem("gs")
    for name in ("closed.pdf", "drip.pdf", "good.pdf", "hung.pdf", "last.pdf"):
        store.pipe(f"/shelf/{name}", write_pdf(tmp_path / "a.pdf", [name]).read_bytes())
    config = DOCUMENTS.model_copy(update={"download_timeout_seconds": 0.3})
    corpus = Corpus(tmp_path / "corpus")
    others = set(threading.enumerate())
    try:
        registered = register_documents(corpus, ["gs://shelf", "gs://unlisted"], config)
        waiting = [thread for thread in threading.enumerate() if thread.name == "patience" and thread not in others]
    finally:
        SlowStore.let_go.set()
    limit = "took longer than documents.download_timeout_seconds = 0.3"
    assert {r.filename: r.reason for r in registered.quarantined} == {
        "closed.pdf": f"the download {limit}",
        "drip.pdf": f"the download {limit}",
        "hung.pdf": f"the download {limit}",
        "unlisted": f"the listing {limit}",
    }
    assert registered.documents == 2  # what came late is in neither of the others
    assert not list(corpus.root.rglob("*.partial"))
    assert waiting
    for thread in waiting:
        thread.join(10)
        assert not thread.is_alive()
    assert not list(corpus.root.rglob("*.partial"))


def test_a_document_moves_to_another_partition(tmp_path: Path) -> None:
    source = write_pdf(tmp_path / "part-a" / "x.pdf", ANIMALS)
    ingest(tmp_path / "corpus", [source])
    (tmp_path / "part-b").mkdir()
    source.rename(tmp_path / "part-b" / "x.pdf")
    _, rendered, _ = ingest(tmp_path / "corpus", [tmp_path / "part-b"], prune=True)
    assert rendered.rendered == 0
    index = PageIndex.open(tmp_path / "corpus")
    assert index.search("zebras", partition="part-a") == []
    assert index.search("zebras", partition="part-b")[0].page == 2


def test_two_writers_at_once_leave_the_same_rows_as_one(tmp_path: Path) -> None:
    files = tmp_path / "files"
    for number in range(3):
        write_pdf(files / f"{number}.pdf", [f"page {i} of {number}" for i in range(2)])

    def run(_: int) -> str:
        corpus = Corpus(tmp_path / "corpus")
        register_documents(corpus, [files], DOCUMENTS)
        return render_pages(corpus, DOCUMENTS).data_version

    with ThreadPoolExecutor(2) as pool:
        versions = set(pool.map(run, range(2)))
    corpus = Corpus(tmp_path / "corpus")
    build_index(corpus, INDEX, load_embedders(INDEX))
    assert len(versions) == 1
    assert verify(corpus, deep=True) == []
    assert len(rows(corpus.table("pages"), ["page_id"])) == 6


def test_verify_finds_what_is_wrong(tmp_path: Path) -> None:
    source = write_pdf(tmp_path / "a.pdf", ANIMALS)
    ingest(tmp_path / "corpus", [source], tag="good")
    corpus = Corpus(tmp_path / "corpus")
    copy = next(corpus.sources.glob("??/*"))
    copy.write_bytes(b"rotten")
    assert verify(corpus) == []
    assert verify(corpus, deep=True) == ["a.pdf: its copy under sources/ is damaged"]
    copy.unlink()
    assert verify(corpus) == ["a.pdf: its copy under sources/ is missing"]
    (corpus.tags / "good.json").write_text("{")
    with pytest.raises(SearchIndexError, match=r"good\.json .* is damaged"):
        verify(corpus, "good")


def test_a_busy_corpus_names_its_writer(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "corpus")
    with (
        corpus.writing(),
        pytest.raises(SearchIndexError, match="is being written by process"),
        corpus.writing(wait_seconds=0.1),
    ):
        pass


def test_an_empty_corpus_can_be_built_and_searched(tmp_path: Path) -> None:
    _, rendered, built = ingest(tmp_path / "corpus", [tmp_path / "missing.pdf"])
    assert (rendered.pages, built.pages) == (0, 0)
    assert PageIndex.open(tmp_path / "corpus").search("anything") == []


def test_a_corpus_of_another_version_says_what_to_do(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    source = write_pdf(tmp_path / "a.pdf", ANIMALS)
    ingest(root, [source])
    Corpus(root).table("pages").drop_columns(["content_hash"])
    expected = r"corpus 'corpus' was written by another version .*column content_hash of table pages.* ingest"
    with pytest.raises(SearchIndexError, match=expected):
        ingest(root, [source])
    # The published tag pins versions that are still whole.
    assert PageIndex.open(root).search("zebras")[0].page == 2
    older = tmp_path / "older"
    old = pa.table({"page_id": ["a/00001"], "page": pa.array([1], pa.int64())})
    lancedb.connect(older / "lancedb").create_table("pages", data=old)
    with pytest.raises(SearchIndexError, match="another version"):
        ingest(older, [source])


def test_hostile_names_are_documents_like_any_other(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    names = {
        "..": "..%2f..%2fetc%2fpasswd.pdf",
        "control": "a\x1b[31m\n\tb.pdf",
        "long": "x" * 251 + ".pdf",
        "right to left": "invoice\u202efdp.exe.pdf",
        "quote": "it's; DROP TABLE 'pages' --.pdf",
        "not UTF-8": os.fsdecode(b"caf\xe9.pdf"),
        "lower": "report.pdf",
        "upper": "REPORT.pdf",
        "markup": "<b>[bold]&amp;.pdf",
    }
    for what, name in names.items():
        write_pdf(tmp_path / "plain.pdf", [f"a page about {what} names"]).rename(files / name)
    (files / "loop").symlink_to(files)
    (files / "itself").symlink_to(files / "itself")
    registered, rendered, _ = ingest(tmp_path / "corpus", [files])
    assert (registered.documents, rendered.pages, registered.quarantined) == (len(names), len(names), ())
    assert {(r.filename, r.reason) for r in registered.skipped} == {
        ("itself", "it is a link to nothing, or a loop of links"),
        ("loop", "the folder is read by another path already"),
    }
    index = PageIndex.open(tmp_path / "corpus")
    shown = [d.filename for d in index.documents()]
    assert len(set(shown)) == len(names)
    assert all(name.isprintable() and "/" not in name and len(name) <= 160 for name in shown)
    assert {"report.pdf", "REPORT.pdf"} < set(shown)
    for name in shown:
        found = index.search("names", document=name, k=5)
        assert [h.filename for h in found] == [name]
    assert verify(index.corpus, deep=True) == []
    # A second run knows every one of them again, and nothing was written outside the corpus.
    again, rendered, built = ingest(tmp_path / "corpus", [files], prune=True)
    assert (again.unchanged, again.retired, rendered.rendered, built.changed) == (len(names), 0, 0, False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["corpus", "files"]


def test_a_file_that_changes_while_it_is_ingested_is_named_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tmp_path / "files"
    growing = write_pdf(files / "growing.pdf", ANIMALS)
    write_pdf(files / "still.pdf", FINANCE)
    hashed = sources.document_id_of

    def hash_while_it_grows(path: Path) -> str:
        found = hashed(path)
        if path == growing:
            with path.open("ab") as handle:
                handle.write(b"%")
        return found

    monkeypatch.setattr(sources, "document_id_of", hash_while_it_grows)
    registered, rendered, _ = ingest(tmp_path / "corpus", [files])
    assert [(r.filename, "keeps changing" in r.reason) for r in registered.quarantined] == [("growing.pdf", True)]
    assert (registered.documents, rendered.pages) == (1, 3)
    monkeypatch.undo()
    registered, rendered, _ = ingest(tmp_path / "corpus", [files])
    assert (registered.documents, registered.quarantined, rendered.rendered) == (2, (), 3)


def test_a_subfolder_that_cannot_be_read_loses_no_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = tmp_path / "files"
    write_pdf(files / "good.pdf", ANIMALS)
    gone = write_pdf(files / "gone.pdf", ["Cats."])
    write_pdf(files / "sub" / "hidden.pdf", FINANCE)
    ingest(tmp_path / "corpus", [files])
    gone.unlink()
    listed = Path.iterdir

    def refuse(folder: Path) -> Iterator[Path]:
        if folder.name == "sub":
            raise OSError(errno.EIO, "Input/output error")
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)
    corpus = Corpus(tmp_path / "corpus")
    for options in ({"prune": True}, {"exactly": True}):
        report = register_documents(corpus, [files], DOCUMENTS, **options)
        assert [(r.filename, r.reason) for r in report.quarantined] == [
            ("sub", "it cannot be read: Input/output error")
        ]
        names = {row["filename"] for row in rows(corpus.table("documents"), ["filename"])}
        assert names == {"good.pdf", "hidden.pdf"}


def test_a_folder_that_cannot_be_looked_at_loses_no_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = tmp_path / "files"
    write_pdf(files / "a.pdf", ANIMALS)
    ingest(tmp_path / "corpus", [files])
    looked = Path.stat

    def refuse(path: Path, **options: bool) -> os.stat_result:
        if path.is_relative_to(files):
            raise PermissionError(errno.EACCES, "Permission denied")
        return looked(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    report = register_documents(Corpus(tmp_path / "corpus"), [files], DOCUMENTS, prune=True)
    assert [(r.uri, r.reason) for r in report.quarantined] == [
        (files.as_uri(), "the path cannot be read: Permission denied")
    ]
    assert (report.documents, report.retired) == (1, 0)


def test_a_pruned_folder_may_be_named_from_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    files = tmp_path / "files"
    write_pdf(files / "a.pdf", ANIMALS)
    moved = write_pdf(files / "b.pdf", FINANCE)
    corpus = Corpus(tmp_path / "corpus")
    register_documents(corpus, ["~/files"], DOCUMENTS)
    moved.rename(files / "b.txt")
    (files / "b.pdf").mkdir()
    assert register_documents(corpus, ["~/files"], DOCUMENTS, prune=True).retired == 1


def test_a_kill_between_two_commits_leaves_no_second_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_pdf(tmp_path / "a.pdf", ANIMALS)
    corpus = Corpus(tmp_path / "corpus")
    register_documents(corpus, [source], DOCUMENTS)
    write_pdf(source, FINANCE)
    commits = []

    def dying(commit: Callable[..., object]) -> Callable[..., object]:
        def run(*arguments: object) -> object:
            if commits:
                raise KeyboardInterrupt
            commits.append(commit)
            return commit(*arguments)

        return run

    for name in ("upsert", "delete_by"):
        monkeypatch.setattr(register, name, dying(getattr(register, name)))
    with pytest.raises(KeyboardInterrupt):
        register_documents(corpus, [source], DOCUMENTS)
    monkeypatch.undo()
    again = register_documents(corpus, [source], DOCUMENTS)
    assert [r["num_bytes"] for r in rows(corpus.table("documents"), ["num_bytes"])] == [source.stat().st_size]
    assert again.documents == 1


def test_an_image_bomb_is_quarantined(tmp_path: Path) -> None:
    Image.new("1", (3_000, 3_000)).save(tmp_path / "bomb.png")
    config = DOCUMENTS.model_copy(update={"max_page_pixels": 1_000_000})
    registered, rendered, _ = ingest(tmp_path / "corpus", [tmp_path / "bomb.png"], documents=config)
    (refused,) = registered.quarantined
    assert refused.reason == (
        "page 1 is a picture of 3000 × 3000 pixels, more than the 8,000,000 allowed: 8 × documents.max_page_pixels"
    )
    assert (registered.documents, rendered.pages) == (0, 0)


@pytest.mark.parametrize("damage", [b"rotten", b"x" * 10_000])
def test_a_damaged_copy_is_repaired_by_ingesting_again(tmp_path: Path, damage: bytes) -> None:
    source = write_pdf(tmp_path / "a.pdf", ANIMALS)
    ingest(tmp_path / "corpus", [source])
    corpus = Corpus(tmp_path / "corpus")
    next(corpus.sources.glob("??/*")).write_bytes(damage[: source.stat().st_size])
    assert verify(corpus, deep=True) == ["a.pdf: its copy under sources/ is damaged"]
    register_documents(corpus, [source], DOCUMENTS)
    assert verify(corpus, deep=True) == []


def _vectors(root: Path) -> dict[str, list[object]]:
    """Vectors by page id, of every column."""
    index = PageIndex.open(root)
    columns = [index.vectors(vector, "page > 0") for vector in index.manifest.vectors]
    return {i: [column[i].tolist() for column in columns] for i in index.page_ids()}


def test_a_renamed_file_gets_new_vectors(tmp_path: Path) -> None:
    source = write_pdf(tmp_path / "old_name.pdf", ANIMALS)
    ingest(tmp_path / "corpus", [source])
    source = source.rename(tmp_path / "giraffes.pdf")
    _, rendered, built = ingest(tmp_path / "corpus", [source], prune=True)
    assert (rendered.rendered, built.embedded) == (0, 3)
    ingest(tmp_path / "fresh", [source])
    assert _vectors(tmp_path / "corpus") == _vectors(tmp_path / "fresh")
    # Passages cut otherwise are no reason to embed again.
    cut = INDEX.model_copy(update={"passage_words": 30})
    assert ingest(tmp_path / "corpus", [source], index=cut)[2].embedded == 0


class _Brightness:
    """An embedder of pictures: the picture's size and brightness."""

    name, spec, fingerprint, dimension, multi_vector, embeds_pictures = "bright", "bright", "1" * 16, 3, False, True

    def embed_pages(self, pages: Sequence[PageInput]) -> list[Vector]:
        pictures = [page.image() for page in pages]
        return [np.array([*p.size, np.asarray(p).mean()], np.float32) for p in pictures]

    def embed_query(self, query: str, statistics: Vector | None = None) -> Vector:
        return np.ones(3, np.float32)

    def statistics(self, vectors: Iterable[Vector]) -> Vector | None:
        return None


def test_other_embed_pixels_give_new_vectors_and_a_page_with_a_problem_is_blank(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "corpus")
    frames = [Image.new("L", (400, 300), 90), Image.new("L", (400, 300), 90)]
    frames[0].save(tmp_path / "whole.tif", save_all=True, append_images=frames[1:])
    (tmp_path / "cut.tif").write_bytes((tmp_path / "whole.tif").read_bytes()[:-60_000])
    register_documents(corpus, [tmp_path / "cut.tif"], DOCUMENTS)
    rendered = render_pages(corpus, DOCUMENTS)
    assert [page for _, page, _ in rendered.problems] == [2]
    for pixels, shown in ((0, 300 * 225), (1200, 1200), (4800, 4800)):
        config = IndexConfig(embedders=("hash",), embed_pixels=pixels)
        keep_settings(corpus, index=config)
        assert build_index(corpus, config, [_Brightness()]).embedded == 2
        assert build_index(corpus, config, [_Brightness()]).embedded == 0
        first, second = _vectors(corpus.root).values()
        assert first[0][0] * first[0][1] == pytest.approx(shown, rel=0.1)
        assert first[0][2] < 255 == second[0][2]


def test_an_unset_secret_of_another_document_is_not_missed(tmp_path: Path) -> None:
    files = [write_pdf(tmp_path / "a.pdf", ANIMALS), write_pdf(tmp_path / "locked.pdf", FINANCE, password="x")]
    ingest(tmp_path / "corpus", files[:1])
    (tmp_path / "password").write_text("x")
    known = {"locked.pdf": SecretReference(reference=f"file:{tmp_path / 'password'}")}
    config = DOCUMENTS.model_copy(update={"passwords": known})
    ingest(tmp_path / "corpus", files, documents=config)
    (tmp_path / "password").unlink()
    index = PageIndex.open(tmp_path / "corpus", documents=config)
    pages = {page.filename: page.page_id for page in index.pages()}
    assert index(ImageRef(pages["a.pdf"], 20, 20)).size == (20, 20)
    with pytest.raises(DocumentError, match=r"locked\.pdf: .* is not there: create the file"):
        index(ImageRef(pages["locked.pdf"], 20, 20))

    assert build_index(Corpus(tmp_path / "corpus"), INDEX, load_embedders(INDEX), documents=config).documents == 2


def test_keys_stay_unique(tmp_path: Path) -> None:
    table = Corpus(tmp_path).table("images")
    row = {"page_id": "a/00001", "document_id": "a", "image": b"1"}
    with pytest.raises(ValueError, match="table images: two of the 2 rows to be written have the same page_id"):
        upsert(table, pa.Table.from_pylist([row, row], schema=SCHEMAS["images"]))


_WRITER = """
import sys
from pathlib import Path
import pyarrow as pa
from visor_core.index.corpus import SCHEMAS, Corpus, upsert
corpus = Corpus(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for round in range(4):
    rows = [{"page_id": f"{n}", "document_id": f"{round}", "image": b"1"} for n in range(10 * round, 10 * round + 20)]
    upsert(corpus.table("images"), pa.Table.from_pylist(rows, schema=SCHEMAS["images"]))
"""


def test_two_processes_without_the_lock_write_no_key_twice(tmp_path: Path) -> None:
    Corpus(tmp_path).table("images")
    command = [sys.executable, "-c", _WRITER, str(tmp_path)]
    writers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    keys = [row["page_id"] for row in rows(Corpus(tmp_path).table("images"), ["page_id"])]
    assert sorted(keys, key=int) == [str(n) for n in range(50)]
