"""Names of documents as they are shown and looked up: the file's name, with as many folders as tell it from others.

Two files of one name in two folders are `2022/report.pdf` and `2023/report.pdf`. The composed (NFC) and the decomposed
(NFD, as in archives made on a Mac) form of a name are one name.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from urllib.parse import unquote_to_bytes, urlsplit

from visor_core.documents.sources import display_name


def composed(name: str) -> str:
    """A name in the one form it is compared in (Unicode NFC).

    >>> composed("re\u0301sume\u0301.pdf") == "r\u00e9sum\u00e9.pdf"
    True
    """
    return unicodedata.normalize("NFC", name)


def shown_names(documents: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """Documents by id as (file name, URI) → the name each is shown by: the shortest end of its path that no other has.

    Documents whose paths cannot tell them apart (two addresses that differ in their query, two Unicode forms of a name
    in one folder) have the start of their id added.

    >>> shown_names({"a1": ("r.pdf", "file:///x/2022/r.pdf"), "b2": ("r.pdf", "file:///x/2023/r.pdf")})
    {'a1': '2022/r.pdf', 'b2': '2023/r.pdf'}
    """
    repeated = Counter(composed(name) for name, _ in documents.values())
    shown = {key: composed(name) for key, (name, _) in documents.items()}
    groups: dict[str, list[str]] = {}
    for key, name in shown.items():
        if repeated[name] > 1:
            groups.setdefault(name, []).append(key)
    for name, keys in groups.items():
        folders = {key: _folders(documents[key][1]) for key in keys}
        ends = Counter(
            folders[key][-depth:] for key in keys for depth in range(1, len(folders[key]) + 1)
        )  # each end of a path, by how many documents have it
        for key in keys:
            own = folders[key]
            depth = next((d for d in range(1, len(own) + 1) if ends[own[-d:]] == 1), 0)
            shown[key] = "/".join((*own[-depth:], name)) if depth else f"{name} ({_short(key)})"
    return shown


def names_of_sources(sources: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Sources as (file name, URI) → by URI the name each is shown by."""
    return shown_names({uri: (name, uri) for name, uri in sources})


def goes_by(name: str, filename: str, uri: str) -> bool:
    """Whether a document is meant by a name that a user gives: its file name, alone or after some of its folders.

    >>> [goes_by(n, "r.pdf", "file:///x/2023/r.pdf") for n in ("r.pdf", "2023/r.pdf", "2022/r.pdf", "23/r.pdf")]
    [True, True, False, False]
    """
    path = "/".join(("", *_folders(uri), composed(filename)))
    return bool(name) and path.endswith(f"/{composed(name)}")


def _short(key: str) -> str:
    """Eight characters of an id; of an address, of its hash."""
    return hashlib.sha256(key.encode()).hexdigest()[:8] if "/" in key else key[:8]


def _folders(uri: str) -> tuple[str, ...]:
    """The folders of a document's address, outermost first, fit to be shown; an address's host is the first."""
    parts = urlsplit(uri)
    path = unquote_to_bytes(parts.path).decode("utf-8", "replace")
    found = [part for part in (parts.netloc, *path.split("/")[:-1]) if part]
    return tuple(composed(display_name(part)) for part in found)
