"""One side of bench_latency, in a process of its own and by the code of any version: builds a corpus, then answers.

`latency_script.py FOLDER PAGES FILE`: FILE holds the pages that `bench_latency` has written. A line is written when the
corpus stands, then a line for every query that is read: milliseconds of `PageIndex.search` as a user calls it.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc

from visor_core import index as index_package
from visor_core.config import DocumentsConfig, IndexConfig
from visor_core.index import Corpus, PageIndex, build_index, load_embedders
from visor_core.index.corpus import SCHEMAS

PAGES_A_DOCUMENT = 50


def page_id(position: int) -> str:
    """The id of the page at a position."""
    return f"{position // PAGES_A_DOCUMENT:032x}/{position % PAGES_A_DOCUMENT + 1:05d}"


def fill(corpus: Corpus, pages: pa.Table, render_key: str = "synthetic") -> None:
    """The tables documents, pages and images, as an ingest leaves them but for the pictures."""
    count = pages.num_rows
    documents = [
        {
            **dict.fromkeys(("partition", "title", "reason"), ""),
            "document_id": f"{number:032x}",
            "filename": f"document-{number}.pdf",
            "source_uri": f"memory://{number}",
            "other_uris": [],
            "media_type": "application/pdf",
            "num_bytes": 1,
            "num_pages": min(PAGES_A_DOCUMENT, count - number * PAGES_A_DOCUMENT),
            "status": "ok",
            "reader_key": "synthetic",
        }
        for number in range(-(-count // PAGES_A_DOCUMENT))
    ]
    corpus.table("documents").add(pa.Table.from_pylist(documents, schema=SCHEMAS["documents"]))
    for start in range(0, count, 4_096):
        chunk = pages.slice(start, 4_096)
        ids = [page_id(i) for i in range(start, start + chunk.num_rows)]
        fixed: dict[str, Any] = {"partition": "", "width_pt": 595.0, "height_pt": 842.0, "rotation": 0, "dpi": 72.0}
        fixed |= {"text_source": "layer", "image_width": 1, "image_height": 1, "problem": "", "render_key": render_key}
        varying = {
            "page_id": ids,
            "document_id": [i.split("/")[0] for i in ids],
            "page": [int(i.split("/")[1]) for i in ids],
            "text": chunk["text"],
            "words": chunk["words"],
            "content_hash": [f"{i:032x}" for i in range(start, start + chunk.num_rows)],
        }
        columns = []
        for field in SCHEMAS["pages"]:
            values = varying.get(field.name, [fixed.get(field.name)] * chunk.num_rows)
            columns.append(
                values.cast(field.type) if isinstance(values, pa.ChunkedArray) else pa.array(values, field.type)
            )
        corpus.table("pages").add(pa.table(columns, schema=SCHEMAS["pages"]))
        blank = {"page_id": ids, "document_id": varying["document_id"], "image": [b""] * len(ids)}
        corpus.table("images").add(pa.table(blank, schema=SCHEMAS["images"]))


def main() -> None:
    """Build where there is no corpus yet, and answer."""
    folder, file = Path(sys.argv[1]), Path(sys.argv[2])
    corpus, config = Corpus(folder), IndexConfig()
    began = time.perf_counter()
    if not (folder / "tags" / "latest.json").is_file():
        if keep := getattr(index_package, "keep_settings", None):  # which earlier versions do not have
            keep(corpus, documents=DocumentsConfig(ocr="never"), index=config)
        with pa.memory_map(str(file)) as source:
            fill(corpus, pa.ipc.open_file(source).read_all())
        build_index(corpus, config, load_embedders(config))
    index = PageIndex.open(folder)
    index.search("warm up")
    print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)
    for line in sys.stdin:
        query = json.loads(line)
        began = time.perf_counter()
        hits = index.search(query)
        took = time.perf_counter() - began
        print(json.dumps({"ms": 1e3 * took, "pages": [hit.page_id for hit in hits]}), flush=True)


if __name__ == "__main__":
    main()
