"""The kind of machine a build was made on: what of processor and GPUs decides how its sums are rounded.

Found without importing torch. On one kind of machine, with as many threads and processes, a training ends in the same
weights; on another it ends in others, because its libraries choose other instructions.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

CPUINFO = Path("/proc/cpuinfo")
DECIDING = ("sse4_2", "avx", "avx2", "fma", "f16c", "avx512", "avx_vnni", "amx", "asimd", "sve", "bf16", "i8mm")
"""What the names of processor extensions begin with that numerical libraries choose their code by."""
SAME_KIND = ("architecture", "vendor", "extensions", "gpus")
"""The fields that have to agree for two machines to be of one kind."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One CUDA device: its name and its memory in GiB."""

    name: str
    memory_gib: float


@cache
def machine() -> dict[str, Any]:
    """This machine as a lineage records it, as JSON values; `cores` are those this process may use."""
    told = _cpuinfo()
    flags = (told.get("flags") or told.get("Features") or "").split()
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "vendor": told.get("vendor_id") or told.get("CPU implementer") or platform.processor(),
        "processor": told.get("model name", ""),
        "extensions": sorted(flag for flag in flags if flag.startswith(DECIDING)),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "gpus": [gpu.name for gpu in find_gpus()],
    }


def kind_differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """In what two machines are not of one kind, a line each.

    >>> kind_differences({"vendor": "A", "extensions": ["avx", "avx2"]}, {"vendor": "A", "extensions": ["avx"]})
    ['extensions: avx2 only there']
    """
    lines = []
    for name in SAME_KIND:
        one, other = first.get(name), second.get(name)
        if name == "extensions" and isinstance(one, list) and isinstance(other, list):
            sides = ((sorted(set(one) - set(other)), "there"), (sorted(set(other) - set(one)), "here"))
            lines += [f"extensions: {' '.join(only)} only {where}" for only, where in sides if only]
        elif one != other:
            lines.append(f"{name}: {_shown(one)} there, {_shown(other)} here")
    return lines


def _shown(value: Any) -> str:
    return ", ".join(value) or "none" if isinstance(value, list) else str(value)


def vector_extensions() -> tuple[str, ...]:
    """AVX and AMX flags of the first core: they decide whether vLLM's CPU build can run."""
    flags = _cpuinfo().get("flags", "").split()
    return tuple(flag for flag in flags if flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16"))


def _cpuinfo() -> dict[str, str]:
    """What Linux says of the first core; nothing elsewhere."""
    if not CPUINFO.is_file():
        return {}
    first = CPUINFO.read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def find_gpus() -> tuple[Gpu, ...]:
    """CUDA devices as `nvidia-smi` lists them; none where the tool is absent or fails."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    query = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        listing = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (subprocess.SubprocessError, OSError):
        return ()
    return parse_gpus(listing)


def parse_gpus(listing: str) -> tuple[Gpu, ...]:
    """Lines `name, MiB` of nvidia-smi; a line of another form is no usable device."""
    rows = [line.rpartition(",") for line in listing.splitlines()]
    return tuple(Gpu(name.strip(), int(memory) / 1024) for name, _, memory in rows if name and memory.strip().isdigit())
