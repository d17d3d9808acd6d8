"""Where a page of a document is opened: its file, its web address, else what the corpus keeps."""

from pathlib import Path

from tests.visor_core.documents.writing import write_pdf
from visor_core.config import DocumentsConfig, IndexConfig
from visor_core.documents.sources import document_id_of, stored_path
from visor_core.index import Corpus, PageIndex, build_index, register_documents, render_pages
from visor_core.index.page_links import PageLinks, _address


def test_a_page_leads_to_its_file_and_to_the_kept_bytes_once_that_is_gone(tmp_path: Path) -> None:
    source = write_pdf(tmp_path / "in" / "an # odd?.pdf", ["one", "two"])
    corpus, documents = Corpus(tmp_path / "corpus"), DocumentsConfig()
    register_documents(corpus, [source], documents)
    render_pages(corpus, documents)
    build_index(corpus, IndexConfig(embedders=()), [])
    index, document = PageIndex.open(tmp_path / "corpus"), document_id_of(source)
    links = PageLinks(index)
    assert links(f"{document}/00002") == f"{source.as_uri()}#page=2"
    assert links(f"{document}/00003") == ""
    assert links(f"{'0' * 64}/00001") == ""
    kept = stored_path(corpus.sources, document)
    source.unlink()
    assert PageLinks(index)(f"{document}/00001") == f"{kept.as_uri()}#page=1"
    kept.unlink()
    assert PageLinks(index)(f"{document}/00001") == ""


def test_web_addresses_stay_and_buckets_are_opened_from_what_is_kept(tmp_path: Path) -> None:
    kept = tmp_path / "bytes"
    kept.touch()
    assert _address("https://example.org/a.pdf#part", kept) == "https://example.org/a.pdf"
    assert _address("s3://bucket/a.pdf", kept) == kept.as_uri()
    assert _address("s3://bucket/a.pdf", tmp_path / "none") == ""
