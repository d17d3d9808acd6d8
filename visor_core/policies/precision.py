"""Whether bfloat16 is worth computing in on this machine."""

from __future__ import annotations

from functools import cache

import torch

IN_HARDWARE = ("avx512_bf16", "amx_bf16", "bf16")
"""Extensions of x86 processors, and of Arm's, that multiply bfloat16."""


@cache
def fast_bfloat16() -> bool:
    """Whether the GPU, or without one the processor, multiplies bfloat16 in hardware.

    Elsewhere PyTorch emulates it: on an AVX2 processor a product of (1024, 1024) matrices took 60 times as long as in
    float32.
    """
    if torch.cuda.is_available():
        return True
    known = torch.cpu.get_capabilities()
    return any(known.get(extension, False) for extension in IN_HARDWARE)
