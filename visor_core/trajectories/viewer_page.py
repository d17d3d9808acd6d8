"""The frame of every page a person opens: one file, a strict content security policy, landmarks, light and dark.

Nothing is fetched, and no script runs but the one the frame is given, which the policy names by its hash. `body` comes
from the caller, who escapes what stands in it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from visor_core.trajectories.viewer_style import STYLE

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
LONGEST_TITLE = 90


@dataclass(frozen=True, slots=True)
class Link:
    """A link of a page's navigation: what it says, where it leads, what that is to the page (`prev`, `next`, `up`)."""

    text: str
    address: str
    relation: str = ""


def page(title: str, body: str, *, style: str = "", script: str = "", navigation: Sequence[Link] = ()) -> str:
    """A whole HTML page.

    Args:
        body: the content of the landmark `main`, escaped.
        style: rules added to the style sheet that all pages share.
        script: the page's one script, if it has one.
        navigation: links above the content.
    """
    short = title if len(title) <= LONGEST_TITLE else title[: LONGEST_TITLE - 1] + "…"
    policy = POLICY + (f"; script-src '{_hash(script)}'" if script else "")
    run = f"<script>{script}</script>" if script else ""
    text = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="referrer" content="no-referrer"><meta name="color-scheme" content="light dark">'
        f"<title>{escape(short)}</title><style>{STYLE}\n{style}</style></head>"
        f"<body>{_navigation(navigation)}<main>{body}</main>{run}</body></html>\n"
    )
    # A lone surrogate, as a file name can hold one, is no text that a page can be written in.
    return text.encode("utf-8", "replace").decode("utf-8")


def data_block(name: str, value: Any) -> str:
    """Data for a page's script: JSON that no text in it can end early."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return f'<script type="application/json" id="{escape(name, quote=True)}">{text}</script>'


@cache
def read_script(path: Path) -> str:
    """The text of a script that lies beside the module that uses it."""
    return path.read_text(encoding="utf-8")


def anchor(text: str, address: str, *, new: bool = False) -> str:
    """A link with escaped text; text alone where there is no address. `new` opens it in a window of its own."""
    if not address:
        return escape(text)
    target = ' target="_blank" rel="noopener noreferrer"' if new else ""
    return f'<a href="{escape(address, quote=True)}"{target}>{escape(text)}</a>'


def scrolled(table: str, label: str) -> str:
    """A table that scrolls sideways on its own where it is wider than the page, by keyboard, too."""
    return f'<div class="scroll" role="region" aria-label="{escape(label, quote=True)}" tabindex="0">{table}</div>'


def _navigation(links: Iterable[Link]) -> str:
    items = "".join(
        f'<a href="{escape(link.address, quote=True)}"{f" rel={link.relation}" if link.relation else ""}>'
        f"{escape(link.text)}</a>"
        for link in links
        if link.address
    )
    return f'<nav aria-label="Pages">{items}</nav>' if items else ""


def _hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
