"""A checkpoint folder as MLflow keeps it: the Hugging Face folder, and the file that says how it is loaded again.

MLflow's own `save_model` would load the model to save it; what it would write about it stands in the folder already.
A multimodal checkpoint has one processor for words and pictures, which MLflow's loader refuses to give to a pipeline;
so it is a component of its own name, and the pipeline that takes it is `loading.PolicyPipeline`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from visor_core.errors import DataError

MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
WEIGHTS = "*.safetensors"
MODEL_FOLDER = "model"
"""In a logged model: the Hugging Face folder."""
PROCESSOR = "multimodal_processor"
TASK = "visor-image-text-to-text"
"""The name that `loading` registers the pipeline under."""
_PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")


def model_files(folder: Path) -> list[Path]:
    """The files of a checkpoint that make up its model; optimizer and trainer state are none of them.

    Raises:
        DataError: if it holds no weights.
    """
    files = sorted({path for pattern in MODEL_FILES for path in folder.glob(pattern)})
    if not any(path.match(WEIGHTS) for path in files):
        raise DataError(f"{folder} holds no safetensors file and cannot be logged as a model")
    return files


def stage_model(folder: Path, into: Path, samples: Iterable[Path] = ()) -> None:
    """Lay a checkpoint out as MLflow keeps it, in links: nothing is copied before it is uploaded.

    Raises:
        DataError: as `model_files`.
    """
    files = model_files(folder)
    _link(files, into / MODEL_FOLDER)
    _link(samples, into / "samples")
    flavor = transformers_flavor(folder)
    if flavor:
        _link((path for path in files if not path.match(WEIGHTS)), into / "components" / PROCESSOR)
        (into / "MLmodel").write_text(_description(flavor), encoding="utf-8")


def _link(files: Iterable[Path], into: Path) -> None:
    for path in files:
        into.mkdir(parents=True, exist_ok=True)
        (into / path.name).symlink_to(path.resolve())


def transformers_flavor(folder: Path) -> dict[str, Any]:
    """What MLflow's flavor `transformers` says of a multimodal checkpoint; empty for another kind of folder.

    A checkpoint with code of its own gets none: MLflow would run that code.
    """
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    architectures = config.get("architectures") or []
    processed = any((folder / name).is_file() for name in _PROCESSOR_FILES)
    if not architectures or not processed or "auto_map" in config:
        return {}
    dtype = config.get("dtype") or config.get("torch_dtype") or ""
    return {
        "transformers_version": version("transformers"),
        "task": TASK,
        "instance_type": "PolicyPipeline",
        "pipeline_model_type": architectures[0],
        "source_model_name": folder.name,
        "model_binary": MODEL_FOLDER,
        "components": [PROCESSOR],
        f"{PROCESSOR}_type": "AutoProcessor",
        **({"torch_dtype": f"torch.{dtype}"} if dtype else {}),
    }


def _description(flavor: dict[str, Any]) -> str:
    """The text of an MLmodel file with this flavor."""
    from mlflow.models import Model

    model = Model()
    model.add_flavor("transformers", **flavor)
    return str(model.to_yaml())
