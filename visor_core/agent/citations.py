"""Which part of an answer is citation: the bracketed numbers at its end that name entries of the ledger.

Everything else an answer says is kept as written: lists (`[8, 9]`), years (`[2012, 2013]`), a bare `[5]`. Only the
ledger tells a citation from such a list, so this is decided where the ledger is known, not in the grammar. Left out: a
list of small numbers that stands last and happens to name entries cannot be told from a citation and is read as one.
"""

from __future__ import annotations

import re
from collections.abc import Container

_GROUP = re.compile(r"\[\s{0,3}\d{1,4}(?:\s{0,3},\s{0,3}\d{1,4}){0,19}\s{0,3}\]")
_BETWEEN = re.compile(r"[\s,;]{0,3}(?:(?:and|&)\s{1,3})?", re.IGNORECASE)


def split_citations(answer: str, entries: Container[int]) -> tuple[str, tuple[int, ...]]:
    """An answer without its citations, and the entries it cites in the order written.

    Citations are the groups `[n]`, `[n, m]`, `[n][m]` or `[n] and [m]` that end the answer (a full stop may follow and
    stays), as far back as every number of a group is in `entries`. Where nothing else would remain, or only words that
    announce an answer with a colon, the first group is the answer.

    Args:
        answer: the answer as written, on one line.
        entries: 1-based indices of the ledger.
    """
    closing = answer[-1] if answer.endswith((".", "!", "?")) else ""
    end = len(answer) - len(closing)
    groups = list(_GROUP.finditer(answer, 0, end))
    start = end
    cited: list[list[int]] = []
    for group in reversed(groups):
        numbers = [int(n) for n in re.findall(r"\d+", group[0])]
        if not _BETWEEN.fullmatch(answer, group.end(), start) or any(n not in entries for n in numbers):
            break
        start = group.start()
        cited.insert(0, numbers)
    before = answer[:start].rstrip()
    if cited and (before.endswith(":") or not before.strip(" .,;")):
        # Nothing but brackets, or what a colon announces: the first of them is what was answered.
        start, cited = groups[-len(cited)].end(), cited[1:]
    if not cited:
        return answer, ()
    return answer[:start].rstrip(" ,;") + closing, tuple(dict.fromkeys(n for numbers in cited for n in numbers))
