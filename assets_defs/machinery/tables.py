"""What an asset says of the table it holds: columns with their types and meaning, and the number of rows.

Dagster's page lists the columns of an asset and charts its rows over materializations.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = {
    "document_id": "hash of the document's bytes",
    "page_id": "document_id/number of the page, five digits",
    "passage_id": "page_id and the place of the passage on it",
    "question_id": "the question's name",
    "trajectory_id": "the episode's name",
    "group_id": "episodes of one question that are compared with each other",
    "partition": "the part of the corpus a search may be restricted to",
    "page": "number of the page, from 1",
    "turn": "number of the turn, from 0",
    "status": "ok, or quarantined with a reason",
    "text": "words of the page or passage, as they are searched",
    "text_source": "where the words come from: the text layer, OCR, or none",
    "words": "each word with its box, in shares of the page",
    "width_pt": "points",
    "height_pt": "points",
    "dpi": "dots per inch of the stored picture",
    "answers": "every answer that counts as right",
    "gold_pages": "page_ids that hold the answer",
    "gold_boxes": "regions that have to be cropped, in shares of their page",
    "hops": "distinct gold pages an answer needs",
    "answerable": "whether the documents hold an answer",
    "index_tag": "the version of the index that was searched",
    "record": "the whole episode, as JSON",
    "reward": "what the episode earned",
}
"""What columns mean whose name does not say it."""


def table_facts(schema: pa.Schema, rows: int) -> dict[str, Any]:
    """Metadata of a table: `dagster/column_schema` and `dagster/row_count`."""
    columns = [dg.TableColumn(field.name, str(field.type), description=COLUMNS.get(field.name)) for field in schema]
    return {"dagster/column_schema": dg.TableSchema(columns=columns), "dagster/row_count": rows}


def parquet_facts(path: Path) -> dict[str, Any]:
    """The same of a Parquet file."""
    from pyarrow import parquet

    return table_facts(parquet.read_schema(path), parquet.read_metadata(path).num_rows)


def lance_facts(table: Any) -> dict[str, Any]:
    """The same of a LanceDB table."""
    return table_facts(table.schema, table.count_rows())


def trajectory_facts(store: Path, kind: Literal["episodes", "turns"]) -> dict[str, Any]:
    """The same of the episodes, or of their turns, in a store of trajectories."""
    from visor_core.trajectories.store import current_tables

    return parquet_facts(current_tables(store) / f"{kind}.parquet")
