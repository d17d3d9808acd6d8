"""How common the terms of an index are, told from a sample of its pages, and by it what of a query is worth its cost.

Full text search reads, for each term of a query, a posting of every page that has it. What most pages have tells none
apart, and costs most: a query is cut to its rarest terms, as many as can be read for a bounded number of postings.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from visor_core.files import whole_file
from visor_core.index.corpus import Corpus, quoted, rows

_SAMPLE = 1_000
"""Pages that are looked at: a term that a tenth of the pages has is then counted within a tenth of that."""
_EXACT_PAGES, _CHANGED_SHARE = 20_000, 0.05
"""Of more pages than that, this share of the sample may have changed before it is looked at anew."""
_LEAST_SHARE = 0.004
"""Terms on a smaller share of the pages are all alike rare, and not kept."""
MOST_TERMS = 128
"""Terms of a query, however rare: each costs a look-up."""


@dataclass(frozen=True, slots=True)
class Rarity:
    """Share of the pages that have a term, by table; a term that is not here is rarer than any that is."""

    shares: Mapping[str, Mapping[str, float]]

    def affordable(self, table: str, terms: Iterable[str], postings: float) -> list[str]:
        """The rarest different terms of a query, in its order, for at most so many postings a page of the corpus.

        The rarest one is always among them.
        """
        shares = self.shares.get(table, {})
        order = list(dict.fromkeys(terms))
        chosen: set[str] = set()
        for term in sorted(order, key=lambda term: shares.get(term, 0.0))[:MOST_TERMS]:
            postings -= shares.get(term, 0.0)
            if postings < 0 and chosen:
                break
            chosen.add(term)
        return [term for term in order if term in chosen]


def read_rarity(path: Path) -> Rarity:
    """What `write_rarity` wrote; nothing is common where there is no such file."""
    return Rarity(json.loads(path.read_text(encoding="utf-8"))["shares"] if path.is_file() else {})


def grams(text: str, length: int) -> list[str]:
    """The n-grams of a text in their order.

    >>> grams(" net", 3)
    [' ne', 'net']
    """
    return [text[start : start + length] for start in range(len(text) - length + 1)]


def shares_of(texts: Iterable[Collection[str]]) -> dict[str, float]:
    """Share of the pages that have a term, for terms that are not rare.

    Args:
        texts: the different terms of each page.
    """
    counts: Counter[str] = Counter()
    pages = 0
    for terms in texts:
        counts.update(terms)
        pages += 1
    least = max(2, _LEAST_SHARE * pages)
    return {term: round(count / pages, 4) for term, count in counts.items() if count >= least}


def sampled(page_ids: Sequence[str]) -> list[str]:
    """Pages by which the terms of a corpus are told: those whose ids have the smallest hashes, whatever came when."""
    return sorted(
        sorted(page_ids, key=lambda page_id: hashlib.blake2b(page_id.encode(), digest_size=8).digest())[:_SAMPLE]
    )


def write_rarity(corpus: Corpus, gram: int, held: str = "") -> str:
    """Look at a sample of the pages; returns the name of the file under `statistics/`.

    Args:
        corpus: where; held for writing.
        gram: characters of the n-grams of whole pages.
        held: the file of the last build, which still holds if the same texts are sampled, of a large corpus most of
            the same.
    """
    keys = {row["page_id"]: row["text_key"] for row in rows(corpus.table("page_texts"), ["page_id", "text_key"])}
    sample = {page_id: f"{keys[page_id]} {gram}" for page_id in sampled(list(keys))}
    if held and _still_holds(corpus.root / "statistics" / held, sample, len(keys)):
        return held
    name = f"{hashlib.sha256(json.dumps(sample).encode()).hexdigest()[:32]}.rarity.json"
    where = f"page_id IN ({quoted(sample)})" if sample else "false"
    whole = (set(grams(row["text"], gram)) for row in rows(corpus.table("page_texts"), ["text"], where))
    words: dict[str, set[str]] = {}
    for row in rows(corpus.table("passages"), ["page_id", "text"], where):
        words.setdefault(row["page_id"], set()).update(row["text"].split())
    with whole_file(corpus.root / "statistics" / name) as partial:
        shares = {"page_texts": shares_of(whole), "passages": shares_of(words.values())}
        told = json.dumps({"sample": sample, "shares": shares}, ensure_ascii=False, sort_keys=True)
        partial.write_text(told, encoding="utf-8")
    return name


def _still_holds(path: Path, sample: Mapping[str, str], pages: int) -> bool:
    """Whether what was told from one sample holds for another: the same one, of a large corpus nearly the same."""
    if not path.is_file():
        return False
    known = json.loads(path.read_text(encoding="utf-8"))["sample"]
    changed = sum(known.get(page_id) != key for page_id, key in sample.items()) / max(1, len(sample))
    return bool(changed <= (_CHANGED_SHARE if pages > _EXACT_PAGES else 0) and len(known) == len(sample))
