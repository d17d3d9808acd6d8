"""What corpora are called that are made of another one: by it, by what was done, and by a digest of all of that.

They lie beside the original, so that episodes played on them replay; they are none that a person builds or ingests.
"""

from __future__ import annotations

import re

RUNNING = ".running"
"""The file in `Home.stress` that is locked while one is measured: what it made so far is not yet named by a report."""
_LONGEST = 60
"""Letters of the original's name that are kept."""


def derived_name(original: str, kind: str, recipe: str) -> str:
    """The name of a corpus made of another.

    >>> derived_name("reports", "blur", "0a635040ceff")
    'reports.blur-0a635040ceff'
    """
    return f"{original[:_LONGEST].rstrip('. ')}.{kind}-{recipe}"


def is_derived(name: str) -> bool:
    """Whether a corpus was made of another, by its name.

    >>> is_derived("reports.blur-0a635040ceff"), is_derived("reports.v2-final")
    (True, False)
    """
    return re.search(r"\.[a-z]+-[0-9a-f]{12}(\.partial)?$", name) is not None
