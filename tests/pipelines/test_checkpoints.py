"""Which checkpoint is taken unasked, and what is said of one that has lost files."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest

from assets_defs.machinery.builds import Builds
from assets_defs.machinery.graph import plan
from assets_defs.machinery.stage import Node
from pipelines.choice import Choice
from pipelines.cli.checkpoints import choose_checkpoint
from pipelines.cli.session import parse_settings
from tests.pipelines.conftest import Visor
from tests.pipelines.laid_builds import lay
from visor_core.config import Home, Profile
from visor_core.errors import PolicyError

FILES = ("config.json", "tokenizer_config.json", "model.safetensors")
TRAINED = ("sft_checkpoint", "grpo_checkpoint")
SETTINGS = {"seed": 3, "sft.steps": 7, "grpo.dynamic_sampling": "keep"}


def _checkpoint(home: Home, profile: Profile, stage: str) -> Path:
    """The files of a checkpoint, where its build will be."""
    fingerprint = Builds(home, profile).fingerprint(Node(stage))
    assert fingerprint is not None
    folder = home.asset(stage, fingerprint, "final")
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).write_text(f'{{"of": "{stage}"}}', encoding="utf-8")
    return folder


def _lay(home: Home, *, champion: bool = True) -> None:
    """The chain up to its checkpoints, which are files; with their champion or without."""
    profile = Choice("nano", SETTINGS).resolve()
    trained: dict[str, Path] = {}
    for node in plan(profile, ["champion_model"] if champion else ["grpo_checkpoint"]):
        if node.stage == "champion_model":
            lay(home, profile, node, "w", path=trained["grpo_checkpoint"], figures={"champion": "grpo_checkpoint"})
        elif node.stage in TRAINED:
            trained[node.stage] = _checkpoint(home, profile, node.stage)
            lay(home, profile, node, path=trained[node.stage])
        else:
            (measured := home.root / "measured").mkdir(parents=True, exist_ok=True)
            lay(home, profile, node, path=measured if node.stage == "benchmark_results" else None)


def _final(home: Home, stage: str) -> Path:
    (folder,) = home.asset(stage).glob("*/final")
    return folder


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = Home(tmp_path_factory.mktemp("laid"))
    _lay(home)
    return home.root


@pytest.fixture
def home(laid: Path, tmp_path: Path) -> Home:
    return Home(Path(shutil.copytree(laid, tmp_path / "home")))


def test_the_champion_is_taken_and_said(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert choose_checkpoint(home, None) == _final(home, "grpo_checkpoint")
    assert "final, the champion (grpo_checkpoint)" in capsys.readouterr().err


@pytest.mark.parametrize("way", ["gone", "cut", "changed"])
def test_a_lost_or_damaged_file_is_named_with_the_command_that_makes_it_again(home: Home, way: str) -> None:
    weights = _final(home, "grpo_checkpoint") / "model.safetensors"
    if way == "gone":
        weights.unlink()
    else:
        weights.write_bytes(b"" if way == "cut" else weights.read_bytes()[::-1])
    with pytest.raises(PolicyError) as refused:
        choose_checkpoint(home, None)
    said = str(refused.value)
    assert said.startswith(str(weights))
    (command,) = said.split("`")[1::2]
    assert "run --select grpo_checkpoint" in command
    words = shlex.split(command)
    given = [words[n + 1] for n, word in enumerate(words) if word == "--set"]
    assert parse_settings(given) == SETTINGS
    # Another one that is whole is still taken when it is named.
    other = _final(home, "sft_checkpoint")
    assert choose_checkpoint(home, other) == other


def test_an_imported_one_is_taken_where_there_is_no_champion(
    home: Home, tmp_path: Path, visor: Visor, capsys: pytest.CaptureFixture[str]
) -> None:
    carried, other = tmp_path / "carried", Home(tmp_path / "other")
    assert visor("export", "sft_checkpoint", str(carried), home=home.root).code == 0
    assert visor("import", str(carried), home=other.root).code == 0
    (imported,) = other.imported.iterdir()
    assert choose_checkpoint(other, None) == imported
    assert "which was imported: no champion was trained here" in capsys.readouterr().err
    # Beside a champion it is named, and taken by its fingerprint.
    assert visor("import", str(carried), home=home.root).code == 0
    assert choose_checkpoint(home, None) == _final(home, "grpo_checkpoint")
    assert f"imported, taken by --checkpoint: {imported.name}" in capsys.readouterr().err
    # One that has lost a file says how to get it back, and that works.
    (imported / "model.safetensors").unlink()
    with pytest.raises(PolicyError, match=r"model\.safetensors is missing: `visor import FOLDER`"):
        choose_checkpoint(other, None)
    assert visor("import", str(carried), home=other.root).code == 0
    assert choose_checkpoint(other, Path(imported.name)) == imported
    # Of two nobody knows which is meant.
    shutil.copytree(imported, imported.with_name("another"))
    with pytest.raises(PolicyError, match=r"2 checkpoints were imported: choose one by --checkpoint, of .*another"):
        choose_checkpoint(other, None)


def test_before_there_is_a_champion_the_newest_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = Home(tmp_path / "home")
    with pytest.raises(PolicyError, match="`visor run` trains one"):
        choose_checkpoint(home, None)
    _lay(home, champion=False)
    assert choose_checkpoint(home, None) == _final(home, "grpo_checkpoint")
    assert "no champion was chosen yet" in capsys.readouterr().err
