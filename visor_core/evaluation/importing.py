"""Questions of a benchmark file as the questions of a corpus: kept beside those of other benchmarks, split by document.

What is decided is pure: `merged` replaces the questions of the same benchmark and keeps all others, so that importing
twice is importing once. `split_by_document` deals whole documents to train, development and test: documents that one
question needs stay together, and the same documents fall the same way for the same seed. `digest_of_source` says which
bytes were read.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from types import MappingProxyType
from typing import Any

from visor_core.errors import ConfigError, DataError
from visor_core.evaluation.benchmarks.resolve import LeftOut, contradicting
from visor_core.questions import GOLD_DROPPED, Question
from visor_core.scoring.answers import never_right

SPLITS = ("train", "development", "test")
NO_DOCUMENT = "no document is known, so it belongs to no split"
SPLIT_APART = "documents in different splits"


@dataclass(frozen=True, slots=True)
class Dealt:
    """Questions with their split, those that belong to none, and the documents of each split."""

    questions: tuple[Question, ...]
    left_out: tuple[LeftOut, ...]
    documents: Mapping[str, tuple[str, ...]]


def merged(before: Sequence[Question], found: Sequence[Question]) -> list[Question]:
    """The questions of a corpus after an import: those of other benchmarks as they were, then the found ones.

    Raises:
        DataError: if a question of another benchmark has the id of a found one.
    """
    benchmarks = {question.benchmark for question in found}
    others = [question for question in before if question.benchmark not in benchmarks]
    taken = {question.question_id: question.benchmark for question in others}
    for question in found:
        if question.question_id in taken:
            raise DataError(
                f"the question {question.question_id} is already one of the corpus, of"
                f" {taken[question.question_id] or 'no named benchmark'}: give the new one an id of its own"
            )
    return [*others, *found]


def lost_by(before: Sequence[Question], found: Sequence[Question]) -> list[Question]:
    """The questions of the same benchmark that an import would put away: asked before, and not in what was found.

    A question is known by its words and its documents, as ids may be places in a file.
    """
    benchmarks = {question.benchmark for question in found}
    kept = {(question.question, documents_of(question)) for question in found}
    return [q for q in before if q.benchmark in benchmarks and (q.question, documents_of(q)) not in kept]


def documents_of(question: Question) -> tuple[str, ...]:
    """The documents a question is about: those of its gold pages, and the one it was asked of."""
    pages = (page.rpartition("/")[0] for page in question.gold_pages)
    asked = question.metadata.get("document_id", "")
    return tuple(dict.fromkeys([*pages, *([asked] if asked else [])]))


def parse_shares(text: str) -> tuple[float, float, float]:
    """`0.8,0.1,0.1` → the shares of the questions for train, development and test.

    Raises:
        ConfigError: if these are not three numbers of 0 or more, with a sum of 1.
    """
    try:
        train, development, test = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"--shares {text!r} is not three numbers, as 0.8,0.1,0.1") from error
    shares = (train, development, test)
    if not all(0 <= share <= 1 for share in shares) or abs(sum(shares) - 1) > 1e-6:
        raise ConfigError(f"--shares {text!r} does not add up to 1, as 0.8,0.1,0.1 does")
    return shares


def split_by_document(
    questions: Sequence[Question],
    shares: Sequence[float],
    seed: int = 0,
    *,
    every: Iterable[str] = (),
    held: Mapping[str, str] = MappingProxyType({}),
) -> Dealt:
    """Deal the documents to the splits, each group of documents that questions share as one.

    Groups come in the order of a hash of their ids and the seed; each goes to the split that lacks most questions of
    its share. A question that is about no known document, or about documents that lie in different splits already, is
    left out.

    Args:
        shares: of the questions, for train, development and test.
        every: all documents of the corpus; one that nothing is asked about goes by its hash alone.
        held: documents that an earlier import has dealt, and their splits, which they keep.
    """
    groups, split_of, left_out = _groups(questions, held)
    refused = {item.item for item in left_out}
    kept = [question for question in questions if question.question_id not in refused]
    of: dict[str, list[Question]] = defaultdict(list)
    for question in kept:
        of[groups[documents_of(question)[0]]].append(question)
    wanted = dict(zip(SPLITS, (share * len(kept) for share in shares), strict=True))
    given = Counter(dict.fromkeys(SPLITS, 0))
    for group, asked in of.items():
        if group in split_of:
            given[split_of[group]] += len(asked)
    for group in sorted(of.keys() - split_of.keys(), key=lambda name: _hash(name, seed)):
        split_of[group] = max((n for n in SPLITS if wanted[n] > 0), key=lambda name: wanted[name] - given[name])
        given[split_of[group]] += len(of[group])
    placed = {name: split_of[group] for name, group in groups.items() if group in split_of} | {
        name: held.get(name) or _by_hash(name, seed, shares) for name in every if groups.get(name) not in split_of
    }
    return Dealt(
        questions=tuple(replace(question, split=placed[documents_of(question)[0]]) for question in kept),
        left_out=tuple(left_out),
        documents={split: tuple(sorted(name for name in placed if placed[name] == split)) for split in SPLITS},
    )


def _groups(
    questions: Iterable[Question], held: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str], list[LeftOut]]:
    """(a name of the group of every document, the splits of groups that are dealt already, questions left out).

    Documents of one question are of one group, and so on; a question that would join two splits joins nothing.
    """
    parent: dict[str, str] = {name: name for name in held}
    split_of = dict(held)
    left_out: list[LeftOut] = []

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for question in questions:
        roots = sorted({root(name) for name in documents_of(question)})
        splits = {split_of[name] for name in roots if name in split_of}
        if not roots:
            left_out.append(LeftOut(question.question_id, NO_DOCUMENT, "give it a document or pages"))
        elif len(splits) > 1:
            detail = f"its documents are dealt to {' and '.join(sorted(splits))} already"
            left_out.append(LeftOut(question.question_id, SPLIT_APART, detail))
        else:
            for name in roots:  # the smallest id names the group, so that its name depends on no order
                parent[name] = roots[0]
            if splits:
                split_of[roots[0]] = splits.pop()
    groups = {name: root(name) for name in parent}
    return groups, {group: split_of[group] for group in groups.values() if group in split_of}, left_out


def _hash(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()


def _by_hash(name: str, seed: int, shares: Sequence[float]) -> str:
    """The split of a document that nothing is asked about."""
    position = int(_hash(name, seed)[:12], 16) / 16**12
    for split, bound in zip(SPLITS, accumulate(shares), strict=True):
        if position < bound:
            return split
    return next(split for split, share in zip(SPLITS, shares, strict=True) if share > 0)


def digest_of_source(path: Path) -> str:
    """SHA-256 of a file, or of the names and digests of a folder's files.

    Raises:
        DataError: if it is neither, or cannot be read.
    """
    try:
        if path.is_file():
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        if path.is_dir():
            inside = sorted(each for each in path.rglob("*") if each.is_file())
            rows = [f"{each.relative_to(path).as_posix()} {digest_of_source(each)}" for each in inside]
            return hashlib.sha256("\n".join(rows).encode()).hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    raise DataError(f"no benchmark file at {path}: give the path of the questions file")


def summary(questions: Sequence[Question]) -> dict[str, Any]:
    """What a set of questions holds, by numbers: for the record of an import and for a person."""
    return {
        "questions": len(questions),
        "answerable": sum(question.answerable for question in questions),
        "with_evidence_pages": sum(bool(question.gold_pages) for question in questions),
        "with_answers": sum(bool(question.answers) for question in questions),
        "gold_dropped": sum(GOLD_DROPPED in question.metadata for question in questions),
        "contradicting": contradicting(questions),
        "never_right": [question.question_id for question in questions if never_right(question)],
        "splits": dict(sorted(Counter(question.split for question in questions if question.split).items())),
        "kinds": dict(Counter(question.kind for question in questions if question.kind).most_common()),
        "answer_formats": dict(Counter(q.answer_format for q in questions if q.answer_format).most_common()),
    }
