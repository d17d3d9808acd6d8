"""Documents of other kinds and attachments in a corpus: what they become, when they are made anew, when they go."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pymupdf
import pytest

from tests.visor_core.documents.writing import write_pdf
from tests.visor_core.index.conftest import DOCUMENTS, INDEX
from visor_core.documents import converting
from visor_core.documents.sources import converted_path, stored_path
from visor_core.index import Corpus, PageIndex, build_index, register_documents, render_pages
from visor_core.index.corpus import rows
from visor_core.index.page_links import PageLinks
from visor_core.index.register import DocumentsReport
from visor_core.index.upkeep import compact, verify
from visor_core.policies.base import ImageRef


def _ingest(root: Path, files: Path, **settings: object) -> tuple[Corpus, DocumentsReport]:
    corpus, config = Corpus(root), DOCUMENTS.model_copy(update=settings)
    report = register_documents(corpus, [files], config, prune=True)
    render_pages(corpus, config)
    build_index(corpus, INDEX, [], documents=config)
    return corpus, report


def test_a_web_page_is_found_cited_and_made_again(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    page = files / "note.html"
    page.write_text("<h1>Quay</h1><p>The staff at the quay were 4711.</p>")
    corpus, report = _ingest(tmp_path / "corpus", files)
    assert (report.documents, report.quarantined, report.skipped) == (1, (), ())
    with closing(PageIndex.open(corpus.root)) as index:
        (document,) = index.documents()
        hit = index.search("staff quay", k=1)[0]
        assert (document.media_type, document.filename) == ("text/html", "note.html")
        link = PageLinks(index)(hit.page_id)
        assert index(ImageRef(hit.page_id, 64, 64)).size == (64, 64)
    made = converted_path(corpus.sources, document.document_id)
    assert link == f"{made.absolute().as_uri()}#page=1"
    assert stored_path(corpus.sources, document.document_id).read_bytes() == page.read_bytes()
    assert verify(corpus, deep=True) == []
    compact(corpus, keep=1)
    assert made.is_file()
    before = made.stat().st_mtime_ns
    assert _ingest(corpus.root, files)[1].unchanged == 1
    assert made.stat().st_mtime_ns == before
    made.unlink()
    assert verify(corpus) == ["note.html: the PDF made of it is missing: ingest it again"]
    _, report = _ingest(corpus.root, files)
    assert made.is_file()
    assert verify(corpus) == []
    page.unlink()
    write_pdf(files / "other.pdf", ["other"])
    _ingest(corpus.root, files)
    compact(corpus, keep=1)
    assert not made.exists()


def test_office_files_wait_for_libreoffice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = tmp_path / "files"
    write_pdf(files / "a.pdf", ["words"])
    (files / "plan.rtf").write_text("{\\rtf1 The plan}")
    monkeypatch.setattr(converting, "libreoffice", lambda: None)
    converting.reading_needs.cache_clear()
    corpus, report = _ingest(tmp_path / "corpus", files)
    (refused,) = report.quarantined
    assert (report.documents, refused.filename) == (1, "plan.rtf")
    assert "RTF files are read through LibreOffice" in refused.reason
    again = register_documents(corpus, [files], DOCUMENTS)
    assert (again.unchanged, again.quarantined) == (2, report.quarantined)

    program = tmp_path / "soffice"
    write_pdf(tmp_path / "printed.pdf", ["The plan"])
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *terminate_after_init*) exit 0;; esac\ncp {tmp_path / "printed.pdf"} in.pdf\n'
    )
    program.chmod(0o755)
    monkeypatch.setattr(converting, "libreoffice", lambda: program)
    converting.reading_needs.cache_clear()
    _, report = _ingest(corpus.root, files)
    assert (report.documents, report.added, report.quarantined) == (2, 1, ())

    # It goes again: what was read with it stays, also where a limit makes documents be opened anew.
    monkeypatch.setattr(converting, "libreoffice", lambda: None)
    converting.reading_needs.cache_clear()
    for config in (DOCUMENTS, DOCUMENTS.model_copy(update={"max_pages": DOCUMENTS.max_pages + 1})):
        later = register_documents(corpus, [files], config)
        assert (later.documents, later.retired, later.quarantined) == (2, 0, ())
        assert later.unchanged == (2 if config is DOCUMENTS else 0)
    known = {row["filename"]: row for row in rows(corpus.table("documents"), ["filename", "status", "media_type"])}
    assert (known["plan.rtf"]["status"], known["plan.rtf"]["media_type"]) == ("ok", "application/rtf")
    converting.reading_needs.cache_clear()


def _portfolio(path: Path, held: dict[str, bytes]) -> None:
    with pymupdf.open() as pdf:
        pdf.new_page().insert_text((72, 72), f"Cover of {len(held)}")
        for name, data in held.items():
            pdf.embfile_add(name, data, filename=name)
        pdf.save(path)


def test_attachments_come_and_go_with_their_document(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    invoice = write_pdf(tmp_path / "invoice.pdf", ["invoice 4711"]).read_bytes()
    _portfolio(files / "p.pdf", {"invoice.pdf": invoice, "note.md": b"# A note", "data.xml": b"<a/>"})
    corpus, report = _ingest(tmp_path / "corpus", files)
    assert (report.documents, report.skipped) == (1, ())
    _, report = _ingest(corpus.root, files, attachments=True)
    assert (report.documents, report.added, [s.filename for s in report.skipped]) == (3, 3, ["data.xml"])
    with closing(PageIndex.open(corpus.root)) as index:
        hit = index.search("invoice", k=1)[0]
        document = next(d for d in index.documents() if hit.page_id.startswith(d.document_id))
        assert document.source_uri == f"{(files / 'p.pdf').as_uri()}#attachment=invoice.pdf"
        assert stored_path(corpus.sources, document.document_id).as_uri() in PageLinks(index)(hit.page_id)
    _, again = _ingest(corpus.root, files, attachments=True)
    assert (again.documents, again.unchanged, again.retired) == (3, 3, 0)
    _portfolio(files / "p.pdf", {"note.md": b"# A note"})
    _, changed = _ingest(corpus.root, files, attachments=True)
    assert (changed.documents, changed.retired) == (2, 2)
    _, without = _ingest(corpus.root, files)
    assert (without.documents, without.retired) == (1, 1)
    _ingest(corpus.root, files, attachments=True)
    (files / "p.pdf").unlink()
    write_pdf(files / "b.pdf", ["b"])
    _, gone = _ingest(corpus.root, files, attachments=True)
    assert (gone.documents, gone.retired) == (1, 2)
