"""Puts the questions of files where the asset `questions` of a corpus reads them, and writes down what was decided.

Order of writing: how the documents are dealt, the documents of the splits, their questions, the questions of the
corpus, the record as a whole. Each file is whole or as it was; a kill in between is mended by the same call. What is as
it should be already is not written again, so that an import that changes nothing makes nothing stale.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets_defs.machinery.inbox import import_record, questions_file
from visor_core.config import corpus_name
from visor_core.errors import ConfigError, DataError
from visor_core.files import whole_file, write_json

if TYPE_CHECKING:
    from visor_core.config import Home
    from visor_core.evaluation.benchmarks.resolve import BenchmarkQuestions
    from visor_core.evaluation.importing import Dealt
    from visor_core.index import PageIndex
    from visor_core.index.records import Document
    from visor_core.questions import Question

Record = dict[str, Any]
SHARES = "0.8,0.1,0.1"


@dataclass(frozen=True, slots=True)
class Split:
    """How an import is asked to deal documents; what is empty or none is as the import before decided it."""

    by: str = ""
    shares: str = ""
    seed: int | None = None


def read_record(home: Home, corpus: str) -> Record:
    """What was imported into a corpus.

    Raises:
        DataError: if the record is damaged.
    """
    path = import_record(home, corpus)
    if not path.is_file():
        return {"imports": {}, "splits": {}}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if old := [name for name, made in record["imports"].items() if "sources" not in made]:
            raise ValueError(f"of an earlier version: {', '.join(old)}")
        return {"imports": dict(record["imports"]), "splits": dict(record["splits"])}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read ({error}): remove it, then import the files again") from error


def import_questions(
    home: Home,
    corpus: str,
    index: PageIndex,
    files: Sequence[Path],
    form: str = "",
    split: Split = Split(),
    *,
    replacing: bool = False,
) -> tuple[BenchmarkQuestions, Record]:
    """Read files against the documents of a corpus, and keep their questions as those of the corpus.

    Args:
        files: one, or several: of MMLongBench-Doc editions, whose questions are asked once (`evaluation.editions`), of
            any other form parts of one set.
        replacing: put the questions in the place of those that other files gave of the same benchmark.

    Returns:
        what the files hold and what of them was left out, the splits included; the record of all imports.

    Raises:
        ConfigError: if the form, the shares or the names of split corpora cannot be.
        DataError: if no item can be used, or questions of other files would be lost.
    """
    from visor_core.evaluation.benchmarks.resolve import count_reasons
    from visor_core.evaluation.editions import count_by_edition
    from visor_core.evaluation.importing import digest_of_source, merged, summary
    from visor_core.questions import EDITION, read_questions

    sha256 = [digest_of_source(file) for file in files]
    found, form = _read(index, files, form)
    record = read_record(home, corpus)
    path = questions_file(home, corpus)
    benchmark = found.questions[0].benchmark
    there = read_questions(path) if path.is_file() else []
    sources = [str(file.resolve()) for file in files]
    if not replacing:
        _require_nothing_lost(there, found.questions, record["imports"].get(benchmark, {}), sources, sha256)
    together = merged(there, found.questions)
    if (how := _decided(split, record["splits"])) is not None:
        dealt, record["splits"] = _deal(home, corpus, index, together, how, record["splits"])
        together = list(dealt.questions)
        mine = {question.question_id for question in found.questions}
        kept = tuple(question for question in together if question.question_id in mine)
        found = replace(found, questions=kept, left_out=(*found.left_out, *dealt.left_out))
        if not kept:
            raise DataError(f"{files[0].name}: none of its questions is about a known document: leave out --split-by")
    _keep_questions(path, together)
    told = {
        "sources": sources,
        "sha256": sha256,
        "format": form,
        "edition": found.questions[0].metadata.get(EDITION, ""),
        "editions": count_by_edition(found.questions),
        "index_tag": index.tag,
        **summary(found.questions),
        "left_out_by_reason": count_reasons(found.left_out),
        "left_out": [asdict(item) for item in found.left_out],
    }
    before = record["imports"].get(benchmark, {})
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    same = {key: value for key, value in before.items() if key != "imported"} == told
    record["imports"][benchmark] = {**told, "imported": before["imported"] if same else moment}
    if record != read_record(home, corpus):
        write_json(import_record(home, corpus), record)
    return found, record


def _require_nothing_lost(
    there: Sequence[Question],
    found: Sequence[Question],
    before: Mapping[str, Any],
    sources: Sequence[str],
    sha256: Sequence[str],
) -> None:
    """An import of other files than the last one keeps the questions that those gave, or is told to replace them.

    Raises:
        DataError: if some would be lost.
    """
    from visor_core.evaluation.importing import lost_by

    if not before or set(before["sources"]) <= set(sources) or set(before["sha256"]) <= set(sha256):
        return
    if lost := lost_by(there, found):
        earlier = ", ".join(Path(source).name for source in before["sources"])
        both = " ".join(shlex.quote(name) for name in dict.fromkeys([*before["sources"], *sources]))
        raise DataError(
            f"the corpus has {len(lost)} questions of {before['questions']} from {earlier} that"
            f" {', '.join(Path(source).name for source in sources)} does not hold, and an import replaces those of its"
            f" benchmark: give all files in one call to keep them (`visor questions import {both}`), or --replace"
        )


def _read(index: PageIndex, files: Sequence[Path], form: str) -> tuple[BenchmarkQuestions, str]:
    """The questions of files, and their form.

    Raises:
        ConfigError: if the form is unknown, or several files are of different forms.
        DataError: if no item can be used.
    """
    from visor_core.evaluation.benchmarks import NAMES, READERS, format_of
    from visor_core.evaluation.benchmarks.resolve import PageResolver, concatenated
    from visor_core.evaluation.editions import together

    if form and form not in READERS:
        raise ConfigError(f"--format {form!r} is not one of {NAMES}")
    pages = PageResolver(document for document in index.documents() if document.status == "ok")
    forms = [form or format_of(file) for file in files]
    several = len({file.name for file in files}) < len(files)  # of one name: their folders tell them apart
    names = [f"{file.resolve().parent.name}/{file.name}" if several else file.name for file in files]
    read = [(name, READERS[each](file, pages)) for name, file, each in zip(names, files, forms, strict=True)]
    if len(files) == 1:
        return read[0][1], forms[0]
    if len(set(forms)) > 1:
        told = ", ".join(f"{file.name} ({each})" for file, each in zip(files, forms, strict=True))
        raise ConfigError(f"several files are of one form, not {told}: import each form by itself")
    return (together if forms[0] == "mmlongbench" else concatenated)(read), forms[0]


def _decided(split: Split, before: Mapping[str, Any]) -> Split | None:
    """How the documents are dealt; None for not at all."""
    by = split.by or ("document" if before else "none")
    if by == "none":
        return None
    shares = split.shares or before.get("shares", SHARES)
    return Split(by, shares, before.get("seed", 0) if split.seed is None else split.seed)


def _deal(
    home: Home, corpus: str, index: PageIndex, questions: Sequence[Question], how: Split, before: Mapping[str, Any]
) -> tuple[Dealt, Record]:
    """Deal documents and questions to the corpora of the splits.

    Documents keep the split that they have, unless other shares or another seed are asked for.
    """
    from visor_core.evaluation.importing import parse_shares, split_by_document

    seed = how.seed or 0
    same = bool(before) and (before["shares"], before["seed"]) == (how.shares, seed)
    parts: Mapping[str, Any] = before.get("parts", {})
    held = {name: split for split, part in parts.items() for name in part["files"]} if same else {}
    documents = {document.document_id: document for document in index.documents() if document.status == "ok"}
    dealt = split_by_document(
        questions,
        parse_shares(how.shares),
        seed,
        every=documents,
        held={name: split for name, split in held.items() if name in documents},
    )
    record: Record = {"by": how.by, "shares": how.shares, "seed": seed, "parts": {}}
    for split, inside in dealt.documents.items():
        name = corpus_name(f"{corpus}-{split}")
        if split not in parts and (home.corpus(name).exists() or home.inbox(name).exists()):
            raise ConfigError(
                f"a corpus {name!r} is there already, and no import made it: rename it, then import again"
            )
        files = _names([documents[each] for each in inside if each in documents])
        asked = sum(question.split == split for question in dealt.questions)
        record["parts"][split] = {"corpus": name, "questions": asked, "files": files}
    # Written first: a call after a kill knows the corpora as its own, and what is to be taken out of them.
    stale = {split: _stale(parts.get(split, {}), record["parts"][split]) for split in record["parts"]}
    if any(stale.values()) or record != {**before}:
        planned = {split: {**part, "stale": stale[split]} for split, part in record["parts"].items()}
        write_json(
            import_record(home, corpus),
            {"imports": read_record(home, corpus)["imports"], "splits": {**record, "parts": planned}},
        )
    for split, part in record["parts"].items():
        _place(home, index, part["corpus"], {name: documents[name] for name in part["files"]}, part["files"])
        for file in stale[split]:
            (home.inbox(part["corpus"]) / file).unlink(missing_ok=True)
        asked_here = [question for question in dealt.questions if question.split == split]
        _keep_questions(questions_file(home, part["corpus"]), asked_here)
    return dealt, record


def _stale(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Files that an earlier import placed in an inbox, and this one does not."""
    placed = {*before.get("files", {}).values(), *before.get("stale", ())}
    return sorted(placed - set(now["files"].values()))


def _names(documents: Sequence[Document]) -> dict[str, str]:
    """What documents are called in an inbox, by id; where several have a name, each lies in a folder of its own."""
    names = Counter(document.filename.casefold() for document in documents)
    return {
        each.document_id: (f"{each.document_id[:8]}/" if names[each.filename.casefold()] > 1 else "") + each.filename
        for each in documents
    }


def _place(
    home: Home, index: PageIndex, corpus: str, documents: Mapping[str, Document], files: Mapping[str, str]
) -> None:
    """Copy documents into the inbox of a corpus; those that lie there already stay.

    Raises:
        DataError: if the bytes of one are lost.
    """
    from visor_core.documents.sources import document_id_of, stored_path
    from visor_core.index import Corpus

    sources = Corpus(home.corpus(index.corpus_name)).sources
    for name, document in documents.items():
        target, stored = home.inbox(corpus) / files[name], stored_path(sources, name)
        if target.is_file() and document_id_of(target) == name:
            continue
        if not stored.is_file():
            raise DataError(
                f"the bytes of {document.filename} are lost: `visor ingest` it into {index.corpus_name} again"
            )
        with whole_file(target) as partial:
            shutil.copyfile(stored, partial)


def _keep_questions(path: Path, questions: Sequence[Question]) -> None:
    """Write questions, unless the file holds these already; none of a split are no file."""
    from visor_core.questions import questions_version, read_questions, write_questions

    if not questions:
        path.unlink(missing_ok=True)
    elif not path.is_file() or questions_version(read_questions(path)) != questions_version(questions):
        write_questions(path, questions)
