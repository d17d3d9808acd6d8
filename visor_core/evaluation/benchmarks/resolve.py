"""From a benchmark's file names to page ids of an ingested corpus, item by item.

Benchmarks name a document by file name, deck name or a slide picture; the corpus names it by the hash of its bytes. An
item that cannot be used (its document is not there, or could be either of two; a page the document does not have; a
field that is absent or empty) is left out with its reason, never answered against another document, and never refuses
the items beside it.
"""

from __future__ import annotations

import ast
import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from visor_core.errors import DataError
from visor_core.evaluation.benchmarks.files import Item
from visor_core.questions import ANSWER_FORMATS, DOCUMENT_TYPE, KIND, Question

NOT_IN_CORPUS = "document not in the corpus"
AMBIGUOUS = "document name stands for several documents"
NO_SUCH_PAGE = "evidence page outside the document"
NOT_PAGES = "evidence pages are not page numbers"
INCOMPLETE = "field absent or empty"
WRONG_FORM = "item or field of another form"
TWICE = "id given twice"
NO_LABELS = "answers and evidence are not published"
NOT_JSON = "line is not valid JSON"
OTHERWISE = "asked before, with another answer"


class DocumentRecord(Protocol):
    """What a resolver needs of a document of the index."""

    @property
    def document_id(self) -> str: ...
    @property
    def filename(self) -> str: ...
    @property
    def source_uri(self) -> str: ...
    @property
    def num_pages(self) -> int: ...


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An item of a benchmark file that cannot be used: its id, the reason it is counted under, and what is the case."""

    item: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class BenchmarkQuestions:
    """A benchmark file resolved against a corpus: its questions, and what was left out."""

    questions: tuple[Question, ...]
    left_out: tuple[LeftOut, ...] = ()

    @property
    def items(self) -> int:
        """How many items the file has."""
        return len(self.questions) + len(self.left_out)


def count_reasons(left_out: Iterable[LeftOut]) -> dict[str, int]:
    """How many items were left out, by reason, the most frequent first."""
    return dict(Counter(item.reason for item in left_out).most_common())


class UnusableError(Exception):
    """Raised by a reader for one item; `collect` turns it into a `LeftOut`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def collect(
    path: Path,
    items: Sequence[Item],
    name_of: Callable[[int, dict[str, Any]], str],
    build: Callable[[str, dict[str, Any]], Question],
    *,
    placed: bool = False,
    mended: bool = False,
) -> BenchmarkQuestions:
    """The questions of a file's items, and the items that cannot be used.

    Args:
        name_of: an item's question id from its position (from 0) and its content.
        build: an item's question from its id and content; raises `UnusableError`.
        placed: whether an item that is left out is named with its place in the file, as its id may be none of the file.
        mended: whether who gives the file can correct it: a question that was asked before with another answer is
            left out. Of a benchmark it counts, as it counts for everybody.

    Raises:
        DataError: if there is none, or none can be used.
    """
    if not items:
        raise DataError(f"{path.name} holds no question: it is empty")
    questions: dict[str, Question] = {}
    left_out: list[LeftOut] = []
    places: dict[tuple[str, ...], tuple[str, Question]] = {}
    for position, item in enumerate(items):
        name = item.where
        try:
            content = _object(item)
            name = name_of(position, content)
            question = build(name, content)
            if name in questions:
                raise UnusableError(TWICE, f"{item.where} has the id {name} of an item before it")
            where, before = places.setdefault(_asked_of(question), (item.where, question))
            if mended and (before.answers, before.answerable) != (question.answers, question.answerable):
                raise UnusableError(
                    OTHERWISE,
                    f"{where} asks the same of the same document, and expects {_expected(before)}, not"
                    f" {_expected(question)}: correct one, or remove it",
                )
            questions[name] = question
        except UnusableError as reason:
            shown = f"{item.where} ({name})" if placed and name != item.where else name
            left_out.append(LeftOut(shown, reason.reason, reason.detail))
    if not questions:
        counted = ", ".join(f"{reason} {count}" for reason, count in count_reasons(left_out).items())
        first = f" ({counted}). The first: {left_out[0].item}: {left_out[0].detail}" if left_out else ""
        raise DataError(f"{path.name}: none of its {len(items)} items can be used{first}")
    return BenchmarkQuestions(tuple(questions.values()), tuple(left_out))


def concatenated(files: Sequence[tuple[str, BenchmarkQuestions]]) -> BenchmarkQuestions:
    """The questions of several files of one form, as if they were one file.

    Args:
        files: name and questions of each; an id, or a question with another answer, counts where it comes first.
    """
    questions: dict[str, Question] = {}
    places: dict[tuple[str, ...], Question] = {}
    left_out: list[LeftOut] = []
    for name, found in files:
        left_out += [replace(item, item=f"{name}: {item.item}") for item in found.left_out]
        for question in found.questions:
            item = f"{name}: {question.question_id}"
            before = places.setdefault(_asked_of(question), question)
            if (before.answers, before.answerable) != (question.answers, question.answerable):
                left_out.append(LeftOut(item, OTHERWISE, f"an earlier file expects {_expected(before)}"))
            elif question.question_id in questions:
                left_out.append(LeftOut(item, TWICE, "an earlier file has a question of that id"))
            else:
                questions[question.question_id] = question
    return BenchmarkQuestions(tuple(questions.values()), tuple(left_out))


def contradicting(questions: Iterable[Question]) -> list[str]:
    """The ids of questions that were asked of the same documents before, with another answer."""
    places: dict[tuple[str, ...], Question] = {}
    found = []
    for question in questions:
        before = places.setdefault(_asked_of(question), question)
        if (before.answers, before.answerable) != (question.answers, question.answerable):
            found.append(question.question_id)
    return found


def _asked_of(question: Question) -> tuple[str, ...]:
    """What is asked, and of which documents."""
    pages = (page.rpartition("/")[0] for page in question.gold_pages)
    documents = {question.partition, question.metadata.get("document_id", ""), *pages}
    wording = unicodedata.normalize("NFKC", question.question).casefold().split()
    return (" ".join(wording), *sorted(documents - {""}))


def _expected(question: Question) -> str:
    return " | ".join(map(repr, question.answers)) or "no answer"


def _object(item: Item) -> dict[str, Any]:
    if isinstance(item.content, ValueError):
        raise UnusableError(NOT_JSON, str(item.content))
    if not isinstance(item.content, dict):
        raise UnusableError(WRONG_FORM, f"it is {type(item.content).__name__}, not an object")
    return item.content


def required(item: object, keys: Sequence[str]) -> dict[str, Any]:
    """The item as a mapping that has the named keys.

    Raises:
        UnusableError: naming the absent keys.
    """
    if not isinstance(item, dict):
        raise UnusableError(
            WRONG_FORM, f"it holds {type(item).__name__} where an object with {', '.join(keys)} belongs"
        )
    absent = [key for key in keys if key not in item]
    if absent:
        raise UnusableError(INCOMPLETE, f"it lacks {', '.join(absent)}: is this file of another benchmark?")
    return item


def text(item: dict[str, Any], key: str) -> str:
    """A field as text that can be stored; numbers and lists as Python writes them.

    Raises:
        UnusableError: if it is null, empty or no finite number.
    """
    value = item[key]
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        raise UnusableError(INCOMPLETE, f"its {key} is {'null' if value is None else value}")
    if isinstance(value, dict):
        raise UnusableError(WRONG_FORM, f"its {key} is {value}, neither text nor a number")
    found = str(value).encode("utf-8", "replace").decode("utf-8")  # lone surrogates cannot be stored
    if not found.strip():
        raise UnusableError(INCOMPLETE, f"its {key} is empty")
    return found


def asked(item: dict[str, Any], key: str) -> str:
    """A field that holds a question.

    Raises:
        UnusableError: if it is no text, or empty.
    """
    found = text(item, key)
    if not isinstance(item[key], str):
        raise UnusableError(WRONG_FORM, f"its {key} is {item[key]!r}, not a text")
    return found


def answer_form(item: dict[str, Any]) -> str:
    """The field `answer_format`, one of MMLongBench-Doc's.

    Raises:
        UnusableError: if it is none of them.
    """
    form = text(item, "answer_format")
    if form not in ANSWER_FORMATS:
        raise UnusableError(WRONG_FORM, f"its answer_format {form[:60]} is none of {', '.join(ANSWER_FORMATS)}")
    return form


def literal_list(value: object, key: str) -> list[object]:
    """A list given as itself or as its Python literal in a string; a single number as a list of one.

    Raises:
        UnusableError: if it is neither.
    """
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
            raise UnusableError(NOT_PAGES, f"its {key} {value!r} is not a list") from error
    if isinstance(value, int | float) and not isinstance(value, bool):
        return [value]
    if not isinstance(value, list | tuple):
        raise UnusableError(NOT_PAGES, f"its {key} {'null' if value is None else repr(value)} is not a list")
    return list(value)


def names(value: object) -> tuple[str, ...]:
    """Words given as one, as a list, or as the Python literal of a list in a string; empty ones are none.

    >>> names("Chart"), names(["Chart", "Table"]), names("['Chart']"), names(None)
    (('Chart',), ('Chart', 'Table'), ('Chart',), ())
    """
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = literal_list(value, "list")
        except UnusableError:
            value = [value]
    given = value if isinstance(value, list | tuple) else [] if value is None else [value]
    return tuple(str(word) for word in given if str(word).strip())


def entries(item: dict[str, Any], key: str) -> list[Any]:
    """A field that holds a list; null is an empty one.

    Raises:
        UnusableError: if it holds anything else.
    """
    value = item[key]
    if value is not None and not isinstance(value, list):
        raise UnusableError(WRONG_FORM, f"its {key} holds {type(value).__name__} where a list belongs")
    return value or []


def described(kind: object = "", document_type: object = "", **more: object) -> dict[str, str]:
    """Metadata of a question: its kind, that of its document, and what else is known; what is not known is left out."""
    given = {KIND: kind, DOCUMENT_TYPE: document_type, **more}
    return {key: text for key, value in given.items() if (text := ", ".join(names(value)))}


def page_numbers(value: object, key: str) -> list[int]:
    """Distinct page numbers in order of mention: whole numbers, also written as text ("3") or as floats (3.0).

    Raises:
        UnusableError: if one is none of these.
    """
    numbers: dict[int, None] = {}
    for entry in literal_list(value, key):
        try:
            number = float(entry) if isinstance(entry, int | float | str) and not isinstance(entry, bool) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number) or number != int(number):
            raise UnusableError(NOT_PAGES, f"its {key} names {entry!r}, which is no page number")
        numbers[int(number)] = None
    return list(numbers)


class PageResolver:
    """Finds page ids by (document name, 1-based page) among the documents of a corpus.

    A name is matched as it stands, then without regard to case, then as a file name without its suffix; letters written
    in one or in two code points (NFC, NFD) are the same. Folders in a name tell apart documents of the same file name;
    one that the corpus does not have is passed over where the file name belongs to one document only.
    """

    def __init__(self, documents: Iterable[DocumentRecord]) -> None:
        self._paths: dict[str, tuple[str, ...]] = {}
        self._ways: tuple[dict[str, list[DocumentRecord]], ...] = tuple(defaultdict(list) for _ in range(4))
        for document in documents:
            filename = _composed(document.filename)
            self._paths[document.document_id] = (*_folders(document.source_uri), filename)
            stem = PurePosixPath(filename).stem
            for way, key in zip(self._ways, (filename, filename.casefold(), stem, stem.casefold()), strict=True):
                if all(other.document_id != document.document_id for other in way[key]):
                    way[key].append(document)

    def document(self, name: str) -> DocumentRecord:
        """The one document of that name.

        Raises:
            UnusableError: if there is none, or several.
        """
        parts = tuple(part for part in _composed(name).split("/") if part)
        last = parts[-1] if parts else ""
        for way, key in zip(self._ways, (last, last.casefold()) * 2, strict=True):
            found = way.get(key, [])
            if found:
                return self._only(found, parts, name)
        raise UnusableError(NOT_IN_CORPUS, f"its document {name} is not in the corpus")

    def page(self, name: str, page: int) -> str:
        """The page id.

        Raises:
            UnusableError: as `document`, or if the document has no such page.
        """
        document = self.document(name)
        if not 1 <= page <= document.num_pages:
            raise UnusableError(NO_SUCH_PAGE, f"it names page {page} of {name}, which has {document.num_pages}")
        return page_id(document.document_id, page)

    def picture(self, folder: str, filename: str) -> str | None:
        """The page id of a slide kept as a single picture `<folder>/<filename>`, or None.

        Raises:
            UnusableError: if several documents are called so.
        """
        wanted = _folded((_composed(folder), _composed(filename)))
        found = [d for d in self._ways[1].get(wanted[-1], []) if _folded(self._paths[d.document_id][-2:]) == wanted]
        if not found:
            return None
        return page_id(self._only(found, wanted, f"{folder}/{filename}").document_id, 1)

    def _only(self, found: Sequence[DocumentRecord], parts: tuple[str, ...], name: str) -> DocumentRecord:
        """Of documents with the same file name the one in the named folders."""
        if len(found) > 1:
            folders = _folded(parts[:-1])
            inside = [d for d in found if _folded(self._paths[d.document_id][:-1])[-len(folders) :] == folders]
            found = inside if folders and inside else found
        if len(found) > 1:
            paths = " or ".join(sorted("/".join(self._paths[d.document_id]) for d in found))
            raise UnusableError(AMBIGUOUS, f"its document {name} may be {paths}")
        return found[0]


def page_id(document_id: str, page: int) -> str:
    """The corpus's name of a page: `{document_id}/{page:05d}`, page 1-based."""
    return f"{document_id}/{page:05d}"


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _folded(parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(part.casefold() for part in parts)


def _folders(uri: str) -> tuple[str, ...]:
    """The folders of a document's address, outermost first; the root is none."""
    path = unquote(urlsplit(uri).path) if "://" in uri else uri
    return tuple(part for part in _composed(path).split("/")[:-1] if part)
