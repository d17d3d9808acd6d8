"""TRL's GRPOTrainer without the vLLM import that comes with it.

Where vLLM is installed, TRL 1.16 imports all of it for its own generation (ten seconds, and warnings about versions it
does not drive). This project drives vLLM itself (policies/vllm.py), so TRL is told that there is none while it loads.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from trl import import_utils


@contextmanager
def _without_vllm() -> Iterator[None]:
    asked = import_utils.is_vllm_available
    import_utils.is_vllm_available = lambda *args, **kwargs: False
    try:
        yield
    finally:
        import_utils.is_vllm_available = asked


with _without_vllm():
    from trl import GRPOConfig, GRPOTrainer

__all__ = ["GRPOConfig", "GRPOTrainer"]
