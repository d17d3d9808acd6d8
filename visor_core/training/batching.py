"""Which rows share a forward pass, and the tensors of one: token-budget plan, collation, image bookkeeping.

Rows are sorted by length, so padding is small, and every process gets the same number of micro-batches with the same
number of rows, because the loss runs collectives (TRL's metrics). Rows that are the same token for token and picture
for picture, as the first turns of a group's rollouts often are, go through the model once; each keeps its own
advantages and weights, so the gradient is that of all of them. A row is never truncated: cutting through an image would
leave image tokens and image features of different number. Knows nothing of TRL.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from visor_core.errors import DataError
from visor_core.policies.encoding import EncodedImage, Encoder
from visor_core.training.rows import TurnRow

FILLER, PICTURED = -1, -2
"""Indices of rows that weigh nothing: one evens out the number of rows between processes, the other has a picture too,
so that every process runs the vision tower where one does, which DDP's and FSDP's collectives rely on."""


@dataclass(frozen=True, slots=True)
class WeightedRow:
    """A row with its tokens' advantages and weights (one entry a completion token)."""

    row: TurnRow
    advantages: tuple[float, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class RowBatch:
    """One micro-batch as tensors: B rows with at most C completion tokens, of which D, of at most T tokens, differ.

    `input_ids` (D, T) and `attention_mask` (D, T) are padded on the right, so real positions are 0, 1, … and causal
    attention never reads a pad. `positions` (n,) are flat indices into D·T of the states that predict the n sampled
    tokens, `targets` (n,) those tokens; `slots` (m,) are the flat indices into B·C of all m sampled tokens, `sources`
    (m,) their entries among the n. `images` are the distinct pictures; `image_order` names, for every occurrence in
    reading order, its picture.
    """

    input_ids: Tensor
    attention_mask: Tensor
    positions: Tensor
    targets: Tensor
    slots: Tensor
    sources: Tensor
    rows: int
    completion_width: int
    images: tuple[EncodedImage, ...]
    image_order: tuple[int, ...]

    def to(self, device: torch.device) -> RowBatch:
        """The same batch with its tensors on a device."""
        tensors = ("input_ids", "attention_mask", "positions", "targets", "slots", "sources")
        return replace(self, **{name: getattr(self, name).to(device) for name in tensors})

    @property
    def real_tokens(self) -> int:
        """Tokens that go through the model and are no padding."""
        return int(self.attention_mask.sum())


Plan = list[list[list[int]]]
"""Micro-batches × processes × row indices; `FILLER` and `PICTURED` stand for rows that weigh nothing."""


def plan(
    rows: Sequence[TurnRow], budget: int, *, processes: int = 1, max_rows: int | None = None, sort: bool = True
) -> Plan:
    """Cut rows into micro-batches of at most `budget` tokens a process, padding included and equal rows counted once.

    Longest first; equal rows, and rows with the same pictures, stay neighbours. A row longer than the budget gets a
    micro-batch of its own.

    Args:
        max_rows: rows of a micro-batch and process at most.
        sort: whether to sort; else rows keep their order.
    """
    first: dict[object, int] = {}
    alike = [first.setdefault(row.content, i) for i, row in enumerate(rows)]
    order = list(range(len(rows)))
    if sort:
        order.sort(key=lambda i: (-rows[i].length, [ref.page_id for ref in rows[i].images], alike[i], i))
    pictured = any(row.images for row in rows)
    batches: Plan = []
    start = 0
    while start < len(order):
        left = order[start:]
        longest = rows[left[0]].length if sort else max(rows[i].length for i in left)
        fitting = max(1, budget // max(1, longest))
        most = min(max_rows or len(left), math.ceil(len(left) / processes))
        size = min(fitting, most)
        while size < most and all(
            len({alike[i] for i in share}) <= fitting for share in _shares(left, size + 1, processes)
        ):
            size += 1
        shares = [share + [FILLER] * (size - len(share)) for share in _shares(left, size, processes)]
        seeing = [any(i != FILLER and rows[i].images for i in share) for share in shares]
        if processes > 1 and pictured and not all(seeing):
            shares = [[*share, FILLER if sees else PICTURED] for share, sees in zip(shares, seeing, strict=True)]
        batches.append(shares)
        start += size * processes
    return batches


def cut(
    rows: Sequence[WeightedRow],
    budget: int,
    *,
    processes: int = 1,
    rank: int = 0,
    max_rows: int | None = None,
    sort: bool = True,
) -> list[list[WeightedRow]]:
    """One process's micro-batches of the rows of all processes, as `plan` cuts them."""
    batches = plan([w.row for w in rows], budget, processes=processes, max_rows=max_rows, sort=sort)
    spares = _spares(rows)
    return [[spares[i] if i in spares else rows[i] for i in batch[rank]] for batch in batches]


def _spares(rows: Sequence[WeightedRow]) -> dict[int, WeightedRow]:
    """What to put in a plan's `FILLER` and `PICTURED` places: the shortest, so that no micro-batch grows much."""
    shortest = min(rows, key=_length)
    pictured = min((w for w in rows if w.row.images), key=_length, default=shortest)
    return {FILLER: _weightless(shortest.row), PICTURED: _weightless(pictured.row)}


def _length(weighted: WeightedRow) -> int:
    return weighted.row.length


def _weightless(row: TurnRow) -> WeightedRow:
    """A copy of a row that trains nothing."""
    zeros = (0.0,) * len(row.completion_ids)
    return WeightedRow(row, zeros, zeros)


def _shares(order: Sequence[int], size: int, processes: int) -> list[list[int]]:
    """The next `size` rows of every process: neighbours, which are alike, stay with one."""
    return [list(order[rank * size : (rank + 1) * size]) for rank in range(processes)]


def check_images(row: TurnRow, images: Sequence[EncodedImage], image_token_id: int) -> None:
    """Refuse a row whose image tokens and image features would disagree.

    Raises:
        DataError: naming the row.
    """
    found = row.prompt_ids.count(image_token_id)
    wanted = sum(image.ids.count(image_token_id) for image in images)
    if found != wanted:
        raise DataError(
            f"turn {row.turn} of group {row.group} has {found} image tokens for {wanted} image features: its prompt "
            "was truncated or encoded by another processor; encode it again"
        )
    if image_token_id in row.completion_ids:
        raise DataError(f"turn {row.turn} of group {row.group} sampled an image placeholder: forbid it in the engine")


def collate(rows: Sequence[TurnRow], encoder: Encoder, *, extra_padding: int = 0) -> RowBatch:
    """Rows → tensors. `extra_padding` widens every row (the result must not depend on it).

    Raises:
        DataError: as `check_images`.
    """
    width = max(row.length for row in rows) + extra_padding
    # TRL reads a completion width of 1 as "one value a sequence", so it is at least 2.
    completion_width = max(2, *(len(row.completion_ids) for row in rows))
    kept = list({row.content: row for row in rows}.values())
    input_ids = torch.full((len(kept), width), encoder.pad_token_id, dtype=torch.long)
    mask = torch.zeros((len(kept), width), dtype=torch.long)
    positions: list[int] = []
    targets: list[int] = []
    begins: dict[object, int] = {}
    distinct: dict[object, int] = {}
    images: list[EncodedImage] = []
    order: list[int] = []
    for index, row in enumerate(kept):
        begins[row.content] = len(targets)
        ids = row.prompt_ids + row.completion_ids
        input_ids[index, : len(ids)] = torch.tensor(ids, dtype=torch.long)
        mask[index, : len(ids)] = 1
        first = index * width + len(row.prompt_ids) - 1
        positions.extend(range(first, first + len(row.completion_ids)))
        targets.extend(row.completion_ids)
        shown = [encoder.image(ref) for ref in row.images]
        check_images(row, shown, encoder.image_token_id)
        for image in shown:
            if image.ref not in distinct:
                distinct[image.ref] = len(images)
                images.append(image)
            order.append(distinct[image.ref])
    slots: list[int] = []
    sources: list[int] = []
    for index, row in enumerate(rows):
        slots.extend(range(index * completion_width, index * completion_width + len(row.completion_ids)))
        sources.extend(range(begins[row.content], begins[row.content] + len(row.completion_ids)))
    return RowBatch(
        input_ids=input_ids,
        attention_mask=mask,
        positions=torch.tensor(positions, dtype=torch.long),
        targets=torch.tensor(targets, dtype=torch.long),
        slots=torch.tensor(slots, dtype=torch.long),
        sources=torch.tensor(sources, dtype=torch.long),
        rows=len(rows),
        completion_width=completion_width,
        images=tuple(images),
        image_order=tuple(order),
    )


def per_token(rows: Sequence[Sequence[float]], width: int) -> Tensor:
    """Values a completion token, padded with 0 to (B, width)."""
    values = torch.zeros((len(rows), width), dtype=torch.float32)
    for index, row in enumerate(rows):
        values[index, : len(row)] = torch.tensor(list(row), dtype=torch.float32)
    return values
