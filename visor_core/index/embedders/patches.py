"""Which of a page's token vectors stands for which patch of its picture, for every retriever of the ColPali family.

Read from the processor's output alone. Three layouts: a grid that follows the picture (Qwen2-VL: `image_grid_thw`),
tiles in rows and columns with a small picture of the whole after them (Idefics3: `<row_1_col_2>` marks), one square.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from visor_core.errors import SearchIndexError

Patches = npt.NDArray[np.int64]
_TILE = re.compile(r"<row_([0-9]+)_col_([0-9]+)>")


def patch_tokens(inputs: Mapping[str, Any], processor: Any) -> Patches:
    """Positions of the patches' vectors among a page's vectors, (rows, columns), as laid over the page.

    Args:
        inputs: what the processor made of one picture: `input_ids` (1, T), and `image_grid_thw` (1, 3) if it has one.
        processor: the processor; its image processor's `merge_size` says how many patches along each side are one
            token, where `image_grid_thw` counts them.

    Raises:
        SearchIndexError: if the tokens form none of the known layouts.
    """
    names = processor.tokenizer.convert_ids_to_tokens(inputs["input_ids"][0].tolist())
    merge_size = int(getattr(processor.image_processor, "merge_size", 1))
    kept = inputs["attention_mask"][0].bool().numpy()
    ids = inputs["input_ids"][0].numpy()[kept]
    marks = [name for name, keep in zip(names, kept, strict=True) if keep]
    where = np.flatnonzero(ids == processor.image_token_id)
    grid = inputs.get("image_grid_thw")
    if grid is not None:
        _, height, width = (int(n) for n in grid[0])
        rows, columns = height // merge_size, width // merge_size
        if rows * columns == len(where):
            return where.reshape(rows, columns)
    tiles = [(i, int(m[1]), int(m[2])) for i, name in enumerate(marks) if (m := _TILE.fullmatch(name))]
    if tiles:
        rows, columns = max(t[1] for t in tiles), max(t[2] for t in tiles)
        side = math.isqrt(len(where) // (len(tiles) + 1))
        if side * side * (len(tiles) + 1) == len(where) and rows * columns == len(tiles):
            found = np.zeros((rows * side, columns * side), dtype=np.int64)
            for start, row, column in tiles:
                first = int(np.searchsorted(where, start))
                tile = where[first : first + side * side].reshape(side, side)
                found[(row - 1) * side : row * side, (column - 1) * side : column * side] = tile
            return found
    side = math.isqrt(len(where))
    if not tiles and side and side * side == len(where):
        return where.reshape(side, side)
    raise SearchIndexError(f"the retriever lays {len(where)} tokens over a page in a way that is not known")
