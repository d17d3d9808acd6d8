"""Where published benchmarks lie on the hub, by pinned commits, and what is made of their files.

Sources of the commits, of the paths and of the sizes: repositories that pin the same files, found by search in November
2026; a benchmark whose commit was not found there needs `--revision`. What is made here: a zip of PDFs is unpacked, the
decks of SlideVQA, which the hub holds as pictures in Parquet, become a PDF each, the pages of ViDoRe V1 and V2 a
picture file each. The PDFs of LongDocURL and MADQA are not fetched (`NOT_FETCHED`): their question files are imported
(`visor questions import`).
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from visor_core.errors import DataError
from visor_core.evaluation.benchmarks.files import read_items, read_rows
from visor_core.files import whole_file, write_text

SLIDES = 20
"""Slides of every SlideVQA deck."""
_SLIDE_DPI = 96
_PICTURES = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg"}


@dataclass(frozen=True, slots=True)
class Published:
    """A benchmark of the hub: its commit (empty: not known here), and by pattern its questions and its documents.

    `named_in` is the field of a question that names a document, where only named ones are fetched. `splits` are the
    parts it is fetched in, the usual one first; `{split}` stands for it in the patterns.
    """

    repository: str
    revision: str
    form: str
    questions: tuple[str, ...]
    documents: tuple[str, ...] = ()
    named_in: str = ""
    splits: tuple[str, ...] = ("",)
    terms: str = ""

    def patterns(self, which: Sequence[str], split: str) -> list[str]:
        """The patterns of a split."""
        return [pattern.replace("{split}", split) for pattern in which]


_VIDORE = {
    "computer_science": "d5cc75883d92e294f0c0fc2662551c9708a06ebc",
    "energy": "caec06d3c73434d635f710f93bcd898331c59f20",
    "finance_en": "7f432c176d82e27546501ad8064a713ac3071809",
    "finance_fr": "1d808daa08032ffecdf62da151a7f7a8fe2bd0c9",
    "hr": "0cdf0979f2c5a0fd3e335e6373b9da48a9fe3bc3",
    "industrial": "e26c864724f5dd71a3d7d739272d95637764cee9",
    "pharmaceuticals": "3abd4aa8a9445fb5538a78a19ba50bd57bd22b5c",
    "physics": "a0de276f515acc044b72cae8de53a44bb5a8f1f5",
}
_VIDORE_PICTURES = {
    "v2-esg": ("esg_reports_v2", "87538b12b20b67a2b4326638921301f87f0cbaf0"),
    "v2-esg-human": ("esg_reports_human_labeled_v2", "5a338c329bf1608ac46ac2808060d44bcd92d521"),
    "v2-economics": ("economics_reports_v2", "76fe40166ba07b1bf50457f5c6057cacdd045f10"),
    "v2-biomedical": ("biomedical_lectures_v2", "c4754665734e38742b191f0c28d504e8558d0462"),
    "v1-arxivqa": ("arxivqa_test_subsampled_beir", "7d94d570960eac2408d3baa7a33f9de4822ae3e4"),
    "v1-docvqa": ("docvqa_test_subsampled_beir", "162ba2fc1a8437eda8b6c37b240bc1c0f0deb092"),
    "v1-infovqa": ("infovqa_test_subsampled_beir", "b802cc5fd6c605df2d673a963667d74881d2c9a4"),
    "v1-tabfquad": ("tabfquad_test_subsampled_beir", "61a2224bcd29b7b261a4892ff4c8bea353527a31"),
    "v1-tatdqa": ("tatdqa_test_beir", "5feb5630fdff4d8d189ffedb2dba56862fdd45c0"),
    "v1-shift": ("shiftproject_test_beir", "84a382e05c4473fed9cff2bbae95fe2379416117"),
    "v1-ai": ("syntheticDocQA_artificial_intelligence_test_beir", "2d9ebea5a1c6e9ef4a3b902a612f605dca11261c"),
    "v1-energy": ("syntheticDocQA_energy_test_beir", "9935aadbad5c8deec30910489db1b2c7133ae7a7"),
    "v1-government": ("syntheticDocQA_government_reports_test_beir", "b4909afa930f81282fd20601e860668073ad02aa"),
    "v1-healthcare": ("syntheticDocQA_healthcare_industry_test_beir", "f9e25d5b6e13e1ad9f5c3cce202565031b3ab164"),
}
"""Repository and commit of ViDoRe's sets whose pages are pictures in a table, as the benchmark MTEB pins them."""
PUBLISHED: dict[str, Published] = (
    {
        "mmlongbench": Published(
            repository="yubo2333/MMLongBench-Doc",
            revision="2ff6aa9237fc777b6627dc57a486e9225ac5fb86",
            form="mmlongbench",
            questions=("data/train-*.parquet",),
            documents=("documents/*.pdf",),
            named_in="doc_id",
            terms="data CC BY-NC 4.0; the documents keep their publishers' copyright",
        ),
        "slidevqa": Published(
            repository="NTT-hil-insight/SlideVQA",
            revision="e780ea258d734958befbfaed19fa059584642ca8",
            form="slidevqa",
            questions=("*{split}-*.parquet",),
            splits=("test", "val", "train"),
            terms="NTT's agreement, to be accepted on the hub",
        ),
        "vidoseek": Published(
            repository="Qiuchen-Wang/ViDoSeek",
            revision="e91a92ba5f38690696c7e66be5c5474b54c6e791",
            form="vidoseek",
            questions=("vidoseek.json",),
            documents=("vidoseek_pdf_document.zip",),
            terms="Apache-2.0",
        ),
        "docscope": Published(
            repository="MiliLab/DocScope",
            revision="",
            form="docscope",
            questions=("benchmark.json",),
            documents=("pdfs/*.pdf",),
            terms="annotations CC BY-NC-SA 4.0; the documents keep their copyright",
        ),
    }
    | {
        f"vidore-{name.replace('_', '-')}": Published(
            repository=f"vidore/vidore_v3_{name}",
            revision=revision,
            form="vidore",
            questions=("queries/*.parquet", "qrels/*.parquet", "corpus/*.parquet", "documents_metadata/*.parquet"),
            documents=("pdfs/*.pdf",),
            terms="CC BY 4.0",
        )
        for name, revision in _VIDORE.items()
    }
    | {
        f"vidore-{name}": Published(
            repository=f"vidore/{repository}",
            revision=revision,
            form="vidore",
            questions=("queries/*.parquet", "qrels/*.parquet", "corpus/*.parquet"),
            terms="the documents keep their copyright",
        )
        for name, (repository, revision) in _VIDORE_PICTURES.items()
    }
)


NOT_FETCHED = {
    "longdocurl": "its PDFs are an archive of the hub's dengchao/LongDocURL whose files are not known here",
    "madqa": "its PDFs lie on many servers, which OxRML/MADQA lists",
    "vrag": "its files are merged of other benchmarks: fetch those",
}
"""Benchmarks that are imported and not fetched, and why."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A benchmark that lies in a folder as the readers and the ingest take it; `left_out` are items by their reason."""

    questions: Path
    documents: tuple[Path, ...]
    left_out: tuple[tuple[str, str], ...] = field(default=())


def named_documents(files: Sequence[Path], key: str) -> set[str]:
    """The documents that questions name, as file names.

    Raises:
        DataError: if a file cannot be read.
    """
    items = [item.content for path in files for item in read_items(path)]
    return {PurePosixPath(str(item[key])).name for item in items if isinstance(item, dict) and item.get(key)}


def prepare(
    published: Published,
    folder: Path,
    questions: Sequence[Path],
    documents: Sequence[Path],
    progress: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Make of fetched files what is read and ingested, under `folder`; what is made already is not made again.

    Raises:
        DataError: if there are no questions, or a file cannot be read.
    """
    if not questions:
        raise DataError(f"{folder} holds no questions of {published.repository}: {', '.join(published.questions)}")
    if published.form == "slidevqa":
        return _decks(questions, folder / "decks", progress)
    found: list[Path] = []
    left_out: list[tuple[str, str]] = []
    for path in documents:
        if path.suffix.lower() == ".zip":
            inside, refused = _unpacked(path, folder / path.stem)
            found += inside
            left_out += refused
        else:
            found.append(path)
    if published.form == "vidore":
        if not published.documents:
            found, left_out = _page_pictures(questions, folder / "pages", progress)
        return Prepared(_common(questions), tuple(found), tuple(left_out))
    return Prepared(questions[0], tuple(found), tuple(left_out))


def _common(paths: Sequence[Path]) -> Path:
    """The folder that holds the tables."""
    return paths[0].parent.parent


def _unpacked(archive: Path, folder: Path) -> tuple[list[Path], list[tuple[str, str]]]:
    """(the PDFs of a zip, members that are left out). A member is written under its file name alone."""
    found: list[Path] = []
    left_out: list[tuple[str, str]] = []
    try:
        with zipfile.ZipFile(archive) as file:
            for member in file.infolist():
                name = PurePosixPath(member.filename.replace("\\", "/")).name
                if member.is_dir() or not name.lower().endswith(".pdf") or name.startswith("."):
                    continue
                target = folder / name
                if target in found:
                    left_out.append((member.filename, "another file of the archive has its name"))
                    continue
                if not (target.is_file() and target.stat().st_size == member.file_size):
                    try:
                        with whole_file(target) as partial, file.open(member) as source, partial.open("wb") as out:
                            shutil.copyfileobj(source, out)
                    except (zipfile.BadZipFile, RuntimeError) as error:
                        left_out.append((member.filename, f"it cannot be unpacked: {error}"))
                        continue
                found.append(target)
    except zipfile.BadZipFile as error:
        raise DataError(f"{archive} is no zip file that can be read ({error}): remove it and fetch again") from error
    return found, left_out


def _decks(files: Sequence[Path], folder: Path, progress: Callable[[int, int], None] | None) -> Prepared:
    """The decks of Parquet files as PDFs named after them, and all questions as JSON lines.

    Raises:
        DataError: if a file cannot be read.
    """
    lines = [json.dumps(row, default=str) for path in files for row in read_rows(path)]
    questions = folder.with_name("questions.jsonl")
    write_text(questions, "".join(f"{line}\n" for line in lines))
    found: list[Path] = []
    seen: set[str] = set()
    left_out: list[tuple[str, str]] = []
    for done, (deck, pictures) in enumerate(_rows_of_decks(files), start=1):
        if progress:
            progress(done, len(lines))
        if deck in seen:
            continue
        seen.add(deck)
        if PurePosixPath(deck).name != deck:
            left_out.append((deck, "its name is no file name"))
            continue
        target = folder / f"{deck}.pdf"
        if not target.is_file():
            slides = pictures()
            if not all(slides):
                left_out.append((deck, f"{sum(map(bool, slides))} of its {SLIDES} slides have a picture"))
                continue
            try:
                data = pdf_of_pictures(slides)
            except ValueError as error:
                left_out.append((deck, f"a slide is no picture: {error}"))
                continue
            with whole_file(target) as partial:
                partial.write_bytes(data)
        found.append(target)
    return Prepared(questions, tuple(found), tuple(left_out))


def _page_pictures(
    files: Sequence[Path], folder: Path, progress: Callable[[int, int], None] | None
) -> tuple[list[Path], list[tuple[str, str]]]:
    """The pictures of a table `corpus` as files called by their `corpus-id`, as they are encoded; what has none.

    Raises:
        DataError: if a file cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    found: list[Path] = []
    left_out: list[tuple[str, str]] = []
    for path in (file for file in files if file.parent.name == "corpus"):
        try:
            table = pq.ParquetFile(path)
            for batch in table.iter_batches(batch_size=16, columns=["corpus-id", "image"]):
                for name, picture in zip(batch["corpus-id"].to_pylist(), batch["image"].to_pylist(), strict=True):
                    data = (picture["bytes"] if isinstance(picture, dict) else None) or b""
                    suffix = next((end for mark, end in _PICTURES.items() if data.startswith(mark)), "")
                    if not suffix or PurePosixPath(str(name)).name != str(name):
                        left_out.append((str(name), "its page is no PNG or JPEG picture"))
                        continue
                    target = folder / f"{name}{suffix}"
                    if not (target.is_file() and target.stat().st_size == len(data)):
                        with whole_file(target) as partial:
                            partial.write_bytes(data)
                    found.append(target)
                    if progress:
                        progress(len(found), table.metadata.num_rows)
        except (pa.ArrowException, OSError, KeyError) as error:
            raise DataError(f"{path.name} holds no pages ({error}): fetch it again") from error
    return found, left_out


def _rows_of_decks(files: Sequence[Path]) -> Iterator[tuple[str, Callable[[], list[bytes]]]]:
    """(deck, its pictures when asked for) of every row, a few rows in memory at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = ["deck_name", *(f"page_{number}" for number in range(1, SLIDES + 1))]
    for path in files:
        try:
            for batch in pq.ParquetFile(path).iter_batches(batch_size=4, columns=columns):
                for row in range(batch.num_rows):
                    yield str(batch["deck_name"][row].as_py()), partial(_pictures, batch, row)
        except (pa.ArrowException, OSError, KeyError) as error:
            raise DataError(f"{path.name} holds no decks ({error}): fetch it again") from error


def _pictures(batch: Any, row: int) -> list[bytes]:
    """The slides of a row; empty bytes for one that is not there."""
    cells = (batch[f"page_{number}"][row].as_py() for number in range(1, SLIDES + 1))
    return [cell["bytes"] or b"" if isinstance(cell, dict) else b"" for cell in cells]


def pdf_of_pictures(pictures: Sequence[bytes]) -> bytes:
    """A PDF with a picture a page, as it is encoded; the same bytes for the same pictures.

    Raises:
        ValueError: if one is no picture.
    """
    import io

    import pymupdf
    from PIL import Image

    with pymupdf.open() as document:
        for data in pictures:
            try:
                with Image.open(io.BytesIO(data)) as picture:
                    width, height = (side * 72 / _SLIDE_DPI for side in picture.size)
            except OSError as error:
                raise ValueError(str(error)) from error
            page = document.new_page(width=width, height=height)
            page.insert_image(page.rect, stream=data)
        document.set_metadata({})
        return bytes(document.tobytes(no_new_id=True, garbage=3))
