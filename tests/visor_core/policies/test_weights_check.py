"""Checkpoints that are not what they say: every way of loading refuses them, or takes a wrapper's names off.

The damage is done to real folders, and each is loaded by the function that a policy, a retriever or training uses.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

from tests.tiny_model import build_model, build_processor, picture, prompt
from visor_core.errors import PolicyError, SearchIndexError, VisorError
from visor_core.index.embedders import load_embedder
from visor_core.nano.retriever import build_retriever
from visor_core.policies.base import Sampling
from visor_core.policies.transformers import TransformersPolicy, load_checkpoint
from visor_core.policies.vllm import VLLMPolicy
from visor_core.training.loop import load_for_training

FILE = "model.safetensors"
Weights = dict[str, torch.Tensor]


def changed(source: Path, folder: Path, change: Callable[[Weights], Weights]) -> Path:
    """A copy of a checkpoint with other weights."""
    shutil.copytree(source, folder)
    save_file(change(load_file(folder / FILE)), folder / FILE, metadata={"format": "pt"})
    return folder


def half(weights: Weights) -> Weights:
    return {key: weights[key] for key in sorted(weights)[: len(weights) // 2]}


def blind(weights: Weights) -> Weights:
    return {key: value for key, value in weights.items() if "vision" not in key and "connector" not in key}


def spoilt(weights: Weights) -> Weights:
    return {key: value * float("nan") if "lm_head" in key else value for key, value in weights.items()}


def endless(weights: Weights) -> Weights:
    return {key: value / 0 if "lm_head" in key else value for key, value in weights.items()}


def foreign(weights: Weights) -> Weights:
    return {**weights, "reward_head.weight": torch.ones(2)}


def wide(weights: Weights) -> Weights:
    return {key: value.repeat(1, 2) if "lm_head" in key else value for key, value in weights.items()}


CHANGES = {
    half: r"30 of the model's 59 are missing \(model\.vision_model\.",
    blind: r"38 of the model's 59 are missing \(model\.connector\.modality_projection\.proj\.weight, ",
    spoilt: r"1 of its 59 weights hold NaN or infinity \(lm_head\.weight\)",
    endless: r"1 of its 59 weights hold NaN or infinity \(lm_head\.weight\)",
    foreign: r"1 belong to another model \(reward_head\.weight\)",
    wide: r"1 have another shape \(lm_head\.weight: 63×128, not 63×64\)",
}
LOADS: dict[str, Callable[[Path], object]] = {
    "policy": lambda folder: TransformersPolicy(folder, picture),
    "training": load_for_training,
    "vllm": lambda folder: VLLMPolicy(folder, picture),
    "nano retriever": build_retriever,
}


@pytest.mark.parametrize("way", LOADS)
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_weights_that_do_not_fit_are_refused_in_one_line(
    change: Callable[[Weights], Weights], way: str, checkpoint: Path, tmp_path: Path
) -> None:
    folder = changed(checkpoint, tmp_path / "bad", change)
    refused = ""
    try:
        LOADS[way](folder)
    except VisorError as error:
        refused = str(error)
    assert "no usable checkpoint at" in refused
    assert "\n" not in refused
    assert len(refused) < 600
    with pytest.raises(PolicyError, match=CHANGES[change]):
        LOADS[way](folder)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_folder_is_refused_before_another_engine_reads_it(
    change: Callable[[Weights], Weights], checkpoint: Path, tmp_path: Path
) -> None:
    """vLLM's check: the keys on the meta device, the numbers from the files."""
    from visor_core.policies.weights_check import UnfitWeightsError, check_folder

    check_folder(AutoModelForImageTextToText.from_pretrained, checkpoint)
    with pytest.raises(UnfitWeightsError, match=CHANGES[change]):
        check_folder(AutoModelForImageTextToText.from_pretrained, changed(checkpoint, tmp_path / "bad", change))


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "base_model.model.", "module._orig_mod."])
def test_a_wrappers_prefix_is_taken_off_and_said_once(
    prefix: str, checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = changed(checkpoint, tmp_path / "wrapped", lambda w: {prefix + key: value for key, value in w.items()})
    shown, greedy = prompt(), Sampling(0.0, 4)
    wrapped, plain = (
        TransformersPolicy(path, picture).complete_batch([shown], [greedy])[0] for path in (folder, checkpoint)
    )
    assert wrapped.token_ids == plain.token_ids
    assert wrapped.logprobs == plain.logprobs
    load_checkpoint(folder)
    assert len([r for r in caplog.records if "of a wrapper is taken off" in r.message]) == 1
    from visor_core.policies.weights_check import UnfitWeightsError, check_folder

    with pytest.raises(UnfitWeightsError, match="which vLLM does not take off: use the engine transformers"):
        check_folder(AutoModelForImageTextToText.from_pretrained, folder)


def test_an_inner_compiled_module_is_known(checkpoint: Path, tmp_path: Path) -> None:
    """torch.compile of the language model alone leaves its name in the middle of the keys."""
    folder = changed(
        checkpoint,
        tmp_path / "compiled",
        lambda w: {key.replace("text_model.", "text_model._orig_mod."): value for key, value in w.items()},
    )
    model, _ = load_checkpoint(folder)
    expected = load_file(checkpoint / FILE)
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def pointer(path: Path) -> None:
    path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 9000000\n")


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "name", "said"),
    [
        (cut_off, FILE, r"model\.safetensors has [0-9,]+ of [0-9,]+ bytes: fetch or export it again"),
        (pointer, FILE, r"model\.safetensors is a Git LFS pointer, not the file itself: run `git lfs pull`"),
        (empty, FILE, r"model\.safetensors is empty"),
        (pointer, "tokenizer.json", r"tokenizer\.json is a Git LFS pointer"),
        (cut_off, "tokenizer.json", r"tokenizer\.json is not valid JSON"),
        (empty, "config.json", r"config\.json is empty"),
    ],
)  # fmt: skip
def test_damaged_files_are_named(
    damage: Callable[[Path], None], name: str, said: str, checkpoint: Path, tmp_path: Path
) -> None:
    shutil.copytree(checkpoint, tmp_path / "bad")
    damage(tmp_path / "bad" / name)
    with pytest.raises(PolicyError, match=f"no usable checkpoint at .*: {said}"):
        load_checkpoint(tmp_path / "bad")


def test_an_absent_shard_is_named(checkpoint: Path, tmp_path: Path) -> None:
    folder = changed(checkpoint, tmp_path / "bad", half)
    (folder / FILE).rename(folder / "model-00001-of-00002.safetensors")
    keys = sorted(load_file(checkpoint / FILE))
    places = {key: f"model-0000{1 + (i >= len(keys) // 2)}-of-00002.safetensors" for i, key in enumerate(keys)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    with pytest.raises(PolicyError, match=r"1 of its 2 files of weights are absent \(model-00002-of-00002"):
        load_checkpoint(folder)


def test_an_adapter_beside_its_base_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    """transformers would run it on the base that its configuration names, vLLM would leave it out."""
    shutil.copytree(checkpoint, tmp_path / "both")
    (tmp_path / "both" / "adapter_config.json").write_text("{}")
    with pytest.raises(PolicyError, match=r"holds an adapter \(adapter_config.json\); merge it"):
        load_checkpoint(tmp_path / "both")


def test_tied_weights_may_be_left_out(tmp_path: Path) -> None:
    """`lm_head.weight` is no missing key where it is the embedding itself."""
    from visor_core.policies.weights_check import check_folder, refuse_damaged

    model = build_model()
    model.config.tie_word_embeddings = model.config.text_config.tie_word_embeddings = True
    model.tie_weights()
    model.save_pretrained(tmp_path)
    build_processor().save_pretrained(tmp_path)
    assert "lm_head.weight" not in refuse_damaged(tmp_path)
    loaded, _ = load_checkpoint(tmp_path)
    assert loaded.lm_head.weight is loaded.get_input_embeddings().weight
    check_folder(AutoModelForImageTextToText.from_pretrained, tmp_path)


def test_a_retriever_without_its_vision_tower_is_refused(tmp_path: Path) -> None:
    from tests.visor_core.index.tiny_retrievers import save_colmodernvbert

    good = save_colmodernvbert(tmp_path / "good")
    load_embedder(f"late:{good}")
    for name, change, said in (
        ("blind", blind, r"are missing \(vlm\."),
        ("spoilt", lambda w: {k: v * float("nan") for k, v in w.items()}, "hold NaN or infinity"),
    ):
        folder = changed(good, tmp_path / name, change)
        with pytest.raises(SearchIndexError, match=f"the retriever .* cannot be loaded: .*{said}"):
            load_embedder(f"late:{folder}")


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_weights_are_written_with_the_users_umask(umask: int, mode: int, tmp_path: Path) -> None:
    """safetensors itself writes 0600."""
    from visor_core.training.weights import write_weights

    before = os.umask(umask)
    try:
        model = build_model()
        write_weights(model, model.state_dict(), build_processor(), tmp_path / "written")
    finally:
        os.umask(before)
    written = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "written").iterdir()}
    assert set(written.values()) == {mode}, written
