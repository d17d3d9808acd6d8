"""Sections of the first half of the chain: documents and the index."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from visor_core.config.base import SecretReference, Section
from visor_core.errors import ConfigError
from visor_core.metadata import parse_condition


def embedder_parts(spec: str) -> tuple[str, str, str]:
    """Kind, source and revision of an embedder written `KIND[:SOURCE][@REVISION]`; a folder has no revision."""
    kind, _, source = spec.partition(":")
    if kind == "late" or (Path(source).is_dir() and source):
        return kind, source, ""
    named, _, revision = spec.partition("@")
    kind, _, source = named.partition(":")
    return kind, source, revision


# fmt: off
Language = Literal[
    "auto", "none", "ar", "bg", "ca", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fr", "he", "hi", "hu", "it",
    "ja", "ko", "nb", "nl", "pl", "pt", "ro", "ru", "sv", "th", "tr", "uk", "zh",
]
# fmt: on
"""Languages that full text knows, by ISO 639-1, and the two ways to name none."""

PER_CALL: dict[str, frozenset[str]] = {
    "documents": frozenset({"workers", "picture_seconds", "allow_private_addresses", "download_timeout_seconds"}),
    "index": frozenset({"device", "mode", "top_k", "where", "access"}),
}
"""Settings that belong to a call or a query. All others of the two sections belong to the corpus: they decide what is
stored, are stored with it (`visor_core.index.settings`) and hold for every later call that does not name them."""


class DocumentsConfig(Section):
    """Bytes → documents → pages."""

    renderer: Literal["pymupdf", "pdfium"] = "pymupdf"
    """Which library rasterises: PyMuPDF (AGPL-3.0 or commercial) or pdfium (Apache-2.0/BSD)."""
    dpi: int = Field(default=144, ge=36, le=600)
    """Resolution of the stored page raster, dots per inch."""
    image_format: Literal["jpeg", "png", "webp", "none"] = "jpeg"
    """Encoding of the stored page raster; `none` stores none, and a page is drawn from the source whenever it is looked
    at."""
    jpeg_quality: int = Field(default=85, ge=30, le=100)
    """Quality of the stored raster as JPEG or WebP."""
    ocr: Literal["never", "auto", "always"] = "auto"
    """OCR pages whose text layer does not say what they show (scans, stamps on scans, fonts without a usable map):
    `auto` when the extra `ocr` is installed. It reads Chinese, Japanese and languages in Latin letters."""
    attachments: bool = False
    """Whether the files attached to a PDF, as to a portfolio, become documents of their own."""
    language: Language = "auto"
    """Language of the documents (ISO 639-1), by which words are stemmed and function words left out: `auto` tells it
    for each document by its text, `none` takes words as they stand."""
    workers: int = Field(default=2, ge=1)
    """Worker processes."""
    max_bytes: int = Field(default=512 * 2**20, ge=1)
    """Largest document accepted, bytes."""
    max_pages: int = Field(default=5000, ge=1)
    """Most pages in one document."""
    max_page_inches: float = Field(default=120.0, gt=0)
    """Longest side of a page, inches; a longer page quarantines its document."""
    max_page_pixels: int = Field(default=24_000_000, ge=1)
    """Most pixels in one stored raster; a larger page is rendered at a lower dpi."""
    timeout_seconds: float = Field(default=120.0, gt=0)
    """Time the workers may spend on one document, seconds; a document over it is quarantined."""
    page_seconds: float = Field(default=1.0, ge=0)
    """Time added to that for every page that is rendered."""
    ocr_page_seconds: float = Field(default=30.0, ge=0)
    """Time added to that for every page that may need OCR."""
    picture_seconds: float = Field(default=30.0, gt=0)
    """Time a worker may take to draw one page or crop that is shown, its document's opening included."""
    memory_bytes: int = Field(default=2 * 2**30, ge=2**28)
    """Address space one worker may add while it reads one document, or while it draws pages and crops."""
    picture_cache_mib: int = Field(default=256, ge=0)
    """Most memory for drawn pages and crops kept ready, MiB of RGB."""
    passwords: dict[str, SecretReference] = Field(default_factory=dict)
    """Passwords by file name."""
    allow_private_addresses: bool = False
    """Whether http(s) sources may resolve to private or link-local addresses."""
    download_timeout_seconds: float = Field(default=60.0, gt=0)
    """Time one remote source may take: a download, the listing of a bucket."""


class IndexConfig(Section):
    """The LanceDB tables and what they can search by."""

    embedders: tuple[str, ...] = ()
    """Vector columns, none by default: full text finds pages without a model. `late:PATH` (a late-interaction retriever
    as a Hugging Face folder), `colqwen2`, `colpali`, `colmodernvbert`, `colqwen2.5`, `colsmol`, `sentence:NAME`, and
    `hash` (hashed words, no download, for the mode `vector` alone). Models of the hub may be pinned to a commit, tag or
    branch: `colqwen2@REVISION`, `colqwen2:NAME@REVISION`."""
    device: str = Field(default="cpu", pattern=r"^(auto|cpu|mps|cuda(:[0-9]+)?)$")
    """Where embedders run: `cpu`, `cuda`, `cuda:1`, `mps`, or `auto`, which takes a GPU if there is one."""
    mode: Literal["text", "vector", "hybrid"] = "hybrid"
    """How the agent's searches rank pages."""
    passage_words: int = Field(default=120, ge=20)
    """Words in a passage window."""
    passage_overlap: int = Field(default=40, ge=0)
    """Words two neighbouring windows share."""
    page_characters: int = Field(default=200_000, ge=1_000)
    """Characters of a page that are searched: some 30,000 words. The end of a longer page is stored and not found, and
    the build names the page."""
    where: tuple[str, ...] = ()
    """Conditions over the documents' metadata that every search of an agent holds to, as `team=finance` or
    `date>=2024`."""
    access: tuple[str, ...] = ()
    """Access tags: with any given, only documents whose metadata `access` is one of them exist for whoever searches,
    looks or cites."""
    top_k: int = Field(default=10, ge=1)
    """Pages a search ranks; the agent is shown the best not seen yet."""
    overfetch: int = Field(default=0, ge=0)
    """Candidates of an approximate multi-vector search per wanted result, ten at a time, rescored exactly; 0 chooses
    by the number of pages."""
    ann_rows: int = Field(default=20_000, ge=1)
    """Pages above which an approximate vector index (IVF with one bit a dimension) is built, 25 times as many token
    vectors for a multi-vector column; below it search is exhaustive."""
    keep_tags: int = Field(default=10, ge=1)
    """How many of the newest index tags `visor index compact` and `visor gc` keep, beside those that a stored
    trajectory, checkpoint, evaluation or champion names and those that were given a name."""
    embed_pixels: int = Field(default=0, ge=0)
    """Pixels at which an image embedder sees a page, drawn anew from the source; 0 gives it the stored raster."""

    @field_validator("where")
    @classmethod
    def _conditions(cls, where: tuple[str, ...]) -> tuple[str, ...]:
        for text in where:
            try:
                parse_condition(text)
            except ConfigError as error:
                raise ValueError(str(error)) from error
        return where
