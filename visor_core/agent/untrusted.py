"""Text the project did not write (file names, page text, questions, replies) made safe to stand inside a prompt.

Such text can carry protocol tags, chat-template tokens, image placeholders or fake ledger lines. Neutralising keeps it
readable: an opening angle bracket that could start a tag becomes `‹`, control characters go, lines are joined. It does
not judge *meaning*: a page may still order its reader about; the system prompt says what pages are worth.
"""

from __future__ import annotations

import re
import unicodedata

PROTOCOL_TAGS = ("think", "verdict", "search", "select", "bbox", "answer")

_TAG_START = re.compile(r"<(?=\s{0,3}[/|!]?\s{0,3}[A-Za-z_|/!?])")
_PROTOCOL_TAG = re.compile(rf"<\s{{0,3}}/?\s{{0,3}}(?:{'|'.join(PROTOCOL_TAGS)})\s{{0,3}}>", re.IGNORECASE)
_BRACKET_TOKEN = re.compile(r"\[(/?(?:INST|IMG[A-Z_]*|SYSTEM_PROMPT|TOOL_[A-Z]+|AVAILABLE_TOOLS))\]")
_INDEX = re.compile(r"\[\s{0,3}(\d{1,4})\s{0,3}\]")
_LEDGER_LINE = re.compile(rf"{_INDEX.pattern}[^\[\]]{{0,200}},\s{{0,3}}page\s{{0,3}}\d", re.IGNORECASE)
_UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef]+"
)
_SPACES = re.compile(r"\s+")


def neutralise(text: str) -> str:
    """One line of untrusted text: no tag can start in it, no control or direction mark, nothing like a ledger line.

    A ledger line starts a line of its own, which this text cannot. Where it holds what reads like one all the same
    (`[7] secret.pdf, page 3`), its bracketed numbers become `(7)`; lists and citations elsewhere stay as written.
    """
    if not text.isprintable():
        text = "".join(" " if c.isspace() else c for c in text if c.isspace() or unicodedata.category(c)[0] != "C")
    line = _SPACES.sub(" ", text).strip()
    line = _TAG_START.sub("‹", line)
    line = _BRACKET_TOKEN.sub(r"(\1)", line)
    return _INDEX.sub(r"(\1)", line) if _LEDGER_LINE.search(line) else line


def quoted(name: str) -> str:
    """A name in quotation marks that it cannot close, so that words in it do not read as the prompt's own."""
    return '"' + neutralise(name).replace('"', "'") + '"'


def neutralise_reply(text: str) -> str:
    """A policy's own reply as it stands in a later context: protocol tags kept, every other tag start neutralised.

    A reply may *spell out* an image placeholder or a chat-template token; tokenised again it would become the real one
    and the count of image tokens would no longer match the images.
    """
    if not text.isprintable():
        text = "".join(c for c in text if c in "\n\t" or unicodedata.category(c)[0] != "C")
    kept: list[str] = []
    end = 0
    for tag in _PROTOCOL_TAG.finditer(text):
        kept.append(_BRACKET_TOKEN.sub(r"(\1)", _TAG_START.sub("‹", text[end : tag.start()])))
        kept.append(tag.group())
        end = tag.end()
    kept.append(_BRACKET_TOKEN.sub(r"(\1)", _TAG_START.sub("‹", text[end:])))
    return "".join(kept).strip()


def approximate_tokens(text: str) -> int:
    """Tokens of a text without a tokenizer: a word counts one per eight letters, other signs one each."""
    count = 0
    for word in re.findall(r"[A-Za-z0-9_]+|[^A-Za-z0-9_\s]", text):
        count += 1 + (len(word) - 1) // 8
    return count


def shorten(text: str, tokens: int) -> str:
    """The text cut to at most `tokens` approximate tokens, an ellipsis at the cut; "" for no budget.

    Cut between words, so that no number is cut in two; inside a word only where a script writes without spaces.
    """
    if approximate_tokens(text) <= tokens:
        return text
    if tokens <= 1:
        return ""
    kept: list[str] = []
    left = tokens - 1
    for word in text.split():
        cost = approximate_tokens(word)
        if cost > left:
            unspaced = _UNSPACED.match(word[:left])
            if unspaced:
                kept.append(unspaced[0])
            break
        kept.append(word)
        left -= cost
    return " ".join(kept) + "…" if kept else ""
