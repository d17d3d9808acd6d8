"""Loads weights only where all of them come from the checkpoint: whole files, fitting keys and shapes, finite numbers.

transformers gives what a checkpoint lacks random numbers and says so in its log alone, so such a model answers. Here a
checkpoint that does not fit is refused in one line. Names that a wrapper put before a model's own (torch.compile, data
parallel training, PEFT) are taken off, which is logged once. Left out: formats other than safetensors.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from visor_core.errors import PolicyError

LFS_POINTER = b"version https://git-lfs"
WHOLE_PREFIXES = ("module.", "base_model.model.")
"""What data parallel training and PEFT put before every key."""
COMPILED = "_orig_mod."
"""What torch.compile puts into the keys of whatever it compiled."""
NAMED = 2
"""Keys a message names of each fault."""
_ON_META = {"device_map": "meta"}
"""Keys and shapes are compared, no weight is read."""

_log = logging.getLogger(__name__)


class UnfitWeightsError(ValueError):
    """A checkpoint's files or weights do not fit; the message says which and what to do, not where they lie."""


def load_model(load: Callable[..., Any], source: Path | str, *, unused: Sequence[str] = (), **options: Any) -> Any:
    """What a `from_pretrained` returns for a folder or hub id, refused unless every weight came from there.

    Weights that are tied, or that the model's class says may be absent or left over, count as fitting.

    Args:
        load: `from_pretrained` of a model's class.
        unused: modules whose weights count for nothing: they may be absent, or left over.
        options: for `load`.

    Raises:
        UnfitWeightsError: naming files or keys.
        OSError, ValueError, RuntimeError, SafetensorError: what `load` raises.
    """
    folder = Path(source)
    if folder.is_dir() and (names := wrapper_names(refuse_damaged(folder))):
        _say_taken_off(folder, names)
        options["key_mapping"] = {("" if name == COMPILED else "^") + re.escape(name): "" for name in names}
    model, report = load(str(source), output_loading_info=True, ignore_mismatched_sizes=True, **options)
    refuse_unfit(report, len(model.state_dict()), unused)
    for adapter in (getattr(model, "peft_config", None) or {}).values():
        # The report was of the adapter; what it adapts lies elsewhere, under revisions of its own.
        load_model(load, adapter.base_model_name_or_path, unused=unused, **{**options, "revision": None} | _ON_META)
    if next(model.parameters()).device.type != "meta":
        refuse_not_finite(model.state_dict().items())
    return model


def check_folder(load: Callable[..., Any], folder: Path) -> None:
    """The same for a folder that another engine will read by itself: keys against the class's own, then numbers.

    No weight is held in memory. Keys with a wrapper's prefix are refused, as the other engine would not take it off.

    Raises:
        UnfitWeightsError: naming files or keys.
        OSError, ValueError, RuntimeError: what `load` raises.
    """
    headers = refuse_damaged(folder)
    if names := wrapper_names(headers):
        raise UnfitWeightsError(
            f"the keys of its weights hold {' and '.join(names)} of a wrapper, which vLLM does not take off: use the "
            "engine transformers, or export the model below its wrapper with save_pretrained"
        )
    load_model(load, folder, use_safetensors=True, trust_remote_code=False, **_ON_META)
    refuse_not_finite(stored_weights(folder))


def refuse_adapter(checkpoint: Path | str) -> None:
    """Refuse a folder with a LoRA adapter: transformers would run it on other weights than the folder's, vLLM without.

    Raises:
        PolicyError: saying how to merge it.
    """
    if (Path(checkpoint) / "adapter_config.json").is_file():
        raise PolicyError(
            f"no usable checkpoint at {checkpoint}: it holds an adapter (adapter_config.json); merge it into its base "
            "with PEFT's merge_and_unload, and save_pretrained"
        )


def refuse_damaged(folder: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights in a folder's safetensors, by key, once its files were found to be whole.

    Raises:
        UnfitWeightsError: naming the file that is a Git LFS pointer, empty, cut off, not JSON, or absent.
    """
    for path in sorted(folder.iterdir()):
        if path.suffix not in (".json", ".safetensors", ".model", ".jinja") or not path.is_file():
            continue
        with path.open("rb") as file:
            opening = file.read(len(LFS_POINTER))
        if not opening:
            raise UnfitWeightsError(f"{path.name} is empty: fetch or export it again")
        if opening == LFS_POINTER:
            raise UnfitWeightsError(f"{path.name} is a Git LFS pointer, not the file itself: run `git lfs pull` there")
        if path.suffix == ".json":
            _refuse_broken_json(path)
    for path in sorted(folder.glob("*.safetensors.index.json")):
        shards = sorted(set(json.loads(path.read_text(encoding="utf-8")).get("weight_map", {}).values()))
        if absent := [name for name in shards if not (folder / name).is_file()]:
            raise UnfitWeightsError(
                f"{len(absent)} of its {len(shards)} files of weights are absent ({_some(absent)}): fetch them too"
            )
    return {key: shape for path in weight_files(folder) for key, shape in _header(path).items()}


def weight_files(folder: Path) -> list[Path]:
    """The safetensors that are the model: the shards of an index, or the single file; never an adapter's."""
    for path in sorted(folder.glob("model*.safetensors.index.json")):
        shards = json.loads(path.read_text(encoding="utf-8")).get("weight_map", {}).values()
        return [folder / name for name in sorted(set(shards))]
    return sorted(p for p in folder.glob("*.safetensors") if not p.name.startswith("adapter_"))


def _refuse_broken_json(path: Path) -> None:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UnfitWeightsError(f"{path.name} is not valid JSON ({error}): fetch or export it again") from error


def _header(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes by key from the header of a safetensors file, whose length is compared with what the header promises.

    Source: the format's description (github.com/huggingface/safetensors): 8 bytes of header length, JSON, tensors.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(length)) if length <= size - 8 else None
        except ValueError:
            header = None
    if not isinstance(header, dict):
        raise UnfitWeightsError(f"{path.name} has no readable header, so it is cut off or damaged: fetch it again")
    header.pop("__metadata__", None)
    promised = 8 + length + max((int(entry["data_offsets"][1]) for entry in header.values()), default=0)
    if size != promised:
        raise UnfitWeightsError(f"{path.name} has {size:,} of {promised:,} bytes: fetch or export it again")
    return {key: tuple(entry["shape"]) for key, entry in header.items()}


def wrapper_names(keys: Iterable[str]) -> tuple[str, ...]:
    """What wrappers put into a checkpoint's keys, outermost first."""
    kept, found = list(keys), []
    if any(COMPILED in key for key in kept):
        found.append(COMPILED)
        kept = [key.replace(COMPILED, "") for key in kept]
    for prefix in WHOLE_PREFIXES:
        # An adapter's own keys are no model's: those are refused as what they are.
        if kept and all(key.startswith(prefix) and ".lora_" not in key for key in kept):
            found.append(prefix)
            kept = [key.removeprefix(prefix) for key in kept]
    return tuple(found)


@cache
def _say_taken_off(folder: Path, names: tuple[str, ...]) -> None:
    """Once a folder and process."""
    _log.warning("%s: %s of a wrapper is taken off the keys of its weights", folder, " and ".join(names))


def refuse_unfit(report: Mapping[str, Iterable[Any]], count: int, unused: Sequence[str] = ()) -> None:
    """Refuse what `from_pretrained` reports of a load; `count` is the number of the model's own weights.

    Raises:
        UnfitWeightsError: naming some keys of each kind of fault.
    """
    missing, unexpected = (
        sorted(key for key in report[kind] if not set(unused) & set(key.split(".")))
        for kind in ("missing_keys", "unexpected_keys")
    )
    mismatched = sorted(
        f"{key}: {'×'.join(map(str, stored))}, not {'×'.join(map(str, wanted))}"
        for key, stored, wanted in report["mismatched_keys"]
    )
    faults = []
    if missing:
        faults.append(f"{len(missing)} of the model's {count} are missing ({_some(missing)})")
    if unexpected:
        faults.append(f"{len(unexpected)} belong to another model ({_some(unexpected)})")
    if mismatched:
        faults.append(f"{len(mismatched)} have another shape ({_some(mismatched)})")
    if faults:
        raise UnfitWeightsError(
            f"its weights do not fit the model of its config.json: {'; '.join(faults)}; "
            "export the whole model again with save_pretrained"
        )


def stored_weights(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """The weights of a folder by key, one after the other."""
    from safetensors import safe_open

    for path in weight_files(folder):
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118  (it is no mapping)
                yield key, file.get_tensor(key)


@torch.no_grad()
def refuse_not_finite(weights: Iterable[tuple[str, Tensor]]) -> None:
    """Refuse weights among which there is NaN or an infinity.

    Raises:
        UnfitWeightsError: naming some of them.
    """
    names, finite = [], []
    for name, weight in weights:
        if weight.is_floating_point() and weight.numel():
            low, high = weight.aminmax()  # NaN where any number is
            names.append(name)
            finite.append(low.isfinite() & high.isfinite())
    broken = [name for name, fine in zip(names, finite, strict=True) if not bool(fine)]
    if broken:
        raise UnfitWeightsError(
            f"{len(broken)} of its {len(names)} weights hold NaN or infinity ({_some(broken)}): the training that "
            "wrote them diverged, take an earlier checkpoint"
        )


def _some(names: Sequence[str]) -> str:
    """The first of some names, and that there are more."""
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
