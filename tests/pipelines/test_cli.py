"""The command line as a whole: fast help, doctor, dry runs, refusals of large profiles."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from pipelines.cli.session import profile_names
from tests.pipelines.conftest import Visor
from visor_core.config import Profile

ROOT = Path(__file__).resolve().parents[2]


def test_help_is_quick() -> None:
    """A few times what importing the packages of a command line takes, beside it on the same machine: a third of a
    second where that takes a tenth. Neither computing nor waiting for anything else."""
    libraries = "import typer.main, rich.table, rich.markdown, pydantic, yaml"
    code = "import sys; sys.argv = ['visor', '--help']; from pipelines.cli import main; main()"
    most = 6
    computed, took, floor_computed, floor_took = [], [], [], []
    for _ in range(5):
        one, other, _ = _took(libraries)
        floor_computed.append(one)
        floor_took.append(other)
        one, other, shown = _took(code)
        computed.append(one)
        took.append(other)
        assert "ingest" in shown
        if min(computed) < most * min(floor_computed) and min(took) < most * min(floor_took):
            return
    assert min(computed) < most * min(floor_computed)
    assert min(took) < most * min(floor_took)


def _took(code: str) -> tuple[float, float, str]:
    """What a program computed and took, in seconds, and what it printed."""
    before, began = os.times(), time.perf_counter()
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    after, took = os.times(), time.perf_counter() - began
    computed = after.children_user + after.children_system - before.children_user - before.children_system
    return computed, took, run.stdout


def test_every_command_has_help(visor: Visor) -> None:
    for command in ("ingest", "search", "ask", "run", "eval", "report", "doctor", "index", "nano", "replay", "recall"):
        outcome = visor(command, "--help")
        assert outcome.code == 0, command
        assert "Usage:" in outcome.out


def test_unknown_commands_and_options(visor: Visor) -> None:
    assert visor("nonsense").code == 2
    assert visor("search").code == 2
    assert visor("run", "--nonsense").code == 2


def test_a_corpus_that_is_not_there_is_not_begun(visor: Visor, tmp_path: Path) -> None:
    refused = visor("run", "--select", "pages", "--corpus", "nope")
    assert refused.code == 2
    assert (
        "no corpus 'nope' (there are: nano-development, nano-train): `visor ingest PATH --corpus nope`" in refused.err
    )
    assert not (tmp_path / "home" / "corpora").exists()


def test_two_pages_on_one_port_are_refused(visor: Visor) -> None:
    refused = visor("ui", "--dagster-port", "45671", "--mlflow-port", "45671")
    assert refused.code == 2
    assert "--dagster-port and --mlflow-port are not all different" in refused.err


def test_doctor_names_every_profile(visor: Visor) -> None:
    outcome = visor("doctor")
    assert outcome.code == 0
    for name in profile_names():
        assert f"profile {name}" in outcome.out
    assert "profile nano: can run here" in outcome.out


@pytest.mark.parametrize("name", profile_names())
def test_dry_run_prints_the_resolved_profile(visor: Visor, name: str, tmp_path: Path) -> None:
    outcome = visor("run", "--profile", name, "--dry-run", "--set", "grpo.steps=17")
    assert outcome.code == 0, outcome.err
    resolved, _, estimate = outcome.out.partition("\n\n")
    profile = Profile.model_validate(yaml.safe_load(resolved))
    assert (profile.name, profile.grpo.steps) == (name, 17)
    assert "grpo_checkpoint" in estimate
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("name", ["smolvlm", "qwen2.5-vl-3b", "qwen2.5-vl-7b"])
def test_large_profiles_refuse_in_one_line(visor: Visor, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")  # no nvidia-smi, whatever the machine
    outcome = visor("run", "--profile", name)
    assert outcome.code == 2
    (line,) = outcome.err.strip().splitlines()
    assert line.startswith(f"visor: profile {name} cannot run here")
    if name.startswith("qwen"):
        assert "CUDA GPU" in line
    assert "hf download" in line


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--profile", "absent"), "absent"),
        (("--set", "grpo.stepz=1"), "grpo.stepz"),
        (("--set", "nonsense"), "nonsense"),
        (("--select", "no_such_asset"), "no_such_asset"),
    ],
)
def test_run_refusals(visor: Visor, arguments: tuple[str, ...], word: str) -> None:
    outcome = visor("run", *arguments)
    assert outcome.code == 2
    assert len(outcome.err.strip().splitlines()) == 1
    assert word in outcome.err


@pytest.mark.parametrize("corpus", ["..", "", ".x", "-x", "a*b"])
@pytest.mark.parametrize("command", [("search", "words"), ("ingest", "x.pdf"), ("index", "tags"), ("recall", "q.json")])
def test_a_corpus_is_named_plainly(visor: Visor, command: tuple[str, ...], corpus: str, tmp_path: Path) -> None:
    outcome = visor(*command, "--corpus", corpus)
    assert outcome.code == 2
    (line,) = outcome.err.strip().splitlines()
    assert f"{corpus!r} is no corpus name" in line
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("port", ["0", "-1", "65536", "99999"])
def test_a_port_out_of_range_is_one_line(visor: Visor, port: str) -> None:
    outcome = visor("ui", "--dagster-port", port)
    assert outcome.code == 2
    assert outcome.err == f"visor: --dagster-port {port} is no port: choose one from 1 to 65535\n"


def test_an_address_is_no_home(visor: Visor) -> None:
    outcome = visor("search", "words", home=Path("s3://bucket/home"))
    assert outcome.code == 2
    (line,) = outcome.err.strip().splitlines()
    assert "is an address: give a folder of this machine" in line


def test_a_folder_is_no_profile(visor: Visor, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").mkdir()
    outcome = visor("run", "--profile", str(tmp_path / "mine.yaml"), "--dry-run")
    assert outcome.code == 2
    assert "is a folder" in outcome.err
