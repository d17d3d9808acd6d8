"""A corpus in a home that was moved: embedders that it names by a folder of the former place are found in the new one.

Corpora written now name embedders inside their home by the way there; earlier ones by their absolute path.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from visor_core.config import embedder_parts
from visor_core.files import whole_file
from visor_core.index.corpus import Corpus
from visor_core.index.tags import stored_spec


def relocate(corpus: Corpus) -> dict[str, str]:
    """Rewrite what names a folder of this home by an absolute path; returns the embedders as they were and are now.

    Raises:
        SearchIndexError: if the corpus cannot be written.
    """
    changed: dict[str, str] = {}
    files = [path for path in (corpus.root / "settings.json", *corpus.tags.glob("*.json")) if path.is_file()]
    found = {path: json.loads(path.read_text(encoding="utf-8")) for path in files}
    renamed = {path: _renamed(corpus, data, changed) for path, data in found.items()}
    if changed:
        with corpus.writing():
            for path, data in renamed.items():
                if data != found[path]:
                    with whole_file(path) as partial:
                        partial.write_text(json.dumps(data, indent=1, sort_keys=True), encoding="utf-8")
    return changed


def _renamed(corpus: Corpus, data: dict[str, Any], changed: dict[str, str]) -> dict[str, Any]:
    """Settings or a manifest with embedders by the way from the corpus; `changed` collects those that were not."""

    def place(spec: str) -> str:
        now = stored_spec(corpus, _here(corpus, spec))
        if now != spec:
            changed[spec] = now
        return now

    renamed = dict(data)
    if isinstance(data.get("index"), dict):
        renamed["index"] = data["index"] | {"embedders": [place(spec) for spec in data["index"].get("embedders", ())]}
    if "vectors" in data:
        renamed["vectors"] = [vector | {"spec": place(vector["spec"])} for vector in data["vectors"]]
    return renamed


def _here(corpus: Corpus, spec: str) -> str:
    """An embedder whose folder is gone, by the folder that lies at the same place under this home, if one does."""
    kind, source, _ = embedder_parts(spec)
    folder, home = Path(source), corpus.root.resolve().parents[1]
    if not folder.is_absolute() or folder.is_dir():
        return spec
    tails = (home.joinpath(*folder.parts[start:]) for start in range(1, len(folder.parts)))
    return next((f"{kind}:{tail}" for tail in tails if len(tail.parts) > len(home.parts) + 1 and tail.is_dir()), spec)
