"""The logits processor that vLLM loads by name, in this process or in its server: forbidden ids are never sampled.

It is built inside the engine's process, so it is also what ties that process to the one that started it. The ids travel
in `additional_config`: `{"forbidden_token_ids": [...]}` (for `vllm serve`: `--additional-config`).
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from typing import Any

import torch
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor


class ForbiddenTokens(LogitsProcessor):
    """Sets the logits (B, V) of the forbidden ids to −inf for every request."""

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        _end_with_parent()
        ids = vllm_config.additional_config.get("forbidden_token_ids", [])
        self._ids = torch.tensor(ids, dtype=torch.long, device=device)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Forbid, in place."""
        return logits.index_fill_(1, self._ids, float("-inf"))

    def is_argmax_invariant(self) -> bool:
        """A forbidden id may have been the best."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Nothing depends on which requests are in the batch."""


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, however it went: a killed run leaves no engine behind."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="ends-with-parent", daemon=True).start()
