"""One module a benchmark file format: a questions file and a corpus in, `Question` records out.

>>> sorted(READERS)
['docscope', 'longdocurl', 'madqa', 'mmlongbench', 'own', 'slidevqa', 'vidore', 'vidoseek', 'vrag']
"""

from collections.abc import Callable
from pathlib import Path

from visor_core.errors import DataError
from visor_core.evaluation.benchmarks import docscope, longdocurl, madqa, mmlongbench, own, slidevqa, vidore, vidoseek
from visor_core.evaluation.benchmarks.files import read_items
from visor_core.evaluation.benchmarks.resolve import BenchmarkQuestions, PageResolver

READERS: dict[str, Callable[[Path, PageResolver], BenchmarkQuestions]] = {
    "mmlongbench": mmlongbench.read,
    "vidoseek": vidoseek.read,
    "vrag": vidoseek.read_vrag,
    "slidevqa": slidevqa.read,
    "longdocurl": longdocurl.read,
    "madqa": madqa.read,
    "docscope": docscope.read,
    "vidore": vidore.read,
    "own": own.read,
}
"""Readers by name; the nano world's questions are read by `nano.read`."""
NAMES = ", ".join(READERS)
_SIGNS = {
    "mmlongbench": mmlongbench.KEYS,
    "vidoseek": vidoseek.KEYS,
    "slidevqa": slidevqa.KEYS,
    "longdocurl": longdocurl.KEYS,
    "madqa": madqa.KEYS,
    "docscope": docscope.KEYS,
    "own": ("question",),
}
"""Fields by which a file is known, the most particular form first."""


def format_of(path: Path) -> str:
    """The form of a questions file by the fields of its items; a folder is of ViDoRe's.

    VRAG's merged files have ViDoSeek's fields; they are known by the answer formats that ViDoSeek does not state.

    Raises:
        DataError: if it cannot be read, or is of none of them.
    """
    if path.is_dir():
        return "vidore"
    read = read_items(path)
    if not read:
        raise DataError(f"{path.name} holds no question: it is empty")
    items = [item.content for item in read if isinstance(item.content, dict)]
    best = next((name for name, keys in _SIGNS.items() if any(all(key in item for key in keys) for item in items)), "")
    if not best:
        raise DataError(f"{path.name} is of no known form: name it by --format, one of {NAMES}")
    metas = [meta for item in items if isinstance(meta := item.get("meta_info"), dict)]
    return "vrag" if best == "vidoseek" and any("answer_format" in meta for meta in metas) else best
