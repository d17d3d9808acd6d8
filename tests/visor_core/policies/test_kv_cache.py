"""The cache that grows in place holds what the one of transformers holds."""

from __future__ import annotations

import torch
from transformers import DynamicCache

from visor_core.policies.kv_cache import ROOM, RoomyLayer, with_room


def test_rows_and_tokens_are_those_of_a_cache_that_concatenates() -> None:
    """Over more tokens than there is room for at first, with rows leaving on the way."""
    torch.manual_seed(0)
    begun = torch.randn(2, 5, 2, 3, 4)
    caches = DynamicCache(), DynamicCache()
    for cache in caches:
        cache.update(begun[0], begun[1], 0)
    with_room(caches[1])
    assert isinstance(caches[1].layers[0], RoomyLayer)
    rows, moved = torch.arange(5), 0
    for step in range(3 * ROOM):
        if step in (1, ROOM, ROOM + 7):
            rows = torch.arange(len(rows) - 1)
            for cache in caches:
                cache.batch_select_indices(rows)
        keys, values = torch.randn(2, len(rows), 2, 1, 4)
        expected = caches[0].update(keys, values, 0)
        before = caches[1].layers[0].keys.data_ptr()
        found = caches[1].update(keys, values, 0)
        moved += found[0].data_ptr() != before
        assert all(torch.equal(e, f) for e, f in zip(expected, found, strict=True))
        assert caches[1].get_seq_length() == 4 + step
    assert 3 <= moved <= 8  # by far not at every token


def test_a_cache_of_another_kind_is_left_alone() -> None:
    empty = DynamicCache()
    with_room(empty)
    assert empty.layers == []
