"""A cache of keys and values with room ahead: a token more is written beside the others instead of copying them all.

transformers' `DynamicLayer` concatenates, which for a small model on a processor takes a quarter of the time of a
rollout (measured: 64 rows of 100 to 400 tokens on one core). Layers of other kinds (sliding windows, linear attention)
stay as they are.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.cache_utils import DynamicLayer

ROOM = 16
"""Tokens that fit before all is copied once more."""


def with_room(cache: Any) -> None:
    """Let the plain layers of a cache that has read its prompts grow in place from now on."""
    for number, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer and layer.is_initialized:
            cache.layers[number] = RoomyLayer(layer)


class RoomyLayer(DynamicLayer):
    """`keys` and `values` (B, heads, T, D) are views of buffers that are longer than T."""

    def __init__(self, begun: DynamicLayer) -> None:
        super().__init__()
        self.lazy_initialization(begun.keys, begun.values)
        self.keys, self.values = begun.keys, begun.values
        self._buffers: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append keys and values (B, heads, t, D); returns all so far."""
        length = self.keys.shape[-2]
        end = length + key_states.shape[-2]
        if self._buffers is None or end > self._buffers[0].shape[-2]:
            self._buffers = _longer(self.keys, end + ROOM), _longer(self.values, end + ROOM)
        keys, values = self._buffers
        keys[..., length:end, :] = key_states
        values[..., length:end, :] = value_states
        self.keys, self.values = keys[..., :end, :], values[..., :end, :]
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows."""
        super().batch_select_indices(indices)
        self._buffers = None


def _longer(states: Tensor, length: int) -> Tensor:
    """A buffer of `length` tokens that begins with `states`."""
    buffer = states.new_empty((*states.shape[:-2], length, states.shape[-1]))
    buffer[..., : states.shape[-2], :] = states
    return buffer
