"""What a stored page was rendered by, as a key in its row: pages whose key does not fit are rendered again.

The key is a hash of the settings that decide every page's picture, and a word for what the page's text came from, so
that turning OCR on, or another engine, touches only pages without usable text.
"""

from __future__ import annotations

import hashlib
import json

from visor_core.config import DocumentsConfig

RENDERING = ("renderer", "dpi", "image_format", "jpeg_quality", "max_page_pixels")
"""Settings of `documents` that decide every page's picture."""


def has_quality(config: DocumentsConfig) -> bool:
    """Whether the stored pictures have a quality."""
    return config.image_format in ("jpeg", "webp")


def render_base(config: DocumentsConfig) -> str:
    """What decides a page's picture and text layer (16 hex digits); a page's render key begins with it."""
    parts = [getattr(config, field) for field in RENDERING]
    if not has_quality(config):
        parts[RENDERING.index("jpeg_quality")] = 0
    return hashlib.sha256(json.dumps([5, *parts]).encode()).hexdigest()[:16]


def render_key(base: str, ocr_mode: str, text_source: str, *, legible: bool) -> str:
    """A page's render key: how it was rendered, and what its text came from.

    `layer`: a legible text layer, which `auto` leaves alone; `bare`: none, and OCR was not tried; `ocr`: OCR was tried
    for want of one; `always`: OCR was tried whatever the layer.
    """
    if ocr_mode == "always":
        return f"{base}-always"
    if text_source == "ocr":
        return f"{base}-ocr"
    if legible:
        return f"{base}-layer"
    return f"{base}-{'ocr' if ocr_mode == 'auto' else 'bare'}"


def fitting_keys(config: DocumentsConfig, ocr_mode: str) -> frozenset[str]:
    """Render keys of pages that need not be rendered again.

    Args:
        config: the corpus's settings.
        ocr_mode: what can be done: `never` where `auto` finds no engine, which takes no text away.
    """
    kinds = {
        "never": ("layer", "bare", *(("ocr",) if config.ocr == "auto" else ())),
        "auto": ("layer", "ocr"),
        "always": ("always",),
    }[ocr_mode]
    return frozenset(f"{render_base(config)}-{kind}" for kind in kinds)
